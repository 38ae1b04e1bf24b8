package breakglass

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wire is a host with an interface, and somebody outside at its other end. Both are network namespaces, whose packet
// filters and routes are the kernel's own.
type wire struct {
	t             *testing.T
	host, outside int // a process in each
	question      io.Writer
	answer        *bufio.Reader
}

const (
	hostAddress    = "10.0.0.4"
	outsideAddress = "198.18.1.10"
)

// answers is a host's sshd and WireGuard, as far as a packet filter knows: they answer on TCP 22 and UDP 51820.
const answers = `
import socket, threading
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 51820))
def echo():
    while True:
        try:
            udp.sendto(*udp.recvfrom(2000))
        except OSError:  # what a break does to the answers' way out
            pass
threading.Thread(target=echo, daemon=True).start()
tcp = socket.create_server(("0.0.0.0", 22))
print("ready", flush=True)
while True:
    connection, _ = tcp.accept()
    try:
        connection.sendall(b"SSH-2.0-" + b"x" * 300)
    except OSError:
        pass
    connection.close()
`

// asks prints the doors from which an answer comes, 22 and 51820, for each line that it reads.
const asks = `
import socket, sys
print("ready", flush=True)
for _ in sys.stdin:
    doors = []
    try:
        with socket.create_connection(("` + hostAddress + `", 22), timeout=0.5) as tcp:
            if len(tcp.makefile("rb").read()) == 308: doors.append("22")
    except OSError: pass
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(0.5)
            udp.sendto(b"x" * 148, ("` + hostAddress + `", 51820))
            if len(udp.recv(2000)) == 148: doors.append("51820")
    except OSError: pass
    print(*doors, flush=True)
`

const bothDoors = "22 51820"

func newWire(t *testing.T) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	w := &wire{t: t}
	// Its own /sys names the interfaces; the namespaces go with their only process.
	w.host = w.hold("unshare", "--net", "--mount", "sh", "-c", "mount --make-rprivate / && mount -t sysfs sysfs /sys && echo ready && exec sleep 600")
	w.outside = w.hold("unshare", "--net", "sh", "-c", "echo ready && exec sleep 600")
	w.must(w.host, fmt.Sprintf(`ip link set lo up
ip link add dev eth0 type veth peer name eth0 netns %d
ip address add %s/24 dev eth0
ip address add 10.0.0.5/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.0.1`, w.outside, hostAddress))
	w.must(w.outside, `ip link set lo up
ip address add 10.0.0.1/24 dev eth0
ip address add `+outsideAddress+`/32 dev lo
ip link set eth0 up
ip route replace 10.0.0.0/24 dev eth0 src `+outsideAddress)
	w.hold("nsenter", "--net", fmt.Sprintf("--target=%d", w.host), "/usr/bin/python3", "-c", answers)
	_, w.question, w.answer = w.talk("nsenter", "--net", fmt.Sprintf("--target=%d", w.outside), "/usr/bin/python3", "-c", asks)
	return w
}

// hold starts a program that says ready and stays until the test ends.
func (w *wire) hold(name string, args ...string) (pid int) {
	w.t.Helper()
	pid, _, _ = w.talk(name, args...)
	return pid
}

// talk is hold, with the program's input and output.
func (w *wire) talk(name string, args ...string) (int, io.Writer, *bufio.Reader) {
	w.t.Helper()
	c := exec.Command(name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := c.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	pipe, err := c.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	})
	if said, err := out.ReadString('\n'); said != "ready\n" {
		w.t.Fatalf("%s says %q: %v", name, said, err)
	}
	return c.Process.Pid, in, out
}

