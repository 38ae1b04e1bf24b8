package azure

import (
	"fmt"
	"slices"
	"strings"
)

// kind is what azure-native knows of one type of resource.
type kind struct {
	token      string // azure-native:MODULE:TYPE
	arm        string // Azure's own name of the type
	apiVersion string

	// path are the inputs that make the id, the resource's own name last. They all replace when they change.
	path []string
	// random gives an automatic name a suffix, so that a replacement can be made before the old one goes.
	random bool
	// required are inputs beside the path.
	required []string
	// located says that the type has a location, which Check fills in.
	located bool
	// replaces are inputs beside the path whose change makes the resource anew.
	replaces []string
	// outputs are all that an answer may hold, with what is nested in it where a program reads that before it is known.
	outputs []string
	// readOnly are outputs that are no inputs.
	readOnly []string
	// children are arrays of resources of their own. Unset in a request they stay as they are, and a refresh ignores them.
	children map[string]*kind
	// preserved are further such arrays that hold nothing here.
	preserved []string
}

func (k *kind) name() string { return k.path[len(k.path)-1] }

func (k *kind) label() string { return k.arm[strings.LastIndex(k.arm, "/")+1:] }

// kept are the arrays that a request without them leaves as they are.
func (k *kind) kept() []string {
	kept := append([]string(nil), k.preserved...)
	for name := range k.children {
		kept = append(kept, name)
	}
	return kept
}

// inputs are the properties that may be set, the path apart.
func (k *kind) inputs() []string {
	var inputs []string
	for _, name := range k.outputs {
		if !slices.Contains(k.readOnly, name) {
			inputs = append(inputs, name)
		}
	}
	return inputs
}

// id is the resource's ARM path.
func (k *kind) id(subscription string, inputs object) string {
	id := fmt.Sprintf("/subscriptions/%s/resourceGroups/%s", subscription, inputs.text(k.path[0]))
	if len(k.path) == 1 {
		return id
	}
	types := strings.Split(k.arm, "/")
	id += "/providers/" + types[0]
	for i, name := range k.path[1:] {
		id += "/" + types[i+1] + "/" + inputs.text(name)
	}
	return id
}

// pathOf is the reverse of id.
func (k *kind) pathOf(id string) object {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	found := object{}
	take := func(input string, i int) {
		if i < len(parts) {
			found[input] = parts[i]
		}
	}
	take(k.path[0], 3)
	for i, name := range k.path[1:] {
		take(name, 7+2*i)
	}
	return found
}

