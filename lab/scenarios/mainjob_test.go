package scenarios

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMainJob is the whole of it, in the order in which a user does it: deploy, prove the tunnel, close port 22,
// destroy, rebuild.
func TestMainJob(t *testing.T) {
	t.Parallel()
	takeSeat(t, mainJobSeat, "MainJob")
	l := newLab(t, "e2e")
	if r := l.command("", 40*time.Minute, "make", "lab"); r.code != 0 {
		t.Fatalf("make lab: %s", r)
	}
	if r := l.lab("", "status"); r.code != 0 {
		t.Fatalf("bin/lab status: %s", r)
	}
	l.run([]part{
		{"the first deploy is quiet afterwards and says that closing is safe", afterFirstDeploy},
		{"every layer is effective on the host", layersEffective},
		{"the operator reaches both doors, the attacker neither", openDoors},
		{"no algorithm of sshd fails or warns in ssh-audit", sshAudit},
		{"a backup is made, and restored verified and staged", backupAndRestore},
		{"a backup that failed shows, and is mended", missingBackupShows},
		{"closing proves the tunnel and takes the rule away", closeDoor},
		{"closed, nothing answers on 22 at the NSG, nor at the host without it", closedDoors},
		{"every command of docs/layers.md prints what it says there", commandsOfLayers},
		{"every control of dev-sec's ssh-baseline holds, or is waived with its reason", sshControls},
		{"a real wg-quick client works with the exported peer", wgQuick},
		{"claw ssh is a pipe, an exit status, signals and a terminal", reachSSH},
		{"claw forward brings the control UI to a browser, and leads nowhere else", reachGateway},
		{"every command of docs/lab.md works, the last of them reboots, and all of it holds again", reboot},
		{"secrets stand nowhere", noSecrets},
		{"opening again goes through the control plane, and closes again", reopen},
		{"a backup comes home, and destroy leaves nothing", func(l *one) { l.home, l.sum = bringHome(l); destroy(l) }},
		{"what Azure would refuse is told whole, before anything is made", askedAhead},
		{"a rebuild has a new address and new keys, and closes too", rebuild},
		{"the backup brings the agent's state to the rebuilt machine", func(l *one) { comeBack(l, l.home, l.sum) }},
	})
}

func afterFirstDeploy(l *one) {
	l.quiet()
	if next := l.output("next"); !strings.Contains(next, "pulumi config set bootstrap false") {
		l.t.Errorf("the output next does not say how to close port 22: %q", next)
	}
	doors := l.output("doors")
	for _, want := range []string{"bootstrap: azureuser@" + l.output("publicIp") + " port 22/tcp from 198.18.1.10/32", "tunnel: WireGuard"} {
		if !strings.Contains(doors, want) {
			l.t.Errorf("the output doors lacks %q: %q", want, doors)
		}
	}
	l.pulumi(0, "up", "--yes", "--expect-no-changes", "--skip-preview")
}

