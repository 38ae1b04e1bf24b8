package breakglass

import (
	"crypto/ed25519"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// shells are the agent's and the smallest that must do.
var shells = []string{"bash", "dash"}

// functions is the script without its run.
func functions(t *testing.T) string {
	t.Helper()
	text, _, found := strings.Cut(Script, "# --- the run ---")
	if !found {
		t.Fatal("the script has no part called the run")
	}
	return text
}

func run(t *testing.T, shell, script string, environment ...string) (stdout, stderr string, exit int) {
	t.Helper()
	c := exec.Command(shell, "-c", script)
	c.Env = append([]string{"PATH=/usr/bin:/bin"}, environment...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); c.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

func TestSyntax(t *testing.T) {
	if out, err := exec.Command("dash", "-n", "open-door.sh").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("dash: %v\n%s", err, out)
	}
	if out, err := exec.Command("shellcheck", "-s", "sh", "open-door.sh").CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

func hostKey(t *testing.T) (private, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// The parameters pass through Azure's agent, whose treatment of line ends is not confirmed.
func TestHostKeySurvivesTheAgent(t *testing.T) {
	private, public := hostKey(t)
	for _, shell := range shells {
		for name, text := range map[string]string{
			"as it is":        private,
			"no last line":    strings.TrimSpace(private),
			"one line":        strings.ReplaceAll(private, "\n", " "),
			"no line ends":    strings.ReplaceAll(private, "\n", ""),
			"escaped":         strings.ReplaceAll(private, "\n", `\n`),
			"carriage return": strings.ReplaceAll(private, "\n", "\r\n"),
		} {
			stdout, stderr, exit := run(t, shell, functions(t)+`
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
read_parameters && derive_host_key && cat "$work/host_key.pub"; stat -c %a "$work/host_key"; env`,
				"HOST_KEY="+text, "ADMIN_USER=azureuser", "ADMIN_KEY="+public, "ALLOWED_CIDRS=192.0.2.0/24,198.51.100.1/32")
			if exit != 0 || !strings.HasPrefix(stdout, public+"\n600\n") {
				t.Errorf("%s, %s: exit %d, %q, %q", shell, name, exit, stdout, stderr)
			}
			if strings.Contains(stdout, "OPENSSH PRIVATE KEY") {
				t.Errorf("%s, %s: children get the key", shell, name)
			}
		}
	}
}

func TestParameters(t *testing.T) {
	private, public := hostKey(t)
	good := map[string]string{"HOST_KEY": private, "ADMIN_USER": "azureuser", "ADMIN_KEY": public, "ALLOWED_CIDRS": "192.0.2.0/24"}
	for _, c := range []struct{ name, value, want string }{
		{"ADMIN_USER", "", "ADMIN_USER is not a user name"},
		{"ADMIN_USER", "a b", "ADMIN_USER is not a user name"},
		{"ADMIN_USER", "-x", "ADMIN_USER is not a user name"},
		{"ADMIN_USER", "x;id", "ADMIN_USER is not a user name"},
		{"ADMIN_KEY", "", "ADMIN_KEY is not an authorized_keys line"},
		{"ADMIN_KEY", `command="id" ssh-ed25519 AAAA`, "ADMIN_KEY is not an authorized_keys line"},
		{"ADMIN_KEY", "ssh-ed25519 AAAA\nssh-ed25519 BBBB", "ADMIN_KEY has more than one line"},
		{"ALLOWED_CIDRS", "", "ALLOWED_CIDRS is empty"},
		{"ALLOWED_CIDRS", "192.0.2.0/24,$(id)", "ALLOWED_CIDRS holds something else than addresses"},
		{"BOOTSTRAP_PORT", "22 2", "a port is not a number"},
		{"HOST_KEY", "", "HOST_KEY is not an OpenSSH private key without a passphrase"},
		{"HOST_KEY", "-----BEGIN OPENSSH PRIVATE KEY-----\nbm90IGEga2V5\n-----END OPENSSH PRIVATE KEY-----\n", "HOST_KEY is not an OpenSSH private key without a passphrase"},
	} {
		var environment []string
		for name, value := range good {
			if name != c.name {
				environment = append(environment, name+"="+value)
			}
		}
		for _, shell := range shells {
			_, stderr, exit := run(t, shell, functions(t)+`
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
read_parameters
derive_host_key || fail "HOST_KEY is not an OpenSSH private key without a passphrase"`, append(environment, c.name+"="+c.value)...)
			if exit != 1 || stderr != "open-door: "+c.want+"\n" {
				t.Errorf("%s, %s=%q: exit %d, %q; want %q", shell, c.name, c.value, exit, stderr, c.want)
			}
		}
	}
}
