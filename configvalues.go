package main

import (
	"bytes"
	"cmp"
	"crypto/ecdh"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Each key of the configuration has a reader here, which refuses its faults and says what to do.

func (r *reader) location() string {
	const want = "expected the short name of an Azure region, lower-case letters and digits"
	v, ok := r.plainText(keyLocation, want)
	switch {
	case !ok:
	case v == "":
		r.faultKey(keyLocation, errNotSet, "expected the Azure region to deploy to",
			"pulumi config set azure-native:location westeurope\naz account list-locations --output table    # names all")
	case !locationName.MatchString(v):
		hint := ""
		if short := strings.ToLower(strings.ReplaceAll(v, " ", "")); locationName.MatchString(short) {
			hint = r.reveal(keyLocation, "pulumi config set azure-native:location "+short)
		}
		r.fault(keyLocation, v, errNotLocation, want, hint)
	}
	return v
}

// ownAddressHint says how to learn one's own address without asking a third
// party.
func ownAddressHint(key string) string {
	return "pulumi config set " + key + " ADDRESS/32\n" +
		"ADDRESS is the public IPv4 address of the line that you deploy from: your router shows it as its WAN or Internet address"
}

func (r *reader) allowedSSH() []netip.Prefix {
	const want = "expected the public IPv4 prefixes that may knock on port 22, comma-separated"
	v, ok := r.plainText(keyAllowedSSH, want)
	if !ok {
		return nil
	}
	if v == "" {
		r.faultKey(keyAllowedSSH, errNotSet, want, ownAddressHint(keyAllowedSSH))
		return nil
	}
	list := r.sources(keyAllowedSSH, v, func(item string, prefix netip.Prefix) bool {
		if slices.Contains(anywhere, strings.ToLower(item)) || prefix.IsValid() && prefix.Bits() == 0 {
			r.fault(keyAllowedSSH, item, errAnywhere, "expected the addresses that you deploy from", ownAddressHint(keyAllowedSSH))
			return false
		}
		if prefix.IsValid() && prefix.Addr().Is4() && prefix.Bits() < widestSSH {
			r.fault(keyAllowedSSH, item, errTooWide, fmt.Sprintf("expected /%d or narrower", widestSSH), ownAddressHint(keyAllowedSSH))
			return false
		}
		return true
	})
	// Sixteen times a sixteenth of the Internet is all of it.
	var admitted uint64
	for _, prefix := range list {
		admitted += 1 << (32 - prefix.Bits())
	}
	if admitted > 1<<(32-widestSSH) {
		r.fault(keyAllowedSSH, v, errTooWide,
			fmt.Sprintf("expected no more than a /%d in all", widestSSH), ownAddressHint(keyAllowedSSH))
	}
	return list
}

func (r *reader) wireGuardSources(allowedSSH []netip.Prefix) []netip.Prefix {
	const want = "expected the IPv4 prefixes that may knock on WireGuard's port, comma-separated"
	v, ok := r.plainText(keyWireGuardSources, want)
	if !ok {
		return nil
	}
	if v == "" {
		return allowedSSH
	}
	return r.sources(keyWireGuardSources, v, func(item string, prefix netip.Prefix) bool {
		if slices.Contains(anywhere, strings.ToLower(item)) && item != "0.0.0.0/0" {
			r.fault(keyWireGuardSources, item, errNotPrefix, "expected 0.0.0.0/0 where all of the Internet is meant",
				"pulumi config set wireguardCidrs 0.0.0.0/0")
			return false
		}
		return true
	})
}

// sources reads a list of the prefixes that packets may come from. extra looks
// at each element first, and says false once it has noted a fault.
func (r *reader) sources(key, list string, extra func(item string, prefix netip.Prefix) bool) []netip.Prefix {
	var out []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			r.fault(key, list, errEmptyElement, "expected IPv4 prefixes with one comma between two", "")
			continue
		}
		prefix, err := netip.ParsePrefix(item)
		if !extra(item, prefix) {
			continue
		}
		if err != nil {
			hint := ""
			if addr, err := netip.ParseAddr(item); err == nil && addr.Is4() {
				hint = r.reveal(key, item+"/32 is that one address")
			}
			r.fault(key, item, errNotPrefix, "expected an address and a length, such as 20.30.40.50/32", hint)
			continue
		}
		if !r.fourAndMasked(key, item, prefix) {
			continue
		}
		if within(prefix, documentation) {
			r.fault(key, item, errPlaceholder, "expected your own public address, this range is kept for documentation", ownAddressHint(key))
			continue
		}
		if within(prefix, unroutable) {
			r.fault(key, item, errUnroutable, "expected an address as Azure sees it, behind your router's translation", ownAddressHint(keyAllowedSSH))
			continue
		}
		if i := slices.IndexFunc(out, prefix.Overlaps); i >= 0 {
			r.fault(key, item, errWithin, "expected prefixes that lie apart"+r.reveal(key, ", here is "+out[i].String()+" too"), "")
			continue
		}
		out = append(out, prefix)
	}
	slices.SortFunc(out, comparePrefixes)
	return out
}

