package tunnel

import (
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// trackedConn is a connection that the tunnel closes when the server falls
// silent, and that then says so.
type trackedConn struct {
	*gonet.TCPConn
	tunnel *Tunnel
	since  time.Time
	cause  atomic.Pointer[error]
}

var _ net.Conn = (*trackedConn)(nil)

func (c *trackedConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	return n, c.explain(err)
}

func (c *trackedConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	return n, c.explain(err)
}

func (c *trackedConn) explain(err error) error {
	if cause := c.cause.Load(); err != nil && cause != nil {
		return *cause
	}
	return err
}

func (c *trackedConn) Close() error {
	c.tunnel.mu.Lock()
	delete(c.tunnel.conns, c)
	c.tunnel.mu.Unlock()
	return c.TCPConn.Close()
}

// fail closes the connection; its reader and writer get the cause.
func (c *trackedConn) fail(cause error) {
	c.cause.CompareAndSwap(nil, &cause)
	c.TCPConn.SetDeadline(time.Unix(1, 0)) // a deadline in the past wakes both
	c.Close()
}

// Forward takes every connection that l accepts through the tunnel to the
// address. It returns at once and serves until the tunnel is closed, which
// closes l too.
func (t *Tunnel) Forward(l net.Listener, to netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		l.Close()
		return
	}
	t.listeners[l] = struct{}{}
	t.work.Go(func() {
		Accept(l, func(err error) { t.note("accept on %s: %v", l.Addr(), err) },
			func(local net.Conn) { t.work.Go(func() { t.carry(local, to) }) })
	})
}

// Accept hands every connection that l accepts to take, until l is closed. Other
// errors go to failed, and it tries again.
func Accept(l net.Listener, failed func(error), take func(net.Conn)) {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			failed(err)
			time.Sleep(100 * time.Millisecond) // out of file descriptors, perhaps: for a moment only
		default:
			take(conn)
		}
	}
}

func (t *Tunnel) carry(local net.Conn, to netip.AddrPort) {
	defer local.Close()
	remote, err := t.DialContext(t.ctx, "tcp", to.String())
	if err != nil {
		t.note("forward %s: %v", local.RemoteAddr(), err)
		return
	}
	defer remote.Close()
	if !CarryAtMost(local, remote, ForwardLimit) && t.cfg.TooMuch != nil {
		t.cfg.TooMuch()
	}
}

// ForwardLimit is what a connection through Forward may carry in each direction:
// a command of Pulumi's takes and says less than a megabyte, and what it says is
// held in memory and in the stack's state.
const ForwardLimit = 32 << 20

// Carry copies between two connections, in both directions, until both have
// ended. It closes neither.
func Carry(a, b net.Conn) { CarryAtMost(a, b, math.MaxInt64-1) }

// CarryAtMost is Carry, but that it ends both connections, and says so, where one
// direction carries more than so many bytes.
func CarryAtMost(a, b net.Conn, most int64) (within bool) {
	var both sync.WaitGroup
	var over atomic.Bool
	one := func(dst, src net.Conn) {
		if !pass(dst, src, most) {
			over.Store(true)
		}
	}
	both.Go(func() { one(a, b) })
	both.Go(func() { one(b, a) })
	both.Wait()
	return !over.Load()
}

var errTooMuch = errors.New("too much")

// pass copies one direction. Its end is passed on as an end of that direction
// alone: the other may have more to say. A failure ends both.
func pass(dst, src net.Conn, most int64) (within bool) {
	rest := &io.LimitedReader{R: src, N: most + 1}
	_, err := io.Copy(dst, rest)
	within = rest.N > 0
	if !within {
		err = errTooMuch
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	} else if err == nil {
		err = io.ErrClosedPipe
	}
	if err != nil {
		dst.Close()
		src.Close()
	}
	return within
}
