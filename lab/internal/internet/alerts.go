package internet

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Files by which a test sees what receivers of alerts got, and has one refuse.
const (
	AlertsFile     = "alerts"        // a line each, in JSON: an Alert
	HeartbeatsFile = "heartbeats"    // a line for each ping of the check
	RefuseFile     = "alerts-refuse" // receivers that take nothing now, a line each: ntfy
)

// Alert is a message as a receiver got it.
type Alert struct{ To, Title, Text string }

// What the receivers let in, and nothing else.
const (
	AlertTopic    = "lab-topic-0815"
	AlertCheck    = "5e0fae11-c2e5-4e2e-9d1d-6b5a1c0d9a11"
	AlertHook     = "hook-4711-secret"
	AlertBotToken = "987654321:AAalertsalertsalertsalertsalertsalert"
	AlertChat     = "2001"
	AlertMailUser = "machine"
	AlertPassword = "a-password-of-mail"
	AlertMailTo   = "owner@good.example"
)

// AlertURLs are the receivers by kind; mail has one for each of its ports.
var AlertURLs = map[string][2]string{
	"ntfy":     {"ntfy", "https://ntfy.sh/" + AlertTopic},
	"check":    {"healthchecks", "https://hc-ping.com/" + AlertCheck},
	"hook":     {"webhook", "https://www.good.example/" + AlertHook},
	"bot":      {"telegram", "https://api.telegram.org/bot" + AlertBotToken + "/sendMessage?chat_id=" + AlertChat},
	"mail":     {"smtp", "smtps://" + AlertMailUser + ":" + AlertPassword + "@mail.good.example:465/?from=machine@good.example&to=" + AlertMailTo},
	"starttls": {"smtp", "smtp://" + AlertMailUser + ":" + AlertPassword + "@mail.good.example:587/?from=machine@good.example&to=" + AlertMailTo},
}

// Silence is after how long the check alarms by itself: two pings that did not come.
const Silence = 150 * time.Second

// receivers are stand-ins: as much of each service as a message takes, by its own documentation.
type receivers struct {
	folder string
	got    notes
	beats  notes

	mu    sync.Mutex
	alarm *time.Timer // the check's
}

func newReceivers(folder string) *receivers {
	return &receivers{folder: folder, got: notes{filepath.Join(folder, AlertsFile)}, beats: notes{filepath.Join(folder, HeartbeatsFile)}}
}

// add adds those that speak HTTP, each by the name that it is asked for by.
func (r *receivers) add(mux *http.ServeMux) {
	// https://docs.ntfy.sh/publish
	mux.HandleFunc("POST ntfy.sh/{topic}", r.web("ntfy", func(q *http.Request, body []byte) *Alert {
		if q.PathValue("topic") != AlertTopic {
			return nil
		}
		return &Alert{"ntfy", q.Header.Get("Title"), string(body)}
	}))
	mux.HandleFunc("POST www.good.example/"+AlertHook, r.web("hook", func(_ *http.Request, body []byte) *Alert {
		var said struct{ Title, Text string }
		if json.Unmarshal(body, &said) != nil {
			return nil
		}
		return &Alert{"hook", said.Title, said.Text}
	}))
	// https://core.telegram.org/bots/api#sendmessage
	mux.HandleFunc("POST api.telegram.org/bot"+AlertBotToken+"/sendMessage", r.web("bot", func(_ *http.Request, body []byte) *Alert {
		var said struct {
			ChatID json.Number `json:"chat_id"`
			Text   string
		}
		if json.Unmarshal(body, &said) != nil || said.ChatID.String() != AlertChat {
			return nil
		}
		title, text, _ := strings.Cut(said.Text, "\n")
		return &Alert{"bot", title, text}
	}))
	// https://healthchecks.io/docs/http_api
	mux.HandleFunc("hc-ping.com/"+AlertCheck, r.ping)
	for _, what := range []string{"fail", "log"} {
		mux.HandleFunc("POST hc-ping.com/"+AlertCheck+"/"+what, r.web("check", func(_ *http.Request, body []byte) *Alert {
			title, text, _ := strings.Cut(string(body), "\n")
			return &Alert{"check " + what, title, text}
		}))
	}
}

