package scenarios

import (
	"strings"
	"time"
)

// agentBreaks are what can become of the agent's network. The operator's way in knows nothing of it, and the next run makes
// it whole.
var agentBreaks = []struct{ name, do, undone string }{
	{"its namespace has no name any more", `ip netns delete openclaw`, `ip netns list | grep -q '^openclaw'`},
	{"its network was stopped", `systemctl stop openclaw-net.service`, `systemctl -q is-active openclaw-net.service`},
	{"its rules are gone", `nsenter --net=/run/netns/openclaw nft flush ruleset`, `nsenter --net=/run/netns/openclaw nft list table ip gate | grep -q redirect`},
	{"a link leads out", `ip link add evil0 type veth peer name evil1 netns openclaw; ip -n openclaw link set evil1 up; ip link set evil0 up`, `! ip link show evil0 2>/dev/null`},
	{"the gate's configuration is not sound", `echo nonsense >>/etc/openclaw-gate/gate.cfg; systemctl restart --no-block openclaw-gate.service`, `! grep -q nonsense /etc/openclaw-gate/gate.cfg`},
	{"the resolver's configuration is not sound", `echo nonsense >>/etc/unbound/openclaw.conf; systemctl restart --no-block openclaw-dns.service`, `! grep -q nonsense /etc/unbound/openclaw.conf`},
	{"the packages' own services run", `systemctl unmask -q haproxy.service unbound.service; systemctl start haproxy.service 2>/dev/null; systemctl start unbound.service 2>/dev/null; systemctl is-active haproxy.service unbound.service | grep -q ^active`,
		`! systemctl -q is-active haproxy.service && ! systemctl -q is-active unbound.service`},
	{"its gate runs as root", `mkdir -p /run/systemd/system/openclaw-gate.service.d; printf '[Service]\nUser=root\n' >/run/systemd/system/openclaw-gate.service.d/evil.conf; systemctl daemon-reload`,
		`test "$(systemctl show -P User openclaw-gate.service)" = haproxy`},
	{"the agent is back in the host's network", `mkdir -p /etc/systemd/system/openclaw.service.d; printf '[Service]\nNetworkNamespacePath=\nPrivateNetwork=no\n' >/etc/systemd/system/openclaw.service.d/evil.conf
systemctl daemon-reload; systemctl restart --no-block openclaw.service
for try in $(seq 100); do pid=$(systemctl show -P MainPID openclaw.service); [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/1/ns/net)" ] && exit 0; sleep 0.2; done; exit 1`, `! test -e /etc/systemd/system/openclaw.service.d/evil.conf`},
}

func init() {
	for _, b := range agentBreaks {
		singular = append(singular, scenario{"closed: the agent: " + b.name, closed, false, func(x *trial) { breakAgent(x, b.do, b.undone) }, closed})
	}
}

// breakAgent breaks the agent's network. The doors stay as they are, the preview sees it, and the next run mends it.
func breakAgent(x *trial, do, undone string) {
	x.on(do)
	if x.doors = x.openDoors(); x.doors != tunnelDoor {
		x.t.Errorf("these doors are open: %q, want %q", x.doors, tunnelDoor)
	}
	if r := x.pulumi(0, "preview", "--non-interactive"); !strings.Contains(r.stdout+r.stderr, "the host differs from what layer ") {
		x.t.Errorf("the preview does not see it: %s", r)
	}
	x.converges(tunnelDoor)
	if r := x.at("vm", "sh", "-ec", undone); r.code != 0 {
		x.t.Errorf("something is left of it: %s: %s", undone, r)
	}
	x.eventually("the agent gets out by its gate", time.Minute, x.agentGetsOut)
	x.quiet()
}
