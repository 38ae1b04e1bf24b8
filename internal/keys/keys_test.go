package keys

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// One stack's keys for all tests: RSA takes its time.
var theStack = sync.OnceValues(NewStack)

func stack(t *testing.T) *Stack {
	t.Helper()
	s, err := theStack()
	if err != nil {
		t.Fatal(err)
	}
	again := *s
	return &again
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// secrets are all values of the JSON that no error may contain a part of.
func secrets(s *Stack) []string {
	return []string{
		s.Bootstrap.Private, s.Operator.Private, s.HostKey.Private,
		s.WireGuardServer.Private.String(), s.Deployer.Private.String(), s.Deployer.Preshared.String(),
		s.GatewayToken, s.SudoPassword.Plain, s.SudoPassword.Hash,
	}
}

func TestStackSurvivesItsText(t *testing.T) {
	made := stack(t)
	read, err := ParseStack(text(t, made) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if text(t, made) != text(t, read) {
		t.Error("what was read is not what was made")
	}
	for name, pair := range map[string][2]SSHKey{
		"bootstrap": {made.Bootstrap, read.Bootstrap}, "operator": {made.Operator, read.Operator}, "hostKey": {made.HostKey, read.HostKey},
	} {
		if !cmp.Equal(pair[0].Signer.PublicKey().Marshal(), pair[1].Signer.PublicKey().Marshal()) ||
			!cmp.Equal(pair[0].PublicKey.Marshal(), pair[1].PublicKey.Marshal()) {
			t.Errorf("%s: another key was read", name)
		}
	}
}

func TestStackIsAsPromised(t *testing.T) {
	s := stack(t)
	for _, c := range []struct {
		got, prefix, suffix string
	}{
		{s.Bootstrap.Public, "ssh-rsa ", " id_rsa"},
		{s.Operator.Public, "ssh-ed25519 ", " claw_ed25519"},
		{s.HostKey.Public, "ssh-ed25519 ", " openclaw"},
		{s.Bootstrap.Private, "-----BEGIN OPENSSH PRIVATE KEY-----\n", "\n-----END OPENSSH PRIVATE KEY-----\n"},
		{s.Operator.Private, "-----BEGIN OPENSSH PRIVATE KEY-----\n", "\n-----END OPENSSH PRIVATE KEY-----\n"},
	} {
		if !strings.HasPrefix(c.got, c.prefix) || !strings.HasSuffix(c.got, c.suffix) {
			t.Errorf("not %q ... %q", c.prefix, c.suffix)
		}
	}
	if len(s.GatewayToken) < 43 || !urlSafe.MatchString(s.GatewayToken) {
		t.Errorf("a token of %d characters", len(s.GatewayToken))
	}
	plain := strings.ReplaceAll(s.SudoPassword.Plain, "-", "")
	if len(plain) != 24 || strings.Trim(plain, passwordAlphabet) != "" {
		t.Errorf("a password of %d characters", len(plain))
	}
	if strings.ContainsAny(passwordAlphabet, "0Oo1lIi2Zz5S8B6") {
		t.Error("characters that look alike")
	}
	if !strings.HasPrefix(s.SudoPassword.Hash, "$6$rounds=50000$") {
		t.Error("not the hash that was chosen")
	}
}

func TestNothingIsMadeTwice(t *testing.T) {
	one, two := stack(t), &Stack{}
	var err error
	if two, err = NewStack(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range append(secrets(one), secrets(two)...) {
		if seen[s] {
			t.Error("a secret was made twice")
		}
		seen[s] = true
	}
}

// PAM uses the system's crypt, which perl calls.
func TestSystemVerifiesTheHash(t *testing.T) {
	if _, err := exec.LookPath("perl"); err != nil {
		t.Fatal("no perl on this machine: apt-get install perl-base")
	}
	p := stack(t).SudoPassword
	verify := func(plain string) bool {
		cmd := exec.Command("perl", "-e", `my $p = <STDIN>; my $h = <STDIN>; chomp($p, $h); exit(crypt($p, $h) eq $h ? 0 : 1)`)
		cmd.Stdin = strings.NewReader(plain + "\n" + p.Hash + "\n")
		return cmd.Run() == nil
	}
	start := time.Now()
	if !verify(p.Plain) {
		t.Error("the system does not take the password")
	}
	t.Logf("verified in %v, perl's start included", time.Since(start))
	if verify(p.Plain + "x") {
		t.Error("the system takes another password")
	}
}

// What the system hashes is taken as well, whatever length the password has: SHA-512's own block is 128 bytes.
func TestHashOfTheSystemIsTaken(t *testing.T) {
	for _, plain := range []string{"x", strings.Repeat("7bits, and más ", 3), strings.Repeat("k", 64), strings.Repeat("k", 200)} {
		for _, setting := range []string{"$6$saltsalt", "$6$rounds=1000$a", "$6$rounds=5000$sixteen.letters/", "$6$rounds=50000$sixteen.letters/"} {
			cmd := exec.Command("perl", "-e", `my $p = <STDIN>; my $s = <STDIN>; chomp($p, $s); print crypt($p, $s)`)
			cmd.Stdin = strings.NewReader(plain + "\n" + setting + "\n")
			hash, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if err := (Password{Plain: plain, Hash: string(hash)}).check(); err != nil {
				t.Errorf("%d bytes, %s: %v", len(plain), setting, err)
			}
			if err := (Password{Plain: plain + "x", Hash: string(hash)}).check(); err == nil {
				t.Errorf("%d bytes, %s: another password is taken", len(plain), setting)
			}
		}
	}
}

func TestPrintingShowsNothing(t *testing.T) {
	s := stack(t)
	peer := s.Deployer
	var printed strings.Builder
	for _, v := range []any{s, *s, s.Bootstrap, &s.Bootstrap, s.WireGuardServer, peer, &peer, s.SudoPassword, []any{s, peer}} {
		fmt.Fprintf(&printed, "%v %+v %#v %s\n", v, v, v, v)
	}
	for _, secret := range secrets(s) {
		if strings.Contains(printed.String(), secret[:12]) {
			t.Errorf("a secret is printed:\n%s", printed.String())
		}
	}
}

func TestStackFaults(t *testing.T) {
	good := stack(t)
	other, err := NewPeer()
	if err != nil {
		t.Fatal(err)
	}
	smallKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	small, err := sshKey(smallKey, "id_rsa")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Stack)
		want   string
	}{
		{"private", func(s *Stack) { s.Operator.Private = s.Operator.Private[1:] }, "the stack's keys: operator: the private key is not a PEM without passphrase that OpenSSH reads"},
		{"public", func(s *Stack) { s.HostKey.Public = "ssh-ed25519 AAAA" }, "the stack's keys: hostKey: the public key is not a line of authorized_keys: a type, the key and a comment"},
		{"options", func(s *Stack) { s.HostKey.Public = "no-pty " + s.HostKey.Public }, "the stack's keys: hostKey: the public key has options before it"},
		{"two", func(s *Stack) { s.HostKey.Public += "\n" + s.Operator.Public }, "the stack's keys: hostKey: more than one public key"},
		{"small", func(s *Stack) { s.Bootstrap = small }, "the stack's keys: bootstrap: an RSA key of 2048 bits, fewer than the 3072 that the host accepts"},
		{"mixed", func(s *Stack) { s.Operator.Public = s.HostKey.Public }, "the stack's keys: operator: the public key is not the private key's"},
		{"type", func(s *Stack) { s.Bootstrap = s.Operator }, "the stack's keys: bootstrap: a key of type ssh-ed25519, not ssh-rsa"},
		{"server", func(s *Stack) { s.WireGuardServer.Public = other.Public }, "the stack's keys: wireguardServer: the public key is not the private key's"},
		{"deployer", func(s *Stack) { s.Deployer.Public = other.Public }, "the stack's keys: deployer: the public key is not the private key's"},
		{"zero", func(s *Stack) { s.Deployer.Preshared = wgtypes.Key{} }, "the stack's keys: an empty WireGuard key: all of it is zero"},
		{"token", func(s *Stack) { s.GatewayToken = s.GatewayToken[:42] }, "the stack's keys: gatewayToken: not 43 or more characters of A-Z a-z 0-9 _ -"},
		{"token's alphabet", func(s *Stack) { s.GatewayToken += "\n" }, "the stack's keys: gatewayToken: not 43 or more characters of A-Z a-z 0-9 _ -"},
		{"no password", func(s *Stack) { s.SudoPassword.Plain = "" }, "the stack's keys: sudoPassword: no password"},
		{"lines", func(s *Stack) { s.SudoPassword.Plain += "\n" }, "the stack's keys: sudoPassword: a password that is more than a line"},
		{"another password", func(s *Stack) { s.SudoPassword.Plain += "x" }, "the stack's keys: sudoPassword: the hash is not the password's"},
		{"a hash that takes minutes", func(s *Stack) {
			s.SudoPassword.Hash = strings.Replace(s.SudoPassword.Hash, "rounds=", "rounds=99999", 1)
		},
			"the stack's keys: sudoPassword: the hash is not one of SHA-512 crypt"},
		{"another hash", func(s *Stack) { s.SudoPassword.Hash = "$1$abc$def" }, "the stack's keys: sudoPassword: the hash is not one of SHA-512 crypt"},
		{"two faults", func(s *Stack) { s.GatewayToken = ""; s.SudoPassword.Plain = "" },
			"the stack's keys: gatewayToken: not 43 or more characters of A-Z a-z 0-9 _ -\nthe stack's keys: sudoPassword: no password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *good
			c.change(&s)
			_, err := ParseStack(text(t, &s))
			if err == nil || err.Error() != c.want {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
			noSecret(t, err, good)
		})
	}
}

func noSecret(t *testing.T, err error, s *Stack) {
	t.Helper()
	for _, secret := range secrets(s) {
		for i := 0; i+8 <= len(secret); i += 4 {
			// What all keys have in common is none.
			if part := secret[i : i+8]; !strings.Contains("-----BEGIN OPENSSH PRIVATE KEY-----", part) && strings.Contains(err.Error(), part) {
				t.Errorf("the error has a part of a secret: %v", err)
			}
		}
	}
}

func TestTextFaults(t *testing.T) {
	good := stack(t)
	const notOurs = "the stack's keys: not the JSON object that cmd/keys prints"
	whole := text(t, good)
	for _, c := range []struct{ text, want string }{
		{"", notOurs},
		{good.SudoPassword.Plain, notOurs},
		{`"` + good.GatewayToken + `"`, notOurs},
		{whole[:len(whole)/2], notOurs},
		{whole[:len(whole)-1] + `,"more":1}`, notOurs},
		{whole + whole, "the stack's keys: something follows the JSON object that cmd/keys prints"},
		{whole + "x", "the stack's keys: something follows the JSON object that cmd/keys prints"},
		{strings.Replace(whole, `"private":"`+good.Deployer.Private.String(), `"private":"`+good.Deployer.Private.String()[1:], 1),
			"the stack's keys: not a WireGuard key: 44 characters of base64 that stand for 32 bytes"},
		{strings.Replace(whole, `"preshared":"`+good.Deployer.Preshared.String()+`"`, `"preshared":7`, 1),
			"the stack's keys: a peer is not private, public, preshared and ssh"},
		{"{}", `the stack's keys: bootstrap: the private key is not a PEM without passphrase that OpenSSH reads
the stack's keys: operator: the private key is not a PEM without passphrase that OpenSSH reads
the stack's keys: hostKey: the private key is not a PEM without passphrase that OpenSSH reads
the stack's keys: wireguardServer: no private key
the stack's keys: deployer: no preshared key
the stack's keys: gatewayToken: not 43 or more characters of A-Z a-z 0-9 _ -
the stack's keys: sudoPassword: no password`},
	} {
		_, err := ParseStack(c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v\nwant %s", err, c.want)
			continue
		}
		noSecret(t, err, good)
	}
}

func TestPeer(t *testing.T) {
	made, err := NewPeer()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParsePeer(text(t, made))
	if err != nil || text(t, read) != text(t, made) {
		t.Fatalf("not what was made: %v", err)
	}
	for _, c := range []struct{ text, want string }{
		{"x", "the peer's keys: not the JSON object that cmd/keys prints"},
		{"{}", "the peer's keys: not a WireGuard key: 44 characters of base64 that stand for 32 bytes"},
		{strings.Replace(text(t, made), made.Public.String(), made.Preshared.String(), 1), "the peer's keys: the public key is not the private key's"},
		{strings.Replace(text(t, made), `"ssh-ed25519`, `"ssh-rsa`, 1), "the peer's keys: ssh: the public key is not a line of authorized_keys: a type, the key and a comment"},
	} {
		if _, err := ParsePeer(c.text); err == nil || err.Error() != c.want {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
}

func TestParseAuthorizedKey(t *testing.T) {
	s := stack(t)
	for _, line := range []string{s.Operator.Public, s.Bootstrap.Public + "\n", strings.TrimSuffix(s.Operator.Public, " claw_ed25519")} {
		if _, err := ParseAuthorizedKey(line); err != nil {
			t.Error(err)
		}
	}
	for _, line := range []string{"", "#", s.Operator.Private, "ssh-ed25519"} {
		_, err := ParseAuthorizedKey(line)
		if want := "the public key is not a line of authorized_keys: a type, the key and a comment"; err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// The program reads the keys at every run, previews too.
func BenchmarkParseStack(b *testing.B) {
	s, err := theStack()
	if err != nil {
		b.Fatal(err)
	}
	text, _ := json.Marshal(s)
	for b.Loop() {
		if _, err := ParseStack(string(text)); err != nil {
			b.Fatal(err)
		}
	}
}
