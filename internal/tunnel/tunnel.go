// Package tunnel is a WireGuard peer inside this process: wireguard-go on a
// TCP/IP stack of its own, so that it needs no root, no interface and no
// installed WireGuard. It carries TCP connections to one address, the server's.
//
// WireGuard reports no error: a wrong key, a closed port and a dead host all
// look alike, silent. So the tunnel pings the server through itself, for as
// long as it is open. The pings tell when the way is there, make WireGuard
// shake hands again after the host has lost its session (a client that only
// waits sends nothing, and would wait for ever), and when no reply comes for
// too long every connection is closed, so that what runs over it fails in
// words.
package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

const (
	// DefaultMTU fits through any line that carries IPv6, with WireGuard's
	// 60 bytes around it through one of 1340.
	DefaultMTU = 1280
	// DefaultPingInterval is the time between two pings.
	DefaultPingInterval = 2 * time.Second
	// DefaultSilenceLimit is how long no reply may come before connections are
	// closed. WireGuard's first retry of a handshake comes after 5 s.
	DefaultSilenceLimit = 10 * time.Second

	// On closing: how long the last segments get to reach the host, which
	// otherwise keeps a process for each connection.
	drainLimit = time.Second
	drainQuick = 200 * time.Millisecond
	drainPoll  = 5 * time.Millisecond
)

// ErrClosed is returned by the methods of a tunnel that was closed.
var ErrClosed = errors.New("the tunnel is closed")

// Config says who we are and whom we talk to.
type Config struct {
	PrivateKey      wgtypes.Key
	ServerPublicKey wgtypes.Key
	PresharedKey    wgtypes.Key
	Address         netip.Addr     // ours in the VPN
	Server          netip.Addr     // the host's in the VPN: pinged, and all that can be dialled
	Endpoint        netip.AddrPort // where the host's WireGuard listens
	MTU             int            // 0: DefaultMTU

	PingInterval time.Duration // 0: DefaultPingInterval
	SilenceLimit time.Duration // 0: DefaultSilenceLimit
	// Log is given wireguard-go's own lines, from any goroutine. They name peers
	// by a part of their public key and no key beside it. nil: nobody is.
	Log func(line string)
	// TooMuch is told of each connection through Forward that ended since it
	// carried more than ForwardLimit. nil: nobody is.
	TooMuch func()
}

func (c *Config) check() error {
	var faults []error
	var none wgtypes.Key
	if c.PrivateKey == none {
		faults = append(faults, errors.New("the private key is empty"))
	}
	if c.ServerPublicKey == none {
		faults = append(faults, errors.New("the server's public key is empty"))
	}
	// wireguard-go drops a peer that has its own key and then says nothing.
	if c.PrivateKey != none && c.PrivateKey.PublicKey() == c.ServerPublicKey {
		faults = append(faults, errors.New("the server's public key belongs to our own private key"))
	}
	if !c.Address.Is4() {
		faults = append(faults, fmt.Errorf("our address %q is not IPv4", c.Address))
	}
	if !c.Server.Is4() {
		faults = append(faults, fmt.Errorf("the server's address %q is not IPv4", c.Server))
	}
	if c.Address.Is4() && c.Address == c.Server {
		faults = append(faults, fmt.Errorf("our address and the server's are both %q", c.Address))
	}
	if !c.Endpoint.IsValid() || c.Endpoint.Port() == 0 {
		faults = append(faults, fmt.Errorf("the endpoint %q is not an address and a port", c.Endpoint))
	}
	// The least that IPv4 lets a link carry; the most that a datagram holds.
	if c.MTU < 576 || c.MTU > 65475 {
		faults = append(faults, fmt.Errorf("the MTU %d is not between 576 and 65475", c.MTU))
	}
	if c.PingInterval < 0 || c.SilenceLimit < c.PingInterval {
		faults = append(faults, fmt.Errorf("the silence limit %v is shorter than the time between two pings, %v", c.SilenceLimit, c.PingInterval))
	}
	return errors.Join(faults...)
}

