package azure

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"openclaw-azure/internal/foreign"
)

// As Resource Skus - List gives them, shortened.
const skuList = `[
{"resourceType":"disks","name":"Standard_B2als_v2"},
{"resourceType":"virtualMachines","name":"Standard_B2als_v2","family":"standardBasv2Family","restrictions":[],"capabilities":[
 {"name":"vCPUs","value":"2"},{"name":"MemoryGB","value":"4"},{"name":"HyperVGenerations","value":"V1,V2"},{"name":"CpuArchitectureType","value":"x64"}]},
{"resourceType":"virtualMachines","name":"Standard_B2as_v2","family":"standardBasv2Family","capabilities":[
 {"name":"vCPUs","value":"2"},{"name":"MemoryGB","value":"8"},{"name":"HyperVGenerations","value":"V1,V2"},{"name":"CpuArchitectureType","value":"x64"},{"name":"DiskControllerTypes","value":"SCSI, NVMe"}]},
{"resourceType":"virtualMachines","name":"Standard_D2s_v5","family":"standardDSv5Family","capabilities":[
 {"name":"vCPUs","value":"2"},{"name":"MemoryGB","value":"8"},{"name":"HyperVGenerations","value":"V1,V2"}]},
{"resourceType":"virtualMachines","name":"Standard_D2s_v6","family":"standardDSv6Family","capabilities":[
 {"name":"vCPUs","value":"2"},{"name":"MemoryGB","value":"8"},{"name":"HyperVGenerations","value":"V2"},{"name":"DiskControllerTypes","value":"NVMe"}]},
{"resourceType":"virtualMachines","name":"Standard_E2s_v5","family":"standardESv5Family","restrictions":[{"type":"Location","reasonCode":"NotAvailableForSubscription"}],"capabilities":[
 {"name":"vCPUs","value":"2"},{"name":"MemoryGB","value":"16"},{"name":"HyperVGenerations","value":"V1,V2"}]},
{"resourceType":"virtualMachines","name":"Standard_E4s_v5","family":"standardESv5Family","restrictions":[{"type":"Zone","reasonCode":"NotAvailableForSubscription"}],"capabilities":[
 {"name":"vCPUs","value":"4"},{"name":"MemoryGB","value":"32"},{"name":"HyperVGenerations","value":"V1,V2"}]},
{"resourceType":"virtualMachines","name":"Standard_A1","family":"standardA0_A7Family","capabilities":[
 {"name":"vCPUs","value":"1"},{"name":"MemoryGB","value":"1.75"},{"name":"HyperVGenerations","value":"V1"},{"name":"TrustedLaunchDisabled","value":"True"}]},
{"resourceType":"virtualMachines","name":"Standard_B2pls_v2","family":"standardBpsv2Family","capabilities":[
 {"name":"vCPUs","value":"2"},{"name":"MemoryGB","value":"4"},{"name":"HyperVGenerations","value":"V2"},{"name":"CpuArchitectureType","value":"Arm64"}]}]`

