package host

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"openclaw-azure/lab/internal/fabric"
	"openclaw-azure/lab/internal/place"
)

// seedPath is where cloud-init finds what Azure gives on a disc that it ejects afterwards: mounted read-only, never
// on the machine's own disk.
const seedPath = "/var/lib/cloud/seed/nocloud"

// provision writes what a machine needs at its first boot: the seed, and the files that Azure's image and agent
// have on the disk.
func provision(folder string, m fabric.Machine) error {
	meta, err := json.MarshalIndent(map[string]any{
		"instance-id":    m.VMID,
		"local-hostname": m.ComputerName,
		"public-keys":    m.AdminKeys,
	}, "", "  ")
	if err != nil {
		return err
	}
	// Azure's datasource gives cloud-init the administrator as its default user.
	settings := map[string]any{
		"system_info": map[string]any{"default_user": map[string]any{
			"name": m.AdminUsername, "lock_passwd": true, "gecos": "Debian",
			"groups": []string{"adm", "sudo"}, "sudo": []string{"ALL=(ALL) NOPASSWD:ALL"}, "shell": "/bin/bash",
		}},
		"ssh_pwauth": false,
		// The image's own, which the lab's proxy leads to; cloud-init would write others.
		"apt": map[string]any{"preserve_sources_list": true},
	}
	wanted, err := readVariables()
	if err != nil {
		return err
	}
	if wanted.likeUbuntu {
		settings["bootcmd"] = []string{"cloud-init-per once lab-like-ubuntu sh -c 'systemctl disable --now --no-block ssh.service; systemctl enable --now --no-block ssh.socket'"}
	}
	if wanted.cloudInit > 0 {
		settings["runcmd"] = [][]string{{"sleep", seconds(wanted.cloudInit)}}
	}
	user, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return err
	}
	ovf, err := ovfEnvironment(m)
	if err != nil {
		return err
	}
	stage := filepath.Join(folder, "stage")
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{
		{filepath.Join(folder, "seed"), 0o755},
		{filepath.Join(stage, "etc/cloud/cloud.cfg.d"), 0o755},
		{filepath.Join(stage, "etc/netplan"), 0o755},
		{filepath.Join(stage, "var/lib/waagent"), 0o755},
	} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(stage, "var/lib/waagent"), 0o700); err != nil {
		return err
	}
	type file struct {
		path    string
		content []byte
		mode    os.FileMode
	}
	staged := []file{
		{filepath.Join(folder, "seed/meta-data"), meta, 0o600},
		{filepath.Join(folder, "seed/user-data"), m.CustomData, 0o600},
		{filepath.Join(stage, "etc/cloud/cloud.cfg.d/95-azure.cfg"), append([]byte("# What Azure's datasource says of the administrator.\n"), user...), 0o644},
		{filepath.Join(stage, "var/lib/waagent/ovf-env.xml"), ovf, 0o600},
		{filepath.Join(stage, "etc/netplan/50-cloud-init.yaml"), network(m), 0o600},
		{filepath.Join(stage, "etc/waagent.conf"), agentSettings(wanted), 0o644},
	}
	if wanted.likeUbuntu {
		for _, dir := range []string{"etc/ssh/sshd_config.d", "etc/sudoers.d"} {
			if err := os.MkdirAll(filepath.Join(stage, dir), 0o755); err != nil {
				return err
			}
		}
		staged = append(staged,
			file{filepath.Join(stage, "etc/ssh/sshd_config.d/50-cloud-init.conf"), []byte("PasswordAuthentication yes\n"), 0o600},
			file{filepath.Join(stage, "etc/ssh/sshd_config.d/60-cloudimg-settings.conf"), []byte("PasswordAuthentication no\n"), 0o644},
			file{filepath.Join(stage, "etc/sudoers.d/waagent"), []byte(m.AdminUsername + " ALL=(ALL) NOPASSWD: ALL\n"), 0o440})
	}
	for _, file := range staged {
		if err := os.WriteFile(file.path, file.content, file.mode); err != nil {
			return err
		}
	}
	return nil
}

