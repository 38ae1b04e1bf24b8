package door

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/tunnel"
)

// line loses everything while it is cut.
type line struct {
	conn.Bind
	cut atomic.Bool
}

func (l *line) Send(bufs [][]byte, ep conn.Endpoint) error {
	if l.cut.Load() {
		return nil
	}
	return l.Bind.Send(bufs, ep)
}

// overTunnel gives a door to the server behind WireGuard, and the line to it.
func overTunnel(t *testing.T, s *server) (Door, *tunnel.Tunnel, *line) {
	t.Helper()
	ours, theirs := netip.MustParseAddr("10.100.0.254"), netip.MustParseAddr("10.100.0.1")
	var private [2]wgtypes.Key
	for i := range private {
		var err error
		if private[i], err = wgtypes.GeneratePrivateKey(); err != nil {
			t.Fatal(err)
		}
	}
	binds := bindtest.NewChannelBinds()
	dev, ns, err := netstack.CreateNetTUN([]netip.Addr{theirs}, nil, tunnel.DefaultMTU)
	if err != nil {
		t.Fatal(err)
	}
	host := device.NewDevice(dev, binds[1], device.NewLogger(device.LogLevelSilent, ""))
	t.Cleanup(host.Close)
	ourPublic := private[0].PublicKey()
	if err := host.IpcSet(fmt.Sprintf("private_key=%x\npublic_key=%x\nallowed_ip=%s/32\n", private[1][:], ourPublic[:], ours)); err != nil {
		t.Fatal(err)
	}
	if err := host.Up(); err != nil {
		t.Fatal(err)
	}
	l, err := ns.ListenTCPAddrPort(netip.AddrPortFrom(theirs, 2222))
	if err != nil {
		t.Fatal(err)
	}
	s.listen(l)

	way := &line{Bind: binds[0]}
	tun, err := tunnel.Open(tunnel.Config{
		PrivateKey: private[0], ServerPublicKey: private[1].PublicKey(),
		Address: ours, Server: theirs, Endpoint: netip.MustParseAddrPort("127.0.0.1:1"),
		PingInterval: 50 * time.Millisecond, SilenceLimit: 3 * time.Second, // megabytes and the race detector hold up a ping
	}, way)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tun.Close() })
	d := s.door("10.100.0.1:2222")
	d.Dial = tun.DialContext
	return d, tun, way
}

func TestThroughTheTunnel(t *testing.T) {
	s := newServer(t)
	d, _, way := overTunnel(t, s)
	if err := d.WaitReady(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	data := []byte(strings.Repeat("0123456789abcdef", 1<<16))
	stdout, _, exit, err := d.Run(t.Context(), "cat", data)
	if err != nil || exit != 0 || !stdout.Is(string(data)) {
		t.Fatalf("%q, %d, %v", stdout, exit, err)
	}
	within(t, 5*time.Second, "the host sees the ends", func() bool { return s.open.Load() == 0 })

	closed := d
	closed.Address = "10.100.0.1:22"
	_, _, _, err = closed.Run(t.Context(), "echo", nil)
	wantError(t, err, ErrUnreachable, `tunnel door 10.100.0.1:22: no TCP connection: connection was refused
hint: see that sshd runs on the host and that its firewall admits the VPN to this port; bootstrap: true opens the other door`)

	// The host falls silent under a command, and stays so.
	result := make(chan error, 1)
	go func() {
		_, _, _, err := d.Run(t.Context(), "hang", nil)
		result <- err
	}()
	within(t, 5*time.Second, "the command runs", func() bool { return s.hanging.Load() == 1 })
	way.cut.Store(true)
	var fault *Error
	select {
	case err := <-result:
		if !errors.As(err, &fault) || fault.Kind != ErrLost || !strings.Contains(fault.Fact, ", before the command did: WireGuard at 127.0.0.1:1 is silent: the last handshake was at ") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the command hangs")
	}
	_, _, _, err = d.Run(t.Context(), "echo", nil)
	if !errors.As(err, &fault) || fault.Kind != ErrUnreachable || !strings.HasPrefix(fault.Fact, "WireGuard at 127.0.0.1:1 is silent: the last handshake was at ") {
		t.Errorf("got %v", err)
	}
}

// As a provider that is a process of its own comes in.
func TestThroughTheForwardedPort(t *testing.T) {
	s := newServer(t)
	d, tun, way := overTunnel(t, s)
	if err := d.WaitReady(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tun.Forward(l, netip.MustParseAddrPort("10.100.0.1:2222"))
	d.Dial, d.Address = nil, l.Addr().String()
	if stdout, _, _, err := d.Run(t.Context(), "echo hello", nil); err != nil || !stdout.Is("hello") {
		t.Fatalf("%q, %v", stdout, err)
	}
	way.cut.Store(true)
	_, _, _, err = d.Run(t.Context(), "echo", nil)
	wantError(t, err, ErrNoSSH, "tunnel door "+d.Address+`: something accepts connections and closes them without a word
hint: sshd on the host may be restarting; else bootstrap: true opens the other door`)
}
