package config

import (
	"encoding/json"
	"strings"
)

// JSON as the CLI keeps it in the stack's file for what --path sets.

// member is one entry of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// members reads a JSON object in its own order, and keeps names that stand in
// it twice, of which a map would drop one.
func members(object string) ([]member, error) {
	dec := json.NewDecoder(strings.NewReader(object))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, errNotObject
	}
	var out []member
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var m member
		m.name = token.(string) // the decoder takes nothing else as a name
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errNotObject
	}
	return out, nil
}

// scalar is the text of a string, a number or a boolean: with --path the CLI
// makes the latter two of what looks like them.
func scalar(raw json.RawMessage) (string, bool) {
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || string(raw) == "null":
		return "", false
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	}
	return string(raw), true
}

// text is a JSON value as a message shows it.
func text(raw json.RawMessage) string {
	if s, ok := scalar(raw); ok {
		return s
	}
	return string(raw)
}
