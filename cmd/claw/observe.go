package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/term"

	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/reach"
)

// observe tells how the machine differs from what was declared, with the key of a peer that may look and no other: from that
// peer's own file, or from the stack's outputs. Its error is statusDiffers where it does.
func observe(ctx context.Context, r request, to io.Writer) error {
	way, err := observer(ctx, r)
	if err != nil {
		return err
	}
	return through(ctx, way, func(way outputs.Way) error {
		observed, err := reach.Look(ctx, way.Door)
		if err != nil {
			return err
		}
		return account(observed, to)
	})
}

// account tells what `pulumi preview` would of the machine.
func account(observed *layer.Observation, to io.Writer) error {
	for _, text := range append(observed.Notes, observed.Warnings...) {
		fmt.Fprintln(to, text.Lines())
	}
	differs := observed.Left()
	for _, name := range slices.Sorted(maps.Keys(observed.Layers)) {
		if text := observed.Account(name); text != "" {
			differs = append(differs, text)
		}
	}
	if len(observed.Layers) == 0 {
		differs = append(differs, "the machine has no record of any layer")
	}
	for _, text := range differs {
		fmt.Fprintln(to, text)
	}
	if len(differs) > 0 {
		return exit(statusDiffers)
	}
	_, err := fmt.Fprintf(to, "all %d layers are as declared\n", len(observed.Layers))
	return err
}

// observer is the way of the peer that looks.
func observer(ctx context.Context, r request) (outputs.Way, error) {
	if r.name == "" {
		stack, err := outputs.Read(ctx, r.stack)
		if err != nil {
			return outputs.Way{}, err
		}
		return stack.Observer(r.peer)
	}
	text, err := readPrivate(r.name)
	if err != nil {
		return outputs.Way{}, err
	}
	way, err := outputs.ParsePeerFile(text)
	if err != nil {
		return outputs.Way{}, fmt.Errorf("read the peer's file %q: %w", r.name, err)
	}
	return way, nil
}

// readPrivate reads a file that nobody but its owner may read; - is standard input.
func readPrivate(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read the peer's file: %w", err)
	}
	if others := info.Mode().Perm() & 0o077; others != 0 && info.Mode().IsRegular() {
		return nil, hint.To(fmt.Errorf("read the peer's file %q: its mode is %04o: others may read the keys in it", name, info.Mode().Perm()), "chmod 600 "+name)
	}
	return os.ReadFile(name)
}

// peerFile writes down what observe needs of a peer.
func peerFile(ctx context.Context, r request, to *os.File) error {
	private := "(umask 077; claw peer-file " + r.name + " >" + r.name + ".peer)"
	if term.IsTerminal(int(to.Fd())) {
		return hint.To(errors.New("peer-file: standard output is a terminal: keys are not printed there"),
			private+", or send it to where your jobs' secrets are kept")
	}
	if info, err := to.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return hint.To(fmt.Errorf("peer-file: standard output is a file of mode %04o: others may read the keys", info.Mode().Perm()),
			"rm that file, then "+private)
	}
	stack, err := outputs.Read(ctx, r.stack)
	if err != nil {
		return err
	}
	text, err := stack.PeerFile(r.name)
	if err != nil {
		return err
	}
	_, err = to.Write(append(text, '\n'))
	return err
}
