package main

import (
	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/layer"
)

// What grants access and nobody declared is drift, and goes. What packages bring is known by dpkg, what the image brings
// was noted on the host before the layer was first applied there.

// privileged are the groups whose members become root, or read what root reads.
var privileged = []string{"root", "sudo", "wheel", "admin", "adm", "disk", "shadow", "kmem", "staff", "docker", "lxd", "incus-admin", "incus", "libvirt"}

// undeclaredAccess watches sudo, keys, accounts, what runs as root by itself, and what units are made of.
func (h *host) undeclaredAccess(stack *keys.Stack, units []string) ([]layer.Probe, error) {
	bootstrap, _, _, _, err := ssh.ParseAuthorizedKey([]byte(stack.Bootstrap.Public))
	if err != nil {
		return nil, err
	}
	// cloud-init gives the admin's key to root as well, behind a command that only says whom to log in as.
	ours := []string{ssh.FingerprintSHA256(bootstrap)}
	return []layer.Probe{
		{Kind: "files",
			Paths: []string{
				"/etc/sudoers", "/etc/sudoers.d/*", "/etc/sudo.conf", "/etc/doas.conf", "/etc/polkit-1/rules.d/*",
				"/etc/crontab", "/etc/cron.*/*", "/var/spool/cron/crontabs/*", "/var/spool/cron/atjobs/*", "/etc/rc.local",
				"/etc/systemd/system/*", "/etc/systemd/system/*/*", "/etc/systemd/system.control/*/*",
				"/usr/local/lib/systemd/system/*", "/usr/local/lib/systemd/system/*/*",
				"/usr/lib/systemd/system/*.d/*", "/usr/lib/systemd/system/*.service", "/usr/lib/systemd/system/*.timer",
				"/etc/systemd/system-generators/*", "/usr/local/lib/systemd/system-generators/*", "/var/lib/systemd/linger/*",
				"/etc/pam.d/*", "/etc/ld.so.preload",
			},
			Except: []string{
				// The operator's own.
				"/var/spool/cron/crontabs/claw", "/var/lib/systemd/linger/claw",
				// Made anew by pam-auth-update whenever a package brings a module.
				"/etc/pam.d/common-*",
			},
			Generated: map[string]string{
				// snapd writes its units when it pleases. Neither runs anything but snap.
				"/etc/systemd/system/snap-*.mount": `(?s)\[Unit\]\n((?!Exec|OnFailure|OnSuccess).)*`,
			},
			Units: units},
		{Kind: "keys", Allowed: map[string][]string{h.AdminUsername: ours, "root": ours}},
		{Kind: "accounts", Admins: []string{h.AdminUsername}, Privileged: privileged},
	}, nil
}

// undeclaredSSH watches what sshd reads, beside the layer's own drop-in.
func undeclaredSSH() layer.Probe {
	return layer.Probe{Kind: "files", Paths: []string{"/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/*"}}
}

// undeclaredRules watches what UFW runs and loads beside the layer's own files.
func undeclaredRules() layer.Probe {
	return layer.Probe{Kind: "files", Paths: []string{"/etc/ufw/before.init", "/etc/ufw/after.init", "/etc/ufw/after.rules"}}
}

// undeclaredJails watches what fail2ban reads: an action of it runs as root.
func undeclaredJails() layer.Probe {
	return layer.Probe{Kind: "files", Paths: []string{"/etc/fail2ban/*.local", "/etc/fail2ban/*.conf", "/etc/fail2ban/*.d/*"}}
}
