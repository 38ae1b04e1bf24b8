package host

import (
	"net/netip"

	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

// Host is what templates may name.
type Host struct {
	*config.Config
	BootstrapPort          uint16
	SSHPorts               []uint16 // in force
	Sysctls, KernelSysctls []struct{ Key, Value string }
	ServerKey              string
	BootstrapKey           string // its fingerprint
	WireGuardPeers         []wireGuardPeer
	AuthorizedKeys         []string // claw's
	DeployKey              string
	Observers              []observer
	Admitted               []admitted
	NeverReached           []netip.Prefix // by the agent, but for AgentMayReach
	GatewayToken           string
	SecurityOrigin         string
	KeyAlgorithms          string // of users' keys that sshd accepts
	PenaltyExempt          bool   // sshd has penalties, and can except somebody

	stack *keys.Stack
}

// New says what the host is to be. image is what the machine was made of.
func New(cfg *config.Config, image string, stack *keys.Stack, peers map[string]*keys.Peer) *Host {
	h := &Host{
		Config:         cfg,
		BootstrapPort:  machine.BootstrapPort,
		Sysctls:        sysctls,
		KernelSysctls:  kernelSysctls,
		ServerKey:      stack.WireGuardServer.Private.String(),
		BootstrapKey:   ssh.FingerprintSHA256(stack.Bootstrap.PublicKey),
		GatewayToken:   stack.GatewayToken,
		SecurityOrigin: securityOrigins[image],
		PenaltyExempt:  hasPenalties[image],
		AuthorizedKeys: []string{stack.Operator.Public},
		DeployKey:      stack.Deployer.SSH.Public,
		KeyAlgorithms:  "ssh-ed25519,sk-ssh-ed25519@openssh.com",
		stack:          stack,
		NeverReached:   neverReached(),
	}
	h.WireGuardPeers = append(h.WireGuardPeers, wireGuardPeer{
		"deployer", stack.Deployer.Public.String(), stack.Deployer.Preshared.String(), cfg.DeployerAddress()})
	for _, p := range cfg.Peers {
		public := peers[p.Name].Public
		if p.PublicKey != nil {
			public = *p.PublicKey
		}
		h.WireGuardPeers = append(h.WireGuardPeers, wireGuardPeer{
			p.Name, public.String(), peers[p.Name].Preshared.String(), p.Address})
		if p.SSHKey != nil {
			h.AuthorizedKeys = append(h.AuthorizedKeys, authorizedKey(p))
		}
		if p.Observe {
			h.Observers = append(h.Observers, observer{p.Address, peers[p.Name].SSH.Public})
		}
	}
	if cfg.Bootstrap {
		h.SSHPorts = append(h.SSHPorts, machine.BootstrapPort)
		h.KeyAlgorithms += ",rsa-sha2-512,rsa-sha2-256"
		for _, source := range cfg.AllowedSSH {
			h.Admitted = append(h.Admitted, admitted{"tcp", machine.BootstrapPort, source, ""})
		}
	}
	h.SSHPorts = append(h.SSHPorts, cfg.SSHPort)
	h.Admitted = append(h.Admitted,
		admitted{"tcp", cfg.SSHPort, cfg.VPN, machine.Tunnel},
		admitted{"udp", cfg.WireGuardPort, netip.MustParsePrefix("0.0.0.0/0"), ""})
	return h
}

// builders make the layers, by their names.
var builders = map[string]func(*Host) layer.Layer{
	"base":      (*Host).base,
	"sysctl":    (*Host).sysctl,
	"wireguard": (*Host).wireguard,
	"firewall":  (*Host).firewall,
	"ssh":       (*Host).ssh,
	"fail2ban":  (*Host).fail2ban,
	"updates":   (*Host).updates,
	"network":   (*Host).network,
	"providers": (*Host).providers,
	"openclaw":  (*Host).openclaw,
	"backup":    (*Host).backup,
	"alerts":    (*Host).alerts,
}

// Layers are all layers of the host, in their order.
func (h *Host) Layers() ([]layer.Packed, error) {
	var all []layer.Layer
	var units []string
	for _, name := range layer.Names() {
		l := builders[name](h)
		l.Name = name
		all = append(all, l)
		for _, u := range l.Units {
			units = append(units, u.Name)
		}
	}
	all[0].Probes = append(all[0].Probes, h.undeclaredAccess(units)...)
	var packed []layer.Packed
	for _, l := range all {
		var err error
		if l.Files, err = h.files(l.Name); err != nil {
			return nil, err
		}
		p, err := l.Pack()
		if err != nil {
			return nil, err
		}
		packed = append(packed, p)
	}
	return packed, nil
}

var (
	yes = ptr(true)
	no  = ptr(false)
)

func ptr[T any](v T) *T { return &v }

// verifyUnits checks staged units. A program that a later layer or step installs is no fault yet.
func verifyUnits(names ...string) []string {
	script := "cd {stage}/etc/systemd/system && faults=$(systemd-analyze verify"
	for _, name := range names {
		script += " ./" + name
	}
	return []string{"sh", "-c", script + ` 2>&1 | grep -v 'is not executable' | grep -F './' ); [ -z "$faults" ] || { echo "$faults" >&2; exit 1; }`}
}
