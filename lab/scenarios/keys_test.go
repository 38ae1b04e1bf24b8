package scenarios

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"openclaw-azure/lab/internal/internet"
)

// asked are the requests that came to the providers of models, a line each.
func (l *one) asked() []string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.internet(), internet.ModelsFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// asAgent runs a command in the agent's network, as its user.
func (l *one) asAgent(command ...string) result {
	l.t.Helper()
	return l.at("vm", append([]string{"ip", "netns", "exec", "openclaw", "runuser", "-u", "openclaw", "--"}, command...)...)
}

// spent is what the budget's program says of a provider's tokens today.
func (l *one) spent(provider string) (tokens int) {
	l.t.Helper()
	var sums struct {
		Providers map[string]struct {
			Models map[string]struct{ Input, Output, CacheRead, CacheWrite int }
		}
	}
	if err := json.Unmarshal([]byte(l.on("openclaw-budget sums")), &sums); err != nil {
		l.t.Fatal(err)
	}
	for _, m := range sums.Providers[provider].Models {
		tokens += m.Input + m.Output + m.CacheRead + m.CacheWrite
	}
	return tokens
}

// keysAreHeld: a turn of the agent reaches its model, with a key that the agent finds nowhere.
func keysAreHeld(l *one) {
	said := l.turn("id -un; echo " + `"$ANTHROPIC_API_KEY$TELEGRAM_BOT_TOKEN$DISCORD_BOT_TOKEN$SLACK_BOT_TOKEN"` + "; ls /run/openclaw")
	if want := "openclaw\n\ngateway-token"; !strings.Contains(said, want) {
		l.t.Errorf("the turn said %q, not %q", said, want)
	}
	last := l.asked()[len(l.asked())-1]
	if want := fmt.Sprintf("api.anthropic.com POST /v1/messages x-api-key=%q accept-encoding=\"identity\"", internet.AnthropicKey); last != want {
		l.t.Errorf("the provider was asked %q, want %q", last, want)
	}
	// In its own unit, with all that it may see; Slack's and Discord's are in the gateway's own memory, which kernel.yama.ptrace_scope
	// closes where the kernel has it.
	found := l.turn("python3 - <<'END'\n" + program(l.t, "find-keys.py") + "END")
	for line := range strings.Lines(found) {
		name, place, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, secret := chatSecrets[name]; secret && !(strings.HasPrefix(place, "memory of ") && name != "anthropic" && name != "telegram") {
			l.t.Errorf("the agent finds the key %s: %s", name, place)
		}
	}
	if !strings.Contains(found, "looked") {
		l.t.Errorf("the search ended early: %q", found)
	}
	if l.t.Failed() {
		l.t.Logf("the agent's search: %s", found)
	}
	// The twin: root finds them, by the same search.
	found = l.on("python3 - <<'END'\n" + program(l.t, "find-keys.py") + "END")
	for _, want := range []string{"anthropic file /etc/openclaw-keys/keys\n", "telegram file /etc/openclaw-keys/keys\n", "discord file /etc/openclaw/keys.json\n", "anthropic memory of haproxy\n"} {
		if !strings.Contains(found, want) {
			l.t.Errorf("root does not find %q: %q", want, found)
		}
	}
	for line := range strings.Lines(found) {
		if place := strings.SplitN(strings.TrimSpace(line), " ", 2); len(place) == 2 && (strings.HasPrefix(place[1], "environ") || strings.HasPrefix(place[1], "cmdline") || strings.Contains(place[1], "journal")) {
			l.t.Errorf("a key stands in %s", line)
		}
	}
}

// keysAreForWhatTheyAreFor: one provider, its paths and methods, and nothing that the agent adds to them.
func keysAreForWhatTheyAreFor(l *one) {
	before := len(l.asked())
	r := l.asAgent("python3", "-c", program(l.t, "ask-keys.py"))
	want := `a message: 200
as the SDK asks: 200
models: 200
with keys of its own: 200
with another Host: 200
another path: 404
a path below: 404
another method: 404
another provider: 404
a provider that there is none of: 404
no provider: 404
out by dots: 404
an encoded path: 404
two slashes: 404
a key in the query: 400
a key in a list's query: 400
a list with a body: 400
a method in the query: 400
an absolute address: 400
another's tunnel: 404
two lengths: 400
length and chunks: 400
another protocol: 400
a provider named by the client: 200
an answer that is elsewhere: 502
a bot's webhook: 403
a bot's webhook, as in tests: 403
a bot's way out: 403
another bot: 404
the bot: 200
`
	if r.stdout != want {
		l.t.Errorf("got\n%swant\n%s%s", r.stdout, want, r.stderr)
	}
	for _, line := range l.asked()[before:] {
		if !strings.HasPrefix(line, "api.anthropic.com ") || strings.Contains(line, "another") || strings.Contains(line, "files") || strings.Contains(line, "cookie") ||
			strings.Contains(line, "x-openclaw") || !strings.Contains(line, fmt.Sprintf(" x-api-key=%q", internet.AnthropicKey)) {
			l.t.Errorf("a provider was asked %q", line)
		}
	}
}

