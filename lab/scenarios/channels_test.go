package scenarios

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"openclaw-azure/lab/internal/internet"
)

// Keys that docs/first-hour.md asks for, by their names in openclawKeys.
var chatSecrets = map[string]string{
	"anthropic": internet.AnthropicKey,
	"telegram":  internet.TelegramToken,
	"discord":   internet.DiscordToken,
	"slackBot":  internet.SlackBotToken,
	"slackApp":  internet.SlackAppToken,
}

// configureChannels runs the lines of docs/first-hour.md that set something, as they stand there, for one who has these numbers.
func configureChannels(l *one) {
	l.t.Helper()
	filled := strings.NewReplacer("GUILD", "9001", "+NUMBER", "+491701234567", " ID", " 1001", ":ID", ":1001")
	ran := 0
	for line := range strings.Lines(strings.Join(l.fences("first-hour.md", "sh"), "")) {
		command, ok := strings.CutPrefix(line, "pulumi config set ")
		if !ok {
			continue
		}
		command, _, asked := strings.Cut(filled.Replace(strings.TrimSpace(command)), "    # asks for")
		stdin := ""
		if asked {
			name := command[strings.LastIndex(command, ".")+1:]
			if stdin = chatSecrets[name]; stdin == "" {
				l.t.Fatalf("docs/first-hour.md asks for %s, which this test has not", name)
			}
		}
		if r := l.command(stdin, time.Minute, "sh", "-c", l.root+"/bin/lab pulumi config set "+command); r.code != 0 {
			l.t.Fatalf("pulumi config set %s: %s", command, r)
		}
		ran++
	}
	if ran < 19 {
		l.t.Errorf("docs/first-hour.md has %d lines that set something", ran)
	}
}

// TestChannels is all that chat services and the control UI do on a host; make test has the first hour of it.
func TestChannels(t *testing.T) {
	l := startLab(t, "channels")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.run([]part{
		{"the first hour: channels connect, and a message is answered", channelsConnect},
		{"WhatsApp is reached as far as its handshake", whatsAppIsReached},
		{"root's openclaw is bounded as the service is, and leaves nothing of root's", commandLineIsBounded},
		{"the control UI shows what it can do, and does it", controlUI},
		{"OpenAI's APIs, by its key", openAIsAPIs},
		{"one broken channel is one broken channel", tokenRevoked},
		{"a variable that nothing sets changes nothing", variableIsMissing},
	})
}

// channelsConnect: every channel is configured by the documentation's own lines, in one run. What it talks to are stand-ins in
// the lab's Internet; WhatsApp gets as far as an account that is not linked.
func channelsConnect(l *one) {
	trustTheLab(l)
	// Node looks nowhere else for authorities; and for the other variable OpenClaw would want a plugin that it has not.
	l.on(`printf 'NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt\nGOOGLE_CHAT_SERVICE_ACCOUNT=x\n' >>/etc/openclaw.env`)
	configureChannels(l)
	up := l.pulumi(0, "up", "--yes", "--skip-preview")
	if got, want := doNotConnect(up), []string{"channel whatsapp does not connect: OpenClaw says: not linked"}; !slices.Equal(got, want) {
		l.t.Errorf("the run warns %q, want %q", got, want)
	}
	if r := l.claw("", "openclaw", "--", "channels", "status"); r.code != 0 ||
		strings.Count(r.stdout, "running, connected") != 3 || strings.Contains(r.stdout+r.stderr, internet.TelegramToken) {
		l.t.Errorf("claw openclaw: %s", r)
	}
	l.says(2002, "hello")
	l.says(1001, "hello")
	l.answered(1001, "nothing to run")
	if text, err := os.ReadFile(filepath.Join(l.internet(), internet.TelegramOutFile)); err != nil || strings.Contains(string(text), "2002") {
		l.t.Errorf("a stranger gets an answer: %q, %v", text, err)
	}
	// Nothing was fetched at a start, by whatever name.
	for _, name := range l.questions() {
		if strings.Contains(name, "npm") || strings.Contains(name, "registry") {
			l.t.Errorf("the name of a registry was looked up: %s", name)
		}
	}
	l.t.Logf("with three channels and four plugins: %s", l.on(`ps -o rss= -u openclaw | awk '{ sum += $1 } END { print int(sum / 1024) " MB resident" }'`))
	cronJob(l)
}

