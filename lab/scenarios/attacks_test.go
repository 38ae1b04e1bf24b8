package scenarios

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestAttacks is what a red team tried on a host, each attack beside the same act by who may. Some of it runs in make test, in
// other scenarios; docs/threat-model.md says what shows what.
func TestAttacks(t *testing.T) {
	l := startLab(t, "attacks")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.run([]part{
		{"what a stolen SSH key leaves in claw's home meets nothing of the program's", keptKey},
		{"a turn of the agent", firstTurn},
		{"the agent's words are in a journal of their own", agentsJournal},
		{"the agent stays in its sandbox, and nobody beside it reaches inside", agentStaysIn},
		{"out of the unit there is nothing", nothingOutside},
		{"the agent stays within its limits, and the operator gets in beside it", agentStaysBounded},
		{"the control UI is for the browser that was let in, and for no other page, user or run", controlUIDoor},
		{"the platform's address is kept while the firewall is loaded", noWindow},
		{"what installs a release reaches nothing inside", installerStaysOut},
		{"the agent is who answers as the gateway", squattersGateway},
		{"a backup decides no variable of the unit's", restoredVariables},
		{"wrong keys ban who has them, and nobody bans by words", wrongKeysBan},
	})
}

// nothingOutside: one call of D-Bus had a user manager run, outside of every unit's bounds, what the agent had left in its home.
func nothingOutside(l *one) {
	const call = `busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager SetUserLinger ubb $(id -u openclaw) true false`
	l.turn(`mkdir -p ~/.config/systemd/user/default.target.wants
printf '[Service]\nType=oneshot\nExecStart=/bin/sh -c "echo out >>/var/lib/openclaw/out"\n' >~/.config/systemd/user/evil.service
ln -sf ../evil.service ~/.config/systemd/user/default.target.wants/evil.service`)
	defer l.on(`rm -rf /var/lib/openclaw/.config/systemd /var/lib/openclaw/out`)
	if said := l.turn(call + ` >/dev/null 2>&1 && echo lingers || echo refused`); strings.TrimSpace(said) != "refused" {
		l.t.Errorf("from the agent's unit: %q", said)
	}
	// Every other unit that runs as its user, with what bounds it.
	for _, unit := range []string{"openclaw-backup-archive", "openclaw-restore@"} {
		said := l.on(`set --; while read -r line; do set -- "$@" "--property=$line"; done <<END
$(sed -n '/^\[Service\]/,$p' /etc/systemd/system/` + unit + `.service | grep -E '^[A-Za-z]+=' | grep -vE '^(Exec|Type|Timeout|LogNamespace|Standard|WorkingDirectory)')
END
mkdir -p /var/spool/openclaw-backup /var/lib/openclaw-restore
systemd-run --quiet --wait --pipe "$@" sh -c '` + call + ` >/dev/null 2>&1 && echo lingers || echo refused'`)
		if said != "refused" {
			l.t.Errorf("from the unit %s: %q", unit, said)
		}
	}
	if found := l.on(`ls /var/lib/systemd/linger 2>/dev/null || true`); found != "" {
		l.t.Errorf("who lingers: %q", found)
	}
	// The twin: with no unit around it the same user may, and a user manager comes. What the agent left, it does not find.
	l.on(`runuser -u openclaw -- ` + call)
	l.eventually("the user manager runs", 30*time.Second, func() error {
		if state := l.on(`systemctl is-active user@$(id -u openclaw).service || true`); state != "active" {
			return errors.New(state)
		}
		return nil
	})
	if found := l.on(`ls /var/lib/openclaw/out 2>/dev/null || true`); found != "" {
		l.t.Error("a user manager ran what the agent had left")
	}
	l.on(`loginctl disable-linger openclaw; loginctl terminate-user openclaw 2>/dev/null; systemctl stop user@$(id -u openclaw).service; rm -rf /var/lib/systemd/linger/openclaw`)
}

// noWindow: while UFW takes everything out and puts it in again, nobody but root gets to the platform's address.
func noWindow(l *one) {
	neighbours(l, func() {
		const asks = `end=$(($(date +%s) + 20)); n=0; while [ $(date +%s) -lt $end ]; do n=$((n + 1)); curl -sf -o /dev/null -m 1 http://168.63.129.16/ && echo reached; done; echo "$n asked"`
		done := make(chan string)
		go func() { done <- l.at("vm", "runuser", "-u", "nobody", "--", "sh", "-c", asks).stdout }()
		for range 8 {
			l.on(`ufw reload >/dev/null; sleep 1`)
		}
		if said := <-done; strings.Contains(said, "reached") || !strings.Contains(said, " asked") {
			l.t.Errorf("while the firewall was loaded: %q", said)
		}
		l.on(`curl -sf -o /dev/null -m 5 http://168.63.129.16/`) // the twin: root
	})
}

