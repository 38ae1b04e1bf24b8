package reach

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"openclaw-azure/internal/door"
	"openclaw-azure/internal/tunnel"
)

// directKeepAlive is what a host on the bootstrap door is asked while a command waits for it. The system's own
// questions take two and a half minutes until silence counts as an end, and the provider's connections cannot be told
// to ask others: so they go through this process, as those of the tunnel do.
var directKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}

// restartPatience is for an sshd that starts again: cloud-init restarts it at a machine's first boot, and the provider gives up after
// four dials. Shorter than the 15 s that the provider gives each.
const restartPatience = 10 * time.Second

// dialDirect dials the host, again for a while where nothing listens.
func (r *Doors) dialDirect(address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: lookTimeout, KeepAliveConfig: directKeepAlive}
	for begun := time.Now(); ; {
		conn, err := dialer.DialContext(r.ctx, "tcp4", address)
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Since(begun) > restartPatience {
			return conn, err
		}
		select {
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// forwardDirect takes what l accepts to the host's port 22, until l is closed.
func (r *Doors) forwardDirect(l net.Listener) {
	tunnel.Accept(l, func(error) {}, func(local net.Conn) { r.work.Go(func() { r.carryDirect(local) }) })
}

func (r *Doors) carryDirect(local net.Conn) {
	defer local.Close()
	r.mu.Lock()
	to := r.directTo
	r.mu.Unlock()
	remote, err := r.dialDirect(to.String())
	if err != nil {
		return
	}
	defer remote.Close()
	defer context.AfterFunc(r.ctx, func() {
		local.Close()
		remote.Close()
	})()
	if !tunnel.CarryAtMost(local, remote, tunnel.ForwardLimit) {
		r.tooMuch(door.Bootstrap)
	}
}
