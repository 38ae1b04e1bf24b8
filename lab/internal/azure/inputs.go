package azure

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// complete gives a resource the name and the location that its program left out.
func (r *run) complete(k *kind, req *pulumirpc.CheckRequest, olds, news resource.PropertyMap) error {
	name := resource.PropertyKey(k.name())
	if !news.HasValue(name) {
		made, random, err := automaticName(k, req, olds)
		if err != nil {
			return err
		}
		if made != nil {
			news[name] = *made
			if random {
				news[replaceFlag] = resource.NewProperty(true)
			}
		}
	}
	if k.located && !news.HasValue("location") {
		if location := r.defaultLocation(olds, news); location != nil {
			news["location"] = *location
		}
	}
	return nil
}

// automaticName keeps a name that was given before, whatever the rules say now.
func automaticName(k *kind, req *pulumirpc.CheckRequest, olds resource.PropertyMap) (*resource.PropertyValue, bool, error) {
	if old, ok := olds[resource.PropertyKey(k.name())]; ok {
		flag, flagged := olds[replaceFlag]
		return &old, flagged && flag.IsBool() && flag.BoolValue(), nil
	}
	give := func(name string, random bool) (*resource.PropertyValue, bool, error) {
		v := resource.NewProperty(name)
		return &v, random, nil
	}
	if rule := req.GetAutonaming(); rule != nil {
		switch rule.GetMode() {
		case pulumirpc.CheckRequest_AutonamingOptions_DISABLE:
			return nil, false, nil
		case pulumirpc.CheckRequest_AutonamingOptions_ENFORCE, pulumirpc.CheckRequest_AutonamingOptions_PROPOSE:
			return give(rule.GetProposedName(), true)
		}
	}
	logical := resource.URN(req.GetUrn()).Name()
	if !k.random {
		return give(logical, false)
	}
	name, err := resource.NewUniqueName(req.GetRandomSeed(), logical, 8, 0, nil)
	if err != nil {
		return nil, false, err
	}
	return give(name, true)
}

// defaultLocation is the one it had, the configured one, or that of its group.
func (r *run) defaultLocation(olds, news resource.PropertyMap) *resource.PropertyValue {
	if old, ok := olds["location"]; ok {
		return &old
	}
	if r.location != "" {
		v := resource.NewProperty(r.location)
		return &v
	}
	group, ok := news["resourceGroupName"]
	if !ok {
		return nil
	}
	if group.ContainsUnknowns() {
		v := resource.MakeComputed(resource.NewProperty(""))
		return &v
	}
	if !group.IsString() {
		return nil
	}
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	found := r.p.record.get(resourceGroup.id(r.p.record.Subscription, object{"resourceGroupName": group.StringValue()}))
	if found == nil {
		return nil
	}
	v := resource.NewProperty(found.Spec.text("location"))
	return &v
}

func missing(k *kind, news resource.PropertyMap) []*pulumirpc.CheckFailure {
	var failures []*pulumirpc.CheckFailure
	for _, name := range append(slices.Clone(k.path), k.required...) {
		if _, ok := news[resource.PropertyKey(name)]; ok {
			continue
		}
		reason := fmt.Sprintf("missing required property '%s'", name)
		if name == "location" {
			reason += ". Either set it explicitly or configure it with 'pulumi config set azure-native:location <value>'."
		}
		failures = append(failures, &pulumirpc.CheckFailure{Reason: reason})
	}
	return failures
}

// preview is what can be said of outputs before the resource is there: those that repeat an input.
func preview(k *kind, inputs resource.PropertyMap) resource.PropertyMap {
	unknown := resource.MakeComputed(resource.NewProperty(""))
	outputs := resource.PropertyMap{}
	for _, name := range append([]string{"id"}, k.outputs...) {
		key := resource.PropertyKey(name)
		if value, ok := inputs[key]; ok {
			outputs[key] = value
		} else {
			outputs[key] = unknown
		}
	}
	for at, names := range unknownWithin[k.token] {
		for _, name := range names {
			path := strings.Split(at+"."+name, ".")
			outputs = withUnknown(resource.NewProperty(outputs), path, unknown).ObjectValue()
		}
	}
	return outputs
}

