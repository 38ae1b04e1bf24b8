package standin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/pkg/v3/resource/deploy/deploytest"
	"github.com/pulumi/pulumi/pkg/v3/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/azure"
)

// cloud answers as the provider azure-native does, as far as the program reads its answers: names of its own making,
// one path of inputs that replaces when it changes, outputs that a preview does not know, addresses, a vmId that is new
// for every machine, a refusal to change osProfile on a live one.
//
// It cannot show what Azure itself refuses (priorities, prefixes, sizes, quotas), what it returns that the program does
// not read, nor how long anything takes: the lab's conformance suite does.
type cloud struct {
	world   *World
	Exists  map[resource.ID]resource.PropertyMap // what Read gives: the outputs
	Machine int                                  // how many were made
	address int                                  // how many were given out
	Fails   map[string]string                    // logical name: the error that its creation ends with
	Busy    map[string]int                       // logical name: how many more times Azure is at work on something else
	GivesUp map[string]int                       // logical name: how many more times Azure begins on it, and fails
	Killed  string                               // logical name of what the CLI is killed over: Azure makes it all the same
	Making  int                                  // how many lookups of a machine find Azure still at it
	Stopped bool                                 // somebody deallocated the machine

	Asked   []azure.Asked     // what Azure was asked of in advance
	Objects []azure.Objection // what it would refuse
}

// Ahead answers what Azure would refuse. That the real question is put well is not shown here: the lab's Resource Manager does.
func (d Doors) Ahead(_ *pulumi.Context, _ string, asked azure.Asked) ([]azure.Objection, []string) {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	d.world.Azure.Asked = append(d.world.Azure.Asked, asked)
	return d.world.Azure.Objects, nil
}

const (
	azureContainer  = "azure-native:resources:ResourceGroup"
	azureRule       = "azure-native:network:SecurityRule"
	azureGroup      = "azure-native:network:NetworkSecurityGroup"
	AzureVM         = "azure-native:compute:VirtualMachine"
	azureNetwork    = "azure-native:network:VirtualNetwork"
	azureAddress    = "azure-native:network:PublicIPAddress"
	azureSubnet     = "azure-native:network:Subnet"
	azureInterface  = "azure-native:network:NetworkInterface"
	azureActions    = "azure-native:insights:ActionGroup"
	azureAlert      = "azure-native:insights:MetricAlert"
	azureRunCommand = "azure-native:compute:VirtualMachineRunCommandByVirtualMachine"
)

// azurePaths says of each type what its path in Azure is made of, and which inputs stand in it, the resource's own name last;
// whether a made name ends in random digits, and which further inputs replace.
var azurePaths = map[string]struct {
	arm      string
	path     []resource.PropertyKey
	random   bool
	replaces []resource.PropertyKey
}{
	azureContainer:  {"", []resource.PropertyKey{"resourceGroupName"}, true, []resource.PropertyKey{"location"}},
	azureGroup:      {"Microsoft.Network/networkSecurityGroups", []resource.PropertyKey{"resourceGroupName", "networkSecurityGroupName"}, true, nil},
	azureRule:       {"Microsoft.Network/networkSecurityGroups/securityRules", []resource.PropertyKey{"resourceGroupName", "networkSecurityGroupName", "securityRuleName"}, false, nil},
	azureNetwork:    {"Microsoft.Network/virtualNetworks", []resource.PropertyKey{"resourceGroupName", "virtualNetworkName"}, true, []resource.PropertyKey{"location"}},
	azureSubnet:     {"Microsoft.Network/virtualNetworks/subnets", []resource.PropertyKey{"resourceGroupName", "virtualNetworkName", "subnetName"}, false, nil},
	azureAddress:    {"Microsoft.Network/publicIPAddresses", []resource.PropertyKey{"resourceGroupName", "publicIpAddressName"}, true, []resource.PropertyKey{"location", "sku"}},
	azureInterface:  {"Microsoft.Network/networkInterfaces", []resource.PropertyKey{"resourceGroupName", "networkInterfaceName"}, true, nil},
	AzureVM:         {"Microsoft.Compute/virtualMachines", []resource.PropertyKey{"resourceGroupName", "vmName"}, true, nil},
	azureActions:    {"Microsoft.Insights/actionGroups", []resource.PropertyKey{"resourceGroupName", "actionGroupName"}, true, nil},
	azureAlert:      {"Microsoft.Insights/metricAlerts", []resource.PropertyKey{"resourceGroupName", "ruleName"}, true, nil},
	azureRunCommand: {"Microsoft.Compute/virtualMachines/runCommands", []resource.PropertyKey{"resourceGroupName", "vmName", "runCommandName"}, false, nil},
}

