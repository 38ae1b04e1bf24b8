package host

import (
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

func (h *Host) base() layer.Layer {
	units := []layer.Unit{{Name: "openclaw-scrub.service", Enabled: yes}}
	for _, name := range packagesOwn {
		units = append(units, layer.Unit{Name: name, Masked: true})
	}
	return layer.Layer{
		Armed: true, // sudo and authorized keys
		Packages: []string{"fail2ban", "git", "haproxy", "iptables", "needrestart", "nftables", "openssh-server", "python3-systemd", "sudo", "ufw",
			"unattended-upgrades", "unbound", "wireguard-tools"},
		Groups: []layer.Group{{Name: machine.Operator}, {Name: machine.Service, System: true}},
		Users: []layer.User{
			{Name: machine.Operator, Group: machine.Operator, Shell: "/bin/bash", Home: "/home/claw", Password: h.stack.SudoPassword.Hash},
			// The service: no login, no sudo, no further groups.
			{Name: machine.Service, Group: machine.Service, Shell: "/usr/sbin/nologin", Home: "/var/lib/openclaw", System: true},
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
		Warnings: [][]string{{endSessions[0], "--ended"}},
		Probes: []layer.Probe{
			layer.Command("copies of customData that hold a key", "", "/usr/local/sbin/openclaw-scrub", "--list"),
		},
	}
}

// endSessions ends what keys and peers that were revoked have open.
var endSessions = []string{"/usr/local/sbin/openclaw-sessions"}
