package host

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/keys/keystest"
	"openclaw-azure/internal/machine"
	"openclaw-azure/templates"
)

func networkOf(t *testing.T, set map[string]string) *Host {
	t.Helper()
	stack, peers := keystest.Keys(t)
	return newHostOf(testConfig(t, set), stack, peers)
}

// TestAgentStaysOutOfTheHostsNetwork: its user is refused before anything is accepted, on loopback too.
func TestAgentStaysOutOfTheHostsNetwork(t *testing.T) {
	h := networkOf(t, nil)
	rules, err := h.render("/etc/ufw/before.rules")
	if err != nil {
		t.Fatal(err)
	}
	var first string
	for line := range strings.Lines(string(rules)) {
		if strings.HasPrefix(line, "-A ufw-before-output") {
			first = strings.TrimSpace(line)
			break
		}
	}
	if want := "-A ufw-before-output -m owner --uid-owner " + machine.Service + " -j REJECT"; first != want {
		t.Errorf("the first rule for what leaves is %q, want %q", first, want)
	}
}

// TestGateNeverReachesInside: neither the gate's own list nor the firewall's rules for its user leave out the machine
// itself, the platform, the VNet, the VPN or any other range that is not the Internet's.
func TestGateNeverReachesInside(t *testing.T) {
	h := networkOf(t, map[string]string{"openclaw:vpnCidr": "100.64.7.0/24", "openclaw:agentMayReach": "100.64.7.2:11434,10.0.0.9:5432"})
	list, err := h.render("/etc/openclaw-gate/never")
	if err != nil {
		t.Fatal(err)
	}
	var never []netip.Prefix
	for _, line := range strings.Fields(string(list)) {
		never = append(never, netip.MustParsePrefix(line))
	}
	for _, text := range []string{"127.0.0.1", "169.254.169.254", "168.63.129.16", "10.0.0.4", "100.64.7.1", "172.16.0.1", "192.168.1.1",
		"224.0.0.1", "255.255.255.255", "0.0.0.0", "192.0.0.9", "203.0.113.1"} {
		address := netip.MustParseAddr(text)
		if !slices.ContainsFunc(never, func(p netip.Prefix) bool { return p.Contains(address) }) {
			t.Errorf("the gate's list leaves out %s", text)
		}
	}
	for _, text := range []string{"20.30.40.50", "1.1.1.1", "198.18.10.10"} {
		address := netip.MustParseAddr(text)
		if slices.ContainsFunc(never, func(p netip.Prefix) bool { return p.Contains(address) }) {
			t.Errorf("the gate's list has %s, which is on the Internet, or stands for it in the lab", text)
		}
	}
	rules := strings.Join(h.networkRules(), "\n")
	for _, p := range never {
		if want := fmt.Sprintf("-d %s -m owner --uid-owner {uid:haproxy} -j REJECT", p); !strings.Contains(rules, want) {
			t.Errorf("the firewall's rules lack %q:\n%s", want, rules)
		}
	}
	// What is allowed comes before what is refused, for the gate alone and for one port.
	allowed := strings.Index(rules, "-d 100.64.7.2/32 -p tcp -m owner --uid-owner {uid:haproxy} -m tcp --dport 11434 -j ACCEPT")
	refused := strings.Index(rules, "-d 100.64.0.0/10 -m owner --uid-owner {uid:haproxy} -j REJECT")
	if allowed < 0 || refused < allowed {
		t.Errorf("the exception stands at %d, the refusal at %d:\n%s", allowed, refused, rules)
	}
	names := strings.Index(rules, "-d 168.63.129.16/32 -p udp -m udp --dport 53 -j ACCEPT")
	nothing := strings.Index(rules, "-A ufw-before-output -m owner --uid-owner {uid:unbound} -j REJECT")
	local := strings.Index(rules, "-o lo -j ACCEPT")
	if names < 0 || nothing < names || local < nothing {
		t.Errorf("the resolver may do more than ask the platform's, or not that:\n%s", rules)
	}
}

