package main

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/standin"
)

const neverConfigured = `bootstrap: value "false": this stack's machine was never configured, or its last deploy did not finish: there is no tunnel that could stay
hint: pulumi config set bootstrap true && pulumi up`

// closing are the layers that are otherwise while port 22 is closed. The others have nothing to do then.
var closing = []string{"firewall", "ssh"}

// updated are the layers that run when the door changes and the proof, gone through by one door. Port 22 is dialled as soon
// as the firewall is to keep it closed; opened again by the break-glass, every layer runs.
func updated(layersBy string) []string {
	names := layer.Names()
	if layersBy == "tunnel" {
		names = closing
	}
	steps := each("update ", names, " through "+layersBy)
	if layersBy == "tunnel" {
		steps = slices.Insert(steps, slices.Index(names, "firewall")+1, "dial port 22")
	}
	return append(steps, "update proof through tunnel")
}

// deletedLast is what goes when port 22 has closed.
var deletedLast = []string{"delete " + labelBootstrap, "delete " + labelBreakGlass}

func TestEngineClose(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Set("bootstrap", "false")
	r := w.MustUp()
	// Every layer is an update: a replacement would run a delete on the host. What opened port 22 goes last of all, side by side.
	last := len(r.Happened) - 2
	equal(t, "what happened", slices.Concat([]string{"look through tunnel"}, updated("tunnel"), deletedLast), slices.Concat(r.Happened[:last], sorted(r.Happened[last:])))
	equal(t, "changes", slices.Concat(each("update ", closing, ""), []string{"update proof"}, deletedLast), slices.Concat(r.Changes()[:len(closing)+1], sorted(r.Changes()[len(closing)+1:])))
	equal(t, "messages", []string{}, r.Messages)
	if w.Guest.Sshd22 || w.Guest.Firewall22 {
		t.Error("the host still has its own port 22 open")
	}
}

// Whatever step fails, the rule stays: also with --continue-on-error. The next run closes.
func TestEngineRuleStaysWhenAnythingFails(t *testing.T) {
	t.Parallel()
	for _, failing := range append(slices.Clone(closing), "proof") {
		for name, options := range map[string][]standin.Option{"": nil, " continue-on-error": {standin.ContinueOnError}} {
			t.Run(failing+name, func(t *testing.T) {
				t.Parallel()
				w := deployed(t)
				w.Set("bootstrap", "false")
				w.Fails[failing] = true
				r := w.Up(options...)
				if r.Err == nil {
					t.Fatal("no error")
				}
				if w.Resources()[labelBootstrap] == nil || !w.Azure.Admits(w.Home, "Tcp", 22) {
					t.Error("the rule is gone")
				}
				until := slices.IndexFunc(updated("tunnel"), func(s string) bool { return strings.HasPrefix(s, "update "+failing+" ") })
				equal(t, "what happened", append([]string{"look through tunnel"}, updated("tunnel")[:until+1]...), r.Happened)
				equal(t, "the stack still says what held before", any("the tunnel was proven: close port 22 with `pulumi config set bootstrap false && pulumi up`"),
					standin.Plain(w.Outputs()).Mappable()["next"])

				if failing != "ssh" && failing != "proof" {
					return
				}
				delete(w.Fails, failing)
				r = w.Up()
				if last := sorted(r.Happened[len(r.Happened)-2:]); r.Err != nil || !slices.Equal(last, deletedLast) {
					t.Errorf("the next run: %v, ends with %q", r.Err, last)
				}
			})
		}
	}
}

// The rule stays where the program gets in through the tunnel and people do not; and nothing of a command is a secret.
func TestEngineRuleStaysUnlessPeopleGetIn(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	keys := w.Guest.ClawKeys
	w.Guest.ClawKeys = ""
	w.Set("bootstrap", "false")
	if r := w.Up(); r.Err == nil || w.Resources()[labelBootstrap] == nil || !w.Azure.Admits(w.Home, "Tcp", 22) {
		t.Errorf("port 22 closes: %v", r.Err)
	}
	w.Guest.ClawKeys = keys
	w.MustUp()
	for _, name := range append(slices.Clone(closing), "proof") {
		if command := w.Resources()[name].Inputs["create"].StringValue(); !regexp.MustCompile("^" + name + " [0-9a-f]{16} " + w.Guest.ID + " 0$").MatchString(command) {
			t.Errorf("the command of %s: %q", name, command)
		}
	}
}

