package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// These are about the lab's provider alone: that one server is to many runs what a process is to each, and what it
// does not do.

func TestCheckFailures(t *testing.T) {
	e := attach(t, serve(t))
	for _, test := range []struct {
		kind string
		news props
		want string
	}{
		{remoteType, props{"create": "true"}, "connection: missing required property"},
		{remoteType, props{"connection": props{"user": "x"}}, "connection.host: missing required property"},
		{remoteType, props{"connection": props{"host": "h", "port": "canary"}}, "connection.port: expected a float64"},
		{remoteType, props{"connection": props{"host": "h"}, "logging": "some"}, `logging: "some" is none of stdout, stderr, stdoutAndStderr, none`},
		{localType, props{"create": 1}, "create: expected a string"},
		{localType, props{"assetPaths": []any{"x"}}, "assetPaths: the lab's command provider makes no assets and no archives"},
	} {
		_, failures := e.check(test.kind, test.news)
		equal(t, fmt.Sprint(test.news), strings.Join(failures, "; "), test.want)
	}
	_, err := e.client.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf("command:remote:CopyToRemote")})
	equal(t, "an unknown type", message(err), `the lab's command provider does not know "command:remote:CopyToRemote"`)
}

// A peer that accepts and never says a word holds the operation beyond perDialTimeout; the end of the run ends it.
func TestSilentPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			accepted <- conn
		}
	}()
	e := attach(t, serve(t))
	inputs, _ := e.check(remoteType, props{
		"connection": props{"host": "127.0.0.1", "port": l.Addr().(*net.TCPAddr).Port, "perDialTimeout": 1, "dialErrorLimit": 0}, "create": "true",
	})
	done := make(chan error, 1)
	go func() {
		_, err := e.client.Create(context.Background(), &pulumirpc.CreateRequest{Urn: urnOf(remoteType), Properties: e.pack(inputs)})
		done <- err
	}()
	conn := <-accepted
	defer conn.Close()
	select {
	case err := <-done:
		t.Fatalf("the operation ended: %v", err)
	case <-time.After(1500 * time.Millisecond):
	}
	e.end()
	// The client has sent its own banner; then the connection has to end.
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is open after the end of its run")
	}
}

func TestLineThatIsTooLong(t *testing.T) {
	e := attach(t, serve(t))
	text := "head -c 70000 /dev/zero | tr '\\0' x"
	_, err := e.create(localType, props{"create": text})
	if !strings.HasPrefix(message(err), "a logged line of 64 KiB or more, at which the real provider waits for ever: running ") {
		t.Errorf("got %.100s", message(err))
	}
	m := e.mustCreate(localType, props{"create": text, "logging": "none"})
	equal(t, "length without logging", len(m.text("stdout")), 70000)
}

// Two runs at once log to their own engines, and the end of one is not the end of the other.
func TestTwoEngines(t *testing.T) {
	address := serve(t)
	s := newSSHD(t)
	first, second := attach(t, address), attach(t, address)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	inputs, _ := first.check(remoteType, props{"connection": s.connection(nil), "create": "cat " + fifo})
	done := make(chan error, 1)
	go func() {
		_, err := first.client.Create(context.Background(), &pulumirpc.CreateRequest{Urn: urnOf(remoteType), Properties: first.pack(inputs)})
		done <- err
	}()
	second.mustCreate(remoteType, props{"connection": s.connection(nil), "create": "echo second"})
	second.end()
	waitFor(t, "the second run's connection to end", func() bool { return s.connections() == 1 })
	if err := os.WriteFile(fifo, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	equal(t, "first log", first.logged(), "status info first")
	equal(t, "second log", second.logged(), "status info second")
	first.end()
	waitFor(t, "the first run's connection to end", func() bool { return s.connections() == 0 })

	third := attach(t, address)
	third.mustCreate(localType, props{"create": "true"})
}

// What a local command leaves behind ends with its run.
func TestLeftovers(t *testing.T) {
	e := attach(t, serve(t))
	m := e.mustCreate(localType, props{"create": "sleep 600 >/dev/null 2>&1 & echo $!"})
	pid, err := strconv.Atoi(m.text("stdout"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "alive before the end", syscall.Kill(pid, 0), nil)
	e.end()
	waitFor(t, "the child to end", func() bool { return gone(pid) })
}

// gone counts a process that nobody has reaped yet.
func gone(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(data), ") Z ")
}

// An engine that is killed leaves its plugin behind: what runs then ends by itself.
func TestKilledEngine(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, serve(t))
	file := filepath.Join(t.TempDir(), "ran")
	fifo := file + ".fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	inputs, _ := e.check(remoteType, props{"connection": s.connection(nil), "create": "cat " + fifo + " >" + file})
	go func() {
		_, _ = e.client.Create(context.Background(), &pulumirpc.CreateRequest{Urn: urnOf(remoteType), Properties: e.pack(inputs)})
	}()
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // opens once the command reads
	if err != nil {
		t.Fatal(err)
	}
	e.conn.Close()
	if _, err := writer.WriteString("done"); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	waitFor(t, "the command to end", func() bool {
		data, _ := os.ReadFile(file)
		return string(data) == "done"
	})
	waitFor(t, "its connection to end", func() bool { return s.connections() == 0 })
}
