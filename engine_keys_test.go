package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"openclaw-azure/internal/standin"
)

// Another folder (every run of these tests has one) and an edited command do not renew keys.
func TestEngineKeysAreKept(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	for _, name := range []string{"keys", "peer-laptop"} {
		r := w.Resources()[name]
		// As if an earlier release had made them by another command.
		r.Inputs["create"] = resource.NewProperty("go run ./cmd/former " + name)
		r.Inputs["logging"] = resource.NewProperty("stdout")
		delete(r.Inputs, "addPreviousOutputInEnv")
	}
	equal(t, "changes", []string{}, w.MustUp().Changes())
	equal(t, "stacks' keys made", 1, w.Commands.Made)
}

// keyGeneration renews everything at once, and the new keys reach the host by the run command.
func TestEngineKeyGeneration(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	before := standin.Plain(w.Outputs()).Mappable()
	firing := w.Inputs(labelBreakGlass)["runCommandName"]
	w.Set("keyGeneration", "2")
	r := w.MustUp()

	equal(t, "the administrator's key on the host", w.Made(2).Bootstrap.Public, strings.TrimSpace(w.Guest.AdminKey))
	equal(t, "the machine", "00000000-0000-4000-8000-000000000001", w.Guest.ID)
	if !standin.SameKey(w.Guest.HostKey, w.Made(2).HostKey.Public) {
		t.Error("the host has its old host key")
	}
	if w.Inputs(labelBreakGlass)["runCommandName"] == firing {
		t.Error("the run command kept its name")
	}
	after := standin.Plain(w.Outputs()).Mappable()
	for _, name := range []string{"knownHosts", "operatorKey", "sudoPassword", "gatewayToken", "peers"} {
		if text := func(v any) string {
			return strings.Join(standin.PlainTexts(resource.NewPropertyMapFromMap(map[string]any{"": v})), "\n")
		}; text(before[name]) == text(after[name]) {
			t.Errorf("output %q is as before", name)
		}
	}
	r.InOrder(append([]string{"create keys", "create " + labelBreakGlass}, updated("bootstrap")...)...)
	for _, change := range r.Changes() {
		if strings.HasSuffix(change, " "+labelVM) {
			t.Errorf("%s: osProfile cannot change on a live machine", change)
		}
	}
	w.Set("bootstrap", "false")
	w.MustUp()
}

// A machine made anew after keys were renewed gets the new ones from its first boot on.
func TestEngineMachineMadeAnewAfterRenewal(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Set("keyGeneration", "2")
	w.MustUp()
	w.Azure.DeleteBehindPulumi(standin.AzureVM)
	w.MustUp(standin.WithRefresh)
	profile := w.Inputs(labelVM)["osProfile"].(map[string]any)
	ssh := profile["linuxConfiguration"].(map[string]any)["ssh"].(map[string]any)
	equal(t, "key in osProfile", any(w.Made(2).Bootstrap.Public), ssh["publicKeys"].([]any)[0].(map[string]any)["keyData"])
}

// Adding and revoking a peer touches its own resource, the tunnel's layer and the proof.
func TestEnginePeers(t *testing.T) {
	t.Parallel()
	w := closed(t)
	laptop := standin.Plain(w.Resources()["peer-laptop"].Outputs)["stdout"].StringValue()

	w.Set("peers", `{"laptop":{"address":"10.100.0.2"},"phone":{"address":"10.100.0.3"}}`)
	equal(t, "adding, in preview", []string{"create peer-phone", "update wireguard", "update proof"}, w.Preview().Changes())
	equal(t, "adding", []string{"create peer-phone", "update wireguard", "update proof"}, w.MustUp().Changes())
	peers := standin.Plain(w.Outputs())["peers"].ObjectValue()
	equal(t, "outputs", []resource.PropertyKey{"laptop", "phone"}, slices.Sorted(maps.Keys(peers)))

	w.Set("peers", `{"phone":{"address":"10.100.0.3"}}`)
	equal(t, "revoking", []string{"update wireguard", "update proof", "delete peer-laptop"}, w.MustUp().Changes())

	w.Set("peers", `{"laptop":{"address":"10.100.0.2"},"phone":{"address":"10.100.0.3"}}`)
	equal(t, "adding again", []string{"create peer-laptop", "update wireguard", "update proof"}, w.MustUp().Changes())
	if standin.Plain(w.Resources()["peer-laptop"].Outputs)["stdout"].StringValue() == laptop {
		t.Error("a revoked peer came back with its old keys")
	}
}

// An admin's SSH key stands under claw: the base layer has it, and the tunnel's does not change.
func TestEnginePeersSSHKey(t *testing.T) {
	t.Parallel()
	w := closed(t)
	line := strings.Join(strings.Fields(w.Made(1).HostKey.Public)[:2], " ") // any key of that kind
	w.Set("peers", `{"laptop":{"address":"10.100.0.2","sshKey":"`+line+` me"}}`)
	equal(t, "changes", []string{"update base", "update proof"}, w.MustUp().Changes())
	if !strings.Contains(w.Guest.ClawKeys, line+" laptop\n") {
		t.Error("the key is not on the host under the peer's name")
	}
}
