package reach

import (
	"context"
	"net"
	"time"

	"openclaw-azure/internal/tunnel"
)

// directKeepAlive is what a host on the bootstrap door is asked while a command waits for it. The system's own
// questions take two and a half minutes until silence counts as an end, and the provider's connections cannot be told
// to ask others: so they go through this process, as those of the tunnel do.
var directKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}

// forwardDirect takes what l accepts to the host's port 22, until l is closed.
func (r *Doors) forwardDirect(l net.Listener) {
	tunnel.Accept(l, func(error) {}, func(local net.Conn) { r.work.Go(func() { r.carryDirect(local) }) })
}

func (r *Doors) carryDirect(local net.Conn) {
	defer local.Close()
	r.mu.Lock()
	to := r.directTo
	r.mu.Unlock()
	dialer := net.Dialer{Timeout: lookTimeout, KeepAliveConfig: directKeepAlive}
	remote, err := dialer.DialContext(r.ctx, "tcp4", to.String())
	if err != nil {
		return
	}
	defer remote.Close()
	defer context.AfterFunc(r.ctx, func() {
		local.Close()
		remote.Close()
	})()
	tunnel.Carry(local, remote)
}