// createBeforeDelete is the input by which the provider says that a random name lets the new resource come first.
const createBeforeDelete = resource.PropertyKey("__createBeforeDelete")

// What a provider is given, and what it gives: the engine has another type for it than the program's SDK.
var (
	taken = resource.ToResourcePropertyMap
	given = resource.FromResourcePropertyMap
)

func (a *cloud) provider() plugin.Provider {
	return &deploytest.Provider{CheckF: a.check, DiffF: a.diff, CreateF: a.create, UpdateF: a.update, DeleteF: a.delete, ReadF: a.read, InvokeF: a.invoke}
}

func (a *cloud) check(_ context.Context, req plugin.CheckRequest) (plugin.CheckResponse, error) {
	kind, known := azurePaths[string(req.URN.Type())]
	if !known {
		return plugin.CheckResponse{}, fmt.Errorf("a resource of type %s, which the program has no use for", req.URN.Type())
	}
	in := taken(req.NewInputs)
	if req.URN.Type() == azureRule {
		if fault := RuleFault(in); fault != "" {
			a.world.T.Error(fault)
		}
	}
	own := kind.path[len(kind.path)-1]
	if _, named := in[own]; !named {
		if old, was := taken(req.OldInputs)[own]; was {
			in[own] = old
		} else if kind.random {
			in[own] = resource.NewProperty(fmt.Sprintf("%s%x", req.URN.Name(), req.RandomSeed[:4]))
		} else {
			in[own] = resource.NewProperty(req.URN.Name())
		}
		if kind.random {
			in[createBeforeDelete] = resource.NewProperty(true)
		}
	}
	return plugin.CheckResponse{Properties: given(in)}, nil
}

func (a *cloud) diff(_ context.Context, req plugin.DiffRequest) (plugin.DiffResult, error) {
	kind := azurePaths[string(req.URN.Type())]
	result := plugin.DiffResult{Changes: plugin.DiffNone, ChangedKeys: changed(taken(req.OldInputs), taken(req.NewInputs))}
	for _, key := range result.ChangedKeys {
		result.Changes = plugin.DiffSome
		if slices.Contains(kind.path, key) || slices.Contains(kind.replaces, key) {
			result.ReplaceKeys = append(result.ReplaceKeys, key)
		}
	}
	_, first := req.NewInputs.GetOk(string(createBeforeDelete))
	result.DeleteBeforeReplace = len(result.ReplaceKeys) > 0 && !first
	return result, nil
}

