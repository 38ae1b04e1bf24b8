package controlui

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"openclaw-azure/internal/localport"
	"openclaw-azure/internal/localport/localporttest"
)

const (
	realToken   = "the-gateways-own-token"
	deviceToken = "what-the-gateway-gives-a-device"
)

// gateway is a stand-in for OpenClaw's: it says what it was asked, and checks a connect as that does.
type gateway struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []*http.Request
	connect map[string]any
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.asked = append(g.asked, r)
		g.mu.Unlock()
		if r.Header.Get("Upgrade") != "" {
			g.socket(t, w, r)
			return
		}
		h := w.Header()
		h.Add("Set-Cookie", "plain=1; Path=/")
		h.Add("Set-Cookie", "wide=1; Domain=localhost")
		h.Add("Set-Cookie", cookieName+"=of-the-gateway")
		h.Set("Service-Worker-Allowed", "/")
		switch r.URL.Path {
		case "/asset.js":
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		case "/private":
			h.Set("Cache-Control", "private, max-age=60")
		case "/away":
			http.Redirect(w, r, "http://"+r.Host+"/there?x=1", http.StatusFound)
		}
		fmt.Fprintf(w, "%s %s", r.Method, r.URL)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) last() *http.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.asked) == 0 {
		return nil
	}
	return g.asked[len(g.asked)-1]
}

func (g *gateway) times() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.asked)
}

// socket: a challenge, a connect that has to be right, and then an echo. At /other it is an echo alone.
func (g *gateway) socket(t *testing.T, w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/closed" {
		http.Error(w, "no", http.StatusNotFound)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"second"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Errorf("the gateway: %v", err)
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	ctx := r.Context()
	say := func(text string) {
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Errorf("the gateway: %v", err)
		}
	}
	if r.URL.Path != "/other" {
		const nonce, at = "a-nonce", 1795870000123
		say(fmt.Sprintf(`{"type":"event","event":"connect.challenge","payload":{"nonce":%q,"ts":%d}}`, nonce, at))
		_, text, err := conn.Read(ctx)
		if err != nil {
			return
		}
		var frame struct {
			ID     string
			Params struct {
				Scopes []string
				Client struct{ ID, Mode, Platform, DeviceFamily string }
				Auth   map[string]string
				Device struct {
					PublicKey, Signature, Nonce, ID string
					SignedAt                        int64
				}
			}
		}
		var whole map[string]any
		if json.Unmarshal(text, &frame) != nil || json.Unmarshal(text, &whole) != nil {
			t.Errorf("the gateway: %s", text)
		}
		g.mu.Lock()
		g.connect = whole
		g.mu.Unlock()
		p := frame.Params
		key, _ := base64.RawURLEncoding.DecodeString(p.Device.PublicKey)
		signature, _ := base64.RawURLEncoding.DecodeString(p.Device.Signature)
		signed := strings.Join([]string{"v3", p.Device.ID, p.Client.ID, p.Client.Mode, "operator", strings.Join(p.Scopes, ","), fmt.Sprint(p.Device.SignedAt),
			p.Auth["token"], p.Device.Nonce, strings.ToLower(p.Client.Platform), ""}, "|")
		if p.Device.Nonce != nonce || p.Device.SignedAt != at || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, []byte(signed), signature) ||
			len(p.Auth) != 1 || p.Auth["token"] != realToken {
			say(fmt.Sprintf(`{"type":"res","id":%q,"ok":false,"error":{"code":"INVALID_REQUEST"}}`, frame.ID))
			conn.Close(1008, "unauthorized")
			return
		}
		say(fmt.Sprintf(`{"type":"res","id":%q,"ok":true,"payload":{"type":"hello-ok","snapshot":{"a":[1,2]},"auth":{"deviceToken":%q,"deviceTokens":[{"deviceToken":%q}],"role":"operator"}}}`,
			frame.ID, deviceToken, deviceToken))
	}
	for {
		kind, text, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if string(text) == "end" {
			conn.Close(4008, "as you like")
			return
		}
		if err := conn.Write(ctx, kind, text); err != nil {
			return
		}
	}
}

// run is a door that is open, as one run has it.
type run struct {
	*Door
	gateway *gateway
	port    uint16
	stop    func()
}

func open(t *testing.T) *run {
	t.Helper()
	return openAt(t, 0)
}

