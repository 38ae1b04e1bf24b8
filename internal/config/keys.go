package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/shell"
)

// Provider is a service whose key the host adds to what the agent asks of it.
type Provider struct {
	Name   string
	Key    string // secret
	Host   string // of its API
	Port   uint16 // TCP, by TLS
	Prefix string // of its paths, without a slash at its end; "" for none
	Header string // that has the key, in lower case
	API    string // what it speaks, in OpenClaw's words; APITelegram for Telegram
	Budget Budget
}

// Budget bounds what is asked of a provider; nil and "" for no limit.
type Budget struct {
	RequestsPerMinute *int
	TokensPerDay      *int
	USDPerDay         string // a decimal number
}

// Price of a model in USD for a million tokens, as decimal numbers; "" for what the table has.
type Price struct{ Input, Output, CacheRead, CacheWrite string }

// What a provider may speak. APITelegram is no model's.
const (
	APIAnthropic       = "anthropic-messages"
	APIOpenAI          = "openai-completions"
	APIOpenAIResponses = "openai-responses"
	APIGoogle          = "google-generative-ai"
	APITelegram        = "telegram"
)

var apis = []string{APIOpenAI, APIOpenAIResponses, APIAnthropic, APIGoogle}

const authorization = "authorization"

// Bearer tells whether the key goes into its header as a bearer's token.
func (p Provider) Bearer() bool { return p.Header == authorization }

func (p Provider) Anthropic() bool { return p.API == APIAnthropic }
func (p Provider) Google() bool    { return p.API == APIGoogle }

// Authority is what the provider is called in a request.
func (p Provider) Authority() string {
	if p.Port == 443 {
		return p.Host
	}
	return fmt.Sprintf("%s:%d", p.Host, p.Port)
}

// OpenAI tells whether the provider has OpenAI's paths.
func (p Provider) OpenAI() bool { return p.API == APIOpenAI || p.API == APIOpenAIResponses }

// BaseURL is where the agent asks for it.
func (p Provider) BaseURL() string {
	return fmt.Sprintf("http://127.0.0.1:%d/%s%s", machine.KeysPort, p.Name, p.Prefix)
}

// known are the providers that need no openclawProviders. Their names, and what they speak, are OpenClaw's own.
var known = []Provider{
	{Name: "anthropic", Host: "api.anthropic.com", Header: "x-api-key", API: APIAnthropic},
	{Name: "deepseek", Host: "api.deepseek.com", Header: authorization, API: APIOpenAI},
	{Name: "google", Host: "generativelanguage.googleapis.com", Prefix: "/v1beta", Header: "x-goog-api-key", API: APIGoogle},
	{Name: "groq", Host: "api.groq.com", Prefix: "/openai/v1", Header: authorization, API: APIOpenAI},
	{Name: "mistral", Host: "api.mistral.ai", Prefix: "/v1", Header: authorization, API: APIOpenAI},
	{Name: "openai", Host: "api.openai.com", Prefix: "/v1", Header: authorization, API: APIOpenAIResponses},
	{Name: "openrouter", Host: "openrouter.ai", Prefix: "/api/v1", Header: authorization, API: APIOpenAI},
	{Name: "telegram", Host: "api.telegram.org", API: APITelegram},
	{Name: "xai", Host: "api.x.ai", Prefix: "/v1", Header: authorization, API: APIOpenAIResponses},
}

// handed are the keys that OpenClaw itself has to hold, and the settings that they are for.
var handed = map[string][]string{
	"discord":  {"channels", "discord", "token"},
	"slackApp": {"channels", "slack", "appToken"},
	"slackBot": {"channels", "slack", "botToken"},
}

