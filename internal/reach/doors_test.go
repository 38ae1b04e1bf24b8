package reach

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

func TestLocalPort(t *testing.T) {
	ports := map[uint16]string{}
	for i := range 20 {
		stack := fmt.Sprintf("stack%d", i)
		port := LocalPort("openclaw", stack)
		if port < 20000 || port >= 30000 {
			t.Errorf("%s: port %d", stack, port)
		}
		if port != LocalPort("openclaw", stack) {
			t.Errorf("%s: the port changes", stack)
		}
		ports[port] = stack
	}
	if len(ports) < 19 {
		t.Errorf("20 stacks have only %d ports", len(ports))
	}
}

// Two stacks on one machine have a tunnel each, at once; a second run of one of them is told that the first is there.
func TestListen(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	port := func(stack string) uint16 { return LocalPort(fmt.Sprintf("test-%d", os.Getpid()), stack) }
	first, other, second := New(port("dev"), layer.Applier{}), New(port("production"), layer.Applier{}), New(port("dev"), layer.Applier{})
	t.Cleanup(other.Close)
	for _, d := range []*Doors{first, other, first} {
		if err := d.Listen(); err != nil {
			t.Fatal(err)
		}
	}
	err := second.Listen()
	want := fmt.Sprintf("the tunnel's local port is taken: listen on 127.0.0.1:%d: ", port("dev"))
	hint := "\nhint: another run of this stack may be under way on this machine: wait for it, or see who listens: ss -ltnp"
	if !errors.Is(err, ErrLocalPort) || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "bind: address already in use"+hint) {
		t.Errorf("got\n%v\nwant\n%s...%s", err, want, hint)
	}
	first.Close()
	if err := second.Listen(); err != nil {
		t.Errorf("after the first run: %v", err)
	}
	second.Close()
}

// The provider would fail each layer for an agent that is gone, with the machine made.
func TestListenWithoutAgent(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "agent")
	t.Setenv("SSH_AUTH_SOCK", gone)
	d := New(LocalPort(fmt.Sprintf("test-%d", os.Getpid()), "agent"), layer.Applier{})
	t.Cleanup(d.Close)
	want := fmt.Sprintf("SSH_AUTH_SOCK: value %q: no SSH agent answers there, and every layer would fail for it: dial unix %s: connect: no such file or directory\nhint: unset SSH_AUTH_SOCK", gone, gone)
	if err := d.Listen(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	agent, err := net.Listen("unix", gone)
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	if err := d.Listen(); err != nil {
		t.Error(err)
	}
}

// A door that has just opened is not tried again; another key's, another door's, or one a while ago is no proof.
func TestJustOpened(t *testing.T) {
	stack, err := keys.NewStack()
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := keys.NewStack()
	if err != nil {
		t.Fatal(err)
	}
	r := New(LocalPort("test", "dev"), layer.Applier{})
	t.Cleanup(r.Close)
	access := Access{Keys: stack, Public: netip.MustParseAddr("198.18.100.1"),
		Carrier: machine.Carrier{VPN: netip.MustParsePrefix("10.100.0.0/24"), SSHPort: 2222, AdminUsername: "azureuser"}}
	if r.justOpened(r.tunnelDoor(access)) {
		t.Error("it was never tried")
	}
	r.noteOpen(r.tunnelDoor(access))
	if !r.justOpened(r.tunnelDoor(access)) {
		t.Error("it has just opened")
	}
	other := access
	other.Keys = renewed
	if r.justOpened(r.tunnelDoor(other)) || r.justOpened(access.bootstrapDoor()) {
		t.Error("what opened was another door")
	}
	r.openedAt = r.openedAt.Add(-openFor)
	if r.justOpened(r.tunnelDoor(access)) {
		t.Error("that was a while ago")
	}
}