func openAt(t *testing.T, port uint16) *run {
	t.Helper()
	g := newGateway(t)
	l, err := localport.Listen(port, 64, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(l.Port(), Gateway{Address: g.Listener.Addr().String(), Token: realToken, Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", g.Listener.Addr().String())
	}}, func(err error) { t.Errorf("it says %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(ctx, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v", err)
		}
	})
	t.Cleanup(stop)
	return &run{d, g, l.Port(), stop}
}

// ask sends a request to the door's port, whatever its address says, and reads the answer.
func (r *run) ask(t *testing.T, method, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header.Clone()
	if request.Header == nil {
		request.Header = http.Header{}
	}
	answer, err := r.browser().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

// browser takes every name to the door's port, as a browser takes those under localhost.
func (r *run) browser() *http.Client {
	return &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", r.port))
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// logIn opens a link, and gives what a browser then has.
func (r *run) logIn(t *testing.T) http.Header {
	t.Helper()
	answer, body := r.ask(t, "GET", r.NewLink(), nil)
	if answer.StatusCode != http.StatusOK || !strings.Contains(body, "url=/#token="+r.token) {
		t.Fatalf("the link: %d, %s", answer.StatusCode, body)
	}
	return http.Header{"Cookie": {cookieName + "=" + answer.Cookies()[0].Value}}
}

func with(h http.Header, pairs ...string) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestAddress(t *testing.T) {
	one, two := open(t), open(t)
	for _, r := range []*run{one, two} {
		if !regexp.MustCompile(`^http://[a-z2-7]{26}\.localhost:\d+$`).MatchString(r.Origin()) {
			t.Errorf("it is at %s", r.Origin())
		}
	}
	if one.host == two.host || one.cookie == two.cookie || one.token == two.token || one.port == two.port || one.device.id == two.device.id {
		t.Error("two runs share what is to be a run's own")
	}
}

// A login link works once, for who opens it; what it gives is a cookie that no page can read and no other site sends.
func TestLoginLink(t *testing.T) {
	r := open(t)
	link := r.NewLink()
	for _, c := range []struct {
		method, url string
		status      int
	}{
		{"GET", link[:len(link)-1], 410},
		{"GET", link + "x", 410},
		{"GET", r.Origin() + loginPath, 410},
		{"HEAD", link, 405},
		{"GET", link, 200},
		{"GET", link, 410},
	} {
		answer, body := r.ask(t, c.method, c.url, nil)
		if answer.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.url, answer.StatusCode, c.status)
		}
		want := ""
		if c.status == 200 {
			want = cookieName + "=" + r.cookie + "; Path=/; HttpOnly; SameSite=Strict"
		}
		if got := strings.Join(answer.Header.Values("Set-Cookie"), "\n"); got != want {
			t.Errorf("%s %s: it sets %q, want %q", c.method, c.url, got, want)
		}
		if strings.Contains(body, realToken) || answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s %s: %v, %s", c.method, c.url, answer.Header, body)
		}
	}
	old := r.NewLink()
	newer := r.NewLink()
	if answer, _ := r.ask(t, "GET", old, nil); answer.StatusCode != 410 {
		t.Errorf("a link with one after it: %d", answer.StatusCode)
	}
	r.mu.Lock()
	r.until = time.Now().Add(-time.Second)
	r.mu.Unlock()
	if answer, _ := r.ask(t, "GET", newer, nil); answer.StatusCode != 410 {
		t.Errorf("a link that is too old: %d", answer.StatusCode)
	}
	// From wherever it was sent to; but no page opens it by itself.
	click := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest"}
	for destination, status := range map[string]int{"iframe": 403, "image": 403, "document": 200} {
		link := r.NewLink()
		if answer, _ := r.ask(t, "GET", link, with(nil, append(click, destination)...)); answer.StatusCode != status {
			t.Errorf("a link of another site's, as %s: %d, want %d", destination, answer.StatusCode, status)
		}
	}
	if n := r.gateway.times(); n != 0 {
		t.Errorf("the gateway heard of it %d times", n)
	}
}

