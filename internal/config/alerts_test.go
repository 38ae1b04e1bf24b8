package config

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAlerts: each kind in every form that its own service documents.
func TestAlerts(t *testing.T) {
	c, err := parseConfig(secrets("alerts", `{
		"azureEmail": "me+azure@mail.example.com",
		"zz-hc": {"kind": "healthchecks", "url": "https://hc-ping.com/5e0fae11-c2e5-4e2e-9d1d-6b5a1c0d9a11"},
		"hc-own": {"kind": "healthchecks", "url": "https://checks.example.com:8443/ping/a_ping-key/my-machine"},
		"ntfy": {"kind": "ntfy", "url": "https://ntfy.sh/a-topic_of-mine"},
		"ntfy-login": {"kind": "ntfy", "url": "https://me:pass%40word@Ntfy.Example.com/topic"},
		"ntfy-token": {"kind": "ntfy", "url": "https://:tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2@ntfy.sh/topic"},
		"bot": {"kind": "telegram", "url": "https://api.telegram.org/bot815:a-token_of-telegrams/sendMessage?chat_id=-1001234567890"},
		"bot-channel": {"kind": "telegram", "url": "https://api.telegram.org/bot815:a-token_of-telegrams/sendMessage?chat_id=@my_alerts"},
		"hook": {"kind": "webhook", "url": "https://hooks.example.com/services/T0/B0/x?wait=true"},
		"mail": {"kind": "smtp", "url": "smtps://me%40example.com:p%2Fw@mx.example.com:465/?from=a@example.com&to=b%2Balerts@example.com"},
		"mail-starttls": {"kind": "smtp", "url": "smtp://me:pw@mx.example.com?to=b@example.com&from=a@example.com"}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, receiver := range c.Alerts {
		names = append(names, receiver.Name)
	}
	if want := []string{"bot", "bot-channel", "hc-own", "hook", "mail", "mail-starttls", "ntfy", "ntfy-login", "ntfy-token", "zz-hc"}; !slices.Equal(names, want) {
		t.Errorf("receivers are %v, want %v", names, want)
	}
	if diff := cmp.Diff(Receiver{"hook", ReceiverWebhook, "https://hooks.example.com/services/T0/B0/x?wait=true"}, c.Alerts[3]); diff != "" {
		t.Error(diff)
	}
	if c.AzureEmail != "me+azure@mail.example.com" {
		t.Errorf("azureEmail is %q", c.AzureEmail)
	}
}

// An address alone is no secret.
func TestAzureEmailAlone(t *testing.T) {
	c, err := parseConfig(with("alerts", `{"azureEmail":"me@example.com"}`))
	if err != nil || c.AzureEmail != "me@example.com" || c.Alerts != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

// The stack's file says of each url whether it is sealed; a kind and the address need not be.
func TestAlertsInPlainText(t *testing.T) {
	plain, err := plainIn([]byte(`config:
  openclaw:alerts:
    azureEmail: me@example.com
    open: {kind: ntfy, url: "https://ntfy.sh/topic"}
    sealed:
      kind: ntfy
      url: {secure: v1:abc}
`), "openclaw:alerts", true)
	slices.Sort(plain)
	if want := []string{"azureEmail", "open.kind", "open.url", "sealed.kind"}; err != nil || !slices.Equal(plain, want) {
		t.Errorf("%v, %v; want %v", plain, err, want)
	}
}
