package place

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"openclaw-azure/lab/internal/fabric"
)

// Machine is a virtual machine as the packet filter in front of it sees it.
type Machine struct {
	Place   string // vm, vm2, ...: also the name of the router's end of its link
	Private netip.Addr
	Public  netip.Addr // the zero Addr where there is none
	VNet    []netip.Prefix
	Rules   []fabric.Rule // nil: none set yet, and nothing comes in
}

// The platform's address: Azure's load balancer probes come from it, and the tag Internet does not hold it.
const platform = PlatformAddress + "/32"

// Ruleset is the nftables text that puts the rules of all machines in force. Loading it replaces the one before in
// one step and leaves connections that are open alone, as Azure does.
func Ruleset(machines []Machine) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("table inet lab")
	line("delete table inet lab")
	line("table inet lab {")
	for _, m := range machines {
		for _, inbound := range []bool{true, false} {
			name, rules := "in-"+m.Place, m.Rules
			if !inbound {
				name = "out-" + m.Place
			}
			line("\tchain %s {", name)
			if inbound {
				line("\t\tct state established,related accept")
				line("\t\tct state invalid drop")
				// Only the public address leads in from outside, never a private one that somebody routes to.
				line("\t\tct status & dnat == 0 drop")
			} else {
				// Azure's rules do not come between a machine and its platform.
				line("\t\tip daddr %s return", platform)
			}
			for _, rule := range sorted(rules, inbound) {
				matches, err := compile(rule, m.VNet)
				if err != nil {
					return "", fmt.Errorf("security rule %q: %w", rule.Name, err)
				}
				verdict := "drop"
				if rule.Allow {
					verdict = "accept"
					if !inbound {
						// Leaving the machine is one thing, what the outside lets on is another.
						verdict = "return"
					}
				}
				for _, match := range matches {
					line("\t\t%s%s comment %q", match, verdict, fmt.Sprintf("%d %s", rule.Priority, commentable(rule.Name)))
				}
			}
			line("\t\tdrop")
			line("\t}")
		}
	}
	line("\tchain prerouting {")
	line("\t\ttype nat hook prerouting priority dstnat")
	for _, m := range machines {
		if m.Public.IsValid() {
			line("\t\tiifname { %q, %q } ip daddr %s dnat ip to %s", Operator, Attacker, m.Public, m.Private)
		}
	}
	line("\t}")
	line("\tchain postrouting {")
	line("\t\ttype nat hook postrouting priority srcnat")
	for _, m := range machines {
		if m.Public.IsValid() {
			line("\t\toifname { %q, %q } ip saddr %s snat ip to %s", Operator, Attacker, m.Private, m.Public)
		}
	}
	line("\t}")
	line("\tchain forward {")
	line("\t\ttype filter hook forward priority filter; policy drop;")
	for _, m := range machines {
		line("\t\toifname %q jump in-%s", m.Place, m.Place)
		line("\t\tiifname %q ct state established,related accept", m.Place)
		line("\t\tiifname %q jump out-%s", m.Place, m.Place)
		// What the rules let out ends here all the same, and fast: all that a lab has outside is on the router itself.
		line("\t\tiifname %q meta l4proto tcp reject with tcp reset", m.Place)
		line("\t\tiifname %q reject with icmpx type admin-prohibited", m.Place)
	}
	line("\t\tiifname { %q, %q } oifname { %q, %q } accept", Operator, Attacker, Operator, Attacker)
	line("\t\toifname \"lo\" meta l4proto tcp reject with tcp reset")
	line("\t\toifname \"lo\" reject with icmpx type no-route")
	line("\t}")
	line("\tchain input {")
	line("\t\ttype filter hook input priority filter; policy drop;")
	line("\t\tiifname \"lo\" accept")
	line("\t\tct state established,related accept")
	line("\t\tmeta l4proto ipv6-icmp accept")
	line("\t\tiifname { %q, %q } ip protocol icmp accept", Operator, Attacker)
	for _, m := range machines {
		line("\t\tiifname %q jump out-%s", m.Place, m.Place)
		line("\t\tiifname %q ip daddr %s tcp dport %d accept", m.Place, ProxyAddress, ProxyPort)
		line("\t\tiifname %q ip daddr %s meta l4proto { tcp, udp } th dport %d accept", m.Place, PlatformAddress, NamePort)
		// On every port: where nobody listens the kernel refuses, as a server on the Internet does.
		line("\t\tiifname %q ip daddr { %s, %s } meta l4proto { tcp, udp } accept", m.Place, OriginAddress, ElsewhereAddress)
		line("\t\tiifname %q meta l4proto tcp reject with tcp reset", m.Place)
		line("\t\tiifname %q reject with icmpx type admin-prohibited", m.Place)
	}
	line("\t}")
	line("}")
	return b.String(), nil
}

