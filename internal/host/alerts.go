package host

import (
	"encoding/json"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

func (h *Host) alerts() layer.Layer {
	// Nobody is told, and nobody looks.
	told := no
	reload := [][]string{{"systemctl", "daemon-reload"}}
	if len(h.Alerts) > 0 {
		told = yes
		reload = append(reload, []string{"systemctl", "restart", "openclaw-alert.timer"})
	}
	return layer.Layer{
		Directories: []layer.Directory{
			{Path: "/etc/openclaw-alert", Mode: "0700", Owner: "root", Group: "root"},
			{Path: "/var/lib/openclaw-alert", Mode: "0700", Owner: "root", Group: "root"},
		},
		Checks: []layer.Check{
			{Argv: verifyUnits("openclaw-alert.service", "openclaw-alert.timer")},
			{Argv: []string{"{stage}" + machine.AlertPath, "check", "{stage}/etc/openclaw-alert/alerts.json"}},
		},
		Units: []layer.Unit{
			{Name: "openclaw-alert.timer", Enabled: told, Active: told},
			{Name: "openclaw-alert.service"},
		},
		Reload:   reload,
		Undo:     [][]string{{"systemctl", "daemon-reload"}},
		Warnings: [][]string{{machine.AlertPath, "warnings"}},
	}
}

// ReceiversJSON is what the program that tells reads.
func (h *Host) ReceiversJSON() (string, error) {
	type receiver struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
		URL  string `json:"url"`
	}
	list := []receiver{}
	for _, r := range h.Alerts {
		list = append(list, receiver(r))
	}
	text, err := json.MarshalIndent(map[string]any{"receivers": list}, "", "  ")
	return string(text), err
}