// changed are the names of the inputs that differ, compared as values: a secret is as its value.
func changed(old, now resource.PropertyMap) []resource.PropertyKey {
	old, now = Plain(old), Plain(now)
	var keys []resource.PropertyKey
	for key := range now {
		if !old[key].DeepEquals(now[key]) {
			keys = append(keys, key)
		}
	}
	for key := range old {
		if _, still := now[key]; !still {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Plain are inputs as a provider that does not know of secrets gets them.
func Plain(m resource.PropertyMap) resource.PropertyMap {
	return plainValue(resource.NewProperty(m)).ObjectValue()
}

func plainValue(v resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsSecret():
		return plainValue(v.SecretValue().Element)
	case v.IsOutput() && !v.OutputValue().Known:
		return resource.MakeComputed(resource.NewProperty(""))
	case v.IsOutput():
		return plainValue(v.OutputValue().Element)
	case v.IsObject():
		out := resource.PropertyMap{}
		for key, value := range v.ObjectValue() {
			out[key] = plainValue(value)
		}
		return resource.NewProperty(out)
	case v.IsArray():
		var out []resource.PropertyValue
		for _, value := range v.ArrayValue() {
			out = append(out, plainValue(value))
		}
		return resource.NewProperty(out)
	}
	return v
}

func (a *cloud) create(_ context.Context, req plugin.CreateRequest) (plugin.CreateResponse, error) {
	out := taken(req.Properties)
	computed := map[string][]resource.PropertyKey{azureAddress: {"ipAddress"}, AzureVM: {"vmId"}}[string(req.URN.Type())]
	if req.Preview {
		for _, key := range append(computed, "name") {
			out[key] = resource.MakeComputed(resource.NewProperty(""))
		}
		return plugin.CreateResponse{Properties: given(out), Status: resource.StatusOK}, nil
	}
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	in := Plain(taken(req.Properties))
	id := azureID(string(req.URN.Type()), in)
	a.world.note("create " + Label(req.URN))
	if _, taken := a.Exists[id]; taken {
		return plugin.CreateResponse{}, fmt.Errorf("cannot create already existing resource '%s'", id)
	}
	givesUp := onceMore(a.GivesUp, req.URN.Name())
	if !givesUp && onceMore(a.Busy, req.URN.Name()) {
		return plugin.CreateResponse{}, errBusy
	}
	message, fails := a.Fails[req.URN.Name()]
	if fails && !strings.HasPrefix(message, "Status=200 ") {
		return plugin.CreateResponse{}, fmt.Errorf("%s", message)
	}
	out["name"] = in[azurePaths[string(req.URN.Type())].path[len(azurePaths[string(req.URN.Type())].path)-1]]
	if givesUp {
		message, fails = givenUp, true
	}
	if fails { // the operation began, and its resource stays
		out["provisioningState"] = resource.NewProperty("Failed")
		a.Exists[id] = out
		return plugin.CreateResponse{ID: id, Properties: given(out), Status: resource.StatusPartialFailure}, &plugin.InitError{Reasons: []string{message}}
	}
	switch string(req.URN.Type()) {
	case azureAddress:
		a.address++
		out["ipAddress"] = resource.NewProperty(fmt.Sprintf("198.18.100.%d", a.address))
	case AzureVM:
		a.Machine++
		g, err := bootGuest(fmt.Sprintf("00000000-0000-4000-8000-%012d", a.Machine), in)
		if err != nil {
			return plugin.CreateResponse{}, err
		}
		g.address = fmt.Sprintf("198.18.100.%d", a.address)
		a.world.Guest = g
		out["vmId"] = resource.NewProperty(g.ID)
	case azureRunCommand:
		if err := a.world.Guest.breakGlass(in); err != nil {
			return plugin.CreateResponse{}, err
		}
		out["provisioningState"] = resource.NewProperty("Succeeded")
		a.world.note("fire " + in["runCommandName"].StringValue())
	}
	a.Exists[id] = out
	if a.Killed == req.URN.Name() {
		return plugin.CreateResponse{}, errors.New("killed")
	}
	return plugin.CreateResponse{ID: id, Properties: given(out), Status: resource.StatusOK}, nil
}

// azureID is the path of a resource in Azure.
func azureID(kind string, in resource.PropertyMap) resource.ID {
	of := azurePaths[kind]
	id := "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/" + in[of.path[0]].StringValue()
	types := strings.Split(of.arm, "/")
	if of.arm != "" {
		id += "/providers/" + types[0]
	}
	for i, key := range of.path[1:] {
		id += "/" + types[i+1] + "/" + in[key].StringValue()
	}
	return resource.ID(id)
}

// pathOf are the inputs that stand in an ID.
func pathOf(kind string, id resource.ID) resource.PropertyMap {
	parts, in := strings.Split(string(id), "/"), resource.PropertyMap{}
	for i, key := range azurePaths[kind].path {
		in[key] = resource.NewProperty(parts[4+4*min(i, 1)+2*max(i-1, 0)])
	}
	return in
}

// isOf tells whether an ID is one of a type's.
func isOf(kind string, id resource.ID) bool {
	_, provider, within := strings.Cut(string(id), "/providers/")
	var types []string
	for i, part := range strings.Split(provider, "/") {
		if i == 0 || i%2 == 1 {
			types = append(types, part)
		}
	}
	return !within && azurePaths[kind].arm == "" || within && strings.Join(types, "/") == azurePaths[kind].arm
}

func (a *cloud) update(_ context.Context, req plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	out, old := taken(req.NewInputs), taken(req.OldOutputs)
	out["name"] = old["name"]
	computed := map[string][]resource.PropertyKey{azureAddress: {"ipAddress"}, AzureVM: {"vmId"}}[string(req.URN.Type())]
	for _, key := range computed {
		out[key] = old[key]
		if req.Preview {
			// Keeps name and location alone, as the real one does.
			out[key] = resource.MakeComputed(resource.NewProperty(""))
		}
	}
	if req.Preview {
		return plugin.UpdateResponse{Properties: given(out), Status: resource.StatusOK}, nil
	}
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.world.note("update " + Label(req.URN))
	if req.URN.Type() == AzureVM && slices.Contains(changed(taken(req.OldInputs), taken(req.NewInputs)), "osProfile") {
		return plugin.UpdateResponse{}, fmt.Errorf(`Status=409 Code="PropertyChangeNotAllowed" Message="Changing property 'customData' is not allowed."`)
	}
	if onceMore(a.Busy, req.URN.Name()) {
		return plugin.UpdateResponse{}, errBusy
	}
	a.Exists[req.ID] = out
	if onceMore(a.GivesUp, req.URN.Name()) {
		return plugin.UpdateResponse{Properties: given(out), Status: resource.StatusPartialFailure}, &plugin.InitError{Reasons: []string{givenUp}}
	}
	return plugin.UpdateResponse{Properties: given(out), Status: resource.StatusOK}, nil
}

const givenUp = `Status=200 Code="RetryableErrorDueToAnotherOperation" Message="Operation could not be completed."`

var errBusy = errors.New(`Status=429 Code="RetryableError" Message="A retryable error occurred."`)

// onceMore tells whether something is still to happen to a resource, and counts that it does.
func onceMore(left map[string]int, name string) bool {
	if left[name] == 0 {
		return false
	}
	left[name]--
	return true
}

func (a *cloud) delete(_ context.Context, req plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.world.note("delete " + Label(req.URN))
	if used := a.usersOf(req.ID); req.URN.Type() == azureGroup && used != nil {
		return plugin.DeleteResponse{Status: resource.StatusOK}, fmt.Errorf(`Status=400 Code="InUseNetworkSecurityGroupCannotBeDeleted" Message="in use by %v"`, used)
	}
	delete(a.Exists, req.ID)
	// It takes all that is in it along.
	maps.DeleteFunc(a.Exists, func(id resource.ID, _ resource.PropertyMap) bool {
		return strings.HasPrefix(string(id), string(req.ID)+"/")
	})
	if req.URN.Type() == azureContainer || req.URN.Type() == AzureVM {
		a.world.Guest = nil
	}
	return plugin.DeleteResponse{Status: resource.StatusOK}, nil
}

// usersOf are the subnets that a security group filters.
func (a *cloud) usersOf(group resource.ID) (subnets []resource.ID) {
	for id, out := range a.Exists {
		if filter := Plain(out)["networkSecurityGroup"]; isOf(azureSubnet, id) && filter.IsObject() && filter.ObjectValue()["id"].StringValue() == string(group) {
			subnets = append(subnets, id)
		}
	}
	return subnets
}

func (a *cloud) read(_ context.Context, req plugin.ReadRequest) (plugin.ReadResponse, error) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	var out resource.PropertyMap
	for id, there := range a.Exists { // Azure reads IDs without case
		if strings.EqualFold(string(id), string(req.ID)) {
			out = there
		}
	}
	if out == nil {
		return plugin.ReadResponse{Status: resource.StatusOK}, nil
	}
	in := taken(req.Inputs)
	if len(in) > 0 && isOf(AzureVM, req.ID) && a.Stopped {
		in, out = withoutStorage(in), withoutStorage(out)
	}
	if len(in) == 0 { // of an import: what Azure tells of them, which is never customData, and with what it adds
		in = Plain(out)
		maps.DeleteFunc(in, func(key resource.PropertyKey, _ resource.PropertyValue) bool {
			return slices.Contains([]resource.PropertyKey{"name", "vmId", "ipAddress"}, key)
		})
		if profile := in["osProfile"]; profile.IsObject() {
			delete(profile.ObjectValue(), "customData")
		}
		maps.Copy(in, pathOf(string(req.URN.Type()), req.ID)) // which the provider takes from the ID
		in["resourceGuid"] = resource.NewProperty("00000000-0000-4000-8000-000000000000")
	}
	inputs, outputs := given(in), given(out)
	return plugin.ReadResponse{ReadResult: plugin.ReadResult{ID: req.ID, Inputs: &inputs, Outputs: &outputs}, Status: resource.StatusOK}, nil
}

// withoutStorage leaves out what Azure does not tell of a machine that is deallocated.
func withoutStorage(vm resource.PropertyMap) resource.PropertyMap {
	vm = vm.Copy()
	vm["storageProfile"] = plainValue(vm["storageProfile"])
	delete(vm["storageProfile"].ObjectValue()["osDisk"].ObjectValue()["managedDisk"].ObjectValue(), "storageAccountType")
	return vm
}

// azureLookups are the functions that the program reads Azure with.
var azureLookups = map[string]string{
	"azure-native:network:getNetworkSecurityGroup":                     azureGroup,
	"azure-native:network:getSecurityRule":                             azureRule,
	"azure-native:resources:getResourceGroup":                          azureContainer,
	"azure-native:network:getVirtualNetwork":                           azureNetwork,
	"azure-native:network:getPublicIPAddress":                          azureAddress,
	"azure-native:network:getSubnet":                                   azureSubnet,
	"azure-native:network:getNetworkInterface":                         azureInterface,
	"azure-native:compute:getVirtualMachine":                           AzureVM,
	"azure-native:insights:getActionGroup":                             azureActions,
	"azure-native:insights:getMetricAlert":                             azureAlert,
	"azure-native:compute:getVirtualMachineRunCommandByVirtualMachine": azureRunCommand,
}

// invoke answers the lookups of the program.
func (a *cloud) invoke(_ context.Context, req plugin.InvokeRequest) (plugin.InvokeResponse, error) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	kind := azureLookups[string(req.Tok)]
	if kind == "" {
		return plugin.InvokeResponse{}, fmt.Errorf("the function %s, which the program has no use for", req.Tok)
	}
	id := azureID(kind, taken(req.Args))
	out, exists := a.Exists[id]
	if !exists {
		return plugin.InvokeResponse{}, fmt.Errorf(`request failed %s: Status=404 Code="ResourceNotFound" Message="not found"`, id)
	}
	out = Plain(out)
	out["id"], out["provisioningState"] = resource.NewProperty(string(id)), resource.NewProperty("Succeeded")
	if kind == AzureVM {
		// Compute writes the group in capitals, as often as not.
		group := "/resourceGroups/" + out["resourceGroupName"].StringValue()
		out["id"] = resource.NewProperty(strings.Replace(string(id), group, strings.ToUpper(group), 1))
		power := "running"
		if a.Stopped {
			power = "deallocated"
			out = withoutStorage(out)
		}
		if expand := taken(req.Args)["expand"]; expand.IsString() && expand.StringValue() == "instanceView" {
			out["instanceView"] = resource.NewPropertyValue(map[string]any{"statuses": []any{
				map[string]any{"code": "ProvisioningState/succeeded"}, map[string]any{"code": "PowerState/" + power}}})
		}
		if a.Making > 0 {
			a.Making--
			out["provisioningState"] = resource.NewProperty("Creating")
		}
	}
	if kind == azureGroup {
		out["securityRules"] = resource.NewProperty(a.rulesOf(out["name"].StringValue()))
	}
	return plugin.InvokeResponse{Properties: given(out)}, nil
}

