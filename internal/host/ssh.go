package host

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
)

func (h *Host) ssh() layer.Layer {
	var ports, listening []string
	for _, p := range h.SSHPorts {
		ports = append(ports, fmt.Sprint(p))
		listening = append(listening, fmt.Sprintf("0.0.0.0:%d", p))
	}
	slices.Sort(ports)
	slices.Sort(listening)
	effective := map[string]string{
		"port":                         strings.Join(ports, " "),
		"addressfamily":                "inet",
		"hostkey":                      machine.HostKeyPath,
		"permitrootlogin":              "no",
		"pubkeyauthentication":         "yes",
		"passwordauthentication":       "no",
		"kbdinteractiveauthentication": "no",
		"permitemptypasswords":         "no",
		"hostbasedauthentication":      "no",
		"maxauthtries":                 "3",
		"logingracetime":               "30",
		"x11forwarding":                "no",
		"allowagentforwarding":         "no",
		"allowstreamlocalforwarding":   "no",
		"permittunnel":                 "no",
		"gatewayports":                 "no",
		"permituserenvironment":        "no",
		"loglevel":                     "VERBOSE",
		"hostkeyalgorithms":            "ssh-ed25519",
		"ciphers":                      "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr",
		"macs":                         "hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com",
		"permitopen":                   fmt.Sprintf("127.0.0.1:%d", machine.GatewayPort),
		"requiredrsasize":              "3072",
		"allowtcpforwarding":           "local",
		"authorizedkeysfile":           ".ssh/authorized_keys .ssh/authorized_keys2",
		"authorizedkeyscommand":        "none",
		"authorizedprincipalscommand":  "none",
		"trustedusercakeys":            "none",
		"forcecommand":                 "none",
		"allowusers":                   "claw",
		"pubkeyacceptedalgorithms":     h.KeyAlgorithms,
	}
	probes := []layer.Probe{
		undeclaredSSH(),
		layer.SSHD(machine.Operator, h.DeployerAddress(), h.SSHPort, effective),
		layer.Shell("key exchange that is not modern", "0", `sshd -T | grep '^kexalgorithms ' | grep -c -e diffie-hellman -e ecdh-sha2 || true`),
		layer.Shell("ports that sshd listens on", strings.Join(listening, "\n"), `ss -H -l -t -n -p | awk '/"sshd"/ {print $4}' | LC_ALL=C sort`),
	}
	if h.Bootstrap {
		probes = append(probes, layer.SSHD(h.AdminUsername, h.AllowedSSH[0].Addr(), machine.BootstrapPort,
			map[string]string{"allowusers": h.AdminUsername, "passwordauthentication": "no", "permitrootlogin": "no",
				"maxauthtries": "3", "logingracetime": "30", "allowtcpforwarding": "no"}))
	}
	return layer.Layer{
		Armed:  true,
		Checks: []layer.Check{{Argv: []string{"sshd", "-t", "-f", "{stage}/etc/ssh/sshd_config.d/00-openclaw.conf"}}},
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

// authorizedKey is an admin's line: the key's comment is the peer's name, so that the journal and readers see whose
// key it is.
func authorizedKey(p config.Peer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p.SSHKey))) + " " + p.Name
}
