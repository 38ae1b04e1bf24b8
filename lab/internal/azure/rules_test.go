package azure

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"openclaw-azure/lab/internal/fabric"
)

// packet is what rules judge.
type packet struct {
	inbound              bool
	protocol             string
	source, destination  netip.Addr
	sourcePort, destPort int
}

var testNetwork = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}

// admitted evaluates rules as Azure documents it: the first that matches decides.
func admitted(rules []fabric.Rule, p packet) (bool, string) {
	for _, r := range rules {
		if r.Inbound == p.inbound && (r.Protocol == "*" || r.Protocol == p.protocol) &&
			inPrefixes(r.SourcePrefixes, p.source) && inPrefixes(r.DestinationPrefixes, p.destination) &&
			inPorts(r.SourcePorts, p.sourcePort) && inPorts(r.DestinationPorts, p.destPort) {
			return r.Allow, r.Name
		}
	}
	return false, "no rule"
}

func inPrefixes(prefixes []string, address netip.Addr) bool {
	inside := testNetwork[0].Contains(address)
	for _, text := range prefixes {
		switch text {
		case "*":
			return true
		case "VirtualNetwork":
			if inside {
				return true
			}
			continue
		case "AzureLoadBalancer":
			if loadBalancer.Contains(address) {
				return true
			}
			continue
		case "Internet":
			if !inside && !loadBalancer.Contains(address) {
				return true
			}
			continue
		}
		if prefix, ok := parseAddresses(text); ok && prefix.Contains(address) {
			return true
		}
	}
	return false
}

func inPorts(ranges []string, port int) bool {
	for _, text := range ranges {
		if r, ok := parsePorts(text); ok && r.from <= port && port <= r.to {
			return true
		}
	}
	return false
}

func TestRulesInForce(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	vmID := s.vm.state.text("vmId")
	operator, attacker := netip.MustParseAddr("198.18.1.10"), netip.MustParseAddr("198.18.2.10")
	machine, neighbour := netip.MustParseAddr("10.0.1.4"), netip.MustParseAddr("10.0.1.5")
	want := func(what string, admit bool, source netip.Addr, port int) {
		t.Helper()
		got, by := admitted(e.fabric.rules[vmID], packet{true, "Tcp", source, machine, 40000, port})
		if got != admit {
			t.Errorf("%s: admitted %t by %s", what, got, by)
		}
	}
	want("nothing is open at first", false, operator, 22)
	want("but within the network", true, neighbour, 22)
	rule := e.create(securityRule, "ssh", s.ruleInputs(nil))
	want("the operator with the rule", true, operator, 22)
	want("the attacker with the rule", false, attacker, 22)
	want("another port with the rule", false, operator, 2222)
	deny := e.create(securityRule, "deny", s.ruleInputs(object{"priority": 200, "access": "Deny", "sourceAddressPrefix": "*"}))
	want("a rule that comes first", false, operator, 22)
	e.delete(deny)
	want("which is gone again", true, operator, 22)

	// A security group of the subnet has to admit too.
	second := &stack{group: s.group, nsg: e.create(networkSecurityGroup, "second", s.in()(nil))}
	e.update(s.subnet, s.in()(set(s.subnetInputs("10.0.1.0/24"), "networkSecurityGroup.id", second.nsg.id)))
	want("with a second group", false, operator, 22)
	want("within the network, with a second group", true, neighbour, 22)
	e.create(securityRule, "all", second.ruleInputs(object{"sourceAddressPrefix": "Internet", "destinationPortRange": "20-30"}))
	want("with both groups open", true, operator, 22)
	want("the attacker with both groups open", false, attacker, 22)
	want("a port that one group opens", false, operator, 21)

	// The subnet's alone, and none at all.
	e.delete(rule)
	e.update(s.nic, s.in()(set(s.nicInputs(), "networkSecurityGroup", nil)))
	want("with the subnet's group alone", true, attacker, 25)
	e.update(s.subnet, s.in()(s.subnetInputs("10.0.1.0/24")))
	want("without any group a Standard address admits nothing", false, operator, 22)
	out, _ := admitted(e.fabric.rules[vmID], packet{false, "Tcp", machine, operator, 40000, 443})
	equal(t, "outbound without any group", out, true)
}

// Two lists of rules made one admit what both admit, for thousands of packets and lists.
func TestBothAdmit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	prefixes := []string{"*", "Internet", "VirtualNetwork", "AzureLoadBalancer", "10.0.0.0/8", "10.0.1.0/24", "10.0.1.4", "198.18.0.0/15", "198.18.1.10/32", "0.0.0.0/0"}
	ports := []string{"*", "22", "20-30", "25-80", "443", "1-1024"}
	some := func(from []string) []string {
		picked := []string{pick(from...)}
		if random.IntN(3) == 0 {
			picked = append(picked, pick(from...))
		}
		return picked
	}
	rules := func() []fabric.Rule {
		var made []fabric.Rule
		for i := range random.IntN(5) {
			made = append(made, fabric.Rule{
				Name: fmt.Sprint(i), Priority: 100 + i, Inbound: random.IntN(2) == 0, Allow: random.IntN(2) == 0, Protocol: pick("*", "Tcp", "Udp"),
				SourcePrefixes: some(prefixes), SourcePorts: some(ports), DestinationPrefixes: some(prefixes), DestinationPorts: some(ports),
			})
		}
		return append(made, defaultRules...)
	}
	var addresses []netip.Addr
	for _, text := range []string{"10.0.1.4", "10.0.1.5", "10.200.0.1", "198.18.1.10", "198.18.2.10", "168.63.129.16", "1.1.1.1"} {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	for range 200 {
		a, b := rules(), rules()
		both := bothAdmit(a, b, testNetwork)
		for i := 1; i < len(both); i++ {
			if both[i].Priority <= both[i-1].Priority {
				t.Fatal("priorities do not rise")
			}
		}
		for range 100 {
			p := packet{random.IntN(2) == 0, pick("Tcp", "Udp", "Icmp"), addresses[random.IntN(len(addresses))],
				addresses[random.IntN(len(addresses))], random.IntN(500), random.IntN(500)}
			byA, _ := admitted(a, p)
			byB, _ := admitted(b, p)
			got, by := admitted(both, p)
			if got != (byA && byB) {
				t.Fatalf("%+v: one admits %t, the other %t, together %t by %q", p, byA, byB, got, by)
			}
		}
	}
}