// Tunnel is an open tunnel. Its methods may be called from any goroutine.
type Tunnel struct {
	cfg    Config
	opened time.Time
	dev    *device.Device
	peer   *device.Peer
	stack  *userStack

	ctx    context.Context // ends when Close begins: dials, forwarders
	cancel context.CancelFunc
	quit   chan struct{} // closed when the pinger has to stop
	work   sync.WaitGroup

	closing  sync.Once
	closeErr error

	mu        sync.Mutex
	closed    bool
	lastReply time.Time     // zero: none yet
	replied   chan struct{} // closed and made anew at every reply
	sendError error         // wireguard-go's last
	listeners map[net.Listener]struct{}
	conns     map[*trackedConn]struct{}
}

// Open starts the tunnel and its pings, and does not wait for an answer: see
// WaitAlive. bind is how datagrams travel; nil is real UDP.
func Open(cfg Config, bind conn.Bind) (*Tunnel, error) {
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.PingInterval == 0 {
		cfg.PingInterval = DefaultPingInterval
	}
	if cfg.SilenceLimit == 0 {
		cfg.SilenceLimit = DefaultSilenceLimit
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("open the tunnel to %s: %w", cfg.Endpoint, err)
	}
	if bind == nil {
		bind = conn.NewDefaultBind()
	}

	ns, err := newUserStack(cfg.Address, cfg.MTU)
	if err != nil {
		return nil, fmt.Errorf("open the tunnel to %s: %w", cfg.Endpoint, err)
	}
	t := &Tunnel{
		cfg:       cfg,
		opened:    time.Now(),
		stack:     ns,
		quit:      make(chan struct{}),
		replied:   make(chan struct{}),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*trackedConn]struct{}{},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.dev = device.NewDevice(ns, bind, t.logger())

	abandon := func(err error) (*Tunnel, error) {
		t.cancel()
		t.dev.Close()
		ns.destroy()
		return nil, fmt.Errorf("open the tunnel to %s: %w", cfg.Endpoint, err)
	}
	if err := t.dev.IpcSet(settings(cfg)); err != nil {
		return abandon(fmt.Errorf("configure WireGuard: %w", err))
	}
	if t.peer = t.dev.LookupPeer(device.NoisePublicKey(cfg.ServerPublicKey)); t.peer == nil {
		return abandon(errors.New("WireGuard did not take the server as its peer"))
	}
	if err := t.dev.Up(); err != nil {
		return abandon(fmt.Errorf("start WireGuard: %w", err))
	}
	ping, err := ns.newPing(cfg.Server)
	if err != nil {
		return abandon(err)
	}
	t.work.Go(func() { t.keepPinging(ping) })
	return t, nil
}

// settings is the device's configuration in wireguard-go's own form.
func settings(cfg Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\n", hex.EncodeToString(cfg.PrivateKey[:]))
	fmt.Fprintf(&b, "replace_peers=true\n")
	fmt.Fprintf(&b, "public_key=%s\n", hex.EncodeToString(cfg.ServerPublicKey[:]))
	fmt.Fprintf(&b, "preshared_key=%s\n", hex.EncodeToString(cfg.PresharedKey[:]))
	fmt.Fprintf(&b, "endpoint=%s\n", cfg.Endpoint)
	fmt.Fprintf(&b, "allowed_ip=%s\n", netip.PrefixFrom(cfg.Server, 32))
	return b.String()
}

func (t *Tunnel) logger() *device.Logger {
	l := &device.Logger{Verbosef: t.note}
	l.Errorf = func(format string, args ...any) {
		// "network is unreachable" and its like: the one cause that this side
		// can see by itself.
		if strings.Contains(format, "Failed to send") {
			for _, a := range args {
				if err, ok := a.(error); ok {
					t.mu.Lock()
					t.sendError = err
					t.mu.Unlock()
				}
			}
		}
		t.note(format, args...)
	}
	return l
}

func (t *Tunnel) note(format string, args ...any) {
	if t.cfg.Log != nil {
		t.cfg.Log(fmt.Sprintf(format, args...))
	}
}

// AliveLimit is long enough for WaitAlive where there is somebody who answers: WireGuard's first retry comes after 5 s.
const AliveLimit = 15 * time.Second

// WaitAlive returns when the server answers a ping, at once where it has just
// done so. When the context's deadline passes first the error is a
// *SilentError.
func (t *Tunnel) WaitAlive(ctx context.Context) error {
	start := time.Now()
	t.mu.Lock()
	replied, last := t.replied, t.lastReply
	t.mu.Unlock()
	if t.ctx.Err() == nil && !last.IsZero() && time.Since(last) < t.cfg.PingInterval*3/2 {
		return nil
	}
	select {
	case <-replied:
		return nil
	case <-t.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("wait for WireGuard at %s: %w", t.cfg.Endpoint, ctx.Err())
	}
	return t.silence(time.Since(start), ctx.Err())
}

