package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/applier"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/standin"
)

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: wanted (-), got (+)\n%s", what, diff)
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// each puts a word before and behind every layer.
func each(before string, names []string, behind string) []string {
	var all []string
	for _, name := range names {
		all = append(all, before+name+behind)
	}
	return all
}

// programWith is the program as main runs it, in a stand-in for the world.
func programWith(packed layer.Applier) standin.Program {
	return func(ctx *pulumi.Context, info pulumi.RunInfo, way standin.Doors, peer string) error {
		r := &run{info: info, doors: way, peer: peer, applier: packed, ahead: way.Ahead}
		return r.program(ctx)
	}
}

var program = programWith(layer.NewApplier(applier.Source()))

func newWorld(t *testing.T) *standin.World { return standin.New(t, program) }
func deployed(t *testing.T) *standin.World { return standin.Deployed(t, program) }
func closed(t *testing.T) *standin.World   { return standin.Closed(t, program) }
