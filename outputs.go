package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/engine"
	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/host"
	"openclaw-azure/internal/lastrun"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/outputs"
	"openclaw-azure/internal/prefix"
	"openclaw-azure/internal/tunnel"
	"openclaw-azure/internal/version"
)

// errNotProven keeps the outputs of the last run: with --continue-on-error, or --target, this point is reached without a
// proof.
var errNotProven = hint.To(errors.New("there is no proof that all is in place: the outputs stay as they were"),
	leftOut)

// evidence is what the run found once everything was in place.
type evidence struct {
	address                string
	vmID, group, azureName string // of the machine
	proof                  *layer.Proof
	named                  bool // it is the proof of this run's name; not so if --target left it out
}

// export declares the stack's outputs. They follow the proof: what they say has been seen.
func export(ctx *pulumi.Context, cfg *config.Config, allKeys *stackKeys, n *netResources, vm *virtualMachine, last *lastrun.Run, observed *layer.Observation, proven *proof) error {
	if !ctx.DryRun() {
		if text, err := engine.Text(ctx, proven.Stdout); err != nil || text == "" {
			return cmp.Or(err, errNotProven)
		}
	}
	found := pulumi.All(n.address, vm.VmId, n.groupName, vm.Name, proven.Stdout, proven.Create).ApplyT(func(a []any) (evidence, error) {
		e := evidence{address: a[0].(string), vmID: a[1].(string), group: a[2].(string), azureName: a[3].(string)}
		if text, _ := a[5].(*string); text != nil {
			e.named = strings.Contains(*text, proven.name)
		}
		var err error
		if e.proof, err = layer.ParseProof(foreign.NewStream(a[4].(string)), host.MayLack()); err != nil {
			engine.Report(ctx, err) // Pulumi itself says nothing of an output that failed
			return e, err
		}
		if !proven.keeps && e.named {
			for _, warning := range e.proof.Warnings {
				if observed == nil || !slices.Contains(observed.Warnings, warning) { // which the look has told
					engine.Warn(ctx, warning.Lines())
				}
			}
		}
		return e, nil
	})
	after := func(f func(evidence) string) pulumi.StringOutput {
		return pulumi.Unsecret(found.ApplyT(func(e any) string { return f(e.(evidence)) })).(pulumi.StringOutput)
	}
	ctx.Export("publicIp", n.address)
	ctx.Export("wireguardSources", pulumi.String(wireguardSources(cfg)))
	ctx.Export("doors", after(func(e evidence) string { return strings.Join(openDoors(cfg, e.address), "\n") }))
	ctx.Export("next", after(func(evidence) string { return next(cfg) }))
	ctx.Export(outputs.KnownHosts, after(func(e evidence) string { return knownHosts(cfg, allKeys, e.address) }))
	ctx.Export(outputs.OperatorKey, allKeys.secret(func() string { return allKeys.stack.Operator.Private }))
	ctx.Export(outputs.SudoPassword, allKeys.secret(func() string { return allKeys.stack.SudoPassword.Plain }))
	ctx.Export(outputs.GatewayToken, allKeys.secret(func() string { return allKeys.stack.GatewayToken }))
	ctx.Export(outputs.Backup, after(func(e evidence) string { return newestBackup(e.proof, observed) }))
	if cfg.BackupKey != nil {
		ctx.Export(outputs.BackupKey, pulumi.ToSecret(pulumi.String(cfg.BackupKey.String())))
	}
	peers := pulumi.StringMap{}
	for _, p := range cfg.Peers {
		peers[p.Name] = pulumi.ToSecret(after(func(e evidence) string {
			return outputs.PeerText(allKeys.name, p.Name, peerTunnel(cfg, allKeys, p, e.address))
		})).(pulumi.StringOutput)
	}
	ctx.Export(outputs.Peers, pulumi.ToSecret(peers))
	observers := pulumi.StringMap{}
	for _, p := range cfg.Peers {
		if p.Observe {
			observers[p.Name] = pulumi.ToSecret(after(func(evidence) string { return allKeys.peers[p.Name].SSH.Private })).(pulumi.StringOutput)
		}
	}
	ctx.Export(outputs.Observers, pulumi.ToSecret(observers))
	ctx.Export("readme", after(func(e evidence) string { return readme(ctx.Stack(), cfg, e) }))
	ctx.Export(lastrun.Output, pulumi.ToSecret(after(func(e evidence) string { return thisRun(cfg, allKeys, e, vm, last, proven).Text() })))
	return nil
}

