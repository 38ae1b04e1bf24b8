package main

import (
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/keys/keystest"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/outputs"
)

// TestNewestBackup: of the host's words, what has the form alone; the look's before the proof's.
func TestNewestBackup(t *testing.T) {
	const old, fresh = "openclaw-20261128T030000.123456Z.tar sha256 ", "openclaw-20261129T030000.123456Z.tar sha256 "
	sum := strings.Repeat("0a", 32)
	told := func(words ...string) (facts []foreign.Text) {
		for _, word := range words {
			facts = append(facts, foreign.New(word))
		}
		return facts
	}
	for _, c := range []struct {
		proof    []foreign.Text
		observed *layer.Observation
		want     string
	}{
		{nil, nil, ""},
		{told(old + sum), nil, old + sum},
		{told(old + sum), &layer.Observation{Facts: told("hint: rm -rf /", fresh+sum+" ", fresh+sum)}, fresh + sum},
		{told(old + sum), &layer.Observation{}, ""},
		{told(old+strings.ToUpper(sum), "openclaw-x.tar sha256 "+sum, old+sum+"0"), nil, ""},
	} {
		if got := newestBackup(&layer.Proof{Facts: c.proof}, c.observed); got != c.want {
			t.Errorf("of %v and %+v: %q, want %q", c.proof, c.observed, got, c.want)
		}
	}
}

// TestOutputsLeadToTheMachine: what is exported is what the operator's command makes its way of.
func TestOutputsLeadToTheMachine(t *testing.T) {
	stack, peers := keystest.Keys(t)
	for _, set := range []map[string]string{nil, {"openclaw:sshPort": "22022"}} {
		values := map[string]string{"azure-native:location": "westeurope", "openclaw:allowedSshCidr": "198.18.1.10/32"}
		maps.Copy(values, set)
		cfg, err := config.Load(pulumi.RunInfo{Project: "openclaw", Stack: "dev", RootDirectory: t.TempDir(), Config: values})
		if err != nil {
			t.Fatal(err)
		}
		allKeys := &stackKeys{name: "dev", stack: stack, peers: peers}
		text, err := json.Marshal(map[string]any{
			outputs.Peers:        map[string]string{"laptop": outputs.PeerText("dev", "laptop", peerTunnel(cfg, allKeys, cfg.Peers[0], "203.0.113.9"))},
			outputs.OperatorKey:  stack.Operator.Private,
			outputs.KnownHosts:   knownHosts(cfg, allKeys, "203.0.113.9"),
			outputs.GatewayToken: stack.GatewayToken,
		})
		if err != nil {
			t.Fatal(err)
		}
		read, err := outputs.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		way, err := read.Way("laptop")
		if err != nil {
			t.Fatal(err)
		}
		c, d := way.Tunnel, way.Door
		if c.PrivateKey != peers["laptop"].Private || c.ServerPublicKey != stack.WireGuardServer.Public || c.PresharedKey != peers["laptop"].Preshared ||
			c.Address != cfg.Peers[0].Address || c.Server != cfg.ServerAddress() || c.MTU != machine.MTU ||
			c.Endpoint != netip.MustParseAddrPort("203.0.113.9:51820") {
			t.Error("another tunnel than the exported one")
		}
		if d.Address != netip.AddrPortFrom(cfg.ServerAddress(), cfg.SSHPort).String() || d.User != "claw" ||
			string(d.HostKey.Marshal()) != string(stack.HostKey.PublicKey.Marshal()) || string(d.Key.PublicKey().Marshal()) != string(stack.Operator.PublicKey.Marshal()) {
			t.Errorf("another door than the exported one: %s", d)
		}
	}
}

func TestReadmeSaysWhereTheAgentMayGo(t *testing.T) {
	for _, test := range []struct{ egress, inside, want string }{
		{"open", "", "any public address; to nothing in the VPN or the VNet"},
		{"none", "10.100.0.2:11434", "nothing on the Internet; in the VPN and the VNet to 10.100.0.2:11434"},
		{".b.example.com,a.example.com,git.example.com:22,20.30.40.50:6667", "", "a.example.com, .b.example.com, git.example.com:22, 20.30.40.50:6667; to nothing in the VPN or the VNet"},
	} {
		values := map[string]string{"azure-native:location": "westeurope", "openclaw:allowedSshCidr": "198.18.1.10/32",
			"openclaw:egress": test.egress, "openclaw:agentMayReach": test.inside}
		cfg, err := config.Load(pulumi.RunInfo{Project: "openclaw", Stack: "dev", RootDirectory: t.TempDir(), Config: values})
		if err != nil {
			t.Fatal(err)
		}
		if got := agentReaches(cfg); got != test.want {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}
