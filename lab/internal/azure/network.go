package azure

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"openclaw-azure/lab/internal/fabric"
)

// imageDiskGiB is the size of the known images' disks.
const imageDiskGiB = 30

// check refuses what Azure refuses of a resource that it makes at once, and gives it what Azure gives it.
func (c *change) check(k *kind, r, old *stored) error {
	switch k {
	case securityRule:
		return c.checkRule(r)
	case virtualNetwork:
		return c.checkNetwork(r, old)
	case subnet:
		return c.checkSubnet(r, old)
	case publicIPAddress:
		return c.checkAddress(r, old)
	case networkInterface:
		return c.checkInterface(r, old)
	case actionGroup:
		return checkActions(r)
	case metricAlert:
		return c.checkAlert(r)
	}
	return nil
}

// checkRule. No public source quotes the texts for a wrong priority, direction, access, protocol and for parameters
// that are not there.
func (c *change) checkRule(r *stored) error {
	spec := r.Spec
	if priority, ok := spec.number("priority"); !ok || priority < 100 || priority > 4096 {
		return badRequest("SecurityRuleInvalidPriority",
			"Security rule %s has invalid Priority. Value provided: %v. Allowed range 100-4096.", r.Name, spec["priority"])
	}
	for _, limited := range []struct {
		name, code string
		values     []string
	}{
		{"direction", "SecurityRuleInvalidDirection", []string{"Inbound", "Outbound"}},
		{"access", "SecurityRuleInvalidAccess", []string{"Allow", "Deny"}},
		{"protocol", "SecurityRuleInvalidProtocol", []string{"Tcp", "Udp", "Icmp", "Esp", "Ah", "*"}},
	} {
		value, ok := canonical(spec.text(limited.name), limited.values)
		if !ok {
			return badRequest(limited.code, "Security rule has invalid %s. Value provided: %s. Allowed values: %s.",
				strings.ToUpper(limited.name[:1])+limited.name[1:], spec.text(limited.name), strings.Join(limited.values, ","))
		}
		spec[limited.name] = value
	}
	for _, side := range []string{"source", "destination"} {
		prefixes := addressesOf(spec, side)
		ports := portsOf(spec, side)
		if len(spec.texts(side+"ApplicationSecurityGroups")) > 0 || len(spec.objects(side+"ApplicationSecurityGroups")) > 0 {
			return labCannot("has no application security groups: rule %q", r.Name)
		}
		if len(prefixes) == 0 || len(ports) == 0 {
			return badRequest("SecurityRuleParametersMissing",
				"Required security rule parameters are missing for security rule with Id: %s. Security rule must specify %sAddressPrefix or %[2]sAddressPrefixes, and %[2]sPortRange or %[2]sPortRanges.",
				r.ID, side)
		}
		for _, prefix := range prefixes {
			if err := checkRulePrefix(r, prefix); err != nil {
				return err
			}
		}
		for _, ports := range ports {
			if _, ok := parsePorts(ports); !ok {
				return badRequest("SecurityRuleInvalidPortRange",
					"Security rule has invalid Port range. Value provided: %s. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535.",
					ports)
			}
		}
	}
	group := r.ID[:strings.LastIndex(r.ID, "/securityRules/")]
	for _, other := range under(c.resources, group) {
		if other.Kind != securityRule.token || key(other.ID) == key(r.ID) {
			continue
		}
		if same(other.Spec["priority"], spec["priority"]) && other.Spec.text("direction") == spec.text("direction") {
			return badRequest("SecurityRuleConflict",
				"Security rule %s conflicts with rule %s. Rules cannot have the same Priority and Direction.", r.Name, other.Name)
		}
	}
	return nil
}

func canonical(value string, values []string) (string, bool) {
	for _, known := range values {
		if strings.EqualFold(value, known) {
			return known, true
		}
	}
	return "", false
}

func addressesOf(spec object, side string) []string {
	return oneOrMore(spec, side+"AddressPrefix", side+"AddressPrefixes")
}

func portsOf(spec object, side string) []string {
	return oneOrMore(spec, side+"PortRange", side+"PortRanges")
}

