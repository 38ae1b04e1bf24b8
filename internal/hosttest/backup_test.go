package hosttest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"openclaw-azure/internal/hosttest/privateroot"
)

const (
	backupPath = "../../templates/usr/local/lib/openclaw-deploy/backup.py"
	installed  = "/usr/local/lib/openclaw-deploy/backup.py"
)

// inner makes what OpenClaw's own backup looks like, in the service's user's spool. It is a script, so that a test adds
// entries of its own.
const inner = `
import io, os, sys, tarfile, time
TOP = "2026-11-24T19-04-00.188+00-00-openclaw-backup"
STATE = TOP + "/payload/posix/var/lib/openclaw"
def entry(name, type=tarfile.REGTYPE, content=b"", mode=0o600, link="", size=None):
    e = tarfile.TarInfo(name)
    e.type, e.mode, e.linkname, e.mtime = type, mode, link, 1700000000
    e.size = len(content) if size is None else size
    tar.addfile(e, io.BytesIO(content) if size is None else None)
with tarfile.open(sys.argv[1], "w:gz", format=tarfile.PAX_FORMAT) as tar:
    entry(TOP + "/payload/posix/etc/openclaw/openclaw.json", content=b"{}")
    entry(STATE, tarfile.DIRTYPE, mode=0o755)
    for base, folders, names in os.walk("/var/lib/openclaw"):
        for name in sorted(folders + names):
            path = base + "/" + name
            place = TOP + "/payload/posix" + path
            if os.path.islink(path):
                entry(place, tarfile.SYMTYPE, link=os.readlink(path), mode=0o777)
            elif os.path.isdir(path):
                entry(place, tarfile.DIRTYPE, mode=os.stat(path).st_mode & 0o7777)
            else:
                entry(place, content=open(path, "rb").read(), mode=os.stat(path).st_mode & 0o7777)
    entry(TOP + "/manifest.json", content=b"{}")
    exec(sys.argv[2])
`

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
	r.Write("/run/inner.py", inner)
	for _, name := range []string{"openclaw-backup", "openclaw-restore"} {
		wrapper, err := os.ReadFile("../../templates/usr/local/sbin/" + name)
		if err != nil {
			t.Fatal(err)
		}
		r.Write("/usr/local/sbin/"+name, strings.Replace(string(wrapper), "{{.BackupKeepDays}}", "14", 1))
	}
	r.Write("/run/units/openclaw-backup-archive.service.run",
		"set -e; rm -rf /var/spool/openclaw-backup/*\n"+asService+"/usr/bin/python3 -I /run/inner.py /var/spool/openclaw-backup/state.tar.gz \"$(cat /run/extra)\"\n"+
			asService+"/usr/bin/python3 -I "+installed+" inspect\n")
	r.Write("/run/units/openclaw-restore-unpack.service.run", asService+"/usr/bin/python3 -I "+installed+" unpack\n")
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
mkdir -p /etc/openclaw /backups/openclaw /var/lib/openclaw-restore
install -d -o openclaw -g openclaw -m 700 /var/lib/openclaw /var/spool/openclaw-backup
touch /run/extra /run/units/openclaw.service.active
printf 'KEY=then\n' >/etc/openclaw.env; chmod 640 /etc/openclaw.env; chgrp openclaw /etc/openclaw.env
printf '%064d\n' 7 >/etc/openclaw/backup-key
cd /var/lib/openclaw
echo remember >note; chmod 640 note; mkdir -m 750 sub; echo x >sub/tool; chmod 700 sub/tool
ln -s note link; ln -s /etc/hostname out; chown -hR openclaw:openclaw .`)
	return r
}

const tree = `cd /var/lib/openclaw && find . -printf '%P %y %m %u:%g %l\n' | sort && cat note && cat /etc/openclaw.env && stat -c '%U:%G %a' /etc/openclaw.env`

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	before := r.Sh(tree)
	code, out := r.Run("openclaw-backup")
	said := regexp.MustCompile(`^(/backups/openclaw/openclaw-\S+\.tar): verified\nsha256 ([0-9a-f]{64})\n$`).FindStringSubmatch(out)
	if code != 0 || said == nil {
		t.Fatalf("openclaw-backup: exit status %d\n%s", code, out)
	}
	if got := r.Sh(`readlink -f /backups/openclaw/latest; sha256sum <"$1"; stat -c '%U:%G %a' "$1"; ls -A /backups/openclaw | wc -l; d=$(mktemp -d); cd $d; tar -xf "$1"; sha256sum --quiet -c SHA256SUMS; ls`, said[1]); got !=
		said[1]+"\n"+said[2]+"  -\nroot:claw 640\n2\nSEAL\nSHA256SUMS\nopenclaw.env\nstate.tar.gz\n" {
		t.Errorf("the backup is not as it should be:\n%s", got)
	}

	r.Sh(`cd /var/lib/openclaw; echo forgot >note; rm sub/tool; echo new >new; chown openclaw new; echo KEY=now >/etc/openclaw.env`)
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

// TestRestoreRefuses: whatever is wrong with a backup is found before the service is stopped or a file touched.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	if code, out := r.Run("openclaw-backup"); code != 0 {
		t.Fatal(out)
	}
	r.Sh(`cp /backups/openclaw/latest /run/good; : >/run/systemctl.log; mkdir /run/parts; tar -C /run/parts -xf /run/good`)
	before := r.Sh(tree)
	const pack = `tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=600 -C /run/parts -cf /run/bad `
	for name, c := range map[string]struct{ make, want string }{
		"nothing there":            {`rm -f /run/bad`, "there is no /run/bad"},
		"a folder":                 {`mkdir /run/bad`, "/run/bad: not a plain file"},
		"a fifo":                   {`mkfifo /run/bad`, "/run/bad: not a plain file"},
		"empty":                    {`: >/run/bad`, "it ends too early: it was cut off"},
		"another program's":        {`tar -C / -cf /run/bad etc/hostname`, "no backup of this program: 'etc/hostname' stands where state.tar.gz should be"},
		"no tar":                   {`head -c 20000 /dev/zero | tr '\0' x >/run/bad`, "no backup of this program: it has no state.tar.gz where that should be"},
		"OpenClaw's own alone":     {`cat /run/parts/state.tar.gz /run/parts/state.tar.gz /run/parts/state.tar.gz >/run/bad`, "no backup of this program: it has no state.tar.gz where that should be"},
		"cut off in the state":     {`head -c 700 /run/good >/run/bad`, "it ends too early: it was cut off"},
		"cut off before the seal":  {pack + `state.tar.gz openclaw.env SHA256SUMS`, "no backup of this program: it has no SEAL where that should be"},
		"cut off in the seal":      {`head -c "$(($(stat -c %s /run/good) - 9000))" /run/good >/run/bad; truncate -s -1500 /run/bad`, ""},
		"a byte of the state":      {`cp /run/good /run/bad; printf '\377' | dd of=/run/bad bs=1 seek=600 conv=notrunc status=none`, "its files are not those that SHA256SUMS was made of: it was altered or damaged"},
		"the environment":          {`cd /run/parts; cp openclaw.env e; echo BASE=evil >>openclaw.env; ` + pack + `state.tar.gz openclaw.env SHA256SUMS SEAL; mv e openclaw.env`, "its files are not those that SHA256SUMS was made of: it was altered or damaged"},
		"the environment and sums": {`cd /run/parts; cp openclaw.env e; cp SHA256SUMS s; echo BASE=evil >>openclaw.env; sha256sum state.tar.gz openclaw.env >SHA256SUMS; ` + pack + `state.tar.gz openclaw.env SHA256SUMS SEAL; mv e openclaw.env; mv s SHA256SUMS`, "it does not bear this machine's seal: another machine made it, or it was altered"},
		"another order":            {pack + `openclaw.env state.tar.gz SHA256SUMS SEAL`, "no backup of this program: 'openclaw.env' stands where state.tar.gz should be"},
		"one twice":                {pack + `state.tar.gz state.tar.gz openclaw.env SHA256SUMS SEAL`, ""},
		"one more":                 {`cp SEAL /run/parts/more 2>/dev/null || cp /run/parts/SEAL /run/parts/more; ` + pack + `state.tar.gz openclaw.env SHA256SUMS SEAL more`, "something follows the backup: it was altered, or something else made it"},
		"junk at its end":          {`cp /run/good /run/bad; printf x >>/run/bad`, "something follows the backup: it was altered, or something else made it"},
		"an absolute name":         {pack + `-P --transform 's,^state,/etc/state,' state.tar.gz openclaw.env SHA256SUMS SEAL`, "no backup of this program: '/etc/state.tar.gz' stands where state.tar.gz should be"},
		"a link":                   {`mv /run/parts/state.tar.gz /run/s; ln -s /etc/shadow /run/parts/state.tar.gz; ` + pack + `state.tar.gz openclaw.env SHA256SUMS SEAL; mv /run/s /run/parts/state.tar.gz`, "no backup of this program: 'state.tar.gz' stands where state.tar.gz should be"},
		"another user's":           {`tar --format=ustar --owner=1000 --group=0 --numeric-owner --mode=600 -C /run/parts -cf /run/bad state.tar.gz openclaw.env SHA256SUMS SEAL`, "no backup of this program: 'state.tar.gz' stands where state.tar.gz should be"},
		"setuid":                   {`tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=4755 -C /run/parts -cf /run/bad state.tar.gz openclaw.env SHA256SUMS SEAL`, "no backup of this program: 'state.tar.gz' stands where state.tar.gz should be"},
		"a header that claims 8 GiB": {`cp /run/good /run/bad; /usr/bin/python3 -c "
