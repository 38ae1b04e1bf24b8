package azure

import (
	"strings"
	"testing"
)

func alertInputs(s *stack, group *made) object {
	return s.in()(object{"ruleName": "availability", "location": "global", "enabled": true, "severity": 1, "scopes": []any{s.vm.id},
		"evaluationFrequency": "PT1M", "windowSize": "PT5M", "actions": []any{object{"actionGroupId": group.id}},
		"criteria": object{"odataType": singleResource, "allOf": []any{object{"criterionType": "StaticThresholdCriterion", "name": "available",
			"metricNamespace": "Microsoft.Compute/virtualMachines", "metricName": availability, "timeAggregation": "Average", "operator": "LessThan", "threshold": 1}}}})
}

func groupInputs(s *stack) object {
	return s.in()(object{"actionGroupName": "watchers", "location": "Global", "enabled": true, "groupShortName": "openclaw",
		"emailReceivers": []any{object{"name": "owner", "emailAddress": "me@example.com"}}})
}

// TestAlertsOfAzure: made, told of as they are, unchanged by a refresh, changed, and gone with the group.
func TestAlertsOfAzure(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	group := e.create(actionGroup, "watchers", groupInputs(s))
	alert := e.create(metricAlert, "availability", alertInputs(s, group))
	if want := "/providers/Microsoft.Insights/actionGroups/watchers"; !strings.HasSuffix(group.id, want) {
		t.Errorf("id %s, want %s", group.id, want)
	}
	if want := "/providers/Microsoft.Insights/metricAlerts/availability"; !strings.HasSuffix(alert.id, want) {
		t.Errorf("id %s, want %s", alert.id, want)
	}
	if receiver := group.state.objects("emailReceivers")[0]; receiver.text("status") != "Enabled" || receiver.text("emailAddress") != "me@example.com" {
		t.Errorf("receiver %v", receiver)
	}
	if !alert.state.truth("autoMitigate") || alert.state.text("type") != "Microsoft.Insights/metricAlerts" || alert.state.has("provisioningState") {
		t.Errorf("alert %v", alert.state)
	}
	for _, m := range []*made{group, alert} {
		before := m.inputs
		if e.read(m) || !same(before, m.inputs) {
			t.Errorf("%s: a refresh makes %v of %v", m.id, m.inputs, before)
		}
	}
	e.update(group, set(groupInputs(s), "emailReceivers.emailAddress", "you@example.com"))
	e.delete(alert)
	e.delete(group)
	if !e.read(group) || !e.read(alert) {
		t.Error("something is left")
	}
}

func TestRefusedAlertsOfAzure(t *testing.T) {
	e := newEngine(t)
	s := e.machine()
	group := e.create(actionGroup, "watchers", groupInputs(s))
	alert := alertInputs(s, group)
	for _, test := range []struct {
		name   string
		kind   *kind
		inputs object
		want   string
	}{
		{"a long short name", actionGroup, set(set(groupInputs(s), "actionGroupName", "a"), "groupShortName", "openclaw-alerts"), `Code="ActionGroupShortNameInvalid"`},
		{"no address", actionGroup, set(set(groupInputs(s), "actionGroupName", "a"), "emailReceivers.emailAddress", "me"), `Code="EmailAddressInvalid"`},
		{"of nothing", metricAlert, set(alert, "scopes", []any{s.vm.id + "x"}), `Code="ResourceNotFound"`},
		{"to nobody", metricAlert, set(alert, "actions.actionGroupId", group.id+"x"), `Code="ActionGroupNotFound"`},
		{"another metric", metricAlert, set(alert, "criteria.allOf.metricName", "Availability"), `Couldn't find a metric named Availability`},
		{"a severity", metricAlert, set(alert, "severity", 5), `The severity must be between 0 and 4.`},
		{"a frequency", metricAlert, set(alert, "evaluationFrequency", "PT2M"), `is not supported`},
	} {
		if _, err := e.tryCreate(test.kind, "refused", test.inputs); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}