func oneOrMore(spec object, one, more string) []string {
	found := spec.texts(more)
	if value := spec.text(one); value != "" {
		found = append([]string{value}, found...)
	}
	return found
}

var serviceTag = regexp.MustCompile(`^[A-Z][A-Za-z0-9]+(\.[A-Za-z0-9]+)?$`)

func checkRulePrefix(r *stored, prefix string) error {
	switch prefix {
	case "*", "Internet", "VirtualNetwork", "AzureLoadBalancer":
		return nil
	}
	if serviceTag.MatchString(prefix) {
		return labCannot("knows the service tags Internet, VirtualNetwork and AzureLoadBalancer, not %q: rule %q", prefix, r.Name)
	}
	if _, ok := parseAddresses(prefix); !ok {
		return badRequest("SecurityRuleInvalidAddressPrefix",
			"Security rule %s has invalid Address prefix. Value provided: %s", r.ID, prefix)
	}
	return nil
}

// parseAddresses reads an address or a prefix, which may have no bits beyond its length.
func parseAddresses(text string) (netip.Prefix, bool) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address, address.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix, err == nil && prefix.Masked() == prefix
}

// ports is a range of ports, both ends in it.
type ports struct{ from, to int }

func parsePorts(text string) (ports, bool) {
	if text == "*" {
		return ports{0, 65535}, true
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return ports{}, false
	}
	b, err := strconv.ParseUint(to, 10, 16)
	return ports{int(a), int(b)}, err == nil && a <= b
}

// checkPrefix is for the prefixes of networks and subnets.
func checkPrefix(id, text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, badRequest("InvalidAddressPrefixFormat",
			"Address prefix %s of resource %s is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.",
			text, id)
	}
	if prefix.Masked() != prefix {
		return prefix, badRequest("InvalidCIDRNotation",
			"The address prefix %s in resource %s has an invalid CIDR notation. For the given prefix length, the address prefix should be %s.",
			text, id, prefix.Masked())
	}
	if !prefix.Addr().Is4() {
		return prefix, labCannot("has no IPv6: address prefix %q", text)
	}
	return prefix, nil
}

func prefixesOf(spec object) []netip.Prefix {
	var found []netip.Prefix
	for _, text := range spec.texts("addressSpace.addressPrefixes") {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			found = append(found, prefix)
		}
	}
	return found
}

func subnetPrefixes(spec object) []string { return oneOrMore(spec, "addressPrefix", "addressPrefixes") }

func (c *change) checkNetwork(r, old *stored) error {
	texts := r.Spec.texts("addressSpace.addressPrefixes")
	if len(texts) == 0 {
		return badRequest("InvalidRequestFormat", "Cannot parse the request.")
	}
	var space []netip.Prefix
	for _, text := range texts {
		prefix, err := checkPrefix(r.ID, text)
		if err != nil {
			return err
		}
		space = append(space, prefix)
	}
	if old == nil {
		return nil
	}
	for _, s := range under(c.resources, r.ID) {
		for _, text := range subnetPrefixes(s.Spec) {
			if prefix, err := netip.ParsePrefix(text); err == nil && !inSpace(prefix, space) {
				return badRequest("NetcfgInvalidSubnet", "Subnet '%s' is not valid in virtual network '%s'.", s.Name, r.Name)
			}
		}
	}
	return nil
}

func inSpace(prefix netip.Prefix, space []netip.Prefix) bool {
	for _, whole := range space {
		if whole.Bits() <= prefix.Bits() && whole.Contains(prefix.Addr()) {
			return true
		}
	}
	return false
}

