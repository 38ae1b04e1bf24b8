package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/tunnel"
)

// lastRunOutput is the secret output by which a run tells the next what it needs before it declares anything.
const lastRunOutput = "deployer"

// lastRun is what the last run that succeeded left.
type lastRun struct {
	PublicIP         netip.Addr
	Group, Machine   string // the names in Azure
	VMID             string
	Bootstrap        bool
	Location         string
	AdminUsername    string
	Image            string // that the machine was made of, whatever is configured now
	WireGuardSources string
	SSHPort          uint16
	WireGuardPort    uint16
	VPN              netip.Prefix
	KeyGeneration    int
	Rescue           int
	Firing           string            // the break-glass's name while it is declared
	Proof            string            // names the last proof that was made
	Changed          time.Time         // this machine's clock at that proof
	Digests          map[string]string // of the layers
	Keys             json.RawMessage

	stack *keys.Stack
	named *tunnel.Config // of the peer that looks
	gone  bool           // the machine is not in Azure any more
}

// readLastRun reads the stack's own outputs, nil where there are none yet. It registers nothing.
// peer, where not empty, names the peer whose keys a preview looks with.
func readLastRun(ctx *pulumi.Context, peer string) (*lastRun, error) {
	if peer != "" && !ctx.DryRun() {
		return nil, fmt.Errorf("%s: value %q: only a preview looks with a named peer's keys: nothing was changed"+
			"\nhint: unset %s: what changes the host goes through the deployer's own peer, which alone fail2ban never bans", outputs.PeerVariable, peer, outputs.PeerVariable)
	}
	ref, err := pulumi.NewStackReference(ctx, "last-run", &pulumi.StackReferenceArgs{
		Name: pulumi.String(ownStack(ctx)),
	})
	if err != nil {
		return nil, err
	}
	text, err := awaitString(ctx, ref.GetOutput(pulumi.String(lastRunOutput)))
	if err != nil {
		return nil, fmt.Errorf("read the outputs of the last run: %w", err)
	}
	if text == "" {
		return nil, nil
	}
	last := &lastRun{}
	if err := json.Unmarshal([]byte(text), last); err != nil {
		return nil, fmt.Errorf("read output %q of the last run: %w", lastRunOutput, err)
	}
	if last.stack, err = keys.ParseStack(string(last.Keys)); err != nil {
		return nil, fmt.Errorf("read the keys of the last run: %w", err)
	}
	if peer == "" {
		return last, nil
	}
	// As the companion reads them, and with the same words where there is no such peer.
	found := map[string]any{}
	for _, name := range []string{outputs.Peers, outputs.OperatorKey, outputs.KnownHosts} {
		result, err := internals.UnsafeAwaitOutput(ctx.Context(), ref.GetOutput(pulumi.String(name)))
		if err != nil {
			return nil, errReported{err}
		}
		found[name] = result.Value
	}
	outs, err := json.Marshal(found)
	if err != nil {
		return nil, fmt.Errorf("read the outputs of the last run: %w", err)
	}
	stack, err := outputs.Parse(outs)
	if err != nil {
		return nil, err
	}
	way, err := stack.Way(peer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", outputs.PeerVariable, err)
	}
	last.named = &way.Tunnel
	return last, nil
}

// ownStack is this stack's name for a reference to it.
func ownStack(ctx *pulumi.Context) string {
	return fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), ctx.Stack())
}

// access is what opened the doors when the last run ended.
func (l *lastRun) access() doorAccess {
	return doorAccess{stack: l.stack, named: l.named, public: l.PublicIP, admin: l.AdminUsername,
		vpnServer: firstUsable(l.VPN), deployer: lastUsable(l.VPN), sshPort: l.SSHPort, wireGuardPort: l.WireGuardPort}
}

// refuse says what cannot be asked for now, all at once: nothing has changed then.
func refuse(cfg *Config, last *lastRun) error {
	if last != nil && cfg.Location != last.Location {
		return fmt.Errorf("%s: value %q, the machine stands in %q: Azure moves none, and one made anew there would take nothing along"+
			"\nhint: bring the backups home from /backups/openclaw, then"+
			"\nhint: pulumi destroy && pulumi config set bootstrap true && pulumi up", keyLocation, cfg.Location, last.Location)
	}
	if cfg.Bootstrap {
		return nil
	}
	if last == nil {
		return fmt.Errorf("%s: value \"false\": this stack's machine was never configured, or its last deploy did not finish: there is no tunnel that could stay"+
			"\nhint: pulumi config set bootstrap true && pulumi up", keyBootstrap)
	}
	var faults []string
	while := func(key string, now, then any) {
		if fmt.Sprint(now) != fmt.Sprint(then) {
			faults = append(faults, fmt.Sprintf("  %s: value %q, in force %q", key, fmt.Sprint(now), fmt.Sprint(then)))
		}
	}
	while(keyKeyGeneration, cfg.KeyGeneration, last.KeyGeneration)
	while(keySSHPort, cfg.SSHPort, last.SSHPort)
	while(keyWireGuardPort, cfg.WireGuardPort, last.WireGuardPort)
	while(keyVPN, cfg.VPN, last.VPN)
	while(keyAdminUsername, cfg.AdminUsername, last.AdminUsername)
	while(keyRescue, cfg.Rescue, last.Rescue)
	if faults == nil {
		return nil
	}
	return fmt.Errorf("what carries the tunnel changes only while the bootstrap door is open:\n%s"+
		"\nhint: pulumi config set bootstrap true && pulumi up, then close port 22 again", strings.Join(faults, "\n"))
}