// fourAndMasked refuses IPv6 and host bits.
func (r *reader) fourAndMasked(key, item string, prefix netip.Prefix) bool {
	if !prefix.Addr().Is4() {
		r.fault(key, item, errIPv6, "expected an IPv4 prefix", "")
		return false
	}
	if masked := prefix.Masked(); masked != prefix {
		r.fault(key, item, errHostBits, "expected the network itself"+r.reveal(key, ", "+masked.String()), "")
		return false
	}
	return true
}

func (r *reader) boolean(key string) bool {
	v := r.value(key)
	if v != "true" && v != "false" {
		r.fault(key, v, errNotBool, "expected exactly true or false", "")
	}
	return v == "true"
}

func (r *reader) oneOf(key string, known ...string) string {
	v := r.value(key)
	if !slices.Contains(known, v) {
		r.fault(key, v, errNotOneOf, "expected "+strings.Join(known[:len(known)-1], ", ")+" or "+known[len(known)-1], "")
	}
	return v
}

func (r *reader) image() Image {
	names := make([]string, len(images))
	for i, image := range images {
		names[i] = image.Name
	}
	if i := slices.Index(names, r.oneOf(keyImage, names...)); i >= 0 {
		return images[i]
	}
	return Image{}
}

func (r *reader) vmSize() string {
	v := r.value(keyVMSize)
	switch {
	case !vmSizeName.MatchString(v):
		r.fault(keyVMSize, v, errNotSize, "expected a name such as "+r.defaults[keyVMSize],
			"az vm list-sizes --location LOCATION --output table    # names all")
	case armSize(v):
		r.fault(keyVMSize, v, errARM64, "expected an x86-64 size, since Azure has no run commands on arm64 and the way back in is one",
			"the same without the \"p\" among the small letters, for example "+r.defaults[keyVMSize])
	}
	return v
}

func (r *reader) adminUsername() string {
	v := r.value(keyAdminUsername)
	switch {
	case slices.Contains(azureRefuses, strings.ToLower(v)):
		r.fault(keyAdminUsername, v, errUserRefused, "expected another name", "azureuser is the default")
	case !linuxUser.MatchString(v) || len(v) > longestUser:
		r.fault(keyAdminUsername, v, errNotUser,
			fmt.Sprintf("expected a lower-case letter, then lower-case letters, digits, - and _, %d characters at most", longestUser), "")
	case slices.Contains(ownUsers, v):
		r.fault(keyAdminUsername, v, errUserTaken, "expected a user beside claw, the operator, and openclaw, the service",
			"this user belongs to the bootstrap door alone and is locked out behind it")
	case slices.Contains(imageUsers, v) || strings.HasPrefix(v, "systemd-"):
		r.fault(keyAdminUsername, v, errUserTaken, "expected a name that the image has no user or group of", "")
	}
	return v
}

// namedRange is a range and the key that it came from.
type namedRange struct {
	key    string
	prefix netip.Prefix
}

func namedRanges(key string, list []netip.Prefix) []namedRange {
	out := make([]namedRange, len(list))
	for i, prefix := range list {
		out[i] = namedRange{key, prefix}
	}
	return out
}

