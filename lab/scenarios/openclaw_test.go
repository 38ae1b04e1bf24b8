package scenarios

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Two versions whose lock files stand in the tree. The newer one changes what the state looks like, and the older one
// then refuses to start on it: a switch that really does not get ready.
const (
	olderOpenClaw = "2026.9.5"
	newerOpenClaw = "2026.9.6"
)

// TestOpenClaw is the real package on a real host: installed, run, changed, upgraded.
func TestOpenClaw(t *testing.T) {
	t.Parallel()
	all := wantsAll(t, "OPENCLAW")
	l := newLab(t, "openclaw")
	taken := l.takeDeployed()
	takeSeat(t, openClawSeat, "OpenClaw")
	if taken {
		l.must("restore", open)
		l.booted()
		l.pulumi(0, "config", "rm", "confirmSeconds")
		// The older OpenClaw, which comes first here, takes no state of the newer one's.
		l.on(`systemctl stop openclaw.service && find /var/lib/openclaw -mindepth 1 -delete && rm -r /opt/openclaw/current /opt/openclaw/releases/*`)
	} else if r := l.lab("", "start"); r.code != 0 {
		t.Fatalf("bin/lab start: %s", r)
	}
	l.pulumi(0, "config", "set", "openclawVersion", olderOpenClaw)
	l.pulumi(0, "config", "set", "openclawPlugins", "discord,slack,whatsapp")
	up := l.pulumi(0, "up", "--yes", "--skip-preview")
	if want := "installing OpenClaw " + olderOpenClaw + " where it is not, and waiting until its gateway is ready"; !strings.Contains(up.stdout, want) {
		t.Errorf("pulumi up does not say %q", want)
	}
	l.run([]part{
		{"it is whole, root's, and ready in its sandbox", openclawInstalled},
		{"it comes back after a crash and an in-app restart", openclawComesBack},
		{"a changed value restarts it, no change restarts nothing", openclawRestarts},
		{"a configuration that it refuses changes nothing", openclawWrongConfig},
		{"a wrong hash changes nothing", openclawWrongHash},
		{"a newer version becomes current after a backup, with the state", openclawUpgrade},
	})
	if all {
		l.part(part{"a version that does not get ready gives way to the one before, with its state", openclawGoesBack})
	}
	l.run([]part{
		{"the first hour: channels connect, and a message is answered", channelsConnect},
		{"a turn of the agent works by a key that the agent finds nowhere", keysAreHeld},
		{"a key goes to its provider alone, for what it is for", keysAreForWhatTheyAreFor},
		{"the agent's words are in a journal of their own", agentsJournal},
		{"systemd finds the running units well bounded", sandboxScores},
		{"the agent stays in its sandbox, and nobody beside it reaches inside", agentStaysIn},
		{"out of the unit there is nothing", nothingOutside},
		{"every client gets out by the gate, and nothing leads inside", agentsNetworkOpen},
	})
	if all {
		l.run([]part{
			{"a budget holds, for requests one by one, at once and given up", budgetHolds},
			{"a key changes under a running agent, and what adds it comes back", keyChanges},
			{"with a list, nothing else is reached or looked up", agentsNetworkListed},
			{"an exception inside is one port of one device", agentsNetworkInside},
			{"whatever is killed or stopped, nothing opens, and it comes back", agentsNetworkLives},
			{"secrets reach the service alone", serviceSecrets},
		})
	}
}

// mainPID is the service's process.
func (l *one) mainPID() string {
	l.t.Helper()
	return l.on(`systemctl show openclaw.service -p MainPID --value`)
}

// awaitGateway waits until another process of the service than before is ready.
func (l *one) awaitGateway(before string) {
	l.t.Helper()
	l.eventually("the gateway is ready again", 5*time.Minute, func() error {
		if state := l.on(`openclaw-install ready`); state != "ready" || l.mainPID() == before {
			return fmt.Errorf("%s, process %s", state, l.mainPID())
		}
		return nil
	})
}

