package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

var (
	ours    = netip.MustParseAddr("10.100.0.254")
	theirs  = netip.MustParseAddr("10.100.0.1")
	service = netip.AddrPortFrom(theirs, 2222)
)

// line is a bind whose datagrams can be lost on their way out.
type line struct {
	conn.Bind
	cut     atomic.Bool
	loss    atomic.Int64 // of 1000
	fault   atomic.Pointer[syscall.Errno]
	sent    atomic.Int64
	largest atomic.Int64
}

func (l *line) Send(bufs [][]byte, ep conn.Endpoint) error {
	if e := l.fault.Load(); e != nil {
		return *e
	}
	if l.cut.Load() || mrand.Int64N(1000) < l.loss.Load() {
		return nil
	}
	for _, b := range bufs {
		l.sent.Add(1)
		l.largest.Store(max(l.largest.Load(), int64(len(b))))
	}
	return l.Bind.Send(bufs, ep)
}

// host is the other side.
type host struct {
	t       *testing.T
	key     wgtypes.Key
	peer    wgtypes.Key // public
	psk     wgtypes.Key
	bind    conn.Bind
	dev     *device.Device
	stack   *userStack
	running bool
}

func (h *host) start() {
	h.t.Helper()
	var err error
	if h.stack, err = newUserStack(theirs, DefaultMTU); err != nil {
		h.t.Fatal(err)
	}
	h.dev = device.NewDevice(h.stack, h.bind, device.NewLogger(device.LogLevelSilent, ""))
	if err := h.dev.IpcSet(fmt.Sprintf("private_key=%x\npublic_key=%x\npreshared_key=%x\nallowed_ip=%s/32\n",
		h.key[:], h.peer[:], h.psk[:], ours)); err != nil {
		h.t.Fatal(err)
	}
	if err := h.dev.Up(); err != nil {
		h.t.Fatal(err)
	}
	h.running = true
}

func (h *host) stop() {
	if h.running {
		h.running = false
		h.dev.Close()
		h.stack.destroy()
	}
}

// listen serves every connection to the service's port with f.
func (h *host) listen(f func(net.Conn)) {
	h.t.Helper()
	l, err := gonet.ListenTCP(h.stack.stack, fullAddress(service), protocol)
	if err != nil {
		h.t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
	h.t.Cleanup(func() { l.Close() })
}

func echo(c net.Conn) { io.Copy(c, c) }

func newKey(t *testing.T) wgtypes.Key {
	t.Helper()
	k, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// world is a tunnel and its host, joined by channels.
type world struct {
	cfg     Config
	tunnel  *Tunnel
	host    *host
	out, in *line // from the tunnel, to it
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	return makeWorld(t, false, change...)
}

// makeWorld may cut the line before anything is sent.
func makeWorld(t *testing.T, cut bool, change ...func(*Config)) *world {
	t.Helper()
	noGoroutineLeft(t)
	key, hostKey, psk := newKey(t), newKey(t), newKey(t)
	binds := bindtest.NewChannelBinds()
	w := &world{out: &line{Bind: binds[0]}, in: &line{Bind: binds[1]}}
	w.setCut(cut)
	w.cfg = Config{
		PrivateKey: key, ServerPublicKey: hostKey.PublicKey(), PresharedKey: psk,
		Address: ours, Server: theirs,
		// Of the channels' two ends, the port chooses one.
		Endpoint:     netip.MustParseAddrPort("127.0.0.1:1"),
		PingInterval: 50 * time.Millisecond,
		SilenceLimit: time.Second,
	}
	for _, f := range change {
		f(&w.cfg)
	}
	w.host = &host{t: t, key: hostKey, peer: key.PublicKey(), psk: psk, bind: w.in}
	w.host.start()
	t.Cleanup(w.host.stop)
	tun, err := Open(w.cfg, w.out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tun.Close() })
	w.tunnel = tun
	return w
}

func (w *world) setCut(cut bool) { w.out.cut.Store(cut); w.in.cut.Store(cut) }

func (w *world) waitAlive(t *testing.T, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := w.tunnel.WaitAlive(ctx); err != nil {
		t.Fatal(err)
	}
}

// forward gives a local address that leads to the service.
func (w *world) forward(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.tunnel.Forward(l, service)
	return l.Addr().String()
}

func dialLocal(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c.(*net.TCPConn)
}

func sayHello(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Fatalf("read %q, %v", got, err)
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

// ourGoroutines are the stacks of those that the tunnel and what it stands on
// run.
func ourGoroutines() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var found []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "created by openclaw-azure/internal/tunnel") {
			continue // a test itself
		}
		for _, name := range []string{"golang.zx2c4.com/wireguard", "gvisor.dev/gvisor", "openclaw-azure/internal/tunnel."} {
			if strings.Contains(g, name) {
				found = append(found, g)
				break
			}
		}
	}
	return found
}

