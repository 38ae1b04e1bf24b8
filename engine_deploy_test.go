package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"openclaw-azure/internal/azure"
	"openclaw-azure/internal/breakglass"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/standin"
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
}, layer.Names()...)

// openResources are what it consists of while port 22 is open.
var openResources = append([]string{labelBreakGlass, labelBootstrap}, closedResources...)

// What the run says that makes a machine: it takes its time for cloud-init, for OpenClaw, and for Azure's agent.
var waitsOfAFirstDeploy = []string{
	"info: waiting until cloud-init has ended, which sets the machine up",
	waitsForGateway,
	"info: waiting for Azure's agent on the machine, which the way back in goes through",
}

// What a run says that takes its time for the agent, and for OpenClaw.
const (
	waitsForAgent   = "info: waiting for Azure's agent on the machine, which lets cloud-init finish and then sees to it that port 22 opens"
	waitsForGateway = "info: installing OpenClaw 2026.9.6 where it is not, and waiting until its gateway is ready"
)

func TestEngineFirstDeploy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.MustUp()

	equal(t, "resources", sorted(openResources), slices.Sorted(maps.Keys(w.Resources())))
	equal(t, "messages", waitsOfAFirstDeploy, first.Messages)

	first.InOrder("create keys", "create "+labelVM)
	// A security group takes one write at a time.
	first.InOrder("create "+labelWireGuard, "create "+labelBootstrap, "create Subnet subnet", "create NetworkInterface nic")
	// Nothing waits for Azure's agent.
	first.InOrder("create "+labelBootstrap, "create base through bootstrap", "create proof through tunnel", "create "+labelBreakGlass)
	layers := slices.DeleteFunc(slices.Clone(first.Happened), func(s string) bool { return !strings.Contains(s, " through ") })
	equal(t, "layers one after the other, then the proof by the other door",
		append(each("create ", layer.Names(), " through bootstrap"), "create proof through tunnel"), layers)
}

// The agent's fault is no fault of the layers': they are in place, the run's outputs lead to the machine, and the next run asks the
// agent again, by another name.
func TestEngineFirstDeployWithoutAgent(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]string{
		"refused":     `Status=409 Code="OperationNotAllowed" Message="This operation cannot be performed when extension operations are disallowed."`,
		"no answer":   `Status=200 Code="VMAgentStatusCommunicationError" Message="VM 'vm' has not reported status for VM agent or extensions."`,
		"script ends": `Status=200 Code="VMExtensionProvisioningError" Message="Execution failed: command terminated with exit status=1"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Azure.Fails["break-glass"] = message
			r := w.Up()
			want := "the machine is configured and the tunnel was proven: only the way back in, through Azure's agent, is missing\nhint: pulumi up    # fires it again"
			if r.Err == nil || !slices.Contains(r.Said("error"), want) {
				t.Errorf("the run ends with %v and says %q", r.Err, r.Messages)
			}
			equal(t, "proven", true, slices.Contains(r.Happened, "create proof through tunnel"))
			before := standin.Plain(w.Outputs()).Mappable()
			equal(t, "the outputs' next", any("the tunnel was proven: close port 22 with `pulumi config set bootstrap false && pulumi up`"), before["next"])
			clear(w.Azure.Fails)
			fired := slices.IndexFunc(w.MustUp().Happened, func(s string) bool { return strings.HasPrefix(s, "fire ") })
			equal(t, "fired again", true, fired >= 0)
			w.Quiet()
		})
	}
}

// The state lies in a file that Pulumi may be writing at that very moment: it is read again, and not for ever.
func TestEngineStateIsBeingWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.HalfWritten = 3
	w.MustUp()
	w.HalfWritten = 1000
	if r := w.Up(); r.Err == nil || !strings.Contains(strings.Join(r.Messages, "\n"), "read the outputs of the last run: ") {
		t.Errorf("a state that cannot be read: %v, %q", r.Err, r.Messages)
	}
}

// In a group that others use too, all that the program makes has the stack's name; destroy leaves the group and what is theirs.
func TestEngineResourceGroup(t *testing.T) {
	t.Parallel()
	shared := func(t *testing.T) *standin.World {
		w := newWorld(t)
		w.Set("resourceGroup", "shared")
		w.Azure.AddGroup("shared")
		return w
	}
	t.Run("not there", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.Set("resourceGroup", "shared")
		equal(t, "errors", []string{`resourceGroup: value "shared": there is no such resource group in this subscription
hint: az group list --output table    # names all
hint: az group create --name shared --location westeurope
hint: pulumi config rm resourceGroup    # the program makes one of its own`}, w.Up().Said("error"))
	})
	t.Run("its whole life", func(t *testing.T) {
		t.Parallel()
		w := shared(t)
		w.MustUp()
		for id := range w.Azure.Exists {
			if path := strings.Split(string(id), "/"); len(path) > 5 && (path[4] != "shared" || !strings.HasPrefix(path[8], "openclaw-dev-")) {
				t.Errorf("made: %s", id)
			}
		}
		w.Quiet()
		w.Set("bootstrap", "false")
		w.MustUp()
		w.Quiet()
		w.Set("resourceGroup", "")
		if said := w.Up().Said("error"); len(said) != 1 || !strings.HasPrefix(said[0], `resourceGroup: value "", the machine stands in "shared"`) {
			t.Errorf("moved: %q", said)
		}
		w.Set("resourceGroup", "shared")
		r := w.Destroy()
		if r.Err != nil || len(w.Azure.Exists) != 1 {
			t.Errorf("destroy: %v, left %d in Azure", r.Err, len(w.Azure.Exists))
		}
		r.InOrder("delete Subnet subnet", "delete NetworkSecurityGroup perimeter") // which it is filtered by
	})
	for _, name := range []string{"perimeter", "wireguard", "ssh-bootstrap", "vnet", "subnet", "public-ip", "nic", "vm", "break-glass"} {
		t.Run("killed over "+name, func(t *testing.T) {
			t.Parallel()
			w := shared(t)
			w.Azure.Killed = name
			if r := w.Up(); r.Err == nil {
				t.Fatal("not killed")
			}
			w.Azure.Killed = ""
			w.MustUp()
			equal(t, "machines", 1, w.Azure.Machine)
			w.Quiet()
			if r := w.Destroy(); r.Err != nil || len(w.Azure.Exists) != 1 {
				t.Errorf("destroy: %v, left %v in Azure", r.Err, slices.Collect(maps.Keys(w.Azure.Exists)))
			}
		})
	}
	t.Run("another's machine has the name", func(t *testing.T) {
		t.Parallel()
		w := shared(t)
		w.Azure.Killed = "vm"
		w.Up()
		w.Azure.Killed = ""
		w.Azure.Retag("VirtualMachine", map[string]any{"project": "openclaw", "stack": "other"})
		want := `virtualMachines "openclaw-dev-vm" in resource group "shared" is none of this stack's: it lacks its tags`
		if said := w.Up().Said("error"); len(said) != 1 || !strings.Contains(said[0], want) {
			t.Errorf("the run says %q, want %q", said, want)
		}
	})
}