// A layer that the host took back is no success, and is tried again.
func TestEngineUnconfirmedChangeFails(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Guest.LastRollback = "ssh"
	w.Set("bootstrap", "false")
	r := w.Up()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	equal(t, "warnings", []string{"the host took back its last change, of layer \"ssh\": no confirmation in 120 s; `pulumi up` tries it again"}, r.Said("warning"))
	w.Quiet()
}

// A run that was killed in its window: the next one may come before the host has put itself back.
func TestEngineUnconfirmedChangeWaits(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Guest.Pending = "firewall"
	r := w.Up()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	equal(t, "changes", append(each("update ", layer.Names(), ""), "update proof"), r.Changes())
	equal(t, "warnings", []string{"a change of layer \"firewall\" from an earlier run waits on the host for a confirmation that did not come: `pulumi up` takes it back and tries again"}, r.Said("warning"))
	w.Quiet()
}

func TestEngineSilentTunnelChangesNothing(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*standin.World{"closing": deployed(t), "closed": closed(t)} {
		t.Run(name, func(t *testing.T) {
			w.T = t
			w.Silent = true
			w.Set("bootstrap", "false")
			const refusal = "port 22 stays as it is and nothing was changed, since the tunnel door does not open from this machine: the host is silent"
			r := w.Up()
			equal(t, "messages", []string{"error: " + refusal}, r.Messages)
			equal(t, "changes", []string{}, r.Changes())
			equal(t, "what happened", []string{"look through tunnel"}, r.Happened)

			// A plan changes nothing, and a silent host is not a reason to make none.
			r = w.Preview()
			if r.Err != nil {
				t.Error(r.Err)
			}
			equal(t, "the preview's messages", []string{"warning: the host does not answer: the plan is made without looking at it, and `pulumi up` changes nothing before the tunnel door opens from this machine: the host is silent"}, r.Messages)
			if name == "closed" {
				equal(t, "the plan", []string{}, r.Changes())
			}
			w.Set("driftCheck", "required")
			r = w.Preview()
			equal(t, "the preview's messages where an answer is required", []string{"error: " + refusal}, r.Messages)
			w.Set("driftCheck", "off")
			r = w.Preview()
			equal(t, "the preview's messages where nobody looks", []string{}, r.Messages)
			equal(t, "what happened where nobody looks", []string{}, r.Happened)
			w.Set("driftCheck", "on")
			w.Silent = false
			w.MustUp()
		})
	}
}

// The home address changed while port 22 is closed: the rule first, or the tunnel could not answer.
func TestEngineHomeMovesWhileClosed(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Home = netip.MustParseAddr("198.18.1.20")
	w.Set("allowedSshCidr", "198.18.1.20/32")

	preview := w.Preview()
	if preview.Err != nil {
		t.Error(preview.Err)
	}
	equal(t, "the preview's warnings", []string{"the tunnel does not answer yet: `pulumi up` admits the new wireguardCidrs first and tries again: WireGuard does not answer"}, preview.Said("warning"))

	r := w.Up()
	if r.Err != nil {
		t.Fatal(r.Err, r.Messages)
	}
	equal(t, "first", []string{"update " + labelWireGuard, "look through tunnel"}, r.Happened[:2])
	w.Quiet()
	equal(t, "sources", any("198.18.1.20/32"), standin.Plain(w.Outputs()).Mappable()["wireguardSources"])
}

