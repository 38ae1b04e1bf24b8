package door

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// server is an SSH server of this process. Its commands are named in exec.
type server struct {
	t       *testing.T
	config  *ssh.ServerConfig
	hostKey ssh.Signer
	key     ssh.Signer // admitted
	logins  atomic.Int64
	open    atomic.Int64 // connections
	hanging atomic.Int64 // commands
	hello   func(net.Conn) net.Conn
}

func newServer(t *testing.T) *server {
	s := &server{t: t, hostKey: newKey(t), key: newKey(t)}
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			s.logins.Add(1)
			if meta.User() != "claw" || !bytes.Equal(key.Marshal(), s.key.PublicKey().Marshal()) {
				return nil, errors.New("no")
			}
			return nil, nil
		},
	}
	s.config.AddHostKey(s.hostKey)
	return s
}

// listen serves on l until the test ends.
func (s *server) listen(l net.Listener) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	s.t.Cleanup(func() { l.Close() })
}

// listenLocal gives a door to a loopback port that the server listens on.
func (s *server) listenLocal() Door {
	s.t.Helper()
	l := listenLocal(s.t)
	s.listen(l)
	return s.door(l.Addr().String())
}

func (s *server) door(address string) Door {
	return Door{Name: "tunnel", Address: address, User: "claw", Key: s.key, HostKey: s.hostKey.PublicKey()}
}

func listenLocal(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (s *server) serve(c net.Conn) {
	s.open.Add(1)
	defer s.open.Add(-1)
	defer c.Close()
	if s.hello != nil {
		if c = s.hello(c); c == nil {
			return
		}
	}
	conn, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		ch, reqs, err := offered.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range reqs {
				if r.Type != "exec" {
					r.Reply(false, nil)
					continue
				}
				r.Reply(true, nil)
				command := string(r.Payload[4:])
				go func() { s.exec(conn, ch, command); ch.Close() }()
			}
		}()
	}
}

func (s *server) exec(conn *ssh.ServerConn, ch ssh.Channel, command string) {
	status := uint32(0)
	switch name, rest, _ := strings.Cut(command, " "); name {
	case "echo":
		fmt.Fprint(ch, rest)
		fmt.Fprint(ch.Stderr(), "said it")
	case "cat":
		io.Copy(ch, ch)
	case "sum":
		h := sha256.New()
		io.Copy(h, ch)
		fmt.Fprintf(ch, "%x", h.Sum(nil))
	case "fail":
		fmt.Fprint(ch.Stderr(), "no such thing")
		status = 75
	case "ignore": // ends without reading its input
	case "flood":
		for buf := make([]byte, 1<<20); ; {
			if _, err := ch.Write(buf); err != nil {
				return
			}
		}
	case "hang":
		fmt.Fprint(ch, "so far")
		s.hanging.Add(1)
		conn.Wait()
		s.hanging.Add(-1)
		return
	case "drop":
		fmt.Fprint(ch, "so far")
		conn.Close()
		return
	case "vanish": // the channel ends without a status
		return
	case "killed":
		ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal     string
			CoreDumped bool
			Message    string
			Lang       string
		}{Signal: "KILL"}))
		return
	}
	ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
}

func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want\n%s", text)
	}
	if err.Error() != text {
		t.Errorf("got\n%s\nwant\n%s", err, text)
	}
	for _, k := range []error{ErrUnreachable, ErrNoSSH, ErrHostKeyDiffers, ErrNoCommonAlgorithm, ErrKeyRefused, ErrLoginClosed, ErrLost, ErrUnfinished} {
		if errors.Is(err, k) != (k == kind) {
			t.Errorf("is it %q: %v", k, errors.Is(err, k))
		}
	}
}