func (t *Tunnel) silence(waited time.Duration, cause error) *SilentError {
	e := &SilentError{
		Endpoint:  t.cfg.Endpoint,
		Server:    t.cfg.Server,
		Waited:    waited,
		Handshake: t.LastHandshake(),
		cause:     cause,
	}
	t.mu.Lock()
	e.LastReply, e.SendError = t.lastReply, t.sendError
	t.mu.Unlock()
	return e
}

// LastHandshake is when WireGuard last agreed on keys with the server; zero
// when it never did.
func (t *Tunnel) LastHandshake() time.Time {
	var text bytes.Buffer // holds the private key: read here and dropped
	if err := t.dev.IpcGetOperation(&text); err != nil {
		return time.Time{}
	}
	var sec, nsec int64
	for lines := bufio.NewScanner(&text); lines.Scan(); {
		switch key, value, _ := strings.Cut(lines.Text(), "="); key {
		case "last_handshake_time_sec":
			sec, _ = strconv.ParseInt(value, 10, 64)
		case "last_handshake_time_nsec":
			nsec, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	if sec == 0 && nsec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, nsec)
}

// Silent is how long ago the server last answered a ping, or, when it never
// did, how long the tunnel has been open.
func (t *Tunnel) Silent() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.heardLocked())
}

func (t *Tunnel) heardLocked() time.Time {
	if t.lastReply.IsZero() {
		return t.opened
	}
	return t.lastReply
}

// DialContext connects to a TCP port of the server through the tunnel. It gives
// up after the silence limit, however far off the context's own deadline is.
func (t *Tunnel) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" {
		return nil, fmt.Errorf("dial %s through the tunnel: network %q is not tcp", addr, network)
	}
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %q through the tunnel: not an address and a port", addr)
	}
	// Anything else WireGuard would drop, and the dial would wait in vain.
	if to.Addr() != t.cfg.Server {
		return nil, fmt.Errorf("dial %s through the tunnel: it leads to %s only", addr, t.cfg.Server)
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.SilenceLimit)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()

	started := time.Now()
	c, err := gonet.DialContextTCP(ctx, t.stack.stack, fullAddress(to), protocol)
	if err != nil {
		switch {
		case t.ctx.Err() != nil:
			err = ErrClosed
		case errors.Is(err, context.DeadlineExceeded) && t.Silent() >= time.Since(started):
			err = t.silence(time.Since(started), err)
		}
		return nil, fmt.Errorf("dial %s through the tunnel: %w", addr, err)
	}
	if err := t.stack.keepAlive(c.LocalAddr()); err != nil {
		c.Close()
		return nil, fmt.Errorf("dial %s through the tunnel: %w", addr, err)
	}
	tc := &trackedConn{TCPConn: c, tunnel: t, since: time.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.Close()
		return nil, fmt.Errorf("dial %s through the tunnel: %w", addr, ErrClosed)
	}
	t.conns[tc] = struct{}{}
	return tc, nil
}

// Close ends the tunnel: listeners and connections first, then, once the host
// has been told that they are closed, WireGuard. It returns when no goroutine
// of the tunnel is left.
func (t *Tunnel) Close() error {
	t.closing.Do(func() {
		t.mu.Lock()
		t.closed = true
		listeners, conns := t.listeners, t.conns
		t.listeners, t.conns = nil, nil
		t.mu.Unlock()

		t.cancel()
		for l := range listeners {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.closeErr = errors.Join(t.closeErr, fmt.Errorf("close the listener on %s: %w", l.Addr(), err))
			}
		}
		for c := range conns {
			c.fail(ErrClosed)
		}
		t.drain()
		close(t.quit)
		t.work.Wait()
		t.dev.Close()
		t.stack.destroy()
	})
	return t.closeErr
}

// drain waits until the host has acknowledged the end of every connection. A
// host that is silent anyway gets its last segments sent, and no more time.
func (t *Tunnel) drain() {
	limit := drainLimit
	if t.Silent() > 2*t.cfg.PingInterval {
		limit = drainQuick
	}
	for end := time.Now().Add(limit); t.stack.unfinished() > 0 && time.Now().Before(end); {
		time.Sleep(drainPoll)
	}
}
