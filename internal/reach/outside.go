package reach

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/machine"
)

// closedPatience bounds the look at a port that should be closed: what a firewall drops gives no answer. TCP asks a
// second time after 1 s, and half a second is a long way.
const closedPatience = 1500 * time.Millisecond

// Closed looks at port 22 from here, beside whatever else goes on.
func (r *Doors) Closed(a Access) (found func() error) {
	done := make(chan error, 1)
	r.work.Go(func() { done <- expectClosed(r.ctx, netip.AddrPortFrom(a.Public, machine.BootstrapPort).String()) })
	return func() error { return <-done }
}

// expectClosed fails where an sshd answers at an address. A connection alone is no proof: some networks accept every one
// in the name of the far end.
func expectClosed(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, closedPatience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	var timeout net.Error
	switch {
	case err == nil:
	case errors.As(err, &timeout) && timeout.Timeout(),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return nil
	default: // something of this machine's own
		return hint.To(fmt.Errorf("port 22 is to be closed, and this machine cannot try it: %w", err),
			"look at this machine's own firewall and limits, then pulumi up")
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return nil // it is closed already
	}
	banner, _ := bufio.NewReader(io.LimitReader(conn, 255)).ReadString('\n') // RFC 4253 allows no longer one
	if !strings.HasPrefix(banner, "SSH-") {
		return nil
	}
	return hint.To(fmt.Errorf("port 22 is to be closed, and sshd answers at %s with %q", address, foreign.New(banner)),
		"look at what admits it: `az network nsg rule list`, and on the host `ufw status` and `ss -ltn`")
}
