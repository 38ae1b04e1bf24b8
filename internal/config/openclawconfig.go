package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/titanous/json5"

	"openclaw-azure/internal/shell"
)

// OwnedConfig are the parts of openclaw.json that decide who may talk to the gateway, what it loads besides and where
// its secrets are: those are the program's, and openclawEnv's.
var OwnedConfig = map[string]string{
	"$include": "what it includes nobody has looked at",
	"env":      "variables go into openclawEnv",
	"gateway":  "who may talk to it is decided by this program",
	"secrets":  "secrets go into openclawEnv, and into openclaw.json as \"${NAME}\"",
	"update":   "versions are set by openclawVersion",
}

// openclawConfig reads what is added to openclaw.json, which is JSON5 there and here. No fault repeats a value of it.
func (r *reader) openclawConfig() map[string]any {
	v := strings.TrimPrefix(r.value(KeyOpenClawConfig), "\ufeff")
	if v == "" {
		return nil
	}
	const want = "expected an object, as openclaw.json has it"
	entries, err := members(v)
	if err != nil {
		entries, err = members5(v)
	}
	if err != nil {
		r.faultKey(KeyOpenClawConfig, errNotObject, want, "pulumi config rm openclawConfig\npulumi config set --path openclawConfig.agents.defaults.model.primary PROVIDER/MODEL")
		return nil
	}
	config := map[string]any{}
	for _, entry := range entries {
		key := KeyOpenClawConfig + "." + entry.name
		if why, owned := OwnedConfig[entry.name]; owned {
			r.faultKey(key, errNotYours, why, r.configRemove(entry.name))
			continue
		}
		if _, twice := config[entry.name]; twice {
			r.faultKey(key, errTwice, "expected each key once", "")
			continue
		}
		var value any
		decoder := json.NewDecoder(bytes.NewReader(entry.value))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			r.faultKey(key, errNotObject, want, "")
			continue
		}
		config[entry.name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		r.leaves([]string{name}, config[name])
	}
	return config
}

// leaves looks at each value that is neither list nor object.
func (r *reader) leaves(path []string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			r.leaves(append(slices.Clone(path), name), value[name])
		}
		r.docker(path, value)
	case []any:
		for i, each := range value {
			at := append(slices.Clone(path), shell.Element(i))
			// What follows --token in a command line.
			if text, ok := each.(string); ok && i > 0 && isSecretOption(value[i-1]) && !reference.MatchString(text) {
				r.secretFault(at, text)
				continue
			}
			r.leaves(at, each)
		}
	case string:
		if isSecret(path, value) {
			r.secretFault(path, value)
		}
	case json.Number:
		if secretName.MatchString(nameOf(path)) {
			r.secretFault(path, value.String())
			return
		}
		r.numberForText(path)
	}
}

// Names of settings that hold a secret, and secrets that their makers give a form of their own.
var (
	keyName    = regexp.MustCompile(`(?i)api[_-]?keys?$`)
	secretName = regexp.MustCompile(`(?i)((api|access|secret|signing|private)[_-]?keys?|token|password|passphrase|secret|credentials?|authorization)$`)
	secretForm = regexp.MustCompile(`^(Bearer|Basic) \S{8,}$|^(sk|pk|rk)-[A-Za-z0-9_-]{16,}$|^(xox[a-z]|xapp)-|^gh[a-z]_[A-Za-z0-9]{20,}|^github_pat_|^glpat-|^AIza[A-Za-z0-9_-]{30,}|^AKIA[A-Z0-9]{12,}|^[0-9]{6,}:[A-Za-z0-9_-]{30,}$|^eyJ[A-Za-z0-9_-]{20,}\.|-----BEGIN [A-Z ]*PRIVATE KEY`)
	reference  = regexp.MustCompile(`(^|[^$])\$\{[A-Z_][A-Z0-9_]*\}`)
	option     = regexp.MustCompile(`^--?[A-Za-z-]+$`)
	// What stands for a key where none is wanted, or where OpenClaw itself finds it: ollama, secretref-managed, OLLAMA_API_KEY.
	noKey = regexp.MustCompile(`^([a-z]+(-[a-z]+)*|[A-Z]+(_[A-Z]+)+)$`)
)

// nameOf is the name of a setting: an element of a list has the list's.
func nameOf(path []string) string {
	for _, name := range slices.Backward(path) {
		if !shell.IsElement(name) {
			return name
		}
	}
	return ""
}

func isSecretOption(value any) bool {
	text, ok := value.(string)
	return ok && option.MatchString(text) && secretName.MatchString(text)
}

// isSecret tells whether a text is a secret that the stack's file would show to whoever reads it.
func isSecret(path []string, value string) bool {
	if value == "" || reference.MatchString(value) {
		return false
	}
	if u, err := url.Parse(value); err == nil && u.User != nil && u.Host != "" {
		if _, with := u.User.Password(); with {
			return true
		}
	}
	name := nameOf(path)
	return secretForm.MatchString(value) || secretName.MatchString(name) && !(keyName.MatchString(name) && noKey.MatchString(value))
}

