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
	const port = 29872
	r := New(port, layer.Applier{})
	defer r.Close()
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	r.mu.Lock()
	r.directTo, r.say = host.Addr().(*net.TCPAddr).AddrPort(), func(line string) { said <- line }
	r.mu.Unlock()
	conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(BootstrapLocalPort(port)))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
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
	r := New(port, layer.Applier{})
	defer r.Close()
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatalf("taken by itself: %v", err)
	}
	r.mu.Lock()
	r.directTo = host.Addr().(*net.TCPAddr).AddrPort()
	r.mu.Unlock()
	// As an sshd that is restarted just then.
	address := host.Addr().String()
	host.Close()
	time.AfterFunc(time.Second, func() {
		if host, err := net.Listen("tcp4", address); err == nil {
			t.Cleanup(func() { host.Close() })
			echo(host)
		}
	})
	conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(BootstrapLocalPort(port)))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
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
	const port = 29872
	r := New(port, layer.Applier{})
	defer r.Close()
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.directTo = host.Addr().(*net.TCPAddr).AddrPort()
	r.mu.Unlock()
	local := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(BootstrapLocalPort(port))))
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
	const port = 29873
	r := New(port, layer.Applier{})
	defer r.Close()
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.directTo = host.Addr().(*net.TCPAddr).AddrPort()
	r.mu.Unlock()
	for n := range len(layer.Names()) + 1 {
		conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(BootstrapLocalPort(port)))))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		heard := make([]byte, 4)
		if _, err := io.WriteString(conn, "ping"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, heard); err != nil || string(heard) != "ping" {
			t.Fatalf("connection %d beside those that are open: %q, %v", n+1, heard, err)
		}
	}
}
