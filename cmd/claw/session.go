package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"openclaw-azure/internal/door"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/shell"
)

// farewell is how long a command that was told to end may take to say how it
// ended.
const farewell = 2 * time.Second

func wantTerminal(command string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return hint.To(fmt.Errorf("%s -t: standard input is no terminal", command),
			"leave -t out; sudo takes its password from standard input with -S")
	}
	return nil
}

// asRoot is a program of the machine's as its shell reads it, and what its standard input begins with: the password,
// which sudo asks for each time, or the program would read it. On a terminal, which would show it, sudo asks by itself.
func asRoot(program string, words []string, terminal bool, stack *outputs.Stack) (argv []string, first string, err error) {
	argv = []string{"sudo"}
	if !terminal {
		if stack.SudoPassword() == "" {
			return nil, "", hint.To(errors.New("the stack has no sudo password in its outputs"), "pulumi up")
		}
		argv, first = append(argv, "-k", "-S", "-p", "''"), stack.SudoPassword()+"\n"
	}
	argv = append(argv, program)
	for _, word := range words {
		argv = append(argv, shell.Quote(word))
	}
	return argv, first, nil
}

// session runs a command, or a login shell, with that input and this process's own outputs,
// terminal and signals. Its error is an exit where the command ended.
func session(d door.Door, client *door.Client, r request, input io.Reader, signals <-chan os.Signal) error {
	start := time.Now()
	s, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("%s: open a session: %w", d, err)
	}
	defer s.Close()
	// A session waits for its command whatever becomes of its output, and a
	// write to a pipe that nobody reads any more would end this process before
	// the host has heard of it.
	signal.Ignore(syscall.SIGPIPE)
	stdout, stderr := &output{file: os.Stdout, abort: client.Close}, &output{file: os.Stderr, abort: client.Close}
	s.Stdout, s.Stderr = stdout, stderr
	// Not Session.Stdin: Wait would wait for the end of an input that nobody
	// reads any more.
	stdin, err := s.StdinPipe()
	if err != nil {
		return fmt.Errorf("%s: open a session: %w", d, err)
	}
	keyboard := int(os.Stdin.Fd())
	onTerminal := r.terminal || len(r.argv) == 0 && term.IsTerminal(keyboard)
	resized := make(chan os.Signal, 1)
	if onTerminal {
		signal.Notify(resized, syscall.SIGWINCH)
		width, height, err := term.GetSize(keyboard)
		if err != nil {
			return fmt.Errorf("read the terminal's size: %w", err)
		}
		kind := os.Getenv("TERM")
		if kind == "" {
			kind = "dumb"
		}
		if err := s.RequestPty(kind, height, width, ssh.TerminalModes{ssh.ECHO: 1, ssh.IUTF8: 1}); err != nil {
			return fmt.Errorf("%s: ask for a terminal: %w", d, foreign.Err(err))
		}
	}
	if len(r.argv) == 0 {
		err = s.Shell()
	} else {
		err = s.Start(strings.Join(r.argv, " "))
	}
	if err != nil {
		return d.Lost(client, err, time.Since(start))
	}
	if onTerminal {
		before, err := term.MakeRaw(keyboard)
		if err != nil {
			return fmt.Errorf("set the terminal to raw: %w", err)
		}
		defer term.Restore(keyboard, before)
	}
	go func() {
		_, _ = io.Copy(stdin, input) // its end, or the command's
		_ = stdin.Close()
	}()
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	for {
		select {
		case err := <-ended:
			return outcome(d, client, err, time.Since(start), stdout, stderr)
		case <-resized:
			if width, height, err := term.GetSize(keyboard); err == nil {
				_ = s.WindowChange(height, width)
			}
		case caught := <-signals:
			number := caught.(syscall.Signal)
			_ = s.Signal(names[number])
			if number == syscall.SIGINT {
				continue // it is the command's to act on
			}
			select {
			case <-ended:
			case <-time.After(farewell):
			}
			return exit(128 + int(number))
		}
	}
}

var names = map[syscall.Signal]ssh.Signal{
	syscall.SIGINT: ssh.SIGINT, syscall.SIGTERM: ssh.SIGTERM, syscall.SIGHUP: ssh.SIGHUP, syscall.SIGQUIT: ssh.SIGQUIT,
}

func outcome(d door.Door, client *door.Client, err error, after time.Duration, streams ...*output) error {
	for _, o := range streams {
		switch fault := o.fault(); {
		case errors.Is(fault, syscall.EPIPE):
			return exit(128 + int(syscall.SIGPIPE))
		case fault != nil:
			return fault
		}
	}
	var status *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		return exit(status.ExitStatus())
	}
	return d.Lost(client, err, after)
}

// output is one of this process's own streams; where it cannot be written to,
// the connection ends.
type output struct {
	file   *os.File
	abort  func() error
	failed atomic.Pointer[error]
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	if err != nil && o.failed.CompareAndSwap(nil, &err) {
		_ = o.abort()
	}
	return n, err
}

func (o *output) fault() error {
	if err := o.failed.Load(); err != nil {
		return *err
	}
	return nil
}
