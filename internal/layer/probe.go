package layer

import "net/netip"

// Probe reads what is effective on the host. It is made by the functions below, one for each kind: a kind has
// but some of the fields.
type Probe struct {
	Kind      string     `json:"kind"`
	Subject   string     `json:"subject,omitempty"`
	Argv      []string   `json:"argv,omitempty"`
	Seconds   int        `json:"seconds,omitempty"` // kind command: how long it may take, where that is more than the applier's own limit
	Key       string     `json:"key,omitempty"`
	User      string     `json:"user,omitempty"`
	Addr      string     `json:"addr,omitempty"`
	LPort     uint16     `json:"lport,omitempty"`
	Family    string     `json:"family,omitempty"`
	Table     string     `json:"table,omitempty"`
	Ignore    []string   `json:"ignore,omitempty"`
	Rebuild   [][]string `json:"rebuild,omitempty"` // before the layer's reload, where rules are missing
	Interface string     `json:"interface,omitempty"`
	Port      uint16     `json:"port,omitempty"`
	PublicKey string     `json:"publicKey,omitempty"`
	Peers     any        `json:"peers,omitempty"`
	Name      string     `json:"name,omitempty"`
	Service   string     `json:"service,omitempty"`
	Want      any        `json:"want,omitempty"`
	MayLack   bool       `json:"mayLack,omitempty"` // kind sysctl: no fault where the kernel cannot be told; the proof says so

	// What grants access and may not be there unless somebody declared it. Kind files: what stands at Paths, or makes up
	// Units, is declared, a package's or the image's, or matches Generated (path to the whole content, a pattern). Kind
	// keys: fingerprints by user. Kind accounts: Admins may log in, nobody else is in a group that is Privileged.
	Paths      []string            `json:"paths,omitempty"`
	Except     []string            `json:"except,omitempty"`
	Generated  map[string]string   `json:"generated,omitempty"`
	Units      []string            `json:"units,omitempty"`
	Allowed    map[string][]string `json:"allowed,omitempty"`
	Admins     []string            `json:"admins,omitempty"`
	Privileged []string            `json:"privileged,omitempty"`
}

// Command finds a program that prints another text than want. Within allows it more time.
func Command(subject, want string, argv ...string) Probe {
	return Probe{Kind: "command", Subject: subject, Argv: argv, Want: want}
}

// Shell is Command for a script.
func Shell(subject, want, script string) Probe { return Command(subject, want, "sh", "-c", script) }

// Within is a Command that may take this many seconds, where that is more than the applier's own limit.
func (p Probe) Within(seconds int) Probe {
	p.Seconds = seconds
	return p
}

// Sysctl finds a kernel setting of another value.
func Sysctl(key, want string) Probe { return Probe{Kind: "sysctl", Key: key, Want: want} }

// KernelSysctl is Sysctl for a setting of the kernel as a whole, which may be another machine's: if it cannot be set here,
// that is no fault, and the proof names it.
func KernelSysctl(key, want string) Probe {
	return Probe{Kind: "sysctl", Key: key, Want: want, MayLack: true}
}

// SSHD finds settings of sshd that differ for a user who comes from an address to a port.
func SSHD(user string, from netip.Addr, port uint16, want map[string]string) Probe {
	return Probe{Kind: "sshd", User: user, Addr: from.String(), LPort: port, Want: want}
}

// IPTables finds rules that are missing or too many in a table, in the words of `iptables -S`. The applier puts
// a user's number for {uid:NAME}. Ignore are patterns of whole rules that somebody else may add. Rebuild are commands that
// run before the layer's reload if rules are missing.
func IPTables(table string, want, ignore []string, rebuild [][]string) Probe {
	return Probe{Kind: "iptables", Family: "4", Table: table, Want: want, Ignore: ignore, Rebuild: rebuild}
}

// IP6Tables is IPTables for the table `filter` of IPv6.
func IP6Tables(want, ignore []string, rebuild [][]string) Probe {
	p := IPTables("filter", want, ignore, rebuild)
	p.Family = "6"
	return p
}

// WireGuard finds another port, key or set of peers; peers are allowed addresses by public key.
func WireGuard(device string, port uint16, publicKey string, peers map[string][]string) Probe {
	return Probe{Kind: "wireguard", Interface: device, Port: port, PublicKey: publicKey, Peers: peers}
}

// Jail finds settings of a jail of fail2ban that differ.
func Jail(name string, want map[string]string) Probe {
	return Probe{Kind: "jail", Name: name, Want: want}
}

// Watched is where nothing may stand that nobody declared. What a package or the image brought may.
type Watched struct {
	Paths     []string          // patterns
	Except    []string          // patterns
	Generated map[string]string // patterns of paths: what the whole content has to match
	Units     []string          // whatever they are made of is watched too
}

// Files finds files that nobody declared.
func Files(w Watched) Probe {
	return Probe{Kind: "files", Paths: w.Paths, Except: w.Except, Generated: w.Generated, Units: w.Units}
}

// Keys finds keys that log in, unless a file that is declared has them, or they are allowed: fingerprints by user.
func Keys(allowed map[string][]string) Probe { return Probe{Kind: "keys", Allowed: allowed} }

// Accounts finds access that nobody declared: to accounts other than the declared ones and admins, and to privileged
// groups.
func Accounts(admins, privileged []string) Probe {
	return Probe{Kind: "accounts", Admins: admins, Privileged: privileged}
}

// Routes finds policy rules, routes and MTUs that neither the kernel nor the network's manager made, and those of theirs that
// are gone.
func Routes() Probe { return Probe{Kind: "routes"} }

// Sockets finds sockets of the host's that a process of a running service can connect to, other than want: paths, or names of
// abstract ones with an @ in front. It is tried as the user, with the process's own view of files and network.
func Sockets(service, user string, want ...string) Probe {
	p := Probe{Kind: "sockets", Service: service, User: user}
	if len(want) > 0 {
		p.Want = want
	}
	return p
}

// NFTables finds rules beside those of the packet filters that IPTables reads.
func NFTables() Probe { return Probe{Kind: "nftables"} }
