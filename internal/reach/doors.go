// Package reach is how the program itself reaches the host: by the bootstrap door, or by the tunnel that it opens in this
// process. It looks whether the doors open, waits for them, and keeps what is applied armed.
package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/door"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/tunnel"
)

// Access is what opens the doors of one machine.
type Access struct {
	machine.Carrier
	Keys   *keys.Stack
	Public netip.Addr   // the machine's address on the Internet
	Named  *outputs.Way // of a named peer, if it looks and not the deployer; it needs no local port
}

// Doors reaches a real host, by the tunnel that it opens in this process.
type Doors struct {
	applier layer.Applier // which every request brings along
	port    uint16        // local, of the tunnel; the bootstrap door's is BootstrapLocalPort of it

	mu       sync.Mutex
	listener net.Listener // forwards to the host's sshd through the tunnel: the provider dials it
	direct   net.Listener // forwards to the host's port 22, likewise
	directTo netip.AddrPort
	tunnel   *tunnel.Tunnel
	way      route   // of tunnel and listener
	opened   opening // the last to a fresh connection
	openedAt time.Time
	say      func(string)    // of the command that is waited for
	ctx      context.Context // ends with the run
	stop     context.CancelFunc
	work     sync.WaitGroup
}

// route is what a tunnel is opened with, and where the local port leads to.
type route struct {
	private, server, preshared wgtypes.Key
	address                    netip.Addr
	endpoint, host             netip.AddrPort
}

// opening is a door, and whom it lets in.
type opening struct{ address, user, key string }

func openingOf(d door.Door) opening {
	return opening{d.Address, d.User, string(d.Key.PublicKey().Marshal())}
}

// noteOpen notes that a door opens.
func (r *Doors) noteOpen(d door.Door) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened, r.openedAt = openingOf(d), time.Now()
}

// justOpened tells whether a door opened a moment ago.
func (r *Doors) justOpened(d door.Door) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened == openingOf(d) && time.Since(r.openedAt) < openFor
}

