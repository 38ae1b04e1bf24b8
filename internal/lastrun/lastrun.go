// Package lastrun is the document by which a run tells the next one what it needs before it declares anything.
package lastrun

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/reach"
)

// Output is the secret output that holds the document.
const Output = "deployer"

// Run is what the last run that succeeded left.
type Run struct {
	machine.Carrier

	PublicIP         netip.Addr
	Group, Machine   string // the names in Azure
	ResourceGroup    string // the configuration's
	VMID             string
	Bootstrap        bool
	Location         string
	VMSize           string
	Image            string // that the machine was made of, whatever is configured now
	WireGuardSources string
	Firing           string            // the break-glass's name while it is declared
	Proof            string            // names the last proof that was made
	Changed          time.Time         // this machine's clock at that proof
	Digests          map[string]string // of the layers
	Keys             json.RawMessage

	Stack *keys.Stack  `json:"-"` // Keys, parsed
	Named *outputs.Way `json:"-"` // of the peer that looks, if it is not the deployer
	Gone  bool         `json:"-"` // the machine is not in Azure any more
}

// Mark names the last run's proof and its moment; empty if there was none.
func (r *Run) Mark() string {
	if r == nil {
		return ""
	}
	return r.Proof + " " + r.Changed.UTC().Format(time.RFC3339)
}

// Text is the document.
func (r Run) Text() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // plain values, and keys that were parsed
	}
	return string(text)
}

// Read reads the stack's own outputs; nil if there are none yet. It registers nothing. peer, if not empty, names the peer
// whose keys a preview looks with.
func Read(ctx *pulumi.Context, peer string) (*Run, error) {
	if peer != "" && !ctx.DryRun() {
		return nil, hint.To(fmt.Errorf("%s: value %q: only a preview looks with a named peer's keys: nothing was changed", outputs.PeerVariable, peer),
			fmt.Sprintf("unset %s: what changes the host goes through the deployer's own peer, which alone fail2ban never bans", outputs.PeerVariable))
	}
	all, err := engine.OwnOutputs(ctx)
	if err != nil {
		return nil, err
	}
	text, _ := all[Output].(string)
	if text == "" {
		return nil, nil
	}
	last, err := parse(text)
	if err != nil || peer == "" {
		return last, err
	}
	// As the companion reads them, and with the same words if there is no such peer.
	outs, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("read the outputs of the last run: %w", err)
	}
	stack, err := outputs.Parse(outs)
	if err != nil {
		return nil, err
	}
	way, err := stack.Observer(peer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", outputs.PeerVariable, err)
	}
	last.Named = &way
	return last, nil
}

// parse reads the document. No error contains any part of a key.
func parse(text string) (*Run, error) {
	last := &Run{}
	if err := json.Unmarshal([]byte(text), last); err != nil {
		return nil, fmt.Errorf("read output %q of the last run: %w", Output, err)
	}
	var err error
	if last.Stack, err = keys.ParseStack(string(last.Keys)); err != nil {
		return nil, fmt.Errorf("read the keys of the last run: %w", err)
	}
	return last, nil
}

// Access is what opened the doors when the last run ended.
func (r *Run) Access() reach.Access {
	return reach.Access{Carrier: r.Carrier, Keys: r.Stack, Public: r.PublicIP, Named: r.Named}
}
