package applier_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openclaw-azure/internal/applier"
	"openclaw-azure/internal/hosttest/privateroot"
	"openclaw-azure/internal/hosttest/screen"
	"openclaw-azure/internal/layer"
)

// root is a private root, and the applier in it.
type root struct{ *privateroot.Root }

func newRoot(t *testing.T) *root {
	t.Helper()
	return &root{privateroot.New(t)}
}

// outcome is what one run of the applier gave.
type outcome struct {
	exit           int
	stdout, stderr string
	answer         answer
}

type answer struct {
	Layer     string   `json:"layer"`
	Result    string   `json:"result"`
	Changed   []string `json:"changed"`
	Error     string   `json:"error"`
	Confirmed bool     `json:"confirmed"`
	Refused   string   `json:"refused"`
	Reason    string   `json:"reason"`
}

// running is a run of the applier that has not ended.
type running struct {
	r           *root
	command     *exec.Cmd
	out, err    screen.Screen
	interrupted bool
}

// begin sends a request the way the program does: the loader of the remote command, with the applier and the request
// on standard input. around stands before the shell, for a connection.
func (r *root) begin(request any, token string, around ...string) *running {
	r.T.Helper()
	stdin, err := layer.NewApplier(applier.Source()).Stdin(request)
	if err != nil {
		r.T.Fatal(err)
	}
	text, found := strings.CutPrefix(layer.RemoteCommand(token), "sudo -n ")
	if !found {
		r.T.Fatalf("the remote command begins otherwise: %s", text)
	}
	p := &running{r: r, command: r.Command(append(around, "sh", "-c", text)...)}
	p.command.Stdin, p.command.Stdout, p.command.Stderr = strings.NewReader(stdin), &p.out, &p.err
	if err := p.command.Start(); err != nil {
		r.T.Fatal(err)
	}
	return p
}

// applier is the applier's own process, found below the command that started it.
func (p *running) applier() (pid int) {
	p.r.T.Helper()
	p.r.Await("the applier", func() bool {
		below := map[int]bool{p.command.Process.Pid: true}
		for again := true; again; {
			again = false
			stats, _ := filepath.Glob("/proc/[0-9]*/stat")
			for _, path := range stats {
				text, err := os.ReadFile(path)
				if err != nil {
					continue
				}
				child, _ := strconv.Atoi(strings.Split(path, "/")[2])
				name, rest, _ := strings.Cut(string(text[bytes.IndexByte(text, '(')+1:]), ") ")
				parent, _ := strconv.Atoi(strings.Fields(rest)[1])
				if !below[parent] || below[child] {
					continue
				}
				if strings.HasPrefix(name, "python3") {
					pid = child
					return true
				}
				below[child], again = true, true
			}
		}
		return false
	})
	return pid
}

// kill ends the applier as nothing but the kernel can.
func (p *running) kill() {
	p.r.T.Helper()
	p.signal(p.applier(), syscall.SIGKILL)
}

func (p *running) signal(pid int, signal syscall.Signal) {
	p.r.T.Helper()
	p.interrupted = p.interrupted || signal == syscall.SIGKILL
	if err := syscall.Kill(pid, signal); err != nil && err != syscall.ESRCH {
		p.r.T.Fatal(err)
	}
}

func (p *running) end() outcome {
	p.r.T.Helper()
	stop := time.AfterFunc(2*privateroot.Patience, func() { _ = p.command.Process.Kill() })
	defer stop.Stop()
	_ = p.command.Wait()
	o := outcome{exit: p.command.ProcessState.ExitCode(), stdout: p.out.String(), stderr: p.err.String()}
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &o.answer); err != nil && !p.interrupted {
		p.r.T.Fatalf("the answer is not the last line: %v\n%s\n%s", err, o.stdout, o.stderr)
	}
	return o
}

// want compares an outcome's exit status, result and changes.
func (o outcome) want(t *testing.T, exit int, result string, changed ...string) {
	t.Helper()
	if o.exit != exit || o.answer.Result != result || (changed != nil && !slices.Equal(o.answer.Changed, changed)) {
		t.Fatalf("exit %d, %s, changed %q; want exit %d, %s, %q\n%s\n%s", o.exit, o.answer.Result, o.answer.Changed, exit, result, changed, o.stdout, o.stderr)
	}
}

