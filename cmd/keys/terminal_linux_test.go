package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pair of pseudo terminals.
func terminal(t *testing.T) (screen, end *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	end, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	return screen, end
}

func TestNoKeyOnATerminal(t *testing.T) {
	screen, end := terminal(t)
	for _, what := range []string{"stack", "peer"} {
		cmd := exec.Command(program, what)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = end, &stderr
		cmd.Run()
		want := `keys: standard output is a terminal: keys are not printed there
hint: send it to another program, or to a file that only you can read
`
		if cmd.ProcessState.ExitCode() != 2 || stderr.String() != want {
			t.Errorf("status %d, said %q", cmd.ProcessState.ExitCode(), stderr.String())
		}
	}
	end.Close() // the screen then ends, after what was printed
	if shown, _ := io.ReadAll(screen); len(shown) != 0 {
		t.Errorf("%d bytes on the screen", len(shown))
	}
}
