package hosttest

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"openclaw-azure/internal/hosttest/privateroot"
)

const (
	backupPath = "../../templates/usr/local/lib/openclaw-deploy/backup.py"
	installed  = "/usr/local/lib/openclaw-deploy/backup.py"
	pipe       = "/var/lib/openclaw-backup/pipe"
)

const asService = "setpriv --reuid openclaw --regid openclaw --clear-groups "

// backupRoot is a root with a service, its state, and the two programs. What systemd would do with their units, a
// script does, as the same user and without the sandbox.
func backupRoot(t *testing.T) *privateroot.Root {
	t.Helper()
	r := privateroot.New(t)
	program, err := os.ReadFile(backupPath)
	if err != nil {
		t.Fatal(err)
	}
	// The root has 64 MB in all.
	text := strings.Replace(string(program), "SPARE = 256 << 20", "SPARE = 1 << 20", 1)
	r.Write(installed, text)
	for _, name := range []string{"openclaw-backup", "openclaw-restore"} {
		wrapper, err := os.ReadFile("../../templates/usr/local/sbin/" + name)
		if err != nil {
			t.Fatal(err)
		}
		r.Write("/usr/local/sbin/"+name, strings.NewReplacer("{{.BackupKeepDays}}", "14", "{{.AgentFolder}}", "/srv/agent").Replace(string(wrapper)))
	}
	// Root opens the pipe for them, as systemd does.
	r.Write("/run/units/openclaw-backup-archive.service.run", "set -e; sh /run/extra; exec "+asService+"/usr/bin/python3 -I "+installed+" archive --folder=/srv/agent >"+pipe+"\n")
	for _, work := range []string{"list", "unpack"} {
		r.Write("/run/units/openclaw-restore@"+work+".service.run", "exec "+asService+"/usr/bin/python3 -I "+installed+" "+work+" <"+pipe+"\n")
	}
	r.Write("/usr/local/sbin/journalctl", `#!/bin/sh
for word in "$@"; do case $word in --unit=*) cat "/run/units/${word#--unit=}.log" ;; esac; done
`)
	// Starts the service and waits for it, as the real one does; /run/sick says why it does not get ready.
	r.Write("/usr/local/sbin/openclaw-install", `#!/bin/sh
[ "$1" != environment ] || { if grep NODE_OPTIONS "$2"; then exit 1; else exit 0; fi; }
systemctl start openclaw.service
if [ -e /run/sick ]; then cat /run/sick; exit 1; fi
`)
	r.Sh(`chmod 755 /usr/local/sbin/*
rm -rf /backups /var/lib/openclaw* /var/spool/openclaw-backup /etc/openclaw /etc/openclaw.env
id openclaw >/dev/null 2>&1 || useradd --system --user-group openclaw
getent group claw >/dev/null || groupadd claw
mkdir -p /etc/openclaw /backups/openclaw /var/lib/openclaw-restore /var/lib/openclaw-backup
chmod 700 /var/lib/openclaw-backup
install -d -o openclaw -g openclaw -m 700 /var/lib/openclaw /var/spool/openclaw-backup /srv/agent
touch /run/extra /run/units/openclaw.service.active
printf 'KEY=then\n' >/etc/openclaw.env; chmod 640 /etc/openclaw.env; chgrp openclaw /etc/openclaw.env
echo '# nobody else' >/etc/openclaw/backup-recipients
cd /var/lib/openclaw
echo remember >note; chmod 640 note; mkdir -m 750 sub; echo x >sub/tool; chmod 700 sub/tool
ln -s note link; ln -s /etc/hostname out; chown -hR openclaw:openclaw .; echo beside >/srv/agent/beside; chown openclaw: /srv/agent/beside`)
	return r
}

