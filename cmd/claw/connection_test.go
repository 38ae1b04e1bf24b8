package main

import (
	"context"
	"testing"

	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/tunnel"
)

// BenchmarkConnection is one command on a machine that is deployed, from nothing to nothing: a tunnel, its WireGuard
// handshake, an SSH login, the command, all closed. `make bench` runs it in the lab.
func BenchmarkConnection(b *testing.B) {
	stack, err := outputs.Read(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	way, err := stack.Way(outputs.PeerName(""))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := connectOnce(b.Context(), way); err != nil {
			b.Fatal(err)
		}
	}
}

func connectOnce(ctx context.Context, way outputs.Way) error {
	t, err := tunnel.Open(way.Tunnel, nil)
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.WaitAlive(ctx); err != nil {
		return err
	}
	way.Door.Dial = t.DialContext
	_, _, _, err = way.Door.Run(ctx, "true", nil)
	return err
}
