package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// networkBreak keeps everybody out by what the kernel does with packets, whatever sshd and WireGuard do.
type networkBreak struct {
	name, from string
	do         string // on the host, as root
	undone     string // on the host: succeeds once nothing of it is left
}

const (
	evilTable = `! nft list ruleset | grep -q -e evil -e 'dport [{]* *22, 2222 .*drop'`
	bothPorts = `-p tcp -m multiport --dports 22,2222 -j DROP; `
	tunnels   = `-p udp --dport 51820 -j DROP`
	noLegacy  = `for t in $(cat /proc/net/ip_tables_names); do iptables-legacy -t $t -S; done | grep -v -- '^-P [A-Z]* ACCEPT$' && exit 1; true`
	ownRules  = `test "$(ip -4 rule | wc -l)" = 3 && ip -4 rule | grep -q '^0:.from all lookup local' && ip -4 rule | grep -q '^32766:.from all lookup main'`
	ownRoutes = `! ip -4 route show table all | grep -E '^(blackhole|prohibit|unreachable|throw)|10.0.0.77' && ip route show default | grep -q 'via 10.0.0.1 dev eth0'`
)

// networkBreaks has one for each table and family of both kinds of iptables and of nftables that sees IPv4, and for all
// that a route or the way to it can be.
var networkBreaks = []networkBreak{
	{"iptables' table filter", closed, `iptables -I INPUT ` + bothPorts + `iptables -I INPUT ` + tunnels, evilTable},
	{"iptables' table raw", closed, `iptables -t raw -I PREROUTING ` + bothPorts + `iptables -t raw -I PREROUTING ` + tunnels, `! nft list table ip raw 2>/dev/null | grep drop`},
	{"iptables' table mangle", open, `iptables -t mangle -P PREROUTING DROP`, `! nft list table ip mangle 2>/dev/null | grep drop`},
	{"iptables' table nat", open, `iptables -t nat -I PREROUTING -p tcp -m multiport --dports 22,2222 -j REDIRECT --to-ports 9; iptables -t nat -I PREROUTING -p udp --dport 51820 -j REDIRECT --to-ports 9`,
		`! nft list table ip nat 2>/dev/null | grep redirect`},
	{"iptables' table security", open, `iptables -t security -I INPUT ` + bothPorts + `iptables -t security -I INPUT ` + tunnels, `! iptables -t security -S INPUT | grep -e -A`},
	{"OUTPUT rejects", closed, `iptables -I OUTPUT -p tcp -m multiport --sports 22,2222 -j REJECT; iptables -I OUTPUT -p udp --sport 51820 -j REJECT`, `! iptables -S OUTPUT | grep REJECT`},
	{"legacy iptables, table filter", open, `iptables-legacy -P INPUT DROP`, noLegacy},
	{"legacy iptables, table raw", closed, `iptables-legacy -t raw -I PREROUTING ` + bothPorts + `iptables-legacy -t raw -I PREROUTING ` + tunnels, noLegacy},
	{"legacy iptables, table mangle", open, `iptables-legacy -t mangle -N evil; iptables-legacy -t mangle -A evil -j DROP; iptables-legacy -t mangle -A POSTROUTING -o eth0 -j evil`, noLegacy},
	{"iptables is the older kind, and UFW with it", closed, `update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy; ufw reload >/dev/null; iptables -I INPUT ` + bothPorts + `iptables -I INPUT ` + tunnels,
		noLegacy + `; iptables -V | grep -q nf_tables`},
	{"nftables, family ip", open, `nft 'add table ip evil; add chain ip evil out { type filter hook output priority 300; policy drop; }'`, evilTable},
	{"nftables, family inet", open, `nft 'add table inet evil; add chain inet evil in { type filter hook prerouting priority -400; policy drop; }'`, evilTable},
	{"nftables, a hook in iptables' own table", closed, `nft 'add chain ip filter evil { type filter hook prerouting priority -300; policy drop; }'`, evilTable},
	{"nftables, family arp", open, `nft 'add table arp evil; add chain arp evil in { type filter hook input priority 0; policy drop; }'; ip neigh flush dev eth0; ip neigh del 10.0.0.1 dev eth0 2>/dev/null; true`, evilTable},
	{"nftables, ingress of the interface", closed, `nft 'add table netdev evil; add chain netdev evil in { type filter hook ingress device "eth0" priority 0; }; add rule netdev evil in ip protocol { tcp, udp } drop'`, evilTable},
	{"nftables, egress of the interface", open, `nft 'add table netdev evil; add chain netdev evil out { type filter hook egress device "eth0" priority 0; policy drop; }'`, evilTable},
	{"what nftables.service loads", closed, `printf 'flush ruleset\ntable inet evil { chain in { type filter hook input priority 0; policy drop; }; }\n' >/etc/nftables.conf; systemctl enable -q nftables; systemctl restart nftables`,
		evilTable + `; ! systemctl -q is-enabled nftables`},
	{"a blackhole route", closed, `ip route add blackhole 198.18.1.0/24`, ownRoutes},
	{"a prohibit route in the kernel's own table", open, `ip route add prohibit 198.18.1.0/24 table local`, ownRoutes},
	{"a default route that refuses", open, `ip route prepend unreachable default`, ownRoutes},
	{"the kernel's own routes are gone", open, `ip route flush table main; ip route flush table local`, ownRoutes + ` && ip route show table local | grep -q 'local 10.0.0.4'`},
	{"a policy rule", closed, `ip rule add pref 100 to 198.18.0.0/15 prohibit`, ownRules},
	{"a policy rule to another table", open, `ip route add 198.18.1.0/24 via 10.0.0.77 table 100; ip rule add pref 32766 table 100; ip rule del pref 32766 table main`, ownRules},
	{"an interface's MTU of 68", closed, `ip link set dev eth0 mtu 68`, `test "$(cat /sys/class/net/eth0/mtu)" = 1500`},
	{"systemd-networkd masked, a stale route", closed, `systemctl mask -q --now systemd-networkd.socket systemd-networkd.service 2>/dev/null; ip route replace 198.18.1.0/24 via 10.0.0.77`,
		ownRoutes + ` && systemctl -q is-active systemd-networkd`},
	{"no network manager and no default route", open, `systemctl stop systemd-networkd.socket systemd-networkd.service; ip route del default`, ownRoutes + ` && systemctl -q is-active systemd-networkd`},
}

