// Command claw reaches the machine that this repository's program deployed, on
// a computer that has no WireGuard: it opens the tunnel in its own process, with
// the keys that the stack's outputs hold, and writes none of them anywhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/tunnel"
	"openclaw-azure/internal/version"
)

const usage = `usage: claw [--stack NAME] [--peer NAME] COMMAND

  ssh [-t] [-- CMD...]   log in as claw, or run a command there; -t: on a terminal, as sudo wants it
  openclaw [-t] -- ARGS  OpenClaw's own command line on the machine: channels status, pairing list, doctor, ...
  whatsapp               the QR that links the machine to a WhatsApp account
  restore [--sha256 SUM] FILE
                         put a backup that was brought home into the place of the machine's state; FILE latest is the newest there.
                         SUM is what it was when it was made: the stack's output backup has the newest's
  forward [--port PORT]  OpenClaw's control UI for a browser of this computer; without a port it takes one that is free
  observe [FILE]         how the machine differs from what was declared, with a key that can only look; status 1 where it does
  peer-file NAME         what observe needs of that peer, and nothing else: its FILE; - is standard input
  version                which version of this program this is

  --stack NAME           the stack, where it is not the selected one (or PULUMI_STACK)
  --peer NAME            whose WireGuard key to use (or CLAW_PEER); default laptop. One session at a time has it.

Exit status: the command's own; 128 and the signal's number where a signal ended it; 255 where claw itself failed;
2 where it was called wrongly. (` + "`go run`" + ` turns each of them into 1: ` + "`go tool claw`" + ` does not.)
`

// The statuses that it exits with, beside a command's own.
const (
	statusDiffers = 1 // observe
	statusUsage   = 2
	statusFailed  = 255 // as ssh's
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// errUsage is a command line that says nothing that can be done.
type errUsage struct{ error }

// exit is a status that is not claw's own.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func run(args []string) int {
	err := claw(args)
	var status exit
	var wrong errUsage
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &wrong):
		fmt.Fprintf(os.Stderr, "claw: %s\n%s", foreign.Printable(err.Error()), usage)
		return statusUsage
	}
	fmt.Fprintf(os.Stderr, "claw: %s\n", foreign.Printable(err.Error()))
	return statusFailed
}

// request is what the command line asks for.
type request struct {
	stack, peer string
	command     string
	terminal    bool     // -t
	argv        []string // ssh, openclaw
	port        uint     // forward; 0 is any
	name        string   // observe, restore: the file; peer-file: the peer
	sum         string   // restore
}

var sumForm = regexp.MustCompile("^[0-9A-Fa-f]{64}$")

