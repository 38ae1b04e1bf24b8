package scenarios

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"openclaw-azure/lab/internal/internet"
)

// TestAlerts makes each cause happen on a host, and sees its message and its end at receivers in the lab's Internet. The timer
// looks every other second, by a drop-in; how many looks it takes is as on any machine.
func TestAlerts(t *testing.T) {
	l := startLab(t, "alerts")
	l.pulumi(0, "config", "set", "--path", "alerts.azureEmail", internet.AlertMailTo)
	l.receivers(slices.Sorted(maps.Keys(internet.AlertURLs))...)
	l.secret("openclawKeys.anthropic", internet.AnthropicKey)
	l.secret("openclawKeys.telegram", internet.TelegramToken)
	for _, set := range [][]string{{"agents.defaults.model.primary", "anthropic/claude-opus-5-5"}, {"channels.telegram.enabled", "true"}, {"channels.telegram.dmPolicy", "pairing"}} {
		l.pulumi(0, "config", "set", "--path", "openclawConfig."+set[0], set[1])
	}
	l.pulumi(0, "up", "--yes", "--skip-preview")
	trustTheLab(l)
	before := l.mainPID()
	l.on(`printf 'NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt\n' >>/etc/openclaw.env; systemctl restart openclaw-keys.service; systemctl restart --no-block openclaw.service`)
	l.awaitGateway(before)
	l.quiet()
	l.looksEvery("2s")
	l.run([]part{
		{"every receiver takes a test", everyReceiver},
		{"a heartbeat comes", heartbeat},
		{"what is cheap: a ban, a reboot, updates", cheapCauses},
		{"a disk", diskAlert},
		{"memory", memoryAlert},
		{"backups", backupAlert},
		{"the gateway is stopped", gatewayAlert},
		{"a crash loop", crashLoopAlert},
		{"refusals at the gate", refusalsAlert},
		{"a budget", budgetAlert},
		{"a channel", channelAlert},
		{"a check that fails", checkAlert},
		{"a queue outlives a reboot", queueOutlives},
		{"no url stands anywhere", noURLs},
		{"the machine is gone", machineGone},
	})
}

// secret is `pulumi config set --secret --path`.
func (l *one) secret(path, value string) {
	l.t.Helper()
	if r := l.lab(value, "pulumi", "config", "set", "--secret", "--path", path); r.code != 0 {
		l.t.Fatal(r)
	}
}

// receivers configures some of internet.AlertURLs.
func (l *one) receivers(names ...string) {
	l.t.Helper()
	for _, name := range names {
		of := internet.AlertURLs[name]
		l.pulumi(0, "config", "set", "--path", "alerts."+name+".kind", of[0])
		l.secret("alerts."+name+".url", of[1])
	}
}

// looksEvery has the timer look more often. The drop-in is no file that stays: a reboot takes it away, and so has a run to.
func (l *one) looksEvery(period string) {
	l.t.Helper()
	l.on(`mkdir -p /run/systemd/system/openclaw-alert.timer.d; printf '[Timer]\nOnUnitActiveSec=` + period + `\nAccuracySec=100ms\n' >/run/systemd/system/openclaw-alert.timer.d/lab.conf
systemctl daemon-reload; systemctl restart openclaw-alert.timer`)
}

// looksAsDeployed takes it back.
func (l *one) looksAsDeployed() {
	l.t.Helper()
	l.on(`rm -rf /run/systemd/system/openclaw-alert.timer.d; systemctl daemon-reload; systemctl restart openclaw-alert.timer`)
}

// alerts are all messages that a receiver got.
func (l *one) alerts(to string) (found []internet.Alert) {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.internet(), internet.AlertsFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var alert internet.Alert
		if err := json.Unmarshal([]byte(line), &alert); err == nil && alert.To == to {
			found = append(found, alert)
		}
	}
	return found
}

// isAbout tells whether an alert's title, behind the machine's name, begins so.
func isAbout(alert internet.Alert, title string) bool {
	_, what, _ := strings.Cut(alert.Title, ": ")
	return strings.HasPrefix(what, title)
}

