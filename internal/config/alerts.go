package config

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"openclaw-azure/internal/shell"
)

// Receiver is told by the machine what stops on it.
type Receiver struct {
	Name string
	Kind string
	URL  string // secret
}

// Kinds of receivers.
const (
	ReceiverNtfy         = "ntfy"
	ReceiverWebhook      = "webhook"
	ReceiverHealthchecks = "healthchecks"
	ReceiverTelegram     = "telegram"
	ReceiverSMTP         = "smtp"
)

const wantReceiver = "expected lower-case letters, digits and -, a letter first, 32 characters at most"

// azureEmail is the member of alerts that is no receiver of the machine's: Azure itself writes there.
const azureEmail = "azureEmail"

const (
	longestURL = 2000 // of a receiver
	portMail   = "25" // between mail servers
)

type receiverKind struct {
	name, want, hint string
	fits             func(*url.URL) bool
}

// receiverKinds say how each kind's url looks: the machine's own program reads no other.
var receiverKinds = []receiverKind{
	{ReceiverNtfy, "https, a public host's name and a topic: https://ntfy.sh/TOPIC, or https://USER:PASSWORD@HOST/TOPIC", "", func(u *url.URL) bool {
		return onWeb(u) && topic.MatchString(u.EscapedPath()) && u.RawQuery == ""
	}},
	{ReceiverWebhook, "https, a public host's name, and perhaps a path and a query: https://HOST/PATH", "", onWeb},
	{ReceiverHealthchecks, "https, a public host's name and a check's path: https://hc-ping.com/UUID", "", func(u *url.URL) bool {
		return onWeb(u) && u.User == nil && checkPath.MatchString(u.EscapedPath()) && u.RawQuery == ""
	}},
	{ReceiverTelegram, "a bot of its own and a chat: https://api.telegram.org/botTOKEN/sendMessage?chat_id=ID", "", func(u *url.URL) bool {
		token, isBot := strings.CutPrefix(strings.TrimSuffix(u.EscapedPath(), "/sendMessage"), "/bot")
		chat := u.Query()
		return onWeb(u) && u.User == nil && isBot && strings.HasSuffix(u.Path, "/sendMessage") && botToken.MatchString(token) &&
			len(chat) == 1 && len(chat["chat_id"]) == 1 && chatID.MatchString(chat.Get("chat_id"))
	}},
	{ReceiverSMTP, "a login and two addresses: smtps://USER:PASSWORD@HOST:465/?from=A&to=B, or smtp://USER:PASSWORD@HOST:587/?from=A&to=B",
		"\nin USER and PASSWORD write @ as %40, : as %3A, / as %2F and % as %25; in A and B write + as %2B", func(u *url.URL) bool {
			password, _ := u.User.Password()
			query := u.Query()
			return (u.Scheme == "smtps" || u.Scheme == "smtp") && publicHost(u) && loginText.MatchString(u.User.Username()) && loginText.MatchString(password) &&
				(u.Path == "" || u.Path == "/") && len(query) == 2 && len(query["from"]) == 1 && len(query["to"]) == 1 &&
				isMailAddress(query.Get("from")) && isMailAddress(query.Get("to"))
		}},
}