// The new address is wrong: the rule is all that was changed, and the old address brings everything back.
func TestEngineHomeMovesToTheWrongAddress(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Set("wireguardCidrs", "198.18.1.99/32")
	r := w.Up()
	equal(t, "errors", []string{"port 22 stays as it is and nothing but the sources of the WireGuard rule was changed, since the tunnel door does not open from this machine: WireGuard does not answer"}, r.Said("error"))
	equal(t, "changes", []string{"update " + labelWireGuard}, r.Changes())
	equal(t, "what happened", []string{"update " + labelWireGuard, "look through tunnel"}, r.Happened)

	w.Set("wireguardCidrs", "198.18.1.10/32")
	r = w.Up()
	if r.Err != nil {
		t.Fatalf("the way back: %v %q", r.Err, r.Messages)
	}
	equal(t, "the way back", []string{"update " + labelWireGuard}, r.Changes())
	w.Quiet()
}

func TestEngineReopen(t *testing.T) {
	t.Parallel()
	w := closed(t)
	before := len(w.Guest.Layers)
	w.Set("bootstrap", "true")
	r := w.MustUp()
	fired := r.Fired()
	equal(t, "fired", 1, len(fired))
	equal(t, "what happened", slices.Concat([]string{"look through tunnel", "create " + labelBootstrap, "create " + labelBreakGlass}, fired, updated("bootstrap")), r.Happened)
	equal(t, "layers on the host", before, len(w.Guest.Layers))

	// And back again: the flag is a switch, not a one-way street.
	w.Set("bootstrap", "false")
	w.MustUp()
}

// The tunnel is dead, and sshd and UFW with it: the break-glass opens the door again.
func TestEngineReopenWithADeadTunnel(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Guest.Wireguard = "broken"
	w.Set("bootstrap", "true")
	r := w.MustUp()
	equal(t, "warnings", []string{"the host does not answer: the plan is made without looking at it: WireGuard does not answer: other keys"}, r.Said("warning"))
	r.InOrder(append([]string{"create " + labelBootstrap, "create " + labelBreakGlass}, updated("bootstrap")...)...)
}

// rescue fires the break-glass once more, under another name: Azure's agent would not run it again under the old one.
func TestEngineRescue(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	first := w.Inputs(labelBreakGlass)["runCommandName"]
	w.Guest.Sshd22, w.Guest.Firewall22 = false, false // somebody broke the bootstrap door on the host
	w.Set("rescue", "1")
	r := w.MustUp()
	if second := w.Inputs(labelBreakGlass)["runCommandName"]; second == first {
		t.Errorf("fired under the same name %q", first)
	}
	equal(t, "what happened", slices.Concat([]string{"look through bootstrap", "delete " + labelBreakGlass, "create " + labelBreakGlass},
		r.Fired(), updated("bootstrap")), r.Happened)
}

// A key that the host refused is not tried again by the same run, which could not mend it: three refusals ban.
func TestEngineRefusedKeyIsTriedOnce(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Guest.AdminKey = ""
	r := w.Up()
	equal(t, "errors", []string{"no layer was changed, since the bootstrap door does not open: key refused"}, r.Said("error"))
	equal(t, "what happened", []string{"look through bootstrap"}, r.Happened)

	w.Set("rescue", "1")
	w.MustUp()
}

// Who may knock changes: the rule, the host's firewall, and the break-glass that would open it.
func TestEngineAllowedAddressChangesWhileOpen(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Home = netip.MustParseAddr("198.18.1.20")
	w.Set("allowedSshCidr", "198.18.1.20/32")
	r := w.MustUp()
	// The host could not be looked at, so that only what is declared otherwise is applied.
	r.InOrder("update "+labelBootstrap, "create "+labelBreakGlass, "update firewall through bootstrap", "update proof through tunnel")
	equal(t, "messages", []string{"warning: the host does not answer: the plan is made without looking at it: port 22 does not answer", waitsForAgent}, r.Messages)
}

func TestEngineNeverDeployedIsNotClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Set("bootstrap", "false")
	for _, r := range []*standin.Result{w.Preview(), w.Up()} {
		equal(t, "errors", []string{neverConfigured}, r.Said("error"))
		equal(t, "what happened", []string{}, r.Happened)
	}
	equal(t, "in Azure", 0, len(w.Azure.Exists))
}

