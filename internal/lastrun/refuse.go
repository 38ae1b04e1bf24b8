package lastrun

import (
	"fmt"
	"strings"

	"openclaw-azure/internal/config"
)

// Refuse says what cannot be asked for now, all at once: nothing has changed then. last is nil if no run has succeeded.
func Refuse(cfg *config.Config, last *Run) error {
	if last != nil && cfg.Location != last.Location {
		return fmt.Errorf("%s: value %q, the machine stands in %q: Azure moves none, and one made anew there would take nothing along"+
			"\nhint: bring the backups home from /backups/openclaw, then"+
			"\nhint: pulumi destroy && pulumi config set bootstrap true && pulumi up", config.KeyLocation, cfg.Location, last.Location)
	}
	if cfg.Bootstrap {
		return nil
	}
	if last == nil {
		return fmt.Errorf("%s: value \"false\": this stack's machine was never configured, or its last deploy did not finish: there is no tunnel that could stay"+
			"\nhint: pulumi config set bootstrap true && pulumi up", config.KeyBootstrap)
	}
	var faults []string
	for _, d := range cfg.Carrier.Differences(last.Carrier) {
		faults = append(faults, fmt.Sprintf("  %s: value %q, in force %q", d.Key, d.Value, d.InForce))
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("what carries the tunnel changes only while the bootstrap door is open:\n%s"+
		"\nhint: pulumi config set bootstrap true && pulumi up, then close port 22 again", strings.Join(faults, "\n"))
}

// Missing says that the machine is not in Azure any more, and what to do.
func (r *Run) Missing(cfg *config.Config) error {
	up, then := "pulumi up --refresh", ""
	if !cfg.Bootstrap {
		up, then = "pulumi config set bootstrap true && "+up, "; then close port 22 again"
	}
	return fmt.Errorf("the virtual machine %q is gone: it was deleted behind Pulumi's back"+
		"\nhint: %s    # makes it anew, as declared; OpenClaw's state and backups were on its disk%s", r.Machine, up, then)
}
