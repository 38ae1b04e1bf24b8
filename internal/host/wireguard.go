package host

import (
	"fmt"
	"net/netip"

	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

type wireGuardPeer struct {
	Name                    string
	PublicKey, PresharedKey string
	Address                 netip.Addr
}

func (h *Host) wireguard() layer.Layer {
	peers := map[string][]string{}
	for _, p := range h.WireGuardPeers {
		peers[p.PublicKey] = []string{p.Address.String() + "/32"}
	}
	address := fmt.Sprintf("%s/%d", h.ServerAddress(), h.VPN.Bits())
	// syncconf keeps the sessions of every peer that stays, the one that carries this very command among them; only
	// another address of our own needs the interface anew.
	reload := []string{"sh", "-c", `if ! [ -e /etc/wireguard/wg0.conf ]; then exit 0; fi
if ip -4 -o address show dev wg0 2>/dev/null | grep -q -F " ` + address + ` "; then wg-quick strip wg0 | wg syncconf wg0 /dev/stdin
else systemctl restart wg-quick@wg0.service; fi`}
	return layer.Layer{
		Armed:       true,
		Directories: []layer.Directory{{Path: "/etc/wireguard", Mode: "0700", Owner: "root", Group: "root"}},
		// The result goes nowhere: it has the keys.
		Checks: []layer.Check{{Argv: []string{"sh", "-c", "wg-quick strip {stage}/etc/wireguard/wg0.conf >/dev/null"}}},
		Units:  []layer.Unit{{Name: "wg-quick@wg0.service", Enabled: yes, Active: yes}},
		Reload: [][]string{reload, endSessions},
		Probes: []layer.Probe{
			layer.WireGuard("wg0", h.WireGuardPort, h.stack.WireGuardServer.Public.String(), peers),
			layer.Shell("address of wg0", address, `ip -4 -o address show dev wg0 | awk '{print $4}'`),
			layer.Shell("MTU of wg0", fmt.Sprint(machine.MTU), `cat /sys/class/net/wg0/mtu`),
		},
	}
}
