package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"openclaw-azure/internal/keys"
)

// program is the real command, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "keys")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the command: %v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// need fails where a program that the test compares with is missing.
func need(t *testing.T, name, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("no %s on this machine: apt-get install %s", name, pkg)
	}
}

func output(t *testing.T, stdin string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// As the Pulumi program runs it; what OpenSSH and WireGuard make of the keys.
func TestStack(t *testing.T) {
	need(t, "ssh-keygen", "openssh-client")
	need(t, "wg", "wireguard-tools")
	printed := output(t, "", "go", "run", ".", "stack")
	s, err := keys.ParseStack(printed)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		key    keys.SSHKey
		length string
	}{
		"id_rsa": {s.Bootstrap, "4096 "}, "claw_ed25519": {s.Operator, "256 "}, "openclaw": {s.HostKey, "256 "},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(c.key.Private), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := output(t, "", "ssh-keygen", "-y", "-P", "", "-f", file); got != c.key.Public {
			t.Errorf("ssh-keygen reads %q, not %q", got, c.key.Public)
		}
		if got := output(t, c.key.Public, "ssh-keygen", "-l", "-f", "-"); !strings.HasPrefix(got, c.length) || !strings.Contains(got, name) {
			t.Errorf("ssh-keygen reads %q", got)
		}
	}
	if got := output(t, s.WireGuardServer.Private.String(), "wg", "pubkey"); got != s.WireGuardServer.Public.String() {
		t.Errorf("wg reads %q, not %q", got, s.WireGuardServer.Public)
	}
	if got := output(t, s.Deployer.Private.String(), "wg", "pubkey"); got != s.Deployer.Public.String() {
		t.Errorf("wg reads %q, not %q", got, s.Deployer.Public)
	}

	// The names and nothing else, on one line.
	if strings.Contains(printed, "\n") {
		t.Error("more than a line")
	}
	var shape map[string]any
	if err := json.Unmarshal([]byte(printed), &shape); err != nil {
		t.Fatal(err)
	}
	for name, parts := range map[string][]string{
		"bootstrap": {"private", "public"}, "operator": {"private", "public"}, "hostKey": {"private", "public"},
		"wireguardServer": {"private", "public"}, "deployer": {"private", "public", "preshared", "ssh"}, "sudoPassword": {"plain", "hash"},
	} {
		object, _ := shape[name].(map[string]any)
		if len(object) != len(parts) {
			t.Errorf("%s has %d parts", name, len(object))
		}
		for _, part := range parts {
			if object[part] == nil || object[part] == "" {
				t.Errorf("no %s.%s", name, part)
			}
		}
	}
	if len(shape) != 7 {
		t.Errorf("%d names", len(shape))
	}
}

func TestPeer(t *testing.T) {
	need(t, "wg", "wireguard-tools")
	p, err := keys.ParsePeer(output(t, "", "go", "run", ".", "peer"))
	if err != nil {
		t.Fatal(err)
	}
	if got := output(t, p.Private.String(), "wg", "pubkey"); got != p.Public.String() {
		t.Errorf("wg reads %q, not %q", got, p.Public)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {""}, {"help"}, {"-h"}, {"stack", "peer"}, {"Stack"}} {
		cmd := exec.Command(program, args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Run()
		if cmd.ProcessState.ExitCode() != 2 || stdout.Len() != 0 || stderr.String() != usage {
			t.Errorf("%q: status %d, %d bytes of output, said %q", args, cmd.ProcessState.ExitCode(), stdout.Len(), stderr.String())
		}
	}
}

func TestNoRoom(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := exec.Command(program, "peer")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &stderr
	cmd.Run()
	want := "keys: write /dev/stdout: no space left on device\n"
	if cmd.ProcessState.ExitCode() != 1 || stderr.String() != want {
		t.Errorf("status %d, said %q", cmd.ProcessState.ExitCode(), stderr.String())
	}
}
