package main

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/reach"
	"openclaw-azure/internal/tunnel"
)

// Only a silence without a handshake is a riddle: other errors have one cause and say it.
func TestAccountFor(t *testing.T) {
	t.Parallel()
	last := &lastrun.Run{Carrier: machine.Carrier{KeyGeneration: 1}}
	cfg := &config.Config{WireGuardSources: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	for _, err := range []error{
		errors.New("the host key differs"),
		&tunnel.SilentError{Handshake: time.Now()},
		&tunnel.SilentError{SendError: errors.New("network is unreachable")},
	} {
		if got := accountFor(err, cfg, last, nil, "", 1); got != err {
			t.Errorf("got %v, want %v", got, err)
		}
	}
	var s reach.Silence
	if err := accountFor(&tunnel.SilentError{Endpoint: netip.MustParseAddrPort("127.0.0.1:51820")}, cfg, last, func() []string { return []string{"a rule"} }, "", 7); !errors.As(err, &s) ||
		s.From != netip.MustParseAddr("127.0.0.1") || s.LocalPort != 7 || s.Now.IsZero() {
		t.Errorf("got %+v", err)
	}
}
