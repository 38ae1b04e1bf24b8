package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/outputs"
)

// templates mirrors the VM's file system: the relative path of a template is its path on the VM.
//
//go:embed all:templates
var templates embed.FS

// applierPath is the host's copy of the applier: it serves the rollback timer and people.
const applierPath = "/usr/local/lib/openclaw-deploy/apply.py"

// backupPath is the program behind openclaw-backup and openclaw-restore.
const backupPath = "/usr/local/lib/openclaw-deploy/backup.py"

// hostKeyPath has the only host key that sshd offers.
const hostKeyPath = "/etc/ssh/ssh_host_openclaw_ed25519_key"

// bootstrapPort is sshd's port of the bootstrap door.
const bootstrapPort = 22

// installerPath is the host's program that installs OpenClaw and switches to it.
const installerPath = "/usr/local/sbin/openclaw-install"

// installSeconds bounds an installation and a switch: 330 packages from a slow line, and a gateway that takes minutes
// on a loaded machine.
const installSeconds = 1500

// readySeconds bounds a look at a gateway that was just started.
const readySeconds = 45

// openclawConfigPath is what OpenClaw is told; the stack's openclawConfig is added to its template.
const openclawConfigPath = "/etc/openclaw/openclaw.json"

// file says mode, owner and policy of a file that a template makes, and the layer that it belongs to.
type file struct{ layer, path, mode, owner, group, policy string }

// lockFiles pin every package of a version of OpenClaw.
func lockFiles(version string) []file {
	var out []file
	for _, name := range []string{"package-lock.json", "package.json"} {
		out = append(out, file{"openclaw", "/opt/openclaw/" + version + "/" + name, "0644", "root", "root", layer.Replace})
	}
	return out
}