func within(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

func TestRun(t *testing.T) {
	s := newServer(t)
	d := s.listenLocal()
	for _, c := range []struct {
		command        string
		stdin          string
		stdout, stderr string
		exit           int
	}{
		{"echo hello", "", "hello", "said it", 0},
		{"cat", "in and out", "in and out", "", 0},
		{"fail", "", "", "no such thing", 75},
		{"ignore", strings.Repeat("not read ", 1<<20), "", "", 0},
		{"killed", "", "", "", 137},
	} {
		stdout, stderr, exit, err := d.Run(t.Context(), c.command, []byte(c.stdin))
		if err != nil || !stdout.Is(c.stdout) || !stderr.Is(c.stderr) || exit != c.exit {
			t.Errorf("%s: %q, %q, %d, %v", c.command, stdout, stderr, exit, err)
		}
	}
	if n := s.logins.Load(); n < 5 {
		t.Errorf("%d logins for 5 commands", n)
	}
	within(t, 5*time.Second, "all connections closed", func() bool { return s.open.Load() == 0 })
}

func TestRunBig(t *testing.T) {
	d := newServer(t).listenLocal()
	data := make([]byte, 8<<20)
	rand.Read(data)
	stdout, _, exit, err := d.Run(t.Context(), "cat", data)
	if err != nil || exit != 0 || !stdout.Is(string(data)) {
		t.Errorf("%q, %d, %v", stdout, exit, err)
	}
	stdout, _, _, err = d.Run(t.Context(), "sum", data)
	if want := fmt.Sprintf("%x", sha256.Sum256(data)); err != nil || !stdout.Is(want) {
		t.Errorf("%q, %v; want %s", stdout, err, want)
	}
}

func TestRunAtOnce(t *testing.T) {
	d := newServer(t).listenLocal()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			want := fmt.Sprint("number ", i)
			if stdout, _, _, err := d.Run(t.Context(), "echo "+want, nil); err != nil || !stdout.Is(want) {
				t.Errorf("%q, %v", stdout, err)
			}
		})
	}
	all.Wait()
}

func TestRunFlood(t *testing.T) {
	d := newServer(t).listenLocal()
	_, _, exit, err := d.Run(t.Context(), "flood", nil)
	if want := fmt.Sprintf("tunnel door %s: the command printed more than 32 MiB", d.Address); err == nil || err.Error() != want || exit != -1 {
		t.Errorf("%d, %v; want %s", exit, err, want)
	}
}

func TestRunSlow(t *testing.T) {
	s := newServer(t)
	d := s.listenLocal()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	stdout, _, exit, err := d.Run(ctx, "hang", nil)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if !stdout.Is("so far") || exit != -1 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%q, %d, %v", stdout, exit, err)
	}
	var fault *Error
	if !errors.As(err, &fault) {
		t.Fatal(err)
	}
	fault.Fact = "(fact)" // holds a time
	wantError(t, err, ErrUnfinished, "tunnel door "+d.Address+`: (fact)
hint: the connection was closed; the command may still run on the host`)
	within(t, 5*time.Second, "connection closed", func() bool { return s.open.Load() == 0 })

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	_, _, _, err = d.Run(ctx, "hang", nil)
	wantError(t, err, nil, "tunnel door "+d.Address+": context canceled")
}

func TestRunLosesTheConnection(t *testing.T) {
	d := newServer(t).listenLocal()
	for _, command := range []string{"drop", "vanish"} {
		stdout, _, exit, err := d.Run(t.Context(), command, nil)
		var fault *Error
		if !errors.As(err, &fault) || exit != -1 {
			t.Fatalf("%d, %v", exit, err)
		}
		if !strings.HasPrefix(fault.Fact, "the connection ended after ") || !strings.HasSuffix(fault.Fact, ", before the command did") {
			t.Errorf("%s: %s", command, fault.Fact)
		}
		fault.Fact = "(fact)"
		wantError(t, err, ErrLost, "tunnel door "+d.Address+`: (fact)
hint: whether the command did its work is not known; run it again`)
		if command == "drop" && !stdout.Is("so far") {
			t.Errorf("%q", stdout)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := newServer(t)
	l := listenLocal(t)
	d := s.door(l.Addr().String())
	l.Close()
	for name, hint := range map[string]string{
		"tunnel":    "see that sshd runs on the host and that its firewall admits the VPN to this port; bootstrap: true opens the other door",
		"bootstrap": "see that allowedSshCidr admits this machine's address on the internet and that the machine runs; pulumi up with rescue raised by one opens the door from inside",
		"back":      "see that the machine runs, and that no firewall stands between",
	} {
		d.Name = name
		_, _, exit, err := d.Run(t.Context(), "echo", nil)
		wantError(t, err, ErrUnreachable, name+" door "+d.Address+": no TCP connection: connection refused\nhint: "+hint)
		if exit != -1 {
			t.Errorf("exit %d", exit)
		}
	}

	// A firewall that drops.
	d.Patience = 200 * time.Millisecond
	d.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, _, _, err := d.Run(t.Context(), "echo", nil)
	var fault *Error
	if !errors.As(err, &fault) || fault.Kind != ErrUnreachable || !strings.HasPrefix(fault.Fact, "no answer to TCP in 200ms") && !strings.HasPrefix(fault.Fact, "no answer to TCP in 2") {
		t.Errorf("%v", err)
	}

	// What the tunnel says of itself is what the door says.
	d.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, fmt.Errorf("dial: %w", silent{})
	}
	_, _, _, err = d.Run(t.Context(), "echo", nil)
	if !errors.As(err, &fault) || fault.Kind != ErrUnreachable || fault.Fact != "WireGuard is silent" {
		t.Errorf("%v", err)
	}
}

type silent struct{}

func (silent) Error() string { return "a longer text\nhint: with a hint" }
func (silent) Fact() string  { return "WireGuard is silent" }

func TestCancelled(t *testing.T) {
	s := newServer(t)
	l := listenLocal(t) // accepts, says nothing
	d := s.door(l.Addr().String())
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, _, _, err := d.Run(ctx, "echo", nil)
	wantError(t, err, nil, "tunnel door "+d.Address+": context canceled")
	_, _, _, err = d.Run(ctx, "echo", nil)
	wantError(t, err, nil, "tunnel door "+d.Address+": context canceled")
}

// talker answers every connection with the words, and then closes it or not.
func talker(t *testing.T, words string, closes bool) string {
	t.Helper()
	l := listenLocal(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			io.WriteString(c, words)
			if closes {
				// What the client wrote is read, or the close would be a reset that
				// takes the words back.
				c.(*net.TCPConn).CloseWrite()
				go func() { io.Copy(io.Discard, c); c.Close() }()
			}
		}
	}()
	return l.Addr().String()
}

