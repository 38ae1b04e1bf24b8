package azure

import (
	"reflect"
	"strings"
)

// object is a JSON object: a request's body, or a part of it.
type object map[string]any

// at follows names separated by dots; nil where one is missing.
func (o object) at(path string) any {
	var v any = map[string]any(o)
	for _, name := range strings.Split(path, ".") {
		m, ok := asObject(v)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func (o object) text(path string) string {
	s, _ := o.at(path).(string)
	return s
}

func (o object) number(path string) (int, bool) {
	switch n := o.at(path).(type) {
	case float64:
		return int(n), true
	case int:
		return n, true
	}
	return 0, false
}

func (o object) truth(path string) bool {
	b, _ := o.at(path).(bool)
	return b
}

func (o object) has(path string) bool { return o.at(path) != nil }

func (o object) object(path string) object {
	m, _ := asObject(o.at(path))
	return m
}

func (o object) objects(path string) []object {
	var found []object
	list, _ := o.at(path).([]any)
	for _, item := range list {
		if m, ok := asObject(item); ok {
			found = append(found, m)
		}
	}
	return found
}

func (o object) texts(path string) []string {
	var found []string
	list, _ := o.at(path).([]any)
	for _, item := range list {
		if s, ok := item.(string); ok {
			found = append(found, s)
		}
	}
	return found
}

// clone copies all of it.
func (o object) clone() object {
	if o == nil {
		return nil
	}
	return object(cloneValue(map[string]any(o)).(map[string]any))
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, value := range v {
			m[name] = cloneValue(value)
		}
		return m
	case object:
		return cloneValue(map[string]any(v))
	case []any:
		list := make([]any, len(v))
		for i, value := range v {
			list[i] = cloneValue(value)
		}
		return list
	case int:
		return float64(v) // as JSON and the provider's protocol have it
	}
	return v
}

func asObject(v any) (object, bool) {
	switch v := v.(type) {
	case map[string]any:
		return v, true
	case object:
		return v, v != nil
	}
	return nil, false
}

// list makes a JSON array of objects.
func list[T any](items []T) []any {
	found := make([]any, 0, len(items))
	for _, item := range items {
		if o, ok := any(item).(object); ok {
			found = append(found, map[string]any(o))
			continue
		}
		found = append(found, item)
	}
	return found
}

// reference is how Azure names another resource within one.
func reference(id string) map[string]any { return map[string]any{"id": id} }

func same(a, b any) bool { return reflect.DeepEqual(cloneValue(a), cloneValue(b)) }
