package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"openclaw-azure/lab/internal/place"
)

// Status tells how the lab is. It returns an error unless the lab runs and its last deploy succeeded.
func (l Lab) Status(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	status, err := l.control().Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "lab      %s, since %s (process %d)\n", l.Name, status.Started.Format(time.DateTime), status.PID)
	fmt.Fprintf(out, "places   operator %s, attacker %s\n", place.OperatorAddress, place.AttackerAddress)
	var errs []error
	for _, machine := range status.Machines {
		told := fmt.Sprintf("%s, %s", machine.Name, machine.Private)
		if machine.Public.IsValid() {
			told += ", outside " + machine.Public.String()
		}
		switch {
		case machine.Stopped != "":
			told += ", stopped"
			errs = append(errs, errors.New(machine.Stopped))
		case machine.Init == 0:
			told += ", booting"
			errs = append(errs, fmt.Errorf("virtual machine %q is booting", machine.Name))
		default:
			told += fmt.Sprintf(", up, boot %d", machine.Boots)
		}
		fmt.Fprintf(out, "%-8s %s\n", machine.Place, told)
	}
	if len(status.Machines) == 0 {
		fmt.Fprintln(out, "vm       none")
	}
	told, err := l.lastDeploy()
	fmt.Fprintf(out, "deploy   %s\n", told)
	return errors.Join(append(errs, err)...)
}

// Az does a command of the Azure CLI at the lab's control plane, as somebody else than Pulumi.
func (l Lab) Az(ctx context.Context, args []string, out io.Writer) error {
	said, err := l.control().Az(ctx, args)
	fmt.Fprint(out, said)
	return err
}

// Reboot reboots the host for real.
func (l Lab) Reboot(ctx context.Context, at string) error { return l.control().Reboot(ctx, at) }
