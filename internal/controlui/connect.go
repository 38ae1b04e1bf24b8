package controlui

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// device is what the gateway knows a client by, beside the token: a key that signs what the client asks for. The browser has one of
// its own, which is never heard of; this one ends with the process. (OpenClaw: gateway protocol, "Device identity".)
type device struct {
	key    ed25519.PrivateKey
	public string
	id     string
}

func newDevice() (device, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return device{}, fmt.Errorf("make the key of this run for the gateway: %w", err)
	}
	sum := sha256.Sum256(public)
	return device{private, base64.RawURLEncoding.EncodeToString(public), hex.EncodeToString(sum[:])}, nil
}

// object is one of JSON's, with all that this program does not know.
type object map[string]json.RawMessage

// connection is one WebSocket of the control UI's as far as its `connect`: the first thing that the browser says, with its credentials.
type connection struct {
	door *Door

	mu        sync.Mutex
	challenge challenge
	spoke     bool   // the browser did
	asked     string // the identifier of connect
}

// challenge is the first thing that the gateway says, and is to be signed.
type challenge struct {
	Nonce string `json:"nonce"`
	Time  int64  `json:"ts"`
}

// proof is how a device says that it is one.
type proof struct {
	ID        string `json:"id"`
	PublicKey string `json:"publicKey"`
	Signature string `json:"signature"`
	SignedAt  int64  `json:"signedAt"`
	Nonce     string `json:"nonce"`
}

// fromBrowser puts this run's credentials into connect, in place of what the browser takes for its own. It looks at the first message
// alone, and leaves what is no connect as it is: more is false.
func (c *connection) fromBrowser(text []byte) (out []byte, more bool, err error) {
	var frame, params object
	var request struct {
		ID     string `json:"id"`
		Method string `json:"method"`
		Params struct {
			Role   string   `json:"role"`
			Scopes []string `json:"scopes"`
			Client struct {
				ID       string `json:"id"`
				Mode     string `json:"mode"`
				Platform string `json:"platform"`
				Family   string `json:"deviceFamily"`
			} `json:"client"`
		} `json:"params"`
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spoke = true
	if json.Unmarshal(text, &request) != nil || request.Method != "connect" ||
		json.Unmarshal(text, &frame) != nil || json.Unmarshal(frame["params"], &params) != nil {
		return text, false, nil
	}
	c.asked = request.ID
	role, client, own := request.Params.Role, request.Params.Client, c.door.device
	if role == "" {
		role = "operator"
	}
	signed := strings.Join([]string{"v3", own.id, client.ID, client.Mode, role, strings.Join(request.Params.Scopes, ","), fmt.Sprint(c.challenge.Time),
		c.door.gateway.Token, c.challenge.Nonce, lower(client.Platform), lower(client.Family)}, "|")
	if err := set(params, "auth", map[string]string{"token": c.door.gateway.Token}); err != nil {
		return nil, false, err
	}
	signature := base64.RawURLEncoding.EncodeToString(ed25519.Sign(own.key, []byte(signed)))
	if err := set(params, "device", proof{own.id, own.public, signature, c.challenge.Time, c.challenge.Nonce}); err != nil {
		return nil, false, err
	}
	if err := set(frame, "params", params); err != nil {
		return nil, false, err
	}
	out, err = json.Marshal(frame)
	return out, false, err
}

// fromGateway notes the challenge, and takes the device's token out of the answer to connect: a browser would keep it.
func (c *connection) fromGateway(text []byte) (out []byte, more bool, err error) {
	var frame, payload, auth object
	var said struct {
		Type    string    `json:"type"`
		Event   string    `json:"event"`
		ID      string    `json:"id"`
		Payload challenge `json:"payload"`
	}
	_ = json.Unmarshal(text, &said) // what fits; the rest is not for us
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case said.Event == "connect.challenge":
		c.challenge = said.Payload
		return text, true, nil
	case c.spoke && c.asked == "": // another kind of WebSocket
		return text, false, nil
	case said.Type != "res" || c.asked == "" || said.ID != c.asked:
		return text, true, nil
	case json.Unmarshal(text, &frame) != nil || json.Unmarshal(frame["payload"], &payload) != nil || json.Unmarshal(payload["auth"], &auth) != nil:
		return text, false, nil // it refuses
	}
	delete(auth, "deviceTokens")
	if auth["deviceToken"] != nil {
		if err := set(auth, "deviceToken", c.door.token); err != nil {
			return nil, false, err
		}
	}
	if err := set(payload, "auth", auth); err != nil {
		return nil, false, err
	}
	if err := set(frame, "payload", payload); err != nil {
		return nil, false, err
	}
	out, err = json.Marshal(frame)
	return out, false, err
}

func set(o object, name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s of a message to the gateway: %w", name, err)
	}
	o[name] = text
	return nil
}

// lower is the gateway's own idea of lower case: ASCII alone, without blanks around it.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(text))
}
