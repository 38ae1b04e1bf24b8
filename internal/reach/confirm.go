package reach

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openclaw-azure/internal/door"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
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

// Confirm keeps an armed change, from a new connection through the door that must remain. It tries until the host has
// armed the change, in the background; the cancel function ends that.
func (r *Doors) Confirm(a Access, bootstrap bool, p layer.Packed, seconds int, say func(string)) func() {
	ctx, cancel := context.WithTimeout(r.ctx, confirmLimit)
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		defer cancel() // the watch ends with it: what is confirmed is not lost any more
		d, port := a.bootstrapDoor(), uint16(machine.BootstrapPort)
		if !bootstrap {
			d, port = r.tunnelDoor(a), a.SSHPort
		}
		w := &window{layer: p.Name, door: d.Name, seconds: seconds, say: say, answered: time.Now()}
		if !bootstrap {
			r.work.Go(func() { r.watchTunnel(ctx, w) })
		}
		for pause := confirmPause; ctx.Err() == nil; pause = min(pause*5/4, mostConfirmPause) {
			once, done := context.WithTimeout(ctx, 2*lookTimeout)
			stdout, exit, err := r.confirmOnce(once, a, d, p, port)
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

// confirmOnce keeps the change if it is armed. In the tunnel people have to get in first: not before the change, which may be
// what mends their door, and once, since sshd counts what it refuses.
func (r *Doors) confirmOnce(ctx context.Context, a Access, d door.Door, p layer.Packed, port uint16) (stdout foreign.Stream, exit int, err error) {
	if d.Name == door.Tunnel {
		if stdout, exit, err = r.ask(ctx, d, "confirm", p.AskArmed(port)); err != nil || exit != 0 {
			return stdout, exit, err
		}
		people, err := r.operatorDoor(a).Connect(ctx)
		if err != nil {
			return stdout, 0, err
		}
		people.Close()
	}
	return r.ask(ctx, d, "confirm", p.Confirm(port))
}

// watchTunnel tells by the tunnel's pings that the door is lost: when the tunnel closes its connections the command ends,
// and the run with it, and nothing more can be said.
func (r *Doors) watchTunnel(ctx context.Context, w *window) {
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