// noGoroutineLeft fails the test when, after all its other cleanups, a
// goroutine of the tunnel, of WireGuard or of the stack still runs.
func noGoroutineLeft(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left []string
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if left = ourGoroutines(); len(left) == 0 {
				return
			}
		}
		t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

func TestAlive(t *testing.T) {
	w := newWorld(t)
	if h := w.tunnel.LastHandshake(); !h.IsZero() && time.Since(h) > time.Minute {
		t.Errorf("last handshake %v before any", h)
	}
	w.waitAlive(t, 5*time.Second)
	if ago := time.Since(w.tunnel.LastHandshake()); ago < 0 || ago > time.Minute {
		t.Errorf("last handshake %v ago", ago)
	}
	if s := w.tunnel.Silent(); s > time.Second {
		t.Errorf("silent for %v", s)
	}
	// A second time it needs no further reply.
	w.setCut(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.tunnel.WaitAlive(ctx); err != nil {
		t.Error(err)
	}
}

func TestSilentHost(t *testing.T) {
	w := makeWorld(t, true)
	const limit = 300 * time.Millisecond
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := w.tunnel.WaitAlive(ctx)
	if took := time.Since(start); took < limit || took > limit+5*time.Second {
		t.Errorf("took %v", took)
	}
	var silent *SilentError
	if !errors.As(err, &silent) {
		t.Fatalf("got %v", err)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is not the deadline", err)
	}
	want := fmt.Sprintf(`WireGuard at 127.0.0.1:1 is silent: no handshake in %s
hint: look at the sources that the WireGuard rule admits, this machine's clock, the keys, another session with the same key, UDP blocked on the way`,
		silent.Waited.Round(100*time.Millisecond))
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
}

func TestSilentErrorSays(t *testing.T) {
	at := netip.MustParseAddrPort("198.18.100.1:51820")
	for _, c := range []struct {
		err  SilentError
		want string
	}{
		{SilentError{Endpoint: at, Server: theirs, Waited: 10020 * time.Millisecond, Handshake: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)},
			`WireGuard at 198.18.100.1:51820 is silent: the last handshake was at 03:04:05 UTC, but 10.100.0.1 has answered no ping for 10s
hint: look at whether the machine is down or restarting, and for another session with the same key`},
		{SilentError{Endpoint: at, Server: theirs, Waited: time.Second, SendError: syscall.ENETUNREACH},
			`nothing can be sent to WireGuard at 198.18.100.1:51820: network is unreachable
hint: see that this machine has a network, and that it lets UDP out`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}

func TestNothingCanBeSent(t *testing.T) {
	noGoroutineLeft(t)
	binds := bindtest.NewChannelBinds()
	out := &line{Bind: binds[0]}
	unreachable := syscall.ENETUNREACH
	out.fault.Store(&unreachable)
	tun, err := Open(Config{
		PrivateKey: newKey(t), ServerPublicKey: newKey(t).PublicKey(),
		Address: ours, Server: theirs, Endpoint: netip.MustParseAddrPort("127.0.0.1:1"),
	}, out)
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var silent *SilentError
	if err := tun.WaitAlive(ctx); !errors.As(err, &silent) || !errors.Is(silent.SendError, syscall.ENETUNREACH) {
		t.Errorf("got %v", err)
	}
}

func TestWaitIsCancelled(t *testing.T) {
	w := makeWorld(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := w.tunnel.WaitAlive(ctx)
	if want := "wait for WireGuard at 127.0.0.1:1: context canceled"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	go w.tunnel.Close()
	if err := w.tunnel.WaitAlive(t.Context()); err != ErrClosed {
		t.Errorf("got %v", err)
	}
}

// The far side answers only once it has seen the end of what we send, so the
// answer arrives only where a half-closed connection lives on.
func TestForwardMegabytesAndHalfClose(t *testing.T) {
	// With the race detector pings wait for a second behind so much, which is not what this is about.
	w := newWorld(t, func(c *Config) { c.SilenceLimit = DefaultSilenceLimit })
	w.host.listen(func(c net.Conn) {
		var all bytes.Buffer
		io.Copy(&all, c)
		sum := sha256.Sum256(all.Bytes())
		c.Write(sum[:])
		c.Write(all.Bytes())
	})
	w.waitAlive(t, 5*time.Second)
	addr := w.forward(t)

	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			data := make([]byte, 4<<20)
			rand.Read(data)
			c := dialLocal(t, addr)
			if _, err := c.Write(data); err != nil {
				t.Error(err)
				return
			}
			c.CloseWrite()
			got, err := io.ReadAll(c)
			if err != nil {
				t.Error(err)
				return
			}
			sum := sha256.Sum256(data)
			if !bytes.Equal(got, append(sum[:], data...)) {
				t.Errorf("%d bytes came back, not what was sent", len(got))
			}
		})
	}
	clients.Wait()
	// 1280 and 60 around it: a line that carries 1340 carries the tunnel. The
	// datagram itself is without IP's 20 and UDP's 8.
	if n := max(w.out.largest.Load(), w.in.largest.Load()); n > 1340-28 {
		t.Errorf("a datagram of %d bytes", n)
	}
}