const tree = `cd /var/lib/openclaw && find . /srv/agent -printf '%P %y %m %u:%g %l\n' | sort && cat note /srv/agent/beside /etc/openclaw.env && stat -c '%U:%G %a' /etc/openclaw.env`

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	before := r.Sh(tree)
	code, out := r.Run("openclaw-backup")
	said := regexp.MustCompile(`^(/backups/openclaw/(openclaw-\S+\.tar)): verified\nsha256 ([0-9a-f]{64})\n$`).FindStringSubmatch(out)
	if code != 0 || said == nil {
		t.Fatalf("openclaw-backup: exit status %d\n%s", code, out)
	}
	if got, want := r.Sh(`readlink -f /backups/openclaw/latest; sha256sum <"$1"; stat -c '%U:%G %a' "$1"; ls /backups/openclaw; cat /backups/openclaw/SHA256SUMS; openclaw-backup --newest; tar -tf "$1"; grep -c -a -e remember -e KEY= "$1" || true; ls /var/spool/openclaw-backup`, said[1]),
		said[1]+"\n"+said[3]+"  -\nroot:claw 640\nSHA256SUMS\nlatest\n"+said[2]+"\nrecipient\n"+said[3]+"  "+said[2]+"\n"+said[2]+" sha256 "+said[3]+"\nopenclaw.env.age\nstate.tar.zst.age\n0\nleft-out.json\nnames\n"; got != want {
		t.Errorf("the backup is not as it should be:\n%s\nwant\n%s", got, want)
	}

	r.Sh(`cd /var/lib/openclaw; echo forgot >note; rm sub/tool; echo new >new; chown openclaw new; echo KEY=now >/etc/openclaw.env; echo now >/srv/agent/beside; touch /srv/agent/more`)
	altered := r.Sh(tree)
	if code, out := r.Run("openclaw-restore", "latest"); code != 0 || !strings.Contains(out, "restored, and the gateway is ready") {
		t.Fatalf("openclaw-restore: exit status %d\n%s", code, out)
	}
	if got := r.Sh(tree); got != before {
		t.Errorf("restored:\n%s\nbacked up:\n%s", got, before)
	}
	r.Sh(`[ -e /run/units/openclaw.service.active ]; [ -z "$(ls -A /var/lib/openclaw-restore)" ]; [ "$(stat -c '%U %a' /var/lib/openclaw-backup/undo)" = "root 700" ]`)
	for _, want := range []string{altered, before} {
		if code, out := r.Run("openclaw-restore", "--undo"); code != 0 {
			t.Fatalf("openclaw-restore --undo: exit status %d\n%s", code, out)
		}
		if got := r.Sh(tree); got != want {
			t.Errorf("undone:\n%s\nbefore:\n%s", got, want)
		}
	}
}