// New reaches a host through the local ports that go with port, with an applier for every request.
func New(port uint16, applier layer.Applier) *Doors {
	r := &Doors{port: port, applier: applier}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Close ends confirmations and the tunnel: connections first, so that the host's sshd sees them end.
func (r *Doors) Close() {
	r.stop()
	r.mu.Lock()
	if r.direct != nil {
		r.direct.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		r.listener.Close()
	}
	if r.tunnel != nil {
		r.tunnel.Close()
	}
}

// open opens the tunnel, or keeps the one that is open with the same access.
func (r *Doors) open(a Access) error {
	way := route{a.Keys.Deployer.Private, a.Keys.WireGuardServer.Public, a.Keys.Deployer.Preshared, a.DeployerAddress(),
		netip.AddrPortFrom(a.Public, a.WireGuardPort), a.SSH()}
	if a.Named != nil {
		named := a.Named.Tunnel
		way.private, way.preshared, way.address = named.PrivateKey, named.PresharedKey, named.Address
	}
	r.mu.Lock()
	if r.tunnel != nil && r.way != way {
		// The look went by the last run's keys; this run's are others.
		r.tunnel.Close()
		r.tunnel, r.listener = nil, nil
	}
	isOpen := r.tunnel != nil
	r.mu.Unlock()
	if isOpen {
		return nil
	}
	if a.Named == nil {
		if err := r.Listen(); err != nil {
			return err
		}
	}
	t, err := tunnel.Open(tunnel.Config{PrivateKey: way.private, ServerPublicKey: way.server, PresharedKey: way.preshared,
		Address: way.address, Server: way.host.Addr(), Endpoint: way.endpoint, MTU: machine.MTU,
		TooMuch: func() { r.tooMuch(door.Tunnel) }}, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, tunnel.AliveLimit)
	defer cancel()
	if err := t.WaitAlive(ctx); err != nil {
		t.Close()
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tunnel, r.way = t, way
	if r.listener != nil {
		t.Forward(r.listener, way.host)
	}
	return nil
}

func (a Access) bootstrapDoor() door.Door {
	return door.Door{Name: door.Bootstrap, Address: net.JoinHostPort(a.Public.String(), strconv.Itoa(machine.BootstrapPort)),
		User: a.AdminUsername, Key: a.Keys.Bootstrap.Signer, HostKey: a.Keys.HostKey.PublicKey}
}

// tunnelDoor is the one in the tunnel, as the program's own user, with the named peer's key where that looks.
func (r *Doors) tunnelDoor(a Access) door.Door {
	key := a.Keys.Deployer.SSH.Signer
	if a.Named != nil {
		key = a.Named.Door.Key
	}
	return r.doorOf(a, machine.Deploy, key)
}

func (r *Doors) doorOf(a Access, user string, key ssh.Signer) door.Door {
	return door.Door{Name: door.Tunnel, Address: a.SSH().String(), Dial: r.dialTunnel, User: user, Key: key, HostKey: a.Keys.HostKey.PublicKey}
}

// operatorDoor is the one in the tunnel as people go through it. That it lets in is all that counts: what becomes of a command is up
// to files of theirs, and who was revoked may have written those.
func (r *Doors) operatorDoor(a Access) door.Door {
	return r.doorOf(a, machine.Operator, a.Keys.Operator.Signer)
}

func (r *Doors) dialTunnel(ctx context.Context, network, address string) (net.Conn, error) {
	r.mu.Lock()
	t := r.tunnel
	r.mu.Unlock()
	if t == nil {
		return nil, errors.New("the tunnel is not open")
	}
	return t.DialContext(ctx, network, address)
}

// errSudo says that a door opened and sudo did not.
var errSudo = errors.New("sudo refused")

// ask sends one request, with a name for people, to the applier through a door, and returns its answer.
func (r *Doors) ask(ctx context.Context, d door.Door, name string, request any) (stdout foreign.Stream, exit int, err error) {
	command := layer.RemoteCommand()
	if d.User == machine.Deploy {
		command = layer.DeployCommand(name)
	}
	stdin, err := r.applier.Stdin(request)
	if err != nil {
		return stdout, 0, err
	}
	return run(ctx, d, command, stdin)
}

// run runs a command that becomes root on the host, over a connection of its own.
func run(ctx context.Context, d door.Door, command, stdin string) (stdout foreign.Stream, exit int, err error) {
	stdout, stderr, exit, err := d.Run(ctx, command, []byte(stdin))
	if err != nil {
		return stdout, exit, err
	}
	if exit == 1 && stderr.Has("sudo:") {
		return stdout, exit, hint.To(fmt.Errorf("become root as %q through the %s door: %w: %s", d.User, d.Name, errSudo, stderr.LastLine()),
			"`pulumi config set bootstrap true && pulumi up` mends sudo")
	}
	if exit != 0 && exit != machine.ExitNotPending && exit != machine.ExitRefused {
		return stdout, exit, fmt.Errorf("ask the host through the %s door: exit status %d: %s", d.Name, exit, stderr.LastLine())
	}
	return stdout, exit, nil
}

// Look reads what is effective on the host with a key that can do nothing else: the applier's copy there answers.
func Look(ctx context.Context, d door.Door) (*layer.Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	stdout, _, err := run(ctx, d, "observe", "")
	if err != nil {
		return nil, err
	}
	return layer.ParseObservation(stdout)
}

// reach gives the bootstrap door, or opens the tunnel and gives its door.
func (r *Doors) reach(a Access, bootstrap bool) (door.Door, error) {
	if bootstrap {
		r.mu.Lock()
		r.directTo = netip.AddrPortFrom(a.Public, machine.BootstrapPort)
		r.mu.Unlock()
		return a.bootstrapDoor(), nil
	}
	return r.tunnelDoor(a), r.open(a)
}

// Observe reads what is effective, through the bootstrap door or the tunnel.
func (r *Doors) Observe(a Access, bootstrap bool) (*layer.Observation, error) {
	d, err := r.reach(a, bootstrap)
	if err != nil {
		return nil, err
	}
	d.Patience = lookTimeout
	if !bootstrap {
		d.Patience = door.DefaultPatience
	}
	if a.Named != nil {
		return Look(r.ctx, d)
	}
	// A busy host that has let us in is not a silent one.
	ctx, cancel := context.WithTimeout(r.ctx, answerTimeout)
	defer cancel()
	stdout, _, err := r.ask(ctx, d, "observe", layer.Observe())
	if err != nil {
		return nil, err
	}
	return layer.ParseObservation(stdout)
}

// Ready waits until a door opens to a fresh connection, so that the provider's own dial meets no closed one: it would
// repeat even a refused key, which bans.
func (r *Doors) Ready(a Access, bootstrap bool, say func(string)) error {
	r.mu.Lock()
	r.say = say
	r.mu.Unlock()
	d, err := r.reach(a, bootstrap)
	if err != nil {
		return err
	}
	if r.justOpened(d) {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, readyTimeout)
	defer cancel()
	if err := d.WaitReady(ctx, say); err != nil {
		return err
	}
	r.noteOpen(d)
	return nil
}

// tooMuch tells why a command's connection ended: the provider only says that it did.
func (r *Doors) tooMuch(door string) {
	r.mu.Lock()
	say := r.say
	r.mu.Unlock()
	if say != nil {
		say(hint.Text(fmt.Sprintf("a command's connection through the %s door was ended: more than %d MiB went one way, and a layer takes less than one", door, tunnel.ForwardLimit>>20),
			"a host that says so much is broken or somebody else's: docs/threat-model.md"))
	}
}

// Both waits until the tunnel opens for the program and for people. It tells where a command of theirs fails.
func (r *Doors) Both(a Access, say func(string)) error {
	if err := r.open(a); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, readyTimeout)
	defer cancel()
	people := make(chan error, 1)
	var open atomic.Bool // until then both wait for the same, which is told once
	go func() {
		people <- r.letsPeopleIn(ctx, a, func(line string) {
			if open.Load() {
				say(line)
			}
		})
	}()
	if err := r.Ready(a, false, say); err != nil {
		cancel()
		<-people
		return err
	}
	open.Store(true)
	return <-people
}

// letsPeopleIn waits until people get in through the tunnel, which is open.
func (r *Doors) letsPeopleIn(ctx context.Context, a Access, say func(string)) error {
	people := r.operatorDoor(a)
	c, err := people.Await(ctx, say)
	if err != nil {
		return err
	}
	defer c.Close()
	soon, done := context.WithTimeout(ctx, lookTimeout)
	defer done()
	if _, _, exit, err := people.RunOn(soon, c, "true", nil); err != nil || exit != 0 {
		say(hint.Text(fmt.Sprintf("%q logs in through the tunnel, and its own shell does not run a command", machine.Operator),
			"as root on the machine, move /home/claw/.bashrc and the like out of the way"))
	}
	return nil
}