// loaded is the installer as a module.
const loaded = `import importlib.machinery, importlib.util, sys
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("install", "/usr/local/sbin/openclaw-install")
m = importlib.util.module_from_spec(importlib.util.spec_from_loader("install", loader))
loader.exec_module(m)
`

// installerStaysOut: what a package's code meets while it is installed, and when it first runs.
func installerStaysOut(l *one) {
	neighbours(l, func() {
		const script = `for place in 169.254.169.254 168.63.129.16 10.0.0.7 10.100.0.2:8000 198.18.10.10; do if curl -sf -o /dev/null -m 4 http://$place/; then echo "$place: yes"; else echo "$place: no"; fi; done
if getent ahostsv4 www.good.example >/dev/null; then echo "names: yes"; else echo "names: no"; fi
if cp /bin/true /run/x 2>/dev/null || ls /run/dbus /run/systemd/private /run/systemd/journal/socket >/dev/null 2>&1; then echo "run: yes"; else echo "run: no"; fi`
		for name, want := range map[string]string{
			`m.Release("").never`: "169.254.169.254: no\n168.63.129.16: no\n10.0.0.7: no\n10.100.0.2:8000: no\n198.18.10.10: yes\nnames: yes\nrun: no",
			`None`:                "169.254.169.254: no\n168.63.129.16: no\n10.0.0.7: no\n10.100.0.2:8000: no\n198.18.10.10: no\nnames: no\nrun: no",
		} {
			said := l.on(`python3 -I -c ` + quote(loaded+`print(m.sandboxed("openclaw-probe.service", ["sh", "-c", sys.argv[1]], 60, [], `+name+`).stdout.strip())`) +
				` ` + quote(script))
			if said != want {
				l.t.Errorf("never %s: got\n%s\nwant\n%s", name, said, want)
			}
		}
	})
}

// squattersGateway: the agent holds the gateway's port, and sends whoever asks elsewhere.
func squattersGateway(l *one) {
	before := l.mainPID()
	l.on(`systemctl stop openclaw.service
systemd-run --quiet --unit=squatter --property=User=openclaw --property=NetworkNamespacePath=/run/netns/openclaw python3 -c '
import http.server
class Squatter(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302); self.send_header("Location", "http://127.0.0.1:8099/"); self.send_header("Content-Length", "0"); self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", 18789), Squatter).serve_forever()'
systemd-run --quiet --unit=target sh -c 'python3 -m http.server --bind 127.0.0.1 8099 >/run/target.log 2>&1'`)
	defer l.on(`rm -f /run/target.log`)
	l.eventually("both listen", 20*time.Second, func() error {
		if r := l.at("vm", "sh", "-c", `curl -sf -o /dev/null http://127.0.0.1:8099/ && curl -s -o /dev/null http://127.0.0.1:18789/`); r.code != 0 {
			return errors.New("they do not")
		}
		return nil
	})
	asked := l.on(`wc -l </run/target.log`)
	if said := l.on(`python3 -I -c ` + quote(loaded+`print(m.gateway_ready())`)); said != "False" {
		l.t.Errorf("a redirect counts as ready: %q", said)
	}
	if now := l.on(`wc -l </run/target.log`); now != asked {
		l.t.Error("root was led elsewhere")
	}
	// The twin: whoever follows it is.
	l.on(`curl -sL -o /dev/null http://127.0.0.1:18789/startupz`)
	if now := l.on(`wc -l </run/target.log`); now == asked {
		l.t.Error("the redirect leads nowhere: nothing was shown")
	}
	l.on(`systemctl stop squatter target; systemctl start openclaw.service`)
	l.awaitGateway(before)
}

// restoredVariables: a backup of a machine that was taken over brings its own variables.
func restoredVariables(l *one) {
	before := l.on(`sha256sum /etc/openclaw.env`)
	l.on(`cp -p /etc/openclaw.env /root/env; echo NODE_OPTIONS=--require=/var/lib/openclaw/x >>/etc/openclaw.env; openclaw-backup >/dev/null; mv /root/env /etc/openclaw.env`)
	r := l.at("vm", "openclaw-restore", "latest")
	if r.code == 0 || !strings.Contains(r.stderr, "refused, nothing was changed: ") || !strings.Contains(r.stderr, "would set NODE_OPTIONS") {
		l.t.Errorf("openclaw-restore: %s", r)
	}
	if after := l.on(`sha256sum /etc/openclaw.env`); after != before {
		l.t.Error("the variables were changed")
	}
	l.on(`openclaw-backup >/dev/null && openclaw-restore latest >/dev/null`) // the twin
}
