package azure

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Each of these is refused as it is created. GROUP, NSG, VNET, NIC and VM stand for the names of those that are there.
func TestRefusedCreates(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	in := s.in()
	e.create(securityRule, "first", s.ruleInputs(nil))
	names := strings.NewReplacer(
		s.group.state.text("name"), "GROUP", s.nsg.state.text("name"), "NSG", s.network.state.text("name"), "VNET",
		s.nic.state.text("name"), "NIC", s.vm.state.text("name"), "VM", s.address.state.text("name"), "ADDRESS",
	)
	freeNIC := e.create(networkInterface, "free", in(set(s.nicInputs(), "ipConfigurations.publicIPAddress", nil)))
	vm := in(set(set(s.vmInputs(), "networkProfile.networkInterfaces.id", freeNIC.id), "vmName", "new"))
	nsgPath := "SUB/resourceGroups/GROUP/providers/Microsoft.Network/networkSecurityGroups/NSG"
	vnetPath := "SUB/resourceGroups/GROUP/providers/Microsoft.Network/virtualNetworks/VNET"
	keys := "osProfile.linuxConfiguration.ssh.publicKeys"

	for _, test := range []struct {
		name   string
		kind   *kind
		inputs object
		want   string
	}{
		{"a name that is taken", networkSecurityGroup, in(object{"networkSecurityGroupName": s.nsg.state["name"]}),
			`cannot create already existing resource '` + nsgPath + `'`},
		{"a group that is not there", networkSecurityGroup, object{"resourceGroupName": "nowhere"},
			`Status=404 Code="ResourceGroupNotFound" Message="Resource group 'nowhere' could not be found."`},
		{"a parent that is not there", securityRule, s.ruleInputs(object{"networkSecurityGroupName": "none"}),
			`Status=404 Code="ParentResourceNotFound" Message="Can not perform requested operation on nested resource. Parent resource 'none' not found."`},

		{"a name that ends in a dot", networkSecurityGroup, in(object{"networkSecurityGroupName": "nsg."}),
			`Status=400 Code="InvalidResourceName" Message="Resource name nsg. is invalid. The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."`},
		{"a name that is too long", networkSecurityGroup, in(object{"networkSecurityGroupName": strings.Repeat("n", 81)}),
			`Status=400 Code="InvalidResourceName" Message="Resource name ` + strings.Repeat("n", 81) + ` is invalid. The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."`},
		{"a group's name with a space", resourceGroup, object{"resourceGroupName": "my group"},
			`Status=400 Code="InvalidResourceGroup" Message="The provided resource group name 'my group' is not valid. The name can only be a letter, digit, '-', '.', '(', ')' or '_', and may not end with '.'."`},
		{"a machine's name", virtualMachine, set(vm, "vmName", "_vm"),
			`Status=400 Code="InvalidParameter" Message="The entity name 'vmName' is invalid according to its validation rule: ^[^_\W][\w-._]{0,79}(?<![-.])$."`},

		{"a priority that is too low", securityRule, s.ruleInputs(object{"priority": 99}),
			`Status=400 Code="SecurityRuleInvalidPriority" Message="Security rule rule has invalid Priority. Value provided: 99. Allowed range 100-4096."`},
		{"a priority that is too high", securityRule, s.ruleInputs(object{"priority": 4097}),
			`Status=400 Code="SecurityRuleInvalidPriority" Message="Security rule rule has invalid Priority. Value provided: 4097. Allowed range 100-4096."`},
		{"a priority twice in one direction", securityRule, s.ruleInputs(object{"destinationPortRange": "443"}),
			`Status=400 Code="SecurityRuleConflict" Message="Security rule rule conflicts with rule first. Rules cannot have the same Priority and Direction."`},
		{"a priority twice within a group", networkSecurityGroup, in(object{"networkSecurityGroupName": "inline", "securityRules": []any{
			s.ruleInputs(object{"name": "a", "networkSecurityGroupName": nil}), s.ruleInputs(object{"name": "b", "networkSecurityGroupName": nil}),
		}}), `Status=400 Code="SecurityRuleConflict" Message="Security rule b conflicts with rule a. Rules cannot have the same Priority and Direction."`},
		{"a direction", securityRule, s.ruleInputs(object{"direction": "Sideways"}),
			`Status=400 Code="SecurityRuleInvalidDirection" Message="Security rule has invalid Direction. Value provided: Sideways. Allowed values: Inbound,Outbound."`},
		{"an access", securityRule, s.ruleInputs(object{"access": "Maybe"}),
			`Status=400 Code="SecurityRuleInvalidAccess" Message="Security rule has invalid Access. Value provided: Maybe. Allowed values: Allow,Deny."`},
		{"a protocol", securityRule, s.ruleInputs(object{"protocol": "Sctp"}),
			`Status=400 Code="SecurityRuleInvalidProtocol" Message="Security rule has invalid Protocol. Value provided: Sctp. Allowed values: Tcp,Udp,Icmp,Esp,Ah,*."`},
		{"host bits", securityRule, s.ruleInputs(object{"priority": 1002, "sourceAddressPrefix": "50.206.209.68/27"}),
			`Status=400 Code="SecurityRuleInvalidAddressPrefix" Message="Security rule ` + nsgPath + `/securityRules/rule has invalid Address prefix. Value provided: 50.206.209.68/27"`},
		{"no address", securityRule, s.ruleInputs(object{"priority": 1002, "sourceAddressPrefix": nil, "sourceAddressPrefixes": []any{"10.0.0.0/8", "10.0.0.256"}}),
			`Status=400 Code="SecurityRuleInvalidAddressPrefix" Message="Security rule ` + nsgPath + `/securityRules/rule has invalid Address prefix. Value provided: 10.0.0.256"`},
		{"no port", securityRule, s.ruleInputs(object{"priority": 1002, "destinationPortRange": "22-"}),
			`Status=400 Code="SecurityRuleInvalidPortRange" Message="Security rule has invalid Port range. Value provided: 22-. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535."`},
		{"a port that there is not", securityRule, s.ruleInputs(object{"priority": 1002, "destinationPortRange": "65536"}),
			`Status=400 Code="SecurityRuleInvalidPortRange" Message="Security rule has invalid Port range. Value provided: 65536. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535."`},
		{"no source", securityRule, s.ruleInputs(object{"priority": 1002, "sourceAddressPrefix": nil}),
			`Status=400 Code="SecurityRuleParametersMissing" Message="Required security rule parameters are missing for security rule with Id: ` + nsgPath + `/securityRules/rule. Security rule must specify sourceAddressPrefix or sourceAddressPrefixes, and sourcePortRange or sourcePortRanges."`},
		{"a tag that the lab does not know", securityRule, s.ruleInputs(object{"priority": 1002, "sourceAddressPrefix": "AzureCloud.westeurope"}),
			`the lab knows the service tags Internet, VirtualNetwork and AzureLoadBalancer, not "AzureCloud.westeurope": rule "rule"`},

		{"no prefix", virtualNetwork, in(object{"virtualNetworkName": "v", "addressSpace": object{"addressPrefixes": []any{"10.1.0.0"}}}),
			`Status=400 Code="InvalidAddressPrefixFormat" Message="Address prefix 10.1.0.0 of resource SUB/resourceGroups/GROUP/providers/Microsoft.Network/virtualNetworks/v is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24."`},
		{"a network with host bits", virtualNetwork, in(object{"virtualNetworkName": "v", "addressSpace": object{"addressPrefixes": []any{"10.1.0.5/16"}}}),
			`Status=400 Code="InvalidCIDRNotation" Message="The address prefix 10.1.0.5/16 in resource SUB/resourceGroups/GROUP/providers/Microsoft.Network/virtualNetworks/v has an invalid CIDR notation. For the given prefix length, the address prefix should be 10.1.0.0/16."`},
		{"IPv6", virtualNetwork, in(object{"virtualNetworkName": "v", "addressSpace": object{"addressPrefixes": []any{"fd00::/48"}}}),
			`the lab has no IPv6: address prefix "fd00::/48"`},
		{"a subnet with host bits", subnet, in(set(s.subnetInputs("10.0.2.5/24"), "subnetName", "b")),
			`Status=400 Code="InvalidCIDRNotation" Message="The address prefix 10.0.2.5/24 in resource ` + vnetPath + `/subnets/b has an invalid CIDR notation. For the given prefix length, the address prefix should be 10.0.2.0/24."`},
		{"a subnet outside its network", subnet, in(set(s.subnetInputs("10.1.0.0/24"), "subnetName", "b")),
			`Status=400 Code="NetcfgInvalidSubnet" Message="Subnet 'b' is not valid in virtual network 'VNET'."`},
		{"a subnet larger than its network", subnet, in(set(s.subnetInputs("10.0.0.0/15"), "subnetName", "b")),
			`Status=400 Code="NetcfgInvalidSubnet" Message="Subnet 'b' is not valid in virtual network 'VNET'."`},
		{"a subnet over another one", subnet, in(set(s.subnetInputs("10.0.0.0/23"), "subnetName", "b")),
			`Status=400 Code="NetcfgSubnetRangesOverlap" Message="Subnet 'b' is not valid because its IP address range overlaps with that of an existing subnet in virtual network 'VNET'."`},
		{"a subnet with a security group that is not there", subnet, in(set(set(s.subnetInputs("10.0.2.0/24"), "subnetName", "b"), "networkSecurityGroup.id", "/none")),
			`Status=400 Code="InvalidResourceReference" Message="Resource /none referenced by resource ` + vnetPath + `/subnets/b was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."`},

		{"a Basic address", publicIPAddress, in(object{"sku": object{"name": "Basic"}}),
			`Status=400 Code="IPv4BasicSkuPublicIpCountLimitReached" Message="Cannot create more than 0 IPv4 Basic SKU public IP addresses for this subscription in this region."`},
		{"an address without a SKU", publicIPAddress, in(object{"publicIPAllocationMethod": "Static"}),
			`Status=400 Code="IPv4BasicSkuPublicIpCountLimitReached" Message="Cannot create more than 0 IPv4 Basic SKU public IP addresses for this subscription in this region."`},
		{"a dynamic Standard address", publicIPAddress, in(object{"publicIpAddressName": "p", "sku": object{"name": "Standard"}, "publicIPAllocationMethod": "Dynamic"}),
			`Status=400 Code="StandardSkuPublicIPAddressesMustBeStatic" Message="Standard sku publicIp SUB/resourceGroups/GROUP/providers/Microsoft.Network/publicIPAddresses/p must have AllocationMethod set to Static."`},
		{"a Standard address without a method", publicIPAddress, in(object{"publicIpAddressName": "p", "sku": object{"name": "Standard"}}),
			`Status=400 Code="StandardSkuPublicIPAddressesMustBeStatic" Message="Standard sku publicIp SUB/resourceGroups/GROUP/providers/Microsoft.Network/publicIPAddresses/p must have AllocationMethod set to Static."`},

		{"an interface in no subnet", networkInterface, in(set(set(s.nicInputs(), "ipConfigurations.subnet.id", "/none"), "networkInterfaceName", "n")),
			`Status=400 Code="InvalidResourceReference" Message="Resource /none referenced by resource SUB/resourceGroups/GROUP/providers/Microsoft.Network/networkInterfaces/n was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."`},
		{"an address that is in use", networkInterface, in(set(s.nicInputs(), "networkInterfaceName", "n")),
			`Status=400 Code="PublicIPAddressInUse" Message="Resource SUB/resourceGroups/GROUP/providers/Microsoft.Network/networkInterfaces/n/ipConfigurations/primary is referencing public IP address SUB/resourceGroups/GROUP/providers/Microsoft.Network/publicIPAddresses/ADDRESS that is already allocated to resource SUB/resourceGroups/GROUP/providers/Microsoft.Network/networkInterfaces/NIC/ipConfigurations/primary."`},
		{"a private address of Azure's own", networkInterface, in(set(set(set(s.nicInputs(), "ipConfigurations.publicIPAddress", nil),
			"ipConfigurations.privateIPAddress", "10.0.1.3"), "ipConfigurations.privateIPAllocationMethod", "Static")),
			`Status=400 Code="PrivateIPAddressInReservedRange" Message="Private static IP address 10.0.1.3 falls within reserved IP range of subnet prefix 10.0.1.0/24."`},

		{"a machine without an interface", virtualMachine, set(vm, "networkProfile", nil),
			`Status=400 Code="InvalidParameter" Message="Required parameter 'networkProfile' is missing (null)."`},
		{"an interface that is not there", virtualMachine, set(vm, "networkProfile.networkInterfaces.id", "/none"),
			`Status=400 Code="InvalidResourceReference" Message="Resource /none referenced by resource SUB/resourceGroups/GROUP/providers/Microsoft.Compute/virtualMachines/new was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."`},
		{"an interface that another machine has", virtualMachine, set(vm, "networkProfile.networkInterfaces.id", s.nic.id),
			`Status=400 Code="NicInUse" Message="Network Interface SUB/resourceGroups/GROUP/providers/Microsoft.Network/networkInterfaces/NIC is used by existing resource SUB/resourceGroups/GROUP/providers/Microsoft.Compute/virtualMachines/VM."`},
		{"an image that there is not", virtualMachine, set(vm, "storageProfile.imageReference.sku", "14-gen2"),
			`Status=404 Code="PlatformImageNotFound" Message="The platform image 'Debian:debian-13:14-gen2:latest' is not available. Verify that all fields in the storage profile are correct. For more details about storage profile information, please refer to https://aka.ms/storageprofile"`},
		{"a disk controller that the image has no driver for", virtualMachine, set(vm, "hardwareProfile.vmSize", "Standard_D2s_v6"),
			`Status=400 Code="InvalidParameter" Message="The VM size 'Standard_D2s_v6' cannot boot with OS image or disk. Please check that disk controller types supported by the OS image or disk is one of the supported disk controller types for the VM size 'Standard_D2s_v6'. Please query sku api at https://aka.ms/azure-compute-skus to determine supported disk controller types for the VM size."`},
		{"a version that there is not", virtualMachine, set(vm, "storageProfile.imageReference.version", "1.2.3"),
			`Status=404 Code="PlatformImageNotFound" Message="The platform image 'Debian:debian-13:13-gen2:1.2.3' is not available. Verify that all fields in the storage profile are correct. For more details about storage profile information, please refer to https://aka.ms/storageprofile"`},
		{"an image for other processors", virtualMachine, set(vm, "hardwareProfile.vmSize", "Standard_B2pls_v2"),
			`Status=400 Code="BadRequest" Message="Cannot create a VM of size 'Standard_B2pls_v2' because this VM size only supports a CPU Architecture of 'Arm64', but an image or disk with CPU Architecture 'x64' was given. Please check that the CPU Architecture of the image or disk is compatible with that of the VM size."`},
		{"a disk that is too small", virtualMachine, set(vm, "storageProfile.osDisk.diskSizeGB", 10),
			`Status=409 Code="OperationNotAllowed" Message="The specified disk size 10 GB is smaller than the size of the corresponding disk in the VM image: 30 GB. This is not allowed. Please choose equal or greater size or do not specify an explicit size."`},
		{"encryption at host, even when false", virtualMachine, set(vm, "securityProfile.encryptionAtHost", false),
			`Status=400 Code="InvalidParameter" Message="The property 'securityProfile.encryptionAtHost' is not valid because the 'Microsoft.Compute/EncryptionAtHost' feature is not enabled for this subscription."`},
		{"passwords without one", virtualMachine, set(vm, "osProfile.linuxConfiguration.disablePasswordAuthentication", false),
			`Status=400 Code="InvalidParameter" Message="Required parameter 'adminPassword' is missing (null)."`},
		{"no key and no password", virtualMachine, set(vm, "osProfile.linuxConfiguration.ssh", nil),
			`Status=400 Code="InvalidParameter" Message="Authentication using either SSH or by user name and password must be enabled in Linux profile."`},
		{"a key for another place", virtualMachine, set(vm, keys+".path", "/root/.ssh/authorized_keys"),
			`Status=400 Code="InvalidParameter" Message="Destination path for SSH public keys is currently limited to its default value /home/azureuser/.ssh/authorized_keys due to a known issue in Linux provisioning agent."`},
		{"a key that is none", virtualMachine, set(vm, keys+".keyData", "ssh-ed25519 AAAA"),
			`Status=400 Code="InvalidParameter" Message="The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid."`},
		{"a kind of key that Azure does not take", virtualMachine, set(vm, keys+".keyData", ecdsaKey),
			`Status=400 Code="InvalidParameter" Message="The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid."`},
		{"no administrator", virtualMachine, set(vm, "osProfile.adminUsername", nil),
			`Status=400 Code="InvalidParameter" Message="Required parameter 'adminUsername' is missing (null)."`},
		{"a name for a computer", virtualMachine, set(vm, "osProfile.computerName", "open_claw"),
			"Status=400 Code=\"InvalidParameter\" Message=\"Linux host name cannot exceed 64 characters in length or contain the following characters: ` ~ ! @ # $ % ^ & * ( ) = + _ [ ] { } \\ | ; : ' \" , < > / ?.\""},
		{"custom data that is no base64", virtualMachine, set(vm, "osProfile.customData", "#cloud-config"),
			`Status=400 Code="InvalidParameter" Message="Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters."`},
		{"more than 64 KiB of custom data", virtualMachine, set(vm, "osProfile.customData", base64.StdEncoding.EncodeToString(make([]byte, 65536))),
			`Status=400 Code="InvalidParameter" Message="Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters."`},

		{"a run command without a script", runCommand, in(object{"vmName": s.vm.state["name"]}),
			`Status=400 Code="InvalidParameter" Message="Required parameter 'source.script' is missing (null)."`},
		{"a run command without a machine", runCommand, in(object{"vmName": "none", "source": object{"script": "true"}}),
			`Status=404 Code="ParentResourceNotFound" Message="Can not perform requested operation on nested resource. Parent resource 'none' not found."`},
		{"a parameter without a name", runCommand, in(object{"vmName": s.vm.state["name"], "source": object{"script": "true"},
			"parameters": []any{object{"value": "x"}}}), `the lab hands parameters to a script by name: "command" has one without`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := *e
			e.t = t
			logical := map[*kind]string{securityRule: "rule", runCommand: "command"}[test.kind]
			if logical == "" {
				logical = "another"
			}
			before := len(e.p.Resources())
			m, err := e.tryCreate(test.kind, logical, test.inputs)
			if err != nil {
				err = errors.New(names.Replace(status.Convert(err).Message()))
			}
			e.wantError(err, test.want)
			if m.id != "" || len(e.p.Resources()) != before {
				t.Errorf("something was made: %q", m.id)
			}
		})
	}
	for _, name := range refusedNames {
		inputs := set(set(vm, "osProfile.adminUsername", name), keys+".path", "/home/"+name+"/.ssh/authorized_keys")
		_, err := e.tryCreate(virtualMachine, "refused", inputs)
		e.wantError(err, `Status=400 Code="InvalidParameter" Message="The Admin Username specified is not allowed."`)
	}
	_, err := e.tryCreate(virtualMachine, "size", set(vm, "hardwareProfile.vmSize", "Standard_Nothing"))
	if err == nil || !strings.Contains(err.Error(), `Code="InvalidParameter" Message="The value Standard_Nothing provided for the VM size is not valid. The valid sizes in the current region are: Standard_B1ms,`) {
		t.Errorf("a size that there is not: %v", err)
	}
	equal(t, "machines", len(e.fabric.machines), 1)
	equal(t, "addresses kept", len(e.fabric.released), 0)
}