// A host that says more than any command does ends that connection, and no other.
func TestForwardLimit(t *testing.T) {
	var told atomic.Int64
	w := newWorld(t, func(c *Config) {
		c.SilenceLimit = DefaultSilenceLimit
		c.TooMuch = func() { told.Add(1) }
	})
	w.host.listen(func(c net.Conn) {
		hello := make([]byte, 5)
		io.ReadFull(c, hello)
		c.Write(hello)
		for buf := make([]byte, 1<<20); ; {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	})
	w.waitAlive(t, 5*time.Second)
	addr := w.forward(t)
	flooded, other := dialLocal(t, addr), dialLocal(t, addr)
	sayHello(t, flooded)
	if n, err := io.Copy(io.Discard, flooded); n > ForwardLimit || n < ForwardLimit/2 {
		t.Errorf("%d bytes came, %v", n, err)
	}
	within(t, 5*time.Second, "somebody is told", func() bool { return told.Load() == 1 })
	sayHello(t, other)
}

// What is within the limit passes, to the last byte, in both directions.
func TestCarryAtMost(t *testing.T) {
	const most = 1000
	for size, passes := range map[int]bool{0: true, most: true, most + 1: false, 5 * most: false} {
		for direction := range 2 {
			near, a := tcpPair(t)
			far, b := tcpPair(t)
			if direction == 1 {
				near, far = far, near
			}
			ended := make(chan bool, 1)
			go func() { ended <- CarryAtMost(a, b, most) }()
			near.Write(make([]byte, size))
			near.CloseWrite()
			got, _ := io.Copy(io.Discard, far)
			far.CloseWrite()
			if within := <-ended; within != passes || passes && got != int64(size) || got > most+1 {
				t.Errorf("%d bytes, direction %d: %d came, within the limit: %v", size, direction, got, within)
			}
			a.Close()
			b.Close()
		}
	}
}

func tcpPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near = dialLocal(t, l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, c.(*net.TCPConn)
}

func TestForwardOverALossyLine(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.SilenceLimit = 10 * time.Second })
	w.host.listen(echo)
	w.waitAlive(t, 5*time.Second)
	w.out.loss.Store(20)
	w.in.loss.Store(20)
	c := dialLocal(t, w.forward(t))
	data := make([]byte, 1<<20)
	rand.Read(data)
	go func() { c.Write(data); c.CloseWrite() }()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(data), err)
	}
}

