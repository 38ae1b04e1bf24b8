package main

import (
	"bytes"
	"cmp"
	"crypto/ecdh"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"gopkg.in/yaml.v3"
)

// Config is the stack's configuration, every value in its own type. Nothing
// else in this program reads configuration.
type Config struct {
	Location         string
	AllowedSSH       []netip.Prefix // sorted, none within another
	WireGuardSources []netip.Prefix // sorted, none within another
	Bootstrap        bool
	Image            Image
	VMSize           string
	AdminUsername    string
	VNet             netip.Prefix
	VPN              netip.Prefix
	SSHPort          uint16
	WireGuardPort    uint16
	Peers            []Peer // sorted by name
	OpenClawVersion  string
	OpenClawEnv      map[string]string // secret
	Sandbox          []string          // lines of the unit, by which its sandbox is relaxed
	OpenClawConfig   map[string]any    // what the user adds to openclaw.json
	Node             Download
	NPMRegistry      string // URL without a slash at its end; empty: npm's own default
	KeyGeneration    int
	Rescue           int
	ConfirmSeconds   int
	BackupKeepDays   int
	DriftCheck       string // driftOn, driftRequired or driftOff
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
}

// What driftCheck may say.
const (
	driftOn       = "on"
	driftRequired = "required"
	driftOff      = "off"
)

// The keys, as `pulumi config set` takes them.
const (
	keyLocation         = "azure-native:location"
	keyAllowedSSH       = "allowedSshCidr"
	keyWireGuardSources = "wireguardCidrs"
	keyBootstrap        = "bootstrap"
	keyImage            = "image"
	keyVMSize           = "vmSize"
	keyAdminUsername    = "adminUsername"
	keyVNet             = "vnetCidr"
	keyVPN              = "vpnCidr"
	keySSHPort          = "sshPort"
	keyWireGuardPort    = "wireguardPort"
	keyPeers            = "peers"
	keyOpenClawVersion  = "openclawVersion"
	keyOpenClawEnv      = "openclawEnv"
	keySandbox          = "sandbox"
	keyOpenClawConfig   = "openclawConfig"
	keyNodeURL          = "nodeUrl"
	keyNodeSHA256       = "nodeSha256"
	keyNPMRegistry      = "npmRegistry"
	keyKeyGeneration    = "keyGeneration"
	keyRescue           = "rescue"
	keyConfirmSeconds   = "confirmSeconds"
	keyBackupKeepDays   = "backupKeepDays"
	keyDriftCheck       = "driftCheck"
)

// setting describes one key. Where Default is empty, an empty value is the same
// as none, and Unset says what holds then.
type setting struct {
	Name, Default, Unset, What string
}

// configReference is every key in the order in which Config has them: the one
// place where defaults stand. Pulumi.yaml and docs/configuration.md repeat it, and tests
// compare them with it.
func configReference() []setting {
	return []setting{
		{keyLocation, "", "required",
			"Azure region, for example westeurope"},
		{keyAllowedSSH, "", "required",
			"who may knock on port 22 while bootstrap is true: public IPv4 prefixes, comma-separated, your own address as a /32"},
		{keyWireGuardSources, "", "those of allowedSshCidr",
			"who may knock on WireGuard's port: IPv4 prefixes, comma-separated; 0.0.0.0/0 for phones and laptops that roam"},
		{keyBootstrap, "true", "",
			"true: port 22 is open and the program deploys through it; false: it proves the tunnel, then closes port 22"},
		{keyImage, "debian-13", "",
			"operating system: debian-13 or ubuntu-24.04"},
		// 2 vCPU and 4 GiB of the current burstable series: OpenClaw alone takes
		// close to 1 GiB. The older Standard_B2s is a previous generation, with
		// two thirds of its base performance.
		{keyVMSize, "Standard_B2als_v2", "",
			"VM size, x86-64, with 4 GiB of memory or more"},
		{keyAdminUsername, "azureuser", "",
			"user of the bootstrap door; locked out once the tunnel is proven"},
		{keyVNet, "10.0.0.0/16", "",
			"private range of the virtual network; its first /24 is the subnet"},
		{keyVPN, "10.100.0.0/24", "",
			"private range of the tunnel: the machine has its first address, the deployer its last"},
		{keySSHPort, "2222", "",
			"port of sshd inside the tunnel (TCP)"},
		{keyWireGuardPort, "51820", "",
			"port of WireGuard (UDP)"},
		{keyPeers, "", "one peer, laptop, at the VPN's second address; once any is set, only those that are",
			"devices and admins: peers.NAME.address, optionally .publicKey (WireGuard) and .sshKey (ed25519), set with --path; {} for none"},
		{keyOpenClawVersion, "2026.9.6", "",
			"version of OpenClaw, 2026.1.29 or newer, with a lock file in templates/opt/openclaw"},
		{keyOpenClawEnv, "", "no variables",
			"variables of the service's environment file: openclawEnv.NAME, set with --secret --path"},
		{keySandbox, "", "nothing",
			"what the agent may do beyond its sandbox: sandbox.DIRECTIVE, set with --path; docs/sandbox.md says which, and what each costs"},
		{keyOpenClawConfig, "", "nothing",
			"what is added to openclaw.json, for example openclawConfig.agents.defaults.model.primary, set with --path; all but the gateway and secrets"},
		{keyNodeURL, "", "the official release of Node " + nodeVersion,
			"mirror of Node's release archive, in the official layout; needs nodeSha256"},
		{keyNodeSHA256, "", "that of the official release",
			"SHA-256 of what nodeUrl gives"},
		{keyNPMRegistry, "", "npm's own default",
			"mirror of the registry that packages come from; the lock file says what they must be"},
		{keyKeyGeneration, "1", "",
			"a higher number renews every key that the program made"},
		{keyRescue, "0", "",
			"any other number opens the bootstrap door on the host once more, through Azure's agent; needs bootstrap true"},
		{keyConfirmSeconds, "120", "",
			"how long the host waits for the proof that the way in still works before it puts the old settings back, 30 to 900"},
		{keyBackupKeepDays, "14", "",
			"how many days backups are kept, 1 to 365"},
		{keyDriftCheck, "on", "",
			"on: a host that does not answer costs a warning; required: an error; off: the host is not looked at"},
	}
}

// Limits and where they come from.
const (
	widestSSH    = 8         // a wider prefix is a good part of the Internet, not a place
	widestRange  = 8         // of a virtual network or VPN: the largest private range
	tightestNet  = 29        // Azure's smallest subnet; as a VPN: the two ends and four peers
	longestUser  = 32        // useradd
	longestPeer  = 32        // keeps every file and resource name made of it short
	longestEnv   = 128 << 10 // MAX_ARG_STRLEN: execve refuses a longer NAME=value
	gatewayPort  = 18789     // OpenClaw's own
	mostNumbered = 1_000_000 // keyGeneration, rescue: counted up by hand
	nearEnough   = 2         // edits that still make a typing error of a known key
)

