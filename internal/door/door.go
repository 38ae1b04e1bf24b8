// Package door is one way in to the host over SSH: where it is, whom it lets
// in, and the one host key that may stand behind it. Every command takes a
// fresh connection, so that each is a proof that the door opens; when it does
// not, the error says which of the causes it was, and what to look at.
package door

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/foreign"
)

const (
	// DefaultPatience is how long connecting may take in all: TCP, banner, keys,
	// login. A peer that accepts and never speaks costs this and no more.
	DefaultPatience = 15 * time.Second
	// outputLimit bounds what one command may print on one stream: what the
	// host answers is held in memory, and the host is not trusted with that.
	outputLimit = 32 << 20
)

// The doors' names.
const (
	Bootstrap = "bootstrap"
	Tunnel    = "tunnel"
)

// Door is one way in. Copies are independent; a Door holds no connection.
type Door struct {
	Name    string // Bootstrap or Tunnel: what messages call it, and which hints they give
	Address string // host:port, dialled and shown in messages
	// Dial opens the TCP connection; nil is net.Dialer's.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	User    string
	Key     ssh.Signer
	HostKey ssh.PublicKey // the only one accepted
	// Patience bounds connecting; 0 is DefaultPatience.
	Patience time.Duration
}

// String names the door as messages do.
func (d Door) String() string { return fmt.Sprintf("%s door %s", d.Name, d.Address) }

// Client is a connection through the door, logged in. Its errors are cleaned: in those of the library are the host's words.
type Client struct {
	ssh  *ssh.Client
	conn net.Conn
}

// NewSession opens a session.
func (c *Client) NewSession() (*ssh.Session, error) {
	s, err := c.ssh.NewSession()
	return s, foreign.Err(err)
}

// Dial connects from the host to an address.
func (c *Client) Dial(network, address string) (net.Conn, error) {
	conn, err := c.ssh.Dial(network, address)
	return conn, foreign.Err(err)
}

// Wait waits for the end of the connection, and says what ended it.
func (c *Client) Wait() error { return foreign.Err(c.ssh.Wait()) }

// Close ends the connection.
func (c *Client) Close() error { return c.ssh.Close() }

// Connect opens the door once, without any retry: sshd counts them. The
// context covers connecting only.
func (d Door) Connect(ctx context.Context) (*Client, error) {
	if d.Key == nil || d.HostKey == nil {
		return nil, fmt.Errorf("%s: the door has no key or no host key to check", d)
	}
	patience := d.Patience
	if patience == 0 {
		patience = DefaultPatience
	}
	connecting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	start := time.Now()

	dial := d.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(connecting, "tcp", d.Address)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, d.cancelled(ctx.Err())
		}
		return nil, d.unreachable(err, time.Since(start))
	}
	heard := &listener{Conn: raw}
	// Closing is what ends every read and write below at once; deadlines would
	// stay on the connection.
	stop := context.AfterFunc(connecting, func() { raw.Close() })

	met := &meeting{}
	conn, channels, requests, err := ssh.NewClientConn(heard, d.Address, &ssh.ClientConfig{
		User: d.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			met.note(func() { met.loggingIn = true })
			return []ssh.Signer{d.Key}, nil
		})},
		HostKeyAlgorithms: []string{d.HostKey.Type()},
		HostKeyCallback: func(_ string, _ net.Addr, offered ssh.PublicKey) error {
			if !bytes.Equal(offered.Marshal(), d.HostKey.Marshal()) {
				met.note(func() { met.otherKey = offered })
				return errors.New("not the pinned host key")
			}
			met.note(func() { met.hostKeyMatched = true })
			return nil
		},
		BannerCallback: func(text string) error {
			met.note(func() { met.banner = foreign.New(text) })
			return nil
		},
	})
	if err == nil && !stop() {
		// The time ran out in the very moment of success: raw is closed.
		conn.Close()
		err = connecting.Err()
	}
	if err != nil {
		stop()
		raw.Close()
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, d.cancelled(ctx.Err())
		}
		return nil, d.refused(err, met, heard, connecting.Err() != nil, time.Since(start))
	}
	return &Client{ssh: ssh.NewClient(conn, channels, requests), conn: raw}, nil
}