// message asks for one, as the agent would: a body of some 2000 bytes.
func (l *one) message(model string, seconds int) string {
	body := fmt.Sprintf(`{"model":%q,"max_tokens":50,"messages":[{"role":"user","content":%q}]}`, model, strings.Repeat("word ", 400))
	return fmt.Sprintf(`curl -sS -m %d -o /dev/null -w '%%{http_code}\n' -H 'content-type: application/json' -d %s http://127.0.0.1:81/anthropic/v1/messages || true`, seconds, quote(body))
}

// budgetHolds: requests one by one, at once and given up, and a budget that is not passed.
func budgetHolds(l *one) {
	// A request reserves some 4200 tokens, and takes answerTokens of them.
	const answerTokens = internet.InputTokens + internet.CacheReadTokens + internet.OutputTokens
	limit := l.spent("anthropic") + 20_000
	l.pulumi(0, "config", "set", "--path", "openclawBudget.anthropic.tokensPerDay", fmt.Sprint(limit))
	before := l.mainPID()
	l.pulumi(0, "up", "--yes", "--skip-preview")
	if l.mainPID() != before {
		l.t.Error("a budget restarts the gateway")
	}
	counted := l.spent("anthropic")
	l.asAgent("sh", "-c", l.message("claude-haiku-4-5", 30))
	if now := l.spent("anthropic"); now != counted+answerTokens {
		l.t.Errorf("a request that was answered: %d tokens, then %d", counted, now)
	}
	// Whoever gives up has asked all the same.
	counted = l.spent("anthropic")
	l.asAgent("sh", "-c", l.message(internet.SlowModel, 1))
	l.eventually("the request that was given up is counted", time.Minute, func() error {
		if now := l.spent("anthropic"); now != counted+answerTokens {
			return fmt.Errorf("%d tokens, then %d", counted, now)
		}
		return nil
	})
	if r := l.asAgent("sh", "-c", strings.Repeat("("+l.message("claude-haiku-4-5", 30)+") & ", 12)+"wait"); !strings.Contains(r.stdout, "200") || !strings.Contains(r.stdout, "429") {
		l.t.Errorf("twelve at once: %s", r)
	}
	for n := 0; l.asAgent("sh", "-c", l.message("claude-haiku-4-5", 30)).stdout == "200\n"; n++ {
		if n > 15 {
			l.t.Fatal("the budget has no end")
		}
	}
	if now := l.spent("anthropic"); now > limit || now < limit-5000 {
		l.t.Errorf("%d tokens of %d", now, limit)
	}
	r := l.asAgent("sh", "-c", strings.ReplaceAll(l.message("claude-haiku-4-5", 30), "-o /dev/null", "-D -"))
	if !strings.Contains(strings.ToLower(r.stdout), "\r\nretry-after: ") || !strings.Contains(r.stdout, `"rate_limit_error"`) || !strings.Contains(r.stdout, "tokensPerDay") {
		l.t.Errorf("over the budget: %s", r)
	}
	// The agent says so, and does not sit the day out.
	if said, err := l.ask("id -un"); err == nil && !strings.Contains(said, "limit") || err != nil && !strings.Contains(err.Error(), "limit") {
		l.t.Errorf("a turn over the budget: %q, %v", said, err)
	}
	// It survives what counts.
	l.on(`systemctl kill --signal=KILL openclaw-budget.service`)
	l.eventually("the budget is back, and still reached", time.Minute, func() error {
		if r := l.asAgent("sh", "-c", l.message("claude-haiku-4-5", 30)); r.stdout != "429\n" {
			return errors.New(r.String())
		}
		return nil
	})
	if r := l.at("vm", "openclaw-egress"); !strings.Contains(r.stdout, "claude-haiku-4-5") || !strings.Contains(r.stdout, "tokensPerDay") {
		l.t.Errorf("openclaw-egress shows %s", r)
	}
	if r := l.pulumi(0, "preview"); !strings.Contains(r.stdout, "tokensPerDay") {
		l.t.Errorf("the preview says nothing of the budget: %s", r)
	}
}

