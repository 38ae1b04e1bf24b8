package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/outputs"
)

// errNotProven keeps the outputs of the last run: with --continue-on-error, or --target, this point is reached without a
// proof.
var errNotProven = errors.New("there is no proof that all is in place: the outputs stay as they were" +
	"\nhint: an error above says why; where there is none, --target left it out: pulumi up, without it")

// export declares the stack's outputs. They follow the proof: what they say has been seen.
func export(ctx *pulumi.Context, cfg *Config, ring *keyring, n *netResources, vm *machine, last *lastRun, proof *proof) {
	proven := pulumi.All(n.address, vm.VmId, n.group.Name, vm.Name, proof.Stdout).ApplyT(func(a []any) (seen, error) {
		s := seen{address: a[0].(string), vmID: a[1].(string), group: a[2].(string), machine: a[3].(string)}
		err := errNotProven
		if a[4].(string) != "" {
			s.proof, err = layer.ParseProof(a[4].(string))
		}
		if err != nil {
			report(ctx, err) // Pulumi itself says nothing of an output that failed
		}
		return s, err
	})
	after := func(f func(seen) string) pulumi.StringOutput {
		return pulumi.Unsecret(proven.ApplyT(func(s any) string { return f(s.(seen)) })).(pulumi.StringOutput)
	}
	ctx.Export("publicIp", n.address)
	ctx.Export("wireguardSources", pulumi.String(wireguardSources(cfg)))
	ctx.Export("doors", after(func(s seen) string { return strings.Join(openDoors(cfg, s.address), "\n") }))
	ctx.Export("next", after(func(seen) string { return next(cfg) }))
	ctx.Export(outputs.KnownHosts, after(func(s seen) string { return knownHosts(cfg, ring.stack, s.address) }))
	ctx.Export(outputs.OperatorKey, ring.secret(func() string { return ring.stack.Operator.Private }))
	ctx.Export("sudoPassword", ring.secret(func() string { return ring.stack.SudoPassword.Plain }))
	ctx.Export(outputs.GatewayToken, ring.secret(func() string { return ring.stack.GatewayToken }))
	peers := pulumi.StringMap{}
	for _, p := range cfg.Peers {
		peers[p.Name] = pulumi.ToSecret(after(func(s seen) string {
			return peerConfiguration(cfg, ring, p, s.address)
		})).(pulumi.StringOutput)
	}
	ctx.Export(outputs.Peers, pulumi.ToSecret(peers))
	ctx.Export("readme", after(func(s seen) string { return readme(ctx.Stack(), cfg, s) }))
	ctx.Export(lastRunOutput, pulumi.ToSecret(after(func(s seen) string { return lastRunText(cfg, ring, s, vm, last, proof) })))
}

// seen is what the run found once everything was in place.
type seen struct {
	address, vmID, group, machine string
	proof                         *layer.Proof
}

func openDoors(cfg *Config, address string) []string {
	open := []string{fmt.Sprintf("tunnel: WireGuard %s:%d/udp from %s, then claw@%s port %d",
		address, cfg.WireGuardPort, wireguardSources(cfg), cfg.ServerAddress(), cfg.SSHPort)}
	if cfg.Bootstrap {
		open = append([]string{fmt.Sprintf("bootstrap: %s@%s port %d/tcp from %s",
			cfg.AdminUsername, address, bootstrapPort, strings.Join(prefixStrings(cfg.AllowedSSH), ","))}, open...)
	}
	return open
}

func next(cfg *Config) string {
	if cfg.Bootstrap {
		return "the tunnel was proven: close port 22 with `pulumi config set bootstrap false && pulumi up`"
	}
	return "port 22 is closed: connect through the tunnel (see the output readme)"
}

// knownHosts are lines for ssh's known_hosts: the host's key was made by the program and given to the machine.
func knownHosts(cfg *Config, stack *keys.Stack, address string) string {
	key := strings.Join(strings.Fields(stack.HostKey.Public)[:2], " ")
	lines := fmt.Sprintf("[%s]:%d %s\n", cfg.ServerAddress(), cfg.SSHPort, key)
	if cfg.Bootstrap {
		lines += fmt.Sprintf("%s %s\n", address, key)
	}
	return lines
}

// peerConfiguration is a complete configuration for wg-quick or a WireGuard app. The tunnel leads to the machine and
// nowhere else.
func peerConfiguration(cfg *Config, ring *keyring, p Peer, address string) string {
	private := "PrivateKey = " + ring.peers[p.Name].Private.String()
	if p.PublicKey != nil {
		private = "# PrivateKey = the one that this device made for itself"
	}
	return fmt.Sprintf(`[Interface]
# %s, of stack %s
%s
Address = %s/32
MTU = 1280

[Peer]
PublicKey = %s
PresharedKey = %s
Endpoint = %s
AllowedIPs = %s/32
PersistentKeepalive = 25
`, p.Name, ring.name, private, p.Address, ring.stack.WireGuardServer.Public, ring.peers[p.Name].Preshared,
		netip.AddrPortFrom(netip.MustParseAddr(address), cfg.WireGuardPort), cfg.ServerAddress())
}