// What Azure would refuse is asked where a machine is to be made or resized, and nowhere else; it is told whole, before anything is
// declared.
func TestEngineAskedAhead(t *testing.T) {
	t.Parallel()
	tags := map[string]string{"project": "openclaw", "stack": "dev", "owner": "me"}
	w := newWorld(t)
	w.Set("tags", `{"owner":"me"}`)
	w.Azure.Objects = []azure.Objection{{Text: "it is too small", Commands: []string{"take another", "look"}}, {Text: "a policy", Commands: []string{"ask"}}}
	for _, r := range []*standin.Result{w.Preview(), w.Up()} {
		if r.Err == nil {
			t.Error("no error")
		}
		equal(t, "errors", []string{`nothing was made or changed, since this machine would be refused, or would not do:
  it is too small
  hint: take another
  hint: look
  a policy
  hint: ask`}, r.Said("error"))
		equal(t, "what happened", []string{}, r.Happened)
	}
	asked := azure.Asked{Location: "westeurope", Size: "Standard_B2als_v2", Tags: tags,
		Image: azure.Image{Publisher: "Debian", Offer: "debian-13", SKU: "13-gen2"}}
	equal(t, "asked", []azure.Asked{asked, asked}, w.Azure.Asked)

	w.Azure.Objects, w.Azure.Asked = nil, nil
	w.MustUp()
	equal(t, "asked for a first deploy", []azure.Asked{asked}, w.Azure.Asked)
	w.Azure.Asked = nil
	w.Quiet()
	w.Set("bootstrap", "false")
	w.MustUp()
	w.Quiet()
	equal(t, "asked where the machine stays", 0, len(w.Azure.Asked))
	for _, size := range []string{"Standard_B2as_v2", "Standard_B4as_v2"} {
		asked.Before, asked.Size = asked.Size, size
		w.Set("vmSize", size)
		w.MustUp()
		equal(t, "asked for another size", []azure.Asked{asked}, w.Azure.Asked)
		w.Azure.Asked = nil
		w.Set("bootstrap", "true")
		w.MustUp()
	}
	equal(t, "asked where the machine stays", 0, len(w.Azure.Asked))
}

// A write that Azure refuses for the moment, or begins and gives up, is made again, twice.
func TestEngineAzureIsBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Azure.Busy["nic"], w.Azure.GivesUp["perimeter"] = 2, 2
	r := w.MustUp()
	r.InOrder("create NetworkSecurityGroup perimeter", "update NetworkSecurityGroup perimeter", "update NetworkSecurityGroup perimeter", "create "+labelWireGuard)
	again := 0
	for _, text := range r.Said("info") {
		if strings.HasSuffix(text, ": Azure is at work on something that it concerns: trying again in 10s") {
			again++
		}
	}
	equal(t, "said", 4, again)
	w.Quiet()
	for _, fails := range []func(w *standin.World){func(w *standin.World) { w.Azure.Busy["nic"] = 3 }, func(w *standin.World) { w.Azure.GivesUp["nic"] = 3 },
		// What Pulumi forgets then is adopted.
		func(w *standin.World) { w.Azure.GivesUp["nic"], w.Azure.Busy["nic"] = 1, 2 }} {
		w := newWorld(t)
		fails(w)
		if r := w.Up(); r.Err == nil {
			t.Error("a third time")
		}
		w.MustUp()
		w.Quiet()
	}
}

func TestEngineOldLayout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.OldLayout = true
	equal(t, "errors", []string{"this backend keeps its stacks in Pulumi's old layout, where they belong to no project: the program cannot find its own stack there\nhint: pulumi state upgrade"},
		w.Up().Said("error"))
}

// Tags are on every resource that Azure takes some of, also on those that are there already.
func TestEngineTags(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Set("tags", `{"owner":"me"}`)
	w.MustUp()
	tagged := 0
	for label := range w.Resources() {
		if tags, has := w.Inputs(label)["tags"].(map[string]any); has {
			tagged++
			equal(t, label, map[string]any{"project": "openclaw", "stack": w.Stack, "owner": "me"}, tags)
		}
	}
	equal(t, "tagged", 7, tagged)
}

func TestEngineFirstDeployInputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Set("wireguardCidrs", "198.18.1.0/24, 198.18.9.0/24")
	w.MustUp()
	group, nsg := w.Inputs("ResourceGroup openclaw")["resourceGroupName"], w.Inputs("NetworkSecurityGroup perimeter")["networkSecurityGroupName"]
	tags := map[string]any{"project": "openclaw", "stack": "dev"}

	rules := map[string]any{}
	for name := range w.Resources() {
		if strings.HasPrefix(name, "SecurityRule ") {
			rules[name] = w.Inputs(name)
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
	}, w.Inputs("NetworkSecurityGroup perimeter"))

	ip := w.Inputs("PublicIPAddress public-ip")
	delete(ip, "publicIpAddressName")
	equal(t, "public address", map[string]any{
		"resourceGroupName": group, "location": "westeurope", "tags": tags, "__createBeforeDelete": true,
		"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4", "sku": map[string]any{"name": "Standard"},
	}, ip)
	nsgID := map[string]any{"id": string(w.Resources()["NetworkSecurityGroup perimeter"].ID)}
	equal(t, "the subnet's security group", any(nsgID), w.Inputs("Subnet subnet")["networkSecurityGroup"])
	equal(t, "the subnet", any("10.0.0.0/24"), w.Inputs("Subnet subnet")["addressPrefix"])
	equal(t, "the interface's security group", any(nsgID), w.Inputs("NetworkInterface nic")["networkSecurityGroup"])
	equal(t, "the interface's address", any([]any{map[string]any{
		"name": "primary", "privateIPAllocationMethod": "Dynamic",
		"subnet":          map[string]any{"id": string(w.Resources()["Subnet subnet"].ID)},
		"publicIPAddress": map[string]any{"id": string(w.Resources()["PublicIPAddress public-ip"].ID)},
	}}), w.Inputs("NetworkInterface nic")["ipConfigurations"])

	vm := w.Inputs(labelVM)
	profile := vm["osProfile"].(map[string]any)
	if text, _ := profile["customData"].(string); text == "" {
		t.Error("osProfile has no customData")
	}
	delete(profile, "customData")
	equal(t, "virtual machine", map[string]any{
		"resourceGroupName": group, "location": "westeurope", "tags": tags, "vmName": "vm",
		"hardwareProfile": map[string]any{"vmSize": "Standard_B2als_v2"},
		"networkProfile": map[string]any{"networkInterfaces": []any{map[string]any{
			"id": string(w.Resources()["NetworkInterface nic"].ID), "primary": true, "deleteOption": "Detach"}}},
		"osProfile": map[string]any{
			"computerName": "openclaw", "adminUsername": "azureuser",
			"linuxConfiguration": map[string]any{
				"disablePasswordAuthentication": true,
				"ssh": map[string]any{"publicKeys": []any{map[string]any{
					"path": "/home/azureuser/.ssh/authorized_keys", "keyData": w.Made(1).Bootstrap.Public}}},
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

	command := w.Inputs(labelBreakGlass)
	name, _ := command["runCommandName"].(string)
	if !strings.HasPrefix(name, "break-glass-") {
		t.Errorf("the run command's name is %q", name)
	}
	delete(command, "runCommandName")
	equal(t, "break-glass", map[string]any{
		"resourceGroupName": group, "location": "westeurope", "tags": tags, "vmName": w.Inputs(labelVM)["vmName"],
		"source":                          map[string]any{"script": breakglass.Script},
		"asyncExecution":                  false,
		"treatFailureAsDeploymentFailure": true,
		"timeoutInSeconds":                1800.0,
		"parameters": []any{
			map[string]any{"name": "ADMIN_USER", "value": "azureuser"},
			map[string]any{"name": "ADMIN_KEY", "value": w.Made(1).Bootstrap.Public},
			map[string]any{"name": "ALLOWED_CIDRS", "value": "198.18.1.10/32"},
			map[string]any{"name": "BOOTSTRAP_PORT", "value": "22"},
			map[string]any{"name": "SSH_PORT", "value": "2222"},
			map[string]any{"name": "WIREGUARD_PORT", "value": "51820"},
		},
		"protectedParameters": []any{map[string]any{"name": "HOST_KEY", "value": w.Made(1).HostKey.Private}},
	}, command)

	for _, name := range append(slices.Clone(layer.Names()), "proof") {
		in := w.Inputs(name)
		if in["update"] != nil || in["delete"] != nil || in["triggers"] != nil || in["environment"] != nil {
			t.Errorf("%s: an input that would replace it, run without a host or need AcceptEnv: %v", name, slices.Sorted(maps.Keys(in)))
		}
		equal(t, name+": previous output", any(false), in["addPreviousOutputInEnv"])
		equal(t, name+": logging", any("none"), in["logging"])
		equal(t, name+": pinned host key", any(w.Made(1).HostKey.Public), in["connection"].(map[string]any)["hostKey"])
	}
}

func TestEngineOutputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := w.MustUp().Outputs
	secret := map[string]bool{}
	for name, value := range open {
		secret[string(name)] = value.ContainsSecrets()
	}
	equal(t, "outputs and whether they are secret", map[string]bool{
		"publicIp": false, "doors": false, "wireguardSources": false, "next": false, "knownHosts": false, "readme": false, "backup": false,
		"peers": true, "observers": true, "operatorKey": true, "sudoPassword": true, "gatewayToken": true, lastrun.Output: true,
	}, secret)

	hostKey := strings.Join(strings.Fields(w.Made(1).HostKey.Public)[:2], " ")
	values := standin.Plain(open).Mappable()
	for name, want := range map[string]any{
		"publicIp":         "198.18.100.1",
		"wireguardSources": "198.18.1.10/32",
		"doors": "bootstrap: azureuser@198.18.100.1 port 22/tcp from 198.18.1.10/32\n" +
			"tunnel: WireGuard 198.18.100.1:51820/udp from 198.18.1.10/32, then claw@10.100.0.1 port 2222",
		"next":         "the tunnel was proven: close port 22 with `pulumi config set bootstrap false && pulumi up`",
		"knownHosts":   "[10.100.0.1]:2222 " + hostKey + "\n198.18.100.1 " + hostKey + "\n",
		"operatorKey":  w.Made(1).Operator.Private,
		"sudoPassword": w.Made(1).SudoPassword.Plain,
		"gatewayToken": w.Made(1).GatewayToken,
	} {
		equal(t, name, want, values[name])
	}
	if conf := values["peers"].(map[string]any)["laptop"].(string); !strings.Contains(conf, "\nEndpoint = 198.18.100.1:51820\n") {
		t.Error("peers: no endpoint for laptop")
	}

	w.Set("bootstrap", "false")
	values = standin.Plain(w.MustUp().Outputs).Mappable()
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
	r := w.Preview()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	equal(t, "messages", []string{}, r.Messages)
	equal(t, "what happened", []string{}, r.Happened)
	equal(t, "changes", sorted(append(each("create ", openResources, ""), "create openclaw-dev")), sorted(r.Changes()))
}

// What a preview announced is what `up` does.
func TestEnginePreviewOfClosing(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Set("bootstrap", "false")
	preview := w.Preview()
	equal(t, "what happened", []string{"look through tunnel"}, preview.Happened)
	equal(t, "changes", sorted(preview.Changes()), sorted(w.MustUp().Changes()))
}

func TestEngineRefreshFindsNothing(t *testing.T) {
	t.Parallel()
	for _, w := range []*standin.World{deployed(t), closed(t)} {
		r := w.Refresh()
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		w.Quiet()
		equal(t, "up --refresh", []string{}, w.MustUp(standin.WithRefresh).ChangesOfUpdate())
	}
}

// The bare destroy asks the host nothing: it may be dead.
func TestEngineDestroyAndRebuild(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Silent = true
	r := w.Destroy()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	equal(t, "left in the state", 0, len(w.State.Resources))
	equal(t, "left in Azure", 0, len(w.Azure.Exists))

	// A closed stack cannot be rebuilt: nothing could configure it.
	r = w.Up()
	equal(t, "refusal", []string{neverConfigured}, r.Said("error"))
	equal(t, "what happened", []string{}, r.Happened)

	w.Silent = false
	w.Set("bootstrap", "true")
	w.MustUp()
	equal(t, "address", any("198.18.100.2"), standin.Plain(w.Outputs()).Mappable()["publicIp"])
	equal(t, "machine", "00000000-0000-4000-8000-000000000002", w.Guest.ID)
	equal(t, "the administrator's key", w.Made(2).Bootstrap.Public, w.Guest.AdminKey)
	for name, on := range w.Guest.Layers {
		if on.Token == "" {
			t.Errorf("layer %s has no token", name)
		}
	}
	w.Set("bootstrap", "false")
	w.MustUp()
}

// A quota is exceeded after the network exists; another size mends it, and what stands is kept.
func TestEngineHalfMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quota := `Status=409 Code="OperationNotAllowed" Message="Operation could not be completed as it results in exceeding approved Total Regional Cores quota."`
	w.Azure.Fails["vm"] = quota
	r := w.Up()
	if r.Err == nil {
		t.Fatal("the machine was made")
	}
	want := `the size "Standard_B2als_v2" is not to be had in "westeurope", or not in this subscription's quota; the rest is kept and ` + "`pulumi up`" + ` goes on from here
hint: pulumi config set vmSize SIZE    # another that ` + "`az vm list-skus --location westeurope --size Standard_B --output table`" + ` shows without a restriction`
	equal(t, "what to do, once", 1, len(slices.DeleteFunc(r.Said("error"), func(text string) bool { return text != want })))
	for _, name := range append(slices.Clone(layer.Names()), "proof") {
		if w.Resources()[name] != nil {
			t.Errorf("layer %s without a machine", name)
		}
	}
	equal(t, "outputs that promise something", any(nil), standin.Plain(w.Outputs()).Mappable()["doors"])

	w.Set("bootstrap", "false")
	equal(t, "closing it", []string{neverConfigured}, w.Preview().Said("error"))

	w.Set("bootstrap", "true")
	clear(w.Azure.Fails)
	w.Set("vmSize", "Standard_B2as_v2")
	for _, change := range w.MustUp().Changes() {
		if op, name, _ := strings.Cut(change, " "); op != "create" && op != "update" || strings.HasPrefix(name, "ResourceGroup ") || name == "keys" {
			t.Errorf("the second run: %s", change)
		}
	}
}

// Of a script that failed Azure names the exit status alone.
func TestEngineBreakGlassFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	failed := func(status int) string {
		return fmt.Sprintf(`Status=200 Code="VMExtensionProvisioningError" Message="VM has reported a failure when processing run command 'break-glass'. Error message: 'Execution failed: command terminated with exit status=%d'."`, status)
	}
	for status, want := range map[int]string{
		28: "no space left on the disk of the machine: port 22 was not opened from inside" +
			"\nhint: make room on it, through the tunnel or Azure's serial console, then `pulumi up`",
		100: "the machine's network could not be made whole from inside: no answer finds its way out" +
			"\nhint: az vm restart: the kernel forgets routes and packet filters; then `pulumi up`",
	} {
		w.Azure.Fails["break-glass"] = failed(status)
		if said := w.Up().Said("error"); !slices.Contains(said, want) {
			t.Errorf("the run says %q, want %q", said, want)
		}
	}
	w.Azure.Fails["break-glass"] = failed(1)
	r := w.Up()
	firing := standin.Plain(w.Resources()["VirtualMachineRunCommandByVirtualMachine break-glass"].Inputs)
	for _, want := range []string{w.Azure.Fails["break-glass"], "the script that opens port 22 from inside failed on the machine" +
		"\nhint: what it said: az vm run-command show --resource-group " + firing["resourceGroupName"].StringValue() + " --vm-name " + firing["vmName"].StringValue() +
		" --name " + firing["runCommandName"].StringValue() + " --instance-view --query instanceView.error --output tsv" +
		"\nhint: pulumi up    # runs it again"} {
		if said := r.Said("error"); !slices.ContainsFunc(said, func(text string) bool { return strings.Contains(text, want) }) {
			t.Errorf("the run says %q, want %q", said, want)
		}
	}
	clear(w.Azure.Fails)
	w.MustUp()
	if again := standin.Plain(w.Resources()["VirtualMachineRunCommandByVirtualMachine break-glass"].Inputs)["runCommandName"]; again == firing["runCommandName"] {
		t.Errorf("the name is %v again, under which Azure's agent does not run it", again)
	}
}

