package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"openclaw-azure/lab/internal/internet"
)

// Secrets of the chat services, in the forms that their makers give them.
var chatSecrets = map[string]string{
	"ANTHROPIC_API_KEY":  "sk-ant-lab-0123456789abcdef",
	"TELEGRAM_BOT_TOKEN": "123456789:AAlablablablablablablablablablablab",
	"DISCORD_BOT_TOKEN":  "MTIzNDU2Nzg5MDEyMzQ1Njc4.Glab01.lablablablablablablablablablablablablab",
	"SLACK_BOT_TOKEN":    "xoxb-1-2-lab",
	"SLACK_APP_TOKEN":    "xapp-1-A1-2-lab",
}

// firstHour runs the lines of docs/first-hour.md that set something, as they stand there, for one who has these numbers.
func firstHour(l *one) {
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
	if ran < 20 {
		l.t.Errorf("docs/first-hour.md has %d lines that set something", ran)
	}
}

// channelsConnect is the first hour of a user: every channel is configured by the documentation's own lines, in one run. What
// it talks to are stand-ins in the lab's Internet; WhatsApp gets as far as an account that is not linked.
func channelsConnect(l *one) {
	trustTheLab(l)
	// Node looks nowhere else for authorities; and for the other variable OpenClaw would want a plugin that it has not.
	l.on(`printf 'NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt\nGOOGLE_CHAT_SERVICE_ACCOUNT=x\n' >>/etc/openclaw.env`)
	firstHour(l)
	// In place of the model that the documentation has.
	for _, set := range [][]string{
		{"agents.defaults.model.primary", "mock/mock"}, {"models.mode", "merge"}, {"models.providers.mock.baseUrl", "http://127.0.0.1:" + mockPort + "/v1"},
		{"models.providers.mock.api", "openai-completions"}, {"models.providers.mock.models[0].id", "mock"}, {"models.providers.mock.models[0].name", "Mock"},
	} {
		l.pulumi(0, "config", "set", "--path", "openclawConfig."+set[0], set[1])
	}
	l.pulumi(0, "config", "set", "--plaintext", "--path", "openclawConfig.models.providers.mock.apiKey", "none")
	up := l.pulumi(0, "up", "--yes", "--skip-preview")
	if got, want := doNotConnect(up), []string{"channel whatsapp does not connect: OpenClaw says: not linked"}; !slices.Equal(got, want) {
		l.t.Errorf("the run warns %q, want %q", got, want)
	}
	if r := l.at("operator", "go", "tool", "claw", "openclaw", "--", "channels", "status"); r.code != 0 ||
		strings.Count(r.stdout, "running, connected") != 3 || strings.Contains(r.stdout+r.stderr, chatSecrets["TELEGRAM_BOT_TOKEN"]) {
		l.t.Errorf("claw openclaw: %s", r)
	}
	startMockModel(l)
	in, out := filepath.Join(l.root, ".lab", l.name, internet.Folder, internet.TelegramInFile), filepath.Join(l.root, ".lab", l.name, internet.Folder, internet.TelegramOutFile)
	// A stranger, and then the owner.
	if err := os.WriteFile(in, []byte("2002 hello\n1001 hello\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.eventually("the bot answers", 3*time.Minute, func() error {
		text, err := os.ReadFile(out)
		if err != nil {
			return err
		}
		if got := string(text); got != "1001 \"nothing to run\"\n" {
			l.t.Fatalf("the bot said %q", got)
		}
		return nil
	})
	// Nothing was fetched at a start, by whatever name.
	for _, name := range l.questions() {
		if strings.Contains(name, "npm") || strings.Contains(name, "registry") {
			l.t.Errorf("the name of a registry was looked up: %s", name)
		}
	}
	cronJob(l)
	commandLineIsBounded(l)
	tokenRevoked(l)
	l.t.Logf("with three channels and four plugins: %s", l.on(`openclaw-install ready; ps -o rss= -u openclaw | awk '{ sum += $1 } END { print int(sum / 1024) " MB resident" }'`))
	l.pulumi(0, "config", "rm", "openclawEnv")
	l.pulumi(0, "config", "set", "openclawConfig", mockModel)
	l.on(`sed -i '/^NODE_EXTRA_CA_CERTS=/d; /^GOOGLE_CHAT_/d' /etc/openclaw.env`)
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

// doNotConnect are the warnings of a run about channels, in their order.
func doNotConnect(r result) []string {
	var found []string
	for line := range strings.Lines(r.stdout) {
		if warning, ok := strings.CutPrefix(strings.TrimSpace(line), "warning: "); ok && strings.Contains(warning, "does not connect") {
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
tr '\0' '\n' </proc/$pid/environ | grep -c '^OPENCLAW_GATEWAY_TOKEN=.'; token=$(cat /etc/openclaw/gateway-token)
for unit in $(systemctl list-units --plain --no-legend 'run-*.service' | cut -d' ' -f1); do systemctl show "$unit"; done | grep -cF "$token"
cat /proc/[0-9]*/cmdline | tr '\0' '\n' | grep -cxF "$token"
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

// tokenRevoked: one broken channel is one broken channel, also after a restart; a variable that nothing sets changes nothing.
func tokenRevoked(l *one) {
	l.t.Helper()
	before := l.mainPID()
	if r := l.command(internet.RevokedToken, time.Minute, l.root+"/bin/lab", "pulumi", "config", "set", "--secret", "--path", "openclawEnv.TELEGRAM_BOT_TOKEN"); r.code != 0 {
		l.t.Fatal(r)
	}
	want := "channel telegram does not connect: OpenClaw says: "
	got := doNotConnect(l.pulumi(0, "up", "--yes", "--skip-preview"))
	if len(got) != 2 || !strings.HasPrefix(got[0], want) || !strings.Contains(got[0], "401") || strings.Contains(got[0], internet.RevokedToken) {
		l.t.Errorf("a revoked token: the run warns %q", got)
	}
	if l.mainPID() == before {
		l.t.Error("a changed variable restarts nothing")
	}
	if r := l.at("operator", "go", "tool", "claw", "openclaw", "--", "channels", "status"); strings.Count(r.stdout, "running, connected") != 2 {
		l.t.Errorf("the other channels: %s", r)
	}
	before = l.mainPID()
	l.on(`kill -KILL ` + before)
	l.awaitGateway(before)
	if got := doNotConnect(l.pulumi(0, "preview")); len(got) != 2 || !strings.HasPrefix(got[0], want) {
		l.t.Errorf("after a restart: the preview warns %q", got)
	}
	l.pulumi(0, "config", "rm", "--path", "openclawEnv.TELEGRAM_BOT_TOKEN")
	l.pulumi(0, "config", "set", "--secret", "--path", "openclawEnv.TELEGRAM_BOT_TOKN", "x")
	before = l.mainPID()
	start := time.Now()
	l.failedUp("openclawConfig.channels.telegram.botToken: nothing sets TELEGRAM_BOT_TOKEN; TELEGRAM_BOT_TOKN is set", "pulumi config set --secret --path openclawEnv.TELEGRAM_BOT_TOKEN")
	l.t.Logf("a variable that nothing sets is refused after %.1f s", time.Since(start).Seconds())
	if l.mainPID() != before {
		l.t.Error("a run that was refused restarted the gateway")
	}
}
