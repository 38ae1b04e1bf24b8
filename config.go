package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/crypto/ssh"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"gopkg.in/yaml.v3"

	"openclaw-azure/internal/outputs"
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
	22:                  "the bootstrap door",
	53:                  "the machine's resolver",
	68:                  "the machine's DHCP client",
	outputs.GatewayPort: "OpenClaw's gateway",
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
		return nil, fmt.Errorf("read the stack's configuration file: %w", err)
	}
	var file struct {
		Config map[string]yaml.Node `yaml:"config"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read the stack's configuration file %q: %w\nhint: its YAML cannot be read; pulumi config shows where", path, err)
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
	c.Node = r.node()
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

// armSize tells whether the size is one of Azure's arm64 sizes: those have a "p"
// among the lower-case letters behind the number of cores. The program refuses
// them for now.
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
