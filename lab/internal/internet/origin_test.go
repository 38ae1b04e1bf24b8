package internet

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"openclaw-azure/lab/internal/place"
)

// trust is what a host has that installed the authority.
func (s started) trust(t *testing.T) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.folder, AuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %q", text)
	}
	return &tls.Config{RootCAs: pool}
}

// client connects to the origin whatever name it is asked for. Its protocol is 1 or 2.
func (s started) client(t *testing.T, protocol int) *http.Client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: s.trust(t),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, s.tcp(place.OriginAddress, port))
		},
		Protocols: new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(protocol == 1)
	transport.Protocols.SetHTTP2(protocol == 2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func said(t *testing.T, response *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestOriginSaysWhatItSaw(t *testing.T) {
	s := start(t)
	for _, test := range []struct {
		url      string
		protocol int
		name     string
		want     string
	}{
		{"https://www.good.example/a?b", 2, "443", `host="www.good.example" sni="www.good.example" proto=HTTP/2.0`},
		{"https://www.good.example/a", 1, "443", `host="www.good.example" sni="www.good.example" proto=HTTP/1.1`},
		{"https://any.good.example:8443/a", 2, "8443", `host="any.good.example:8443" sni="any.good.example" proto=HTTP/2.0`},
		{"https://198.18.10.10/a", 1, "443", `host="198.18.10.10" sni="" proto=HTTP/1.1`},
		{"http://evil.example/a", 1, "80", `host="evil.example" sni="" proto=HTTP/1.1`},
		{"http://evil.example:8000/a", 1, "8000", `host="evil.example:8000" sni="" proto=HTTP/1.1`},
	} {
		t.Run(test.url, func(t *testing.T) {
			request, err := http.NewRequest(http.MethodGet, test.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Api-Key", "a key")
			response, err := s.client(t, test.protocol).Do(request)
			got := said(t, response, err)
			begin, end := "origin "+test.want+" from=127.0.0.1:", " at="+s.tcp(place.OriginAddress, test.name)+` method=GET path="/a" x-api-key="a key" authorization=""`+"\n"
			if !strings.HasPrefix(got, begin) || !strings.HasSuffix(got, end) {
				t.Errorf("got  %s\nwant %s...%s", got, begin, end)
			}
		})
	}
}

func TestNobodyTrustsTheAuthorityByItself(t *testing.T) {
	s := start(t)
	conn, err := tls.Dial("tcp4", s.tcp(place.OriginAddress, "443"), &tls.Config{ServerName: "www.good.example"})
	if err == nil {
		conn.Close()
	}
	if _, ok := err.(*tls.CertificateVerificationError); !ok {
		t.Errorf("got %v", err)
	}
	trusting := s.trust(t)
	trusting.ServerName = "unknown.example"
	conn, err = tls.Dial("tcp4", s.tcp(place.OriginAddress, "443"), trusting)
	if err == nil {
		conn.Close()
	}
	if _, ok := err.(*tls.CertificateVerificationError); !ok {
		t.Errorf("by a name that it has not: %v", err)
	}
}

func TestOriginTakesAndGivesMuch(t *testing.T) {
	s := start(t)
	for _, protocol := range []int{1, 2} {
		client := s.client(t, protocol)
		response, err := client.Get("https://www.good.example/big/3")
		if got := said(t, response, err); len(got) != 3<<20 || response.ContentLength != 3<<20 {
			t.Errorf("HTTP/%d: %d bytes, %d announced", protocol, len(got), response.ContentLength)
		}
		response, err = client.Get("https://www.good.example/big/x")
		if got := said(t, response, err); response.StatusCode != http.StatusBadRequest || got != "\"x\": expected a number of MiB from 0 to 1024\n" {
			t.Errorf("HTTP/%d: %d, %q", protocol, response.StatusCode, got)
		}
		response, err = client.Post("https://www.good.example/upload", "application/octet-stream", strings.NewReader(strings.Repeat("x", 5<<20)))
		if got := said(t, response, err); got != "got 5242880 bytes\n" {
			t.Errorf("HTTP/%d: %q", protocol, got)
		}
	}
}

func TestEventsComeOneByOne(t *testing.T) {
	s := start(t)
	for _, protocol := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", protocol), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			response, err := s.client(t, protocol).Post("https://good.example/sse", "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
				t.Errorf("type %q", kind)
			}
			var when []time.Duration
			for lines := bufio.NewScanner(response.Body); lines.Scan(); {
				if lines.Text() == "" {
					continue
				}
				if want := fmt.Sprintf(`data: %d host="good.example" `, len(when)); !strings.HasPrefix(lines.Text(), want) {
					t.Errorf("got %q, want %q", lines.Text(), want)
				}
				when = append(when, time.Since(began))
			}
			if len(when) != events {
				t.Fatalf("events at %v, want %d", when, events)
			}
			// The first is there long before the last is sent, on a busy machine too.
			if last := when[events-1]; last < (events-1)*eventGap || last-when[0] < 2*eventGap {
				t.Errorf("events at %v", when)
			}
		})
	}
}

