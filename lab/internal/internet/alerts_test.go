package internet

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"openclaw-azure/lab/internal/place"
)

// alertsIn are the messages that receivers got.
func alertsIn(t *testing.T, folder string) (alerts []Alert) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, AlertsFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var alert Alert
		if err := json.Unmarshal([]byte(line), &alert); err != nil {
			t.Fatal(err)
		}
		alerts = append(alerts, alert)
	}
	return alerts
}

func TestReceivers(t *testing.T) {
	folder := t.TempDir()
	r := newReceivers(folder)
	defer r.stop()
	server := httptest.NewServer(origin(folder, r))
	defer server.Close()
	send := func(host, path, body string) int {
		t.Helper()
		request, err := http.NewRequest(http.MethodPost, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		request.Header.Set("Title", "a title")
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for _, c := range []struct {
		host, path, body string
		status           int
	}{
		{"ntfy.sh", "/" + AlertTopic, "a text", 200},
		{"ntfy.sh", "/another", "a text", 403},
		{"www.good.example", "/" + AlertHook, `{"title":"a title","text":"a text"}`, 200},
		{"api.telegram.org", "/bot" + AlertBotToken + "/sendMessage", `{"chat_id":"2001","text":"a title\na text"}`, 200},
		{"api.telegram.org", "/bot" + AlertBotToken + "/sendMessage", `{"chat_id":"2002","text":"x"}`, 403},
		{"hc-ping.com", "/" + AlertCheck, "", 200},
		{"hc-ping.com", "/" + AlertCheck + "/fail", "a title\na text", 200},
	} {
		if status := send(c.host, c.path, c.body); status != c.status {
			t.Errorf("%s%s: %d, want %d", c.host, c.path, status, c.status)
		}
	}
	want := []Alert{{"ntfy", "a title", "a text"}, {"hook", "a title", "a text"}, {"bot", "a title", "a text"}, {"check fail", "a title", "a text"}}
	if got := alertsIn(t, folder); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := os.WriteFile(filepath.Join(folder, RefuseFile), []byte("ntfy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status := send("ntfy.sh", "/"+AlertTopic, "x"); status != 503 {
		t.Errorf("one that refuses: %d", status)
	}
}

// Go's own client speaks to both ports.
func TestMail(t *testing.T) {
	s := start(t)
	authority, err := os.ReadFile(filepath.Join(s.folder, AuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	trusted := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "mail.good.example"}
	trusted.RootCAs.AppendCertsFromPEM(authority)
	for port, implicit := range map[string]bool{"465": true, "587": false} {
		var client *smtp.Client
		name := "mail.good.example"
		if implicit {
			conn, err := tls.Dial("tcp", s.tcp(place.OriginAddress, port), trusted)
			if err != nil {
				t.Fatal(err)
			}
			client, err = smtp.NewClient(conn, "mail.good.example")
			if err != nil {
				t.Fatal(err)
			}
		} else {
			name, _, _ = net.SplitHostPort(s.tcp(place.OriginAddress, port)) // which the client takes for its own
			if client, err = smtp.Dial(s.tcp(place.OriginAddress, port)); err != nil {
				t.Fatal(err)
			}
			if err := client.Mail("machine@good.example"); err == nil {
				t.Error("it takes mail without TLS and login")
			}
			if err := client.StartTLS(trusted); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.Auth(smtp.PlainAuth("", AlertMailUser, AlertPassword, name)); err != nil {
			t.Fatal(err)
		}
		for _, step := range []func() error{
			func() error { return client.Mail("machine@good.example") },
			func() error { return client.Rcpt(AlertMailTo) },
			func() error {
				w, err := client.Data()
				if err != nil {
					return err
				}
				if _, err := w.Write([]byte("Subject: a title\r\n\r\na text\r\n.\r\n")); err != nil {
					return err
				}
				return w.Close()
			},
			client.Quit,
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := alertsIn(t, s.folder)
	slices.SortFunc(got, func(a, b Alert) int { return strings.Compare(a.To, b.To) })
	if want := []Alert{{"mail", "a title", "a text\n.\n"}, {"starttls", "a title", "a text\n.\n"}}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
