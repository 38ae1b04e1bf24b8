// Openclaw-azure declares a machine of one's own on Azure for OpenClaw, an AI agent gateway, and puts concentric
// defences around it. The README says why.
package main

import (
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/applier"
	"openclaw-azure/internal/azure"
	"openclaw-azure/internal/config"
	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/reach"
)

// alreadyReported tells Pulumi's language host that the error is on the console.
const alreadyReported = 32

// run is one run of the program.
type run struct {
	info  pulumi.RunInfo
	doors doors
	peer  string // whose keys a preview looks with; empty: the deployer's own
	// The program that puts layers in place, packed once for every request that brings it along.
	applier layer.Applier

	// ahead asks Azure what it would refuse. The engine's tests have no Azure to ask, and put another in its place.
	ahead func(ctx *pulumi.Context, subscription string, asked azure.Asked) (objections []azure.Objection, notes []string)

	refused error // the host did not take the key for the bootstrap door, in the look
}

func main() {
	r := &run{peer: os.Getenv(outputs.PeerVariable), applier: layer.NewApplier(applier.Source()), ahead: azure.Ahead}
	err := pulumi.RunErr(r.program, func(info *pulumi.RunInfo) {
		r.info, r.doors = *info, reach.New(reach.LocalPort(info.Project, info.Stack), r.applier)
	})
	if r.doors != nil {
		r.doors.Close()
	}
	if err != nil {
		os.Exit(alreadyReported)
	}
}

// program returns its error, never only logs it: Pulumi would delete every resource that was not declared yet.
func (r *run) program(ctx *pulumi.Context) error {
	err := r.declare(ctx)
	if err != nil {
		engine.Report(ctx, err)
	}
	return err
}

// declare is the whole story.
func (r *run) declare(ctx *pulumi.Context) error {
	cfg, err := config.Load(r.info)
	if err != nil {
		return err
	}
	last, err := lastrun.Read(ctx, r.peer)
	if err != nil {
		return err
	}
	if err := lastrun.Refuse(cfg, last); err != nil {
		return err
	}
	var known azure.Known
	if cfg.Bootstrap {
		if known, err = azure.InState(ctx); err != nil {
			return err
		}
	}
	asked, err := askedOf(ctx, cfg, last, known)
	if err != nil {
		return err
	}
	if err := r.askAhead(ctx, asked); err != nil {
		return err
	}
	var edge *perimeter
	if !cfg.Bootstrap {
		// The home address may have changed: the rule first, and nothing else, or the tunnel could not answer. Always,
		// since a run that failed may have left other sources than those of the last one that succeeded.
		if edge, err = newPerimeter(ctx, cfg, asked, nil); err != nil {
			return err
		}
		if err := engine.Await(ctx, edge.wireguard.ID()); err != nil {
			return err
		}
	}
	observed, err := r.look(ctx, cfg, last, edge)
	if err != nil {
		return err
	}
	if edge == nil {
		if edge, err = newPerimeter(ctx, cfg, asked, known); err != nil {
			return err
		}
	}
	if err := edge.foreignRules(ctx, cfg, last); err != nil {
		return err
	}
	allKeys, err := newKeys(ctx, cfg)
	if err != nil {
		return err
	}
	net, err := newNetwork(ctx, cfg, edge)
	if err != nil {
		return err
	}
	vm, err := newVM(ctx, cfg, net, allKeys, last)
	if err != nil {
		return err
	}
	if err := watch(ctx, cfg, net, vm); err != nil {
		return err
	}
	proven, err := r.harden(ctx, cfg, last, observed, allKeys, net, vm)
	if err != nil {
		return err
	}
	// Before the way back: the outputs are there even where that fails.
	if err := export(ctx, cfg, allKeys, net, vm, last, observed, proven); err != nil {
		return err
	}
	return vm.leaveAWayBack(ctx, cfg, net, allKeys, proven)
}
