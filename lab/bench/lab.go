package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"openclaw-azure/lab/internal/calls"
)

// lab is the one in which everything is measured, driven by bin/lab as a user does.
type lab struct {
	ctx        context.Context
	root, name string
}

// lab runs bin/lab and gives what it printed.
func (l *lab) lab(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(l.ctx, 30*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(l.root, "bin", "lab"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Dir, cmd.Env = l.root, append(os.Environ(), "LAB="+l.name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("bin/lab %s: %w\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String(), nil
}

func (l *lab) pulumi(args ...string) error {
	_, err := l.lab(append([]string{"pulumi"}, args...)...)
	return err
}

// on runs a shell script on the host, as root.
func (l *lab) on(script string) (string, error) {
	return l.lab("exec", "vm", "--", "sh", "-c", script)
}

// configure sets the configuration, key and value.
func (l *lab) configure(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := l.pulumi("config", "set", pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// restore puts a snapshot back; what runs at the machine's boot has ended then, and is not measured. Where everything is
// deployed a preview follows, as it does in front of a person's pulumi up: the host has read its files then.
func (l *lab) restore(snapshot string) error {
	if _, err := l.lab("restore", snapshot); err != nil || snapshot == bare {
		return err
	}
	if err := l.booted(); err != nil || snapshot != open && snapshot != closed {
		return err
	}
	return l.pulumi("preview", "--non-interactive")
}

func (l *lab) booted() error {
	const limit = 5 * time.Minute
	deadline := time.Now().Add(limit)
	for {
		state, err := l.on("systemctl is-system-running --wait || true")
		if err != nil {
			return err
		}
		if state = strings.TrimSpace(state); state == "running" || state == "degraded" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the host is %q %s after its boot\nbin/lab console shows what it says", state, limit)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// prepare makes the snapshots; those of a machine that is not configured only where they are wanted.
func (l *lab) prepare(unconfigured bool) error {
	up := func() error { return l.pulumi("up", "--yes", "--skip-preview") }
	snapshot := func(name string) func() error { return func() error { return l.snapshot(name) } }
	steps := []func() error{
		func() error { _, err := l.lab("start"); return err },
		snapshot(bare), up, snapshot(open),
		func() error { return l.configure("bootstrap", "false") },
		up, snapshot(closed),
	}
	if unconfigured {
		var packages string
		steps = append(steps,
			func() (err error) { packages, err = l.packages(); return err },
			func() error { return l.restore(bare) },
			l.machineAlone, snapshot(machine), l.booted,
			func() error {
				_, err := l.on("export DEBIAN_FRONTEND=noninteractive; apt-get update && apt-get install --yes --no-install-recommends " + packages)
				return err
			},
			snapshot(packaged))
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) snapshot(name string) error {
	_, err := l.lab("snapshot", name)
	return err
}

// packages are those of all layers, as the host has noted them.
func (l *lab) packages() (string, error) {
	const script = `python3 -c '
import json, sys
for path in sys.argv[1:]:
    with open(path) as record:
        print(*json.loads(json.load(record)["declared"]).get("packages", []))' /var/lib/openclaw-deploy/layers/*.json`
	out, err := l.on(script)
	if err != nil {
		return "", err
	}
	packages := strings.Join(strings.Fields(out), " ")
	if packages == "" {
		return "", errors.New("the layers on the host declare no packages")
	}
	return packages, nil
}

// machineAlone deploys a machine and nothing on it: the control plane refuses the run command, which comes after the
// machine and before the layers.
func (l *lab) machineAlone() error {
	const fault = `{"Method":"PUT","Token":"azure-native:compute:VirtualMachineRunCommandByVirtualMachine","Times":1,"Status":409,"Code":"OperationNotAllowed","Message":"for a benchmark"}`
	if _, err := l.lab("fault", fault); err != nil {
		return err
	}
	switch err := l.pulumi("up", "--yes", "--skip-preview"); {
	case err == nil:
		return errors.New("pulumi up goes past a run command that was refused")
	case !strings.Contains(err.Error(), "for a benchmark"):
		return err
	}
	if _, err := l.lab("fault", "none"); err != nil {
		return err
	}
	return l.booted()
}

// measure runs a Pulumi command and looks at where its time went.
func (l *lab) measure(args ...string) (figure, error) {
	notes := filepath.Join(l.root, ".lab", l.name, "calls")
	if err := os.WriteFile(notes, nil, 0o600); err != nil {
		return figure{}, err
	}
	defer os.Remove(notes)
	whole := span{start: time.Now()}
	program := l.watchProgram()
	err := l.pulumi(args...)
	runs := program()
	if err != nil {
		return figure{}, err
	}
	whole.end = time.Now()
	noted, err := calls.Read(notes)
	if err != nil {
		return figure{}, err
	}
	var provider []span
	for _, c := range noted {
		provider = append(provider, span{c.Start, c.End})
	}
	f := figure{total: whole.duration()}
	var host []span
	if args[0] != "destroy" { // which leaves no host to ask, and asks none itself
		if host, f.connections, err = l.visits(whole); err != nil {
			return figure{}, err
		}
	}
	f.commands = len(host)
	f.share = attribute(whole, host, provider, runs)
	return f, nil
}

// watchProgram looks when the program runs until the function that it returns is called. Pulumi's own traces would say
// it too, and hold up every command by ten seconds.
func (l *lab) watchProgram() func() []span {
	const pause = 20 * time.Millisecond
	watch := watcher{path: filepath.Join(l.root, ".lab", l.name, "program")}
	stop, seen := make(chan struct{}), make(chan []span)
	go func() {
		var runs []span
		for running := false; ; {
			select {
			case <-stop:
				seen <- runs
				return
			case <-time.After(pause):
			}
			now := time.Now()
			was := running
			if running = watch.running(); !running {
				continue
			}
			if !was {
				runs = append(runs, span{start: now})
			}
			runs[len(runs)-1].end = now
		}
	}()
	return func() []span {
		close(stop)
		return <-seen
	}
}

// watcher finds the process that runs a program. It reads little of what it has read before: to look at every process each time
// took a third of a processor from what is measured.
type watcher struct {
	path  string
	pid   string         // where it runs
	looks map[string]int // at each process, so far
}

// settled is after how many looks a process does not become another program any more.
const settled = 25

func (w *watcher) running() bool {
	if w.pid != "" && w.runs(w.pid) {
		return true
	}
	w.pid = ""
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1) // as far as it got
	looks := make(map[string]int, len(names))
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if looks[name] = w.looks[name] + 1; looks[name] <= settled && w.runs(name) {
			w.pid = name
		}
	}
	w.looks = looks
	return w.pid != ""
}

func (w *watcher) runs(pid string) bool {
	exe, err := os.Readlink("/proc/" + pid + "/exe")
	return err == nil && exe == w.path
}

// visits are the times in which a command of ours ran on the host as root, as its journal has them, and how many
// connections logged in.
func (l *lab) visits(within span) (commands []span, connections int, err error) {
	out, err := l.on(fmt.Sprintf("journalctl --sync; journalctl --no-pager --output json --since @%d --until @%d --identifier sudo --identifier sshd --identifier sshd-session",
		within.start.Unix(), within.end.Unix()+1))
	if err != nil {
		return nil, 0, err
	}
	opened := map[string]time.Time{}
	for line := range strings.Lines(out) {
		var entry struct {
			At      string `json:"__REALTIME_TIMESTAMP"`
			PID     string `json:"_PID"`
			Message any    `json:"MESSAGE"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return nil, 0, fmt.Errorf("read the host's journal: %w", err)
		}
		micros, err := strconv.ParseInt(entry.At, 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("read the host's journal: %w", err)
		}
		at := time.UnixMicro(micros)
		switch message, _ := entry.Message.(string); {
		case at.Before(within.start) || at.After(within.end):
		case strings.HasPrefix(message, "Accepted publickey for "):
			connections++
		case strings.Contains(message, "(sudo:session): session opened for user root"):
			opened[entry.PID] = at
		case strings.Contains(message, "(sudo:session): session closed for user root"):
			if start, ok := opened[entry.PID]; ok {
				commands = append(commands, span{start, at})
				delete(opened, entry.PID)
			}
		}
	}
	return commands, connections, nil
}

var perConnection = regexp.MustCompile(`(?m)^BenchmarkConnection\S*\s+1\s+([0-9]+) ns/op`)

// connections times one connection through the tunnel, several times: cmd/claw has the benchmark.
func (l *lab) connections(runs int) ([]time.Duration, error) {
	out, err := l.lab("exec", "operator", "--", "go", "test", "-run", "^$", "-bench", "^BenchmarkConnection$", "-benchtime", "1x", "-count", strconv.Itoa(runs), "./cmd/claw")
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for _, found := range perConnection.FindAllStringSubmatch(out, -1) {
		n, err := strconv.ParseInt(found[1], 10, 64)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Duration(n))
	}
	if len(took) != runs {
		return nil, fmt.Errorf("the benchmark of connections gave %d figures, not %d:\n%s", len(took), runs, out)
	}
	return took, nil
}
