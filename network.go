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
}

// within makes a resource go with its group, in one step: so does what Pulumi does not know since a run was killed while
// Azure made it, which would stand in the way of every other order.
func (p *perimeter) within() pulumi.ResourceOption { return pulumi.DeletedWith(p.group) }

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
	return network.NewSecurityRule(ctx, logical, args, p.within())
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
	subnet, err := network.NewSubnet(ctx, "subnet", &network.SubnetArgs{
		ResourceGroupName:    p.group.Name,
		VirtualNetworkName:   vnet.Name,
		AddressPrefix:        pulumi.String(cfg.Subnet().String()),
		NetworkSecurityGroup: network.NetworkSecurityGroupTypeArgs{Id: p.nsg.ID()},
	}, p.within())
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
	n.address = n.publicIP.IpAddress.ApplyT(func(a *string) string {
		if a == nil {
			return ""
		}
		return *a
	}).(pulumi.StringOutput)
	refused, err := refusal(ctx, "nic-refused", leftBehind)
	if err != nil {
		return nil, err
	}
	n.nic, err = network.NewNetworkInterface(ctx, "nic", &network.NetworkInterfaceArgs{
		ResourceGroupName:    p.group.Name,
		Location:             pulumi.String(cfg.Location),
		NetworkSecurityGroup: network.NetworkSecurityGroupTypeArgs{Id: p.nsg.ID()},
		IpConfigurations: network.NetworkInterfaceIPConfigurationArray{network.NetworkInterfaceIPConfigurationArgs{
			Name:                      pulumi.String("primary"),
			Subnet:                    network.SubnetTypeArgs{Id: subnet.ID()},
			PrivateIPAllocationMethod: pulumi.String("Dynamic"),
			PublicIPAddress:           network.PublicIPAddressTypeArgs{Id: n.publicIP.ID()},
		}},
		Tags: p.tags,
	}, p.within(), refused)
	return n, err
}

func prefixStrings(prefixes []netip.Prefix) []string {
	var s []string
	for _, p := range prefixes {
		s = append(s, p.String())
	}
	return s
}

// wireguardSources is the stack's output of that name: whom the WireGuard rule admits.
func wireguardSources(cfg *Config) string {
	return strings.Join(prefixStrings(cfg.WireGuardSources), ",")
}