func (o outcome) says(t *testing.T, want string) {
	t.Helper()
	if o.answer.Error != want {
		t.Errorf("error:\n%s\nwant:\n%s", o.answer.Error, want)
	}
}

func (r *root) pack(l layer.Layer) layer.Packed {
	r.T.Helper()
	p, err := l.Pack()
	if err != nil {
		r.T.Fatal(err)
	}
	return p
}

// window is how many seconds an armed change of these tests waits to be confirmed, where it is not.
const window = 2

func (r *root) apply(l layer.Layer, token string) outcome {
	r.T.Helper()
	return r.beginApply(l, token, window).end()
}

func (r *root) beginApply(l layer.Layer, token string, seconds int) *running {
	r.T.Helper()
	return r.begin(r.pack(l).Apply(layer.Confirmation{Port: 2222, Seconds: seconds}), token)
}

// applyConfirmed applies an armed layer and confirms it in time.
func (r *root) applyConfirmed(l layer.Layer, token string) {
	r.T.Helper()
	p := r.beginApply(l, token, 30)
	r.awaitWindow(l)
	if o := r.confirm(l, 2222); o.exit != 0 || !o.answer.Confirmed {
		r.T.Fatalf("exit %d, %+v", o.exit, o.answer)
	}
	p.end().want(r.T, 0, "applied")
}

// connection is a process that looks to the applier like a connection which sshd accepted on a port. With a gate, the
// request waits until that file is there.
func connection(port int, gate string) []string {
	wait := ""
	if gate != "" {
		wait = "while [ ! -e " + gate + " ]; do sleep 0.02; done; "
	}
	return []string{"/run/sshd-session", "-c", wait + `"$@"; exit $?`, "sshd-session",
		"env", fmt.Sprintf("SSH_CONNECTION=10.100.0.254 40000 10.100.0.1 %d", port)}
}

// confirm asks for a confirmation over a connection of now, and once more where the clock could not tell the
// connection from the change, as the program does.
func (r *root) confirm(l layer.Layer, port int) outcome {
	r.T.Helper()
	for {
		o := r.begin(r.pack(l).Confirm(2222), "", connection(port, "")...).end()
		if o.answer.Reason != "the connection is as old as the change" {
			return o
		}
	}
}

// awaitWindow waits until a change is applied and waits for its confirmation.
func (r *root) awaitWindow(l layer.Layer) {
	r.T.Helper()
	r.Await("the window", func() bool {
		manifest, err := os.ReadFile(r.Path("/var/lib/openclaw-deploy/pending/manifest.json"))
		return err == nil && bytes.Contains(manifest, []byte(`"applied"`)) && bytes.Contains(manifest, []byte(r.pack(l).Digest))
	})
}

// observation is what the applier answers to a look, of whatever layer and with whatever token.
type observation struct {
	Layers map[string]struct {
		Token, Digest string
		Drift         []layer.Drift
	}
	Notes, Warnings []string
	Pending         *struct{ Layer, Token string }
	LastRollback    *struct{ Layer, Token, Reason string }
}

func (r *root) observe() *observation {
	r.T.Helper()
	return r.begin(layer.Observe(), "").end().observation(r.T)
}

func (o outcome) observation(t *testing.T) *observation {
	t.Helper()
	if o.exit != 0 {
		t.Fatalf("observe: exit %d\n%s\n%s", o.exit, o.stdout, o.stderr)
	}
	seen := &observation{}
	if err := json.Unmarshal([]byte(o.stdout), seen); err != nil {
		t.Fatal(err)
	}
	return seen
}

func (r *root) drift(name string) []string {
	r.T.Helper()
	return r.begin(layer.Observe(), "").end().drift(r.T, name)
}

// drift is what observe finds of a layer, one line a fault.
func (o outcome) drift(t *testing.T, name string) []string {
	t.Helper()
	lines := []string{}
	for _, fault := range o.observation(t).Layers[name].Drift {
		lines = append(lines, fault.String())
	}
	return lines
}

func (r *root) quiet(name string) {
	r.T.Helper()
	if drift := r.drift(name); len(drift) != 0 {
		r.T.Errorf("layer %s differs:\n%s", name, strings.Join(drift, "\n"))
	}
}