var (
	receiverName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	memberText   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)
	urlText      = regexp.MustCompile(`^[!-~]+$`)
	topic        = regexp.MustCompile(`^/[A-Za-z0-9_-]{1,64}$`)
	checkPath    = regexp.MustCompile(`^(/[A-Za-z0-9_-]{1,100}){1,4}$`)
	chatID       = regexp.MustCompile(`^(-?[0-9]{1,20}|@[A-Za-z0-9_]{5,32})$`)
	loginText    = regexp.MustCompile(`^[ -~]{1,500}$`) // decoded: what AUTH takes from every client
	mailUser     = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+)*$`)
)

// alerts reads who is told when something stops. No message shows a url: whoever knows it is let in.
func (r *reader) alerts() (receivers []Receiver, email string) {
	for _, entry := range r.objectOf(KeyAlerts, "receivers by name") {
		name, _, assigned := strings.Cut(entry.name, "=")
		key := KeyAlerts + "." + name
		switch {
		case assigned:
			r.faultKey(key+"=…", errAssignmentKey, "expected the name alone, and a space before the value", r.exposedHint(KeyAlerts+".NAME.url"))
		case name == azureEmail:
			email = r.azureEmail(key, entry)
		case !memberText.MatchString(name):
			r.faultKey(KeyAlerts+".…", errNotReceiver, wantReceiver, outOfFile) // it may be a url
		case !receiverName.MatchString(name):
			r.faultKey(key, errNotReceiver, wantReceiver, "pulumi config rm --path "+pathQuote(KeyAlerts, name))
		default:
			receivers = append(receivers, r.receiver(key, entry))
		}
	}
	return receivers, email
}

func (r *reader) receiver(key string, entry member) Receiver {
	fields := r.fieldsOf(key, entry, "kind", "url")
	out := Receiver{Name: entry.name, Kind: fields["kind"], URL: fields["url"]}
	i := slices.IndexFunc(receiverKinds, func(k receiverKind) bool { return k.name == out.Kind })
	if i < 0 && !r.told(key) && !r.told(key+".kind") {
		want := "expected " + strings.Join(receiverNames(), ", ")
		if out.Kind == "" {
			r.faultKey(key+".kind", errNotSet, want, "pulumi config set --path "+key+".kind KIND")
		} else {
			r.faultKey(key+".kind", errNotOneOf, want, "pulumi config set --path "+key+".kind KIND")
		}
	}
	setURL := again + key + ".url    # asks for the value"
	switch {
	case out.URL == "" && !r.told(key) && !r.told(key+".url"):
		r.faultKey(key+".url", errNotSet, "expected where it is told", setURL)
	case out.URL == "":
	case !r.secret(KeyAlerts) || slices.Contains(r.raw.plain, key+".url"):
		r.faultKey(key+".url", errNotSecret, "expected a secret", setURL+"\nthe old value was readable: renew it where it came from")
	case i < 0:
	default:
		u, err := url.Parse(out.URL)
		switch {
		case err == nil && out.Kind == ReceiverSMTP && u.Port() == portMail:
			r.faultKey(key+".url", errMailPort, "expected 465 with smtps, or 587 with smtp: Azure blocks port 25 to the Internet", setURL)
		case err != nil || !urlText.MatchString(out.URL) || len(out.URL) > longestURL || u.Fragment != "" || !receiverKinds[i].fits(u):
			r.faultKey(key+".url", errNotReceiverURL, "expected "+receiverKinds[i].want, setURL+receiverKinds[i].hint)
		}
	}
	return out
}

func receiverNames() (names []string) {
	for _, k := range receiverKinds {
		names = append(names, k.name)
	}
	return names
}

// azureEmail reads the address to which Azure writes.
func (r *reader) azureEmail(key string, entry member) string {
	address, plain := scalar(entry.value)
	if !plain || !isMailAddress(address) {
		r.faultKey(key, errNotMail, "expected one address: me@example.com", "pulumi config set --path "+key+" ADDRESS\nor: pulumi config rm --path "+shell.Quote(key))
	}
	return address
}

// onWeb tells whether a receiver is asked by https.
func onWeb(u *url.URL) bool {
	return u.Scheme == "https" && publicHost(u) && (u.User == nil || u.User.Username() != "" || len(u.User.String()) > 1)
}

func publicHost(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return hostName.MatchString(host) && len(host) <= longestName && (u.Port() == "" && !strings.HasSuffix(u.Host, ":") || err == nil && port != 0)
}

func isMailAddress(text string) bool {
	user, host, _ := strings.Cut(text, "@")
	return mailUser.MatchString(user) && len(user) <= 64 && hostName.MatchString(strings.ToLower(host)) && len(host) <= longestName
}