// Another region would make a machine anew with nothing on it.
func TestEngineRefusesAnotherLocation(t *testing.T) {
	t.Parallel()
	for _, w := range []*standin.World{closed(t), deployed(t)} {
		w.Config["azure-native:location"] = "northeurope"
		for _, r := range []*standin.Result{w.Preview(), w.Up()} {
			equal(t, "errors", []string{`azure-native:location: value "northeurope", the machine stands in "westeurope": Azure moves none, and one made anew there would take nothing along` +
				"\nhint: bring the backups home from /backups/openclaw, then" +
				"\nhint: pulumi destroy && pulumi config set bootstrap true && pulumi up"}, r.Said("error"))
			equal(t, "what happened", []string{}, r.Happened)
			equal(t, "changes", []string{}, r.Changes())
		}
	}
}

// What carries the tunnel does not change while it is the only way in: each alone is refused with its own line, and all are
// named at once.
func TestEngineRefusedWhileClosed(t *testing.T) {
	t.Parallel()
	changes := []struct{ key, value, line string }{
		{"openclaw:keyGeneration", "2", `keyGeneration: value "2", in force "1"`},
		{"openclaw:sshPort", "2022", `sshPort: value "2022", in force "2222"`},
		{"openclaw:wireguardPort", "51821", `wireguardPort: value "51821", in force "51820"`},
		{"openclaw:vpnCidr", "10.101.0.0/24", `vpnCidr: value "10.101.0.0/24", in force "10.100.0.0/24"`},
		{"openclaw:adminUsername", "operator1", `adminUsername: value "operator1", in force "azureuser"`},
		{"openclaw:rescue", "7", `rescue: value "7", in force "0"`},
	}
	refuses := func(w *standin.World, lines ...string) {
		t.Helper()
		for _, r := range []*standin.Result{w.Preview(), w.Up()} {
			equal(t, lines[0]+": errors", []string{"what carries the tunnel changes only while the bootstrap door is open:\n  " + strings.Join(lines, "\n  ") +
				"\nhint: pulumi config set bootstrap true && pulumi up, then close port 22 again"}, r.Said("error"))
			equal(t, lines[0]+": what happened", []string{}, r.Happened)
			equal(t, lines[0]+": changes", []string{}, r.Changes())
		}
	}
	all, lines := closed(t), []string{}
	for _, change := range changes {
		alone := closed(t)
		alone.Config[change.key] = change.value
		refuses(alone, change.line)
		all.Config[change.key] = change.value
		lines = append(lines, change.line)
	}
	refuses(all, lines...)
}

// Closing is the one change that the tunnel carries: with another port in the same run it would be two.
func TestEngineRefusedOnTheWayToClosed(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Set("bootstrap", "false")
	w.Set("sshPort", "2022")
	r := w.Up()
	if r.Err == nil || len(r.Changes()) > 0 || !strings.Contains(strings.Join(r.Said("error"), ""), `sshPort: value "2022", in force "2222"`) {
		t.Errorf("%v, changes %q, errors %q", r.Err, r.Changes(), r.Said("error"))
	}
}

// A second run on this machine: a preview says so and goes on, `up` stops before anything is changed.
func TestEngineLocalPortTaken(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.PortTaken = true
	taken := "the tunnel's local port is taken: listen on 127.0.0.1:" + w.LocalPort()
	preview := w.Preview()
	if preview.Err != nil {
		t.Error(preview.Err)
	}
	equal(t, "the preview's warnings", []string{"the host is not looked at: " + taken}, preview.Said("warning"))
	r := w.Up()
	equal(t, "errors", []string{taken}, r.Said("error"))
	equal(t, "changes", []string{}, r.Changes())
}

// Two stacks on one machine have a tunnel each.
func TestEngineTwoStacks(t *testing.T) {
	t.Parallel()
	ports := map[any]string{}
	for _, stack := range []string{"dev", "production"} {
		w := newWorld(t)
		w.Stack = stack
		w.MustUp()
		w.Set("bootstrap", "false")
		w.MustUp()
		port := w.Inputs("ssh")["connection"].(map[string]any)["port"]
		if other, taken := ports[port]; taken {
			t.Errorf("stacks %q and %q both have port %v", stack, other, port)
		}
		ports[port] = stack
	}
}
