// Package scenarios runs the main job for real: the unchanged program and CLI, a real host, an operator's and an
// attacker's place outside. The tests log into it.
package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"openclaw-azure/lab/internal/tail"
)

// one is the lab of a test, driven by bin/lab as a user does.
type one struct {
	t    *testing.T
	root string // of the repository
	name string

	before map[string]string // the identity of a machine that was destroyed
	home   string            // its backup
	sum    string            // that backup's SHA-256, as the stack said it
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit status %d\nstdout:\n%s\nstderr:\n%s", r.code, r.stdout, r.stderr)
}

// namedLab is a lab of that name, which need not exist.
func namedLab(t *testing.T, name string) *one {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "bin", "lab")); err != nil {
		t.Fatalf("bin/lab is not built: %v\nhint: make test builds it", err)
	}
	l := &one{t: t, root: root, name: name}
	// What an interrupted run left of a lab that stays.
	if err := os.RemoveAll(l.scratch()); err != nil {
		t.Fatal(err)
	}
	return l
}

// scratch is the folder of all temporary ones: the lab's own, so that it goes with the lab where no cleanup of a test runs.
func (l *one) scratch() string { return filepath.Join(l.root, ".lab", l.name, scratchName) }

const scratchName = "scratch"

// tempDir makes a folder that is there until the end of the test, for files that may hold secrets.
func (l *one) tempDir() string {
	l.t.Helper()
	goOn()
	if err := os.MkdirAll(l.scratch(), 0o700); err != nil {
		l.t.Fatal(err)
	}
	dir, err := os.MkdirTemp(l.scratch(), "")
	if err != nil {
		l.t.Fatal(err)
	}
	t := l.t
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// labs are those that are there now. After a signal nobody gets it any more.
var labs = struct {
	sync.Mutex
	names map[string]*one
}{names: map[string]*one{}}

// over is closed when somebody interrupts.
var over = make(chan struct{})

// goOn holds up a test from then on: what it would start now would be there after the labs are gone.
func goOn() {
	select {
	case <-over:
		select {} // the process is about to end
	default:
	}
}

// TestMain takes the labs away when somebody interrupts: no cleanup of a test runs then.
func TestMain(m *testing.M) {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		close(over)
		labs.Lock()
		for name, l := range labs.names {
			fmt.Fprintf(os.Stderr, "interrupted: taking lab %q away\n", name)
			// Again where a command that was at work made something meanwhile: it ends without its lab.
			for try := range 3 {
				down := exec.Command(filepath.Join(l.root, "bin", "lab"), "down")
				down.Env = append(os.Environ(), "LAB="+name)
				// Another Ctrl-C is not for it.
				down.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				out, err := down.CombinedOutput()
				if err == nil {
					break
				}
				if try == 2 {
					fmt.Fprintf(os.Stderr, "lab %q: %v\n%s", name, err, out)
				}
			}
		}
		os.Exit(130)
	}()
	code := m.Run()
	if err := noteParts(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// newLab names a lab of the test's own; it is taken away at the end, whatever happens.
func newLab(t *testing.T, name string) *one {
	t.Helper()
	l := namedLab(t, name)
	labs.Lock()
	labs.names[name] = l
	labs.Unlock()
	// What an interrupted run left.
	if r := l.lab("", "down"); r.code != 0 {
		t.Fatalf("take an old lab away: %s", r)
	}
	t.Cleanup(func() {
		if t.Failed() {
			consoles, _ := filepath.Glob(filepath.Join(l.root, ".lab", name, "machines", "*", "console.log")) // the pattern is a good one
			for _, console := range consoles {
				t.Logf("the end of the host's console:\n%s", tail.Lines(console, 30))
			}
			t.Logf("the end of its journal:\n%s", l.lab("", "exec", "vm", "--", "journalctl", "-n", "60", "--no-pager").stdout)
		}
		if r := l.lab("", "down"); r.code != 0 {
			t.Errorf("take the lab away: %s", r)
		}
		labs.Lock()
		delete(labs.names, name)
		labs.Unlock()
	})
	return l
}

// startLab is newLab with its machine's network and the stack, and nothing deployed.
func startLab(t *testing.T, name string) *one {
	t.Helper()
	l := newLab(t, name)
	if r := l.lab("", "start"); r.code != 0 {
		t.Fatalf("bin/lab start: %s", r)
	}
	return l
}

// part is one part of a scenario.
type part struct {
	name string
	run  func(*one)
}

// run runs parts, and goes on after one that failed: what the others find is worth knowing.
func (l *one) run(parts []part) {
	for _, part := range parts {
		l.part(part)
	}
}

// wantsAll says whether a variable of the environment asks for all of a scenario; make test runs some of it.
func wantsAll(t *testing.T, variable string) bool {
	t.Helper()
	wanted := os.Getenv(variable)
	if wanted != "all" && wanted != "" {
		t.Fatalf("%s: value %q: all is all of the scenario, and empty what make test runs", variable, wanted)
	}
	return wanted == "all"
}

// inTurn runs parts that build on each other: the first that fails is the last.
func (l *one) inTurn(parts []part) {
	for _, part := range parts {
		if !l.part(part) {
			return
		}
	}
}

// part runs a part as a test of its own.
func (l *one) part(part part) (passed bool) {
	return l.t.Run(part.name, func(t *testing.T) {
		outer := l.t
		l.t = t
		defer func() { l.t = outer }()
		part.run(l)
	})
}

// command runs a program of the repository with this lab's name, bounded in time.
func (l *one) command(stdin string, limit time.Duration, name string, args ...string) result {
	l.t.Helper()
	goOn()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Dir = l.root
	cmd.Env = append(os.Environ(), "LAB="+l.name)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// screen is what a command has written so far.
type screen struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

var _ io.Writer = (*screen)(nil)

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.String()
}

func (l *one) lab(stdin string, args ...string) result {
	l.t.Helper()
	return l.command(stdin, 20*time.Minute, filepath.Join(l.root, "bin", "lab"), args...)
}

// must runs bin/lab, which has to succeed.
func (l *one) must(args ...string) {
	l.t.Helper()
	if r := l.lab("", args...); r.code != 0 {
		l.t.Fatalf("bin/lab %s: %s", strings.Join(args, " "), r)
	}
}

// at runs a command on the host or at a place outside it.
func (l *one) at(place string, argv ...string) result {
	l.t.Helper()
	return l.command("", 2*time.Minute, filepath.Join(l.root, "bin", "lab"), append([]string{"exec", place, "--"}, argv...)...)
}

// outside runs a shell script on the router between the places and the host.
func (l *one) outside(script string) result {
	l.t.Helper()
	return l.command("", time.Minute, "ip", "netns", "exec", l.name+"-internet", "sh", "-c", script)
}

// router is outside, and has to succeed.
func (l *one) router(script string) {
	l.t.Helper()
	if r := l.outside(script); r.code != 0 {
		l.t.Fatalf("on the router: %s: %s", script, r)
	}
}

// on runs a shell script on the host, as root, and gives its output; it must succeed.
func (l *one) on(script string) string {
	l.t.Helper()
	r := l.at("vm", "sh", "-c", script)
	if r.code != 0 {
		l.t.Fatalf("on the host: %s: %s", script, r)
	}
	return strings.TrimSpace(r.stdout)
}

// reading is a command that a person could type on the host, as root, and all that it has to print.
type reading struct{ what, script, want string }

// reads compares what commands on the host print.
func (l *one) reads(readings []reading) {
	l.t.Helper()
	for _, r := range readings {
		if got := l.on(r.script); got != r.want {
			l.t.Errorf("%s: got\n%s\nwant\n%s", r.what, got, r.want)
		}
	}
}

// pulumi runs a Pulumi command as a user would type it; it must end with this exit status.
func (l *one) pulumi(code int, args ...string) result {
	l.t.Helper()
	start := time.Now()
	r := l.lab("", append([]string{"pulumi"}, args...)...)
	l.t.Logf("pulumi %s: exit status %d after %.1f s", strings.Join(args, " "), r.code, time.Since(start).Seconds())
	if r.code != code {
		l.t.Fatalf("pulumi %s: want exit status %d: %s", strings.Join(args, " "), code, r)
	}
	return r
}

// quiet checks that nothing is left to do.
func (l *one) quiet() {
	l.t.Helper()
	l.pulumi(0, "preview", "--expect-no-changes", "--non-interactive")
}

// output reads one output of the stack.
func (l *one) output(name string) string {
	l.t.Helper()
	return strings.TrimSuffix(l.pulumi(0, "stack", "output", "--show-secrets", name).stdout, "\n")
}

// peer reads the exported configuration of a peer.
func (l *one) peer(name string) string {
	l.t.Helper()
	var peers map[string]string
	if err := json.Unmarshal([]byte(l.pulumi(0, "stack", "output", "--show-secrets", "--json", "peers").stdout), &peers); err != nil {
		l.t.Fatal(err)
	}
	if peers[name] == "" {
		l.t.Fatalf("there is no peer %q", name)
	}
	return peers[name]
}

// eventually waits for a condition, which says what is not so yet.
func (l *one) eventually(what string, limit time.Duration, condition func() error) {
	l.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// booted waits until the host has booted.
func (l *one) booted() {
	l.t.Helper()
	// A gateway that finds its own number in a lock that a lost host left waits until systemd starts it again.
	l.eventually("the host is up", 10*time.Minute, func() error {
		if r := l.at("vm", "systemctl", "is-system-running"); r.stdout != "running\n" && r.stdout != "degraded\n" {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
}

// reaches says whether a TCP connection from a place is accepted. What is dropped gives no answer.
func (l *one) reaches(place, address string, port int) bool {
	l.t.Helper()
	r := l.at(place, "timeout", "3", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", address, port))
	return r.code == 0
}

// expectReach compares what a place reaches with what it should.
func (l *one) expectReach(place, address string, port int, want bool) {
	l.t.Helper()
	if got := l.reaches(place, address, port); got != want {
		l.t.Errorf("%s reaches %s port %d: %v, want %v", place, address, port, got, want)
	}
}

// secretFile writes a secret where only root reads it, in a folder that goes with the test.
func (l *one) secretFile(dir, name, content string) string {
	l.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}
