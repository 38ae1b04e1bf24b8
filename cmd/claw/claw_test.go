package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"claw": main})
}

// The real command, with a stand-in for the Pulumi CLI that prints what is in outputs.json. What it does on a host is
// shown by the lab's scenarios.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			bin := filepath.Join(e.WorkDir, "bin")
			e.Setenv("PATH", strings.Join([]string{bin, strings.Split(e.Getenv("PATH"), ":")[0], "/usr/bin", "/bin"}, ":")) // claw's own, and no real pulumi
			e.Setenv("CLAW_PEER", "")
			if err := os.Mkdir(bin, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(bin, "pulumi"), []byte("#!/bin/sh\necho \"$*\" >>asked\n[ ! -e refused ] || { cat refused >&2; exit 1; }\ncat outputs.json\n"), 0o755); err != nil {
				return err
			}
			said := stackOutputs(t)
			looking := maps.Clone(said)
			looking["observers"] = map[string]any{"laptop": said["operatorKey"]}
			for name, outputs := range map[string]map[string]any{"outputs.json": said, "looking.json": looking} {
				text, err := json.Marshal(outputs)
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), text, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

func stackOutputs(t *testing.T) map[string]any {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	var wireguard [3]wgtypes.Key
	for i := range wireguard {
		if wireguard[i], err = wgtypes.GeneratePrivateKey(); err != nil {
			t.Fatal(err)
		}
	}
	peer := func(private string) string {
		return fmt.Sprintf("[Interface]\n%s\nAddress = 10.100.0.2/32\nMTU = 1280\n\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nEndpoint = 127.0.0.1:9\nAllowedIPs = 10.100.0.1/32\n",
			private, wireguard[1].PublicKey(), wireguard[2])
	}
	return map[string]any{
		"peers":        map[string]string{"laptop": peer("PrivateKey = " + wireguard[0].String()), "phone": peer("# PrivateKey = the one that this device made for itself")},
		"operatorKey":  string(pem.EncodeToMemory(block)),
		"knownHosts":   "[10.100.0.1]:2222 " + string(ssh.MarshalAuthorizedKey(hostKey)),
		"gatewayToken": "a-token",
	}
}

// A computer whose resolver does not take names under localhost to itself is told which browsers do.
func TestNameNote(t *testing.T) {
	here, there := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("203.0.113.9")
	for _, c := range []struct {
		what  string
		found []netip.Addr
		err   error
		note  bool
	}{
		{"here", []netip.Addr{here, netip.IPv6Loopback(), netip.MustParseAddr("::ffff:127.0.0.1")}, nil, false},
		{"nowhere", nil, &net.DNSError{IsNotFound: true}, true},
		{"no address", nil, nil, true},
		{"elsewhere", []netip.Addr{here, there}, nil, true},
	} {
		note := nameNote(t.Context(), func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if !strings.HasSuffix(host, ".localhost") {
				t.Errorf("it looks for %q", host)
			}
			return c.found, c.err
		})
		if (note != "") != c.note || strings.Contains(note, "127.0.0.1") {
			t.Errorf("%s: it says %q", c.what, note)
		}
	}
}