func init() {
	for _, b := range networkBreaks {
		singular = append(singular, scenario{b.from + ": " + b.name, b.from, false, func(x *trial) { cutOff(x, b) }, open})
	}
	singular = append(singular, scenario{"open: rescue fires, and nothing is broken", open, false, rescuedWhole, open})
	singular = append(singular, scenario{"closed: the gateway is slow to start after a reboot", closed, false, slowGateway, ""})
}

// cutOff breaks the host's network, sees that nobody gets in, and comes back by the flag or by `rescue`.
func cutOff(x *trial, b networkBreak) {
	x.on(b.do)
	if doors := x.openDoors(); doors != "" {
		x.t.Fatalf("the break is not in force: these doors are open: %q", doors)
	}
	if b.from == open {
		x.opensAgain("rescue", x.higher("rescue"))
	} else {
		x.opensAgain()
	}
	if r := x.at("vm", "sh", "-ec", b.undone); r.code != 0 {
		x.t.Errorf("something is left of it: %s: %s", b.undone, r)
	}
	if left := x.at("vm", "nft", "list", "table", "inet", "openclaw-door"); left.code == 0 {
		x.t.Errorf("the break-glass's own rules still decide: %s", left)
	}
	x.quiet()
}

// rescuedWhole fires the break-glass where the door is open: it looks at all of it, and changes nothing.
func rescuedWhole(x *trial) {
	const looks = `nft -a list ruleset | grep -v 'counter packets'; ip -4 rule; ip -4 -d route show table all; stat -c '%n %i' /etc/ssh/sshd_config.d/00-openclaw.conf /etc/ufw/ufw.conf /etc/sudoers.d/90-cloud-init-users
systemctl show -p MainPID --value ssh.service; cat /var/lib/waagent/run-command-handler/download/script/*/stdout | grep -c 'nothing was changed'`
	before := x.on(looks)
	reached, release := x.hold(step{"checks", "base"})
	x.configure("rescue", x.higher("rescue"))
	run := x.up()
	reached(run) // the break-glass has ended, no layer has begun
	after := x.on(looks)
	release()
	x.said = x.wait(run)
	if x.said.code != 0 {
		x.t.Errorf("the run fails: %s", x.said)
	}
	was, now := strings.Split(before, "\n"), strings.Split(after, "\n")
	count := func(lines []string) int { n, _ := strconv.Atoi(lines[len(lines)-1]); return n } // grep -c says a number
	if count(now) != count(was)+1 {
		x.t.Errorf("the break-glass does not say that it changed nothing: %d and then %d times", count(was), count(now))
	}
	if was, now := strings.Join(was[:len(was)-1], "\n"), strings.Join(now[:len(now)-1], "\n"); was != now {
		x.t.Errorf("it changed something: before\n%s\nafter\n%s", was, now)
	}
	x.anyDoor()
}

