package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/compute/v2"
	"github.com/pulumi/pulumi-azure-native-sdk/network/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// What other people did in Azure behind Pulumi's back: Pulumi itself sees only what it made, and that only with
// --refresh.

// foreignRules finds inbound rules of the security group that the program does not declare: a preview names them, `up`
// fails before it changes anything further.
func (p *perimeter) foreignRules(ctx *pulumi.Context, cfg *Config, last *lastRun) error {
	group, err := awaitString(ctx, p.group.Name)
	if err != nil {
		return err
	}
	name, err := awaitString(ctx, p.nsg.Name)
	if err != nil || group == "" || name == "" {
		return err // of a first preview: there is no group yet
	}
	found, err := network.LookupNetworkSecurityGroup(ctx, &network.LookupNetworkSecurityGroupArgs{ResourceGroupName: group, NetworkSecurityGroupName: name})
	if notInAzure(err) {
		return nil // deleted behind Pulumi's back: --refresh makes it anew
	}
	if err != nil {
		return fmt.Errorf("read the rules of security group %q: %w", name, err)
	}
	remove := func(rule string) string {
		return fmt.Sprintf("az network nsg rule delete --resource-group %s --nsg-name %s --name %s", shellQuote(group), shellQuote(name), shellQuote(rule))
	}
	var rules, commands []string
	for _, rule := range found.SecurityRules {
		called := deref(rule.Name)
		switch {
		case rule.Direction != "Inbound" || called == wireguardRule:
		case called != bootstrapRule:
			rules = append(rules, fmt.Sprintf("  %q: %s %s to port %s from %s, priority %d", called, rule.Access, rule.Protocol,
				either(rule.DestinationPortRange, rule.DestinationPortRanges), either(rule.SourceAddressPrefix, rule.SourceAddressPrefixes), rule.Priority))
			commands = append(commands, "hint: "+remove(called))
		case !cfg.Bootstrap && last != nil && !last.Bootstrap:
			// A reopening that failed half way leaves it too, and then this run deletes it.
			warn(ctx, fmt.Sprintf("port 22 was closed, and security group %q has rule %q: where this run does not delete it, somebody else made it"+
				"\nhint: %s", name, called, remove(called)))
		}
	}
	if rules == nil {
		return nil
	}
	text := fmt.Sprintf("security group %q has inbound rules that nobody declared:\n%s\n%s", name, strings.Join(rules, "\n"), strings.Join(commands, "\n"))
	if ctx.DryRun() {
		warn(ctx, text)
		return nil
	}
	return errors.New(text)
}

// either is what a rule of Azure's says in one of two spellings.
func either(one *string, many []string) string {
	if len(many) > 0 {
		return strings.Join(many, ",")
	}
	return deref(one)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// lookForMachine notes whether the machine of the last run is in Azure still. Only a silent one is looked for.
func (l *lastRun) lookForMachine(ctx *pulumi.Context) {
	if l.Machine == "" {
		return // the last run was an older release's
	}
	_, err := compute.LookupVirtualMachine(ctx, &compute.LookupVirtualMachineArgs{ResourceGroupName: l.Group, VmName: l.Machine})
	l.gone = notInAzure(err)
}

// missing says that the machine is not in Azure any more, and what to do.
func (l *lastRun) missing(cfg *Config) error {
	up, then := "pulumi up --refresh", ""
	if !cfg.Bootstrap {
		up, then = "pulumi config set bootstrap true && "+up, "; then close port 22 again"
	}
	return fmt.Errorf("the virtual machine %q is gone: it was deleted behind Pulumi's back"+
		"\nhint: %s    # makes it anew, as declared; OpenClaw's state and backups were on its disk%s", l.Machine, up, then)
}

func notInAzure(err error) bool { return err != nil && strings.Contains(err.Error(), "Status=404") }
