package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"openclaw-azure/internal/breakglass"
)

// The labels of the break-glass and of the rule that opens port 22.
const (
	labelBreakGlass = "VirtualMachineRunCommandByVirtualMachine break-glass"
	labelBootstrap  = "SecurityRule ssh-bootstrap"
	labelWireGuard  = "SecurityRule wireguard"
	labelVM         = "VirtualMachine vm"
)

// closedResources are what a stack consists of while port 22 is closed.
var closedResources = append([]string{
	"NetworkInterface nic", "NetworkSecurityGroup perimeter", "PublicIPAddress public-ip", "ResourceGroup openclaw",
	labelWireGuard, "Subnet subnet", labelVM, "VirtualNetwork vnet",
	"keys", "peer-laptop", "proof",
}, layerNames...)

// openResources are what it consists of while port 22 is open.
var openResources = append([]string{labelBreakGlass, labelBootstrap}, closedResources...)

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: wanted (-), got (+)\n%s", what, diff)
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func TestEngineFirstDeploy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.mustUp()

	equal(t, "resources", sorted(openResources), slices.Sorted(maps.Keys(w.resources())))
	equal(t, "messages", []string{}, first.messages)

	first.inOrder("create keys", "create "+labelVM)
	first.inOrder("create "+labelWireGuard, "create "+labelBreakGlass)
	first.inOrder("create "+labelBootstrap, "create "+labelBreakGlass, "create base through bootstrap")
	layers := slices.DeleteFunc(slices.Clone(first.happened), func(s string) bool { return !strings.Contains(s, " through ") })
	equal(t, "layers one after the other, then the proof by the other door",
		append(each("create ", layerNames, " through bootstrap"), "create proof through tunnel"), layers)
	if last := first.happened[len(first.happened)-1]; last != "create proof through tunnel" {
		t.Errorf("the proof is not the last, but %q", last)
	}
}

func TestEngineFirstDeployInputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set("wireguardCidrs", "198.18.1.0/24, 198.18.9.0/24")
	w.mustUp()
	group, nsg := w.inputs("ResourceGroup openclaw")["resourceGroupName"], w.inputs("NetworkSecurityGroup perimeter")["networkSecurityGroupName"]
	tags := map[string]any{"project": "openclaw", "stack": "dev"}

	rules := map[string]any{}
	for name := range w.resources() {
		if strings.HasPrefix(name, "SecurityRule ") {
			rules[name] = w.inputs(name)
		}
	}
	equal(t, "rules", map[string]any{
		labelBootstrap: map[string]any{
			"resourceGroupName": group, "networkSecurityGroupName": nsg, "securityRuleName": "SSH-Bootstrap",
			"priority": 1001.0, "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
			"sourceAddressPrefix": "198.18.1.10/32", "sourcePortRange": "*",
			"destinationAddressPrefix": "*", "destinationPortRange": "22",
		},
		labelWireGuard: map[string]any{
			"resourceGroupName": group, "networkSecurityGroupName": nsg, "securityRuleName": "WireGuard",
			"priority": 1000.0, "direction": "Inbound", "access": "Allow", "protocol": "Udp",
			"sourceAddressPrefixes": []any{"198.18.1.0/24", "198.18.9.0/24"}, "sourcePortRange": "*",
			"destinationAddressPrefix": "*", "destinationPortRange": "51820",
		},
	}, rules)
	equal(t, "security group: no rule of its own, which would undo the standalone ones", map[string]any{
		"resourceGroupName": group, "networkSecurityGroupName": nsg, "location": "westeurope", "tags": tags, "__createBeforeDelete": true,
	}, w.inputs("NetworkSecurityGroup perimeter"))

	ip := w.inputs("PublicIPAddress public-ip")
	delete(ip, "publicIpAddressName")
	equal(t, "public address", map[string]any{
		"resourceGroupName": group, "location": "westeurope", "tags": tags, "__createBeforeDelete": true,
		"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4", "sku": map[string]any{"name": "Standard"},
	}, ip)
	nsgID := map[string]any{"id": string(w.resources()["NetworkSecurityGroup perimeter"].ID)}
	equal(t, "the subnet's security group", any(nsgID), w.inputs("Subnet subnet")["networkSecurityGroup"])
	equal(t, "the subnet", any("10.0.0.0/24"), w.inputs("Subnet subnet")["addressPrefix"])
	equal(t, "the interface's security group", any(nsgID), w.inputs("NetworkInterface nic")["networkSecurityGroup"])
	equal(t, "the interface's address", any([]any{map[string]any{
		"name": "primary", "privateIPAllocationMethod": "Dynamic",
		"subnet":          map[string]any{"id": string(w.resources()["Subnet subnet"].ID)},
		"publicIPAddress": map[string]any{"id": string(w.resources()["PublicIPAddress public-ip"].ID)},
	}}), w.inputs("NetworkInterface nic")["ipConfigurations"])

	vm := w.inputs(labelVM)
	profile := vm["osProfile"].(map[string]any)
	if text, _ := profile["customData"].(string); text == "" {
		t.Error("osProfile has no customData")
	}
	delete(profile, "customData")
	delete(vm, "vmName")
	equal(t, "virtual machine", map[string]any{
		"resourceGroupName": group, "location": "westeurope", "tags": tags, "__createBeforeDelete": true,
		"hardwareProfile": map[string]any{"vmSize": "Standard_B2als_v2"},
		"networkProfile": map[string]any{"networkInterfaces": []any{map[string]any{
			"id": string(w.resources()["NetworkInterface nic"].ID), "primary": true, "deleteOption": "Detach"}}},
		"osProfile": map[string]any{
			"computerName": "openclaw", "adminUsername": "azureuser",
			"linuxConfiguration": map[string]any{
				"disablePasswordAuthentication": true,
				"ssh": map[string]any{"publicKeys": []any{map[string]any{
					"path": "/home/azureuser/.ssh/authorized_keys", "keyData": w.made(1).Bootstrap.Public}}},
			},
		},
		"storageProfile": map[string]any{
			"imageReference": map[string]any{"publisher": "Debian", "offer": "debian-13", "sku": "13-gen2", "version": "latest"},
			"osDisk": map[string]any{"createOption": "FromImage", "deleteOption": "Delete",
				"managedDisk": map[string]any{"storageAccountType": "StandardSSD_LRS"}},
		},
		"securityProfile":    map[string]any{"securityType": "TrustedLaunch", "uefiSettings": map[string]any{"secureBootEnabled": true, "vTpmEnabled": true}},
		"diagnosticsProfile": map[string]any{"bootDiagnostics": map[string]any{"enabled": true}},
	}, vm)

	command := w.inputs(labelBreakGlass)
	name, _ := command["runCommandName"].(string)
	if !strings.HasPrefix(name, "break-glass-") {
		t.Errorf("the run command's name is %q", name)
	}
	delete(command, "runCommandName")
	equal(t, "break-glass", map[string]any{
		"resourceGroupName": group, "location": "westeurope", "tags": tags, "vmName": w.inputs(labelVM)["vmName"],
		"source":                          map[string]any{"script": breakglass.Script},
		"asyncExecution":                  false,
		"treatFailureAsDeploymentFailure": true,
		"timeoutInSeconds":                1800.0,
		"parameters": []any{
			map[string]any{"name": "ADMIN_USER", "value": "azureuser"},
			map[string]any{"name": "ADMIN_KEY", "value": w.made(1).Bootstrap.Public},
			map[string]any{"name": "ALLOWED_CIDRS", "value": "198.18.1.10/32"},
			map[string]any{"name": "BOOTSTRAP_PORT", "value": "22"},
			map[string]any{"name": "SSH_PORT", "value": "2222"},
			map[string]any{"name": "WIREGUARD_PORT", "value": "51820"},
			map[string]any{"name": "VPN_CIDR", "value": "10.100.0.0/24"},
		},
		"protectedParameters": []any{map[string]any{"name": "HOST_KEY", "value": w.made(1).HostKey.Private}},
	}, command)

	for _, name := range append(slices.Clone(layerNames), "proof") {
		in := w.inputs(name)
		if in["update"] != nil || in["delete"] != nil || in["triggers"] != nil || in["environment"] != nil {
			t.Errorf("%s: an input that would replace it, run without a host or need AcceptEnv: %v", name, slices.Sorted(maps.Keys(in)))
		}
		equal(t, name+": previous output", any(false), in["addPreviousOutputInEnv"])
		equal(t, name+": logging", any("none"), in["logging"])
		equal(t, name+": pinned host key", any(w.made(1).HostKey.Public), in["connection"].(map[string]any)["hostKey"])
	}
}

func TestEngineOutputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := w.mustUp().outputs
	secret := map[string]bool{}
	for name, value := range open {
		secret[string(name)] = value.ContainsSecrets()
	}
	equal(t, "outputs and whether they are secret", map[string]bool{
		"publicIp": false, "doors": false, "wireguardSources": false, "next": false, "knownHosts": false, "readme": false,
		"peers": true, "operatorKey": true, "sudoPassword": true, "gatewayToken": true, lastRunOutput: true,
	}, secret)

	hostKey := strings.Join(strings.Fields(w.made(1).HostKey.Public)[:2], " ")
	values := plain(open).Mappable()
	for name, want := range map[string]any{
		"publicIp":         "198.18.100.1",
		"wireguardSources": "198.18.1.10/32",
		"doors": "bootstrap: azureuser@198.18.100.1 port 22/tcp from 198.18.1.10/32\n" +
			"tunnel: WireGuard 198.18.100.1:51820/udp from 198.18.1.10/32, then claw@10.100.0.1 port 2222",
		"next":         "the tunnel was proven: close port 22 with `pulumi config set bootstrap false && pulumi up`",
		"knownHosts":   "[10.100.0.1]:2222 " + hostKey + "\n198.18.100.1 " + hostKey + "\n",
		"operatorKey":  w.made(1).Operator.Private,
		"sudoPassword": w.made(1).SudoPassword.Plain,
		"gatewayToken": w.made(1).GatewayToken,
	} {
		equal(t, name, want, values[name])
	}
	if conf := values["peers"].(map[string]any)["laptop"].(string); !strings.Contains(conf, "\nEndpoint = 198.18.100.1:51820\n") {
		t.Error("peers: no endpoint for laptop")
	}

	w.set("bootstrap", "false")
	values = plain(w.mustUp().outputs).Mappable()
	for name, want := range map[string]any{
		"doors":      "tunnel: WireGuard 198.18.100.1:51820/udp from 198.18.1.10/32, then claw@10.100.0.1 port 2222",
		"next":       "port 22 is closed: connect through the tunnel (see the output readme)",
		"knownHosts": "[10.100.0.1]:2222 " + hostKey + "\n",
	} {
		equal(t, name+", closed", want, values[name])
	}
}

// Nothing is known in a first preview: no key, no address, no machine.
func TestEngineFirstPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.preview()
	if r.err != nil {
		t.Fatal(r.err)
	}
	equal(t, "messages", []string{}, r.messages)
	equal(t, "what happened", []string{}, r.happened)
	equal(t, "changes", sorted(append(each("create ", openResources, ""), "create openclaw-dev")), sorted(r.changes()))
}

// What a preview announced is what `up` does.
func TestEnginePreviewOfClosing(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.set("bootstrap", "false")
	preview := w.preview()
	equal(t, "what happened", []string{"look through tunnel"}, preview.happened)
	equal(t, "changes", sorted(preview.changes()), sorted(w.mustUp().changes()))
}

func TestEngineRefreshFindsNothing(t *testing.T) {
	t.Parallel()
	for _, w := range []*world{deployed(t), closed(t)} {
		r := w.refresh()
		if r.err != nil {
			t.Fatal(r.err)
		}
		w.quiet()
		equal(t, "up --refresh", []string{}, w.mustUp(withRefresh).changesOfUpdate())
	}
}

// The bare destroy asks the host nothing: it may be dead.
func TestEngineDestroyAndRebuild(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.silent = true
	r := w.destroy()
	if r.err != nil {
		t.Fatal(r.err)
	}
	equal(t, "left in the state", 0, len(w.state.Resources))
	equal(t, "left in Azure", 0, len(w.azure.exists))

	// A closed stack cannot be rebuilt: nothing could configure it.
	r = w.up()
	equal(t, "refusal", []string{neverConfigured}, r.said("error"))
	equal(t, "what happened", []string{}, r.happened)

	w.silent = false
	w.set("bootstrap", "true")
	w.mustUp()
	equal(t, "address", any("198.18.100.2"), plain(w.outputs()).Mappable()["publicIp"])
	equal(t, "machine", "00000000-0000-4000-8000-000000000002", w.guest.id)
	equal(t, "the administrator's key", w.made(2).Bootstrap.Public, w.guest.adminKey)
	for name, on := range w.guest.layers {
		if on.token == "" {
			t.Errorf("layer %s has no token", name)
		}
	}
	w.set("bootstrap", "false")
	w.mustUp()
}