// variablesOf are those by which OpenClaw would find the same key in its environment.
var variablesOf = map[string][]string{
	"anthropic": {"ANTHROPIC_API_KEY", "ANTHROPIC_OAUTH_TOKEN"}, "deepseek": {"DEEPSEEK_API_KEY"}, "google": {"GEMINI_API_KEY", "GOOGLE_API_KEY"},
	"groq": {"GROQ_API_KEY"}, "mistral": {"MISTRAL_API_KEY"}, "openai": {"OPENAI_API_KEY"}, "openrouter": {"OPENROUTER_API_KEY"}, "xai": {"XAI_API_KEY"},
	"telegram": {"TELEGRAM_BOT_TOKEN"}, "discord": {"DISCORD_BOT_TOKEN"}, "slackApp": {"SLACK_APP_TOKEN"}, "slackBot": {"SLACK_BOT_TOKEN"},
}

// keyOfVariable is the name in openclawKeys of what OpenClaw reads from a variable.
func keyOfVariable(variable string) (name string, found bool) {
	for name, variables := range variablesOf {
		if slices.Contains(variables, variable) {
			return name, true
		}
	}
	return "", false
}

// keyOfSetting is the name in openclawKeys of what a setting of openclaw.json is for.
func keyOfSetting(path []string) (name string, found bool) {
	for name, setting := range handed {
		if slices.Equal(path, setting) {
			return name, true
		}
	}
	for _, p := range known {
		if p.API == APITelegram && slices.Equal(path, []string{"channels", "telegram", "botToken"}) ||
			slices.Equal(path, []string{"models", "providers", p.Name, "apiKey"}) {
			return p.Name, true
		}
	}
	return "", false
}

