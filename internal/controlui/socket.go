package controlui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// helloLimit bounds what is read as a whole: the first messages. The gateway's answer to connect says what there is.
	helloLimit = 16 << 20

	// upgradeLimit is for the gateway to take a WebSocket.
	upgradeLimit = 30 * time.Second
)

// socket takes a WebSocket to the gateway.
func (d *Door) socket(w http.ResponseWriter, r *http.Request) {
	header := r.Header.Clone()
	for name := range header {
		if strings.HasPrefix(name, "Sec-Websocket-") || name == "Connection" || name == "Upgrade" {
			delete(header, name)
		}
	}
	d.headersForGateway(header)
	var protocols []string
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for protocol := range strings.SplitSeq(line, ",") {
			protocols = append(protocols, strings.TrimSpace(protocol))
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), upgradeLimit)
	// Neither end packs its messages: the first are read here.
	gateway, answer, err := websocket.Dial(ctx, "ws://"+d.gateway.Address+r.URL.RequestURI(),
		&websocket.DialOptions{HTTPClient: d.client, HTTPHeader: header, Subprotocols: protocols})
	cancel()
	if err != nil {
		if answer != nil && answer.StatusCode >= http.StatusBadRequest {
			ours(w.Header())
			http.Error(w, "the gateway does not take this WebSocket", answer.StatusCode)
			return
		}
		var asked *url.Error
		if errors.As(err, &asked) {
			err = asked.Err
		}
		d.unreachable(w, err)
		return
	}
	defer gateway.CloseNow()
	options := &websocket.AcceptOptions{} // it compares Origin with Host once more
	if chosen := gateway.Subprotocol(); chosen != "" {
		options.Subprotocols = []string{chosen}
	}
	browser, err := websocket.Accept(w, r, options)
	if err != nil {
		return // it has answered
	}
	defer browser.CloseNow()
	browser.SetReadLimit(-1) // the gateway has its own
	gateway.SetReadLimit(-1)
	c := &connection{door: d}
	var both sync.WaitGroup
	both.Go(func() { end(gateway, d.relay(r.Context(), gateway, browser, c.fromBrowser)) })
	both.Go(func() { end(browser, d.relay(r.Context(), browser, gateway, c.fromGateway)) })
	both.Wait()
}

// relay passes messages on until one end is gone, and gives why. Those that edit wants more of are read as a whole; no other is kept.
func (d *Door) relay(ctx context.Context, to, from *websocket.Conn, edit func([]byte) ([]byte, bool, error)) error {
	for more := true; ; {
		kind, message, err := from.Reader(ctx)
		if err != nil {
			return err
		}
		if more && kind == websocket.MessageText {
			text, err := io.ReadAll(io.LimitReader(message, d.limit+1))
			if err != nil {
				return err
			}
			if int64(len(text)) > d.limit {
				return websocket.CloseError{Code: websocket.StatusMessageTooBig, Reason: fmt.Sprintf("more than %d bytes before the answer to connect", d.limit)}
			}
			if text, more, err = edit(text); err != nil {
				return err
			}
			if err := to.Write(ctx, kind, text); err != nil {
				return err
			}
			continue
		}
		out, err := to.Writer(ctx, kind)
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, message); err != nil {
			return err
		}
		if err := out.Close(); err != nil {
			return err
		}
	}
}

// end closes a connection as its other end was.
func end(conn *websocket.Conn, why error) {
	var closed websocket.CloseError
	if errors.As(why, &closed) {
		_ = conn.Close(closed.Code, closed.Reason)
		return
	}
	_ = conn.CloseNow()
}
