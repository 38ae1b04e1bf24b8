package host

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/prefix"
	"openclaw-azure/internal/shell"
	"openclaw-azure/templates"
)

// egressFiles say where the agent may go: a change of them is in force after a reload, which restarts nothing.
var egressFiles = []string{gateFolder + "addresses", gateFolder + "gate.cfg", gateFolder + "names", gateFolder + "never", gateFolder + "places",
	gateFolder + "ports", gateFolder + "suffixes", resolverConf, resolverNames}

const (
	gateFolder    = "/etc/openclaw-gate/"
	resolverConf  = "/etc/unbound/openclaw.conf"
	resolverNames = "/etc/unbound/openclaw-names.conf"
)

// packagesOwn are the services that the packages of gate and resolver bring. Ours run the same programs.
var packagesOwn = []string{"haproxy.service", "unbound.service", "unbound-resolvconf.service"}

// reloadEgress has gate and resolver read their lists. Each looks at them first, and goes on with the old ones where they
// are not sound.
var reloadEgress = []string{"systemctl", "reload-or-restart", "openclaw-gate.service", "openclaw-dns.service"}

// networkAnew makes the agent's network from nothing. The agent goes down with it, and comes back where its own unit is
// made for it: one of an older file holds the gateway's port in the host's own network.
const networkAnew = `systemctl daemon-reload
systemctl stop openclaw.service 2>/dev/null
systemctl stop openclaw-entry.socket openclaw-net.service 2>/dev/null
[ -e /etc/systemd/system/openclaw-net.service ] || exit 0
[ ! -e /etc/systemd/system/openclaw-keys.service ] || systemctl start openclaw-keys.socket
systemctl start openclaw-net.service openclaw-gate.socket openclaw-gate.service openclaw-dns.socket openclaw-dns.service openclaw-entry.socket || exit
if [ -x /opt/openclaw/current/bin/openclaw ] && grep -q '^NetworkNamespacePath=' /etc/systemd/system/openclaw.service; then systemctl start openclaw.service; fi`

// within runs a script in the agent's network.
func within(script string) string {
	return "nsenter --net=" + machine.Namespace + " sh -c " + shell.Quote(script)
}

func (h *Host) network() layer.Layer {
	return layer.Layer{
		Directories: []layer.Directory{{Path: "/etc/openclaw-gate", Mode: "0755", Owner: "root", Group: "root"}},
		Checks: []layer.Check{
			{Argv: verifyUnits("openclaw-net.service", "openclaw-gate.socket", "openclaw-gate.service", "openclaw-dns.socket", "openclaw-dns.service",
				"openclaw-entry.socket", "openclaw-entry.service")},
			// A staged file that names another is looked at beside it, and without the sockets that the service has.
			{Argv: []string{"sh", "-c", `cd {stage}/etc && nft -c -f openclaw-gate/gate.nft &&
for file in openclaw-gate/gate.cfg unbound/openclaw.conf; do sed "s|/etc/|{stage}/etc/|; s|socket /run/[a-z-]*/|socket /tmp/|" $file >$file.check; done
GATE_TCP=/tmp/openclaw-tcp GATE_HTTP=/tmp/openclaw-http haproxy -c -q -f openclaw-gate/gate.cfg.check && unbound-checkconf unbound/openclaw.conf.check >/dev/null`}},
		},
		Units: []layer.Unit{
			{Name: "openclaw-net.service", Active: yes},
			{Name: "openclaw-gate.socket", Active: yes},
			{Name: "openclaw-gate.service", Active: yes},
			{Name: "openclaw-dns.socket", Active: yes},
			{Name: "openclaw-dns.service", Active: yes},
			{Name: "openclaw-entry.socket", Active: yes},
			{Name: "openclaw-entry.service"},
		},
		CommandSeconds: 700, // a gateway that ends its work, and one that gets ready
		Quick:          &layer.Quick{Paths: egressFiles, Argv: reloadEgress},
		Reload:         [][]string{{"sh", "-c", networkAnew}},
		Notes:          [][]string{{machine.EgressPath, "refused"}},
		Probes: []layer.Probe{
			layer.Shell("links of the agent's network", "lo", within(`ip -br link | awk '{print $1}' | cut -d@ -f1 | LC_ALL=C sort`)),
			layer.Shell("routes of the agent's network", ownRoutes, within(`ip -4 rule | tr '\t' ' '; ip -4 route show table all | sed 's/ *$//'; ip -6 route show table all | cut -d' ' -f1-4`)),
			layer.Shell("rules of the agent's network", ownRules, within(`nft -s list ruleset`)),
			layer.Shell("ports of the gate and the resolver", ownPorts, within(fmt.Sprintf(`ss -H -ltnu 'sport < :1024 and sport != :%d' | awk '{print $1, $5}' | LC_ALL=C sort`, machine.KeysPort))),
			layer.Command("what gate and resolver have loaded", "as in their files", machine.EgressPath, "loaded"),
			layer.Shell("the gateway's port on the host", fmt.Sprintf("127.0.0.1:%d", machine.GatewayPort),
				fmt.Sprintf(`ss -H -ltn 'sport = :%d' | awk '{print $4}'`, machine.GatewayPort)),
		},
	}
}

