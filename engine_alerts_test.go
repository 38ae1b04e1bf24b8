package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/standin"
)

const (
	labelWatchers     = "ActionGroup watchers"
	labelAvailability = "MetricAlert availability"
)

// Azure's own eye: both resources and nothing else, on a machine that is there, and away again.
func TestEngineAzureWatches(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Set("alerts", `{"azureEmail":"me@example.com"}`)
	r := w.MustUp()
	equal(t, "happened", []string{"look through bootstrap", "create " + labelWatchers, "create " + labelAvailability}, r.Happened)
	equal(t, "messages", 0, len(r.Messages))

	made := w.Resources()
	group, alert := standin.Plain(made[labelWatchers].Inputs).Mappable(), standin.Plain(made[labelAvailability].Inputs).Mappable()
	equal(t, "told", any([]any{map[string]any{"name": "owner", "emailAddress": "me@example.com", "useCommonAlertSchema": true}}), group["emailReceivers"])
	equal(t, "about", any([]any{string(made[labelVM].ID)}), alert["scopes"])
	equal(t, "tells", any([]any{map[string]any{"actionGroupId": string(made[labelWatchers].ID)}}), alert["actions"])
	criterion := alert["criteria"].(map[string]any)["allOf"].([]any)[0].(map[string]any)
	equal(t, "metric", []any{"VmAvailabilityMetric", "LessThan", 1.0, "Average"}, []any{criterion["metricName"], criterion["operator"], criterion["threshold"], criterion["timeAggregation"]})

	w.Set("bootstrap", "false")
	w.MustUp()
	w.Set("alerts", `{"azureEmail":"you@example.com"}`)
	equal(t, "another address", []string{"look through tunnel", "update " + labelWatchers}, w.MustUp().Happened)
	w.Set("alerts", "")
	equal(t, "nobody", []string{"look through tunnel", "delete " + labelAvailability, "delete " + labelWatchers}, w.MustUp().Happened)
}

// From the first deploy on, and gone with the rest; in a group that others use too with the stack's name.
func TestEngineAzureWatchesFromTheFirstDeploy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Set("alerts", `{"azureEmail":"me@example.com"}`)
	w.Set("resourceGroup", "shared")
	w.Azure.AddGroup("shared")
	first := w.MustUp()
	first.InOrder("create "+labelVM, "create "+labelAvailability)
	equal(t, "resources", sorted(append([]string{labelWatchers, labelAvailability},
		slices.DeleteFunc(slices.Clone(openResources), func(label string) bool { return label == "ResourceGroup openclaw" })...)), slices.Sorted(maps.Keys(w.Resources())))
	equal(t, "asked with it", true, w.Azure.Asked[len(w.Azure.Asked)-1].Watched)
	for _, label := range []string{labelWatchers, labelAvailability} {
		if id := string(w.Resources()[label].ID); !strings.Contains(id, "/openclaw-dev-") {
			t.Errorf("%s: %s", label, id)
		}
	}
	w.Destroy()
	for id := range w.Azure.Exists {
		if strings.Contains(string(id), "/providers/") {
			t.Errorf("left: %s", id)
		}
	}
}

// What a run left that was killed over it, the next one takes on.
func TestEngineAzureWatchesAfterAKilledRun(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"watchers", "availability"} {
		w := deployed(t)
		w.Set("alerts", `{"azureEmail":"me@example.com"}`)
		w.Azure.Killed = name
		if r := w.Up(); r.Err == nil {
			t.Fatalf("%s: nothing was killed", name)
		}
		w.Azure.Killed = ""
		w.MustUp()
	}
}

// Receivers are the host's affair: a layer that runs, and no resource of Azure's.
func TestEngineReceivers(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Secrets["openclaw:alerts"] = `{"phone":{"kind":"ntfy","url":"https://ntfy.sh/canary-of-a-receiver"}}`
	happened := w.MustUp().Happened
	for _, what := range happened {
		if !slices.Contains([]string{"look through bootstrap", "update alerts through bootstrap", "update proof through tunnel"}, what) {
			t.Errorf("happened: %q", happened)
		}
	}
	delete(w.Secrets, "openclaw:alerts")
	w.MustUp()
}
