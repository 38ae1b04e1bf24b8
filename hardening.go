package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/host"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/reach"
)

// doors is how the program itself reaches the host. The engine's tests have none to reach, and put another in its place.
type doors interface {
	// Listen takes the local ports.
	Listen() error
	// Observe reads what is effective on the host, through the bootstrap door or the tunnel.
	Observe(a reach.Access, bootstrap bool) (*layer.Observation, error)
	// Ready waits until a door opens to a fresh connection.
	Ready(a reach.Access, bootstrap bool, say func(string)) error
	// Closed begins to look whether port 22 opens from this machine. The function that it returns waits for that, once,
	// and fails if it does.
	Closed(a reach.Access) (found func() error)
	// Both waits until the tunnel opens for the program, and fails unless it does for people too.
	Both(a reach.Access, say func(string)) error
	// Confirm keeps an armed change, in the background, until the function that it returns is called.
	Confirm(a reach.Access, bootstrap bool, p layer.Packed, seconds int, say func(string)) func()
	Close()
}

var _ doors = (*reach.Doors)(nil)

// harden puts the layers on the host, one after the other, each confirmed before the next, and ends with the proof:
// a login through the tunnel that finds every layer in place.
func (r *run) harden(ctx *pulumi.Context, cfg *config.Config, last *lastrun.Run, observed *layer.Observation, allKeys *stackKeys, n *netResources, vm *virtualMachine) (*proof, error) {
	h := &hardening{run: r, ctx: ctx, cfg: cfg, last: last, observed: observed, allKeys: allKeys, vm: vm, ground: append(n.rules(), vm)}
	if vm.breakGlass != nil {
		h.ground = append(h.ground, vm.breakGlass)
	}
	if err := h.pack(n); err != nil {
		return nil, err
	}
	h.tellOfTheHost()
	if r.refused != nil && h.sameMachine() && !h.reopening() && !ctx.DryRun() {
		// Nothing in this run mends it, and sshd counts: the first command would try the same key again.
		return nil, fmt.Errorf("no layer was changed, since the bootstrap door does not open: %w", r.refused)
	}
	commands := map[string]pulumi.Resource{}
	// At the end, however it comes: in `up` a message about a resource waits until that resource is done.
	defer h.tellOfDrift(commands)
	digests := map[string]string{}
	state := []string{fmt.Sprint(cfg.Bootstrap)}
	for i, name := range layer.Names() {
		token, keeps := "", false
		if h.packed != nil {
			digests[name] = h.packed[i].Digest
			past := h.past(name, digests[name])
			if token, keeps = judge(past); token == "" {
				var err error
				if token, err = h.mark(name, past); err != nil {
					return nil, err
				}
			}
			// Not the digest, which a changed layer's new token stands for: a silent host keeps its tokens.
			state = append(state, token)
		}
		var err error
		if commands[name], err = h.layer(i, token, keeps); err != nil {
			return nil, err
		}
	}
	return h.prove(state, digests)
}

// past is what is known of a layer before a run declares it.
type past struct {
	declared string // the digest that this run declares
	lastRun  string // the digest that the last run declared; empty if there was none

	observed      bool   // the host was looked at in this run; if not, the next five say nothing
	token, digest string // what the host says of the layer
	drifted       bool
	undone        bool // the host took back its last change, which was of this layer
	pending       bool // a change, of whatever layer, waits on the host for a confirmation

	sameVM      bool // Azure's vmId is that of the last run
	sameMachine bool // and nobody asked for a rescue
	reopening   bool // the break-glass changes the host after it was looked at
	silent      bool // the host does not answer, and nothing says that it is not as the last run left it
}

// judge decides what becomes of a layer. keeps: its command stays as it was and does not run. token is the one that the
// host gives back, empty if the layer is to run under a new one.
func judge(p past) (token string, keeps bool) {
	switch {
	case p.silent:
		// Only declared changes run on a host that is not looked at.
		return "", p.lastRun == p.declared
	case !p.observed, p.digest != p.declared, !p.sameVM, p.reopening:
		return "", false
	case p.undone, p.pending, p.drifted:
		// The host forgets what it took back, and what waits, when the layer runs.
		return "", false
	}
	return p.token, p.sameMachine
}

