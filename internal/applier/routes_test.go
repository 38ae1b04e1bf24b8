package applier_test

import (
	"slices"
	"strings"
	"testing"

	"openclaw-azure/internal/layer"
)

// What leads packets on their way and nobody declared is found, and goes; what the kernel and the network's manager made
// stays, and comes back.
func TestRoutes(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	routed := layer.Layer{Name: "routed", Files: []layer.File{file("/etc/routed.conf", "routed\n")}, Probes: []layer.Probe{layer.Routes()}}
	r.Sh(`mount -t sysfs sysfs /sys; rm -rf /etc/netplan /etc/systemd/network /run/systemd/network
ip link add dev eth0 type veth peer name far; ip address add 10.0.0.4/24 dev eth0; ip address add 10.0.0.5/24 dev eth0; ip link set eth0 up; ip link set far up mtu 1400
ip route add default via 10.0.0.1`)
	r.apply(routed, "t1").want(t, 0, "applied")
	r.quiet("routed")
	managed := `mkdir -p /etc/netplan; touch /etc/netplan/50.yaml /run/units/systemd-networkd.service.active; ip route replace default via 10.0.0.1 proto dhcp; `
	for _, c := range []struct {
		name, do string
		want     []string
	}{
		{"a policy rule", "ip rule add pref 100 to 192.0.2.0/24 prohibit", []string{"policy rule 100: from all to 192.0.2.0/24 prohibit: expected nothing, found a rule that nobody declared"}},
		{"one of the kernel's is another's", "ip rule add pref 32766 from all fwmark 0x5/0xff lookup 7; ip rule del pref 32766 table main", []string{
			"policy rule 32766: from all lookup main: expected the kernel's own, found missing",
			"policy rule 32766: from all fwmark 0x5/0xff lookup 7: expected nothing, found a rule that nobody declared"}},
		{"blackhole", "ip route add blackhole 192.0.2.0/24", []string{"route 192.0.2.0/24: expected nothing, found blackhole, table main, that nobody declared"}},
		{"throw, where no rule leads", "ip route add throw default table 7", []string{"route default: expected nothing, found throw, table 7, that nobody declared"}},
		{"prohibit, beside the kernel's", "ip route add prohibit 10.0.0.0/25 table local proto kernel", []string{"route 10.0.0.0/25: expected nothing, found prohibit, table local, that nobody declared"}},
		{"a gateway that is not there", "ip route add 192.0.2.0/24 via 10.0.0.77", []string{"route 192.0.2.0/24: expected nothing, found unicast 10.0.0.77 eth0, table main, that nobody declared"}},
		{"the kernel's own", "ip route del 10.0.0.0/24", []string{"route 10.0.0.0/24 dev eth0: expected the kernel's own, with its address, found missing"}},
		{"the kernel's own, for itself", "ip route flush table local", []string{
			"route 127.0.0.1 dev lo: expected the kernel's own, with its address, found missing", "route 127.0.0.0/8 dev lo: expected the kernel's own, with its address, found missing",
			"route 10.0.0.4 dev eth0: expected the kernel's own, with its address, found missing", "route 10.0.0.5 dev eth0: expected the kernel's own, with its address, found missing"}},
		{"MTU", "ip link set eth0 mtu 68", []string{"MTU of eth0: expected 1500 or more, found 68"}},
		{"the manager", managed + "rm /run/units/systemd-networkd.service.active; touch /run/units/systemd-networkd.service.masked",
			[]string{"systemd-networkd: expected active, found inactive"}},
		{"a person's default route beside the manager's", managed + "ip route add default via 10.0.0.77 metric 5",
			[]string{"route default: expected nothing, found unicast 10.0.0.77 eth0, table main, that nobody declared"}},
		// It goes, and the manager makes its own again: without one nobody would get in any more.
		{"a person's default route in the place of the manager's", managed + "echo 'ip route replace default via 10.0.0.1 proto dhcp' >/run/units/systemd-networkd.service.run; ip route del default; ip route add default via 10.0.0.77",
			[]string{"route default: expected nothing, found unicast 10.0.0.77 eth0, table main, that nobody declared", "default route: expected one, found none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &root{r.For(t)}
			r.Sh(c.do)
			if drift := r.begin(layer.Observe(), "").end().drift(t, "routed"); !slices.Equal(drift, c.want) {
				t.Errorf("drift:\n%s\nwant:\n%s", strings.Join(drift, "\n"), strings.Join(c.want, "\n"))
			}
			r.apply(routed, "repair").want(t, 0, "applied")
			r.quiet("routed")
			// systemd-networkd, whenever it starts, takes away what is not the kernel's.
			if rules := r.Sh(`ip -4 -d rule | grep -c -w 'proto kernel'`); rules != "3\n" {
				t.Errorf("%s of the three policy rules are the kernel's", strings.TrimSpace(rules))
			}
		})
	}
}

// A kernel setting of every interface: of one that had its address before, and of one with a dot in its name.
func TestSysctlOfEveryInterface(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	const key = "net.ipv4.conf.*.accept_redirects"
	strict := layer.Layer{
		Name:   "strict",
		Files:  []layer.File{file("/etc/strict.conf", key+" = 0\n")},
		Reload: [][]string{{"sh", "-c", "for path in /proc/sys/net/ipv4/conf/*/accept_redirects; do echo 0 >$path; done"}},
		Probes: []layer.Probe{layer.Sysctl(key, "0")},
	}
	r.Sh(`ip link add dev eth0 type veth peer name eth0.7; ip address add 10.0.0.4/24 dev eth0; ip link set eth0 up`)
	r.apply(strict, "t1").want(t, 0, "applied")
	r.quiet("strict")
	r.Sh(`echo 1 >/proc/sys/net/ipv4/conf/eth0/accept_redirects; echo 1 >/proc/sys/net/ipv4/conf/eth0.7/accept_redirects`)
	want := []string{"sysctl net.ipv4.conf.eth0.7.accept_redirects: expected 0, found 1", "sysctl net.ipv4.conf.eth0.accept_redirects: expected 0, found 1"}
	if drift := r.begin(layer.Observe(), "").end().drift(t, "strict"); !slices.Equal(drift, want) {
		t.Errorf("drift: %q", drift)
	}
	r.apply(strict, "t2").want(t, 0, "applied")
	r.quiet("strict")
}