func layersEffective(l *one) {
	// The one archive of each distribution's that has security fixes and nothing else.
	security := map[string]string{
		"debian": "origin=Debian,codename=${distro_codename}-security,label=Debian-Security",
		"ubuntu": "origin=Ubuntu,archive=${distro_codename}-security,label=Ubuntu",
	}[l.on(`. /etc/os-release; echo $ID`)]
	l.reads([]reading{
		{"ssh: effective settings on 2222", `sshd -T -C user=claw,host=x,addr=10.100.0.2,lport=2222 | grep -E '^(permitrootlogin|passwordauthentication|kbdinteractiveauthentication|pubkeyauthentication|allowusers|maxauthtries|logingracetime|x11forwarding|hostkey) ' | sort`,
			"allowusers claw\nallowusers openclaw-deploy@10.100.0.254\nhostkey /etc/ssh/ssh_host_openclaw_ed25519_key\nkbdinteractiveauthentication no\nlogingracetime 30\nmaxauthtries 3\npasswordauthentication no\npermitrootlogin no\npubkeyauthentication yes\nx11forwarding no"},
		{"fail2ban: the jail", `for k in maxretry bantime findtime; do fail2ban-client get sshd $k; done`, "3\n3600\n600"},
		{"ufw: default deny", `ufw status verbose | grep '^Default:'`, "Default: deny (incoming), allow (outgoing), disabled (routed)"},
		{"ipv6: off", `cat /proc/sys/net/ipv6/conf/all/disable_ipv6 /proc/sys/net/ipv6/conf/default/disable_ipv6 /proc/sys/net/ipv6/conf/lo/disable_ipv6`, "1\n1\n1"},
		// The image's own file says 2 for each interface; eth0 had its address before the settings.
		{"sysctl: strict reverse paths, no redirects, on every interface", `cd /proc/sys/net/ipv4/conf && test -d eth0 && test -d wg0 && for k in rp_filter log_martians accept_redirects secure_redirects send_redirects accept_source_route; do echo $k $(cat */$k | sort -u); done`,
			"rp_filter 1\nlog_martians 1\naccept_redirects 0\nsecure_redirects 0\nsend_redirects 0\naccept_source_route 0"},
		{"packet filter: the older kind of iptables is empty, and is not what iptables is", `for t in $(cat /proc/net/ip_tables_names /proc/net/ip6_tables_names); do iptables-legacy -t $t -S; ip6tables-legacy -t $t -S; done | grep -v -- '^-P [A-Z]* ACCEPT$'; iptables -V | grep -o nf_tables; systemctl is-enabled nftables.service || true`, "nf_tables\ndisabled"},
		{"routes: the kernel's rules alone, the manager's routes", `ip -4 rule | tr '\t' ' '; ip -4 route show default | sed 's/ *$//'; ip -4 route show table all | grep -E -c '^(blackhole|unreachable|prohibit|throw)' || true`,
			"0: from all lookup local\n32766: from all lookup main\n32767: from all lookup default\ndefault via 10.0.0.1 dev eth0 proto static\n0"},
		{"wireguard: MTU", `cat /sys/class/net/wg0/mtu`, "1280"},
		{"network: loopback alone, and the gate's ports on it", `ip -n openclaw -br link | awk '{print $1}'; nsenter --net=/run/netns/openclaw ss -Hltnu 'sport < :1024' | awk '{print $1, $5}' | LC_ALL=C sort; openclaw-egress loaded; systemctl is-enabled haproxy.service unbound.service || true`,
			"lo\ntcp 127.0.0.1:1\ntcp 127.0.0.1:53\ntcp 127.0.0.1:80\ntcp 127.0.0.1:81\nudp 127.0.0.1:53\nas in their files\nmasked\nmasked"},
		{"openclaw: environment file", `stat -c '%U:%G %a' /etc/openclaw.env`, "root:openclaw 640"},
		{"openclaw: on, and ready", `systemctl is-enabled openclaw.service; systemctl is-active openclaw.service; openclaw-install ready`, "enabled\nactive\nready"},
		{"openclaw: the sandbox", `systemctl show openclaw.service -p NoNewPrivileges -p PrivateTmp -p ProtectSystem -p ProtectHome -p LimitNOFILE -p User | sort`,
			"LimitNOFILE=4096\nNoNewPrivileges=yes\nPrivateTmp=yes\nProtectHome=yes\nProtectSystem=strict\nUser=openclaw"},
		{"openclaw: what takes too much memory is ended, not stalled", `systemctl show openclaw.service -p MemoryHigh -p MemorySwapMax -p OOMPolicy | sort; test $(systemctl show -p MemoryMax --value openclaw.service) -gt 0 && echo bounded`,
			"MemoryHigh=infinity\nMemorySwapMax=0\nOOMPolicy=continue\nbounded"},
		{"openclaw: no login, no sudo, no groups", `getent passwd openclaw | cut -d: -f6,7; id -nG openclaw; sudo -l -U openclaw | grep -c 'not allowed'`, "/nonexistent:/usr/sbin/nologin\nopenclaw\n1"},
		{"updates: security alone, daily, no reboot", `apt-config dump | grep -E '^Unattended-Upgrade::(Origins-Pattern|Allowed-Origins|Automatic-Reboot |Automatic-Reboot")|^APT::Periodic::Unattended-Upgrade |^Unattended-Upgrade::Automatic-Reboot ' | grep -v '""' | sort`,
			"APT::Periodic::Unattended-Upgrade \"1\";\nUnattended-Upgrade::Automatic-Reboot \"false\";\nUnattended-Upgrade::Origins-Pattern:: \"" + security + "\";"},
		{"backup: daily at 03:00, restricted", `systemctl show openclaw-backup.timer -p TimersCalendar --value | grep -o '\*-\*-\* 03:00:00'; stat -c '%U:%G %a' /backups/openclaw`, "*-*-* 03:00:00\nroot:claw 750"},
		{"alerts: nobody looks without a receiver", `systemctl show openclaw-alert.timer -p UnitFileState -p ActiveState | sort; stat -c '%U:%G %a' /etc/openclaw-alert/alerts.json`, "ActiveState=inactive\nUnitFileState=disabled\nroot:root 600"},
		{"customData: no copy on the disk holds a key", `/usr/local/sbin/openclaw-scrub --list; grep -rlsaF "$(sed -n 3p /etc/ssh/ssh_host_openclaw_ed25519_key)" /var/lib/cloud /var/lib/waagent || true`, ""},
		{"Azure's agent: it had what it needs, and its three rules are there once", `ls /var/lib/waagent/provisioned; iptables -t security -S OUTPUT | grep -c -- '-d 168.63.129.16/32'`,
			"/var/lib/waagent/provisioned\n3"},
		{"host keys: one is offered, ours", `ssh-keyscan -p 2222 127.0.0.1 2>/dev/null | grep -v '^#' | cut -d' ' -f2 | sort -u`, "ssh-ed25519"},
	})
}