// withUnknown marks what a path leads to, in every element of an array on its way, unless it is set.
func withUnknown(v resource.PropertyValue, path []string, unknown resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsArray():
		items := slices.Clone(v.ArrayValue())
		for i := range items {
			items[i] = withUnknown(items[i], path, unknown)
		}
		return resource.NewProperty(items)
	case v.IsObject():
		within := v.ObjectValue().Copy()
		key := resource.PropertyKey(path[0])
		value, set := within[key]
		switch {
		case len(path) > 1 && set:
			within[key] = withUnknown(value, path[1:], unknown)
		case len(path) == 1 && !set:
			within[key] = unknown
		}
		return resource.NewProperty(within)
	}
	return v
}

// refreshed moves into the inputs what changed in Azure: what it answers now against what it answered last. Defaults
// of Azure's that nobody set stay out of them that way, and so do arrays that a program leaves to others.
func refreshed(k *kind, inputs resource.PropertyMap, last, now object) resource.PropertyMap {
	result := inputs.Copy()
	for _, name := range k.inputs() {
		key := resource.PropertyKey(name)
		if _, set := inputs[key]; !set && slices.Contains(k.kept(), name) {
			continue
		}
		before, after := withoutReadOnly(last[name]), withoutReadOnly(now[name])
		switch {
		case same(before, after):
		case after == nil:
			delete(result, key)
		default:
			var set any
			if value, ok := inputs[key]; ok {
				set = value.MapRepl(nil, nil)
			}
			result[key] = resource.NewPropertyValue(merged(set, before, after))
		}
	}
	return result
}

// merged is what was set, with the differences between two answers applied to it.
func merged(set, before, after any) any {
	setObject, ok1 := asObject(set)
	beforeObject, ok2 := asObject(before)
	afterObject, ok3 := asObject(after)
	if ok1 && ok2 && ok3 {
		result := map[string]any{}
		for name, value := range setObject {
			_, was := beforeObject[name]
			_, is := afterObject[name]
			if is || !was {
				result[name] = value
			}
		}
		for name, value := range afterObject {
			if !same(beforeObject[name], value) {
				result[name] = merged(setObject[name], beforeObject[name], value)
			}
		}
		return result
	}
	setList, ok1 := set.([]any)
	beforeList, ok2 := before.([]any)
	afterList, ok3 := after.([]any)
	if ok1 && ok2 && ok3 {
		result := make([]any, len(afterList))
		for i, value := range afterList {
			switch {
			case i >= len(setList) || i >= len(beforeList):
				result[i] = value
			case same(beforeList[i], value):
				result[i] = setList[i]
			default:
				result[i] = merged(setList[i], beforeList[i], value)
			}
		}
		return result
	}
	return after
}

func withoutReadOnly(v any) any {
	switch v := v.(type) {
	case map[string]any:
		result := map[string]any{}
		for name, value := range v {
			if !slices.Contains(readOnlyWithin, name) {
				result[name] = withoutReadOnly(value)
			}
		}
		return result
	case []any:
		result := make([]any, len(v))
		for i, value := range v {
			result[i] = withoutReadOnly(value)
		}
		return result
	}
	return v
}

// imported makes inputs out of an answer, for a resource that no program made.
func imported(k *kind, id string, outputs object) resource.PropertyMap {
	inputs := k.pathOf(id)
	for _, name := range k.inputs() {
		if value := withoutReadOnly(outputs[name]); value != nil {
			inputs[name] = value
		}
	}
	return resource.NewPropertyMapFromMap(inputs)
}

// sameLocation compares as Azure does: "West US 2" is westus2.
func sameLocation(a, b resource.PropertyValue) bool {
	return a.IsString() && b.IsString() && location(a.StringValue()) == location(b.StringValue())
}

func location(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "")) }