// files are those of every stack; a version's lock files come on top.
var files = []file{
	{"base", "/etc/sudoers.d/10-openclaw", "0440", "root", "root", layer.Replace},
	{"base", "/etc/cloud/cloud.cfg.d/99-openclaw.cfg", "0644", "root", "root", layer.Replace},
	{"base", "/etc/systemd/system/openclaw-scrub.service", "0644", "root", "root", layer.Replace},
	{"base", "/usr/local/sbin/openclaw-scrub", "0755", "root", "root", layer.Replace},
	{"base", "/usr/local/sbin/openclaw-sessions", "0755", "root", "root", layer.Replace},
	{"base", applierPath, "0644", "root", "root", layer.Replace},
	{"base", "/home/claw/.ssh/authorized_keys", "0600", "claw", "claw", layer.Replace},
	{"sysctl", "/etc/sysctl.d/99-zz-openclaw.conf", "0644", "root", "root", layer.Replace},
	{"wireguard", "/etc/wireguard/wg0.conf", "0600", "root", "root", layer.Replace},
	{"firewall", "/etc/default/ufw", "0644", "root", "root", layer.Replace},
	{"firewall", "/etc/ufw/ufw.conf", "0644", "root", "root", layer.Replace},
	{"firewall", "/etc/ufw/before.rules", "0640", "root", "root", layer.Replace},
	// Without a header and in UFW's own words: UFW writes this file anew at every reload.
	{"firewall", "/etc/ufw/user.rules", "0640", "root", "root", layer.Replace},
	{"ssh", "/etc/ssh/sshd_config.d/00-openclaw.conf", "0600", "root", "root", layer.Replace},
	{"fail2ban", "/etc/fail2ban/jail.d/10-openclaw.local", "0644", "root", "root", layer.Replace},
	{"updates", "/etc/apt/apt.conf.d/52openclaw-upgrades", "0644", "root", "root", layer.Replace},
	{"updates", "/etc/needrestart/conf.d/openclaw.conf", "0644", "root", "root", layer.Replace},
	{"openclaw", "/etc/openclaw.env", "0640", "root", "openclaw", layer.Env},
	{"openclaw", openclawConfigPath, "0640", "root", "openclaw", layer.Replace},
	{"openclaw", "/etc/openclaw/release.json", "0644", "root", "root", layer.Replace},
	{"openclaw", installerPath, "0755", "root", "root", layer.Replace},
	{"openclaw", "/etc/openclaw/gateway-token", "0600", "root", "root", layer.Replace},
	{"openclaw", "/etc/systemd/system/openclaw.service", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/openclaw/backup-key", "0600", "root", "root", layer.Replace},
	{"backup", "/etc/systemd/system/openclaw-backup-archive.service", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/systemd/system/openclaw-backup.service", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/systemd/system/openclaw-backup.timer", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/systemd/system/openclaw-restore-unpack.service", "0644", "root", "root", layer.Replace},
	{"backup", backupPath, "0644", "root", "root", layer.Replace},
	{"backup", "/usr/local/sbin/openclaw-backup", "0755", "root", "root", layer.Replace},
	{"backup", "/usr/local/sbin/openclaw-restore", "0755", "root", "root", layer.Replace},
}

// sysctls are the kernel settings of the network. Only what the machine needs is left on: IPv6 is not.
var sysctls = []struct{ Key, Value string }{
	{"net.ipv6.conf.all.disable_ipv6", "1"},
	{"net.ipv6.conf.default.disable_ipv6", "1"},
	{"net.ipv6.conf.lo.disable_ipv6", "1"},
	{"net.ipv4.ip_forward", "0"}, // peers do not reach each other through the VM
	{"net.ipv4.conf.all.rp_filter", "1"},
	{"net.ipv4.conf.default.rp_filter", "1"},
	{"net.ipv4.conf.all.accept_redirects", "0"},
	{"net.ipv4.conf.default.accept_redirects", "0"},
	{"net.ipv4.conf.all.secure_redirects", "0"},
	{"net.ipv4.conf.default.secure_redirects", "0"},
	{"net.ipv4.conf.all.send_redirects", "0"},
	{"net.ipv4.conf.default.send_redirects", "0"},
	{"net.ipv4.conf.all.accept_source_route", "0"},
	{"net.ipv4.conf.default.accept_source_route", "0"},
	{"net.ipv4.conf.all.log_martians", "1"},
	{"net.ipv4.conf.default.log_martians", "1"},
	{"net.ipv4.icmp_echo_ignore_broadcasts", "1"},
	{"net.ipv4.icmp_ignore_bogus_error_responses", "1"},
	{"net.ipv4.tcp_syncookies", "1"},
	{"net.ipv4.tcp_rfc1337", "1"},
}

// kernelSysctls are settings of the kernel as a whole. Where the host is no machine of its own, as in the lab, its kernel
// is another's and keeps its values: then the proof says that they were not shown.
var kernelSysctls = []struct{ Key, Value string }{
	{"kernel.kptr_restrict", "2"},
	{"kernel.dmesg_restrict", "1"},
	{"kernel.sysrq", "0"},
	{"kernel.yama.ptrace_scope", "2"},
	{"kernel.unprivileged_bpf_disabled", "1"},
	{"kernel.core_uses_pid", "1"},
	{"net.core.bpf_jit_harden", "2"},
	{"fs.suid_dumpable", "0"},
	{"fs.protected_fifos", "2"},
	{"fs.protected_regular", "2"},
	{"fs.protected_hardlinks", "1"},
	{"fs.protected_symlinks", "1"},
	{"dev.tty.ldisc_autoload", "0"},
}

// Azure's metadata service is in the link-local range; its platform address serves agent, DHCP and DNS.
var (
	linkLocal       = netip.MustParsePrefix("169.254.0.0/16")
	platformAddress = netip.MustParsePrefix("168.63.129.16/32")
)

// securityOrigins are the archives that unattended-upgrades takes from, by image. Ubuntu's is named by archive,
// Debian's by codename.
var securityOrigins = map[string]string{
	"ubuntu-24.04": "origin=Ubuntu,archive=${distro_codename}-security,label=Ubuntu",
	"debian-13":    "origin=Debian,codename=${distro_codename}-security,label=Debian-Security",
}

// host is what templates may name.
type host struct {
	*Config
	ServerAddress, DeployerAddress netip.Addr
	BootstrapPort                  uint16
	SSHPorts                       []uint16 // in force
	Sysctls, KernelSysctls         []struct{ Key, Value string }
	ServerKey                      string
	BootstrapKey                   string // its fingerprint
	WireGuardPeers                 []wireGuardPeer
	AuthorizedKeys                 []string
	Admitted                       []admitted
	ServiceDenied                  []netip.Prefix
	GatewayToken                   string
	BackupKey                      string
	SecurityOrigin                 string
	KeyAlgorithms                  string // of users' keys that sshd accepts
}

type wireGuardPeer struct {
	Name                    string
	PublicKey, PresharedKey string
	Address                 netip.Addr
}

// newHost says what the host is to be. image is what the machine was made of.
func newHost(cfg *Config, image string, stack *keys.Stack, peers map[string]*keys.Peer) *host {
	h := &host{
		Config:          cfg,
		ServerAddress:   cfg.ServerAddress(),
		DeployerAddress: cfg.DeployerAddress(),
		BootstrapPort:   bootstrapPort,
		Sysctls:         sysctls,
		KernelSysctls:   kernelSysctls,
		ServerKey:       stack.WireGuardServer.Private.String(),
		BootstrapKey:    ssh.FingerprintSHA256(stack.Bootstrap.PublicKey),
		GatewayToken:    stack.GatewayToken,
		BackupKey:       stack.BackupKey(),
		SecurityOrigin:  securityOrigins[image],
		AuthorizedKeys:  []string{stack.Operator.Public},
		KeyAlgorithms:   "ssh-ed25519,sk-ssh-ed25519@openssh.com",
		ServiceDenied:   []netip.Prefix{linkLocal, platformAddress, cfg.VNet, cfg.VPN},
	}
	h.WireGuardPeers = append(h.WireGuardPeers, wireGuardPeer{
		"deployer", stack.Deployer.Public.String(), stack.Deployer.Preshared.String(), cfg.DeployerAddress()})
	for _, p := range cfg.Peers {
		public := peers[p.Name].Public
		if p.PublicKey != nil {
			public = *p.PublicKey
		}
		h.WireGuardPeers = append(h.WireGuardPeers, wireGuardPeer{
			p.Name, public.String(), peers[p.Name].Preshared.String(), p.Address})
		if p.SSHKey != nil {
			h.AuthorizedKeys = append(h.AuthorizedKeys, authorizedKey(p))
		}
	}
	if cfg.Bootstrap {
		h.SSHPorts = append(h.SSHPorts, bootstrapPort)
		h.KeyAlgorithms += ",rsa-sha2-512,rsa-sha2-256"
		for _, source := range cfg.AllowedSSH {
			h.Admitted = append(h.Admitted, admitted{"tcp", bootstrapPort, source})
		}
	}
	h.SSHPorts = append(h.SSHPorts, cfg.SSHPort)
	h.Admitted = append(h.Admitted,
		admitted{"tcp", cfg.SSHPort, cfg.VPN},
		admitted{"udp", cfg.WireGuardPort, netip.MustParsePrefix("0.0.0.0/0")})
	return h
}

// layers are all layers of the host, in the order in which they are put in place.
func (h *host) layers(stack *keys.Stack) ([]layer.Packed, error) {
	openclaw, err := h.openclaw()
	if err != nil {
		return nil, err
	}
	all := []layer.Layer{
		h.base(stack), h.sysctl(), h.wireguard(stack), h.firewall(), h.ssh(), h.fail2ban(), h.updates(), openclaw, h.backup(),
	}
	var units []string
	for _, l := range all {
		for _, u := range l.Units {
			units = append(units, u.Name)
		}
	}
	all[0].Probes = append(all[0].Probes, h.undeclaredAccess(units)...)
	var packed []layer.Packed
	for _, l := range all {
		for _, f := range slices.Concat(files, lockFiles(h.OpenClawVersion)) {
			if f.layer != l.Name {
				continue
			}
			content, err := h.render(f.path)
			if err != nil {
				return nil, err
			}
			file := layer.File{Path: f.path, Mode: f.mode, Owner: f.owner, Group: f.group, Policy: f.policy, Content: content}
			if f.policy == layer.Env {
				file.Values = h.OpenClawEnv
			}
			l.Files = append(l.Files, file)
		}
		p, err := l.Pack()
		if err != nil {
			return nil, err
		}
		packed = append(packed, p)
	}
	return packed, nil
}

// render gives the content of the file at a path of the VM.
func (h *host) render(path string) ([]byte, error) {
	text, err := templates.ReadFile("templates" + path)
	if err != nil {
		return nil, fmt.Errorf("read the template of %s: %w", path, err)
	}
	if path == applierPath || path == backupPath || strings.HasPrefix(path, "/opt/openclaw/") {
		return text, nil // a program of its own, with braces of its own; what npm wrote
	}
	t, err := template.New(path).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("parse a template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, h); err != nil {
		return nil, fmt.Errorf("render %s: %w", path, err)
	}
	if path == openclawConfigPath && len(h.OpenClawConfig) > 0 {
		return addConfig(out.Bytes(), h.OpenClawConfig)
	}
	return out.Bytes(), nil
}

// addConfig adds the stack's openclawConfig, which has no key of the program's own, to openclaw.json.
func addConfig(base []byte, added map[string]any) ([]byte, error) {
	var config map[string]any
	if err := json.Unmarshal(base, &config); err != nil {
		return nil, fmt.Errorf("read the template of %s: %w", openclawConfigPath, err)
	}
	maps.Copy(config, added)
	for key := range ownedConfig {
		if _, set := added[key]; set {
			return nil, fmt.Errorf("%s.%s is the program's own", keyOpenClawConfig, key)
		}
	}
	out, err := json.MarshalIndent(config, "", "  ")
	return append(out, '\n'), err
}

// ReleaseID names an installation by all that it is made of: another Node or another lock file is another release.
func (h *host) ReleaseID() (string, error) {
	lock, err := templates.ReadFile("templates/opt/openclaw/" + h.OpenClawVersion + "/package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(h.Node.SHA256+"\n"), lock...))
	return h.OpenClawVersion + "-" + hex.EncodeToString(sum[:6]), nil
}

func (h *host) base(stack *keys.Stack) layer.Layer {
	return layer.Layer{
		Name:  "base",
		Armed: true, // sudo and authorized keys
		Packages: []string{"fail2ban", "git", "iptables", "needrestart", "nftables", "openssh-server", "python3-systemd", "sudo", "ufw",
			"unattended-upgrades", "wireguard-tools"},
		Groups: []layer.Group{{Name: "claw"}, {Name: "openclaw", System: true}},
		Users: []layer.User{
			{Name: "claw", Group: "claw", Shell: "/bin/bash", Home: "/home/claw", Password: stack.SudoPassword.Hash},
			// The service: no login, no sudo, no further groups.
			{Name: "openclaw", Group: "openclaw", Shell: "/usr/sbin/nologin", Home: "/var/lib/openclaw", System: true},
		},
		Directories: []layer.Directory{
			{Path: "/home/claw", Mode: "0700", Owner: "claw", Group: "claw"},
			{Path: "/home/claw/.ssh", Mode: "0700", Owner: "claw", Group: "claw"},
			{Path: "/usr/local/lib/openclaw-deploy", Mode: "0755", Owner: "root", Group: "root"},
		},
		Checks: []layer.Check{
			{Argv: []string{"visudo", "-cqf", "{stage}/etc/sudoers.d/10-openclaw"}},
		},
		Units: []layer.Unit{{Name: "openclaw-scrub.service", Enabled: yes}},
		Reload: [][]string{
			{"systemctl", "daemon-reload"},
			{"/usr/local/sbin/openclaw-scrub"},
			endSessions,
		},
		Undo: [][]string{{"systemctl", "daemon-reload"}},
		Probes: []layer.Probe{
			command("copies of customData that hold a key", "", "/usr/local/sbin/openclaw-scrub", "--list"),
		},
	}
}

func (h *host) sysctl() layer.Layer {
	l := layer.Layer{
		Name: "sysctl",
		// -e passes over settings that this kernel has not; what has to be there is probed.
		Reload: [][]string{{"sysctl", "-e", "-q", "-p", "/etc/sysctl.d/99-zz-openclaw.conf"}},
	}
	for _, s := range sysctls {
		l.Probes = append(l.Probes, layer.Probe{Kind: "sysctl", Key: s.Key, Want: s.Value})
	}
	for _, s := range kernelSysctls {
		l.Probes = append(l.Probes, layer.Probe{Kind: "sysctl", Key: s.Key, Want: s.Value, MayLack: true})
	}
	return l
}

func (h *host) wireguard(stack *keys.Stack) layer.Layer {
	peers := map[string][]string{}
	for _, p := range h.WireGuardPeers {
		peers[p.PublicKey] = []string{p.Address.String() + "/32"}
	}
	address := fmt.Sprintf("%s/%d", h.ServerAddress, h.VPN.Bits())
	// syncconf keeps the sessions of every peer that stays, the one that carries this very command among them; only
	// another address of our own needs the interface anew.
	reload := []string{"sh", "-c", `if ! [ -e /etc/wireguard/wg0.conf ]; then exit 0; fi
if ip -4 -o address show dev wg0 2>/dev/null | grep -q -F " ` + address + ` "; then wg-quick strip wg0 | wg syncconf wg0 /dev/stdin
else systemctl restart wg-quick@wg0.service; fi`}
	return layer.Layer{
		Name:        "wireguard",
		Armed:       true,
		Directories: []layer.Directory{{Path: "/etc/wireguard", Mode: "0700", Owner: "root", Group: "root"}},
		// The result goes nowhere: it has the keys.
		Checks: []layer.Check{{Argv: []string{"sh", "-c", "wg-quick strip {stage}/etc/wireguard/wg0.conf >/dev/null"}}},
		Units:  []layer.Unit{{Name: "wg-quick@wg0.service", Enabled: yes, Active: yes}},
		Reload: [][]string{reload, endSessions},
		Probes: []layer.Probe{
			{Kind: "wireguard", Interface: "wg0", Port: h.WireGuardPort, PublicKey: stack.WireGuardServer.Public.String(), Peers: peers},
			shell("address of wg0", address, `ip -4 -o address show dev wg0 | awk '{print $4}'`),
			shell("MTU of wg0", "1280", `cat /sys/class/net/wg0/mtu`),
		},
	}
}

func (h *host) firewall() layer.Layer {
	return layer.Layer{
		Name:  "firewall",
		Armed: true,
		Checks: []layer.Check{
			{Argv: []string{"sh", "-c", "iptables-restore --test <{stage}/etc/ufw/user.rules"}},
		},
		Units: []layer.Unit{{Name: "ufw.service", Enabled: yes, Active: yes}},
		// `ufw reload` takes everything out before it puts all in again: for a moment every port is open.
		Quick: &layer.Quick{Path: "/etc/ufw/user.rules", Argv: []string{"sh", "-c", "iptables-restore --noflush --wait 10 </etc/ufw/user.rules"}},
		Reload: [][]string{
			// Where UFW's chains are there, a reload never puts back its own jumps into them.
			{"sh", "-c", "iptables -C INPUT -j ufw-before-input 2>/dev/null || /usr/lib/ufw/ufw-init flush-all"},
			{"ufw", "reload"},
		},
		// On a first deploy the file that was there says that UFW is off, and `ufw reload` would leave ours loaded.
		Undo:   [][]string{{"sh", "-c", "if grep -q '^ENABLED=yes' /etc/ufw/ufw.conf; then ufw reload; else /usr/lib/ufw/ufw-init force-stop; fi"}},
		Probes: append(h.loaded(), undeclaredRules()),
	}
}

func (h *host) ssh() layer.Layer {
	var ports, listening []string
	for _, p := range h.SSHPorts {
		ports = append(ports, fmt.Sprint(p))
		listening = append(listening, fmt.Sprintf("0.0.0.0:%d", p))
	}
	slices.Sort(ports)
	slices.Sort(listening)
	effective := map[string]string{
		"port":                         strings.Join(ports, " "),
		"addressfamily":                "inet",
		"hostkey":                      hostKeyPath,
		"permitrootlogin":              "no",
		"pubkeyauthentication":         "yes",
		"passwordauthentication":       "no",
		"kbdinteractiveauthentication": "no",
		"permitemptypasswords":         "no",
		"hostbasedauthentication":      "no",
		"maxauthtries":                 "3",
		"logingracetime":               "30",
		"x11forwarding":                "no",
		"allowagentforwarding":         "no",
		"allowstreamlocalforwarding":   "no",
		"permittunnel":                 "no",
		"gatewayports":                 "no",
		"permituserenvironment":        "no",
		"loglevel":                     "VERBOSE",
		"hostkeyalgorithms":            "ssh-ed25519",
		"ciphers":                      "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr",
		"macs":                         "hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com",
		"permitopen":                   fmt.Sprintf("127.0.0.1:%d", outputs.GatewayPort),
		"requiredrsasize":              "3072",
		"allowtcpforwarding":           "local",
		"authorizedkeysfile":           ".ssh/authorized_keys .ssh/authorized_keys2",
		"authorizedkeyscommand":        "none",
		"authorizedprincipalscommand":  "none",
		"trustedusercakeys":            "none",
		"forcecommand":                 "none",
		"allowusers":                   "claw",
		"pubkeyacceptedalgorithms":     h.KeyAlgorithms,
	}
	probes := []layer.Probe{
		undeclaredSSH(),
		{Kind: "sshd", User: "claw", Addr: h.DeployerAddress.String(), LPort: h.SSHPort, Want: effective},
		shell("key exchange that is not modern", "0", `sshd -T | grep '^kexalgorithms ' | grep -c -e diffie-hellman -e ecdh-sha2 || true`),
		shell("ports that sshd listens on", strings.Join(listening, "\n"), `ss -H -l -t -n -p | awk '/"sshd"/ {print $4}' | LC_ALL=C sort`),
	}
	if h.Bootstrap {
		probes = append(probes, layer.Probe{Kind: "sshd", User: h.AdminUsername, Addr: h.AllowedSSH[0].Addr().String(), LPort: bootstrapPort,
			Want: map[string]string{"allowusers": h.AdminUsername, "passwordauthentication": "no", "permitrootlogin": "no",
				"maxauthtries": "3", "logingracetime": "30", "allowtcpforwarding": "no"}})
	}
	return layer.Layer{
		Name:   "ssh",
		Armed:  true,
		Checks: []layer.Check{{Argv: []string{"sshd", "-t", "-f", "{stage}/etc/ssh/sshd_config.d/00-openclaw.conf"}}},
		Units: []layer.Unit{
			// With socket activation, Ubuntu's default, systemd listens and sshd's ports count for nothing. Off, not
			// masked: a masked socket breaks ssh.service.
			{Name: "ssh.socket", Enabled: no, Active: no},
			{Name: "ssh.service", Enabled: yes, Active: yes},
		},
		Reload: [][]string{{"systemctl", "restart", "ssh.service"}},
		Probes: probes,
	}
}

// OwnRefusals is what a refusal of the deployer's own key on port 22 looks like in sshd's log: its retries must not lock it
// out, while whoever shares its address has another key.
func (h *host) OwnRefusals() string { return regexp.QuoteMeta(h.BootstrapKey) + "$" }

func (h *host) fail2ban() layer.Layer {
	return layer.Layer{
		Name:   "fail2ban",
		Checks: []layer.Check{},
		Units:  []layer.Unit{{Name: "fail2ban.service", Enabled: yes, Active: yes}},
		Reload: [][]string{{"fail2ban-client", "-t"}, {"systemctl", "restart", "fail2ban.service"},
			{"sh", "-c", "for i in $(seq 50); do sleep 0.2; fail2ban-client ping >/dev/null 2>&1 && exit 0; done; echo 'fail2ban does not answer after 10 s' >&2; exit 1"}},
		Probes: []layer.Probe{
			undeclaredJails(),
			{Kind: "jail", Name: "sshd", Want: map[string]string{"maxretry": "3", "bantime": "3600", "findtime": "600", "ignoreip": h.DeployerAddress.String(),
				"ignoreregex": h.OwnRefusals()}},
		},
	}
}

func (h *host) updates() layer.Layer {
	return layer.Layer{
		Name:   "updates",
		Checks: []layer.Check{{Argv: []string{"apt-config", "-c", "{stage}/etc/apt/apt.conf.d/52openclaw-upgrades", "dump"}}},
		Units: []layer.Unit{
			{Name: "apt-daily.timer", Enabled: yes, Active: yes},
			{Name: "apt-daily-upgrade.timer", Enabled: yes, Active: yes},
		},
		Probes: []layer.Probe{
			shell("origins that are upgraded", fmt.Sprintf("Unattended-Upgrade::Origins-Pattern:: %q;", h.SecurityOrigin),
				`apt-config dump | grep -E '^Unattended-Upgrade::(Origins-Pattern|Allowed-Origins)::'`),
			shell("reboot after an upgrade", `Unattended-Upgrade::Automatic-Reboot "false";`, `apt-config dump Unattended-Upgrade::Automatic-Reboot`),
			shell("upgrades every N days", `APT::Periodic::Unattended-Upgrade "1";`, `apt-config dump APT::Periodic::Unattended-Upgrade`),
		},
	}
}

func (h *host) openclaw() (layer.Layer, error) {
	release, err := h.ReleaseID()
	if err != nil {
		return layer.Layer{}, err
	}
	return layer.Layer{
		Name:  "openclaw",
		Waits: fmt.Sprintf("installing OpenClaw %s where it is not, and waiting until its gateway is ready", h.OpenClawVersion),
		Directories: []layer.Directory{
			{Path: "/opt/openclaw", Mode: "0755", Owner: "root", Group: "root"},
			{Path: "/etc/openclaw", Mode: "0750", Owner: "root", Group: "openclaw"},
			{Path: "/var/lib/openclaw", Mode: "0700", Owner: "openclaw", Group: "openclaw"},
		},
		CommandSeconds: installSeconds,
		Checks: []layer.Check{
			{Argv: verifyUnits("openclaw.service")},
			// Beside the one that runs, and before anything is replaced: a wrong hash or a configuration that OpenClaw
			// refuses changes nothing.
			{Argv: []string{"{stage}" + installerPath, "prepare", "{stage}"}},
		},
		// The installer starts it: only that sees whether it gets ready.
		Units:  []layer.Unit{{Name: "openclaw.service", Enabled: yes}},
		Reload: [][]string{{"systemctl", "daemon-reload"}, {installerPath, "switch"}},
		// A first deploy has put nothing there to go back to.
		Undo: [][]string{{"systemctl", "daemon-reload"}, {"sh", "-c", "! [ -x " + installerPath + " ] || exec " + installerPath + " back"}},
		Probes: []layer.Probe{
			command("OpenClaw's release", release, installerPath, "installed"),
			{Kind: "command", Subject: "OpenClaw's gateway", Argv: []string{installerPath, "ready"}, Want: "ready", Seconds: readySeconds},
		},
	}, nil
}

func (h *host) backup() layer.Layer {
	return layer.Layer{
		Name:           "backup",
		CommandSeconds: installSeconds, // a backup of a large state
		Directories: []layer.Directory{
			{Path: "/backups", Mode: "0755", Owner: "root", Group: "root"},
			{Path: "/backups/openclaw", Mode: "0750", Owner: "root", Group: "claw"},
			{Path: "/var/lib/openclaw-backup", Mode: "0700", Owner: "root", Group: "root"},
			{Path: "/var/lib/openclaw-restore", Mode: "0700", Owner: "root", Group: "root"},
			{Path: "/var/spool/openclaw-backup", Mode: "0700", Owner: "openclaw", Group: "openclaw"},
		},
		Checks: []layer.Check{{Argv: verifyUnits("openclaw-backup-archive.service", "openclaw-backup.service", "openclaw-backup.timer",
			"openclaw-restore-unpack.service")}},
		Units: []layer.Unit{{Name: "openclaw-backup.timer", Enabled: yes, Active: yes}},
		Reload: [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "restart", "openclaw-backup.timer"},
			// Where a run failed or is missing, that is mended by a run.
			{"/usr/local/sbin/openclaw-backup", "--mend"}},
		Undo: [][]string{{"systemctl", "daemon-reload"}},
		Probes: []layer.Probe{
			command("faults of the backups", "", "/usr/local/sbin/openclaw-backup", "--check"),
		},
	}
}

// endSessions ends what keys and peers that were revoked have open.
var endSessions = []string{"/usr/local/sbin/openclaw-sessions"}

var (
	yes = ptr(true)
	no  = ptr(false)
)

func ptr[T any](v T) *T { return &v }

// command probes that a program prints a text.
func command(subject, want string, argv ...string) layer.Probe {
	return layer.Probe{Kind: "command", Subject: subject, Argv: argv, Want: want}
}

// shell probes that a script prints a text.
func shell(subject, want, script string) layer.Probe {
	return command(subject, want, "sh", "-c", script)
}

// verifyUnits checks staged units. A program that a later layer or step installs is no fault yet.
func verifyUnits(names ...string) []string {
	script := "cd {stage}/etc/systemd/system && faults=$(systemd-analyze verify"
	for _, name := range names {
		script += " ./" + name
	}
	return []string{"sh", "-c", script + ` 2>&1 | grep -v 'is not executable' | grep -F './' ); [ -z "$faults" ] || { echo "$faults" >&2; exit 1; }`}
}

// authorizedKey is an admin's line: the key's comment is the peer's name, so that the journal and readers see whose
// key it is.
func authorizedKey(p Peer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p.SSHKey))) + " " + p.Name
}