func claw(args []string) error {
	if len(args) > 0 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help") {
		fmt.Print(usage)
		return nil
	}
	r, err := parse(args)
	if err != nil {
		return errUsage{err}
	}
	if r.command == "version" {
		fmt.Println("claw", version.Number)
		return nil
	}
	if r.terminal {
		if err := wantTerminal(r.command); err != nil {
			return err
		}
	}
	ctx, signals := signalled()
	switch r.command {
	case "forward":
		err = forward(ctx, r)
	case "observe":
		err = observe(ctx, r, os.Stdout)
	case "peer-file":
		err = peerFile(ctx, r, os.Stdout)
	case "restore":
		err = restore(ctx, r, signals)
	default:
		err = withTunnel(ctx, r, func(way outputs.Way, stack *outputs.Stack) error {
			if r.command == "whatsapp" {
				return whatsapp(ctx, way, stack, func(text string) { fmt.Print(text) })
			}
			first := ""
			if r.command == "openclaw" {
				var err error
				if r.argv, first, err = asRoot("openclaw", r.argv, r.terminal, stack); err != nil {
					return err
				}
			}
			input := io.MultiReader(strings.NewReader(first), os.Stdin)
			client, err := way.Door.Connect(ctx)
			if err != nil {
				return err
			}
			defer client.Close()
			return session(way.Door, client, r, input, signals())
		})
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// signalled is a context that ends, as exit, with the first signal that asks
// for an end, until take hands the signals over to somebody who knows better.
func signalled() (ctx context.Context, take func() <-chan os.Signal) {
	caught := make(chan os.Signal, 8)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) { // nohup
			signal.Notify(caught, s)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	taken := make(chan struct{})
	go func() {
		select {
		case s := <-caught:
			cancel(exit(128 + int(s.(syscall.Signal))))
		case <-taken:
		}
	}()
	return ctx, func() <-chan os.Signal { close(taken); return caught }
}

func parse(args []string) (request, error) {
	r := request{}
	flags := func(name string) *flag.FlagSet {
		f := flag.NewFlagSet(name, flag.ContinueOnError)
		f.SetOutput(io.Discard)
		// Before the command or after it, as one happens to type.
		f.StringVar(&r.stack, "stack", r.stack, "")
		f.StringVar(&r.peer, "peer", r.peer, "")
		return f
	}
	global := flags("claw")
	if err := global.Parse(args); err != nil {
		return r, err
	}
	if global.NArg() == 0 {
		return r, errors.New("no command")
	}
	r.command, args = global.Arg(0), global.Args()[1:]
	own := flags(r.command)
	switch r.command {
	case "ssh", "openclaw":
		own.BoolVar(&r.terminal, "t", false, "")
	case "forward":
		own.UintVar(&r.port, "port", 0, "")
	case "restore":
		own.StringVar(&r.sum, "sha256", "", "")
	case "version", "whatsapp", "observe", "peer-file":
	default:
		return r, fmt.Errorf("no command %q", r.command)
	}
	if err := own.Parse(args); err != nil {
		return r, fmt.Errorf("%s: %w", r.command, err)
	}
	r.argv = own.Args()
	r.peer = outputs.PeerName(r.peer)
	switch {
	case r.command == "peer-file" && len(r.argv) == 0:
		return r, errors.New("peer-file: whose? claw peer-file NAME")
	case r.command == "restore" && len(r.argv) == 0:
		return r, errors.New("restore: which backup? claw restore FILE")
	case r.sum != "" && !sumForm.MatchString(r.sum):
		return r, fmt.Errorf("restore: --sha256 %q is no SHA-256: 64 hexadecimal digits", r.sum)
	case slices.Contains([]string{"peer-file", "observe", "restore"}, r.command) && len(r.argv) > 0:
		if r.name, r.argv = r.argv[0], r.argv[1:]; r.name == "" {
			return r, fmt.Errorf("%s: an empty name", r.command)
		}
	}
	commands := r.command == "ssh" || r.command == "openclaw"
	separated := len(args) > len(r.argv) && args[len(args)-len(r.argv)-1] == "--"
	switch {
	case commands && separated && len(r.argv) == 0:
		return r, fmt.Errorf("%s: nothing after --", r.command)
	case commands && !separated && len(r.argv) > 0:
		return r, fmt.Errorf("%s: what it runs stands after --, and there is %q", r.command, strings.Join(r.argv, " "))
	case r.command == "openclaw" && len(r.argv) == 0:
		return r, errors.New("openclaw: nothing to run: claw openclaw -- status")
	case r.name != "" && len(r.argv) > 0:
		return r, fmt.Errorf("%s takes no arguments but one, and got %q", r.command, strings.Join(r.argv, " "))
	case !commands && len(r.argv) > 0:
		return r, fmt.Errorf("%s takes no arguments, and got %q", r.command, strings.Join(r.argv, " "))
	case r.command == "forward" && r.port > 65535:
		return r, fmt.Errorf("forward: port %d is not between 1 and 65535", r.port)
	}
	return r, nil
}

// withTunnel reads the stack's outputs and opens the tunnel.
func withTunnel(ctx context.Context, r request, do func(outputs.Way, *outputs.Stack) error) error {
	stack, err := outputs.Read(ctx, r.stack)
	if err != nil {
		return err
	}
	way, err := stack.Way(r.peer)
	if err != nil {
		return err
	}
	return through(ctx, way, func(way outputs.Way) error { return do(way, stack) })
}

// through opens a peer's tunnel, and closes it afterwards, so that the host sees the end of every connection.
func through(ctx context.Context, way outputs.Way, do func(outputs.Way) error) error {
	t, err := tunnel.Open(way.Tunnel, nil)
	if err != nil {
		return err
	}
	defer t.Close()
	waiting, cancel := context.WithTimeout(ctx, tunnel.AliveLimit)
	defer cancel()
	if err := t.WaitAlive(waiting); err != nil {
		return fmt.Errorf("open the tunnel as peer %q: %w", way.Peer, err)
	}
	way.Door.Dial = t.DialContext
	return do(way)
}
