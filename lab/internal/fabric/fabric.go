// Package fabric says what the stand-in for Azure's control plane needs to have behind it: machines that boot,
// addresses, and a place where security rules are enforced.
package fabric

import (
	"context"
	"net/netip"
	"time"
)

// Rule is one security rule as Azure evaluates it. Prefixes are "*", service tags (Internet, VirtualNetwork,
// AzureLoadBalancer), addresses or CIDRs; ports are "22", "80-90" or "*".
type Rule struct {
	Name                string
	Priority            int // 100 to 4096, the defaults from 65000 on; the lowest is evaluated first
	Inbound, Allow      bool
	Protocol            string // Tcp, Udp, Icmp, Esp, Ah or *
	SourcePrefixes      []string
	SourcePorts         []string
	DestinationPrefixes []string
	DestinationPorts    []string
}

// Machine is a virtual machine to boot.
type Machine struct {
	VMID           string // Azure's vmId: new at every create
	Name           string // the ARM name
	ComputerName   string
	Image          string // publisher:offer:sku:version
	Size           string
	AdminUsername  string
	AdminKeys      []string // lines for authorized_keys
	CustomData     []byte   // decoded
	PrivateAddress netip.Addr
	Subnet         netip.Prefix
	VNet           []netip.Prefix
	PublicAddress  netip.Addr // the zero Addr where there is none
	DiskGiB        int
}

// Param is a named parameter of a script; the script finds it in its environment.
type Param struct{ Name, Value string }

// Result is what a script left.
type Result struct {
	ExitCode       int
	Stdout, Stderr []byte
}

// Stopped says that a machine does not run, and why.
type Stopped struct{ Why error }

func (s Stopped) Error() string { return s.Why.Error() }
func (s Stopped) Unwrap() error { return s.Why }

// Fabric is what stands behind the control plane.
type Fabric interface {
	// CreateVM boots a machine and returns once its init runs; sshd may still be starting.
	CreateVM(ctx context.Context, m Machine) error
	DeleteVM(ctx context.Context, vmID string) error
	RestartVM(ctx context.Context, vmID string) error
	VMExists(ctx context.Context, vmID string) (bool, error)
	// SetRules replaces, in one step, all rules in force for the machine's network interface: both directions,
	// Azure's defaults included. It may be called before CreateVM.
	SetRules(ctx context.Context, vmID string, rules []Rule) error
	// AwaitAgent waits for the guest's agent, a while at most. Its error is a Stopped where the machine does not run.
	AwaitAgent(ctx context.Context, vmID string) error
	// RunScript runs a script as root in the guest through its agent, which needs no network.
	RunScript(ctx context.Context, vmID string, script []byte, params []Param, timeout time.Duration) (Result, error)
	// AllocatePublicAddress gives an address that was not given before, until the pool wraps around.
	AllocatePublicAddress(ctx context.Context) (netip.Addr, error)
	ReleasePublicAddress(ctx context.Context, address netip.Addr) error
}
