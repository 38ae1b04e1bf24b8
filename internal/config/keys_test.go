package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// secrets is a configuration with objects that the engine calls secret.
func secrets(pairs ...string) rawConfig {
	raw := with(pairs...)
	for _, object := range secretObjects {
		raw.secrets = append(raw.secrets, fullKey(object))
	}
	return raw
}

func TestKeys(t *testing.T) {
	c, err := parseConfig(secrets(
		"openclawKeys", `{"anthropic":"a-key-of-anthropics","mine":"a-key-of-mine","telegram":"815:a-token-of-telegrams","discord":"a-token-of-discords"}`,
		"openclawProviders", `{"mine":{"url":"https://Models.example.com:8443/base/v2/","header":"X-Key","api":"openai-responses"}}`,
		"openclawBudget", `{"anthropic":{"usdPerDay":2.5,"requestsPerMinute":20},"mine":{"tokensPerDay":"1000000"}}`,
		"openclawPrices", `{"mine":{"small-1.5":{"input":"0.5","output":1,"cacheRead":"0.05"}}}`,
		"openclawPlugins", "discord",
		"openclawConfig", `{"models":{"mode":"replace","providers":{"mine":{"models":[{"id":"small-1.5","name":"Small"}]}}},"channels":{"telegram":{"enabled":true}}}`,
	))
	if err != nil {
		t.Fatal(err)
	}
	twenty, million := 20, 1_000_000
	want := []Provider{
		{Name: "anthropic", Key: "a-key-of-anthropics", Host: "api.anthropic.com", Port: 443, Header: "x-api-key", API: APIAnthropic, Budget: Budget{RequestsPerMinute: &twenty, USDPerDay: "2.5"}},
		{Name: "mine", Key: "a-key-of-mine", Host: "models.example.com", Port: 8443, Prefix: "/base/v2", Header: "x-key", API: APIOpenAIResponses, Budget: Budget{TokensPerDay: &million}},
		{Name: "telegram", Key: "815:a-token-of-telegrams", Host: "api.telegram.org", Port: 443, API: APITelegram},
	}
	if diff := cmp.Diff(want, c.Providers); diff != "" {
		t.Errorf("providers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]map[string]Price{"mine": {"small-1.5": {Input: "0.5", Output: "1", CacheRead: "0.05"}}}, c.Prices); diff != "" {
		t.Errorf("prices (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"discord": "a-token-of-discords"}, c.InMemory); diff != "" {
		t.Errorf("in memory (-want +got):\n%s", diff)
	}
	wantConfig := map[string]any{
		"models": map[string]any{"mode": "replace", "providers": map[string]any{
			"anthropic": map[string]any{"baseUrl": "http://127.0.0.1:81/anthropic", "apiKey": "held-by-the-host", "api": "anthropic-messages", "models": []any{}},
			"mine": map[string]any{"baseUrl": "http://127.0.0.1:81/mine/base/v2", "apiKey": "held-by-the-host", "api": "openai-responses",
				"models": []any{map[string]any{"id": "small-1.5", "name": "Small"}}},
		}},
		"channels": map[string]any{
			"telegram": map[string]any{"enabled": true, "apiRoot": "http://127.0.0.1:81/telegram", "botToken": "1:held-by-the-host"},
			"discord":  map[string]any{"token": map[string]any{"source": "file", "provider": "keys", "id": "/discord"}},
		},
	}
	if diff := cmp.Diff(wantConfig, c.OpenClawConfig); diff != "" {
		t.Errorf("openclaw.json (-want +got):\n%s", diff)
	}
}

// TestKnownProviders: no two have one name or one variable, and every one can be set.
func TestKnownProviders(t *testing.T) {
	var all []string
	for name, variables := range variablesOf {
		isKnown := slices.ContainsFunc(known, func(p Provider) bool { return p.Name == name })
		if _, inMemory := handed[name]; isKnown == inMemory {
			t.Errorf("%s is both held by the host and in memory, or neither", name)
		}
		all = append(all, variables...)
	}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("a variable is two providers': %s", strings.Join(all, " "))
	}
	for _, p := range known {
		if _, listed := variablesOf[p.Name]; !listed || !hostName.MatchString(p.Host) || !plainPrefix.MatchString(p.Prefix) || (p.Header == "") != (p.API == APITelegram) {
			t.Errorf("%+v", p)
		}
	}
}
