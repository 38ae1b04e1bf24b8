// Package machine says what is fixed about the machine: its users, ports, paths and exit statuses. Templates and the
// programs that run on the host say the same in words of their own; machine_test.go compares them.
package machine

import "net/netip"

// Users of the machine.
const (
	Operator = "claw"            // people's: logs in through the tunnel, and has sudo with a password
	Deploy   = "openclaw-deploy" // the program's own: logs in through the tunnel, and is given DeployPath as root
	Service  = "openclaw"        // runs OpenClaw: no login, no sudo
	Gate     = "haproxy"         // its package's; dials for the agent
	Resolver = "unbound"         // its package's; resolves names for the agent
	Keys     = "openclaw-keys"   // adds keys to what the agent asks of providers
	Budget   = "openclaw-budget" // counts what the agent asks of providers; holds no key
)

// Ports that no configuration changes.
const (
	BootstrapPort = 22    // of sshd, while the bootstrap door is open
	GatewayPort   = 18789 // of OpenClaw, on the machine's own loopback; sshd forwards to it and to nothing else
	KeysPort      = 81    // in the agent's network: what is asked there goes on with a key
)

// ProviderHeader says between the parts of the keys' service which provider a request is for.
const ProviderHeader = "x-openclaw-provider"

// Tunnel is the interface of the tunnel.
const Tunnel = "wg0"

// MTU of the tunnel: the least that IPv6 allows, so that it fits through whatever lies between.
const MTU = 1280

// Paths on the machine.
const (
	DeployFolder = "/usr/local/lib/openclaw-deploy"
	DeployPath   = "/usr/local/sbin/openclaw-deploy"  // what the program's own key runs
	ObservePath  = "/usr/local/sbin/openclaw-observe" // what the key of a peer that may look runs
	ApplierPath  = DeployFolder + "/apply.py"         // the host's copy of the applier: it serves the rollback timer and people
	BackupPath   = DeployFolder + "/backup.py"
	StateFolder  = "/var/lib/openclaw-deploy" // the applier's records
	// HostKeyPath has the only host key that sshd offers.
	HostKeyPath = "/etc/ssh/ssh_host_openclaw_ed25519_key"
	SSHDropIn   = "/etc/ssh/sshd_config.d/00-openclaw.conf"
	// InstallerPath has the program that installs OpenClaw and switches to it.
	InstallerPath = "/usr/local/sbin/openclaw-install"
	// EgressPath has the program that shows where the agent went and what it was refused.
	EgressPath = "/usr/local/sbin/openclaw-egress"
	// BudgetPath has the program that counts what the agent asks of providers.
	BudgetPath = "/usr/local/sbin/openclaw-budget"
	// AlertPath has the program that tells what stops.
	AlertPath = "/usr/local/sbin/openclaw-alert"
	// Namespace is the agent's own network.
	Namespace = "/run/netns/openclaw"
	// ConfigPath has what OpenClaw is told; the stack's openclawConfig is added to its template.
	ConfigPath = "/etc/openclaw/openclaw.json"
)

// Exit statuses of the programs on the machine.
const (
	ExitFailed     = 1   // of the applier
	ExitRolledBack = 3   // of the applier's apply: nobody confirmed, and the host took the change back
	ExitNotPending = 75  // of the applier's confirm: there is no change yet, or none any more
	ExitRefused    = 77  // of the applier's confirm: this one does not count
	ExitNoSpace    = 28  // of the break-glass: ENOSPC
	ExitNetDown    = 100 // of the break-glass: ENETDOWN
)

// PlatformAddress is Azure's own: it serves agent, DHCP and DNS.
var PlatformAddress = netip.MustParsePrefix("168.63.129.16/32")