func TestSilenceClosesConnections(t *testing.T) {
	w := newWorld(t)
	w.host.listen(echo)
	w.waitAlive(t, 5*time.Second)
	addr := w.forward(t)
	forwarded := dialLocal(t, addr)
	sayHello(t, forwarded)
	direct, err := w.tunnel.DialContext(t.Context(), "tcp", service.String())
	if err != nil {
		t.Fatal(err)
	}
	sayHello(t, direct)

	w.setCut(true)
	start := time.Now()
	if n, err := forwarded.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("forwarded: %d, %v", n, err)
	}
	if took := time.Since(start); took < w.cfg.SilenceLimit/2 || took > w.cfg.SilenceLimit+5*time.Second {
		t.Errorf("closed after %v of silence", took)
	}
	var silent *SilentError
	if _, err := direct.Read(make([]byte, 1)); !errors.As(err, &silent) {
		t.Errorf("read: %v", err)
	} else if silent.Handshake.IsZero() || silent.LastReply.IsZero() || silent.Waited < w.cfg.SilenceLimit {
		t.Errorf("%+v", silent)
	}
	if _, err := direct.Write([]byte("x")); !errors.As(err, &silent) {
		t.Errorf("write: %v", err)
	}
	direct.Close()

	// Dialled in the silence, it has its full time, and then fails in words.
	start = time.Now()
	_, err = w.tunnel.DialContext(t.Context(), "tcp", service.String())
	if !errors.As(err, &silent) {
		t.Errorf("dial: %v", err)
	}
	if took := time.Since(start); took < w.cfg.SilenceLimit-50*time.Millisecond || took > w.cfg.SilenceLimit+5*time.Second {
		t.Errorf("dial failed after %v", took)
	}

	// It returns, and with it the way for new connections.
	w.setCut(false)
	w.waitAlive(t, 10*time.Second)
	sayHello(t, dialLocal(t, addr))
}

// WireGuard on the host restarts while a command waits for its answer: the
// session is lost, the connection is not.
func TestHostLosesItsSession(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PingInterval, c.SilenceLimit = 200*time.Millisecond, DefaultSilenceLimit })
	w.host.listen(echo)
	w.waitAlive(t, 5*time.Second)
	c := dialLocal(t, w.forward(t))
	sayHello(t, c)
	before := w.tunnel.LastHandshake()

	// The host's side forgets the keys that both agreed on, and sends nothing.
	peer := w.host.dev.LookupPeer(device.NoisePublicKey(w.host.peer))
	peer.ZeroAndFlushAll()
	w.tunnel.mu.Lock()
	replied := w.tunnel.replied
	w.tunnel.mu.Unlock()
	select {
	case <-replied: // one that was on its way
	case <-time.After(300 * time.Millisecond):
	}
	w.waitAlive(t, DefaultSilenceLimit)
	if after := w.tunnel.LastHandshake(); !after.After(before) {
		t.Errorf("no new handshake: %v, %v", before, after)
	}
	sayHello(t, c)
}

// The host is made anew: the old connections end, new ones work.
func TestHostRestarts(t *testing.T) {
	w := newWorld(t)
	w.host.listen(echo)
	w.waitAlive(t, 5*time.Second)
	addr := w.forward(t)
	old := dialLocal(t, addr)
	sayHello(t, old)

	w.setCut(true)
	w.host.stop()
	w.host.start()
	w.setCut(false)
	w.host.listen(echo)
	if _, err := old.Read(make([]byte, 1)); err == nil {
		t.Error("the old connection lives")
	}
	w.waitAlive(t, 15*time.Second)
	sayHello(t, dialLocal(t, addr))
}