// told waits until a receiver that had so many messages got another with a title that begins so.
func (l *one) told(title string, before int, to string) (alert internet.Alert) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("%s is told: %s", to, title), 4*time.Minute, func() error {
		all := l.alerts(to)
		for _, each := range all[min(before, len(all)):] {
			if isAbout(each, title) {
				alert = each
				return nil
			}
		}
		return fmt.Errorf("it got %d, the last %+v", len(all), all[max(0, len(all)-3):])
	})
	return alert
}

// happens does something, sees it told once, mends it, and sees that told.
func (l *one) happens(title, do, mend string) internet.Alert {
	l.t.Helper()
	before := len(l.alerts("hook"))
	l.on(do)
	began := l.told(title, before, "hook")
	l.on(mend)
	l.told("over: "+title, before, "hook")
	said := 0
	for _, each := range l.alerts("hook")[before:] {
		if isAbout(each, title) {
			said++
		}
	}
	if said != 1 {
		l.t.Errorf("it was said %d times: %s", said, title)
	}
	if !strings.Contains(began.Text, "What to do: docs/alerts.md, ") || !strings.Contains(began.Text, "Since ") {
		l.t.Errorf("the message is\n%s", began.Text)
	}
	return began
}

func everyReceiver(l *one) {
	r := l.at("vm", "openclaw-alert", "test")
	if r.code != 0 || strings.Count(r.stdout, "): taken\n") != len(internet.AlertURLs) {
		l.t.Errorf("openclaw-alert test: %s", r)
	}
	for _, to := range []string{"ntfy", "hook", "bot", "mail", "starttls", "check fail"} {
		if all := l.alerts(to); len(all) == 0 || !strings.HasSuffix(all[len(all)-1].Title, ": a test") {
			l.t.Errorf("%s got %+v", to, all)
		}
	}
}

