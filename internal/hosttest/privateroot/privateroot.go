// Package privateroot makes private roots for tests of what runs on the host: overlays over this machine's own root, in
// namespaces of their own, so that a program works on real files, accounts and packages and leaves nothing behind.
//
// Two things are not real there. There is no systemd: a systemctl that records its calls and remembers states stands for
// it, so no timer fires by itself and no unit runs. And no sshd: /run/sshd-session, a shell of that name, stands for a
// connection. The lab's scenarios show both for real.
package privateroot

import (
	"bufio"
	"bytes"
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
)

// Patience bounds every wait.
const Patience = 30 * time.Second

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
// /run/units/broken does not start; what stands in UNIT.run there is run as its commands, UNIT.pid has its process, and one
// with UNIT.absent has no file.
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
		[ "$properties" = MainPID ] && { cat "$unit.pid" 2>/dev/null || echo 0; continue; }
		active=inactive enabled=disabled load=loaded
		[ -e "$unit.absent" ] && enabled='' load=not-found
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
	is-active) [ -e "$unit.active" ] && echo active || { echo inactive; exit 3; } ;;
	esac
done
exit 0
`

// Root is a private root, as long as its test runs.
type Root struct {
	T   *testing.T
	pid int // of the namespaces' init
}

// New makes a root; a test that cannot have one fails.
func New(t *testing.T) *Root {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests need root: they make mounts and accounts in namespaces of their own")
	}
	folder, err := os.MkdirTemp("", "privateroot") // not t.TempDir: mount takes the commas of a test's name apart
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
	r := &Root{T: t, pid: pid}
	r.Await("the private root", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err == nil && string(name) == "sleep\n"
	})
	return r
}

// Await waits until something is done.
func (r *Root) Await(what string, done func() bool) {
	r.T.Helper()
	for end := time.Now().Add(Patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.T.Fatalf("waited %v for %s", Patience, what)
		}
	}
}

// Path is the way from outside to a path in the root.
func (r *Root) Path(path string) string { return fmt.Sprintf("/proc/%d/root%s", r.pid, path) }

// Command is a command in the root.
func (r *Root) Command(argv ...string) *exec.Cmd {
	return exec.Command("nsenter", slices.Concat([]string{"--target", strconv.Itoa(r.pid), "--mount", "--pid", "--net", "--uts", "--root", "--wd"}, argv)...)
}

// Sh runs a command in the root and wants it to succeed.
func (r *Root) Sh(script string, argv ...string) string {
	r.T.Helper()
	c := r.Command(append([]string{"sh", "-euc", script, "sh"}, argv...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		r.T.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// Run runs a program of the root's and gives its exit status and all that it said.
func (r *Root) Run(argv ...string) (int, string) {
	r.T.Helper()
	c := r.Command(argv...)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		r.T.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

// Write writes a file, and makes its folder.
func (r *Root) Write(path, content string) {
	r.T.Helper()
	if err := os.MkdirAll(filepath.Dir(r.Path(path)), 0o755); err != nil {
		r.T.Fatal(err)
	}
	if err := os.WriteFile(r.Path(path), []byte(content), 0o644); err != nil {
		r.T.Fatal(err)
	}
}

// Read reads a file that has to be there.
func (r *Root) Read(path string) string {
	r.T.Helper()
	content, err := os.ReadFile(r.Path(path))
	if err != nil {
		r.T.Fatal(err)
	}
	return string(content)
}

// Has wants a file to have a content; empty: not to exist.
func (r *Root) Has(path, want string) {
	r.T.Helper()
	content, err := os.ReadFile(r.Path(path))
	if want == "" {
		if !os.IsNotExist(err) {
			r.T.Errorf("%s is there: %q, %v", path, content, err)
		}
		return
	}
	if err != nil || string(content) != want {
		r.T.Errorf("%s: %q, %v; want %q", path, content, err, want)
	}
}

// For is the same root in a test of its own.
func (r *Root) For(t *testing.T) *Root { return &Root{T: t, pid: r.pid} }