// rulesOf are the rules of a security group, whoever made them.
func (a *cloud) rulesOf(group string) []resource.PropertyValue {
	var rules []resource.PropertyValue
	for _, id := range slices.Sorted(maps.Keys(a.Exists)) {
		if rule := Plain(a.Exists[id]); isOf(azureRule, id) && rule["networkSecurityGroupName"].StringValue() == group {
			rules = append(rules, resource.NewProperty(rule))
		}
	}
	return rules
}

// AddGroup makes a resource group, as somebody did before the program came.
func (a *cloud) AddGroup(name string) {
	in := resource.PropertyMap{"resourceGroupName": resource.NewProperty(name), "name": resource.NewProperty(name)}
	a.Exists[azureID(azureContainer, in)] = in
}

// Retag gives the resources of a type other tags, as if they were somebody else's.
func (a *cloud) Retag(kind string, tags map[string]any) {
	for id, out := range a.Exists {
		if isOf("azure-native:compute:"+kind, id) {
			out["tags"] = resource.NewProperty(resource.NewPropertyMapFromMap(tags))
		}
	}
}

// AdmitBehindPulumi is a rule that somebody added in the portal.
func (a *cloud) AdmitBehindPulumi(rule map[string]any) {
	for id, out := range a.Exists {
		if isOf(azureGroup, id) {
			in := resource.NewPropertyMapFromMap(rule)
			in["securityRuleName"] = in["name"]
			in["resourceGroupName"], in["networkSecurityGroupName"] = Plain(out)["resourceGroupName"], Plain(out)["name"]
			a.Exists[azureID(azureRule, in)] = in
			return
		}
	}
	a.world.T.Fatal("there is no security group")
}

