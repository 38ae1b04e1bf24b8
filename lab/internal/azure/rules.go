package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"openclaw-azure/lab/internal/fabric"
)

// loadBalancer is the address that stands behind the service tag AzureLoadBalancer.
var loadBalancer = netip.MustParsePrefix("168.63.129.16/32")

// enforce gives the fabric each machine's rules as they follow from resources, where they differ from those in force.
func (p *Provider) enforce(ctx context.Context, resources map[string]*stored) error {
	for _, vm := range ofKind(resources, virtualMachine) {
		rules := rulesFor(resources, vm)
		data, err := json.Marshal(rules)
		if err != nil {
			return err
		}
		if p.enforced[vm.VMID] == string(data) {
			continue
		}
		if !busy(vm) {
			there, err := p.fabric.VMExists(ctx, vm.VMID)
			if err != nil {
				return fmt.Errorf("look for machine %q: %w", vm.Name, err)
			}
			if !there {
				continue // it did not come up, or the next read finds that it is gone
			}
		}
		if err := p.fabric.SetRules(ctx, vm.VMID, rules); err != nil {
			delete(p.enforced, vm.VMID)
			return fmt.Errorf("put the security rules of %q in force: %w", vm.Name, err)
		}
		p.enforced[vm.VMID] = string(data)
	}
	return nil
}

// rulesFor are the rules of a machine's interface, both directions.
func rulesFor(resources map[string]*stored, vm *stored) []fabric.Rule {
	var nic, sub, network *stored
	if references := vm.Spec.objects("networkProfile.networkInterfaces"); len(references) > 0 {
		nic = resources[key(references[0].text("id"))]
	}
	if nic != nil {
		sub = resources[key(subnetID(nic))]
	}
	var space []netip.Prefix
	if sub != nil {
		if network = resources[key(sub.ID[:strings.LastIndex(sub.ID, "/subnets/")])]; network != nil {
			space = prefixesOf(network.Spec)
		}
	}
	ofNIC, ofSubnet := groupOf(resources, nic), groupOf(resources, sub)
	switch {
	case ofNIC == nil && ofSubnet == nil:
		return defaultRules
	case ofSubnet == nil || ofNIC != nil && key(ofNIC.ID) == key(ofSubnet.ID):
		return groupRules(resources, ofNIC)
	case ofNIC == nil:
		return groupRules(resources, ofSubnet)
	}
	return bothAdmit(groupRules(resources, ofSubnet), groupRules(resources, ofNIC), space)
}

func groupOf(resources map[string]*stored, r *stored) *stored {
	if r == nil {
		return nil
	}
	return resources[key(r.Spec.text("networkSecurityGroup.id"))]
}

// groupRules are a security group's rules and Azure's own, the first to be evaluated first.
func groupRules(resources map[string]*stored, group *stored) []fabric.Rule {
	var rules []fabric.Rule
	for _, r := range under(resources, group.ID) {
		priority, _ := r.Spec.number("priority")
		rules = append(rules, fabric.Rule{
			Name:                r.Name,
			Priority:            priority,
			Inbound:             r.Spec.text("direction") == "Inbound",
			Allow:               r.Spec.text("access") == "Allow",
			Protocol:            r.Spec.text("protocol"),
			SourcePrefixes:      addressesOf(r.Spec, "source"),
			SourcePorts:         portsOf(r.Spec, "source"),
			DestinationPrefixes: addressesOf(r.Spec, "destination"),
			DestinationPorts:    portsOf(r.Spec, "destination"),
		})
	}
	rules = append(rules, defaultRules...)
	sort.SliceStable(rules, func(i, j int) bool { return rules[i].Priority < rules[j].Priority })
	return rules
}

