package host

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/keys/keystest"
	"openclaw-azure/internal/layer"
)

// TestAlertsLook: the timer is on where somebody is to be told, and off where nobody is.
func TestAlertsLook(t *testing.T) {
	stack, peers := keystest.Keys(t)
	for alerts, want := range map[string]bool{
		``:                                false,
		`{"azureEmail":"me@example.com"}`: false,
		`{"phone":{"kind":"ntfy","url":"https://ntfy.sh/topic"}}`: true,
	} {
		h := newHostOf(testConfig(t, map[string]string{"openclaw:alerts": alerts}), stack, peers)
		l := h.alerts()
		i := slices.IndexFunc(l.Units, func(u layer.Unit) bool { return u.Name == "openclaw-alert.timer" })
		if timer := l.Units[i]; *timer.Enabled != want || *timer.Active != want {
			t.Errorf("alerts %s: the timer is enabled: %v, active: %v", alerts, *timer.Enabled, *timer.Active)
		}
		if restarts := strings.Contains(strings.Join(slices.Concat(l.Reload...), " "), "restart openclaw-alert.timer"); restarts != want {
			t.Errorf("alerts %s: a reload starts the timer: %v", alerts, restarts)
		}
	}
}

// TestReceiversReachTheProgram as they are configured, for root alone.
func TestReceiversReachTheProgram(t *testing.T) {
	stack, peers := keystest.Keys(t)
	h := newHostOf(testConfig(t, map[string]string{"openclaw:alerts": `{"hook":{"kind":"webhook","url":"https://a.example/x?a=b&c=<d>"}}`}), stack, peers)
	files, err := h.files("alerts")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(files, func(f layer.File) bool { return f.Path == "/etc/openclaw-alert/alerts.json" })
	var got struct{ Receivers []config.Receiver }
	if err := json.Unmarshal(files[i].Content, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]config.Receiver{{Name: "hook", Kind: "webhook", URL: "https://a.example/x?a=b&c=<d>"}}, got.Receivers); diff != "" {
		t.Error(diff)
	}
	if files[i].Mode != "0600" || files[i].Owner != "root" {
		t.Errorf("it is %s's with mode %s", files[i].Owner, files[i].Mode)
	}
}
