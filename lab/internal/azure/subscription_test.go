package azure

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// What Resource Manager tells of the subscription's limits is what it refuses then.
func TestLimits(t *testing.T) {
	e := newEngine(t)
	e.p.LimitsFile = filepath.Join(t.TempDir(), "subscription.json")
	server := httptest.NewTLSServer(e.p.Manager())
	defer server.Close()
	e.p.ManagerURL = server.URL
	invoke := func(function, key string) string {
		resp, err := e.client.Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: "azure-native:authorization:" + function})
		if err != nil {
			t.Fatal(err)
		}
		return fromStruct(t, resp.GetReturn()).text(key)
	}
	ask := func(method, path, token, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	token, sub := invoke("getClientToken", "token"), "/subscriptions/"+invoke("getClientConfig", "subscriptionId")
	if status, said := ask("GET", sub+"/providers/Microsoft.Compute?api-version=1", "another", ""); status != http.StatusUnauthorized || !strings.Contains(said, "InvalidAuthenticationToken") {
		t.Errorf("with another token: %d %s", status, said)
	}
	const (
		skus     = "/providers/Microsoft.Compute/skus?api-version=1&$filter=location+eq+'westeurope'"
		usages   = "/providers/Microsoft.Compute/locations/westeurope/usages?api-version=1"
		network  = "/providers/Microsoft.Network?api-version=1"
		policies = "/providers/Microsoft.PolicyInsights/checkPolicyRestrictions?api-version=1"
		asked    = `{"resourceDetails":{"resourceContent":{"type":"Microsoft.Resources/subscriptions/resourceGroups","tags":{"project":"x"}}}}`
	)
	tells := func(method, path, body, what string, want bool) {
		t.Helper()
		if status, said := ask(method, sub+path, token, body); status != http.StatusOK || strings.Contains(said, what) != want {
			t.Errorf("%s tells %q: %v, want %v: %d %.300s", path, what, !want, want, status, said)
		}
	}
	look := func(limited bool) {
		t.Helper()
		tells("GET", skus, "", "NotAvailableForSubscription", limited)
		tells("GET", usages, "", `"limit":3`, limited)
		tells("GET", network, "", "NotRegistered", limited)
		tells("POST", policies, asked, "tags['owner']", limited)
	}
	look(false)
	const publishers = "/providers/Microsoft.Compute/locations/westeurope/publishers/"
	tells("GET", publishers+"Debian/artifacttypes/vmimage/offers/debian-13/skus/13-gen2/versions?api-version=1", "", `"name":"0.20251117.2299"`, true)
	tells("GET", publishers+"Debian/artifacttypes/vmimage/offers/debian-13/skus/13-gen2/versions/0.20251117.2299?api-version=1", "", "NVMe", false)
	tells("GET", publishers+"Canonical/artifacttypes/vmimage/offers/ubuntu-24_04-lts/skus/server/versions/24.04.202511050?api-version=1", "", "NVMe", true)
	s := e.machine()
	limit := func(l limits) {
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(e.p.LimitsFile, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	limit(limits{NotOffered: []string{"Standard_B2as_v2"}, Cores: 3, NotRegistered: []string{"Microsoft.Network"}, RequiredTags: []string{"owner"}})
	look(true)
	for _, c := range []struct {
		limits limits
		size   string
		want   string
	}{
		{limits{NotOffered: []string{"Standard_B2as_v2"}}, "Standard_B2as_v2", `Status=409 Code="SkuNotAvailable"`},
		{limits{Cores: 3}, "Standard_B4as_v2", `Status=409 Code="OperationNotAllowed" Message="Operation could not be completed as it results in exceeding approved Total Regional Cores quota.`},
		{limits{NotRegistered: []string{"Microsoft.Compute"}}, "Standard_B2as_v2", `Status=409 Code="MissingSubscriptionRegistration"`},
		{limits{RequiredTags: []string{"owner"}}, "Standard_B2as_v2", `Status=403 Code="RequestDisallowedByPolicy"`},
	} {
		limit(c.limits)
		_, err := e.p.put(t.Context(), virtualMachine, s.vm.id, set(s.vm.inputs, "hardwareProfile.vmSize", c.size))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.limits, err, c.want)
		}
	}
}
