package main

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"openclaw-azure/internal/hint"
)

// loginLimit is how long the login link works.
const loginLimit = 5 * time.Minute

// login is a link that works once and hands the gateway's token to the browser
// that opens it. So the token is on no screen, in no scrollback, in no command
// line of a browser; where it stands, in the fragment of an address, no server
// sees it.
type login struct {
	url    string
	server *http.Server
}

func newLogin(ui, token string) (*login, error) {
	if token == "" {
		return nil, hint.To(errors.New("the stack has no gateway token in its outputs"),
			"pulumi up")
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the login: %w", err)
	}
	path := "/" + rand.Text()
	until := time.Now().Add(loginLimit)
	var mu sync.Mutex
	used := false
	handle := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if subtle.ConstantTimeCompare([]byte(r.URL.Path), []byte(path)) != 1 {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet { // what looks at a link before it is opened
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "open it in a browser", http.StatusMethodNotAllowed)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if used || time.Now().After(until) {
			http.Error(w, "this link was used or is too old: run claw forward again for a new one", http.StatusGone)
			return
		}
		used = true
		http.Redirect(w, r, ui+"#token="+token, http.StatusFound)
	}
	l := &login{url: "http://" + listener.Addr().String() + path,
		server: &http.Server{Handler: http.HandlerFunc(handle), ReadHeaderTimeout: 10 * time.Second}}
	go func() { _ = l.server.Serve(listener) }()
	return l, nil
}

func (l *login) close() { _ = l.server.Close() }
