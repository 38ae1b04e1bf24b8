// Package localport is a port of this computer's loopback for processes of one user of it, and for so many connections at a time.
package localport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
)

// Listener accepts what processes of the same user dial. On Linux it closes the connections of all others before it reads or
// writes a byte; other systems do not tell whose a connection is, nor does WSL of one from Windows.
type Listener struct {
	*net.TCPListener
	atOnce  int32
	open    atomic.Int32
	refused func(error)
}

var _ net.Listener = (*Listener)(nil)

// Listen takes a port of 127.0.0.1; 0 is any that is free. atOnce connections are open at a time, and more are closed at once. Why goes
// to refused.
func Listen(port uint16, atOnce int32, refused func(error)) (*Listener, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)))
	if err != nil {
		return nil, err
	}
	return &Listener{TCPListener: l, atOnce: atOnce, refused: refused}, nil
}

// Port is the one that it has.
func (l *Listener) Port() uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }

// Accept waits for a connection of the same user's.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if err := l.admit(conn); err != nil {
			conn.Close()
			l.refused(fmt.Errorf("refused a connection to port %d of this computer: %w", l.Port(), err))
			continue
		}
		l.open.Add(1)
		return &seated{TCPConn: conn, leave: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
	}
}

// seated is a connection that gives its seat back.
type seated struct {
	*net.TCPConn
	leave func()
}

func (s *seated) Close() error {
	defer s.leave()
	return s.TCPConn.Close()
}

var errNobody = errors.New("the system does not say whose it is")

func (l *Listener) admit(conn *net.TCPConn) error {
	uid, told, err := Owner(conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort())
	switch {
	case err != nil:
		return err
	case told && uid != os.Geteuid():
		return fmt.Errorf("it is user %d's", uid)
	case l.open.Load() >= l.atOnce:
		return fmt.Errorf("%d are open", l.atOnce)
	}
	return nil
}