// agentSettings are what the agent's package says on Debian and on Ubuntu, with a period that a scenario can wait for.
func agentSettings(wanted variables) []byte {
	firewall := "n"
	if wanted.likeUbuntu {
		firewall = "y"
	}
	return fmt.Appendf(nil, "OS.EnableFirewall=%s\nOS.EnableFirewallPeriod=5\nLab.Delay=%s\n", firewall, seconds(wanted.agent))
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }

// network is what cloud-init makes of Azure's answers for netplan: the lab says itself what Azure's DHCP says.
func network(m fabric.Machine) []byte {
	return fmt.Appendf(nil, `network:
  version: 2
  ethernets:
    eth0:
      addresses: [%s]
      routes: [{to: default, via: %s}]
      nameservers: {addresses: [%s]}
      link-local: []
`, netip.PrefixFrom(m.PrivateAddress, m.Subnet.Bits()), place.Gateway(m.Subnet), place.PlatformAddress)
}

// ovfEnvironment is the file by which Azure hands a machine its settings; its agent keeps a copy with customData.
func ovfEnvironment(m fabric.Machine) ([]byte, error) {
	type key struct {
		Path  string `xml:"Path"`
		Value string `xml:"Value"`
	}
	type linux struct {
		ConfigurationSetType string
		HostName, UserName   string
		NoPasswords          bool  `xml:"DisableSshPasswordAuthentication"`
		Keys                 []key `xml:"SSH>PublicKeys>PublicKey"`
		CustomData           string
	}
	set := linux{
		ConfigurationSetType: "LinuxProvisioningConfiguration", HostName: m.ComputerName, UserName: m.AdminUsername,
		NoPasswords: true, CustomData: base64.StdEncoding.EncodeToString(m.CustomData),
	}
	for _, line := range m.AdminKeys {
		set.Keys = append(set.Keys, key{"/home/" + m.AdminUsername + "/.ssh/authorized_keys", line})
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	encoder := xml.NewEncoder(&b)
	encoder.Indent("", "  ")
	err := encoder.Encode(struct {
		XMLName xml.Name `xml:"http://schemas.dmtf.org/ovf/environment/1 Environment"`
		Version string   `xml:"ProvisioningSection>Version"`
		Linux   linux    `xml:"ProvisioningSection>LinuxProvisioningConfigurationSet"`
	}{Version: "1.0", Linux: set})
	b.WriteByte('\n')
	return b.Bytes(), err
}

// provisioningLimit bounds the wait for cloud-init at the first boot. Azure itself waits 20 minutes.
const provisioningLimit = 3 * time.Minute

// awaitCloudInit waits until cloud-init has taken in what the disc with customData says, which is when it tells
// Azure that the machine is made; then the disc is taken out. Its later stages and sshd may still be at work.
func (h *Host) awaitCloudInit(ctx context.Context, g *guest) error {
	ctx, cancel := context.WithTimeout(ctx, provisioningLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	stage := "nothing"
	for {
		pid, err := g.running(ctx)
		if err != nil {
			return err
		}
		var done bool
		if done, stage = cloudInitDone(pid); done {
			return os.WriteFile(filepath.Join(g.folder, "seed/user-data"), nil, 0o600)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cloud-init in %q is not done, it says %s: %w\nbin/lab console shows how far it came", g.name, stage, ctx.Err())
		case <-tick.C:
		}
	}
}

func cloudInitDone(pid int) (bool, string) {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return false, err.Error()
	}
	defer root.Close()
	text, err := root.ReadFile("run/cloud-init/status.json")
	if err != nil {
		return false, "nothing yet"
	}
	var status struct {
		V1 struct {
			Stage *string
			Init  struct{ Finished *float64 }
		}
	}
	if json.Unmarshal(text, &status) != nil {
		return false, "nothing readable"
	}
	said := "that it is between two stages"
	if status.V1.Stage != nil {
		said = "stage " + *status.V1.Stage
	}
	return status.V1.Init.Finished != nil, said
}
