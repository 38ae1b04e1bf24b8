package azure

import (
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/compute/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// MachineState is what Azure says of a virtual machine that does not answer.
type MachineState struct {
	Gone    bool   // Azure does not have it
	Stopped string // how it was stopped, in Azure's word, as deallocated; empty if it runs, or Azure could not be asked
}

// Machine reads the state of a virtual machine.
func Machine(ctx *pulumi.Context, group, name string) MachineState {
	vm, err := compute.LookupVirtualMachine(ctx, &compute.LookupVirtualMachineArgs{ResourceGroupName: group, VmName: name, Expand: pulumi.StringRef("instanceView")})
	if err != nil {
		return MachineState{Gone: NotThere(err)}
	}
	for _, status := range vm.InstanceView.Statuses {
		switch power, is := strings.CutPrefix(Deref(status.Code), "PowerState/"); {
		case is && (power == "deallocated" || power == "deallocating" || power == "stopped" || power == "stopping"):
			return MachineState{Stopped: power}
		}
	}
	return MachineState{}
}
