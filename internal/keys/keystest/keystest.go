// Package keystest has keys for tests: made for them, and worth nothing.
package keystest

import (
	_ "embed"
	"encoding/json"
	"testing"

	"openclaw-azure/internal/keys"
)

//go:embed keys.json
var text []byte

// Keys are those of a stack and of its peer, laptop.
func Keys(t testing.TB) (*keys.Stack, map[string]*keys.Peer) {
	t.Helper()
	var file struct{ Stack, Peer json.RawMessage }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	stack, err := keys.ParseStack(string(file.Stack))
	if err != nil {
		t.Fatal(err)
	}
	peer, err := keys.ParsePeer(string(file.Peer))
	if err != nil {
		t.Fatal(err)
	}
	return stack, map[string]*keys.Peer{"laptop": peer}
}