var (
	resourceGroup = &kind{
		token: "azure-native:resources:ResourceGroup", arm: "Microsoft.Resources/resourceGroups", apiVersion: "2022-09-01",
		path: []string{"resourceGroupName"}, random: true, located: true, required: []string{"location"},
		replaces: []string{"location"},
		outputs:  []string{"location", "managedBy", "name", "properties", "tags", "type"},
		readOnly: []string{"name", "properties", "type"},
	}
	networkSecurityGroup = &kind{
		token: "azure-native:network:NetworkSecurityGroup", arm: "Microsoft.Network/networkSecurityGroups", apiVersion: "2023-02-01",
		path: []string{"resourceGroupName", "networkSecurityGroupName"}, random: true, located: true,
		outputs: []string{"defaultSecurityRules", "etag", "flowLogs", "flushConnection", "location", "name",
			"networkInterfaces", "provisioningState", "resourceGuid", "securityRules", "subnets", "tags", "type"},
		readOnly: []string{"defaultSecurityRules", "etag", "flowLogs", "name", "networkInterfaces", "provisioningState",
			"resourceGuid", "subnets", "type"},
	}
	securityRule = &kind{
		token: "azure-native:network:SecurityRule", arm: "Microsoft.Network/networkSecurityGroups/securityRules", apiVersion: "2023-02-01",
		path:     []string{"resourceGroupName", "networkSecurityGroupName", "securityRuleName"},
		required: []string{"access", "direction", "priority", "protocol"},
		outputs: []string{"access", "description", "destinationAddressPrefix", "destinationAddressPrefixes",
			"destinationApplicationSecurityGroups", "destinationPortRange", "destinationPortRanges", "direction", "etag",
			"name", "priority", "protocol", "provisioningState", "sourceAddressPrefix", "sourceAddressPrefixes",
			"sourceApplicationSecurityGroups", "sourcePortRange", "sourcePortRanges", "type"},
		readOnly: []string{"etag", "provisioningState"},
	}
	virtualNetwork = &kind{
		token: "azure-native:network:VirtualNetwork", arm: "Microsoft.Network/virtualNetworks", apiVersion: "2023-02-01",
		path: []string{"resourceGroupName", "virtualNetworkName"}, random: true, located: true,
		replaces: []string{"location"},
		outputs: []string{"addressSpace", "bgpCommunities", "ddosProtectionPlan", "dhcpOptions", "enableDdosProtection",
			"enableVmProtection", "encryption", "etag", "extendedLocation", "flowLogs", "flowTimeoutInMinutes",
			"ipAllocations", "location", "name", "provisioningState", "resourceGuid", "subnets", "tags", "type",
			"virtualNetworkPeerings"},
		readOnly:  []string{"etag", "flowLogs", "name", "provisioningState", "resourceGuid", "type"},
		preserved: []string{"virtualNetworkPeerings"},
	}
	subnet = &kind{
		token: "azure-native:network:Subnet", arm: "Microsoft.Network/virtualNetworks/subnets", apiVersion: "2023-02-01",
		path: []string{"resourceGroupName", "virtualNetworkName", "subnetName"},
		outputs: []string{"addressPrefix", "addressPrefixes", "applicationGatewayIPConfigurations", "delegations", "etag",
			"ipAllocations", "ipConfigurationProfiles", "ipConfigurations", "name", "natGateway", "networkSecurityGroup",
			"privateEndpointNetworkPolicies", "privateEndpoints", "privateLinkServiceNetworkPolicies", "provisioningState",
			"purpose", "resourceNavigationLinks", "routeTable", "serviceAssociationLinks", "serviceEndpointPolicies",
			"serviceEndpoints", "type"},
		readOnly: []string{"etag", "ipConfigurationProfiles", "ipConfigurations", "privateEndpoints", "provisioningState",
			"purpose", "resourceNavigationLinks", "serviceAssociationLinks"},
	}
	publicIPAddress = &kind{
		token: "azure-native:network:PublicIPAddress", arm: "Microsoft.Network/publicIPAddresses", apiVersion: "2023-02-01",
		path: []string{"resourceGroupName", "publicIpAddressName"}, random: true, located: true,
		replaces: []string{"location", "sku", "publicIPAddressVersion", "publicIPPrefix"},
		outputs: []string{"ddosSettings", "deleteOption", "dnsSettings", "etag", "extendedLocation", "idleTimeoutInMinutes",
			"ipAddress", "ipConfiguration", "ipTags", "linkedPublicIPAddress", "location", "migrationPhase", "name",
			"natGateway", "provisioningState", "publicIPAddressVersion", "publicIPAllocationMethod", "publicIPPrefix",
			"resourceGuid", "servicePublicIPAddress", "sku", "tags", "type", "zones"},
		readOnly: []string{"etag", "ipConfiguration", "name", "provisioningState", "resourceGuid", "type"},
	}
	networkInterface = &kind{
		token: "azure-native:network:NetworkInterface", arm: "Microsoft.Network/networkInterfaces", apiVersion: "2023-02-01",
		path: []string{"resourceGroupName", "networkInterfaceName"}, random: true, located: true,
		outputs: []string{"auxiliaryMode", "auxiliarySku", "disableTcpStateTracking", "dnsSettings", "dscpConfiguration",
			"enableAcceleratedNetworking", "enableIPForwarding", "etag", "extendedLocation", "hostedWorkloads",
			"ipConfigurations", "location", "macAddress", "migrationPhase", "name", "networkSecurityGroup", "nicType",
			"primary", "privateEndpoint", "privateLinkService", "provisioningState", "resourceGuid", "tags",
			"tapConfigurations", "type", "virtualMachine", "vnetEncryptionSupported", "workloadType"},
		readOnly: []string{"dscpConfiguration", "etag", "hostedWorkloads", "macAddress", "name", "primary",
			"privateEndpoint", "provisioningState", "resourceGuid", "tapConfigurations", "type", "virtualMachine",
			"vnetEncryptionSupported"},
	}
	virtualMachine = &kind{
		token: "azure-native:compute:VirtualMachine", arm: "Microsoft.Compute/virtualMachines", apiVersion: "2023-03-01",
		path: []string{"resourceGroupName", "vmName"}, random: true, located: true, required: []string{"location"},
		outputs: []string{"additionalCapabilities", "applicationProfile", "availabilitySet", "billingProfile",
			"capacityReservation", "diagnosticsProfile", "evictionPolicy", "extendedLocation", "extensionsTimeBudget",
			"hardwareProfile", "host", "hostGroup", "identity", "instanceView", "licenseType", "location", "name",
			"networkProfile", "osProfile", "plan", "platformFaultDomain", "priority", "provisioningState",
			"proximityPlacementGroup", "resources", "scheduledEventsProfile", "securityProfile", "storageProfile", "tags",
			"timeCreated", "type", "userData", "virtualMachineScaleSet", "vmId", "zones"},
		readOnly: []string{"instanceView", "name", "provisioningState", "resources", "timeCreated", "type", "vmId"},
	}
	runCommand = &kind{
		token: "azure-native:compute:VirtualMachineRunCommandByVirtualMachine",
		arm:   "Microsoft.Compute/virtualMachines/runCommands", apiVersion: "2023-03-01",
		path:    []string{"resourceGroupName", "vmName", "runCommandName"},
		located: true, required: []string{"location"},
		outputs: []string{"asyncExecution", "errorBlobManagedIdentity", "errorBlobUri", "instanceView", "location", "name",
			"outputBlobManagedIdentity", "outputBlobUri", "parameters", "protectedParameters", "provisioningState",
			"runAsPassword", "runAsUser", "source", "tags", "timeoutInSeconds", "treatFailureAsDeploymentFailure", "type"},
		readOnly: []string{"instanceView", "name", "provisioningState", "type"},
	}
	actionGroup = &kind{
		token: "azure-native:insights:ActionGroup", arm: "Microsoft.Insights/actionGroups", apiVersion: "2023-01-01",
		path: []string{"resourceGroupName", "actionGroupName"}, random: true, located: true, required: []string{"enabled", "groupShortName"},
		outputs: []string{"armRoleReceivers", "automationRunbookReceivers", "azureAppPushReceivers", "azureFunctionReceivers",
			"emailReceivers", "enabled", "eventHubReceivers", "groupShortName", "itsmReceivers", "location", "logicAppReceivers",
			"name", "smsReceivers", "tags", "type", "voiceReceivers", "webhookReceivers"},
		readOnly: []string{"name", "type"},
	}
	metricAlert = &kind{
		token: "azure-native:insights:MetricAlert", arm: "Microsoft.Insights/metricAlerts", apiVersion: "2018-03-01",
		path: []string{"resourceGroupName", "ruleName"}, random: true, located: true,
		required: []string{"criteria", "enabled", "evaluationFrequency", "scopes", "severity", "windowSize"},
		outputs: []string{"actions", "autoMitigate", "criteria", "description", "enabled", "evaluationFrequency", "isMigrated",
			"lastUpdatedTime", "location", "name", "scopes", "severity", "tags", "targetResourceRegion", "targetResourceType",
			"type", "windowSize"},
		readOnly: []string{"isMigrated", "lastUpdatedTime", "name", "type"},
	}
)