// What decides about a packet in the agent's network: loopback, and what gate.nft says.
const (
	ownRoutes = `0: from all lookup local
32766: from all lookup main
32767: from all lookup default
local default dev lo table local scope host
local 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1
local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1
broadcast 127.255.255.255 dev lo table local proto kernel scope link src 127.0.0.1
local 192.0.0.8 dev lo table local proto kernel scope host src 192.0.0.8
local ::1 dev lo`
	ownRules = `table ip gate {
	chain output {
		type nat hook output priority dstnat; policy accept;
		meta l4proto { tcp, udp } th dport 53 redirect to :53
		ip daddr 127.0.0.0/8 return
		tcp dport 80 redirect to :80
		meta l4proto tcp redirect to :1
	}
}`
	ownPorts = `tcp 127.0.0.1:1
tcp 127.0.0.1:53
tcp 127.0.0.1:80
udp 127.0.0.1:53`
)

// neverReached is where the gate takes the agent to under no name and no address, unless agentMayReach says so. VNet and VPN
// are private ranges, as the configuration sees to.
func neverReached() []netip.Prefix {
	all := slices.Concat(prefix.Unroutable, prefix.Documentation, prefix.Special, []netip.Prefix{machine.PlatformAddress})
	slices.SortFunc(all, prefix.Compare)
	return all
}

// EgressDigest names the lists and rules of gate and resolver, so that what is loaded can be told from what was.
func (h *Host) EgressDigest() string {
	total := sha256.New()
	for _, path := range egressFiles {
		text, err := templates.Read(path)
		if err != nil {
			panic(err) // it is compiled in
		}
		total.Write(text)
	}
	fmt.Fprintf(total, "%v %v %v", h.Egress, h.AgentMayReach, h.NeverReached)
	return hex.EncodeToString(total.Sum(nil))[:32]
}

// networkRules are those of the host's firewall that say who may begin what, as `iptables -S` prints them: those of before.rules.
func (h *Host) networkRules() []string {
	const reject = " -j REJECT --reject-with icmp-port-unreachable"
	owner := func(user string) string { return "-m owner --uid-owner {uid:" + user + "}" }
	rules := []string{"-A ufw-before-output " + owner(machine.Service) + reject}
	for _, protocol := range []string{"udp", "tcp"} {
		rules = append(rules, fmt.Sprintf("-A ufw-before-output -d %s -p %s -m %s --dport 53 -j ACCEPT", machine.PlatformAddress, protocol, protocol))
	}
	for _, p := range h.AgentMayReach {
		rules = append(rules, fmt.Sprintf("-A ufw-before-output -d %s/32 -p tcp %s -m tcp --dport %d -j ACCEPT", p.Addr(), owner(machine.Gate), p.Port()))
	}
	for _, user := range []string{machine.Gate, machine.Keys} {
		for _, p := range h.NeverReached {
			rules = append(rules, fmt.Sprintf("-A ufw-before-output -d %s %s%s", p, owner(user), reject))
		}
	}
	rules = append(rules, "-A ufw-before-output "+owner(machine.Resolver)+reject,
		"-A ufw-before-output "+owner(machine.Budget)+reject,
		"-A ufw-before-output -o lo -j ACCEPT",
		"-A ufw-before-output -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-A ufw-before-output -o "+machine.Tunnel+reject,
		fmt.Sprintf("-A ufw-before-output -d %s -p udp -m udp --sport 68 --dport 67 -j ACCEPT", machine.PlatformAddress))
	for _, p := range h.RootAlone() {
		rules = append(rules, fmt.Sprintf("-A ufw-before-output -d %s -m owner ! --uid-owner 0%s", p, reject))
	}
	return rules
}

// platformRules keep the platform's address from everybody but root, in the table `security`, as Azure's agent writes them.
func platformRules() []string {
	to := "-A OUTPUT -d " + machine.PlatformAddress.String() + " -p tcp "
	return []string{"-P INPUT ACCEPT", "-P FORWARD ACCEPT", "-P OUTPUT ACCEPT", to + "-m tcp --dport 53 -j ACCEPT",
		to + "-m owner --uid-owner 0 -j ACCEPT", to + "-m conntrack --ctstate INVALID,NEW -j DROP"}
}
