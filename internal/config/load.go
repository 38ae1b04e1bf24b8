package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"go.yaml.in/yaml/v3"

	"openclaw-azure/internal/hint"
)

// rawConfig is what the engine hands over.
type rawConfig struct {
	project string
	values  map[string]string // by full key: openclaw:sshPort
	secrets []string          // full keys; an object with one secret in it is one
	plain   []string          // members of secretObjects that are known to stand in plain text: openclawEnv.NAME, alerts.NAME.url
}

// Load reads the stack's configuration. It wants the whole RunInfo, which
// a pulumi.RunOption sees, since a Context tells only of keys that one can name,
// and a misspelt key is found only by looking at all of them.
func Load(run pulumi.RunInfo) (*Config, error) {
	plain, err := plainMembers(run.RootDirectory, run.Project, run.Stack)
	if err != nil {
		return nil, err
	}
	return parseConfig(rawConfig{project: run.Project, values: run.Config, secrets: run.ConfigSecretKeys, plain: plain})
}

// plainMembers finds the members of secretObjects that stand in plain text in
// the stack's file. The engine calls an object secret as soon as one value in it
// is: only the file knows of the others. Without that file (a configuration
// that came another way) there is nothing to find.
func plainMembers(root, project, stack string) ([]string, error) {
	path := filepath.Join(root, "Pulumi."+stack+".yaml")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the stack's configuration file: %w", err)
	}
	var all []string
	for _, object := range secretObjects {
		plain, err := plainIn(text, project+":"+object, object == KeyAlerts)
		if err != nil {
			return nil, hint.To(fmt.Errorf("read the stack's configuration file %q: %w", path, err), "its YAML cannot be read; pulumi config shows where")
		}
		for _, name := range plain {
			all = append(all, object+"."+name)
		}
	}
	return all, nil
}

// plainIn finds the members of an object that stand in plain text in the text of a stack's file; of one that is nested, their fields.
func plainIn(text []byte, key string, nested bool) ([]string, error) {
	var file struct {
		Config map[string]yaml.Node `yaml:"config"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	var variables map[string]yaml.Node
	node := meant(file.Config[key])
	if node.Kind != yaml.MappingNode || node.Decode(&variables) != nil {
		return nil, nil
	}
	if secretNode(node) {
		return nil, nil
	}
	var plain []string
	for name, value := range variables {
		var fields map[string]yaml.Node
		value = meant(value)
		switch {
		case secretNode(value):
		case nested && value.Kind == yaml.MappingNode && value.Decode(&fields) == nil:
			for field, value := range fields {
				if !secretNode(value) {
					plain = append(plain, name+"."+field)
				}
			}
		default:
			plain = append(plain, name)
		}
	}
	slices.Sort(plain)
	return plain, nil
}

// meant is the node that an alias (*name) stands for; any other is itself.
func meant(node yaml.Node) yaml.Node {
	if node.Kind == yaml.AliasNode {
		return *node.Alias
	}
	return node
}

// secretNode tells whether a value has the form that the CLI gives to secrets.
func secretNode(node yaml.Node) bool {
	node = meant(node)
	var sealed map[string]string
	if node.Kind != yaml.MappingNode || node.Decode(&sealed) != nil || len(sealed) != 1 {
		return false
	}
	_, secret := sealed["secure"]
	return secret
}

// parseConfig turns the values into a Config, or says everything that is wrong.
func parseConfig(raw rawConfig) (*Config, error) {
	r := &reader{raw: raw, defaults: map[string]string{}, variables: map[string]string{}}
	for _, s := range Reference() {
		r.defaults[s.Name] = s.Default
	}
	c := &Config{}
	c.Location = r.location()
	c.AllowedSSH = r.allowedSSH()
	c.WireGuardSources = r.wireGuardSources(c.AllowedSSH)
	c.Bootstrap = r.boolean(KeyBootstrap)
	c.Tags = r.tags()
	c.ResourceGroup = r.resourceGroup()
	c.Image = r.image()
	c.VMSize = r.vmSize()
	c.AdminUsername = r.adminUsername()
	c.VNet = r.innerRange(KeyVNet, namedRanges(KeyAllowedSSH, c.AllowedSSH))
	c.VPN = r.innerRange(KeyVPN, append(namedRanges(KeyAllowedSSH, c.AllowedSSH), namedRange{KeyVNet, c.VNet}))
	c.SSHPort = r.port(KeySSHPort, "", 0)
	c.WireGuardPort = r.port(KeyWireGuardPort, KeySSHPort, c.SSHPort)
	c.Peers = r.peers(c.VPN)
	c.OpenClawVersion = r.openclawVersion()
	known := knownPlugins(c.OpenClawVersion)
	c.Plugins = r.openclawPlugins(known)
	c.OpenClawEnv = r.openclawEnv()
	c.Providers, c.InMemory = r.openclawKeys(r.ownProviders())
	r.keysTwice(c.OpenClawEnv, c.Providers, c.InMemory)
	r.budgets(c.Providers)
	c.Prices = r.prices(c.Providers)
	c.Egress = r.egress()
	c.AgentMayReach = r.agentMayReach(c.Peers, c.VPN, c.VNet)
	c.Sandbox = r.sandbox()
	c.OpenClawConfig = r.withKeys(r.openclawConfig(), c.Providers, c.InMemory)
	r.wantedPlugins(c.OpenClawConfig, c.OpenClawEnv, known, c.Plugins)
	r.baseURLs(c.OpenClawConfig, c.Egress, c.AgentMayReach, c.VPN, c.VNet)
	c.Node = r.node()
	c.NPMRegistry = r.npmRegistry()
	c.KeyGeneration = r.number(KeyKeyGeneration, 1, mostNumbered)
	c.Rescue = r.number(KeyRescue, 0, mostNumbered)
	c.ConfirmSeconds = r.number(KeyConfirmSeconds, 30, 900)
	c.BackupKeepDays = r.number(KeyBackupKeepDays, 1, 365)
	c.BackupKey = r.backupKey()
	c.Alerts, c.AzureEmail = r.alerts()
	c.DriftCheck = r.oneOf(KeyDriftCheck, DriftOn, DriftRequired, DriftOff)
	r.strangers()
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return c, nil
}