// Run runs one command over a fresh connection. The exit status is the
// command's, with no error, whatever it is; a command ended by a signal has 128
// and the signal's number. What had arrived before an error is returned with it.
func (d Door) Run(ctx context.Context, command string, stdin []byte) (stdout, stderr foreign.Stream, exit int, err error) {
	c, err := d.Connect(ctx)
	if err != nil {
		return stdout, stderr, -1, err
	}
	defer c.Close()
	return d.RunOn(ctx, c, command, stdin)
}

// RunOn is Run over a connection that is there, which it leaves open unless the context ends or the command's output is too long.
func (d Door) RunOn(ctx context.Context, c *Client, command string, stdin []byte) (stdout, stderr foreign.Stream, exit int, err error) {
	start := time.Now()
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()

	// An SSH session waits for its command whatever becomes of its output.
	abort := func() { c.conn.Close() }
	out, errs := &bounded{abort: abort}, &bounded{abort: abort}
	exit, err = runSession(c, command, stdin, out, errs)
	stdout, stderr = out.stream(), errs.stream()
	switch {
	case err == nil:
		return stdout, stderr, exit, nil
	case out.full() || errs.full():
		err = fmt.Errorf("%s: the command printed more than %d MiB", d, outputLimit>>20)
	case ctx.Err() != nil:
		err = d.unfinished(ctx.Err(), time.Since(start))
	default:
		err = d.Lost(c, err, time.Since(start))
	}
	return stdout, stderr, -1, err
}

// Lost says why a connection ended under a command; cause is what the command
// met. It closes the connection.
func (d Door) Lost(c *Client, cause error, after time.Duration) error {
	c.conn.Close() // or Wait, which knows why, might wait
	return d.lost(cause, c.Wait(), after)
}

func runSession(c *Client, command string, stdin []byte, stdout, stderr *bounded) (int, error) {
	session, err := c.NewSession()
	if err != nil {
		return -1, fmt.Errorf("open a session: %w", err)
	}
	defer session.Close()
	session.Stdin = bytes.NewReader(stdin)
	session.Stdout, session.Stderr = stdout, stderr
	if err := session.Start(command); err != nil {
		return -1, fmt.Errorf("start the command: %w", err)
	}
	err = session.Wait()
	var status *ssh.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &status):
		return status.ExitStatus(), nil
	case err == io.EOF:
		// The exit status 0 has come; EOF is what sending the rest of an input
		// met that the command did not read.
		return 0, nil
	}
	return -1, err
}

// bounded keeps what a stream says, up to the limit; beyond it, it ends the
// connection.
type bounded struct {
	abort func()
	mu    sync.Mutex
	buf   bytes.Buffer
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len()+len(p) > outputLimit {
		b.over = true
		b.abort()
		return 0, errors.New("too much output")
	}
	return b.buf.Write(p)
}

func (b *bounded) stream() foreign.Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return foreign.NewStream(b.buf.String())
}

func (b *bounded) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// meeting is how far a connection got.
type meeting struct {
	mu             sync.Mutex    // the handshake has goroutines of its own
	otherKey       ssh.PublicKey // offered in place of the pinned one
	hostKeyMatched bool
	loggingIn      bool
	banner         foreign.Text // what the host says before it lets anybody in
}

func (m *meeting) note(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// listener remembers the first words of the other side.
type listener struct {
	net.Conn
	mu    sync.Mutex
	words []byte
}

var _ net.Conn = (*listener)(nil)

// 255 is the most that a line before the banner may have (RFC 4253, 4.2).
const firstWords = 255

func (l *listener) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.mu.Lock()
	if room := firstWords - len(l.words); room > 0 {
		l.words = append(l.words, b[:min(n, room)]...)
	}
	l.mu.Unlock()
	return n, err
}

// said is what the other side said first, and whether it is SSH.
func (l *listener) said() (line foreign.Text, isSSH bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.words)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "SSH-") {
			return foreign.New(line), true
		}
	}
	first, _, _ := strings.Cut(text, "\n")
	return foreign.New(first), false
}