const ecdsaKey = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg= test"

func TestRefusedUpdatesOfAMachine(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	vmID := s.vm.state["vmId"]
	forbidden := `Status=409 Code="PropertyChangeNotAllowed" Message="Changing property '%s' is not allowed."`
	for _, test := range []struct{ path, value, want string }{
		{"osProfile.customData", "eA==", fmt.Sprintf(forbidden, "customData")},
		{"osProfile.customData", base64.StdEncoding.EncodeToString(make([]byte, 65536)), `Status=400 Code="InvalidParameter" Message="Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters."`},
		{"osProfile.computerName", "other", fmt.Sprintf(forbidden, "computerName")},
		{"osProfile.adminUsername", "other", fmt.Sprintf(forbidden, "adminUsername")},
		{"osProfile.adminPassword", "correct horse", fmt.Sprintf(forbidden, "adminPassword")},
		{"osProfile.linuxConfiguration.ssh.publicKeys.keyData", testKey + "2", fmt.Sprintf(forbidden, "linuxConfiguration.ssh.publicKeys")},
		{"storageProfile.imageReference.offer", "debian-12", fmt.Sprintf(forbidden, "imageReference")},
		{"securityProfile.securityType", "Standard", fmt.Sprintf(forbidden, "securityProfile.securityType")},
		{"storageProfile.osDisk.diskSizeGB", "", `the lab cannot change the size of a disk: "VM"`},
	} {
		value := any(test.value)
		if value == "" {
			value = 64
		}
		err := e.tryUpdate(s.vm, set(s.vm.inputs, test.path, value))
		if err != nil {
			err = errors.New(strings.ReplaceAll(status.Convert(err).Message(), s.vm.state.text("name"), "VM"))
		}
		e.wantError(err, test.want)
	}
	equal(t, "machines", len(e.fabric.machines), 1)

	// Custom data that a program no longer sends, tags and another size are fine; another size restarts.
	e.update(s.vm, set(set(s.vm.inputs, "osProfile.customData", nil), "tags.a", "b"))
	equal(t, "restarts", e.fabric.restarts, 0)
	e.update(s.vm, set(s.vm.inputs, "hardwareProfile.vmSize", "Standard_B2ms"))
	equal(t, "restarts", e.fabric.restarts, 1)
	equal(t, "vmId", s.vm.state["vmId"], vmID)
}