// secretFault says how a secret becomes a variable.
func (r *reader) secretFault(path []string, value string) {
	if name, known := keyOfSetting(path); known {
		r.faultKey(shell.ConfigPath(KeyOpenClawConfig, path...), errNotSecret, "expected it in openclawKeys."+name,
			again+KeyOpenClawKeys+"."+name+"    # asks for the value\n"+r.configRemove(path...)+"\nthe old value was readable: renew it where it came from")
		return
	}
	variable := r.variableOf(path)
	text, rest := "${"+variable+"}", ""
	switch scheme, _, more := strings.Cut(value, " "); {
	case strings.Contains(value, "://"):
		rest = "    # or with the rest of the address around it"
	case more && (scheme == "Bearer" || scheme == "Basic"):
		text = scheme + " " + text
	}
	r.faultKey(shell.ConfigPath(KeyOpenClawConfig, path...), errNotSecret, "expected a variable in its place",
		"pulumi config set --secret --path "+KeyOpenClawEnv+"."+variable+"    # asks for the value\n"+r.configSet("--plaintext ", text, path...)+rest+
			"\nthe old value was readable: renew it where it came from")
}

var (
	capital   = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	notInName = regexp.MustCompile(`[^A-Z0-9]+`)
)

// variableOf makes a variable's name of a setting's, of as much of it as no other has: channels.telegram.botToken is
// TELEGRAM_BOT_TOKEN.
func (r *reader) variableOf(path []string) string {
	whole := shell.ConfigPath("", path...)
	for from := max(0, len(path)-2); ; from-- {
		name := strings.ToUpper(capital.ReplaceAllString(strings.Join(path[from:], "_"), "${1}_$2"))
		name = strings.Trim(notInName.ReplaceAllString(name, "_"), "_")
		if !envName.MatchString(name) || reserved(name) {
			name = "KEY_" + name
		}
		if other, taken := r.variables[name]; taken && other != whole && from > 0 {
			continue
		}
		r.variables[name] = whole
		return name
	}
}

// numberForText refuses numbers where OpenClaw compares texts: --path makes one of whatever looks like it, a telephone
// number loses its plus, and a long id its last digits.
func (r *reader) numberForText(path []string) {
	if len(path) < 2 || !strings.HasSuffix(strings.ToLower(path[len(path)-2]), "allowfrom") {
		return
	}
	example := "ID"
	if path[1] == "whatsapp" {
		example = "+NUMBER"
	}
	r.faultKey(shell.ConfigPath(KeyOpenClawConfig, path...), errNotText, "expected a text, with its plus where it is a telephone number",
		r.configSet("--type string ", example, path...))
}

// docker refuses OpenClaw's own sandbox where it would run tools in containers: the machine has none.
func (r *reader) docker(path []string, sandbox map[string]any) {
	if path[0] != "agents" || path[len(path)-1] != "sandbox" {
		return
	}
	mode, set := sandbox["mode"].(string)
	if backend, other := sandbox["backend"].(string); !set || mode == "off" || other && backend != "docker" {
		return
	}
	at := append(slices.Clone(path), "mode")
	r.faultKey(shell.ConfigPath(KeyOpenClawConfig, at...), errNeedsDocker, "expected off: the service's own sandbox bounds the agent, docs/sandbox.md", r.configRemove(at...))
}

// pasted tells whether openclawConfig is one text, which --path would throw away. What --path has set, the CLI writes its
// own way.
func (r *reader) pasted() bool {
	v := r.value(KeyOpenClawConfig)
	var object map[string]any
	decoder := json.NewDecoder(strings.NewReader(v))
	decoder.UseNumber()
	if decoder.Decode(&object) != nil {
		return true
	}
	var own bytes.Buffer
	encoder := json.NewEncoder(&own)
	encoder.SetEscapeHTML(false)
	escaped, err := json.Marshal(object)
	return err != nil || encoder.Encode(object) != nil || v != string(escaped) && v != strings.TrimSuffix(own.String(), "\n")
}

// configSet says how to set a value within openclawConfig.
func (r *reader) configSet(options, value string, path ...string) string {
	if r.pasted() {
		return "write " + value + " there, and set the text of openclawConfig anew: --path would throw it away"
	}
	return "pulumi config set --path " + options + pathQuote(KeyOpenClawConfig, path...) + " " + shell.Quote(value)
}

// configRemove says how to take a value out of openclawConfig.
func (r *reader) configRemove(path ...string) string {
	if r.pasted() {
		return "take it out, and set the text of openclawConfig anew"
	}
	return "pulumi config rm --path " + pathQuote(KeyOpenClawConfig, path...)
}

var (
	hex       = regexp.MustCompile(`^-?0[xX]`)
	lonePoint = regexp.MustCompile(`\.($|[eE])`)
)

// members5 reads a JSON5 object, which OpenClaw's own file is.
func members5(object string) ([]member, error) {
	decoder := json5.NewDecoder(strings.NewReader(object))
	decoder.UseNumber()
	var value, more any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errNotObject
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	var out []member
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text, err := json.Marshal(plainNumbers(fields[name]))
		if err != nil {
			return nil, err
		}
		out = append(out, member{name, text})
	}
	return out, nil
}

// plainNumbers writes the numbers of JSON5 as JSON has them.
func plainNumbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, each := range value {
			value[name] = plainNumbers(each)
		}
	case []any:
		for i, each := range value {
			value[i] = plainNumbers(each)
		}
	case json5.Number:
		text := strings.TrimPrefix(value.String(), "+")
		if n, ok := new(big.Int).SetString(text, 0); ok && hex.MatchString(text) {
			return json.Number(n.String())
		}
		digits := strings.TrimPrefix(text, "-")
		sign := text[:len(text)-len(digits)]
		if strings.HasPrefix(digits, ".") {
			digits = "0" + digits
		}
		return json.Number(sign + lonePoint.ReplaceAllString(digits, "$1"))
	}
	return value
}
