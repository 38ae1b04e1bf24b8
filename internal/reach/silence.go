package reach

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/prefix"
	"openclaw-azure/internal/tunnel"
)

// Silence is a WireGuard that does not answer. It gives no reason, so the account lists each that there may be, with
// what this machine can tell of it.
type Silence struct {
	Err        *tunnel.SilentError
	Sources    []netip.Prefix // whom the rule admits
	InTheWay   []string       // what is known to keep it shut
	From       netip.Addr     // this machine's address on the way out; the zero Addr where there is no way
	Now        time.Time      // this machine's clock
	LastChange time.Time      // this machine's clock, or that of another one of the user's, when the last run changed something
	Generation int            // of the keys
	LocalPort  uint16
	Peer       string // who looks; empty: the deployer
}

// door tells the silence by what it wraps.
var _ interface {
	error
	Unwrap() error
} = Silence{}

func (s Silence) Unwrap() error { return s.Err }

func (s Silence) Error() string {
	const clock = "2006-01-02 15:04:05 UTC"
	var sources string
	switch {
	case !s.From.IsValid():
		sources = "this machine has no way out to it"
	case prefix.Within(netip.PrefixFrom(s.From, s.From.BitLen()), s.Sources):
		sources = fmt.Sprintf("they admit %s, from which this machine sends", s.From)
	case s.From.IsPrivate():
		sources = fmt.Sprintf("this machine sends from %s, a private address: what the outside sees of it is the router's, which cannot be seen from here; compare it with the sources", s.From)
	default:
		sources = fmt.Sprintf("they do not admit %s, from which this machine sends: pulumi config set wireguardCidrs %s/32", s.From, s.From)
	}
	var wound string
	switch behind := s.LastChange.Sub(s.Now); {
	case behind > 0:
		wound = fmt.Sprintf("it is %s behind the last run that changed something: WireGuard refuses whoever comes with a time before the last; set the clock", behind.Round(time.Second))
	default:
		wound = fmt.Sprintf("it is not behind the last run that changed something, of %s", s.LastChange.UTC().Format(clock))
	}
	session := fmt.Sprintf("the deployer's key: none of this stack's on this machine, whose local port %d was free; elsewhere it cannot be seen", s.LocalPort)
	if s.Peer != "" {
		session = fmt.Sprintf("the key of peer %q: it cannot be seen from here", s.Peer)
	}
	lines := append([]string{s.Err.Fact()}, s.InTheWay...)
	lines = append(lines,
		"WireGuard gives no reason; what there may be, and what can be told of it from here:",
		fmt.Sprintf("  the WireGuard rule's sources, %s: %s", strings.Join(prefix.Strings(s.Sources), ","), sources),
		fmt.Sprintf("  this machine's clock, %s: %s", s.Now.UTC().Format(clock), wound),
		fmt.Sprintf("  the keys, of generation %d: those that the last run proved; a host restored from a backup may have others", s.Generation),
		"  another session with "+session,
		"  UDP blocked on the way: datagrams leave this machine; try from another network",
		"  the host: it may be off or restarting, or its WireGuard may be stopped")
	return hint.Text(strings.Join(lines, "\n"),
		"if nothing of this helps, pulumi config set bootstrap true && pulumi up opens port 22 through Azure's own agent")
}

// WayOut is the address from which this machine sends to another; no packet is sent to find out.
func WayOut(to netip.AddrPort) netip.Addr {
	c, err := net.Dial("udp4", to.String())
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}