// failedUp runs pulumi up, which has to fail with all of these texts.
func (l *one) failedUp(wants ...string) {
	l.t.Helper()
	r := l.lab("", "pulumi", "up", "--yes", "--skip-preview")
	if r.code == 0 {
		l.t.Fatalf("pulumi up succeeds: %s", r)
	}
	for _, want := range wants {
		if !strings.Contains(r.stdout+r.stderr, want) {
			l.t.Errorf("pulumi up does not say %q: %s", want, r)
		}
	}
}

func openclawInstalled(l *one) {
	l.reads([]reading{
		{"the gateway says so itself", `curl -sS http://127.0.0.1:18789/readyz | grep -o '"ready":true'`, `"ready":true`},
		{"it listens on loopback", `ss -H -ltn 'sport = :18789' | awk '{print $4}' | grep -c -x -F 127.0.0.1:18789 || true`, "1"},
		{"and nowhere else", `ss -H -ltn 'sport = :18789' | awk '{print $4}' | grep -v -x -F -e 127.0.0.1:18789 -e '[::1]:18789' || true`, ""},
		{"the version", `/opt/openclaw/current/bin/openclaw --version | cut -d' ' -f2`, olderOpenClaw},
		{"Node is the one that was pinned", `/opt/openclaw/current/bin/node --version`, "v24.16.0"},
		{"all of it is root's and nobody else's to write", `find /opt/openclaw/ ! -type l \( ! -user root -o ! -group root -o -perm /022 \) | head -n 3`, ""},
		{"the package's own completion has run", `find /opt/openclaw/ -name .openclaw-lifecycle-pending`, ""},
		{"nothing is left of the user that installed", `ls -d /var/lib/private/openclaw-* /var/lib/openclaw-build 2>/dev/null; getent passwd openclaw-build || true`, ""},
		{"the service cannot write its code", `nsenter -t $(systemctl show openclaw.service -p MainPID --value) -m -- setpriv --reuid openclaw --regid openclaw --clear-groups sh -c 'touch /opt/openclaw/current/x' 2>&1 | grep -o 'Read-only file system'`, "Read-only file system"},
		{"it starts after the firewall", `systemctl show openclaw.service -p After -p Requires --value | tr ' ' '\n' | grep -c '^ufw.service$'`, "2"},
		{"the token is in no environment", `tr '\0' '\n' </proc/$(systemctl show openclaw.service -p MainPID --value)/environ | grep -c -F -f /etc/openclaw/gateway-token || true`, "0"},
		{"twin: the token opens the gateway", `OPENCLAW_GATEWAY_TOKEN=$(cat /etc/openclaw/gateway-token) OPENCLAW_STATE_DIR=$(mktemp -d) /opt/openclaw/current/bin/openclaw health >/dev/null 2>&1 && echo opens`, "opens"},
	})
	l.quiet()
}

func openclawComesBack(l *one) {
	pid := l.mainPID()
	l.on("kill -USR2 " + pid)
	l.awaitGateway(pid)
	// Cut off by a loss of power, and its process's number is another's after it: a process that it cannot see.
	restarts := func() int {
		n, err := strconv.Atoi(l.on(`systemctl show openclaw.service -p NRestarts --value`))
		if err != nil {
			l.t.Fatal(err)
		}
		return n
	}
	pid = l.mainPID()
	before := restarts()
	l.on(`kill -KILL ` + pid + ` && python3 -c ` + quote(program(l.t, "other-owner.py")) + ` "$(pgrep -o -x systemd-journal)"`)
	l.awaitGateway(pid)
	if tries := restarts() - before; tries != 1 {
		l.t.Errorf("it was ready at try %d", tries)
	}
}

const canary = "canary-0815-of-the-environment"

func openclawRestarts(l *one) {
	before := l.mainPID()
	if r := l.lab(canary+"\n", "pulumi", "config", "set", "--secret", "--path", "openclawEnv.CANARY_API_KEY"); r.code != 0 {
		l.t.Fatal(r)
	}
	up := l.pulumi(0, "up", "--yes", "--skip-preview")
	if strings.Contains(up.stdout+up.stderr, canary) {
		l.t.Error("pulumi up shows the value")
	}
	after := l.mainPID()
	if after == before {
		l.t.Error("the service was not restarted")
	}
	if got := l.on(`tr '\0' '\n' </proc/` + after + `/environ | grep ^CANARY_`); got != "CANARY_API_KEY="+canary {
		l.t.Errorf("in the service's environment: %q", got)
	}
	l.pulumi(0, "up", "--yes", "--skip-preview", "--expect-no-changes")
	// Every layer runs again, and finds nothing to do.
	l.pulumi(0, "config", "set", "bootstrap", "false")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	if again := l.mainPID(); again != after {
		l.t.Errorf("the service was restarted although nothing changed: process %s, then %s", after, again)
	}
}