func TestRefusedDeletes(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.update(s.subnet, s.in()(set(s.subnetInputs("10.0.1.0/24"), "networkSecurityGroup.id", s.nsg.id)))
	names := strings.NewReplacer(s.group.id, "GROUP", "/subscriptions/"+e.p.subscription(), "SUB",
		s.nsg.state.text("name"), "NSG", s.network.state.text("name"), "VNET", s.nic.state.text("name"), "NIC",
		s.vm.state.text("name"), "VM", s.address.state.text("name"), "ADDRESS")
	refused := func(m *made, want string) {
		t.Helper()
		err := e.tryDelete(m)
		if err != nil {
			err = errors.New(names.Replace(status.Convert(err).Message()))
		}
		e.wantError(err, want)
	}
	inUse := `Status=400 Code="InUseSubnetCannotBeDeleted" Message="Subnet subnet is in use by GROUP/providers/Microsoft.Network/networkInterfaces/NIC/ipConfigurations/primary and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet."`
	refused(s.subnet, inUse)
	refused(s.network, inUse)
	refused(s.nsg, `Status=400 Code="InUseNetworkSecurityGroupCannotBeDeleted" Message="Network security group GROUP/providers/Microsoft.Network/networkSecurityGroups/NSG cannot be deleted because it is in use by the following resources: GROUP/providers/Microsoft.Network/virtualNetworks/VNET/subnets/subnet, GROUP/providers/Microsoft.Network/networkInterfaces/NIC. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg."`)
	refused(s.address, `Status=400 Code="PublicIPAddressCannotBeDeleted" Message="Public IP address GROUP/providers/Microsoft.Network/publicIPAddresses/ADDRESS can not be deleted since it is still allocated to resource GROUP/providers/Microsoft.Network/networkInterfaces/NIC/ipConfigurations/primary. In order to delete the public IP, disassociate/detach the Public IP address from the resource. To learn how to do this, see aka.ms/deletepublicip."`)
	refused(s.nic, `Status=400 Code="NicInUse" Message="Network Interface GROUP/providers/Microsoft.Network/networkInterfaces/NIC is used by existing resource GROUP/providers/Microsoft.Compute/virtualMachines/VM. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic."`)
	err := e.tryUpdate(s.subnet, s.in()(s.subnetInputs("10.0.2.0/24")))
	e.wantError(err, `Status=400 Code="InUsePrefixCannotBeDeleted" Message="IpPrefix 10.0.1.0/24 on Subnet subnet has active allocations and cannot be deleted."`)

	// In the order in which nothing is in use any more, all of it goes.
	for _, m := range []*made{s.vm, s.nic, s.subnet, s.network, s.nsg, s.address, s.group} {
		e.delete(m)
	}
	equal(t, "resources", len(e.p.Resources()), 0)
	equal(t, "machines", len(e.fabric.machines), 0)
	equal(t, "released addresses", len(e.fabric.released), 1)
}