// A CLI that was killed while Azure made a resource leaves one that Pulumi does not know, and beside which there can be no
// other: the next run goes on with it, as it is configured now.
func TestEngineKilledWhileAzureMakes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"SecurityRule wireguard", "SecurityRule ssh-bootstrap", "Subnet subnet", "NetworkInterface nic", "VirtualMachine vm"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, w.Azure.Killed, _ = strings.Cut(name, " ")
			if r := w.Up(); r.Err == nil {
				t.Fatal("not killed")
			}
			if _, known := w.Resources()[name]; known {
				t.Fatal("Pulumi knows it")
			}
			w.Azure.Killed = ""
			w.Set("allowedSshCidr", "198.18.1.0/24")
			if r := w.Preview(); r.Err != nil || !slices.ContainsFunc(r.Said("info"), func(text string) bool { return strings.Contains(text, "is in Azure already") }) {
				t.Errorf("the preview ends with %v and says %q", r.Err, r.Messages)
			}
			if name == "VirtualMachine vm" {
				w.Azure.Making = 2 // whoever asks how large it is finds Azure still at it, too
			}
			r := w.MustUp()
			if waited := slices.Contains(r.Said("info"), `waiting for Azure to finish "vm", which a run began that was killed`); waited != (name == "VirtualMachine vm") {
				t.Errorf("the run says %q", r.Messages)
			}
			if slices.Contains(r.Happened, "create "+name) {
				t.Error("made again")
			}
			equal(t, "machines", 1, w.Azure.Machine)
			equal(t, "the rule's sources", any("198.18.1.0/24"), w.Inputs("SecurityRule ssh-bootstrap")["sourceAddressPrefix"])
			if r := w.Destroy(); r.Err != nil || len(w.Azure.Exists) > 0 {
				t.Errorf("destroy: %v, left %d in Azure", r.Err, len(w.Azure.Exists))
			}
		})
	}
}

