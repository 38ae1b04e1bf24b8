package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"openclaw-azure/lab/internal/archive"
	"openclaw-azure/lab/internal/control"
	"openclaw-azure/lab/internal/image"
	"openclaw-azure/lab/internal/place"
	"openclaw-azure/lab/internal/progress"
	"openclaw-azure/lab/internal/tail"
)

// Prepare makes what labs have in common: the tools, the host's image, the program compiled.
func (l Lab) Prepare(ctx context.Context, report *progress.Reporter) error {
	logs := filepath.Join(l.Cache, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, filepath.Join(l.Cache, "lock"), func() {
		report.Say("another lab is being prepared on this machine; waiting for it")
	})
	if err != nil {
		return err
	}
	defer unlock()
	// The image is made of what the network and the disk give, the tools of what the processors do.
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		sources, err := archive.Read(ctx)
		if err != nil {
			return err
		}
		disk, err := image.New(sources, l.Cache)
		if err != nil || disk.Built() {
			return err
		}
		return report.Step("build the host's image", filepath.Join(logs, "image.log"), func(output io.Writer) error {
			return disk.Build(ctx, output)
		})
	})
	group.Go(func() error {
		if archive.NodeBuilt(l.Cache) {
			return nil
		}
		return report.Step("fetch Node", filepath.Join(logs, "node.log"), func(io.Writer) error {
			registry, err := archive.Registry(ctx)
			if err != nil {
				return err
			}
			return archive.BuildNode(ctx, registry, l.Cache)
		})
	})
	group.Go(func() error {
		for _, tool := range l.tools().Missing() {
			err := report.Step("build "+tool.Title, filepath.Join(logs, tool.Binary+".log"), func(output io.Writer) error {
				return l.tools().Build(ctx, tool, output)
			})
			if err != nil {
				return err
			}
		}
		// At the operator's place there are no modules to be had: all that the program needs is fetched here.
		return report.Step("compile the program", filepath.Join(logs, "program.log"), func(output io.Writer) error {
			return l.compile(ctx, output)
		})
	})
	return group.Wait()
}

// compile fetches and compiles what Pulumi's language host will link at each run, and fetches what it asks of the modules
// that go.mod names: also of those that another system would link.
func (l Lab) compile(ctx context.Context, output io.Writer) error {
	if err := l.golang(ctx, output, output, "build", "-v", ".", "./cmd/..."); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := l.golang(ctx, &text, output, "mod", "edit", "-json"); err != nil {
		return err
	}
	var file struct{ Require []struct{ Path string } }
	if err := json.Unmarshal(text.Bytes(), &file); err != nil {
		return fmt.Errorf("read go.mod: %w", err)
	}
	args := []string{"list", "-m", "-json"}
	for _, module := range file.Require {
		args = append(args, module.Path)
	}
	return l.golang(ctx, io.Discard, output, args...)
}

// golang runs Go's command in the program's folder.
func (l Lab) golang(ctx context.Context, stdout, stderr io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = l.Root
	cmd.Env = append(os.Environ(), goflags())
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

// Up makes the lab, or what is missing of it, and deploys the program in it.
func (l Lab) Up(ctx context.Context, report *progress.Reporter) error {
	return l.withStack(ctx, report, func() error {
		report.Say("pulumi up, stack %s", l.Name)
		if err := l.passthrough(ctx, "up", "--yes", "--skip-preview"); err != nil {
			return fmt.Errorf("pulumi up: %w", err)
		}
		l.sayNext(ctx, report)
		return nil
	})
}

// Start makes the lab and its stack without deploying anything.
func (l Lab) Start(ctx context.Context, report *progress.Reporter) error {
	return l.withStack(ctx, report, func() error { return nil })
}

// withStack sees to it that there are a lab and a stack, and calls f.
func (l Lab) withStack(ctx context.Context, report *progress.Reporter, f func() error) error {
	if err := l.start(ctx, report); err != nil {
		return err
	}
	// Not the lock that bin/lab down takes: a deploy that hangs must not keep it from its work.
	unlock, err := lock(ctx, l.path("up.lock"), func() {
		report.Say("another make lab deploys in lab %q; waiting for it", l.Name)
	})
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.configure(ctx, report); err != nil {
		return err
	}
	return f()
}

// sayNext tells what can be done with a lab.
func (l Lab) sayNext(ctx context.Context, report *progress.Reporter) {
	report.Say("\nThe lab %q runs. What to try next:\n", l.Name)
	if l.Name != DefaultName {
		report.Say("  export LAB=%s", l.Name)
		report.Say("      for every command below")
	}
	address := "ADDRESS"
	if status, err := l.control().Status(ctx); err == nil {
		for _, machine := range status.Machines {
			if machine.Public.IsValid() {
				address = machine.Public.String()
			}
		}
	}
	for _, next := range []struct{ command, what string }{
		{"bin/lab pulumi stack output", "what was deployed, and what to do now"},
		{"bin/lab exec vm -- ss -tulpn", "what listens on the host"},
		{"bin/lab exec operator -- nc -zvw3 " + address + " 22", "the bootstrap door, from where it is open"},
		{"bin/lab exec attacker -- nc -zvw3 " + address + " 22", "and from where it is not"},
		{"bin/lab pulumi config set bootstrap false && bin/lab pulumi up", "prove the tunnel, then close port 22"},
		{"bin/lab status; bin/lab console; bin/lab reboot", "how the lab is; the host's console; a real reboot"},
		{"bin/lab down", "take all of it away"},
	} {
		report.Say("  %s\n      %s", next.command, next.what)
	}
}

// start sees to it that the lab runs.
func (l Lab) start(ctx context.Context, report *progress.Reporter) error {
	if _, err := os.Stat(l.Folder()); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(l.stackFile()); err == nil {
			return fmt.Errorf("%s exists and belongs to no lab\ngive the lab another name with LAB, or remove that file", l.stackFile())
		}
	}
	if err := os.MkdirAll(l.Folder(), 0o700); err != nil {
		return err
	}
	unlock, err := l.lock(ctx, report)
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.Prepare(ctx, report); err != nil {
		return err
	}
	status, err := l.control().Status(ctx)
	if err == nil {
		l.warnOld(status, report)
		return nil
	}
	if !errors.Is(err, control.ErrNotRunning) {
		return err
	}
	return l.startDaemon(ctx, report)
}