func openclawWrongConfig(l *one) {
	before := l.mainPID()
	l.pulumi(0, "config", "set", "--path", "openclawConfig.agents.defaults.bogus", "x")
	l.failedUp("check failed, nothing was changed", "OpenClaw "+olderOpenClaw+" refuses its configuration (openclawConfig)", `agents.defaults: Unrecognized key: "bogus"`)
	l.pulumi(0, "config", "rm", "openclawConfig")
	if after := l.mainPID(); after != before {
		l.t.Errorf("the service was restarted: process %s, then %s", before, after)
	}
	if got := l.on(`grep -c bogus /etc/openclaw/openclaw.json || true`); got != "0" {
		l.t.Error("the configuration is on the host")
	}
}

func openclawWrongHash(l *one) {
	before, sum := l.mainPID(), strings.TrimSpace(l.pulumi(0, "config", "get", "nodeSha256").stdout)
	releases := l.on(`ls /opt/openclaw/releases`)
	l.pulumi(0, "config", "set", "nodeSha256", strings.Repeat("0", 64))
	l.failedUp("check failed, nothing was changed", "its SHA-256 is "+sum+", expected "+strings.Repeat("0", 64)+": nothing was unpacked")
	l.pulumi(0, "config", "set", "nodeSha256", sum)
	if after := l.mainPID(); after != before {
		l.t.Errorf("the service was restarted: process %s, then %s", before, after)
	}
	if after := l.on(`ls /opt/openclaw/releases`); after != releases {
		l.t.Errorf("releases before:\n%s\nafter:\n%s", releases, after)
	}
}

func openclawUpgrade(l *one) {
	l.on(`runuser -u openclaw -- sh -c 'echo remember-me >/var/lib/openclaw/note'`)
	backups := l.on(`find /backups/openclaw -type f | wc -l`)
	l.pulumi(0, "config", "set", "openclawVersion", newerOpenClaw)
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
	l.reads([]reading{
		{"the version", `/opt/openclaw/current/bin/openclaw --version | cut -d' ' -f2; openclaw-install ready`, newerOpenClaw + "\nready"},
		{"the state", `cat /var/lib/openclaw/note`, "remember-me"},
		{"the one before is kept, and no more", `ls /opt/openclaw/releases | cut -d- -f1`, olderOpenClaw + "\n" + newerOpenClaw},
		{"the state's copy is gone", `ls /var/lib/openclaw-install`, "runs.json"},
	})
	if after := l.on(`find /backups/openclaw -type f | wc -l`); after == backups {
		l.t.Errorf("no backup was made: %s, then %s", backups, after)
	}
}

func openclawGoesBack(l *one) {
	// A backup that fails decides nothing about the switch.
	l.on(`chmod 0500 /var/spool/openclaw-backup`)
	l.pulumi(0, "config", "set", "openclawVersion", olderOpenClaw)
	l.failedUp("OpenClaw was switched without a backup of the state before it: ", "the archive of the agent's files failed: ",
		"OpenClaw "+olderOpenClaw+": openclaw.service ended with exit status 78", "newer than this build", "what was before is in force again")
	l.on(`chmod 0700 /var/spool/openclaw-backup`)
	if got, want := l.on(`/opt/openclaw/current/bin/openclaw --version | cut -d' ' -f2; openclaw-install ready; cat /var/lib/openclaw/note; stat -c %U:%a /var/lib/openclaw`), newerOpenClaw+"\nready\nremember-me\nopenclaw:700"; got != want {
		l.t.Errorf("after a switch that failed: got\n%s\nwant\n%s", got, want)
	}
	l.pulumi(0, "config", "set", "openclawVersion", newerOpenClaw)
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
}
