package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/azure"
	"openclaw-azure/internal/config"
	"openclaw-azure/internal/door"
	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/reach"
	"openclaw-azure/internal/shell"
	"openclaw-azure/internal/tunnel"
)

// look tries the door in force, before anything is declared, and reads what is effective on the host. `pulumi up` with
// `bootstrap: false` stops at a silent door, and every run with `driftCheck: required`: nothing has changed then. Nil
// means that the host did not answer, was not looked at, or that there is none.
func (r *run) look(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run, edge *perimeter) (*layer.Observation, error) {
	if !ctx.DryRun() || (!cfg.Bootstrap && last != nil && last.Named == nil) {
		if err := r.doors.Listen(); err != nil {
			if ctx.DryRun() {
				engine.Warn(ctx, fmt.Sprintf("the host is not looked at: %v", err))
				return nil, nil
			}
			return nil, err
		}
	}
	if last == nil {
		return nil, nil // never deployed: Refuse has seen to it that port 22 is to be open
	}
	if cfg.DriftCheck == config.DriftOff && (cfg.Bootstrap || ctx.DryRun()) {
		last.Gone = azure.Machine(ctx, last.Group, last.Machine).Gone
		return nil, nil
	}
	access := last.Access()
	observed, err := r.doors.Observe(access, cfg.Bootstrap && last.Bootstrap && access.Named == nil)
	if err == nil {
		if cfg.DriftCheck == config.DriftOff {
			return nil, nil // the door was to be tried, no more
		}
		for _, note := range observed.Notes {
			engine.Say(ctx, note.Lines())
		}
		for _, warning := range observed.Warnings {
			engine.Warn(ctx, warning.Lines())
		}
		return observed, nil
	}
	state := azure.Machine(ctx, last.Group, last.Machine)
	last.Gone = state.Gone
	if state.Stopped != "" {
		return nil, stopped(ctx, cfg, last, state.Stopped)
	}
	if cfg.Bootstrap {
		return nil, r.silentWhileOpen(ctx, cfg, last, err)
	}
	return nil, r.silentWhileClosed(ctx, cfg, last, edge, err)
}

// stopped is for a machine that somebody stopped, perhaps to save money: it is none that is broken. A preview goes on without it.
func stopped(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run, power string) error {
	err := hint.To(fmt.Errorf("the virtual machine %q is stopped (%s): nothing can be changed on it", last.Machine, power),
		fmt.Sprintf("az vm start --resource-group %s --name %s", shell.Quote(last.Group), shell.Quote(last.Machine)))
	if !ctx.DryRun() || cfg.DriftCheck == config.DriftRequired {
		return err
	}
	engine.Warn(ctx, err.Error())
	return nil
}

// silentWhileOpen is a warning, unless the look is required: the break-glass opens the door.
func (r *run) silentWhileOpen(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run, err error) error {
	if cfg.DriftCheck == config.DriftRequired {
		return hint.To(fmt.Errorf("nothing was changed, since the host does not answer: %w", err),
			"pulumi config set driftCheck on, which makes this a warning")
	}
	if errors.Is(err, door.ErrKeyRefused) && last.Bootstrap {
		r.refused = err
	}
	engine.Warn(ctx, fmt.Sprintf("the host does not answer: the plan is made without looking at it: %v", err))
	return nil
}

// silentWhileClosed is an error, but in a preview: the tunnel is the only way in.
func (r *run) silentWhileClosed(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run, edge *perimeter, err error) error {
	if last.Gone {
		return last.Missing(cfg)
	}
	moved := wireguardSources(cfg) != last.WireGuardSources
	if ctx.DryRun() && moved {
		engine.Warn(ctx, fmt.Sprintf("the tunnel does not answer yet: `pulumi up` admits the new wireguardCidrs first and tries again: %v", err))
		return nil
	}
	err = accountFor(err, cfg, last, func() []string { return edge.inTheWay(ctx) }, r.peer, reach.LocalPort(ctx.Project(), ctx.Stack()))
	if ctx.DryRun() && cfg.DriftCheck != config.DriftRequired {
		engine.Warn(ctx, fmt.Sprintf("the host does not answer: the plan is made without looking at it, and `pulumi up` changes nothing before the tunnel door opens from this machine: %v", err))
		return nil
	}
	nothing := "nothing was changed"
	if moved {
		nothing = "nothing but the sources of the WireGuard rule was changed"
	}
	return fmt.Errorf("port 22 stays as it is and %s, since the tunnel door does not open from this machine: %w", nothing, err)
}

// accountFor adds to a WireGuard's silence what can be told of its causes. Other errors have one cause and say it.
func accountFor(err error, cfg *config.Config, last *lastrun.Run, inTheWay func() []string, peer string, localPort uint16) error {
	var silent *tunnel.SilentError
	if !errors.As(err, &silent) || !silent.Handshake.IsZero() || silent.SendError != nil {
		return err
	}
	return reach.Silence{Err: silent, Sources: cfg.WireGuardSources, InTheWay: inTheWay(), From: reach.WayOut(silent.Endpoint), Now: time.Now(),
		LastChange: last.Changed, Generation: last.KeyGeneration, LocalPort: localPort, Peer: peer}
}
