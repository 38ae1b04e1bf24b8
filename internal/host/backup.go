package host

import (
	"openclaw-azure/internal/layer"
)

func (h *Host) backup() layer.Layer {
	return layer.Layer{
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
			layer.Command("faults of the backups", "", "/usr/local/sbin/openclaw-backup", "--check"),
		},
	}
}