// innerRange reads a range that the machine uses inside. A faulty one comes
// back invalid, so that nothing else is measured by it.
func (r *reader) innerRange(key string, apart []namedRange) netip.Prefix {
	v := r.value(key)
	prefix, err := netip.ParsePrefix(v)
	if err != nil {
		r.fault(key, v, errNotPrefix, "expected an address and a length, such as "+r.defaults[key], "")
		return netip.Prefix{}
	}
	if !r.fourAndMasked(key, v, prefix) {
		return netip.Prefix{}
	}
	if !within(prefix, private) && prefix.Bits() >= widestRange {
		r.fault(key, v, errNotPrivate, "expected a part of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10",
			"anything else is the Internet's or the platform's (168.63.129.16, 169.254.0.0/16), and would be out of reach")
		return netip.Prefix{}
	}
	if prefix.Bits() < widestRange || prefix.Bits() > tightestNet {
		r.fault(key, v, errRangeSize, fmt.Sprintf("expected a length from /%d to /%d", widestRange, tightestNet), "")
		return netip.Prefix{}
	}
	for _, other := range apart {
		if other.prefix.IsValid() && prefix.Overlaps(other.prefix) {
			r.fault(key, v, errOverlap, strings.TrimSpace("expected a range apart from "+other.key+r.reveal(other.key, " "+other.prefix.String())), "")
			return netip.Prefix{}
		}
	}
	return prefix
}

// number reads a whole number in its limits, both included.
func (r *reader) number(key string, least, most int) int {
	v := r.value(key)
	n, err := strconv.Atoi(v)
	if !wholeNumber.MatchString(v) || err != nil || n < least || n > most {
		r.fault(key, v, errNotNumber, fmt.Sprintf("expected a whole number from %d to %d", least, most), "")
		return 0
	}
	return n
}

func (r *reader) port(key, otherKey string, other uint16) uint16 {
	n := uint16(r.number(key, 1, 65535))
	if n == 0 {
		return 0
	}
	if holder, taken := takenPorts[n]; taken {
		r.fault(key, r.value(key), errPortTaken, "expected a port that nothing else on the machine uses, this is that of "+holder, "")
	} else if n == other {
		r.fault(key, r.value(key), errPortTaken, "expected another port than that of "+otherKey, "")
	}
	return n
}

