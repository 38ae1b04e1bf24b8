package lastrun

import (
	"fmt"
	"strings"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/hint"
)

// Refuse says what cannot be asked for now, all at once: nothing has changed then. last is nil if no run has succeeded.
func Refuse(cfg *config.Config, last *Run) error {
	if last != nil {
		for _, d := range []struct{ key, value, stands string }{{config.KeyLocation, cfg.Location, last.Location}, {config.KeyResourceGroup, cfg.ResourceGroup, last.ResourceGroup}} {
			if d.value != d.stands {
				return hint.To(fmt.Errorf("%s: value %q, the machine stands in %q: Azure moves none, and one made anew there would take nothing along", d.key, d.value, d.stands),
					"bring the backups home from /backups/openclaw, then",
					"pulumi destroy && pulumi config set bootstrap true && pulumi up")
			}
		}
	}
	if cfg.Bootstrap {
		return nil
	}
	if last == nil {
		return hint.To(fmt.Errorf(`%s: value "false": this stack's machine was never configured, or its last deploy did not finish: there is no tunnel that could stay`, config.KeyBootstrap),
			"pulumi config set bootstrap true && pulumi up")
	}
	var faults []string
	for _, d := range cfg.Carrier.Differences(last.Carrier) {
		faults = append(faults, fmt.Sprintf("  %s: value %q, in force %q", d.Key, d.Value, d.InForce))
	}
	if faults == nil {
		return nil
	}
	return hint.To(fmt.Errorf("what carries the tunnel changes only while the bootstrap door is open:\n%s", strings.Join(faults, "\n")),
		"pulumi config set bootstrap true && pulumi up, then close port 22 again")
}

// Missing says that the machine is not in Azure any more, and what to do.
func (r *Run) Missing(cfg *config.Config) error {
	up, then := "pulumi up --refresh", ""
	if !cfg.Bootstrap {
		up, then = "pulumi config set bootstrap true && "+up, "; then close port 22 again"
	}
	return hint.To(fmt.Errorf("the virtual machine %q is gone: it was deleted behind Pulumi's back", r.Machine),
		fmt.Sprintf("%s    # makes it anew, as declared; OpenClaw's state and backups were on its disk%s", up, then))
}
