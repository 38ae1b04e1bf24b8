package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"openclaw-azure/internal/sandbox"
	"openclaw-azure/internal/shell"
)

// sandbox reads how the operator relaxes the service's sandbox, as lines of the unit.
func (r *reader) sandbox() []string {
	v := r.value(KeySandbox)
	if v == "" {
		return nil
	}
	entries, err := members(v)
	if err != nil {
		r.fault(KeySandbox, v, errNotObject, "expected an object of directives by name", "pulumi config set --path sandbox.MemoryMax 95%")
		return nil
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	var names []string
	for _, d := range sandbox.Directives {
		if d.Relaxed != nil {
			names = append(names, d.Name)
		}
	}
	var lines []string
	for i, entry := range entries {
		key := KeySandbox + "." + entry.name
		remove := "pulumi config rm --path " + pathQuote(KeySandbox, entry.name)
		at := slices.IndexFunc(sandbox.Directives, func(d sandbox.Directive) bool { return d.Name == entry.name })
		switch {
		case at < 0:
			r.faultKey(key, errNotDirective, "expected one of "+strings.Join(names, ", "), remove)
			continue
		case i > 0 && entries[i-1].name == entry.name:
			r.faultKey(key, errTwice, "expected each directive once", "")
			continue
		case sandbox.Directives[at].Relaxed == nil:
			r.faultKey(key, errNotRelaxed, "it keeps the agent from "+sandbox.Directives[at].Cost, remove)
			continue
		}
		d := sandbox.Directives[at]
		value, ok := scalar(entry.value)
		if !ok || !d.Relaxed.MatchString(value) {
			r.fault(key, text(entry.value), errNotRelaxation, "expected something like "+d.Example,
				fmt.Sprintf("pulumi config set --path %s %s", key, shell.Quote(d.Example)))
			continue
		}
		lines = append(lines, d.Lines(value))
	}
	return lines
}
