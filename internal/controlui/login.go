package controlui

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net/http"
	"time"
)

const (
	// LoginLimit is how long a login link works.
	LoginLimit = 5 * time.Minute

	loginPath = "/claw-login/"

	// Its value is the run's. It is the host's alone, whatever a page asks for; Secure would keep it from browsers that do not
	// take localhost for safe.
	cookieName = "claw"
)

// NewLink is a link that logs in the browser that opens it first. The one before works no longer.
func (d *Door) NewLink() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link, d.until = rand.Text(), time.Now().Add(LoginLimit)
	return d.Origin() + loginPath + d.link
}

// opens uses the link up.
func (d *Door) opens(secret string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link == "" || time.Now().After(d.until) || !same(secret, d.link) {
		return false
	}
	d.link = ""
	return true
}

// The page goes on by itself: what it asks for is then asked by a page of this place, wherever the link was found.
const loggedIn = `<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=/#token=%[1]s">
<title>OpenClaw</title>
<p>This browser is logged in. <a href="/#token=%[1]s">Go on to OpenClaw</a></p>
`

func (d *Door) logIn(w http.ResponseWriter, r *http.Request, secret string) {
	ours(w.Header())
	if r.Method != http.MethodGet { // what looks at a link before it is opened
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "open it in a browser", http.StatusMethodNotAllowed)
		return
	}
	if !d.opens(secret) {
		http.Error(w, "this link was used, or is too old, or is another's: Enter in claw forward gives a new one, and so does a new claw forward", http.StatusGone)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: d.cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, loggedIn, d.token)
}

// knows tells whether a request has the run's cookie.
func (d *Door) knows(r *http.Request) bool {
	for _, cookie := range r.CookiesNamed(cookieName) {
		if same(cookie.Value, d.cookie) {
			return true
		}
	}
	return false
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