// keyChanges: without a restart of the agent's, and whatever is killed.
func keyChanges(l *one) {
	before := l.mainPID()
	if r := l.lab(internet.OtherAnthropicKey, "pulumi", "config", "set", "--secret", "--path", "openclawKeys.anthropic"); r.code != 0 {
		l.t.Fatal(r)
	}
	l.pulumi(0, "config", "rm", "openclawBudget")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
	if l.mainPID() != before {
		l.t.Error("a changed key restarts the gateway")
	}
	l.turn("id -un")
	if last := l.asked()[len(l.asked())-1]; !strings.Contains(last, internet.OtherAnthropicKey) {
		l.t.Errorf("with the new key the provider was asked %q", last)
	}
	works := func(what string) {
		l.eventually("after "+what+" it is back", time.Minute, func() error {
			if r := l.asAgent("sh", "-c", l.message("claude-haiku-4-5", 30)); r.stdout != "200\n" {
				return errors.New(r.String())
			}
			return nil
		})
	}
	for _, unit := range []string{"openclaw-keys.service", "openclaw-budget.service"} {
		l.on(`systemctl kill --signal=KILL ` + unit)
		works("a kill of " + unit)
		l.on(`systemctl stop ` + unit)
		works("a stop of " + unit)
	}
	l.on(`systemctl stop openclaw-keys.socket openclaw-keys.service`)
	if r := l.asAgent("sh", "-c", l.message("claude-haiku-4-5", 5)); r.stdout != "000\n" {
		l.t.Errorf("without its socket: %s", r)
	}
	l.on(`systemctl start openclaw-keys.socket`)
	works("a start of its socket")
	l.t.Logf("memory of the network layer, PSS in MiB: %s", l.on(`for unit in gate dns entry keys budget; do for pid in $(cat /sys/fs/cgroup$(systemctl show -P ControlGroup openclaw-$unit.service)/cgroup.procs); do awk -v unit=$unit '/^Pss:/ { print unit, $2 }' /proc/$pid/smaps_rollup; done; done | awk '{ sum[$1] += $2; all += $2 } END { for (unit in sum) printf "%s %d, ", unit, sum[unit] / 1024; printf "all %d\n", all / 1024 }'`))
}

// openAIsAPIs: a turn by Responses, Embeddings, and Chat Completions in a stream.
func openAIsAPIs(l *one) {
	if r := l.lab(internet.OpenAIKey, "pulumi", "config", "set", "--secret", "--path", "openclawKeys.openai"); r.code != 0 {
		l.t.Fatal(r)
	}
	l.pulumi(0, "config", "set", "--path", "openclawConfig.agents.defaults.model.primary", "openai/gpt-6-astra")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	before := len(l.asked())
	if said := l.turn("id -un"); !strings.Contains(said, "openclaw") {
		l.t.Errorf("the turn said %q", said)
	}
	heard := strings.Join(l.asked()[before:], "\n")
	if want := fmt.Sprintf("api.openai.com POST /v1/responses authorization=%q", "Bearer "+internet.OpenAIKey); !strings.Contains(heard, want) {
		l.t.Errorf("%q was not heard: %q", want, heard)
	}
	// Memory asks for these when it likes.
	if r := l.asAgent("curl", "-sS", "-m", "30", "-H", "content-type: application/json", "-d", `{"model":"text-embedding-3-small","input":["a","b"]}`,
		"http://127.0.0.1:81/openai/v1/embeddings"); !strings.Contains(r.stdout, `"index":1`) {
		l.t.Errorf("embeddings: %s", r)
	}
	counted := l.spent("openai")
	const ask = `{"model":"gpt-6-astra","stream":true,"messages":[{"role":"user","content":"hello"}]}`
	if r := l.asAgent("curl", "-sS", "-m", "30", "-H", "content-type: application/json", "-d", ask, "http://127.0.0.1:81/openai/v1/chat/completions"); !strings.Contains(r.stdout, "data: [DONE]") {
		l.t.Errorf("a stream of Chat Completions: %s", r)
	}
	// The client did not ask for the figure; the budget did.
	if got := l.spent("openai") - counted; got != internet.InputTokens+internet.CacheReadTokens+internet.OutputTokens {
		l.t.Errorf("a stream counts %d tokens", got)
	}
}
