package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openclaw-azure/lab/internal/control"
	"openclaw-azure/lab/internal/host"
	"openclaw-azure/lab/internal/place"
)

// bootLimit bounds the wait for a host that boots when a command is to run on it.
const bootLimit = time.Minute

// BecomeAt replaces this process by a command at a place: streams, signals and the exit status are the command's own.
func (l Lab) BecomeAt(ctx context.Context, at string, argv []string) error {
	switch {
	case at == place.Operator || at == place.Attacker:
		if err := l.enter(at); err != nil {
			return err
		}
		environment := os.Environ()
		if at == place.Operator {
			environment = l.operatorEnvironment()
		}
		return become(argv, environment)
	case strings.HasPrefix(at, place.VM):
		return l.becomeInside(ctx, at, argv)
	}
	return fmt.Errorf("there is no place %q\nvm, operator or attacker", at)
}

func (l Lab) becomeInside(ctx context.Context, at string, argv []string) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	machine, err := l.control().Machine(ctx, at)
	if err != nil {
		return err
	}
	// Among the host's own processes, for its systemd and for whoever looks at what a process belongs to.
	if err := os.MkdirAll(machine.Group, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(machine.Group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return err
	}
	environment := host.Environment
	if terminal := os.Getenv("TERM"); terminal != "" {
		environment = append(environment[:len(environment):len(environment)], "TERM="+terminal)
	}
	return become(append(append([]string{"nsenter"}, host.Enter(machine.Init)...), argv...), environment)
}

// enter moves the calling thread to a place. It is the main one, and the process is replaced right after: no other
// thread is left behind elsewhere.
func (l Lab) enter(at string) error {
	file, err := os.Open(l.networks().Path(at))
	if errors.Is(err, os.ErrNotExist) {
		return control.ErrNotRunning
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", l.networks().Namespace(at), err)
	}
	return l.ownSockets(at)
}

// wireGuardSockets is where wireguard-go has a socket for each interface, by its name alone: namespaces of networks do
// not tell two labs' interfaces apart.
const wireGuardSockets = "/run/wireguard"

// ownSockets gives the calling thread the sockets of its own place, and of no other lab.
func (l Lab) ownSockets(at string) error {
	own := l.path("wireguard-" + at)
	for _, folder := range []string{own, wireGuardSockets} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mounts of its own for %s: %w", at, err)
	}
	// What is mounted from here on stays here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mounts of its own for %s: %w", at, err)
	}
	if err := unix.Mount(own, wireGuardSockets, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", wireGuardSockets, err)
	}
	return nil
}

// Statuses of a shell for a command that there is not, or that cannot be run.
const (
	NotFound      = 127
	NotExecutable = 126
)

// ExitError carries a status that bin/lab is to end with.
type ExitError struct {
	Code int
	Err  error
}

var _ error = ExitError{}

func (e ExitError) Error() string { return e.Err.Error() }
func (e ExitError) Unwrap() error { return e.Err }

func become(argv, environment []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return ExitError{NotFound, err}
	}
	if err := syscall.Exec(path, argv, environment); err != nil {
		return ExitError{NotExecutable, fmt.Errorf("run %q: %w", path, err)}
	}
	return nil
}