// backupFact is what the host says of its newest backup.
var backupFact = regexp.MustCompile(`^openclaw-[0-9TZ.]+\.tar sha256 [0-9a-f]{64}$`)

// newestBackup is the newest that was seen, with its SHA-256: by the look where there was one, else by the proof, which a run without
// changes keeps.
func newestBackup(proof *layer.Proof, observed *layer.Observation) string {
	facts := proof.Facts
	if observed != nil {
		facts = observed.Facts
	}
	for _, fact := range facts {
		if text := fact.String(); backupFact.MatchString(text) {
			return text
		}
	}
	return ""
}

func openDoors(cfg *config.Config, address string) []string {
	open := []string{fmt.Sprintf("tunnel: WireGuard %s:%d/udp from %s, then %s@%s port %d",
		address, cfg.WireGuardPort, wireguardSources(cfg), machine.Operator, cfg.ServerAddress(), cfg.SSHPort)}
	if cfg.Bootstrap {
		open = append([]string{fmt.Sprintf("bootstrap: %s@%s port %d/tcp from %s",
			cfg.AdminUsername, address, machine.BootstrapPort, strings.Join(prefix.Strings(cfg.AllowedSSH), ","))}, open...)
	}
	return open
}

func next(cfg *config.Config) string {
	if cfg.Bootstrap {
		return "the tunnel was proven: close port 22 with `pulumi config set bootstrap false && pulumi up`"
	}
	return "port 22 is closed: connect through the tunnel (see the output readme)"
}

func knownHosts(cfg *config.Config, allKeys *stackKeys, address string) string {
	var public netip.Addr
	if cfg.Bootstrap {
		public = netip.MustParseAddr(address)
	}
	return outputs.KnownHostsText(cfg.SSH(), public, allKeys.stack.HostKey.Public)
}

// peerTunnel is the tunnel of a named peer. One that brought its own key has no private one here.
func peerTunnel(cfg *config.Config, allKeys *stackKeys, p config.Peer, address string) tunnel.Config {
	c := tunnel.Config{
		PrivateKey:      allKeys.peers[p.Name].Private,
		ServerPublicKey: allKeys.stack.WireGuardServer.Public,
		PresharedKey:    allKeys.peers[p.Name].Preshared,
		Address:         p.Address,
		Server:          cfg.ServerAddress(),
		Endpoint:        netip.AddrPortFrom(netip.MustParseAddr(address), cfg.WireGuardPort),
	}
	if p.PublicKey != nil {
		c.PrivateKey = wgtypes.Key{}
	}
	return c
}

// thisRun is what the next run is told.
func thisRun(cfg *config.Config, allKeys *stackKeys, e evidence, vm *virtualMachine, last *lastrun.Run, proven *proof) lastrun.Run {
	name, changed := proven.name, time.Now().UTC().Truncate(time.Second)
	// Only a proof that was made anew has a new time, or no run would be without a change.
	if last != nil && (proven.keeps || !e.named) {
		name, changed = last.Proof, last.Changed
	}
	return lastrun.Run{
		Carrier:          cfg.Carrier,
		PublicIP:         netip.MustParseAddr(e.address),
		Group:            e.group,
		Machine:          e.azureName,
		ResourceGroup:    cfg.ResourceGroup,
		VMID:             e.vmID,
		Bootstrap:        cfg.Bootstrap,
		Location:         cfg.Location,
		VMSize:           cfg.VMSize,
		Image:            vm.image,
		WireGuardSources: wireguardSources(cfg),
		Firing:           vm.firing,
		Proof:            name,
		Digests:          proven.digests,
		Changed:          changed,
		Keys:             json.RawMessage(allKeys.text),
	}
}

