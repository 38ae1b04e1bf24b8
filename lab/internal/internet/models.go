package internet

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// ModelsFile has what was asked of the providers of models, a line each: host, method, path with its query, and the headers that could
// hold a key.
const ModelsFile = "models-in"

// Keys that the stand-ins of providers take; they refuse all others, as the real ones do.
const (
	AnthropicKey      = "sk-ant-lab-0123456789abcdef"
	OtherAnthropicKey = "sk-ant-lab-fedcba9876543210"
	OpenAIKey         = "sk-lab-0123456789abcdef"
)

// What each answer of the stand-ins says that it cost, in tokens.
const (
	InputTokens     = 1000 // of which none was in the cache
	CacheReadTokens = 500
	OutputTokens    = 50
)

const (
	longestBody = 32 << 20
	// streamGap lies between two events of a stand-in's stream.
	streamGap = 50 * time.Millisecond
	// SlowModel is a model that takes its time for an answer, ElsewhereModel one whose answer is that another host has it.
	SlowModel      = "slow"
	ElsewhereModel = "elsewhere"
	slowness       = 8 * time.Second
)

// models are stand-ins of providers' APIs: as much of them as a turn of an agent with a tool takes. A message with RUN:<base64>:END is
// answered by a call of the tool `exec` with the decoded script, and the tool's result by a text that repeats it.
type models struct{ heard notes }

func addModels(mux *http.ServeMux, folder string) {
	m := &models{notes{filepath.Join(folder, ModelsFile)}}
	mux.HandleFunc("api.anthropic.com/", m.anthropic)
	mux.HandleFunc("api.openai.com/", m.openAI)
}

// hear notes a request, and gives its body where it has a key that is good.
func (m *models) hear(w http.ResponseWriter, r *http.Request, key string, good ...string) (body []byte, ok bool) {
	line := fmt.Sprintf("%s %s %s", r.Host, r.Method, r.URL.RequestURI())
	for _, name := range []string{"X-Api-Key", "Authorization", "X-Goog-Api-Key", "Cookie", "X-Openclaw-Provider", "Accept-Encoding"} {
		if value := r.Header.Get(name); value != "" {
			line += fmt.Sprintf(" %s=%q", strings.ToLower(name), value)
		}
	}
	if err := m.heard.add(line); err != nil {
		answer(w, http.StatusInternalServerError, fields{"error": fields{"message": err.Error()}})
		return nil, false
	}
	for _, each := range good {
		if key == each {
			body, err := io.ReadAll(io.LimitReader(r.Body, longestBody))
			return body, err == nil
		}
	}
	answer(w, http.StatusUnauthorized, fields{"type": "error", "error": fields{"type": "authentication_error", "message": "invalid x-api-key"}})
	return nil, false
}

var order = regexp.MustCompile(`RUN:([A-Za-z0-9+/=]+):END`)

// say is what a stand-in answers: a script to run, or a text.
func say(said []string, result *string) (script, text string) {
	for _, each := range said {
		for _, found := range order.FindAllStringSubmatch(each, -1) {
			if decoded, err := base64.StdEncoding.DecodeString(found[1]); err == nil {
				script = string(decoded)
			}
		}
	}
	switch {
	case result != nil:
		return "", *result
	case script != "":
		return script, ""
	}
	return "", "nothing to run"
}

// texts are those of a content, which is a text itself or parts.
func texts(content json.RawMessage) string {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return text
	}
	var parts []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(content, &parts) // what is neither says nothing
	for _, part := range parts {
		text += part.Text
	}
	return text
}

// stream sends events, each by itself.
func stream(w http.ResponseWriter, r *http.Request, events []fields) {
	w.Header().Set("Content-Type", "text/event-stream")
	controller := http.NewResponseController(w)
	for _, event := range events {
		text, err := json.Marshal(event)
		if err != nil {
			return
		}
		if kind, named := event["type"]; named {
			fmt.Fprintf(w, "event: %s\n", kind)
		}
		fmt.Fprintf(w, "data: %s\n\n", text)
		if controller.Flush() != nil {
			return
		}
		select {
		case <-time.After(streamGap):
		case <-r.Context().Done():
			return
		}
	}
}

