package azure

import (
	"net/netip"
	"testing"
)

func TestStops(t *testing.T) {
	home := []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}
	for name, c := range map[string]struct {
		rule Rule
		want bool
	}{
		"all of it":          {Rule{Denies: true, priority: 100, protocol: "*", ports: []string{"*"}, sources: []string{"*"}}, true},
		"the very port":      {Rule{Denies: true, priority: 999, protocol: "Udp", ports: []string{"51820"}, sources: []string{"Internet"}}, true},
		"a range around it":  {Rule{Denies: true, priority: 999, protocol: "UDP", ports: []string{"1-80", "51000-52000"}, sources: []string{"198.51.100.0/24"}}, true},
		"the very address":   {Rule{Denies: true, priority: 999, protocol: "*", ports: []string{"*"}, sources: []string{"10.0.0.1", "198.51.100.7"}}, true},
		"it allows":          {Rule{priority: 100, protocol: "*", ports: []string{"*"}, sources: []string{"*"}}, false},
		"after ours":         {Rule{Denies: true, priority: 1001, protocol: "*", ports: []string{"*"}, sources: []string{"*"}}, false},
		"another protocol":   {Rule{Denies: true, priority: 100, protocol: "Tcp", ports: []string{"*"}, sources: []string{"*"}}, false},
		"other ports":        {Rule{Denies: true, priority: 100, protocol: "*", ports: []string{"22", "1-51819"}, sources: []string{"*"}}, false},
		"other addresses":    {Rule{Denies: true, priority: 100, protocol: "*", ports: []string{"*"}, sources: []string{"203.0.113.0/24", "203.0.113.9"}}, false},
		"another service's":  {Rule{Denies: true, priority: 100, protocol: "*", ports: []string{"*"}, sources: []string{"AzureLoadBalancer"}}, false},
		"nothing that reads": {Rule{Denies: true, priority: 100, protocol: "*", ports: []string{"", "x-y"}, sources: []string{""}}, false},
	} {
		if got := c.rule.Stops(1000, "Udp", 51820, home); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