func TestNoSSH(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		name, words string
		closes      bool
		fact        string
	}{
		{"mute", "", false, "something accepts connections and said nothing in (time)"},
		{"closes", "", true, "something accepts connections and closes them without a word"},
		{"web server", "HTTP/1.1 400 Bad Request\r\n\r\n", true, `something accepts connections and says "HTTP/1.1 400 Bad Request" in place of an SSH banner`},
		{"too many", "Exceeded MaxStartups\r\n", true, `something accepts connections and says "Exceeded MaxStartups" in place of an SSH banner`},
		{"penalty", "Not allowed at this time\r\n", true, `something accepts connections and says "Not allowed at this time" in place of an SSH banner`},
		{"falls silent", "SSH-2.0-OpenSSH_9.6p1\r\n", false, `the SSH server ("SSH-2.0-OpenSSH_9.6p1") fell silent: not connected in (time)`},
		{"ends", "SSH-2.0-OpenSSH_9.6p1\r\n", true, `the SSH server ("SSH-2.0-OpenSSH_9.6p1") ended the connection: closed`},
		{"nonsense", "SSH-2.0-OpenSSH_9.6p1\r\n" + strings.Repeat("\xff", 64), true, `the SSH server ("SSH-2.0-OpenSSH_9.6p1") ended the connection: invalid packet length, packet too large`},
		{"never a banner", strings.Repeat("x", 1000), false, `something accepts connections and says "` + strings.Repeat("x", 255) + `" in place of an SSH banner`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.door(talker(t, c.words, c.closes))
			d.Patience = 300 * time.Millisecond
			start := time.Now()
			// However much time the command has, a mute peer gets no more than
			// the patience.
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			_, _, _, err := d.Run(ctx, "echo", nil)
			took := time.Since(start)
			if took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			var fault *Error
			if !errors.As(err, &fault) {
				t.Fatal(err)
			}
			if i := strings.Index(fault.Fact, " in "); i >= 0 && strings.HasSuffix(c.fact, "(time)") {
				fault.Fact = fault.Fact[:i] + " in (time)"
			}
			wantError(t, err, ErrNoSSH, "tunnel door "+d.Address+": "+c.fact+"\nhint: sshd on the host may be restarting; else bootstrap: true opens the other door")
		})
	}
}

