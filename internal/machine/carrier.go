package machine

import (
	"fmt"
	"net/netip"
	"reflect"

	"openclaw-azure/internal/prefix"
)

// Carrier is what carries the tunnel to the machine: the configuration, the record of the last run and what opens a door
// share it. It changes only while the bootstrap door is open. Each field names its key of the configuration.
type Carrier struct {
	KeyGeneration int          `key:"keyGeneration"`
	SSHPort       uint16       `key:"sshPort"`
	WireGuardPort uint16       `key:"wireguardPort"`
	VPN           netip.Prefix `key:"vpnCidr"`
	AdminUsername string       `key:"adminUsername"` // of the bootstrap door
	Rescue        int          `key:"rescue"`
}

// ServerAddress is the machine's address in the VPN, the first usable one.
func (c Carrier) ServerAddress() netip.Addr { return prefix.FirstUsable(c.VPN) }

// DeployerAddress is the address of the program's own peer, the last usable one.
func (c Carrier) DeployerAddress() netip.Addr { return prefix.LastUsable(c.VPN) }

// SSH is where sshd listens in the tunnel.
func (c Carrier) SSH() netip.AddrPort { return netip.AddrPortFrom(c.ServerAddress(), c.SSHPort) }

// Difference is a key whose value is not the one in force.
type Difference struct{ Key, Value, InForce string }

// Differences compares what carries the tunnel with what is in force, in the order of the fields.
func (c Carrier) Differences(inForce Carrier) []Difference {
	var out []Difference
	now, then := reflect.ValueOf(c), reflect.ValueOf(inForce)
	for i := range now.NumField() {
		if !now.Field(i).Equal(then.Field(i)) {
			out = append(out, Difference{now.Type().Field(i).Tag.Get("key"), fmt.Sprint(now.Field(i)), fmt.Sprint(then.Field(i))})
		}
	}
	return out
}