// Every request that is refused, beside the same one that is not. The gateway hears of none that is refused.
func TestRefusals(t *testing.T) {
	r := open(t)
	known := r.logIn(t)
	own, port := r.Origin(), fmt.Sprint(r.port)
	stranger := cookieName + "=" + strings.Repeat("A", 26)
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	for _, c := range []struct {
		what, method, url string
		header            http.Header
		status            int
	}{
		{"its own page", "GET", own + "/", known, 200},
		{"by 127.0.0.1", "GET", "http://127.0.0.1:" + port + "/", known, 421},
		{"by localhost", "GET", "http://localhost:" + port + "/", known, 421},
		{"by a name that was bound to this computer", "GET", "http://evil.example:" + port + "/", known, 421},
		{"by another name under localhost", "GET", "http://x.localhost:" + port + "/", known, 421},
		{"by a name under its own", "GET", "http://x." + r.host + "/", known, 421},
		{"by its name without the port", "GET", "http://" + strings.TrimSuffix(r.host, ":"+port) + "/", known, 421},
		{"the login, by 127.0.0.1", "GET", "http://127.0.0.1:" + port + loginPath + "x", nil, 421},

		{"without a cookie", "GET", own + "/", nil, 403},
		{"with a wrong one", "GET", own + "/", http.Header{"Cookie": {stranger}}, 403},
		{"with a wrong one beside the right one", "GET", own + "/", http.Header{"Cookie": {stranger + "; " + known.Get("Cookie")}}, 200},
		{"with an empty one", "GET", own + "/", http.Header{"Cookie": {cookieName + "="}}, 403},

		{"from its own page", "POST", own + "/api", with(known, "Origin", own), 200},
		{"from its own page, as browsers tell", "POST", own + "/api", with(known, "Origin", own, "Sec-Fetch-Site", "same-origin"), 200},
		{"a change from nobody says where", "POST", own + "/api", known, 403},
		{"a change from another origin", "POST", own + "/api", with(known, "Origin", "http://evil.example"), 403},
		{"a change from a page without an origin", "POST", own + "/api", with(known, "Origin", "null"), 403},
		{"a change from 127.0.0.1", "POST", own + "/api", with(known, "Origin", "http://127.0.0.1:"+port), 403},
		{"a change from two origins", "POST", own + "/api", with(known, "Origin", own, "Origin", "http://evil.example"), 403},
		{"a preflight of another's", "OPTIONS", own + "/api", with(known, "Origin", "http://evil.example", "Access-Control-Request-Method", "POST"), 403},
		{"a read from another origin", "GET", own + "/api", with(known, "Origin", "http://evil.example"), 403},

		{"by the user", "GET", own + "/", with(known, "Sec-Fetch-Site", "none"), 200},
		{"by another site", "GET", own + "/", with(known, "Sec-Fetch-Site", "cross-site"), 403},
		{"by another site's link", "GET", own + "/", with(known, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), 403},
		{"by another port of the name", "GET", own + "/", with(known, "Sec-Fetch-Site", "same-site"), 403},

		{"a service worker", "GET", own + "/sw.js", with(known, "Service-Worker", "script"), 403},
		{"the same file, as a file", "GET", own + "/sw.js", known, 200},

		{"a WebSocket of its own page", "GET", own + "/", with(with(known, upgrade...), "Origin", own), 101},
		{"a WebSocket from nobody says where", "GET", own + "/", with(known, upgrade...), 403},
		{"a WebSocket of another origin", "GET", own + "/", with(with(known, upgrade...), "Origin", "http://evil.example"), 403},
		{"a WebSocket without a cookie", "GET", own + "/", with(with(nil, upgrade...), "Origin", own), 403},
		{"a WebSocket by 127.0.0.1", "GET", "http://127.0.0.1:" + port + "/", with(with(known, upgrade...), "Origin", "http://127.0.0.1:"+port), 421},
		{"another protocol", "GET", own + "/", with(known, "Connection", "Upgrade", "Upgrade", "h2c", "Origin", own), 400},
	} {
		before := r.gateway.times()
		request, err := http.NewRequest(c.method, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = with(c.header)
		answer, err := r.browser().Do(request)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		answer.Body.Close()
		if answer.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.what, answer.StatusCode, c.status)
		}
		if heard := r.gateway.times() > before; heard != (c.status == 200 || c.status == 101) {
			t.Errorf("%s: the gateway heard of it: %v", c.what, heard)
		}
	}
}