func readme(stack string, cfg *config.Config, e evidence) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# OpenClaw on %s\n\nOpen now:\n", e.address)
	for _, d := range openDoors(cfg, e.address) {
		fmt.Fprintf(&b, "- %s\n", d)
	}
	fmt.Fprintf(&b, "\nNext: %s\n\n## Connect\n", next(cfg))
	fmt.Fprintf(&b, "With nothing installed but Go and Pulumi, in the repository's folder: `go run ./cmd/claw --stack %s ssh`\n\n", stack)
	fmt.Fprintf(&b, "With WireGuard and SSH:\n```\n")
	fmt.Fprintf(&b, "umask 077\n")
	// One that brought its own key has its configuration on its device.
	if i := slices.IndexFunc(cfg.Peers, func(p config.Peer) bool { return p.PublicKey == nil }); i >= 0 {
		fmt.Fprintf(&b, "pulumi stack output --stack %s --show-secrets --json peers | jq -r '.%q' > openclaw.conf\n", stack, cfg.Peers[i].Name)
		fmt.Fprintf(&b, "sudo wg-quick up ./openclaw.conf\n")
	}
	fmt.Fprintf(&b, "pulumi stack output --stack %s --show-secrets operatorKey > claw_ed25519\n", stack)
	fmt.Fprintf(&b, "pulumi stack output --stack %s knownHosts > known_hosts\n", stack)
	fmt.Fprintf(&b, "ssh -i claw_ed25519 -o IdentitiesOnly=yes -o UserKnownHostsFile=known_hosts -p %d %s@%s\n```\n", cfg.SSHPort, machine.Operator, cfg.ServerAddress())
	fmt.Fprintf(&b, "\nThe password for sudo: `pulumi stack output --stack %s --show-secrets sudoPassword`\n", stack)
	fmt.Fprintf(&b, "\nOpenClaw %s runs as openclaw.service; its gateway listens on the machine's own 127.0.0.1:%d.\n", cfg.OpenClawVersion, machine.GatewayPort)
	fmt.Fprintf(&b, "The agent may go to %s.\n", agentReaches(cfg))
	fmt.Fprintf(&b, "Backups stand on the machine, in /backups/openclaw: `pulumi destroy` takes them along. ")
	if cfg.BackupKey == nil {
		fmt.Fprintf(&b, "No other machine opens them, nor do you, before you have a key of your own: `%s`, then `pulumi up`\n", config.MakeBackupKey)
	} else {
		fmt.Fprintf(&b, "Bring the newest home first: `go run ./cmd/claw --stack %s ssh -- cat /backups/openclaw/latest > openclaw-backup.tar`\n", stack)
	}
	b.WriteString(proofTable(cfg, e.proof))
	fmt.Fprintf(&b, "\nMade by openclaw-azure %s.\n", version.Number)
	return b.String()
}

// agentReaches says where the agent may go, as the gate has it.
func agentReaches(cfg *config.Config) string {
	outside := "any public address"
	if !cfg.Egress.Open {
		outside = "nothing on the Internet"
		if list := cfg.Egress.List(); len(list) > 0 {
			outside = strings.Join(list, ", ")
		}
	}
	if len(cfg.AgentMayReach) == 0 {
		return outside + "; to nothing in the VPN or the VNet"
	}
	return outside + "; in the VPN and the VNet to " + strings.Join(prefix.Strings(cfg.AgentMayReach), ", ")
}

// proofTable is the last proof, for people.
func proofTable(cfg *config.Config, proof *layer.Proof) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## The last proof\n\n")
	port22 := "port 22 did not answer"
	if cfg.Bootstrap {
		port22 = "port 22 opened to the bootstrap key"
	}
	fmt.Fprintf(&b, "%s UTC, from the machine that ran Pulumi: the tunnel opened, %s, and all that was read back on the host was as declared.\n\n", proof.At.Format(time.DateTime), port22)
	fmt.Fprintf(&b, "| layer | settings read back |\n|---|---|\n")
	for _, name := range layer.Names() {
		fmt.Fprintf(&b, "| %s | %d |\n", name, proof.Settings[name])
	}
	if len(proof.NotShown) > 0 {
		fmt.Fprintf(&b, "\nNOT SHOWN, since this host has no kernel of its own: %s\n", strings.Join(proof.NotShown, ", "))
	}
	return b.String()
}
