package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"openclaw-azure/internal/keys"
)

func TestLocalPort(t *testing.T) {
	ports := map[uint16]string{}
	for i := range 20 {
		stack := fmt.Sprintf("stack%d", i)
		port := localPort("openclaw", stack)
		if port < 20000 || port >= 30000 {
			t.Errorf("%s: port %d", stack, port)
		}
		if port != localPort("openclaw", stack) {
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
	port := func(stack string) uint16 { return localPort(fmt.Sprintf("test-%d", os.Getpid()), stack) }
	first, other, second := newDoors(port("dev")), newDoors(port("production")), newDoors(port("dev"))
	t.Cleanup(other.close)
	for _, d := range []*realDoors{first, other, first} {
		if err := d.listen(); err != nil {
			t.Fatal(err)
		}
	}
	err := second.listen()
	want := fmt.Sprintf("the tunnel's local port is taken: listen on 127.0.0.1:%d: ", port("dev"))
	hint := "\nhint: another run of this stack may be under way on this machine: wait for it, or see who listens: ss -ltnp"
	if !errors.Is(err, errLocalPort) || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "bind: address already in use"+hint) {
		t.Errorf("got\n%v\nwant\n%s...%s", err, want, hint)
	}
	first.close()
	if err := second.listen(); err != nil {
		t.Errorf("after the first run: %v", err)
	}
	second.close()
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
	r := newDoors(localPort("test", "dev"))
	t.Cleanup(r.close)
	access := doorAccess{stack: stack, public: netip.MustParseAddr("198.18.100.1"), admin: "azureuser",
		vpnServer: netip.MustParseAddr("10.100.0.1"), sshPort: 2222}
	if r.justOpened(r.tunnelDoor(access)) {
		t.Error("it was never tried")
	}
	r.noteOpen(r.tunnelDoor(access))
	if !r.justOpened(r.tunnelDoor(access)) {
		t.Error("it has just opened")
	}
	other := access
	other.stack = renewed
	if r.justOpened(r.tunnelDoor(other)) || r.justOpened(access.bootstrapDoor()) {
		t.Error("what opened was another door")
	}
	r.openedAt = r.openedAt.Add(-openFor)
	if r.justOpened(r.tunnelDoor(access)) {
		t.Error("that was a while ago")
	}
}
