package azure

import (
	"net/mail"
	"strings"
)

// What Azure Monitor refuses of action groups and metric alerts. The texts are from memory of public reports.

// longestShortName is that of an action group.
const longestShortName = 12

func checkActions(r *stored) error {
	if name := r.Spec.text("groupShortName"); name == "" || len(name) > longestShortName {
		return badRequest("ActionGroupShortNameInvalid", "The action group short name '%s' is invalid. It must be 1 to %d characters long.", name, longestShortName)
	}
	seen := map[string]bool{}
	for _, receiver := range r.Spec.objects("emailReceivers") {
		name, address := receiver.text("name"), receiver.text("emailAddress")
		if name == "" || seen[strings.ToLower(name)] {
			return badRequest("ReceiverNameInvalid", "The receiver name '%s' is empty or not unique in the action group.", name)
		}
		seen[strings.ToLower(name)] = true
		if parsed, err := mail.ParseAddress(address); err != nil || parsed.Address != address {
			return badRequest("EmailAddressInvalid", "The email address of receiver '%s' is invalid.", name)
		}
	}
	return nil
}

// Of one machine: the lab knows its metric of availability, and no other.
const (
	singleResource = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
	availability   = "VmAvailabilityMetric"
)

func (c *change) checkAlert(r *stored) error {
	scopes := r.Spec.texts("scopes")
	if len(scopes) != 1 {
		return labCannot("has alerts about one resource alone: scopes %q", scopes)
	}
	if machine := c.get(scopes[0]); machine == nil || machine.Kind != virtualMachine.token {
		return badRequest("ResourceNotFound", "The resource '%s' could not be found.", scopes[0])
	}
	for _, action := range r.Spec.objects("actions") {
		if group := c.get(action.text("actionGroupId")); group == nil || group.Kind != actionGroup.token {
			return badRequest("ActionGroupNotFound", "The action group '%s' could not be found.", action.text("actionGroupId"))
		}
	}
	if r.Spec.text("criteria.odataType") != singleResource {
		return labCannot("has no criteria of type %q", r.Spec.text("criteria.odataType"))
	}
	for _, criterion := range r.Spec.objects("criteria.allOf") {
		if criterion.text("metricNamespace") != virtualMachine.arm || criterion.text("metricName") != availability {
			return badRequest("BadRequest", "Couldn't find a metric named %s. Make sure the name is correct.", criterion.text("metricName"))
		}
	}
	if severity, is := r.Spec.number("severity"); !is || severity < 0 || severity > 4 {
		return badRequest("BadRequest", "The severity must be between 0 and 4.")
	}
	frequency, window := r.Spec.text("evaluationFrequency"), r.Spec.text("windowSize")
	if !validFrequency[frequency] || !validFrequency[window] && window != "PT6H" && window != "PT12H" && window != "P1D" {
		return badRequest("BadRequest", "The evaluation frequency '%s' or the window size '%s' is not supported.", frequency, window)
	}
	return nil
}

var validFrequency = map[string]bool{"PT1M": true, "PT5M": true, "PT15M": true, "PT30M": true, "PT1H": true}
