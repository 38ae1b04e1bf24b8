package main

import (
	"encoding/base64"
	"errors"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Every run of every engine test is searched for secrets (world.leaks); this one has all kinds of them, in
// every turn that a stack takes, and in failures.
func TestEngineSecretsStandNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secrets["openclaw:openclawEnv"] = `{"OPENAI_API_KEY":"sk-canary-of-the-environment","TELEGRAM_TOKEN":"0815:canary-of-telegram"}`
	w.set("peers", `{"laptop":{"address":"10.100.0.2"},"phone":{"address":"10.100.0.3"}}`)
	w.preview()
	w.mustUp()
	if kinds := len(w.canaries); kinds < 12 {
		t.Fatalf("%d canaries", kinds)
	}
	w.set("keyGeneration", "2")
	w.preview()
	w.mustUp()
	w.set("bootstrap", "false")
	w.fails["ssh"] = true
	if r := w.up(); r.err == nil {
		t.Error("layer ssh was applied")
	}
	clear(w.fails)
	w.mustUp()
	w.silent = true
	w.up()
	w.silent = false
	w.refresh()
	w.set("bootstrap", "true")
	w.mustUp()
	w.destroy()
}

// The search finds what it is for, wherever that stands: a test of the test.
func TestEngineSecretsAreFound(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.secrets["openclaw:openclawEnv"] = `{"OPENAI_API_KEY":"sk-canary-of-the-environment"}`
	w.mustUp()
	secret := w.made(1)
	resources := w.resources()
	resources["keys"].Outputs["stdout"] = resource.NewProperty(generatedKeys(1))
	resources["base"].Inputs["create"] = resource.NewProperty("echo " + secret.SudoPassword.Plain)
	resources[labelVM].Inputs["osProfile"] = resource.NewProperty(resource.PropertyMap{
		"customData": resource.NewProperty(base64.StdEncoding.EncodeToString([]byte("key: |\n" + secret.HostKey.Private)))})
	r := &result{messages: []string{"error: cannot use token " + secret.GatewayToken}, texts: []string{"OPENAI_API_KEY=sk-canary-of-the-environment"},
		err: errors.New("wg: " + secret.Deployer.Preshared.String())}
	equal(t, "places", []string{"error", "events", "inputs of " + labelVM, "inputs of base", "messages", "outputs of keys"}, w.leaks(r))
}

// Nor would an open rule go unseen.
func TestEngineOpenRulesAreFound(t *testing.T) {
	t.Parallel()
	rule := func(protocol, port, source string) resource.PropertyMap {
		return resource.NewPropertyMapFromMap(map[string]any{"protocol": protocol, "destinationPortRange": port, "sourceAddressPrefix": source})
	}
	for _, source := range []string{"*", "Internet", "0.0.0.0/0", "::/0", "0.0.0.0/1"} {
		if ruleFault(rule("Tcp", "22", source)) == "" {
			t.Errorf("port 22 from %q is no fault", source)
		}
	}
	for _, port := range []string{"*", "20-30", "2222", "443"} {
		if ruleFault(rule("Tcp", port, "198.18.1.10/32")) == "" || ruleFault(rule("*", port, "198.18.1.10/32")) == "" {
			t.Errorf("port %q is no fault", port)
		}
	}
	for _, fine := range []resource.PropertyMap{rule("Tcp", "22", "198.18.1.10/32"), rule("Udp", "51820", "0.0.0.0/0")} {
		equal(t, "fault", "", ruleFault(fine))
	}
}
