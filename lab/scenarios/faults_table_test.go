package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// scenario is one line of the suite's table.
type scenario struct {
	name string
	from string // where the lab stands when it begins
	gate bool   // part of `make test`
	run  func(*trial)
	like string // where it stands when it has passed; empty: nowhere
}

// operation is a run that a fault may strike.
type operation struct {
	name      string
	from      string
	configure []string // key and value
	doors     string   // open once it has succeeded
	to        string   // where the lab stands then
	last      string   // the layer before the proof that runs
	steps     []step
}

var operations = []operation{
	{"deploy", bare, nil, bothDoors, open, "alerts", []step{{"armed", "base"}, {"armed", "ssh"}, {"proof", ""}}},
	{"close", open, []string{"bootstrap", "false"}, tunnelDoor, closed, "ssh", []step{{"armed", "firewall"}, {"checks", "ssh"}, {"armed", "ssh"}, {"proof", ""}}},
	{"reopen", closed, []string{"bootstrap", "true"}, bothDoors, open, "alerts", []step{{"break-glass", ""}, {"armed", "ssh"}, {"proof", ""}}},
}

// strike is a fault that can strike at any step.
type strike struct {
	name string
	// hit breaks something while the run is held, and sees to it that it broke; mend, where not nil, is called once the run has
	// ended.
	hit func(x *trial, run *background, at step) (mend func())
	// armed and elsewhere are what a run says that fails by it, in a layer's armed change and at other steps.
	armed, elsewhere string
}

var strikes = []strike{
	{"program killed", func(x *trial, _ *background, _ step) func() {
		x.killProgram()
		return nil
	}, programKilled, programKilled},
	{"CLI killed", func(x *trial, run *background, _ step) func() {
		x.signal(run, syscall.SIGKILL)
		return func() { x.pulumi(0, "cancel", "--yes") }
	}, "", ""},
	{"Ctrl-C", func(x *trial, run *background, _ step) func() {
		x.signal(run, syscall.SIGINT)
		return nil
	}, "error: update canceled", "error: update canceled"},
	{"VM rebooted", func(x *trial, _ *background, _ step) func() {
		before := x.boot()
		if before == "" {
			x.t.Fatal("the host is not up, and cannot be rebooted")
		}
		x.at("vm", "systemctl", "reboot", "--force", "--force")
		x.eventually("the host goes down", 20*time.Second, func() error {
			if x.boot() == before {
				return fmt.Errorf("it is still in its boot %s", before)
			}
			return nil
		})
		return nil
	}, commandLost, ""},
	{"connection dropped", func(x *trial, _ *background, at step) func() {
		// The break-glass comes through the agent: there need be no connection then.
		if r := x.at("vm", "sh", "-c", killSessions); r.code != 0 && at.phase != "break-glass" {
			x.t.Fatalf("no connection was there to be dropped: %s", r)
		}
		return nil
	}, commandLost, ""},
	{"packets dropped", func(x *trial, _ *background, _ step) func() {
		return x.disturb("iifname operator drop", "oifname operator drop")
	}, " door was lost before its change was confirmed: ", ""},
	{"disk full", func(x *trial, _ *background, _ step) func() {
		x.on(fillDisk)
		return func() { x.on(`rm -f /var/filled /var/filled-too /var/one`) }
	}, "no space left on the disk", "no space left on the disk"},
	{"apt locked", func(x *trial, _ *background, _ step) func() {
		return x.holding(lockApt)
	}, "", ""},
}

const (
	// killSessions ends what serves SSH connections, and fails where there is none. Before OpenSSH 9.8, as on Ubuntu 24.04, each is an
	// sshd as the listener is, and only its title tells which.
	killSessions = `pkill -KILL -x sshd-session || pkill -KILL -f '^sshd: [^/]'`
	// fillDisk fails where a block can still be written at its end: somebody may have freed one meanwhile.
	fillDisk = `fallocate -l $(($(stat -f -c '%f * %S' /var) - 4194304)) /var/filled
for try in 1 2 3 4 5; do
	cat /dev/zero >>/var/filled-too 2>/dev/null
	head -c 4096 /dev/zero >/var/one 2>/dev/null || exit 0
done
exit 1`
	// lockApt is Python: it holds what apt waits for.
	lockApt = `import fcntl; f = open("/var/lib/dpkg/lock-frontend", "w"); fcntl.lockf(f, fcntl.LOCK_EX)`
)

// What Pulumi itself says of a program that was killed, and of a connection that ended under a command.
const (
	programKilled = "error: an unhandled error occurred: program exited with non-zero exit code: -1"
	commandLost   = "error: wait: remote command exited without exit status or exit signal: running "
)

// gated are those of the matrix that `make test` runs.
var gated = []string{
	"close, firewall armed: VM rebooted", "reopen, break-glass: program killed",
}

// scenarios are all of them.
func scenarios() []scenario {
	var all []scenario
	for _, op := range operations {
		for _, at := range op.steps {
			for _, s := range strikes {
				name := fmt.Sprintf("%s, %s: %s", op.name, at, s.name)
				all = append(all, scenario{name, op.from, slices.Contains(gated, name), func(x *trial) { strikeAt(x, op, at, s) }, op.to})
			}
		}
	}
	return append(all, singular...)
}

// strikeAt lets a fault strike a run at a step.
func strikeAt(x *trial, op operation, at step, s strike) {
	x.configure(op.configure...)
	if at.phase == "proof" {
		at.layer = op.last
	}
	reached, release := x.hold(at)
	run := x.up()
	reached(run)
	mend := s.hit(x, run, at)
	release()
	if s.name == "packets dropped" && at.phase == "break-glass" {
		// The script needs no network; what comes after it waits for the door, and says so.
		x.until(run, at, func() bool { return strings.Contains(run.out.String(), "waiting for the bootstrap door ") })
		mend()
	}
	x.said = x.wait(run)
	if mend != nil {
		mend()
	}
	words := s.elsewhere
	switch {
	case at.phase == "armed":
		words = s.armed
	case at.phase == "break-glass" && s.name == "Ctrl-C":
		words = "context canceled" // of the request to Azure, which Pulumi then counts as failed
	}
	switch {
	case x.said.code != 0:
		x.says(words)
	case x.address().IsValid():
		// Success is what stayed, and nothing that the host took back.
		if left := x.on(`cd /var/lib/openclaw-deploy; ls -d pending last-rollback.json 2>/dev/null; true`); left != "" {
			x.t.Errorf("the run reports success, and the host has %q", left)
		}
	}
	x.anyDoor()
	if x.said.code == 0 && x.doors != op.doors {
		x.t.Errorf("the run reports success, and the doors open are %q", x.doors)
	}
	x.converges(op.doors)
}

// converges is the next run, with no other step by hand: it succeeds, with its proof of every layer, and the doors are as
// they were to be.
func (x *trial) converges(doors string) {
	x.t.Helper()
	start := time.Now()
	if r := x.wait(x.up()); r.code != 0 {
		x.t.Fatalf("the next run does not finish the work: %s", r)
	}
	x.t.Logf("the next run took %.0f s", time.Since(start).Seconds())
	if got := x.openDoors(); got != doors {
		x.t.Errorf("after the next run these doors are open: %q, want %q", got, doors)
	}
}
