// Pulumi-resource-command is the lab's provider for commands, local and remote: a plugin of the CLI where the CLI
// starts it, and a server to attach to (PULUMI_DEBUG_PROVIDERS=command:PORT) where it is started by hand. Either way
// it prints the port of its server on 127.0.0.1 as its first line.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"openclaw-azure/lab/internal/command"
)

func main() {
	// A set of its own: packages of Pulumi's define flags on the common one.
	flags := flag.NewFlagSet("pulumi-resource-command", flag.ExitOnError)
	// The CLI hands its own logging flags to plugins; this one logs nothing by itself.
	flags.Bool("logtostderr", false, "taken and not used")
	flags.Bool("logflow", false, "taken and not used")
	flags.Int("v", 0, "taken and not used")
	flags.String("tracing", "", "taken and not used")
	_ = flags.Parse(os.Args[1:]) // exits by itself
	if err := serve(flags.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(engineAddress string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if engineAddress != "" {
		// A terminal's Ctrl-C reaches plugins too. The engine decides what to do about it.
		signal.Ignore(os.Interrupt)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	return command.Serve(ctx, l, engineAddress)
}
