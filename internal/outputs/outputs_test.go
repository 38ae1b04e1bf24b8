package outputs

import (
	"encoding/json"
	"strings"
	"testing"
)

// No fault of an output shows what is in it.
func TestFaultsShowNoSecret(t *testing.T) {
	const canary = "canary-of-a-secret"
	text := func(change map[string]any) []byte {
		all := map[string]any{"operatorKey": canary, "knownHosts": "[10.100.0.1]:2222 ssh-ed25519 AAAA", "peers": map[string]string{"laptop": "PrivateKey = " + canary}}
		for name, value := range change {
			all[name] = value
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		text []byte
		want string
	}{
		{[]byte(`{"operatorKey": "` + canary), "read the stack's outputs: not the JSON of this program's outputs"},
		{text(map[string]any{"peers": canary}), "read the stack's outputs: not the JSON of this program's outputs"},
		{text(nil), "read the output operatorKey: not a private key without passphrase"},
	} {
		if _, err := Parse(c.text); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	_, err := parseConfiguration("[Interface]\nPrivateKey = " + canary + "\nAddress = " + canary + "\n[Peer]\nPublicKey = " + canary + "\nEndpoint = " + canary)
	want := "[Interface]PrivateKey is missing or malformed\n[Peer]PublicKey is missing or malformed\n[Peer]PresharedKey is missing or malformed\n" +
		"[Interface]Address is missing or malformed\n[Peer]Endpoint is missing or malformed\n[Interface]MTU is missing or malformed"
	if err == nil || err.Error() != want || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPeerName(t *testing.T) {
	t.Setenv(PeerVariable, "")
	if got := PeerName(""); got != "laptop" {
		t.Errorf("neither: %q", got)
	}
	t.Setenv(PeerVariable, "nightly")
	if got := PeerName(""); got != "nightly" {
		t.Errorf("the variable: %q", got)
	}
	if got := PeerName("phone"); got != "phone" {
		t.Errorf("both: %q", got)
	}
}
