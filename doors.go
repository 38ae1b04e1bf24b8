package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/door"
	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/tunnel"
)

const (
	// lookTimeout bounds a look at a door that may be silent.
	lookTimeout = 6 * time.Second
	// answerTimeout bounds the answer of a host that let us in.
	answerTimeout = time.Minute
	// readyTimeout bounds the wait for a door that is to open: a VM boots, sshd restarts.
	readyTimeout = 5 * time.Minute
	// confirmPause lies between the first two tries to confirm a change. Each is longer than the one before, up to
	// mostConfirmPause: while packages are installed a try is work for the host.
	confirmPause     = 100 * time.Millisecond
	mostConfirmPause = 2 * time.Second
	// confirmLimit bounds all tries for one layer: packages may be installed before it is armed.
	confirmLimit = 20 * time.Minute
	// openFor is how long a door that opened to a fresh connection for one layer counts as open for the next.
	openFor = 3 * time.Second
)

// doorAccess is what opens a door of one machine.
type doorAccess struct {
	stack  *keys.Stack
	public netip.Addr
	admin  string // of the bootstrap door

	named *tunnel.Config // of a named peer, where it looks and not the deployer; it needs no local port

	vpnServer, deployer    netip.Addr
	sshPort, wireGuardPort uint16
}

// doors is how the program itself reaches the host. The engine's tests have none to reach, and put another in its place.
type doors interface {
	// listen takes the local port of the tunnel.
	listen() error
	// observe reads what is effective on the host, through the bootstrap door or the tunnel.
	observe(a doorAccess, bootstrap bool) (*layer.Observation, error)
	// ready waits until a door opens to a fresh connection.
	ready(a doorAccess, bootstrap bool, say func(string)) error
	// closed begins to look whether port 22 opens from this machine. The function that it returns waits for that, once,
	// and fails where it does.
	closed(a doorAccess) (found func() error)
	// confirm keeps an armed change, in the background, until the function that it returns is called.
	confirm(a doorAccess, bootstrap bool, p layer.Packed, seconds int, say func(string)) func()
	close()
}

// realDoors reaches a real host, by the tunnel that it opens in this process.
type realDoors struct {
	port uint16 // local, of the tunnel; the bootstrap door's is bootstrapLocalPort of it

	mu       sync.Mutex
	listener net.Listener // forwards to the host's sshd through the tunnel: the provider dials it
	direct   net.Listener // forwards to the host's port 22, likewise
	directTo netip.AddrPort
	tunnel   *tunnel.Tunnel
	way      route   // of tunnel and listener
	opened   opening // the last to a fresh connection
	openedAt time.Time
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
func (r *realDoors) noteOpen(d door.Door) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened, r.openedAt = openingOf(d), time.Now()
}

// justOpened tells whether a door opened a moment ago.
func (r *realDoors) justOpened(d door.Door) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened == openingOf(d) && time.Since(r.openedAt) < openFor
}

func newDoors(port uint16) *realDoors {
	r := &realDoors{port: port}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// close ends confirmations and the tunnel: connections first, so that the host's sshd sees them end.
func (r *realDoors) close() {
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

// localPort is the same at every run of a stack, so that a command's connection does not change, and another for
// another stack.
func localPort(project, stack string) uint16 {
	h := fnv.New32a()
	io.WriteString(h, project+"/"+stack)
	return uint16(20000 + h.Sum32()%10000)
}

// bootstrapLocalPort is the local port that leads to the bootstrap door, by the one that leads to the tunnel's.
func bootstrapLocalPort(port uint16) uint16 { return port - 10000 }

// errLocalPort says that another run of this stack has the tunnel.
var errLocalPort = errors.New("the tunnel's local port is taken")

// listen takes the local ports. They are also what tells two runs on one machine apart: two sessions with one WireGuard
// key would steal each other's traffic.
func (r *realDoors) listen() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.listener == nil {
		if r.listener, err = takePort(r.port, errLocalPort); err != nil {
			return err
		}
	}
	if r.direct == nil {
		if r.direct, err = takePort(bootstrapLocalPort(r.port), errors.New("the bootstrap door's local port is taken")); err != nil {
			return err
		}
		l := r.direct
		r.work.Go(func() { r.forwardDirect(l) })
	}
	return nil
}

func takePort(port uint16, taken error) (net.Listener, error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("%w: listen on %s: %w"+
			"\nhint: another run of this stack may be under way on this machine: wait for it, or see who listens: ss -ltnp", taken, address, err)
	}
	return l, nil
}