import tarfile
e = tarfile.TarInfo('state.tar.gz'); e.size = (8 << 30) - 1; e.mode = 0o600
f = open('/run/bad', 'r+b'); f.write(e.tobuf(tarfile.USTAR_FORMAT))"`, "it ends too early: it was cut off"},
	} {
		r.Sh("rm -rf /run/bad; " + c.make)
		code, out := r.Run("openclaw-restore", "/run/bad")
		if code == 0 || !strings.Contains(out, c.want) || strings.Contains(out, "Traceback") {
			t.Errorf("%s: exit status %d, want %q:\n%s", name, code, c.want, out)
		}
		if got := r.Sh(tree + `; ls -A /var/lib/openclaw-restore; grep -e stop -e unpack /run/systemctl.log || true`); got != before {
			t.Fatalf("%s: something was changed, is left or ran:\n%s", name, got)
		}
	}

	// Another machine's: with its sum, and only with that.
	r.Sh(`printf '%064d\n' 8 >/etc/openclaw/backup-key`)
	code, out := r.Run("openclaw-restore", "/run/good")
	hint := regexp.MustCompile(`vouch for it: openclaw-restore --sha256 ([0-9a-f]{64}) /run/good\n$`).FindStringSubmatch(out)
	if code == 0 || hint == nil {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	wrong := strings.Repeat("0", 64)
	if code, out := r.Run("openclaw-restore", "--sha256", wrong, "/run/good"); code == 0 || !strings.Contains(out, "its SHA-256 is "+hint[1]+", not the one that was given") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	if code, out := r.Run("openclaw-restore", "--sha256", hint[1], "/run/good"); code != 0 {
		t.Errorf("exit status %d\n%s", code, out)
	}
}