// takesTime is for models that are slow.
func takesTime(r *http.Request, model string) {
	if strings.HasPrefix(model, SlowModel) {
		select {
		case <-time.After(slowness):
		case <-r.Context().Done():
		}
	}
}

// After 10 s a command would go to the background, and its result say nothing.
func execArguments(script string) fields { return fields{"command": script, "yieldMs": 120000} }

// anthropic is the Messages API: https://docs.anthropic.com/en/api/messages.
func (m *models) anthropic(w http.ResponseWriter, r *http.Request) {
	body, ok := m.hear(w, r, r.Header.Get("X-Api-Key"), AnthropicKey, OtherAnthropicKey)
	if !ok {
		return
	}
	var asked struct {
		Model    string
		Stream   bool
		Messages []struct {
			Role    string
			Content json.RawMessage
		}
	}
	switch {
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/models"):
		answer(w, http.StatusOK, fields{"data": []any{fields{"type": "model", "id": "claude-haiku-4-5"}}})
		return
	case json.Unmarshal(body, &asked) != nil:
		answer(w, http.StatusBadRequest, fields{"type": "error", "error": fields{"type": "invalid_request_error", "message": "no JSON"}})
		return
	case r.URL.Path == "/v1/messages/count_tokens":
		answer(w, http.StatusOK, fields{"input_tokens": InputTokens})
		return
	case r.URL.Path != "/v1/messages":
		answer(w, http.StatusNotFound, fields{"type": "error", "error": fields{"type": "not_found_error", "message": r.URL.Path}})
		return
	}
	var said []string
	var result *string
	for _, message := range asked.Messages {
		var parts []struct {
			Type    string
			Content json.RawMessage
		}
		_ = json.Unmarshal(message.Content, &parts) // a text has none
		if text := texts(message.Content); message.Role == "user" && text != "" && order.MatchString(text) {
			said, result = append(said, text), nil
		}
		for _, part := range parts {
			if part.Type == "tool_result" {
				text := texts(part.Content)
				result = &text
			}
		}
	}
	if len(said) == 0 {
		result = nil
	}
	if asked.Model == ElsewhereModel {
		http.Redirect(w, r, "https://evil.example/v1/messages", http.StatusTemporaryRedirect)
		return
	}
	script, text := say(said, result)
	takesTime(r, asked.Model)
	usage := fields{"input_tokens": InputTokens, "cache_read_input_tokens": CacheReadTokens, "cache_creation_input_tokens": 0, "output_tokens": OutputTokens}
	id := fmt.Sprintf("toolu_%d", time.Now().UnixNano())
	block, reason := fields{"type": "text", "text": text}, "end_turn"
	if script != "" {
		block, reason = fields{"type": "tool_use", "id": id, "name": "exec", "input": execArguments(script)}, "tool_use"
	}
	message := fields{"id": "msg_lab", "type": "message", "role": "assistant", "model": asked.Model, "content": []any{block}, "stop_reason": reason, "stop_sequence": nil, "usage": usage}
	if !asked.Stream {
		answer(w, http.StatusOK, message)
		return
	}
	empty, delta := fields{"type": "text", "text": ""}, fields{"type": "text_delta", "text": text}
	if script != "" {
		input, _ := json.Marshal(execArguments(script)) // it has texts and a number
		empty, delta = fields{"type": "tool_use", "id": id, "name": "exec", "input": fields{}}, fields{"type": "input_json_delta", "partial_json": string(input)}
	}
	stream(w, r, []fields{
		{"type": "message_start", "message": fields{"id": "msg_lab", "type": "message", "role": "assistant", "model": asked.Model, "content": []any{}, "stop_reason": nil, "stop_sequence": nil,
			"usage": fields{"input_tokens": InputTokens, "cache_read_input_tokens": CacheReadTokens, "cache_creation_input_tokens": 0, "output_tokens": 1}}},
		{"type": "content_block_start", "index": 0, "content_block": empty},
		{"type": "ping"},
		{"type": "content_block_delta", "index": 0, "delta": delta},
		{"type": "content_block_stop", "index": 0},
		{"type": "message_delta", "delta": fields{"stop_reason": reason, "stop_sequence": nil}, "usage": fields{"output_tokens": OutputTokens}},
		{"type": "message_stop"},
	})
}

