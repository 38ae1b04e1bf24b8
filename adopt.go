package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// What Azure made although the run that had begun it was killed: Pulumi learns of a resource only when it is made.

// inState reads which of Azure's resources the stack's state holds, by their names in this program.
func inState(ctx *pulumi.Context) (map[string]bool, error) {
	var state struct {
		Outputs map[string]struct {
			Type string `pulumi:"type"`
		} `pulumi:"outputs"`
	}
	_, err := ctx.InvokePackageRaw("pulumi:pulumi:readStackResourceOutputs", &struct {
		Stack string `pulumi:"stackName"`
	}{ownStack(ctx)}, &state, "")
	if err != nil {
		return nil, fmt.Errorf("read which resources the last run left: %w", err)
	}
	names := map[string]bool{}
	for urn, of := range state.Outputs {
		if strings.HasPrefix(of.Type, "azure-native:") {
			names[urn[strings.LastIndex(urn, ":")+1:]] = true
		}
	}
	return names, nil
}

// found is what Azure says of a resource.
type found struct {
	id    string
	state string // of its provisioning
}

// adoptionLimit is for Azure to finish what a run began that is no more.
const adoptionLimit = 15 * time.Minute

// adopt takes on a resource that Azure has and Pulumi does not know, nil where there is none: a run was killed while Azure
// made it, and under its name there can be no other. What differs from the program is updated in the same step.
// parent and its name in Azure say where it is.
func (p *perimeter) adopt(ctx *pulumi.Context, name, parent string, parentName pulumi.StringOutput,
	look func(group, parent string) (found, error)) (pulumi.ResourceOption, error) {
	if p.known[name] || !p.known[parent] {
		return nil, nil // of a first deploy: nothing is waited for
	}
	group, err := awaitString(ctx, p.group.Name)
	if err != nil {
		return nil, err
	}
	within, err := awaitString(ctx, parentName)
	if err != nil || group == "" || within == "" {
		return nil, err // it is to be made anew
	}
	for begun := time.Now(); ; {
		there, err := look(group, within)
		switch {
		case notInAzure(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("look for %q, which Pulumi does not know, in resource group %q: %w", name, group, err)
		case ctx.DryRun() || there.state != "Creating" && there.state != "Updating":
			_ = ctx.Log.Info(fmt.Sprintf("%q is in Azure already: it is of a run that was killed while Azure made it, and this run goes on with it", name), nil)
			return pulumi.Import(pulumi.ID(there.id)), nil
		case time.Since(begun) > adoptionLimit:
			return nil, fmt.Errorf("%q in resource group %q: Azure is still at it after %v (provisioning state %q), since a run that was killed"+
				"\nhint: pulumi up again later, or pulumi destroy && pulumi up", name, group, adoptionLimit, there.state)
		}
		_ = ctx.Log.Info(fmt.Sprintf("waiting for Azure to finish %q, which a run began that was killed", name), nil)
		select {
		case <-ctx.Context().Done():
			return nil, ctx.Context().Err()
		case <-time.After(5 * time.Second):
		}
	}
}
