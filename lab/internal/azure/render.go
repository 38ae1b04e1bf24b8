package azure

import (
	"fmt"
	"strings"

	"openclaw-azure/lab/internal/fabric"
)

// render is Azure's answer about a resource, flat as the provider makes it.
func render(resources map[string]*stored, r *stored) object {
	k := kinds[r.Kind]
	out := r.Spec.clone()
	out["id"] = r.ID
	out["name"] = r.Name
	out["type"] = k.arm
	out["provisioningState"] = r.ProvisioningState
	switch k {
	case resourceGroup:
		delete(out, "provisioningState")
		out["properties"] = map[string]any{"provisioningState": r.ProvisioningState}
	case networkSecurityGroup:
		out["etag"], out["resourceGuid"] = r.ETag, r.GUID
		renderGroup(resources, r, out)
	case securityRule:
		out["etag"] = r.ETag
		renderRule(out)
	case virtualNetwork:
		out["etag"], out["resourceGuid"] = r.ETag, r.GUID
		setDefaults(out, object{"enableDdosProtection": false, "virtualNetworkPeerings": []any{}})
		// Azure leaves out what is false beside the protection plan.
		if !out.truth("enableVmProtection") {
			delete(out, "enableVmProtection")
		}
		subnets := []any{}
		for _, s := range under(resources, r.ID) {
			subnets = append(subnets, map[string]any(render(resources, s)))
		}
		out["subnets"] = subnets
	case subnet:
		out["etag"] = r.ETag
		setDefaults(out, object{"delegations": []any{}, "privateEndpointNetworkPolicies": "Disabled",
			"privateLinkServiceNetworkPolicies": "Enabled"})
		var users []any
		for _, nic := range ofKind(resources, networkInterface) {
			if key(subnetID(nic)) == key(r.ID) {
				users = append(users, reference(configurationID(nic, nic.Spec.objects("ipConfigurations")[0])))
			}
		}
		if users != nil {
			out["ipConfigurations"] = users
		}
	case publicIPAddress:
		out["etag"], out["resourceGuid"] = r.ETag, r.GUID
		renderAddress(resources, r, out)
	case networkInterface:
		out["etag"], out["resourceGuid"] = r.ETag, r.GUID
		renderInterface(resources, r, out)
	case virtualMachine:
		renderMachine(r, out)
	case actionGroup:
		delete(out, "provisioningState")
		renderActions(out)
	case metricAlert:
		delete(out, "provisioningState")
		setDefaults(out, object{"actions": []any{}, "autoMitigate": true, "isMigrated": false, "targetResourceType": virtualMachine.arm})
	case runCommand:
		delete(out, "protectedParameters")
		delete(out, "runAsPassword")
		setDefaults(out, object{"asyncExecution": false, "treatFailureAsDeploymentFailure": false})
	}
	return out
}

// renderActions: Azure has a list of each sort of receivers, and asks those of mail whether they still want it.
func renderActions(out object) {
	for _, name := range actionGroup.outputs {
		if strings.HasSuffix(name, "Receivers") {
			setDefaults(out, object{name: []any{}})
		}
	}
	receivers := out.objects("emailReceivers")
	for _, receiver := range receivers {
		setDefaults(receiver, object{"status": "Enabled", "useCommonAlertSchema": false})
	}
	out["emailReceivers"] = list(receivers)
}

func setDefaults(out, defaults object) {
	for name, value := range defaults {
		if _, set := out[name]; !set {
			out[name] = value
		}
	}
}

func renderGroup(resources map[string]*stored, r *stored, out object) {
	rules := []any{}
	for _, rule := range under(resources, r.ID) {
		rules = append(rules, map[string]any(render(resources, rule)))
	}
	out["securityRules"] = rules
	own := []any{}
	for _, rule := range defaultRules {
		own = append(own, map[string]any(renderDefaultRule(r, rule)))
	}
	out["defaultSecurityRules"] = own
	for name, k := range map[string]*kind{"networkInterfaces": networkInterface, "subnets": subnet} {
		var users []any
		for _, other := range ofKind(resources, k) {
			if key(other.Spec.text("networkSecurityGroup.id")) == key(r.ID) {
				users = append(users, reference(other.ID))
			}
		}
		if users != nil {
			out[name] = users
		}
	}
}

func renderDefaultRule(group *stored, rule fabric.Rule) object {
	out := object{
		"id": group.ID + "/defaultSecurityRules/" + rule.Name, "name": rule.Name, "etag": group.ETag,
		"type": "Microsoft.Network/networkSecurityGroups/defaultSecurityRules", "provisioningState": "Succeeded",
		"access": "Deny", "direction": "Outbound", "priority": rule.Priority, "protocol": rule.Protocol,
		"sourceAddressPrefix": rule.SourcePrefixes[0], "sourcePortRange": rule.SourcePorts[0],
		"destinationAddressPrefix": rule.DestinationPrefixes[0], "destinationPortRange": rule.DestinationPorts[0],
	}
	if rule.Allow {
		out["access"] = "Allow"
	}
	if rule.Inbound {
		out["direction"] = "Inbound"
	}
	renderRule(out)
	return out
}