// TestTheAgentsFilesStopNoBackup: whatever a user can make is kept, or left out by name.
func TestTheAgentsFilesStopNoBackup(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	r.Write("/run/make.py", `
import os, socket, sqlite3
os.chdir("/var/lib/openclaw"); os.umask(0)
def put(name, content=b"x"):
    with open(name, "wb") as file: file.write(content)
os.makedirs("a/b"); put("a/b/f"); os.link("a/b/f", "a/hard")
for name, target in (("abs", "/etc/passwd"), ("up", "../../.."), ("loop", "loop"), ("gone", "nowhere"), ("dir", "a")): os.symlink(target, name)
for name in (b"\xff\xfe", b"new\nline", b"A", b"a2", "\u00e9".encode(), "e\u0301".encode(), b"-dash", b"*glob[", b"back\\slash", b" ", b"tar: x: y", b"'\"$(id)"): put(name)
os.mkfifo("fifo"); socket.socket(socket.AF_UNIX).bind("sock")
with open("sparse", "wb") as file: file.truncate(1 << 40); file.seek(1 << 30); file.write(b"data")
os.mkdir("shared"); os.chmod("shared", 0o2775); os.mkdir("sticky"); os.chmod("sticky", 0o1777); put("suid"); os.chmod("suid", 0o4755)
put("unreadable"); os.chmod("unreadable", 0); os.mkdir("shut"); os.chmod("shut", 0)
put("no.sqlite", b"SQLite format 3\0" + bytes(1008))
keep = []
for name in ("live.sqlite", "new\nline.sqlite", "back\\n.sqlite", "/srv/agent/beside.sqlite"):
    database = sqlite3.connect(name); keep.append(database)
    database.execute("pragma journal_mode=wal"); database.execute("create table t(x)"); database.execute("insert into t values ('committed')"); database.commit()
locked = sqlite3.connect("locked.sqlite", isolation_level=None); locked.execute("create table t(x)"); locked.execute("begin exclusive")
top = os.getcwd()
for _ in range(2500): os.mkdir("deep"); os.chdir("deep")
os.chdir(top)
while len(os.getcwd()) + 9 < 3900: os.makedirs("new\nfolder"); os.chdir("new\nfolder")
os.mkdir("new\nfolder"); os.chdir(top)
for n in range(3000): put(f"a/b/{n}", b"")
print("made", flush=True)
import time; time.sleep(3600)
`)
	r.Sh(`sed -i 's/^LOCK_SECONDS = .*/LOCK_SECONDS = 0.2/' ` + installed)
	maker := r.Command("setpriv", "--reuid", "openclaw", "--regid", "openclaw", "--clear-groups", "/usr/bin/python3", "/run/make.py")
	made, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	maker.Stderr = os.Stderr
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = maker.Process.Kill(); _ = maker.Wait() }()
	if line := make([]byte, 5); true {
		if _, err := io.ReadFull(made, line); err != nil {
			t.Fatal(err)
		}
	}
	code, out := r.Run("openclaw-backup")
	if want := "the newest backup is without 5 of the agent's files, which cannot be kept:\n"; code != 0 || !strings.Contains(out, want) {
		t.Fatalf("exit status %d, want %q:\n%s", code, want, out)
	}
	for _, want := range []string{"/deep: too deep", "/new\\nfolder: too deep", "| /var/lib/openclaw/shut: Cannot open: Permission denied", "| /var/lib/openclaw/unreadable: Cannot open: Permission denied",
		"| /var/lib/openclaw/sock: socket ignored"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	if _, again := r.Run("openclaw-backup", "--left-out"); !strings.HasSuffix(out, again) || again == "" {
		t.Errorf("--left-out says\n%s", again)
	}
	// All but content that is the same anyhow: kinds, modes, lengths, targets, links and what databases hold.
	const list = `cd /var/lib/openclaw; find . -path ./deep -prune -o -path '*folder/*' -prune -o -name 'shut' -o -name unreadable -o -name sock -o -name '*-wal' -o -name '*-shm' -o -name '*-journal' -o -type d -printf '%P %y %m\n' -o -printf '%P %y %m %n %l %TY\n' | LC_ALL=C sort; stat -c %s sparse
for base in live.sqlite "$(printf 'new\nline')".sqlite 'back\n.sqlite' /srv/agent/beside.sqlite; do /usr/bin/python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("select x from t").fetchall())' "$base"; done`
	before := r.Sh(list)
	if strings.Count(before, "committed") != 4 {
		t.Fatalf("before:\n%s", before)
	}
	r.Sh(`find /var/lib/openclaw /srv/agent -mindepth 1 -delete`)
	if code, out := r.Run("openclaw-restore", "latest"); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, out)
	}
	if diff := cmp.Diff(before, r.Sh(list)); diff != "" {
		t.Errorf("what came back differs (-made +back):\n%s", diff)
	}
	if deep, err := strconv.Atoi(strings.TrimSpace(r.Sh(`find /var/lib/openclaw/deep | wc -l`))); err != nil || deep < 700 {
		t.Errorf("%d of the deep folders came back, %v", deep, err)
	}
}

