package outputs

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/keys/keystest"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/tunnel"
)

// The state of a stack lies in a bucket or with a service, and a person edits what claw reads: none of it is trusted.

var server = netip.MustParseAddrPort("10.100.0.1:2222")

// peerConfig is how a peer of the tests reaches a machine that there is not.
func peerConfig(stack *keys.Stack, peer *keys.Peer) tunnel.Config {
	return tunnel.Config{PrivateKey: peer.Private, ServerPublicKey: stack.WireGuardServer.Public, PresharedKey: peer.Preshared,
		Address: netip.MustParseAddr("10.100.0.2"), Server: server.Addr(), Endpoint: netip.MustParseAddrPort("198.51.100.7:51820"), MTU: machine.MTU}
}

// publicLine is a key as a .pub file has it.
func publicLine(key ssh.PublicKey) string { return string(ssh.MarshalAuthorizedKey(key)) }

func FuzzParse(f *testing.F) {
	stack, peers := keystest.Keys(f)
	sound, err := json.Marshal(map[string]any{
		OperatorKey:  stack.Operator.Private,
		KnownHosts:   KnownHostsText(server, netip.MustParseAddr("198.51.100.7"), stack.HostKey.Public),
		Peers:        map[string]string{DefaultPeer: PeerText("dev", DefaultPeer, peerConfig(stack, peers[DefaultPeer])), "phone": "[Interface]\n"},
		GatewayToken: stack.GatewayToken,
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{string(sound), "", "null", "[]", "{}", `{"peers": null}`, `{"peers": {"laptop": 1}}`, string(sound[:len(sound)/2]),
		`{"operatorKey": "x", "knownHosts": "y"}`, `{"operatorKey": {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if (s == nil) == (err == nil) {
			t.Fatalf("%v, %v", s, err)
		}
		if err != nil {
			return
		}
		for name := range s.said.Peers {
			way, err := s.Way(name)
			if err == nil && (way.Peer != name || way.Tunnel.PrivateKey == wgtypes.Key{} || way.Tunnel.Server != s.host.Addr() || way.Door.HostKey == nil) {
				t.Errorf("half a way: %+v", way.Door)
			}
		}
		if _, err := s.Way(string(text)); err == nil && len(s.said.Peers) == 0 {
			t.Error("a way of a peer that there is not")
		}
	})
}

// FuzzFaults plants a secret where secrets are, for $, and wants none of it in what a person reads.
func FuzzFaults(f *testing.F) {
	const canary = "canaryOfASecret"
	stack, peers := keystest.Keys(f)
	known := KnownHostsText(server, netip.Addr{}, stack.HostKey.Public)
	text := PeerText("dev", DefaultPeer, peerConfig(stack, peers[DefaultPeer]))
	f.Add("", known, DefaultPeer, text)
	f.Add("", known, DefaultPeer, strings.Replace(text, peers[DefaultPeer].Private.String(), "$", 1))
	f.Add("", known, DefaultPeer, strings.Replace(text, peers[DefaultPeer].Preshared.String(), "$", 1))
	f.Add("", known, "phone", "PrivateKey = $")
	f.Add("", known, "phone", "[Interface]\nPrivateKey = $\nAddress = $\nMTU = $\n[Peer]\nPublicKey = $\nEndpoint = $:1\n$")
	f.Add("$", known, DefaultPeer, text)
	f.Add("-----BEGIN OPENSSH PRIVATE KEY-----\n$\n-----END OPENSSH PRIVATE KEY-----\n", known, DefaultPeer, text)
	f.Add("-----BEGIN $-----\n-----END $-----\n", "[10.100.0.1]:2222 ssh-ed25519 AAAA", "", "")
	f.Fuzz(func(t *testing.T, operator, known, peer, configuration string) {
		if strings.Contains(known+peer, canary) {
			return // these are no secrets
		}
		planted := func(text string) string { return strings.ReplaceAll(text, "$", canary) }
		if operator == "" {
			operator = stack.Operator.Private
		}
		outs, err := json.Marshal(map[string]any{OperatorKey: planted(operator), KnownHosts: known, GatewayToken: canary,
			Peers: map[string]string{peer: planted(configuration), "other": planted(configuration)}})
		if err != nil {
			t.Fatal(err)
		}
		shown := func(err error) {
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("it shows a secret: %v", err)
			}
		}
		for _, text := range [][]byte{outs, outs[:len(outs)-1]} {
			s, err := Parse(text)
			shown(err)
			if err != nil {
				continue
			}
			for _, name := range []string{peer, "nobody"} {
				_, err = s.Way(name)
				shown(err)
			}
		}
	})
}

func FuzzKnownHosts(f *testing.F) {
	stack, _ := keystest.Keys(f)
	key := stack.HostKey.Public
	for _, text := range []string{KnownHostsText(server, netip.MustParseAddr("198.51.100.7"), key), "", "# none\n", "[10.100.0.1]:2222", "[10.100.0.1]:2222 ssh-ed25519 AAAA",
		"10.100.0.1 " + key, "[10.100.0.1]:22 " + key, "[::1]:2222 " + key, "[host]:2222 " + key, "*,[10.100.0.1]:2222 " + key, "[10.100.0.1]:65536 " + key,
		"|1|aGFzaA==|aGFzaA== " + key, "@revoked [10.100.0.1]:2222 " + key, "@cert-authority [10.100.0.1]:2222 " + key, "\n\n[10.100.0.1]:2222 " + key} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		address, found, err := parseKnownHost(text)
		if err != nil {
			return
		}
		if strings.HasPrefix(strings.TrimSpace(text), "@") {
			t.Errorf("taken for a host's own key: %q", text)
		}
		again, same, err := parseKnownHost(KnownHostsText(address, netip.Addr{}, publicLine(found)))
		if err != nil || again != address || publicLine(same) != publicLine(found) {
			t.Errorf("%q was read as %s and %s, and its own line as %s: %v", text, address, publicLine(found), again, err)
		}
	})
}

func FuzzPeerText(f *testing.F) {
	stack, peers := keystest.Keys(f)
	sound := PeerText("dev", DefaultPeer, peerConfig(stack, peers[DefaultPeer]))
	for _, change := range [][2]string{{"", ""}, {"\n", "\r\n"}, {" = ", "="}, {"[Peer]", "[peer]"}, {"# ", "#"}, {"MTU = 1280", "MTU = -1"}, {"/32", "/24"}, {"10.100.0.2/32", "fe80::1/64"},
		{"198.51.100.7", "[fe80::1%eth0]"}, {"Endpoint", "[Interface]\nEndpoint"}, {peers[DefaultPeer].Private.String(), strings.Repeat("A", 43) + "="}, {"\n", ""}} {
		f.Add(strings.ReplaceAll(sound, change[0], change[1]))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfiguration(text)
		if err != nil {
			return
		}
		none := wgtypes.Key{}
		if c.PrivateKey == none || c.ServerPublicKey == none || c.PresharedKey == none || !c.Address.IsValid() || !c.Endpoint.IsValid() {
			t.Fatal("taken with a part missing")
		}
		c.MTU = machine.MTU // which PeerText says of every peer
		again, err := parseConfiguration(PeerText("dev", DefaultPeer, c))
		if err != nil || again.PrivateKey != c.PrivateKey || again.ServerPublicKey != c.ServerPublicKey || again.PresharedKey != c.PresharedKey ||
			again.Address != c.Address || again.Endpoint != c.Endpoint || again.MTU != c.MTU {
			t.Errorf("what was read of a text is not what is read of its own text: %v", err)
		}
	})
}
