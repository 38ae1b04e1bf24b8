package applier_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/layer"
)

func remarshal(t *testing.T, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const canary = "canary0Secret1Value2"

// hash is a crypt(3) hash; nothing here ever checks a password against it.
const hash = "$6$canarysalt$canaryCanaryCanary0123456789"

func whole() layer.Layer {
	return layer.Layer{
		Name:   "whole",
		Groups: []layer.Group{{Name: "openclaw", System: true}},
		Users: []layer.User{
			{Name: "claw", Group: "claw", Shell: "/bin/bash", Home: "/home/claw", Password: hash},
			{Name: "openclaw", Group: "openclaw", Shell: "/usr/sbin/nologin", Home: "/var/lib/openclaw", System: true},
		},
		Directories: []layer.Directory{{Path: "/home/claw/.ssh", Mode: "0700", Owner: "claw", Group: "claw"}},
		Files: []layer.File{
			file("/etc/whole.conf", "whole\n"),
			{Path: "/etc/whole.key", Mode: "0600", Owner: "root", Group: "root", Policy: layer.Replace, Content: []byte("PrivateKey = " + canary + "\n")},
			{Path: "/etc/openclaw.env", Mode: "0640", Owner: "root", Group: "openclaw", Policy: layer.Env, Content: []byte("# yours\n"), Values: map[string]string{"API_KEY": canary}},
		},
		Units:  []layer.Unit{{Name: "whole.timer", Enabled: on(), Active: on()}, {Name: "whole.socket", Enabled: off(), Active: off()}},
		Reload: [][]string{{"sh", "-c", "rm -f /run/differs; sysctl -qw net.ipv4.ip_forward=0 2>/dev/null || echo 0 >/proc/sys/net/ipv4/ip_forward"}},
		Probes: []layer.Probe{
			layer.Shell("the light", "green", "[ ! -e /run/differs ] && echo green || echo red"),
			layer.Sysctl("net.ipv4.ip_forward", "0"),
		},
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.apply(whole(), "t1").want(t, 0, "applied")
	r.quiet("whole")
	r.apply(whole(), "t2").want(t, 0, "unchanged")
	for path, want := range map[string]string{
		"/home/claw/.ssh": "700 claw claw", "/etc/whole.key": "600 root root", "/etc/openclaw.env": "640 root openclaw",
	} {
		if got := stat(r, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if row := r.Sh("getent shadow claw openclaw | cut -d: -f1,2"); row != "claw:"+hash+"\nopenclaw:!\n" {
		t.Errorf("%s", row)
	}

	for _, c := range []struct {
		name, break_ string
		want         []string
	}{
		{"content", "echo more >>/etc/whole.conf", []string{"/etc/whole.conf: expected content as deployed, found content differs"}},
		{"secret content", "echo more >>/etc/whole.key", []string{"/etc/whole.key: expected content as deployed, found content differs"}},
		{"mode", "chmod 777 /etc/whole.conf", []string{"/etc/whole.conf: expected mode 0644, found mode 0777"}},
		{"setuid", "chmod 4644 /etc/whole.conf", []string{"/etc/whole.conf: expected mode 0644, found mode 4644"}},
		{"owner", "chown games:claw /etc/whole.conf", []string{"/etc/whole.conf: expected owner root:root, found owner games:claw"}},
		{"missing", "rm /etc/whole.conf", []string{"/etc/whole.conf: expected a file, found missing"}},
		{"symlink", "mv /etc/whole.conf /etc/w; ln -s /etc/w /etc/whole.conf", []string{"/etc/whole.conf: expected a file, found a symlink"}},
		{"folder's mode", "chmod 755 /home/claw/.ssh", []string{"/home/claw/.ssh: expected mode 0700, found mode 0755"}},
		{"folder is a file", "rm -r /home/claw/.ssh; echo x >/home/claw/.ssh", []string{"/home/claw/.ssh: expected a folder, found a file"}},
		{"variable changed", "sed -i s/canary/other/ /etc/openclaw.env", []string{"/etc/openclaw.env: API_KEY: expected the configured value, found another value"}},
		{"variable gone", "sed -i /API_KEY/d /etc/openclaw.env", []string{"/etc/openclaw.env: API_KEY: expected the configured value, found missing"}},
		{"shell", "usermod -s /bin/sh claw", []string{"user claw: shell: expected /bin/bash, found /bin/sh"}},
		{"groups", "usermod -G adm,sudo claw", []string{"user claw: groups: expected none, found adm,sudo"}},
		{"password", "echo 'claw:$6$x$y' | chpasswd -e", []string{"user claw: password: expected as deployed, found differs"}},
		{"password locked", "usermod -L claw", []string{"user claw: password: expected as deployed, found locked"}},
		{"password set", "echo 'openclaw:$6$x$y' | chpasswd -e", []string{"user openclaw: password: expected locked, found set"}},
		{"expired", "chage -E 0 claw", []string{"user claw: account: expected in force, found expired"}},
		{"must be changed", "chage -d 0 claw", []string{"user claw: password age: expected in force, found must be changed"}},
		{"too old", "chage -d 2020-01-01 -M 90 claw", []string{"user claw: password age: expected in force, found expired"}},
		{"account gone", "userdel claw", []string{"user claw: expected an account, found missing",
			"/home/claw/.ssh: expected owner claw:claw, found owner 1000:1000"}},
		{"unit stopped", "rm /run/units/whole.timer.active", []string{"unit whole.timer: expected active, found inactive"}},
		{"unit disabled", "rm /run/units/whole.timer.enabled", []string{"unit whole.timer: expected enabled, found disabled"}},
		{"unit started", "touch /run/units/whole.socket.active /run/units/whole.socket.enabled", []string{
			"unit whole.socket: expected disabled, found enabled", "unit whole.socket: expected inactive, found active"}},
		{"unit masked", "touch /run/units/whole.timer.masked", []string{"unit whole.timer: expected not masked, found masked", "unit whole.timer: expected enabled, found masked"}},
		{"probe", "touch /run/differs", []string{"the light: expected green, found red"}},
		{"sysctl", "echo 1 >/proc/sys/net/ipv4/ip_forward", []string{"sysctl net.ipv4.ip_forward: expected 0, found 1"}},
		// While it has a process, which is when usermod refuses.
		{"home", "usermod -d /tmp claw; setpriv --reuid claw --regid claw --clear-groups sleep 20 >/dev/null 2>&1 & sleep 0.2", []string{"user claw: home: expected /home/claw, found /tmp"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &root{r.For(t)}
			uid := r.Sh("id -u claw; id -g claw")
			r.Sh(c.break_)
			o := r.begin(layer.Observe(), "").end()
			if strings.Contains(o.stdout+o.stderr, "canary") {
				t.Errorf("a secret: %s%s", o.stdout, o.stderr)
			}
			drift := o.drift(t, "whole")
			for i := range c.want {
				c.want[i] = strings.ReplaceAll(c.want[i], "1000:1000", strings.ReplaceAll(strings.TrimSpace(uid), "\n", ":"))
			}
			if !slices.Equal(drift, c.want) {
				t.Errorf("drift:\n%s\nwant:\n%s", strings.Join(drift, "\n"), strings.Join(c.want, "\n"))
			}
			// Applying the same again repairs it and says so.
			o = r.apply(whole(), "repair")
			o.want(t, 0, "applied")
			if strings.Contains(o.stdout+o.stderr, "canary") {
				t.Errorf("a secret: %s%s", o.stdout, o.stderr)
			}
			r.quiet("whole")
		})
	}
}

// What the kernel does not have is drift, and no reason to try again for ever.
func TestNotAvailable(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := layer.Layer{Name: "sysctl", Reload: [][]string{{"touch", "/run/reloaded"}}, Probes: []layer.Probe{
		layer.Sysctl("net.ipv4.no_such_thing", "1"),
		layer.Sysctl("kernel.random.boot_id", "mine"), // there, and nobody can set it
	}}
	r.apply(l, "t1").want(t, 0, "unchanged")
	want := []string{"sysctl net.ipv4.no_such_thing: expected 1, found not available", "sysctl kernel.random.boot_id: expected mine, found not available"}
	if drift := r.drift("sysctl"); !slices.Equal(drift, want) {
		t.Errorf("drift: %q", drift)
	}
	r.Has("/run/reloaded", "")

	// Settings of a kernel that is not this host's: no fault, and the proof names them. What could be set is one still.
	l.Probes = []layer.Probe{layer.KernelSysctl("net.ipv4.no_such_thing", "1"), layer.KernelSysctl("kernel.random.boot_id", "mine")}
	r.apply(l, "0123456789abcdef").want(t, 0, "unchanged") // nothing but what is read back
	r.quiet("sysctl")
	packed := r.pack(l)
	o := r.begin(layer.Prove(map[string]string{"sysctl": packed.Digest}), "").end()
	proof, err := layer.ParseProof(foreign.NewStream(o.stdout), []string{"net.ipv4.no_such_thing", "kernel.random.boot_id"})
	if err != nil || o.exit != 0 || !slices.Equal(proof.NotShown, []string{"net.ipv4.no_such_thing", "kernel.random.boot_id"}) || proof.Settings["sysctl"] != 2 || time.Since(proof.At) > time.Hour {
		t.Errorf("exit %d, %v, %+v", o.exit, err, proof)
	}
	seen, err := layer.ParseObservation(foreign.NewStream(r.begin(layer.Observe(), "").end().stdout))
	if err != nil || seen.Layers["sysctl"].Token != "0123456789abcdef" || seen.Layers["sysctl"].Digest != packed.Digest {
		t.Errorf("%v, %+v", err, seen)
	}
}

// The programs that these probes ask answer here with texts that the real ones gave on Debian 13.
func TestProbes(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	says := func(name, text string) {
		r.Write("/usr/local/sbin/"+name, "#!/bin/sh\necho \"$0 $*\" >>/run/asked\ncat <<'END'\n"+text+"END\n")
		r.Sh(`chmod 755 "$1"`, "/usr/local/sbin/"+name)
	}
	says("sshd", "port 22\nport 2222\npermitrootlogin no\nallowusers claw\nallowusers azureuser\nmaxauthtries 6\n")
	says("iptables", "-P INPUT DROP\n-P OUTPUT ACCEPT\n-N f2b-sshd\n-N ufw-user-input\n-A INPUT -p tcp -j f2b-sshd\n-A INPUT -j ufw-before-input\n"+
		"-A ufw-user-input -p udp -m udp --dport 51820 -j ACCEPT\n-A ufw-user-input -p tcp -m tcp --dport 8080 -j ACCEPT\n")
	says("wg", canary+"\tPUBLIC\t51820\toff\nPEER1\t"+canary+"\t(none)\t10.100.0.2/32\t0\t0\t0\toff\nPEER2\t(none)\t(none)\t10.100.0.3/32\t0\t0\t0\toff\n")
	l := layer.Layer{Name: "x", Probes: []layer.Probe{
		layer.SSHD("claw", netip.MustParseAddr("10.100.0.2"), 2222, map[string]string{
			"permitrootlogin": "no", "port": "2222 22", "allowusers": "claw azureuser", "maxauthtries": "3", "banner": "none"}),
		layer.IPTables("filter", []string{
			"-P INPUT DROP", "-P OUTPUT ACCEPT", "-A INPUT -j ufw-before-input", "-A ufw-user-input -p tcp -m tcp --dport 2222 -j ACCEPT",
			"-A ufw-user-input -p udp -m udp --dport 51820 -j ACCEPT", "-N ufw-user-input", "-N ufw-gone"},
			[]string{`-N f2b-sshd`, `-A INPUT -p tcp -j f2b-sshd`}, nil),
		layer.WireGuard("wg0", 51821, "PUBLIC", map[string][]string{"PEER1": {"10.100.0.2/32"}, "PEER3": {"10.100.0.4/32"}}),
		layer.Jail("sshd", map[string]string{"maxretry": "3"}),
		layer.Command("nothing there", "x", "/no/such/program"),
		layer.Shell("a word and a failure", "disabled", "echo disabled; exit 1"),
	}}
	r.apply(l, "t1").want(t, 0, "applied")
	o := r.begin(layer.Observe(), "").end()
	if strings.Contains(o.stdout+o.stderr, canary) {
		t.Errorf("a secret: %s", o.stdout)
	}
	want := []string{
		"sshd for claw on port 2222: banner: expected none, found not set",
		"sshd for claw on port 2222: maxauthtries: expected 3, found 6",
		"iptables filter ufw-gone: expected -N ufw-gone, found missing",
		"iptables filter ufw-user-input: expected -A ufw-user-input -p tcp -m tcp --dport 2222 -j ACCEPT, found -A ufw-user-input -p tcp -m tcp --dport 8080 -j ACCEPT",
		"wireguard wg0 port: expected 51821, found 51820",
		"wireguard wg0 peer PEER2: expected no peer, found 10.100.0.3/32",
		"wireguard wg0 peer PEER3: expected 10.100.0.4/32, found missing",
		"fail2ban jail sshd: expected running, found no answer: No such file or directory",
		"nothing there: expected x, found /no/such/program: not found",
	}
	if drift := r.drift("x"); !slices.Equal(drift, want) {
		t.Errorf("drift:\n%s\nwant:\n%s", strings.Join(drift, "\n"), strings.Join(want, "\n"))
	}
	if asked := r.Sh("sort -u /run/asked"); !strings.Contains(asked, "sshd -T -C user=claw,host=10.100.0.2,addr=10.100.0.2,lport=2222,laddr=127.0.0.1\n") ||
		!strings.Contains(asked, "iptables -w 5 -t filter -S\n") {
		t.Errorf("asked: %s", asked)
	}
}

// A drifted running state alone makes an apply run units and reload, and say so.
func TestRepairsRunningState(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := layer.Layer{Name: "x", Reload: [][]string{{"rm", "-f", "/run/differs"}},
		Probes: []layer.Probe{layer.Shell("the light", "green", "[ ! -e /run/differs ] && echo green || echo red")}}
	r.apply(l, "t1").want(t, 0, "unchanged")
	r.Write("/run/differs", "")
	r.apply(l, "t2").want(t, 0, "applied", "the light")
	r.Has("/run/differs", "")
}

func TestProve(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.apply(whole(), "t1").want(t, 0, "applied")
	digest := r.pack(whole()).Digest
	if o := r.begin(layer.Prove(map[string]string{"whole": digest}), "").end(); o.exit != 0 {
		t.Errorf("exit %d: %s", o.exit, o.stderr)
	}
	r.Sh("chmod 777 /etc/whole.conf")
	o := r.begin(layer.Prove(map[string]string{"whole": digest}), "").end()
	if o.exit != 1 || o.stderr != `the host is not as declared:
LAYER  EXPECTED                    EFFECTIVE
whole  /etc/whole.conf: mode 0644  mode 0777
` {
		t.Errorf("exit %d:\n%s", o.exit, o.stderr)
	}
	o = r.begin(layer.Prove(map[string]string{"whole": "00", "more": "11"}), "").end()
	if o.exit != 1 || !strings.Contains(o.stderr, "another version") || !strings.Contains(o.stderr, "never applied") {
		t.Errorf("exit %d:\n%s", o.exit, o.stderr)
	}
}

// Secrets are in no output, whatever fails, and in no file that others can read.
func TestSecrets(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	for i, breakIt := range []func(*layer.Layer){
		func(*layer.Layer) {},
		func(l *layer.Layer) {
			l.Checks = []layer.Check{{Argv: []string{"sh", "-c", `cat "$1"/etc/whole.key "$1"/etc/openclaw.env; exit 1`, "sh", "{stage}"}}}
		},
		func(l *layer.Layer) {
			l.Reload = [][]string{{"sh", "-c", "cat /etc/whole.key /etc/openclaw.env /etc/shadow >&2; exit 1"}}
		},
		func(l *layer.Layer) { l.Users[0].Shell = "/no:such" },
		func(l *layer.Layer) { l.Files[2].Owner = "nobody-here" },
		func(l *layer.Layer) {
			l.Armed = true
			l.Probes[0].Argv = []string{"sh", "-c", "cat /etc/whole.key"}
		},
	} {
		l := whole()
		l.Files[0].Content = fmt.Appendf(nil, "%d\n", i)
		breakIt(&l)
		o := r.apply(l, "t")
		seen := r.begin(layer.Observe(), "").end()
		if all := o.stdout + o.stderr + seen.stdout + seen.stderr; strings.Contains(all, canary) || strings.Contains(all, "canaryCanary") {
			t.Errorf("case %d: a secret:\n%s", i, all)
		}
	}
	readable := r.Sh(`find /etc /home /root /run /srv /tmp /usr/local /var/lib /var/log /var/tmp -xdev -type f -newer /run/sshd-session -perm /o=r -exec grep -l "$1\|canaryCanary" {} + 2>/dev/null || :`, canary)
	if readable != "" {
		t.Errorf("readable by all: %s", readable)
	}
}