// unknownWithin are nested outputs that a preview cannot know although the object around them is set.
var unknownWithin = map[string]map[string][]string{
	networkInterface.token: {"ipConfigurations": {"etag", "id", "primary", "privateIPAddress", "provisioningState", "type"}},
	virtualMachine.token: {
		"storageProfile.imageReference": {"exactVersion"},
		"storageProfile.osDisk":         {"managedDisk.id", "name", "osType", "diskSizeGB"},
	},
}

// readOnlyWithin are nested outputs that are no inputs: a refresh compares without them.
var readOnlyWithin = []string{"etag", "provisioningState", "status", "exactVersion", "appliedDnsServers", "internalDomainNameSuffix",
	"internalFqdn", "ipConfigurations"}

func init() {
	// Here because a kind cannot name another one within its own initialization.
	networkSecurityGroup.children = map[string]*kind{"securityRules": securityRule}
	virtualNetwork.children = map[string]*kind{"subnets": subnet}
}

var kinds = func() map[string]*kind {
	byToken := map[string]*kind{}
	for _, k := range []*kind{
		resourceGroup, networkSecurityGroup, securityRule, virtualNetwork, subnet, publicIPAddress, networkInterface,
		virtualMachine, runCommand, actionGroup, metricAlert,
	} {
		byToken[k.token] = k
	}
	return byToken
}()

// lookups are the functions that read a resource.
var lookups = map[string]*kind{
	"azure-native:network:getNetworkSecurityGroup":                     networkSecurityGroup,
	"azure-native:network:getSecurityRule":                             securityRule,
	"azure-native:resources:getResourceGroup":                          resourceGroup,
	"azure-native:network:getVirtualNetwork":                           virtualNetwork,
	"azure-native:network:getSubnet":                                   subnet,
	"azure-native:network:getPublicIPAddress":                          publicIPAddress,
	"azure-native:network:getNetworkInterface":                         networkInterface,
	"azure-native:compute:getVirtualMachine":                           virtualMachine,
	"azure-native:insights:getActionGroup":                             actionGroup,
	"azure-native:insights:getMetricAlert":                             metricAlert,
	"azure-native:compute:getVirtualMachineRunCommandByVirtualMachine": runCommand,
}