// says writes to the Telegram bot as somebody.
func (l *one) says(who int, text string) {
	l.t.Helper()
	file, err := os.OpenFile(filepath.Join(l.internet(), internet.TelegramInFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(file, "%d %s\n", who, text); err != nil {
		l.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		l.t.Fatal(err)
	}
}

// answered waits until the Telegram bot's last word to somebody has a text in it.
func (l *one) answered(who int, want string) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("the bot answers %d", who), 3*time.Minute, func() error {
		text, err := os.ReadFile(filepath.Join(l.internet(), internet.TelegramOutFile))
		last := ""
		for line := range strings.Lines(string(text)) {
			if said, ok := strings.CutPrefix(line, fmt.Sprint(who)+" "); ok {
				last = said
			}
		}
		if !strings.Contains(last, want) {
			return fmt.Errorf("it said %q, %v", last, err)
		}
		return nil
	})
}

// cronJob makes the job of docs/first-hour.md by its own line.
func cronJob(l *one) {
	l.t.Helper()
	line := regexp.MustCompile(`(?m)^claw (openclaw -- cron add .*) ID$`).FindStringSubmatch(strings.Join(l.fences("first-hour.md", "sh"), ""))
	if line == nil {
		l.t.Fatal("docs/first-hour.md adds no job")
	}
	if r := l.at("operator", "sh", "-c", "go tool claw "+line[1]+" 1001 && go tool claw openclaw -- cron list"); r.code != 0 || !strings.Contains(r.stdout, "announce -> telegram:1001") {
		l.t.Errorf("a job by the command line: %s", r)
	}
}

// whatsAppIsReached: what claw asks the gateway for leads to WhatsApp through the gate. A handshake begins with "WA" and two numbers.
func whatsAppIsReached(l *one) {
	heard := filepath.Join(l.internet(), internet.WhatsAppInFile)
	if err := os.Remove(heard); err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	if r := l.claw("", "whatsapp"); r.code != 255 || !strings.HasPrefix(r.stderr, "claw: WhatsApp was not linked: ") {
		l.t.Errorf("claw whatsapp, with a WhatsApp that hangs up: %s", r)
	}
	if text, err := os.ReadFile(heard); err != nil || !strings.HasPrefix(string(text), "5741") {
		l.t.Errorf("WhatsApp heard %q, %v", text, err)
	}
}

// controlUI: in a real browser, what docs/first-hour.md says that it does. Each click is seen on the host or by the chat service.
func controlUI(l *one) {
	for _, set := range [][]string{{"channels.telegram.dmPolicy", "pairing"}, {"models.providers.anthropic.models[0].id", "claude-opus-5-5"}, {"models.providers.anthropic.models[0].name", "The First"},
		{"models.providers.anthropic.models[1].id", "second"}, {"models.providers.anthropic.models[1].name", "The Second"}} {
		l.pulumi(0, "config", "set", "--path", "openclawConfig."+set[0], set[1])
	}
	l.pulumi(0, "up", "--yes", "--skip-preview")
	f := l.startForward()
	ui := f.ui
	b := l.openBrowser()
	b.shows(f.link, "Automations")

	l.says(2003, "hello")
	l.answered(2003, "Pairing code")
	b.shows(ui+"channels", "telegramUserId")
	b.opens("Approve", "Approve DM access")
	b.click("Approve")
	l.says(2003, "hello again")
	l.answered(2003, "nothing to run")

	b.shows(ui+"cron", "morning")
	b.click("Pause: morning")
	l.eventually("the job is paused", time.Minute, func() error {
		if r := l.at("vm", "openclaw", "cron", "list", "--all"); !strings.Contains(r.stdout, "disabled") {
			return errors.New(r.String())
		}
		return nil
	})

	b.shows(ui+"chat", "The First")
	b.opens("The First", "Anthropic")
	b.opens("Anthropic", "The Second")
	b.click("The Second")
	l.eventually("the session has the other model", time.Minute, func() error {
		if r := l.at("vm", "openclaw", "sessions", "--json"); !strings.Contains(r.stdout, `"second"`) {
			return errors.New(r.String())
		}
		return nil
	})
	b.close()
	f.stop()
}