func openDoors(l *one) {
	address := l.output("publicIp")
	l.expectReach("operator", address, 22, true)
	l.expectReach("operator", address, 2222, false)
	for _, port := range []int{22, 80, 443, 2222, 18789} {
		l.expectReach("attacker", address, port, false)
	}
	attackerSilent(l, address)
}

// attackerSilent sends a real handshake, with an exported peer's keys, from the attacker's place: the NSG admits it
// from nowhere but wireguardCidrs. The twin is wgQuick, the same from the operator's place.
func attackerSilent(l *one, address string) {
	if handshake(l, "attacker", "") {
		l.t.Errorf("WireGuard at %s answers the attacker", address)
	}
}

// handshake brings a peer up by a real wg-quick at a place, runs a command through it, and takes it down; it says
// whether WireGuard answered.
func handshake(l *one, place, script string) bool {
	defer l.wireGuardUp(place, l.peer("laptop"))()
	if l.at(place, "ping", "-c", "1", "-W", "6", "10.100.0.1").code != 0 {
		return false
	}
	if script != "" {
		r := l.ssh(place, l.output("operatorKey"), l.output("knownHosts"), "", "claw@10.100.0.1", script)
		if r.code != 0 {
			l.t.Errorf("ssh through the real WireGuard: %s", r)
		}
		if !strings.Contains(r.stdout, "claw") {
			l.t.Errorf("ssh through the real WireGuard said %q", r.stdout)
		}
	}
	return true
}

// wireGuardUp brings a peer up by a real wg-quick at a place, until the function that it returns is called.
func (l *one) wireGuardUp(place, text string) (down func()) {
	l.t.Helper()
	config := l.secretFile(l.tempDir(), "claw0.conf", text)
	if up := l.at(place, "wg-quick", "up", config); up.code != 0 {
		l.t.Fatalf("wg-quick up at the %s's place: %s", place, up)
	}
	return func() {
		if down := l.at(place, "wg-quick", "down", config); down.code != 0 {
			l.t.Errorf("wg-quick down at the %s's place: %s", place, down)
		}
	}
}

// ssh is a real ssh at a place, with a private key and lines of known hosts.
func (l *one) ssh(place, key, known, stdin string, args ...string) result {
	l.t.Helper()
	dir := l.tempDir()
	return l.command(stdin, time.Minute, filepath.Join(l.root, "bin", "lab"), append([]string{"exec", place, "--", "ssh", "-i", l.secretFile(dir, "key", strings.TrimSuffix(key, "\n")+"\n"),
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + l.secretFile(dir, "known_hosts", known+"\n"),
		"-o", "ConnectTimeout=10", "-p", "2222"}, args...)...)
}

