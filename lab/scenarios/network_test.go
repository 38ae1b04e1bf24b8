package scenarios

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"openclaw-azure/lab/internal/internet"
)

// trustTheLab has the host trust the lab's authority, as it trusts the Internet's, for this test alone.
func trustTheLab(l *one) {
	l.t.Helper()
	authority, err := os.ReadFile(filepath.Join(l.internet(), "ca.pem"))
	if err != nil {
		l.t.Fatal(err)
	}
	if r := l.command(string(authority), time.Minute, l.root+"/bin/lab", "exec", "vm", "--", "sh", "-c",
		"cat >/usr/local/share/ca-certificates/lab.crt && update-ca-certificates >/dev/null 2>&1"); r.code != 0 {
		l.t.Fatal(r)
	}
}

// internet is the folder of the lab's Internet.
func (l *one) internet() string { return filepath.Join(l.root, ".lab", l.name, internet.Folder) }

// questions are the names that the lab's name service was asked for.
func (l *one) questions() []string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.internet(), "questions"))
	if err != nil {
		l.t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

// agentGetsOut asks a server on the Internet for something, as the agent's user in its network.
func (l *one) agentGetsOut() error {
	l.t.Helper()
	if r := l.at("vm", "ip", "netns", "exec", "openclaw", "runuser", "-u", "openclaw", "--", "curl", "-sS", "-o", "/dev/null", "-m", "12", "http://www.good.example/"); r.code != 0 {
		return errors.New(r.String())
	}
	return nil
}

// all compares what a script of probes said with one verdict for all of them.
func (l *one) all(who, said string, want bool, least int) {
	l.t.Helper()
	found := probes(said)
	if len(found) < least {
		l.t.Errorf("%s: said of %d things, want %d: %q", who, len(found), least, said)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if found[name] != want {
			l.t.Errorf("%s: %s: %v", who, name, found[name])
		}
	}
}

// agentsNetworkOpen: where every public address may be reached, every client works with no setting, and nothing leads inside.
func agentsNetworkOpen(l *one) {
	trustTheLab(l)
	clients, least := program(l.t, "clients.sh"), 13
	if os.Getenv("CLIENTS") == "all" {
		clients, least = clients+program(l.t, "more-clients.sh"), least+3
		l.on(`export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -q -y --no-install-recommends python3-pip`)
		if l.on(`. /etc/os-release && echo $ID`) == "debian" { // Ubuntu has it as a snap alone
			l.on(`DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium`)
			least += 2
		}
		defer idleSocket(l)()
	}
	l.all("the agent", l.turn(clients), true, least)
	neighbours(l, func() {
		defer l.background("", l.root+"/bin/lab", "exec", "vm", "--", "python3", "-c",
			`import socket, time; s = socket.socket(socket.AF_UNIX); s.bind("\0openclaw-lab"); s.listen(); time.sleep(300)`)()
		l.eventually("the abstract socket is there", 10*time.Second, func() error {
			if l.on(`grep -c @openclaw-lab /proc/net/unix || true`) == "0" {
				return fmt.Errorf("it is not")
			}
			return nil
		})
		l.all("the agent", l.turn(program(l.t, "ways-out.sh")), false, 18)
		// The twin: the host itself gets there by the same names.
		knocking(l, func() {
			for _, place := range []string{"vpn.good.example:8000", "imds.good.example", "wire.good.example"} {
				if r := l.at("vm", "curl", "-sf", "-m", "5", "http://"+place+"/"); r.code != 0 {
					l.t.Errorf("the twin: the host does not reach %s: %s", place, r)
				}
			}
		})
	})
	// What the agent listens on is its own.
	l.turn(`nohup python3 -m http.server --bind 0.0.0.0 9222 >/dev/null 2>&1 & sleep 1; curl -sf http://127.0.0.1:9222/ >/dev/null && echo up`)
	for _, address := range []string{"127.0.0.1", "10.0.0.4", "10.100.0.1"} {
		if r := l.at("vm", "curl", "-sf", "-m", "5", "http://"+address+":9222/"); r.code == 0 {
			l.t.Errorf("the host reaches the agent's listener at %s", address)
		}
	}
	if r := l.at("vm", "ip", "netns", "exec", "openclaw", "curl", "-sf", "-m", "5", "http://127.0.0.1:9222/"); r.code != 0 {
		l.t.Errorf("the twin: in the agent's own network it does not answer: %s", r)
	}
	l.on(`pkill -u openclaw -f '^python3 -m http.server' || true`)
}

// idleSocket has the agent open a web socket; what it gives waits until that has said something after minutes of nothing.
func idleSocket(l *one) func() {
	l.t.Helper()
	l.turn(`nohup node --use-system-ca -e 'const s = new WebSocket("wss://www.good.example/ws"); s.onopen = () => setTimeout(() => s.send("there"), 330000);
s.onmessage = s.onerror = s.onclose = m => { require("fs").writeFileSync("/var/lib/openclaw/idle", m.data || m.type); process.exit() }' >/dev/null 2>&1 &`)
	return func() {
		l.eventually("the idle web socket says something", 7*time.Minute, func() error {
			if r := l.at("vm", "cat", "/var/lib/openclaw/idle"); r.stdout != "there" {
				return errors.New(r.String())
			}
			return nil
		})
		l.on(`rm /var/lib/openclaw/idle`)
	}
}

// agentsNetworkListed: with a list nothing else is reached, or even looked up; the list changes under a running agent.
func agentsNetworkListed(l *one) {
	pid := l.mainPID()
	l.pulumi(0, "config", "set", "egress", "www.good.example,.two.example,rebind.good.example,git.example:22")
	l.pulumi(0, "config", "set", "agentMayReach", "10.100.0.2:8000") // for the next
	l.pulumi(0, "up", "--yes", "--skip-preview")
	if now := l.mainPID(); now != pid {
		l.t.Errorf("the agent was restarted: process %s, then %s", pid, now)
	}
	l.reads([]reading{{"loaded", `openclaw-egress loaded`, "as in their files"}})
	before := len(l.questions())
	said := l.turn(program(l.t, "listed.sh"))
	found := probes(said)
	if len(found) < 21 {
		l.t.Errorf("the agent said of %d things: %q", len(found), said)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if want := strings.HasPrefix(name, "listed, "); found[name] != want {
			l.t.Errorf("the agent, with a list: %s: %v", name, found[name])
		}
	}
	for _, name := range l.questions()[before:] {
		if strings.Contains(name, "evil") || strings.Contains(name, "secret") || strings.Contains(name, `\000`) {
			l.t.Errorf("the name service was asked for %q, which is not listed", name)
		}
	}
	shown := l.on(`openclaw-egress`)
	for _, want := range []string{"what is listed, and nowhere else", `"evil.example"`, "pulumi config set egress rebind.good.example,www.good.example,.two.example,git.example:22,evil.example", `"www.good.example"`} {
		if !strings.Contains(shown, want) {
			l.t.Errorf("openclaw-egress does not say %q:\n%s", want, shown)
		}
	}
	if _, reached, _ := strings.Cut(shown, "REACHED"); strings.Contains(reached, "forged.example") {
		l.t.Errorf("a name that the agent said stands for a line of the gate's:\n%s", shown)
	}
	preview := l.pulumi(0, "preview", "--expect-no-changes")
	if want := "the gate refused the agent "; !strings.Contains(preview.stdout+preview.stderr, want) {
		l.t.Errorf("pulumi preview does not say %q: %s", want, preview)
	}
}

// agentsNetworkInside: what agentMayReach names, beside the list, is reached through a real peer, and nothing else there.
func agentsNetworkInside(l *one) {
	neighbours(l, func() {
		said := l.turn(`for place in 10.100.0.2:8000 10.100.0.2:8001 10.100.0.1:2222 10.0.0.7:80; do
if curl -sf -o /dev/null -m 6 http://$place/; then echo "$place: yes"; else echo "$place: no"; fi; done`)
		if got := fmt.Sprint(probes(said)); got != "map[10.0.0.7:80:false 10.100.0.1:2222:false 10.100.0.2:8000:true 10.100.0.2:8001:false]" {
			l.t.Errorf("the agent reaches inside: %s", got)
		}
	})
	l.pulumi(0, "config", "rm", "agentMayReach")
	l.pulumi(0, "config", "rm", "egress")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
}

// agentsNetworkLives: whatever becomes of a part of it, the way out is open or closed, never another, and it comes back.
func agentsNetworkLives(l *one) {
	back := func(what string) {
		l.t.Helper()
		l.eventually("the agent gets out again after "+what, time.Minute, l.agentGetsOut)
	}
	pid := l.mainPID()
	for _, kill := range []string{
		`kill -KILL $(systemctl show -P MainPID openclaw-gate.service)`,
		`kill -KILL $(systemctl show -P MainPID openclaw-dns.service)`,
		`systemctl restart openclaw-gate.socket`,
		`systemctl restart openclaw-dns.service`,
		`systemctl restart openclaw-entry.socket`,
		`systemctl stop openclaw-gate.service`,
		`systemctl daemon-reexec`,
	} {
		l.on(kill)
		back(kill)
	}
	if now := l.mainPID(); now != pid {
		l.t.Errorf("the agent was restarted: process %s, then %s", pid, now)
	}
	l.on(`systemctl stop openclaw-gate.socket`)
	if l.agentGetsOut() == nil {
		l.t.Error("the agent gets out without a gate")
	}
	l.on(`systemctl start openclaw-gate.socket openclaw-gate.service`)
	back("its gate was stopped")
	l.on(`cp /etc/openclaw-gate/gate.cfg /root/gate.cfg; echo nonsense >>/etc/openclaw-gate/gate.cfg; systemctl reload openclaw-gate 2>/dev/null || true`)
	if err := l.agentGetsOut(); err != nil {
		l.t.Errorf("a file that is not sound took the gate down, though it was only to be read again: %v", err)
	}
	l.on(`cp /root/gate.cfg /etc/openclaw-gate/gate.cfg; rm /root/gate.cfg; systemctl reload openclaw-gate`)
	l.on(`systemctl restart openclaw-net.service`)
	l.awaitGateway(pid)
	back("its network was made anew")
	l.turn("id -un") // by the service that adds keys
	l.quiet()
}
