package internet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
)

// Files by which a test talks to a bot. The servers of chat services are stand-ins: as much of them as a channel needs to
// say that it is connected, and for Telegram's Bot API as much as a message there and back takes.
const (
	TelegramInFile  = "telegram-in"  // messages to the bot, a line each: the sender's number, a space, the text
	TelegramOutFile = "telegram-out" // what the bot answered, a line each: the chat's number, a space, the text in JSON
	WhatsAppInFile  = "whatsapp-in"  // how each connection to WhatsApp began, a line each: four bytes in hexadecimal
)

// Tokens that the chat services take; they refuse all others.
const (
	TelegramToken = "123456789:AAlablablablablablablablablablablab"
	DiscordToken  = "MTIzNDU2Nzg5MDEyMzQ1Njc4.Glab01.lablablablablablablablablablablablab"
	SlackBotToken = "xoxb-1-2-lab"
	SlackAppToken = "xapp-1-A1-2-lab"
)

// RevokedToken is one that looks like Telegram's.
const RevokedToken = "10000:revoked-revoked"

// longestPoll bounds how long getUpdates waits for a message.
const longestPoll = 20 * time.Second

// addChannels adds the servers of chat services, each by the name that it is asked for by.
func addChannels(mux *http.ServeMux, folder string) {
	t := &telegram{in: filepath.Join(folder, TelegramInFile), out: notes{filepath.Join(folder, TelegramOutFile)}}
	mux.HandleFunc("api.telegram.org/{bot}/{method}", t.serve)
	// All else is refused without a word of what was asked: the origin's own answer would repeat the token in the path.
	mux.HandleFunc("api.telegram.org/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, fields{"ok": false, "error_code": 404, "description": "Not Found"})
	})
	mux.HandleFunc("discord.com/api/v10/", discord)
	mux.HandleFunc("gateway.discord.gg/", spoken(discordGateway))
	mux.HandleFunc("slack.com/api/", slack)
	mux.HandleFunc("wss-primary.slack.com/", spoken(slackSocket))
	mux.HandleFunc("web.whatsapp.com/", spoken(whatsApp(notes{filepath.Join(folder, WhatsAppInFile)})))
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // whoever has gone gets none
}

type fields = map[string]any

// telegram is the Bot API: https://core.telegram.org/bots/api.
type telegram struct {
	in  string
	out notes

	mu   sync.Mutex
	sent int
}

