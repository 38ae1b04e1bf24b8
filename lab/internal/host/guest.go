package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"openclaw-azure/lab/internal/fabric"
	"openclaw-azure/lab/internal/tail"
)

// bootScript runs as the first process of mount and process namespaces of its own: when it ends, by whatever
// signal, the kernel ends the machine in it, unmounts its disk and frees the loop device.
const bootScript = `set -eu
mount --make-rslave /
mount -t proc proc /proc
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 lab /run/systemd/nspawn
# A machine that is cut off loses nothing of what it wrote: the file is in the kernel's cache. Barriers only cost time.
mount -o loop,barrier=0 "$DISK" "$ROOT"
if [ -d "$STAGE" ]; then
	cp -a "$STAGE/." "$ROOT/"
	rm -rf "$STAGE"
fi
unset DISK STAGE
exec "$@"
`

// rebootStatus is how systemd-nspawn says that the system in it wants to be started again.
const rebootStatus = 133

// guest is one virtual machine's running system.
type guest struct {
	id     string
	folder string // disk, seed, console
	place  string
	name   string // its hostname at first boot
	groups []string
	// link makes the network anew before each boot.
	link func(context.Context) error
	log  func(format string, args ...any)

	mu      sync.Mutex
	active  bool // run is at work
	boots   int
	init    int // the process that is the system's init, 0 while there is none
	process *os.Process
	console *os.File // the keyboard's and screen's end of the console, while the machine runs
	stopped bool     // by itself or by us: not started again
	failure error    // why it is stopped, where that was nobody's wish
	changed chan struct{}
}

// signal lets everybody who waits look again. The caller holds mu.
func (g *guest) signal() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// await blocks until done says so; done runs with mu held.
func (g *guest) await(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		g.mu.Lock()
		ok, err := done()
		changed := g.changed
		g.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s of %s: %w", what, g.name, ctx.Err())
		}
	}
}

// running gives the init process, waiting for it while the machine boots.
func (g *guest) running(ctx context.Context) (int, error) {
	var pid int
	err := g.await(ctx, "the start", func() (bool, error) {
		if g.stopped {
			return false, fabric.Stopped{Why: g.whyStopped()}
		}
		pid = g.init
		return pid != 0, nil
	})
	return pid, err
}

// answering gives the init process once it takes orders.
func (g *guest) answering(ctx context.Context) (int, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		pid, err := g.running(ctx)
		if err != nil {
			return 0, err
		}
		if exists(pid, "run/systemd/private") {
			return pid, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for systemd in %s: %w", g.name, ctx.Err())
		case <-tick.C:
		}
	}
}

func (g *guest) whyStopped() error {
	if g.failure != nil {
		return fmt.Errorf("virtual machine %q is stopped: %w", g.name, g.failure)
	}
	return fmt.Errorf("virtual machine %q is stopped", g.name)
}

// run boots the machine, again and again for as long as it wants to be rebooted.
func (g *guest) run() {
	// The death signal follows the thread that started the process.
	runtime.LockOSThread()
	for {
		status, err := g.boot()
		g.mu.Lock()
		g.init, g.process = 0, nil
		again := err == nil && status == rebootStatus && !g.stopped
		if !again {
			if err == nil && status != 0 && !g.stopped {
				err = fmt.Errorf("systemd-nspawn ended with status %d", status)
			}
			if !g.stopped {
				g.failure = err
			}
			g.active, g.stopped = false, true
		}
		g.signal()
		g.mu.Unlock()
		if !again {
			g.log("%s: stopped: %v", g.name, err)
			return
		}
		g.log("%s: reboots", g.name)
	}
}

func (g *guest) boot() (status int, err error) {
	if err := g.link(context.Background()); err != nil {
		return 0, err
	}
	screen, err := os.OpenFile(filepath.Join(g.folder, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer screen.Close()
	console, far, err := openConsole()
	if err != nil {
		return 0, err
	}
	defer far.Close()
	group, err := makeGroup(g.groups[0])
	if err != nil {
		return 0, err
	}
	defer group.Close()
	root := filepath.Join(g.folder, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return 0, err
	}
	cmd := exec.Command("sh", "-c", bootScript, "sh",
		"systemd-nspawn", "--quiet", "--boot", "--directory="+root,
		"--machine="+g.place, "--hostname="+g.name, "--uuid="+g.id,
		"--register=no", "--keep-unit", "--console=interactive", "--link-journal=no",
		"--resolv-conf=off", "--timezone=off",
		"--network-namespace-path=/run/netns/"+g.place,
		"--bind=/dev/net/tun", "--bind-ro="+filepath.Join(g.folder, "seed")+":"+seedPath,
		"--capability=CAP_NET_ADMIN,CAP_NET_RAW")
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=vt220",
		"DISK=" + filepath.Join(g.folder, "disk"), "ROOT=" + root, "STAGE=" + filepath.Join(g.folder, "stage"),
		// systemd 257 and newer refuses the older hierarchy.
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
		// Kernel settings of the network are the machine's own, the others are shared and stay read-only.
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=network",
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:   syscall.SIGKILL,
		Setsid:      true,
		UseCgroupFD: true,
		CgroupFD:    int(group.Fd()),
	}
	g.mu.Lock()
	if g.stopped {
		g.mu.Unlock()
		console.Close()
		return 0, nil
	}
	if err := cmd.Start(); err != nil {
		g.mu.Unlock()
		console.Close()
		return 0, fmt.Errorf("start systemd-nspawn: %w", err)
	}
	g.process, g.console = cmd.Process, console
	g.boots++
	g.signal()
	g.mu.Unlock()
	g.log("%s: boot %d", g.name, g.boots)

	ended := make(chan struct{})
	go g.watchInit(cmd.Process.Pid, ended)
	shown := make(chan struct{})
	go func() {
		// Ends with an error once the far end is closed for good.
		_, _ = io.Copy(screen, console)
		close(shown)
	}()
	err = cmd.Wait()
	close(ended)
	g.mu.Lock()
	g.console = nil
	g.mu.Unlock()
	far.Close()
	<-shown
	console.Close()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() == rebootStatus || exit.ExitCode() == 0 {
			return exit.ExitCode(), nil
		}
		return exit.ExitCode(), fmt.Errorf("%w\n%s", err, tail.Lines(screen.Name(), 5))
	}
	return 0, err
}