func TestWebsocketSaysItAgain(t *testing.T) {
	s := start(t)
	for _, scheme := range []string{"ws", "wss"} {
		config, err := websocket.NewConfig(scheme+"://www.good.example/ws", "https://somewhere.example")
		if err != nil {
			t.Fatal(err)
		}
		var conn net.Conn
		if scheme == "ws" {
			conn, err = net.Dial("tcp4", s.tcp(place.OriginAddress, "80"))
		} else {
			trusting := s.trust(t)
			trusting.ServerName = "www.good.example"
			conn, err = tls.Dial("tcp4", s.tcp(place.OriginAddress, "443"), trusting)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ws, err := websocket.NewClient(config, conn)
		if err != nil {
			t.Fatal(err)
		}
		for _, sent := range []message{{websocket.TextFrame, []byte("hello")}, {websocket.BinaryFrame, make([]byte, 100_000)}, {websocket.TextFrame, nil}} {
			if err := messages.Send(ws, sent); err != nil {
				t.Fatal(err)
			}
			var got message
			if err := messages.Receive(ws, &got); err != nil || got.kind != sent.kind || string(got.data) != string(sent.data) {
				t.Errorf("%s: %d bytes of kind %d, %v; want %d of kind %d", scheme, len(got.data), got.kind, err, len(sent.data), sent.kind)
			}
		}
		// Left open: the end of Serve has to end it.
	}
	response, err := s.client(t, 2).Get("https://www.good.example/ws")
	if said(t, response, err); response.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Errorf("by HTTP/2: %s", response.Status)
	}
}

func TestServersThatSpeakFirst(t *testing.T) {
	s := start(t)
	for _, test := range []struct {
		port     string
		greeting string
		secure   bool
	}{{"22", "SSH-2.0-lab", false}, {"143", "* OK IMAP4rev1", false}, {"993", "* OK IMAP4rev1", true}} {
		address := s.tcp(place.ElsewhereAddress, test.port)
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if test.secure {
			trusting := s.trust(t)
			trusting.ServerName = "imap.example"
			conn = tls.Client(conn, trusting)
		}
		lines := bufio.NewScanner(conn)
		lines.Scan()
		if want := fmt.Sprintf("%s from=%s at=%s", test.greeting, conn.LocalAddr(), address); lines.Text() != want {
			t.Errorf("port %s: got %q, %v, want %q", test.port, lines.Text(), lines.Err(), want)
		}
		fmt.Fprint(conn, "anybody?\r\n")
		lines.Scan()
		if lines.Text() != "echo anybody?" {
			t.Errorf("port %s: got %q, %v", test.port, lines.Text(), lines.Err())
		}
	}
}
