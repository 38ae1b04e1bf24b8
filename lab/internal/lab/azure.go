package lab

import (
	"context"
	"fmt"
	"io"
)

// Fault injects a fault into the control plane, ends all of them, or tells of them.
func (l Lab) Fault(ctx context.Context, out io.Writer, args []string) error {
	if len(args) == 0 {
		faults, err := l.control().Faults(ctx)
		if err == nil {
			_, err = fmt.Fprintf(out, "%s\n", faults)
		}
		return err
	}
	if args[0] == "none" {
		return l.control().ClearFaults(ctx)
	}
	return l.control().InjectFault(ctx, args[0])
}