func renderRule(out object) {
	setDefaults(out, object{"sourceAddressPrefixes": []any{}, "sourcePortRanges": []any{},
		"destinationAddressPrefixes": []any{}, "destinationPortRanges": []any{}})
}

func renderAddress(resources map[string]*stored, r *stored, out object) {
	setDefaults(out, object{"idleTimeoutInMinutes": 4, "ipTags": []any{}, "publicIPAddressVersion": "IPv4"})
	out["publicIPAllocationMethod"] = "Static"
	out["sku"] = map[string]any{"name": "Standard", "tier": "Regional"}
	out["ipAddress"] = r.Address
	if label := r.Spec.text("dnsSettings.domainNameLabel"); label != "" {
		settings := out.object("dnsSettings")
		settings["fqdn"] = fmt.Sprintf("%s.%s.cloudapp.azure.com", label, location(r.Spec.text("location")))
		out["dnsSettings"] = map[string]any(settings)
	}
	for _, nic := range ofKind(resources, networkInterface) {
		if key(publicAddressID(nic)) == key(r.ID) {
			out["ipConfiguration"] = reference(configurationID(nic, nic.Spec.objects("ipConfigurations")[0]))
		}
	}
}

func renderInterface(resources map[string]*stored, r *stored, out object) {
	setDefaults(out, object{
		"auxiliaryMode": "None", "auxiliarySku": "None", "disableTcpStateTracking": false, "enableAcceleratedNetworking": false,
		"enableIPForwarding": false, "hostedWorkloads": []any{}, "nicType": "Standard", "tapConfigurations": []any{},
		"vnetEncryptionSupported": false,
	})
	settings := out.object("dnsSettings")
	if settings == nil {
		settings = object{}
	}
	setDefaults(settings, object{"appliedDnsServers": []any{}, "dnsServers": []any{}})
	settings["internalDomainNameSuffix"] = strings.ReplaceAll(r.GUID, "-", "")[:26] + ".xx.internal.cloudapp.net"
	out["dnsSettings"] = map[string]any(settings)
	var configurations []any
	for _, configuration := range out.objects("ipConfigurations") {
		setDefaults(configuration, object{"privateIPAddressVersion": "IPv4", "privateIPAllocationMethod": "Dynamic", "primary": true})
		configuration["id"] = configurationID(r, configuration)
		configuration["etag"] = r.ETag
		configuration["privateIPAddress"] = r.Address
		configuration["provisioningState"] = r.ProvisioningState
		configuration["type"] = "Microsoft.Network/networkInterfaces/ipConfigurations"
		for _, name := range []string{"publicIPAddress", "subnet"} {
			if id := configuration.text(name + ".id"); id != "" {
				configuration[name] = reference(id)
			}
		}
		configurations = append(configurations, map[string]any(configuration))
	}
	out["ipConfigurations"] = configurations
	if id := out.text("networkSecurityGroup.id"); id != "" {
		out["networkSecurityGroup"] = reference(id)
	}
	if vm := machineOf(resources, r.ID); vm != nil {
		out["virtualMachine"] = reference(vm.ID)
		out["primary"] = true
		if r.MAC != "" {
			out["macAddress"] = r.MAC
		}
	}
}

func renderMachine(r *stored, out object) {
	out["vmId"] = r.VMID
	out["timeCreated"] = r.Created
	profile := out.object("osProfile")
	delete(profile, "adminPassword")
	delete(profile, "customData")
	linux := profile.object("linuxConfiguration")
	if linux == nil {
		linux = object{}
	}
	setDefaults(linux, object{
		"disablePasswordAuthentication": false, "provisionVMAgent": true,
		"patchSettings": map[string]any{"assessmentMode": "ImageDefault", "patchMode": "ImageDefault"},
	})
	setDefaults(profile, object{"allowExtensionOperations": true, "computerName": r.Name, "requireGuestProvisionSignal": true,
		"secrets": []any{}})
	profile["linuxConfiguration"] = map[string]any(linux)
	out["osProfile"] = map[string]any(profile)
	storage := out.object("storageProfile")
	setDefaults(storage, object{"dataDisks": []any{}})
	if image, ok := imageOf(r.Spec); ok {
		reference := storage.object("imageReference")
		reference["exactVersion"] = image.exact
		storage["imageReference"] = map[string]any(reference)
	}
	disk := storage.object("osDisk")
	if disk == nil {
		disk = object{}
	}
	setDefaults(disk, object{"caching": "ReadWrite", "createOption": "FromImage", "deleteOption": "Detach",
		"diskSizeGB": imageDiskGiB, "osType": "Linux"})
	disk["name"] = r.Disk
	managed := disk.object("managedDisk")
	if managed == nil {
		managed = object{}
	}
	setDefaults(managed, object{"storageAccountType": "Standard_LRS"})
	managed["id"] = diskID(r.ID, r.Disk)
	disk["managedDisk"] = map[string]any(managed)
	storage["osDisk"] = map[string]any(disk)
	out["storageProfile"] = map[string]any(storage)
}

func diskID(vmID, name string) string {
	return vmID[:strings.Index(vmID, "/providers/")] + "/providers/Microsoft.Compute/disks/" + name
}