// A group takes everything in it with it.
func TestDeleteOfAGroup(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.delete(s.group)
	equal(t, "resources", len(e.p.Resources()), 0)
	equal(t, "machines", len(e.fabric.machines), 0)
	equal(t, "the machine", e.read(s.vm), true)
}

// A disk that is not deleted with its machine stays, and its name is taken.
func TestOrphanedDisk(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	inputs := s.in()(set(set(s.vmInputs(), "storageProfile.osDisk.deleteOption", nil), "storageProfile.osDisk.name", "disk"))
	vm := e.create(virtualMachine, "vm", inputs)
	e.delete(vm)
	_, err := e.tryCreate(virtualMachine, "vm", inputs)
	e.wantError(err, fmt.Sprintf(`Status=409 Code="ConflictingUserInput" Message="Disk disk already exists in resource group %s. Only CreateOption.Attach is supported."`,
		strings.ToUpper(s.group.state.text("name"))))
}

// An interface that goes with its machine is gone under Pulumi's feet.
func TestInterfaceThatGoesWithItsMachine(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	vm := e.create(virtualMachine, "vm", s.in()(set(s.vmInputs(), "networkProfile.networkInterfaces.deleteOption", "Delete")))
	e.delete(vm)
	equal(t, "the interface", e.read(s.nic), true)
}

