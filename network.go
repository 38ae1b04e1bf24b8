package main

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/pulumi/pulumi-azure-native-sdk/network/v2"
	"github.com/pulumi/pulumi-azure-native-sdk/resources/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/azure"
	"openclaw-azure/internal/config"
	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/prefix"
	"openclaw-azure/internal/shell"
)

// The two rules: their names in Azure, and their priorities.
const (
	wireguardRule     = "WireGuard"
	wireguardPriority = 1000
	bootstrapRule     = "SSH-Bootstrap"
	bootstrapPriority = 1001
)

// A write that Azure refuses since it is at work on another, or gives up, is made again.
const (
	mostRetries = 2
	retryPause  = 10 * time.Second
)

// triedAgain tells whether an operation that failed is.
func triedAgain(args *pulumi.ErrorHookArgs) bool {
	return azure.Passes(args.Errors[0], string(args.Type), args.FailedOperation) && len(args.Errors) <= mostRetries
}

// perimeter is the outermost ring: the security group and the one rule that is always there.
type perimeter struct {
	cfg       *config.Config
	tagged    map[string]string
	tags      pulumi.StringMap         // the same
	group     *resources.ResourceGroup // nil where it is none of the program's own
	groupName pulumi.StringOutput
	groupID   pulumi.IDOutput
	nsg       *network.NetworkSecurityGroup
	wireguard *network.SecurityRule
	adopter   azure.Adopter
	words     pulumi.ResourceOption // what an error of Azure's means
}

// within deletes a resource together with its group. Resources that Pulumi never recorded, since the run was killed while
// Azure created them, go too; deleted one by one, they would block the rest. In a group that stays it goes with what it stands in, if
// parent is not nil. imported, if not nil, is azure.Adopter's.
func (p *perimeter) within(parent pulumi.Resource, imported ...pulumi.ResourceOption) pulumi.ResourceOption {
	options := []pulumi.ResourceOption{p.words}
	if p.group != nil {
		parent = p.group
	}
	if parent != nil {
		options = append(options, pulumi.DeletedWith(parent))
	}
	for _, option := range imported {
		if option != nil {
			options = append(options, option)
		}
	}
	return pulumi.Composite(options...)
}

// tagsOf are the tags of every resource.
func tagsOf(ctx *pulumi.Context, cfg *config.Config) map[string]string {
	tags := map[string]string{"project": ctx.Project(), "stack": ctx.Stack()}
	maps.Copy(tags, cfg.Tags)
	return tags
}

