package localport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"openclaw-azure/internal/localport/localporttest"
)

// Who is the same user is let in, by either kind of socket; anybody else hears nothing, and what they say is not read.
func TestSameUser(t *testing.T) {
	refused := make(chan error, 10)
	l, err := Listen(0, 8, func(err error) { refused <- err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var accepted atomic.Int32
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			io.WriteString(conn, "welcome")
			conn.(interface{ CloseWrite() error }).CloseWrite()
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	address := l.Addr().String()
	if got := localporttest.Say(t, 0, address, "hello"); got != "welcome" {
		t.Errorf("the same user hears %q", got)
	}
	for _, uid := range []uint32{1000, 65534} {
		before := accepted.Load()
		if got := localporttest.Say(t, uid, address, "hello"); got != "" {
			t.Errorf("user %d hears %q", uid, got)
		}
		want := fmt.Sprintf("refused a connection to port %d of this computer: it is user %d's", l.Port(), uid)
		if err := <-refused; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		if accepted.Load() != before {
			t.Errorf("user %d is let in", uid)
		}
	}
	// A socket of IPv6 that speaks IPv4; Go's dialer makes none.
	six, err := dialMapped(l.Port())
	if errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Log("this machine has no IPv6, and no such socket")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	heard := make([]byte, 7)
	if _, err := io.ReadFull(six, heard); err != nil || string(heard) != "welcome" {
		t.Errorf("the same user by a socket of IPv6 hears %q, %v", heard, err)
	}
}

func dialMapped(port uint16) (*os.File, error) {
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	to := &syscall.SockaddrInet6{Port: int(port), Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}
	if err := syscall.Connect(fd, to); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "six"), nil
}

// Whoever says something and is gone before the look is nobody, and so not root.
func TestGone(t *testing.T) {
	l, err := Listen(0, 8, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "hello")
	conn.Close()
	accepted, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if err := l.admit(accepted); !errors.Is(err, errNobody) {
		t.Errorf("got %v, want %v", err, errNobody)
	}
}

// A third is closed while two are open, and let in after one of them is done.
func TestAtOnce(t *testing.T) {
	refused := make(chan error, 1)
	l, err := Listen(0, 2, func(err error) { refused <- err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 3)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	third := dial()
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("a third is let in")
	}
	if err, want := <-refused, fmt.Sprintf("refused a connection to port %d of this computer: 2 are open", l.Port()); err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	first.Close()
	first.Close() // makes room for one, not for two
	dial()
	<-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("one that was closed twice made room for two")
	}
}