// A machine that does not come up is there, failed, and the next update tries again.
func TestMachineThatDoesNotBoot(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	e.fabric.createErr = errors.New("no kernel")
	vm, err := e.tryCreate(virtualMachine, "vm", s.in()(s.vmInputs()))
	e.wantError(err, `Status=200 Code="InternalExecutionError" Message="An internal execution error occurred. Please retry later. (the lab: no kernel)"`)
	if vm.id == "" {
		t.Fatal("the engine is not told what was made")
	}
	equal(t, "state", vm.state["provisioningState"], "Failed")
	e.fabric.createErr = nil
	e.update(vm, s.in()(s.vmInputs()))
	equal(t, "state", vm.state["provisioningState"], "Succeeded")
	equal(t, "machines", len(e.fabric.machines), 1)
}

// Rules that cannot be put in force are not there.
func TestRulesThatCannotBeEnforced(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.fabric.rulesErr = errors.New("no nftables")
	_, err := e.tryCreate(securityRule, "rule", s.ruleInputs(nil))
	e.wantError(err, fmt.Sprintf(`put the security rules of %q in force: no nftables`, s.vm.state.text("name")))
	e.fabric.rulesErr = nil
	e.create(securityRule, "rule", s.ruleInputs(nil))
}

func TestVMIDIsNewEachTime(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	first := s.vm.state.text("vmId")
	e.delete(s.vm)
	s.vm = e.create(virtualMachine, "vm", s.in()(s.vmInputs()))
	if second := s.vm.state.text("vmId"); second == first || second == "" {
		t.Errorf("vmId %q after %q", second, first)
	}
}

