package applytest

import (
	"bufio"
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

	"openclaw-azure/internal/layer"
)

const applierPath = "../../templates/usr/local/lib/openclaw-deploy/apply.py"

// patience bounds every wait.
const patience = 30 * time.Second

// private makes the root and keeps it as long as it lives: its first process is the namespaces' init, and with it
// everything in them goes.
const private = `
set -eu
mount -t tmpfs -o mode=0755,size=64m,nr_inodes=20000 private "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" private "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir -p run/units usr/local/sbin
printf '%s' "$2" >usr/local/sbin/systemctl
chmod 755 usr/local/sbin/systemctl
cp /bin/sh run/sshd-session
rm -rf var/lib/openclaw-deploy
ip link set lo up
echo ready
exec chroot . sleep 3600
`

// systemctl remembers which units are enabled, active and masked, and records every call. A unit named in
// /run/units/broken does not start; what stands in UNIT.run there is run as its commands.
const systemctl = `#!/bin/sh
echo "$*" >>/run/systemctl.log
[ "$1" = --no-ask-password ] && shift
verb=$1
shift
now=
for word in "$@"; do
	case $word in
	--now) now=1 ;;
	--property=*) properties=${word#--property=} ;;
	esac
done
cd /run/units
start() {
	grep -qsxF "$1" broken && { echo "Job for $1 failed." >&2; exit 1; }
	[ ! -e "$1.run" ] || sh "$1.run" >"$1.log" 2>&1 || { echo "Job for $1 failed." >&2; exit 1; }
	touch "$1.active"
}
for unit in "$@"; do
	case $unit in
	-*) continue ;;
	esac
	case $verb in
	show)
		[ "$properties" = ActiveEnterTimestampMonotonic ] && { echo ActiveEnterTimestampMonotonic=1; continue; }
		active=inactive enabled=disabled load=loaded
		[ -e "$unit.active" ] && active=active
		[ -e "$unit.enabled" ] && enabled=enabled
		[ -e "$unit.masked" ] && enabled=masked load=masked
		[ -n "${later-}" ] && echo
		later=1
		printf 'Id=%s\nLoadState=%s\nActiveState=%s\nUnitFileState=%s\n' "$unit" "$load" "$active" "$enabled"
		;;
	start | restart) start "$unit" ;;
	stop) rm -f "$unit.active" ;;
	enable) touch "$unit.enabled"; [ -z "$now" ] || start "$unit" ;;
	disable) rm -f "$unit.enabled"; [ -z "$now" ] || rm -f "$unit.active" ;;
	mask) touch "$unit.masked" ;;
	unmask) rm -f "$unit.masked" ;;
	esac
done
exit 0
`

type root struct {
	t   *testing.T
	pid int // of the namespaces' init
}

func newRoot(t *testing.T) *root {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests need root: they make mounts and accounts in namespaces of their own")
	}
	folder, err := os.MkdirTemp("", "applytest") // not t.TempDir: mount takes the commas of a test's name apart
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(folder) })
	holder := exec.Command("unshare", "--mount", "--pid", "--net", "--uts", "--fork", "--kill-child", "--propagation", "private",
		"sh", "-c", private, "private", folder, systemctl)
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var problem bytes.Buffer
	holder.Stderr = &problem
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("no private root: %v: %s", err, problem.String())
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", holder.Process.Pid, holder.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(children))[0])
	if err != nil {
		t.Fatal(err)
	}
	r := &root{t: t, pid: pid}
	r.await("the private root", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err == nil && string(name) == "sleep\n"
	})
	return r
}