func sorted(rules []fabric.Rule, inbound bool) []fabric.Rule {
	var of []fabric.Rule
	for _, rule := range rules {
		if rule.Inbound == inbound {
			of = append(of, rule)
		}
	}
	slices.SortStableFunc(of, func(a, b fabric.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	return of
}

// compile gives the nftables matches, each ending in a space, that together are one rule of Azure's.
func compile(rule fabric.Rule, vnet []netip.Prefix) ([]string, error) {
	sources, err := addresses("saddr", rule.SourcePrefixes, vnet)
	if err != nil {
		return nil, err
	}
	destinations, err := addresses("daddr", rule.DestinationPrefixes, vnet)
	if err != nil {
		return nil, err
	}
	protocol, err := protocolMatch(rule)
	if err != nil {
		return nil, err
	}
	var matches []string
	for _, source := range sources {
		for _, destination := range destinations {
			matches = append(matches, source+destination+protocol)
		}
	}
	return matches, nil
}

func protocolMatch(rule fabric.Rule) (string, error) {
	sourcePorts, err := ports("sport", rule.SourcePorts)
	if err != nil {
		return "", err
	}
	destinationPorts, err := ports("dport", rule.DestinationPorts)
	if err != nil {
		return "", err
	}
	switch strings.ToLower(rule.Protocol) {
	case "tcp":
		return "meta l4proto tcp " + sourcePorts + destinationPorts, nil
	case "udp":
		return "meta l4proto udp " + sourcePorts + destinationPorts, nil
	case "icmp":
		return "meta l4proto icmp ", nil
	case "esp":
		return "meta l4proto esp ", nil
	case "ah":
		return "meta l4proto ah ", nil
	case "*":
		if sourcePorts+destinationPorts == "" {
			return "", nil
		}
		return "meta l4proto { tcp, udp } " + sourcePorts + destinationPorts, nil
	}
	return "", fmt.Errorf("protocol %q is none of Tcp, Udp, Icmp, Esp, Ah, *", rule.Protocol)
}

// addresses gives one match for each way in which an address can be meant by a list of prefixes; the empty match
// fits every address. No match at all: no IPv4 address is meant.
func addresses(field string, prefixes []string, vnet []netip.Prefix) ([]string, error) {
	var plain []netip.Prefix
	internet := false
	for _, text := range prefixes {
		switch strings.ToLower(text) {
		case "*", "0.0.0.0/0":
			return []string{""}, nil
		case "internet":
			internet = true
		case "virtualnetwork":
			plain = append(plain, vnet...)
		case "azureloadbalancer":
			plain = append(plain, netip.MustParsePrefix(platform))
		default:
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				address, addressErr := netip.ParseAddr(text)
				if addressErr != nil {
					return nil, fmt.Errorf("address prefix %q is neither a service tag of the lab's nor a CIDR", text)
				}
				prefix = netip.PrefixFrom(address, address.BitLen())
			}
			if prefix.Addr().Is4() {
				plain = append(plain, prefix.Masked())
			}
		}
	}
	var matches []string
	if internet {
		outside := append(slices.Clone(vnet), netip.MustParsePrefix(platform))
		matches = append(matches, fmt.Sprintf("ip %s != { %s } ", field, joined(outside)))
	}
	if len(plain) > 0 {
		matches = append(matches, fmt.Sprintf("ip %s { %s } ", field, joined(plain)))
	}
	return matches, nil
}

// joined leaves out prefixes that lie in another one: nftables refuses sets that overlap.
func joined(prefixes []netip.Prefix) string {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	var kept []string
	var wide []netip.Prefix
	for _, prefix := range prefixes {
		if !slices.ContainsFunc(wide, func(w netip.Prefix) bool { return w.Overlaps(prefix) }) {
			wide = append(wide, prefix)
			kept = append(kept, prefix.String())
		}
	}
	return strings.Join(kept, ", ")
}

// ports gives the match for a list of ports and ranges of them; the empty match fits every port.
func ports(field string, list []string) (string, error) {
	type span struct{ from, to uint64 }
	var spans []span
	for _, text := range list {
		if text == "*" {
			return "", nil
		}
		low, high, ranged := strings.Cut(text, "-")
		if !ranged {
			high = low
		}
		from, errFrom := strconv.ParseUint(low, 10, 16)
		to, errTo := strconv.ParseUint(high, 10, 16)
		if errFrom != nil || errTo != nil || from > to {
			return "", fmt.Errorf("port range %q is not a port, a range of ports or *", text)
		}
		spans = append(spans, span{from, to})
	}
	if len(spans) == 0 {
		return "", nil
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	merged := spans[:1]
	for _, next := range spans[1:] {
		if last := &merged[len(merged)-1]; next.from <= last.to+1 {
			last.to = max(last.to, next.to)
		} else {
			merged = append(merged, next)
		}
	}
	var parts []string
	for _, s := range merged {
		if s.from == s.to {
			parts = append(parts, strconv.FormatUint(s.from, 10))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", s.from, s.to))
		}
	}
	return fmt.Sprintf("th %s { %s } ", field, strings.Join(parts, ", ")), nil
}

// commentable keeps what a comment of nftables can hold.
func commentable(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, name)
	return name[:min(len(name), 100)]
}