func (t *telegram) serve(w http.ResponseWriter, r *http.Request) {
	if strings.TrimPrefix(r.PathValue("bot"), "bot") != TelegramToken {
		answer(w, http.StatusUnauthorized, fields{"ok": false, "error_code": 401, "description": "Unauthorized"})
		return
	}
	var asked struct {
		Offset  int         `json:"offset"`
		Timeout float64     `json:"timeout"`
		ChatID  json.Number `json:"chat_id"`
		Text    string      `json:"text"`
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil && len(body) > 0 {
		_ = json.Unmarshal(body, &asked) // a file that is uploaded is no JSON, and no message of ours
	}
	var result any = true
	me := fields{"id": 42, "is_bot": true, "first_name": "Lab", "username": "lab_bot", "can_join_groups": true}
	switch r.PathValue("method") {
	case "getMe":
		result = me
	case "getUpdates":
		result = t.updates(r, asked.Offset, min(longestPoll, time.Duration(asked.Timeout*float64(time.Second))))
	case "getWebhookInfo":
		result = fields{"url": "", "has_custom_certificate": false, "pending_update_count": 0}
	case "getMyCommands":
		result = []any{}
	case "sendMessage", "editMessageText":
		t.mu.Lock()
		t.sent++
		n := t.sent
		t.mu.Unlock()
		text, _ := json.Marshal(asked.Text) // a text always has a form
		if err := t.out.add(asked.ChatID.String() + " " + string(text)); err != nil {
			answer(w, http.StatusInternalServerError, fields{"ok": false, "error_code": 500, "description": err.Error()})
			return
		}
		result = fields{"message_id": 1000 + n, "date": time.Now().Unix(), "from": me, "text": asked.Text, "chat": fields{"id": asked.ChatID, "type": "private"}}
	}
	answer(w, http.StatusOK, fields{"ok": true, "result": result})
}

// updates waits for messages from a number on.
func (t *telegram) updates(r *http.Request, offset int, patience time.Duration) []any {
	for deadline := time.Now().Add(patience); ; {
		found := []any{}
		text, err := os.ReadFile(t.in)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return found
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			from, said, _ := strings.Cut(strings.TrimSpace(line), " ")
			if n < offset {
				continue
			}
			who := fields{"id": json.Number(from), "is_bot": false, "first_name": "Somebody"}
			found = append(found, fields{"update_id": n, "message": fields{"message_id": n, "date": time.Now().Unix(), "text": said,
				"from": who, "chat": fields{"id": json.Number(from), "type": "private", "first_name": "Somebody"}}})
		}
		if len(found) > 0 || time.Now().After(deadline) {
			return found
		}
		select {
		case <-r.Context().Done():
			return found
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// discord is the REST API: https://discord.com/developers/docs/reference.
func discord(w http.ResponseWriter, r *http.Request) {
	user := fields{"id": "42", "username": "lab", "discriminator": "0", "bot": true}
	switch {
	case strings.TrimPrefix(r.Header.Get("Authorization"), "Bot ") != DiscordToken:
		answer(w, http.StatusUnauthorized, fields{"message": "401: Unauthorized", "code": 0})
	case strings.HasSuffix(r.URL.Path, "/gateway/bot"), strings.HasSuffix(r.URL.Path, "/gateway"):
		answer(w, http.StatusOK, fields{"url": "wss://gateway.discord.gg", "shards": 1,
			"session_start_limit": fields{"total": 1000, "remaining": 999, "reset_after": 0, "max_concurrency": 1}})
	case strings.HasSuffix(r.URL.Path, "/users/@me"):
		answer(w, http.StatusOK, user)
	case strings.HasSuffix(r.URL.Path, "/applications/@me"):
		answer(w, http.StatusOK, fields{"id": "43", "name": "lab", "bot": user, "flags": 1 << 19})
	default:
		answer(w, http.StatusOK, []any{})
	}
}

// discordGateway is version 10 of the Gateway, with JSON: https://discord.com/developers/docs/events/gateway.
func discordGateway(conn *websocket.Conn) {
	if websocket.JSON.Send(conn, fields{"op": 10, "d": fields{"heartbeat_interval": 41250}}) != nil {
		return
	}
	for sequence := 1; ; {
		var said struct {
			Op int `json:"op"`
		}
		if websocket.JSON.Receive(conn, &said) != nil {
			return
		}
		reply := fields{"op": 11}
		switch said.Op {
		case 1: // a heartbeat
		case 2, 6: // who it is, or that it goes on
			reply = fields{"op": 0, "s": sequence, "t": "READY", "d": fields{"v": 10, "session_id": "lab", "resume_gateway_url": "wss://gateway.discord.gg",
				"user": fields{"id": "42", "username": "lab", "discriminator": "0", "bot": true}, "guilds": []any{}, "application": fields{"id": "43", "flags": 1 << 19}}}
			sequence++
		default:
			continue
		}
		if websocket.JSON.Send(conn, reply) != nil {
			return
		}
	}
}

// slack is the Web API: https://api.slack.com/web.
func slack(w http.ResponseWriter, r *http.Request) {
	token, method := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), path.Base(r.URL.Path)
	if want := map[bool]string{true: SlackAppToken, false: SlackBotToken}[method == "apps.connections.open"]; token != want {
		answer(w, http.StatusOK, fields{"ok": false, "error": "invalid_auth"})
		return
	}
	switch method {
	case "auth.test":
		answer(w, http.StatusOK, fields{"ok": true, "url": "https://lab.slack.com/", "team": "lab", "user": "lab", "team_id": "T1", "user_id": "U1", "bot_id": "B1"})
	case "apps.connections.open":
		answer(w, http.StatusOK, fields{"ok": true, "url": "wss://wss-primary.slack.com/link/?ticket=lab"})
	default:
		answer(w, http.StatusOK, fields{"ok": true})
	}
}

// slackSocket is the Socket Mode: https://api.slack.com/apis/socket-mode.
func slackSocket(conn *websocket.Conn) {
	if websocket.JSON.Send(conn, fields{"type": "hello", "num_connections": 1, "connection_info": fields{"app_id": "A1"}, "debug_info": fields{"host": "lab", "approximate_connection_time": 18060}}) != nil {
		return
	}
	for {
		var said string
		if err := websocket.Message.Receive(conn, &said); err != nil {
			return
		}
	}
}

// whatsApp hears how a client begins its handshake, and goes no further: the real one has a key that only WhatsApp holds.
func whatsApp(in notes) func(*websocket.Conn) {
	return func(conn *websocket.Conn) {
		var hello message
		if messages.Receive(conn, &hello) != nil {
			return
		}
		_ = in.add(fmt.Sprintf("%x", hello.data[:min(4, len(hello.data))])) // whoever waits for the line says that it did not come
	}
}