func (r *root) await(what string, done func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// path is the way from outside to a path in the root.
func (r *root) path(path string) string { return fmt.Sprintf("/proc/%d/root%s", r.pid, path) }

func (r *root) command(argv ...string) *exec.Cmd {
	return exec.Command("nsenter", slices.Concat([]string{"--target", strconv.Itoa(r.pid), "--mount", "--pid", "--net", "--uts", "--root", "--wd"}, argv)...)
}

// sh runs a command in the root and wants it to succeed.
func (r *root) sh(script string, argv ...string) string {
	r.t.Helper()
	c := r.command(append([]string{"sh", "-euc", script, "sh"}, argv...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func (r *root) write(path, content string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(path)), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(path), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *root) read(path string) string {
	r.t.Helper()
	content, err := os.ReadFile(r.path(path))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(content)
}

// has wants a file to have a content; empty: not to exist.
func (r *root) has(path, want string) {
	r.t.Helper()
	content, err := os.ReadFile(r.path(path))
	if want == "" {
		if !os.IsNotExist(err) {
			r.t.Errorf("%s is there: %q, %v", path, content, err)
		}
		return
	}
	if err != nil || string(content) != want {
		r.t.Errorf("%s: %q, %v; want %q", path, content, err, want)
	}
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
	out, err    bytes.Buffer
	interrupted bool
}

// begin sends a request the way the program does: the loader of the remote command, with the applier and the request
// on standard input. around stands before the shell, for a connection.
func (r *root) begin(request any, token string, around ...string) *running {
	r.t.Helper()
	applier, err := os.ReadFile(applierPath)
	if err != nil {
		r.t.Fatal(err)
	}
	stdin, err := layer.NewApplier(applier).Stdin("not for a log", request)
	if err != nil {
		r.t.Fatal(err)
	}
	text, found := strings.CutPrefix(layer.Command(false, token), "sudo -n ")
	if !found {
		r.t.Fatalf("the remote command begins otherwise: %s", text)
	}
	p := &running{r: r, command: r.command(append(around, "sh", "-c", text)...)}
	p.command.Stdin, p.command.Stdout, p.command.Stderr = strings.NewReader(stdin), &p.out, &p.err
	if err := p.command.Start(); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// applier is the applier's own process, found below the command that started it.
func (p *running) applier() (pid int) {
	p.r.t.Helper()
	p.r.await("the applier", func() bool {
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
	p.r.t.Helper()
	p.signal(p.applier(), syscall.SIGKILL)
}

func (p *running) signal(pid int, signal syscall.Signal) {
	p.r.t.Helper()
	p.interrupted = p.interrupted || signal == syscall.SIGKILL
	if err := syscall.Kill(pid, signal); err != nil && err != syscall.ESRCH {
		p.r.t.Fatal(err)
	}
}

func (p *running) end() outcome {
	p.r.t.Helper()
	stop := time.AfterFunc(2*patience, func() { _ = p.command.Process.Kill() })
	defer stop.Stop()
	_ = p.command.Wait()
	o := outcome{exit: p.command.ProcessState.ExitCode(), stdout: p.out.String(), stderr: p.err.String()}
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &o.answer); err != nil && !p.interrupted {
		p.r.t.Fatalf("the answer is not the last line: %v\n%s\n%s", err, o.stdout, o.stderr)
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
	r.t.Helper()
	p, err := l.Pack()
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// window is how many seconds an armed change of these tests waits to be confirmed, where it is not.
const window = 2

func (r *root) apply(l layer.Layer, token string) outcome {
	r.t.Helper()
	return r.beginApply(l, token, window).end()
}

func (r *root) beginApply(l layer.Layer, token string, seconds int) *running {
	r.t.Helper()
	return r.begin(r.pack(l).Apply(layer.Confirmation{Port: 2222, Seconds: seconds}), token)
}

// applyConfirmed applies an armed layer and confirms it in time.
func (r *root) applyConfirmed(l layer.Layer, token string) {
	r.t.Helper()
	p := r.beginApply(l, token, 30)
	r.awaitWindow(l)
	if o := r.confirm(l, 2222); o.exit != 0 || !o.answer.Confirmed {
		r.t.Fatalf("exit %d, %+v", o.exit, o.answer)
	}
	p.end().want(r.t, 0, "applied")
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
	r.t.Helper()
	for {
		o := r.begin(r.pack(l).Confirm(2222), "", connection(port, "")...).end()
		if o.answer.Reason != "the connection is as old as the change" {
			return o
		}
	}
}

// awaitWindow waits until a change is applied and waits for its confirmation.
func (r *root) awaitWindow(l layer.Layer) {
	r.t.Helper()
	r.await("the window", func() bool {
		manifest, err := os.ReadFile(r.path("/var/lib/openclaw-deploy/pending/manifest.json"))
		return err == nil && bytes.Contains(manifest, []byte(`"applied"`)) && bytes.Contains(manifest, []byte(r.pack(l).Digest))
	})
}

func (r *root) observe() *layer.Observation {
	r.t.Helper()
	return r.begin(layer.Observe(), "").end().observation(r.t)
}

func (o outcome) observation(t *testing.T) *layer.Observation {
	t.Helper()
	if o.exit != 0 {
		t.Fatalf("observe: exit %d\n%s\n%s", o.exit, o.stdout, o.stderr)
	}
	seen, err := layer.ParseObservation([]byte(o.stdout))
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func (r *root) drift(name string) []string {
	r.t.Helper()
	return r.begin(layer.Observe(), "").end().drift(r.t, name)
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
	r.t.Helper()
	if drift := r.drift(name); len(drift) != 0 {
		r.t.Errorf("layer %s differs:\n%s", name, strings.Join(drift, "\n"))
	}
}