// newPerimeter declares it. known, if not nil, is what the stack's state holds: what is not in it and in Azure is adopted.
func newPerimeter(ctx *pulumi.Context, cfg *config.Config, asked azure.Asked, known azure.Known) (*perimeter, error) {
	refused, err := ctx.RegisterErrorHook("azure-refused", func(args *pulumi.ErrorHookArgs) (bool, error) {
		if triedAgain(args) {
			engine.Say(ctx, fmt.Sprintf("%q: Azure is at work on something that it concerns: trying again in %v", args.Name, retryPause))
			select {
			case <-ctx.Context().Done():
				return false, ctx.Context().Err()
			case <-time.After(retryPause):
			}
			return true, nil
		}
		inputs := args.NewInputs
		if inputs == nil { // of a deletion
			inputs = args.OldInputs
		}
		text := func(key resource.PropertyKey, otherwise string) string {
			if value := inputs[key]; value.IsString() {
				return value.StringValue()
			}
			return otherwise
		}
		of := asked
		if args.Name != "vm" {
			of.Size = ""
		}
		// An error of the hook's own would be lost where the resource was made. What is on the machine fails with it.
		if words := azure.Refused(args.Errors[0], text("resourceGroupName", "GROUP"), text("vmName", args.Name), of); words != "" {
			_ = ctx.Log.Error(words, nil)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	p := &perimeter{cfg: cfg, tagged: asked.Tags, tags: pulumi.ToStringMap(asked.Tags), adopter: azure.Adopter{Known: known},
		words: pulumi.ResourceHooks(&pulumi.ResourceHookBinding{OnError: []*pulumi.ErrorHook{refused}})}
	if err := p.findGroup(ctx); err != nil {
		return nil, err
	}
	p.adopter.Group = p.groupName
	imported, err := p.adoptNamed(ctx, "perimeter", "Microsoft.Network/networkSecurityGroups", func(group, name string) (found, error) {
		nsg, err := network.LookupNetworkSecurityGroup(ctx, &network.LookupNetworkSecurityGroupArgs{ResourceGroupName: group, NetworkSecurityGroupName: name})
		if err != nil {
			return found{}, err
		}
		return found{nsg.ProvisioningState, nsg.Tags}, nil
	})
	if err != nil {
		return nil, err
	}
	p.nsg, err = network.NewNetworkSecurityGroup(ctx, "perimeter", &network.NetworkSecurityGroupArgs{
		ResourceGroupName:        p.groupName,
		NetworkSecurityGroupName: p.automatic("perimeter"),
		Location:                 pulumi.String(cfg.Location),
		Tags:                     p.tags,
	}, p.within(nil, imported))
	if err != nil {
		return nil, err
	}
	p.wireguard, err = p.admit(ctx, "wireguard", wireguardRule, wireguardPriority, "Udp", cfg.WireGuardPort, cfg.WireGuardSources)
	return p, err
}

// findGroup declares the resource group, or finds the one that is configured.
func (p *perimeter) findGroup(ctx *pulumi.Context) (err error) {
	if p.cfg.ResourceGroup == "" {
		p.group, err = resources.NewResourceGroup(ctx, "openclaw", &resources.ResourceGroupArgs{
			Location: pulumi.String(p.cfg.Location),
			Tags:     p.tags,
		}, p.words)
		if err == nil {
			p.groupName, p.groupID = p.group.Name, p.group.ID()
		}
		return err
	}
	there, err := resources.LookupResourceGroup(ctx, &resources.LookupResourceGroupArgs{ResourceGroupName: p.cfg.ResourceGroup})
	if azure.NotThere(err) {
		name := shell.Quote(p.cfg.ResourceGroup)
		return hint.To(fmt.Errorf("%s: value %q: there is no such resource group in this subscription", config.KeyResourceGroup, p.cfg.ResourceGroup),
			"az group list --output table    # names all", fmt.Sprintf("az group create --name %s --location %s", name, p.cfg.Location),
			"pulumi config rm resourceGroup    # the program makes one of its own")
	}
	if err != nil {
		return fmt.Errorf("look for the resource group %q: %w", p.cfg.ResourceGroup, foreign.Err(err))
	}
	// As it is configured, whatever case Azure has it in: another one would be another resource for Pulumi.
	id := there.Id[:strings.LastIndex(there.Id, "/")+1] + p.cfg.ResourceGroup
	p.groupName, p.groupID = pulumi.String(p.cfg.ResourceGroup).ToStringOutput(), pulumi.ID(id).ToIDOutput()
	return nil
}

// named is a resource's name in Azure. In a group that others use too it has the stack's, so that the next run finds again what a
// killed one left.
func (p *perimeter) named(name string) string {
	if p.group != nil {
		return name
	}
	return "openclaw-" + p.tagged["stack"] + "-" + name
}

// automatic is the name of a resource that Pulumi may name in a group of the program's own.
func (p *perimeter) automatic(name string) pulumi.StringPtrInput {
	if p.group != nil {
		return nil
	}
	return pulumi.String(p.named(name))
}

// found is a resource that Azure has.
type found struct {
	state string // of its provisioning
	tags  map[string]string
}

// adoptNamed adopts a resource of the group by its name, which only in a group that others use too is known for all of them.
func (p *perimeter) adoptNamed(ctx *pulumi.Context, name, kind string, look func(group, name string) (found, error)) (pulumi.ResourceOption, error) {
	parent := azure.Parent{Known: "openclaw", Name: p.groupName, ID: p.groupID}
	if p.group == nil {
		parent.Known = ""
	}
	return p.adopter.Adopt(ctx, name, parent, "/providers/"+kind+"/"+p.named(name), func(group, _ string) (string, error) {
		there, err := look(group, p.named(name))
		if err == nil && (there.tags["project"] != p.tagged["project"] || there.tags["stack"] != p.tagged["stack"]) {
			err = hint.To(fmt.Errorf("%s %q in resource group %q is none of this stack's: it lacks its tags", kind[strings.LastIndex(kind, "/")+1:], p.named(name), group),
				"another name for the stack, or another resource group")
		}
		return there.state, err
	})
}

// admit declares a standalone inbound rule: an inline one could not go last, since the group would wait for the VM,
// which waits for the group.
//
// A security group takes one write at a time: what concerns it follows what is given in after.
func (p *perimeter) admit(ctx *pulumi.Context, logical, name string, priority int, protocol string, port uint16, sources []netip.Prefix, after ...pulumi.Resource) (*network.SecurityRule, error) {
	args := &network.SecurityRuleArgs{
		ResourceGroupName:        p.groupName,
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
		args.SourceAddressPrefixes = pulumi.ToStringArray(prefix.Strings(sources))
	}
	parent := azure.Parent{Known: "perimeter", Name: p.nsg.Name, ID: p.nsg.ID()}
	imported, err := p.adopter.Adopt(ctx, logical, parent, "/securityRules/"+name, func(group, nsg string) (string, error) {
		rule, err := network.LookupSecurityRule(ctx, &network.LookupSecurityRuleArgs{ResourceGroupName: group, NetworkSecurityGroupName: nsg, SecurityRuleName: name})
		if err != nil {
			return "", err
		}
		return rule.ProvisioningState, nil
	})
	if err != nil {
		return nil, err
	}
	return network.NewSecurityRule(ctx, logical, args, p.within(p.nsg, imported), pulumi.DependsOn(after))
}

// found are the inbound rules of the security group, and its name and its group's; none in a first preview.
func (p *perimeter) found(ctx *pulumi.Context) (rules []azure.Rule, group, nsg string, err error) {
	if group, err = engine.Text(ctx, p.groupName); err != nil {
		return nil, "", "", err
	}
	if nsg, err = engine.Text(ctx, p.nsg.Name); err != nil || group == "" || nsg == "" {
		return nil, "", "", err
	}
	rules, err = azure.InboundRules(ctx, group, nsg)
	return rules, group, nsg, err
}

// stops tells which door a rule of somebody's keeps shut; empty if none.
func (p *perimeter) stops(rule azure.Rule) string {
	switch {
	case rule.Stops(wireguardPriority, "Udp", p.cfg.WireGuardPort, p.cfg.WireGuardSources):
		return "WireGuard"
	case p.cfg.Bootstrap && rule.Stops(bootstrapPriority, "Tcp", machine.BootstrapPort, p.cfg.AllowedSSH):
		return "port 22"
	}
	return ""
}

// inTheWay tells of rules that keep WireGuard shut, for the message about its silence.
func (p *perimeter) inTheWay(ctx *pulumi.Context) (texts []string) {
	found, _, nsg, err := p.found(ctx)
	if err != nil {
		return []string{fmt.Sprintf("the rules of the security group could not be read: %v", err)}
	}
	for _, rule := range found {
		if p.stops(rule) != "" {
			texts = append(texts, fmt.Sprintf("security group %q has a rule before ours that keeps it shut: %q: %s", nsg, rule.Name, rule.Text))
		}
	}
	return texts
}

// foreignRules finds inbound rules of the security group that the program does not declare: a preview names them, `up`
// fails before it changes anything further. One that denies is a note, unless it keeps a door shut: Azure Policy and the like
// put some into every group.
func (p *perimeter) foreignRules(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run) error {
	found, group, nsg, err := p.found(ctx)
	if err != nil {
		return err
	}
	var rules, commands []string
	for _, rule := range found {
		switch shut := p.stops(rule); {
		case rule.Name.String() == wireguardRule:
		case shut != "":
			rules = append(rules, fmt.Sprintf("  %q: %s: it comes before the program's own and keeps %s shut", rule.Name, rule.Text, shut))
			commands = append(commands, azure.RemoveRule(group, nsg, rule.Name))
		case rule.Denies:
			engine.Say(ctx, fmt.Sprintf("security group %q has an inbound rule that nobody declared, and that keeps no door shut: %q: %s", nsg, rule.Name, rule.Text))
		case rule.Name.String() != bootstrapRule:
			rules = append(rules, fmt.Sprintf("  %q: %s", rule.Name, rule.Text))
			commands = append(commands, azure.RemoveRule(group, nsg, rule.Name))
		case !cfg.Bootstrap && last != nil && !last.Bootstrap:
			// A reopening that failed half way leaves it too, and then this run deletes it.
			engine.Warn(ctx, hint.Text(fmt.Sprintf("port 22 was closed, and security group %q has rule %q: where this run does not delete it, somebody else made it", nsg, rule.Name),
				azure.RemoveRule(group, nsg, rule.Name)))
		}
	}
	if rules == nil {
		return nil
	}
	foreign := hint.To(fmt.Errorf("security group %q has inbound rules that nobody declared:\n%s", nsg, strings.Join(rules, "\n")), commands...)
	if ctx.DryRun() {
		engine.Warn(ctx, foreign.Error())
		return nil
	}
	return foreign
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

func newNetwork(ctx *pulumi.Context, cfg *config.Config, p *perimeter) (*netResources, error) {
	n := &netResources{perimeter: p}
	var err error
	if cfg.Bootstrap {
		n.bootstrap, err = p.admit(ctx, "ssh-bootstrap", bootstrapRule, bootstrapPriority, "Tcp", machine.BootstrapPort, cfg.AllowedSSH, p.wireguard)
		if err != nil {
			return nil, err
		}
	}
	subnet, err := n.newSubnet(ctx)
	if err != nil {
		return nil, err
	}
	imported, err := p.adoptNamed(ctx, "public-ip", "Microsoft.Network/publicIPAddresses", func(group, name string) (found, error) {
		ip, err := network.LookupPublicIPAddress(ctx, &network.LookupPublicIPAddressArgs{ResourceGroupName: group, PublicIpAddressName: name})
		if err != nil {
			return found{}, err
		}
		return found{ip.ProvisioningState, ip.Tags}, nil
	})
	if err != nil {
		return nil, err
	}
	n.publicIP, err = network.NewPublicIPAddress(ctx, "public-ip", &network.PublicIPAddressArgs{
		ResourceGroupName:        p.groupName,
		PublicIpAddressName:      p.automatic("public-ip"),
		Location:                 pulumi.String(cfg.Location),
		PublicIPAllocationMethod: pulumi.String("Static"),
		PublicIPAddressVersion:   pulumi.String("IPv4"),
		Sku:                      network.PublicIPAddressSkuArgs{Name: pulumi.String("Standard")},
		Tags:                     p.tags,
	}, p.within(nil, imported))
	if err != nil {
		return nil, err
	}
	n.address = n.publicIP.IpAddress.ApplyT(azure.Deref).(pulumi.StringOutput)
	n.nic, err = n.newInterface(ctx, subnet)
	return n, err
}

// newSubnet declares the virtual network and its only subnet.
func (n *netResources) newSubnet(ctx *pulumi.Context) (*network.Subnet, error) {
	of, err := n.adoptNamed(ctx, "vnet", "Microsoft.Network/virtualNetworks", func(group, name string) (found, error) {
		vnet, err := network.LookupVirtualNetwork(ctx, &network.LookupVirtualNetworkArgs{ResourceGroupName: group, VirtualNetworkName: name})
		if err != nil {
			return found{}, err
		}
		return found{vnet.ProvisioningState, vnet.Tags}, nil
	})
	if err != nil {
		return nil, err
	}
	vnet, err := network.NewVirtualNetwork(ctx, "vnet", &network.VirtualNetworkArgs{
		ResourceGroupName:  n.groupName,
		VirtualNetworkName: n.automatic("vnet"),
		Location:           pulumi.String(n.cfg.Location),
		AddressSpace:       network.AddressSpaceArgs{AddressPrefixes: pulumi.StringArray{pulumi.String(n.cfg.VNet.String())}},
		Tags:               n.tags,
	}, n.within(nil, of))
	if err != nil {
		return nil, err
	}
	parent := azure.Parent{Known: "vnet", Name: vnet.Name, ID: vnet.ID()}
	imported, err := n.adopter.Adopt(ctx, "subnet", parent, "/subnets/subnet", func(group, vnet string) (string, error) {
		subnet, err := network.LookupSubnet(ctx, &network.LookupSubnetArgs{ResourceGroupName: group, VirtualNetworkName: vnet, SubnetName: "subnet"})
		if err != nil {
			return "", err
		}
		return subnet.ProvisioningState, nil
	})
	if err != nil {
		return nil, err
	}
	return network.NewSubnet(ctx, "subnet", &network.SubnetArgs{
		ResourceGroupName:    n.groupName,
		VirtualNetworkName:   vnet.Name,
		SubnetName:           pulumi.String("subnet"),
		AddressPrefix:        pulumi.String(n.cfg.Subnet().String()),
		NetworkSecurityGroup: network.NetworkSecurityGroupTypeArgs{Id: n.nsg.ID()},
	}, n.within(nil, imported), pulumi.DependsOn(n.rules())) // not with the network: the security group goes only after what it filters
}

// newInterface declares the machine's network interface.
func (n *netResources) newInterface(ctx *pulumi.Context, subnet *network.Subnet) (*network.NetworkInterface, error) {
	imported, err := n.adoptNamed(ctx, "nic", "Microsoft.Network/networkInterfaces", func(group, name string) (found, error) {
		nic, err := network.LookupNetworkInterface(ctx, &network.LookupNetworkInterfaceArgs{ResourceGroupName: group, NetworkInterfaceName: name})
		if err != nil {
			return found{}, err
		}
		return found{nic.ProvisioningState, nic.Tags}, nil
	})
	if err != nil {
		return nil, err
	}
	return network.NewNetworkInterface(ctx, "nic", &network.NetworkInterfaceArgs{
		ResourceGroupName:    n.groupName,
		NetworkInterfaceName: pulumi.String(n.named("nic")),
		Location:             pulumi.String(n.cfg.Location),
		NetworkSecurityGroup: network.NetworkSecurityGroupTypeArgs{Id: n.nsg.ID()},
		IpConfigurations: network.NetworkInterfaceIPConfigurationArray{network.NetworkInterfaceIPConfigurationArgs{
			Name:                      pulumi.String("primary"),
			Subnet:                    network.SubnetTypeArgs{Id: subnet.ID()},
			PrivateIPAllocationMethod: pulumi.String("Dynamic"),
			PublicIPAddress:           network.PublicIPAddressTypeArgs{Id: n.publicIP.ID()},
		}},
		Tags: n.tags,
	}, n.within(nil, imported))
}

// wireguardSources is the stack's output of that name: whom the WireGuard rule admits.
func wireguardSources(cfg *config.Config) string {
	return strings.Join(prefix.Strings(cfg.WireGuardSources), ",")
}
