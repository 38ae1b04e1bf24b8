package host

import (
	"regexp"

	"openclaw-azure/internal/layer"
)

// OwnRefusals is what a refusal of the deployer's own key on port 22 looks like in sshd's log: its retries must not lock it
// out, while whoever shares its address has another key.
func (h *Host) OwnRefusals() string { return regexp.QuoteMeta(h.BootstrapKey) + "$" }

func (h *Host) fail2ban() layer.Layer {
	return layer.Layer{
		Checks: []layer.Check{},
		Units:  []layer.Unit{{Name: "fail2ban.service", Enabled: yes, Active: yes}},
		Reload: [][]string{{"fail2ban-client", "-t"}, {"systemctl", "restart", "fail2ban.service"},
			{"sh", "-c", "for i in $(seq 50); do sleep 0.2; fail2ban-client ping >/dev/null 2>&1 && exit 0; done; echo 'fail2ban does not answer after 10 s' >&2; exit 1"}},
		Probes: []layer.Probe{
			undeclaredJails(),
			layer.Jail("sshd", map[string]string{"maxretry": "3", "bantime": "3600", "findtime": "600", "ignoreip": h.DeployerAddress().String(),
				"ignoreregex": h.OwnRefusals()}),
		},
	}
}
