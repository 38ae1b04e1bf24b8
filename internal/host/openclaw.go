package host

import (
	"fmt"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

// installSeconds bounds an installation and a switch: 330 packages from a slow line, and a gateway that takes minutes
// on a loaded machine.
const installSeconds = 1500

// readySeconds bounds a look at a gateway that was just started.
const readySeconds = 45

func (h *Host) openclaw() layer.Layer {
	waits := fmt.Sprintf("installing OpenClaw %s where it is not, and waiting until its gateway is ready", h.OpenClawVersion)
	for _, p := range h.Plugins {
		if p.Limits != "" {
			waits += "; plugin " + p.ID + ": " + p.Limits
		}
	}
	return layer.Layer{
		Waits: waits,
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
			{Argv: []string{"{stage}" + machine.InstallerPath, "prepare", "{stage}"}},
		},
		// The installer starts it: only that sees whether it gets ready.
		Units:  []layer.Unit{{Name: "openclaw.service", Enabled: yes}},
		Reload: [][]string{{"systemctl", "daemon-reload"}, {machine.InstallerPath, "switch"}},
		// A first deploy has put nothing there to go back to.
		Undo:     [][]string{{"systemctl", "daemon-reload"}, {"sh", "-c", "! [ -x " + machine.InstallerPath + " ] || exec " + machine.InstallerPath + " back"}},
		Warnings: [][]string{{machine.InstallerPath, "warnings"}},
		Probes: []layer.Probe{
			layer.Command("the owner of OpenClaw's state", machine.Service, machine.InstallerPath, "owner"),
			layer.Command("OpenClaw's release", h.ReleaseID(), machine.InstallerPath, "installed"),
			layer.Command("OpenClaw's gateway", "ready", machine.InstallerPath, "ready").Within(readySeconds),
			layer.Sockets("openclaw.service", machine.Service),
			layer.Shell("the network that OpenClaw runs in", "its own", ownNetwork),
		},
	}
}

// ownNetwork compares the running process's network with the agent's; one that does not run is the gateway's own finding.
const ownNetwork = `pid=$(systemctl show --property=MainPID --value openclaw.service)
if [ "$pid" = 0 ] || [ "$(stat -Lc %i "/proc/$pid/ns/net")" = "$(stat -Lc %i ` + machine.Namespace + `)" ]; then echo its own; else echo "the host's"; fi`