func (c *change) checkSubnet(r, old *stored) error {
	id := r.ID[:strings.LastIndex(r.ID, "/subnets/")]
	network := c.get(id)
	texts := subnetPrefixes(r.Spec)
	if len(texts) == 0 {
		return badRequest("InvalidRequestFormat", "Cannot parse the request.")
	}
	for _, text := range texts {
		prefix, err := checkPrefix(r.ID, text)
		if err != nil {
			return err
		}
		// Azure keeps five addresses of each subnet for itself: nothing smaller than /29 has any left.
		if prefix.Bits() > 29 || !inSpace(prefix, prefixesOf(network.Spec)) {
			return badRequest("NetcfgInvalidSubnet", "Subnet '%s' is not valid in virtual network '%s'.", r.Name, network.Name)
		}
		for _, other := range under(c.resources, id) {
			if key(other.ID) == key(r.ID) {
				continue
			}
			for _, text := range subnetPrefixes(other.Spec) {
				if taken, err := netip.ParsePrefix(text); err == nil && taken.Overlaps(prefix) {
					return badRequest("NetcfgSubnetRangesOverlap",
						"Subnet '%s' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '%s'.",
						r.Name, network.Name)
				}
			}
		}
	}
	if old != nil && !same(texts, subnetPrefixes(old.Spec)) {
		if used := c.usesSubnet(r.ID); len(used) > 0 {
			return badRequest("InUsePrefixCannotBeDeleted",
				"IpPrefix %s on Subnet %s has active allocations and cannot be deleted.",
				strings.Join(subnetPrefixes(old.Spec), ","), r.Name)
		}
	}
	return c.checkReference(r, networkSecurityGroup, r.Spec.text("networkSecurityGroup.id"))
}

// checkReference refuses a resource that names another one which is not there.
func (c *change) checkReference(r *stored, k *kind, id string) error {
	if id == "" {
		return nil
	}
	if target := c.get(id); target != nil && target.Kind == k.token {
		return nil
	}
	return badRequest("InvalidResourceReference",
		"Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.",
		id, r.ID)
}

func (c *change) checkAddress(r, old *stored) error {
	if version := r.Spec.text("publicIPAddressVersion"); version != "" && !strings.EqualFold(version, "IPv4") {
		return labCannot("has no IPv6: public address %q", r.Name)
	}
	sku, ok := canonical(r.Spec.text("sku.name"), []string{"Basic", "Standard"})
	if !ok && r.Spec.has("sku.name") {
		return labCannot("has public addresses of the SKU Standard, not %q", r.Spec.text("sku.name"))
	}
	if sku != "Standard" {
		return badRequest("IPv4BasicSkuPublicIpCountLimitReached",
			"Cannot create more than 0 IPv4 Basic SKU public IP addresses for this subscription in this region.")
	}
	if !strings.EqualFold(r.Spec.text("publicIPAllocationMethod"), "Static") {
		return badRequest("StandardSkuPublicIPAddressesMustBeStatic",
			"Standard sku publicIp %s must have AllocationMethod set to Static.", r.ID)
	}
	if old != nil {
		return nil
	}
	address, err := c.p.fabric.AllocatePublicAddress(c.ctx)
	if err != nil {
		return fmt.Errorf("allocate a public address: %w", err)
	}
	c.undo = append(c.undo, func() error { return c.p.fabric.ReleasePublicAddress(c.p.ctx, address) })
	r.Address = address.String()
	return nil
}

func (c *change) checkInterface(r, old *stored) error {
	configurations := r.Spec.objects("ipConfigurations")
	if len(configurations) == 0 {
		return badRequest("NetworkInterfaceMustHaveAtLeastOneIpConfiguration",
			"Network interface %s must have at least one IP configuration.", r.ID)
	}
	if len(configurations) > 1 {
		return labCannot("gives an interface one IP configuration, not %d: %q", len(configurations), r.Name)
	}
	if err := c.checkReference(r, networkSecurityGroup, r.Spec.text("networkSecurityGroup.id")); err != nil {
		return err
	}
	configuration := configurations[0]
	subnetID := configuration.text("subnet.id")
	if subnetID == "" {
		return badRequest("SubnetIdNotProvided", "Subnet Id must be provided for IP configuration %s.", configurationID(r, configuration))
	}
	if err := c.checkReference(r, subnet, subnetID); err != nil {
		return err
	}
	addressID := configuration.text("publicIPAddress.id")
	if err := c.checkReference(r, publicIPAddress, addressID); err != nil {
		return err
	}
	if addressID != "" {
		for _, other := range ofKind(c.resources, networkInterface) {
			if key(other.ID) == key(r.ID) || key(publicAddressID(other)) != key(addressID) {
				continue
			}
			return badRequest("PublicIPAddressInUse",
				"Resource %s is referencing public IP address %s that is already allocated to resource %s.",
				configurationID(r, configuration), addressID, configurationID(other, other.Spec.objects("ipConfigurations")[0]))
		}
	}
	if old != nil && c.machineOf(r.ID) != nil {
		before := old.Spec.objects("ipConfigurations")[0]
		wanted := configuration.text("privateIPAddress")
		if key(before.text("subnet.id")) != key(subnetID) || key(publicAddressID(old)) != key(addressID) ||
			wanted != "" && wanted != old.Address {
			return labCannot("cannot change the addresses of an interface whose machine is there: %q", r.Name)
		}
	}
	return c.givePrivateAddress(r, old, configuration, c.get(subnetID))
}