var images = []Image{
	{Name: "debian-13", Publisher: "Debian", Offer: "debian-13", SKU: "13-gen2", Version: "latest"},
	{Name: "ubuntu-24.04", Publisher: "Canonical", Offer: "ubuntu-24_04-lts", SKU: "server", Version: "latest"},
}

var (
	wholeNumber    = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)
	locationName   = regexp.MustCompile(`^[a-z][a-z0-9]{1,49}$`)
	vmSizeName     = regexp.MustCompile(`^Standard_[A-Z]+[0-9]+(-[0-9]+)?([a-z]*)(_[A-Za-z0-9]+)*$`)
	linuxUser      = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	peerName       = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	envName        = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	sha256Digits   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	plainURL       = regexp.MustCompile(`^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/+-]*)?$`)
	openclawSemver = regexp.MustCompile(`^(20[0-9]{2})\.(1[0-2]|[1-9])\.(3[01]|[12][0-9]|[1-9])(-[1-9][0-9]?)?$`)
)

// The first version without CVE-2026-25253.
var oldestOpenClaw = [3]int{2026, 1, 29}

// Prefixes that no packet from the Internet carries as its source, so that a
// rule which names them admits nobody.
var unroutable = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8",
	"169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3")

// RFC 5737: what examples are written with, Pulumi.dev.yaml's too.
var documentation = prefixes("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")

// What the machine may use inside. The platform's own addresses, 168.63.129.16
// and 169.254.0.0/16, lie outside, and so does everything public.
var private = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")

var anywhere = []string{"*", "any", "internet", "0.0.0.0/0", "::/0"}

// Names that Azure refuses for a VM's administrator.
var azureRefuses = strings.Fields(`administrator admin user user1 test user2 test1 user3 admin1 1 123 a
	actuser adm admin2 aspnet backup console david guest john owner root server sql support
	support_388945a0 sys test2 test3 user4 user5`)

// Users and groups of the images, which cloud-init would find taken.
var imageUsers = strings.Fields(`_apt audio bin cdrom crontab daemon dialout dip disk docker fax floppy games
	input irc kmem landscape list lp lxd mail man messagebus netdev news nobody nogroup operator
	plugdev pollinate polkitd proxy render sasl sgx shadow src sshd staff sudo sync syslog tape tcpdump tss
	tty usbmux users utmp uucp uuidd video voice www-data`)

// The program's own users.
var ownUsers = []string{"claw", "openclaw"}

// Variables that would change where the service runs its code from, where it
// keeps its state or who may talk to it: the unit sets these, or nobody does.
var reservedEnv = strings.Fields(`BASH_ENV CACHE_DIRECTORY CREDENTIALS_DIRECTORY ENV HOME IFS INVOCATION_ID
	LISTEN_FDS LISTEN_FDNAMES LISTEN_PID LOGNAME MAINPID NODE_CHANNEL_FD NODE_EXTRA_CA_CERTS NODE_OPTIONS
	NODE_PATH NODE_TLS_REJECT_UNAUTHORIZED NOTIFY_SOCKET
	OPENCLAW_CONFIG_PATH OPENCLAW_CONFIG_READONLY OPENCLAW_DISABLE_BONJOUR OPENCLAW_GATEWAY_TOKEN
	OPENCLAW_NO_AUTO_UPDATE OPENCLAW_SERVICE_REPAIR_POLICY OPENCLAW_STATE_DIR
	PATH PERL5LIB PERL5OPT PYTHONHOME PYTHONPATH PYTHONSTARTUP RUBYLIB RUBYOPT RUNTIME_DIRECTORY
	SHELL STATE_DIRECTORY TMPDIR USER WATCHDOG_PID WATCHDOG_USEC
	XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR XDG_STATE_HOME`)

var reservedEnvPrefixes = []string{"LD_", "SYSTEMD_", "NPM_CONFIG_"}

// Ports that something on the machine already holds.
var takenPorts = map[uint16]string{
	22:          "the bootstrap door",
	53:          "the machine's resolver",
	68:          "the machine's DHCP client",
	gatewayPort: "OpenClaw's gateway",
}

// Every kind of fault. The text follows the value in the message.
var (
	errNotSet        = errors.New("is not set")
	errNotPlain      = errors.New("is a list or an object")
	errEmptyElement  = errors.New("has an empty element")
	errNotPrefix     = errors.New("is no IPv4 prefix")
	errIPv6          = errors.New("is IPv6, which the machine has not")
	errHostBits      = errors.New("has host bits set")
	errAnywhere      = errors.New("opens port 22 to anywhere")
	errTooWide       = errors.New("is too wide")
	errUnroutable    = errors.New("is no public address")
	errPlaceholder   = errors.New("is the example's address, not yours")
	errWithin        = errors.New("overlaps another of the same list")
	errNotBool       = errors.New("is neither true nor false")
	errNotOneOf      = errors.New("is unknown")
	errNotLocation   = errors.New("is no region's name")
	errNotSize       = errors.New("is no VM size")
	errARM64         = errors.New("is an arm64 size")
	errNotUser       = errors.New("is no Linux user name")
	errUserRefused   = errors.New("is refused by Azure")
	errUserTaken     = errors.New("is taken on the machine")
	errNotPrivate    = errors.New("is no private range")
	errRangeSize     = errors.New("has the wrong size")
	errOverlap       = errors.New("overlaps another range")
	errNotNumber     = errors.New("is no such number")
	errPortTaken     = errors.New("is taken")
	errNotObject     = errors.New("is no object")
	errNotPeerName   = errors.New("is no peer's name")
	errReservedName  = errors.New("is a reserved name")
	errTwice         = errors.New("is used twice")
	errNotAddress    = errors.New("is no IPv4 address")
	errOutside       = errors.New("lies outside the VPN")
	errAddressTaken  = errors.New("is not a peer's to have")
	errNotWGKey      = errors.New("is no WireGuard public key")
	errWeakWGKey     = errors.New("is a key that anybody can compute with")
	errNotSSHKey     = errors.New("is no SSH public key")
	errSSHKeyType    = errors.New("is an SSH key of a kind that sshd will not take")
	errPrivateKey    = errors.New("is a private key")
	errNotVersion    = errors.New("is no OpenClaw version")
	errOldVersion    = errors.New("is too old")
	errNoLock        = errors.New("has no lock file")
	errNotYours      = errors.New("is not yours to set")
	errNotURL        = errors.New("is no URL of a mirror")
	errNotSHA256     = errors.New("is no SHA-256")
	errAlone         = errors.New("is set without its other half")
	errNotEnvName    = errors.New("is no variable's name")
	errReservedEnv   = errors.New("is a variable that is not yours to set")
	errNotSecret     = errors.New("stands in plain text in the stack's configuration")
	errEmptyEnv      = errors.New("is empty")
	errControl       = errors.New("has a line break or another control character")
	errTooLong       = errors.New("is too long")
	errNotDirective  = errors.New("is no directive of the sandbox that could be relaxed")
	errNotRelaxed    = errors.New("is a bound that stays")
	errNotRelaxation = errors.New("is no such relaxation")
	errUnknownKey    = errors.New("is no key of this program")
	errAssignmentKey = errors.New("is a value written into the key, so that nothing was set")
	errPathForgotten = errors.New("was set without --path, so that nothing was set")
)

