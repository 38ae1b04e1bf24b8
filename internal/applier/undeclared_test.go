package applier_test

import (
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/layer"
)

const (
	ours      = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
	oursSum   = "SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA"
	theirs    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	theirsSum = "SHA256:kmYcvdi2GkPeWxB6XLjrZB8JHsy2Hm8luHMFp9GMvqk"
)

func alone() layer.Layer {
	return layer.Layer{
		Name:  "alone",
		Users: []layer.User{{Name: "claw", Group: "claw", Shell: "/bin/bash", Home: "/home/claw"}},
		Files: []layer.File{file("/etc/alone.d/ours.conf", "ours\n")},
		Probes: []layer.Probe{
			layer.Files(layer.Watched{Paths: []string{"/etc/alone.d/*", "/etc/alone.conf", "/etc/systemd/system/*"}, Except: []string{"/etc/alone.d/*.log"},
				Generated: map[string]string{"/etc/alone.d/made-*": `id = [0-9]+\n`}}),
			layer.Keys(map[string][]string{"admin": {oursSum}, "root": {oursSum}}),
			layer.Accounts([]string{"admin"}, []string{"sudo", "adm"}),
		},
	}
}

// What nobody declared is found, taken away and kept; what the image, a package or a program of the host's put there is
// let be.
func TestUndeclared(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.Sh(`cut -d: -f1,7 /etc/passwd | grep -v -e nologin -e false -e ^root -e ^sync | cut -d: -f1 | xargs -r -n 1 userdel
sed -i 's/^root:[^:]*/root:*/' /etc/shadow; rm -rf /root/.ssh
for g in sudo adm; do getent group $g | cut -d: -f4 | tr , '\n' | xargs -r -n 1 -I U gpasswd -d U $g; done
useradd -m -s /bin/bash admin; mkdir -p /home/admin/.ssh /etc/alone.d; echo image >/etc/alone.d/image.conf; echo image >/etc/alone.conf
rm -rf /etc/systemd/system/*; ln -s /no/such /etc/systemd/system/gone.service`)
	r.Write("/home/admin/.ssh/authorized_keys", "# yours\n"+ours+"\n")
	r.apply(alone(), "t1").want(t, 0, "applied")
	r.quiet("alone")
	r.apply(alone(), "t2").want(t, 0, "unchanged")

	kept := func(text string) string {
		return `grep -rqF '` + text + `' /var/lib/openclaw-deploy/quarantine && test "$(find /var/lib/openclaw-deploy/quarantine ! -type d ! -perm 600)" = ''`
	}
	for _, c := range []struct {
		name, do string
		want     []string
		after    string
	}{
		{"a file", "echo evil-file >/etc/alone.d/evil.conf", []string{"/etc/alone.d/evil.conf: expected nothing, found a file that nobody declared"},
			"! test -e /etc/alone.d/evil.conf; " + kept("evil-file")},
		{"a hidden file", "echo x >/etc/alone.d/.evil", []string{"/etc/alone.d/.evil: expected nothing, found a file that nobody declared"}, "! test -e /etc/alone.d/.evil"},
		{"a name that is a pattern", "echo x >'/etc/alone.d/*'", []string{"/etc/alone.d/*: expected nothing, found a file that nobody declared"}, "test $(ls /etc/alone.d | wc -l) = 2"},
		{"a symlink", "echo x >/root/x; ln -s /root/x /etc/alone.d/link", []string{"/etc/alone.d/link: expected nothing, found a symlink to /root/x that nobody declared"},
			"! test -L /etc/alone.d/link; test -e /root/x"},
		{"the image's file altered", "echo evil-change >>/etc/alone.d/image.conf; echo more >>/etc/alone.conf", []string{
			"/etc/alone.conf: expected as the image brought it, found content differs", "/etc/alone.d/image.conf: expected as the image brought it, found content differs"},
			`test "$(cat /etc/alone.d/image.conf /etc/alone.conf)" = "$(printf 'image\nimage')"; ` + kept("evil-change")},
		{"the image's file gone", "rm /etc/alone.conf", []string{"/etc/alone.conf: expected as the image brought it, found missing"}, "grep -qx image /etc/alone.conf"},
		{"the image's file is anybody's", "chmod 666 /etc/alone.d/image.conf; chown games /etc/alone.conf", []string{
			"/etc/alone.conf: expected root alone writes it, found owner games:root, mode 0644", "/etc/alone.d/image.conf: expected root alone writes it, found owner root:root, mode 0666"},
			`test "$(stat -c '%U %a' /etc/alone.d/image.conf /etc/alone.conf | sort -u)" = 'root 644'`},
		{"generated, with something else in it", "printf 'id = 1\nrun = x\n' >/etc/alone.d/made-1", []string{"/etc/alone.d/made-1: expected nothing, found a file that nobody declared"}, "! test -e /etc/alone.d/made-1"},
		{"a key", "echo '" + theirs + " x' >>/home/admin/.ssh/authorized_keys", []string{"/home/admin/.ssh/authorized_keys: expected no key that nobody declared, found key " + theirsSum},
			`test "$(cat /home/admin/.ssh/authorized_keys)" = "$(printf '# yours\n%s' '` + ours + `')"`},
		{"a key of root's", "mkdir /root/.ssh; printf 'command=\"x\" " + ours + "\n" + theirs + "\n' >/root/.ssh/authorized_keys2", []string{"/root/.ssh/authorized_keys2: expected no key that nobody declared, found key " + theirsSum},
			"grep -q " + strings.Fields(ours)[1] + " /root/.ssh/authorized_keys2; rm -r /root/.ssh"},
		{"a folder of keys that leads elsewhere", "mkdir /srv/k; mv /home/admin/.ssh /home/admin/s; ln -s /srv/k /home/admin/.ssh; chown -h admin /home/admin/.ssh", []string{"/home/admin/.ssh: expected a folder, found a symlink"},
			"! test -L /home/admin/.ssh; mv /home/admin/s /home/admin/.ssh"},
		{"an account", "useradd -m -s /bin/sh -G adm,games mallory; echo 'mallory:$6$canarysalt$x' | chpasswd -e; echo x >/home/mallory/note", []string{"user mallory: expected no access that nobody declared, found shell /bin/sh, a password, group adm"},
			`test "$(getent passwd mallory | cut -d: -f7) $(getent shadow mallory | cut -d: -f2) $(cat /home/mallory/note)" = '/usr/sbin/nologin * x'; id -nG mallory | grep -q games; ! id -nG mallory | grep -q adm`},
		{"an account without a password", "useradd -s /usr/sbin/nologin open; passwd -d open", []string{"user open: expected no access that nobody declared, found an empty password"}, "getent shadow open | grep -q ':[*]:'"},
		{"a second root", "useradd -o -u 0 -M -d /root -s /bin/bash toor", []string{"user toor: expected no access that nobody declared, found uid 0, which is another's, shell /bin/bash"}, "! getent passwd toor"},
		{"a second claw", "useradd -o -u $(id -u claw) -M -d /home/claw -s /usr/sbin/nologin twin", []string{"user twin: expected no access that nobody declared, found uid UID, which is another's"}, "! getent passwd twin; getent passwd claw; test -d /home/claw"},
		{"a password of the admin's", "echo 'admin:$6$canarysalt$x' | chpasswd -e", []string{"user admin: expected no password, found a password"}, "getent shadow admin | grep -q ':[*]:'"},
		{"a password in passwd", "sed -i 's/^games:x:/games::/' /etc/passwd", []string{"user games: expected no access that nobody declared, found an empty password"}, "grep -q ^games:x: /etc/passwd; getent shadow games | grep -q ':[*]:'"},
		{"a unit and its link", "echo x >/etc/systemd/system/evil.service; ln -s /etc/systemd/system/evil.service /etc/systemd/system/alias.service", []string{
			"/etc/systemd/system/alias.service: expected nothing, found a symlink to /etc/systemd/system/evil.service that nobody declared", "/etc/systemd/system/evil.service: expected nothing, found a file that nobody declared"},
			"! ls /etc/systemd/system | grep -e evil -e alias"},
		{"innocent", "echo x >/etc/alone.d/x.log; printf 'id = 7\n' >/etc/alone.d/made-2; ln -s /dev/null /etc/systemd/system/masked.service; useradd --system -s /usr/sbin/nologin daemon2; echo '# mine' >>/home/admin/.ssh/authorized_keys; mkdir /etc/alone.d/folder", nil, "true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &root{r.For(t)}
			r.Sh(c.do)
			for i, line := range c.want {
				c.want[i] = strings.ReplaceAll(line, "UID", strings.TrimSpace(r.Sh("id -u claw")))
			}
			o := r.begin(layer.Observe(), "").end()
			if drift := o.drift(t, "alone"); !slices.Equal(drift, c.want) {
				t.Errorf("drift:\n%s\nwant:\n%s", strings.Join(drift, "\n"), strings.Join(c.want, "\n"))
			}
			repaired := r.apply(alone(), "repair")
			if result := map[bool]string{true: "applied", false: "unchanged"}[len(c.want) > 0]; true {
				repaired.want(t, 0, result)
			}
			if all := o.stdout + o.stderr + repaired.stdout + repaired.stderr; strings.Contains(all, "canary") || strings.Contains(all, "evil-change") {
				t.Errorf("a secret: %s", all)
			}
			r.quiet("alone")
			r.Sh("set -e; " + c.after)
		})
	}
}