// Of a run command that such a run left nobody knows how it ended: the next run fires one of another name.
func TestEngineKilledWhileAzureRunsTheBreakGlass(t *testing.T) {
	t.Parallel()
	for name, world := range map[string]*standin.World{"first deploy": newWorld(t), "reopening": closed(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world
			w.T = t
			w.Set("bootstrap", "true")
			for range 2 {
				w.Azure.Killed = "break-glass"
				if r := w.Up(); r.Err == nil || w.Resources()[labelBreakGlass] != nil {
					t.Fatalf("not killed, or Pulumi knows it: %v", r.Err)
				}
			}
			w.Azure.Killed = ""
			w.MustUp()
			fired := map[string]bool{}
			for id := range w.Azure.Exists {
				if strings.Contains(string(id), "/runCommands/") {
					fired[string(id)] = true
				}
			}
			equal(t, "names in Azure", 3, len(fired))
			w.Quiet()
			if r := w.Destroy(); r.Err != nil || len(w.Azure.Exists) > 0 {
				t.Errorf("destroy: %v, left %d in Azure", r.Err, len(w.Azure.Exists))
			}
		})
	}
}

// A run that failed after it fired leaves another name than the last one's: that one was used, too.
func TestEngineFiresUnderNoUsedName(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	name := func() any { return w.Inputs(labelBreakGlass)["runCommandName"] }
	first := name()
	w.Set("allowedSshCidr", "198.18.1.0/24")
	w.Fails["base"] = true
	if r := w.Up(); r.Err == nil {
		t.Fatal("no error")
	}
	second := name()
	clear(w.Fails)
	w.Set("allowedSshCidr", "198.18.1.10/32")
	w.MustUp()
	if third := name(); first == second || second == third || first == third {
		t.Errorf("names: %v, %v, %v", first, second, third)
	}
}

// A first deploy that fails, at each of its steps in turn: nothing that comes after the step happens, nothing is promised,
// plain destroy removes all that was made, and the next run goes on from there.
func TestEngineFailsAtEachStep(t *testing.T) {
	t.Parallel()
	for _, failing := range openResources {
		t.Run(failing, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if _, name, ofAzure := strings.Cut(failing, " "); ofAzure {
				w.Azure.Fails[name] = `Status=500 Code="InternalServerError" Message="An error occurred."`
			} else {
				w.Fails[failing] = true
			}
			r := w.Up()
			if r.Err == nil {
				t.Fatal("no error")
			}
			equal(t, "outputs", failing == labelBreakGlass, len(w.Outputs()) > 0) // which comes after the proof
			begun := slices.DeleteFunc(slices.Clone(r.Happened), func(s string) bool { return !strings.Contains(s, " through ") })
			all := append(slices.Clone(layer.Names()), "proof", labelBreakGlass)
			at := min(slices.Index(all, failing), slices.Index(all, "proof")) // -1: before the layers
			equal(t, "layers that were begun", at+1, len(begun))

			destroyed := w.Copy(t)
			destroyed.Silent = true // the host may be dead
			if r := destroyed.Destroy(); r.Err != nil || len(destroyed.Azure.Exists) > 0 || len(destroyed.State.Resources) > 0 {
				t.Errorf("destroy: %v, left %d in Azure, %d in the state", r.Err, len(destroyed.Azure.Exists), len(destroyed.State.Resources))
			}

			before := w.Resources()
			clear(w.Azure.Fails)
			clear(w.Fails)
			w.MustUp()
			for name, made := range before {
				if now := w.Resources()[name]; now.ID != made.ID && name != labelBreakGlass {
					t.Errorf("the next run: %s was made anew: %s, before %s", name, now.ID, made.ID)
				}
			}
		})
	}
}

