package hosttest

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

var discard = log.New(io.Discard, "", 0)

// TestAlertTest: each kind as its service wants it, by TLS that is verified, and for each whether it was taken.
func TestAlertTest(t *testing.T) {
	t.Parallel()
	in, mail, starttls := newInbox(t), newMailbox(t, true), newMailbox(t, false)
	a := newAlerts(t, "{}", "bot telegram", in.url("", "/bot815:canary-token/sendMessage?chat_id=-100"), "checks healthchecks", in.url("", "/ping/canary-uuid"),
		"hook webhook", in.url("me:canary-pass@", "/canary-hook?wait=true"), "mail smtp", mail.url(), "mail-starttls smtp", starttls.url(), "topic ntfy", in.url(":canary-topic-token@", "/canary-topic"))
	machine, _ := os.Hostname()
	out, code := a.run("test")
	if want := "bot (telegram): taken\nchecks (healthchecks): taken\nhook (webhook): taken\nmail (smtp): taken\nmail-starttls (smtp): taken\ntopic (ntfy): taken\n"; out != want || code != 0 {
		t.Fatalf("exit status %d\n%s%s", code, out, a.log)
	}
	const text = "Somebody asked for it: sudo openclaw-alert test. Nothing is wrong, and nothing is to do."
	got := map[string]letter{}
	for _, each := range in.taken() {
		got[strings.Split(each.path, "/")[1]] = each
	}
	for name, want := range map[string]struct {
		letter
		body []string
	}{
		"bot815:canary-token": {letter{method: "POST", path: "/bot815:canary-token/sendMessage", login: ":"}, []string{`"chat_id": "-100"`, `"text": "` + machine + `: a test\n` + text}},
		"ping":                {letter{method: "POST", path: "/ping/canary-uuid/fail", login: ":"}, []string{machine + ": a test\n" + text}},
		"canary-topic":        {letter{method: "POST", path: "/canary-topic", login: ":canary-topic-token", title: machine + ": a test"}, []string{text}},
		"canary-hook?wait=true": {letter{method: "POST", path: "/canary-hook?wait=true", login: "me:canary-pass"},
			[]string{`"machine": "` + machine + `"`, `"event": "test"`, `"title": "` + machine + `: a test"`, text}},
	} {
		found := got[name]
		for _, part := range want.body {
			if !strings.Contains(found.body, part) {
				t.Errorf("%s: the body lacks %q:\n%s", name, part, found.body)
			}
		}
		found.body = ""
		if found != want.letter {
			t.Errorf("%s: %+v, want %+v", name, found, want.letter)
		}
	}
	for _, m := range []*mailbox{mail, starttls} {
		if len(m.mails) != 1 || len(m.logins) != 1 || m.logins[0] != " me@example.com canary/word" {
			t.Fatalf("mails %q, logins %q", m.mails, m.logins)
		}
		said := strings.ReplaceAll(m.mails[0], "=\n", "") // quoted-printable
		for _, part := range []string{"mail FROM:<from@example.com>", "rcpt TO:<to+alerts@example.com>\n", "Subject: " + machine + ": a test\n", "Auto-Submitted: auto-generated\n", text + "\n"} {
			if !strings.Contains(said, part) {
				t.Errorf("the mail lacks %q:\n%s", part, said)
			}
		}
	}
	if said := strings.Join(starttls.clear, "\n"); strings.Contains(said, "AUTH") || !strings.HasSuffix(said, "STARTTLS") {
		t.Errorf("before TLS it said\n%s", said)
	}
}

// TestAlertNotTaken: why, in our own words, for whatever a receiver does; nothing leads elsewhere.
func TestAlertNotTaken(t *testing.T) {
	t.Parallel()
	in, elsewhere := newInbox(t), newInbox(t)
	stranger := newInbox(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	hook := func(path string) string { return in.url("", path+"-canary") }
	login, address, plain := newMailbox(t, true), newMailbox(t, true), newMailbox(t, false)
	login.refuses("AUTH")
	address.refuses("RCPT")
	plain.refuses("STARTTLS")
	in.answers(0, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect-canary":
			http.Redirect(w, r, elsewhere.URL+"/canary", http.StatusTemporaryRedirect)
		case "/dripping-canary":
			link, _, _ := w.(http.Hijacker).Hijack()
			defer link.Close()
			for {
				if _, err := link.Write([]byte("H")); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		case "/garbage-canary":
			link, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(link, "canary\r\n\r\n")
			link.Close()
		default:
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, "no: "+r.URL.Path)
		}
	})
	a := newAlerts(t, `{"REQUEST_SECONDS": 2}`, "a-forbidden webhook", hook("/x"), "b-redirect webhook", hook("/redirect"), "c-dripping webhook", hook("/dripping"),
		"d-garbage webhook", hook("/garbage"), "e-closed webhook", "https://"+closed.Addr().String()+"/canary", "f-name webhook", strings.Replace(stranger.URL, "127.0.0.1", "localhost", 1)+"/canary",
		"g-login smtp", login.url(), "h-address smtp", address.url(), "i-plain smtp", plain.url())
	out, code := a.run("test")
	want := `a-forbidden (webhook): not taken: it answered with status 403
b-redirect (webhook): not taken: it answered with status 307, and leads elsewhere: no redirect is followed
c-dripping (webhook): not taken: it did not answer within 2 s
d-garbage (webhook): not taken: the connection to it fails (BadStatusLine)
e-closed (webhook): not taken: it refuses the connection
f-name (webhook): not taken: its certificate is not one that this machine trusts for its name
g-login (smtp): not taken: it refuses the login with status 550
h-address (smtp): not taken: it refuses the address with status 550
i-plain (smtp): not taken: it answered with status 550
`
	if out != want || code != 1 {
		t.Errorf("exit status %d\n%swant\n%s", code, out, want)
	}
	if got := elsewhere.taken(); got != nil {
		t.Errorf("it followed a redirect: %v", got)
	}
	if got := stranger.taken(); got != nil {
		t.Errorf("it said something by a certificate that is not its receiver's: %v", got)
	}
	if said := strings.Join(plain.clear, "\n"); strings.Contains(said, "AUTH") || strings.Contains(said, "MAIL") {
		t.Errorf("without TLS it said\n%s", said)
	}
}

// An authority that the machine does not have is none.
func TestAlertTrustsTheMachinesAuthorities(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	a := newAlerts(t, `{"AUTHORITIES": "/etc/ssl/certs/ca-certificates.crt"}`, "hook webhook", in.url("", "/canary"))
	if out, code := a.run("test"); code != 1 || out != "hook (webhook): not taken: its certificate is not one that this machine trusts for its name\n" || in.taken() != nil {
		t.Errorf("exit status %d\n%s", code, out)
	}
}