// The context's deadline counts where it is nearer than the patience.
func TestMutePeerAndDeadline(t *testing.T) {
	d := newServer(t).door(talker(t, "", false))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, _, err := d.Run(ctx, "echo", nil)
	if !errors.Is(err, ErrNoSSH) || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestHostKeyDiffers(t *testing.T) {
	s := newServer(t)
	d := s.listenLocal()
	d.HostKey = newKey(t).PublicKey()
	_, _, _, err := d.Run(t.Context(), "echo", nil)
	const hint = "hint: nothing was sent to it: this is not the machine that was deployed, or its host key was changed; bootstrap: true with rescue raised by one puts the key back"
	wantError(t, err, ErrHostKeyDiffers, fmt.Sprintf("tunnel door %s: the host key is %s, not %s\n%s", d.Address,
		ssh.FingerprintSHA256(s.hostKey.PublicKey()), ssh.FingerprintSHA256(d.HostKey), hint))
	if n := s.logins.Load(); n != 0 {
		t.Errorf("%d logins tried at the wrong host", n)
	}

	// A host with a key of another type only: the pinned one is asked for alone.
	other := newServer(t)
	other.config = &ssh.ServerConfig{PublicKeyCallback: other.config.PublicKeyCallback}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(big)
	if err != nil {
		t.Fatal(err)
	}
	other.config.AddHostKey(signer)
	d = other.listenLocal()
	_, _, _, err = d.Run(t.Context(), "echo", nil)
	wantError(t, err, ErrHostKeyDiffers, fmt.Sprintf("tunnel door %s: the host has no ssh-ed25519 key, so not %s; it offers rsa-sha2-256, rsa-sha2-512, ssh-rsa\n%s", d.Address,
		ssh.FingerprintSHA256(d.HostKey), hint))
}

func TestNoCommonAlgorithm(t *testing.T) {
	s := newServer(t)
	s.config.MACs = []string{"hmac-sha1"}
	s.config.Ciphers = []string{"aes128-ctr"}
	s.config.KeyExchanges = []string{"diffie-hellman-group16-sha512"}
	d := s.listenLocal()
	_, _, _, err := d.Run(t.Context(), "echo", nil)
	wantError(t, err, ErrNoCommonAlgorithm, fmt.Sprintf("tunnel door %s: the host offers no key exchange that this program speaks: %s\nhint: %s", d.Address,
		"diffie-hellman-group16-sha512", "the host's sshd_config was changed; bootstrap: true with rescue raised by one puts the door back"))
}

func TestKeyRefused(t *testing.T) {
	s := newServer(t)
	d := s.listenLocal()
	for _, wrong := range []func(*Door){
		func(d *Door) { d.Key = newKey(t) },
		func(d *Door) { d.User = "root" },
	} {
		d := d
		wrong(&d)
		s.logins.Store(0)
		_, _, _, err := d.Run(t.Context(), "echo", nil)
		wantError(t, err, ErrKeyRefused, fmt.Sprintf("tunnel door %s: the host refuses the key %s for user %q\nhint: %s", d.Address,
			ssh.FingerprintSHA256(d.Key.PublicKey()), d.User, "it is not tried again, or sshd would shut this machine out; bootstrap: true with rescue raised by one puts the user's key back"))
		if n := s.logins.Load(); n != 1 {
			t.Errorf("%d logins tried", n)
		}
	}

	// A server that loses its patience says so and hangs up.
	s = newServer(t)
	s.config.MaxAuthTries = 1
	// Go's server does not count a key that it is only asked about, as OpenSSH does: what it refuses is the signature.
	s.config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }
	s.config.VerifiedPublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey, *ssh.Permissions, string) (*ssh.Permissions, error) {
		return nil, errors.New("refused")
	}
	d = s.listenLocal()
	d.Key = newKey(t)
	_, _, _, err := d.Run(t.Context(), "echo", nil)
	wantError(t, err, ErrKeyRefused, "tunnel door "+d.Address+`: the host ends the login of user "claw": disconnect, reason 2: "too many authentication failures"
hint: it is not tried again, or sshd would shut this machine out; bootstrap: true with rescue raised by one puts the user's key back`)
}

// The bootstrap key is of RSA.
func TestRSAKey(t *testing.T) {
	s := newServer(t)
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	if s.key, err = ssh.NewSignerFromSigner(key); err != nil {
		t.Fatal(err)
	}
	s.config.PublicKeyAuthAlgorithms = []string{ssh.KeyAlgoRSASHA512}
	d := s.listenLocal()
	if stdout, _, _, err := d.Run(t.Context(), "echo hello", nil); err != nil || !stdout.Is("hello") {
		t.Errorf("%q, %v", stdout, err)
	}
}

// closedLogin makes the server do what sshd does where PAM lets nobody in: a
// word, if any, and the connection ends.
func (s *server) closedLogin(text string) *atomic.Int64 {
	var tries atomic.Int64
	var raw sync.Map
	s.hello = func(c net.Conn) net.Conn { raw.Store(c.RemoteAddr().String(), c); return c }
	s.config.PublicKeyCallback = func(meta ssh.ConnMetadata, _ ssh.PublicKey) (*ssh.Permissions, error) {
		tries.Add(1)
		if c, ok := raw.Load(meta.RemoteAddr().String()); ok {
			time.AfterFunc(50*time.Millisecond, func() { c.(net.Conn).Close() })
		}
		time.Sleep(200 * time.Millisecond)
		return nil, errors.New("closed")
	}
	if text != "" {
		s.config.BannerCallback = func(ssh.ConnMetadata) string { return text }
	}
	return &tries
}

