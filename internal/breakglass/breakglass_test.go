package breakglass

import (
	"crypto/ed25519"
	"encoding/pem"
	"os"
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

// The walk through the packet filter, on what `iptables -S` prints on Debian 13 under UFW.
func TestFirewallAdmits(t *testing.T) {
	content, err := os.ReadFile("testdata/ufw-rules.txt")
	if err != nil {
		t.Fatal(err)
	}
	ufw := string(content)
	const rule = "-A ufw-user-input -s 198.18.1.0/24 -p tcp -m tcp --dport 22 -j ACCEPT\n"
	if !strings.Contains(ufw, rule) {
		t.Fatal("the recorded rules have changed")
	}
	before := func(line string) string { return strings.Replace(ufw, rule, line+"\n"+rule, 1) }
	first := func(line string) string { return strings.Replace(ufw, "-A INPUT", line+"\n-A INPUT", 1) }
	instead := func(line string) string { return strings.Replace(ufw, rule, line+"\n", 1) }
	ban := "table inet f2b-table {\n\tset addr-set-sshd {\n\t\ttype ipv4_addr\n\t\telements = { 203.0.113.9,\n\t\t\t     198.18.1.10 }\n\t}\n}\n"
	for _, c := range []struct {
		name, cidrs, rules, nft string
		admits                  bool
	}{
		{"as UFW makes it", "198.18.1.0/24", ufw, "", true},
		{"one of the network", "198.18.1.10/32", ufw, "", true},
		{"without a length", "198.18.1.10", ufw, "", true},
		{"wider than the rule", "198.18.0.0/16", ufw, "", false},
		{"another", "198.18.2.0/24", ufw, "", false},
		{"one of two", "198.18.1.0/24,198.18.2.0/24", ufw, "", false},
		{"no rule", "198.18.1.0/24", instead(""), "", false},
		{"another port", "198.18.1.0/24", instead("-A ufw-user-input -p tcp -m tcp --dport 2222 -j ACCEPT"), "", false},
		{"another protocol", "198.18.1.0/24", instead("-A ufw-user-input -p udp -m udp --dport 22 -j ACCEPT"), "", false},
		{"many ports", "198.18.1.0/24", instead("-A ufw-user-input -p tcp -m multiport --dports 80,20:30 -j ACCEPT"), "", true},
		{"limited", "198.18.1.0/24", instead("-A ufw-user-input -p tcp -m tcp --dport 22 -m limit --limit 1/min -j ACCEPT"), "", false},
		{"denied first", "198.18.1.0/24", before("-A ufw-user-input -p tcp -m tcp --dport 22 -j DROP"), "", false},
		{"another denied first", "198.18.1.0/24", before("-A ufw-user-input -s 203.0.113.0/24 -j DROP"), "", true},
		{"some of them denied first", "198.18.1.0/24", before("-A ufw-user-input -s 198.18.1.10/32 -j REJECT"), "", false},
		{"dropped before UFW", "198.18.1.0/24", first("-A INPUT -p tcp -m tcp --dport 22 -j DROP"), "", false},
		{"all but some dropped", "198.18.1.0/24", first("-A INPUT ! -s 198.18.1.0/24 -p tcp -j DROP"), "", false},
		{"admitted before UFW", "198.18.9.0/24", first("-A INPUT -s 198.18.0.0/16 -j ACCEPT"), "", true},
		{"jumps gone", "198.18.1.0/24", strings.ReplaceAll(ufw, "-A INPUT", "-A NOWHERE"), "", false},
		{"empty", "198.18.1.0/24", "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n", "", true},
		{"deny all", "198.18.1.0/24", "-P INPUT DROP\n-P FORWARD DROP\n-P OUTPUT DROP\n", "", false},
		{"banned by iptables", "198.18.1.10/32", strings.Replace(ufw, "-A INPUT", "-N f2b-sshd\n-A INPUT -p tcp -m multiport --dports 22,2222 -j f2b-sshd\n"+
			"-A f2b-sshd -s 198.18.1.10/32 -j REJECT --reject-with icmp-port-unreachable\n-A f2b-sshd -j RETURN\n-A INPUT", 1), "", false},
		{"another banned by iptables", "198.18.1.10/32", strings.Replace(ufw, "-A INPUT", "-N f2b-sshd\n-A INPUT -p tcp -m multiport --dports 22,2222 -j f2b-sshd\n"+
			"-A f2b-sshd -s 203.0.113.9/32 -j REJECT --reject-with icmp-port-unreachable\n-A f2b-sshd -j RETURN\n-A INPUT", 1), "", true},
		{"banned by nftables", "198.18.1.0/24", ufw, ban, false},
		{"refused by another table", "198.18.1.0/24", ufw, "table inet mine {\n\tchain in {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n", false},
		{"another table for what passes through", "198.18.1.0/24", ufw, "table inet mine {\n\tchain through {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n", true},
		{"iptables' own table", "198.18.1.0/24", ufw, "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n", true},
		{"another banned by nftables", "198.18.5.0/24", first("-A INPUT -s 198.18.5.0/24 -j ACCEPT"), ban, true},
	} {
		for _, shell := range shells {
			stdout, stderr, exit := run(t, shell, functions(t)+`
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
iptables() { printf '%s' "$RULES"; }
nft() { printf '%s' "$NFT"; }
firewall_admits`, "RULES="+c.rules, "NFT="+c.nft, "ALLOWED_CIDRS="+c.cidrs)
			if (exit == 0) != c.admits || stdout+stderr != "" {
				t.Errorf("%s, %s: exit %d, %s%s; want admitted %v", shell, c.name, exit, stdout, stderr, c.admits)
			}
		}
	}
}
