package scenarios

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// remembered is what a backup has to bring back: a file of the agent's, links of its, and a line of the operator's.
const remembered = `cd /var/lib/openclaw/workspace && cat note && readlink link out && stat -c '%U:%G %a' note && grep OPERATOR /etc/openclaw.env`

// backupAndRestore: made by OpenClaw with its gateway running, restored on the same machine, taken back and put back.
func backupAndRestore(l *one) {
	l.on(`runuser -u openclaw -- sh -c 'umask 077; mkdir -p /var/lib/openclaw/workspace; cd /var/lib/openclaw/workspace; echo remember-me >note; ln -sfn note link; ln -sfn /usr/bin/python3 out; mkdir -p shared; chmod 2775 shared; [ -S sock ] || python3 -c "import socket; socket.socket(1).bind(\"sock\")"'
grep -q OPERATOR /etc/openclaw.env || echo OPERATOR=mine >>/etc/openclaw.env`)
	const want = "remember-me\nnote\n/usr/bin/python3\nopenclaw:openclaw 600\nOPERATOR=mine"
	if got := l.on(remembered); got != want {
		l.t.Fatalf("before the backup: %q", got)
	}
	if r := l.command("", time.Minute, "sh", "-c", "go run ./cmd/keys backup | bin/lab pulumi config set --secret backupKey"); r.code != 0 {
		l.t.Fatalf("set backupKey: %s", r)
	}
	l.pulumi(0, "up", "--yes", "--skip-preview")
	password := l.output("sudoPassword") + "\n"
	made := l.claw(password, "ssh", "--", "sudo -S -p '' openclaw-backup")
	said := regexp.MustCompile(`^(/backups/openclaw/openclaw-\S+\.tar): verified\nsha256 [0-9a-f]{64}\nthe newest backup is without 1 of the agent's files, which cannot be kept:\n\| /var/lib/openclaw/workspace/sock: socket ignored\n$`).FindStringSubmatch(made.stdout)
	if made.code != 0 || said == nil {
		l.t.Fatalf("sudo openclaw-backup: %s", made)
	}
	if preview := l.pulumi(0, "preview", "--non-interactive"); !strings.Contains(preview.stdout+preview.stderr, "| | /var/lib/openclaw/workspace/sock: socket ignored") {
		l.t.Errorf("the preview does not say what is in no backup: %s", preview)
	}
	if got := l.on(`readlink -f /backups/openclaw/latest; stat -L -c '%U:%G %a' /backups/openclaw/latest; openclaw-backup --check; systemd-run -q --wait -p User=openclaw cat /backups/openclaw/latest 2>&1 || echo out of reach
grep -c -a remember-me /backups/openclaw/latest || true; runuser -u claw -- cat /var/lib/openclaw-backup/identity 2>/dev/null || echo no key`); got !=
		said[1]+"\nroot:claw 640\nout of reach\n0\nno key" {
		l.t.Errorf("the backup: %q", got)
	}

	// Altered by one byte, while the gateway runs: nothing happens to it.
	started := l.on(`systemctl show -p ActiveEnterTimestamp openclaw.service`)
	l.on(`cp /backups/openclaw/latest /root/bad.tar; printf '\377' | dd of=/root/bad.tar bs=1 seek=900 conv=notrunc status=none`)
	if r := l.at("vm", "openclaw-restore", "/root/bad.tar"); r.code == 0 || !strings.Contains(r.stderr, "refused, nothing was changed: this machine made no such backup: another one did, or it was altered") {
		l.t.Errorf("an altered backup: %s", r)
	}
	if now := l.on(`rm /root/bad.tar; systemctl show -p ActiveEnterTimestamp openclaw.service`); now != started {
		l.t.Errorf("the service was touched: %s, before %s", now, started)
	}

	l.on(`runuser -u openclaw -- sh -c 'cd /var/lib/openclaw/workspace; echo forgotten >note; rm link out'; sed -i s/mine/yours/ /etc/openclaw.env`)
	restored := l.claw(password, "ssh", "--", "sudo -S -p '' openclaw-restore latest")
	if restored.code != 0 || !strings.Contains(restored.stdout, "restored, and the gateway is ready") {
		l.t.Fatalf("sudo openclaw-restore latest: %s", restored)
	}
	if got := l.on(remembered); got != want {
		l.t.Errorf("restored: %q, want %q", got, want)
	}
	l.gatewayReady()
}

// gatewayReady reads what the gateway says of itself.
func (l *one) gatewayReady() {
	l.t.Helper()
	if got := l.on(`python3 -c 'import json, urllib.request; print(json.load(urllib.request.urlopen("http://127.0.0.1:18789/readyz"))["ready"])'`); got != "True" {
		l.t.Errorf("/readyz: %q", got)
	}
}

// missingBackupShows: a run that fails is told by the next preview, and mended by the next up.
func missingBackupShows(l *one) {
	l.on(`chmod 0500 /var/spool/openclaw-backup`)
	if r := l.at("vm", "openclaw-backup"); r.code == 0 {
		l.t.Errorf("a backup without a spool: %s", r)
	}
	preview := l.pulumi(0, "preview", "--non-interactive")
	if want := regexp.MustCompile(`faults of the backups: expected , found the run of \S+ \S+ UTC failed: the archive of the agent's files failed: `); !want.MatchString(preview.stdout + preview.stderr) {
		l.t.Errorf("the preview does not say that the backup failed: %s", preview)
	}
	l.pulumi(0, "up", "--yes", "--skip-preview")
	if got := l.on(`openclaw-backup --check`); got != "" {
		l.t.Errorf("after pulumi up: %q", got)
	}
	l.quiet()
}

// bringHome takes the newest backup home, through the tunnel, and notes its SHA-256 as the stack says it.
func bringHome(l *one) (content, sum string) {
	l.t.Helper()
	home := l.claw("", "ssh", "--", "cat /backups/openclaw/latest")
	if home.code != 0 || len(home.stdout) < 4*512 {
		l.t.Fatalf("claw ssh -- cat: exit status %d, %d bytes: %s", home.code, len(home.stdout), home.stderr)
	}
	l.pulumi(0, "up", "--yes", "--skip-preview", "--expect-no-changes") // which reads what is new there
	_, sum, _ = strings.Cut(l.output("backup"), " sha256 ")
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(home.stdout))); got != sum {
		l.t.Errorf("the stack says that the newest backup's SHA-256 is %q, and that of what came home is %s", sum, got)
	}
	return home.stdout, sum
}

// comeBack restores it on a rebuilt machine, whose keys are others.
func comeBack(l *one, content, sum string) {
	l.t.Helper()
	path := filepath.Join(l.tempDir(), "backup.tar")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		l.t.Fatal(err)
	}
	if r := l.claw("", "restore", "--sha256", strings.Repeat("0", 64), path); r.code == 0 || !strings.Contains(r.stderr, "its SHA-256 is "+sum+" and not "+strings.Repeat("0", 64)) {
		l.t.Errorf("with another sum: %s", r)
	}
	restored := l.claw("", "restore", "--sha256", sum, path)
	if restored.code != 0 || !strings.Contains(restored.stdout, "the backup: restored, and the gateway is ready") {
		l.t.Fatalf("claw restore: %s", restored)
	}
	if got, want := l.on(remembered), "remember-me\nnote\n/usr/bin/python3\nopenclaw:openclaw 600\nOPERATOR=mine"; got != want {
		l.t.Errorf("restored on a rebuilt machine: %q, want %q", got, want)
	}
	l.gatewayReady()
	if got := l.on(`openclaw-backup --check`); got != "" {
		l.t.Errorf("a machine just made: %q", got)
	}
}
