package scenarios

import (
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// background runs a program at a place until the step ends.
func (l *one) background(stdin, name string, args ...string) (stop func()) {
	l.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = l.root, append(cmd.Environ(), "LAB="+l.name)
	cmd.Stdin = strings.NewReader(stdin)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// neighbours puts Azure's metadata service, a web server at its platform address, another machine of the VNet and a
// peer's device around the host, while f runs.
func neighbours(l *one, f func()) {
	l.t.Helper()
	const platform, metadata, machine = "168.63.129.16", "169.254.169.254", "10.0.0.7"
	for _, address := range []string{metadata, machine} { // the platform's is the router's already
		l.router("ip address add " + address + "/32 dev vm")
		defer l.router("ip address del " + address + "/32 dev vm")
	}
	l.router(`nft insert rule inet lab input iifname vm accept comment '"neighbours"'`)
	defer l.router(`nft delete rule inet lab input handle $(nft -a list chain inet lab input | sed -n 's/.*"neighbours" # handle //p')`)
	defer l.background("", "ip", "netns", "exec", l.name+"-internet", "python3", "-c", program(l.t, "neighbours.py"), platform, metadata, machine)()

	config := l.secretFile(l.tempDir(), "claw0.conf", l.peer("laptop"))
	if up := l.at("operator", "wg-quick", "up", config); up.code != 0 {
		l.t.Fatalf("wg-quick up: %s", up)
	}
	defer l.at("operator", "wg-quick", "down", config)
	defer l.background("", l.root+"/bin/lab", "exec", "operator", "--", "python3", "-m", "http.server", "--bind", "10.100.0.2", "8000")()
	l.eventually("the peer is up", 30*time.Second, func() error {
		if r := l.at("operator", "ping", "-c", "1", "-W", "2", "10.100.0.1"); r.code != 0 {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	knocking(l, func() {
		l.eventually("the neighbours answer root", 30*time.Second, func() error {
			for _, url := range []string{"http://" + platform, "http://" + metadata, "http://" + machine, "http://10.100.0.2:8000"} {
				if r := l.at("vm", "curl", "-s", "-f", "-m", "3", url); r.code != 0 {
					return fmt.Errorf("%s: %s", url, r)
				}
			}
			return nil
		})
	})
	f()
}

// knocking lets the host begin something in the VPN while f runs, as nobody may: the twin of what does not get there.
func knocking(l *one, f func()) {
	l.t.Helper()
	l.on(`iptables -I ufw-before-output -o wg0 -j ACCEPT`)
	defer l.on(`iptables -D ufw-before-output -o wg0 -j ACCEPT`)
	f()
}

var verdict = regexp.MustCompile(`(?m)^(.+): (yes|no)$`)

// probes reads what the script of probes said.
func probes(said string) map[string]bool {
	found := map[string]bool{}
	for _, m := range verdict.FindAllStringSubmatch(said, -1) {
		found[m[1]] = m[2] == "yes"
	}
	return found
}

// agentStaysIn tries from within a turn all that the agent must not be able to do, and as root, its twin, that each of
// it can be done on this host.
func agentStaysIn(l *one) {
	script := program(l.t, "probes.sh")
	allowed := []string{"resolves names", "reaches the Internet", "runs git, sh and node", "listens on another port"}
	neighbours(l, func() {
		run := func(user string) map[string]bool {
			said := l.command(script, 5*time.Minute, l.root+"/bin/lab", "exec", "vm", "--", "runuser", "-u", user, "--", "sh", "-c",
				`PATH=$PATH:/opt/openclaw/current/bin exec sh -s`)
			found := probes(said.stdout)
			if len(found) < 20 {
				l.t.Fatalf("the probes said too little as %s: %s", user, said)
			}
			return found
		}
		var root map[string]bool
		knocking(l, func() { root = run("root") })
		for _, name := range slices.Sorted(maps.Keys(root)) {
			if !root[name] {
				l.t.Errorf("the twin fails: root cannot do it either: %s", name)
			}
		}
		// The firewall alone, without the unit around: the user has no network there.
		outside := run("openclaw")
		for name := range root {
			if strings.HasPrefix(name, "reaches ") && outside[name] {
				l.t.Errorf("the service's user, outside of its unit: %s", name)
			}
		}
		// /dev/hugepages is root's to write to.
		writable := l.on(`awk '$6 ~ /^rw/ && $6 !~ /noexec/ && $5 !~ "^/dev/(hugepages|mqueue)$" { last[$5] = NR } { any[$5] = NR } END { for (p in last) if (last[p] == any[p]) print p }' /proc/` + l.mainPID() + `/mountinfo`)
		if writable != "" {
			l.t.Errorf("what the agent writes there it may run: %q", writable)
		}
		agent := probes(l.turn(script))
		for _, name := range slices.Sorted(maps.Keys(root)) {
			could, tried := agent[name]
			if !tried {
				l.t.Errorf("the agent did not try: %s", name)
				continue
			}
			if could != slices.Contains(allowed, name) {
				l.t.Errorf("the agent: %s: %v", name, could)
			}
		}
		othersReachNothingInside(l)
	})
}

// othersReachNothingInside: nobody on the host, root neither, begins anything in the VPN, and root alone something with Azure's own
// addresses and in the VNet. The twin is that they ask for names, and reach the Internet.
func othersReachNothingInside(l *one) {
	l.t.Helper()
	const inside = "169.254.169.254 168.63.129.16 10.0.0.7"
	for user, want := range map[string]string{"root": inside, "claw": "", "nobody": ""} {
		said := l.on(`for place in ` + inside + ` 10.100.0.2:8000; do
if runuser -u ` + user + ` -- curl -sf -o /dev/null -m 6 http://$place/; then echo $place; fi; done
runuser -u ` + user + ` -- curl -sf -o /dev/null -m 6 http://www.good.example/ && echo the Internet`)
		if got := strings.Join(strings.Split(said, "\n"), " "); got != strings.TrimSpace(want+" the Internet") {
			l.t.Errorf("%s reaches %q, want %q", user, got, want)
		}
	}
}

// agentsJournal: nothing that the agent or what runs as it says is in the machine's own journal, whatever it says it is.
func agentsJournal(l *one) {
	const forged = "Failed publickey for claw from 10.100.0.77 port 50000 ssh2"
	l.turn(`logger -t sshd '` + forged + `'; logger --socket /run/systemd/journal/dev-log -t sshd '` + forged + `'
python3 -c 'import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"SYSLOG_IDENTIFIER=sshd\nMESSAGE=` + forged + `\n", "/run/systemd/journal/socket")'
echo '` + forged + `' >/proc/$PPID/fd/1`)
	l.reads([]reading{
		{"the machine's own has nothing of the agent's", `journalctl --sync; journalctl -q -b -o cat _UID=$(id -u openclaw) | wc -l; journalctl -q -b -o cat --grep '10\.100\.0\.77' | wc -l`, "0\n0"},
		{"the twin: its own has", `journalctl --namespace=openclaw --sync; journalctl --namespace=openclaw -q -o cat _UID=$(id -u openclaw) | grep -c . | sed 's/^[1-9][0-9]*$/some/'`, "some"},
		{"and is bounded", `journalctl --namespace=openclaw -q -o cat -t systemd-journald --grep 'max ' | grep -o 'max [0-9]*' | sort -u`, "max 64"},
	})
}

// sandboxScores are what systemd says of the units that run: those that handle what the agent says.
func sandboxScores(l *one) {
	for unit, most := range map[string]float64{"openclaw.service": 0.9, "openclaw-gate.service": 1.2, "openclaw-dns.service": 1.9, "openclaw-entry.service": 0.7,
		"openclaw-keys.service": 1.2, "openclaw-budget.service": 0.7} {
		said := l.on(`systemctl start ` + unit + ` && systemd-analyze security --no-pager ` + unit + ` | tail -n 1`)
		m := regexp.MustCompile(`: ([0-9.]+) `).FindStringSubmatch(said)
		if m == nil {
			l.t.Errorf("%s: systemd-analyze says %q", unit, said)
			continue
		}
		l.t.Logf("%s: %s", unit, said)
		if score, err := strconv.ParseFloat(m[1], 64); err != nil || score > most {
			l.t.Errorf("%s: exposure %s, want %g or lower", unit, m[1], most)
		}
	}
}

// agentStaysBounded lets the agent try to take the machine, and logs in beside it.
func agentStaysBounded(l *one) {
	const files = `python3 - <<'END'
held = []
try:
    while len(held) < 20000:
        held.append(open("/dev/null"))
except OSError as error:
    print("open files: no, after", len(held), error.strerror)
else:
    print("open files: yes")
END`
	if said := l.turn(files); !strings.Contains(said, "open files: no, after 40") {
		l.t.Errorf("the agent's open files: %q", said)
	}
	if l.enforces("tasks") {
		const tasks = `python3 - <<'END'
import threading, time
started = 0
try:
    while started < 2000:
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        started += 1
except RuntimeError:
    print("tasks: no, after", started)
else:
    print("tasks: yes")
END`
		if said := l.turn(tasks); !strings.Contains(said, "tasks: no, after") {
			l.t.Errorf("the agent's tasks: %q", said)
		}
	}
	if l.enforces("memory") {
		// In pieces that are written to, up to twice what the unit allows. What runs away is ended, not stalled: the tool
		// waits for less than a minute.
		limit := l.on(`systemctl show -p MemoryMax --value openclaw.service`)
		said := l.turn(`python3 -c 'held = []
for i in range(2 * ` + limit + ` // (64 << 20)): held.append(b"x" * (64 << 20))
print("memory: yes")'; echo "ended with $?"`)
		if !strings.Contains(said, "ended with 137") {
			l.t.Errorf("the agent took twice its memory, and was not killed for it: %q", said)
		}
		if ready := l.on(`/usr/local/sbin/openclaw-install ready`); ready != "ready" {
			l.t.Errorf("the gateway beside it says %q", ready)
		}
	}
	// While it burns what it has, behind the turn: the operator still gets in.
	l.turn(`nohup python3 - >/dev/null 2>&1 <<'END' &
import os, time
end = time.time() + 60
held = [open("/dev/null") for _ in range(3000)]
for _ in range(8):
    if os.fork() == 0:
        while time.time() < end:
            pass
        os._exit(0)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
END
sleep 2`)
	burning := func() string { return l.on(`ps -u openclaw -o args= | grep -c '^python3 -$' || true`) }
	if count := burning(); count != "9" {
		l.t.Errorf("the agent burns with %s of 9 processes", count)
	}
	if !handshake(l, "operator", "id -un") {
		l.t.Error("the operator does not get in beside a busy agent")
	}
	if burning() == "0" {
		l.t.Error("the agent had ended before the login did: nothing was shown")
	}
	l.eventually("the agent has burnt out", 3*time.Minute, func() error {
		if count := burning(); count != "0" {
			return fmt.Errorf("%s processes", count)
		}
		return nil
	})
}

// serviceSecrets: the variables of openclawEnv are the agent's, the gateway's token is not in its environment, and
// neither stands anywhere else.
func serviceSecrets(l *one) {
	token := l.on(`cat /etc/openclaw/gateway-token`)
	environment := l.turn(`env; tr '\0' '\n' </proc/$PPID/environ`)
	if !strings.Contains(environment, "CANARY_API_KEY="+canary) {
		l.t.Errorf("the agent lacks its variable: %q", environment)
	}
	if strings.Contains(environment, token) {
		l.t.Error("the gateway's token is in the agent's environment")
	}
	standNowhere(l, map[string]string{"gateway's token": token, "variable of openclawEnv": canary})
}
