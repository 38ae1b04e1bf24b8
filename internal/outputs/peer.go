package outputs

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/tunnel"
)

// PeerText is a complete configuration for wg-quick or a WireGuard app: c, of a peer of that name of a stack. The tunnel
// leads to the machine and nowhere else. Without a private key it says that the device made its own.
func PeerText(stack, name string, c tunnel.Config) string {
	private := "PrivateKey = " + c.PrivateKey.String()
	if c.PrivateKey == (wgtypes.Key{}) {
		private = "# PrivateKey = the one that this device made for itself"
	}
	return fmt.Sprintf(`[Interface]
# %s, of stack %s
%s
Address = %s/32
MTU = %d

[Peer]
PublicKey = %s
PresharedKey = %s
Endpoint = %s
AllowedIPs = %s/32
PersistentKeepalive = 25
`, name, stack, private, c.Address, machine.MTU, c.ServerPublicKey, c.PresharedKey, c.Endpoint, c.Server)
}

var errNoPrivateKey = errors.New("no PrivateKey")

// parseConfiguration reads what the program exports for wg-quick. No error
// contains a value: it might be a key.
func parseConfiguration(text string) (tunnel.Config, error) {
	values := map[string]string{}
	section := ""
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		if name, value, ok := strings.Cut(line, "="); ok {
			values[section+strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	if values["[Interface]PrivateKey"] == "" {
		return tunnel.Config{}, errNoPrivateKey
	}
	c := tunnel.Config{}
	var faults []error
	read := func(name string, parse func(value string) error) {
		if parse(values[name]) != nil {
			faults = append(faults, fmt.Errorf("%s is missing or malformed", name))
		}
	}
	key := func(into *wgtypes.Key) func(string) error {
		return func(value string) (err error) {
			*into, err = keys.ParseWireGuardKey(value)
			return err
		}
	}
	read("[Interface]PrivateKey", key(&c.PrivateKey))
	read("[Peer]PublicKey", key(&c.ServerPublicKey))
	read("[Peer]PresharedKey", key(&c.PresharedKey))
	read("[Interface]Address", func(value string) error {
		prefix, err := netip.ParsePrefix(value)
		c.Address = prefix.Addr()
		return err
	})
	read("[Peer]Endpoint", func(value string) (err error) {
		c.Endpoint, err = netip.ParseAddrPort(value)
		return err
	})
	read("[Interface]MTU", func(value string) (err error) {
		c.MTU, err = strconv.Atoi(value)
		return err
	})
	return c, errors.Join(faults...)
}
