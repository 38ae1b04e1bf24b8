package tunnel

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// ping sends echo requests to one address and tells of the replies.
type ping struct {
	ep      tcpip.Endpoint
	queue   waiter.Queue
	entry   waiter.Entry
	replies chan struct{} // something may be there to read
	seq     uint16
}

func (s *userStack) newPing(to netip.Addr) (*ping, error) {
	p := &ping{}
	ep, err := s.stack.NewEndpoint(icmp.ProtocolNumber4, protocol, &p.queue)
	if err != nil {
		return nil, fmt.Errorf("prepare to ping %s: %s", to, err)
	}
	p.ep = ep
	if err := ep.Connect(fullAddress(netip.AddrPortFrom(to, 0))); err != nil {
		ep.Close()
		return nil, fmt.Errorf("prepare to ping %s: %s", to, err)
	}
	p.entry, p.replies = waiter.NewChannelEntry(waiter.ReadableEvents)
	p.queue.EventRegister(&p.entry)
	return p, nil
}

func (p *ping) close() {
	p.queue.EventUnregister(&p.entry)
	p.ep.Close()
}

// send sends one request. That a full queue may drop it does not matter: the
// next one follows.
func (p *ping) send() {
	p.seq++
	request := header.ICMPv4(make([]byte, header.ICMPv4MinimumSize))
	request.SetType(header.ICMPv4Echo)
	request.SetSequence(p.seq)
	p.ep.Write(bytes.NewReader(request), tcpip.WriteOptions{})
}

// heard takes what has arrived and says whether a reply was among it.
func (p *ping) heard() bool {
	heard := false
	for {
		var packet bytes.Buffer
		if _, err := p.ep.Read(&packet, tcpip.ReadOptions{}); err != nil {
			return heard
		}
		reply := header.ICMPv4(packet.Bytes())
		heard = heard || len(reply) >= header.ICMPv4MinimumSize && reply.Type() == header.ICMPv4EchoReply
	}
}

// keepPinging runs for as long as the tunnel is open.
func (t *Tunnel) keepPinging(p *ping) {
	defer p.close()
	every := time.NewTicker(t.cfg.PingInterval)
	defer every.Stop()
	look := time.NewTicker(max(t.cfg.SilenceLimit/20, time.Millisecond))
	defer look.Stop()
	p.send()
	for {
		select {
		case <-t.quit:
			return
		case <-p.replies:
			if p.heard() {
				t.noteReply()
			}
		case <-every.C:
			// A host that lost its session (WireGuard restarted) ignores what
			// is sent under the old keys, and WireGuard would try new ones only
			// after 15 s: longer than connections are kept. It limits itself to
			// one handshake in 5 s.
			if t.Silent() > 2*t.cfg.PingInterval {
				t.peer.SendHandshakeInitiation(false) // its error is in the log
			}
			p.send()
		case <-look.C:
			t.closeSilent()
		}
	}
}

func (t *Tunnel) noteReply() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastReply = time.Now()
	t.sendError = nil
	close(t.replied)
	t.replied = make(chan struct{})
}

// closeSilent closes the connections on which nothing can have come for the
// silence limit. One that was made during a silence gets its own full time.
func (t *Tunnel) closeSilent() {
	now := time.Now()
	var dead []*trackedConn
	t.mu.Lock()
	heard := t.heardLocked()
	for c := range t.conns {
		if now.Sub(heard) >= t.cfg.SilenceLimit && now.Sub(c.since) >= t.cfg.SilenceLimit {
			dead = append(dead, c)
		}
	}
	t.mu.Unlock()
	for _, c := range dead {
		c.fail(t.silence(now.Sub(heard), nil))
	}
}