// Fault is one thing that is wrong with one value.
type Fault struct {
	Key   string  // as the user names it: sshPort, peers.phone.address
	Value *string // nil: there is none to show, or it is a secret
	Kind  error
	Want  string // what was expected
	Hint  string // commands and such, a line each; may be empty
}

func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.Key + ": ")
	if f.Value != nil {
		fmt.Fprintf(&b, "value %q ", *f.Value)
	}
	b.WriteString(f.Kind.Error())
	if f.Want != "" {
		b.WriteString(": " + f.Want)
	}
	if f.Hint != "" {
		b.WriteString("\n    " + strings.ReplaceAll(f.Hint, "\n", "\n    "))
	}
	return b.String()
}

func (f *Fault) Unwrap() error { return f.Kind }

// Faults is everything that is wrong with a configuration, in the order of
// Config's fields.
type Faults []*Fault

func (fs Faults) Error() string {
	lines := make([]string, 0, len(fs)+1)
	if len(fs) == 1 {
		lines = append(lines, "configuration: 1 fault, nothing was changed")
	} else {
		lines = append(lines, fmt.Sprintf("configuration: %d faults, nothing was changed", len(fs)))
	}
	for _, f := range fs {
		lines = append(lines, f.Error())
	}
	return strings.Join(lines, "\n")
}

func (fs Faults) Unwrap() []error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errs
}

// rawConfig is what the engine hands over.
type rawConfig struct {
	project string
	values  map[string]string // by full key: openclaw:sshPort
	secrets []string          // full keys; an object with one secret in it is one
	plain   []string          // openclawEnv's variables that are known to stand in plain text
}

// LoadConfig reads the stack's configuration. It wants the whole RunInfo, which
// a pulumi.RunOption sees, since a Context tells only of keys that one can name,
// and a misspelt key is found only by looking at all of them.
func LoadConfig(run pulumi.RunInfo) (*Config, error) {
	plain, err := plainVariables(run.RootDirectory, run.Project, run.Stack)
	if err != nil {
		return nil, err
	}
	return parseConfig(rawConfig{project: run.Project, values: run.Config, secrets: run.ConfigSecretKeys, plain: plain})
}

