package main

import (
	"encoding/base64"
	"errors"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"openclaw-azure/internal/standin"
)

// Every run of every engine test is searched for secrets (world.leaks); this one has all kinds of them, in
// every turn that a stack takes, and in failures.
func TestEngineSecretsStandNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Secrets["openclaw:openclawEnv"] = `{"OPENAI_API_KEY":"sk-canary-of-the-environment","TELEGRAM_TOKEN":"0815:canary-of-telegram"}`
	w.Secrets["openclaw:backupKey"] = "AGE-SECRET-KEY-1W9YF5ZZYPD2C4WHTJ5VE4ANLTYDF8PHA84PMHGE9YMVFMPRWFD6SX0W3GQ"
	w.Secrets["openclaw:openclawKeys"] = `{"anthropic":"sk-ant-canary-of-a-provider","telegram":"4711:canary-of-a-bot","slackBot":"xoxb-canary-of-a-channel"}`
	w.Secrets["openclaw:alerts"] = `{"phone":{"kind":"ntfy","url":"https://ntfy.sh/canary-of-a-receiver"},"mail":{"kind":"smtp","url":"smtps://me:canary-of-mail@mx.example.com/?from=a@example.com&to=b@example.com"}}`
	w.Set("openclawPlugins", "slack")
	w.Set("peers", `{"laptop":{"address":"10.100.0.2"},"phone":{"address":"10.100.0.3"}}`)
	w.Preview()
	w.MustUp()
	if kinds := len(w.Canaries); kinds < 15 {
		t.Fatalf("%d canaries", kinds)
	}
	w.Set("keyGeneration", "2")
	w.Preview()
	w.MustUp()
	w.Set("bootstrap", "false")
	w.Fails["ssh"] = true
	if r := w.Up(); r.Err == nil {
		t.Error("layer ssh was applied")
	}
	clear(w.Fails)
	w.MustUp()
	w.Silent = true
	w.Up()
	w.Silent = false
	w.Refresh()
	w.Set("bootstrap", "true")
	w.MustUp()
	w.Destroy()
}

// The search finds what it is for, wherever that stands: a test of the test.
func TestEngineSecretsAreFound(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Secrets["openclaw:openclawEnv"] = `{"OPENAI_API_KEY":"sk-canary-of-the-environment"}`
	w.MustUp()
	secret := w.Made(1)
	resources := w.Resources()
	resources["keys"].Outputs["stdout"] = resource.NewProperty(standin.GeneratedKeys(1))
	resources["base"].Inputs["create"] = resource.NewProperty("echo " + secret.SudoPassword.Plain)
	resources[labelVM].Inputs["osProfile"] = resource.NewProperty(resource.PropertyMap{
		"customData": resource.NewProperty(base64.StdEncoding.EncodeToString([]byte("key: |\n" + secret.HostKey.Private)))})
	r := &standin.Result{Messages: []string{"error: cannot use token " + secret.GatewayToken}, Texts: []string{"OPENAI_API_KEY=sk-canary-of-the-environment"},
		Err: errors.New("wg: " + secret.Deployer.Preshared.String())}
	equal(t, "places", []string{"error", "events", "inputs of " + labelVM, "inputs of base", "messages", "outputs of keys"}, w.Leaks(r))
}

// Nor would an open rule go unseen.
func TestEngineOpenRulesAreFound(t *testing.T) {
	t.Parallel()
	rule := func(protocol, port, source string) resource.PropertyMap {
		return resource.NewPropertyMapFromMap(map[string]any{"protocol": protocol, "destinationPortRange": port, "sourceAddressPrefix": source})
	}
	for _, source := range []string{"*", "Internet", "0.0.0.0/0", "::/0", "0.0.0.0/1"} {
		if standin.RuleFault(rule("Tcp", "22", source)) == "" {
			t.Errorf("port 22 from %q is no fault", source)
		}
	}
	for _, port := range []string{"*", "20-30", "2222", "443"} {
		if standin.RuleFault(rule("Tcp", port, "198.18.1.10/32")) == "" || standin.RuleFault(rule("*", port, "198.18.1.10/32")) == "" {
			t.Errorf("port %q is no fault", port)
		}
	}
	for _, fine := range []resource.PropertyMap{rule("Tcp", "22", "198.18.1.10/32"), rule("Udp", "51820", "0.0.0.0/0")} {
		equal(t, "fault", "", standin.RuleFault(fine))
	}
}