// openAI has Chat Completions, Responses and Embeddings: https://platform.openai.com/docs/api-reference.
func (m *models) openAI(w http.ResponseWriter, r *http.Request) {
	body, ok := m.hear(w, r, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), OpenAIKey)
	if !ok {
		return
	}
	var asked struct {
		Model         string
		Stream        bool
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
		Messages []struct {
			Role    string
			Content json.RawMessage
		}
		Input json.RawMessage
	}
	if r.Method == http.MethodPost && json.Unmarshal(body, &asked) != nil {
		answer(w, http.StatusBadRequest, fields{"error": fields{"message": "no JSON", "type": "invalid_request_error"}})
		return
	}
	switch r.URL.Path {
	case "/v1/models":
		answer(w, http.StatusOK, fields{"object": "list", "data": []any{fields{"id": "gpt-lab", "object": "model"}}})
	case "/v1/embeddings":
		var several []any
		n := 1
		if json.Unmarshal(asked.Input, &several) == nil {
			n = len(several)
		}
		data := []any{}
		for i := range n {
			data = append(data, fields{"object": "embedding", "index": i, "embedding": []float64{0.5, 0.5, 0.5, 0.5}})
		}
		answer(w, http.StatusOK, fields{"object": "list", "model": asked.Model, "data": data, "usage": fields{"prompt_tokens": InputTokens, "total_tokens": InputTokens}})
	case "/v1/chat/completions":
		var said []string
		var result *string
		for _, message := range asked.Messages {
			switch text := texts(message.Content); {
			case message.Role == "user" && order.MatchString(text):
				said, result = append(said, text), nil
			case message.Role == "tool":
				result = &text
			}
		}
		script, text := say(said, result)
		takesTime(r, asked.Model)
		m.completion(w, r, asked.Model, script, text, asked.Stream, asked.StreamOptions.IncludeUsage)
	case "/v1/responses":
		var items []struct {
			Type    string
			Role    string
			Content json.RawMessage
			Output  json.RawMessage
		}
		_ = json.Unmarshal(asked.Input, &items) // it may be a text
		said := []string{texts(asked.Input)}
		var result *string
		for _, item := range items {
			if text := texts(item.Content); item.Role == "user" && order.MatchString(text) {
				said, result = append(said, text), nil
			}
			if item.Type == "function_call_output" {
				text := texts(item.Output)
				result = &text
			}
		}
		script, text := say(said, result)
		takesTime(r, asked.Model)
		m.response(w, r, asked.Model, script, text, asked.Stream)
	default:
		answer(w, http.StatusNotFound, fields{"error": fields{"message": r.URL.Path, "type": "invalid_request_error"}})
	}
}