// open opens the tunnel, or keeps the one that is open with the same access.
func (r *realDoors) open(a doorAccess) error {
	way := route{a.stack.Deployer.Private, a.stack.WireGuardServer.Public, a.stack.Deployer.Preshared, a.deployer,
		netip.AddrPortFrom(a.public, a.wireGuardPort), netip.AddrPortFrom(a.vpnServer, a.sshPort)}
	if a.named != nil {
		way.private, way.preshared, way.address = a.named.PrivateKey, a.named.PresharedKey, a.named.Address
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
	if a.named == nil {
		if err := r.listen(); err != nil {
			return err
		}
	}
	t, err := tunnel.Open(tunnel.Config{PrivateKey: way.private, ServerPublicKey: way.server, PresharedKey: way.preshared,
		Address: way.address, Server: way.host.Addr(), Endpoint: way.endpoint, MTU: 1280}, nil)
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

func (a doorAccess) bootstrapDoor() door.Door {
	return door.Door{Name: door.Bootstrap, Address: net.JoinHostPort(a.public.String(), strconv.Itoa(bootstrapPort)),
		User: a.admin, Key: a.stack.Bootstrap.Signer, HostKey: a.stack.HostKey.PublicKey}
}

func (r *realDoors) tunnelDoor(a doorAccess) door.Door {
	return door.Door{Name: door.Tunnel, Address: netip.AddrPortFrom(a.vpnServer, a.sshPort).String(), Dial: r.dialTunnel,
		User: outputs.Operator, Key: a.stack.Operator.Signer, HostKey: a.stack.HostKey.PublicKey}
}

func (r *realDoors) dialTunnel(ctx context.Context, network, address string) (net.Conn, error) {
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

// ask sends one request to the applier through a door, over a connection of its own, and returns its answer.
func ask(ctx context.Context, d door.Door, password string, request any) (stdout []byte, exit int, err error) {
	stdin, err := applier().Stdin(password, request)
	if err != nil {
		return nil, 0, err
	}
	stdout, stderr, exit, err := d.Run(ctx, layer.Command(d.Name == door.Tunnel), []byte(stdin))
	if err != nil {
		return nil, exit, err
	}
	if exit == 1 && bytes.Contains(stderr, []byte("sudo:")) {
		return nil, exit, fmt.Errorf("become root as %q through the %s door: %w: %s"+
			"\nhint: the password of claw is the secret output sudoPassword; `pulumi config set bootstrap true && pulumi up` mends sudo", d.User, d.Name, errSudo, layer.LastLine(string(stderr)))
	}
	if exit != 0 && exit != exitNothingPending && exit != exitRefused {
		return stdout, exit, fmt.Errorf("ask the host through the %s door: exit status %d: %s", d.Name, exit, layer.LastLine(string(stderr)))
	}
	return stdout, exit, nil
}

// Exit statuses of the applier's confirm.
const (
	exitNothingPending = 75
	exitRefused        = 77
)

// reach gives the bootstrap door, or opens the tunnel and gives its door.
func (r *realDoors) reach(a doorAccess, bootstrap bool) (door.Door, error) {
	if bootstrap {
		r.mu.Lock()
		r.directTo = netip.AddrPortFrom(a.public, bootstrapPort)
		r.mu.Unlock()
		return a.bootstrapDoor(), nil
	}
	return r.tunnelDoor(a), r.open(a)
}

// observe reads what is effective, through the bootstrap door or the tunnel.
func (r *realDoors) observe(a doorAccess, bootstrap bool) (*layer.Observation, error) {
	d, err := r.reach(a, bootstrap)
	if err != nil {
		return nil, err
	}
	d.Patience = lookTimeout
	if !bootstrap {
		d.Patience = door.DefaultPatience
	}
	// A busy host that has let us in is not a silent one.
	ctx, cancel := context.WithTimeout(r.ctx, answerTimeout)
	defer cancel()
	stdout, _, err := ask(ctx, d, a.stack.SudoPassword.Plain, layer.Observe())
	if err != nil {
		return nil, err
	}
	return layer.ParseObservation(stdout)
}

// ready waits until a door opens to a fresh connection, so that the provider's own dial meets no closed one: it would
// repeat even a refused key, which bans.
func (r *realDoors) ready(a doorAccess, bootstrap bool, say func(string)) error {
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

// confirm keeps an armed change, from a new connection through the door that must remain. It tries until the host has
// armed the change, in the background; the cancel function ends that.
func (r *realDoors) confirm(a doorAccess, bootstrap bool, p layer.Packed, seconds int, say func(string)) func() {
	ctx, cancel := context.WithTimeout(r.ctx, confirmLimit)
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		defer cancel() // the watch ends with it: what is confirmed is not lost any more
		d, port := a.bootstrapDoor(), uint16(bootstrapPort)
		if !bootstrap {
			d, port = r.tunnelDoor(a), a.sshPort
		}
		w := &window{layer: p.Name, door: d.Name, seconds: seconds, say: say, answered: time.Now()}
		if !bootstrap {
			r.work.Go(func() { r.watchTunnel(ctx, w) })
		}
		for pause := confirmPause; ctx.Err() == nil; pause = min(pause*5/4, mostConfirmPause) {
			once, done := context.WithTimeout(ctx, 2*lookTimeout)
			stdout, exit, err := ask(once, d, a.stack.SudoPassword.Plain, p.Confirm(port))
			done()
			switch {
			case err == nil && exit == 0:
				w.answers(time.Now())
				r.noteOpen(d)
				return
			case err == nil:
				w.answers(time.Now())
				if reason, final := layer.ParseRefusal(stdout); final {
					say(fmt.Sprintf("layer %s cannot be confirmed: %s: the host takes its change back", p.Name, reason))
					return
				}
			case ctx.Err() != nil:
				return
			case errors.Is(err, door.ErrKeyRefused), errors.Is(err, door.ErrHostKeyDiffers), errors.Is(err, errSudo):
				// Trying again would only get this machine banned. The host takes the change back, and the command
				// waits for that.
				say(fmt.Sprintf("layer %s cannot be confirmed, and the host will take it back within %d s: %v", p.Name, seconds, err))
				return
			default:
				w.silent(time.Now(), err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}()
	return cancel
}

// watchTunnel tells by the tunnel's pings that the door is lost: when the tunnel closes its connections the command ends,
// and the run with it, and nothing more can be said.
func (r *realDoors) watchTunnel(ctx context.Context, w *window) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		t, host := r.tunnel, r.way.host.Addr()
		r.mu.Unlock()
		if t == nil {
			continue
		}
		if silent := t.Silent(); silent >= lostAfter {
			w.lost(time.Now(), fmt.Errorf("%s has answered no ping through the tunnel for %s", host, silent.Round(time.Second)))
			return
		}
	}
}
