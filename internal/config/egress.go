package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/prefix"
	"openclaw-azure/internal/shell"
)

// What `egress` may say in place of a list.
const (
	EgressOpen = "open"
	EgressNone = "none"
)

// Egress is where the agent may go: anywhere on the Internet, or to what is listed.
type Egress struct {
	Open       bool
	Names      []string         // sorted; by TLS on any port, and by HTTP on port 80
	Suffixes   []string         // sorted, each with its dot in front: every name below, not the name itself
	Places     []Place          // sorted by name; a name on one port alone
	NamedPorts []Place          // those of Places whose port has no TLS: whoever dials the port gets the name
	Addresses  []netip.AddrPort // sorted
}

// Place is a name on one port.
type Place struct {
	Name string
	Port uint16
}

// List is what may be reached, as the configuration writes it.
func (e Egress) List() []string {
	list := slices.Concat(e.Names, e.Suffixes)
	for _, place := range e.Places {
		list = append(list, fmt.Sprintf("%s:%d", place.Name, place.Port))
	}
	return append(list, prefix.Strings(e.Addresses)...)
}

// Resolved are the names that may be asked for, sorted: those below one of them may be, too.
func (e Egress) Resolved() []string {
	names := slices.Clone(e.Names)
	for _, suffix := range e.Suffixes {
		names = append(names, strings.TrimPrefix(suffix, "."))
	}
	for _, place := range e.Places {
		names = append(names, place.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// listed tells whether the agent reaches a name on a port.
func (e Egress) listed(name string, port uint16) bool {
	return slices.Contains(e.Names, name) || slices.Contains(e.Places, Place{name, port}) ||
		slices.ContainsFunc(e.Suffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

var hostName = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$`)

// longestName is what DNS takes, as text.
const longestName = 253

// Ports on which the gate learns the name from what is said there, so that many names can have them.
func spoken(port uint16) bool { return port == 80 || port == 443 }

func (r *reader) egress() Egress {
	const want = "expected open, none, or names and places with commas between, such as api.anthropic.com,.github.com,git.example.org:22,203.0.113.7:6667"
	v, ok := r.plainText(KeyEgress, want)
	if !ok {
		return Egress{}
	}
	switch v {
	case EgressOpen:
		return Egress{Open: true}
	case EgressNone:
		return Egress{}
	}
	var e Egress
	seen := map[string]bool{}
	for item := range strings.SplitSeq(v, ",") {
		item = strings.ToLower(strings.TrimSpace(item))
		switch {
		case item == "":
			r.fault(KeyEgress, v, errEmptyElement, "expected one comma between two", "pulumi config set egress open    # takes the list away")
		case item == EgressOpen || item == EgressNone:
			r.fault(KeyEgress, item, errNotAlone, "expected it by itself, or a list without it", "")
		case seen[item]:
			r.fault(KeyEgress, item, errTwice, "expected it once", "")
		default:
			r.egressItem(item, &e)
		}
		seen[item] = true
	}
	slices.Sort(e.Names)
	slices.Sort(e.Suffixes)
	byName := func(a, b Place) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port)) }
	slices.SortFunc(e.Places, byName)
	slices.SortFunc(e.NamedPorts, func(a, b Place) int { return cmp.Compare(a.Port, b.Port) })
	slices.SortFunc(e.Addresses, netip.AddrPort.Compare)
	return e
}

// egressItem reads one element of the list.
func (r *reader) egressItem(item string, e *Egress) {
	const want = "expected name, .suffix, name:port or address:port"
	if target, err := netip.ParseAddrPort(item); err == nil {
		if r.publicPlace(item, target) {
			e.Addresses = append(e.Addresses, target)
		}
		return
	}
	if address, err := netip.ParseAddr(item); err == nil {
		r.fault(KeyEgress, item, errNoPort, "expected an address with its port", r.reveal(KeyEgress, "such as "+netip.AddrPortFrom(address, 443).String()))
		return
	}
	if u, err := url.Parse(item); err == nil && u.Scheme != "" && u.Host != "" {
		r.fault(KeyEgress, item, errNotName, "expected the name alone", r.reveal(KeyEgress, u.Host))
		return
	}
	if below, ok := strings.CutPrefix(item, "*."); ok {
		r.fault(KeyEgress, item, errNotName, want, r.reveal(KeyEgress, "."+below+" is every name below it"))
		return
	}
	name, portText, ported := strings.Cut(item, ":")
	suffix, isSuffix := strings.CutPrefix(name, ".")
	if !hostName.MatchString(suffix) || len(suffix) > longestName {
		r.fault(KeyEgress, item, errNotName, want, "")
		return
	}
	if !ported {
		if isSuffix {
			e.Suffixes = append(e.Suffixes, name)
		} else {
			e.Names = append(e.Names, name)
		}
		return
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		r.fault(KeyEgress, item, errNotName, "expected a port from 1 to 65535", "")
		return
	}
	if isSuffix {
		r.fault(KeyEgress, item, errNotName, "expected no port: without TLS nobody says which of the names is meant", r.reveal(KeyEgress, name+" is every name below it, by TLS on any port"))
		return
	}
	place := Place{name, uint16(port)}
	if !spoken(place.Port) {
		if i := slices.IndexFunc(e.NamedPorts, func(p Place) bool { return p.Port == place.Port }); i >= 0 {
			r.fault(KeyEgress, item, errTwice, fmt.Sprintf("expected one name for port %d%s: without TLS nobody says which of two is meant", place.Port, r.reveal(KeyEgress, ", which is "+e.NamedPorts[i].Name+"'s")),
				r.reveal(KeyEgress, name+" without its port, where it speaks TLS"))
			return
		}
		e.NamedPorts = append(e.NamedPorts, place)
	}
	e.Places = append(e.Places, place)
}

// publicPlace refuses what no list of the Internet's can name.
func (r *reader) publicPlace(item string, target netip.AddrPort) bool {
	one := netip.PrefixFrom(target.Addr(), target.Addr().BitLen())
	switch {
	case !target.Addr().Is4():
		r.fault(KeyEgress, item, errIPv6, "expected an IPv4 address and its port", "")
	case target.Port() == 0:
		r.fault(KeyEgress, item, errNotName, "expected a port from 1 to 65535", "")
	case prefix.Within(one, prefix.Documentation):
		r.fault(KeyEgress, item, errPlaceholder, "expected an address of the Internet's, this one is kept for documentation", "")
	case prefix.Within(one, prefix.Special) || machine.PlatformAddress.Contains(target.Addr()):
		r.fault(KeyEgress, item, errUnroutable, "expected an address of the Internet's", "")
	case prefix.Within(one, prefix.Unroutable):
		r.fault(KeyEgress, item, errUnroutable, "expected an address of the Internet's: a device in the VPN or a machine in the VNet goes into agentMayReach",
			r.reveal(KeyEgress, "pulumi config set agentMayReach "+target.String()))
	default:
		return true
	}
	return false
}

// agentMayReach reads the places inside that the agent reaches all the same.
func (r *reader) agentMayReach(peers []Peer, vpn, vnet netip.Prefix) []netip.AddrPort {
	const want = "expected address:port of a device in the VPN or a machine in the VNet, with commas between, such as 10.100.0.2:11434"
	v, ok := r.plainText(KeyAgentMayReach, want)
	if !ok || v == "" {
		return nil
	}
	var out []netip.AddrPort
	for item := range strings.SplitSeq(v, ",") {
		item = strings.TrimSpace(item)
		target, err := netip.ParseAddrPort(item)
		switch {
		case err != nil || target.Port() == 0:
			r.fault(KeyAgentMayReach, item, errNotPlace, want, "")
			continue
		case slices.Contains(out, target):
			r.fault(KeyAgentMayReach, item, errTwice, "expected it once", "")
			continue
		case !vpn.IsValid() || !vnet.IsValid():
			continue // said already
		}
		switch address := target.Addr(); {
		case address == prefix.FirstUsable(vpn) || address == firstInVNet(vnet):
			r.fault(KeyAgentMayReach, item, errOwnAddress, "expected another machine's: whatever listens here the agent must not reach", "")
			continue
		case vpn.Contains(address):
			if !slices.ContainsFunc(peers, func(p Peer) bool { return p.Address == address }) {
				r.fault(KeyAgentMayReach, item, errNoPeer, "expected the address of a peer"+r.reveal(KeyPeers, ": "+addressesOf(peers)), "pulumi config set --path peers.NAME.address "+address.String())
				continue
			}
		case !vnet.Contains(address):
			hint := ""
			if !prefix.Within(netip.PrefixFrom(address, address.BitLen()), prefix.Unroutable) && !machine.PlatformAddress.Contains(address) {
				hint = "an address of the Internet's goes into egress"
			}
			r.fault(KeyAgentMayReach, item, errOutsideBoth, "expected one within"+r.reveal(KeyVPN, " vpnCidr "+vpn.String())+" or"+r.reveal(KeyVNet, " vnetCidr "+vnet.String()), hint)
			continue
		}
		out = append(out, target)
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// firstInVNet is the address that Azure gives the first network interface of a subnet, this machine's: it keeps the four
// before it.
func firstInVNet(vnet netip.Prefix) netip.Addr {
	address := vnet.Masked().Addr()
	for range 4 {
		address = address.Next()
	}
	return address
}

func addressesOf(peers []Peer) string {
	var all []string
	for _, p := range peers {
		all = append(all, p.Address.String()+" ("+p.Name+")")
	}
	if len(all) == 0 {
		return "there is none"
	}
	return strings.Join(all, ", ")
}

// baseURLs refuses, in openclawConfig, addresses of services that the gate will not let the agent reach.
func (r *reader) baseURLs(config map[string]any, e Egress, inside []netip.AddrPort, vpn, vnet netip.Prefix) {
	if r.secret(KeyEgress) || r.secret(KeyAgentMayReach) {
		return // a fault could not say what to set
	}
	var walk func(path []string, value any)
	walk = func(path []string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(value)) {
				walk(append(slices.Clone(path), name), value[name])
			}
		case []any:
			for i, each := range value {
				walk(append(slices.Clone(path), strconv.Itoa(i)), each)
			}
		case string:
			if name := strings.ToLower(path[len(path)-1]); name == "baseurl" || name == "apiroot" {
				r.baseURL(KeyOpenClawConfig+"."+strings.Join(path, "."), value, e, inside, vpn, vnet)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		walk([]string{name}, config[name])
	}
}

func (r *reader) baseURL(key, value string, e Egress, inside []netip.AddrPort, vpn, vnet netip.Prefix) {
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || strings.Contains(value, "${") {
		return // what is no URL is OpenClaw's own to refuse
	}
	port := uint16(443)
	if u.Scheme == "http" || u.Scheme == "ws" {
		port = 80
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		port = uint16(n)
	}
	value = u.Scheme + "://" + u.Host // the rest may hold a key
	name := strings.ToLower(u.Hostname())
	address, err := netip.ParseAddr(name)
	switch {
	case name == "localhost" || err == nil && address.IsLoopback():
		// The agent's own loopback, where it may serve what it likes.
	case err == nil && prefix.Within(netip.PrefixFrom(address, address.BitLen()), prefix.Unroutable):
		target := netip.AddrPortFrom(address, port)
		if slices.Contains(inside, target) {
			return
		}
		hint := ""
		if vpn.Contains(address) || vnet.Contains(address) {
			hint = "pulumi config set agentMayReach " + shell.Quote(strings.Join(append(prefix.Strings(inside), target.String()), ","))
		}
		r.fault(key, value, errNotReached, "expected an address of the Internet's, or one that agentMayReach names", hint)
	case e.Open:
	case err == nil:
		if !slices.Contains(e.Addresses, netip.AddrPortFrom(address, port)) {
			r.fault(key, value, errNotReached, "expected a place that egress lists", r.addToEgress(netip.AddrPortFrom(address, port).String()))
		}
	case !e.listed(name, port):
		item := name
		if u.Scheme == "http" && port != 80 {
			item += ":" + strconv.Itoa(int(port)) // nothing says the name there
		}
		r.fault(key, value, errNotReached, "expected a place that egress lists", r.addToEgress(item))
	}
}

func (r *reader) addToEgress(item string) string {
	list := r.value(KeyEgress)
	if list == EgressNone {
		return "pulumi config set egress " + shell.Quote(item)
	}
	return "pulumi config set egress " + shell.Quote(list+","+item)
}