// A quota is exceeded after the network exists; another size mends it, and what stands is kept.
func TestEngineHalfMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quota := `Status=409 Code="OperationNotAllowed" Message="Operation could not be completed as it results in exceeding approved Total Regional Cores quota."`
	w.azure.fails["vm"] = quota
	r := w.up()
	if r.err == nil {
		t.Fatal("the machine was made")
	}
	for _, name := range append(slices.Clone(layerNames), "proof") {
		if w.resources()[name] != nil {
			t.Errorf("layer %s without a machine", name)
		}
	}
	equal(t, "outputs that promise something", any(nil), plain(w.outputs()).Mappable()["doors"])

	w.set("bootstrap", "false")
	equal(t, "closing it", []string{neverConfigured}, w.preview().said("error"))

	w.set("bootstrap", "true")
	clear(w.azure.fails)
	w.set("vmSize", "Standard_B2as_v2")
	second := w.mustUp()
	for _, change := range second.changes() {
		if op, name, _ := strings.Cut(change, " "); op != "create" && op != "update" || strings.HasPrefix(name, "ResourceGroup ") || name == "keys" {
			t.Errorf("the second run: %s", change)
		}
	}
	if r := w.destroy(); r.err != nil || len(w.azure.exists) > 0 {
		t.Errorf("destroy: %v, left %d", r.err, len(w.azure.exists))
	}
}

// Azure's refusal half way leaves something that plain destroy removes.
func TestEngineDestroyHalfMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fails["ssh"] = true
	if r := w.up(); r.err == nil {
		t.Fatal("layer ssh was applied")
	}
	w.silent = true
	if r := w.destroy(); r.err != nil || len(w.azure.exists) > 0 || len(w.state.Resources) > 0 {
		t.Errorf("destroy: %v, left %d in Azure, %d in the state", r.err, len(w.azure.exists), len(w.state.Resources))
	}
}

func TestEngineTarget(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.set("backupKeepDays", "30")
	r := w.up(w.target("backup"))
	if r.err != nil {
		t.Fatal(r.err, r.messages)
	}
	equal(t, "changes", []string{"update backup"}, r.changes())
	equal(t, "the rest", []string{"update proof"}, w.mustUp().changes())
}

// --continue-on-error goes on after a layer that failed: nothing is promised that was not proven.
func TestEngineFirstDeployContinuedOnError(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"ssh", "proof"} {
		w := newWorld(t)
		w.fails[failing] = true
		if r := w.up(continueOnError); r.err == nil {
			t.Errorf("%s fails: no error", failing)
		}
		equal(t, failing+" fails: outputs", 0, len(w.outputs()))
		w.set("bootstrap", "false")
		equal(t, failing+" fails: closing it", []string{neverConfigured}, w.preview().said("error"))
	}
}

// A resize is an update of the same machine, open and closed.
func TestEngineResize(t *testing.T) {
	t.Parallel()
	for _, w := range []*world{deployed(t), closed(t)} {
		id := w.guest.id
		w.set("vmSize", "Standard_B4als_v2")
		equal(t, "preview", []string{"update " + labelVM}, w.preview().changes())
		r := w.up()
		equal(t, "changes", []string{"update " + labelVM}, r.changes())
		equal(t, "errors", []string{}, r.said("error"))
		equal(t, "machine", id, w.guest.id)
		w.quiet()
	}
}

// A machine deleted behind Pulumi's back comes back with everything on it; while closed that is refused in preview.
func TestEngineMachineDeletedBehindPulumi(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.azure.deleteBehindPulumi(azureVM)
	r := w.preview(withRefresh)
	if r.err == nil || len(r.happened) > 1 {
		t.Errorf("preview --refresh, closed: %v, %q", r.err, r.happened)
	}
	before := len(w.azure.exists)
	r = w.up(withRefresh)
	if r.err == nil || w.guest != nil {
		t.Error("the machine was made again while port 22 is closed")
	}
	equal(t, "left in Azure", before, len(w.azure.exists))

	w.set("bootstrap", "true")
	r = w.mustUp(withRefresh)
	r.inOrder(append([]string{"create " + labelBootstrap, "create " + labelVM, "create " + labelBreakGlass},
		append(each("update ", layerNames, " through bootstrap"), "update proof through tunnel")...)...)
	w.set("bootstrap", "false")
	w.mustUp()
}
