package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/outputs"
)

// layerNames are the layers' resources, in their order. The proof follows.
var layerNames = []string{"base", "sysctl", "wireguard", "firewall", "ssh", "fail2ban", "updates", "openclaw", "backup"}

// harden puts the layers on the host, one after the other, each confirmed before the next, and ends with the proof:
// a login through the tunnel that finds every layer in place.
func (r *run) harden(ctx *pulumi.Context, cfg *Config, last *lastRun, seen *layer.Observation, ring *keyring, n *netResources, vm *machine) (*proof, error) {
	text, err := awaitString(ctx, n.address)
	if err != nil {
		return nil, err
	}
	h := &hardening{run: r, ctx: ctx, cfg: cfg, ring: ring, n: n, vm: vm, ground: append(n.rules(), vm)}
	h.lookAtPort22 = sync.OnceValue(func() func() error { return h.doors.closed(h.access) })
	if vm.breakGlass != nil {
		h.ground = append(h.ground, vm.breakGlass)
	}
	// A host that did not answer keeps the commands that it had: only declared changes run. Not so a machine made
	// anew, not when somebody fired the break-glass, and not through another door, where every command is another.
	h.silent = seen == nil && last != nil && vm.id == last.VMID && cfg.Rescue == last.Rescue && cfg.Bootstrap == last.Bootstrap
	if ring.stack != nil {
		if text != "" {
			public, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("read the public address %q: %w", text, err)
			}
			h.access = doorAccess{stack: ring.stack, public: public, admin: cfg.AdminUsername, vpnServer: cfg.ServerAddress(),
				deployer: cfg.DeployerAddress(), sshPort: cfg.SSHPort, wireGuardPort: cfg.WireGuardPort}
		}
		if h.packed, err = newHost(cfg, vm.image, ring.stack, ring.peers).layers(ring.stack); err != nil {
			return nil, err
		}
	}
	if seen != nil && seen.Pending != nil {
		warn(ctx, fmt.Sprintf("a change of layer %q from an earlier run waits on the host for a confirmation that did not come: this run takes it back and tries again", seen.Pending.Layer))
	}
	if seen != nil && seen.LastRollback != nil {
		warn(ctx, fmt.Sprintf("the host took back its last change, of layer %q: %s; it is tried again", seen.LastRollback.Layer, seen.LastRollback.Reason))
	}
	var drifted []func()
	// At the end, however it comes: in `up` a message about a resource waits until that resource is done.
	defer func() {
		for _, say := range drifted {
			say()
		}
	}()
	digests := map[string]string{}
	sameMachine := last != nil && vm.id == last.VMID && cfg.Rescue == last.Rescue
	// The break-glass changes the host after it was looked at.
	reopening := last != nil && cfg.Bootstrap && (!last.Bootstrap || vm.firing != last.Firing)
	if r.refused != nil && sameMachine && !reopening && !ctx.DryRun() {
		// Nothing in this run mends it, and sshd counts: the first command would try the same key again.
		return nil, fmt.Errorf("no layer was changed, since the bootstrap door does not open: %w", r.refused)
	}
	state := []string{fmt.Sprint(cfg.Bootstrap)}
	for i, name := range layerNames {
		token, clean := newToken(), false
		if h.packed != nil {
			p := h.packed[i]
			digests[name] = p.Digest
			if seen != nil {
				on := seen.Layers[name]
				switch {
				case on.Digest != p.Digest || vm.id != last.VMID || reopening:
				case seen.LastRollback != nil && seen.LastRollback.Layer == name: // the host forgets it when the layer runs
				case len(on.Drift) == 0 && seen.Pending == nil:
					token, clean = on.Token, sameMachine
				}
			} else if h.silent {
				clean = last.Digests[name] == p.Digest
			}
			// Not the digest, which a changed layer's new token stands for: a silent host keeps its tokens.
			state = append(state, token)
		}
		c, err := h.layer(i, token, clean)
		if err != nil {
			return nil, err
		}
		if seen != nil && len(seen.Layers[name].Drift) > 0 {
			account := []string{fmt.Sprintf("the host differs from what layer %q declared:", name)}
			for _, d := range seen.Layers[name].Drift {
				account = append(account, "  "+d.String())
			}
			drifted = append(drifted, func() {
				_ = ctx.Log.Warn(strings.Join(account, "\n"), &pulumi.LogArgs{Resource: c})
			})
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(state, "\n")))
	proven := &proof{name: hex.EncodeToString(sum[:8]), digests: digests}
	if proven.Command, err = h.proof(proven.name, digests); err != nil {
		return nil, err
	}
	return proven, nil
}

