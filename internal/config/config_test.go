package config

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	stacks "github.com/pulumi/pulumi/pkg/v3/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/prefix"
)

// soundConfig is the least that has no fault.
func soundConfig() rawConfig {
	return rawConfig{project: "openclaw", values: map[string]string{
		"azure-native:location":   "westeurope",
		"openclaw:allowedSshCidr": "20.30.40.50/32",
	}}
}

// with is soundConfig with some keys set.
func with(pairs ...string) rawConfig {
	raw := soundConfig()
	for i := 0; i < len(pairs); i += 2 {
		raw.values[fullKey(pairs[i])] = pairs[i+1]
	}
	return raw
}

// fullKey is how the CLI names a key: it takes a namespace where there is one.
func fullKey(key string) string {
	if strings.Contains(key, ":") {
		return key
	}
	return "openclaw:" + key
}

var update = flag.Bool("update", false, "write docs/configuration.md anew")

// TestConfigFaults compares the whole message of every fault.
func TestConfigFaults(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/faults.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for _, file := range archive.Files {
		t.Run(file.Name, func(t *testing.T) {
			steps, want, ok := strings.Cut(string(file.Data), "=>\n")
			if !ok {
				t.Fatal("no line =>")
			}
			raw := soundConfig()
			for line := range strings.Lines(steps) {
				change(t, &raw, strings.TrimSuffix(line, "\n"))
			}
			c, err := parseConfig(raw)
			if err == nil {
				t.Fatalf("no fault found, got %+v", c)
			}
			if c != nil {
				t.Error("a faulty configuration came with a Config")
			}
			if diff := cmp.Diff(want, err.Error()+"\n"); diff != "" {
				t.Errorf("the message differs (-want +got):\n%s\nwhole:\n%s", diff, err)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Error("the message shows a secret")
			}
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("got %T, want Faults", err)
			}
			for _, f := range faults {
				if !errors.Is(err, f.Kind) {
					t.Errorf("errors.Is does not find %q", f.Kind)
				}
			}
		})
		said.Write(file.Data)
	}
	for _, kind := range kinds {
		if kind != errTooLong && !strings.Contains(said.String(), kind.Error()) {
			t.Errorf("no case of testdata/faults.txtar shows %q", kind)
		}
	}
}

// change does one line of a case.
func change(t *testing.T, raw *rawConfig, line string) {
	t.Helper()
	verb, rest, _ := strings.Cut(line, " ")
	word, value, _ := strings.Cut(rest, " ")
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		word, _ = strconv.Unquote(quoted)
		value = strings.TrimPrefix(rest[len(quoted):], " ")
	}
	if unquoted, err := strconv.Unquote(value); err == nil {
		value = unquoted
	}
	switch verb {
	case "set":
		raw.values[fullKey(word)] = value
	case "unset":
		delete(raw.values, fullKey(word))
	case "secret":
		raw.secrets = append(raw.secrets, fullKey(word))
	case "plain":
		raw.plain = append(raw.plain, word)
	default:
		t.Fatalf("unknown line %q", line)
	}
}

// The one value that is too long to stand in a table.
func TestConfigRefusesVariablesThatExecveWouldRefuse(t *testing.T) {
	raw := with("openclawEnv", `{"KEY":"`+strings.Repeat("x", longestEnv-len("KEY="))+`"}`)
	raw.secrets = []string{"openclaw:openclawEnv"}
	_, err := parseConfig(raw)
	want := "configuration: 1 fault, nothing was changed\nopenclawEnv.KEY: is too long: expected less than 128 KiB"
	if err == nil || err.Error() != want || !errors.Is(err, errTooLong) {
		t.Errorf("got %v, want %s", err, want)
	}
	raw.values["openclaw:openclawEnv"] = `{"KEY":"` + strings.Repeat("x", longestEnv-len("KEY=")-1) + `"}`
	if _, err := parseConfig(raw); err != nil {
		t.Errorf("one byte less: %v", err)
	}
}

