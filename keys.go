package main

import (
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/keys"
)

// stackKeys is every key of the stack. In a preview that would make new ones they are not known: stack is nil then.
type stackKeys struct {
	name    string // of the Pulumi stack
	stack   *keys.Stack
	text    string // what stack was read from
	peers   map[string]*keys.Peer
	unknown pulumi.StringOutput // stands for what cannot be said before the stack's own keys are made
	whole   pulumi.StringOutput // and for what cannot be said before those of a peer are
}

// newKeys makes the keys once: they live in the stack's state, as secrets. keyGeneration renews them all, nothing
// else does: not another laptop's folder, not an edited command.
func newKeys(ctx *pulumi.Context, cfg *config.Config) (*stackKeys, error) {
	allKeys := &stackKeys{name: ctx.Stack(), peers: map[string]*keys.Peer{}}
	made, err := generate(ctx, cfg, "keys", "stack")
	if err != nil {
		return nil, err
	}
	// All are declared before any is waited for: a stack of 250 peers would wait for each in turn.
	peers := make([]*local.Command, len(cfg.Peers))
	for i, p := range cfg.Peers {
		if peers[i], err = generate(ctx, cfg, "peer-"+p.Name, "peer"); err != nil {
			return nil, err
		}
	}
	nothing := func([]any) string { return "" }
	allKeys.unknown = pulumi.Unsecret(pulumi.All(made.Stdout).ApplyT(nothing)).(pulumi.StringOutput)
	all := []any{made.Stdout}
	for _, peer := range peers {
		all = append(all, peer.Stdout)
	}
	allKeys.whole = pulumi.Unsecret(pulumi.All(all...).ApplyT(nothing)).(pulumi.StringOutput)
	if allKeys.text, err = generated(ctx, made, "keys"); err != nil {
		return nil, err
	}
	if allKeys.text != "" {
		if allKeys.stack, err = keys.ParseStack(allKeys.text); err != nil {
			return nil, fmt.Errorf("read the keys of resource \"keys\": %w", err)
		}
	}
	for i, p := range cfg.Peers {
		text, err := generated(ctx, peers[i], "peer-"+p.Name)
		if err != nil {
			return nil, err
		}
		if text == "" {
			// A preview in which this peer is new. These stand for its keys, so that what is known stays known: they
			// change the tunnel's layer, as the real ones will, and the outputs wait for the proof.
			allKeys.peers[p.Name] = &keys.Peer{}
			continue
		}
		if allKeys.peers[p.Name], err = keys.ParsePeer(text); err != nil {
			return nil, fmt.Errorf("read the keys of resource %q: %w", "peer-"+p.Name, err)
		}
	}
	return allKeys, nil
}

// generate declares the command that makes keys of a kind, once.
func generate(ctx *pulumi.Context, cfg *config.Config, name, kind string) (*local.Command, error) {
	return local.NewCommand(ctx, name, &local.CommandArgs{
		Create:                 pulumi.String("go run ./cmd/keys " + kind),
		Logging:                local.LoggingNone,
		AddPreviousOutputInEnv: pulumi.Bool(false), // the old keys would stand in a process's environment
		Triggers:               pulumi.Array{pulumi.Int(cfg.KeyGeneration)},
	}, pulumi.AdditionalSecretOutputs([]string{"stdout", "stderr"}),
		pulumi.IgnoreChanges([]string{"create", "logging", "addPreviousOutputInEnv"}))
}

// generated waits for keys; in a preview that would make them they are empty.
func generated(ctx *pulumi.Context, c *local.Command, name string) (string, error) {
	text, err := engine.Text(ctx, c.Stdout)
	if err == nil && text == "" && !ctx.DryRun() {
		return "", notMade(fmt.Sprintf("the keys of resource %q were", name))
	}
	return text, err
}

// secret is the text that f makes of the keys, a secret; not known where the keys are not.
func (r *stackKeys) secret(f func() string) pulumi.StringOutput {
	return pulumi.ToSecret(r.of(r.unknown, f)).(pulumi.StringOutput)
}

// secretOfAll is the same of the peers' keys too.
func (r *stackKeys) secretOfAll(f func() string) pulumi.StringOutput {
	return pulumi.ToSecret(r.of(r.whole, f)).(pulumi.StringOutput)
}

// public is the text that f makes of the public halves.
func (r *stackKeys) public(f func() string) pulumi.StringOutput {
	return pulumi.Unsecret(r.of(r.unknown, f)).(pulumi.StringOutput)
}

// of depends on the keys' resources whether they are known or not: a plan that a preview made would else have other dependencies
// than the run.
func (r *stackKeys) of(keys pulumi.StringOutput, f func() string) pulumi.StringOutput {
	text := ""
	if r.stack != nil {
		text = f()
	}
	return keys.ApplyT(func(string) string { return text }).(pulumi.StringOutput)
}
