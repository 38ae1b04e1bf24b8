package main

import (
	"testing"

	"openclaw-azure/internal/host"
	"openclaw-azure/internal/layer"
)

// A drifted layer gets a new token and is applied again, the others keep theirs; the run after is quiet.
func TestEngineDrift(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*world{"open": deployed(t), "closed": closed(t)} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			before := map[string]string{}
			for name, on := range w.guest.layers {
				before[name] = on.token
			}
			w.guest.drift = map[string][]layer.Drift{"sysctl": {
				{Subject: "net.ipv4.ip_forward", Want: "0", Got: "1"}, {Subject: "/etc/sysctl.d/99-zz-openclaw.conf", Want: "0644", Got: "0666"}}}

			account := "the host differs from what layer \"sysctl\" declared:\n  net.ipv4.ip_forward: expected 0, found 1\n  /etc/sysctl.d/99-zz-openclaw.conf: expected 0644, found 0666"
			preview := w.preview()
			equal(t, "preview", []string{"update sysctl", "update proof"}, preview.changes())
			equal(t, "its account", []string{account}, preview.said("warning"))

			r := w.mustUp()
			equal(t, "up", []string{"update sysctl", "update proof"}, r.changes())
			equal(t, "its account", []string{account}, r.said("warning"))
			for name, on := range w.guest.layers {
				if renewed := on.token != before[name]; renewed != (name == "sysctl") {
					t.Errorf("layer %s: new token %v", name, renewed)
				}
			}
			equal(t, "the run after", []string{}, w.mustUp().changes())
		})
	}
}

// Somebody took a layer's record away, or the whole host's: it is put in place again.
func TestEngineLayersMissingOnTheHost(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	delete(w.guest.layers, "fail2ban")
	equal(t, "one layer", []string{"update fail2ban", "update proof"}, w.mustUp().changes())
	clear(w.guest.layers)
	equal(t, "all layers", append(each("update ", host.Names(), ""), "update proof"), w.mustUp().changes())
}

// A repair that fails is tried again by the next run.
func TestEngineRepairFails(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.guest.drift = map[string][]layer.Drift{"updates": {{Subject: "apt-daily.timer", Want: "active", Got: "inactive"}}}
	w.fails["updates"] = true
	if r := w.up(); r.err == nil {
		t.Fatal("layer updates was applied")
	}
	delete(w.fails, "updates")
	equal(t, "the next run", []string{"update updates", "update proof"}, w.mustUp().changes())
}

// A change of the declaration and drift at once: one update, and quiet after it.
func TestEngineDeclaredChangeIsNoDrift(t *testing.T) {
	t.Parallel()
	w := closed(t)
	w.set("backupKeepDays", "30")
	r := w.mustUp()
	equal(t, "changes", []string{"update backup", "update proof"}, r.changes())
	equal(t, "messages", []string{}, r.messages)
}

// A silent host under bootstrap true costs one warning and changes nothing.
func TestEngineSilentHostWhileOpen(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.silent = true
	for _, r := range []*result{w.preview(), w.up()} {
		if r.err != nil {
			t.Error(r.err)
		}
		equal(t, "messages", []string{"warning: the host does not answer: the plan is made without looking at it: the host is silent"}, r.messages)
		equal(t, "changes", []string{}, r.changes())
	}
	w.silent = false
	w.quiet()
}

// driftCheck says what a silent host costs, and whether the host is looked at.
func TestEngineDriftCheck(t *testing.T) {
	t.Parallel()
	w := deployed(t)
	w.silent = true
	w.set("driftCheck", "required")
	r := w.up()
	equal(t, "required: messages", []string{"error: nothing was changed, since the host does not answer: the host is silent\nhint: pulumi config set driftCheck on, which makes this a warning"}, r.messages)
	equal(t, "required: changes", []string{}, r.changes())
	w.set("driftCheck", "off")
	r = w.preview()
	equal(t, "off: messages", []string{}, r.messages)
	equal(t, "off: what happened", []string{}, r.happened)
	equal(t, "off: changes", []string{}, r.changes())
}

// A preview looks with the keys of the peer that CLAW_PEER names, through the tunnel whatever door is in force, and
// beside a run that has the deployer's.
func TestEngineNamedPeerLooks(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*world{"open": deployed(t), "closed": closed(t)} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.peer, w.portTaken = "laptop", true
			w.guest.drift = map[string][]layer.Drift{"sysctl": {{Subject: "net.ipv4.ip_forward", Want: "0", Got: "1"}}}
			r := w.preview()
			equal(t, "changes", []string{"update sysctl", "update proof"}, r.changes())
			equal(t, "looks", []string{"look through tunnel", "as the peer at 10.100.0.2"}, r.happened)
			equal(t, "messages", []string{"warning: the host differs from what layer \"sysctl\" declared:\n  net.ipv4.ip_forward: expected 0, found 1"}, r.messages)
		})
	}
}

func TestEngineNamedPeerRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set("peers", `{"phone":{"address":"10.100.0.3"},"tablet":{"address":"10.100.0.4","publicKey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}}`)
	w.mustUp()
	for peer, want := range map[string]string{
		"laptop": "error: CLAW_PEER: there is no peer \"laptop\" in this stack\nhint: there is phone; name one with --peer or CLAW_PEER",
		"tablet": "error: CLAW_PEER: peer \"tablet\" brought its own WireGuard key: the private one is on its device and not in the stack" +
			"\nhint: use WireGuard on that device (see the README), or another peer with --peer: there is phone",
	} {
		w.peer = peer
		r := w.preview()
		equal(t, peer, []string{want}, r.messages)
		equal(t, peer, []string{}, r.changes())
	}
	w.peer = "phone"
	r := w.up()
	equal(t, "up", []string{"error: CLAW_PEER: value \"phone\": only a preview looks with a named peer's keys: nothing was changed" +
		"\nhint: unset CLAW_PEER: what changes the host goes through the deployer's own peer, which alone fail2ban never bans"}, r.messages)
	equal(t, "up", []string{}, r.changes())
}