// bothAdmit makes one list of two that must both admit. The first rule that matches in the result is the pair of those
// that match first in each list, since pairs stand in the order of the first list and then of the second.
func bothAdmit(first, second []fabric.Rule, network []netip.Prefix) []fabric.Rule {
	var rules []fabric.Rule
	for _, a := range first {
		for _, b := range second {
			if a.Inbound != b.Inbound {
				continue
			}
			protocol, ok := bothProtocols(a.Protocol, b.Protocol)
			both := fabric.Rule{
				Name:                a.Name + " and " + b.Name,
				Priority:            len(rules) + 100,
				Inbound:             a.Inbound,
				Allow:               a.Allow && b.Allow,
				Protocol:            protocol,
				SourcePrefixes:      bothPrefixes(a.SourcePrefixes, b.SourcePrefixes, network),
				SourcePorts:         bothPorts(a.SourcePorts, b.SourcePorts),
				DestinationPrefixes: bothPrefixes(a.DestinationPrefixes, b.DestinationPrefixes, network),
				DestinationPorts:    bothPorts(a.DestinationPorts, b.DestinationPorts),
			}
			if ok && len(both.SourcePrefixes) > 0 && len(both.SourcePorts) > 0 &&
				len(both.DestinationPrefixes) > 0 && len(both.DestinationPorts) > 0 {
				rules = append(rules, both)
			}
		}
	}
	return rules
}

func bothProtocols(a, b string) (string, bool) {
	if a == "*" {
		return b, true
	}
	return a, b == "*" || a == b
}

func bothPorts(a, b []string) []string {
	var found []string
	for _, x := range a {
		for _, y := range b {
			if x == "*" {
				found = append(found, y)
				continue
			}
			if y == "*" {
				found = append(found, x)
				continue
			}
			p, _ := parsePorts(x)
			q, _ := parsePorts(y)
			from, to := max(p.from, q.from), min(p.to, q.to)
			switch {
			case from == to:
				found = append(found, fmt.Sprint(from))
			case from < to:
				found = append(found, fmt.Sprintf("%d-%d", from, to))
			}
		}
	}
	return found
}

func bothPrefixes(a, b []string, network []netip.Prefix) []string {
	var found []string
	for _, x := range a {
		for _, y := range b {
			switch {
			case x == y || y == "*":
				found = append(found, x)
			case x == "*":
				found = append(found, y)
			default:
				for _, p := range resolve(x, network) {
					for _, q := range resolve(y, network) {
						if p.Overlaps(q) {
							found = append(found, netip.PrefixFrom(p.Addr(), p.Bits()).String())
							if q.Bits() > p.Bits() {
								found[len(found)-1] = q.String()
							}
						}
					}
				}
			}
		}
	}
	return found
}

// resolve gives the prefixes that a prefix or a service tag stands for.
func resolve(text string, network []netip.Prefix) []netip.Prefix {
	switch text {
	case "VirtualNetwork":
		return network
	case "AzureLoadBalancer":
		return []netip.Prefix{loadBalancer}
	case "Internet":
		rest := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		for _, inside := range append([]netip.Prefix{loadBalancer}, network...) {
			rest = without(rest, inside)
		}
		return rest
	}
	if prefix, ok := parseAddresses(text); ok {
		return []netip.Prefix{prefix}
	}
	return nil
}

// without takes hole out of prefixes.
func without(prefixes []netip.Prefix, hole netip.Prefix) []netip.Prefix {
	var rest []netip.Prefix
	for _, prefix := range prefixes {
		switch {
		case !prefix.Overlaps(hole):
			rest = append(rest, prefix)
		case prefix.Bits() < hole.Bits():
			low, high := halves(prefix)
			rest = append(rest, without([]netip.Prefix{low, high}, hole)...)
		}
	}
	return rest
}

func halves(prefix netip.Prefix) (low, high netip.Prefix) {
	bits := prefix.Bits() + 1
	address := prefix.Addr().AsSlice()
	address[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
	upper, _ := netip.AddrFromSlice(address)
	return netip.PrefixFrom(prefix.Addr(), bits), netip.PrefixFrom(upper, bits)
}