// DeleteBehindPulumi takes away what somebody deleted in the portal.
func (a *cloud) DeleteBehindPulumi(kind string) {
	maps.DeleteFunc(a.Exists, func(id resource.ID, _ resource.PropertyMap) bool {
		return isOf(kind, id)
	})
	if kind == AzureVM {
		a.world.Guest = nil
	}
}

// Admits tells whether the security group lets a packet through.
func (a *cloud) Admits(from netip.Addr, protocol string, port uint16) bool {
	return a.verdict(from, protocol, port) == "Allow"
}

// Denies tells whether a rule of the security group keeps a packet out.
func (a *cloud) Denies(from netip.Addr, protocol string, port uint16) bool {
	return a.verdict(from, protocol, port) == "Deny"
}

// verdict is that of the first rule for a packet; empty if there is none. Ports are one, a range or *.
func (a *cloud) verdict(from netip.Addr, protocol string, port uint16) (access string) {
	first := math.Inf(1)
	for id, out := range a.Exists {
		if !isOf(azureRule, id) || Plain(out)["direction"].StringValue() != "Inbound" {
			continue
		}
		rule := Plain(out)
		low, high, _ := strings.Cut(strings.Replace(rule["destinationPortRange"].StringValue(), "*", "0-65535", 1), "-")
		if high == "" {
			high = low
		}
		begin, _ := strconv.Atoi(low)
		end, _ := strconv.Atoi(high)
		if p := rule["protocol"].StringValue(); p != "*" && p != protocol || int(port) < begin || end < int(port) || rule["priority"].NumberValue() > first {
			continue
		}
		for _, source := range ruleSources(rule) {
			if prefix, err := netip.ParsePrefix(source); source == "*" || err == nil && prefix.Contains(from) {
				first, access = rule["priority"].NumberValue(), rule["access"].StringValue()
			}
		}
	}
	return access
}

