package keys

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzParse reads a text as a stack's keys and as a peer's. ~ stands for a secret.
func FuzzParse(f *testing.F) {
	const canary = "canaryOfASecret"
	made, err := theStack()
	if err != nil {
		f.Fatal(err)
	}
	stackText, err := json.Marshal(made)
	if err != nil {
		f.Fatal(err)
	}
	peerText, err := json.Marshal(made.Deployer)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{string(stackText), string(peerText)} {
		f.Add(text)
		f.Add(text[:len(text)/2])
		f.Add(text + "~")
		f.Add(strings.Replace(text, `{"`, `{"~": "~", "`, 1))
	}
	for _, secret := range secrets(made) {
		quoted, err := json.Marshal(secret)
		if err != nil {
			f.Fatal(err)
		}
		for _, text := range []string{string(stackText), string(peerText)} {
			f.Add(strings.Replace(text, string(quoted), `"~"`, 1))
			f.Add(strings.Replace(text, string(quoted), `{"~": 1}`, 1))
		}
	}
	for _, text := range []string{"", "null", "{}", "[]", "~", `"~"`, `{"sudoPassword": {"plain": "~", "hash": "$6$rounds=999999999$salt$"}}`, `{"private": "", "public": "", "preshared": ""}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ReplaceAll(text, "~", canary)
		stack, stackErr := ParseStack(text)
		peer, peerErr := ParsePeer(text)
		if (stack == nil) == (stackErr == nil) || (peer == nil) == (peerErr == nil) || stackErr == nil && peerErr == nil {
			t.Fatalf("stack: %v, %v; peer: %v, %v", stack, stackErr, peer, peerErr)
		}
		for _, err := range []error{stackErr, peerErr} {
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("it shows a secret: %v", err)
			}
		}
	})
}