// refuses tells whether a receiver takes nothing now.
func (r *receivers) refuses(name string) bool {
	text, err := os.ReadFile(filepath.Join(r.folder, RefuseFile))
	return err == nil && strings.Contains("\n"+string(text), "\n"+name+"\n")
}

func (r *receivers) take(alert Alert) error {
	line, err := json.Marshal(alert)
	if err != nil {
		return err
	}
	return r.got.add(string(line))
}

// web is a receiver that reads an alert from a request; nil where that is none.
func (r *receivers) web(name string, read func(*http.Request, []byte) *Alert) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(io.LimitReader(q.Body, 1<<20))
		if err != nil || r.refuses(name) {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		alert := read(q, body)
		if alert == nil {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		if err := r.take(*alert); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, http.StatusOK, fields{"ok": true})
	}
}

// ping is the check's success: without the next one it alarms.
func (r *receivers) ping(w http.ResponseWriter, q *http.Request) {
	if err := r.beats.add(q.Method); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alarm != nil {
		r.alarm.Stop()
	}
	r.alarm = time.AfterFunc(Silence, func() { _ = r.take(Alert{To: "check silent"}) }) // whoever waits for it says that it did not come
	fmt.Fprintln(w, "OK")
}

// stop ends what would still be noted.
func (r *receivers) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alarm != nil {
		r.alarm.Stop()
	}
}

// post serves mail with a login: by TLS at once, or after STARTTLS. RFC 5321, 3207 and 4954.
func (r *receivers) post(certificate *tls.Config, implicit bool) func(net.Conn) {
	return func(conn net.Conn) {
		name, secured := "starttls", false
		if implicit {
			name, secured, conn = "mail", true, tls.Server(conn, certificate)
		}
		in := bufio.NewReader(conn)
		say := func(line string) { _, _ = io.WriteString(conn, line+"\r\n") } // whoever has gone hears nothing
		say("220 mail.good.example ESMTP")
		for inside := false; ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimRight(line, "\r\n")
			verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
			switch {
			case r.refuses(name):
				say("421 not now")
				return
			case verb == "EHLO" && secured:
				say("250-mail.good.example\r\n250 AUTH PLAIN")
			case verb == "EHLO":
				say("250-mail.good.example\r\n250 STARTTLS")
			case verb == "STARTTLS" && !secured:
				say("220 go on")
				secured, conn = true, tls.Server(conn, certificate)
				in = bufio.NewReader(conn)
			case verb == "AUTH" && secured:
				login, _ := base64.StdEncoding.DecodeString(line[strings.LastIndexByte(line, ' ')+1:]) // what is none logs nobody in
				if inside = string(login) == "\x00"+AlertMailUser+"\x00"+AlertPassword; inside {
					say("235 welcome")
				} else {
					say("535 no")
				}
			case (verb == "MAIL" || verb == "RCPT") && inside:
				say("250 fine")
			case verb == "DATA" && inside:
				say("354 go on")
				alert, err := readMail(in)
				if err != nil || r.take(Alert{name, alert.Title, alert.Text}) != nil {
					say("451 it was not taken")
					return
				}
				say("250 taken")
			case verb == "QUIT":
				say("221 bye")
				return
			default:
				say("530 not like this")
			}
		}
	}
}

// readMail reads a mail up to the line that ends it.
func readMail(in *bufio.Reader) (Alert, error) {
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return Alert{}, err
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
	message, err := mail.ReadMessage(strings.NewReader(text.String()))
	if err != nil {
		return Alert{}, err
	}
	body := message.Body
	if message.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		body = quotedprintable.NewReader(body)
	}
	content, err := io.ReadAll(body)
	return Alert{Title: message.Header.Get("Subject"), Text: strings.ReplaceAll(string(content), "\r\n", "\n")}, err
}