// ruleSources are the prefixes of a rule, in either spelling.
func ruleSources(rule resource.PropertyMap) []string {
	var sources []string
	if v := rule["sourceAddressPrefix"]; v.IsString() {
		sources = append(sources, v.StringValue())
	}
	if v := rule["sourceAddressPrefixes"]; v.IsArray() {
		for _, item := range v.ArrayValue() {
			sources = append(sources, item.StringValue())
		}
	}
	return sources
}

// RuleFault looks at every rule that any test's deployment sends, in previews too: port 22 is never admitted from
// anywhere, and no rule is broader than the two that the design has.
func RuleFault(in resource.PropertyMap) string {
	rule := Plain(in)
	describe := fmt.Sprintf("rule %v", rule.Mappable())
	port, sources := rule["destinationPortRange"], ruleSources(rule)
	switch {
	case !port.IsString() || rule.HasValue("destinationPortRanges"):
		return describe + ": not one known port"
	case len(sources) == 0:
		return describe + ": no known sources"
	case rule["protocol"].StringValue() == "Udp" && port.StringValue() != "22":
		return "" // WireGuard, from wherever: phones roam
	case rule["protocol"].StringValue() != "Tcp" || port.StringValue() != "22":
		return describe + ": neither WireGuard's nor the bootstrap door's"
	}
	for _, source := range sources {
		if prefix, err := netip.ParsePrefix(source); err != nil || prefix.Bits() < 8 {
			return fmt.Sprintf("%s: admits port 22 from anywhere: %q", describe, source)
		}
	}
	return ""
}
