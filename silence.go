package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"openclaw-azure/internal/tunnel"
)

// silence is a WireGuard that does not answer. It gives no reason, so the account lists each that there may be, with
// what this machine can tell of it.
type silence struct {
	err        *tunnel.SilentError
	sources    []netip.Prefix // whom the rule admits
	from       netip.Addr     // this machine's address on the way out; the zero Addr where there is no way
	now        time.Time      // this machine's clock
	lastChange time.Time      // this machine's clock, or that of another one of the user's, when the last run changed something
	generation int            // of the keys
	localPort  uint16
	peer       string // who looks; empty: the deployer
}

func (s silence) Unwrap() error { return s.err }

func (s silence) Error() string {
	const clock = "2006-01-02 15:04:05 UTC"
	var sources string
	switch {
	case !s.from.IsValid():
		sources = "this machine has no way out to it"
	case within(netip.PrefixFrom(s.from, s.from.BitLen()), s.sources):
		sources = fmt.Sprintf("they admit %s, from which this machine sends", s.from)
	case s.from.IsPrivate():
		sources = fmt.Sprintf("this machine sends from %s, a private address: what the outside sees of it is the router's, which cannot be seen from here; compare it with the sources", s.from)
	default:
		sources = fmt.Sprintf("they do not admit %s, from which this machine sends: pulumi config set wireguardCidrs %s/32", s.from, s.from)
	}
	var wound string
	switch behind := s.lastChange.Sub(s.now); {
	case s.lastChange.IsZero():
		wound = "the last run left no time to compare it with"
	case behind > 0:
		wound = fmt.Sprintf("it is %s behind the last run that changed something: WireGuard refuses whoever comes with a time before the last; set the clock", behind.Round(time.Second))
	default:
		wound = fmt.Sprintf("it is not behind the last run that changed something, of %s", s.lastChange.UTC().Format(clock))
	}
	session := fmt.Sprintf("the deployer's key: none of this stack's on this machine, whose local port %d was free; elsewhere it cannot be seen", s.localPort)
	if s.peer != "" {
		session = fmt.Sprintf("the key of peer %q: it cannot be seen from here", s.peer)
	}
	lines := []string{
		s.err.Fact(),
		"WireGuard gives no reason; what there may be, and what can be told of it from here:",
		fmt.Sprintf("  the WireGuard rule's sources, %s: %s", strings.Join(prefixStrings(s.sources), ","), sources),
		fmt.Sprintf("  this machine's clock, %s: %s", s.now.UTC().Format(clock), wound),
		fmt.Sprintf("  the keys, of generation %d: those that the last run proved; a host restored from a backup may have others", s.generation),
		"  another session with " + session,
		"  UDP blocked on the way: datagrams leave this machine; try from another network",
		"  the host: it may be off or restarting, or its WireGuard may be stopped",
		"hint: if nothing of this helps, pulumi config set bootstrap true && pulumi up opens port 22 through Azure's own agent",
	}
	return strings.Join(lines, "\n")
}

// wayOut is the address from which this machine sends to another; no packet is sent to find out.
func wayOut(to netip.AddrPort) netip.Addr {
	c, err := net.Dial("udp4", to.String())
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}

// accountFor adds to a WireGuard's silence what can be told of its causes. Other errors have one cause and say it.
func accountFor(err error, cfg *Config, last *lastRun, peer string, localPort uint16) error {
	var silent *tunnel.SilentError
	if !errors.As(err, &silent) || !silent.Handshake.IsZero() || silent.SendError != nil {
		return err
	}
	return silence{err: silent, sources: cfg.WireGuardSources, from: wayOut(silent.Endpoint), now: time.Now(),
		lastChange: last.Changed, generation: last.KeyGeneration, localPort: localPort, peer: peer}
}
