package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/template"

	"openclaw-azure/internal/applier"
	"openclaw-azure/internal/config"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/prefix"
	"openclaw-azure/templates"
)

// What templates say of what is fixed about the machine.

func (*Host) Operator() string              { return machine.Operator }
func (*Host) Deploy() string                { return machine.Deploy }
func (*Host) DeployPath() string            { return machine.DeployPath }
func (*Host) ObservePath() string           { return machine.ObservePath }
func (*Host) ApplierPath() string           { return machine.ApplierPath }
func (*Host) Loader() string                { return layer.Loader }
func (*Host) RequestLimit() string          { return layer.Limit }
func (*Host) Service() string               { return machine.Service }
func (*Host) Gate() string                  { return machine.Gate }
func (*Host) Resolver() string              { return machine.Resolver }
func (*Host) Keys() string                  { return machine.Keys }
func (*Host) Budget() string                { return machine.Budget }
func (*Host) KeysPort() uint16              { return machine.KeysPort }
func (*Host) Tunnel() string                { return machine.Tunnel }
func (*Host) GatewayPort() uint16           { return machine.GatewayPort }
func (*Host) MTU() int                      { return machine.MTU }
func (*Host) HostKeyPath() string           { return machine.HostKeyPath }
func (*Host) PlatformAddress() netip.Prefix { return machine.PlatformAddress }

// render gives the content of the file at a path of the VM.
func (h *Host) render(path string) ([]byte, error) {
	if path == machine.ApplierPath {
		return applier.Source(), nil
	}
	text, err := templates.Read(path)
	if err != nil {
		return nil, err
	}
	if path == machine.BackupPath || strings.HasPrefix(path, "/opt/openclaw/") {
		return text, nil // a program of its own, with braces of its own; what npm wrote
	}
	t, err := template.New(path).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("parse a template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, h); err != nil {
		return nil, fmt.Errorf("render %s: %w", path, err)
	}
	if path == machine.ConfigPath && len(h.OpenClawConfig) > 0 {
		return addConfig(out.Bytes(), h.OpenClawConfig)
	}
	return out.Bytes(), nil
}

// addConfig adds the stack's openclawConfig, which has no key of the program's own, to openclaw.json.
func addConfig(base []byte, added map[string]any) ([]byte, error) {
	var whole map[string]any
	if err := json.Unmarshal(base, &whole); err != nil {
		return nil, fmt.Errorf("read the template of %s: %w", machine.ConfigPath, err)
	}
	maps.Copy(whole, added)
	for key := range config.OwnedConfig {
		if _, set := added[key]; set {
			return nil, fmt.Errorf("%s.%s is the program's own", config.KeyOpenClawConfig, key)
		}
	}
	out, err := json.MarshalIndent(whole, "", "  ")
	return append(out, '\n'), err
}

// ReleasePlugins are the plugins of the release, as release.json has them.
func (h *Host) ReleasePlugins() (string, error) {
	type plugin struct {
		ID        string `json:"id"`
		Package   string `json:"package"`
		Version   string `json:"version"`
		Integrity string `json:"integrity"`
	}
	all := []plugin{}
	for _, p := range h.Plugins {
		all = append(all, plugin{p.ID, p.Package, p.Version, p.Integrity})
	}
	text, err := json.Marshal(all)
	return string(text), err
}

// ReleaseID names an installation by all that it is made of: another Node, another lock file or other plugins are
// another release.
func (h *Host) ReleaseID() string {
	lock, err := templates.Read("/opt/openclaw/" + h.OpenClawVersion + "/package-lock.json")
	if err != nil {
		panic(err) // it is compiled in: the configuration takes no version without one
	}
	whole := append([]byte(h.Node.SHA256+"\n"), lock...)
	for _, p := range h.Plugins {
		whole = append(whole, p.ID+" "+p.Integrity+"\n"...)
	}
	sum := sha256.Sum256(whole)
	return h.OpenClawVersion + "-" + hex.EncodeToString(sum[:6])
}

// RootAlone are where nobody but root begins anything.
func (h *Host) RootAlone() []netip.Prefix {
	return append(prefix.MustParse("169.254.0.0/16"), machine.PlatformAddress, h.VNet)
}

// ReservedVariables are what no environment file may set, by name and by how the name begins. An authority of certificates root may
// add by hand.
func (h *Host) ReservedVariables() string {
	names := slices.DeleteFunc(slices.Clone(config.ReservedEnv), func(name string) bool { return name == "NODE_EXTRA_CA_CERTS" })
	return strings.Join(names, " ")
}

func (h *Host) ReservedPrefixes() string { return strings.Join(config.ReservedEnvPrefixes, " ") }

// NotForInstalling are addresses that no registry has: what an installation runs is kept from them. The platform's is the
// packet filter's, since names are resolved there.
func (h *Host) NotForInstalling() (string, error) {
	out, err := json.Marshal(append(prefix.MustParse("169.254.0.0/16", "224.0.0.0/3"), h.VNet, h.VPN))
	return string(out), err
}
