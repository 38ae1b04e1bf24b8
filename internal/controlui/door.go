// Package controlui is the door by which a browser of this computer gets to OpenClaw's control UI: a proxy for HTTP and
// WebSockets at a name that is another for each run. No credential of the gateway's reaches the browser.
package controlui

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Gateway is where OpenClaw is, and what lets in there.
type Gateway struct {
	Address string // as the gateway calls itself, and as it wants to be called
	Token   string // the one that all its clients share
	Dial    func(ctx context.Context) (net.Conn, error)
}

// Door answers at one address and to whoever has logged in there, and takes them to the gateway.
type Door struct {
	gateway Gateway
	host    string // of the address, with its port
	token   string // what the browser has in the place of the gateway's: it is worth nothing without this process
	cookie  string
	device  device
	limit   int64 // of a message that is read as a whole
	say     func(error)
	proxy   *httputil.ReverseProxy
	client  *http.Client // for WebSockets

	mu    sync.Mutex
	link  string // what opens the door once; empty: nothing does
	until time.Time
}

// New makes a door for a port of this computer. What goes wrong on the way to the gateway goes to say, too.
func New(port uint16, gateway Gateway, say func(error)) (*Door, error) {
	own, err := newDevice()
	if err != nil {
		return nil, err
	}
	host := label() + ".localhost"
	if port != 80 { // which no browser names
		host = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	d := &Door{gateway: gateway, host: host, token: rand.Text(), cookie: rand.Text(), device: own, limit: helloLimit, say: say}
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return gateway.Dial(ctx) },
		DisableCompression: true,            // that is between the browser and the gateway
		IdleConnTimeout:    3 * time.Second, // the gateway's own is five
	}
	d.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	d.proxy = &httputil.ReverseProxy{
		Transport:      transport,
		Rewrite:        func(r *httputil.ProxyRequest) { d.forGateway(r.Out) },
		ModifyResponse: func(r *http.Response) error { d.forBrowser(r.Header); return nil },
		FlushInterval:  -1, // what the gateway says piece by piece is shown so
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, err error) { d.unreachable(w, err) },
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	return d, nil
}

// label is a name that nobody guesses: 26 letters and digits, as a name service takes them.
func label() string { return strings.ToLower(rand.Text()) }

// Origin is the address that a browser knows the door by.
func (d *Door) Origin() string { return "http://" + d.host }

// Serve answers on a listener until the context ends, which ends every connection too.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           d,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

// refusal is a request that goes no further, in a word for who sees the page.
type refusal struct {
	status int
	word   string
}

var (
	wrongHost     = &refusal{http.StatusMisdirectedRequest, "nothing is served at this address"}
	fromElsewhere = &refusal{http.StatusForbidden, "this is not for other sites"}
	notLoggedIn   = &refusal{http.StatusForbidden, "open the link that claw forward prints: it logs this browser in"}
	noWorker      = &refusal{http.StatusForbidden, "no service worker stays in the browser"}
	noUpgrade     = &refusal{http.StatusBadRequest, "nothing but WebSockets"}
)

func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secret, login := strings.CutPrefix(r.URL.Path, loginPath)
	switch no := d.refuses(r, login); {
	case no != nil:
		no.write(w)
	case login:
		d.logIn(w, r, secret)
	case r.Header.Get("Upgrade") != "":
		d.socket(w, r)
	default:
		d.proxy.ServeHTTP(w, r)
	}
}

// refuses says why a request goes no further; nil: it does.
func (d *Door) refuses(r *http.Request, login bool) *refusal {
	upgrade := r.Header.Get("Upgrade")
	switch {
	case r.Host != d.host:
		return wrongHost
	case !d.fromHere(r) && !(login && isClick(r)):
		return fromElsewhere
	case login:
		return nil
	case !d.knows(r):
		return notLoggedIn
	case r.Header.Get("Service-Worker") != "":
		return noWorker
	case upgrade != "" && !strings.EqualFold(upgrade, "websocket"):
		return noUpgrade
	}
	return nil
}

// fromHere tells whether a page of the door's own asks, or the user by themselves. What changes something says who asks, always.
func (d *Door) fromHere(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	harmless := (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Upgrade") == ""
	for _, origin := range origins {
		if origin != d.Origin() {
			return false
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return (harmless || len(origins) == 1) && (site == "" || site == "none" || site == "same-origin")
}

// isClick tells whether somebody follows a link, from wherever it was sent to them.
func isClick(r *http.Request) bool {
	return len(r.Header.Values("Origin")) == 0 && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

func (r *refusal) write(w http.ResponseWriter) {
	ours(w.Header())
	http.Error(w, r.word, r.status)
}

// ours are the headers of the door's own answers.
func ours(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
}

// unreachable says in the page and on the terminal that the gateway cannot be got at.
func (d *Door) unreachable(w http.ResponseWriter, err error) {
	if errors.Is(err, context.Canceled) { // whoever asked has gone
		return
	}
	d.say(err)
	ours(w.Header())
	http.Error(w, err.Error(), http.StatusBadGateway)
}