// What a preview planned is what `up --plan` does: for the same host and configuration each run of a layer has the same mark.
func TestEnginePlan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		world *standin.World
		set   func(w *standin.World)
	}{
		"first deploy":    {newWorld(t), func(*standin.World) {}},
		"a changed layer": {closed(t), func(w *standin.World) { w.Set("backupKeepDays", "30") }},
		"drift": {closed(t), func(w *standin.World) {
			w.Guest.Drift = map[string][]standin.Drift{"sysctl": {{Subject: "x", Want: "0", Got: "1"}}}
		}},
		"closing":      {deployed(t), func(w *standin.World) { w.Set("bootstrap", "false") }},
		"reopening":    {closed(t), func(w *standin.World) { w.Set("bootstrap", "true") }},
		"rescue":       {deployed(t), func(w *standin.World) { w.Set("rescue", "1") }},
		"renewed keys": {deployed(t), func(w *standin.World) { w.Set("keyGeneration", "2") }},
		"a new peer": {deployed(t), func(w *standin.World) {
			w.Set("peers", `{"laptop":{"address":"10.100.0.3"},"phone":{"address":"10.100.0.4"}}`)
		}},
		"a larger size": {deployed(t), func(w *standin.World) { w.Set("vmSize", "Standard_B2as_v2") }},
		"a silent host": {deployed(t), func(w *standin.World) { w.Silent = true; w.Set("backupKeepDays", "30") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := c.world
			w.T = t
			c.set(w)
			preview := w.Preview()
			if preview.Err != nil {
				t.Fatal(preview.Err)
			}
			w.Silent = false
			if r := w.Up(standin.AsPlanned(preview)); r.Err != nil && name != "a silent host" {
				t.Errorf("up --plan: %v, %q", r.Err, r.Messages)
			}
		})
	}
}

// The same layer that has to run again has another mark, or its command would not change.
func TestEngineMarksDiffer(t *testing.T) {
	t.Parallel()
	w := closed(t)
	seen := map[any]bool{}
	for range 3 {
		w.Guest.Drift = map[string][]standin.Drift{"sysctl": {{Subject: "x", Want: "0", Got: "1"}}}
		w.MustUp()
		seen[w.Inputs("sysctl")["create"]] = true
	}
	equal(t, "commands", 3, len(seen))
	// Nor is it that of a run that failed on its way to the proof.
	w.Fails["ssh"] = true
	for range 2 {
		w.Guest.Drift = map[string][]standin.Drift{"sysctl": {{Subject: "x", Want: "0", Got: "1"}}, "ssh": {{Subject: "x", Want: "0", Got: "1"}}}
		if r := w.Up(); r.Err == nil {
			t.Fatal("no error")
		}
		seen[w.Inputs("sysctl")["create"]] = true
	}
	equal(t, "commands of runs that failed too", 5, len(seen))
}

func TestEngineTarget(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Set("backupKeepDays", "30")
	r := w.Up(w.Target("backup"))
	if r.Err != nil {
		t.Fatal(r.Err, r.Messages)
	}
	equal(t, "changes", []string{"update backup"}, r.Changes())
	// Nor is it in the way that a first run declares the way back last.
	first := deployed(t)
	first.Set("backupKeepDays", "30")
	if r := first.Up(first.Target("backup")); r.Err != nil {
		t.Errorf("after a first deploy: %v, %q", r.Err, r.Messages)
	}
	equal(t, "the rest", []string{"update proof"}, w.MustUp().Changes())
}

// A first deploy of some of it promises nothing, and the next run makes the rest.
func TestEngineTargetOfAFirstDeploy(t *testing.T) {
	t.Parallel()
	const notMade = " not made\nhint: an error above says why; where there is none, --target left it out: pulumi up, without it"
	for missing, of := range map[string]struct {
		named []string
		says  string
	}{
		"keys":        {[]string{"**azure-native**"}, `the keys of resource "keys" were` + notMade},
		"peer-laptop": {[]string{"**azure-native**", "**::keys"}, `the keys of resource "peer-laptop" were` + notMade},
		"vm":          {[]string{"**::keys", "**::peer-laptop", "**network**", "**resources**"}, "the virtual machine was" + notMade},
		"proof":       {append([]string{"**azure-native**", "**command:local**"}, each("**::", layer.Names(), "")...), errNotProven.Error()},
	} {
		w := newWorld(t)
		r := w.Up(standin.Targets(of.named...))
		equal(t, missing+" is not named: errors", []string{of.says}, r.Said("error"))
		equal(t, missing+" is not named: outputs", 0, len(w.Outputs()))
		w.MustUp()
	}
}

// --continue-on-error goes on after a layer that failed: nothing is promised that was not proven.
func TestEngineFirstDeployContinuedOnError(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"ssh", "proof"} {
		w := newWorld(t)
		w.Fails[failing] = true
		if r := w.Up(standin.ContinueOnError); r.Err == nil {
			t.Errorf("%s fails: no error", failing)
		}
		equal(t, failing+" fails: outputs", 0, len(w.Outputs()))
		w.Set("bootstrap", "false")
		equal(t, failing+" fails: closing it", []string{neverConfigured}, w.Preview().Said("error"))
	}
}

