package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Azure's limits of tags: Microsoft's "Use tags to organize your Azure resources".
const (
	mostTags        = 48 // of the 50 of a resource, the program's own two taken off
	longestTag      = 512
	longestTagValue = 256
	notInTags       = `<>%&\?/`
)

// resourceGroupName: Microsoft's "Naming rules and restrictions for Azure resources".
var resourceGroupName = regexp.MustCompile(`^[-_.()\p{L}\p{N}]{0,89}[-_()\p{L}\p{N}]$`)

// resourceGroup reads the name of a group that exists.
func (r *reader) resourceGroup() string {
	const want = "expected the name of a resource group that exists: 90 letters, digits, and -_.() at most, no dot at its end"
	v, ok := r.plainText(KeyResourceGroup, want)
	if ok && v != "" && !resourceGroupName.MatchString(v) {
		r.fault(KeyResourceGroup, v, errNotGroup, want, "az group list --output table    # names all")
	}
	return v
}

// ownTags are those of the program, by which what it made is found; Azure reads names without case.
var ownTags = []string{"project", "stack"}

// tags reads the tags that every resource in Azure gets, by name.
func (r *reader) tags() map[string]string {
	v := r.value(KeyTags)
	if v == "" {
		return nil
	}
	entries, err := members(v)
	if err != nil {
		r.fault(KeyTags, v, errNotObject, "expected an object of tags by name", "pulumi config set --path tags.owner me")
		return nil
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	tags, seen := map[string]string{}, map[string]bool{}
	for _, entry := range entries {
		key, folded := KeyTags+"."+entry.name, strings.ToLower(entry.name)
		value, plain := scalar(entry.value)
		switch {
		case entry.name == "" || utf8.RuneCountInString(entry.name) > longestTag || strings.ContainsAny(entry.name, notInTags):
			r.faultKey(key, errNotTag, fmt.Sprintf("expected a name of %d characters at most, without any of %s", longestTag, notInTags),
				"pulumi config rm --path "+pathQuote(KeyTags, entry.name))
		case slices.Contains(ownTags, folded):
			r.faultKey(key, errReservedName, "expected another name, this one is the program's own", "pulumi config rm --path "+pathQuote(KeyTags, entry.name))
		case seen[folded]:
			r.faultKey(key, errTwice, "expected each tag once: Azure reads its name without case", "pulumi config rm --path "+pathQuote(KeyTags, entry.name))
		case !plain:
			r.fault(key, text(entry.value), errNotPlain, "expected a text", "")
		case utf8.RuneCountInString(value) > longestTagValue:
			r.fault(key, value, errLongTag, fmt.Sprintf("expected %d characters at most", longestTagValue), "")
		default:
			tags[entry.name] = value
		}
		seen[folded] = true
	}
	if len(entries) > mostTags {
		r.faultKey(KeyTags, errManyTags, fmt.Sprintf("expected %d at most, and there are %d", mostTags, len(entries)), "")
	}
	return tags
}