// past gathers what is known of a layer.
func (h *hardening) past(name, declared string) past {
	p := past{declared: declared, observed: h.observed != nil, reopening: h.reopening(), sameMachine: h.sameMachine(), silent: h.silent()}
	if h.last != nil {
		p.lastRun, p.sameVM = h.last.Digests[name], h.vm.id == h.last.VMID
	}
	if h.observed != nil {
		on := h.observed.Layers[name]
		p.token, p.digest, p.drifted = on.Token, on.Digest, len(on.Drift) > 0
		p.undone = h.observed.LastRollback != nil && h.observed.LastRollback.Layer == name
		p.pending = h.observed.Pending != ""
	}
	return p
}

// sameMachine: it is the last run's, and nobody asked for a rescue.
func (h *hardening) sameMachine() bool {
	return h.last != nil && h.vm.id == h.last.VMID && h.cfg.Rescue == h.last.Rescue
}

// reopening: the break-glass changes the host after it was looked at.
func (h *hardening) reopening() bool {
	return h.last != nil && h.cfg.Bootstrap && (!h.last.Bootstrap || h.vm.firing != h.last.Firing)
}

// silent: a host that did not answer keeps the commands that it had. Not so through another door, where every command is
// another.
func (h *hardening) silent() bool {
	return h.observed == nil && h.sameMachine() && h.cfg.Bootstrap == h.last.Bootstrap
}

// pack makes the layers and what opens the doors, if the keys are known.
func (h *hardening) pack(n *netResources) error {
	text, err := engine.Text(h.ctx, n.address)
	if err != nil || h.allKeys.stack == nil {
		return err
	}
	if text != "" {
		public, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("read the public address %q: %w", text, err)
		}
		h.access = reach.Access{Carrier: h.cfg.Carrier, Keys: h.allKeys.stack, Public: public}
	}
	h.packed, err = host.New(h.cfg, h.vm.image, h.allKeys.stack, h.allKeys.peers).Layers()
	return err
}

// tellOfTheHost warns of what earlier runs left on the host.
func (h *hardening) tellOfTheHost() {
	if h.observed == nil {
		return
	}
	for _, left := range h.observed.Left() {
		engine.Warn(h.ctx, left)
	}
}

// tellOfDrift accounts for every layer that drifted and is declared.
func (h *hardening) tellOfDrift(commands map[string]pulumi.Resource) {
	if h.observed == nil {
		return
	}
	for _, name := range layer.Names() {
		if account := h.observed.Account(name); account != "" && commands[name] != nil {
			_ = h.ctx.Log.Warn(account, &pulumi.LogArgs{Resource: commands[name]})
		}
	}
}

// hardening is what the layers of one run have in common.
type hardening struct {
	*run
	ctx      *pulumi.Context
	cfg      *config.Config
	last     *lastrun.Run
	observed *layer.Observation
	allKeys  *stackKeys
	vm       *virtualMachine
	access   reach.Access
	packed   []layer.Packed    // nil while the keys are not known
	ground   []pulumi.Resource // what every command depends on
	begun    []*remote.Command // that may not have ended

	readBefore  sync.Once
	before      map[string]string
	beforeFault error

	looking sync.Once
	port22  func() error // waits for the look at port 22, once it has begun

	mu      sync.Mutex
	running string // the command that has begun and not ended well
}

// lookAtPort22 begins to look whether port 22 is closed, once.
func (h *hardening) lookAtPort22() {
	h.looking.Do(func() { h.port22 = h.doors.Closed(h.access) })
}