// peers reads the object of peers. vpn is invalid where it was refused: then
// addresses are not measured by it.
func (r *reader) peers(vpn netip.Prefix) []Peer {
	v := r.value(keyPeers)
	if v == "" {
		if !vpn.IsValid() {
			return nil
		}
		return []Peer{{Name: "laptop", Address: firstUsable(vpn).Next()}}
	}
	entries, err := members(v)
	if err != nil {
		r.fault(keyPeers, v, errNotObject, "expected an object of peers by name", "pulumi config set --path peers.phone.address 10.100.0.3")
		return nil
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	free := freeAddress(entries, vpn)
	var peers []Peer
	for i, entry := range entries {
		key := keyPeers + "." + entry.name
		switch {
		case !peerName.MatchString(entry.name) || len(entry.name) > longestPeer:
			want := fmt.Sprintf("expected lower-case letters, digits and single hyphens, a letter first, %d characters at most", longestPeer)
			r.faultKey(key, errNotPeerName, want, "pulumi config rm --path "+pathQuote(keyPeers, entry.name))
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
		r.fault(key, text(entry.value), errNotObject, "expected an object with address, optionally publicKey and sshKey",
			fmt.Sprintf("pulumi config rm --path %s\npulumi config set --path %s.address %s", key, key, free))
		return peer
	}
	known := []string{"address", "publicKey", "sshKey"}
	seen := map[string]bool{}
	for _, field := range fields {
		fieldKey := key + "." + field.name
		if !slices.Contains(known, field.name) {
			name, value, assigned := strings.Cut(field.name, "=")
			near := nearest(name, known)
			remove := "pulumi config rm --path " + pathQuote(keyPeers, entry.name, field.name)
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
				remove+"\npulumi config set --path "+key+"."+near+" "+shellQuote(cmp.Or(value, "VALUE")))
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
		}
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
	for a := firstUsable(vpn).Next(); a.Less(lastUsable(vpn)); a = a.Next() {
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
	if prefix, err := netip.ParsePrefix(v); err == nil && prefix.Addr().Is4() {
		hint = r.reveal(key, "without its length: "+prefix.Addr().String())
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
		key := keyPeers + "." + peer.Name
		if peer.Address.IsValid() && vpn.IsValid() {
			first, last := firstUsable(vpn), lastUsable(vpn)
			want := "expected a free one of vpnCidr" + r.reveal(keyVPN, fmt.Sprintf(", from %s to %s", first.Next(), last.Prev()))
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

func (r *reader) openclawVersion() string {
	v := r.value(keyOpenClawVersion)
	m := openclawSemver.FindStringSubmatch(v)
	if m == nil {
		r.fault(keyOpenClawVersion, v, errNotVersion, "expected an exact one, such as "+r.defaults[keyOpenClawVersion], "")
		return v
	}
	var version [3]int
	for i := range version {
		version[i], _ = strconv.Atoi(m[i+1])
	}
	if slices.Compare(version[:], oldestOpenClaw[:]) < 0 {
		r.fault(keyOpenClawVersion, v, errOldVersion, "expected 2026.1.29 or newer, where CVE-2026-25253 is mended",
			"pulumi config set openclawVersion "+r.defaults[keyOpenClawVersion])
		return v
	}
	if locked := lockedVersions(); !slices.Contains(locked, v) {
		r.fault(keyOpenClawVersion, v, errNoLock, "expected one of "+strings.Join(locked, ", ")+", whose packages are pinned",
			"go run ./cmd/lock "+v+"    # pins them, with npm: read what it wrote")
	}
	return v
}

// lockedVersions are those that templates/opt/openclaw pins every package of.
func lockedVersions() []string {
	entries, err := templates.ReadDir("templates/opt/openclaw")
	if err != nil {
		panic(err) // embedded
	}
	var versions []string
	for _, entry := range entries {
		versions = append(versions, entry.Name())
	}
	return versions
}

// Node's release. Its SHASUMS256.txt has the sum.
const nodeVersion = "24.16.0"

var nodeRelease = Download{"https://nodejs.org/dist/v" + nodeVersion + "/node-v" + nodeVersion + "-linux-x64.tar.xz",
	"d804845d34eddc21dc1092b519d643ef40b1f58ec5dec5c22b1f4bd8fabde6c9"}

func (r *reader) node() Download {
	d := Download{r.mirror(keyNodeURL), r.value(keyNodeSHA256)}
	if d.SHA256 != "" && !sha256Digits.MatchString(d.SHA256) {
		r.fault(keyNodeSHA256, d.SHA256, errNotSHA256, "expected 64 digits, 0 to 9 and a to f", "sha256sum FILE    # prints it")
	}
	switch {
	case d == Download{}:
		return nodeRelease
	case r.value(keyNodeURL) == "":
		r.faultKey(keyNodeSHA256, errAlone, "expected nodeUrl beside it", "pulumi config rm nodeSha256\nor: pulumi config set nodeUrl URL")
	case d.SHA256 == "":
		r.faultKey(keyNodeURL, errAlone, "expected nodeSha256 beside it: nothing unpinned is ever downloaded",
			"pulumi config set nodeSha256 SHA256\nor: pulumi config rm nodeUrl")
	}
	return d
}

func (r *reader) npmRegistry() string { return strings.TrimRight(r.mirror(keyNPMRegistry), "/") }

// mirror reads the URL of a mirror. Plain http will do: what comes is used only where its sum is right. The host's
// own commands carry the URL, so it must hold no password and nothing that a shell or npm would read.
func (r *reader) mirror(key string) string {
	v := r.value(key)
	if v == "" {
		return v
	}
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !plainURL.MatchString(v) || u.Host == "" {
		r.fault(key, v, errNotURL, "expected http or https, a host and a path, and no user, query or fragment", "")
	}
	return v
}

// ownedConfig are the parts of openclaw.json that decide who may talk to the gateway, what it loads besides and where
// its secrets are: those are the program's, and openclawEnv's.
var ownedConfig = map[string]string{
	"$include": "what it includes nobody has looked at",
	"env":      "variables go into openclawEnv",
	"gateway":  "who may talk to it is decided by this program",
	"secrets":  "secrets go into openclawEnv, and into openclaw.json as \"${NAME}\"",
	"update":   "versions are set by openclawVersion",
}

func (r *reader) openclawConfig() map[string]any {
	v := r.value(keyOpenClawConfig)
	if v == "" {
		return nil
	}
	const want = "expected an object, as openclaw.json has it"
	entries, err := members(v)
	if err != nil {
		r.fault(keyOpenClawConfig, v, errNotObject, want, "pulumi config rm openclawConfig\npulumi config set --path openclawConfig.agents.defaults.model.primary PROVIDER/MODEL")
		return nil
	}
	config := map[string]any{}
	for _, entry := range entries {
		key := keyOpenClawConfig + "." + entry.name
		if why, owned := ownedConfig[entry.name]; owned {
			r.faultKey(key, errNotYours, why, "pulumi config rm --path "+pathQuote(keyOpenClawConfig, entry.name))
			continue
		}
		if _, twice := config[entry.name]; twice {
			r.faultKey(key, errTwice, "expected each key once", "")
			continue
		}
		var value any
		decoder := json.NewDecoder(bytes.NewReader(entry.value))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			r.faultKey(key, errNotObject, want, "")
			continue
		}
		config[entry.name] = value
	}
	return config
}

func (r *reader) openclawEnv() map[string]string {
	env := map[string]string{}
	v := r.value(keyOpenClawEnv)
	if v == "" {
		return env
	}
	entries, err := members(v)
	if err != nil {
		r.fault(keyOpenClawEnv, v, errNotObject, "expected an object of variables by name",
			"pulumi config rm openclawEnv\npulumi config set --secret --path openclawEnv.NAME    # asks for the value")
		return env
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	secret := r.secret(keyOpenClawEnv)
	for i, entry := range entries {
		name, _, assigned := strings.Cut(entry.name, "=")
		key := keyOpenClawEnv + "." + name
		if assigned {
			// The value is in the name: show neither it nor a command with it.
			r.faultKey(key+"=…", errAssignmentKey, "expected the name alone, and a space before the value", r.exposedHint(key))
			continue
		}
		value, ok := scalar(entry.value)
		const again = "pulumi config set --secret --path "
		switch {
		case !envName.MatchString(name):
			r.faultKey(key, errNotEnvName, "expected letters, digits and _, no digit first",
				"pulumi config rm --path "+pathQuote(keyOpenClawEnv, name))
		case i > 0 && entries[i-1].name == entry.name:
			r.faultKey(key, errTwice, "expected each variable once", "")
		case reserved(name):
			r.faultKey(key, errReservedEnv, "expected none that decides what the service runs, where it keeps its state or who may talk to it",
				"pulumi config rm --path "+key)
		case !secret || slices.Contains(r.raw.plain, name):
			r.faultKey(key, errNotSecret, "expected a secret", again+key+"    # asks for the value\nthe old value was readable: renew it where it came from")
		case !ok:
			r.fault(key, "", errNotPlain, "expected a text", again+key+"    # asks for the value")
		case value == "":
			r.fault(key, "", errEmptyEnv, "expected a value", again+key+"    # asks for the value\nor: pulumi config rm --path "+key)
		case strings.ContainsFunc(value, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) || !utf8.ValidString(value):
			r.fault(key, "", errControl, "expected one line of text", again+key+"    # asks for the value")
		case len(name)+1+len(value) >= longestEnv:
			r.fault(key, "", errTooLong, fmt.Sprintf("expected less than %d KiB", longestEnv>>10), "")
		default:
			env[name] = value
		}
	}
	return env
}

// reserved tells whether a variable would change the service's sandbox.
func reserved(name string) bool {
	upper := strings.ToUpper(name)
	return slices.Contains(reservedEnv, upper) ||
		slices.ContainsFunc(reservedEnvPrefixes, func(prefix string) bool { return strings.HasPrefix(upper, prefix) })
}

func (r *reader) exposedHint(key string) string {
	return outOfFile + "\n" +
		"pulumi config set --secret --path " + key + "    # asks for the value\n" +
		"the old value was readable: renew it where it came from"
}