// sshAudit scans from the host itself: the scanner of its own distribution is the one that knows its algorithms, and
// from an address of its own, since sshd shuts a scanner out for a while.
func sshAudit(l *one) {
	l.on(`apt-get install -qq -y --no-install-recommends ssh-audit >/dev/null 2>&1; ip address add 127.9.9.9/8 dev lo`)
	defer l.on(`apt-get purge -qq -y ssh-audit >/dev/null 2>&1; ip address del 127.9.9.9/8 dev lo`)
	l.t.Logf("%s", l.on(`ssh-audit --version 2>/dev/null | head -n 1 || true`))
	// A test that newer releases make: it has sshd shut the scanner out.
	without := strings.Fields(l.on(`ssh-audit --help 2>/dev/null | grep -o -e --skip-rate-test || true`))
	for _, port := range []string{"22", "2222"} {
		audit := l.at("vm", slices.Concat([]string{"ssh-audit"}, without, []string{"-b", "-p", port, "127.9.9.9"})...)
		if !strings.Contains(audit.stdout, "(kex) ") || !strings.Contains(audit.stdout, "(enc) ") {
			l.t.Errorf("ssh-audit on port %s saw nothing: %s", port, audit)
		}
		if regexp.MustCompile(`\[(fail|warn)\]`).MatchString(audit.stdout) || audit.code != 0 {
			l.t.Errorf("ssh-audit on port %s: %s", port, audit)
		}
	}
}

func sshControls(l *one) {
	list, err := os.ReadFile(filepath.Join(l.root, "lab", "audit", "controls.sh"))
	if err != nil {
		l.t.Fatal(err)
	}
	r := l.command(string(list), time.Minute, l.root+"/bin/lab", "exec", "vm", "--", "sh", "-s")
	l.t.Logf("%s", r.stdout)
	if r.code != 0 || !strings.Contains(r.stdout, "ssh-baseline: ") {
		l.t.Errorf("%s", r)
	}
}

func closeDoor(l *one) {
	l.pulumi(0, "config", "set", "bootstrap", "false")
	l.pulumi(0, "up", "--yes") // with its preview, as a user runs it
	l.quiet()
	if next := l.output("next"); !strings.Contains(next, "port 22 is closed") {
		l.t.Errorf("the output next: %q", next)
	}
}

func closedDoors(l *one) {
	address := l.output("publicIp")
	for _, place := range []string{"operator", "attacker"} {
		for _, port := range []int{22, 2222} {
			l.expectReach(place, address, port, false)
		}
	}
	// The NSG taken away: the host itself has to refuse. From inside its own network nothing stands before it.
	listening := l.on(`ss -H -ltn | awk '{print $4}' | grep -E ':(22|2222)$' | sort`)
	if listening != "0.0.0.0:2222" {
		l.t.Errorf("sshd listens on %q", listening)
	}
	rules := l.on(`iptables -S ufw-user-input`)
	if strings.Contains(rules, "--dport 22 ") {
		l.t.Errorf("the host's firewall admits port 22:\n%s", rules)
	}
	withoutNSG(l, func() {
		l.expectReach("operator", address, 22, false)
		l.expectReach("operator", address, 2222, false)
		// The twin: a port that the host does open is reached now, so the NSG is really gone.
		l.on(`iptables -I INPUT -p tcp --dport 8022 -j ACCEPT; systemd-run --quiet --unit=twin nc -lk -p 8022 2>/dev/null || systemd-run --quiet --unit=twin python3 -m http.server 8022`)
		l.eventually("the twin is reached", 10*time.Second, func() error {
			if !l.reaches("operator", address, 8022) {
				return errors.New("not reached")
			}
			return nil
		})
		l.on(`iptables -D INPUT -p tcp --dport 8022 -j ACCEPT; systemctl stop twin`)
	})
	loginsRefused(l)
}

// withoutNSG admits everything in front of the host while f runs.
func withoutNSG(l *one, f func()) {
	l.t.Helper()
	l.router(`nft insert rule inet lab in-vm accept comment '"without the NSG"'`)
	defer l.router(`nft delete rule inet lab in-vm handle $(nft -a list chain inet lab in-vm | sed -n 's/.*without the NSG.* # handle //p')`)
	f()
}