// TestUnpackRefuses: what an archive of the agent's state may not hold, neither when it is made nor when it comes back.
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

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	for name, c := range map[string]struct{ make, want string }{
		"an absolute path":       {`entry("/etc/cron.d/x", content=b"x")`, "holds '/etc/cron.d/x', which leads out of it"},
		"a way up":               {`entry(STATE + "/../../../etc/x", content=b"x")`, "which leads out of it"},
		"a link and below it":    {`entry(STATE + "/l", tarfile.SYMTYPE, link="/etc"); entry(STATE + "/l/x", content=b"x")`, "/l/x' below what is no folder"},
		"a link in a place":      {`entry(STATE + "/note2", tarfile.SYMTYPE, link="/etc/passwd"); entry(STATE + "/note2", content=b"x")`, "/note2' twice"},
		"below a file":           {`entry(STATE + "/note/x", content=b"x")`, "/note/x' below what is no folder"},
		"a hard link":            {`entry(STATE + "/h", tarfile.LNKTYPE, link=STATE + "/note")`, "/h', which is a hard link"},
		"a hard link out":        {`entry(STATE + "/h", tarfile.LNKTYPE, link="/etc/shadow")`, "/h', which is a hard link"},
		"a device":               {`entry(STATE + "/d", tarfile.CHRTYPE)`, "/d', which is a device"},
		"a fifo":                 {`entry(STATE + "/f", tarfile.FIFOTYPE)`, "/f', which is a device"},
		"setuid":                 {`entry(STATE + "/s", content=b"x", mode=0o4755)`, "/s' with mode 4755"},
		"setgid on a folder":     {`entry(STATE + "/s", tarfile.DIRTYPE, mode=0o2755)`, "/s' with mode 2755"},
		"a file twice":           {`entry(STATE + "/note", content=b"x")`, "/note' twice"},
		"a folder twice":         {`entry(STATE + "/sub", tarfile.DIRTYPE)`, "/sub' twice"},
		"another top":            {`entry("other-openclaw-backup/x", content=b"x")`, "holds 'other-openclaw-backup/x', which is not OpenClaw's"},
		"beside the state":       {`entry(TOP + "/payload/posix/etc/shadow", content=b"x")`, "/etc/shadow', which is not OpenClaw's state"},
		"a state that is a link": {`entry(TOP + "/payload/posix/var/lib/openclaw2", tarfile.SYMTYPE, link="/etc")`, "which is not OpenClaw's state"},
		"a bomb by its headers":  {`entry(STATE + "/b", size=1 << 40)`, "unpacks to more than"},
		"a bomb by its bytes": {`entry(STATE + "/b", content=bytes(200 << 20))
MOST = 0`, ""}, // more than the disk has: see below
		"cut off":  {`tar.fileobj.flush()`, ""},
		"no state": {`pass`, ""},
	} {
		script := c.make
		prepare := asService + `/usr/bin/python3 -I /run/inner.py /var/lib/openclaw-restore/state.tar.gz "$1"`
		want := c.want
		switch name {
		case "a bomb by its bytes":
			want = "unpacks to more than"
		case "cut off":
			prepare += `; truncate -s -40 /var/lib/openclaw-restore/state.tar.gz`
			want = "state.tar.gz is damaged: "
		case "no state":
			prepare = asService + `sh -c 'cd /run && tar -czf /var/lib/openclaw-restore/state.tar.gz extra'`
			want = "holds 'extra', which is not OpenClaw's"
		}
		r.Sh(`cd /var/lib/openclaw-restore; rm -rf ./*; chown openclaw .`)
		r.Sh(prepare, script)
		code, out := r.Run("setpriv", "--reuid", "openclaw", "--regid", "openclaw", "--clear-groups", "/usr/bin/python3", "-I", installed, "unpack")
		if code == 0 || !strings.Contains(out, want) || strings.Contains(out, "Traceback") {
			t.Errorf("%s: exit status %d, want %q:\n%s", name, code, want, out)
		}
	}

	// What a restore would refuse is no backup.
	r.Write("/run/extra", `entry(STATE + "/h", tarfile.LNKTYPE, link=STATE + "/note")`)
	code, out := r.Run("openclaw-backup")
	if want := "OpenClaw's own backup failed: openclaw-inspect: state.tar.gz holds '/var/lib/openclaw/h', which is a hard link\n"; code == 0 || !strings.HasSuffix(out, want) {
		t.Errorf("exit status %d, want %q:\n%s", code, want, out)
	}
	if made := r.Sh(`ls -A /backups/openclaw`); made != "" {
		t.Errorf("a backup was made: %s", made)
	}
}

func TestRestoreThatDoesNotGetReady(t *testing.T) {
	t.Parallel()
	r := backupRoot(t)
	if code, out := r.Run("openclaw-backup"); code != 0 {
		t.Fatal(out)
	}
	r.Sh(`echo today >/var/lib/openclaw/note; echo KEY=now >/etc/openclaw.env`)
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
	r.Write("/run/extra", `raise SystemExit("no disk")`)
	if code, _ := r.Run("openclaw-backup"); code == 0 {
		t.Error("a backup without OpenClaw's own")
	}
	check("a failed run", `the run of `+stamp+` failed: OpenClaw's own backup failed: no disk\n`)
	mend(1)
	r.Write("/run/extra", "")
	mend(0)
	check("mended", "")
	r.Sh(`rm "$(readlink -f /backups/openclaw/latest)"`)
	check("deleted", `/backups/openclaw/latest is gone\n`)
	mend(0)

	// Killed in the middle, and under way.
	r.Write("/run/extra", `time.sleep(60)`)
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
	if n := strings.TrimSpace(r.Sh(`ls /var/spool/openclaw-backup | wc -l`)); n != "0" {
		t.Errorf("%s files are left in the spool", n)
	}
}