// in runs a script in one of the two namespaces.
func (w *wire) in(pid int, shell, script string, environment ...string) (stdout, stderr string, exit int) {
	w.t.Helper()
	c := exec.Command("nsenter", fmt.Sprintf("--target=%d", pid), "--net", "--mount", shell, "-c", script)
	c.Env = append(os.Environ(), environment...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); c.ProcessState == nil {
		w.t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

func (w *wire) must(pid int, script string) {
	w.t.Helper()
	if out, errs, exit := w.in(pid, "sh", "set -e\n"+script); exit != 0 {
		w.t.Fatalf("%s: exit %d\n%s%s", script, exit, out, errs)
	}
}

// open names the doors from which an answer comes to somebody outside.
func (w *wire) open() string {
	w.t.Helper()
	if _, err := w.question.Write([]byte("\n")); err != nil {
		w.t.Fatal(err)
	}
	doors, err := w.answer.ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(doors)
}

// opens waits until both doors answer: the other end may have to ask for the host's address again.
func (w *wire) opens() {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for doors := w.open(); doors != bothDoors; doors = w.open() {
		if time.Now().After(deadline) {
			out, _, _ := w.in(w.host, "sh", `nft list ruleset; ip -4 -d rule; ip -4 -d route show table all; ip link; ip neigh`)
			w.t.Fatalf("these doors answer: %q\n%s", doors, out)
		}
	}
}

// script runs the break-glass's own functions on the host. What it would tell systemd is not told: the machine around is
// not the host.
func (w *wire) script(shell, run string) (said string) {
	w.t.Helper()
	dir := w.t.TempDir()
	out, errs, exit := w.in(w.host, shell, functions(w.t)+`
work=`+dir+` state=`+dir+`/state applier=`+dir+`/apply.py
systemctl() { :; }
managed() { false; }
`+run, "ALLOWED_CIDRS=198.18.1.0/24,192.0.2.1/32")
	if exit != 0 {
		w.t.Errorf("%s: exit %d: %s%s", run, exit, out, errs)
	}
	return out + errs
}

const mends = `mend_network; mend_filter`

// Breaks of the host's network that keep the administrator out, and what the script calls each.
var breaks = []struct{ name, do, problem string }{
	{"iptables, table filter", `iptables -I INPUT -p tcp --dport 22 -j DROP`, "UFW does not admit 198.18.1.0/24"},
	{"iptables, OUTPUT rejects", `iptables -I OUTPUT -p tcp --sport 22 -j REJECT; iptables -I OUTPUT -p udp -j REJECT`, "UFW does not admit 198.18.1.0/24"},
	{"iptables, table raw", `iptables -t raw -I PREROUTING -p tcp -m multiport --dports 22,2222 -j DROP; iptables -t raw -I PREROUTING -p udp --dport 51820 -j DROP`, "the table ip raw holds rules"},
	{"iptables, table mangle", `iptables -t mangle -P PREROUTING DROP`, "the table ip mangle holds rules"},
	{"iptables, table nat", `iptables -t nat -I PREROUTING -p tcp --dport 22 -j REDIRECT --to-ports 9`, "the table ip nat holds rules"},
	{"iptables, table security", `iptables -t security -I INPUT -p tcp --dport 22 -j DROP; iptables -t security -I OUTPUT -d 168.63.129.16 -j ACCEPT`, "the table ip security holds rules"},
	{"legacy iptables, table filter", `iptables-legacy -P INPUT DROP`, "iptables-legacy, table filter: -P INPUT DROP"},
	{"legacy iptables, table raw", `iptables-legacy -t raw -N evil; iptables-legacy -t raw -A evil -j DROP; iptables-legacy -t raw -A PREROUTING -p udp -j evil; iptables-legacy -t raw -A PREROUTING -p tcp -j evil`, "iptables-legacy, table raw: -N evil"},
	{"legacy iptables, table mangle", `iptables-legacy -t mangle -P POSTROUTING DROP`, "iptables-legacy, table mangle: -P POSTROUTING DROP"},
	{"nftables, family inet", `nft 'add table inet evil; add chain inet evil in { type filter hook input priority -5; policy drop; }'`, "the table inet evil holds rules"},
	{"nftables, family ip", `nft 'add table ip evil; add chain ip evil out { type filter hook output priority 300; }; add rule ip evil out meta l4proto { tcp, udp } drop'`, "the table ip evil holds rules"},
	{"nftables, family arp", `nft 'add table arp evil; add chain arp evil in { type filter hook input priority 0; policy drop; }'; ip neigh flush dev eth0; ip neigh del 10.0.0.1 dev eth0 2>/dev/null || true`, "the table arp evil holds rules"},
	{"nftables, family netdev, ingress", `nft 'add table netdev evil; add chain netdev evil in { type filter hook ingress device "eth0" priority 0; }; add rule netdev evil in ip protocol { tcp, udp } drop'`, "the table netdev evil holds rules"},
	{"nftables, family netdev, egress", `nft 'add table netdev evil; add chain netdev evil out { type filter hook egress device "eth0" priority 0; policy drop; }'`, "the table netdev evil holds rules"},
	{"nftables, family inet, ingress", `nft 'add table inet evil; add chain inet evil in { type filter hook ingress device "eth0" priority 0; policy drop; }'`, "the table inet evil holds rules"},
	{"nftables, in iptables' own table", `nft 'add table ip filter; add chain ip filter evil { type filter hook prerouting priority -300; policy drop; }'`, "UFW does not admit 198.18.1.0/24"},
	{"nftables, in fail2ban's table", `nft 'add table inet f2b-table; add chain inet f2b-table evil { type filter hook input priority -1; }; add rule inet f2b-table evil tcp dport 22 drop'`, "the table inet f2b-table holds rules"},
	{"a ban", `nft 'add table inet f2b-table; add set inet f2b-table addr-set-sshd { type ipv4_addr; elements = { ` + outsideAddress + ` } }; add chain inet f2b-table c { type filter hook input priority -1; }; add rule inet f2b-table c tcp dport { 22, 2222 } ip saddr @addr-set-sshd reject'`, "the table inet f2b-table holds rules"},
	{"blackhole route", `ip route add blackhole 198.18.1.0/24`, "there is a route of nobody's: blackhole 198.18.1.0/24 main boot"},
	{"prohibit route in the table local", `ip route add prohibit 198.18.0.0/15 table local proto kernel`, "there is a route of nobody's: prohibit 198.18.0.0/15 local kernel"},
	{"unreachable default", `ip route replace unreachable default metric 0`, "there is a route of nobody's: unreachable default main boot"},
	{"a route to nowhere", `ip route add 198.18.1.0/24 via 10.0.0.77`, "there is a route of nobody's: unicast 198.18.1.0/24 main boot"},
	{"no default route", `ip route del default`, "there is no default route"},
	{"the kernel's own routes are gone", `ip route flush table main; ip route flush table local`, "the kernel's own routes are gone"},
	{"policy rule", `ip rule add pref 100 to 198.18.0.0/15 prohibit`, "there are policy rules"},
	{"policy rule at the kernel's number", `ip rule add pref 32766 blackhole; ip rule del pref 32766 table main`, "there are policy rules"},
	{"policy rule to another table", `ip route add throw default table 100; ip route add 198.18.1.0/24 dev lo table 100; ip rule add pref 9 table 100`, "there are policy rules"},
	{"MTU of 68", `ip link set eth0 mtu 68`, "the MTU of eth0 is too small"},
	{"the interface is down", `ip link set eth0 down`, "there is no default route"},
}

// Each break is in force, has its name, and one run mends it; a second has nothing to do.
func TestMendsEveryBreak(t *testing.T) {
	w := newWire(t)
	const name = `problem=$(network_problem); [ -n "$problem" ] || problem=$(filter_problem); echo "problem: $problem"; `
	if said := w.script("dash", name+mends); said != "problem: \n" {
		t.Fatalf("where nothing is broken it says %q", said)
	}
	for i, c := range breaks {
		t.Run(c.name, func(t *testing.T) {
			w := &wire{t, w.host, w.outside, w.question, w.answer}
			w.must(w.host, "nft flush ruleset") // the script's own of before
			w.opens()
			w.must(w.host, c.do)
			if doors := w.open(); doors == bothDoors {
				t.Fatal("the break breaks nothing")
			}
			said := strings.Split(w.script(shells[i%len(shells)], name+mends+"; "+name), "\n")
			if len(said) != 4 || said[0] != "problem: "+c.problem || !strings.HasPrefix(said[1], "open-door: ") || said[2] != "problem: " {
				t.Errorf("it says %q, and is to say %q, what it mends, and then that there is no problem", said, c.problem)
			}
			w.opens()
		})
	}
}

// All of it at once, in one run of the script.
func TestMendsAllBreaksAtOnce(t *testing.T) {
	w := newWire(t)
	for _, c := range breaks {
		w.in(w.host, "sh", c.do) // some leave nothing for another to break
	}
	if doors := w.open(); doors != "" {
		t.Fatalf("these answer: %q", doors)
	}
	w.script("dash", mends)
	w.opens()
	// systemd-networkd, whenever it starts, takes away what is not the kernel's.
	w.must(w.host, `test "$(ip -4 -d rule | grep -c -w 'proto kernel')" = 3`)
}

// What the packet filter of the script lets through, and what not.
func TestDoorsOwnFilter(t *testing.T) {
	w := newWire(t)
	w.must(w.host, `nft 'add table inet evil; add chain inet evil in { type filter hook input priority -5; policy drop; }'`)
	w.script("dash", mends)
	w.opens()
	// What bounded the agent's users is gone with the rest: they reach nothing, and others do. nobody is one of them here.
	w.must(w.host, `nft add table inet evil; nft 'add chain inet evil in { type filter hook input priority -5; policy drop; }'`)
	w.script("dash", `getent() { [ "$2" = haproxy ]; }; nft() { sed s/haproxy/nobody/ | command nft "$@"; }; `+mends)
	w.opens()
	dials := `/usr/bin/python3 -c 'import socket; socket.create_connection(("` + hostAddress + `", 22), 2)'`
	if _, _, code := w.in(w.host, "sh", `setpriv --reuid nobody --clear-groups `+dials); code == 0 {
		t.Error("a user of the agent's reaches something")
	}
	w.must(w.host, `setpriv --reuid daemon --clear-groups `+dials)
	// The twin: somebody who is not allowed.
	w.must(w.outside, `ip address add 203.0.113.5/32 dev lo; ip route replace 10.0.0.0/24 dev eth0 src 203.0.113.5`)
	if doors := w.open(); doors != "51820" {
		t.Errorf("to a stranger these answer: %q", doors)
	}
	if said := w.script("bash", `cidrs=203.0.113.0/24; filter_problem`); said != "it was opened to others\n" {
		t.Errorf("for others the door is said to be %q", said)
	}
	if said := w.script("dash", `cidrs=203.0.113.0/24; `+mends); said != "open-door: taking over the packet filter: it was opened to others\n" {
		t.Errorf("%q", said)
	}
	w.opens()
}

// What may filter beside an open door: the layers' own filter while they stand by it, fail2ban while it bans nobody, what
// Azure's agent keeps on Ubuntu, and tables that decide nothing.
func TestOpenDoorStays(t *testing.T) {
	w := newWire(t)
	const ufw = `iptables -P INPUT DROP; iptables -N ufw-user-input; iptables -A INPUT -j ufw-user-input
for cidr in 198.18.1.0/24 192.0.2.1/32; do iptables -A ufw-user-input -s $cidr -p tcp -m tcp --dport 22 -j ACCEPT; done
iptables -A ufw-user-input -p udp --dport 51820 -j ACCEPT; ip6tables -P INPUT DROP; `
	const azure = `iptables -t security -A OUTPUT -d 168.63.129.16/32 -p tcp -m tcp --dport 53 -j ACCEPT
iptables -t security -A OUTPUT -d 168.63.129.16/32 -p tcp -m owner --uid-owner 0 -j ACCEPT
iptables -t security -A OUTPUT -d 168.63.129.16/32 -p tcp -m conntrack --ctstate INVALID,NEW -j DROP; `
	const idle = `iptables -t nat -S >/dev/null; iptables-legacy -t raw -S >/dev/null
nft 'add table inet f2b-table; add set inet f2b-table addr-set-sshd { type ipv4_addr; }; add chain inet f2b-table c { type filter hook input priority -1; }; add rule inet f2b-table c tcp dport { 22, 2222 } ip saddr @addr-set-sshd reject'; `
	w.must(w.host, ufw+azure+idle)
	applier := func(drift string) string {
		return `echo 'print("""{"layers": {"firewall": {"drift": ` + drift + `}}}""")' >"$applier"; `
	}
	before, _, _ := w.in(w.host, "sh", "nft list ruleset")
	for _, shell := range shells {
		if said := w.script(shell, applier("[]")+`filter_problem; `+mends); said != "" {
			t.Errorf("%s: the door is open, and it says %q", shell, said)
		}
		if said := w.script(shell, applier(`[{"subject": "x"}]`)+`filter_problem`); said != "it is not as the layers declared it\n" {
			t.Errorf("%s: with drift it says %q", shell, said)
		}
		if said := w.script(shell, `filter_problem`); said != "it is not as the layers declared it\n" {
			t.Errorf("%s: without the applier it says %q", shell, said)
		}
		if said := w.script(shell, applier("[]")+`cidrs="$cidrs 203.0.113.0/24"; filter_problem`); said != "UFW does not admit 203.0.113.0/24\n" {
			t.Errorf("%s: for somebody new it says %q", shell, said)
		}
	}
	if after, _, _ := w.in(w.host, "sh", "nft list ruleset"); after != before {
		t.Errorf("it changed something:\n%s", after)
	}
	// The agent's three rules are no shelter for others.
	w.must(w.host, `iptables -t security -A INPUT -p tcp --dport 22 -j DROP`)
	if said := w.script("dash", applier("[]")+`filter_problem`); said != "the table ip security holds rules\n" {
		t.Errorf("%q", said)
	}
}

// Where nft is gone although the layers brought it, what it left in the kernel cannot be seen.
func TestFilterWithoutNft(t *testing.T) {
	w := newWire(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "layers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if said := w.script("dash", `state=`+dir+`; have() { [ "$1" != nft ]; }; filter_problem`); said != "nft is missing\n" {
		t.Errorf("%q", said)
	}
}
