package host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"openclaw-azure/internal/config"
	"openclaw-azure/internal/layer"
	"openclaw-azure/internal/machine"
	"openclaw-azure/templates"
)

// keysFolder has what the service that adds keys reads.
const keysFolder = "/etc/openclaw-keys/"

// reloadKeys lets what runs end, and begins with the new keys at the next request. Nothing of the agent's restarts.
const reloadKeys = `systemctl daemon-reload
systemctl start openclaw-budget.socket openclaw-keys.socket || exit
systemctl try-restart openclaw-budget.service openclaw-keys.service`

func (h *Host) providers() layer.Layer {
	return layer.Layer{
		Directories: []layer.Directory{{Path: "/etc/openclaw-keys", Mode: "0755", Owner: "root", Group: "root"}},
		Checks: []layer.Check{
			{Argv: verifyUnits("openclaw-keys.service", "openclaw-budget.socket", "openclaw-budget.service")},
			{Argv: []string{"sh", "-c", `cd {stage}/etc && sed "s|socket /run/[a-z-]*/|socket /tmp/|" openclaw-keys/keys.cfg >openclaw-keys/keys.cfg.check &&
KEYS_AGENT=/tmp/openclaw-keys-agent KEYS_OUT=/tmp/openclaw-keys-out CREDENTIALS_DIRECTORY={stage}/etc/openclaw-keys haproxy -c -q -f openclaw-keys/keys.cfg.check`}},
			{Argv: []string{"{stage}" + machine.BudgetPath, "check", "{stage}" + keysFolder + "budget.json"}},
		},
		Units: []layer.Unit{
			{Name: "openclaw-budget.socket", Active: yes},
			{Name: "openclaw-budget.service"},
			{Name: "openclaw-keys.socket", Active: yes},
			{Name: "openclaw-keys.service"},
		},
		Reload: [][]string{{"sh", "-c", reloadKeys}},
		Notes:  [][]string{{machine.EgressPath, "spent"}},
		Probes: []layer.Probe{
			layer.Shell("the keys' port in the agent's network", fmt.Sprintf("127.0.0.1:%d", machine.KeysPort),
				within(fmt.Sprintf(`ss -H -ltn 'sport = :%d' | awk '{ print $4 } END { if (!NR) print "nothing" }'`, machine.KeysPort))),
			layer.Command("what the keys' service has loaded", "as in its files", machine.EgressPath, "keys"),
		},
	}
}

// KeysDigest names what the service that adds keys was made of, so that what is loaded can be told from what was.
func (h *Host) KeysDigest() string {
	text, err := templates.Read(keysFolder + "keys.cfg")
	if err != nil {
		panic(err) // it is compiled in
	}
	total := sha256.New()
	total.Write(text)
	for _, p := range h.Providers {
		p.Key, p.Budget = "", config.Budget{}
		fmt.Fprintf(total, "%+v\n", p)
	}
	return hex.EncodeToString(total.Sum(nil))[:32]
}

// Telegram tells whether the host adds a bot's token.
func (h *Host) Telegram() bool {
	return slices.ContainsFunc(h.Providers, func(p config.Provider) bool { return p.API == config.APITelegram })
}

func (*Host) BotPlaceholder() string { return config.BotPlaceholder }
func (*Host) ProviderHeader() string { return machine.ProviderHeader }

// KeysInMemory are the keys that OpenClaw reads when it starts.
func (h *Host) KeysInMemory() (string, error) {
	text, err := json.Marshal(h.InMemory)
	return string(text), err
}

// budgetFile is what the budget's program reads; that one says what each means.
type budgetFile struct {
	Providers map[string]budgetOf           `json:"providers"`
	Prices    map[string]map[string]priceOf `json:"prices"`
}

type budgetOf struct {
	RequestsPerMinute *int   `json:"requestsPerMinute,omitempty"`
	TokensPerDay      *int   `json:"tokensPerDay,omitempty"`
	USDPerDay         string `json:"usdPerDay,omitempty"`
}

type priceOf struct {
	Input      string `json:"input"`
	Output     string `json:"output"`
	CacheRead  string `json:"cacheRead,omitempty"`
	CacheWrite string `json:"cacheWrite,omitempty"`
}

// BudgetJSON is its text.
func (h *Host) BudgetJSON() (string, error) {
	file := budgetFile{map[string]budgetOf{}, map[string]map[string]priceOf{}}
	for _, p := range h.Providers {
		if p.API != config.APITelegram {
			file.Providers[p.Name] = budgetOf{p.Budget.RequestsPerMinute, p.Budget.TokensPerDay, p.Budget.USDPerDay}
		}
	}
	for provider, models := range h.Prices {
		file.Prices[provider] = map[string]priceOf{}
		for name, price := range models {
			file.Prices[provider][name] = priceOf(price)
		}
	}
	text, err := json.MarshalIndent(file, "", "  ")
	return string(text), err
}