// consoles is what the machine's console said since it was made.
func (l *one) consoles() string {
	l.t.Helper()
	paths, err := filepath.Glob(filepath.Join(l.root, ".lab", l.name, "machines", "*", "console.log"))
	if err != nil || len(paths) != 1 {
		l.t.Fatalf("one console is wanted: %q %v", paths, err)
	}
	text, err := os.ReadFile(paths[0])
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

// wholeBoot checks that systemd left nothing out of the boot: what removes customData's copies ran, after cloud-init.
func wholeBoot(l *one) {
	l.t.Helper()
	started := func(unit string) int {
		text := l.on(`systemctl show -p ExecMainStartTimestampMonotonic --value ` + unit)
		n, err := strconv.Atoi(text)
		if err != nil || n == 0 {
			l.t.Errorf("%s did not run in this boot: %q", unit, text)
		}
		return n
	}
	if final, scrub := started("cloud-final.service"), started("openclaw-scrub.service"); scrub < final {
		l.t.Errorf("openclaw-scrub.service ran before cloud-init's last stage")
	}
	for line := range strings.Lines(l.consoles()) {
		if strings.Contains(strings.ToLower(line), "ordering cycle") {
			l.t.Errorf("the console says %q", line)
		}
	}
}

// slowGateway is a host whose gateway takes longer to start than Azure's agent may be waited for. Nothing else waits for it.
func slowGateway(x *trial) {
	const seconds = 150
	x.on(fmt.Sprintf(`mkdir -p /etc/systemd/system/openclaw.service.d
printf '[Service]\nExecStartPre=/bin/sleep %d\n' >/etc/systemd/system/openclaw.service.d/slow.conf`, seconds))
	if r := x.lab("", "reboot"); r.code != 0 {
		x.t.Fatal(r)
	}
	x.eventually("cloud-init's last stage and Azure's agent are there", time.Minute, func() error {
		if r := x.at("vm", "systemctl", "is-active", "cloud-final.service", "walinuxagent.service"); r.stdout != "active\nactive\n" {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	// The twin: all that while the gateway is still being started.
	if state := x.on(`systemctl show -p ActiveState --value openclaw.service`); state != "activating" {
		x.t.Errorf("the gateway is %s: nothing was shown", state)
	}
	x.eventually("the copies of customData are looked for", time.Minute, func() error {
		if state := x.on(`systemctl show -p ExecMainExitTimestampMonotonic --value openclaw-scrub.service`); state == "0" {
			return fmt.Errorf("openclaw-scrub.service has not run in this boot")
		}
		return nil
	})
	wholeBoot(x.one)
	x.on(`iptables -P INPUT DROP; iptables -F INPUT`)
	x.opensAgain()
}