func TestDial(t *testing.T) {
	w := newWorld(t)
	w.waitAlive(t, 5*time.Second)
	for _, c := range []struct{ network, addr, want string }{
		{"udp", "10.100.0.1:2222", `dial 10.100.0.1:2222 through the tunnel: network "udp" is not tcp`},
		{"tcp", "10.100.0.2:2222", `dial 10.100.0.2:2222 through the tunnel: it leads to 10.100.0.1 only`},
		{"tcp", "localhost:22", `dial "localhost:22" through the tunnel: not an address and a port`},
		{"tcp", "10.100.0.1:2222", `dial 10.100.0.1:2222 through the tunnel: connect tcp 10.100.0.1:2222: connection was refused`},
	} {
		start := time.Now()
		_, err := w.tunnel.DialContext(t.Context(), c.network, c.addr)
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
		if took := time.Since(start); took > w.cfg.SilenceLimit {
			t.Errorf("%s took %v", c.want, took)
		}
	}
	w.tunnel.Close()
	if _, err := w.tunnel.DialContext(t.Context(), "tcp", service.String()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// sshd keeps a process for every connection whose end it is not told of.
func TestCloseTellsTheHost(t *testing.T) {
	w := newWorld(t)
	var open, ended atomic.Int64
	w.host.listen(func(c net.Conn) {
		open.Add(1)
		if _, err := io.Copy(io.Discard, c); err == nil {
			ended.Add(1)
		}
	})
	w.waitAlive(t, 5*time.Second)
	addr := w.forward(t)
	var locals []net.Conn
	for range 5 {
		locals = append(locals, dialLocal(t, addr))
	}
	for range 5 {
		if _, err := w.tunnel.DialContext(t.Context(), "tcp", service.String()); err != nil {
			t.Fatal(err)
		}
	}
	within(t, 5*time.Second, "10 connections at the host", func() bool { return open.Load() == 10 })

	start := time.Now()
	if err := w.tunnel.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > drainLimit+2*time.Second {
		t.Errorf("closing took %v", took)
	}
	within(t, 5*time.Second, "10 ends at the host", func() bool { return ended.Load() == 10 })
	for _, c := range locals {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a forwarded connection outlives the tunnel")
		}
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the local port outlives the tunnel")
	}
	if err := w.tunnel.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func TestCloseWithASilentHostIsQuick(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.SilenceLimit = time.Minute })
	w.host.listen(echo)
	w.waitAlive(t, 5*time.Second)
	sayHello(t, dialLocal(t, w.forward(t)))
	w.setCut(true)
	within(t, 5*time.Second, "silence", func() bool { return w.tunnel.Silent() > 3*w.cfg.PingInterval })
	start := time.Now()
	w.tunnel.Close()
	if took := time.Since(start); took > drainQuick+2*time.Second {
		t.Errorf("closing took %v", took)
	}
}

// A panic here would take the whole deployment with it.
func TestCloseUnderLoad(t *testing.T) {
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.SilenceLimit = DefaultSilenceLimit })
			w.host.listen(echo)
			w.waitAlive(t, 5*time.Second)
			addr := w.forward(t)
			var moved atomic.Int64
			var load sync.WaitGroup
			for range 3 {
				c := dialLocal(t, addr)
				load.Go(func() {
					for buf := make([]byte, 1<<16); ; {
						if _, err := c.Write(buf); err != nil {
							return
						}
					}
				})
				load.Go(func() {
					for buf := make([]byte, 1<<16); ; {
						n, err := c.Read(buf)
						moved.Add(int64(n))
						if err != nil {
							c.Close()
							return
						}
					}
				})
			}
			within(t, 10*time.Second, "traffic", func() bool { return moved.Load() > 200_000 })
			w.tunnel.Close()
			load.Wait()
		})
	}
}