// warnOld says so when the daemon runs an older build: replacing it would reboot the host under somebody's hands.
func (l Lab) warnOld(status control.Status, report *progress.Reporter) {
	running, errRunning := os.Stat(fmt.Sprintf("/proc/%d/exe", status.PID))
	built, errBuilt := os.Stat(l.daemon())
	if errRunning == nil && errBuilt == nil && !os.SameFile(running, built) {
		report.Say("lab %q runs an older build of its daemon; bin/lab down and make lab bring the new one", l.Name)
	}
}

func (l Lab) daemon() string { return filepath.Join(l.Root, "bin", "lab-daemon") }

func (l Lab) startDaemon(ctx context.Context, report *progress.Reporter) error {
	pid, root, err := control.Holder(l.Name)
	if err != nil {
		return err
	}
	if pid != 0 {
		return fmt.Errorf("a lab named %q runs on this machine already, for %s\nanother name will do: LAB=name make lab", l.Name, root)
	}
	logFile, err := os.OpenFile(l.path("daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	daemon := exec.Command(l.daemon())
	daemon.Dir = "/"
	daemon.Env = append(os.Environ(), "LAB="+l.Name, l.notesCalls())
	daemon.Stdout, daemon.Stderr = logFile, logFile
	// A session of its own: no Ctrl-C at the terminal reaches it.
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	start := time.Now()
	if err := daemon.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		if _, err := l.control().Status(ctx); err == nil {
			report.Say("start the lab's networks and control plane: done in %.1f s", time.Since(start).Seconds())
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the lab's daemon ended: %w\n%s", err, tail.Lines(logFile.Name(), 10))
		case <-limit:
			return fmt.Errorf("the lab's daemon does not answer within a minute\n%s", tail.Lines(logFile.Name(), 10))
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// configure makes the stack, and gives it what the lab's outside makes necessary. Later runs leave the user's own
// changes alone.
func (l Lab) configure(ctx context.Context, report *progress.Reporter) error {
	configured := l.path("configured")
	if _, err := os.Stat(configured); err == nil {
		return nil
	}
	report.Say("make stack %s", l.Name)
	for _, dir := range []string{"state", "home"} {
		if err := os.MkdirAll(l.path(dir), 0o700); err != nil {
			return err
		}
	}
	if _, err := os.Stat(l.path("passphrase")); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(l.path("passphrase"), []byte(rand.Text()), 0o600); err != nil {
			return err
		}
	}
	node, err := archive.NodeSum(l.Cache)
	if err != nil {
		return err
	}
	suite, err := archive.WantedSuite()
	if err != nil {
		return err
	}
	mirror := "http://" + net.JoinHostPort(place.ProxyAddress, strconv.Itoa(place.ProxyPort))
	steps := [][]string{
		{"stack", "select", "--create", l.Name},
		{"config", "set", "azure-native:location", "westeurope"},
		{"config", "set", "allowedSshCidr", place.OperatorAddress + "/32"},
		// A host in the lab gets packages from nowhere else: a mirror, with its own hash, as anybody may have one.
		{"config", "set", "nodeUrl", mirror + archive.NodeFile},
		{"config", "set", "nodeSha256", node},
		{"config", "set", "npmRegistry", mirror + strings.TrimSuffix(archive.NPMPath, "/")},
	}
	if suite.Image != "" {
		steps = append(steps, []string{"config", "set", "image", suite.Image})
	}
	for _, args := range steps {
		if out, err := l.pulumi(ctx, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("pulumi %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	}
	return os.WriteFile(configured, nil, 0o600)
}

// passthrough runs bin/lab pulumi with this process's own streams, as the one that the terminal's keys are for.
func (l Lab) passthrough(ctx context.Context, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd := l.pulumi(context.WithoutCancel(ctx), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// A group of its own: one Ctrl-C must be one for Pulumi, which takes a second one for impatience.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	keyboard := int(os.Stdin.Fd())
	if term.IsTerminal(keyboard) {
		cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, keyboard
		// The terminal comes back to this group, which is in the background until then.
		signal.Ignore(syscall.SIGTTOU)
		defer func() { _ = unix.IoctlSetPointerInt(keyboard, unix.TIOCSPGRP, syscall.Getpgrp()) }()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return err
		case received := <-signals:
			_ = cmd.Process.Signal(received)
		}
	}
}

// pulumi is bin/lab pulumi as a process of its own.
func (l Lab) pulumi(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(l.Root, "bin", "lab"), append([]string{"pulumi"}, args...)...)
	cmd.Dir = l.Root
	cmd.Env = append(os.Environ(), "LAB="+l.Name)
	return cmd
}