// watchInit looks for the machine's init among the children of systemd-nspawn.
func (g *guest) watchInit(nspawn int, ended <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if pid := initOf(nspawn); pid != 0 {
			g.mu.Lock()
			g.init = pid
			g.signal()
			g.mu.Unlock()
			return
		}
		select {
		case <-ended:
			return
		case <-tick.C:
		}
	}
}

func initOf(nspawn int) int {
	for _, pid := range children(nspawn) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			// Ours, the one around systemd-nspawn, and the machine's own.
			fields := strings.Fields(line)
			if len(fields) == 4 && fields[0] == "NSpid:" && fields[3] == "1" {
				if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && filepath.Base(exe) == "systemd" {
					return pid
				}
			}
		}
	}
	return 0
}

func children(pid int) []int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var pids []int
	for _, field := range strings.Fields(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// halt ends the machine as a power cut would, and waits.
func (g *guest) halt(ctx context.Context) error {
	g.mu.Lock()
	g.stopped = true
	if g.process != nil {
		_ = g.process.Kill()
	}
	g.signal()
	g.mu.Unlock()
	return g.await(ctx, "the end", func() (bool, error) { return !g.active, nil })
}

// cycle asks the machine to reboot, and pulls the plug when it does not listen. It returns when the next boot has
// its init.
func (g *guest) cycle(ctx context.Context, patience time.Duration) error {
	pid, err := g.running(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	before := g.boots
	g.mu.Unlock()
	// What the console's three keys send: systemd starts reboot.target.
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		return fmt.Errorf("ask init of %q to reboot: %w", g.name, err)
	}
	booted := func() (bool, error) {
		if g.stopped {
			return false, g.whyStopped()
		}
		return g.boots > before && g.init != 0, nil
	}
	soft, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = g.await(soft, "the reboot", booted)
	if err == nil || ctx.Err() != nil || soft.Err() == nil {
		return err
	}
	g.log("%s: does not reboot within %s, is reset", g.name, patience)
	if err := g.halt(ctx); err != nil {
		return err
	}
	g.start()
	return g.await(ctx, "the start after a reset", booted)
}

// start boots a machine that is stopped.
func (g *guest) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active {
		return
	}
	g.active, g.stopped, g.failure = true, false, nil
	go g.run()
}

// makeGroup makes a control group and opens it.
func makeGroup(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// removeGroups removes control groups with all groups in them; the kernel takes a moment to let go of ended ones.
func removeGroups(paths []string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		var errs []error
		for _, path := range paths {
			var dirs []string
			_ = filepath.WalkDir(path, func(at string, entry os.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					dirs = append(dirs, at)
				}
				return nil
			})
			slices.Reverse(dirs)
			for _, dir := range dirs {
				if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
					errs = append(errs, err)
				}
			}
		}
		if len(errs) == 0 || time.Now().After(deadline) {
			return errors.Join(errs...)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// groupPaths are where a control group of that name stands: in the unified hierarchy, and in systemd's own of the
// older kind, where systemd-nspawn keeps a copy.
func groupPaths(name string) ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var unified, older []string
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		switch {
		case fields[2] == "cgroup2":
			unified = append(unified, filepath.Join(fields[1], name))
		case fields[2] == "cgroup" && slices.Contains(strings.Split(fields[3], ","), "name=systemd"):
			older = append(older, filepath.Join(fields[1], name))
		}
	}
	if len(unified) == 0 {
		return nil, errors.New("no cgroup2 file system is mounted, and systemd in the virtual machine needs one\nmount -t cgroup2 none /sys/fs/cgroup")
	}
	return append(unified[:1:1], older...), nil
}