func lastRunText(cfg *Config, ring *keyring, s seen, vm *machine, last *lastRun, proof *proof) string {
	// Only a proof that was made anew has a new time, or no run would be without a change.
	changed := time.Now().UTC().Truncate(time.Second)
	if last != nil && last.Proof == proof.name {
		changed = last.Changed
	}
	text, err := json.Marshal(lastRun{
		PublicIP:         netip.MustParseAddr(s.address),
		Group:            s.group,
		Machine:          s.machine,
		VMID:             s.vmID,
		Bootstrap:        cfg.Bootstrap,
		Location:         cfg.Location,
		AdminUsername:    cfg.AdminUsername,
		Image:            vm.image,
		WireGuardSources: wireguardSources(cfg),
		SSHPort:          cfg.SSHPort,
		WireGuardPort:    cfg.WireGuardPort,
		VPN:              cfg.VPN,
		KeyGeneration:    cfg.KeyGeneration,
		Rescue:           cfg.Rescue,
		Firing:           vm.firing,
		Proof:            proof.name,
		Digests:          proof.digests,
		Changed:          changed,
		Keys:             json.RawMessage(ring.text),
	})
	if err != nil {
		panic(err) // plain values, and keys that were parsed
	}
	return string(text)
}

func readme(stack string, cfg *Config, s seen) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# OpenClaw on %s\n\nOpen now:\n", s.address)
	for _, d := range openDoors(cfg, s.address) {
		fmt.Fprintf(&b, "- %s\n", d)
	}
	fmt.Fprintf(&b, "\nNext: %s\n\n## Connect\n", next(cfg))
	fmt.Fprintf(&b, "With nothing installed but Go and Pulumi, in the repository's folder: `go run ./cmd/claw --stack %s ssh`\n\n", stack)
	fmt.Fprintf(&b, "With WireGuard and SSH:\n```\n")
	fmt.Fprintf(&b, "umask 077\n")
	// One that brought its own key has its configuration on its device.
	if i := slices.IndexFunc(cfg.Peers, func(p Peer) bool { return p.PublicKey == nil }); i >= 0 {
		fmt.Fprintf(&b, "pulumi stack output --stack %s --show-secrets --json peers | jq -r '.%q' > openclaw.conf\n", stack, cfg.Peers[i].Name)
		fmt.Fprintf(&b, "sudo wg-quick up ./openclaw.conf\n")
	}
	fmt.Fprintf(&b, "pulumi stack output --stack %s --show-secrets operatorKey > claw_ed25519\n", stack)
	fmt.Fprintf(&b, "pulumi stack output --stack %s knownHosts > known_hosts\n", stack)
	fmt.Fprintf(&b, "ssh -i claw_ed25519 -o IdentitiesOnly=yes -o UserKnownHostsFile=known_hosts -p %d claw@%s\n```\n", cfg.SSHPort, cfg.ServerAddress())
	fmt.Fprintf(&b, "\nThe password for sudo: `pulumi stack output --stack %s --show-secrets sudoPassword`\n", stack)
	fmt.Fprintf(&b, "\nOpenClaw %s runs as openclaw.service; its gateway listens on the machine's own 127.0.0.1:%d.\n", cfg.OpenClawVersion, outputs.GatewayPort)
	fmt.Fprintf(&b, "Backups stand on the machine, in /backups/openclaw: `pulumi destroy` takes them along. Bring the newest home first: "+
		"`go run ./cmd/claw --stack %s ssh -- cat /backups/openclaw/latest > openclaw-backup.tar`\n", stack)
	b.WriteString(proofTable(cfg, s.proof))
	return b.String()
}

// proofTable is the last proof, for people.
func proofTable(cfg *Config, proof *layer.Proof) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## The last proof\n\n")
	if proof.At == "" {
		return b.String() + "An older release's, without its figures: the next change on the host renews it.\n"
	}
	port22 := "port 22 did not answer"
	if cfg.Bootstrap {
		port22 = "port 22 opened to the bootstrap key"
	}
	fmt.Fprintf(&b, "%s, from the machine that ran Pulumi: the tunnel opened, %s, and all that was read back on the host was as declared.\n\n", proof.At, port22)
	fmt.Fprintf(&b, "| layer | settings read back |\n|---|---|\n")
	for _, name := range layerNames {
		fmt.Fprintf(&b, "| %s | %d |\n", name, proof.Settings[name])
	}
	if len(proof.NotShown) > 0 {
		fmt.Fprintf(&b, "\nNOT SHOWN, since this host has no kernel of its own: %s\n", strings.Join(proof.NotShown, ", "))
	}
	return b.String()
}
