package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/door"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/tunnel"
)

// forward brings the gateway to a port of this computer until it is told to
// end. A connection that was lost is opened again.
func forward(ctx context.Context, r request) error {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(r.port)))
	listener, err := net.Listen("tcp4", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return hint.To(fmt.Errorf("port %d of this computer is taken", r.port),
			"another forward may be running (ss -ltnp says who listens); --port chooses another")
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	defer listener.Close()
	return withTunnel(ctx, r, func(way outputs.Way, stack *outputs.Stack) error {
		client, err := way.Door.Connect(ctx)
		if err != nil {
			return err
		}
		f := &forwarder{door: way.Door}
		f.client.Store(client)
		if err := f.tryGateway(); err != nil {
			say("%v", err)
		}
		url := "http://" + address + "/"
		login, err := newLogin(url, stack.GatewayToken())
		if err != nil {
			return err
		}
		defer login.close()
		fmt.Printf("OpenClaw's control UI is at   %s   until Ctrl-C\n"+
			"Log in by opening, once:      %s   (works for %d minutes)\n"+
			"The gateway's token, should the page ask for it: pulumi stack output --show-secrets %s\n"+
			"Pages of settings are for looking: they cannot save, pulumi config set can (docs/first-hour.md)\n", url, login.url, int(loginLimit.Minutes()), outputs.GatewayToken)
		go f.accept(listener)
		return f.keep(ctx)
	})
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "claw: "+format+"\n", args...) }

// forwarder carries connections through one SSH connection.
type forwarder struct {
	door   door.Door
	client atomic.Pointer[door.Client] // nil while it is lost
}

// keep opens the connection again whenever it is lost.
func (f *forwarder) keep(ctx context.Context) error {
	for {
		client := f.client.Load()
		start := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- client.Wait() }()
		select {
		case <-ctx.Done():
			client.Close()
			return ctx.Err()
		case cause := <-ended:
			f.client.Store(nil)
			say("%v", f.door.Lost(client, cause, time.Since(start)))
		}
		if err := f.door.WaitReady(ctx, func(line string) { say("%s", line) }); err != nil {
			return err
		}
		again, err := f.door.Connect(ctx)
		if err != nil {
			return err
		}
		say("connected again")
		f.client.Store(again)
	}
}

func (f *forwarder) accept(l net.Listener) {
	tunnel.Accept(l, func(error) {}, func(local net.Conn) { go f.carry(local) })
}

func (f *forwarder) carry(local net.Conn) {
	defer local.Close()
	remote, err := f.dial()
	if err != nil {
		say("%v", err)
		return
	}
	defer remote.Close()
	tunnel.Carry(local, remote)
}

func (f *forwarder) tryGateway() error {
	c, err := f.dial()
	if err == nil {
		c.Close()
	}
	return err
}

// dial connects to the gateway from the machine's own loopback.
func (f *forwarder) dial() (net.Conn, error) {
	client := f.client.Load()
	if client == nil {
		return nil, hint.To(errors.New("the connection to the machine was lost and is being opened again"),
			"reload in a moment; where it does not come back, claw says why")
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(machine.GatewayPort))
	c, err := client.Dial("tcp", address)
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &refused) && refused.Reason == ssh.ConnectionFailed:
		return nil, hint.To(fmt.Errorf("nothing listens on %s of the machine", address),
			"OpenClaw may be starting; claw ssh -- systemctl status openclaw.service")
	case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
		return nil, hint.To(fmt.Errorf("the machine's sshd does not forward to %s", address),
			"its configuration was changed: pulumi up puts it back")
	}
	return nil, fmt.Errorf("forward to %s of the machine: %w", address, err)
}
