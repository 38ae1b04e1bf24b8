package host

import (
	"openclaw-azure/internal/layer"
)

// sysctls are the kernel settings of the network. Only what the machine needs is left on: IPv6 is not. `default` is for
// interfaces to come and `*` for those that are there: one that has its address already takes nothing from `default`.
// Both are named beside `*`, or a file of the distribution that names them would win over it.
var sysctls = []struct{ Key, Value string }{
	{"net.ipv6.conf.all.disable_ipv6", "1"},
	{"net.ipv6.conf.default.disable_ipv6", "1"},
	{"net.ipv6.conf.lo.disable_ipv6", "1"},
	{"net.ipv4.ip_forward", "0"}, // peers do not reach each other through the VM
	{"net.ipv4.conf.all.rp_filter", "1"},
	{"net.ipv4.conf.default.rp_filter", "1"},
	{"net.ipv4.conf.*.rp_filter", "1"},
	{"net.ipv4.conf.all.accept_redirects", "0"},
	{"net.ipv4.conf.default.accept_redirects", "0"},
	{"net.ipv4.conf.*.accept_redirects", "0"},
	{"net.ipv4.conf.all.secure_redirects", "0"},
	{"net.ipv4.conf.default.secure_redirects", "0"},
	{"net.ipv4.conf.*.secure_redirects", "0"},
	{"net.ipv4.conf.all.send_redirects", "0"},
	{"net.ipv4.conf.default.send_redirects", "0"},
	{"net.ipv4.conf.*.send_redirects", "0"},
	{"net.ipv4.conf.all.accept_source_route", "0"},
	{"net.ipv4.conf.default.accept_source_route", "0"},
	{"net.ipv4.conf.*.accept_source_route", "0"},
	{"net.ipv4.conf.all.log_martians", "1"},
	{"net.ipv4.conf.default.log_martians", "1"},
	{"net.ipv4.conf.*.log_martians", "1"},
	{"net.ipv4.icmp_echo_ignore_broadcasts", "1"},
	{"net.ipv4.icmp_ignore_bogus_error_responses", "1"},
	{"net.ipv4.tcp_syncookies", "1"},
	{"net.ipv4.tcp_rfc1337", "1"},
}

// kernelSysctls are settings of the kernel as a whole. Where the host is no machine of its own, as in the lab, its kernel
// is another's and keeps its values: then the proof says that they were not shown.
var kernelSysctls = []struct{ Key, Value string }{
	{"kernel.kptr_restrict", "2"},
	{"kernel.dmesg_restrict", "1"},
	{"kernel.sysrq", "0"},
	{"kernel.yama.ptrace_scope", "2"},
	{"kernel.unprivileged_bpf_disabled", "1"},
	{"kernel.core_uses_pid", "1"},
	{"net.core.bpf_jit_harden", "2"},
	{"fs.suid_dumpable", "0"},
	{"fs.protected_fifos", "2"},
	{"fs.protected_regular", "2"},
	{"fs.protected_hardlinks", "1"},
	{"fs.protected_symlinks", "1"},
	{"dev.tty.ldisc_autoload", "0"},
	{"dev.tty.legacy_tiocsti", "0"},
	{"kernel.io_uring_disabled", "2"},
	{"kernel.kexec_load_disabled", "1"},
	{"vm.unprivileged_userfaultfd", "0"},
}

// MayLack are the settings that a kernel which is another machine's need not show.
func MayLack() (keys []string) {
	for _, s := range kernelSysctls {
		keys = append(keys, s.Key)
	}
	return keys
}

func (h *Host) sysctl() layer.Layer {
	l := layer.Layer{
		// -e passes over settings that this kernel has not; what has to be there is probed.
		Reload: [][]string{{"sysctl", "-e", "-q", "-p", "/etc/sysctl.d/99-zz-openclaw.conf"}},
	}
	for _, s := range sysctls {
		l.Probes = append(l.Probes, layer.Sysctl(s.Key, s.Value))
	}
	for _, s := range kernelSysctls {
		l.Probes = append(l.Probes, layer.KernelSysctl(s.Key, s.Value))
	}
	return l
}
