// Package azure finds what Azure has and Pulumi does not know: Pulumi itself sees only what it made, and that only with
// --refresh.
package azure

import (
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
)

// Known are Azure's resources in the stack's state when the run began: their outputs, by their names in this program.
type Known map[string]map[string]any

// InState reads them.
func InState(ctx *pulumi.Context) (Known, error) {
	resources, err := engine.OwnResources(ctx)
	if err != nil {
		return nil, err
	}
	known := Known{}
	for urn, r := range resources {
		if strings.HasPrefix(r.Type, "azure-native:") {
			known[urn[strings.LastIndex(urn, ":")+1:]] = r.Outputs
		}
	}
	return known, nil
}

// Has tells whether there is a resource of that name.
func (k Known) Has(name string) bool {
	_, has := k[name]
	return has
}

// Text is an output of a resource; empty if it is no text, or there is none.
func (k Known) Text(name, output string) string {
	text, _ := k[name][output].(string)
	return text
}

// Size is that of a machine; empty if there is none.
func (k Known) Size(name string) string {
	profile, _ := k[name]["hardwareProfile"].(map[string]any)
	size, _ := profile["vmSize"].(string)
	return size
}

// Parent is what a resource stands in.
type Parent struct {
	Known string // its name in this program; empty for one that exists without it
	Name  pulumi.StringOutput
	ID    pulumi.IDOutput
}

// adoptionLimit is for Azure to finish what a killed run began.
const adoptionLimit = 15 * time.Minute

// Adopter takes on resources that Azure has and Pulumi does not know: a run was killed while Azure created them, and no
// other resource can have their names.
type Adopter struct {
	Known Known // nil: nothing is adopted
	Group pulumi.StringOutput
}

// Adopt returns the option that imports a resource, nil if there is none to adopt. Pulumi updates what differs from the
// program in the same step. path follows the parent's ID; look gives the state of the resource's provisioning.
func (a Adopter) Adopt(ctx *pulumi.Context, name string, parent Parent, path string,
	look func(group, parent string) (state string, err error)) (pulumi.ResourceOption, error) {
	if a.Known == nil || a.Known.Has(name) || parent.Known != "" && !a.Known.Has(parent.Known) {
		return nil, nil // a first deploy: nothing is waited for
	}
	group, err := engine.Text(ctx, a.Group)
	if err != nil {
		return nil, err
	}
	within, err := engine.Text(ctx, parent.Name)
	if err != nil || group == "" || within == "" {
		return nil, err // the parent is about to be created
	}
	for begun := time.Now(); ; {
		state, err := look(group, within)
		switch {
		case NotThere(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("look for %q, which Pulumi does not know, in resource group %q: %w", name, group, foreign.Err(err))
		case ctx.DryRun() || state != "Creating" && state != "Updating":
			engine.Say(ctx, fmt.Sprintf("%q is in Azure already: it is of a run that was killed while Azure made it, and this run goes on with it", name))
			// Never the ID that Azure answers: Compute may write the group in capitals, and Pulumi would take that for another one.
			id, err := engine.Text(ctx, parent.ID)
			return pulumi.Import(pulumi.ID(id + path)), err
		case time.Since(begun) > adoptionLimit:
			return nil, hint.To(fmt.Errorf("%q in resource group %q: Azure is still at it after %v (provisioning state %q), since a run that was killed", name, group, adoptionLimit, foreign.New(state)),
				"pulumi up again later, or pulumi destroy && pulumi up")
		}
		engine.Say(ctx, fmt.Sprintf("waiting for Azure to finish %q, which a run began that was killed", name))
		select {
		case <-ctx.Context().Done():
			return nil, ctx.Context().Err()
		case <-time.After(5 * time.Second):
		}
	}
}
