package config

import (
	"cmp"
	"crypto/ecdh"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/prefix"
	"openclaw-azure/internal/shell"
)

// peers reads the object of peers. vpn is invalid where it was refused: then
// addresses are not measured by it.
func (r *reader) peers(vpn netip.Prefix) []Peer {
	v := r.value(KeyPeers)
	if v == "" {
		if !vpn.IsValid() {
			return nil
		}
		return []Peer{{Name: "laptop", Address: prefix.FirstUsable(vpn).Next()}}
	}
	entries, err := members(v)
	if err != nil {
		r.fault(KeyPeers, v, errNotObject, "expected an object of peers by name", "pulumi config set --path peers.phone.address 10.100.0.3")
		return nil
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	free := freeAddress(entries, vpn)
	var peers []Peer
	for i, entry := range entries {
		key := KeyPeers + "." + entry.name
		switch {
		case !peerName.MatchString(entry.name) || len(entry.name) > longestPeer:
			want := fmt.Sprintf("expected lower-case letters, digits and single hyphens, a letter first, %d characters at most", longestPeer)
			r.faultKey(key, errNotPeerName, want, "pulumi config rm --path "+pathQuote(KeyPeers, entry.name))
			continue
		case entry.name == "deployer" || entry.name == "server":
			r.faultKey(key, errReservedName, "expected another name, this one is the program's own", "")
			continue
		case i > 0 && entries[i-1].name == entry.name:
			r.faultKey(key, errTwice, "expected each peer once", "")
			continue
		}
		peers = append(peers, r.peer(key, entry, free))
	}
	r.peersApart(peers, vpn)
	return peers
}

func (r *reader) peer(key string, entry member, free string) Peer {
	peer := Peer{Name: entry.name}
	fields, err := members(string(entry.value))
	if err != nil {
		r.fault(key, text(entry.value), errNotObject, "expected an object with address, optionally publicKey, sshKey and observe",
			fmt.Sprintf("pulumi config rm --path %s\npulumi config set --path %s.address %s", key, key, free))
		return peer
	}
	known := []string{"address", "publicKey", "sshKey", "observe"}
	seen := map[string]bool{}
	for _, field := range fields {
		fieldKey := key + "." + field.name
		if !slices.Contains(known, field.name) {
			name, value, assigned := strings.Cut(field.name, "=")
			near := nearest(name, known)
			remove := "pulumi config rm --path " + pathQuote(KeyPeers, entry.name, field.name)
			if !assigned {
				r.faultKey(fieldKey, errUnknownKey, fmt.Sprintf("expected %q, the nearest that it knows", near), remove)
				continue
			}
			seen[near] = true // what is missing is said here
			if !publicMember(name) {
				r.faultKey(key+"."+name+"=…", errAssignmentKey, "expected a space between key and value", outOfFile)
				continue
			}
			r.faultKey(fieldKey, errAssignmentKey, "expected a space between key and value",
				remove+"\npulumi config set --path "+key+"."+near+" "+shell.Quote(cmp.Or(value, "VALUE")))
			continue
		}
		if seen[field.name] {
			r.faultKey(fieldKey, errTwice, "expected it once", "")
			continue
		}
		seen[field.name] = true
		value, ok := scalar(field.value)
		if !ok {
			r.fault(fieldKey, text(field.value), errNotPlain, "expected a text", "")
			continue
		}
		switch field.name {
		case "address":
			peer.Address = r.peerAddress(fieldKey, value)
		case "publicKey":
			peer.PublicKey = r.wireGuardKey(fieldKey, value)
		case "sshKey":
			peer.SSHKey, peer.SSHComment = r.sshKey(fieldKey, value)
		case "observe":
			peer.Observe = r.isTrue(fieldKey, value)
		}
	}
	if peer.Observe && seen["publicKey"] {
		r.faultKey(key+".observe", errOwnKey, "expected it of a peer whose WireGuard key the program made, since claw peer-file writes it down",
			"pulumi config rm --path "+key+".publicKey")
	}
	if !seen["address"] {
		r.faultKey(key+".address", errNotSet, "expected an address in the VPN of the peer's own",
			fmt.Sprintf("pulumi config set --path %s.address %s", key, free))
	}
	return peer
}

// freeAddress is the first address of the VPN that no peer has, for hints.
func freeAddress(entries []member, vpn netip.Prefix) string {
	const unknown = "ADDRESS"
	if !vpn.IsValid() {
		return unknown
	}
	used := map[string]bool{}
	for _, entry := range entries {
		fields, err := members(string(entry.value))
		for _, field := range fields {
			if address, ok := scalar(field.value); ok && err == nil && field.name == "address" {
				used[address] = true
			}
		}
	}
	for a := prefix.FirstUsable(vpn).Next(); a.Less(prefix.LastUsable(vpn)); a = a.Next() {
		if !used[a.String()] {
			return a.String()
		}
	}
	return unknown
}

func (r *reader) peerAddress(key, v string) netip.Addr {
	addr, err := netip.ParseAddr(v)
	if err == nil && addr.Is4() {
		return addr
	}
	hint := ""
	if p, err := netip.ParsePrefix(v); err == nil && p.Addr().Is4() {
		hint = r.reveal(key, "without its length: "+p.Addr().String())
	}
	r.fault(key, v, errNotAddress, "expected an address such as 10.100.0.2", hint)
	return netip.Addr{}
}

// peersApart refuses addresses outside the VPN, those of its two ends, and
// whatever two peers share.
func (r *reader) peersApart(peers []Peer, vpn netip.Prefix) {
	byAddress := map[netip.Addr]string{}
	byKey := map[wgtypes.Key]string{}
	for _, peer := range peers {
		key := KeyPeers + "." + peer.Name
		if peer.Address.IsValid() && vpn.IsValid() {
			first, last := prefix.FirstUsable(vpn), prefix.LastUsable(vpn)
			want := "expected a free one of vpnCidr" + r.reveal(KeyVPN, fmt.Sprintf(", from %s to %s", first.Next(), last.Prev()))
			switch {
			case !vpn.Contains(peer.Address):
				r.fault(key+".address", peer.Address.String(), errOutside, want, "")
			case peer.Address == first:
				r.fault(key+".address", peer.Address.String(), errAddressTaken, want+", this one is the machine's", "")
			case peer.Address == last:
				r.fault(key+".address", peer.Address.String(), errAddressTaken, want+", this one is the deployer's", "")
			case peer.Address.Less(first) || last.Less(peer.Address):
				r.fault(key+".address", peer.Address.String(), errAddressTaken, want+", this one is the network's own or its broadcast address", "")
			}
		}
		if peer.Address.IsValid() {
			if other, twice := byAddress[peer.Address]; twice {
				r.fault(key+".address", peer.Address.String(), errTwice, "expected an address of its own, this one is that of peer "+other, "")
			} else {
				byAddress[peer.Address] = peer.Name
			}
		}
		if peer.PublicKey != nil {
			if other, twice := byKey[*peer.PublicKey]; twice {
				r.fault(key+".publicKey", peer.PublicKey.String(), errTwice, "expected a key of its own, this one is that of peer "+other,
					"two devices with one key take each other's traffic away")
			} else {
				byKey[*peer.PublicKey] = peer.Name
			}
		}
	}
}

func (r *reader) wireGuardKey(key, v string) *wgtypes.Key {
	const want = "expected what wg pubkey prints, 44 characters of base64"
	public, err := wgtypes.ParseKey(v)
	// The decoder takes line breaks and stray bits; a second spelling of one key
	// would pass for a second key.
	if err != nil || public.String() != v {
		r.fault(key, v, errNotWGKey, want, "")
		return nil
	}
	// crypto/ecdh fails where the shared secret would be all zero, which is so
	// for the all-zero key and the few others of small order.
	remote, err := ecdh.X25519().NewPublicKey(public[:])
	if err == nil {
		var own *ecdh.PrivateKey
		if own, err = ecdh.X25519().NewPrivateKey(slices.Repeat([]byte{1}, 32)); err == nil {
			_, err = own.ECDH(remote)
		}
	}
	if err != nil {
		r.fault(key, v, errWeakWGKey, want, "")
		return nil
	}
	return &public
}

func (r *reader) sshKey(key, v string) (ssh.PublicKey, string) {
	const want = "expected one line of a .pub file, ssh-ed25519 or sk-ssh-ed25519@openssh.com"
	if strings.Contains(v, "PRIVATE KEY") || strings.Contains(v, "PuTTY-User-Key-File") {
		r.faultKey(key, errPrivateKey, want, "whatever held that key is no secret any more: make a new one with ssh-keygen -t ed25519")
		return nil, ""
	}
	public, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(v))
	// ParseAuthorizedKey skips lines that it cannot read: one line alone is safe.
	if err != nil || strings.ContainsFunc(v, unicode.IsControl) || len(options) > 0 || len(rest) > 0 {
		r.fault(key, v, errNotSSHKey, want, "")
		return nil, ""
	}
	switch public.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519:
		return public, comment
	}
	r.fault(key, v, errSSHKeyType, want, "ssh-keygen -t ed25519 makes one")
	return nil, ""
}