// beats are the pings that the check got.
func (l *one) beats() int {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.internet(), internet.HeartbeatsFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

func heartbeat(l *one) {
	before := l.beats()
	l.eventually("two pings come", 4*time.Minute, func() error {
		if now := l.beats(); now < before+2 {
			return fmt.Errorf("%d, then %d", before, now)
		}
		return nil
	})
}

// cheapCauses are those that make test makes happen, too.
func cheapCauses(l *one) {
	alert := l.happens("an address is banned from sshd", `fail2ban-client set sshd banip 192.0.2.9 >/dev/null`, `fail2ban-client set sshd unbanip 192.0.2.9 >/dev/null`)
	if !strings.Contains(alert.Text, "\n| 192.0.2.9\n") {
		l.t.Errorf("the message of a ban:\n%s", alert.Text)
	}
	alert = l.happens("a security update takes effect after a reboot", `echo linux-image-lab >/run/reboot-required.pkgs; touch /run/reboot-required`,
		`rm /run/reboot-required /run/reboot-required.pkgs`)
	if !strings.Contains(alert.Text, "\n| linux-image-lab\n") {
		l.t.Errorf("the message of a reboot:\n%s", alert.Text)
	}
	const dropIn = "/run/systemd/system/apt-daily-upgrade.service.d"
	l.happens("security updates do not succeed", `mkdir -p `+dropIn+`; printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >`+dropIn+`/lab.conf; systemctl daemon-reload
systemctl start apt-daily-upgrade.service || true`, `rm -r `+dropIn+`; systemctl daemon-reload; systemctl reset-failed apt-daily-upgrade.service`)
}

// diskAlert fills the machine's own disk up to 88 %, by room that nothing is written to.
func diskAlert(l *one) {
	before := len(l.alerts("hook"))
	l.on(`df -B1 --output=size,used,avail / | tail -n 1 | (read size used avail; fallocate -l $(((used + avail) * 88 / 100 - used)) /var/tmp/lab-full)`)
	defer l.at("vm", "rm", "-f", "/var/tmp/lab-full")
	l.told("the disk at / is 8", before, "hook")
	l.on(`rm /var/tmp/lab-full`)
	l.told("over: the disk at / is 8", before, "hook")
}

// memoryAlert: the kernel's own counter. It is over after 30 looks without another.
func memoryAlert(l *one) {
	if !l.enforces("memory") {
		return
	}
	l.happens("the kernel ended a process for want of memory",
		`systemd-run --quiet --wait --property=MemoryMax=30M --property=MemorySwapMax=0 python3 -c 'x = bytearray(300 << 20)' || true`, `true`)
}

// backupAlert: a backup that has nowhere to go, however it is made.
func backupAlert(l *one) {
	l.happens("backups fail, or are missing", `mount -t tmpfs -o ro lab /backups/openclaw; systemctl start openclaw-backup.service || true`,
		`umount /backups/openclaw; systemctl reset-failed openclaw-backup.service; openclaw-backup`)
}

func gatewayAlert(l *one) {
	l.happens("OpenClaw's gateway is not ready", `systemctl stop openclaw.service`, `systemctl start --no-block openclaw.service`)
}

// crashLoopAlert: three times, and a start by hand ends it.
func crashLoopAlert(l *one) {
	before := len(l.alerts("hook"))
	for range 3 {
		process := l.mainPID()
		l.on(`kill -KILL ` + process)
		l.awaitGateway(process)
	}
	const title = "OpenClaw ends and is started again and again"
	l.told(title, before, "hook")
	l.on(`systemctl stop openclaw.service; systemctl start --no-block openclaw.service`)
	l.told("over: "+title, before, "hook")
}

// refusalsAlert: the agent asks for what nobody on the Internet has; the gate's journal is then emptied, or it would take ten minutes.
func refusalsAlert(l *one) {
	before := len(l.alerts("hook"))
	r := l.asAgent("python3", "-c", `
import socket
for n in range(130):
    with socket.socket() as s:
        s.settimeout(5)
        try:
            s.connect(("10.0.0.9", 443)); s.sendall(b"x"); s.recv(1)
        except OSError:
            pass`)
	if r.code != 0 {
		l.t.Fatal(r)
	}
	const title = "the gate refused the agent "
	if alert := l.told(title, before, "hook"); !strings.Contains(alert.Text, "\n| ") || !strings.Contains(alert.Text, "10.0.0.9") {
		l.t.Errorf("the message is\n%s", alert.Text)
	}
	l.on(`journalctl -q --namespace=openclaw-egress --rotate; journalctl -q --namespace=openclaw-egress --vacuum-time=1s`)
	l.told("over: "+title, before, "hook")
}

// budgetAlert: a limit that what was spent is 85 % of, then 100 %, then none.
func budgetAlert(l *one) {
	l.turn("true")
	before, spent := len(l.alerts("hook")), l.spent("anthropic")
	if spent == 0 {
		l.t.Fatal("a turn costs no tokens")
	}
	limit := func(tokens int) string {
		return fmt.Sprintf(`sed -i 's/"anthropic": {[^}]*}/"anthropic": {"tokensPerDay": %d}/' /etc/openclaw-keys/budget.json; grep -q tokensPerDay /etc/openclaw-keys/budget.json`, tokens)
	}
	kept := l.on(`cat /etc/openclaw-keys/budget.json`)
	defer l.on(`cat >/etc/openclaw-keys/budget.json <<'END'` + "\n" + kept + "\nEND")
	l.on(limit(spent * 100 / 85))
	l.told(fmt.Sprintf("the budget of anthropic is at 80 %%: tokensPerDay %d", spent*100/85), before, "hook")
	l.on(limit(spent))
	l.told(fmt.Sprintf("changed: the budget of anthropic is at 100 %%: tokensPerDay %d", spent), before, "hook")
	l.on(limit(spent * 10))
	l.told(fmt.Sprintf("over: the budget of anthropic is at 100 %%: tokensPerDay %d", spent), before, "hook")
}

// channelAlert: a token that was revoked, and a new one.
func channelAlert(l *one) {
	before := len(l.alerts("hook"))
	change := func(token string) {
		l.looksAsDeployed() // a drop-in that nobody declared would be taken away
		l.secret("openclawKeys.telegram", token)
		l.pulumi(0, "up", "--yes", "--skip-preview")
		process := l.mainPID()
		l.on(`kill -KILL ` + process)
		l.awaitGateway(process)
		l.looksEvery("2s")
	}
	change(internet.RevokedToken)
	alert := l.told("channel telegram does not connect", before, "hook")
	if !strings.Contains(alert.Text, "\n| telegram: ") || strings.Contains(alert.Text, internet.RevokedToken) {
		l.t.Errorf("the message is\n%s", alert.Text)
	}
	change(internet.TelegramToken)
	l.told("over: channel telegram does not connect", before, "hook")
}

// checkAlert: who is asked is not there.
func checkAlert(l *one) {
	l.happens("nobody knows: the check of bans fails: ", `systemctl stop fail2ban.service`, `systemctl start fail2ban.service`)
}

// queueOutlives: a receiver that takes nothing gets what was said, in its order, after the machine has started again. The others
// had it before.
func queueOutlives(l *one) {
	refuse := filepath.Join(l.internet(), internet.RefuseFile)
	if err := os.WriteFile(refuse, []byte("ntfy\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
	before, others := len(l.alerts("ntfy")), len(l.alerts("hook"))
	const cause = "a security update takes effect after a reboot"
	l.on(`touch /run/reboot-required`)
	l.told(cause, others, "hook")
	if shown := l.on(`openclaw-alert`); !strings.Contains(shown, "ntfy (ntfy): 1 queued, ") || !strings.Contains(shown, "it answered with status 503") {
		l.t.Errorf("openclaw-alert shows\n%s", shown)
	}
	l.must("reboot")
	l.booted()
	if err := os.Remove(refuse); err != nil {
		l.t.Fatal(err)
	}
	l.looksEvery("2s")
	l.told(cause, before, "ntfy")
	l.told("over: "+cause, before, "ntfy")
	got := []string{}
	for _, each := range l.alerts("ntfy")[before:] {
		if isAbout(each, cause) || isAbout(each, "over: "+cause) {
			got = append(got, each.Title)
		}
	}
	if len(got) != 2 || strings.Contains(got[0], "over: ") {
		l.t.Errorf("ntfy got %q", got)
	}
}

// noURLs: what lets somebody in at a receiver stands nowhere but in root's file.
func noURLs(l *one) {
	standNowhere(l, map[string]string{"check": internet.AlertCheck, "hook": internet.AlertHook, "bot": internet.AlertBotToken, "mail": internet.AlertPassword})
	if got := l.on(`grep -rlF -e ` + internet.AlertCheck + ` -e ` + internet.AlertHook + ` /etc /var/lib/openclaw-alert /var/lib/openclaw-deploy 2>/dev/null || true`); got != "/etc/openclaw-alert/alerts.json" {
		l.t.Errorf("a url stands in %s", got)
	}
}

// machineGone: nobody is there to say so, and the check alarms at the silence.
func machineGone(l *one) {
	silent := len(l.alerts("check silent"))
	l.eventually("a ping comes", 3*time.Minute, func() error {
		before := l.beats()
		time.Sleep(time.Second)
		if l.beats() == before {
			return errors.New("none in a second")
		}
		return nil
	})
	group, name := l.named("Microsoft.Compute/virtualMachines")
	l.az("vm delete --resource-group " + group + " --name " + name + " --yes")
	beats := l.beats()
	l.eventually("the check alarms", internet.Silence+time.Minute, func() error {
		if len(l.alerts("check silent")) == silent {
			return fmt.Errorf("no alarm; %d pings", l.beats())
		}
		return nil
	})
	if now := l.beats(); now > beats+1 {
		l.t.Errorf("the heartbeat goes on: %d pings, then %d", beats, now)
	}
}

// threeAlerts are the cheap causes on a machine that has had no receiver, and nothing of it is left.
func threeAlerts(l *one) {
	trustTheLab(l)
	l.receivers("hook")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.looksEvery("2s")
	cheapCauses(l)
	l.looksAsDeployed()
	l.pulumi(0, "config", "rm", "--path", "alerts.hook")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.quiet()
	if got := l.on(`systemctl is-active openclaw-alert.timer || true`); got != "inactive" {
		l.t.Errorf("without a receiver the timer is %s", got)
	}
}
