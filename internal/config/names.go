package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"openclaw-azure/internal/shell"
)

// Keys that the program does not read, and how a command of Pulumi's spells one.

// objects are the keys whose members --path sets.
var objects = append(slices.Clone(secretObjects), KeyPeers, KeyOpenClawConfig, KeySandbox, KeyTags, KeyOpenClawProviders, KeyOpenClawBudget, KeyOpenClawPrices)

// strangers refuses every key in the project's own namespace that the program
// does not read: the CLI takes any, and a misspelt one would be ignored without
// a word.
func (r *reader) strangers() {
	var known []string
	for name := range r.defaults {
		known = append(known, name)
	}
	slices.Sort(known)
	var full []string
	for key := range r.raw.values {
		full = append(full, key)
	}
	slices.Sort(full)
	for _, key := range full {
		namespace, name, _ := strings.Cut(key, ":")
		switch {
		case namespace == r.raw.project && slices.Contains(known, name):
		case namespace == r.raw.project:
			r.stranger(name, known)
		case slices.Contains(known, namespace):
			// `pulumi config set bootstrap:false` makes a namespace of the key.
			r.assignment(key, namespace, name, known)
		}
	}
}

func (r *reader) stranger(name string, known []string) {
	if base, value, assigned := strings.Cut(name, "="); assigned {
		r.assignment(name, strings.TrimSpace(base), strings.TrimSpace(value), known)
		return
	}
	root, member, dotted := strings.Cut(name, ".")
	if dotted && slices.Contains(objects, root) {
		set, hint := "pulumi config set --path "+name+" VALUE", ""
		if secretMember(root, member) {
			set = "pulumi config set --secret --path " + name + "    # asks for the value"
			hint = "\nwhere the old value was readable, renew it where it came from"
		}
		r.faultKey(name, errPathForgotten, "expected --path, since the dot leads into "+root,
			"pulumi config rm "+shell.Quote(name)+"\n"+set+hint)
		return
	}
	if key, known := keyOfVariable(name); known {
		r.faultKey(name, errUnknownKey, "expected it in "+KeyOpenClawKeys, "pulumi config rm "+name+"\n"+again+KeyOpenClawKeys+"."+key+"    # asks for the value\nwhere the old value was readable, renew it where it came from")
		return
	}
	near := nearest(name, known)
	hint := "pulumi config rm " + shell.Quote(name)
	if edits(name, near) <= nearEnough {
		hint += "\n" + r.setCommand(near, "VALUE")
	}
	r.faultKey(name, errUnknownKey, fmt.Sprintf("expected %q, the nearest that it knows", near), hint)
}

// assignment explains a key such as "bootstrap=false". key is the whole of it.
func (r *reader) assignment(key, base, value string, known []string) {
	const want = "expected a space between key and value"
	root, rest, dotted := strings.Cut(base, ".")
	name := nearest(root, known)
	variable, isVariable := keyOfVariable(root)
	switch {
	case isVariable:
		r.faultKey(base+"=…", errAssignmentKey, want, r.exposedHint(KeyOpenClawKeys+"."+variable))
		return
	case secretMember(name, rest):
		r.faultKey(base+"=…", errAssignmentKey, want, r.exposedHint(name+"."+cmp.Or(rest, "NAME")))
		return
	case edits(root, name) > nearEnough:
		// Nobody knows what this was meant to be: it may be an API key.
		r.faultKey(base+"=…", errAssignmentKey, want+fmt.Sprintf(", and %q, the nearest that it knows", name),
			outOfFile)
		return
	case dotted && !publicMember(rest[strings.LastIndexByte(rest, '.')+1:]), r.secret(name):
		r.faultKey(base+"=…", errAssignmentKey, want, outOfFile)
		return
	case dotted:
		r.faultKey(key, errAssignmentKey, want,
			"pulumi config rm "+shell.Quote(key)+"\npulumi config set --path "+shell.Quote(name+"."+rest)+" "+shell.Quote(cmp.Or(value, "VALUE")))
		return
	}
	value = cmp.Or(value, "VALUE")
	now := fmt.Sprintf("%s is still %q", name, r.value(name))
	switch {
	case r.value(name) == "":
		now = name + " is still not set"
	case name == KeyBootstrap && r.value(name) == "true":
		now += " and port 22 is still open"
	case name == KeyBootstrap && r.value(name) == "false":
		now += " and port 22 stays closed"
	}
	// Only the whole key removes it; either spelling sets what was meant.
	remove := "pulumi config rm " + shell.Quote(key)
	if r.value(name) == value {
		r.faultKey(key, errAssignmentKey, now, remove)
		return
	}
	hint := remove + " && " + r.setCommand(name, value)
	if name != KeyPeers && name != KeyLocation {
		hint += "\nor, with \"=\": " + remove + " && pulumi config set-all --plaintext " + shell.Quote(name+"="+value)
	}
	r.faultKey(key, errAssignmentKey, now, hint)
}

// outOfFile is how a key goes that no command line should repeat.
const outOfFile = "take its line out of the stack's file, Pulumi.STACK.yaml"

// publicMember tells whether what stands behind a member's name is no secret, also where it was written into the key.
func publicMember(name string) bool {
	return name == "address" || name == "publicKey" || name == "observe" || name == "kind" || name == azureEmail
}

// setCommand is the command that sets a key, VALUE standing for what the user
// has to fill in.
func (r *reader) setCommand(key, value string) string {
	switch key {
	case KeyPeers:
		return "pulumi config set --path peers.NAME.address ADDRESS"
	case KeyOpenClawConfig:
		return "pulumi config set --path openclawConfig.agents.defaults.model.primary PROVIDER/MODEL"
	case KeyOpenClawEnv, KeyOpenClawKeys:
		return again + key + ".NAME    # asks for the value"
	case KeyAlerts:
		return again + "alerts.NAME.url    # asks for the value"
	case KeyOpenClawProviders:
		return "pulumi config set --path openclawProviders.NAME.url https://HOST/PREFIX"
	case KeyOpenClawBudget:
		return "pulumi config set --path openclawBudget.PROVIDER.usdPerDay 5"
	case KeyOpenClawPrices:
		return "pulumi config set --path 'openclawPrices.PROVIDER[\"MODEL\"].input' VALUE"
	case KeyTags:
		return "pulumi config set --path tags.NAME VALUE"
	case KeySandbox:
		return "pulumi config set --path sandbox.DIRECTIVE VALUE"
	}
	return "pulumi config set " + key + " " + shell.Quote(value)
}

// nearest is the known word that takes the fewest edits, whatever its case.
func nearest(word string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int { return cmp.Compare(edits(word, a), edits(word, b)) })
}

// edits counts the letters to insert, delete or replace between two words. A
// namespace that was left out counts nothing: "location" is near to
// azure-native:location.
func edits(a, b string) int {
	if _, bare, ok := strings.Cut(b, ":"); ok {
		b = bare
	}
	from, to := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range from {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range to {
			replaced := diagonal
			if r != s {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}

// pathQuote writes the names as --path reads them, for a shell.
func pathQuote(root string, names ...string) string {
	return shell.Quote(shell.ConfigPath(root, names...))
}