// A resize is an update of the same machine, open and closed.
func TestEngineResize(t *testing.T) {
	t.Parallel()
	for _, w := range []*standin.World{deployed(t), closed(t)} {
		id := w.Guest.ID
		w.Set("vmSize", "Standard_B4als_v2")
		equal(t, "preview", []string{"update " + labelVM}, w.Preview().Changes())
		r := w.Up()
		equal(t, "changes", []string{"update " + labelVM}, r.Changes())
		equal(t, "errors", []string{}, r.Said("error"))
		equal(t, "machine", id, w.Guest.ID)
		w.Quiet()
	}
}

// Azure's refusals that another size would not mend stay as they are.
func TestEngineMachineRefusedForAnotherReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Azure.Fails["vm"] = `Status=400 Code="InvalidParameter" Message="The Admin Username specified is not allowed."`
	r := w.Up()
	if said := strings.Join(r.Said("error"), "\n"); !strings.Contains(said, w.Azure.Fails["vm"]) || strings.Contains(said, "vmSize") {
		t.Errorf("errors %q", r.Said("error"))
	}
}

// A machine deleted behind Pulumi's back comes back as declared; while closed that is refused in preview.
func TestEngineMachineDeletedBehindPulumi(t *testing.T) {
	t.Parallel()
	w := closed(t)
	machine := w.Inputs(labelVM)["vmName"].(string)
	w.Azure.DeleteBehindPulumi(standin.AzureVM)
	before := len(w.Azure.Exists)
	for name, r := range map[string]*standin.Result{"preview": w.Preview(), "preview --refresh": w.Preview(standin.WithRefresh), "up": w.Up(), "up --refresh": w.Up(standin.WithRefresh)} {
		equal(t, name+", closed", []string{"the virtual machine \"" + machine + "\" is gone: it was deleted behind Pulumi's back" +
			"\nhint: pulumi config set bootstrap true && pulumi up --refresh    # makes it anew, as declared; OpenClaw's state and backups were on its disk; then close port 22 again"}, r.Said("error"))
		equal(t, name+", closed: what happened", []string{"look through tunnel"}, r.Happened)
	}
	equal(t, "left in Azure", before, len(w.Azure.Exists))

	w.Set("bootstrap", "true")
	open := deployed(t)
	open.Azure.DeleteBehindPulumi(standin.AzureVM)
	machine = open.Inputs(labelVM)["vmName"].(string)
	r := open.Up() // without --refresh Pulumi believes that it is there
	equal(t, "up, open", []string{"the virtual machine \"" + machine + "\" is gone: it was deleted behind Pulumi's back" +
		"\nhint: pulumi up --refresh    # makes it anew, as declared; OpenClaw's state and backups were on its disk"}, r.Said("error"))
	r = w.MustUp(standin.WithRefresh)
	r.InOrder(append([]string{"create " + labelVM},
		append(each("update ", layer.Names(), " through bootstrap"), "update proof through tunnel", "create "+labelBreakGlass)...)...)
	w.Set("bootstrap", "false")
	w.MustUp()
}

// What a machine was made of does not change on it: that is said as long as it is so, and nothing destroys it. What
// depends on the image follows the machine and not the configuration.
func TestEngineImageChanges(t *testing.T) {
	t.Parallel()
	for _, w := range []*standin.World{deployed(t), closed(t)} {
		id := w.Guest.ID
		w.Set("image", "ubuntu-24.04")
		warning := `a machine that lives keeps what it was made of, and nothing destroys it for that:
  image: value "ubuntu-24.04", the machine was made of "debian-13"
hint: to have it made anew: bring the backups home from /backups/openclaw, then
hint: pulumi destroy && pulumi config set bootstrap true && pulumi up`
		for _, r := range []*standin.Result{w.Preview(), w.Up(), w.Preview()} {
			equal(t, "error", nil, r.Err)
			equal(t, "warnings", []string{warning}, r.Said("warning"))
			equal(t, "changes", []string{}, r.Changes())
		}
		equal(t, "machine", id, w.Guest.ID)

		if r := w.Destroy(); r.Err != nil {
			t.Fatal(r.Err)
		}
		w.Set("bootstrap", "true")
		equal(t, "made anew of it", waitsOfAFirstDeploy, w.MustUp().Messages)
	}
}

// A changed administrator is one of osProfile: the machine lives, and port 22 opens to the new one.
func TestEngineAdministratorChanges(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	id := w.Guest.ID
	w.Set("adminUsername", "operator1")
	r := w.MustUp()
	equal(t, "warnings", []string{`a machine that lives keeps what it was made of, and nothing destroys it for that:
  adminUsername: value "operator1", Azure's own record of the machine says "azureuser" and keeps it; port 22 opens to the new one
hint: to have it made anew: bring the backups home from /backups/openclaw, then
hint: pulumi destroy && pulumi config set bootstrap true && pulumi up`}, r.Said("warning"))
	equal(t, "machine", id, w.Guest.ID)
	equal(t, "administrator", "operator1", w.Guest.Admin)
}

