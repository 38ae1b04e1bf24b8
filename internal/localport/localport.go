// Package localport is a port of this computer's loopback for processes of one user of it, a few connections at a time.
package localport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
)

// Listener accepts what processes of the same user dial. On Linux it closes the connections of all others before it reads or
// writes a byte; other systems do not tell whose a connection is.
type Listener struct {
	*net.TCPListener
	seats   chan struct{}
	refused func(error)
	closed  chan struct{}
	once    sync.Once
}

var _ net.Listener = (*Listener)(nil)

// Listen takes a port of 127.0.0.1; 0 is any that is free. atOnce connections are open at a time, and more wait. What is refused
// goes to refused.
func Listen(port uint16, atOnce int, refused func(error)) (*Listener, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)))
	if err != nil {
		return nil, err
	}
	return &Listener{TCPListener: l, seats: make(chan struct{}, atOnce), refused: refused, closed: make(chan struct{})}, nil
}

// Port is the one that it has.
func (l *Listener) Port() uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }

// Accept waits for a connection of the same user's, and for a seat.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.seats <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			<-l.seats
			return nil, err
		}
		if err := sameUser(conn); err != nil {
			conn.Close()
			l.refused(err)
			continue
		}
		return &seated{TCPConn: conn, leave: sync.OnceFunc(func() { <-l.seats })}, nil
	}
}

// Close ends Accept. Connections stay.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
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

func sameUser(conn *net.TCPConn) error {
	local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	uid, told, err := owner(local, remote)
	switch {
	case err != nil:
		return fmt.Errorf("refused a connection to port %d of this computer: %w", local.Port(), err)
	case told && uid != os.Geteuid():
		return fmt.Errorf("refused a connection to port %d of this computer: it is user %d's", local.Port(), uid)
	}
	return nil
}
