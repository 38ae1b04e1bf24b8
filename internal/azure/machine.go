package azure

import (
	"github.com/pulumi/pulumi-azure-native-sdk/compute/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// MachineGone tells whether Azure says that it does not have a virtual machine.
func MachineGone(ctx *pulumi.Context, group, name string) bool {
	_, err := compute.LookupVirtualMachine(ctx, &compute.LookupVirtualMachineArgs{ResourceGroupName: group, VmName: name})
	return NotThere(err)
}
