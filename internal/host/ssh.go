package host

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

// hasPenalties are the images whose sshd turns away for a while who often does not log in: OpenSSH does since 9.8, and Ubuntu 24.04 has 9.6.
var hasPenalties = map[string]bool{"debian-13": true}

func (h *Host) ssh() layer.Layer {
	var ports, listening []string
	for _, p := range h.SSHPorts {
		ports = append(ports, fmt.Sprint(p))
		listening = append(listening, fmt.Sprintf("0.0.0.0:%d", p))
	}
	slices.Sort(ports)
	slices.Sort(listening)
	dropIn := h.written()
	effective := only(dropIn, "addressfamily", "hostkey", "allowusers", "permitrootlogin",
		"pubkeyauthentication", "passwordauthentication", "kbdinteractiveauthentication", "permitemptypasswords", "hostbasedauthentication",
		"permituserenvironment", "permituserrc", "authorizedkeysfile", "maxauthtries", "logingracetime", "loglevel",
		"allowtcpforwarding", "permitopen", "allowstreamlocalforwarding", "allowagentforwarding", "gatewayports", "permittunnel", "x11forwarding",
		"ciphers", "macs", "hostkeyalgorithms", "pubkeyacceptedalgorithms", "requiredrsasize")
	if h.PenaltyExempt {
		maps.Copy(effective, only(dropIn, "persourcepenaltyexemptlist"))
	}
	effective["port"] = strings.Join(ports, " ")
	// sshd's own defaults: each of these lets somebody in, or runs a program, where another file sets it.
	for _, name := range []string{"authorizedkeyscommand", "authorizedprincipalscommand", "trustedusercakeys", "forcecommand"} {
		effective[name] = "none"
	}
	probes := []layer.Probe{
		undeclaredSSH(),
		layer.SSHD(machine.Operator, h.DeployerAddress(), h.SSHPort, effective),
		layer.Shell("key exchange that is not modern", "0", `sshd -T | grep '^kexalgorithms ' | grep -c -e diffie-hellman -e ecdh-sha2 || true`),
		layer.Shell("ports that sshd listens on", strings.Join(listening, "\n"), `ss -H -l -t -n -p | awk '/"sshd"/ {print $4}' | LC_ALL=C sort`),
	}
	if h.Bootstrap {
		atBootstrap := only(dropIn, "passwordauthentication", "permitrootlogin", "maxauthtries", "logingracetime")
		atBootstrap["allowusers"], atBootstrap["allowtcpforwarding"] = h.AdminUsername, "no"
		atBootstrap["authorizedkeysfile"] = ".ssh/authorized_keys"
		probes = append(probes, layer.SSHD(h.AdminUsername, h.AllowedSSH[0].Addr(), machine.BootstrapPort, atBootstrap))
	}
	return layer.Layer{
		Armed:  true,
		Checks: []layer.Check{{Argv: []string{"sshd", "-t", "-f", "{stage}" + machine.SSHDropIn}}},
		Units: []layer.Unit{
			// With socket activation, Ubuntu's default, systemd listens and sshd's ports count for nothing. Off, not
			// masked: a masked socket breaks ssh.service.
			{Name: "ssh.socket", Enabled: no, Active: no},
			{Name: "ssh.service", Enabled: yes, Active: yes},
		},
		Reload: [][]string{{"systemctl", "restart", "ssh.service"}},
		Probes: probes,
	}
}

// written are the directives of the drop-in above its Match block, by their names as sshd prints them.
func (h *Host) written() map[string]string {
	text, err := h.render(machine.SSHDropIn)
	if err != nil {
		panic(err) // it is compiled in, and the tests render it
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "Match" {
			break
		}
		values[strings.ToLower(name)] = value
	}
	return values
}

// only are the values of these names, all of which are there.
func only(values map[string]string, names ...string) map[string]string {
	some := map[string]string{}
	for _, name := range names {
		value, ok := values[name]
		if !ok {
			panic(fmt.Sprintf("%s does not set %s", machine.SSHDropIn, name))
		}
		some[name] = value
	}
	return some
}

// authorizedKey is an admin's line: the key's comment is the peer's name, so that the journal and readers see whose
// key it is.
func authorizedKey(p config.Peer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p.SSHKey))) + " " + p.Name
}