// TestOthersReachNothingInside: whoever it is, nothing of this machine's begins anything in the VPN; Azure's addresses and the
// VNet are root's alone, but for names and DHCP. What was begun from there is answered.
func TestOthersReachNothingInside(t *testing.T) {
	h := networkOf(t, map[string]string{"openclaw:vnetCidr": "10.7.0.0/24", "openclaw:agentMayReach": "10.100.0.2:11434"})
	text, err := h.render("/etc/ufw/before.rules")
	if err != nil {
		t.Fatal(err)
	}
	rules := string(text)
	last := -1
	for _, want := range []string{
		"-A ufw-before-output -d 168.63.129.16/32 -p udp --dport 53 -j ACCEPT",
		"-A ufw-before-output -m owner --uid-owner haproxy -d 10.100.0.2 -p tcp --dport 11434 -j ACCEPT",
		"-A ufw-before-output -o lo -j ACCEPT",
		"-A ufw-before-output -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-A ufw-before-output -o wg0 -j REJECT",
		"-A ufw-before-output -d 168.63.129.16/32 -p udp --sport 68 --dport 67 -j ACCEPT",
		"-A ufw-before-output -d 169.254.0.0/16 -m owner ! --uid-owner 0 -j REJECT",
		"-A ufw-before-output -d 168.63.129.16/32 -m owner ! --uid-owner 0 -j REJECT",
		"-A ufw-before-output -d 10.7.0.0/24 -m owner ! --uid-owner 0 -j REJECT",
		"*security", "-F OUTPUT",
	} {
		at := strings.Index(rules, "\n"+want+"\n")
		if at < 0 || at < last {
			t.Errorf("%q is missing, or stands too early:\n%s", want, rules)
		}
		last = at
	}
}

// TestEgressIsRendered: each mode, in the files that gate and resolver read.
func TestEgressIsRendered(t *testing.T) {
	for _, test := range []struct {
		name, egress string
		files        map[string]string
		resolver     string
	}{
		{"open", "open", map[string]string{"names": "", "suffixes": "", "places": "", "ports": "", "addresses": "10.100.0.2:11434\n"}, ""},
		{"none", "none", map[string]string{"names": "", "suffixes": "", "places": "", "ports": "", "addresses": "10.100.0.2:11434\n"},
			"local-zone: \".\" always_nxdomain\n"},
		{"list", "b.example.com, A.example.com,.example.org,git.example.net:22,git.example.net:443,20.30.40.50:6667", map[string]string{
			"names": "a.example.com\nb.example.com\n", "suffixes": ".example.org\n", "places": "git.example.net:22\ngit.example.net:443\n",
			"ports": "22 git.example.net\n", "addresses": "20.30.40.50:6667\n10.100.0.2:11434\n"},
			"local-zone: \".\" always_nxdomain\n" + `local-zone: "a.example.com." transparent
local-zone: "b.example.com." transparent
local-zone: "example.org." transparent
local-zone: "git.example.net." transparent
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := networkOf(t, map[string]string{"openclaw:egress": test.egress, "openclaw:agentMayReach": "10.100.0.2:11434"})
			for name, want := range test.files {
				got, err := h.render(gateFolder + name)
				if err != nil || string(got) != want {
					t.Errorf("%s: got %q, want %q (%v)", name, got, want, err)
				}
			}
			names, err := h.render(resolverNames)
			if err != nil {
				t.Fatal(err)
			}
			var zones strings.Builder
			for line := range strings.Lines(string(names)) {
				if !strings.HasPrefix(line, "#") {
					zones.WriteString(line)
				}
			}
			if zones.String() != test.resolver {
				t.Errorf("the resolver's names: got %q, want %q", zones.String(), test.resolver)
			}
			config, err := h.render(gateFolder + "gate.cfg")
			if err != nil {
				t.Fatal(err)
			}
			if listed := strings.Contains(string(config), "reject if !listed") && strings.Contains(string(config), "deny_status 403 if !listed"); listed != (test.egress != "open") {
				t.Errorf("the gate goes by a list: %v\n%s", listed, config)
			}
		})
	}
}

// TestEgressDigestTellsListsApart: a change that is not loaded has to be seen.
func TestEgressDigestTellsListsApart(t *testing.T) {
	seen := map[string]string{}
	for name, set := range map[string]map[string]string{
		"open": nil, "none": {"openclaw:egress": "none"}, "a list": {"openclaw:egress": "a.example.com"}, "another": {"openclaw:egress": "b.example.com"},
		"an exception": {"openclaw:agentMayReach": "10.100.0.2:1"},
	} {
		digest := networkOf(t, set).EgressDigest()
		if other, twice := seen[digest]; twice {
			t.Errorf("%s and %s have the digest %s", name, other, digest)
		}
		seen[digest] = name
	}
}

// TestNoRegularExpressions: HAProxy compiles them to memory that is written and run, which its units may not have; it would not start.
func TestNoRegularExpressions(t *testing.T) {
	for _, path := range []string{"/etc/openclaw-gate/gate.cfg", "/etc/openclaw-keys/keys.cfg"} {
		text, err := templates.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`(?m)^ .*(-m reg|_reg\b|regsub|regm|replace-).*$`).Find(text); found != nil {
			t.Errorf("%s has a regular expression: %s", path, found)
		}
	}
}
