package hosttest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openclaw-azure/internal/hosttest/screen"
)

const alertProgram = "../../templates/usr/local/sbin/openclaw-alert"

// alertDriver loads the program with all its places below a folder, its clock shifted by what a file there says and its disks as
// full as another says, and runs a command for each line that it reads.
const alertDriver = loading + `
import json, os, types
path, root, changes = sys.argv[1:4]
m = load(path)
for name, place in {"CONFIG": "/alerts.json", "STATE": "/state", "AUTHORITIES": "/ca.pem", "SYSTEMCTL": "/bin/systemctl",
        "INSTALLER": "/bin/openclaw-install", "BACKUP": "/bin/openclaw-backup", "EGRESS": "/bin/openclaw-egress",
        "BUDGET": "/bin/openclaw-budget", "FAIL2BAN": "/bin/fail2ban-client", "MOUNTS": "/mounts", "KERNEL_KILLS": "/vmstat",
        "SERVICE_KILLS": "/events", "UPTIME": "/uptime", "BOOT": "/boot_id", "REBOOT": "/reboot-required", "UPGRADED": "/upgraded"}.items():
    assert hasattr(m, name)
    setattr(m, name, root + place)
m.now = clock(root)
changes = json.loads(changes)
every = m.CHECKS
def only(names):  # checks: a process takes longer to start than to look
    m.CHECKS = tuple(check for check in every if check.name in names)
    assert len(m.CHECKS) == len(names)
if "only" in changes:
    only(changes.pop("only").split())
import email.message, http.client, smtplib, ssl
for name, value in changes.items():
    assert hasattr(m, name)
    setattr(m, name, value)
def statvfs(place):
    used = json.load(open(root + "/disks"))[place]
    return types.SimpleNamespace(f_blocks=1000, f_bfree=1000 - used * 10, f_bavail=1000 - used * 10, f_files=100, f_ffree=90)
m.os.statvfs = statvfs
for line in sys.stdin:
    code, words = 0, line.split()
    try:
        if words[:1] == ["only"]:
            only(words[1:])
        else:
            m.main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if not isinstance(end.code, int):
            print(end.code)
    except (m.Failure, OSError) as fault:
        code = 1
        print(f"openclaw-alert: {fault}")
    print(f"end {code}", flush=True)
`

// alertWorld stands for the programs that the checks ask.
const alertWorld = `#!/bin/sh
root=${0%/bin/*}
name=${0##*/}
! grep -qsx "$name" "$root/hangs" || sleep 600
! grep -qsx "$name" "$root/fails" || { printf 'no \033[31m\342\200\256socket\n' >&2; exit 3; }
case "$name $*" in
systemctl\ show*) for unit; do :; done; cat "$root/units/$unit" ;;
openclaw-install\ ready) cat "$root/ready" ;;
openclaw-install\ channels) cat "$root/channels" ;;
openclaw-backup\ --check) cat "$root/backup" ;;
openclaw-egress\ recent\ 600) cat "$root/recent" ;;
openclaw-budget\ sums) cat "$root/sums" ;;
fail2ban-client\ status\ sshd) cat "$root/banned" ;;
*) echo "$name $*: not known" >&2; exit 9 ;;
esac
`

// sound is a world in which nothing is wrong.
var sound = map[string]string{
	"units/openclaw.service":          "ActiveState=active\nSubState=running\nResult=success\nNRestarts=0\n",
	"units/openclaw-backup.service":   "ActiveState=inactive\n",
	"units/apt-daily.service":         "Result=success\n",
	"units/apt-daily-upgrade.service": "Result=success\n",
	"ready":                           "ready\n",
	"channels":                        "[]\n",
	"backup":                          "",
	"recent":                          `{"count": 3, "most": []}`,
	"sums":                            `{"providers": {}}`,
	"banned":                          "Status for the jail: sshd\n`- Actions\n   |- Currently banned: 0\n   |- Total banned:     2\n   `- Banned IP list:   \n",
	"mounts":                          "/dev/vda1 / ext4 rw 0 0\n/dev/vdb /dev ext4 rw 0 0\n/dev/vda1 /dev/shm/.. ext4 rw 0 0\n/dev/loop1 /proc squashfs ro 0 0\nproc /proc proc rw 0 0\n",
	"disks":                           `{"/": 40, "/dev": 50}`,
	"vmstat":                          "nr_free_pages 7\noom_kill 4\n",
	"events":                          "oom 0\noom_kill 0\n",
	"uptime":                          "900000.00 1.00\n",
	"boot_id":                         "a\n",
	"upgraded":                        "",
}

type alerts struct {
	t       testing.TB
	root    string
	changes string
	log     *screen.Screen
	input   io.WriteCloser
	output  *bufio.Reader
	command *exec.Cmd
	printed strings.Builder
	urls    []string
}