// What was taken away comes back where nobody confirms: it may be what the way in depends on.
func TestUndeclaredComesBackUnconfirmed(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := layer.Layer{Name: "armed", Armed: true, Probes: []layer.Probe{layer.Files(layer.Watched{Paths: []string{"/etc/alone.d/*"}})}}
	r.Sh("mkdir /etc/alone.d")
	r.apply(l, "t1").want(t, 0, "unchanged")
	r.Sh("echo mine >/etc/alone.d/mine; chmod 640 /etc/alone.d/mine")
	o := r.begin(r.pack(l).Apply(layer.Confirmation{Port: 2222, Seconds: 1}), "t2").end()
	if o.exit != 3 {
		t.Fatalf("exit %d: %s%s", o.exit, o.stdout, o.stderr)
	}
	if got := r.Sh("cat /etc/alone.d/mine; stat -c %a /etc/alone.d/mine"); got != "mine\n640\n" {
		t.Errorf("%q", got)
	}
}

// azures is a rule as Azure's agent keeps them, in the words of `nft -j`.
func azures(table, chain, address string) string {
	return `,{"rule": {"family": "ip", "table": "` + table + `", "chain": "` + chain + `", "handle": 3, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "` + address + `"}},
{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 53}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}}`
}

// The program that this probe asks answers here with what the real one gave on Debian 13, shortened.
func TestNFTables(t *testing.T) {
	t.Parallel()
	const tables = `{"nftables": [{"metainfo": {"version": "1.1.3"}}, {"table": {"family": "ip", "name": "filter"}},
{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
{"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"jump": {"target": "ufw-before-input"}}]}},
{"table": {"family": "ip", "name": "nat"}}, {"chain": {"family": "ip", "table": "nat", "name": "PREROUTING", "hook": "prerouting", "policy": "accept"}},
{"table": {"family": "inet", "name": "f2b-table"}}, {"chain": {"family": "inet", "table": "f2b-table", "name": "f2b-chain", "hook": "input", "policy": "accept"}},
{"rule": {"family": "inet", "table": "f2b-table", "chain": "f2b-chain", "expr": [{"match": {"op": "==", "left": {}, "right": {}}}, {"reject": {"type": "icmp", "expr": "port-unreachable"}}]}}`
	for _, c := range []struct{ name, more, want string }{
		{"innocent", ``, ""},
		{"nat", `,{"rule": {"family": "ip", "table": "nat", "chain": "PREROUTING", "expr": [{"redirect": {"port": 22}}]}}`, "nftables table ip nat: expected nothing, found 1 rule that nobody declared"},
		{"in fail2ban's name", `,{"rule": {"family": "inet", "table": "f2b-table", "chain": "x", "expr": [{"match": {}}, {"dnat": {"port": 22}}]}}`, "nftables table inet f2b-table: expected nothing, found 1 rule that nobody declared"},
		// The table security another probe compares, rule by rule.
		{"Azure's agent's", azures("security", "OUTPUT", "168.63.129.17") + azures("walinuxagent", "output", "168.63.129.16"), ""},
		{"another address in the agent's name", azures("walinuxagent", "output", "168.63.129.17"), "nftables table ip walinuxagent: expected nothing, found 1 rule that nobody declared"},
		{"another way in the agent's name", azures("walinuxagent", "input", "168.63.129.16"), "nftables table ip walinuxagent: expected nothing, found 1 rule that nobody declared"},
		{"a policy in the agent's name", azures("walinuxagent", "output", "168.63.129.16") + `,{"chain": {"family": "ip", "table": "walinuxagent", "name": "input", "hook": "input", "policy": "drop"}}`,
			"nftables table ip walinuxagent: expected nothing, found 0 rules that nobody declared"},
		{"beside the agent's", `,{"chain": {"family": "ip", "table": "security", "name": "first", "hook": "output", "policy": "accept"}}`, "nftables chain ip security first: expected nothing, found a chain that nobody declared"},
		{"the break-glass's", `,{"rule": {"family": "inet", "table": "openclaw-door", "chain": "input", "expr": [{"accept": null}]}}`, "nftables table inet openclaw-door: expected nothing, found 1 rule that nobody declared"},
		{"before UFW's", `,{"chain": {"family": "ip", "table": "filter", "name": "first", "hook": "input", "policy": "accept"}}`, "nftables chain ip filter first: expected nothing, found a chain that nobody declared"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRoot(t)
			r.Write("/usr/local/sbin/nft", "#!/bin/sh\n[ \"$1\" = -j ] || { echo \"$*\" >>/run/asked; exit 0; }\ncat <<'END'\n"+tables+c.more+"]}\nEND\n")
			r.Sh(`chmod 755 /usr/local/sbin/nft`)
			r.apply(layer.Layer{Name: "x", Probes: []layer.Probe{layer.NFTables()}}, "t1")
			if drift := strings.Join(r.drift("x"), "\n"); drift != c.want {
				t.Errorf("drift %q, want %q", drift, c.want)
			}
			// The break-glass's table decides until the layer's reload has put its own rules in force.
			if asked := r.Sh(`cat /run/asked 2>/dev/null || true`); strings.Contains(asked, "openclaw-door") {
				t.Errorf("nft was asked to %q", asked)
			}
		})
	}
}
