package internet

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// ask asks a chat service by its name.
func ask(t *testing.T, server *httptest.Server, method, host, path, authorization, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	request.Header.Set("Authorization", authorization)
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var value json.RawMessage
	if err := json.NewDecoder(response.Body).Decode(&value); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(value)
}

func TestChannels(t *testing.T) {
	folder := t.TempDir()
	server := httptest.NewServer(origin(folder, newReceivers(folder)))
	defer server.Close()
	for _, c := range []struct {
		method, host, path, authorization, body string
		status                                  int
		want                                    string
	}{
		{"POST", "api.telegram.org", "/bot" + TelegramToken + "/getMe", "", "", 200, `"username":"lab_bot"`},
		{"POST", "api.telegram.org", "/bot" + RevokedToken + "/getMe", "", "", 401, `"description":"Unauthorized"`},
		{"POST", "api.telegram.org", "/bot" + TelegramToken + "/getUpdates", "", `{"timeout":0}`, 200, `"result":[]`},
		{"POST", "api.telegram.org", "/bot" + TelegramToken + "/sendMessage", "", `{"chat_id":1001,"text":"hi\nthere"}`, 200, `"message_id":1001`},
		{"GET", "discord.com", "/api/v10/gateway/bot", "Bot " + DiscordToken, "", 200, `"wss://gateway.discord.gg"`},
		{"GET", "discord.com", "/api/v10/users/@me", "Bot " + RevokedToken, "", 401, `401: Unauthorized`},
		{"POST", "slack.com", "/api/apps.connections.open", "Bearer " + SlackAppToken, "", 200, `"wss://wss-primary.slack.com/`},
		{"POST", "slack.com", "/api/auth.test", "Bearer " + RevokedToken, "", 200, `"invalid_auth"`},
	} {
		if status, got := ask(t, server, c.method, c.host, c.path, c.authorization, c.body); status != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%s%s: %d %s, want %d and %s", c.host, c.path, status, got, c.status, c.want)
		}
	}
	if out, err := os.ReadFile(filepath.Join(folder, TelegramOutFile)); err != nil || string(out) != "1001 \"hi\\nthere\"\n" {
		t.Errorf("the bot answered %q, %v", out, err)
	}
	if err := os.WriteFile(filepath.Join(folder, TelegramInFile), []byte("1001 hello\n1002 you\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, got := ask(t, server, "POST", "api.telegram.org", "/bot"+TelegramToken+"/getUpdates", "", `{"offset":2,"timeout":10}`); strings.Contains(got, "hello") || !strings.Contains(got, `"text":"you"`) {
		t.Errorf("from the second message on: %s", got)
	}
}

// TestChannelSockets: what a client waits for to call itself connected.
func TestChannelSockets(t *testing.T) {
	folder := t.TempDir()
	server := httptest.NewServer(origin(folder, newReceivers(folder)))
	defer server.Close()
	for host, says := range map[string][]string{
		"gateway.discord.gg":    {"", `"op":10`, `{"op":2,"d":{}}`, `"READY"`, `{"op":1,"d":1}`, `"op":11`},
		"wss-primary.slack.com": {"", `"hello"`},
		"web.whatsapp.com":      {"WA\x06\x03 and a hello", ""},
	} {
		config, err := websocket.NewConfig("ws"+strings.TrimPrefix(server.URL, "http")+"/", "http://"+host+"/")
		if err != nil {
			t.Fatal(err)
		}
		config.Location.Host = host
		stream, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := websocket.NewClient(config, stream)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		for i := 0; i < len(says); i += 2 {
			if says[i] != "" {
				if err := websocket.Message.Send(conn, says[i]); err != nil {
					t.Fatal(err)
				}
			}
			var got string
			err := websocket.Message.Receive(conn, &got)
			if says[i+1] == "" {
				if err == nil {
					t.Errorf("%s: %q, want the end", host, got)
				}
			} else if err != nil || !strings.Contains(got, says[i+1]) {
				t.Errorf("%s: %q, %v, want %s", host, got, err, says[i+1])
			}
		}
		conn.Close()
	}
	if in, err := os.ReadFile(filepath.Join(folder, WhatsAppInFile)); err != nil || string(in) != "57410603\n" {
		t.Errorf("WhatsApp heard %q, %v", in, err)
	}
}