// givePrivateAddress keeps the address that the interface has, takes the one that it asks for, or the lowest free one:
// x.x.x.4 in a new subnet. The first four and the last one are Azure's own.
func (c *change) givePrivateAddress(r, old *stored, configuration object, s *stored) error {
	prefix, err := netip.ParsePrefix(subnetPrefixes(s.Spec)[0])
	if err != nil {
		return err
	}
	taken := map[netip.Addr]string{}
	for _, other := range ofKind(c.resources, networkInterface) {
		if key(other.ID) != key(r.ID) && key(subnetID(other)) == key(s.ID) {
			if address, err := netip.ParseAddr(other.Address); err == nil {
				taken[address] = other.ID
			}
		}
	}
	wanted := ""
	if strings.EqualFold(configuration.text("privateIPAllocationMethod"), "Static") {
		wanted = configuration.text("privateIPAddress")
	} else if old != nil && key(subnetID(old)) == key(s.ID) {
		wanted = old.Address
	}
	first := binary.BigEndian.Uint32(prefix.Addr().AsSlice())
	last := first + 1<<(32-prefix.Bits()) - 1
	if wanted != "" {
		address, err := netip.ParseAddr(wanted)
		if err != nil || !prefix.Contains(address) {
			return badRequest("PrivateIPAddressNotInSubnet", "Private static IP address %s does not belong to the range of subnet prefix %s.",
				wanted, prefix)
		}
		number := binary.BigEndian.Uint32(address.AsSlice())
		if number < first+4 || number == last {
			return badRequest("PrivateIPAddressInReservedRange",
				"Private static IP address %s falls within reserved IP range of subnet prefix %s.", wanted, prefix)
		}
		if owner, used := taken[address]; used {
			return badRequest("PrivateIPAddressIsAllocated", "IP configuration %s is using the private IP address %s which is already allocated to resource %s.",
				configurationID(r, configuration), wanted, owner)
		}
		r.Address = wanted
		return nil
	}
	for number := first + 4; number < last; number++ {
		address := netip.AddrFrom4([4]byte{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)})
		if _, used := taken[address]; !used {
			r.Address = address.String()
			return nil
		}
	}
	return badRequest("SubnetIsFull", "Subnet %s with address prefix %s does not have enough capacity for 1 IP addresses.", s.Name, prefix)
}

func subnetID(nic *stored) string {
	if configurations := nic.Spec.objects("ipConfigurations"); len(configurations) > 0 {
		return configurations[0].text("subnet.id")
	}
	return ""
}

func publicAddressID(nic *stored) string {
	if configurations := nic.Spec.objects("ipConfigurations"); len(configurations) > 0 {
		return configurations[0].text("publicIPAddress.id")
	}
	return ""
}

func configurationID(nic *stored, configuration object) string {
	return nic.ID + "/ipConfigurations/" + configuration.text("name")
}

func (c *change) usesSubnet(id string) []*stored {
	var found []*stored
	for _, nic := range ofKind(c.resources, networkInterface) {
		if key(subnetID(nic)) == key(id) {
			found = append(found, nic)
		}
	}
	return found
}

func (c *change) machineOf(nicID string) *stored { return machineOf(c.resources, nicID) }

func machineOf(resources map[string]*stored, nicID string) *stored {
	for _, vm := range ofKind(resources, virtualMachine) {
		for _, nic := range vm.Spec.objects("networkProfile.networkInterfaces") {
			if key(nic.text("id")) == key(nicID) {
				return vm
			}
		}
	}
	return nil
}

