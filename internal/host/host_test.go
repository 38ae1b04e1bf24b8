package host

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/rogpeppe/go-internal/txtar"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/keys/keystest"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/lockfile"
	"openclaw-azure/internal/machine"
	"openclaw-azure/templates"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testConfig(t *testing.T, set map[string]string) *config.Config {
	t.Helper()
	values := map[string]string{"azure-native:location": "westeurope", "openclaw:allowedSshCidr": "198.18.1.10/32"}
	maps.Copy(values, set)
	cfg, err := config.Load(pulumi.RunInfo{Project: "openclaw", Stack: "dev", RootDirectory: t.TempDir(), Config: values,
		ConfigSecretKeys: []string{"openclaw:openclawEnv", "openclaw:openclawKeys", "openclaw:alerts"}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// newHostOf is a host that was made of the configured image.
func newHostOf(cfg *config.Config, stack *keys.Stack, peers map[string]*keys.Peer) *Host {
	return New(cfg, cfg.Image.Name, stack, peers)
}

// TestEveryTemplateIsInTheTable: a file without mode and owner would never reach the host, and one without a template
// could not be rendered.
func TestEveryTemplateIsInTheTable(t *testing.T) {
	found, listed := append(templates.Paths(), machine.ApplierPath), []string{} // the applier is made of modules
	slices.Sort(found)
	all := slices.Clone(table)
	for _, version := range templates.LockedVersions() {
		all = append(all, lockFiles(version)...)
		listed = append(listed, "/opt/openclaw/"+version+"/plugins.json") // which release.json is made of
	}
	for _, f := range all {
		listed = append(listed, f.path)
		if !slices.Contains(layer.Names(), f.layer) {
			t.Errorf("%s belongs to the layer %q, which is none", f.path, f.layer)
		}
	}
	slices.Sort(listed)
	if diff := cmp.Diff(found, listed); diff != "" {
		t.Errorf("templates (-) and the table (+) differ:\n%s", diff)
	}
}

func TestRendered(t *testing.T) {
	stack, peers := keystest.Keys(t)
	for name, set := range map[string]map[string]string{
		"open-debian": {},
		"closed-ubuntu": {"openclaw:bootstrap": "false", "openclaw:image": "ubuntu-24.04", "openclaw:peers": `{"laptop":{"address":"10.100.0.2","observe":true}}`,
			"openclaw:openclawKeys":      `{"anthropic":"a-key-of-anthropics","google":"a-key-of-googles","mine":"a-key-of-mine","openai":"a-key-of-openais","telegram":"815:a-token-of-telegrams","discord":"a-token-of-discords"}`,
			"openclaw:openclawProviders": `{"mine":{"url":"https://models.example.com:8443/base/v2","header":"x-key"}}`,
			"openclaw:openclawBudget":    `{"anthropic":{"usdPerDay":"5","requestsPerMinute":20},"mine":{"tokensPerDay":1000000}}`,
			"openclaw:openclawPrices":    `{"mine":{"small-1.5":{"input":"0.5","output":"1"}}}`,
			"openclaw:openclawPlugins":   "discord",
			"openclaw:alerts":            `{"azureEmail":"me@example.com","phone":{"kind":"ntfy","url":"https://ntfy.sh/a-topic-of-mine"},"mail":{"kind":"smtp","url":"smtps://me:a-password@mx.example.com/?from=a@example.com&to=b@example.com"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostOf(testConfig(t, set), stack, peers)
			archive := &txtar.Archive{}
			for _, f := range table {
				if f.path == machine.ApplierPath || f.path == machine.BackupPath {
					continue // as it stands
				}
				content, err := h.render(f.path)
				if err != nil {
					t.Fatal(err)
				}
				archive.Files = append(archive.Files, txtar.File{Name: strings.TrimPrefix(f.path, "/"), Data: content})
			}
			golden := filepath.Join("testdata", "rendered", name+".txtar")
			got := txtar.Format(archive)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("rendered files differ from %s (write it anew with -update):\n%s", golden, diff)
			}
		})
	}
}

// TestLockFilesPinEverything: what the tree ships is all that a host ever installs.
func TestLockFilesPinEverything(t *testing.T) {
	if len(templates.LockedVersions()) < 2 {
		t.Error("fewer than two versions are locked: an upgrade has nothing to go to")
	}
	for _, version := range templates.LockedVersions() {
		lock, err := templates.Read("/opt/openclaw/" + version + "/package-lock.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := lockfile.Verify(lock, version); err != nil {
			t.Errorf("%s: %v", version, err)
		}
		text, err := templates.Read("/opt/openclaw/" + version + "/plugins.json")
		if err != nil {
			t.Fatal(err)
		}
		plugins, err := lockfile.ReadPlugins(text, version)
		if err != nil {
			t.Errorf("%s: %v", version, err)
		}
		for _, name := range []string{"discord", "slack", "whatsapp"} {
			if !slices.Contains(plugins.Pinned(), name) {
				t.Errorf("%s: plugin %s is not pinned, but %v", version, name, plugins[name])
			}
		}
	}
}

// TestAnotherNodeOrLockIsAnotherRelease: what differs is installed beside the one that runs, never over it.
func TestAnotherNodeOrLockIsAnotherRelease(t *testing.T) {
	stack, peers := keystest.Keys(t)
	id := func(set map[string]string) string { return newHostOf(testConfig(t, set), stack, peers).ReleaseID() }
	own := id(nil)
	if other := id(map[string]string{"openclaw:openclawVersion": "2026.9.5"}); other == own {
		t.Errorf("another version is release %s, too", own)
	}
	if other := id(map[string]string{"openclaw:nodeUrl": "http://mirror.example/node", "openclaw:nodeSha256": strings.Repeat("0", 64)}); other == own {
		t.Errorf("another Node is release %s, too", own)
	}
	if same := id(map[string]string{"openclaw:nodeUrl": "http://mirror.example/node", "openclaw:nodeSha256": config.NodeRelease.SHA256}); same != own {
		t.Errorf("the official Node from a mirror is release %s, not %s", same, own)
	}
}

// TestOpenClawConfigIsAdded: beside the program's own keys, never over them.
func TestOpenClawConfigIsAdded(t *testing.T) {
	stack, peers := keystest.Keys(t)
	cfg := testConfig(t, map[string]string{"openclaw:openclawConfig": `{"agents":{"defaults":{"model":{"primary":"a/b"},"timeoutSeconds":30}}}`})
	content, err := newHostOf(cfg, stack, peers).render(machine.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Agents struct {
			Defaults struct {
				Model          struct{ Primary string }
				TimeoutSeconds json.Number
			}
		}
		Gateway struct {
			Mode, Bind string
			Port       int
			Auth       struct{ Mode string }
		}
		Secrets struct{ Providers map[string]any }
	}
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if got.Agents.Defaults.Model.Primary != "a/b" || got.Agents.Defaults.TimeoutSeconds != "30" {
		t.Errorf("what was added is not in:\n%s", content)
	}
	if got.Gateway.Mode != "local" || got.Gateway.Bind != "loopback" || got.Gateway.Port != machine.GatewayPort || got.Gateway.Auth.Mode != "token" || len(got.Secrets.Providers) != 1 {
		t.Errorf("the program's own keys are not in force:\n%s", content)
	}
	if _, err := addConfig([]byte("{}"), map[string]any{"gateway": 1}); err == nil {
		t.Error("the gateway's own settings can be added to")
	}
}

func TestLayersAreNamedInOrder(t *testing.T) {
	stack, peers := keystest.Keys(t)
	packed, err := newHostOf(testConfig(t, nil), stack, peers).Layers()
	if err != nil {
		t.Fatal(err)
	}
	var names, armed []string
	for _, p := range packed {
		names = append(names, p.Name)
		if p.Armed {
			armed = append(armed, p.Name)
		}
	}
	// Their resources have these names, which never change.
	want := []string{"base", "sysctl", "wireguard", "firewall", "ssh", "fail2ban", "updates", "network", "providers", "openclaw", "backup", "alerts"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("the layers (+) differ:\n%s", diff)
	}
	// Whatever can cut off the way in: authorized keys and sudo, the tunnel, the firewall, sshd.
	if diff := cmp.Diff([]string{"base", "wireguard", "firewall", "ssh"}, armed); diff != "" {
		t.Errorf("armed layers (+) differ:\n%s", diff)
	}
}

func TestFirewallAdmits(t *testing.T) {
	stack, peers := keystest.Keys(t)
	for _, test := range []struct {
		bootstrap string
		want      []string
	}{
		{"true", []string{
			"-A ufw-user-input -s 198.18.1.10/32 -p tcp -m tcp --dport 22 -j ACCEPT",
			"-A ufw-user-input -s 10.100.0.0/24 -i wg0 -p tcp -m tcp --dport 2222 -j ACCEPT",
			"-A ufw-user-input -p udp -m udp --dport 51820 -j ACCEPT"}},
		{"false", []string{
			"-A ufw-user-input -s 10.100.0.0/24 -i wg0 -p tcp -m tcp --dport 2222 -j ACCEPT",
			"-A ufw-user-input -p udp -m udp --dport 51820 -j ACCEPT"}},
	} {
		h := newHostOf(testConfig(t, map[string]string{"openclaw:bootstrap": test.bootstrap}), stack, peers)
		var got []string
		for _, a := range h.Admitted {
			got = append(got, a.loaded())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("bootstrap %s: rules differ (-want +got):\n%s", test.bootstrap, diff)
		}
	}
}

// TestSecretsStayOutOfTheDeclaration: the host keeps the declared document, and it is named by its digest.
func TestSecretsStayOutOfTheDeclaration(t *testing.T) {
	stack, peers := keystest.Keys(t)
	cfg := testConfig(t, nil)
	cfg.OpenClawEnv = map[string]string{"API_KEY": "canary-of-the-environment"}
	cfg.Alerts = []config.Receiver{{Name: "phone", Kind: config.ReceiverNtfy, URL: "https://ntfy.sh/canary-of-a-receiver"}}
	packed, err := newHostOf(cfg, stack, peers).Layers()
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"gateway token":         stack.GatewayToken,
		"sudo password":         stack.SudoPassword.Plain,
		"sudo hash":             stack.SudoPassword.Hash,
		"server's key":          stack.WireGuardServer.Private.String(),
		"preshared key":         peers["laptop"].Preshared.String(),
		"environment":           "canary-of-the-environment",
		"receiver's url":        "canary-of-a-receiver",
		"operator's key":        stack.Operator.Private,
		"host key":              stack.HostKey.Private,
		"deployer's key":        stack.Deployer.Private.String(),
		"peer's key":            peers["laptop"].Private.String(),
		"bootstrap private key": stack.Bootstrap.Private,
		"program's own key":     stack.Deployer.SSH.Private,
		"key that looks":        peers["laptop"].SSH.Private,
	}
	for _, p := range packed {
		text, err := json.Marshal(p.Apply(layer.Confirmation{}))
		if err != nil {
			t.Fatal(err)
		}
		var request struct{ Declared string }
		if err := json.Unmarshal(text, &request); err != nil {
			t.Fatal(err)
		}
		for what, secret := range secrets {
			if strings.Contains(request.Declared, secret) {
				t.Errorf("layer %s declares the %s in plain text", p.Name, what)
			}
			if strings.Contains(layer.RemoteCommand("token"), secret) {
				t.Errorf("the command shows the %s", what)
			}
		}
	}
}
