package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// leave is Ctrl-], which ends a console as it does elsewhere.
const leave = 0x1d

// Console shows what the host writes to its console, from its first boot on, and types what the user types, until ctx
// ends, or Ctrl-] is typed. Without a terminal it only shows.
func (l Lab) Console(ctx context.Context, at string, in *os.File, out io.Writer) error {
	status, err := l.control().Status(ctx)
	if err != nil {
		return err
	}
	screen := ""
	for _, machine := range status.Machines {
		if machine.Place == at {
			screen = machine.Console
		}
	}
	if screen == "" {
		return fmt.Errorf("there is no host at %q\nbin/lab pulumi up makes it", at)
	}
	file, err := os.Open(screen)
	if err != nil {
		return err
	}
	defer file.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if keyboard := int(in.Fd()); term.IsTerminal(keyboard) {
		before, err := term.MakeRaw(keyboard)
		if err != nil {
			return err
		}
		defer fmt.Fprintln(out)
		defer term.Restore(keyboard, before)
		fmt.Fprint(out, "Ctrl-] leaves the console\r\n")
		go func() { cancel(l.control().Type(ctx, at, &keys{in})) }()
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.Copy(out, file); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); cause != ctx.Err() {
				return cause
			}
			return nil
		case <-tick.C:
		}
	}
}

// keys ends with the key that leaves. It never goes on to the machine, whose keeper takes three of them for an order
// to end it.
type keys struct{ keyboard io.Reader }

var _ io.Reader = (*keys)(nil)

func (k *keys) Read(p []byte) (int, error) {
	n, err := k.keyboard.Read(p)
	if at := bytes.IndexByte(p[:n], leave); at >= 0 {
		return at, io.EOF
	}
	return n, err
}
