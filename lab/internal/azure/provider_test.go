package azure

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"openclaw-azure/lab/internal/fabric"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJQ2hK0Bv5Rk5u9Z1YQxj7o1cM0y1f9mXn2c0a5b8d3e test"

// engine speaks to a provider as the CLI's engine does.
type engine struct {
	t       *testing.T
	p       *Provider
	fabric  *memory
	client  pulumirpc.ResourceProviderClient
	address string
	file    string
	stop    func() // ends the server
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	return openEngine(t, newMemory(), filepath.Join(t.TempDir(), "record.json"))
}

// openEngine starts a provider with a fabric and a record that may have been used before.
func openEngine(t *testing.T, f *memory, file string) *engine {
	t.Helper()
	p, err := New(f, file)
	if err != nil {
		t.Fatal(err)
	}
	p.retries = []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}
	e := &engine{t: t, p: p, fabric: f, file: file}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	e.address = l.Addr().String()
	e.client = connect(t, e.address)
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(e.stop)
	return e
}

func connect(t *testing.T, address string) pulumirpc.ResourceProviderClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client := pulumirpc.NewResourceProviderClient(conn)
	resp, err := client.Configure(t.Context(), &pulumirpc.ConfigureRequest{
		Args: toStruct(t, object{"location": "westeurope"}), AcceptSecrets: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetAcceptSecrets() || !resp.GetSupportsPreview() || !resp.GetSupportsAutonamingConfiguration() {
		t.Fatalf("configure answers %v", resp)
	}
	return client
}

// made is a resource as the engine's state holds it.
type made struct {
	kind   *kind
	urn    string
	id     string
	inputs object
	state  object
}

func urn(k *kind, name string) string {
	return "urn:pulumi:dev::test::" + k.token + "::" + name
}

func toStruct(t *testing.T, o object) *structpb.Struct {
	t.Helper()
	m := resource.PropertyMap{}
	for name, value := range o {
		if v, ok := value.(resource.PropertyValue); ok {
			m[resource.PropertyKey(name)] = v
			continue
		}
		m[resource.PropertyKey(name)] = resource.NewPropertyValue(cloneValue(value))
	}
	s, err := plugin.MarshalProperties(m, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func properties(t *testing.T, s *structpb.Struct) resource.PropertyMap {
	t.Helper()
	m, err := plugin.UnmarshalProperties(s, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fromStruct leaves __inputs out: what it holds stands in made.inputs.
func fromStruct(t *testing.T, s *structpb.Struct) object {
	t.Helper()
	m := properties(t, s)
	if inputs, ok := m["__inputs"]; ok {
		if !inputs.IsSecret() {
			t.Error("__inputs is no secret")
		}
		delete(m, "__inputs")
	}
	return m.Mappable()
}

func (e *engine) check(k *kind, name string, olds, news object) (object, []string) {
	e.t.Helper()
	resp, err := e.client.Check(e.t.Context(), &pulumirpc.CheckRequest{
		Urn: urn(k, name), Olds: toStruct(e.t, olds), News: toStruct(e.t, news), RandomSeed: []byte(name),
	})
	if err != nil {
		e.t.Fatal(err)
	}
	var reasons []string
	for _, failure := range resp.GetFailures() {
		reasons = append(reasons, failure.GetReason())
	}
	return fromStruct(e.t, resp.GetInputs()), reasons
}

func (e *engine) tryCreate(k *kind, name string, news object) (*made, error) {
	e.t.Helper()
	inputs, failures := e.check(k, name, nil, news)
	if failures != nil {
		e.t.Fatalf("check of %s refuses: %v", name, failures)
	}
	m := &made{kind: k, urn: urn(k, name), inputs: inputs}
	resp, err := e.client.Create(e.t.Context(), &pulumirpc.CreateRequest{Urn: m.urn, Properties: toStruct(e.t, inputs)})
	if err != nil {
		m.keepFailed(e.t, err)
		return m, err
	}
	m.id, m.state = resp.GetId(), fromStruct(e.t, resp.GetProperties())
	return m, nil
}

// keepFailed takes over a resource that was made although its operation failed.
func (m *made) keepFailed(t *testing.T, err error) {
	for _, detail := range status.Convert(err).Details() {
		if failed, ok := detail.(*pulumirpc.ErrorResourceInitFailed); ok {
			m.id, m.state = failed.GetId(), fromStruct(t, failed.GetProperties())
		}
	}
}

func (e *engine) create(k *kind, name string, news object) *made {
	e.t.Helper()
	m, err := e.tryCreate(k, name, news)
	if err != nil {
		e.t.Fatalf("create %s: %v", name, err)
	}
	return m
}

func (e *engine) tryUpdate(m *made, news object) error {
	e.t.Helper()
	inputs, failures := e.check(m.kind, resource.URN(m.urn).Name(), m.inputs, news)
	if failures != nil {
		e.t.Fatalf("check refuses: %v", failures)
	}
	resp, err := e.client.Update(e.t.Context(), &pulumirpc.UpdateRequest{
		Id: m.id, Urn: m.urn, Olds: toStruct(e.t, m.state), News: toStruct(e.t, inputs), OldInputs: toStruct(e.t, m.inputs),
	})
	if err != nil {
		m.keepFailed(e.t, err)
		return err
	}
	m.inputs, m.state = inputs, fromStruct(e.t, resp.GetProperties())
	return nil
}

func (e *engine) update(m *made, news object) {
	e.t.Helper()
	if err := e.tryUpdate(m, news); err != nil {
		e.t.Fatalf("update %s: %v", m.id, err)
	}
}

func (e *engine) diff(m *made, news object) *pulumirpc.DiffResponse {
	e.t.Helper()
	inputs, failures := e.check(m.kind, resource.URN(m.urn).Name(), m.inputs, news)
	if failures != nil {
		e.t.Fatalf("check refuses: %v", failures)
	}
	resp, err := e.client.Diff(e.t.Context(), &pulumirpc.DiffRequest{
		Id: m.id, Urn: m.urn, Olds: toStruct(e.t, m.state), News: toStruct(e.t, inputs), OldInputs: toStruct(e.t, m.inputs),
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return resp
}

// read refreshes; gone says that there is nothing left of it.
func (e *engine) read(m *made) (gone bool) {
	e.t.Helper()
	resp, err := e.client.Read(e.t.Context(), &pulumirpc.ReadRequest{
		Id: m.id, Urn: m.urn, Properties: toStruct(e.t, m.state), Inputs: toStruct(e.t, m.inputs),
	})
	if err != nil {
		e.t.Fatal(err)
	}
	if resp.GetId() == "" {
		return true
	}
	m.inputs, m.state = fromStruct(e.t, resp.GetInputs()), fromStruct(e.t, resp.GetProperties())
	return false
}

func (e *engine) tryDelete(m *made) error {
	_, err := e.client.Delete(e.t.Context(), &pulumirpc.DeleteRequest{Id: m.id, Urn: m.urn, Properties: toStruct(e.t, m.state)})
	return err
}

func (e *engine) delete(m *made) {
	e.t.Helper()
	if err := e.tryDelete(m); err != nil {
		e.t.Fatalf("delete %s: %v", m.id, err)
	}
}

// stack is what a machine needs, and the machine.
type stack struct {
	group, nsg, network, subnet, address, nic, vm *made
}

func (e *engine) network() *stack {
	e.t.Helper()
	s := &stack{group: e.create(resourceGroup, "group", object{})}
	in := s.in()
	s.nsg = e.create(networkSecurityGroup, "nsg", in(nil))
	s.network = e.create(virtualNetwork, "vnet", in(object{"addressSpace": object{"addressPrefixes": []any{"10.0.0.0/16"}}}))
	s.subnet = e.create(subnet, "subnet", in(s.subnetInputs("10.0.1.0/24")))
	s.address = e.create(publicIPAddress, "public-ip", in(standardAddress()))
	s.nic = e.create(networkInterface, "nic", in(s.nicInputs()))
	return s
}

func (e *engine) machine() *stack {
	e.t.Helper()
	s := e.network()
	s.vm = e.create(virtualMachine, "vm", s.in()(s.vmInputs()))
	return s
}

// in adds the group to inputs.
func (s *stack) in() func(object) object {
	return func(o object) object {
		all := object{"resourceGroupName": s.group.state["name"]}
		for name, value := range o {
			all[name] = value
		}
		return all
	}
}

func (s *stack) subnetInputs(prefix string) object {
	return object{"virtualNetworkName": s.network.state["name"], "addressPrefix": prefix}
}

func standardAddress() object {
	return object{"publicIPAllocationMethod": "Static", "sku": object{"name": "Standard"}}
}

func (s *stack) nicInputs() object {
	return object{
		"networkSecurityGroup": object{"id": s.nsg.id},
		"ipConfigurations": []any{object{"name": "primary", "subnet": object{"id": s.subnet.id},
			"publicIPAddress": object{"id": s.address.id}}},
	}
}

func (s *stack) ruleInputs(more object) object {
	all := s.in()(object{
		"networkSecurityGroupName": s.nsg.state["name"], "access": "Allow", "direction": "Inbound", "priority": 1001, "protocol": "Tcp",
		"sourceAddressPrefix": "198.18.1.10/32", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "22",
	})
	for name, value := range more {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return all
}

func (s *stack) vmInputs() object {
	return object{
		"hardwareProfile": object{"vmSize": "Standard_B2s"},
		"networkProfile":  object{"networkInterfaces": []any{object{"id": s.nic.id, "deleteOption": "Detach"}}},
		"osProfile": object{
			"adminUsername": "azureuser", "computerName": "openclaw", "customData": base64.StdEncoding.EncodeToString([]byte("#cloud-config\n")),
			"linuxConfiguration": object{"disablePasswordAuthentication": true,
				"ssh": object{"publicKeys": []any{object{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": testKey}}}},
		},
		"securityProfile": object{"securityType": "TrustedLaunch", "uefiSettings": object{"secureBootEnabled": true, "vTpmEnabled": true}},
		"storageProfile": object{
			"imageReference": object{"publisher": "Debian", "offer": "debian-13", "sku": "13-gen2", "version": "latest"},
			"osDisk":         object{"createOption": "FromImage", "deleteOption": "Delete", "diskSizeGB": 32},
		},
	}
}

// set changes one value of inputs, found by a path with dots; nil takes it away.
func set(o object, path string, value any) object {
	o = o.clone()
	at := map[string]any(o)
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		switch next := at[name].(type) {
		case map[string]any:
			at = next
		case []any:
			at = next[0].(map[string]any)
		default:
			made := map[string]any{}
			at[name] = made
			at = made
		}
	}
	last := names[len(names)-1]
	if value == nil {
		delete(at, last)
	} else {
		at[last] = cloneValue(value)
	}
	return o
}

// wantError compares the whole text, in which SUB stands for the subscription's path.
func (e *engine) wantError(err error, want string) {
	e.t.Helper()
	got := "no error"
	if err != nil {
		got = status.Convert(err).Message()
	}
	got = strings.ReplaceAll(got, "/subscriptions/"+e.p.subscription(), "SUB")
	if got != want {
		e.t.Errorf("got  %s\nwant %s", got, want)
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !same(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestNames(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	for _, m := range []*made{s.group, s.nsg, s.network, s.address, s.nic, s.vm} {
		logical := resource.URN(m.urn).Name()
		if name := m.state["name"].(string); !regexp.MustCompile("^" + logical + "[0-9a-f]{8}$").MatchString(name) {
			t.Errorf("%s is called %q", logical, name)
		}
		equal(t, logical+" flag", m.inputs[replaceFlag], true)
		equal(t, logical+" name input", m.inputs[m.kind.name()], m.state["name"])
		if m.kind != resourceGroup {
			equal(t, logical+" location", m.inputs["location"], "westeurope")
		}
	}
	rule := e.create(securityRule, "ssh-bootstrap", s.ruleInputs(nil))
	command := e.create(runCommand, "break-glass", s.in()(object{"vmName": s.vm.state["name"], "source": object{"script": "true"}}))
	for _, m := range []*made{s.subnet, rule, command} {
		equal(t, "name of a child", m.state["name"], resource.URN(m.urn).Name())
		if _, flagged := m.inputs[replaceFlag]; flagged {
			t.Errorf("%s has a flag although its name is plain", m.id)
		}
	}
	equal(t, "location of a subnet", s.subnet.inputs["location"], nil)
	equal(t, "location of a rule", rule.inputs["location"], nil)
	sub := "/subscriptions/" + e.p.subscription() + "/resourceGroups/" + s.group.state.text("name")
	equal(t, "id of a group", s.group.id, sub)
	equal(t, "id of a rule", rule.id, sub+"/providers/Microsoft.Network/networkSecurityGroups/"+s.nsg.state.text("name")+"/securityRules/ssh-bootstrap")
	equal(t, "id of a run command", command.id, sub+"/providers/Microsoft.Compute/virtualMachines/"+s.vm.state.text("name")+"/runCommands/break-glass")

	// An update keeps the name, and a name of the program's own has no flag.
	inputs, _ := e.check(networkSecurityGroup, "nsg", s.nsg.inputs, s.in()(nil))
	equal(t, "inputs of an update", inputs, s.nsg.inputs)
	inputs, _ = e.check(networkSecurityGroup, "nsg", nil, s.in()(object{"networkSecurityGroupName": "mine"}))
	equal(t, "flag of a given name", inputs[replaceFlag], nil)
}

func TestAutonamingOptions(t *testing.T) {
	e := newEngine(t)
	for mode, want := range map[pulumirpc.CheckRequest_AutonamingOptions_Mode]any{
		pulumirpc.CheckRequest_AutonamingOptions_PROPOSE: "proposed",
		pulumirpc.CheckRequest_AutonamingOptions_ENFORCE: "proposed",
		pulumirpc.CheckRequest_AutonamingOptions_DISABLE: nil,
	} {
		resp, err := e.client.Check(t.Context(), &pulumirpc.CheckRequest{
			Urn: urn(resourceGroup, "group"), News: toStruct(t, object{}),
			Autonaming: &pulumirpc.CheckRequest_AutonamingOptions{Mode: mode, ProposedName: "proposed"},
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, mode.String(), fromStruct(t, resp.GetInputs())["resourceGroupName"], want)
		equal(t, mode.String()+" failures", len(resp.GetFailures()) == 1, want == nil)
	}
}

func TestCheckFindsMissingInputs(t *testing.T) {
	e := newEngine(t)
	_, failures := e.check(securityRule, "rule", nil, object{"priority": 1})
	equal(t, "failures", list(failures), []any{
		"missing required property 'resourceGroupName'", "missing required property 'networkSecurityGroupName'",
		"missing required property 'access'", "missing required property 'direction'", "missing required property 'protocol'",
	})
}

// A location comes from the old inputs, then the configuration, then the group.
func TestLocation(t *testing.T) {
	e := newEngine(t)
	inputs, _ := e.check(networkSecurityGroup, "nsg", object{"location": "northeurope"}, object{"resourceGroupName": "g"})
	equal(t, "old location", inputs["location"], "northeurope")
	group := e.create(resourceGroup, "group", object{"location": "eastus"})
	if _, err := e.client.Configure(t.Context(), &pulumirpc.ConfigureRequest{}); err != nil {
		t.Fatal(err)
	}
	inputs, _ = e.check(networkSecurityGroup, "nsg", nil, object{"resourceGroupName": group.state["name"]})
	equal(t, "the group's location", inputs["location"], "eastus")
	resp, err := e.client.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urn(networkSecurityGroup, "nsg"), News: toStruct(t, object{
		"resourceGroupName": resource.MakeComputed(resource.NewProperty("")),
	})})
	if err != nil {
		t.Fatal(err)
	}
	if !properties(t, resp.GetInputs())["location"].IsComputed() {
		t.Error("the location of an unknown group is known")
	}
	_, failures := e.check(resourceGroup, "other", nil, object{})
	equal(t, "failures", list(failures), []any{
		"missing required property 'location'. Either set it explicitly or configure it with 'pulumi config set azure-native:location <value>'.",
	})
}

// What a preview promises: the inputs, and for an update the name and the location too.
func TestPreview(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	create, err := e.client.Create(t.Context(), &pulumirpc.CreateRequest{
		Urn: urn(networkInterface, "nic"), Properties: toStruct(t, s.nic.inputs), Preview: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	out := properties(t, create.GetProperties())
	for _, name := range []resource.PropertyKey{"name", "provisioningState", "etag", "macAddress", "id"} {
		if !out[name].IsComputed() {
			t.Errorf("%s is known before the resource is there: %v", name, out[name])
		}
	}
	configuration := out["ipConfigurations"].ArrayValue()[0].ObjectValue()
	if !configuration["privateIPAddress"].IsComputed() || configuration["name"].StringValue() != "primary" {
		t.Errorf("a preview's IP configuration: %v", configuration)
	}
	if _, there := out["resourceGroupName"]; there {
		t.Error("an input that Azure does not repeat is an output")
	}
	update, err := e.client.Update(t.Context(), &pulumirpc.UpdateRequest{
		Id: s.nic.id, Urn: s.nic.urn, Olds: toStruct(t, s.nic.state), News: toStruct(t, s.nic.inputs), Preview: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	out = properties(t, update.GetProperties())
	equal(t, "name", out["name"].V, s.nic.state["name"])
	equal(t, "location", out["location"].V, "westeurope")
	if !out["etag"].IsComputed() {
		t.Error("an update's preview knows more than name and location")
	}
}

func TestOutputs(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	for _, name := range []string{"etag", "resourceGuid", "azureApiVersion", "id", "type", "location"} {
		if s.nic.state.text(name) == "" {
			t.Errorf("an interface has no %s", name)
		}
	}
	equal(t, "group's state", s.group.state.text("properties.provisioningState"), "Succeeded")
	equal(t, "group's type", s.group.state["type"], "Microsoft.Resources/resourceGroups")
	equal(t, "etag", regexp.MustCompile(`^W/"[0-9a-f-]{36}"$`).MatchString(s.nsg.state.text("etag")), true)
	equal(t, "address", s.address.state["ipAddress"], "198.18.100.1")
	equal(t, "sku", s.address.state["sku"], object{"name": "Standard", "tier": "Regional"})
	equal(t, "first private address", s.nic.state.objects("ipConfigurations")[0]["privateIPAddress"], "10.0.1.4")
	equal(t, "rules of a new group", s.nsg.state["securityRules"], []any{})
	equal(t, "Azure's own rules", len(s.nsg.state.objects("defaultSecurityRules")), 6)
	equal(t, "subnets of a new network", s.network.state["subnets"], []any{})
	vm := s.vm.state
	equal(t, "exact version", vm.text("storageProfile.imageReference.exactVersion"), "0.20251117.2299")
	if !regexp.MustCompile(`^vm[0-9a-f]{8}_OsDisk_1_[0-9a-f]{32}$`).MatchString(vm.text("storageProfile.osDisk.name")) {
		t.Errorf("disk is called %q", vm.text("storageProfile.osDisk.name"))
	}
	for _, secret := range []string{"osProfile.customData", "osProfile.adminPassword"} {
		if vm.has(secret) {
			t.Errorf("%s comes back", secret)
		}
	}
	machine := e.fabric.machines[vm.text("vmId")]
	want := fabric.Machine{
		VMID: vm.text("vmId"), Name: vm.text("name"), ComputerName: "openclaw", Image: "Debian:debian-13:13-gen2:latest",
		Size: "Standard_B2s", AdminUsername: "azureuser", AdminKeys: []string{testKey}, CustomData: []byte("#cloud-config\n"),
		PrivateAddress: netip.MustParseAddr("10.0.1.4"), Subnet: netip.MustParsePrefix("10.0.1.0/24"),
		VNet: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, PublicAddress: netip.MustParseAddr("198.18.100.1"), DiskGiB: 32,
	}
	equal(t, "machine", fmt.Sprintf("%+v", machine), fmt.Sprintf("%+v", want))
	if e.read(s.nic) {
		t.Fatal("interface is gone")
	}
	equal(t, "machine of the interface", s.nic.state.text("virtualMachine.id"), s.vm.id)
}

// Refreshing what nobody touched changes no input, whatever Azure added.
func TestRefreshOfUntouchedResources(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	rule := e.create(securityRule, "rule", s.ruleInputs(nil))
	command := e.create(runCommand, "command", s.in()(object{"vmName": s.vm.state["name"], "source": object{"script": "true"},
		"protectedParameters": []any{object{"name": "K", "value": "canary"}}}))
	for _, m := range []*made{s.group, s.nsg, s.network, s.subnet, s.address, s.nic, s.vm, rule, command} {
		before := m.inputs.clone()
		if e.read(m) {
			t.Fatalf("%s is gone", m.id)
		}
		equal(t, "inputs of "+m.id, m.inputs, before)
		if resp := e.diff(m, m.inputs); resp.GetChanges() != pulumirpc.DiffResponse_DIFF_NONE {
			t.Errorf("%s differs: %v", m.id, resp.GetDiffs())
		}
	}
	equal(t, "protected parameters", command.state["protectedParameters"], nil)
}

// What somebody else changed is seen by a refresh, and becomes a difference.
func TestRefreshSeesForeignChanges(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	inputs := s.ruleInputs(nil)
	rule := e.create(securityRule, "rule", inputs)
	changed := rule.inputs.clone()
	changed["sourceAddressPrefix"] = "*"
	if _, err := e.p.Put(t.Context(), securityRule.token, changed); err != nil {
		t.Fatal(err)
	}
	if e.read(rule) {
		t.Fatal("rule is gone")
	}
	equal(t, "refreshed input", rule.inputs["sourceAddressPrefix"], "*")
	equal(t, "difference", list(e.diff(rule, inputs).GetDiffs()), []any{"sourceAddressPrefix"})

	if err := e.p.Delete(t.Context(), securityRule.token, rule.id); err != nil {
		t.Fatal(err)
	}
	equal(t, "a deleted rule is gone", e.read(rule), true)
	e.delete(rule) // which is no error

	// A rule that somebody added is in the group's outputs, and in no input.
	if _, err := e.p.Put(t.Context(), securityRule.token, s.ruleInputs(object{"securityRuleName": "foreign"})); err != nil {
		t.Fatal(err)
	}
	e.read(s.nsg)
	equal(t, "rules", s.nsg.state.objects("securityRules")[0]["name"], "foreign")
	equal(t, "input", s.nsg.inputs["securityRules"], nil)

	// A machine that was taken away beneath Azure is gone, its interface is not.
	if err := e.fabric.DeleteVM(t.Context(), s.vm.state.text("vmId")); err != nil {
		t.Fatal(err)
	}
	equal(t, "a machine that is gone", e.read(s.vm), true)
	equal(t, "its interface", e.read(s.nic), false)
}

func TestReplacement(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	rule := e.create(securityRule, "rule", s.ruleInputs(nil))
	fixed := e.create(networkSecurityGroup, "fixed", s.in()(object{"networkSecurityGroupName": "fixed"}))
	for _, test := range []struct {
		name        string
		of          *made
		news        object
		replaces    []any
		diffs       []any
		deleteFirst bool
	}{
		{"tags of a group", s.nsg, s.in()(object{"tags": object{"a": "b"}}), []any{}, []any{"tags"}, false},
		{"location in other words", s.nsg, s.in()(object{"location": "West Europe"}), []any{}, []any{}, false},
		{"group of a security group", s.nsg, set(s.nsg.inputs, "resourceGroupName", "other"), []any{"resourceGroupName"}, []any{"resourceGroupName"}, false},
		{"name of a security group that has one of its own", fixed, set(fixed.inputs, "networkSecurityGroupName", "b"), []any{"networkSecurityGroupName"}, []any{"networkSecurityGroupName"}, true},
		{"location of a network", s.network, set(s.network.inputs, "location", "eastus"), []any{"location"}, []any{"location"}, false},
		{"location of a security group", s.nsg, set(s.nsg.inputs, "location", "eastus"), []any{}, []any{"location"}, false},
		{"sku of an address", s.address, set(s.address.inputs, "sku.name", "Basic"), []any{"sku"}, []any{"sku"}, false},
		{"priority of a rule", rule, set(rule.inputs, "priority", 1002), []any{}, []any{"priority"}, true},
		{"parent of a rule", rule, set(rule.inputs, "networkSecurityGroupName", "b"), []any{"networkSecurityGroupName"}, []any{"networkSecurityGroupName"}, true},
		{"image of a machine", s.vm, set(s.vm.inputs, "storageProfile.imageReference.sku", "13"), []any{}, []any{"storageProfile"}, false},
		{"custom data of a machine", s.vm, set(s.vm.inputs, "osProfile.customData", "eA=="), []any{}, []any{"osProfile"}, false},
		{"name of a machine's computer", s.vm, set(s.vm.inputs, "osProfile.computerName", "other"), []any{}, []any{"osProfile"}, false},
	} {
		resp := e.diff(test.of, test.news)
		equal(t, test.name+": replaces", list(resp.GetReplaces()), test.replaces)
		equal(t, test.name+": diffs", list(resp.GetDiffs()), test.diffs)
		if len(test.replaces) > 0 {
			equal(t, test.name+": delete first", resp.GetDeleteBeforeReplace(), test.deleteFirst)
		}
	}
	detailed := e.diff(s.address, set(s.address.inputs, "sku.name", "Basic")).GetDetailedDiff()
	equal(t, "detail", detailed["sku.name"].GetKind() == pulumirpc.PropertyDiff_UPDATE_REPLACE, true)
}

func TestPreservedArrays(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	rule := e.create(securityRule, "rule", s.ruleInputs(nil))
	e.update(s.nsg, s.in()(object{"tags": object{"a": "b"}}))
	equal(t, "rules after an update", s.nsg.state.objects("securityRules")[0]["name"], "rule")
	equal(t, "etag of an untouched rule", s.nsg.state.objects("securityRules")[0]["etag"], rule.state["etag"])
	e.update(s.network, s.in()(object{"addressSpace": object{"addressPrefixes": []any{"10.0.0.0/16", "10.1.0.0/16"}}}))
	equal(t, "subnets after an update", s.network.state.objects("subnets")[0]["name"], "subnet")

	// Inline and standalone rules delete each other.
	e.update(s.nsg, s.in()(object{"securityRules": []any{set(s.ruleInputs(object{"name": "inline", "priority": 200}), "networkSecurityGroupName", nil)}}))
	equal(t, "a standalone rule beside inline ones", e.read(rule), true)
	equal(t, "inline rules", len(s.nsg.state.objects("securityRules")), 1)

	// Other unset fields are lost.
	e.update(s.subnet, s.in()(set(s.subnetInputs("10.0.1.0/24"), "networkSecurityGroup.id", s.nsg.id)))
	equal(t, "security group of a subnet", s.subnet.state.text("networkSecurityGroup.id"), s.nsg.id)
	e.update(s.subnet, s.in()(s.subnetInputs("10.0.1.0/24")))
	equal(t, "security group that was left out", s.subnet.state["networkSecurityGroup"], nil)
}

func TestLookups(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.create(securityRule, "rule", s.ruleInputs(nil))
	e.create(runCommand, "script", s.in()(object{"vmName": s.vm.state["name"], "runCommandName": "script", "source": object{"script": "true"}}))
	for token, args := range map[string]object{
		"azure-native:network:getNetworkSecurityGroup":                     {"networkSecurityGroupName": s.nsg.state["name"]},
		"azure-native:network:getSecurityRule":                             {"networkSecurityGroupName": s.nsg.state["name"], "securityRuleName": "rule"},
		"azure-native:resources:getResourceGroup":                          {},
		"azure-native:network:getVirtualNetwork":                           {"virtualNetworkName": s.network.state["name"]},
		"azure-native:network:getSubnet":                                   {"virtualNetworkName": s.network.state["name"], "subnetName": s.subnet.state["name"]},
		"azure-native:network:getPublicIPAddress":                          {"publicIpAddressName": s.address.state["name"]},
		"azure-native:network:getNetworkInterface":                         {"networkInterfaceName": s.nic.state["name"]},
		"azure-native:compute:getVirtualMachine":                           {"vmName": s.vm.state["name"]},
		"azure-native:compute:getVirtualMachineRunCommandByVirtualMachine": {"vmName": s.vm.state["name"], "runCommandName": "script"},
	} {
		resp, err := e.client.Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: token, Args: toStruct(t, s.in()(args))})
		if err != nil {
			t.Fatal(err)
		}
		out := fromStruct(t, resp.GetReturn())
		if out.text("id") == "" || out.text("provisioningState")+out.text("properties.provisioningState") != "Succeeded" || out.has("instanceView") {
			t.Errorf("%s answers %v", token, out)
		}
	}
	_, err := e.client.Invoke(t.Context(), &pulumirpc.InvokeRequest{
		Tok: "azure-native:network:getPublicIPAddress", Args: toStruct(t, object{"resourceGroupName": s.group.state["name"], "publicIpAddressName": "none"}),
	})
	group := s.group.state.text("name")
	e.wantError(err, fmt.Sprintf(`request failed SUB/resourceGroups/%s/providers/Microsoft.Network/publicIPAddresses/none: Status=404 Code="ResourceNotFound" Message="The Resource 'Microsoft.Network/publicIPAddresses/none' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"`, group, group))
	_, err = e.client.Invoke(t.Context(), &pulumirpc.InvokeRequest{
		Tok: "azure-native:compute:getVirtualMachine", Args: toStruct(t, object{"resourceGroupName": "nowhere", "vmName": "none"}),
	})
	e.wantError(err, `request failed SUB/resourceGroups/nowhere/providers/Microsoft.Compute/virtualMachines/none: Status=404 Code="ResourceGroupNotFound" Message="Resource group 'nowhere' could not be found."`)
}

// A server that is started anew knows what there is, and puts rules in force again.
func TestRestart(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.create(securityRule, "rule", s.ruleInputs(nil))
	rules := e.fabric.rules[s.vm.state.text("vmId")]
	again := newMemory()
	again.machines = e.fabric.machines
	second := openEngine(t, again, e.file)
	if second.read(s.vm) {
		t.Fatal("the machine is gone with the server")
	}
	equal(t, "rules", fmt.Sprint(again.rules[s.vm.state.text("vmId")]), fmt.Sprint(rules))

	// One whose machine vanished meanwhile forgets it.
	third := openEngine(t, newMemory(), e.file)
	equal(t, "a machine that is gone", third.read(s.vm), true)
}

// A resource that no program made can be imported. What Azure never tells, a machine's customData, is no input then, and
// the program's other inputs can be put over it.
func TestImport(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	rule := e.create(securityRule, "rule", s.ruleInputs(nil))
	resp, err := e.client.Read(t.Context(), &pulumirpc.ReadRequest{Id: rule.id, Urn: rule.urn})
	if err != nil {
		t.Fatal(err)
	}
	inputs := fromStruct(t, resp.GetInputs())
	for _, name := range []string{"resourceGroupName", "networkSecurityGroupName", "securityRuleName", "access", "priority", "destinationPortRange"} {
		equal(t, name, inputs[name], rule.inputs[name])
	}
	resp, err = e.client.Read(t.Context(), &pulumirpc.ReadRequest{Id: s.vm.id, Urn: s.vm.urn})
	if err != nil {
		t.Fatal(err)
	}
	vm := &made{kind: s.vm.kind, urn: s.vm.urn, id: s.vm.id, inputs: fromStruct(t, resp.GetInputs()), state: fromStruct(t, resp.GetProperties())}
	equal(t, "customData", vm.inputs["osProfile"].(map[string]any)["customData"], nil)
	e.update(vm, set(s.vm.inputs, "osProfile", vm.inputs["osProfile"]))
	equal(t, "the machine", vm.state["vmId"], s.vm.state["vmId"])
}