// A security group takes one write at a time; the provider sends the other again.
func TestOneWriterOfAGroup(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	var logged bytes.Buffer
	e.p.Log = log.New(&logged, "", 0)
	busy := func() int {
		return strings.Count(logged.String(), `Status=429 Code="RetryableErrorDueToAnotherOperation"`)
	}
	e.create(securityRule, "first", s.ruleInputs(nil))
	e.create(securityRule, "second", s.ruleInputs(object{"priority": 1002}))
	if busy() != 0 {
		t.Errorf("one after the other: %s", &logged)
	}
	e.p.retries = []time.Duration{settling, settling, settling}
	var both sync.WaitGroup
	for i, name := range []string{"third", "fourth"} {
		both.Go(func() { e.create(securityRule, name, s.ruleInputs(object{"priority": 1003 + i})) })
	}
	both.Wait()
	if busy() == 0 {
		t.Errorf("two at once: %s", &logged)
	}
}

// Throttled requests are sent again three times, each after what Retry-After says, and where another operation is under way
// too; others not.
func TestFaults(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	throttled := Fault{Method: "PUT", Token: virtualMachine.token, Times: 3, Status: 429, Code: "SubscriptionRequestsThrottled",
		Message: "Number of requests exceeded. Please try again after '6' seconds.", RetryAfter: 50 * time.Millisecond}
	e.p.Inject(throttled)
	start := time.Now()
	vm := e.create(virtualMachine, "vm", s.in()(s.vmInputs()))
	if took := time.Since(start); took < 3*throttled.RetryAfter {
		t.Errorf("three times Retry-After %s were waited for %s", throttled.RetryAfter, took)
	}
	e.delete(vm)
	e.p.Inject(Fault{Method: "PUT", Token: virtualMachine.token, Times: 1, Status: 409, Code: "AnotherOperationInProgress", Message: "Another operation is in progress."})
	e.delete(e.create(virtualMachine, "vm", s.in()(s.vmInputs())))
	throttled.Times = 4
	e.p.Inject(throttled)
	_, err := e.tryCreate(virtualMachine, "vm", s.in()(s.vmInputs()))
	e.wantError(err, `Status=429 Code="SubscriptionRequestsThrottled" Message="Number of requests exceeded. Please try again after '6' seconds."`)
	e.p.Inject(Fault{Token: virtualMachine.token, Method: "PUT", Times: 1, Status: 409, Code: "OperationNotAllowed",
		Message: "Operation could not be completed as it results in exceeding approved Total Regional Cores quota."})
	vm, err = e.tryCreate(virtualMachine, "vm", s.in()(s.vmInputs()))
	e.wantError(err, `Status=409 Code="OperationNotAllowed" Message="Operation could not be completed as it results in exceeding approved Total Regional Cores quota."`)
	if vm.id != "" {
		t.Error("a machine was made although the quota is exceeded")
	}
	e.p.Inject(Fault{Method: "PUT", Times: 1, Delay: 50 * time.Millisecond})
	start = time.Now()
	vm = e.create(virtualMachine, "vm", s.in()(s.vmInputs()))
	if time.Since(start) < 50*time.Millisecond {
		t.Error("an operation that takes its time took none")
	}
	e.p.ClearFaults()

	// A request that is held goes on when the faults are cleared, and not before.
	e.p.Inject(Fault{Method: "DELETE", Token: virtualMachine.token, Hold: true})
	deleted := make(chan struct{})
	go func() {
		defer close(deleted)
		_, err := e.client.Delete(t.Context(), &pulumirpc.DeleteRequest{Id: vm.id, Urn: vm.urn, Properties: toStruct(t, vm.state)})
		if err != nil {
			t.Errorf("delete: %v", err)
		}
	}()
	for deadline := time.Now().Add(time.Minute); e.p.Faults()[0].Met == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the request did not meet the fault")
		}
	}
	select {
	case <-deleted:
		t.Error("the request was not held")
	default:
	}
	equal(t, "machines while the request is held", len(e.fabric.machines), 1)
	e.p.ClearFaults()
	<-deleted
	equal(t, "machines after it", len(e.fabric.machines), 0)
}