var (
	providerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	headerName   = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	// A header's value, of which HAProxy and OpenClaw read every character as itself.
	keyText  = regexp.MustCompile(`^[!-~]{8,1000}$`)
	botToken = regexp.MustCompile(`^[0-9]{3,20}:[A-Za-z0-9_-]{10,100}$`)
	amount   = regexp.MustCompile(`^[0-9]{1,6}(\.[0-9]{1,6})?$`)
	// A path that means the same to all who read it.
	plainPrefix = regexp.MustCompile(`^(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)
)

// Headers that say something else than who asks.
var notForKeys = []string{"host", "content-type", "content-length", "transfer-encoding", "connection", "accept", "accept-encoding", "expect", "te", "upgrade",
	"keep-alive", "proxy-connection", "trailer"}

// Headers of this prefix stay on the host.
const headersOfHost = "x-openclaw-"

// ownProviders reads openclawProviders: what the program does not know.
func (r *reader) ownProviders() []Provider {
	var out []Provider
	for _, entry := range r.objectOf(KeyOpenClawProviders, "providers") {
		key := KeyOpenClawProviders + "." + entry.name
		p := Provider{Name: entry.name, Header: authorization, API: APIOpenAI}
		_, taken := variablesOf[entry.name]
		switch {
		case !providerName.MatchString(entry.name):
			r.faultKey(key, errNotProvider, "expected lower-case letters, digits and -, a letter first", "pulumi config rm --path "+pathQuote(KeyOpenClawProviders, entry.name))
			continue
		case taken:
			r.faultKey(key, errReservedName, "expected none that the program knows by itself", "pulumi config rm --path "+key)
			continue
		}
		fields := r.fieldsOf(key, entry, "url", "header", "api")
		url, header, api := fields["url"], fields["header"], fields["api"]
		r.providerURL(key+".url", url, &p)
		if header != "" {
			p.Header = strings.ToLower(header)
			if !headerName.MatchString(p.Header) || slices.Contains(notForKeys, p.Header) || strings.HasPrefix(p.Header, headersOfHost) {
				r.fault(key+".header", header, errNotHeader, "expected the one that the provider reads its key from, such as x-api-key", "pulumi config rm --path "+key+".header    # authorization, as a bearer's")
			}
		}
		if api != "" {
			p.API = r.isOneOf(key+".api", api, apis...)
		}
		out = append(out, p)
	}
	return out
}

// providerURL reads where a provider is.
func (r *reader) providerURL(key, text string, p *Provider) {
	const want = "expected https, a public host's name, and perhaps a port and a path: https://api.example.com/v1"
	if text == "" {
		r.faultKey(key, errNotSet, want, "pulumi config set --path "+key+" https://HOST/PREFIX")
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery ||
		!hostName.MatchString(strings.ToLower(u.Hostname())) || len(u.Hostname()) > longestName || !plainPrefix.MatchString(strings.TrimRight(u.Path, "/")) || strings.Contains(u.Path, "..") {
		if u == nil || u.User != nil || u.RawQuery != "" {
			r.faultKey(key, errNotProviderURL, want, "") // it may hold a password, or a key
			return
		}
		r.fault(key, text, errNotProviderURL, want, "")
		return
	}
	p.Host, p.Port, p.Prefix = strings.ToLower(u.Hostname()), 443, strings.TrimRight(u.Path, "/")
	if u.Port() != "" {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || port == 0 {
			r.fault(key, text, errNotProviderURL, want, "")
		}
		p.Port = uint16(port)
	}
}

// openclawKeys reads the keys: of providers, which the host adds on the way, and those that OpenClaw is handed.
func (r *reader) openclawKeys(own []Provider) (providers []Provider, inMemory map[string]string) {
	names := slices.Sorted(maps.Keys(variablesOf))
	for _, p := range own {
		names = append(names, p.Name)
	}
	keys := r.secretMembers(KeyOpenClawKeys, "keys", func(name, value string) *Fault {
		key := KeyOpenClawKeys + "." + name
		switch {
		case !slices.Contains(names, name):
			return &Fault{Kind: errNotProvider, Want: "expected one of " + strings.Join(names, ", ") + ", or a provider of openclawProviders",
				Hint: "pulumi config rm --path " + pathQuote(KeyOpenClawKeys, name)}
		case name == "telegram" && value != "" && !botToken.MatchString(value):
			return &Fault{Kind: errNotKey, Want: "expected a bot's token, digits:letters", Hint: again + key + "    # asks for the value"}
		case value != "" && !keyText.MatchString(value):
			return &Fault{Kind: errNotKey, Want: "expected 8 to 1000 visible ASCII characters, no space among them", Hint: again + key + "    # asks for the value"}
		}
		return nil
	})
	for i, p := range slices.Concat(known, own) {
		if key, set := keys[p.Name]; set {
			p.Key, p.Port = key, cmp.Or(p.Port, 443)
			providers = append(providers, p)
		} else if i >= len(known) && !r.told(KeyOpenClawKeys+"."+p.Name) {
			r.faultKey(KeyOpenClawProviders+"."+p.Name, errAlone, "expected its key beside it", again+KeyOpenClawKeys+"."+p.Name+"    # asks for the value")
		}
	}
	for name := range handed {
		if key, set := keys[name]; set {
			if inMemory == nil {
				inMemory = map[string]string{}
			}
			inMemory[name] = key
		}
	}
	slices.SortFunc(providers, func(a, b Provider) int { return cmp.Compare(a.Name, b.Name) })
	return providers, inMemory
}

// told tells whether a fault of the key is among those found.
func (r *reader) told(key string) bool {
	return slices.ContainsFunc(r.faults, func(f *Fault) bool { return f.Key == key })
}

// keysTwice refuses a variable that would give the agent what openclawKeys keeps from it.
func (r *reader) keysTwice(env map[string]string, providers []Provider, inMemory map[string]string) {
	names := slices.Collect(maps.Keys(inMemory))
	for _, p := range providers {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, variable := range variablesOf[name] {
			if _, set := env[variable]; set {
				key := KeyOpenClawEnv + "." + variable
				r.faultKey(key, errTwice, "expected it in openclawKeys."+name+" alone: the agent reads its environment", "pulumi config rm --path "+key)
			}
		}
	}
}

// budgets reads what bounds the providers.
func (r *reader) budgets(providers []Provider) {
	for _, entry := range r.objectOf(KeyOpenClawBudget, "limits by provider") {
		key := KeyOpenClawBudget + "." + entry.name
		i := slices.IndexFunc(providers, func(p Provider) bool { return p.Name == entry.name && p.API != APITelegram })
		if i < 0 {
			r.faultKey(key, errNotProvider, "expected a provider of models whose key openclawKeys has", "pulumi config rm --path "+pathQuote(KeyOpenClawBudget, entry.name))
			continue
		}
		fields, budget := r.fieldsOf(key, entry, "requestsPerMinute", "tokensPerDay", "usdPerDay"), &providers[i].Budget
		budget.RequestsPerMinute = r.limit(key+".requestsPerMinute", fields["requestsPerMinute"], 100_000)
		budget.TokensPerDay = r.limit(key+".tokensPerDay", fields["tokensPerDay"], 1_000_000_000_000)
		if usd := fields["usdPerDay"]; usd != "" {
			budget.USDPerDay = usd
			if n, err := strconv.ParseFloat(usd, 64); !amount.MatchString(usd) || err != nil || n == 0 {
				r.fault(key+".usdPerDay", usd, errNotNumber, "expected a number such as 5 or 2.50, more than 0", "")
			}
		}
	}
}

func (r *reader) limit(key, text string, most int) *int {
	if text == "" {
		return nil
	}
	n := r.isNumber(key, text, 1, most)
	return &n
}

// prices reads what models cost, where the program's own table does not say so or is out of date.
func (r *reader) prices(providers []Provider) map[string]map[string]Price {
	var out map[string]map[string]Price
	for _, entry := range r.objectOf(KeyOpenClawPrices, "prices by provider and model") {
		key := KeyOpenClawPrices + "." + entry.name
		if !slices.ContainsFunc(providers, func(p Provider) bool { return p.Name == entry.name && p.API != APITelegram }) {
			r.faultKey(key, errNotProvider, "expected a provider of models whose key openclawKeys has", "pulumi config rm --path "+pathQuote(KeyOpenClawPrices, entry.name))
			continue
		}
		models, err := members(string(entry.value))
		if err != nil {
			r.fault(key, text(entry.value), errNotObject, "expected an object of models by name", "")
			continue
		}
		if out == nil {
			out = map[string]map[string]Price{}
		}
		out[entry.name] = map[string]Price{}
		for _, model := range models {
			at := shell.ConfigPath(KeyOpenClawPrices, entry.name, model.name)
			fields := r.fieldsOf(at, model, "input", "output", "cacheRead", "cacheWrite")
			for _, name := range slices.Sorted(maps.Keys(fields)) {
				if !amount.MatchString(fields[name]) {
					r.fault(at+"."+name, fields[name], errNotNumber, "expected USD for a million tokens, such as 3 or 0.25", "")
				}
			}
			if fields["input"] == "" || fields["output"] == "" {
				r.faultKey(at, errAlone, "expected input and output", "")
			}
			out[entry.name][model.name] = Price{fields["input"], fields["output"], fields["cacheRead"], fields["cacheWrite"]}
		}
	}
	return out
}

// objectOf reads an object's members, sorted by name, each once.
func (r *reader) objectOf(root, what string) []member {
	v := r.value(root)
	if v == "" {
		return nil
	}
	entries, err := members(v)
	if err != nil {
		r.fault(root, v, errNotObject, "expected an object of "+what, "pulumi config rm "+root+"\n"+r.setCommand(root, ""))
		return nil
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return slices.CompactFunc(entries, func(a, b member) bool {
		if a.name == b.name {
			r.faultKey(shell.ConfigPath(root, a.name), errTwice, "expected each once", "")
		}
		return a.name == b.name
	})
}

// fieldsOf reads the texts of an object whose members are known; a misspelt one would be ignored without a word.
func (r *reader) fieldsOf(key string, object member, names ...string) map[string]string {
	out := map[string]string{}
	fields, err := members(string(object.value))
	if err != nil {
		r.fault(key, text(object.value), errNotObject, "expected an object with "+strings.Join(names, ", "), "pulumi config set --path "+key+"."+names[0]+" VALUE")
		return out
	}
	for _, field := range fields {
		value, plain := scalar(field.value)
		before, _, assigned := strings.Cut(field.name, "=")
		switch {
		case assigned && strings.HasPrefix(key, KeyAlerts+"."):
			// The value is in the name: show neither it nor a command with it.
			r.faultKey(key+"."+before+"=…", errAssignmentKey, "expected the name alone, and a space before the value", r.exposedHint(key+"."+before))
		case strings.HasPrefix(key, KeyAlerts+".") && !memberText.MatchString(field.name):
			r.faultKey(key+".…", errUnknownKey, "expected "+strings.Join(names, ", "), outOfFile)
		case !slices.Contains(names, field.name):
			r.faultKey(key+"."+field.name, errUnknownKey, "expected "+strings.Join(names, ", "), "pulumi config rm --path "+shell.Quote(key+"."+field.name))
		case !plain:
			r.fault(key+"."+field.name, text(field.value), errNotPlain, "expected one value", "")
		case out[field.name] != "":
			r.faultKey(key+"."+field.name, errTwice, "expected each once", "")
		case value == "":
			r.fault(key+"."+field.name, value, errEmptyEnv, "expected a value", "pulumi config rm --path "+shell.Quote(key+"."+field.name))
		default:
			out[field.name] = value
		}
	}
	return out
}

// Placeholder is what OpenClaw is told in place of a key that the host adds.
const (
	Placeholder    = "held-by-the-host"
	BotPlaceholder = "1:" + Placeholder
)

// withKeys adds to the stack's part of openclaw.json where providers are asked, and where keys in memory come from. What it sets
// is not the stack's to set.
func (r *reader) withKeys(config map[string]any, providers []Provider, inMemory map[string]string) map[string]any {
	if len(providers) == 0 && len(inMemory) == 0 {
		return config
	}
	if config == nil {
		config = map[string]any{}
	}
	set := func(value any, path ...string) {
		at := config
		for i, name := range path[:len(path)-1] {
			next, isObject := at[name].(map[string]any)
			if !isObject {
				if _, other := at[name]; other {
					r.faultKey(shell.ConfigPath(KeyOpenClawConfig, path[:i+1]...), errNotObject, "expected an object, as openclaw.json has it", r.configRemove(path[:i+1]...))
				}
				next = map[string]any{}
				at[name] = next
			}
			at = next
		}
		last := path[len(path)-1]
		if _, theirs := at[last]; theirs {
			r.faultKey(shell.ConfigPath(KeyOpenClawConfig, path...), errNotYours, "openclawKeys decides it", r.configRemove(path...))
		}
		at[last] = value
	}
	unlessSet := func(value any, path ...string) {
		at := any(config)
		for _, name := range path {
			object, _ := at.(map[string]any)
			if at = object[name]; at == nil {
				set(value, path...)
				return
			}
		}
	}
	for _, p := range providers {
		if p.API == APITelegram {
			set(p.BaseURL(), "channels", "telegram", "apiRoot")
			set(BotPlaceholder, "channels", "telegram", "botToken")
			continue
		}
		at := []string{"models", "providers", p.Name}
		set(p.BaseURL(), append(at, "baseUrl")...)
		set(Placeholder, append(at, "apiKey")...)
		unlessSet(p.API, append(at, "api")...)
		unlessSet([]any{}, append(at, "models")...)
		unlessSet("merge", "models", "mode")
	}
	for _, name := range slices.Sorted(maps.Keys(inMemory)) {
		set(map[string]any{"source": "file", "provider": "keys", "id": "/" + name}, handed[name]...)
	}
	return config
}