// authority signs the certificates of the receivers here, and of nobody else.
var authority = sync.OnceValue(func() (out struct {
	pem  string
	leaf tls.Certificate
}) {
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		if signer == nil {
			signer = key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			panic(err)
		}
		return key, der
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "alerts"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caKey, caDER := make(ca, ca, nil)
	// Newer Pythons want the identifiers that it got.
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		panic(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "receiver"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	key, der := make(leaf, ca, caKey)
	out.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	out.leaf = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return out
})

// newAlerts is a machine on which nothing is wrong; receivers are pairs of a name with its kind, and a url.
func newAlerts(t testing.TB, changes string, receivers ...string) *alerts {
	t.Helper()
	a := &alerts{t: t, root: t.TempDir(), changes: changes, log: &screen.Screen{}}
	a.sound()
	a.write("ca.pem", authority().pem)
	type receiver struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
		URL  string `json:"url"`
	}
	list := []receiver{}
	for i := 0; i < len(receivers); i += 2 {
		name, kind, _ := strings.Cut(receivers[i], " ")
		list = append(list, receiver{name, kind, receivers[i+1]})
		a.urls = append(a.urls, receivers[i+1])
	}
	text, err := json.Marshal(map[string]any{"receivers": list})
	if err != nil {
		t.Fatal(err)
	}
	a.write("alerts.json", string(text))
	for _, name := range []string{"systemctl", "openclaw-install", "openclaw-backup", "openclaw-egress", "openclaw-budget", "fail2ban-client"} {
		a.write("bin/"+name, alertWorld)
		if err := os.Chmod(a.root+"/bin/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.start(a.argv())
	t.Cleanup(func() {
		a.stop()
		// Nowhere but in its configuration: not in what it printed, logged or keeps.
		kept := a.printed.String() + a.log.String()
		filepath.WalkDir(a.root+"/state", func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				text, _ := os.ReadFile(path)
				kept += path + string(text)
			}
			return nil
		})
		for _, url := range a.urls {
			for _, part := range append(strings.FieldsFunc(url, func(r rune) bool { return strings.ContainsRune(":/@?=&", r) }), url) {
				if strings.Contains(part, "canary") && strings.Contains(kept, part) {
					t.Errorf("%q is in what the program printed, logged or keeps:\n%s", part, kept)
				}
			}
		}
		if strings.Contains(kept, "Traceback") {
			t.Errorf("the program's own fault:\n%s", kept)
		}
	})
	return a
}

// sound makes a world in which nothing is wrong, and nothing was said.
func (a *alerts) sound() {
	a.t.Helper()
	for _, name := range []string{"state", "fails", "hangs", "reboot-required", "shift"} {
		if err := os.RemoveAll(a.root + "/" + name); err != nil {
			a.t.Fatal(err)
		}
	}
	for name, content := range sound {
		a.write(name, content)
	}
}

func (a *alerts) write(name, content string) {
	a.t.Helper()
	path := a.root + "/" + name
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		a.t.Fatal(err)
	}
	// In one step: a check may be reading it.
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		a.t.Fatal(err)
	}
}

func (a *alerts) argv() []string {
	path, err := filepath.Abs(alertProgram)
	if err != nil {
		a.t.Fatal(err)
	}
	return []string{"/usr/bin/python3", "-I", "-c", alertDriver, path, a.root, a.changes}
}

// start begins a process of the program's; another one in the same place is what a restart is.
func (a *alerts) start(argv []string) {
	a.t.Helper()
	a.command = exec.Command(argv[0], argv[1:]...)
	// A proxy that nobody serves, and authorities that are none: neither counts.
	a.command.Env = append(os.Environ(), "HTTPS_PROXY=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1", "ALL_PROXY=http://127.0.0.1:1", "SSL_CERT_FILE=/dev/null")
	a.command.Stderr = a.log
	a.input, _ = a.command.StdinPipe()
	output, _ := a.command.StdoutPipe()
	a.output = bufio.NewReader(output)
	if err := a.command.Start(); err != nil {
		a.t.Fatal(err)
	}
}

func (a *alerts) stop() {
	a.input.Close()
	a.command.Process.Kill()
	a.command.Wait()
}

// run is one command of the program's, with what it prints and its exit status.
func (a *alerts) run(words string) (string, int) {
	a.t.Helper()
	io.WriteString(a.input, words+"\n")
	return a.answer(words)
}

func (a *alerts) answer(words string) (string, int) {
	a.t.Helper()
	var out strings.Builder
	for {
		line, err := a.output.ReadString('\n')
		if err != nil {
			a.t.Fatalf("%s: %v\n%s%s", words, err, out.String(), a.log)
		}
		var code int
		if _, err := fmt.Sscanf(line, "end %d\n", &code); err == nil {
			a.printed.WriteString(out.String())
			return out.String(), code
		}
		out.WriteString(line)
	}
}

// looks so many times, each a minute after the other.
func (a *alerts) looks(times int) {
	a.t.Helper()
	for range times {
		if out, code := a.run("look"); code != 0 || out != "" {
			a.t.Fatalf("look: exit status %d\n%s%s", code, out, a.log)
		}
		a.later(time.Minute)
	}
}

