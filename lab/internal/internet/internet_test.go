package internet

import (
	"bytes"
	"context"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openclaw-azure/lab/internal/place"
)

// started is an Internet on the loopback: each address that it would have leads to one of 127.0.0.1.
type started struct {
	folder string
	at     map[string]string
}

func start(t *testing.T) started {
	t.Helper()
	s := started{filepath.Join(t.TempDir(), Folder), map[string]string{}}
	var said bytes.Buffer
	i, err := New(Config{
		Folder: s.folder, Log: log.New(&said, "", 0),
		Listen: func(address string) (net.Listener, error) {
			listener, err := net.Listen("tcp4", "127.0.0.1:0")
			if err == nil {
				s.at["tcp "+address] = listener.Addr().String()
			}
			return listener, err
		},
		ListenPacket: func(address string) (net.PacketConn, error) {
			conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err == nil {
				s.at["udp "+address] = conn.LocalAddr().String()
			}
			return conn, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- i.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("it ends with %v", err)
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if len(i.open) != 0 {
			t.Errorf("%d connections are left open", len(i.open))
		}
		if said.Len() > 0 {
			t.Errorf("it logs:\n%s", said.String())
		}
	})
	return s
}

// tcp is where an address of the lab's is in this test.
func (s started) tcp(address, port string) string {
	return s.at["tcp "+net.JoinHostPort(address, port)]
}

func (s started) lines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.folder, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestEverythingIsWhereItIsSaid(t *testing.T) {
	s := start(t)
	want := []string{"udp 168.63.129.16:53", "tcp 168.63.129.16:53"}
	for _, address := range []string{"198.18.10.10", "198.18.10.20"} {
		for _, port := range []string{"22", "80", "143", "443", "993", "8000", "8443"} {
			want = append(want, "tcp "+net.JoinHostPort(address, port))
		}
	}
	want = append(want, "tcp 198.18.10.10:465", "tcp 198.18.10.10:587") // mail
	for _, address := range want {
		if s.at[address] == "" {
			t.Errorf("nothing listens at %s", address)
		}
	}
	if len(s.at) != len(want) {
		t.Errorf("it listens at %v, want %v", s.at, want)
	}
}

func TestConnectionsAreNoted(t *testing.T) {
	s := start(t)
	for _, address := range []string{s.tcp(place.OriginAddress, "22"), s.tcp(place.ElsewhereAddress, "143")} {
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// What it says first shows that it was accepted.
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		lines := s.lines(t, ConnectionsFile)
		if want := address + " " + conn.LocalAddr().String(); lines[len(lines)-1] != want {
			t.Errorf("noted: %q, want %q last", lines, want)
		}
		// A test begins to count afresh.
		if err := os.Remove(filepath.Join(s.folder, ConnectionsFile)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesThatAreThereStay(t *testing.T) {
	folder := t.TempDir()
	config := Config{
		Folder: folder, Log: log.New(os.Stderr, "", 0),
		Listen:       func(string) (net.Listener, error) { return net.Listen("tcp4", "127.0.0.1:0") },
		ListenPacket: func(string) (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:0") },
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	began := func() error {
		i, err := New(config)
		if err == nil {
			err = i.close()
		}
		return err
	}
	if err := began(); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{AuthorityFile: 0o644, authorityKey: 0o600, NamesFile: 0o600} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, mode)
		}
	}
	authority := read(AuthorityFile)
	path := filepath.Join(folder, NamesFile)
	if err := os.WriteFile(path, []byte("new.example A 198.18.10.10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := began(); err != nil {
		t.Fatal(err)
	}
	if read(AuthorityFile) != authority || read(NamesFile) != "new.example A 198.18.10.10\n" {
		t.Error("the second start made the files anew")
	}
	if err := os.WriteFile(path, []byte("new.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := path + `:1: "new.example": expected NAME A ADDRESS..., NAME AAAA ADDRESS... or NAME CNAME TARGET`
	if err := began(); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
