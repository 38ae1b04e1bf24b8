package main

import (
	"net/netip"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/network/v2"
	"github.com/pulumi/pulumi-azure-native-sdk/resources/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// The names of the two rules in Azure.
const (
	wireguardRule = "WireGuard"
	bootstrapRule = "SSH-Bootstrap"
)

// perimeter is the outermost ring: the security group and the one rule that always stands.
type perimeter struct {
	tags      pulumi.StringMap
	group     *resources.ResourceGroup
	nsg       *network.NetworkSecurityGroup
	wireguard *network.SecurityRule
	known     map[string]bool // of Azure's resources, by their names here: those in the state, where this run may make one
}

// within makes a resource go with its group, in one step: so does what Pulumi does not know since a run was killed while
// Azure made it, which would stand in the way of every other order.
func (p *perimeter) within() pulumi.ResourceOption { return pulumi.DeletedWith(p.group) }

// named is within, of a resource with a name of ours, by which adopt finds it; one that a release of before gave another
// name keeps that. adopted may be nil.
func (p *perimeter) named(input string, adopted pulumi.ResourceOption) pulumi.ResourceOption {
	options := []pulumi.ResourceOption{p.within(), pulumi.IgnoreChanges([]string{input})}
	if adopted != nil {
		options = append(options, adopted)
	}
	return pulumi.Composite(options...)
}

// netResources are what the machine's network consists of. bootstrap is nil unless port 22 is to be open.
type netResources struct {
	*perimeter
	bootstrap *network.SecurityRule
	publicIP  *network.PublicIPAddress
	nic       *network.NetworkInterface
	address   pulumi.StringOutput // the public address
}

// rules are the security rules that are declared.
func (n *netResources) rules() []pulumi.Resource {
	rules := []pulumi.Resource{n.wireguard}
	if n.bootstrap != nil {
		rules = append(rules, n.bootstrap)
	}
	return rules
}

func newPerimeter(ctx *pulumi.Context, cfg *Config) (*perimeter, error) {
	p := &perimeter{tags: pulumi.StringMap{
		"project": pulumi.String(ctx.Project()),
		"stack":   pulumi.String(ctx.Stack()),
	}}
	var err error
	if cfg.Bootstrap {
		if p.known, err = inState(ctx); err != nil {
			return nil, err
		}
	}
	p.group, err = resources.NewResourceGroup(ctx, "openclaw", &resources.ResourceGroupArgs{
		Location: pulumi.String(cfg.Location),
		Tags:     p.tags,
	})
	if err != nil {
		return nil, err
	}
	p.nsg, err = network.NewNetworkSecurityGroup(ctx, "perimeter", &network.NetworkSecurityGroupArgs{
		ResourceGroupName: p.group.Name,
		Location:          pulumi.String(cfg.Location),
		Tags:              p.tags,
	}, p.within())
	if err != nil {
		return nil, err
	}
	p.wireguard, err = p.admit(ctx, "wireguard", wireguardRule, 1000, "Udp", cfg.WireGuardPort, cfg.WireGuardSources)
	return p, err
}

// admit declares a standalone inbound rule: an inline one could not go last, since the group would wait for the VM,
// which waits for the group.
func (p *perimeter) admit(ctx *pulumi.Context, logical, name string, priority int, protocol string, port uint16, sources []netip.Prefix) (*network.SecurityRule, error) {
	args := &network.SecurityRuleArgs{
		ResourceGroupName:        p.group.Name,
		NetworkSecurityGroupName: p.nsg.Name,
		SecurityRuleName:         pulumi.String(name),
		Priority:                 pulumi.Int(priority),
		Direction:                pulumi.String("Inbound"),
		Access:                   pulumi.String("Allow"),
		Protocol:                 pulumi.String(protocol),
		SourcePortRange:          pulumi.String("*"),
		DestinationAddressPrefix: pulumi.String("*"),
		DestinationPortRange:     pulumi.Sprintf("%d", port),
	}
	if len(sources) == 1 {
		args.SourceAddressPrefix = pulumi.String(sources[0].String())
	} else {
		args.SourceAddressPrefixes = pulumi.ToStringArray(prefixStrings(sources))
	}
	adopted, err := p.adopt(ctx, logical, "perimeter", p.nsg.Name, func(group, nsg string) (found, error) {
		rule, err := network.LookupSecurityRule(ctx, &network.LookupSecurityRuleArgs{ResourceGroupName: group, NetworkSecurityGroupName: nsg, SecurityRuleName: name})
		if err != nil {
			return found{}, err
		}
		return found{deref(rule.Id), rule.ProvisioningState}, nil
	})
	if err != nil {
		return nil, err
	}
	return network.NewSecurityRule(ctx, logical, args, p.named("securityRuleName", adopted))
}

func newNetwork(ctx *pulumi.Context, cfg *Config, p *perimeter) (*netResources, error) {
	n := &netResources{perimeter: p}
	var err error
	if cfg.Bootstrap {
		n.bootstrap, err = p.admit(ctx, "ssh-bootstrap", bootstrapRule, 1001, "Tcp", bootstrapPort, cfg.AllowedSSH)
		if err != nil {
			return nil, err
		}
	}
	vnet, err := network.NewVirtualNetwork(ctx, "vnet", &network.VirtualNetworkArgs{
		ResourceGroupName: p.group.Name,
		Location:          pulumi.String(cfg.Location),
		AddressSpace:      network.AddressSpaceArgs{AddressPrefixes: pulumi.StringArray{pulumi.String(cfg.VNet.String())}},
		Tags:              p.tags,
	}, p.within())
	if err != nil {
		return nil, err
	}
	adopted, err := p.adopt(ctx, "subnet", "vnet", vnet.Name, func(group, vnet string) (found, error) {
		subnet, err := network.LookupSubnet(ctx, &network.LookupSubnetArgs{ResourceGroupName: group, VirtualNetworkName: vnet, SubnetName: "subnet"})
		if err != nil {
			return found{}, err
		}
		return found{deref(subnet.Id), subnet.ProvisioningState}, nil
	})
	if err != nil {
		return nil, err
	}
	subnet, err := network.NewSubnet(ctx, "subnet", &network.SubnetArgs{
		ResourceGroupName:    p.group.Name,
		VirtualNetworkName:   vnet.Name,
		SubnetName:           pulumi.String("subnet"),
		AddressPrefix:        pulumi.String(cfg.Subnet().String()),
		NetworkSecurityGroup: network.NetworkSecurityGroupTypeArgs{Id: p.nsg.ID()},
	}, p.named("subnetName", adopted))
	if err != nil {
		return nil, err
	}
	n.publicIP, err = network.NewPublicIPAddress(ctx, "public-ip", &network.PublicIPAddressArgs{
		ResourceGroupName:        p.group.Name,
		Location:                 pulumi.String(cfg.Location),
		PublicIPAllocationMethod: pulumi.String("Static"),
		PublicIPAddressVersion:   pulumi.String("IPv4"),
		Sku:                      network.PublicIPAddressSkuArgs{Name: pulumi.String("Standard")},
		Tags:                     p.tags,
	}, p.within())
	if err != nil {
		return nil, err
	}
	n.address = n.publicIP.IpAddress.ApplyT(deref).(pulumi.StringOutput)
	adopted, err = p.adopt(ctx, "nic", "openclaw", p.group.Name, func(group, _ string) (found, error) {
		nic, err := network.LookupNetworkInterface(ctx, &network.LookupNetworkInterfaceArgs{ResourceGroupName: group, NetworkInterfaceName: "nic"})
		if err != nil {
			return found{}, err
		}
		return found{deref(nic.Id), nic.ProvisioningState}, nil
	})
	if err != nil {
		return nil, err
	}
	n.nic, err = network.NewNetworkInterface(ctx, "nic", &network.NetworkInterfaceArgs{
		ResourceGroupName:    p.group.Name,
		NetworkInterfaceName: pulumi.String("nic"),
		Location:             pulumi.String(cfg.Location),
		NetworkSecurityGroup: network.NetworkSecurityGroupTypeArgs{Id: p.nsg.ID()},
		IpConfigurations: network.NetworkInterfaceIPConfigurationArray{network.NetworkInterfaceIPConfigurationArgs{
			Name:                      pulumi.String("primary"),
			Subnet:                    network.SubnetTypeArgs{Id: subnet.ID()},
			PrivateIPAllocationMethod: pulumi.String("Dynamic"),
			PublicIPAddress:           network.PublicIPAddressTypeArgs{Id: n.publicIP.ID()},
		}},
		Tags: p.tags,
	}, p.named("networkInterfaceName", adopted))
	return n, err
}

// wireguardSources is the stack's output of that name: whom the WireGuard rule admits.
func wireguardSources(cfg *Config) string {
	return strings.Join(prefixStrings(cfg.WireGuardSources), ",")
}
