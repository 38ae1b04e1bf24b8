package controlui

import (
	"net/http"
	"net/url"
	"strings"
)

// policy leaves to OpenClaw's own what it may do, and lets no page get at other servers of this computer: all that comes
// from elsewhere comes by TLS.
const policy = "default-src 'self' https: wss: data: blob: 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval'; form-action 'self' https:"

func (d *Door) gatewayOrigin() string { return "http://" + d.gateway.Address }

// forGateway makes of a browser's request one that the gateway could have had from a browser on its own machine.
func (d *Door) forGateway(r *http.Request) {
	r.URL.Scheme, r.URL.Host, r.Host = "http", d.gateway.Address, d.gateway.Address
	d.headersForGateway(r.Header)
}

func (d *Door) headersForGateway(h http.Header) {
	if h.Get("Origin") != "" {
		h.Set("Origin", d.gatewayOrigin())
	}
	if page, ok := strings.CutPrefix(h.Get("Referer"), d.Origin()+"/"); ok {
		h.Set("Referer", d.gatewayOrigin()+"/"+page)
	} else {
		h.Del("Referer")
	}
	if same(h.Get("Authorization"), "Bearer "+d.token) {
		h.Set("Authorization", "Bearer "+d.gateway.Token)
	}
	var others []string
	for _, line := range h.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			if pair = strings.TrimSpace(pair); pair != "" && !isOurCookie(pair) {
				others = append(others, pair)
			}
		}
	}
	h.Del("Cookie")
	if len(others) > 0 {
		h.Set("Cookie", strings.Join(others, "; "))
	}
}

func isOurCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	return strings.TrimSpace(name) == cookieName
}

// forBrowser takes from an answer what would outlive the run, or reach beyond the door.
func (d *Door) forBrowser(h http.Header) {
	cookies := h.Values("Set-Cookie")
	h.Del("Set-Cookie")
	for _, line := range cookies {
		if cookie, err := http.ParseSetCookie(line); err == nil && cookie.Domain == "" && cookie.Name != cookieName {
			h.Add("Set-Cookie", line)
		}
	}
	for _, name := range []string{"Service-Worker-Allowed", "Alt-Svc", "Strict-Transport-Security"} {
		h.Del(name)
	}
	if to, err := url.Parse(h.Get("Location")); err == nil && to.Host == d.gateway.Address {
		to.Scheme, to.Host = "", ""
		h.Set("Location", to.String())
	}
	if !strings.Contains(h.Get("Cache-Control"), "immutable") { // as OpenClaw's own files are, whose names change with them
		h.Set("Cache-Control", "no-store")
	}
	if h.Get("Referrer-Policy") == "" {
		h.Set("Referrer-Policy", "no-referrer")
	}
	h.Add("Content-Security-Policy", policy)
}
