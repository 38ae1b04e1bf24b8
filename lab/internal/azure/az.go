package azure

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Az does what a few commands of the Azure CLI do, and says what they would: somebody else uses the subscription too,
// past every Pulumi program. args are those behind `az`.
func (p *Provider) Az(ctx context.Context, args []string) (string, error) {
	var words []string
	options := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, isOption := strings.CutPrefix(args[i], "--")
		switch {
		case !isOption:
			words = append(words, args[i])
		case i+1 < len(args) && !strings.HasPrefix(args[i+1], "--"):
			i++
			options[name] = args[i]
		default:
			options[name] = ""
		}
	}
	command := strings.Join(words, " ")
	known, ok := azCommands[command]
	if !ok {
		return "", labCannot("does not know az %s; it knows: %s", command, strings.Join(slices.Sorted(maps.Keys(azCommands)), ", "))
	}
	for _, name := range known.needs {
		if options[name] == "" {
			return "", fmt.Errorf("az %s: the following arguments are required: --%s", command, name)
		}
	}
	for name := range options {
		if !slices.Contains(known.needs, name) && !slices.Contains(known.takes, name) {
			return "", labCannot("does not know az %s with --%s", command, name)
		}
	}
	return known.run(p, ctx, options)
}

// azCommands are the commands by name, with the options that they need and those that they take.
var azCommands = map[string]struct {
	needs, takes []string
	run          func(*Provider, context.Context, map[string]string) (string, error)
}{
	"resource list": {nil, nil, func(p *Provider, _ context.Context, _ map[string]string) (string, error) {
		var lines strings.Builder
		found := p.Resources()
		for _, id := range slices.Sorted(maps.Keys(found)) {
			fmt.Fprintln(&lines, id)
		}
		return lines.String(), nil
	}},
	"group create": {[]string{"name", "location"}, nil, func(p *Provider, ctx context.Context, o map[string]string) (string, error) {
		id, err := p.Put(ctx, resourceGroup.token, object{"resourceGroupName": o["name"], "location": o["location"]})
		return id + "\n", err
	}},
	"network nsg rule create": {
		[]string{"resource-group", "nsg-name", "name", "priority"},
		[]string{"access", "direction", "protocol", "source-address-prefixes", "destination-port-ranges"},
		func(p *Provider, ctx context.Context, o map[string]string) (string, error) {
			priority, err := strconv.Atoi(o["priority"])
			if err != nil {
				return "", fmt.Errorf("az network nsg rule create: --priority: %w", err)
			}
			or := func(name, otherwise string) string {
				if o[name] == "" {
					return otherwise
				}
				return o[name]
			}
			id, err := p.Put(ctx, securityRule.token, object{
				"resourceGroupName": o["resource-group"], "networkSecurityGroupName": o["nsg-name"], "securityRuleName": o["name"],
				"priority": float64(priority), "access": or("access", "Allow"), "direction": or("direction", "Inbound"), "protocol": or("protocol", "*"),
				"sourceAddressPrefix": or("source-address-prefixes", "*"), "sourcePortRange": "*",
				"destinationAddressPrefix": "*", "destinationPortRange": or("destination-port-ranges", "80"),
			})
			return id + "\n", err
		}},
	"network nsg rule delete": {
		[]string{"resource-group", "nsg-name", "name"}, nil,
		func(p *Provider, ctx context.Context, o map[string]string) (string, error) {
			return "", p.Delete(ctx, securityRule.token, securityRule.id(p.subscription(), object{
				"resourceGroupName": o["resource-group"], "networkSecurityGroupName": o["nsg-name"], "securityRuleName": o["name"]}))
		}},
	"vm run-command show": {
		[]string{"resource-group", "vm-name", "name", "query", "output"}, []string{"instance-view"},
		func(p *Provider, _ context.Context, o map[string]string) (string, error) {
			if _, whole := o["instance-view"]; !whole || o["query"] != "instanceView.error" || o["output"] != "tsv" {
				return "", labCannot("shows of a run command --instance-view --query instanceView.error --output tsv")
			}
			group := object{"resourceGroupName": o["resource-group"], "vmName": o["vm-name"], "runCommandName": o["name"]}
			subscription := p.subscription()
			p.mu.Lock()
			defer p.mu.Unlock()
			id := runCommand.id(subscription, group)
			if p.record.get(id) == nil {
				return "", p.absent(p.record.Resources, runCommand, id)
			}
			vm := p.record.get(virtualMachine.id(subscription, group))
			return p.record.Agents[vm.VMID][o["name"]].Error + "\n", nil
		}},
	"vm delete": {
		[]string{"resource-group", "name"}, []string{"yes"},
		func(p *Provider, ctx context.Context, o map[string]string) (string, error) {
			return "", p.Delete(ctx, virtualMachine.token, virtualMachine.id(p.subscription(), object{"resourceGroupName": o["resource-group"], "vmName": o["name"]}))
		}},
}