func TestForwardAfterClose(t *testing.T) {
	w := newWorld(t)
	w.tunnel.Close()
	addr := w.forward(t)
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the listener is open")
	}
}

func TestRealUDP(t *testing.T) {
	noGoroutineLeft(t)
	key, hostKey, psk := newKey(t), newKey(t), newKey(t)
	h := &host{t: t, key: hostKey, peer: key.PublicKey(), psk: psk, bind: conn.NewDefaultBind()}
	h.start()
	t.Cleanup(h.stop)
	h.listen(echo)
	text, err := h.dev.IpcGet()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(text, "listen_port=")
	port, _, _ = strings.Cut(port, "\n")
	tun, err := Open(Config{
		PrivateKey: key, ServerPublicKey: hostKey.PublicKey(), PresharedKey: psk,
		Address: ours, Server: theirs, Endpoint: netip.MustParseAddrPort("127.0.0.1:" + port),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tun.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := tun.WaitAlive(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := tun.DialContext(ctx, "tcp", service.String())
	if err != nil {
		t.Fatal(err)
	}
	sayHello(t, c)
	c.Close()
}

func TestLogNamesNoKey(t *testing.T) {
	var mu sync.Mutex
	var lines strings.Builder
	w := newWorld(t, func(c *Config) {
		c.Log = func(line string) { mu.Lock(); defer mu.Unlock(); fmt.Fprintln(&lines, line) }
	})
	w.waitAlive(t, 5*time.Second)
	w.tunnel.Close()
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(lines.String(), "handshake") {
		t.Fatalf("the log does not speak of the handshake:\n%s", lines.String())
	}
	for name, k := range map[string]wgtypes.Key{"private": w.cfg.PrivateKey, "preshared": w.cfg.PresharedKey, "server's": w.host.key} {
		for _, form := range []string{hex.EncodeToString(k[:]), base64.StdEncoding.EncodeToString(k[:])} {
			if strings.Contains(lines.String(), form[:12]) {
				t.Errorf("the %s key is in the log", name)
			}
		}
	}
}

func TestConfigFaults(t *testing.T) {
	noGoroutineLeft(t)
	key := newKey(t)
	good := Config{
		PrivateKey: key, ServerPublicKey: newKey(t).PublicKey(),
		Address: ours, Server: theirs, Endpoint: netip.MustParseAddrPort("198.18.100.1:51820"),
	}
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.PrivateKey = wgtypes.Key{} }, "the private key is empty"},
		{func(c *Config) { c.ServerPublicKey = wgtypes.Key{} }, "the server's public key is empty"},
		{func(c *Config) { c.ServerPublicKey = key.PublicKey() }, "the server's public key belongs to our own private key"},
		{func(c *Config) { c.Address = netip.Addr{} }, `our address "invalid IP" is not IPv4`},
		{func(c *Config) { c.Server = netip.MustParseAddr("fd00::1") }, `the server's address "fd00::1" is not IPv4`},
		{func(c *Config) { c.Address = theirs }, `our address and the server's are both "10.100.0.1"`},
		{func(c *Config) { c.MTU = 500 }, "the MTU 500 is not between 576 and 65475"},
		{func(c *Config) { c.SilenceLimit = time.Second }, "the silence limit 1s is shorter than the time between two pings, 2s"},
		{func(c *Config) { c.PrivateKey, c.Address = wgtypes.Key{}, netip.Addr{} }, "the private key is empty\nour address \"invalid IP\" is not IPv4"},
	} {
		cfg := good
		c.change(&cfg)
		tun, err := Open(cfg, nil)
		if tun != nil {
			tun.Close()
		}
		if want := "open the tunnel to 198.18.100.1:51820: " + c.want; err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	cfg := good
	cfg.Endpoint = netip.AddrPort{}
	want := `open the tunnel to invalid AddrPort: the endpoint "invalid AddrPort" is not an address and a port`
	if _, err := Open(cfg, nil); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