// doNotConnect are the warnings of a run about channels, in their order.
func doNotConnect(r result) []string {
	var found []string
	for line := range strings.Lines(r.stdout) {
		if warning, ok := strings.CutPrefix(strings.TrimSpace(line), "warning: | "); ok && strings.Contains(warning, "does not connect") {
			found = append(found, warning)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// commandLineIsBounded: root's `openclaw` runs as the service does, and leaves nothing of root's behind.
func commandLineIsBounded(l *one) {
	l.on(`systemd-run --quiet --unit=follow openclaw logs --follow`)
	l.eventually("the command line runs", time.Minute, func() error {
		if r := l.at("vm", "pgrep", "-u", "openclaw", "-f", "logs --follow"); r.code != 0 {
			return errors.New(r.String())
		}
		return nil
	})
	got := l.on(`pid=$(pgrep -u openclaw -f 'logs --follow' | head -n 1); service=$(systemctl show -P MainPID openclaw.service)
grep -E '^(CapBnd|NoNewPrivs|Seccomp|Groups):' /proc/$pid/status | tr -s '\t ' ' '
[ "$(stat -Lc %i /proc/$pid/ns/net)" = "$(stat -Lc %i /proc/$service/ns/net)" ] && echo its network
touch /proc/$pid/root/etc/x 2>&1 | grep -o 'Read-only file system'; ls -A /proc/$pid/root/home | wc -l
tr '\0' '\n' </proc/$pid/environ | grep -c '^OPENCLAW_GATEWAY_TOKEN=.'
for unit in $(systemctl list-units --plain --no-legend 'run-*.service' | cut -d' ' -f1); do systemctl show "$unit"; done | grep -cF -f /etc/openclaw/gateway-token
cat /proc/[0-9]*/cmdline | tr '\0' '\n' | grep -cxF -f /etc/openclaw/gateway-token
systemctl stop follow.service; openclaw-install owner; [ ! -e /root/.openclaw ] || echo a state of root`)
	if want := "NoNewPrivs: 1\nSeccomp: 2\n"; !strings.Contains(got, "CapBnd: 0000000000000000\n") || !strings.Contains(got, want) {
		l.t.Errorf("root's openclaw is bounded by %s", got)
	}
	if want := "its network\nRead-only file system\n0\n1\n0\n0\nopenclaw"; !strings.HasSuffix(got, want) {
		l.t.Errorf("root's openclaw: got\n%s\nwant\n%s", got, want)
	}
	if r := l.at("vm", "runuser", "-u", "claw", "--", "openclaw", "status"); r.code == 0 || !strings.Contains(r.stderr, "sudo openclaw status") {
		l.t.Errorf("without sudo: %s", r)
	}
	// What root wrote into the state by hand is the service's again.
	l.on(`touch /var/lib/openclaw/of-root`)
	if r := l.pulumi(0, "up", "--yes", "--skip-preview"); !strings.Contains(r.stdout, "the owner of OpenClaw's state: expected openclaw, found /var/lib/openclaw/of-root") {
		l.t.Errorf("a file of root's in the state: %s", r)
	}
	if got := l.on(`stat -c %U /var/lib/openclaw/of-root; rm /var/lib/openclaw/of-root`); got != "openclaw" {
		l.t.Errorf("a file of root's in the state is %s's", got)
	}
}

// tokenRevoked: the others stay, also after a restart, and the run and the preview name the one.
func tokenRevoked(l *one) {
	l.t.Helper()
	before := l.mainPID()
	if r := l.lab(internet.RevokedToken, "pulumi", "config", "set", "--secret", "--path", "openclawKeys.telegram"); r.code != 0 {
		l.t.Fatal(r)
	}
	want := "channel telegram does not connect: OpenClaw says: "
	got := doNotConnect(l.pulumi(0, "up", "--yes", "--skip-preview"))
	if len(got) != 2 || !strings.HasPrefix(got[0], want) || !strings.Contains(got[0], "Unauthorized") || strings.Contains(got[0], internet.RevokedToken) {
		l.t.Errorf("a revoked token: the run warns %q", got)
	}
	if l.mainPID() != before {
		l.t.Error("a changed key restarts the gateway")
	}
	if r := l.claw("", "openclaw", "--", "channels", "status"); strings.Count(r.stdout, "running, connected") != 2 {
		l.t.Errorf("the other channels: %s", r)
	}
	before = l.mainPID()
	l.on(`kill -KILL ` + before)
	l.awaitGateway(before)
	if got := doNotConnect(l.pulumi(0, "preview")); len(got) != 2 || !strings.HasPrefix(got[0], want) {
		l.t.Errorf("after a restart: the preview warns %q", got)
	}
}

func variableIsMissing(l *one) {
	l.pulumi(0, "config", "set", "--secret", "--path", "openclawEnv.BRAVE_API_KY", "x")
	l.pulumi(0, "config", "set", "--plaintext", "--path", "openclawConfig.tools.web.search.apiKey", "${BRAVE_API_KEY}")
	before := l.mainPID()
	start := time.Now()
	l.failedUp("openclawConfig.tools.web.search.apiKey: nothing sets BRAVE_API_KEY; BRAVE_API_KY is set", "pulumi config set --secret --path openclawEnv.BRAVE_API_KEY")
	l.t.Logf("a variable that nothing sets is refused after %.1f s", time.Since(start).Seconds())
	if l.mainPID() != before {
		l.t.Error("a run that was refused restarted the gateway")
	}
}
