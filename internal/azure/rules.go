package azure

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/network/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/shell"
)

// Rule is an inbound rule of a security group.
type Rule struct {
	Name string
	Text string // what it does, for people
}

// InboundRules reads the inbound rules of a security group; none if Azure does not have the group.
func InboundRules(ctx *pulumi.Context, group, nsg string) ([]Rule, error) {
	found, err := network.LookupNetworkSecurityGroup(ctx, &network.LookupNetworkSecurityGroupArgs{ResourceGroupName: group, NetworkSecurityGroupName: nsg})
	if NotThere(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the rules of security group %q: %w", nsg, err)
	}
	var rules []Rule
	for _, rule := range found.SecurityRules {
		if rule.Direction != "Inbound" {
			continue
		}
		rules = append(rules, Rule{Deref(rule.Name), fmt.Sprintf("%s %s to port %s from %s, priority %d", rule.Access, rule.Protocol,
			either(rule.DestinationPortRange, rule.DestinationPortRanges), either(rule.SourceAddressPrefix, rule.SourceAddressPrefixes), rule.Priority)})
	}
	return rules, nil
}

// RemoveRule is the command that deletes a rule.
func RemoveRule(group, nsg, rule string) string {
	return fmt.Sprintf("az network nsg rule delete --resource-group %s --nsg-name %s --name %s", shell.Quote(group), shell.Quote(nsg), shell.Quote(rule))
}

// either is what a rule of Azure's says in one of two spellings.
func either(one *string, many []string) string {
	if len(many) > 0 {
		return strings.Join(many, ",")
	}
	return Deref(one)
}

// Deref is the text behind an optional one of Azure's; empty if there is none.
func Deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// NotThere tells whether an error of azure-native's means that Azure does not have the resource.
func NotThere(err error) bool { return err != nil && strings.Contains(err.Error(), "Status=404") }