// loginsRefused tries, on the host's own loopback, users and ways that must not work; the twin is the operator's key.
func loginsRefused(l *one) {
	dir := l.on(`mktemp -d`)
	defer l.on(`rm -rf ` + dir)
	if r := l.command(l.output("operatorKey")+"\n", time.Minute, l.root+"/bin/lab", "exec", "vm", "--", "sh", "-c", "umask 077; cat >"+dir+"/key"); r.code != 0 {
		l.t.Fatal(r)
	}
	try := func(user string, options ...string) bool {
		argv := append([]string{"ssh", "-i", dir + "/key", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-p", "2222"}, options...)
		return l.at("vm", append(argv, user+"@127.0.0.1", "true")...).code == 0
	}
	if !try("claw") {
		l.t.Error("claw is refused with its own key")
	}
	for _, user := range []string{"root", "azureuser", "openclaw"} {
		if try(user) {
			l.t.Errorf("%s logs in", user)
		}
	}
	methods := l.at("vm", "ssh", "-v", "-o", "PreferredAuthentications=none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-p", "2222", "claw@127.0.0.1", "true")
	if !strings.Contains(methods.stderr, "Authentications that can continue: publickey\r") && !strings.Contains(methods.stderr, "Authentications that can continue: publickey\n") {
		l.t.Errorf("sshd offers more than keys: %s", methods.stderr)
	}
}

func wgQuick(l *one) {
	if !handshake(l, "operator", "id -un; test $(id -u) -ne 0") {
		l.t.Error("WireGuard does not answer the operator's wg-quick")
	}
	attackerSilent(l, l.output("publicIp"))
}

func reboot(l *one) {
	const booted = "systemctl show --property=UserspaceTimestamp --value"
	before := l.on(booted)
	commandsOf(l, "lab.md")
	l.eventually("the host is up again", 5*time.Minute, func() error {
		if r := l.at("vm", "systemctl", "is-system-running"); r.stdout != "running\n" && r.stdout != "degraded\n" {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	if l.on(booted) == before {
		l.t.Error("the host did not reboot")
	}
	wholeBoot(l)
	l.quiet()
	layersEffective(l)
	closedDoors(l)
	wgQuick(l)
	wrongKeysBan(l)
}

// wrongKeysBan: three refused keys ban the peer that they came from, and nobody else.
func wrongKeysBan(l *one) {
	dir := l.tempDir()
	wrong := dir + "/wrong"
	if r := l.command("", time.Minute, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", wrong); r.code != 0 {
		l.t.Fatal(r)
	}
	config := l.secretFile(dir, "claw0.conf", l.peer("laptop"))
	if up := l.at("operator", "wg-quick", "up", config); up.code != 0 {
		l.t.Fatalf("wg-quick up: %s", up)
	}
	defer l.at("operator", "wg-quick", "down", config)
	if !l.reaches("operator", "10.100.0.1", 2222) {
		l.t.Fatal("the peer does not reach 2222 before it is banned")
	}
	// Who is not root has nobody banned: not by lines in sshd's name.
	const forged = "10.100.0.77"
	for _, user := range []string{"openclaw", "claw"} {
		l.on(fmt.Sprintf(`setpriv --reuid %[1]s --regid %[1]s --clear-groups python3 -c '
import ctypes, socket, time
ctypes.CDLL(None).prctl(15, b"sshd", 0, 0, 0)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect("/run/systemd/journal/socket")
for n in range(3):
    s.send(b"SYSLOG_IDENTIFIER=sshd\nPRIORITY=6\nMESSAGE=Failed publickey for claw from %[2]s port %%d ssh2: ED25519 SHA256:%[3]s\n" %% (50000 + n))
time.sleep(0.5)'`, user, forged, strings.Repeat("A", 43)))
	}
	if kept := l.on(`journalctl --sync; journalctl -q -o cat _COMM=sshd | grep -c 'from ` + forged + ` port'`); kept != "6" {
		l.t.Errorf("the journal has %s forged lines, want 6", kept)
	}
	for range 3 {
		l.at("operator", "ssh", "-i", wrong, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-p", "2222", "claw@10.100.0.1", "true")
	}
	l.eventually("the peer is banned", time.Minute, func() error {
		if banned := strings.Fields(l.on(`fail2ban-client get sshd banip`)); !slices.Contains(banned, "10.100.0.2") {
			return fmt.Errorf("banned: %q", banned)
		} else if slices.Contains(banned, forged) {
			l.t.Fatalf("forged lines had %s banned", forged)
		}
		return nil
	})
	// fail2ban names a ban before its rule is in place.
	l.eventually("the banned peer reaches 2222 no more", 30*time.Second, func() error {
		if l.reaches("operator", "10.100.0.1", 2222) {
			return errors.New("it reaches it")
		}
		return nil
	})
	// Nobody else: the program's own peer still opens the door.
	l.quiet()
	l.on(`fail2ban-client set sshd unbanip 10.100.0.2`)
}

func noSecrets(l *one) {
	secrets := map[string]string{"sudo password": l.output("sudoPassword"), "gateway token": l.output("gatewayToken"), "backups' key": l.output("backupKey"),
		"machine's backups' key": l.on(`tail -n 1 /var/lib/openclaw-backup/identity`)}
	for _, line := range strings.Split(l.peer("laptop"), "\n") {
		if name, value, ok := strings.Cut(line, " = "); ok && (name == "PrivateKey" || name == "PresharedKey") {
			secrets["laptop's "+name] = value
		}
	}
	key := strings.Split(l.output("operatorKey"), "\n")
	secrets["operator's key"] = key[len(key)/2]
	standNowhere(l, secrets)
}

// standNowhere looks for secrets wherever somebody who is not meant to could read them. Each search has to find a twin first,
// which is nobody's secret.
func standNowhere(l *one, secrets map[string]string) {
	l.t.Helper()
	for what, secret := range secrets {
		if len(secret) < 16 || strings.Contains(secret, "\n") {
			l.t.Fatalf("%s: too short to look for, or no line", what)
		}
	}
	all := strings.Join(slices.Collect(maps.Values(secrets)), "\n") // looked for at once: one by one where that finds any
	twin := "twin-of-a-secret-" + rand.Text()
	for place, where := range map[string]string{
		"journal": "the journal", "arguments": "a command line", "environment": "another user's environment", "files": "a file that anybody reads",
	} {
		look := func(text string, plant ...string) result {
			return l.command(text+"\n", 2*time.Minute, l.root+"/bin/lab",
				append([]string{"exec", "vm", "--", "sh", "-c", program(l.t, "secrets.sh"), "sh", place}, plant...)...)
		}
		if r := look(twin, "plant"); r.code != 9 {
			l.t.Errorf("what was put into %s is not found there: %s", where, r)
			continue
		}
		switch r := look(all); r.code {
		case 0:
		case 9:
			l.t.Errorf("a secret stands in %s: %s", where, r)
			for what, secret := range secrets {
				if look(secret).code != 0 {
					l.t.Errorf("%s stands in %s", what, where)
				}
			}
		default:
			l.t.Errorf("look for secrets in %s: %s", where, r)
		}
	}
	// All that the lab keeps, the providers' logs and Pulumi's state among it, but for the host's own disk and the tests' files.
	kept := filepath.Join(l.root, ".lab", l.name)
	keeps := func(text string) result {
		patterns := l.secretFile(l.tempDir(), "patterns", text+"\n")
		return l.command("", 2*time.Minute, "grep", "-rlF", "--exclude-dir=machines", "--exclude-dir="+scratchName, "--exclude=program", "-f", patterns, kept)
	}
	planted := l.secretFile(kept, "twin", twin)
	if r := keeps(twin); r.code != 0 {
		l.t.Errorf("what was put into what the lab keeps is not found there: %s", r)
	}
	if err := os.Remove(planted); err != nil {
		l.t.Fatal(err)
	}
	if r := keeps(all); r.code != 1 { // 2 where grep could not read all of it
		l.t.Errorf("a secret stands in what the lab keeps, or it cannot be searched: %s", r)
		for what, secret := range secrets {
			if keeps(secret).code != 1 {
				l.t.Errorf("%s stands there", what)
			}
		}
	}
	for _, args := range [][]string{{"stack", "output"}, {"stack", "output", "--json"}, {"preview", "--diff", "--non-interactive"}, {"stack", "export"},
		{"preview", "--json"}, {"up", "--yes", "--skip-preview", "--json"}} {
		r := l.pulumi(0, args...)
		for what, secret := range secrets {
			if strings.Contains(r.stdout+r.stderr, secret) {
				l.t.Errorf("pulumi %s shows the %s", strings.Join(args, " "), what)
			}
		}
	}
}

func reopen(l *one) {
	address := l.output("publicIp")
	l.pulumi(0, "config", "set", "bootstrap", "true")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
	l.expectReach("operator", address, 22, true)
	l.expectReach("attacker", address, 22, false)
	l.pulumi(0, "config", "set", "bootstrap", "false")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
	l.expectReach("operator", address, 22, false)
	// A security group takes one write at a time: a first deploy, a cutover and a reopening met none at work on another.
	log := filepath.Join(l.root, ".lab", l.name, "daemon.log")
	if r := l.command("", time.Minute, "grep", "-c", "PUT .*/securityRules/.*: done", log); r.code != 0 {
		l.t.Errorf("the control plane's log has no write of a rule: %s", r)
	}
	if r := l.command("", time.Minute, "grep", "-c", "Status=429", log); strings.TrimSpace(r.stdout) != "0" {
		l.t.Errorf("refused since the group was at work: %s", r)
	}
}

func destroy(l *one) {
	l.before = l.identity()
	l.pulumi(0, "destroy", "--yes", "--skip-preview")
	if left := l.pulumi(0, "stack", "export").stdout; strings.Contains(left, "azure-native:") {
		l.t.Errorf("the stack still has resources:\n%s", left)
	}
	if r := l.at("vm", "true"); r.code == 0 {
		l.t.Error("the host still runs")
	}
	// The control plane's own record, which Pulumi's state cannot embellish.
	if r := l.command("", time.Minute, "grep", "-c", "/subscriptions/", ".lab/"+l.name+"/azure.json"); strings.TrimSpace(r.stdout) != "0" {
		l.t.Errorf("the control plane still has resources: %s", r)
	}
}

// identity is what a rebuilt machine must not have in common with the one before.
func (l *one) identity() map[string]string {
	identity := map[string]string{"laptop": l.peer("laptop")}
	for _, name := range []string{"publicIp", "operatorKey", "sudoPassword"} {
		identity[name] = l.output(name)
	}
	identity["host key"] = strings.Fields(l.output("knownHosts"))[2]
	return identity
}

func askedAhead(l *one) {
	l.pulumi(0, "config", "set", "bootstrap", "true")
	limit := func(text string) { l.secretFile(filepath.Join(l.root, ".lab", l.name), "subscription.json", text) }
	refused := func(args ...string) string {
		r := l.lab("", append([]string{"pulumi"}, args...)...)
		if r.code == 0 {
			l.t.Errorf("pulumi %s: no error: %s", args[0], r)
		}
		return r.stdout + r.stderr
	}
	limit(`{"NotOffered":["Standard_B2als_v2"],"Cores":1,"NotRegistered":["Microsoft.Network"],"RequiredTags":["owner"]}`)
	said := refused("up", "--yes", "--skip-preview")
	for _, want := range []string{
		"nothing was made or changed, since this machine would be refused, or would not do:",
		`policy "tags-please" refuses Microsoft.Resources/subscriptions/resourceGroups, Microsoft.Network/networkSecurityGroups, `, "pulumi config set --path tags.owner VALUE",
		`size "Standard_B2als_v2": this subscription does not get it in "westeurope" (NotAvailableForSubscription)`,
		`size "Standard_B2als_v2": it exceeds this subscription's quota in "westeurope": "cores": 0 of 1 cores are used, and 2 more are needed`,
		"az provider register --namespace Microsoft.Network --wait",
	} {
		if !strings.Contains(said, want) {
			l.t.Errorf("the run does not say %q:\n%s", want, said)
		}
	}
	limit(`{"NotOffered":["Standard_B2als_v2"],"RequiredTags":["owner"]}`)
	said = refused("preview", "--non-interactive")
	if want := "pulumi config set vmSize Standard_B2ls_v2    # 2 cores, 4 GiB"; !strings.Contains(said, want) {
		l.t.Errorf("the preview does not say %q:\n%s", want, said)
	}
	l.pulumi(0, "config", "set", "--path", "tags.owner", "me")
	l.pulumi(0, "config", "set", "vmSize", "Standard_B2ls_v2")
	if said := l.pulumi(0, "preview", "--non-interactive").stdout; strings.Contains(said, "not asked") {
		l.t.Errorf("Azure could not be asked:\n%s", said)
	}
	if r := l.command("", time.Minute, "grep", "-c", "/subscriptions/", ".lab/"+l.name+"/azure.json"); strings.TrimSpace(r.stdout) != "0" {
		l.t.Errorf("something was made: %s", r)
	}
	l.pulumi(0, "config", "rm", "vmSize")
	limit(`{"RequiredTags":["owner"]}`)
}

func rebuild(l *one) {
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
	for name, value := range l.identity() {
		if value == l.before[name] {
			l.t.Errorf("%s is that of the machine before", name)
		}
	}
	l.expectReach("operator", l.output("publicIp"), 22, true)
	l.pulumi(0, "config", "set", "bootstrap", "false")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
	l.expectReach("operator", l.output("publicIp"), 22, false)
}
