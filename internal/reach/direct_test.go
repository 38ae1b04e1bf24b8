package reach

import (
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/localport/localporttest"
)

// forwarding is a run whose local port for the bootstrap door leads to a host, and that port's address.
func forwarding(t *testing.T, port uint16, host net.Listener) (r *Doors, local string) {
	t.Helper()
	r = New(port, layer.Applier{})
	t.Cleanup(r.Close)
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.directTo = host.Addr().(*net.TCPAddr).AddrPort()
	r.mu.Unlock()
	return r, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(BootstrapLocalPort(port))))
}

// dial connects to an address that answers within a limit.
func dial(t *testing.T, address string, limit time.Duration) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// echo gives everybody back what they say.
func echo(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go io.Copy(conn, conn)
	}
}

// A host that says more than any command does ends the connection, and the run says why.
func TestDirectForwardLimit(t *testing.T) {
	host, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go func() {
		c, err := host.Accept()
		for buf := make([]byte, 1<<20); err == nil; {
			_, err = c.Write(buf)
		}
	}()
	r, local := forwarding(t, 29872, host)
	said := make(chan string, 1)
	r.mu.Lock()
	r.say = func(line string) { said <- line }
	r.mu.Unlock()
	conn := dial(t, local, 20*time.Second)
	if n, err := io.Copy(io.Discard, conn); n > 32<<20+1 {
		t.Errorf("%d bytes came, %v", n, err)
	}
	if got, want := <-said, "a command's connection through the bootstrap door was ended: more than 32 MiB went one way, and a layer takes less than one\nhint: a host that says so much is broken or somebody else's: docs/threat-model.md"; got != want {
		t.Errorf("said %q", got)
	}
}

// What the provider dials leads to the machine, and ends with the run; a second run finds the ports taken.
func TestDirectForward(t *testing.T) {
	host, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const port = 29871
	r, local := forwarding(t, port, host)
	if err := r.Listen(); err != nil {
		t.Fatalf("taken by itself: %v", err)
	}
	// As an sshd that is restarted just then.
	address := host.Addr().String()
	host.Close()
	time.AfterFunc(time.Second, func() {
		if host, err := net.Listen("tcp4", address); err == nil {
			t.Cleanup(func() { host.Close() })
			echo(host)
		}
	})
	conn := dial(t, local, 10*time.Second)
	b := make([]byte, 5)
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Errorf("through the forward: %q, %v", b, err)
	}
	other := New(port, layer.Applier{})
	defer other.Close()
	if err := other.Listen(); !errors.Is(err, ErrLocalPort) {
		t.Errorf("a second run: %v", err)
	}
	r.Close()
	if _, err := conn.Read(b); !errors.Is(err, io.EOF) {
		t.Errorf("after the run: %v", err)
	}
}

// The machine's sshd takes what comes through a run's local ports for the deployer's. So they are not for other users of this computer.
func TestLocalPortsAreOfOneUser(t *testing.T) {
	host, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go func() {
		for {
			conn, err := host.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "SSH-2.0-host")
			conn.Close()
		}
	}()
	_, local := forwarding(t, 29872, host)
	for uid, want := range map[uint32]string{0: "SSH-2.0-host", 65534: ""} {
		if heard := localporttest.Say(t, uid, local, ""); heard != want {
			t.Errorf("user %d hears %q, want %q", uid, heard, want)
		}
	}
}

// The provider opens a connection for each command and closes none: a run that changes every layer, and proves it, gets them all.
func TestLocalPortTakesAWholeRun(t *testing.T) {
	host, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go echo(host)
	_, local := forwarding(t, 29873, host)
	for n := range len(layer.Names()) + 1 {
		conn := dial(t, local, 10*time.Second)
		heard := make([]byte, 4)
		if _, err := io.WriteString(conn, "ping"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, heard); err != nil || string(heard) != "ping" {
			t.Fatalf("connection %d beside those that are open: %q, %v", n+1, heard, err)
		}
	}
}
