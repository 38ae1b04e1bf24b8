package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"openclaw-azure/internal/controlui"
	"openclaw-azure/internal/door"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/localport"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/outputs"
)

// atOnce is how many connections the control UI's port carries: a browser has a handful for each of its tabs.
const atOnce = 250

// forward opens a door to the gateway's control UI for a browser of this computer, until it is told to end. A connection to the
// machine that was lost is opened again.
func forward(ctx context.Context, r request) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	listener, err := localport.Listen(uint16(r.port), atOnce, func(err error) { say("%v", err) })
	if errors.Is(err, syscall.EADDRINUSE) {
		return hint.To(fmt.Errorf("port %d of this computer is taken", r.port),
			"without --port it takes one that is free; ss -ltnp says who has this one")
	}
	if err != nil {
		return fmt.Errorf("listen on port %d of this computer: %w", r.port, err)
	}
	defer listener.Close()
	return withTunnel(ctx, r, func(way outputs.Way, stack *outputs.Stack) error {
		if stack.GatewayToken() == "" {
			return hint.To(errors.New("the stack has no gateway token in its outputs"), "pulumi up")
		}
		client, err := way.Door.Connect(ctx)
		if err != nil {
			return err
		}
		f := &forwarder{door: way.Door}
		f.client.Store(client)
		if err := f.tryGateway(); err != nil {
			say("%v", err)
		}
		door, err := controlui.New(listener.Port(), controlui.Gateway{Address: gatewayAddress, Token: stack.GatewayToken(),
			Dial: func(context.Context) (net.Conn, error) { return f.dial() }}, sayOnce())
		if err != nil {
			return err
		}
		fmt.Printf("OpenClaw's control UI, until Ctrl-C. Open this link in a browser, once, within %d minutes:\n    %s\n", int(controlui.LoginLimit.Minutes()), door.NewLink())
		if note := nameNote(ctx, net.DefaultResolver.LookupNetIP); note != "" {
			fmt.Println(note)
		}
		if term.IsTerminal(int(os.Stdin.Fd())) {
			fmt.Println("Enter gives a link for another browser.")
			go moreLinks(os.Stdin, door.NewLink)
		}
		fmt.Println("Pages of settings are for looking: they cannot save, pulumi config set can (docs/first-hour.md)")
		go func() { cancel(door.Serve(ctx, listener)) }()
		return f.keep(ctx)
	})
}

// moreLinks prints a link for each line that somebody types.
func moreLinks(typed io.Reader, link func() string) {
	for lines := bufio.NewScanner(typed); lines.Scan(); {
		fmt.Println("    " + link())
	}
}

// nameNote is what to know where this computer does not find names under localhost by itself; empty where it does.
func nameNote(ctx context.Context, lookUp func(ctx context.Context, network, host string) ([]netip.Addr, error)) string {
	ctx, cancel := context.WithTimeout(ctx, nameLimit)
	defer cancel()
	// Another name than the door's, which is nobody else's business.
	found, err := lookUp(ctx, "ip", strings.ToLower(rand.Text())+".localhost")
	elsewhere := func(a netip.Addr) bool { return !a.Unmap().IsLoopback() }
	if err == nil && len(found) > 0 && !slices.ContainsFunc(found, elsewhere) {
		return ""
	}
	return "This computer's own resolver does not take such a name to this computer. Chrome, Edge and Firefox do: open it in one of them."
}

// nameLimit is for a resolver that is on this computer, or asked in vain.
const nameLimit = 2 * time.Second

// sayOnce says what goes wrong when it begins, and not for each thing that a page asks for.
func sayOnce() func(error) {
	var mu sync.Mutex
	last, at := "", time.Time{}
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if text := err.Error(); text != last || time.Since(at) > quiet {
			say("%v", err)
			last = text
		}
		at = time.Now()
	}
}

// quiet is how long the same fault has to be gone to be told again.
const quiet = 30 * time.Second

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "claw: "+format+"\n", args...) }

// gatewayAddress is where the gateway is on the machine, and the one place that its sshd forwards to.
var gatewayAddress = net.JoinHostPort("127.0.0.1", strconv.Itoa(machine.GatewayPort))

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
			return context.Cause(ctx)
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
	c, err := client.Dial("tcp", gatewayAddress)
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &refused) && refused.Reason == ssh.ConnectionFailed:
		return nil, hint.To(fmt.Errorf("nothing listens on %s of the machine", gatewayAddress),
			"OpenClaw may be starting; claw ssh -- systemctl status openclaw.service")
	case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
		return nil, hint.To(fmt.Errorf("the machine's sshd does not forward to %s", gatewayAddress),
			"its configuration was changed: pulumi up puts it back")
	}
	return nil, fmt.Errorf("forward to %s of the machine: %w", gatewayAddress, err)
}
