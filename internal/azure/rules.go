package azure

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/network/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/shell"
)

// Rule is an inbound rule of a security group.
type Rule struct {
	Name     foreign.Text
	Text     foreign.Text // what it does, for people
	Denies   bool
	priority int
	protocol string
	ports    []string // as Azure writes them: 22, 1000-2000, *
	sources  []string // prefixes, service tags, *
}

// Stops tells whether the rule keeps somebody of the sources from a port that a rule of that priority admits them to. Of a service
// tag, which names addresses that only Azure knows, it says so where the tag is the Internet's.
func (r Rule) Stops(priority int, protocol string, port uint16, sources []netip.Prefix) bool {
	return r.Denies && r.priority < priority &&
		(r.protocol == "*" || strings.EqualFold(r.protocol, protocol)) &&
		slices.ContainsFunc(r.ports, func(ports string) bool { return contains(ports, port) }) &&
		slices.ContainsFunc(r.sources, func(source string) bool {
			if source == "*" || strings.EqualFold(source, "Internet") {
				return true
			}
			denied, err := netip.ParsePrefix(source)
			if address, one := netip.ParseAddr(source); one == nil {
				denied, err = netip.PrefixFrom(address, address.BitLen()), nil
			}
			return err == nil && slices.ContainsFunc(sources, denied.Overlaps)
		})
}

// contains tells whether a port is among those that Azure writes as 22, 1000-2000 or *.
func contains(ports string, port uint16) bool {
	first, last, ranged := strings.Cut(ports, "-")
	if !ranged {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	return ports == "*" || err == nil && err2 == nil && from <= uint64(port) && uint64(port) <= to
}

// InboundRules reads the inbound rules of a security group; none if Azure does not have the group.
func InboundRules(ctx *pulumi.Context, group, nsg string) ([]Rule, error) {
	found, err := network.LookupNetworkSecurityGroup(ctx, &network.LookupNetworkSecurityGroupArgs{ResourceGroupName: group, NetworkSecurityGroupName: nsg})
	if NotThere(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the rules of security group %q: %w", nsg, foreign.Err(err))
	}
	var rules []Rule
	for _, rule := range found.SecurityRules {
		if rule.Direction != "Inbound" {
			continue
		}
		ports, sources := either(rule.DestinationPortRange, rule.DestinationPortRanges), either(rule.SourceAddressPrefix, rule.SourceAddressPrefixes)
		rules = append(rules, Rule{Name: foreign.New(Deref(rule.Name)), Denies: rule.Access == "Deny", priority: rule.Priority, protocol: rule.Protocol, ports: ports, sources: sources,
			Text: foreign.New(fmt.Sprintf("%s %s to port %s from %s, priority %d", rule.Access, rule.Protocol, strings.Join(ports, ","), strings.Join(sources, ","), rule.Priority))})
	}
	return rules, nil
}

// RemoveRule is the command that deletes a rule.
func RemoveRule(group, nsg string, rule foreign.Text) string {
	return fmt.Sprintf("az network nsg rule delete --resource-group %s --nsg-name %s --name %s", shell.Quote(group), shell.Quote(nsg), shell.Quote(rule.String()))
}

// either is what a rule of Azure's says in one of two spellings.
func either(one *string, many []string) []string {
	if len(many) > 0 {
		return many
	}
	return []string{Deref(one)}
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
