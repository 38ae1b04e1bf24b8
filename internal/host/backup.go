package host

import (
	"strings"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

const backupProgram = "/usr/local/sbin/openclaw-backup"

func (h *Host) backup() layer.Layer {
	return layer.Layer{
		CommandSeconds: installSeconds, // a backup of a large state
		Directories: []layer.Directory{
			{Path: "/backups", Mode: "0755", Owner: "root", Group: "root"},
			{Path: "/backups/openclaw", Mode: "0750", Owner: "root", Group: machine.Operator},
			{Path: "/var/lib/openclaw-backup", Mode: "0700", Owner: "root", Group: "root"},
			{Path: "/var/lib/openclaw-restore", Mode: "0700", Owner: "root", Group: "root"},
			{Path: "/var/spool/openclaw-backup", Mode: "0700", Owner: machine.Service, Group: machine.Service},
		},
		Checks: []layer.Check{{Argv: verifyUnits("openclaw-backup-archive.service", "openclaw-backup.service", "openclaw-backup.timer",
			"openclaw-restore@.service")}},
		Units: []layer.Unit{{Name: "openclaw-backup.timer", Enabled: yes, Active: yes}},
		Reload: [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "restart", "openclaw-backup.timer"},
			// Where a run failed or is missing, that is mended by a run.
			{backupProgram, "--mend"}},
		Undo:     [][]string{{"systemctl", "daemon-reload"}},
		Warnings: [][]string{{backupProgram, "--left-out"}},
		Facts:    [][]string{{backupProgram, "--newest"}},
		Probes: []layer.Probe{
			layer.Command("faults of the backups", "", backupProgram, "--check"),
		},
	}
}

// AgentFolder is the folder that the agent has beside its state; empty where the sandbox gives it none.
func (h *Host) AgentFolder() string {
	for _, relaxed := range h.Sandbox {
		for line := range strings.Lines(relaxed) {
			if folder, ok := strings.CutPrefix(strings.TrimSpace(line), "ReadWritePaths="); ok {
				return folder
			}
		}
	}
	return ""
}