// proof is the command that proves the layers, and its name, which changes with every proof that is made anew.
type proof struct {
	*remote.Command
	name    string
	digests map[string]string // of the layers
}

// hardening is what the layers of one run have in common.
type hardening struct {
	*run
	ctx    *pulumi.Context
	cfg    *Config
	ring   *keyring
	n      *netResources
	vm     *machine
	access doorAccess
	packed []layer.Packed    // nil while the keys are not known
	silent bool              // nothing is known of the host but that it is the one of the last run
	ground []pulumi.Resource // what every command depends on
	begun  []*remote.Command // that may not have ended

	lookAtPort22 func() (closed func() error) // begins once

	mu      sync.Mutex
	running string // the command that has begun and not ended well
}

// runs notes the command that begins; none, when it has ended well.
func (h *hardening) runs(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = name
}

// settled waits until the commands declared before one have ended, and fails unless they did well. A preview knows no ID,
// and waits for nothing.
func (h *hardening) settled(name string) error {
	for _, c := range h.begun {
		if err := await(h.ctx, c.ID()); err != nil {
			return err
		}
	}
	h.begun = nil
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running != "" { // under --continue-on-error one that failed has an ID all the same
		return fmt.Errorf("%q waits for %q, which was not put in place", name, h.running)
	}
	return nil
}

// say tells what a command waits for.
func (h *hardening) say(line string) { _ = h.ctx.Log.Info(line, nil) }

// layer declares the command that puts a layer on the host through the door in force.
// A clean layer keeps the command that it had.
func (h *hardening) layer(i int, token string, clean bool) (*remote.Command, error) {
	door := layer.Door{Port: bootstrapPort, Seconds: h.cfg.ConfirmSeconds}
	if !h.cfg.Bootstrap {
		door.Port = h.cfg.SSHPort
	}
	var confirming func()
	before := func(*pulumi.ResourceHookArgs) error {
		if err := h.doors.ready(h.access, h.cfg.Bootstrap, h.say); err != nil {
			return err
		}
		if !h.cfg.Bootstrap && i > slices.Index(layerNames, "firewall") {
			h.lookAtPort22() // which the firewall closes; it goes on beside the other layers
		}
		if h.packed[i].Waits != "" {
			h.say(h.packed[i].Waits)
		}
		if h.packed[i].Armed {
			confirming = h.doors.confirm(h.access, h.cfg.Bootstrap, h.packed[i], h.cfg.ConfirmSeconds, func(line string) { warn(h.ctx, line) })
		}
		return nil
	}
	after := func(*pulumi.ResourceHookArgs) error {
		if confirming != nil {
			confirming()
		}
		return nil
	}
	return h.command(layerNames[i], h.cfg.Bootstrap, token, clean, before, after, func() (string, error) {
		return applier().Stdin(h.ring.stack.SudoPassword.Plain, h.packed[i].Apply(door))
	})
}

// proof declares the command that looks at both doors from outside, then logs in through the tunnel, whatever door is in
// force, becomes root and finds every layer as declared: closing port 22 is safe after it.
func (h *hardening) proof(state string, digests map[string]string) (*remote.Command, error) {
	before := func(*pulumi.ResourceHookArgs) error { return h.outsideIn() }
	return h.command("proof", false, state, false, before, nil, func() (string, error) {
		return applier().Stdin(h.ring.stack.SudoPassword.Plain, layer.Prove(digests))
	})
}