func (m *models) completion(w http.ResponseWriter, r *http.Request, model, script, text string, streamed, withUsage bool) {
	usage := fields{"prompt_tokens": InputTokens + CacheReadTokens, "completion_tokens": OutputTokens, "total_tokens": InputTokens + CacheReadTokens + OutputTokens,
		"prompt_tokens_details": fields{"cached_tokens": CacheReadTokens}}
	message, reason := fields{"role": "assistant", "content": text}, "stop"
	if script != "" {
		arguments, _ := json.Marshal(execArguments(script)) // it has texts and a number
		message, reason = fields{"role": "assistant", "content": nil, "tool_calls": []any{fields{"index": 0, "id": fmt.Sprintf("call_%d", time.Now().UnixNano()), "type": "function",
			"function": fields{"name": "exec", "arguments": string(arguments)}}}}, "tool_calls"
	}
	if !streamed {
		answer(w, http.StatusOK, fields{"id": "lab", "object": "chat.completion", "created": 1, "model": model, "choices": []any{fields{"index": 0, "message": message, "finish_reason": reason}}, "usage": usage})
		return
	}
	chunk := func(choices []any, usage any) fields {
		return fields{"id": "lab", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices, "usage": usage}
	}
	events := []fields{chunk([]any{fields{"index": 0, "delta": message, "finish_reason": nil}}, nil), chunk([]any{fields{"index": 0, "delta": fields{}, "finish_reason": reason}}, nil)}
	if withUsage {
		events = append(events, chunk([]any{}, usage))
	}
	stream(w, r, events)
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func (m *models) response(w http.ResponseWriter, r *http.Request, model, script, text string, streamed bool) {
	item := fields{"type": "message", "id": "msg_lab", "role": "assistant", "status": "completed", "content": []any{fields{"type": "output_text", "text": text, "annotations": []any{}}}}
	arguments, _ := json.Marshal(execArguments(script)) // it has texts and a number
	call := func(arguments, status string) fields {
		return fields{"type": "function_call", "id": "fc_lab", "call_id": fmt.Sprintf("call_%d", time.Now().UnixNano()), "name": "exec", "arguments": arguments, "status": status}
	}
	if script != "" {
		item = call(string(arguments), "completed")
	}
	whole := func(status string, output []any, usage any) fields {
		return fields{"id": "resp_lab", "object": "response", "created_at": 1, "model": model, "status": status, "output": output, "usage": usage}
	}
	usage := fields{"input_tokens": InputTokens + CacheReadTokens, "input_tokens_details": fields{"cached_tokens": CacheReadTokens}, "output_tokens": OutputTokens,
		"output_tokens_details": fields{"reasoning_tokens": 0}, "total_tokens": InputTokens + CacheReadTokens + OutputTokens}
	done := whole("completed", []any{item}, usage)
	if !streamed {
		answer(w, http.StatusOK, done)
		return
	}
	events := []fields{{"type": "response.created", "response": whole("in_progress", []any{}, nil)}}
	if script != "" {
		added := call("", "in_progress")
		added["call_id"] = item["call_id"]
		events = append(events, fields{"type": "response.output_item.added", "output_index": 0, "item": added},
			fields{"type": "response.function_call_arguments.delta", "item_id": "fc_lab", "output_index": 0, "delta": string(arguments)},
			fields{"type": "response.function_call_arguments.done", "item_id": "fc_lab", "output_index": 0, "arguments": string(arguments)})
	} else {
		part := fields{"type": "output_text", "text": "", "annotations": []any{}}
		events = append(events, fields{"type": "response.output_item.added", "output_index": 0, "item": fields{"type": "message", "id": "msg_lab", "role": "assistant", "status": "in_progress", "content": []any{}}},
			fields{"type": "response.content_part.added", "item_id": "msg_lab", "output_index": 0, "content_index": 0, "part": part},
			fields{"type": "response.output_text.delta", "item_id": "msg_lab", "output_index": 0, "content_index": 0, "delta": text},
			fields{"type": "response.output_text.done", "item_id": "msg_lab", "output_index": 0, "content_index": 0, "text": text},
			fields{"type": "response.content_part.done", "item_id": "msg_lab", "output_index": 0, "content_index": 0, "part": fields{"type": "output_text", "text": text, "annotations": []any{}}})
	}
	events = append(events, fields{"type": "response.output_item.done", "output_index": 0, "item": item}, fields{"type": "response.completed", "response": done})
	for i := range events {
		events[i]["sequence_number"] = i
	}
	stream(w, r, events)
}
