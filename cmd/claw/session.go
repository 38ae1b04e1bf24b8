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
	"openclaw-azure/internal/hint"
)

// farewell is how long a command that was told to end may take to say how it
// ended.
const farewell = 2 * time.Second

// keyboard is standard input, where it is a terminal.
var keyboard = int(os.Stdin.Fd())

func wantTerminal() error {
	if !term.IsTerminal(keyboard) {
		return hint.To(errors.New("ssh -t: standard input is no terminal"),
			"leave -t out; sudo takes its password from standard input with -S")
	}
	return nil
}

// remote is one session on the host, with this process's own streams.
type remote struct {
	*ssh.Session
	door           door.Door
	client         *door.Client
	began          time.Time
	stdin          io.WriteCloser
	stdout, stderr *output
}

// session runs a command, or a login shell, with this process's own streams,
// terminal and signals. Its error is an exit where the command ended.
func session(d door.Door, client *door.Client, r request, signals <-chan os.Signal) error {
	s, err := open(d, client)
	if err != nil {
		return fmt.Errorf("%s: open a session: %w", d, err)
	}
	defer s.Close()
	onTerminal := r.terminal || len(r.argv) == 0 && term.IsTerminal(keyboard)
	resized := make(chan os.Signal, 1)
	if onTerminal {
		signal.Notify(resized, syscall.SIGWINCH)
		if err := s.askForTerminal(); err != nil {
			return err
		}
	}
	if err := s.start(r.argv); err != nil {
		return d.Lost(client, err, time.Since(s.began))
	}
	if onTerminal {
		before, err := term.MakeRaw(keyboard)
		if err != nil {
			return fmt.Errorf("set the terminal to raw: %w", err)
		}
		defer term.Restore(keyboard, before)
	}
	go func() {
		_, _ = io.Copy(s.stdin, os.Stdin) // its end, or the command's
		_ = s.stdin.Close()
	}()
	return s.wait(resized, signals)
}

func open(d door.Door, client *door.Client) (*remote, error) {
	began := time.Now()
	s, err := client.NewSession()
	if err != nil {
		return nil, err
	}
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
		_ = s.Close()
		return nil, err
	}
	return &remote{s, d, client, began, stdin, stdout, stderr}, nil
}

// askForTerminal asks for one on the host that is like this process's own.
func (s *remote) askForTerminal() error {
	width, height, err := term.GetSize(keyboard)
	if err != nil {
		return fmt.Errorf("read the terminal's size: %w", err)
	}
	kind := os.Getenv("TERM")
	if kind == "" {
		kind = "dumb"
	}
	if err := s.RequestPty(kind, height, width, ssh.TerminalModes{ssh.ECHO: 1, ssh.IUTF8: 1}); err != nil {
		return fmt.Errorf("%s: ask for a terminal: %w", s.door, err)
	}
	return nil
}

func (s *remote) start(argv []string) error {
	if len(argv) == 0 {
		return s.Shell()
	}
	return s.Start(strings.Join(argv, " "))
}

// wait returns when the command has ended, or has been told to.
func (s *remote) wait(resized, signals <-chan os.Signal) error {
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	for {
		select {
		case err := <-ended:
			return s.outcome(err)
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

// outcome says what the end of the command, as Wait gives it, means for this process.
func (s *remote) outcome(err error) error {
	for _, o := range []*output{s.stdout, s.stderr} {
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
	return s.door.Lost(s.client, err, time.Since(s.began))
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