// outsideIn looks at both doors from this machine: the tunnel opens, and port 22 is as declared.
func (h *hardening) outsideIn() error {
	port22 := func() error { return h.doors.Ready(h.access, true, h.say) }
	if !h.cfg.Bootstrap {
		h.lookAtPort22()
		port22 = h.port22
	}
	outside := make(chan error, 1)
	go func() { outside <- port22() }()
	return errors.Join(h.doors.Both(h.access, h.say), <-outside)
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
		if err := engine.Await(h.ctx, c.ID()); err != nil {
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
func (h *hardening) say(line string) { engine.Say(h.ctx, line) }

// layer declares the command that puts a layer on the host through the door in force. One that keeps its command does not
// run.
func (h *hardening) layer(i int, token string, keeps bool) (pulumi.Resource, error) {
	confirmation := layer.Confirmation{Port: machine.BootstrapPort, Seconds: h.cfg.ConfirmSeconds}
	if !h.cfg.Bootstrap {
		confirmation.Port = h.cfg.SSHPort
	}
	names := layer.Names()
	var confirming func()
	before := func(*pulumi.ResourceHookArgs) error {
		if err := h.doors.Ready(h.access, h.cfg.Bootstrap, h.say); err != nil {
			return err
		}
		if !h.cfg.Bootstrap && i > slices.Index(names, "firewall") {
			h.lookAtPort22() // which the firewall closes; it goes on beside the other layers
		}
		if h.vm.fresh && i == 0 {
			h.say("waiting until cloud-init has ended, which sets the machine up")
		}
		if h.packed[i].Waits != "" {
			h.say(h.packed[i].Waits)
		}
		if h.packed[i].Armed {
			confirming = h.doors.Confirm(h.access, h.cfg.Bootstrap, h.packed[i], h.cfg.ConfirmSeconds, func(line string) { engine.Warn(h.ctx, line) })
		}
		return nil
	}
	after := func() {
		if confirming != nil {
			confirming()
		}
	}
	return h.command(command{name: names[i], bootstrap: h.cfg.Bootstrap, token: token, keeps: keeps, before: before, after: after,
		request: func() any { return h.packed[i].Apply(confirmation) }})
}

// proof is the command that proves the layers, and its name, which changes with every proof that is made anew.
type proof struct {
	*remote.Command
	name    string
	keeps   bool              // it is the last run's
	digests map[string]string // of the layers
}

// prove declares the command that looks at both doors from outside, then logs in through the tunnel, whatever door is in
// force, as people and as the program, and finds every layer as declared: closing port 22 is safe after it. state is what the proof is of.
func (h *hardening) prove(state []string, digests map[string]string) (*proof, error) {
	p := &proof{name: digest(state...), digests: digests}
	if h.silent() {
		p.name = h.last.Proof // the command keeps its text
	}
	// All as it was proven: then a newer applier, or another packing of it, is no reason to prove it again.
	p.keeps = h.sameMachine() && h.last.Proof == p.name && maps.Equal(h.last.Digests, digests)
	var err error
	p.Command, err = h.command(command{name: "proof", token: p.name, keeps: p.keeps,
		before:  func(*pulumi.ResourceHookArgs) error { return h.outsideIn() },
		request: func() any { return layer.Prove(digests) }})
	return p, err
}

// command is one command on the host.
type command struct {
	name      string
	bootstrap bool // the door that it goes through
	token     string
	keeps     bool // it is on the host as declared
	before    pulumi.ResourceHookFunction
	after     func() // nil: nothing
	request   func() any
}

// command declares a command on the host, once those declared before it have ended well.
//
// DependsOn does not order them: a dependent resource is registered only after its dependency, so every layer that keeps
// its command would slow the run down, and --target requires the state to list dependencies first.
func (h *hardening) command(c command) (*remote.Command, error) {
	if !c.keeps {
		if err := h.settled(c.name); err != nil {
			return nil, err
		}
	}
	stdin, err := h.stdin(c)
	if err != nil {
		return nil, err
	}
	hooks, err := h.hooks(c)
	if err != nil {
		return nil, err
	}
	options := []pulumi.ResourceOption{
		pulumi.DependsOn(h.ground),
		pulumi.AdditionalSecretOutputs([]string{"stdout", "stderr"}),
		pulumi.ResourceHooks(hooks),
	}
	switch {
	case c.keeps:
		// Neither another door nor a newer applier is a reason to run it, nor anything else.
		options = append(options, pulumi.IgnoreChanges([]string{"create", "connection", "stdin", "logging", "addPreviousOutputInEnv"}))
	case h.silent():
		options = append(options, pulumi.IgnoreChanges([]string{"create"}))
	}
	made, err := remote.NewCommand(h.ctx, c.name, &remote.CommandArgs{
		Connection:             h.connection(c.bootstrap),
		Create:                 h.create(c),
		Stdin:                  stdin,
		Logging:                remote.LoggingNone,
		AddPreviousOutputInEnv: pulumi.Bool(false), // a hardened sshd refuses it
	}, options...)
	if err == nil && !c.keeps {
		h.begun = append(h.begun, made)
	}
	return made, err
}

// create is the command's text.
func (h *hardening) create(c command) pulumi.StringInput {
	// Of the machine's ID, which a preview knows that updates the machine and does not know its outputs; and of the keys, which the
	// digest of a layer is made of.
	return pulumi.All(h.vm.ID(), h.allKeys.whole).ApplyT(func([]any) string {
		words := []string{c.token, h.vm.id, fmt.Sprint(h.cfg.Rescue)}
		if c.bootstrap {
			return layer.RemoteCommand(words...)
		}
		return layer.DeployCommand(c.name, words...)
	}).(pulumi.StringOutput)
}

// stdin is what the command reads: the applier and the request.
func (h *hardening) stdin(c command) (pulumi.StringOutput, error) {
	var fault error
	text := h.allKeys.secretOfAll(func() string {
		var text string
		text, fault = h.applier.Stdin(c.request())
		return text
	})
	return text, fault
}

// hooks run what a command needs beside it, and note that it runs.
func (h *hardening) hooks(c command) (*pulumi.ResourceHookBinding, error) {
	before, err := h.ctx.RegisterResourceHook("before-"+c.name, func(args *pulumi.ResourceHookArgs) error {
		h.runs(c.name)
		return c.before(args)
	}, nil)
	if err != nil {
		return nil, err
	}
	after, err := h.ctx.RegisterResourceHook("after-"+c.name, func(*pulumi.ResourceHookArgs) error {
		h.runs("")
		if c.after != nil {
			c.after()
		}
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	b, a := []*pulumi.ResourceHook{before}, []*pulumi.ResourceHook{after}
	return &pulumi.ResourceHookBinding{BeforeCreate: b, AfterCreate: a, BeforeUpdate: b, AfterUpdate: a}, nil
}

// connection is how the provider reaches the host: by a local port that this program forwards to the bootstrap door, or by
// the one that it forwards through its tunnel.
func (h *hardening) connection(bootstrap bool) remote.ConnectionArgs {
	stack, port := h.allKeys.stack, reach.LocalPort(h.ctx.Project(), h.ctx.Stack())
	c := remote.ConnectionArgs{
		Host:       pulumi.String("127.0.0.1"),
		Port:       pulumi.Float64(port),
		User:       pulumi.String(machine.Deploy),
		PrivateKey: h.allKeys.secret(func() string { return stack.Deployer.SSH.Private }),
		HostKey:    h.allKeys.public(func() string { return stack.HostKey.Public }),
		// Every dial that fails is tried again, a refused key too, and bans: the door was tried just before.
		DialErrorLimit: pulumi.Int(3),
	}
	if bootstrap {
		c.Port = pulumi.Float64(reach.BootstrapLocalPort(port))
		c.User = pulumi.String(h.cfg.AdminUsername)
		c.PrivateKey = h.allKeys.secret(func() string { return stack.Bootstrap.Private })
	}
	return c
}

// mark is the token of one deliberate run of a layer: the host gives it back as long as it is as declared. It follows from all that
// makes the layer run, and from what ran before, so that a preview and the run that it planned have the same, and two runs have not.
func (h *hardening) mark(name string, p past) (string, error) {
	before, err := h.commandsBefore()
	if err != nil {
		return "", err
	}
	account := ""
	if h.observed != nil {
		account = h.observed.Account(name)
	}
	return digest(name, h.vm.id, fmt.Sprint(h.cfg.Rescue, h.cfg.Bootstrap), fmt.Sprintf("%+v", p), account, h.last.Mark(), before[name]), nil
}

// commandsBefore are the commands' texts in the stack's state when the run began, by their names.
func (h *hardening) commandsBefore() (map[string]string, error) {
	h.readBefore.Do(func() {
		resources, err := engine.OwnResources(h.ctx)
		h.before, h.beforeFault = map[string]string{}, err
		for urn, r := range resources {
			if text, is := r.Outputs["create"].(string); is {
				h.before[urn[strings.LastIndex(urn, ":")+1:]] = text
			}
		}
	})
	return h.before, h.beforeFault
}

// digest is a short name for all of these together.
func digest(of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\n")))
	return hex.EncodeToString(sum[:8])
}