// The gateway sees a browser on its own machine; the browser sees nothing that outlives the run, and no token.
func TestRewriting(t *testing.T) {
	r := open(t)
	known := r.logIn(t)
	known.Set("Cookie", "a=1; "+known.Get("Cookie")+"; b=2")
	own, at := r.Origin(), "http://"+r.gateway.Listener.Addr().String()
	r.ask(t, "POST", own+"/x?y=1", with(known, "Origin", own, "Referer", own+"/chat?s=1", "Authorization", "Bearer "+r.token))
	got := r.gateway.last()
	for name, want := range map[string]string{"Origin": at, "Referer": at + "/chat?s=1", "Authorization": "Bearer " + realToken, "Cookie": "a=1; b=2", "X-Forwarded-For": "", "Forwarded": ""} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("the gateway is told %s: %q, want %q", name, value, want)
		}
	}
	if "http://"+got.Host != at || got.URL.String() != "/x?y=1" {
		t.Errorf("the gateway is asked for %s at %s", got.URL, got.Host)
	}
	// What is not the run's own stays as it is, and gets nothing.
	for _, header := range []http.Header{known, with(known, "Authorization", "Bearer other"), with(known, "Referer", "http://evil.example/")} {
		r.ask(t, "GET", own+"/", header)
		if got := r.gateway.last().Header; got.Get("Authorization") != header.Get("Authorization") || got.Get("Referer") != "" {
			t.Errorf("the gateway is told %v", got)
		}
	}
	for path, cache := range map[string]string{"/": "no-store", "/private": "no-store", "/asset.js": "public, max-age=31536000, immutable"} {
		answer, _ := r.ask(t, "GET", own+path, known)
		h := answer.Header
		if got := h.Values("Set-Cookie"); !slices.Equal(got, []string{"plain=1; Path=/"}) {
			t.Errorf("%s: it sets %q", path, got)
		}
		if h.Get("Service-Worker-Allowed") != "" || h.Get("Cache-Control") != cache || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: %v", path, h)
		}
	}
	if answer, _ := r.ask(t, "GET", own+"/away", known); answer.Header.Get("Location") != "/there?x=1" {
		t.Errorf("it leads to %q", answer.Header.Get("Location"))
	}
}

