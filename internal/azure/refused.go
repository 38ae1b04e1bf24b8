package azure

import (
	"fmt"
	"regexp"
	"strings"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/shell"
)

// What Azure's messages name.
var (
	namespaceIn  = regexp.MustCompile(`namespace '([A-Za-z.]+)'`)
	assignmentIn = regexp.MustCompile(`"policyAssignment\w*"\s*:\s*(?:\{[^{}]*?"(?:displayName|name)"\s*:\s*)?"([^"]+)"`)
	tagIn        = regexp.MustCompile(`(?:"tagName"\s*:\s*\{\s*"value"\s*:\s*"|tags\[['"]?)([^'"\]]+)`)
)

// passing are errors, by status and code, that pass by themselves.
var passing = regexp.MustCompile(`Status=(4(?:00|09|12|29)|200) Code="(?:RetryableError(?:DueToAnotherOperation)?|ReferencedResourceNotProvisioned|AnotherOperationInProgress)"`)

// Passes tells whether an error of Azure's is one that passes by itself, and whose operation is to be tried again: a request that was
// refused, which the provider does not send again; and of what Azure accepted and gave up, the creation of a resource of the
// network. That one Pulumi updates. Where Azure refuses the update too Pulumi forgets it: the next run adopts it, but a machine
// would go on costing money, and an agent runs no command again by its old name. After an update Pulumi keeps the first try's error.
func Passes(message, kind, operation string) bool {
	found := passing.FindStringSubmatch(message)
	return found != nil && (found[1] != "200" || operation == "create" && strings.HasPrefix(kind, "azure-native:network:"))
}

// Refused says what an error of Azure's about one resource means, and what mends it: what could not be asked ahead. It is empty where
// the program has no words for it. group and name are the resource's; asked has a size where it is the machine.
func Refused(message, group, name string, asked Asked) string {
	is := func(codes ...string) bool {
		for _, code := range codes {
			if strings.Contains(message, `Code="`+code+`"`) {
				return true
			}
		}
		return false
	}
	with := func(fact string, commands ...string) string {
		return hint.Text(fact+"; the rest is kept and `pulumi up` goes on from here", commands...)
	}
	vm := fmt.Sprintf("--resource-group %s --name %s", shell.Quote(group), shell.Quote(name))
	another := fmt.Sprintf("pulumi config set vmSize SIZE    # another that `az vm list-skus --location %s --size Standard_B --output table` shows without a restriction", asked.Location)
	plain := strings.ReplaceAll(message, `\"`, `"`)
	switch {
	case strings.Contains(message, "VM is not running"):
		return with(fmt.Sprintf("the virtual machine %q is stopped", name), "az vm start "+vm)
	case is("RequestDisallowedByPolicy"):
		policy, commands := "a policy", []string{}
		if found := assignmentIn.FindStringSubmatch(plain); found != nil {
			policy = fmt.Sprintf("policy %q", foreign.New(found[1][strings.LastIndex(found[1], "/")+1:]))
		}
		for _, found := range tagIn.FindAllStringSubmatch(plain, -1) {
			commands = append(commands, tagCommand(foreign.New(found[1]).String()))
		}
		return with(fmt.Sprintf("%s of your organization's refuses %q", policy, name), append(commands, "az policy assignment list --disable-scope-strict-match --output table    # what it wants")...)
	case is("RequestDisallowedByAzure"):
		return with(fmt.Sprintf("this subscription may not use the region %q", asked.Location), "pulumi config set azure-native:location REGION    # one of `az account list-locations --output table`")
	case is("MissingSubscriptionRegistration"):
		namespace := "Microsoft.Compute"
		if found := namespaceIn.FindStringSubmatch(message); found != nil {
			namespace = found[1]
		}
		return with(fmt.Sprintf("this subscription never used %s, and this login may not register it", namespace), fmt.Sprintf("az provider register --namespace %s --wait    # as somebody who may", namespace))
	case asked.Size == "":
		return ""
	case asked.Before != "" && strings.Contains(message, "hardware cluster"):
		return with(fmt.Sprintf("where the machine runs, size %q is not to be had: it has to be stopped for it, and comes up elsewhere", asked.Size),
			fmt.Sprintf("az vm deallocate %s && az vm resize %s --size %s && az vm start %s", vm, vm, asked.Size, vm), "pulumi up")
	case is("BadRequest", "InvalidParameter") && (strings.Contains(message, "Hypervisor Generation") || strings.Contains(strings.ToLower(message), "disk controller") || strings.Contains(message, asked.Size)):
		return with(fmt.Sprintf("the machine cannot be of size %q", asked.Size), another)
	case is("SkuNotAvailable", "QuotaExceeded", "AllocationFailed", "ZonalAllocationFailed"), is("OperationNotAllowed") && strings.Contains(strings.ToLower(message), "quota"):
		return with(fmt.Sprintf("the size %q is not to be had in %q, or not in this subscription's quota", asked.Size, asked.Location), another)
	}
	return ""
}
