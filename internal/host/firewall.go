package host

import (
	"fmt"
	"net/netip"

	"openclaw-azure/internal/layer"
)

func (h *Host) firewall() layer.Layer {
	return layer.Layer{
		Armed: true,
		Checks: []layer.Check{
			{Argv: []string{"sh", "-c", "iptables-restore --test <{stage}/etc/ufw/user.rules"}},
		},
		Units: []layer.Unit{
			{Name: "ufw.service", Enabled: yes, Active: yes},
			// Off, not stopped: what it loads at boot would decide beside UFW, and its stop empties all tables.
			{Name: "nftables.service", Enabled: no},
		},
		// `ufw reload` takes everything out before it puts all in again: for a moment every port is open.
		Quick: &layer.Quick{Paths: []string{"/etc/ufw/user.rules"}, Argv: []string{"sh", "-c", "iptables-restore --noflush --wait 10 </etc/ufw/user.rules"}},
		Reload: [][]string{
			{"sh", "-c", onlyNft},
			// Where UFW's chains are there, a reload never puts back its own jumps into them.
			{"sh", "-c", "iptables -C INPUT -j ufw-before-input 2>/dev/null || /usr/lib/ufw/ufw-init flush-all"},
			{"ufw", "reload"},
			// Until here the break-glass's own rules decide, if it was at work.
			{"sh", "-c", "nft delete table inet openclaw-door 2>/dev/null || true"},
		},
		// On a first deploy the file that was there says that UFW is off, and `ufw reload` would leave ours loaded.
		Undo:   [][]string{{"sh", "-c", "if grep -q '^ENABLED=yes' /etc/ufw/ufw.conf; then ufw reload; else /usr/lib/ufw/ufw-init force-stop; fi"}},
		Probes: append(h.loaded(), undeclaredRules()),
	}
}

// admitted is one rule of the host's firewall; everything else that comes in is dropped.
type admitted struct {
	Protocol  string
	Port      uint16
	Source    netip.Prefix
	Interface string // "" for any
}

// loaded is the rule as `iptables -S` prints it.
func (a admitted) loaded() string {
	source := ""
	if a.Source.Bits() > 0 {
		source = fmt.Sprintf(" -s %s", a.Source)
	}
	if a.Interface != "" {
		source += " -i " + a.Interface
	}
	return fmt.Sprintf("-A ufw-user-input%s -p %s -m %s --dport %d -j ACCEPT", source, a.Protocol, a.Protocol, a.Port)
}
