package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// previous stands for the release before this one: until 0.1.0 a commit of this tree, of those whose machines are taken over.
const previous = "c869b1538f69a7bbf3e6dde8e42c0b2196cfad8d"

// TestOverTime is what a machine goes through once it is there: a new release of the program, people who come and go,
// what somebody does in Azure past Pulumi.
func TestOverTime(t *testing.T) {
	// As Azure's Ubuntu is; the main job has the plain image.
	t.Setenv("LAB_LIKE", "ubuntu")
	l := newLab(t, "overtime")
	l.inTurn([]part{
		{"the release before deploys and closes", deployPrevious},
		{"this one takes over state and host, closed, through the tunnel", upgrade},
		{"a revoked SSH key, then a revoked peer, lose their sessions, and nobody else does", revoke},
		{"an inbound rule that somebody added is named, and refused", foreignRule},
		{"another size keeps the machine, another image warns", resize},
		{"a machine that was deleted is refused while closed, and comes back open", deletedMachine},
	})
}

func (l *one) stackFile(dir string) string { return filepath.Join(dir, "Pulumi."+l.name+".yaml") }

func deployPrevious(l *one) {
	old := l.tempDir()
	if r := l.command("", time.Minute, "sh", "-c", `git archive "$1" | tar -x -C "$2"`, "sh", previous, old); r.code != 0 {
		l.t.Fatalf("check out the release before: %s\nhint: it takes a clone with its history: git fetch --unshallow", r)
	}
	if r := l.lab("", "start"); r.code != 0 {
		l.t.Fatalf("bin/lab start: %s", r)
	}
	move := func(from, to string) {
		text, err := os.ReadFile(l.stackFile(from))
		if err == nil {
			err = os.WriteFile(l.stackFile(to), text, 0o600)
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
	move(l.root, old)
	for _, args := range [][]string{
		{"up", "--yes", "--skip-preview"},
		{"config", "set", "bootstrap", "false"},
		{"up", "--yes", "--skip-preview"},
	} {
		l.pulumi(0, append([]string{"--cwd", old}, args...)...)
	}
	move(old, l.root)
}

func upgrade(l *one) {
	before := l.identity()
	commandsOf(l, "upgrading.md")
	l.quiet()
	for name, value := range l.identity() {
		if value != before[name] {
			l.t.Errorf("%s changed", name)
		}
	}
	l.expectReach("operator", l.output("publicIp"), 22, false)
	if readme := l.output("readme"); !regexp.MustCompile(`(?s)## The last proof\n\n20\d\d-.*the tunnel opened, port 22 did not answer, .*\| base \| \d+ \|`).MatchString(readme) {
		l.t.Errorf("the readme has no proof:\n%s", readme)
	}
}

// through runs something at the operator's place while a peer's tunnel is up; login is claw's SSH there with a key.
func (l *one) through(peer, key string, run func(login string)) {
	l.t.Helper()
	dir := l.tempDir()
	config := l.secretFile(dir, "claw0.conf", l.peer(peer))
	known := l.secretFile(dir, "known_hosts", l.output("knownHosts")+"\n")
	if up := l.at("operator", "wg-quick", "up", config); up.code != 0 {
		l.t.Fatalf("wg-quick up: %s", up)
	}
	defer l.at("operator", "wg-quick", "down", config)
	run(fmt.Sprintf(`ssh -n -i %s -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=%s -o ConnectTimeout=10 -p 2222 claw@10.100.0.1`, key, known))
}

// session starts an SSH session of a peer from the operator's place that runs sleep for that many seconds, and leaves
// it behind: the peer's WireGuard goes down, the session on the host does not notice.
func (l *one) session(peer, key string, seconds int) {
	l.t.Helper()
	said := l.tempDir() + "/said"
	l.through(peer, key, func(login string) {
		l.t.Helper()
		started := l.at("operator", "sh", "-c", fmt.Sprintf(`%s sleep %d >%s 2>&1 & echo $!`, login, seconds, said))
		pid := strings.TrimSpace(started.stdout)
		if started.code != 0 || pid == "" {
			l.t.Fatalf("start a session: %s", started)
		}
		l.t.Cleanup(func() { l.command("", time.Minute, "kill", pid) })
		l.eventually("the session of "+peer+" runs", 20*time.Second, func() error {
			if l.sleeps(seconds) {
				return nil
			}
			text, _ := os.ReadFile(said)
			return fmt.Errorf("it says %q", text)
		})
	})
}

// sleeps tells whether the session that sleeps for that long is alive on the host.
func (l *one) sleeps(seconds int) bool {
	l.t.Helper()
	return l.at("vm", "pgrep", "-u", "claw", "-f", fmt.Sprintf("^sleep %d$", seconds)).code == 0
}

func revoke(l *one) {
	dir := l.tempDir()
	if r := l.command("", time.Minute, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/admin"); r.code != 0 {
		l.t.Fatal(r)
	}
	public, err := os.ReadFile(dir + "/admin.pub")
	if err != nil {
		l.t.Fatal(err)
	}
	operator := l.secretFile(dir, "claw_ed25519", l.output("operatorKey")+"\n")
	laptop := l.peer("laptop")
	for path, value := range map[string]string{"peers.laptop.address": "10.100.0.2", "peers.guest.address": "10.100.0.9",
		"peers.guest.sshKey": strings.TrimSpace(string(public))} {
		l.pulumi(0, "config", "set", "--path", path, value)
	}
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.session("laptop", operator, 8001)
	l.session("guest", dir+"/admin", 8002) // its own key
	l.session("guest", operator, 8003)     // the operator's, from the same device

	expect := func(when string, want map[int]bool) {
		l.t.Helper()
		for seconds, alive := range want {
			if got := l.sleeps(seconds); got != alive {
				l.t.Errorf("%s: session %d is alive: %v, want %v\n%s", when, seconds, got, alive, l.on("openclaw-sessions --list"))
			}
		}
	}
	expect("before", map[int]bool{8001: true, 8002: true, 8003: true})
	l.outlive("guest", dir+"/admin", strings.TrimSpace(string(public)))
	l.pulumi(0, "config", "rm", "--path", "peers.guest.sshKey")
	if up := l.pulumi(0, "up", "--yes", "--skip-preview"); !strings.Contains(up.stdout, "warning: ended of claw's, in no session that stays: ") {
		l.t.Errorf("the run does not say what it ended: %s", up)
	}
	expect("its key revoked", map[int]bool{8001: true, 8002: false, 8003: true})
	l.reads([]reading{
		// What is left of claw's is in the sessions that are kept: sshd, a shell, what they run, a user's manager with nothing to start.
		{"what runs of claw's", `pgrep -u claw -a | cut -d' ' -f2- | grep -v -e ^sshd -e 'sleep 800[13]$' -e '^/usr/lib/systemd/systemd --user' -e '^(sd-pam)' || true`, ""},
		{"what would start again", `ls -d /var/lib/systemd/linger/claw /var/spool/cron/crontabs/claw /home/claw/.config/systemd/user 2>/dev/null || true`, ""},
		{"what is kept of it", `find /var/lib/openclaw-deploy/quarantine -path '*/linger/claw' -o -path '*/crontabs/claw' | wc -l; ls -d /home/claw/.config/systemd/user.* | wc -l`, "2\n1"},
	})
	l.through("guest", dir+"/admin", func(login string) {
		if r := l.at("operator", "sh", "-c", login+" true"); r.code == 0 || !strings.Contains(r.stderr, "Permission denied (publickey)") {
			l.t.Errorf("the revoked key: %s", r)
		}
	})
	l.pulumi(0, "config", "rm", "--path", "peers.guest")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	expect("the peer revoked", map[int]bool{8001: true, 8002: false, 8003: false})
	if got := l.peer("laptop"); got != laptop {
		l.t.Error("another peer's configuration changed")
	}
	if peers := l.on("wg show wg0 allowed-ips"); strings.Contains(peers, "10.100.0.9") {
		l.t.Errorf("WireGuard still knows the peer:\n%s", peers)
	}
	l.quiet()
}

// outlive does as an admin what may outlive a revocation, each a sleep of its own: a lingering user, a service of its own
// user's, a crontab, a child that leaves its session, a loop that makes others, one that writes the key where it may; a scope named like a
// session, a process named like sshd, one whose first thread has ended, one whose name is no text, one that is always another.
func (l *one) outlive(peer, key, public string) {
	l.t.Helper()
	l.on(`loginctl enable-linger claw`) // which an admin may, by sudo
	l.through(peer, key, func(login string) {
		l.t.Helper()
		if r := l.command(`set -e
printf '* * * * * sleep 8014\n' | crontab -
mkdir -p ~/.config/systemd/user ~/.ssh
printf '[Service]\nExecStart=sleep 8011\n[Install]\nWantedBy=default.target\n' >~/.config/systemd/user/stay.service
systemctl --user daemon-reload; systemctl --user enable --now stay.service
for session in $(loginctl --no-legend list-sessions | awk '$3 == "claw" { print $1 }'); do
	systemd-run --user --quiet systemd-run --user --quiet --scope --unit=session-$session.scope sh -c 'exec sleep 8015'
done
cp /usr/bin/sleep ~/sshd; setsid -f ~/sshd 8016 </dev/null >/dev/null 2>&1
setsid -f python3 -c 'import ctypes, threading, time
threading.Thread(target=time.sleep, args=(8017,)).start()
ctypes.CDLL(None).syscall(60, 0)' </dev/null >/dev/null 2>&1
setsid -f python3 -c 'import ctypes, time
ctypes.CDLL(None).prctl(15, b"\xff\n) S 1", 0, 0, 0)
time.sleep(8018)' </dev/null >/dev/null 2>&1
setsid -f python3 -c 'import os, time
end = time.monotonic() + 300
while time.monotonic() < end:
    if os.fork():
        os._exit(0)' </dev/null >/dev/null 2>&1
mkdir -p ~/.local/share; ln -sfn /etc ~/.local/share/systemd
setsid -f sleep 8012 </dev/null >/dev/null 2>&1
setsid -f sh -c 'while :; do setsid -f sleep 8013; sleep 0.2; done' </dev/null >/dev/null 2>&1
setsid -f sh -c 'while :; do for file in ~/.ssh/authorized_keys /etc/ssh/authorized_keys/claw; do echo "$1" >>"$file"; done; sleep 0.005; done' sh '`+public+`' </dev/null >/dev/null 2>&1
`, time.Minute, l.root+"/bin/lab", "exec", "operator", "--", "sh", "-c", strings.Replace(login, "ssh -n ", "ssh ", 1)+" sh -s"); r.code != 0 {
			l.t.Fatalf("as an admin: %s", r)
		}
	})
	l.eventually("all of it runs", 90*time.Second, func() error {
		for seconds := 8011; seconds <= 8015; seconds++ {
			if !l.sleeps(seconds) {
				return fmt.Errorf("not sleep %d", seconds)
			}
		}
		return nil
	})
}

// az is a command of the Azure CLI at the lab's control plane.
func (l *one) az(command string) string {
	l.t.Helper()
	r := l.lab("", append([]string{"az"}, strings.Fields(command)...)...)
	if r.code != 0 {
		l.t.Fatalf("az %s: %s", command, r)
	}
	return r.stdout
}

// group and name of a resource in Azure, by its type.
func (l *one) named(kind string) (group, name string) {
	l.t.Helper()
	found := regexp.MustCompile(`(?m)/resourceGroups/([^/]+)/providers/` + kind + `/([^/\n]+)$`).FindStringSubmatch(l.az("resource list"))
	if found == nil {
		l.t.Fatalf("there is no %s", kind)
	}
	return found[1], found[2]
}

func foreignRule(l *one) {
	group, nsg := l.named("Microsoft.Network/networkSecurityGroups")
	l.az("network nsg rule create --resource-group " + group + " --nsg-name " + nsg + " --name everything --priority 200 --destination-port-ranges 1-65535")
	remove := fmt.Sprintf("az network nsg rule delete --resource-group %s --nsg-name %s --name everything", group, nsg)
	named := `"everything": Allow * to port 1-65535 from *, priority 200`
	preview := l.pulumi(0, "preview", "--non-interactive")
	for _, want := range []string{named, remove} {
		if !strings.Contains(preview.stdout+preview.stderr, want) {
			l.t.Errorf("the preview does not say %q: %s", want, preview)
		}
	}
	up := l.lab("", "pulumi", "up", "--yes", "--skip-preview")
	if up.code == 0 || !strings.Contains(up.stdout+up.stderr, named) || !strings.Contains(up.stdout+up.stderr, remove) {
		l.t.Errorf("up with a foreign rule: %s", up)
	}
	l.az(strings.TrimPrefix(remove, "az "))
	l.quiet()
}

func resize(l *one) {
	machine := func() string { return l.on("cat /etc/machine-id") }
	before := machine()
	l.pulumi(0, "config", "set", "vmSize", "Standard_B4als_v2")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.booted()
	l.quiet()
	l.pulumi(0, "config", "set", "image", "ubuntu-24.04")
	preview := l.pulumi(0, "preview", "--expect-no-changes", "--non-interactive")
	if said := preview.stdout + preview.stderr; !strings.Contains(said, `image: value "ubuntu-24.04", the machine was made of "debian-13"`) {
		l.t.Errorf("another image is no warning: %s", preview)
	}
	l.pulumi(0, "config", "rm", "image")
	if machine() != before {
		l.t.Error("it is another machine")
	}
}

func deletedMachine(l *one) {
	group, vm := l.named("Microsoft.Compute/virtualMachines")
	l.az("vm delete --resource-group " + group + " --name " + vm + " --yes")
	refused := l.lab("", "pulumi", "preview", "--refresh", "--non-interactive")
	if said := refused.stdout + refused.stderr; refused.code == 0 || !strings.Contains(said, "is gone: it was deleted behind Pulumi's back") ||
		!strings.Contains(said, "pulumi config set bootstrap true && pulumi up --refresh") {
		l.t.Errorf("closed: %s", refused)
	}
	l.pulumi(0, "config", "set", "bootstrap", "true")
	l.pulumi(0, "up", "--refresh", "--yes", "--skip-preview")
	l.quiet()
	l.pulumi(0, "config", "set", "bootstrap", "false")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
}