// TestRestoreRefuses: whatever is wrong with a backup is found before the service is stopped or a file touched.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	if code, out := r.Run("openclaw-backup"); code != 0 {
		t.Fatal(out)
	}
	r.Sh(`cp /backups/openclaw/latest /run/good; : >/run/systemctl.log; mkdir /run/parts; tar -C /run/parts -xf /run/good`)
	before := r.Sh(tree)
	const (
		pack  = `tar --format=gnu --blocking-factor=1 --owner=0 --group=0 --numeric-owner --mode=600 -C /run/parts -cf /run/bad `
		both  = `openclaw.env.age state.tar.zst.age`
		other = "this machine made no such backup: another one did, or it was altered"
	)
	for name, c := range map[string]struct{ make, want string }{
		"nothing there":      {`rm -f /run/bad`, "there is no such file"},
		"a folder":           {`mkdir /run/bad`, "not a plain file"},
		"a fifo":             {`mkfifo /run/bad`, "not a plain file"},
		"empty":              {`: >/run/bad`, "it ends too early: it was cut off"},
		"another program's":  {`tar -C / -cf /run/bad etc/hostname`, "no backup of this program: 'etc/hostname' stands where openclaw.env.age should be"},
		"no tar":             {`head -c 20000 /dev/zero | tr '\0' x >/run/bad`, "no backup of this program: it has no openclaw.env.age where that should be"},
		"cut off":            {`head -c 700 /run/good >/run/bad`, "it ends too early: it was cut off"},
		"cut off at its end": {`head -c -1 /run/good >/run/bad`, "it ends too early: it was cut off"},
		"a byte":             {`cp /run/good /run/bad; printf '\377' | dd of=/run/bad bs=1 seek=700 conv=notrunc status=none`, other},
		"another order":      {pack + `state.tar.zst.age openclaw.env.age`, "no backup of this program: 'state.tar.zst.age' stands where openclaw.env.age should be"},
		"one twice":          {pack + `openclaw.env.age openclaw.env.age state.tar.zst.age`, "no backup of this program: 'openclaw.env.age' stands where state.tar.zst.age should be"},
		"one more":           {`cp /run/good /run/parts/more; ` + pack + both + ` more`, "something follows the backup: it was altered, or something else made it"},
		"junk at its end":    {`cp /run/good /run/bad; printf x >>/run/bad`, "something follows the backup: it was altered, or something else made it"},
		"an absolute name":   {pack + `-P --transform 's,^openclaw,/etc/openclaw,' ` + both, "no backup of this program: '/etc/openclaw.env.age' stands where openclaw.env.age should be"},
		"a link":             {`mv /run/parts/openclaw.env.age /run/s; ln -s /etc/shadow /run/parts/openclaw.env.age; ` + pack + both + `; mv /run/s /run/parts/openclaw.env.age`, "no backup of this program: 'openclaw.env.age' stands where openclaw.env.age should be"},
		"another user's":     {`tar --format=gnu --owner=1000 --group=0 --numeric-owner --mode=600 -C /run/parts -cf /run/bad ` + both, "no backup of this program: 'openclaw.env.age' stands where openclaw.env.age should be"},
		"packed anew":        {`touch /run/parts/*; ` + pack + both, other},
	} {
		r.Sh("rm -rf /run/bad; " + c.make)
		code, out := r.Run("openclaw-restore", "/run/bad")
		if code == 0 || !strings.Contains(out, "/run/bad: refused, nothing was changed: "+c.want) || strings.Contains(out, "Traceback") {
			t.Errorf("%s: exit status %d, want %q:\n%s", name, code, c.want, out)
		}
		if got := r.Sh(tree + `; ls -A /var/lib/openclaw-restore; grep -e stop -e unpack /run/systemctl.log || true`); got != before {
			t.Fatalf("%s: something was changed, is left or ran:\n%s", name, got)
		}
	}

	// With its own sum, what is wrong inside is found all the same.
	sum := func(path string) string { return strings.Fields(r.Sh(`sha256sum ` + path))[0] }
	for name, c := range map[string]struct{ make, want string }{
		"another machine's": {`age-keygen 2>/dev/null >/run/key; for f in env:e state:s; do :; done; cd /run/parts; for name in openclaw.env.age state.tar.zst.age; do echo x | age -e -r "$(age-keygen -y /run/key)" >$name.new; mv $name $name.kept; mv $name.new $name; done; ` + pack + both + `; for name in openclaw.env.age state.tar.zst.age; do mv $name.kept $name; done`,
			"it is encrypted, and not to this machine's key: another machine made it\nhint: from the operator's computer, which has the key: claw restore FILE"},
		"a byte of the state": {`cp /run/good /run/bad; printf '\377' | dd of=/run/bad bs=1 seek="$(($(stat -c %s /run/good) - 1530))" conv=notrunc status=none`, "it cannot be decrypted: it was altered or damaged"},
		"no state":            {`cd /run/parts; mv state.tar.zst.age kept; tar -C / -c etc/hostname | zstd -q | age -e -r "$(cat /backups/openclaw/recipient)" >state.tar.zst.age; ` + pack + both + `; mv kept state.tar.zst.age`, "it holds no /var/lib/openclaw"},
		"no archive":          {`cd /run/parts; mv state.tar.zst.age kept; head -c 100000 /dev/urandom | age -e -r "$(cat /backups/openclaw/recipient)" >state.tar.zst.age; ` + pack + both + `; mv kept state.tar.zst.age`, "it cannot be unpacked: openclaw-unpack: the archive is damaged"},
		"a link for a state":  {`cd /run/parts; mv state.tar.zst.age kept; mkdir -p /run/x/var/lib; ln -sfn /etc /run/x/var/lib/openclaw; tar -C /run/x -c var | zstd -q | age -e -r "$(cat /backups/openclaw/recipient)" >state.tar.zst.age; ` + pack + both + `; mv kept state.tar.zst.age`, "/var/lib/openclaw in it is no folder of openclaw's"},
	} {
		r.Sh("rm -rf /run/bad; " + c.make)
		code, out := r.Run("openclaw-restore", "--sha256", sum("/run/bad"), "/run/bad")
		if code == 0 || !strings.Contains(out, "/run/bad: refused, nothing was changed: "+c.want) || strings.Contains(out, "Traceback") {
			t.Errorf("%s: exit status %d, want %q:\n%s", name, code, c.want, out)
		}
		if got := r.Sh(tree + `; ls -A /var/lib/openclaw-restore; grep 'stop openclaw.service' /run/systemctl.log || true`); got != before {
			t.Fatalf("%s: something was changed, is left or ran:\n%s", name, got)
		}
	}

	// One that was away: with its sum, and only with that.
	r.Sh(`rm /var/lib/openclaw-backup/record.json`)
	code, out := r.Run("openclaw-restore", "/run/good")
	if code == 0 || !strings.Contains(out, other+"\nhint: from the operator's computer, with the SHA-256 that it had when it was made: claw restore --sha256 SUM FILE\n") ||
		strings.Contains(out, sum("/run/good")) {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	if code, out := r.Run("openclaw-restore", "--sha256", strings.Repeat("0", 64), "/run/good"); code == 0 || !strings.Contains(out, "its SHA-256 is "+sum("/run/good")+", not the one that was given") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	if code, out := r.Run("openclaw-restore", "--sha256", sum("/run/good"), "/run/good"); code != 0 {
		t.Errorf("exit status %d\n%s", code, out)
	}
}

