package internet

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestModels: as much of each provider's API as a turn takes, and no more without its key.
func TestModels(t *testing.T) {
	run := "RUN:" + base64.StdEncoding.EncodeToString([]byte("id")) + ":END"
	folder := t.TempDir()
	server := httptest.NewServer(origin(folder, newReceivers(folder)))
	defer server.Close()
	for _, test := range []struct {
		host, path, header, key, body string
		status                        int
		want                          []string
	}{
		{"api.anthropic.com", "/v1/messages", "X-Api-Key", "another", `{}`, 401, []string{"authentication_error"}},
		{"api.anthropic.com", "/v1/messages", "X-Api-Key", AnthropicKey, fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":%q}]}`, run), 200,
			[]string{`"command":"id"`, `"stop_reason":"tool_use"`, `"output_tokens":50`}},
		{"api.anthropic.com", "/v1/messages", "X-Api-Key", AnthropicKey,
			fmt.Sprintf(`{"model":"m","stream":true,"messages":[{"role":"user","content":[{"type":"text","text":%q}]},{"role":"user","content":[{"type":"tool_result","content":"uid=0"}]}]}`, run), 200,
			[]string{"event: message_start\n", `"text":"uid=0"`, `"stop_reason":"end_turn"`}},
		{"api.anthropic.com", "/v1/files", "X-Api-Key", AnthropicKey, `{}`, 404, []string{"not_found_error"}},
		{"api.openai.com", "/v1/chat/completions", "Authorization", "Bearer " + OpenAIKey, fmt.Sprintf(`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":%q}]}`, run), 200,
			[]string{`"name":"exec"`, `"cached_tokens":500`, "data: [DONE]"}},
		{"api.openai.com", "/v1/responses", "Authorization", "Bearer " + OpenAIKey, fmt.Sprintf(`{"model":"m","stream":true,"input":[{"role":"user","content":[{"type":"input_text","text":%q}]},{"type":"function_call_output","output":"uid=0"}]}`, run), 200,
			[]string{`"delta":"uid=0"`, "event: response.completed\n"}},
		{"api.openai.com", "/v1/embeddings", "Authorization", "Bearer " + OpenAIKey, `{"input":["a","b"]}`, 200, []string{`"index":1`, `"prompt_tokens":1000`}},
	} {
		request, err := http.NewRequest(http.MethodPost, server.URL+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = test.host
		request.Header.Set(test.header, test.key)
		response, err := server.Client().Do(request)
		got := said(t, response, err)
		if response.StatusCode != test.status {
			t.Errorf("%s%s: status %d: %s", test.host, test.path, response.StatusCode, got)
		}
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s%s: no %q in %s", test.host, test.path, want, got)
			}
		}
	}
	heard, err := os.ReadFile(filepath.Join(folder, ModelsFile))
	if want := `api.anthropic.com POST /v1/messages x-api-key="another"`; err != nil || !strings.HasPrefix(string(heard), want) {
		t.Errorf("heard %q, %v", heard, err)
	}
}
