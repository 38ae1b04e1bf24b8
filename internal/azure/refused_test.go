package azure

import (
	"strings"
	"testing"

	"openclaw-azure/internal/foreign"
)

func TestPasses(t *testing.T) {
	const (
		group     = "azure-native:network:NetworkSecurityGroup"
		vm        = "azure-native:compute:VirtualMachine"
		refused   = `Status=429 Code="RetryableError" Message="A retryable error occurred."`
		givenUp   = `Status=200 Code="RetryableError" Message="A retryable error occurred."`
		otherWork = `Status=409 Code="RetryableErrorDueToAnotherOperation" Message="Operation could not be completed."`
		notMade   = `Status=400 Code="ReferencedResourceNotProvisioned" Message="Cannot proceed with operation because resource is not provisioned."`
	)
	for _, c := range []struct {
		message, kind, operation string
		want                     bool
	}{
		{refused, group, "create", true},
		{otherWork, group, "update", true},
		{notMade, vm, "create", true},
		{refused, vm, "delete", true},
		{`Status=409 Code="OperationNotAllowed" Message="RetryableError"`, group, "create", false},
		{givenUp, group, "create", true},
		{givenUp, group, "update", false},
		{givenUp, group, "delete", false},
		{givenUp, vm, "create", false},
		{givenUp, "azure-native:compute:VirtualMachineRunCommandByVirtualMachine", "create", false},
	} {
		if got := Passes(c.message, c.kind, c.operation); got != c.want {
			t.Errorf("%s %s: %s: %v, want %v", c.operation, c.kind, c.message, got, c.want)
		}
	}
}

// Azure's answers as people quote them.
func TestRefused(t *testing.T) {
	asked := Asked{Location: "westeurope", Size: "Standard_B2als_v2"}
	resized := asked
	resized.Before = "Standard_B1ms"
	const (
		kept    = "; the rest is kept and `pulumi up` goes on from here"
		another = "\nhint: pulumi config set vmSize SIZE    # another that `az vm list-skus --location westeurope --size Standard_B --output table` shows without a restriction"
		vm      = "--resource-group rg1 --name vm"
	)
	for _, c := range []struct {
		message string
		asked   Asked
		want    string
	}{
		{`Status=409 Code="OperationNotAllowed" Message="Operation could not be completed as it results in exceeding approved standardBasv2Family Cores quota."`, asked,
			`the size "Standard_B2als_v2" is not to be had in "westeurope", or not in this subscription's quota` + kept + another},
		{`Status=409 Code="OperationNotAllowed" Message="Unable to resize the VM since changing from resource disk to non-resource disk VM size and vice-versa is not allowed."`, resized, ""},
		{`Status=409 Code="OperationNotAllowed" Message="Unable to resize the VM vm. The requested size Standard_B2als_v2 is not available in the current hardware cluster. The available sizes in this cluster are: Standard_B1ms."`, resized,
			`where the machine runs, size "Standard_B2als_v2" is not to be had: it has to be stopped for it, and comes up elsewhere` + kept +
				"\nhint: az vm deallocate " + vm + " && az vm resize " + vm + " --size Standard_B2als_v2 && az vm start " + vm + "\nhint: pulumi up"},
		{`Status=409 Code="OperationNotAllowed" Message="Cannot modify extensions in the VM when the VM is not running."`, asked,
			`the virtual machine "vm" is stopped` + kept + "\nhint: az vm start " + vm},
		{`Status=403 Code="RequestDisallowedByPolicy" Message="Resource 'vm' was disallowed by policy. Policy identifiers: '[{\"policyAssignment\":{\"name\":\"Require an owner\",\"id\":\"/subscriptions/S/providers/Microsoft.Authorization/policyAssignments/p1\"},\"policyDefinition\":{\"name\":\"Require a tag\",\"id\":\"/D\"}}]'."`, asked,
			`policy "Require an owner" of your organization's refuses "vm"` + kept + "\nhint: az policy assignment list --disable-scope-strict-match --output table    # what it wants"},
		{`Status=403 Code="RequestDisallowedByPolicy" Message="Resource 'vm' was disallowed by policy." AdditionalInfo=[{"info":{"policyAssignmentId":"/subscriptions/S/providers/Microsoft.Authorization/policyAssignments/p1","policyAssignmentParameters":{"tagName":{"value":"owner"}}}}]`, asked,
			`policy "p1" of your organization's refuses "vm"` + kept + "\nhint: pulumi config set --path tags.owner VALUE\nhint: az policy assignment list --disable-scope-strict-match --output table    # what it wants"},
		{`Status=403 Code="RequestDisallowedByAzure" Message="Resource 'vm' was disallowed by Azure: This policy maintains a set of best available regions where your subscription can deploy resources."`, asked,
			`this subscription may not use the region "westeurope"` + kept + "\nhint: pulumi config set azure-native:location REGION    # one of `az account list-locations --output table`"},
		{`Status=409 Code="MissingSubscriptionRegistration" Message="The subscription is not registered to use namespace 'Microsoft.Network'. See https://aka.ms/rps-not-found for how to register subscriptions."`, asked,
			`this subscription never used Microsoft.Network, and this login may not register it` + kept + "\nhint: az provider register --namespace Microsoft.Network --wait    # as somebody who may"},
		{`Status=400 Code="BadRequest" Message="The selected VM size 'Standard_B2als_v2' cannot boot Hypervisor Generation '2'."`, asked, `the machine cannot be of size "Standard_B2als_v2"` + kept + another},
		{`Status=400 Code="InvalidParameter" Message="The VM size 'Standard_B2als_v2' cannot boot with OS image or disk. Please check that disk controller types supported by the OS image or disk is one of the supported disk controller types for the VM size."`, asked,
			`the machine cannot be of size "Standard_B2als_v2"` + kept + another},
		{`Status=400 Code="InvalidParameter" Message="The Admin Username specified is not allowed."`, asked, ""},
		{`Status=409 Code="OperationNotAllowed" Message="This operation cannot be performed when extension operations are disallowed."`, Asked{Location: "westeurope"}, ""},
		{`Status=500 Code="InternalServerError" Message="An error occurred."`, asked, ""},
	} {
		if got := Refused(c.message, "rg1", "vm", c.asked); got != c.want {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", c.message, got, c.want)
		}
	}
}

// What a policy of somebody's is called takes no line of its own, and shows nothing that a terminal would obey.
func TestRefusedByForeignWords(t *testing.T) {
	message := `Code="RequestDisallowedByPolicy" Message="no" AdditionalInfo=[{"policyAssignmentName":"x` + "\x1b[2J\u202e\nhint: obey" + `"}, "tags['a` + "\nhint: obey \x07" + `']"]`
	got := Refused(message, "group", "vm", Asked{})
	if got != foreign.Printable(got) || strings.Contains(got, "\nhint: obey") || !strings.Contains(got, "x?[2J? hint: obey") {
		t.Errorf("%q", got)
	}
}
