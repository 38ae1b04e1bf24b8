package config

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEgress(t *testing.T) {
	for _, test := range []struct {
		value string
		want  Egress
	}{
		{"open", Egress{Open: true}},
		{"none", Egress{}},
		{"b.example.com, A.example.com ,.Example.org,a_b.example.com", Egress{
			Names: []string{"a.example.com", "a_b.example.com", "b.example.com"}, Suffixes: []string{".example.org"}}},
		// With TLS and plain HTTP many names have one port; elsewhere it is one.
		{"b.example.com:443,a.example.com:443,a.example.com:80,git.example.com:22,irc.example.com:6667", Egress{
			Places:     []Place{{"a.example.com", 80}, {"a.example.com", 443}, {"b.example.com", 443}, {"git.example.com", 22}, {"irc.example.com", 6667}},
			NamedPorts: []Place{{"git.example.com", 22}, {"irc.example.com", 6667}}}},
		{"20.30.40.50:443,198.18.0.1:80", Egress{Addresses: []netip.AddrPort{netip.MustParseAddrPort("20.30.40.50:443"), netip.MustParseAddrPort("198.18.0.1:80")}}},
	} {
		c, err := parseConfig(with("egress", test.value))
		if err != nil {
			t.Errorf("%s: %v", test.value, err)
			continue
		}
		if diff := cmp.Diff(test.want, c.Egress, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.value, diff)
		}
	}
}

func TestAgentMayReach(t *testing.T) {
	c, err := parseConfig(with("agentMayReach", "10.100.0.2:11434, 10.0.0.9:5432"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.AgentMayReach); got != "[10.0.0.9:5432 10.100.0.2:11434]" {
		t.Error(got)
	}
}

// TestBaseURLsWithinReach: what the gate lets through is no fault, nor what is no address.
func TestBaseURLsWithinReach(t *testing.T) {
	for _, test := range []struct{ egress, inside, url string }{
		{"open", "", "https://api.example.com/v1"},
		{"open", "", "http://127.0.0.1:8080/v1"},
		{"open", "", "http://localhost:8080/v1"},
		{"open", "10.100.0.2:11434", "http://10.100.0.2:11434/v1"},
		{"api.example.com", "", "https://API.example.com/v1"},
		{".example.com", "", "https://api.example.com:8443/v1"},
		{"api.example.com:8080", "", "http://api.example.com:8080/v1"},
		{"20.30.40.50:443", "", "https://20.30.40.50/v1"},
		{"none", "", "http://[::1]:8080/"},
		{"none", "", "${BASE_URL}"},
		{"none", "", "no URL"},
	} {
		config := fmt.Sprintf(`{"models":{"providers":{"x":{"baseUrl":%q}}}}`, test.url)
		if _, err := parseConfig(with("egress", test.egress, "agentMayReach", test.inside, "openclawConfig", config)); err != nil {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
