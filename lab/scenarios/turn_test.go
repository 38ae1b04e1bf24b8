package scenarios

import (
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Programs and scripts that scenarios run at the places of a lab.
//
//go:embed testdata
var programs embed.FS

func program(t interface{ Fatal(...any) }, name string) string {
	text, err := programs.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// mockPort is where the mock model listens, on the agent's own loopback.
const mockPort = "18900"

// mockModel is what the stack's openclawConfig says to have every turn answered by the mock model.
const mockModel = `{"agents": {"defaults": {"model": {"primary": "mock/mock"}}},
"models": {"mode": "merge", "providers": {"mock": {"baseUrl": "http://127.0.0.1:` + mockPort + `/v1", "apiKey": "none", "api": "openai-completions",
"models": [{"id": "mock", "name": "Mock", "reasoning": false, "input": ["text"], "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
"contextWindow": 120000, "maxTokens": 8192}]}}}}`

// startMockModel starts the mock model in the agent's network, under a user of its own.
func startMockModel(l *one) {
	l.t.Helper()
	l.on(`systemctl is-active --quiet mock-model || systemd-run --quiet --unit=mock-model --property=DynamicUser=yes --property=NetworkNamespacePath=/run/netns/openclaw python3 -c ` +
		quote(program(l.t, "mock-model.py")) + ` ` + mockPort)
}

// quote makes one word of a text for the shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// turn has the agent run a script, in a turn of the running gateway, and gives what the script printed.
func (l *one) turn(script string) string {
	l.t.Helper()
	said, err := l.ask(script)
	if err != nil {
		l.t.Fatalf("the agent's turn: %v", err)
	}
	return said
}

func (l *one) ask(script string) (string, error) {
	l.t.Helper()
	r := l.command("", 5*time.Minute, l.root+"/bin/lab", "exec", "vm", "--", "openclaw", "agent", "--agent", "main", "--json", "--timeout", "240",
		"--message", fmt.Sprintf("RUN:%s:END", base64.StdEncoding.EncodeToString([]byte(script))))
	var answer struct {
		Result struct {
			Payloads []struct{ Text string }
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &answer); r.code != 0 || err != nil || len(answer.Result.Payloads) == 0 {
		return "", errors.New(r.String())
	}
	return answer.Result.Payloads[0].Text, nil
}

// firstTurn configures a model as a user does, and lets the agent run something.
func firstTurn(l *one) {
	l.pulumi(0, "config", "set", "openclawConfig", mockModel)
	l.pulumi(0, "up", "--yes", "--skip-preview")
	startMockModel(l)
	said := l.turn("id -un; git --version; sh -c 'echo from sh'; node -p '\"from node\"'")
	for _, want := range []string{"openclaw\n", "git version ", "from sh\n", "from node"} {
		if !strings.Contains(said, want) {
			l.t.Errorf("the turn lacks %q: %q", want, said)
		}
	}
}
