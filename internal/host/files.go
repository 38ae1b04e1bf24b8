package host

import (
	"slices"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

// file says mode, owner and policy of a file that a template makes, and the layer that it belongs to.
type file struct{ layer, path, mode, owner, group, policy string }

// lockFiles pin every package of a version of OpenClaw, but for plugins: release.json has those of the stack.
func lockFiles(version string) []file {
	var out []file
	for _, name := range []string{"package-lock.json", "package.json"} {
		out = append(out, file{"openclaw", "/opt/openclaw/" + version + "/" + name, "0644", "root", "root", layer.Replace})
	}
	return out
}

// table has the files of every stack; a version's lock files come on top.
var table = []file{
	{"base", "/etc/sudoers.d/10-openclaw", "0440", "root", "root", layer.Replace},
	{"base", "/etc/cloud/cloud.cfg.d/99-openclaw.cfg", "0644", "root", "root", layer.Replace},
	{"base", "/etc/systemd/system/openclaw-scrub.service", "0644", "root", "root", layer.Replace},
	{"base", "/usr/local/sbin/openclaw-scrub", "0755", "root", "root", layer.Replace},
	{"base", "/usr/local/sbin/openclaw-sessions", "0755", "root", "root", layer.Replace},
	{"base", machine.ApplierPath, "0644", "root", "root", layer.Replace},
	{"base", machine.DeployPath, "0755", "root", "root", layer.Replace},
	{"base", machine.ObservePath, "0755", "root", "root", layer.Replace},
	// sshd reads them as the user.
	{"base", "/etc/ssh/authorized_keys/openclaw-deploy", "0644", "root", "root", layer.Replace},
	{"base", "/etc/ssh/authorized_keys/claw", "0644", "root", "root", layer.Replace},
	{"sysctl", "/etc/sysctl.d/99-zz-openclaw.conf", "0644", "root", "root", layer.Replace},
	{"wireguard", "/etc/wireguard/wg0.conf", "0600", "root", "root", layer.Replace},
	{"firewall", "/etc/default/ufw", "0644", "root", "root", layer.Replace},
	{"firewall", "/etc/ufw/ufw.conf", "0644", "root", "root", layer.Replace},
	{"firewall", "/etc/ufw/before.rules", "0640", "root", "root", layer.Replace},
	// Without a header and in UFW's own words: UFW writes this file anew at every reload.
	{"firewall", "/etc/ufw/user.rules", "0640", "root", "root", layer.Replace},
	{"ssh", machine.SSHDropIn, "0600", "root", "root", layer.Replace},
	{"fail2ban", "/etc/fail2ban/jail.d/10-openclaw.local", "0644", "root", "root", layer.Replace},
	{"updates", "/etc/apt/apt.conf.d/52openclaw-upgrades", "0644", "root", "root", layer.Replace},
	{"updates", "/etc/needrestart/conf.d/openclaw.conf", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/addresses", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/gate.cfg", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/gate.nft", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/names", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/never", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/places", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/ports", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/resolv.conf", "0644", "root", "root", layer.Replace},
	{"network", "/etc/openclaw-gate/suffixes", "0644", "root", "root", layer.Replace},
	{"network", "/etc/systemd/journald@openclaw-egress.conf", "0644", "root", "root", layer.Replace},
	{"network", "/etc/systemd/journald@openclaw.conf", "0644", "root", "root", layer.Replace}, // an installation logs there first
	{"network", "/etc/systemd/system/openclaw-dns.service", "0644", "root", "root", layer.Replace},
	{"network", "/etc/systemd/system/openclaw-dns.socket", "0644", "root", "root", layer.Replace},
	{"network", "/etc/systemd/system/openclaw-entry.service", "0644", "root", "root", layer.Replace},
	{"network", "/etc/systemd/system/openclaw-entry.socket", "0644", "root", "root", layer.Replace},
	{"network", "/etc/systemd/system/openclaw-gate.service", "0644", "root", "root", layer.Replace},
	{"network", "/etc/systemd/system/openclaw-gate.socket", "0644", "root", "root", layer.Replace},
	{"network", "/etc/systemd/system/openclaw-net.service", "0644", "root", "root", layer.Replace},
	{"network", "/etc/unbound/openclaw-names.conf", "0644", "root", "root", layer.Replace},
	{"network", "/etc/unbound/openclaw.conf", "0644", "root", "root", layer.Replace},
	{"network", machine.EgressPath, "0755", "root", "root", layer.Replace},
	{"network", "/etc/systemd/system/openclaw-keys.socket", "0644", "root", "root", layer.Replace}, // whoever makes the network anew starts it
	{"providers", "/etc/openclaw-keys/budget.json", "0644", "root", "root", layer.Replace},
	{"providers", "/etc/openclaw-keys/keys", "0600", "root", "root", layer.Replace},
	{"providers", "/etc/openclaw-keys/keys.cfg", "0644", "root", "root", layer.Replace},
	{"providers", "/etc/openclaw-keys/prices.json", "0644", "root", "root", layer.Replace},
	{"providers", "/etc/systemd/system/openclaw-budget.service", "0644", "root", "root", layer.Replace},
	{"providers", "/etc/systemd/system/openclaw-budget.socket", "0644", "root", "root", layer.Replace},
	{"providers", "/etc/systemd/system/openclaw-keys.service", "0644", "root", "root", layer.Replace},
	{"providers", machine.BudgetPath, "0755", "root", "root", layer.Replace},
	{"openclaw", "/etc/openclaw.env", "0640", "root", "openclaw", layer.Env},
	{"openclaw", machine.ConfigPath, "0640", "root", "openclaw", layer.Replace},
	{"openclaw", "/etc/openclaw/release.json", "0644", "root", "root", layer.Replace},
	{"openclaw", machine.InstallerPath, "0755", "root", "root", layer.Replace},
	{"openclaw", "/usr/local/sbin/openclaw", "0755", "root", "root", layer.Replace},
	{"openclaw", "/etc/openclaw/keys.json", "0600", "root", "root", layer.Replace},
	{"openclaw", "/etc/openclaw/gateway-token", "0600", "root", "root", layer.Replace},
	{"openclaw", "/etc/systemd/system/openclaw.service", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/openclaw/backup-recipients", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/systemd/system/openclaw-backup-archive.service", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/systemd/system/openclaw-backup.service", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/systemd/system/openclaw-backup.timer", "0644", "root", "root", layer.Replace},
	{"backup", "/etc/systemd/system/openclaw-restore@.service", "0644", "root", "root", layer.Replace},
	{"backup", machine.BackupPath, "0644", "root", "root", layer.Replace},
	{"backup", "/usr/local/sbin/openclaw-backup", "0755", "root", "root", layer.Replace},
	{"backup", "/usr/local/sbin/openclaw-restore", "0755", "root", "root", layer.Replace},
	{"alerts", "/etc/openclaw-alert/alerts.json", "0600", "root", "root", layer.Replace},
	{"alerts", "/etc/systemd/system/openclaw-alert.service", "0644", "root", "root", layer.Replace},
	{"alerts", "/etc/systemd/system/openclaw-alert.timer", "0644", "root", "root", layer.Replace},
	{"alerts", machine.AlertPath, "0755", "root", "root", layer.Replace},
}

// files are those of a layer, rendered.
func (h *Host) files(of string) ([]layer.File, error) {
	var out []layer.File
	for _, f := range slices.Concat(table, lockFiles(h.OpenClawVersion)) {
		if f.layer != of {
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
		out = append(out, file)
	}
	return out, nil
}