// command declares one command on the host, once those declared before it have ended well.
//
// Not by dependencies: what depends on another is registered after it, and each clean layer that waited for the one before it
// would take its time from the run; while with --target the engine wants what depends in the state in that order.
func (h *hardening) command(name string, bootstrap bool, token string, clean bool, before, after pulumi.ResourceHookFunction, stdin func() (string, error)) (*remote.Command, error) {
	if !clean {
		if err := h.settled(name); err != nil {
			return nil, err
		}
	}
	var create pulumi.StringInput = pulumi.All(h.vm.VmId).ApplyT(func(a []any) string {
		return layer.Command(!bootstrap, token, fmt.Sprint(a[0]), fmt.Sprint(h.cfg.Rescue))
	}).(pulumi.StringOutput)
	if h.vm.id != "" {
		// Also where a preview that updates the machine does not know its outputs.
		create = pulumi.String(layer.Command(!bootstrap, token, h.vm.id, fmt.Sprint(h.cfg.Rescue)))
	}
	var fault error
	args := &remote.CommandArgs{
		Connection: h.connection(bootstrap),
		Create:     create,
		Stdin: h.ring.secret(func() string {
			var text string
			text, fault = stdin()
			return text
		}),
		Logging:                remote.LoggingNone,
		AddPreviousOutputInEnv: pulumi.Bool(false), // a hardened sshd refuses it
	}
	if fault != nil {
		return nil, fault
	}
	hooks := &pulumi.ResourceHookBinding{}
	hook := func(when string, f pulumi.ResourceHookFunction) ([]*pulumi.ResourceHook, error) {
		hook, err := h.ctx.RegisterResourceHook(when+"-"+name, f, nil)
		return []*pulumi.ResourceHook{hook}, err
	}
	var err error
	if hooks.BeforeCreate, err = hook("before", func(args *pulumi.ResourceHookArgs) error {
		h.runs(name)
		return before(args)
	}); err != nil {
		return nil, err
	}
	if hooks.AfterCreate, err = hook("after", func(args *pulumi.ResourceHookArgs) error {
		h.runs("")
		if after == nil {
			return nil
		}
		return after(args)
	}); err != nil {
		return nil, err
	}
	hooks.BeforeUpdate, hooks.AfterUpdate = hooks.BeforeCreate, hooks.AfterCreate
	options := []pulumi.ResourceOption{
		pulumi.DependsOn(h.ground),
		pulumi.AdditionalSecretOutputs([]string{"stdout", "stderr"}),
		pulumi.ResourceHooks(hooks),
	}
	switch {
	case clean:
		// It is on the host as declared: neither another door nor a newer applier is a reason to run it, nor anything else.
		options = append(options, pulumi.IgnoreChanges([]string{"create", "connection", "stdin", "logging", "addPreviousOutputInEnv"}))
	case h.silent:
		options = append(options, pulumi.IgnoreChanges([]string{"create"}))
	}
	c, err := remote.NewCommand(h.ctx, name, args, options...)
	if err != nil {
		return nil, err
	}
	if !clean {
		h.begun = append(h.begun, c)
	}
	return c, nil
}

// applier is the program that every request brings along.
var applier = sync.OnceValue(func() layer.Applier {
	source, err := templates.ReadFile("templates" + applierPath)
	if err != nil {
		panic(err) // it is compiled in
	}
	return layer.NewApplier(source)
})

// connection is how the provider reaches the host: by a local port that this program forwards to the bootstrap door, or by
// the one that it forwards through its tunnel.
func (h *hardening) connection(bootstrap bool) remote.ConnectionArgs {
	stack := h.ring.stack
	c := remote.ConnectionArgs{
		Host:       pulumi.String("127.0.0.1"),
		Port:       pulumi.Float64(localPort(h.ctx.Project(), h.ctx.Stack())),
		User:       pulumi.String(outputs.Operator),
		PrivateKey: h.ring.secret(func() string { return stack.Operator.Private }),
		HostKey:    h.ring.public(func() string { return stack.HostKey.Public }),
		// Every dial that fails is tried again, a refused key too, and bans: the door was tried just before.
		DialErrorLimit: pulumi.Int(3),
	}
	if bootstrap {
		c.Port = pulumi.Float64(bootstrapLocalPort(localPort(h.ctx.Project(), h.ctx.Stack())))
		c.User = pulumi.String(h.cfg.AdminUsername)
		c.PrivateKey = h.ring.secret(func() string { return stack.Bootstrap.Private })
	}
	return c
}

// newToken marks one deliberate run of a layer: the host gives it back as long as it is as declared.
func newToken() string {
	b := make([]byte, 8)
	if _, err := rand.Read(b); err != nil {
		panic(err) // the kernel has no randomness: no key would be safe either
	}
	return hex.EncodeToString(b)
}
