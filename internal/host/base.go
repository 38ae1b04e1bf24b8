package host

import (
	"net/netip"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

// observer is a peer that may look.
type observer struct {
	Address netip.Addr
	Key     string
}

func (h *Host) base() layer.Layer {
	units := []layer.Unit{{Name: "openclaw-scrub.service", Enabled: yes}}
	for _, name := range packagesOwn {
		units = append(units, layer.Unit{Name: name, Masked: true})
	}
	return layer.Layer{
		Armed: true, // sudo and authorized keys
		Packages: []string{"age", "fail2ban", "git", "haproxy", "iptables", "needrestart", "nftables", "openssh-server", "python3-h11", "python3-systemd", "sudo", "ufw",
			"unattended-upgrades", "unbound", "wireguard-tools", "zstd"},
		Groups: []layer.Group{{Name: machine.Operator}, {Name: machine.Deploy, System: true}, {Name: machine.Service, System: true},
			{Name: machine.Keys, System: true}, {Name: machine.Budget, System: true}},
		Users: []layer.User{
			{Name: machine.Operator, Group: machine.Operator, Shell: "/bin/bash", Home: "/home/claw", Password: h.stack.SudoPassword.Hash},
			// Nothing that it is given lies where a user may write.
			{Name: machine.Deploy, Group: machine.Deploy, Shell: "/bin/sh", Home: "/", System: true},
			// The service: no login, no sudo, no further groups, and no home: a user manager would run what it wrote there.
			{Name: machine.Service, Group: machine.Service, Shell: "/usr/sbin/nologin", Home: "/nonexistent", System: true},
			{Name: machine.Keys, Group: machine.Keys, Shell: "/usr/sbin/nologin", Home: "/nonexistent", System: true},
			{Name: machine.Budget, Group: machine.Budget, Shell: "/usr/sbin/nologin", Home: "/nonexistent", System: true},
		},
		Directories: []layer.Directory{
			{Path: "/home/claw", Mode: "0700", Owner: machine.Operator, Group: machine.Operator},
			{Path: "/etc/ssh/authorized_keys", Mode: "0755", Owner: "root", Group: "root"},
			{Path: machine.DeployFolder, Mode: "0755", Owner: "root", Group: "root"},
		},
		Checks: []layer.Check{
			{Argv: []string{"visudo", "-cqf", "{stage}/etc/sudoers.d/10-openclaw"}},
		},
		Units: units,
		Reload: [][]string{
			{"systemctl", "daemon-reload"},
			{"/usr/local/sbin/openclaw-scrub"},
			endSessions,
		},
		Undo:     [][]string{{"systemctl", "daemon-reload"}},
		Warnings: [][]string{{endSessions[0], "--ended"}, tellSources},
		Probes: []layer.Probe{
			// Read, never tried: the password would go through claw's own shell.
			sudoLets(machine.Operator, "(ALL : ALL) ALL"),
			sudoLets(machine.Deploy, "(root) NOPASSWD: "+machine.DeployPath+", "+machine.ObservePath+` ""`),
			layer.Command("copies of customData that hold a key", "", "/usr/local/sbin/openclaw-scrub", "--list"),
		},
	}
}

// brokenSources is where the applier notes what is wrong with sources of packages.
const brokenSources = machine.StateFolder + "/package-sources"

// tellSources tells of them until apt's own job has read the lists without a fault.
var tellSources = []string{"sh", "-c", "[ ! -e " + brokenSources + " ] || [ /var/lib/apt/periodic/update-stamp -nt " + brokenSources + " ] || cat " + brokenSources}

// endSessions ends what keys and peers that were revoked have open.
var endSessions = []string{"/usr/local/sbin/openclaw-sessions"}

// sudoLets reads what sudo lets a user do, and before it the settings that change who is asked for which password.
func sudoLets(user, want string) layer.Probe {
	return layer.Shell("what sudo lets "+user+" do", want, `LC_ALL=C sudo -n -l -U `+user+` | awk '
/ may run / { rules = 1; next }
rules { sub(/^ +/, ""); print; next }
{ for (n = split($0, words, /[ ,]+/); n > 0; n--) if (words[n] ~ /^(!authenticate|(target|root|runas)pw|requiretty)$/) print words[n] }' | paste -sd ' '`)
}