// An engine that gives up leaves Azure to go on, and knows what it left; another engine is not disturbed.
func TestCancel(t *testing.T) {
	e := newEngine(t)
	s := e.network()
	e.fabric.boot = make(chan struct{})
	type answer struct {
		m   *made
		err error
	}
	answers := make(chan answer, 1)
	inputs, _ := e.check(virtualMachine, "vm", nil, s.in()(s.vmInputs()))
	go func() {
		m := &made{kind: virtualMachine, urn: urn(virtualMachine, "vm"), inputs: inputs}
		_, err := e.client.Create(t.Context(), &pulumirpc.CreateRequest{Urn: m.urn, Properties: toStruct(t, inputs)})
		if err != nil {
			m.keepFailed(t, err)
		}
		answers <- answer{m, err}
	}()
	awaitState := func(want string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			e.p.mu.Lock()
			found := e.p.record.ofKind(virtualMachine)
			if len(found) == 1 && found[0].ProvisioningState == want {
				e.p.mu.Unlock()
				return
			}
			e.p.mu.Unlock()
			if time.Now().After(deadline) {
				t.Fatalf("waited 10 s for the machine to be %s", want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	awaitState("Creating")
	if _, err := e.client.Cancel(t.Context(), &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	given := <-answers
	e.wantError(given.err, "context canceled")
	if given.m.id == "" {
		t.Fatal("the engine is not told what was begun")
	}
	other := *e
	other.client = connect(t, e.address)
	other.wantError(other.tryUpdate(given.m, s.in()(s.vmInputs())),
		`Status=409 Code="AnotherOperationInProgress" Message="Another operation on this or dependent resource is in progress."`)
	close(e.fabric.boot)
	awaitState("Succeeded")
	other.update(given.m, s.in()(s.vmInputs()))
	equal(t, "machines", len(e.fabric.machines), 1)
}

// An operation that the end of the server broke off has failed, and the next update mends that.
func TestRestartDuringAnOperation(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	e.p.mu.Lock()
	r := e.p.record.get(s.vm.id).clone()
	r.ProvisioningState = "Creating"
	e.p.record.Resources[key(s.vm.id)] = r
	if err := e.p.record.save(); err != nil {
		t.Fatal(err)
	}
	e.p.mu.Unlock()
	again := openEngine(t, e.fabric, e.file)
	equal(t, "gone", again.read(s.vm), false)
	equal(t, "state", s.vm.state["provisioningState"], "Failed")
	again.update(s.vm, s.in()(s.vmInputs()))
	equal(t, "state", s.vm.state["provisioningState"], "Succeeded")
}