func TestLoginClosed(t *testing.T) {
	s := newServer(t)
	s.closedLogin("\"System is booting up.\r\nTry later.\"\r\n")
	d := s.listenLocal()
	_, _, _, err := d.Run(t.Context(), "echo", nil)
	wantError(t, err, ErrLoginClosed, "tunnel door "+d.Address+`: the host lets "claw" not in: "\"System is booting up. Try later.\""
hint: the machine may still be starting; else look for /etc/nologin and an expired account, or raise rescue by one under bootstrap: true`)

	s = newServer(t)
	s.closedLogin("")
	d = s.listenLocal()
	_, _, _, err = d.Run(t.Context(), "echo", nil)
	wantError(t, err, ErrLoginClosed, "tunnel door "+d.Address+`: the host lets "claw" not in: it ends the connection
hint: the machine may still be starting; else look for /etc/nologin and an expired account, or raise rescue by one under bootstrap: true`)
}

func TestIncompleteDoor(t *testing.T) {
	_, _, _, err := Door{Name: "tunnel", Address: "127.0.0.1:1"}.Run(t.Context(), "echo", nil)
	if want := "tunnel door 127.0.0.1:1: the door has no key or no host key to check"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWaitReady(t *testing.T) {
	s := newServer(t)
	l := listenLocal(t)
	d := s.door(l.Addr().String())
	d.Patience = 300 * time.Millisecond
	l.Close()

	// First nothing listens, then something mute, then the host.
	var mute net.Listener
	var said []string
	say := func(line string) {
		said = append(said, line)
		var err error
		switch len(said) {
		case 1:
			if mute, err = net.Listen("tcp", d.Address); err != nil {
				t.Fatal(err)
			}
		case 2:
			mute.Close()
			l, err := net.Listen("tcp", d.Address)
			if err != nil {
				t.Fatal(err)
			}
			s.listen(l)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := d.WaitReady(ctx, say); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"waiting for the tunnel door " + d.Address + " (0s so far): no TCP connection: connection refused",
		"waiting for the tunnel door " + d.Address + " (1s so far): something accepts connections and said nothing in 300ms",
	}
	if len(said) != 2 || said[0] != want[0] || !strings.HasPrefix(said[1], want[1][:len(want[1])-len("300ms")]) {
		t.Errorf("said\n%s", strings.Join(said, "\n"))
	}
	if n := s.logins.Load(); n > 2 { // x/crypto asks, then signs
		t.Errorf("%d logins", n)
	}
}

func TestWaitReadyGivesUp(t *testing.T) {
	s := newServer(t)
	l := listenLocal(t)
	d := s.door(l.Addr().String())
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
	defer cancel()
	err := d.WaitReady(ctx, nil)
	wantError(t, err, ErrUnreachable, "tunnel door "+d.Address+`: not open in 1.2s: no TCP connection: connection refused
hint: see that sshd runs on the host and that its firewall admits the VPN to this port; bootstrap: true opens the other door`)

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	wantError(t, d.WaitReady(ctx, nil), nil, "tunnel door "+d.Address+": context canceled")
}

// What does not pass by itself is not tried again.
func TestWaitReadyDoesNotInsist(t *testing.T) {
	s := newServer(t)
	d := s.listenLocal()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	start := time.Now()

	wrong := d
	wrong.Key = newKey(t)
	if err := wrong.WaitReady(ctx, nil); !errors.Is(err, ErrKeyRefused) {
		t.Error(err)
	}
	if n := s.logins.Load(); n != 1 {
		t.Errorf("%d logins", n)
	}
	wrong = d
	wrong.HostKey = newKey(t).PublicKey()
	if err := wrong.WaitReady(ctx, nil); !errors.Is(err, ErrHostKeyDiffers) {
		t.Error(err)
	}
	if took := time.Since(start); took > askAgain {
		t.Errorf("took %v", took)
	}

	s = newServer(t)
	tries := s.closedLogin("")
	d = s.listenLocal()
	if err := d.WaitReady(ctx, nil); !errors.Is(err, ErrLoginClosed) {
		t.Error(err)
	}
	if n := tries.Load(); n != closedLogins+1 {
		t.Errorf("%d tries", n)
	}
}