func TestJudgeSize(t *testing.T) {
	var skus []sku
	if err := json.Unmarshal([]byte(skuList), &skus); err != nil {
		t.Fatal(err)
	}
	const (
		b2als = "pulumi config set vmSize Standard_B2als_v2    # 2 cores, 4 GiB"
		b2as  = "pulumi config set vmSize Standard_B2as_v2    # 2 cores, 8 GiB"
		d2sv6 = "pulumi config set vmSize Standard_D2s_v6    # 2 cores, 8 GiB"
		d2s   = "pulumi config set vmSize Standard_D2s_v5    # 2 cores, 8 GiB"
		e4s   = "pulumi config set vmSize Standard_E4s_v5    # 4 cores, 32 GiB"
		all   = "az vm list-skus --location westeurope --resource-type virtualMachines --output table    # all, with their restrictions"
		quota = "more quota, on request: https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade/~/myQuotas"
	)
	for _, c := range []struct {
		name, before, size, usages string
		want                       []Objection
	}{
		{"what is to be had", "", "Standard_B2als_v2", `[{"currentValue":8,"limit":10,"name":{"value":"cores"}},{"currentValue":0,"limit":2,"name":{"value":"standardBasv2Family"}}]`, nil},
		{"written otherwise", "", "standard_b2ALS_v2", `[]`, nil},
		{"a size that is none", "", "Standard_B2", `[]`, []Objection{{`size "Standard_B2": there is none in "westeurope"`, []string{b2als, b2as, d2s, all}}}},
		{"too old and too small", "", "Standard_A1", `[]`, []Objection{{`size "Standard_A1": it is of generation V1, and the image is of V2; it has 1.75 GiB of memory, and OpenClaw wants 4; it has no Trusted Launch`, []string{b2als, b2as, d2s, all}}}},
		{"another processor", "", "Standard_B2pls_v2", `[]`, []Objection{{`size "Standard_B2pls_v2": its processor is Arm64, and Azure has no run commands but on x64`, []string{b2als, b2as, d2s, all}}}},
		{"another disk controller", "", "Standard_D2s_v6", `[]`, []Objection{{`size "Standard_D2s_v6": its disk controller is NVMe, and the machine's disk can have SCSI`, []string{b2als, b2as, d2s, all}}}},
		{"another disk controller than the machine's", "Standard_B2as_v2", "Standard_D2s_v6", `[]`, []Objection{{`size "Standard_D2s_v6": its disk controller is NVMe, and the machine's disk can have SCSI`, []string{b2als, b2as, d2s, all}}}},
		{"and back", "Standard_D2s_v6", "Standard_D2s_v5", `[]`, []Objection{{`size "Standard_D2s_v5": its disk controller is SCSI, and the machine's disk can have NVMe`, []string{b2as, d2sv6, all}}}},
		{"not for this subscription", "", "Standard_E2s_v5", `[]`, []Objection{{`size "Standard_E2s_v5": this subscription does not get it in "westeurope" (NotAvailableForSubscription)`, []string{b2als, b2as, d2s, all}}}},
		{"in another zone", "", "Standard_E4s_v5", `[]`, nil},
		{"the family's quota", "", "Standard_B2als_v2", `[{"currentValue":4,"limit":5,"name":{"value":"standardBasv2Family"}},{"currentValue":4,"limit":10,"name":{"value":"cores"}}]`,
			[]Objection{{`size "Standard_B2als_v2": it exceeds this subscription's quota in "westeurope": "standardBasv2Family": 4 of 5 cores are used, and 2 more are needed`, []string{d2s, e4s, all, quota}}}},
		{"the region's quota", "", "Standard_B2als_v2", `[{"currentValue":4,"limit":4,"name":{"value":"cores"}}]`,
			[]Objection{{`size "Standard_B2als_v2": it exceeds this subscription's quota in "westeurope": "cores": 4 of 4 cores are used, and 2 more are needed`, []string{all, quota}}}},
		{"resized, its own cores counted", "Standard_B2als_v2", "Standard_B2as_v2", `[{"currentValue":2,"limit":2,"name":{"value":"cores"}},{"currentValue":2,"limit":2,"name":{"value":"standardBasv2Family"}}]`, nil},
		{"resized to another family", "Standard_B2als_v2", "Standard_D2s_v5", `[{"currentValue":2,"limit":2,"name":{"value":"cores"}},{"currentValue":0,"limit":0,"name":{"value":"standardDSv5Family"}}]`,
			[]Objection{{`size "Standard_D2s_v5": it exceeds this subscription's quota in "westeurope": "standardDSv5Family": 0 of 0 cores are used, and 2 more are needed`, []string{b2als, b2as, all, quota}}}},
	} {
		var usages []usage
		if err := json.Unmarshal([]byte(c.usages), &usages); err != nil {
			t.Fatal(err)
		}
		got := judgeSize(skus, usages, "SCSI", Asked{Location: "westeurope", Size: c.size, Before: c.before})
		if !slices.EqualFunc(got, c.want, func(a, b Objection) bool { return a.Text == b.Text && slices.Equal(a.Commands, b.Commands) }) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// The image says which controllers its disk may have.
func TestJudgeController(t *testing.T) {
	var skus []sku
	if err := json.Unmarshal([]byte(skuList), &skus); err != nil {
		t.Fatal(err)
	}
	if found := judgeSize(skus, nil, "SCSI, NVMe", Asked{Location: "westeurope", Size: "Standard_D2s_v6"}); found != nil {
		t.Errorf("an image that has both: %q", found)
	}
}

func TestJudgePolicies(t *testing.T) {
	const assignment = "/subscriptions/S/providers/Microsoft.Authorization/policyAssignments/tags please"
	var evaluations []evaluation
	err := json.Unmarshal([]byte(`[
{"policyInfo":{"policyDefinitionId":"/D/d","policyAssignmentId":"`+assignment+`"},"evaluationResult":"NonCompliant","effectDetails":{"policyEffect":"Deny"},
 "evaluationDetails":{"evaluatedExpressions":[{"result":"True","path":"type"},{"result":"True","path":"tags['cost center']"},{"result":"True","path":"tags.owner"},{"result":"True","path":"tags.set"}]}},
{"policyInfo":{"policyAssignmentId":"/A/images"},"evaluationResult":"NonCompliant","effectDetails":{"policyEffect":"deny"},
 "evaluationDetails":{"evaluatedExpressions":[{"result":"True","path":"type"},{"result":"True","path":"Microsoft.Compute/imagePublisher"}]}},
{"policyInfo":{"policyAssignmentId":"/A/unknown"},"evaluationResult":"NonCompliant","effectDetails":{"policyEffect":"Deny"}},
{"policyInfo":{"policyAssignmentId":"/A/nothing"},"evaluationResult":"NonCompliant"},
{"policyInfo":{"policyAssignmentId":"/A/audited"},"evaluationResult":"NonCompliant","effectDetails":{"policyEffect":"Audit"}},
{"policyInfo":{"policyAssignmentId":"/A/kept"},"evaluationResult":"Compliant"}]`), &evaluations)
	if err != nil {
		t.Fatal(err)
	}
	got, doubts := judgePolicies([][]evaluation{evaluations, nil, evaluations}, map[string]string{"set": "x"})
	want := Objection{`policy "tags please" refuses Microsoft.Resources/subscriptions/resourceGroups, Microsoft.Network/virtualNetworks`, []string{
		`pulumi config set --path 'tags["cost center"]' VALUE`, "pulumi config set --path tags.owner VALUE", "az resource show --ids '" + assignment + "'    # what it wants"}}
	if len(got) != 1 || got[0].Text != want.Text || !slices.Equal(got[0].Commands, want.Commands) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Their fields were not sent: whether they refuse is known when the whole is declared.
	if len(doubts) != 2 || !strings.HasPrefix(doubts[0], `policy "images" may refuse `) || !strings.HasPrefix(doubts[1], `policy "unknown" may refuse `) {
		t.Errorf("doubts: %q", doubts)
	}
}

func TestEndpoint(t *testing.T) {
	token := func(audience string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"aud":"`+audience+`"}`)) + ".x"
	}
	for given, want := range map[string]string{
		token("https://management.core.windows.net/"): "https://management.azure.com",
		token("https://management.azure.com"):         "https://management.azure.com",
		token("https://management.usgovcloudapi.net"): "https://management.usgovcloudapi.net",
		token("https://127.0.0.1:4443/"):              "https://127.0.0.1:4443",
		token("http://127.0.0.1:4443/"):               "",
		token(""):                                     "",
		"canary":                                      "",
		"a.canary.b":                                  "",
	} {
		got, err := endpoint(given)
		if got != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
}

// What is asked, with which login; and no error has it.
func TestManager(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("Authorization"))
		mu.Unlock()
		switch {
		case strings.HasSuffix(r.URL.Path, "/publishers/P/artifacttypes/vmimage/offers/O/skus/S/versions"):
			_, _ = w.Write([]byte(`[{"name":"1.2.3"}]`))
		case strings.HasSuffix(r.URL.Path, "/versions/1.2.3"):
			_, _ = w.Write([]byte(`{"properties":{"features":[{"name":"DiskControllerTypes","value":"SCSI, NVMe"}]}}`))
		case strings.HasSuffix(r.URL.Path, "/skus"):
			if r.URL.Query().Get("page") == "" {
				_, _ = w.Write([]byte(`{"value":[],"nextLink":"http://` + r.Host + r.URL.String() + `&page=2"}`))
				return
			}
			_, _ = w.Write([]byte(`{"value":` + skuList + `}`))
		case strings.Contains(r.URL.Path, "/usages"):
			_, _ = w.Write([]byte(`{"value":[]}`))
		case strings.HasSuffix(r.URL.Path, "/Microsoft.Network"), strings.HasSuffix(r.URL.Path, "/Microsoft.Insights"):
			_, _ = w.Write([]byte(`{"registrationState":"NotRegistered"}`))
		case strings.HasSuffix(r.URL.Path, "/Microsoft.Compute"):
			_, _ = w.Write([]byte(`{"registrationState":"Registered"}`))
		default:
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error":{"code":"AuthorizationFailed","message":"The client … does not have authorization"}}`))
		}
	}))
	defer server.Close()
	m := &manager{endpoint: server.URL, subscription: "SUB", token: "canary-token"}
	found, err := m.size(t.Context(), Asked{Location: "westeurope", Size: "Standard_A1"}) // of no image that there is
	if err == nil || !strings.HasPrefix(err.Error(), "the disk controllers of the image") || len(found) != 1 {
		t.Errorf("size: %q, %v", found, err)
	}
	image := Image{Publisher: "P", Offer: "O", SKU: "S"}
	if controllers, err := m.controllers(t.Context(), Asked{Location: "westeurope", Image: image}); controllers != "SCSI, NVMe" || err != nil {
		t.Errorf("controllers: %q, %v", controllers, err)
	}
	notes, err := m.providers(t.Context(), Asked{Watched: true})
	if err != nil || len(notes) != 2 || !strings.Contains(notes[1], "az provider register --namespace Microsoft.Insights --wait") {
		t.Errorf("providers of a machine that Azure watches: %q, %v", notes, err)
	}
	notes, err = m.providers(t.Context(), Asked{})
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "az provider register --namespace Microsoft.Network --wait") {
		t.Errorf("providers: %q, %v", notes, err)
	}
	if found, _, err := m.policies(t.Context(), Asked{}); found != nil || err != nil {
		t.Errorf("policies that may not be asked: %q, %v", found, err)
	}
	for _, want := range []string{
		"GET /subscriptions/SUB/providers/Microsoft.Compute/skus?%24filter=location+eq+%27westeurope%27&api-version=2021-07-01 Bearer canary-token",
		"GET /subscriptions/SUB/providers/Microsoft.Compute/locations/westeurope/usages?api-version=2023-03-01 Bearer canary-token",
		"GET /subscriptions/SUB/providers/Microsoft.Compute/locations/westeurope/publishers/P/artifacttypes/vmimage/offers/O/skus/S/versions?%24orderby=name+desc&%24top=1&api-version=2023-03-01 Bearer canary-token",
		"GET /subscriptions/SUB/providers/Microsoft.Network?api-version=2021-04-01 Bearer canary-token",
		"POST /subscriptions/SUB/providers/Microsoft.PolicyInsights/checkPolicyRestrictions?api-version=2023-03-01 Bearer canary-token",
	} {
		if !slices.Contains(asked, want) {
			t.Errorf("not asked: %s\nbut %q", want, asked)
		}
	}
	err = m.get(t.Context(), "/nothing", "1", &struct{}{})
	if want := (refusal{http.StatusForbidden, foreign.New("AuthorizationFailed")}); !errors.Is(err, want) {
		t.Errorf("refused: %v, want %v", err, want)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.size(over, Asked{Location: "westeurope"}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("no answer in time: %v", err)
	}
}
