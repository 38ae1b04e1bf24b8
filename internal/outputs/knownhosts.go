package outputs

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// KnownHostsText are lines for ssh's known_hosts: the host's key was made by the program and given to the machine. The first
// is for the tunnel door, at server; public is the address of the bootstrap door, the zero Addr if that is closed. key is a
// line of a .pub file.
func KnownHostsText(server netip.AddrPort, public netip.Addr, key string) string {
	key = strings.Join(strings.Fields(key)[:2], " ")
	lines := fmt.Sprintf("[%s]:%d %s\n", server.Addr(), server.Port(), key)
	if public.IsValid() {
		lines += fmt.Sprintf("%s %s\n", public, key)
	}
	return lines
}

// parseKnownHost reads the tunnel door's line.
func parseKnownHost(text string) (netip.AddrPort, ssh.PublicKey, error) {
	marker, hosts, key, _, _, err := ssh.ParseKnownHosts([]byte(text))
	switch {
	case err != nil:
		return netip.AddrPort{}, nil, err
	case marker != "":
		return netip.AddrPort{}, nil, fmt.Errorf("the first line is marked @%s: it is no host's own key", marker)
	}
	for _, host := range hosts {
		// [10.100.0.1]:2222. Without brackets it is the bootstrap door's, at port 22.
		if address, err := netip.ParseAddrPort(strings.NewReplacer("[", "", "]", "").Replace(host)); err == nil && knownhosts.Normalize(address.String()) == host {
			return address, key, nil
		}
	}
	return netip.AddrPort{}, nil, fmt.Errorf("%q names no address in the tunnel", hosts)
}
