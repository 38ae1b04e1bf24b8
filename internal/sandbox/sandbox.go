// Package sandbox is the table of what bounds openclaw.service, what each bound costs the agent, and how far the
// configuration may relax it.
package sandbox

import (
	"regexp"
)

// Directive is one line of the service's sandbox: what it costs the agent, and how far the configuration may relax it.
type Directive struct {
	Name, Strict string
	Cost         string         // what the agent cannot do
	Relaxed      *regexp.Regexp // the values that `sandbox` may give it instead; nil: it stays
	Example      string         // of such a value
	adds         bool           // systemd would add the value to the strict one: the list is emptied first
	written      bool           // what it writes there it may not run
}

func may(pattern string) *regexp.Regexp { return regexp.MustCompile("^(?:" + pattern + ")$") }

// Directives are all that bound openclaw.service, as the unit's template has it; docs/sandbox.md shows it.
// What keeps the agent from becoming root, from the operator's files and from Azure's metadata cannot be relaxed.
var Directives = []Directive{
	{Name: "NoNewPrivileges", Strict: "yes", Cost: "sudo, su and other setuid programs"},
	{Name: "NetworkNamespacePath", Strict: "/run/netns/openclaw", Cost: "the host's network: it may listen on anything in its own, and leaves by the gate alone (docs/network.md)"},
	{Name: "PrivateNetwork", Strict: "yes", Cost: "the same"},
	{Name: "CapabilityBoundingSet", Cost: "anything that needs a capability: raw sockets, ports below 1024, chown"},
	{Name: "AmbientCapabilities", Cost: "the same"},
	{Name: "UMask", Strict: "0077", Cost: "files that others can read", Relaxed: may("00[0-7][0-7]"), Example: "0027"},
	{Name: "ProtectSystem", Strict: "strict", Cost: "writing anywhere but to its state, cache and /tmp"},
	{Name: "ReadWritePaths", Cost: "a folder of yours to write to", Relaxed: may(`/(srv|mnt)(/[A-Za-z0-9._-]*[A-Za-z0-9_-])+`), Example: "/srv/agent", written: true},
	{Name: "ProtectHome", Strict: "yes", Cost: "the operator's home, root's, other users'"},
	{Name: "InaccessiblePaths", Strict: "-/backups -/run/systemd/journal", Cost: "the backups, and messages to the journal in another's name"},
	{Name: "TemporaryFileSystem", Strict: "/run:ro", Cost: "the sockets of the host's daemons: D-Bus, sshd, the journal, the host's resolver"},
	{Name: "BindPaths", Strict: "/run/openclaw", Cost: "nothing: its own part of /run"},
	{Name: "BindReadOnlyPaths", Strict: "/etc/openclaw-gate/resolv.conf:/etc/resolv.conf", Cost: "another resolver than its own"},
	{Name: "PrivateTmp", Strict: "yes", Cost: "files that others put into /tmp"},
	{Name: "PrivateDevices", Strict: "yes", Cost: "devices: graphics, sound, serial ports", Relaxed: may("no"), Example: "no"},
	{Name: "DevicePolicy", Strict: "closed", Cost: "the same", Relaxed: may("auto"), Example: "auto"},
	{Name: "PrivateUsers", Strict: "yes", Cost: "the names of other files' owners: they show as nobody's"},
	{Name: "PrivateMounts", Strict: "yes", Cost: "mounts made after it started"},
	{Name: "ProtectClock", Strict: "yes", Cost: "setting the clock"},
	{Name: "ProtectHostname", Strict: "yes", Cost: "setting the host's name"},
	{Name: "ProtectKernelTunables", Strict: "yes", Cost: "changing kernel settings"},
	{Name: "ProtectKernelModules", Strict: "yes", Cost: "loading kernel modules"},
	{Name: "ProtectKernelLogs", Strict: "yes", Cost: "dmesg"},
	{Name: "ProtectControlGroups", Strict: "yes", Cost: "containers that make control groups"},
	{Name: "ProtectProc", Strict: "invisible", Cost: "other users' processes in ps and /proc"},
	{Name: "LockPersonality", Strict: "yes", Cost: "setarch, debuggers that turn off address randomisation", Relaxed: may("no"), Example: "no"},
	{Name: "RestrictRealtime", Strict: "yes", Cost: "real-time scheduling", Relaxed: may("no"), Example: "no"},
	{Name: "RestrictNamespaces", Strict: "yes", Cost: "bubblewrap, rootless containers, Chromium's own sandbox",
		Relaxed: may("no|(cgroup|ipc|net|mnt|pid|user|uts)( (cgroup|ipc|net|mnt|pid|user|uts))*"), Example: "user mnt pid net", adds: true},
	{Name: "RemoveIPC", Strict: "yes", Cost: "System V shared memory that outlives it"},
	{Name: "KeyringMode", Strict: "private", Cost: "the kernel's keyrings of others"},
	{Name: "SystemCallArchitectures", Strict: "native", Cost: "32-bit programs", Relaxed: may("native x86"), Example: "native x86", adds: true},
	{Name: "RestrictAddressFamilies", Strict: "AF_UNIX AF_INET AF_INET6 AF_NETLINK", Cost: "Bluetooth, packet and virtual-machine sockets"},
	{Name: "SystemCallFilter", Strict: "@system-service ~@privileged @resources @keyring @memlock @setuid @aio memfd_create memfd_secret",
		Cost:    "mount, ptrace, nice, io_uring, mlock, keyrings, programs that have no file: debuggers, some databases",
		Relaxed: may("@(resources|keyring|memlock|aio|debug)( @(resources|keyring|memlock|aio|debug))*"), Example: "@debug @resources"},
	{Name: "SystemCallErrorNumber", Strict: "EPERM", Cost: "nothing: a refused call is an error, not the end"},
	{Name: "NoExecPaths", Strict: "/dev/shm /run/openclaw /tmp /var/tmp /var/lib/openclaw /var/cache/openclaw",
		Cost: "programs that it downloaded or built: helpers, browsers, compiled code; scripts still run by naming their interpreter"},
	{Name: "ExecPaths", Cost: "a folder whose programs run all the same",
		Relaxed: may(`/var/lib/openclaw(/[A-Za-z0-9._-]*[A-Za-z0-9_-])*`), Example: "/var/lib/openclaw/bin"},
	{Name: "LimitNOFILE", Strict: "4096", Cost: "more open files", Relaxed: may("[1-9][0-9]{3,6}"), Example: "65536"},
	{Name: "LimitCORE", Strict: "0", Cost: "core dumps: they would hold secrets"},
	{Name: "TasksMax", Strict: "512", Cost: "more processes and threads", Relaxed: may("[1-9][0-9]{2,4}"), Example: "2048"},
	// No MemoryHigh: the kernel slows down whoever is beyond it so much that MemoryMax, and an end, never comes.
	{Name: "MemoryMax", Strict: "85%", Cost: "more memory: beyond it the largest process is killed at once, the others go on", Relaxed: may("[1-9][0-9]?%|[1-9][0-9]{0,5}[MG]"), Example: "95%"},
	{Name: "MemorySwapMax", Strict: "0", Cost: "swap, where the machine has any: a process that runs away would fill it for minutes first"},
	{Name: "CPUWeight", Strict: "20", Cost: "its turn, while sshd and others (100 each) want a processor too"},
	{Name: "IOWeight", Strict: "20", Cost: "the same, for the disk"},
	{Name: "OOMScoreAdjust", Strict: "500", Cost: "its life before others', where the machine itself runs out of memory"},
}

// Lines are those at the end of the unit that take back what the directives above them say.
func (d Directive) Lines(value string) string {
	line := d.Name + "=" + value
	if d.adds {
		line = d.Name + "=\n" + line
	}
	if d.written {
		line += "\nNoExecPaths=" + value
	}
	return line
}