// dial opens a WebSocket as the control UI does.
func (r *run) dial(t *testing.T, path string, known http.Header, protocols ...string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+r.host+path, &websocket.DialOptions{HTTPClient: r.browser(), HTTPHeader: with(known, "Origin", r.Origin()),
		Subprotocols: protocols, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(-1)
	return conn
}

func hear(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	_, text, err := conn.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func tell(t *testing.T, conn *websocket.Conn, kind websocket.MessageType, text string) {
	t.Helper()
	if err := conn.Write(t.Context(), kind, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// The run's own credentials are in connect, whatever the browser has; no answer has any of them.
func TestConnect(t *testing.T) {
	r := open(t)
	known := r.logIn(t)
	for name, auth := range map[string]string{
		"the token that the link gave": `"auth":{"token":"` + r.token + `"},`,
		"one that it kept":             `"auth":{"deviceToken":"` + r.token + `"},`,
		"none":                         ``,
		"a wrong one":                  `"auth":{"token":"x","password":"y"},`,
	} {
		conn := r.dial(t, "/", known)
		if text := hear(t, conn); !strings.Contains(text, "connect.challenge") {
			t.Errorf("%s: first comes %s", name, text)
		}
		tell(t, conn, websocket.MessageText, `{"type":"req","id":"7","method":"connect","params":{`+auth+
			`"minProtocol":3,"client":{"id":"openclaw-control-ui","mode":"webchat","platform":"MacIntel"},"scopes":["operator.admin","operator.read"],"device":{"id":"of-the-browser"}}}`)
		hello := hear(t, conn)
		if want := `"auth":{"deviceToken":"` + r.token + `","role":"operator"}`; !strings.Contains(hello, want) || !strings.Contains(hello, `"snapshot":{"a":[1,2]}`) {
			t.Errorf("%s: got %s, want %s in it", name, hello, want)
		}
		if strings.Contains(hello, realToken) || strings.Contains(hello, deviceToken) {
			t.Errorf("%s: a credential of the gateway's is in %s", name, hello)
		}
		if params := r.gateway.connect["params"].(map[string]any); params["minProtocol"] != 3.0 || params["device"].(map[string]any)["id"] != r.device.id {
			t.Errorf("%s: the gateway is told %v", name, params)
		}
		// Then all is as it was said, in either direction, of any size and kind.
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			for _, text := range []string{"", `{"method":"connect","params":{}}`, strings.Repeat("x", 100<<10)} {
				tell(t, conn, kind, text)
				if got := hear(t, conn); got != text {
					t.Errorf("%s: %d bytes come back as %d", name, len(text), len(got))
				}
			}
		}
		tell(t, conn, websocket.MessageText, "end")
		_, _, err := conn.Read(t.Context())
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 4008 || closed.Reason != "as you like" {
			t.Errorf("%s: it ends with %v", name, err)
		}
	}
}

// Another kind of WebSocket is carried as it is, and nothing is put into it.
func TestOtherSocket(t *testing.T) {
	r := open(t)
	r.limit = 100 << 10
	known := r.logIn(t)
	conn := r.dial(t, "/other?x=1", known, "first", "second")
	if got := conn.Subprotocol(); got != "second" {
		t.Errorf("they speak %q", got)
	}
	for _, text := range []string{`{"method":"other"}`, strings.Repeat("x", 200<<10)} {
		tell(t, conn, websocket.MessageText, text)
		if got := hear(t, conn); got != text {
			t.Errorf("%d bytes come back as %d", len(text), len(got))
		}
	}
	// Before it is known which kind it is, a message has its limit.
	conn = r.dial(t, "/", known)
	hear(t, conn)
	tell(t, conn, websocket.MessageText, strings.Repeat("x", 200<<10))
	if _, _, err := conn.Read(t.Context()); err == nil {
		t.Error("a first message of any size is read as a whole")
	}
	_, answer, err := websocket.Dial(t.Context(), "ws://"+r.host+"/closed", &websocket.DialOptions{HTTPClient: r.browser(), HTTPHeader: with(known, "Origin", r.Origin())})
	if err == nil || answer == nil || answer.StatusCode != http.StatusNotFound {
		t.Errorf("one that the gateway does not take: %v", err)
	}
}

// Whoever has the port after the run gets a cookie and a token that open nothing, and a tab that was left open opens nothing there either.
func TestAfterTheRun(t *testing.T) {
	first := open(t)
	known := first.logIn(t)
	conn := first.dial(t, "/", known)
	hear(t, conn)
	port := first.port
	first.stop()
	if _, _, err := conn.Read(t.Context()); err == nil {
		t.Error("its WebSocket outlives it")
	}
	second := openAt(t, port)
	if answer, _ := second.ask(t, "GET", first.Origin()+"/", known); answer.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a tab that was left open: %d", answer.StatusCode)
	}
	if answer, _ := second.ask(t, "GET", second.Origin()+"/", known); answer.StatusCode != http.StatusForbidden {
		t.Errorf("the cookie of another run: %d", answer.StatusCode)
	}
	header := with(second.logIn(t), "Authorization", "Bearer "+first.token)
	second.ask(t, "GET", second.Origin()+"/", header)
	if got := second.gateway.last().Header.Get("Authorization"); got != "Bearer "+first.token {
		t.Errorf("what another run's browser has opens %q", got)
	}
}

// Another user of this computer gets no answer, even with all that the browser has.
func TestOtherUser(t *testing.T) {
	r := open(t)
	request := "GET / HTTP/1.1\r\nHost: " + r.host + "\r\nCookie: " + r.logIn(t).Get("Cookie") + "\r\nConnection: close\r\n\r\n"
	address := fmt.Sprintf("127.0.0.1:%d", r.port)
	if heard := localporttest.Say(t, 0, address, request); !strings.HasPrefix(heard, "HTTP/1.1 200") {
		t.Errorf("the same user hears %q", heard)
	}
	before := r.gateway.times()
	if heard := localporttest.Say(t, 65534, address, request); heard != "" || r.gateway.times() != before {
		t.Errorf("another user hears %q", heard)
	}
}

// While the gateway cannot be got at, the page and the terminal say why, and it comes back by itself.
func TestUnreachable(t *testing.T) {
	r := open(t)
	known := r.logIn(t)
	dial := r.Door.gateway.Dial
	said := make(chan error, 8)
	gone := errors.New("the connection to the machine was lost")
	r.Door.say = func(err error) { said <- err }
	lost := true
	var mu sync.Mutex
	transport := r.client.Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if lost {
			return nil, gone
		}
		return dial(ctx)
	}
	if answer, body := r.ask(t, "GET", r.Origin()+"/", known); answer.StatusCode != http.StatusBadGateway || body != gone.Error()+"\n" {
		t.Errorf("a page: %d, %q", answer.StatusCode, body)
	}
	_, answer, err := websocket.Dial(t.Context(), "ws://"+r.host+"/", &websocket.DialOptions{HTTPClient: r.browser(), HTTPHeader: with(known, "Origin", r.Origin())})
	if err == nil || answer.StatusCode != http.StatusBadGateway {
		t.Errorf("a WebSocket: %v", err)
	}
	for range 2 {
		if err := <-said; !errors.Is(err, gone) || err.Error() != gone.Error() {
			t.Errorf("it says %v", err)
		}
	}
	mu.Lock()
	lost = false
	mu.Unlock()
	if answer, _ := r.ask(t, "GET", r.Origin()+"/", known); answer.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", answer.StatusCode)
	}
}