func (a *alerts) later(by time.Duration) {
	a.t.Helper()
	text, _ := os.ReadFile(a.root + "/shift")
	var seconds float64
	fmt.Sscan(string(text), &seconds)
	a.write("shift", fmt.Sprint(seconds+by.Seconds()))
}

// letter is what a receiver got.
type letter struct{ method, path, login, title, body string }

// inbox is a receiver that speaks HTTP by TLS.
type inbox struct {
	*httptest.Server
	mutex   sync.Mutex
	letters []letter
	headers http.Header // of the last
	status  int
	answer  http.HandlerFunc
}

func newInbox(t testing.TB) *inbox {
	t.Helper()
	in := &inbox{status: 200}
	in.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		in.mutex.Lock()
		status, answer := in.status, in.answer
		in.letters, in.headers = append(in.letters, letter{r.Method, r.URL.RequestURI(), user + ":" + password, r.Header.Get("Title"), string(body)}), r.Header
		in.mutex.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		w.WriteHeader(status)
	}))
	in.Server.TLS = &tls.Config{Certificates: []tls.Certificate{authority().leaf}}
	in.Server.Config.ErrorLog = discard
	in.StartTLS()
	t.Cleanup(in.Close)
	return in
}

// url is the receiver's with a path, and perhaps a login.
func (in *inbox) url(login, path string) string {
	return strings.Replace(in.URL, "https://", "https://"+login, 1) + path
}

func (in *inbox) answers(status int, answer http.HandlerFunc) {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	in.status, in.answer = status, answer
}

// taken gives what came since it was asked last.
func (in *inbox) taken() []letter {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	out := in.letters
	in.letters = nil
	return out
}

// titles are those of a webhook's letters.
func (in *inbox) titles() []string {
	out := []string{}
	for _, each := range in.taken() {
		var found struct{ Event, Cause string }
		json.Unmarshal([]byte(each.body), &found)
		out = append(out, found.Event+" "+found.Cause)
	}
	return out
}

func (a *alerts) expect(what string, got, want []string) {
	a.t.Helper()
	if !slices.Equal(got, want) {
		a.t.Errorf("%s: %q, want %q\n%s", what, got, want, a.log)
	}
}

// mailbox is a mail server of the two kinds: TLS at once, or STARTTLS; it wants a login.
type mailbox struct {
	net.Listener
	implicit bool
	mutex    sync.Mutex
	mails    []string
	clear    []string // lines that came before TLS
	logins   []string
	refuse   string // a command that it refuses
}

func newMailbox(t testing.TB, implicit bool) *mailbox {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{Listener: listener, implicit: implicit}
	go func() {
		for {
			link, err := listener.Accept()
			if err != nil {
				return
			}
			go m.serve(link)
		}
	}()
	t.Cleanup(func() { listener.Close() })
	return m
}

func (m *mailbox) serve(link net.Conn) {
	defer link.Close()
	link.SetDeadline(time.Now().Add(30 * time.Second))
	secured := m.implicit
	if secured {
		link = tls.Server(link, &tls.Config{Certificates: []tls.Certificate{authority().leaf}})
	}
	in := bufio.NewReader(link)
	say := func(lines ...string) { io.WriteString(link, strings.Join(lines, "\r\n")+"\r\n") }
	say("220 mail.example ESMTP")
	var from, to string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		m.mutex.Lock()
		if !secured {
			m.clear = append(m.clear, line)
		}
		refused := m.refuse == verb
		m.mutex.Unlock()
		switch {
		case refused:
			say("550 5.7.1 no: canary-of-the-server")
		case verb == "EHLO" && secured:
			say("250-mail.example", "250-AUTH PLAIN", "250 SMTPUTF8")
		case verb == "EHLO":
			say("250-mail.example", "250 STARTTLS")
		case verb == "STARTTLS":
			say("220 go on")
			secured = true
			link = tls.Server(link, &tls.Config{Certificates: []tls.Certificate{authority().leaf}})
			in = bufio.NewReader(link)
		case verb == "AUTH" && secured:
			login, _ := base64.StdEncoding.DecodeString(line[strings.LastIndexByte(line, ' ')+1:])
			m.mutex.Lock()
			m.logins = append(m.logins, strings.ReplaceAll(string(login), "\x00", " "))
			m.mutex.Unlock()
			say("235 welcome")
		case verb == "MAIL":
			from = line
			say("250 fine")
		case verb == "RCPT":
			to = line
			say("250 fine")
		case verb == "DATA":
			say("354 go on")
			mail := from + "\n" + to + "\n"
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				mail += strings.TrimRight(line, "\r\n") + "\n"
			}
			m.mutex.Lock()
			m.mails = append(m.mails, mail)
			m.mutex.Unlock()
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}

func (m *mailbox) refuses(verb string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.refuse = verb
}

func (m *mailbox) url() string {
	scheme := "smtp"
	if m.implicit {
		scheme = "smtps"
	}
	return fmt.Sprintf("%s://me%%40example.com:canary%%2Fword@%s/?from=from@example.com&to=to%%2Balerts@example.com", scheme, m.Addr())
}
