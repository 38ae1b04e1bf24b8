// Openclaw-azure declares a machine of one's own on Azure for OpenClaw, an AI agent gateway, and puts concentric
// defences around it. The README says why.
package main

import (
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/outputs"
)

// alreadyReported tells Pulumi's language host that the error stands on the console.
const alreadyReported = 32

func main() {
	r := &run{peer: os.Getenv(outputs.PeerVariable)}
	err := pulumi.RunErr(r.program, func(info *pulumi.RunInfo) {
		r.info, r.doors = *info, newDoors(localPort(info.Project, info.Stack))
	})
	if r.doors != nil {
		r.doors.close()
	}
	if err != nil {
		os.Exit(alreadyReported)
	}
}

// program is the whole story. An error is returned, never only logged: Pulumi would delete every resource that was
// not declared yet.
func (r *run) program(ctx *pulumi.Context) error {
	err := r.declare(ctx)
	if err != nil {
		report(ctx, err)
	}
	return err
}

func (r *run) declare(ctx *pulumi.Context) error {
	cfg, err := LoadConfig(r.info)
	if err != nil {
		return err
	}
	last, err := readLastRun(ctx, r.peer)
	if err != nil {
		return err
	}
	if err := refuse(cfg, last); err != nil {
		return err
	}
	var edge *perimeter
	if !cfg.Bootstrap {
		// The home address may have changed: the rule first, and nothing else, or the tunnel could not answer. Always,
		// since a run that failed may have left other sources than those of the last one that succeeded.
		if edge, err = newPerimeter(ctx, cfg); err != nil {
			return err
		}
		if err := await(ctx, edge.wireguard.ID()); err != nil {
			return err
		}
	}
	seen, err := r.look(ctx, cfg, last)
	if err != nil {
		return err
	}
	if edge == nil {
		if edge, err = newPerimeter(ctx, cfg); err != nil {
			return err
		}
	}
	if err := edge.foreignRules(ctx, cfg, last); err != nil {
		return err
	}
	ring, err := newKeyring(ctx, cfg)
	if err != nil {
		return err
	}
	net, err := newNetwork(ctx, cfg, edge)
	if err != nil {
		return err
	}
	vm, err := newVM(ctx, cfg, net, ring, last)
	if err != nil {
		return err
	}
	proof, err := r.harden(ctx, cfg, last, seen, ring, net, vm)
	if err != nil {
		return err
	}
	export(ctx, cfg, ring, net, vm, last, proof)
	return nil
}
