package tunnel

import (
	"fmt"
	"net/netip"
	"time"

	"openclaw-azure/internal/hint"
)

// SilentError says that the server did not answer through the tunnel. WireGuard
// gives no reason; the fields are all that this side can know.
type SilentError struct {
	Endpoint  netip.AddrPort
	Server    netip.Addr
	Waited    time.Duration
	Handshake time.Time // zero: the two sides never agreed on keys
	LastReply time.Time // zero: no ping was ever answered
	SendError error     // the system's last, from sending; nil: datagrams left

	cause error
}

// door tells it by its Fact, the context's end by Unwrap, and the standard library a timeout by Timeout.
var _ interface {
	error
	Fact() string
	Unwrap() error
	Timeout() bool
} = (*SilentError)(nil)

// Fact is what is known, on one line.
func (e *SilentError) Fact() string {
	waited := e.Waited.Round(100 * time.Millisecond)
	if e.SendError != nil {
		return fmt.Sprintf("nothing can be sent to WireGuard at %s: %v", e.Endpoint, e.SendError)
	}
	if e.Handshake.IsZero() {
		return fmt.Sprintf("WireGuard at %s is silent: no handshake in %s", e.Endpoint, waited)
	}
	return fmt.Sprintf("WireGuard at %s is silent: the last handshake was at %s, but %s has answered no ping for %s",
		e.Endpoint, e.Handshake.UTC().Format("15:04:05 UTC"), e.Server, waited)
}

// Hint is what to look at, on one line.
func (e *SilentError) Hint() string {
	if e.SendError != nil {
		return "see that this machine has a network, and that it lets UDP out"
	}
	if e.Handshake.IsZero() {
		return "look at the sources that the WireGuard rule admits, this machine's clock, the keys, another session with the same key, UDP blocked on the way"
	}
	return "look at whether the machine is down or restarting, and for another session with the same key"
}

func (e *SilentError) Error() string { return hint.Text(e.Fact(), e.Hint()) }

// Unwrap gives the context's error, where a deadline passed.
func (e *SilentError) Unwrap() error { return e.cause }

// Timeout makes the error one of net's kind.
func (e *SilentError) Timeout() bool { return true }
