package place

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"openclaw-azure/lab/internal/fabric"
)

var update = flag.Bool("update", false, "write the golden files")

func rule(name string, priority int, inbound, allow bool, protocol, source, destination, port string) fabric.Rule {
	return fabric.Rule{
		Name: name, Priority: priority, Inbound: inbound, Allow: allow, Protocol: protocol,
		SourcePrefixes: []string{source}, SourcePorts: []string{"*"},
		DestinationPrefixes: []string{destination}, DestinationPorts: []string{port},
	}
}

// defaults are Azure's rules of every network security group.
var defaults = []fabric.Rule{
	rule("DenyAllInBound", 65500, true, false, "*", "*", "*", "*"),
	rule("AllowVnetInBound", 65000, true, true, "*", "VirtualNetwork", "VirtualNetwork", "*"),
	rule("AllowAzureLoadBalancerInBound", 65001, true, true, "*", "AzureLoadBalancer", "*", "*"),
	rule("AllowVnetOutBound", 65000, false, true, "*", "VirtualNetwork", "VirtualNetwork", "*"),
	rule("AllowInternetOutBound", 65001, false, true, "*", "*", "Internet", "*"),
	rule("DenyAllOutBound", 65500, false, false, "*", "*", "*", "*"),
}

func machine(rules ...fabric.Rule) Machine {
	return Machine{
		Place: "vm", Private: netip.MustParseAddr("10.0.1.4"), Public: netip.MustParseAddr("198.18.100.1"),
		VNet: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Rules: rules,
	}
}

var rulesets = []struct {
	name     string
	machines []Machine
}{
	{"none", nil},
	{"no-rules-yet", []Machine{machine()}},
	{"bootstrap", []Machine{machine(append([]fabric.Rule{
		rule("WireGuard", 1002, true, true, "Udp", "0.0.0.0/0", "*", "51820"),
		rule("SSH-Bootstrap", 1001, true, true, "Tcp", "198.18.1.10/32", "*", "22"),
	}, defaults...)...)}},
	{"lists", []Machine{machine(append([]fabric.Rule{
		{
			Name: `odd "name"`, Priority: 100, Inbound: true, Protocol: "*",
			SourcePrefixes: []string{"Internet", "10.1.2.3", "10.1.2.0/24", "2001:db8::/32", "192.0.2.9/24"}, SourcePorts: []string{"*"},
			DestinationPrefixes: []string{"10.0.1.4", "VirtualNetwork"}, DestinationPorts: []string{"80-90", "85-100", "22", "101", "443"},
		},
		{
			Name: "no-ipv4", Priority: 101, Inbound: true, Allow: true, Protocol: "Tcp",
			SourcePrefixes: []string{"::/0"}, DestinationPrefixes: []string{"*"}, DestinationPorts: []string{"*"},
		},
		rule("ping", 102, true, true, "Icmp", "*", "*", "*"),
		rule("esp", 103, true, true, "Esp", "Internet", "*", "*"),
	}, defaults...)...)}},
	{"two-machines", []Machine{machine(defaults...), {
		Place: "vm2", Private: netip.MustParseAddr("10.0.1.5"),
		VNet: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Rules: defaults,
	}}},
}

func TestRulesetIsWhatItWas(t *testing.T) {
	for _, test := range rulesets {
		t.Run(test.name, func(t *testing.T) {
			got, err := Ruleset(test.machines)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", test.name+".nft")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("ruleset differs from %s (-update writes it)\n%s", golden, got)
			}
		})
	}
}

func TestNftablesTakesEveryRuleset(t *testing.T) {
	for _, test := range rulesets {
		t.Run(test.name, func(t *testing.T) {
			text, err := Ruleset(test.machines)
			if err != nil {
				t.Fatal(err)
			}
			// In a namespace of its own, twice: the second load replaces the first.
			cmd := exec.Command("unshare", "--net", "sh", "-ec", "nft -f \"$0\"; nft -f \"$0\"; nft list ruleset", writeTemp(t, text))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("nft: %v\n%s\n%s", err, out, text)
			}
			if strings.Count(string(out), "table inet lab") != 1 {
				t.Errorf("not one table after two loads:\n%s", out)
			}
		})
	}
}

func writeTemp(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.nft")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRulesetRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		rule fabric.Rule
		want string
	}{
		{"tag", rule("r", 100, true, true, "Tcp", "Storage", "*", "22"), `security rule "r": address prefix "Storage" is neither a service tag of the lab's nor a CIDR`},
		{"port", rule("r", 100, true, true, "Tcp", "*", "*", "22-"), `security rule "r": port range "22-" is not a port, a range of ports or *`},
		{"backwards", rule("r", 100, true, true, "Tcp", "*", "*", "90-80"), `security rule "r": port range "90-80" is not a port, a range of ports or *`},
		{"protocol", rule("r", 100, true, true, "Sctp", "*", "*", "22"), `security rule "r": protocol "Sctp" is none of Tcp, Udp, Icmp, Esp, Ah, *`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Ruleset([]Machine{machine(test.rule)})
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestOwnsItsOwnNamespacesOnly(t *testing.T) {
	n := Networks{Lab: "lab"}
	for name, want := range map[string]bool{
		"lab-internet": true, "lab-operator": true, "lab-attacker": true, "lab-vm": true, "lab-vm2": true,
		"lab-b-vm": false, "lab": false, "lab-vmx": false, "labs-vm": false, "lab-operator-vm": false,
	} {
		if n.owns(name) != want {
			t.Errorf("owns(%q) = %v", name, !want)
		}
	}
}