func TestConfigDefaults(t *testing.T) {
	c, err := parseConfig(soundConfig())
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Carrier:          machine.Carrier{KeyGeneration: 1, SSHPort: 2222, WireGuardPort: 51820, VPN: netip.MustParsePrefix("10.100.0.0/24"), AdminUsername: "azureuser"},
		Location:         "westeurope",
		AllowedSSH:       prefix.MustParse("20.30.40.50/32"),
		WireGuardSources: prefix.MustParse("20.30.40.50/32"),
		Bootstrap:        true,
		Image:            Image{Name: "debian-13", Publisher: "Debian", Offer: "debian-13", SKU: "13-gen2", Version: "latest"},
		VMSize:           "Standard_B2als_v2",
		VNet:             netip.MustParsePrefix("10.0.0.0/16"),
		Peers:            []Peer{{Name: "laptop", Address: netip.MustParseAddr("10.100.0.2")}},
		OpenClawVersion:  "2026.9.6",
		OpenClawEnv:      map[string]string{},
		Egress:           Egress{Open: true},
		Node: Download{"https://nodejs.org/dist/v24.16.0/node-v24.16.0-linux-x64.tar.xz",
			"d804845d34eddc21dc1092b519d643ef40b1f58ec5dec5c22b1f4bd8fabde6c9"},
		ConfirmSeconds: 120,
		BackupKeepDays: 14,
		DriftCheck:     "on",
	}
	if diff := cmp.Diff(want, c, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

const (
	testSSHKey       = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHiaCVWLwjKHbX3srbHEb+giRRXX8cEsQvk6yv/DGFK7 bob@desk"
	testWireGuardKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
)

// Each case is a configuration without a fault, and what has to come of it.
func TestConfigValues(t *testing.T) {
	securityKey := "sk-ssh-ed25519@openssh.com " + base64.StdEncoding.EncodeToString([]byte(
		"\x00\x00\x00\x1ask-ssh-ed25519@openssh.com\x00\x00\x00\x20"+strings.Repeat("k", 32)+"\x00\x00\x00\x04ssh:"))
	for _, tc := range []struct {
		name string
		raw  rawConfig
		get  func(*Config) any
		want any
	}{
		{"lists are sorted, blanks around commas go",
			with("allowedSshCidr", "30.0.0.0/24 , 20.30.40.50/32"),
			func(c *Config) any { return c.AllowedSSH }, prefix.MustParse("20.30.40.50/32", "30.0.0.0/24")},
		{"WireGuard follows allowedSshCidr",
			with("allowedSshCidr", "30.0.0.0/24"),
			func(c *Config) any { return c.WireGuardSources }, prefix.MustParse("30.0.0.0/24")},
		{"WireGuard has sources of its own",
			with("wireguardCidrs", "30.0.0.0/24"),
			func(c *Config) any { return c.WireGuardSources }, prefix.MustParse("30.0.0.0/24")},
		{"WireGuard is open to anywhere",
			with("wireguardCidrs", "0.0.0.0/0"),
			func(c *Config) any { return c.WireGuardSources }, prefix.MustParse("0.0.0.0/0")},
		{"an empty wireguardCidrs is none",
			with("wireguardCidrs", ""),
			func(c *Config) any { return c.WireGuardSources }, prefix.MustParse("20.30.40.50/32")},
		{"a /8 may knock on port 22",
			with("allowedSshCidr", "20.0.0.0/8"),
			func(c *Config) any { return c.AllowedSSH }, prefix.MustParse("20.0.0.0/8")},
		{"closed", with("bootstrap", "false"), func(c *Config) any { return c.Bootstrap }, false},
		{"open", with("bootstrap", "true"), func(c *Config) any { return c.Bootstrap }, true},
		{"tags", with("tags", `{"owner":"me","cost-center":4711}`), func(c *Config) any { return c.Tags }, map[string]string{"owner": "me", "cost-center": "4711"}},
		{"Ubuntu", with("image", "ubuntu-24.04"), func(c *Config) any { return c.Image },
			Image{Name: "ubuntu-24.04", Publisher: "Canonical", Offer: "ubuntu-24_04-lts", SKU: "server", Version: "latest"}},
		{"the subnet is the first /24", with("vnetCidr", "172.16.0.0/12"),
			func(c *Config) any { return c.Subnet() }, netip.MustParsePrefix("172.16.0.0/24")},
		{"the subnet of a small network is all of it", with("vnetCidr", "192.168.7.64/28"),
			func(c *Config) any { return c.Subnet() }, netip.MustParsePrefix("192.168.7.64/28")},
		{"the machine is the VPN's first", soundConfig(),
			func(c *Config) any { return c.ServerAddress() }, netip.MustParseAddr("10.100.0.1")},
		{"the deployer is the VPN's last", soundConfig(),
			func(c *Config) any { return c.DeployerAddress() }, netip.MustParseAddr("10.100.0.254")},
		{"a small VPN has both ends", with("vpnCidr", "192.168.7.8/29"),
			func(c *Config) any { return []netip.Addr{c.ServerAddress(), c.DeployerAddress(), c.Peers[0].Address} },
			[]netip.Addr{netip.MustParseAddr("192.168.7.9"), netip.MustParseAddr("192.168.7.14"), netip.MustParseAddr("192.168.7.10")}},
		{"a large VPN has both ends", with("vpnCidr", "172.16.0.0/12"),
			func(c *Config) any { return []netip.Addr{c.ServerAddress(), c.DeployerAddress(), c.Peers[0].Address} },
			[]netip.Addr{netip.MustParseAddr("172.16.0.1"), netip.MustParseAddr("172.31.255.254"), netip.MustParseAddr("172.16.0.2")}},
		{"no peers", with("peers", "{}"), func(c *Config) any { return len(c.Peers) }, 0},
		{"peers set to nothing are the default", with("peers", ""), func(c *Config) any { return c.Peers[0].Name }, "laptop"},
		{"peers come by name", with("peers", `{"zed":{"address":"10.100.0.3"},"ann":{"address":"10.100.0.4"}}`),
			func(c *Config) any { return []string{c.Peers[0].Name, c.Peers[1].Name} }, []string{"ann", "zed"}},
		{"a peer brings its own keys",
			with("peers", `{"bob":{"address":"10.100.0.3","publicKey":"`+testWireGuardKey+`","sshKey":"`+testSSHKey+`"}}`),
			func(c *Config) any {
				return []string{c.Peers[0].PublicKey.String(), c.Peers[0].SSHKey.Type(), c.Peers[0].SSHComment}
			},
			[]string{testWireGuardKey, "ssh-ed25519", "bob@desk"}},
		{"a peer may look", with("peers", `{"nightly":{"address":"10.100.0.9","observe":true},"phone":{"address":"10.100.0.3","observe":"false"}}`),
			func(c *Config) any { return []bool{c.Peers[0].Observe, c.Peers[1].Observe} }, []bool{true, false}},
		{"a peer brings a key on a token", with("peers", `{"bob":{"address":"10.100.0.3","sshKey":"`+securityKey+`"}}`),
			func(c *Config) any { return c.Peers[0].SSHKey.Type() }, "sk-ssh-ed25519@openssh.com"},
		{"two devices of one admin share an SSH key",
			with("peers", `{"desk":{"address":"10.100.0.3","sshKey":"`+testSSHKey+`"},"lap":{"address":"10.100.0.4","sshKey":"`+testSSHKey+`"}}`),
			func(c *Config) any { return len(c.Peers) }, 2},
		{"another version of OpenClaw", with("openclawVersion", "2026.9.5"), func(c *Config) any { return c.OpenClawVersion }, "2026.9.5"},
		{"Node by architecture", soundConfig(), func(c *Config) any { return c.Node.URL },
			"https://nodejs.org/dist/v24.16.0/node-v24.16.0-linux-x64.tar.xz"},
		{"mirrors", with("nodeUrl", "http://mirror.example:3142/node.tar.gz", "nodeSha256", strings.Repeat("0a", 32), "npmRegistry", "https://mirror.example/npm/"),
			func(c *Config) any { return []any{c.Node, c.NPMRegistry} },
			[]any{Download{"http://mirror.example:3142/node.tar.gz", strings.Repeat("0a", 32)}, "https://mirror.example/npm"}},
		{"OpenClaw's own settings", with("openclawConfig", `{"agents":{"defaults":{"timeoutSeconds":30}}}`),
			func(c *Config) any { return c.OpenClawConfig },
			map[string]any{"agents": map[string]any{"defaults": map[string]any{"timeoutSeconds": json.Number("30")}}}},
		{"OpenClaw's own settings, in its own JSON5", with("openclawConfig", "// mine\n{agents: {defaults: {a: 0x1F, b: +.5, c: 5., d: 12345678901234567890, 'e': \"x\",},},}"),
			func(c *Config) any { text, _ := json.Marshal(c.OpenClawConfig); return string(text) },
			`{"agents":{"defaults":{"a":31,"b":0.5,"c":5,"d":12345678901234567890,"e":"x"}}}`},
		{"secrets by reference, and none", with("openclawConfig", `{"models":{"providers":{"home":{"apiKey":"ollama"},"x":{"apiKey":"${X_KEY}","headers":{"Authorization":"Bearer ${X_KEY}"},"maxTokens":5}}}}`),
			func(c *Config) any { return len(c.OpenClawConfig) }, 1},
		{"what is no secret", with("openclawConfig", `{"agents":{"defaults":{"systemPrompt":"Basic answers only.","sandbox":{"mode":"all","backend":"ssh"}}},"a":{"repo":"ssh://git@github.com/x/y","db":"postgres://app@db/x","maxTokens":5,"apiKey":"secretref-managed","args":["--token","${T}"]},"b":{"apiKey":"OLLAMA_API_KEY"}}`),
			func(c *Config) any { return len(c.OpenClawConfig) }, 3},
		{"OpenClaw's file with a byte order mark", with("openclawConfig", "\ufeff{\"a\":1}"), func(c *Config) any { return len(c.OpenClawConfig) }, 1},
		{"plugins by name", with("openclawPlugins", "slack, discord", "openclawConfig", `{"channels":{"defaults":{},"discord":{"allowFrom":["1"]},"slack":{},"telegram":{},"whatsapp":{"enabled":false}}}`),
			func(c *Config) any { return []string{c.Plugins[0].ID, c.Plugins[1].ID} }, []string{"discord", "slack"}},
		{"the ends of a number's limits", with("confirmSeconds", "900", "backupKeepDays", "1", "rescue", "7", "keyGeneration", "2"),
			func(c *Config) any { return []int{c.ConfirmSeconds, c.BackupKeepDays, c.Rescue, c.KeyGeneration} }, []int{900, 1, 7, 2}},
		{"drift is required", with("driftCheck", "required"), func(c *Config) any { return c.DriftCheck }, DriftRequired},
		{"other programs' keys are theirs", with("azure-native:subscriptionId", "x", "pulumi:tags", "{}"),
			func(c *Config) any { return c.Location }, "westeurope"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := parseConfig(tc.raw)
			if err != nil {
				t.Fatal(err)
			}
			if got := tc.get(c); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestConfigEnvironment(t *testing.T) {
	raw := with("openclawEnv", `{"API_KEY":"a=b c\td'\"$","_n1":5,"FLAG":true}`)
	raw.secrets = []string{"openclaw:openclawEnv"}
	c, err := parseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	// With --path the CLI makes numbers and booleans of what looks like them.
	want := map[string]string{"API_KEY": "a=b c\td'\"$", "_n1": "5", "FLAG": "true"}
	if diff := cmp.Diff(want, c.OpenClawEnv); diff != "" {
		t.Error(diff)
	}
}

func TestConfigTakes250Peers(t *testing.T) {
	var entries []string
	for i := range 250 {
		entries = append(entries, fmt.Sprintf(`"p%d":{"address":"10.100.0.%d"}`, i, i+2))
	}
	c, err := parseConfig(with("peers", "{"+strings.Join(entries, ",")+"}"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Peers) != 250 || !slices.IsSortedFunc(c.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("got %d peers, or not by name", len(c.Peers))
	}
}

// Azure writes an arm64 size with a small p behind the number of cores.
func TestConfigKnowsARM64Sizes(t *testing.T) {
	for size, want := range map[string]bool{
		"Standard_B2pls_v2": true, "Standard_B2pts_v2": true, "Standard_D2ps_v5": true, "Standard_D2plds_v5": true,
		"Standard_E2pds_v5": true, "Standard_D4pls_v6": true,
		"Standard_B2s": false, "Standard_B2als_v2": false, "Standard_D2s_v5": false, "Standard_NP10s": false,
		"Standard_PB6s": false, "Standard_E4-2ds_v5": false, "Standard_NC4as_T4_v3": false, "Standard_DC4as_cc_v5": false,
		"Standard_D2_v2_Promo": false,
	} {
		if !vmSizeName.MatchString(size) {
			t.Errorf("%s is not taken for a size", size)
		}
		if got := armSize(size); got != want {
			t.Errorf("armSize of %s is %v, want %v", size, got, want)
		}
	}
}

// Secrets and plain text side by side in one object: the engine calls all of it
// a secret, the file does not.
func TestLoadConfigFindsPlainVariablesInTheStacksFile(t *testing.T) {
	root := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, "Pulumi.dev.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := pulumi.RunInfo{
		Project: "openclaw", Stack: "dev", RootDirectory: root,
		Config: map[string]string{
			"azure-native:location":   "westeurope",
			"openclaw:allowedSshCidr": "20.30.40.50/32",
			"openclaw:openclawEnv":    `{"A":"canary","B":"canary"}`,
		},
		ConfigSecretKeys: []string{"openclaw:openclawEnv"},
	}
	for name, text := range map[string]string{
		"each sealed":     "config:\n  openclaw:openclawEnv:\n    A:\n      secure: v1:x\n    B:\n      secure: v1:y\n",
		"sealed in whole": "config:\n  openclaw:openclawEnv:\n    secure: v1:x\n",
		"another project": "config:\n  other:openclawEnv:\n    A: canary\n",
		"no variables":    "config:\n  openclaw:bootstrap: \"true\"\n",
		"empty":           "",
	} {
		write(text)
		if c, err := Load(run); err != nil || len(c.OpenClawEnv) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	write("config:\n  openclaw:openclawEnv:\n    A:\n      secure: v1:x\n    B: canary\n")
	_, err := Load(run)
	want := `configuration: 1 fault, nothing was changed
openclawEnv.B: stands in plain text in the stack's configuration: expected a secret
    pulumi config set --secret --path openclawEnv.B    # asks for the value
    the old value was readable: renew it where it came from`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	write("config: [")
	if _, err := Load(run); err == nil || !strings.Contains(err.Error(), "Pulumi.dev.yaml") {
		t.Errorf("a file that is no YAML: got %v", err)
	}
	if err := os.Remove(filepath.Join(root, "Pulumi.dev.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "Pulumi.dev.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(run); err == nil || !strings.HasPrefix(err.Error(), "read the stack's configuration file: ") {
		t.Errorf("a folder in its place: got %v", err)
	}
	if err := os.Remove(filepath.Join(root, "Pulumi.dev.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(run); err != nil {
		t.Errorf("without the file: %v", err)
	}
}

// nothingDeployed stands in for the engine where a program registers nothing.
type nothingDeployed struct{}

func (nothingDeployed) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, errors.New("no call expected")
}

func (nothingDeployed) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return args.Name, args.Inputs, nil
}

// The way in which the CLI hands configuration to a program: its environment,
// which the SDK reads into the RunInfo that an option sees.
func TestLoadConfigFromTheCLIsEnvironment(t *testing.T) {
	t.Setenv(pulumi.EnvConfig, `{"azure-native:location":"westeurope","openclaw:allowedSshCidr":"20.30.40.50/32","openclaw:botstrap":"false"}`)
	t.Setenv(pulumi.EnvConfigSecretKeys, `["openclaw:allowedSshCidr"]`)
	t.Setenv(pulumi.EnvPulumiRootDirectory, t.TempDir())
	var run pulumi.RunInfo
	err := pulumi.RunErr(func(*pulumi.Context) error {
		_, err := Load(run)
		return err
	}, pulumi.WithMocks("openclaw", "dev", nothingDeployed{}), func(info *pulumi.RunInfo) { run = *info })
	if !errors.Is(err, errUnknownKey) || !strings.Contains(err.Error(), `botstrap: is no key of this program: expected "bootstrap"`) {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(run.ConfigSecretKeys, []string{"openclaw:allowedSshCidr"}) {
		t.Errorf("secret keys %q", run.ConfigSecretKeys)
	}
}

// engineConfig is what the engine makes of Pulumi.yaml and a stack's own values.
func engineConfig(t *testing.T, project *workspace.Project, values config.Map) rawConfig {
	t.Helper()
	if values == nil {
		values = config.Map{}
	}
	err := stacks.ValidateStackConfigAndApplyProjectConfig(context.Background(), "dev", project, esc.Value{}, values,
		config.Base64Crypter, config.Base64Crypter)
	if err != nil {
		t.Fatalf("the CLI itself finds fault: %v", err)
	}
	plain, err := values.Decrypt(config.Base64Crypter)
	if err != nil {
		t.Fatal(err)
	}
	raw := rawConfig{project: project.Name.String(), values: map[string]string{}}
	for key, value := range plain {
		raw.values[key.String()] = value
	}
	for _, key := range values.SecureKeys() {
		raw.secrets = append(raw.secrets, key.String())
	}
	return raw
}

func loadProject(t *testing.T) *workspace.Project {
	t.Helper()
	project, err := workspace.LoadProject("../../Pulumi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := project.Validate(); err != nil {
		t.Fatal(err)
	}
	return project
}

// The CLI is at least as new as the SDK, and the README says so.
func TestRequiredVersion(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(string(text), "\n\tgithub.com/pulumi/pulumi/sdk/v3 v")
	version, _, _ = strings.Cut(version, "\n")
	project, err := workspace.LoadProject("../../Pulumi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := ">=" + version; version == "" || project.RequiredPulumiVersion != want {
		t.Errorf("Pulumi.yaml requires %q, want %q", project.RequiredPulumiVersion, want)
	}
	if want := "[Pulumi](https://www.pulumi.com/docs/install/) " + version + " or newer"; !strings.Contains(string(readme), want) {
		t.Errorf("the README lacks %q", want)
	}
}

// Pulumi.yaml repeats what Reference says, and nothing in it makes the CLI
// find faults before the program does.
func TestPulumiYAMLDescribesTheConfiguration(t *testing.T) {
	project := loadProject(t)
	if project.Name != "openclaw" || project.Runtime.Name() != "go" {
		t.Errorf("project %q, runtime %q", project.Name, project.Runtime.Name())
	}
	for _, s := range Reference() {
		described, ok := project.Config[s.Name]
		if !ok {
			t.Errorf("Pulumi.yaml does not describe %s", s.Name)
			continue
		}
		delete(project.Config, s.Name)
		if described.IsExplicitlyTyped() || described.Secret {
			t.Errorf("%s has a type, which the CLI checks by itself", s.Name)
		}
		// The CLI wants "value" for keys of other namespaces.
		got := described.Default
		if strings.Contains(s.Name, ":") {
			got = described.Value
		}
		if got != any(s.Default) {
			t.Errorf("%s has default %#v in Pulumi.yaml, want %q", s.Name, got, s.Default)
		}
		if described.Description != s.What {
			t.Errorf("%s is described as %q in Pulumi.yaml, want %q", s.Name, described.Description, s.What)
		}
	}
	for key := range maps.Keys(project.Config) {
		t.Errorf("Pulumi.yaml describes %s, which the program does not know", key)
	}
}

func TestPulumiYAMLLeavesFaultsToTheProgram(t *testing.T) {
	raw := engineConfig(t, loadProject(t), nil)
	_, err := parseConfig(raw)
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != 2 || faults[0].Key != KeyLocation || faults[1].Key != KeyAllowedSSH {
		t.Errorf("a stack with nothing set: got %v, want the two required keys", err)
	}
	maps.Copy(raw.values, soundConfig().values)
	injected, err := parseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	own, err := parseConfig(soundConfig())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(injected, own) {
		t.Errorf("Pulumi.yaml's defaults make %+v, the code's %+v", injected, own)
	}
}

// What ships is refused for one reason: the address is an example's.
func TestPulumiDevYAMLShipsAPlaceholder(t *testing.T) {
	project := loadProject(t)
	sink := diag.DefaultSink(os.Stderr, os.Stderr, diag.FormatOptions{Color: colors.Never})
	stack, err := workspace.LoadProjectStack(sink, project, "../../Pulumi.dev.yaml")
	if err != nil {
		t.Fatal(err)
	}
	raw := engineConfig(t, project, stack.Config)
	_, err = parseConfig(raw)
	want := `configuration: 1 fault, nothing was changed
allowedSshCidr: value "203.0.113.7/32" is the example's address, not yours: expected your own public address, this range is kept for documentation
    pulumi config set allowedSshCidr ADDRESS/32
    ADDRESS is the public IPv4 address of the line that you deploy from: your router shows it as its WAN or Internet address`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	raw.values["openclaw:allowedSshCidr"] = "20.30.40.50/32"
	if _, err := parseConfig(raw); err != nil {
		t.Errorf("with an address of one's own: %v", err)
	}
}

// What `pulumi config set --path` stores comes back as Config.
func TestConfigSetWithPath(t *testing.T) {
	values := config.Map{}
	set := func(path string, value config.Value) {
		t.Helper()
		if err := values.Set(config.MustMakeKey("openclaw", path), value, true); err != nil {
			t.Fatal(err)
		}
	}
	key, err := wgtypes.ParseKey(testWireGuardKey)
	if err != nil {
		t.Fatal(err)
	}
	set("allowedSshCidr", config.NewValue("20.30.40.50/32"))
	set("bootstrap", config.NewTypedValue("false", config.TypeBool))
	set("sshPort", config.NewTypedValue("2200", config.TypeInt))
	set("peers.phone.address", config.NewValue("10.100.0.3"))
	set("peers.phone.publicKey", config.NewValue(key.String()))
	set("openclawEnv.ANTHROPIC_API_KEY", config.NewSecureValue("Y2FuYXJ5"))
	if err := values.Set(config.MustMakeKey("azure-native", "location"), config.NewValue("westeurope"), false); err != nil {
		t.Fatal(err)
	}
	c, err := parseConfig(engineConfig(t, loadProject(t), values))
	if err != nil {
		t.Fatal(err)
	}
	if c.Bootstrap || c.SSHPort != 2200 || len(c.Peers) != 1 || *c.Peers[0].PublicKey != key || len(c.OpenClawEnv) != 1 {
		t.Errorf("got %+v", c)
	}
}

// configurationPage is docs/configuration.md.
func configurationPage() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Made from internal/config/reference.go: ` + "`go test -run TestConfigurationPage ./internal/config -update`" + ` writes it.

Set with ` + "`pulumi config set KEY VALUE`" + `, objects with ` + "`--path`" + `, secrets with ` + "`--secret`" + `. All values are parsed at once and all faults
told together, before anything is changed. What carries the tunnel (` + "`keyGeneration`, `sshPort`, `wireguardPort`, `vpnCidr`" + `) and what
would make another machine or needs the bootstrap door (` + "`azure-native:location`, `adminUsername`, `rescue`" + `) changes only with
` + "`bootstrap: true`" + `; while port 22 is closed it is refused.

| key | default | what it is |
|---|---|---|
`)
	for _, s := range Reference() {
		shown := "`" + s.Default + "`"
		if s.Default == "" {
			shown = s.Unset
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, shown, s.What)
	}
	return b.String()
}

func TestConfigurationPage(t *testing.T) {
	const page = "../../docs/configuration.md"
	if *update {
		if err := os.WriteFile(page, []byte(configurationPage()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(configurationPage(), string(text)); diff != "" {
		t.Errorf("%s differs from config.go (write it anew with -update):\n%s", page, diff)
	}
}
