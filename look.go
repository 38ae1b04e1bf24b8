package main

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/door"
	"openclaw-azure/internal/layer"
)

// run is one run of the program.
type run struct {
	info  pulumi.RunInfo
	doors doors
	peer  string // whose keys a preview looks with; empty: the deployer's own

	refused error // the host did not take the key for the bootstrap door, in the look
}

// look tries the door in force, before anything is declared, and reads what is effective on the host. `pulumi up` with
// `bootstrap: false` stops at a silent door, and every run with `driftCheck: required`: nothing has changed then. Nil
// means that the host did not answer, was not looked at, or that there is none.
func (r *run) look(ctx *pulumi.Context, cfg *Config, last *lastRun) (*layer.Observation, error) {
	if !ctx.DryRun() || (!cfg.Bootstrap && last != nil && last.named == nil) {
		if err := r.doors.listen(); err != nil {
			if ctx.DryRun() {
				warn(ctx, fmt.Sprintf("the host is not looked at: %v", err))
				return nil, nil
			}
			return nil, err
		}
	}
	if last == nil {
		return nil, nil // never deployed: refuse has seen to it that port 22 is to be open
	}
	if cfg.DriftCheck == driftOff && (cfg.Bootstrap || ctx.DryRun()) {
		last.lookForMachine(ctx)
		return nil, nil
	}
	access := last.access()
	seen, err := r.doors.observe(access, cfg.Bootstrap && last.Bootstrap && access.named == nil)
	if err == nil {
		if cfg.DriftCheck == driftOff {
			return nil, nil // the door was to be tried, no more
		}
		return seen, nil
	}
	last.lookForMachine(ctx)
	if cfg.Bootstrap {
		if cfg.DriftCheck == driftRequired {
			return nil, fmt.Errorf("nothing was changed, since the host does not answer: %w"+
				"\nhint: pulumi config set driftCheck on, which makes this a warning", err)
		}
		if errors.Is(err, door.ErrKeyRefused) && last.Bootstrap {
			r.refused = err
		}
		warn(ctx, fmt.Sprintf("the host does not answer: the plan is made without looking at it: %v", err))
		return nil, nil
	}
	if last.gone {
		return nil, last.missing(cfg)
	}
	if ctx.DryRun() && wireguardSources(cfg) != last.WireGuardSources {
		warn(ctx, fmt.Sprintf("the tunnel does not answer yet: `pulumi up` admits the new wireguardCidrs first and tries again: %v", err))
		return nil, nil
	}
	err = accountFor(err, cfg, last, r.peer, localPort(ctx.Project(), ctx.Stack()))
	if ctx.DryRun() && cfg.DriftCheck != driftRequired {
		warn(ctx, fmt.Sprintf("the host does not answer: the plan is made without looking at it, and `pulumi up` changes nothing before the tunnel door opens from this machine: %v", err))
		return nil, nil
	}
	nothing := "nothing was changed"
	if wireguardSources(cfg) != last.WireGuardSources {
		nothing = "nothing but the sources of the WireGuard rule was changed"
	}
	return nil, fmt.Errorf("port 22 stays as it is and %s, since the tunnel door does not open from this machine: %w", nothing, err)
}
