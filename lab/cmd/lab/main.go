// Lab runs the program on this machine, with no Azure account: see the README.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"openclaw-azure/lab/internal/lab"
	"openclaw-azure/lab/internal/place"
	"openclaw-azure/lab/internal/progress"
)

const usage = `usage: bin/lab COMMAND        (the variable LAB names the lab and its stack; default: lab)

  up                            make the lab and deploy the program in it (what make lab does at the end)
  start                         make the lab and its stack, and deploy nothing
  prepare                       build what labs need: the tools, the host's image
  pulumi ARGS...                a Pulumi command at the operator's place, against the lab's stack
  exec vm|operator|attacker -- CMD...
                                a command on the host, or at a place outside of it, as root; the operator has the
                                lab's stack at hand
  az ARGS...                    a command of the Azure CLI at the lab's control plane: what somebody does past Pulumi
  status                        how the lab is; succeeds only while it runs and its last deploy succeeded
  console                       the host's console, from its first boot on; Ctrl-] leaves it
  reboot                        reboot the host
  snapshot NAME                 keep the lab as it is: host, stack and control plane (cuts the host off; it boots again)
  restore NAME                  put a snapshot back, in seconds; what the lab became since then is lost
  fault [JSON|none]             make the control plane's next requests fail or wait, end that, or tell of it:
                                lab/internal/azure/fault.go has the fields
  down                          take the lab away
`

// The main thread changes its namespace before it becomes another program: it must be main's alone.
func init() { runtime.LockOSThread() }

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	var status lab.ExitError
	var child *exec.ExitError
	code := 1
	switch {
	case errors.As(err, &status):
		code = status.Code
	case errors.As(err, &child) && child.ExitCode() > 0:
		code = child.ExitCode()
	}
	fmt.Fprintf(os.Stderr, "lab: %v\n", err)
	os.Exit(code)
}

func run(args []string) error {
	if len(args) == 0 {
		return lab.ExitError{Code: 2, Err: fmt.Errorf("no command\n%s", strings.TrimSpace(usage))}
	}
	name, args := args[0], args[1:]
	if name == "help" || name == "-h" || name == "--help" {
		fmt.Print(usage)
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l, err := lab.Open(filepath.Dir(filepath.Dir(self)), os.Getenv("LAB"))
	if err != nil {
		return err
	}
	// Nobody catches signals for a command that this process is going to be.
	switch name {
	case "pulumi":
		return l.BecomePulumi(context.Background(), args)
	case "az":
		return l.Az(context.Background(), args, os.Stdout)
	case "exec":
		if len(args) < 3 || args[1] != "--" {
			return lab.ExitError{Code: 2, Err: errors.New("usage: bin/lab exec vm|operator|attacker -- CMD [ARG]")}
		}
		return l.BecomeAt(context.Background(), args[0], args[2:])
	}
	switch name {
	case "snapshot", "restore":
		if len(args) != 1 {
			return lab.ExitError{Code: 2, Err: fmt.Errorf("usage: bin/lab %s NAME", name)}
		}
	case "fault":
		if len(args) > 1 {
			return lab.ExitError{Code: 2, Err: errors.New("usage: bin/lab fault [JSON|none]")}
		}
	default:
		if len(args) > 0 {
			return lab.ExitError{Code: 2, Err: fmt.Errorf("%s takes no arguments, and got %q", name, strings.Join(args, " "))}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report := progress.New(os.Stdout)
	switch name {
	case "up":
		return l.Up(ctx, report)
	case "start":
		return l.Start(ctx, report)
	case "prepare":
		return l.Prepare(ctx, report)
	case "status":
		return l.Status(ctx, os.Stdout)
	case "console":
		return l.Console(ctx, place.VM, os.Stdin, os.Stdout)
	case "reboot":
		return l.Reboot(ctx, place.VM)
	case "snapshot":
		return l.Snapshot(ctx, report, args[0])
	case "restore":
		return l.Restore(ctx, report, args[0])
	case "fault":
		return l.Fault(ctx, os.Stdout, args)
	case "down":
		return l.Down(ctx, report)
	}
	return lab.ExitError{Code: 2, Err: fmt.Errorf("no command %q\n%s", name, usage)}
}
