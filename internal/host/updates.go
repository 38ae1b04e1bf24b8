package host

import (
	"fmt"

	"openclaw-azure/internal/layer"
)

// securityOrigins are the archives that unattended-upgrades takes from, by image. Ubuntu's is named by archive,
// Debian's by codename.
var securityOrigins = map[string]string{
	"ubuntu-24.04": "origin=Ubuntu,archive=${distro_codename}-security,label=Ubuntu",
	"debian-13":    "origin=Debian,codename=${distro_codename}-security,label=Debian-Security",
}

func (h *Host) updates() layer.Layer {
	return layer.Layer{
		Checks: []layer.Check{{Argv: []string{"apt-config", "-c", "{stage}/etc/apt/apt.conf.d/52openclaw-upgrades", "dump"}}},
		Units: []layer.Unit{
			{Name: "apt-daily.timer", Enabled: yes, Active: yes},
			{Name: "apt-daily-upgrade.timer", Enabled: yes, Active: yes},
		},
		Probes: []layer.Probe{
			layer.Shell("origins that are upgraded", fmt.Sprintf("Unattended-Upgrade::Origins-Pattern:: %q;", h.SecurityOrigin),
				`apt-config dump | grep -E '^Unattended-Upgrade::(Origins-Pattern|Allowed-Origins)::'`),
			layer.Shell("reboot after an upgrade", `Unattended-Upgrade::Automatic-Reboot "false";`, `apt-config dump Unattended-Upgrade::Automatic-Reboot`),
			layer.Shell("upgrades every N days", `APT::Periodic::Unattended-Upgrade "1";`, `apt-config dump APT::Periodic::Unattended-Upgrade`),
		},
	}
}
