package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openConsole makes the terminal pair of a machine's console: the machine gets the far end.
func openConsole() (near, far *os.File, err error) {
	near, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*os.File, *os.File, error) {
		near.Close()
		return nil, nil, fmt.Errorf("open a console: %w", err)
	}
	fd := int(near.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return fail(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return fail(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
		return fail(err)
	}
	far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fail(err)
	}
	return near, far, nil
}

// Type sends what a keyboard at a machine's console would, until keys ends.
func (h *Host) Type(ctx context.Context, vmID string, keys io.Reader) error {
	guest, err := h.guest(vmID)
	if err != nil {
		return err
	}
	buffer := make([]byte, 4096)
	for {
		n, err := keys.Read(buffer)
		if n > 0 {
			// Over a reboot the keyboard stays and the console is another one.
			if err := guest.typeIn(ctx, buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (g *guest) typeIn(ctx context.Context, keys []byte) error {
	var console *os.File
	err := g.await(ctx, "the console", func() (bool, error) {
		if g.console == nil && g.stopped {
			return false, g.whyStopped()
		}
		console = g.console
		return console != nil, nil
	})
	if err != nil {
		return err
	}
	_, err = console.Write(keys)
	return err
}