// TestTheOperatorsKeyOpensBackups: what the machine makes is encrypted to it too.
func TestTheOperatorsKeyOpensBackups(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	r.Sh(`age-keygen 2>/dev/null >/run/key; age-keygen -y /run/key >>/etc/openclaw/backup-recipients`)
	if code, out := r.Run("openclaw-backup"); code != 0 {
		t.Fatal(out)
	}
	if got := r.Sh(`cd /run; tar -xf /backups/openclaw/latest; age -d -i key openclaw.env.age; age -d -i key state.tar.zst.age | zstd -dq | tar -xiO var/lib/openclaw/note srv/agent/beside`); got != "KEY=then\nremember\nbeside\n" {
		t.Errorf("with the operator's key: %q", got)
	}
}

// A backup of a machine that was taken over, or one that somebody made, decides nothing that is the unit's.
func TestRestoreRefusesVariables(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	r.Sh(`echo NODE_OPTIONS=--require=/var/lib/openclaw/x >>/etc/openclaw.env`)
	if code, out := r.Run("openclaw-backup"); code != 0 {
		t.Fatal(out)
	}
	r.Sh(`echo KEY=now >/etc/openclaw.env; echo today >/var/lib/openclaw/note`)
	before := r.Sh(tree)
	code, out := r.Run("openclaw-restore", "latest")
	if want := "refused, nothing was changed: NODE_OPTIONS=--require=/var/lib/openclaw/x\n"; code == 0 || !strings.HasSuffix(out, want) {
		t.Errorf("exit status %d, want %q:\n%s", code, want, out)
	}
	if got := r.Sh(tree + `; ls /var/lib/openclaw-restore`); got != before {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
}

// TestBackupsGiveWay: the oldest to the newest where the disk is full, and never the last good one.
func TestBackupsGiveWay(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	for range 3 {
		if code, out := r.Run("openclaw-backup"); code != 0 {
			t.Fatal(out)
		}
	}
	made := strings.Fields(r.Sh(`ls /backups/openclaw/*.tar`))
	// Room for no more than is to stay free, until the oldest has gone: it is made to matter.
	r.Sh(`head -c 3000000 /dev/urandom >>"$1"; fallocate -l $(($(stat -f -c '%f * %S' /var) - 3000000)) /var/filled`, made[0])
	code, out := r.Run("openclaw-backup")
	if code != 0 {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	kept := strings.Fields(r.Sh(`ls /backups/openclaw/*.tar`))
	if len(kept) != 3 || slices.Contains(kept, made[0]) || !slices.Contains(kept, made[2]) {
		t.Errorf("of %q are kept %q", made, kept)
	}
	r.Sh(`rm /var/filled; fallocate -l $(($(stat -f -c '%f * %S' /var) - 1000000)) /var/filled`)
	code, out = r.Run("openclaw-backup")
	if want := "the disk is full: "; code == 0 || !strings.Contains(out, want) {
		t.Errorf("exit status %d, want %q:\n%s", code, want, out)
	}
	if left := strings.Fields(r.Sh(`ls /backups/openclaw/*.tar; readlink -f /backups/openclaw/latest; ls -A /backups/openclaw | grep part || true`)); len(left) != 2 || left[0] != left[1] || left[0] != kept[2] {
		t.Errorf("left: %q of %q", left, kept)
	}
	r.Sh(`rm /var/filled`)
	if code, out := r.Run("openclaw-restore", "latest"); code != 0 {
		t.Errorf("the last good one: exit status %d\n%s", code, out)
	}
}

func TestRestoreThatDoesNotGetReady(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	if code, out := r.Run("openclaw-backup"); code != 0 {
		t.Fatal(out)
	}
	r.Sh(`echo today >/var/lib/openclaw/note; echo today >/srv/agent/beside; echo KEY=now >/etc/openclaw.env`)
	before := r.Sh(tree)
	// Ready with today's state alone.
	r.Write("/usr/local/sbin/openclaw-install", `#!/bin/sh
[ "$1" != environment ] || { if grep NODE_OPTIONS "$2"; then exit 1; else exit 0; fi; }
systemctl start openclaw.service
grep -q today /var/lib/openclaw/note && exit 0
[ ! -e /run/hang ] || sleep 60
echo 'openclaw.service ended with exit status 1'; exit 1
`)
	code, out := r.Run("openclaw-restore", "latest")
	if want := "openclaw-restore: the gateway does not get ready with the restored state: the old one is back: openclaw.service ended with exit status 1\n"; code == 0 || !strings.HasSuffix(out, want) {
		t.Errorf("exit status %d, want %q:\n%s", code, want, out)
	}
	if got := r.Sh(tree); got != before {
		t.Errorf("the old state is not back:\n%s", got)
	}

	// Killed while it waits: the next one takes it back first.
	r.Write("/run/hang", "")
	c := r.Command("openclaw-restore", "latest")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r.Await("the restored state in place", func() bool {
		note, _ := os.ReadFile(r.Path("/var/lib/openclaw/note"))
		return string(note) == "remember\n" && exec.Command("test", "-e", r.Path("/var/lib/openclaw-backup/restoring.json")).Run() == nil
	})
	if err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	r.Await("it is gone", func() bool {
		code, _ := r.Run("flock", "-n", "/var/lib/openclaw-backup/lock", "true")
		return code == 0
	})
	code, out = r.Run("openclaw-restore", "--undo")
	if code == 0 || out != "a restore that did not finish was taken back\nopenclaw-restore: no restore is kept that could be taken back\n" {
		t.Errorf("exit status %d:\n%s", code, out)
	}
	if got := r.Sh(tree); got != before {
		t.Errorf("the old state is not back:\n%s", got)
	}
}

func TestBackupCheck(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	check := func(what, want string) {
		t.Helper()
		if code, out := r.Run("openclaw-backup", "--check"); code != 0 || !regexp.MustCompile("^(?:"+want+")$").MatchString(out) {
			t.Errorf("%s: exit status %d: %q, want %q", what, code, out, want)
		}
	}
	const stamp = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`
	mend := func(code int) {
		t.Helper()
		if got, out := r.Run("openclaw-backup", "--mend"); got != code {
			t.Errorf("openclaw-backup --mend: exit status %d, want %d\n%s", got, code, out)
		}
	}
	check("nothing known", `there is no /var/lib/openclaw-backup/record.json: no run of openclaw-backup is known\n`)
	mend(0)
	check("a machine just made", "")
	// Where nothing can be written, as an alert's sandbox is.
	if code, out := r.Run("unshare", "--mount", "sh", "-c", "mount --bind /var/lib/openclaw-backup /var/lib/openclaw-backup && mount -o remount,bind,ro /var/lib/openclaw-backup && ! touch /var/lib/openclaw-backup/x 2>/dev/null && openclaw-backup --check"); code != 0 || out != "" {
		t.Errorf("on a file system that is read-only: exit status %d: %s", code, out)
	}
	if key := r.Read("/backups/openclaw/recipient"); !strings.HasPrefix(key, "age1") {
		t.Errorf("its key is %q", key)
	}
	r.Sh(`ls /backups/openclaw/latest 2>/dev/null && exit 1; /usr/bin/python3 - <<'X'
import json, time
json.dump({"since": time.time() - 27 * 3600}, open("/var/lib/openclaw-backup/record.json", "w"))
X`)
	check("a night without", `there is no backup since `+stamp+`\n`)
	mend(0)
	check("mended", "")
	r.Sh(`touch -d '27 hours ago' "$(readlink -f /backups/openclaw/latest)"`)
	check("an old one", `the newest backup is of `+stamp+`\n`)
	mend(0)
	check("mended", "")
	r.Write("/run/extra", `echo "no disk"; exit 1`)
	if code, _ := r.Run("openclaw-backup"); code == 0 {
		t.Error("a backup that failed")
	}
	check("a failed run", `the run of `+stamp+` failed: the archive of the agent's files failed: no disk\n`)
	mend(1)
	r.Write("/run/extra", "")
	mend(0)
	check("mended", "")
	r.Sh(`rm "$(readlink -f /backups/openclaw/latest)"`)
	check("deleted", `/backups/openclaw/latest is gone\n`)
	mend(0)

	// Killed in the middle, and under way.
	r.Write("/run/extra", "sleep 60")
	c := r.Command("openclaw-backup")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r.Await("a run under way", func() bool { return strings.Contains(r.Read("/var/lib/openclaw-backup/record.json"), `"ended": null`) })
	check("under way", "")
	if code, out := r.Run("openclaw-restore", "latest"); code == 0 || out != "openclaw-restore: a backup or a restore is under way\n" {
		t.Errorf("a restore beside a backup: exit status %d: %s", code, out)
	}
	if err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	r.Await("it is gone", func() bool {
		code, _ := r.Run("flock", "-n", "/var/lib/openclaw-backup/lock", "true")
		return code == 0
	})
	check("killed", `the run of `+stamp+` did not end\n`)
	r.Write("/run/extra", "")
	r.Write("/backups/openclaw/.openclaw-20000101T000000.000000Z.tar.part", "of one that was killed later")

	// Kept for so many days, the newest for ever.
	r.Sh(`cd /backups/openclaw; touch -d '15 days ago' openclaw-20000101T000000.000000Z.tar; touch -d '13 days ago' openclaw-20000102T000000.000000Z.tar; touch -d '15 days ago' mine.tar`)
	mend(0)
	if got := r.Sh(`cd /backups/openclaw; ls -A | grep -e ^openclaw-2000 -e ^mine -e part || true`); got != "mine.tar\nopenclaw-20000102T000000.000000Z.tar\n" {
		t.Errorf("kept: %q", got)
	}
}