// checkDelete refuses to delete what something uses.
func (c *change) checkDelete(k *kind, r *stored) error {
	switch k {
	case subnet:
		return c.subnetInUse(r)
	case virtualNetwork:
		for _, s := range under(c.resources, r.ID) {
			if err := c.subnetInUse(s); err != nil {
				return err
			}
		}
	case networkSecurityGroup:
		var users []string
		for _, other := range inOrder(append(ofKind(c.resources, networkInterface), ofKind(c.resources, subnet)...)) {
			if key(other.Spec.text("networkSecurityGroup.id")) == key(r.ID) {
				users = append(users, other.ID)
			}
		}
		if len(users) > 0 {
			return badRequest("InUseNetworkSecurityGroupCannotBeDeleted",
				"Network security group %s cannot be deleted because it is in use by the following resources: %s. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg.",
				r.ID, strings.Join(users, ", "))
		}
	case publicIPAddress:
		for _, nic := range ofKind(c.resources, networkInterface) {
			if key(publicAddressID(nic)) == key(r.ID) {
				return badRequest("PublicIPAddressCannotBeDeleted",
					"Public IP address %s can not be deleted since it is still allocated to resource %s. In order to delete the public IP, disassociate/detach the Public IP address from the resource. To learn how to do this, see aka.ms/deletepublicip.",
					r.ID, configurationID(nic, nic.Spec.objects("ipConfigurations")[0]))
			}
		}
		if address, err := netip.ParseAddr(r.Address); err == nil {
			c.done = append(c.done, func() error { return c.p.fabric.ReleasePublicAddress(c.p.ctx, address) })
		}
	case networkInterface:
		if vm := c.machineOf(r.ID); vm != nil {
			return badRequest("NicInUse",
				"Network Interface %s is used by existing resource %s. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.",
				r.ID, vm.ID)
		}
	}
	return nil
}

func (c *change) subnetInUse(s *stored) error {
	if users := c.usesSubnet(s.ID); len(users) > 0 {
		return badRequest("InUseSubnetCannotBeDeleted",
			"Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.",
			s.Name, configurationID(users[0], users[0].Spec.objects("ipConfigurations")[0]))
	}
	return nil
}

// defaultRules are in every security group, and alone in force where there is none: a Standard address admits nothing
// by itself.
var defaultRules = []fabric.Rule{
	{Name: "AllowVnetInBound", Priority: 65000, Inbound: true, Allow: true, Protocol: "*", SourcePrefixes: []string{"VirtualNetwork"},
		SourcePorts: []string{"*"}, DestinationPrefixes: []string{"VirtualNetwork"}, DestinationPorts: []string{"*"}},
	{Name: "AllowAzureLoadBalancerInBound", Priority: 65001, Inbound: true, Allow: true, Protocol: "*", SourcePrefixes: []string{"AzureLoadBalancer"},
		SourcePorts: []string{"*"}, DestinationPrefixes: []string{"*"}, DestinationPorts: []string{"*"}},
	{Name: "DenyAllInBound", Priority: 65500, Inbound: true, Protocol: "*", SourcePrefixes: []string{"*"},
		SourcePorts: []string{"*"}, DestinationPrefixes: []string{"*"}, DestinationPorts: []string{"*"}},
	{Name: "AllowVnetOutBound", Priority: 65000, Allow: true, Protocol: "*", SourcePrefixes: []string{"VirtualNetwork"},
		SourcePorts: []string{"*"}, DestinationPrefixes: []string{"VirtualNetwork"}, DestinationPorts: []string{"*"}},
	{Name: "AllowInternetOutBound", Priority: 65001, Allow: true, Protocol: "*", SourcePrefixes: []string{"*"},
		SourcePorts: []string{"*"}, DestinationPrefixes: []string{"Internet"}, DestinationPorts: []string{"*"}},
	{Name: "DenyAllOutBound", Priority: 65500, Protocol: "*", SourcePrefixes: []string{"*"},
		SourcePorts: []string{"*"}, DestinationPrefixes: []string{"*"}, DestinationPorts: []string{"*"}},
}