// Somebody's inbound rule is named in preview and fails `up`, open and closed, with what removes it.
func TestEngineForeignRule(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*standin.World{"open": deployed(t), "closed": closed(t)} {
		group, nsg := w.Inputs("ResourceGroup openclaw")["resourceGroupName"], w.Inputs("NetworkSecurityGroup perimeter")["networkSecurityGroupName"]
		w.Azure.AdmitBehindPulumi(map[string]any{"name": "allow-rdp", "direction": "Inbound", "access": "Allow", "protocol": "Tcp", "priority": 300.0,
			"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "3389"})
		w.Azure.AdmitBehindPulumi(map[string]any{"name": "way out", "direction": "Outbound", "access": "Allow", "protocol": "Tcp", "priority": 300.0,
			"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "443"})
		text := fmt.Sprintf(`security group %q has inbound rules that nobody declared:
  "allow-rdp": Allow Tcp to port 3389 from *, priority 300
hint: az network nsg rule delete --resource-group %s --nsg-name %s --name allow-rdp`, nsg, group, nsg)
		preview := w.Preview()
		equal(t, name+": preview", []string{"warning: " + text}, preview.Messages)
		equal(t, name+": its error", nil, preview.Err)
		w.Set("backupKeepDays", "30")
		up := w.Up()
		equal(t, name+": up", []string{text}, up.Said("error"))
		equal(t, name+": changes", []string{}, up.Changes())

		maps.DeleteFunc(w.Azure.Exists, func(id resource.ID, _ resource.PropertyMap) bool { return strings.HasSuffix(string(id), "/allow-rdp") })
		equal(t, name+": without it", []string{"update backup", "update proof"}, w.MustUp().Changes())
	}
}

// Somebody's rule that denies is a note: Azure Policy and the like put some into every group. Where it keeps a door shut it is an
// error, and the first cause of a silent tunnel.
func TestEngineForeignDenial(t *testing.T) {
	t.Parallel()
	w := closed(t)
	nsg := w.Inputs("NetworkSecurityGroup perimeter")["networkSecurityGroupName"]
	deny := func(name, protocol, port string, priority float64) {
		w.Azure.AdmitBehindPulumi(map[string]any{"name": name, "direction": "Inbound", "access": "Deny", "protocol": protocol, "priority": priority,
			"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": port})
	}
	deny("jit", "Tcp", "22", 100)
	deny("late", "*", "*", 4096)
	note := func(name, text string) string {
		return fmt.Sprintf("info: security group %q has an inbound rule that nobody declared, and that keeps no door shut: %q: Deny %s", nsg, name, text)
	}
	notes := []string{note("jit", "Tcp to port 22 from *, priority 100"), note("late", "* to port * from *, priority 4096")}
	equal(t, "preview", notes, w.Preview().Messages)
	equal(t, "up", nil, w.Up().Err)

	deny("early", "Udp", "50000-60000", 200)
	want := fmt.Sprintf("security group %q has a rule before ours that keeps it shut: \"early\": Deny Udp to port 50000-60000 from *, priority 200", nsg)
	if said := strings.Join(w.Up().Said("error"), "\n"); !strings.Contains(said, want) {
		t.Errorf("a silent tunnel: %s", said)
	}

	w = deployed(t)
	group := w.Inputs("ResourceGroup openclaw")["resourceGroupName"]
	nsg = w.Inputs("NetworkSecurityGroup perimeter")["networkSecurityGroupName"]
	deny("early", "Udp", "50000-60000", 200)
	deny("jit", "Tcp", "22", 100)
	text := fmt.Sprintf(`security group %q has inbound rules that nobody declared:
  "early": Deny Udp to port 50000-60000 from *, priority 200: it comes before the program's own and keeps WireGuard shut
  "jit": Deny Tcp to port 22 from *, priority 100: it comes before the program's own and keeps port 22 shut
hint: az network nsg rule delete --resource-group %s --nsg-name %s --name early
hint: az network nsg rule delete --resource-group %s --nsg-name %s --name jit`, nsg, group, nsg, group, nsg)
	equal(t, "up", []string{text}, w.Up().Said("error"))
}

// The rule that the program itself makes and takes away, made by somebody else while it is closed.
func TestEngineBootstrapRuleMadeByHand(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Azure.AdmitBehindPulumi(map[string]any{"name": "SSH-Bootstrap", "direction": "Inbound", "access": "Allow", "protocol": "Tcp", "priority": 1001.0,
		"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "22"})
	nsg := w.Inputs("NetworkSecurityGroup perimeter")["networkSecurityGroupName"]
	want := fmt.Sprintf("port 22 was closed, and security group %q has rule \"SSH-Bootstrap\": where this run does not delete it, somebody else made it"+
		"\nhint: az network nsg rule delete --resource-group %s --nsg-name %s --name SSH-Bootstrap", nsg, w.Inputs("ResourceGroup openclaw")["resourceGroupName"], nsg)
	for _, r := range []*standin.Result{w.Preview(), w.Up()} {
		equal(t, "warnings", []string{want}, r.Said("warning"))
		equal(t, "error", nil, r.Err)
	}
}

// The last proof stands in the readme; a proof is not passed where a door is not as declared, seen from outside.
func TestEngineProof(t *testing.T) {
	t.Parallel()
	w := closed(t)
	readme := standin.Plain(w.Outputs()).Mappable()["readme"].(string)
	table := "\n## The last proof\n\n2026-01-02 03:04:05 UTC, from the machine that ran Pulumi: the tunnel opened, port 22 did not answer, " +
		"and all that was read back on the host was as declared.\n\n| layer | settings read back |\n|---|---|\n| base | 7 |\n"
	if !strings.Contains(readme, table) {
		t.Errorf("the readme lacks\n%s\nbut says\n%s", table, readme)
	}

	w = deployed(t)
	if open := standin.Plain(w.Outputs()).Mappable()["readme"].(string); !strings.Contains(open, "port 22 opened to the bootstrap key") {
		t.Errorf("the readme of an open one: %s", open)
	}
	w.Set("bootstrap", "false")
	w.Guest.Stubborn22 = true
	r := w.Up()
	equal(t, "errors", true, strings.Contains(strings.Join(r.Said("error"), "\n"), "port 22 is to be closed, and sshd answers"))
	if !w.Azure.Admits(w.Home, "Tcp", 22) {
		t.Error("the rule is gone, though the proof failed")
	}
	equal(t, "next is as before", any("the tunnel was proven: close port 22 with `pulumi config set bootstrap false && pulumi up`"), standin.Plain(w.Outputs()).Mappable()["next"])
}
