// Package config reads the stack's configuration: every value is parsed into a type of its own, and all faults are told
// together. Nothing else reads configuration.
package config

import (
	"net/netip"
	"strings"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/machine"
)

// Config is the stack's configuration, every value in its own type.
type Config struct {
	machine.Carrier

	Location         string
	AllowedSSH       []netip.Prefix // sorted, none within another
	WireGuardSources []netip.Prefix // sorted, none within another
	Bootstrap        bool
	Tags             map[string]string // of every resource in Azure, beside the program's own
	ResourceGroup    string            // that exists; empty for one of the program's own
	Image            Image
	VMSize           string
	VNet             netip.Prefix
	Peers            []Peer // sorted by name
	OpenClawVersion  string
	Plugins          []Plugin                    // sorted by id
	OpenClawEnv      map[string]string           // secret
	Providers        []Provider                  // sorted by name: whose keys the host adds on the way
	InMemory         map[string]string           // secret: keys that OpenClaw is handed when it starts, by name
	Prices           map[string]map[string]Price // by provider and model
	Egress           Egress
	AgentMayReach    []netip.AddrPort // sorted; in the VPN or the VNet
	Sandbox          []string         // lines of the unit, by which its sandbox is relaxed
	OpenClawConfig   map[string]any   // what the user adds to openclaw.json
	Node             Download
	NPMRegistry      string // URL without a slash at its end; empty: npm's own default
	ConfirmSeconds   int
	BackupKeepDays   int
	BackupKey        *age.X25519Identity // secret: the operator's; nil: backups are read on the machine alone
	Alerts           []Receiver          // sorted by name: who is told by the machine what stops
	AzureEmail       string              // who is told by Azure that the machine is gone; empty: nobody
	DriftCheck       string              // DriftOn, DriftRequired or DriftOff
}

// Image is a marketplace image that the program knows how to harden.
type Image struct {
	Name                  string
	Publisher, Offer, SKU string
	Version               string
}

// Download is a file that is used only where it has this SHA-256.
type Download struct {
	URL, SHA256 string
}

// Peer is a device or an admin that reaches the machine through the tunnel.
type Peer struct {
	Name       string
	Address    netip.Addr
	PublicKey  *wgtypes.Key  // nil: the program makes the pair
	SSHKey     ssh.PublicKey // nil: no shell of its own
	SSHComment string
	Observe    bool // it has a key that can only look at the machine
}

// What driftCheck may say.
const (
	DriftOn       = "on"
	DriftRequired = "required"
	DriftOff      = "off"
)

// Limits and where they come from.
const (
	widestSSH    = 8         // a wider prefix is a good part of the Internet, not a place
	widestRange  = 8         // of a virtual network or VPN: the largest private range
	tightestNet  = 29        // Azure's smallest subnet; as a VPN: the two ends and four peers
	longestUser  = 32        // useradd
	longestPeer  = 32        // keeps every file and resource name made of it short
	longestEnv   = 128 << 10 // MAX_ARG_STRLEN: execve refuses a longer NAME=value
	mostNumbered = 1_000_000 // keyGeneration, rescue: counted up by hand
	nearEnough   = 2         // edits that still make a typing error of a known key
)

var images = []Image{
	{Name: "debian-13", Publisher: "Debian", Offer: "debian-13", SKU: "13-gen2", Version: "latest"},
	{Name: "ubuntu-24.04", Publisher: "Canonical", Offer: "ubuntu-24_04-lts", SKU: "server", Version: "latest"},
}

// Subnet is where the machine's network card is: the first /24 of the virtual
// network, or all of a smaller one.
func (c *Config) Subnet() netip.Prefix {
	return netip.PrefixFrom(c.VNet.Addr(), max(c.VNet.Bits(), 24))
}

// armSize tells whether the size is one of Azure's arm64 sizes: those have a "p"
// among the lower-case letters behind the number of cores. The program refuses
// them for now.
func armSize(size string) bool {
	m := vmSizeName.FindStringSubmatch(size)
	return m != nil && strings.Contains(m[2], "p")
}
