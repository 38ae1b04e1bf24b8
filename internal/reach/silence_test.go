package reach

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"openclaw-azure/internal/tunnel"
)

// Silence has many causes and one message, which says of each what was checked.
func TestSilence(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 19, 0, 0, 0, time.UTC)
	base := Silence{
		Err:     &tunnel.SilentError{Endpoint: netip.MustParseAddrPort("203.0.113.9:51820"), Waited: 15 * time.Second},
		Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, From: netip.MustParseAddr("198.51.100.7"),
		Now: now, LastChange: now.Add(-time.Hour), Generation: 2, LocalPort: 23456,
	}
	const (
		admitted = "they admit 198.51.100.7, from which this machine sends"
		forward  = "it is not behind the last run that changed something, of 2026-01-02 18:00:00 UTC"
	)
	for name, c := range map[string]struct {
		change         func(*Silence)
		sources, clock string
	}{
		"nothing to be seen": {func(*Silence) {}, admitted, forward},
		"the address moved": {func(s *Silence) { s.From = netip.MustParseAddr("203.0.114.5") },
			"they do not admit 203.0.114.5, from which this machine sends: pulumi config set wireguardCidrs 203.0.114.5/32", forward},
		"behind a router": {func(s *Silence) { s.From = netip.MustParseAddr("192.168.1.20") },
			"this machine sends from 192.168.1.20, a private address: what the outside sees of it is the router's, which cannot be seen from here; compare it with the sources", forward},
		"no network": {func(s *Silence) { s.From = netip.Addr{} }, "this machine has no way out to it", forward},
		"the clock went back": {func(s *Silence) { s.LastChange = now.Add(25 * time.Hour) }, admitted,
			"it is 25h0m0s behind the last run that changed something: WireGuard refuses whoever comes with a time before the last; set the clock"},
	} {
		t.Run(name, func(t *testing.T) {
			s := base
			c.change(&s)
			if diff := cmp.Diff(`WireGuard at 203.0.113.9:51820 is silent: no handshake in 15s
WireGuard gives no reason; what there may be, and what can be told of it from here:
  the WireGuard rule's sources, 198.51.100.0/24: `+c.sources+`
  this machine's clock, 2026-01-02 19:00:00 UTC: `+c.clock+`
  the keys, of generation 2: those that the last run proved; a host restored from a backup may have others
  another session with the deployer's key: none of this stack's on this machine, whose local port 23456 was free; elsewhere it cannot be seen
  UDP blocked on the way: datagrams leave this machine; try from another network
  the host: it may be off or restarting, or its WireGuard may be stopped
hint: if nothing of this helps, pulumi config set bootstrap true && pulumi up opens port 22 through Azure's own agent`, s.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