// plainVariables finds the variables of openclawEnv that stand in plain text in
// the stack's file. The engine calls an object secret as soon as one value in it
// is: only the file knows of the others. Without that file (a configuration
// that came another way) there is nothing to find.
func plainVariables(root, project, stack string) ([]string, error) {
	path := filepath.Join(root, "Pulumi."+stack+".yaml")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the stack's configuration file: %w", err)
	}
	var file struct {
		Config map[string]yaml.Node `yaml:"config"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("reading the stack's configuration file %q: %w", path, err)
	}
	var variables map[string]yaml.Node
	node := file.Config[project+":"+keyOpenClawEnv]
	if node.Kind != yaml.MappingNode || node.Decode(&variables) != nil {
		return nil, nil
	}
	if secretNode(node) {
		return nil, nil
	}
	var plain []string
	for name, value := range variables {
		if !secretNode(value) {
			plain = append(plain, name)
		}
	}
	slices.Sort(plain)
	return plain, nil
}

// secretNode tells whether a value has the form that the CLI gives to secrets.
func secretNode(node yaml.Node) bool {
	var sealed map[string]string
	if node.Kind != yaml.MappingNode || node.Decode(&sealed) != nil || len(sealed) != 1 {
		return false
	}
	_, secret := sealed["secure"]
	return secret
}

// parseConfig turns the values into a Config, or says everything that is wrong.
func parseConfig(raw rawConfig) (*Config, error) {
	r := &reader{raw: raw, defaults: map[string]string{}}
	for _, s := range configReference() {
		r.defaults[s.Name] = s.Default
	}
	c := &Config{}
	c.Location = r.location()
	c.AllowedSSH = r.allowedSSH()
	c.WireGuardSources = r.wireGuardSources(c.AllowedSSH)
	c.Bootstrap = r.boolean(keyBootstrap)
	c.Image = r.image()
	c.VMSize = r.vmSize()
	c.AdminUsername = r.adminUsername()
	c.VNet = r.innerRange(keyVNet, namedRanges(keyAllowedSSH, c.AllowedSSH))
	c.VPN = r.innerRange(keyVPN, append(namedRanges(keyAllowedSSH, c.AllowedSSH), namedRange{keyVNet, c.VNet}))
	c.SSHPort = r.port(keySSHPort, "", 0)
	c.WireGuardPort = r.port(keyWireGuardPort, keySSHPort, c.SSHPort)
	c.Peers = r.peers(c.VPN)
	c.OpenClawVersion = r.openclawVersion()
	c.OpenClawEnv = r.openclawEnv()
	c.Sandbox = r.sandbox()
	c.OpenClawConfig = r.openclawConfig()
	c.Node = r.node(c.ARM64())
	c.NPMRegistry = r.npmRegistry()
	c.KeyGeneration = r.number(keyKeyGeneration, 1, mostNumbered)
	c.Rescue = r.number(keyRescue, 0, mostNumbered)
	c.ConfirmSeconds = r.number(keyConfirmSeconds, 30, 900)
	c.BackupKeepDays = r.number(keyBackupKeepDays, 1, 365)
	c.DriftCheck = r.oneOf(keyDriftCheck, driftOn, driftRequired, driftOff)
	r.strangers()
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return c, nil
}

// Subnet is where the machine's network card is: the first /24 of the virtual
// network, or all of a smaller one.
func (c *Config) Subnet() netip.Prefix {
	return netip.PrefixFrom(c.VNet.Addr(), max(c.VNet.Bits(), 24))
}

// ServerAddress is the machine's address in the VPN, the first usable one.
func (c *Config) ServerAddress() netip.Addr { return firstUsable(c.VPN) }

// DeployerAddress is the address of the program's own peer, the last usable one.
func (c *Config) DeployerAddress() netip.Addr { return lastUsable(c.VPN) }

// ARM64 tells whether the size is one of Azure's arm64 sizes: those have a "p"
// among the lower-case letters behind the number of cores. The program refuses
// them for now.
func (c *Config) ARM64() bool { return armSize(c.VMSize) }

func armSize(size string) bool {
	m := vmSizeName.FindStringSubmatch(size)
	return m != nil && strings.Contains(m[2], "p")
}

// reader reads one value after the other and collects what is wrong.
type reader struct {
	raw      rawConfig
	defaults map[string]string
	faults   Faults
}

func (r *reader) full(key string) string {
	if key == keyLocation {
		return key
	}
	return r.raw.project + ":" + key
}

func (r *reader) secret(key string) bool { return slices.Contains(r.raw.secrets, r.full(key)) }

// value is the key's text, its default where it is not set. An empty text
// stands for "not set" only where the default is empty too.
func (r *reader) value(key string) string {
	if v, ok := r.raw.values[r.full(key)]; ok {
		return v
	}
	return r.defaults[key]
}

// fault notes that a value is wrong. root is the top key that a dotted key
// belongs to: its secrecy decides whether the value is shown.
func (r *reader) fault(key, value string, kind error, want, hint string) {
	root, _, _ := strings.Cut(key, ".")
	f := &Fault{Key: key, Value: &value, Kind: kind, Want: want, Hint: hint}
	if r.secret(root) || root == keyOpenClawEnv {
		f.Value = nil
	}
	r.faults = append(r.faults, f)
}

// reveal is a text that tells a key's value, or nothing where it is a secret.
func (r *reader) reveal(key, text string) string {
	if root, _, _ := strings.Cut(key, "."); r.secret(root) {
		return ""
	}
	return text
}

// faultKey notes that a key is wrong, or has no value to show.
func (r *reader) faultKey(key string, kind error, want, hint string) {
	r.faults = append(r.faults, &Fault{Key: key, Kind: kind, Want: want, Hint: hint})
}

// plainText is the value of a key that is no list and no object.
func (r *reader) plainText(key, want string) (string, bool) {
	v := r.value(key)
	if strings.HasPrefix(v, "[") || strings.HasPrefix(v, "{") {
		r.fault(key, v, errNotPlain, want, "pulumi config set "+key+" VALUE, without --path")
		return "", false
	}
	return v, true
}

func (r *reader) location() string {
	const want = "expected the short name of an Azure region, lower-case letters and digits"
	v, ok := r.plainText(keyLocation, want)
	switch {
	case !ok:
	case v == "":
		r.faultKey(keyLocation, errNotSet, "expected the Azure region to deploy to",
			"pulumi config set azure-native:location westeurope\naz account list-locations --output table    # names all")
	case !locationName.MatchString(v):
		hint := ""
		if short := strings.ToLower(strings.ReplaceAll(v, " ", "")); locationName.MatchString(short) {
			hint = r.reveal(keyLocation, "pulumi config set azure-native:location "+short)
		}
		r.fault(keyLocation, v, errNotLocation, want, hint)
	}
	return v
}

// ownAddressHint says how to learn one's own address without asking a third
// party.
func ownAddressHint(key string) string {
	return "pulumi config set " + key + " ADDRESS/32\n" +
		"ADDRESS is the public IPv4 address of the line that you deploy from: your router shows it as its WAN or Internet address"
}

func (r *reader) allowedSSH() []netip.Prefix {
	const want = "expected the public IPv4 prefixes that may knock on port 22, comma-separated"
	v, ok := r.plainText(keyAllowedSSH, want)
	if !ok {
		return nil
	}
	if v == "" {
		r.faultKey(keyAllowedSSH, errNotSet, want, ownAddressHint(keyAllowedSSH))
		return nil
	}
	list := r.sources(keyAllowedSSH, v, func(item string, prefix netip.Prefix) bool {
		if slices.Contains(anywhere, strings.ToLower(item)) || prefix.IsValid() && prefix.Bits() == 0 {
			r.fault(keyAllowedSSH, item, errAnywhere, "expected the addresses that you deploy from", ownAddressHint(keyAllowedSSH))
			return false
		}
		if prefix.IsValid() && prefix.Addr().Is4() && prefix.Bits() < widestSSH {
			r.fault(keyAllowedSSH, item, errTooWide, fmt.Sprintf("expected /%d or narrower", widestSSH), ownAddressHint(keyAllowedSSH))
			return false
		}
		return true
	})
	// Sixteen times a sixteenth of the Internet is all of it.
	var admitted uint64
	for _, prefix := range list {
		admitted += 1 << (32 - prefix.Bits())
	}
	if admitted > 1<<(32-widestSSH) {
		r.fault(keyAllowedSSH, v, errTooWide,
			fmt.Sprintf("expected no more than a /%d in all", widestSSH), ownAddressHint(keyAllowedSSH))
	}
	return list
}

func (r *reader) wireGuardSources(allowedSSH []netip.Prefix) []netip.Prefix {
	const want = "expected the IPv4 prefixes that may knock on WireGuard's port, comma-separated"
	v, ok := r.plainText(keyWireGuardSources, want)
	if !ok {
		return nil
	}
	if v == "" {
		return allowedSSH
	}
	return r.sources(keyWireGuardSources, v, func(item string, prefix netip.Prefix) bool {
		if slices.Contains(anywhere, strings.ToLower(item)) && item != "0.0.0.0/0" {
			r.fault(keyWireGuardSources, item, errNotPrefix, "expected 0.0.0.0/0 where all of the Internet is meant",
				"pulumi config set wireguardCidrs 0.0.0.0/0")
			return false
		}
		return true
	})
}

// sources reads a list of the prefixes that packets may come from. extra looks
// at each element first, and says false once it has noted a fault.
func (r *reader) sources(key, list string, extra func(item string, prefix netip.Prefix) bool) []netip.Prefix {
	var out []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			r.fault(key, list, errEmptyElement, "expected IPv4 prefixes with one comma between two", "")
			continue
		}
		prefix, err := netip.ParsePrefix(item)
		if !extra(item, prefix) {
			continue
		}
		if err != nil {
			hint := ""
			if addr, err := netip.ParseAddr(item); err == nil && addr.Is4() {
				hint = r.reveal(key, item+"/32 is that one address")
			}
			r.fault(key, item, errNotPrefix, "expected an address and a length, such as 20.30.40.50/32", hint)
			continue
		}
		if !r.fourAndMasked(key, item, prefix) {
			continue
		}
		if within(prefix, documentation) {
			r.fault(key, item, errPlaceholder, "expected your own public address, this range is kept for documentation", ownAddressHint(key))
			continue
		}
		if within(prefix, unroutable) {
			r.fault(key, item, errUnroutable, "expected an address as Azure sees it, behind your router's translation", ownAddressHint(keyAllowedSSH))
			continue
		}
		if i := slices.IndexFunc(out, prefix.Overlaps); i >= 0 {
			r.fault(key, item, errWithin, "expected prefixes that lie apart"+r.reveal(key, ", here is "+out[i].String()+" too"), "")
			continue
		}
		out = append(out, prefix)
	}
	slices.SortFunc(out, comparePrefixes)
	return out
}

// fourAndMasked refuses IPv6 and host bits.
func (r *reader) fourAndMasked(key, item string, prefix netip.Prefix) bool {
	if !prefix.Addr().Is4() {
		r.fault(key, item, errIPv6, "expected an IPv4 prefix", "")
		return false
	}
	if masked := prefix.Masked(); masked != prefix {
		r.fault(key, item, errHostBits, "expected the network itself"+r.reveal(key, ", "+masked.String()), "")
		return false
	}
	return true
}

func (r *reader) boolean(key string) bool {
	v := r.value(key)
	if v != "true" && v != "false" {
		r.fault(key, v, errNotBool, "expected exactly true or false", "")
	}
	return v == "true"
}

func (r *reader) oneOf(key string, known ...string) string {
	v := r.value(key)
	if !slices.Contains(known, v) {
		r.fault(key, v, errNotOneOf, "expected "+strings.Join(known[:len(known)-1], ", ")+" or "+known[len(known)-1], "")
	}
	return v
}

func (r *reader) image() Image {
	names := make([]string, len(images))
	for i, image := range images {
		names[i] = image.Name
	}
	if i := slices.Index(names, r.oneOf(keyImage, names...)); i >= 0 {
		return images[i]
	}
	return Image{}
}

func (r *reader) vmSize() string {
	v := r.value(keyVMSize)
	switch {
	case !vmSizeName.MatchString(v):
		r.fault(keyVMSize, v, errNotSize, "expected a name such as "+r.defaults[keyVMSize],
			"az vm list-sizes --location LOCATION --output table    # names all")
	case armSize(v):
		r.fault(keyVMSize, v, errARM64, "expected an x86-64 size, since Azure has no run commands on arm64 and the way back in is one",
			"the same without the \"p\" among the small letters, for example "+r.defaults[keyVMSize])
	}
	return v
}

func (r *reader) adminUsername() string {
	v := r.value(keyAdminUsername)
	switch {
	case slices.Contains(azureRefuses, strings.ToLower(v)):
		r.fault(keyAdminUsername, v, errUserRefused, "expected another name", "azureuser is the default")
	case !linuxUser.MatchString(v) || len(v) > longestUser:
		r.fault(keyAdminUsername, v, errNotUser,
			fmt.Sprintf("expected a lower-case letter, then lower-case letters, digits, - and _, %d characters at most", longestUser), "")
	case slices.Contains(ownUsers, v):
		r.fault(keyAdminUsername, v, errUserTaken, "expected a user beside claw, the operator, and openclaw, the service",
			"this user belongs to the bootstrap door alone and is locked out behind it")
	case slices.Contains(imageUsers, v) || strings.HasPrefix(v, "systemd-"):
		r.fault(keyAdminUsername, v, errUserTaken, "expected a name that the image has no user or group of", "")
	}
	return v
}

// namedRange is a range and the key that it came from.
type namedRange struct {
	key    string
	prefix netip.Prefix
}

func namedRanges(key string, list []netip.Prefix) []namedRange {
	out := make([]namedRange, len(list))
	for i, prefix := range list {
		out[i] = namedRange{key, prefix}
	}
	return out
}

// innerRange reads a range that the machine uses inside. A faulty one comes
// back invalid, so that nothing else is measured by it.
func (r *reader) innerRange(key string, apart []namedRange) netip.Prefix {
	v := r.value(key)
	prefix, err := netip.ParsePrefix(v)
	if err != nil {
		r.fault(key, v, errNotPrefix, "expected an address and a length, such as "+r.defaults[key], "")
		return netip.Prefix{}
	}
	if !r.fourAndMasked(key, v, prefix) {
		return netip.Prefix{}
	}
	if !within(prefix, private) && prefix.Bits() >= widestRange {
		r.fault(key, v, errNotPrivate, "expected a part of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10",
			"anything else is the Internet's or the platform's (168.63.129.16, 169.254.0.0/16), and would be out of reach")
		return netip.Prefix{}
	}
	if prefix.Bits() < widestRange || prefix.Bits() > tightestNet {
		r.fault(key, v, errRangeSize, fmt.Sprintf("expected a length from /%d to /%d", widestRange, tightestNet), "")
		return netip.Prefix{}
	}
	for _, other := range apart {
		if other.prefix.IsValid() && prefix.Overlaps(other.prefix) {
			r.fault(key, v, errOverlap, strings.TrimSpace("expected a range apart from "+other.key+r.reveal(other.key, " "+other.prefix.String())), "")
			return netip.Prefix{}
		}
	}
	return prefix
}

// number reads a whole number in its limits, both included.
func (r *reader) number(key string, least, most int) int {
	v := r.value(key)
	n, err := strconv.Atoi(v)
	if !wholeNumber.MatchString(v) || err != nil || n < least || n > most {
		r.fault(key, v, errNotNumber, fmt.Sprintf("expected a whole number from %d to %d", least, most), "")
		return 0
	}
	return n
}

func (r *reader) port(key, otherKey string, other uint16) uint16 {
	n := uint16(r.number(key, 1, 65535))
	if n == 0 {
		return 0
	}
	if holder, taken := takenPorts[n]; taken {
		r.fault(key, r.value(key), errPortTaken, "expected a port that nothing else on the machine uses, this is that of "+holder, "")
	} else if n == other {
		r.fault(key, r.value(key), errPortTaken, "expected another port than that of "+otherKey, "")
	}
	return n
}

// peers reads the object of peers. vpn is invalid where it was refused: then
// addresses are not measured by it.
func (r *reader) peers(vpn netip.Prefix) []Peer {
	v := r.value(keyPeers)
	if v == "" {
		if !vpn.IsValid() {
			return nil
		}
		return []Peer{{Name: "laptop", Address: firstUsable(vpn).Next()}}
	}
	entries, err := members(v)
	if err != nil {
		r.fault(keyPeers, v, errNotObject, "expected an object of peers by name", "pulumi config set --path peers.phone.address 10.100.0.3")
		return nil
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	free := freeAddress(entries, vpn)
	var peers []Peer
	for i, entry := range entries {
		key := keyPeers + "." + entry.name
		switch {
		case !peerName.MatchString(entry.name) || len(entry.name) > longestPeer:
			want := fmt.Sprintf("expected lower-case letters, digits and single hyphens, a letter first, %d characters at most", longestPeer)
			r.faultKey(key, errNotPeerName, want, "pulumi config rm --path "+pathQuote(keyPeers, entry.name))
			continue
		case entry.name == "deployer" || entry.name == "server":
			r.faultKey(key, errReservedName, "expected another name, this one is the program's own", "")
			continue
		case i > 0 && entries[i-1].name == entry.name:
			r.faultKey(key, errTwice, "expected each peer once", "")
			continue
		}
		peers = append(peers, r.peer(key, entry, free))
	}
	r.peersApart(peers, vpn)
	return peers
}

func (r *reader) peer(key string, entry member, free string) Peer {
	peer := Peer{Name: entry.name}
	fields, err := members(string(entry.value))
	if err != nil {
		r.fault(key, text(entry.value), errNotObject, "expected an object with address, optionally publicKey and sshKey",
			fmt.Sprintf("pulumi config rm --path %s\npulumi config set --path %s.address %s", key, key, free))
		return peer
	}
	known := []string{"address", "publicKey", "sshKey"}
	seen := map[string]bool{}
	for _, field := range fields {
		fieldKey := key + "." + field.name
		if !slices.Contains(known, field.name) {
			name, value, assigned := strings.Cut(field.name, "=")
			near := nearest(name, known)
			remove := "pulumi config rm --path " + pathQuote(keyPeers, entry.name, field.name)
			if !assigned {
				r.faultKey(fieldKey, errUnknownKey, fmt.Sprintf("expected %q, the nearest that it knows", near), remove)
				continue
			}
			seen[near] = true // what is missing is said here
			r.faultKey(fieldKey, errAssignmentKey, "expected a space between key and value",
				remove+"\npulumi config set --path "+key+"."+near+" "+shellQuote(cmp.Or(value, "VALUE")))
			continue
		}
		if seen[field.name] {
			r.faultKey(fieldKey, errTwice, "expected it once", "")
			continue
		}
		seen[field.name] = true
		value, ok := scalar(field.value)
		if !ok {
			r.fault(fieldKey, text(field.value), errNotPlain, "expected a text", "")
			continue
		}
		switch field.name {
		case "address":
			peer.Address = r.peerAddress(fieldKey, value)
		case "publicKey":
			peer.PublicKey = r.wireGuardKey(fieldKey, value)
		case "sshKey":
			peer.SSHKey, peer.SSHComment = r.sshKey(fieldKey, value)
		}
	}
	if !seen["address"] {
		r.faultKey(key+".address", errNotSet, "expected an address in the VPN of the peer's own",
			fmt.Sprintf("pulumi config set --path %s.address %s", key, free))
	}
	return peer
}

// freeAddress is the first address of the VPN that no peer has, for hints.
func freeAddress(entries []member, vpn netip.Prefix) string {
	const unknown = "ADDRESS"
	if !vpn.IsValid() {
		return unknown
	}
	used := map[string]bool{}
	for _, entry := range entries {
		fields, err := members(string(entry.value))
		for _, field := range fields {
			if address, ok := scalar(field.value); ok && err == nil && field.name == "address" {
				used[address] = true
			}
		}
	}
	for a := firstUsable(vpn).Next(); a.Less(lastUsable(vpn)); a = a.Next() {
		if !used[a.String()] {
			return a.String()
		}
	}
	return unknown
}

func (r *reader) peerAddress(key, v string) netip.Addr {
	addr, err := netip.ParseAddr(v)
	if err == nil && addr.Is4() {
		return addr
	}
	hint := ""
	if prefix, err := netip.ParsePrefix(v); err == nil && prefix.Addr().Is4() {
		hint = r.reveal(key, "without its length: "+prefix.Addr().String())
	}
	r.fault(key, v, errNotAddress, "expected an address such as 10.100.0.2", hint)
	return netip.Addr{}
}

// peersApart refuses addresses outside the VPN, those of its two ends, and
// whatever two peers share.
func (r *reader) peersApart(peers []Peer, vpn netip.Prefix) {
	byAddress := map[netip.Addr]string{}
	byKey := map[wgtypes.Key]string{}
	for _, peer := range peers {
		key := keyPeers + "." + peer.Name
		if peer.Address.IsValid() && vpn.IsValid() {
			first, last := firstUsable(vpn), lastUsable(vpn)
			want := "expected a free one of vpnCidr" + r.reveal(keyVPN, fmt.Sprintf(", from %s to %s", first.Next(), last.Prev()))
			switch {
			case !vpn.Contains(peer.Address):
				r.fault(key+".address", peer.Address.String(), errOutside, want, "")
			case peer.Address == first:
				r.fault(key+".address", peer.Address.String(), errAddressTaken, want+", this one is the machine's", "")
			case peer.Address == last:
				r.fault(key+".address", peer.Address.String(), errAddressTaken, want+", this one is the deployer's", "")
			case peer.Address.Less(first) || last.Less(peer.Address):
				r.fault(key+".address", peer.Address.String(), errAddressTaken, want+", this one is the network's own or its broadcast address", "")
			}
		}
		if peer.Address.IsValid() {
			if other, twice := byAddress[peer.Address]; twice {
				r.fault(key+".address", peer.Address.String(), errTwice, "expected an address of its own, this one is that of peer "+other, "")
			} else {
				byAddress[peer.Address] = peer.Name
			}
		}
		if peer.PublicKey != nil {
			if other, twice := byKey[*peer.PublicKey]; twice {
				r.fault(key+".publicKey", peer.PublicKey.String(), errTwice, "expected a key of its own, this one is that of peer "+other,
					"two devices with one key take each other's traffic away")
			} else {
				byKey[*peer.PublicKey] = peer.Name
			}
		}
	}
}

func (r *reader) wireGuardKey(key, v string) *wgtypes.Key {
	const want = "expected what wg pubkey prints, 44 characters of base64"
	public, err := wgtypes.ParseKey(v)
	// The decoder takes line breaks and stray bits; a second spelling of one key
	// would pass for a second key.
	if err != nil || public.String() != v {
		r.fault(key, v, errNotWGKey, want, "")
		return nil
	}
	// crypto/ecdh fails where the shared secret would be all zero, which is so
	// for the all-zero key and the few others of small order.
	remote, err := ecdh.X25519().NewPublicKey(public[:])
	if err == nil {
		var own *ecdh.PrivateKey
		if own, err = ecdh.X25519().NewPrivateKey(slices.Repeat([]byte{1}, 32)); err == nil {
			_, err = own.ECDH(remote)
		}
	}
	if err != nil {
		r.fault(key, v, errWeakWGKey, want, "")
		return nil
	}
	return &public
}

func (r *reader) sshKey(key, v string) (ssh.PublicKey, string) {
	const want = "expected one line of a .pub file, ssh-ed25519 or sk-ssh-ed25519@openssh.com"
	if strings.Contains(v, "PRIVATE KEY") || strings.Contains(v, "PuTTY-User-Key-File") {
		r.faultKey(key, errPrivateKey, want, "whatever held that key is no secret any more: make a new one with ssh-keygen -t ed25519")
		return nil, ""
	}
	public, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(v))
	// ParseAuthorizedKey skips lines that it cannot read: one line alone is safe.
	if err != nil || strings.ContainsFunc(v, unicode.IsControl) || len(options) > 0 || len(rest) > 0 {
		r.fault(key, v, errNotSSHKey, want, "")
		return nil, ""
	}
	switch public.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519:
		return public, comment
	}
	r.fault(key, v, errSSHKeyType, want, "ssh-keygen -t ed25519 makes one")
	return nil, ""
}

func (r *reader) openclawVersion() string {
	v := r.value(keyOpenClawVersion)
	m := openclawSemver.FindStringSubmatch(v)
	if m == nil {
		r.fault(keyOpenClawVersion, v, errNotVersion, "expected an exact one, such as "+r.defaults[keyOpenClawVersion], "")
		return v
	}
	var version [3]int
	for i := range version {
		version[i], _ = strconv.Atoi(m[i+1])
	}
	if slices.Compare(version[:], oldestOpenClaw[:]) < 0 {
		r.fault(keyOpenClawVersion, v, errOldVersion, "expected 2026.1.29 or newer, where CVE-2026-25253 is mended",
			"pulumi config set openclawVersion "+r.defaults[keyOpenClawVersion])
		return v
	}
	if locked := lockedVersions(); !slices.Contains(locked, v) {
		r.fault(keyOpenClawVersion, v, errNoLock, "expected one of "+strings.Join(locked, ", ")+", whose packages are pinned",
			"go run ./cmd/lock "+v+"    # pins them, with npm: read what it wrote")
	}
	return v
}

// lockedVersions are those that templates/opt/openclaw pins every package of.
func lockedVersions() []string {
	entries, err := templates.ReadDir("templates/opt/openclaw")
	if err != nil {
		panic(err) // embedded
	}
	var versions []string
	for _, entry := range entries {
		versions = append(versions, entry.Name())
	}
	return versions
}

// Node's release, by Azure's architecture. SHASUMS256.txt of the release has the sums.
const nodeVersion = "24.16.0"

var nodeReleases = map[bool]Download{
	false: {"https://nodejs.org/dist/v24.16.0/node-v24.16.0-linux-x64.tar.xz", "d804845d34eddc21dc1092b519d643ef40b1f58ec5dec5c22b1f4bd8fabde6c9"},
	true:  {"https://nodejs.org/dist/v24.16.0/node-v24.16.0-linux-arm64.tar.xz", "524659219d6a207a7400f2bde15d19ba060ffbe0d32a8643319ad67e3bb64c78"},
}

func (r *reader) node(arm64 bool) Download {
	d := Download{r.mirror(keyNodeURL), r.value(keyNodeSHA256)}
	if d.SHA256 != "" && !sha256Digits.MatchString(d.SHA256) {
		r.fault(keyNodeSHA256, d.SHA256, errNotSHA256, "expected 64 digits, 0 to 9 and a to f", "sha256sum FILE    # prints it")
	}
	switch {
	case d == Download{}:
		return nodeReleases[arm64]
	case r.value(keyNodeURL) == "":
		r.faultKey(keyNodeSHA256, errAlone, "expected nodeUrl beside it", "pulumi config rm nodeSha256\nor: pulumi config set nodeUrl URL")
	case d.SHA256 == "":
		r.faultKey(keyNodeURL, errAlone, "expected nodeSha256 beside it: nothing unpinned is ever downloaded",
			"pulumi config set nodeSha256 SHA256\nor: pulumi config rm nodeUrl")
	}
	return d
}

func (r *reader) npmRegistry() string { return strings.TrimRight(r.mirror(keyNPMRegistry), "/") }

// mirror reads the URL of a mirror. Plain http will do: what comes is used only where its sum is right. The host's
// own commands carry the URL, so it must hold no password and nothing that a shell or npm would read.
func (r *reader) mirror(key string) string {
	v := r.value(key)
	if v == "" {
		return v
	}
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !plainURL.MatchString(v) || u.Host == "" {
		r.fault(key, v, errNotURL, "expected http or https, a host and a path, and no user, query or fragment", "")
	}
	return v
}

// ownedConfig are the parts of openclaw.json that decide who may talk to the gateway, what it loads besides and where
// its secrets are: those are the program's, and openclawEnv's.
var ownedConfig = map[string]string{
	"$include": "what it includes nobody has looked at",
	"env":      "variables go into openclawEnv",
	"gateway":  "who may talk to it is decided by this program",
	"secrets":  "secrets go into openclawEnv, and into openclaw.json as \"${NAME}\"",
	"update":   "versions are set by openclawVersion",
}

func (r *reader) openclawConfig() map[string]any {
	v := r.value(keyOpenClawConfig)
	if v == "" {
		return nil
	}
	const want = "expected an object, as openclaw.json has it"
	entries, err := members(v)
	if err != nil {
		r.fault(keyOpenClawConfig, v, errNotObject, want, "pulumi config rm openclawConfig\npulumi config set --path openclawConfig.agents.defaults.model.primary PROVIDER/MODEL")
		return nil
	}
	config := map[string]any{}
	for _, entry := range entries {
		key := keyOpenClawConfig + "." + entry.name
		if why, owned := ownedConfig[entry.name]; owned {
			r.faultKey(key, errNotYours, why, "pulumi config rm --path "+pathQuote(keyOpenClawConfig, entry.name))
			continue
		}
		if _, twice := config[entry.name]; twice {
			r.faultKey(key, errTwice, "expected each key once", "")
			continue
		}
		var value any
		decoder := json.NewDecoder(bytes.NewReader(entry.value))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			r.faultKey(key, errNotObject, want, "")
			continue
		}
		config[entry.name] = value
	}
	return config
}

func (r *reader) openclawEnv() map[string]string {
	env := map[string]string{}
	v := r.value(keyOpenClawEnv)
	if v == "" {
		return env
	}
	entries, err := members(v)
	if err != nil {
		r.fault(keyOpenClawEnv, v, errNotObject, "expected an object of variables by name",
			"pulumi config rm openclawEnv\npulumi config set --secret --path openclawEnv.NAME    # asks for the value")
		return env
	}
	slices.SortStableFunc(entries, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	secret := r.secret(keyOpenClawEnv)
	for i, entry := range entries {
		name, _, assigned := strings.Cut(entry.name, "=")
		key := keyOpenClawEnv + "." + name
		if assigned {
			// The value is in the name: show neither it nor a command with it.
			r.faultKey(key+"=…", errAssignmentKey, "expected the name alone, and a space before the value", r.exposedHint(key))
			continue
		}
		value, ok := scalar(entry.value)
		const again = "pulumi config set --secret --path "
		switch {
		case !envName.MatchString(name):
			r.faultKey(key, errNotEnvName, "expected letters, digits and _, no digit first",
				"pulumi config rm --path "+pathQuote(keyOpenClawEnv, name))
		case i > 0 && entries[i-1].name == entry.name:
			r.faultKey(key, errTwice, "expected each variable once", "")
		case reserved(name):
			r.faultKey(key, errReservedEnv, "expected none that decides what the service runs, where it keeps its state or who may talk to it",
				"pulumi config rm --path "+key)
		case !secret || slices.Contains(r.raw.plain, name):
			r.faultKey(key, errNotSecret, "expected a secret", again+key+"    # asks for the value\nthe old value was readable: renew it where it came from")
		case !ok:
			r.fault(key, "", errNotPlain, "expected a text", again+key+"    # asks for the value")
		case value == "":
			r.fault(key, "", errEmptyEnv, "expected a value", again+key+"    # asks for the value\nor: pulumi config rm --path "+key)
		case strings.ContainsFunc(value, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) || !utf8.ValidString(value):
			r.fault(key, "", errControl, "expected one line of text", again+key+"    # asks for the value")
		case len(name)+1+len(value) >= longestEnv:
			r.fault(key, "", errTooLong, fmt.Sprintf("expected less than %d KiB", longestEnv>>10), "")
		default:
			env[name] = value
		}
	}
	return env
}

// reserved tells whether a variable would change the service's sandbox.
func reserved(name string) bool {
	upper := strings.ToUpper(name)
	return slices.Contains(reservedEnv, upper) ||
		slices.ContainsFunc(reservedEnvPrefixes, func(prefix string) bool { return strings.HasPrefix(upper, prefix) })
}

func (r *reader) exposedHint(key string) string {
	return "take its line out of the stack's file, Pulumi.STACK.yaml\n" +
		"pulumi config set --secret --path " + key + "    # asks for the value\n" +
		"the old value was readable: renew it where it came from"
}

// strangers refuses every key in the project's own namespace that the program
// does not read: the CLI takes any, and a misspelt one would be ignored without
// a word.
func (r *reader) strangers() {
	var known []string
	for name := range r.defaults {
		known = append(known, name)
	}
	slices.Sort(known)
	var full []string
	for key := range r.raw.values {
		full = append(full, key)
	}
	slices.Sort(full)
	for _, key := range full {
		namespace, name, _ := strings.Cut(key, ":")
		switch {
		case namespace == r.raw.project && slices.Contains(known, name):
		case namespace == r.raw.project:
			r.stranger(name, known)
		case slices.Contains(known, namespace):
			// `pulumi config set bootstrap:false` makes a namespace of the key.
			r.assignment(key, namespace, name, known)
		}
	}
}

func (r *reader) stranger(name string, known []string) {
	if base, value, assigned := strings.Cut(name, "="); assigned {
		r.assignment(name, strings.TrimSpace(base), strings.TrimSpace(value), known)
		return
	}
	root, _, dotted := strings.Cut(name, ".")
	if dotted && (root == keyPeers || root == keyOpenClawEnv || root == keyOpenClawConfig || root == keySandbox) {
		set, hint := "pulumi config set --path "+name+" VALUE", ""
		if root == keyOpenClawEnv {
			set = "pulumi config set --secret --path " + name + "    # asks for the value"
			hint = "\nwhere the old value was readable, renew it where it came from"
		}
		r.faultKey(name, errPathForgotten, "expected --path, since the dot leads into "+root,
			"pulumi config rm "+shellQuote(name)+"\n"+set+hint)
		return
	}
	near := nearest(name, known)
	hint := "pulumi config rm " + shellQuote(name)
	if edits(name, near) <= nearEnough {
		hint += "\n" + r.setCommand(near, "VALUE")
	}
	r.faultKey(name, errUnknownKey, fmt.Sprintf("expected %q, the nearest that it knows", near), hint)
}

// assignment explains a key such as "bootstrap=false". key is the whole of it.
func (r *reader) assignment(key, base, value string, known []string) {
	const want = "expected a space between key and value"
	root, rest, dotted := strings.Cut(base, ".")
	name := nearest(root, known)
	switch {
	case name == keyOpenClawEnv:
		r.faultKey(base+"=…", errAssignmentKey, want, r.exposedHint(keyOpenClawEnv+"."+cmp.Or(rest, "NAME")))
		return
	case edits(root, name) > nearEnough:
		// Nobody knows what this was meant to be: it may be an API key.
		r.faultKey(base+"=…", errAssignmentKey, want+fmt.Sprintf(", and %q, the nearest that it knows", name),
			"take its line out of the stack's file, Pulumi.STACK.yaml")
		return
	case dotted:
		r.faultKey(key, errAssignmentKey, want,
			"pulumi config rm "+shellQuote(key)+"\npulumi config set --path "+shellQuote(name+"."+rest)+" "+shellQuote(cmp.Or(value, "VALUE")))
		return
	}
	value = cmp.Or(value, "VALUE")
	now := fmt.Sprintf("%s is still %q", name, r.value(name))
	switch {
	case r.secret(name):
		now = name + " is what it was"
	case r.value(name) == "":
		now = name + " is still not set"
	case name == keyBootstrap && r.value(name) == "true":
		now += " and port 22 is still open"
	case name == keyBootstrap && r.value(name) == "false":
		now += " and port 22 stays closed"
	}
	// Only the whole key removes it; either spelling sets what was meant.
	remove := "pulumi config rm " + shellQuote(key)
	if r.value(name) == value {
		r.faultKey(key, errAssignmentKey, now, remove)
		return
	}
	hint := remove + " && " + r.setCommand(name, value)
	if name != keyPeers && name != keyLocation {
		hint += "\nor, with \"=\": " + remove + " && pulumi config set-all --plaintext " + shellQuote(name+"="+value)
	}
	r.faultKey(key, errAssignmentKey, now, hint)
}

// setCommand is the command that sets a key, VALUE standing for what the user
// has to fill in.
func (r *reader) setCommand(key, value string) string {
	switch key {
	case keyPeers:
		return "pulumi config set --path peers.NAME.address ADDRESS"
	case keyOpenClawConfig:
		return "pulumi config set --path openclawConfig.agents.defaults.model.primary PROVIDER/MODEL"
	case keyOpenClawEnv:
		return "pulumi config set --secret --path openclawEnv.NAME    # asks for the value"
	case keySandbox:
		return "pulumi config set --path sandbox.DIRECTIVE VALUE"
	}
	return "pulumi config set " + key + " " + shellQuote(value)
}

// member is one entry of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// members reads a JSON object in its own order, and keeps names that stand in
// it twice, of which a map would drop one.
func members(object string) ([]member, error) {
	dec := json.NewDecoder(strings.NewReader(object))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, errNotObject
	}
	var out []member
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var m member
		m.name = token.(string) // the decoder takes nothing else as a name
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errNotObject
	}
	return out, nil
}

// scalar is the text of a string, a number or a boolean: with --path the CLI
// makes the latter two of what looks like them.
func scalar(raw json.RawMessage) (string, bool) {
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || string(raw) == "null":
		return "", false
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	}
	return string(raw), true
}

// text is a JSON value as a message shows it.
func text(raw json.RawMessage) string {
	if s, ok := scalar(raw); ok {
		return s
	}
	return string(raw)
}

// nearest is the known word that takes the fewest edits, whatever its case.
func nearest(word string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int { return cmp.Compare(edits(word, a), edits(word, b)) })
}

// edits counts the letters to insert, delete or replace between two words. A
// namespace that was left out counts nothing: "location" is near to
// azure-native:location.
func edits(a, b string) int {
	if _, bare, ok := strings.Cut(b, ":"); ok {
		b = bare
	}
	from, to := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range from {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range to {
			replaced := diagonal
			if r != s {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}

var plainElement = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:,@%+=-]+$`)

// pathQuote writes the names as --path reads them, for a shell.
func pathQuote(root string, names ...string) string {
	path := root
	for _, name := range names {
		if plainElement.MatchString(name) {
			path += "." + name
		} else {
			path += "[" + strconv.Quote(name) + "]"
		}
	}
	return shellQuote(path)
}

// shellQuote writes a word as a shell reads it back.
func shellQuote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// within tells whether a prefix lies inside one of the ranges.
func within(prefix netip.Prefix, ranges []netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(r netip.Prefix) bool {
		return r.Bits() <= prefix.Bits() && r.Contains(prefix.Addr())
	})
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func firstUsable(prefix netip.Prefix) netip.Addr { return prefix.Masked().Addr().Next() }

// lastUsable is the address before the broadcast address of an IPv4 prefix.
func lastUsable(prefix netip.Prefix) netip.Addr {
	a := prefix.Masked().Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a).Prev()
}
