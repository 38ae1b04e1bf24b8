package hosttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"openclaw-azure/internal/hosttest/screen"
)

const (
	budgetProgram = "../../templates/usr/local/sbin/openclaw-budget"
	budgetPrices  = "../../templates/etc/openclaw-keys/prices.json"
)

// budgetDriver loads the program with all its places below a folder and its clock shifted by what a file there says, and
// runs one of its commands. Whoever starts it with a socket is systemd to it.
const budgetDriver = loading + `
import json, os
path, root, changes = sys.argv[1:4]
m = load(path)
m.CONFIG, m.STATE, m.OUT = (root + name for name in ("/config.json", "/state", "/out.sock"))
m.now = clock(root)
for name, value in json.loads(changes).items():
    setattr(m, name, value)
os.environ["LISTEN_PID"] = str(os.getpid())
for line in sys.stdin if sys.argv[4:] == ["sums", "on request"] else ():
    m.run_sums()
    print("end", flush=True)
try:
    m.main(sys.argv[4:])
except m.Failure as fault:
    sys.exit(str(fault))
`

// plainPrices are round: a million tokens of input for 1 USD, of output for 10.
const plainPrices = `{"providers": {
	"anthropic": {"date": "2026-11-01", "source": "", "us": 1.5, "fast": 6, "models": {
		"claude-small-1": {"input": 1, "output": 10, "cacheRead": 0.1, "cacheWrite": 2, "cacheWriteHour": 4, "context": 200000, "maxOutput": 1000},
		"claude-quick-1": {"input": 1, "output": 10, "context": 200000, "maxOutput": 1000, "fast": 2},
		"claude-large-1": {"input": 10, "output": 100, "context": 200000, "maxOutput": 2000}}},
	"openai": {"date": "2026-11-01", "source": "", "priority": 3, "usageInStream": true, "models": {
		"gpt-plain": {"input": 1, "output": 10, "cacheRead": 0.5, "context": 400000, "maxOutput": 1000},
		"gpt-writes": {"input": 1, "output": 10, "cacheRead": 0.1, "cacheWrite": 2, "context": 400000, "maxOutput": 1000},
		"gpt-long": {"input": 1, "output": 10, "context": 400000, "maxOutput": 1000, "long": {"above": 50000, "input": 3, "output": 20}},
		"vectors": {"input": 2, "output": 0, "maxOutput": 0}}},
	"google": {"date": "2026-11-01", "source": "", "models": {
		"gemini-plain": {"input": 1, "output": 10, "cacheRead": 0.5, "audio": 5, "context": 1000000, "maxOutput": 1000}}},
	"openrouter": {"date": "2026-11-01", "source": "", "usageInStream": true, "models": {}}}}`

// allProviders have no limits.
const allProviders = `{"providers": {"anthropic": {}, "openai": {}, "google": {}, "openrouter": {}, "own": {}}}`

type budget struct {
	t       testing.TB
	root    string
	changes string
	command *exec.Cmd
	client  *http.Client
	log     *screen.Screen

	teller   *exec.Cmd
	question io.Writer
	told     *bufio.Reader

	mutex  sync.Mutex
	answer http.HandlerFunc
}

// newBudget is the program with the configuration, behind a real socket and before a broker that answers as told.
func newBudget(t testing.TB, config string) *budget {
	t.Helper()
	return newBudgetWith(t, config, plainPrices, "{}")
}

func newBudgetWith(t testing.TB, config, prices, changes string) *budget {
	t.Helper()
	b := &budget{t: t, root: t.TempDir(), changes: changes, log: &screen.Screen{}}
	if err := os.Mkdir(b.root+"/state", 0o700); err != nil {
		t.Fatal(err)
	}
	b.write("config.json", config)
	b.write("prices.json", prices)
	b.broker()
	b.client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", b.root+"/in.sock")
			},
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
	b.start()
	t.Cleanup(func() {
		b.stop(syscall.SIGKILL)
		if strings.Contains(b.log.String(), "Traceback") || strings.Contains(b.log.String(), "a request failed") {
			t.Errorf("the program's own fault:\n%s", b.log)
		}
	})
	return b
}

func (b *budget) write(name, content string) {
	b.t.Helper()
	if err := os.WriteFile(b.root+"/"+name, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// broker stands for HAProxy and the provider behind it.
func (b *budget) broker() {
	b.t.Helper()
	listener, err := net.Listen("unix", b.root+"/out.sock")
	if err != nil {
		b.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mutex.Lock()
		answer := b.answer
		b.mutex.Unlock()
		answer(w, r)
	})}
	go server.Serve(listener)
	b.t.Cleanup(func() { server.Close() })
}

func (b *budget) answers(answer http.HandlerFunc) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.answer = answer
}

// says answers with a body, in pieces of so many bytes.
func (b *budget) says(status int, kind, body string, piece int) {
	b.answers(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		for rest := []byte(body); len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			w.Write(rest[:min(piece, len(rest))])
			w.(http.Flusher).Flush()
		}
	})
}

func (b *budget) arguments(words ...string) *exec.Cmd {
	path, err := filepath.Abs(budgetProgram)
	if err != nil {
		b.t.Fatal(err)
	}
	// The distribution's, which has h11.
	return exec.Command("/usr/bin/python3", append([]string{"-I", "-c", budgetDriver, path, b.root, b.changes}, words...)...)
}

func (b *budget) start() {
	b.t.Helper()
	os.Remove(b.root + "/in.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.root + "/in.sock", Net: "unix"})
	if err != nil {
		b.t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		b.t.Fatal(err)
	}
	defer socket.Close()
	b.command = b.arguments()
	b.command.Env = append(os.Environ(), "LISTEN_FDS=1")
	b.command.ExtraFiles = []*os.File{socket}
	b.command.Stderr = b.log
	if err := b.command.Start(); err != nil {
		b.t.Fatal(err)
	}
	served := strings.Count(b.log.String(), "serving ")
	b.until("it serves", func() bool { return strings.Count(b.log.String(), "serving ") > served })
}

func (b *budget) stop(signal syscall.Signal) {
	b.command.Process.Signal(signal)
	b.command.Wait()
	b.client.CloseIdleConnections()
}

func (b *budget) restart(signal syscall.Signal) {
	b.t.Helper()
	b.stop(signal)
	b.start()
}

func (b *budget) until(what string, done func() bool) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("after 20 s it is not so that %s:\n%s", what, b.log)
		}
	}
}

func (b *budget) ask(provider, path, body string) (*http.Response, string) {
	b.t.Helper()
	response, text, err := b.try(context.Background(), provider, path, body)
	if err != nil {
		b.t.Fatalf("%s %s: %v\n%s", provider, path, err, b.log)
	}
	return response, text
}

func (b *budget) try(ctx context.Context, provider, path, body string) (*http.Response, string, error) {
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://broker"+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("X-Openclaw-Provider", provider)
	response, err := b.client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response, string(text), err
}

type modelSum struct {
	Requests, Estimated, Input, Output, CacheRead, CacheWrite int
	USD                                                       string
	Unknown                                                   bool
}

type providerSum struct {
	modelSum
	Limits map[string]map[string]any
	Models map[string]modelSum
}

type allSums struct {
	Day, Resets string
	Providers   map[string]providerSum
}

// sums asks one process for all of them: Python takes longer to start than the rest of a test.
func (b *budget) sums() allSums {
	b.t.Helper()
	if b.teller == nil {
		b.teller = b.arguments("sums", "on request")
		b.teller.Stderr = b.log
		b.question, _ = b.teller.StdinPipe()
		output, _ := b.teller.StdoutPipe()
		b.told = bufio.NewReader(output)
		if err := b.teller.Start(); err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { b.teller.Process.Kill(); b.teller.Wait() })
	}
	io.WriteString(b.question, "\n")
	var out strings.Builder
	for {
		line, err := b.told.ReadString('\n')
		if err != nil {
			b.t.Fatalf("sums: %v\n%s", err, b.log)
		}
		if line == "end\n" {
			break
		}
		out.WriteString(line)
	}
	var found allSums
	if err := json.Unmarshal([]byte(out.String()), &found); err != nil {
		b.t.Fatalf("%v in\n%s", err, out.String())
	}
	return found
}

// counted waits for so many settled requests.
func (b *budget) counted(provider string, requests int) providerSum {
	b.t.Helper()
	var found providerSum
	b.until(fmt.Sprintf("%d requests of %s are settled", requests, provider), func() bool {
		found = b.sums().Providers[provider]
		return found.Requests == requests
	})
	return found
}

func (b *budget) expect(what string, got, want any) {
	b.t.Helper()
	if !reflect.DeepEqual(got, want) {
		b.t.Errorf("%s:\n%+v\nwanted:\n%+v", what, got, want)
	}
}

// waits sends a request whose answer does not end before end is called, and waits until the broker has it.
func (b *budget) waits(ctx context.Context, provider, path, body, head, tail string) (end func() string) {
	b.t.Helper()
	arrived, go1, done := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	b.answers(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, head)
		w.(http.Flusher).Flush()
		close(arrived)
		<-go1
		io.WriteString(w, tail)
	})
	go func() {
		_, text, err := b.try(ctx, provider, path, body)
		if err != nil {
			text = err.Error()
		}
		done <- text
	}()
	<-arrived
	return func() string { close(go1); return <-done }
}

// Answers of the providers, with figures that are all different.
const (
	anthropicStart = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1000,\"output_tokens\":1," +
		"\"cache_creation_input_tokens\":300,\"cache_read_input_tokens\":400,\"cache_creation\":{\"ephemeral_5m_input_tokens\":200,\"ephemeral_1h_input_tokens\":100}}}}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"\\\"usage\\\":{\\\"output_tokens\\\":9}\"}}\n\n"
	anthropicEnd = "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":50}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	smallRequest = `{"model":"claude-small-1","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"hi"}]}`
	plainAnswer  = `{"type":"message","usage":{"input_tokens":1000,"output_tokens":100}}`
	plainChat    = `{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}`
)

func TestBudgetSettles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider, path, request, kind, answer string
		want                                  modelSum
	}{
		"Anthropic's stream": {"anthropic", "/v1/messages", smallRequest, "text/event-stream", anthropicStart + anthropicEnd,
			// 1000 + 50 times 10 + 200 times 2 + 100 times 4 + 400 times 0.1
			modelSum{1, 0, 1000, 50, 400, 300, "0.00234", false}},
		"Anthropic's answer": {"anthropic", "/v1/messages", smallRequest, "application/json; charset=utf-8", plainAnswer,
			modelSum{1, 0, 1000, 100, 0, 0, "0.002", false}},
		"cache without its split": {"anthropic", "/v1/messages", smallRequest, "application/json",
			`{"type":"message","usage":{"input_tokens":0,"output_tokens":0,"cache_creation_input_tokens":1000}}`, modelSum{1, 0, 0, 0, 0, 1000, "0.002", false}},
		"rounds that the sums leave out": {"anthropic", "/v1/messages", smallRequest, "application/json",
			`{"type":"message","usage":{"input_tokens":10,"output_tokens":20,"iterations":[{"input_tokens":500,"output_tokens":30},{"input_tokens":10,"output_tokens":20}]}}`,
			modelSum{1, 0, 510, 50, 0, 0, "0.00101", false}},
		"chat in a stream": {"openai", "/v1/chat/completions", `{"model":"gpt-plain","stream":true}`, "text/event-stream",
			"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":50," +
				"\"total_tokens\":1050,\"prompt_tokens_details\":{\"cached_tokens\":400}}}\n\ndata: [DONE]\n\n", modelSum{1, 0, 600, 50, 400, 0, "0.0013", false}},
		"thoughts beside the output": {"openai", "/chat/completions", `{"model":"gpt-plain"}`, "application/json",
			`{"usage":{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1250}}`, modelSum{1, 0, 1000, 250, 0, 0, "0.0035", false}},
		"Groq": {"openai", "/openai/v1/chat/completions", `{"model":"gpt-plain","stream":true}`, "text/event-stream",
			"data: {\"x_groq\":{\"id\":\"a\",\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":50}}}\n\ndata: [DONE]\n\n", modelSum{1, 0, 1000, 50, 0, 0, "0.0015", false}},
		"DeepSeek": {"openai", "/chat/completions", `{"model":"gpt-plain"}`, "application/json",
			`{"usage":{"prompt_tokens":1000,"completion_tokens":50,"prompt_cache_hit_tokens":800,"prompt_cache_miss_tokens":200}}`, modelSum{1, 0, 200, 50, 800, 0, "0.0011", false}},
		"OpenRouter says what it took": {"openrouter", "/api/v1/chat/completions", `{"model":"anthropic/claude-small-1"}`, "application/json",
			`{"usage":{"prompt_tokens":1000,"completion_tokens":100,"cost":0.1234567}}`, modelSum{1, 0, 1000, 100, 0, 0, "0.123457", false}},
		"OpenRouter with a key of one's own": {"openrouter", "/api/v1/chat/completions", `{"model":"anthropic/claude-small-1"}`, "application/json",
			`{"usage":{"prompt_tokens":1000,"completion_tokens":100,"cost":0.01,"is_byok":true,"cost_details":{"upstream_inference_cost":0.2}}}`,
			modelSum{1, 0, 1000, 100, 0, 0, "0.21", false}},
		"OpenRouter says no cost": {"openrouter", "/api/v1/chat/completions", `{"model":"anthropic/claude-small-1"}`, "application/json", plainChat,
			// all of the input may have been written to a cache
			modelSum{1, 0, 0, 100, 0, 1000, "0.003", false}},
		"cache that costs to write": {"openai", "/v1/responses", `{"model":"gpt-writes"}`, "application/json",
			`{"object":"response","usage":{"input_tokens":1000,"output_tokens":0,"input_tokens_details":{"cached_tokens":100,"cache_write_tokens":200}}}`,
			modelSum{1, 0, 700, 0, 100, 200, "0.00111", false}},
		"responses in a stream": {"openai", "/v1/responses", `{"model":"gpt-plain","stream":true}`, "text/event-stream",
			"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n" +
				"event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\ndata: \"response\":{\"usage\":{\"input_tokens\":1000,\"output_tokens\":50,\"input_tokens_details\":{\"cached_tokens\":400}}}}\n\n",
			modelSum{1, 0, 600, 50, 400, 0, "0.0013", false}},
		"Google's stream": {"google", "/v1beta/models/gemini-plain:streamGenerateContent?alt=sse", `{"contents":[]}`, "text/event-stream",
			"data: {\"usageMetadata\":{\"promptTokenCount\":1000,\"totalTokenCount\":1000}}\n\ndata: {\"usageMetadata\":{\"promptTokenCount\":1000,\"candidatesTokenCount\":30," +
				"\"thoughtsTokenCount\":20,\"cachedContentTokenCount\":400,\"totalTokenCount\":1050}}\n\n", modelSum{1, 0, 600, 50, 400, 0, "0.0013", false}},
		"Google's list": {"google", "/v1beta/models/gemini-plain:streamGenerateContent", `{"contents":[]}`, "application/json",
			`[{"usageMetadata":{"promptTokenCount":1000}},` + "\n" + `{"usageMetadata":{"promptTokenCount":1000,"candidatesTokenCount":50,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":100}]}}]`,
			modelSum{1, 0, 1000, 50, 0, 0, "0.0019", false}},
		"embeddings": {"openai", "/v1/embeddings", `{"model":"vectors","input":"x"}`, "application/json",
			`{"data":[],"usage":{"prompt_tokens":1000,"total_tokens":1000}}`, modelSum{1, 0, 1000, 0, 0, 0, "0.002", false}},
		"embeddings of many": {"openai", "/v1/embeddings", `{"model":"vectors","input":"x"}`, "application/json",
			`{"data":[` + strings.Repeat("0.123456,", 600_000) + `0],"usage":{"prompt_tokens":1000,"total_tokens":1000}}`, modelSum{1, 0, 1000, 0, 0, 0, "0.002", false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBudget(t, allProviders)
			pieces := []int{1 << 20, 7}
			answers := []string{c.answer}
			if len(c.answer) < 2000 {
				pieces = append(pieces, 1)
				answers = append(answers, strings.ReplaceAll(c.answer, "\n", "\r\n"))
			} else {
				pieces = pieces[:1]
			}
			requests := 0
			for _, answer := range answers {
				for _, piece := range pieces {
					b.says(200, c.kind, answer, piece)
					response, text := b.ask(c.provider, c.path, c.request)
					if response.StatusCode != 200 || text != answer {
						t.Fatalf("%s: %.300s", response.Status, text)
					}
					requests++
					if requests == 1 {
						var model modelSum
						for _, model = range b.counted(c.provider, 1).Models {
						}
						b.expect("counted", model, c.want)
					}
				}
			}
			all := b.counted(c.provider, requests)
			b.expect("in whatever pieces", []int{all.Estimated, all.Input, all.Output, all.CacheRead, all.CacheWrite},
				[]int{0, c.want.Input * requests, c.want.Output * requests, c.want.CacheRead * requests, c.want.CacheWrite * requests})
		})
	}
}

// TestBudgetPassesOn: what it does not count, it does not touch.
func TestBudgetPassesOn(t *testing.T) {
	t.Parallel()
	b := newBudget(t, allProviders)
	var seen []string
	b.answers(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = []string{r.Method, r.RequestURI, r.Host, fmt.Sprint(r.Header["Accept-Encoding"]), fmt.Sprint(r.Header["X-Mine"]), fmt.Sprint(r.Header["X-Alone"]),
			fmt.Sprint(r.Header["Te"]), r.Header.Get("X-Openclaw-Provider"), string(body)}
		w.Header()["X-Theirs"] = []string{"one", "two"}
		w.Header().Set("Location", "http://elsewhere/")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Keep-Alive", "timeout=1")
		w.WriteHeader(307)
		io.WriteString(w, "not gzip at all")
	})
	link, err := net.Dial("unix", b.root+"/in.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	body := `{ "model":"claude-small-1", "max_tokens" : 1e1,"x":"\u00e9é" }`
	fmt.Fprintf(link, "POST /v1/%%6dessages?a=%%2F&b=+%%20 HTTP/1.1\r\nHost: api.example\r\nX-Openclaw-Provider: anthropic\r\nX-Mine: 1\r\nX-Mine: 2\r\n"+
		"Accept-Encoding: gzip\r\nX-Alone: 1\r\nTE: trailers\r\nConnection: keep-alive, X-Alone\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", body[:5], len(body)-5, body[5:])
	response, err := http.ReadResponse(bufio.NewReader(link), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.log)
	}
	text, _ := io.ReadAll(response.Body)
	b.expect("what the broker sees", seen, []string{"POST", "/v1/%6dessages?a=%2F&b=+%20", "api.example", "[identity]", "[1 2]", "[]", "[]", "anthropic", body})
	b.expect("what the client sees", []any{response.StatusCode, response.Header["X-Theirs"], response.Header.Get("Location"), response.Header.Get("Content-Encoding"), response.Header.Get("Keep-Alive"), string(text)},
		[]any{307, []string{"one", "two"}, "http://elsewhere/", "gzip", "", "not gzip at all"})
	// A redirect cost nothing.
	b.expect("cost", b.counted("anthropic", 1).USD, "0.00")
}

// TestBudgetStreams: what the provider says is at the client before it says more.
func TestBudgetStreams(t *testing.T) {
	t.Parallel()
	b := newBudget(t, allProviders)
	next := make(chan struct{})
	b.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, part := range []string{anthropicStart, anthropicEnd} {
			io.WriteString(w, part)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	request, _ := http.NewRequest("POST", "http://x/v1/messages", strings.NewReader(smallRequest))
	request.Header.Set("X-Openclaw-Provider", "anthropic")
	response, err := b.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{anthropicStart, anthropicEnd} {
		got := make([]byte, len(part))
		if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != part {
			t.Fatalf("%v: %s", err, got)
		}
		next <- struct{}{}
	}
	response.Body.Close()
}

// TestBudgetWithoutFigure: who says no figure is believed to have taken the worst, but for an error.
func TestBudgetWithoutFigure(t *testing.T) {
	t.Parallel()
	// A hundred for each input, its body being below that, and 2000 that a provider may add.
	worst := func(got modelSum) bool {
		return got.Estimated == 1 && got.Output == 100 && got.Input > 2000 && got.Input < 2200
	}
	nothing := func(got modelSum) bool { return got == modelSum{Requests: 1, USD: "0.00"} }
	long := strings.Repeat("x", 5<<20)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   func(modelSum) bool
		cut    bool
	}{
		"an error":                   {func(w http.ResponseWriter, r *http.Request) { http.Error(w, `{"type":"error"}`, 529) }, nothing, false},
		"refused":                    {func(w http.ResponseWriter, r *http.Request) { http.Error(w, `{"type":"error"}`, 400) }, nothing, false},
		"the broker stopped waiting": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "late", http.StatusGatewayTimeout) }, worst, false},
		"no figure":                  {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"type":"message"}`) }, worst, false},
		"not JSON":                   {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"usage":`) }, worst, false},
		"nonsense": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: {\"usage\": [}\n\n\n\ndata: [[\"usage\"]]\n\ndata: {\"type\":\"message_delta\",\"usage\":7}\n\ndata:\xff\xfe\"usage\"\n\n:\n\nid\n\n")
		}, worst, false},
		"a start without an end": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, anthropicStart)
		}, worst, false},
		"cut off": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, anthropicStart+anthropicEnd)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, worst, true},
		"cut off before it began": {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, worst, false},
		"a line that is too long": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5},\"x\":\""+long+"\"}\n\n")
		}, worst, false},
		"a long line before it": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: \""+long+"\"\n\n"+strings.ReplaceAll(anthropicEnd, "50", "5"))
		}, func(got modelSum) bool { return got == modelSum{Requests: 1, Output: 5, USD: "0.00005"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBudget(t, allProviders)
			b.answers(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); c.answer(w, r) })
			if _, text, err := b.try(context.Background(), "anthropic", "/v1/messages", smallRequest); (err != nil) != c.cut {
				t.Errorf("%v: %.200s", err, text)
			}
			if got := b.counted("anthropic", 1).modelSum; !c.want(got) {
				t.Errorf("counted: %+v", got)
			}
		})
	}
	t.Run("no broker", func(t *testing.T) {
		t.Parallel()
		b := newBudget(t, allProviders)
		os.Remove(b.root + "/out.sock")
		response, text := b.ask("anthropic", "/v1/messages", smallRequest)
		if response.StatusCode != 502 || text != `{"type": "error", "error": {"type": "api_error", "message": "the broker does not answer"}}` {
			t.Errorf("%s: %s", response.Status, text)
		}
		b.expect("cost", b.counted("anthropic", 1).modelSum, modelSum{Requests: 1, USD: "0.00"})
	})
	t.Run("an idle connection that was closed", func(t *testing.T) {
		t.Parallel()
		b := newBudget(t, allProviders)
		asked := 0
		b.answers(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if asked++; asked == 2 {
				panic(http.ErrAbortHandler)
			}
			io.WriteString(w, plainAnswer)
		})
		for range 2 {
			if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 200 {
				t.Errorf("%s: %s", response.Status, text)
			}
		}
		b.expect("sent", asked, 3)
		b.expect("cost", b.counted("anthropic", 2).Output, 200)
	})
}

// limited has one limit of Anthropic's and OpenAI's.
func limited(limit string) string {
	return fmt.Sprintf(`{"providers": {"anthropic": {%[1]s}, "openai": {%[1]s}, "google": {%[1]s}, "free": {}}}`, limit)
}

func TestBudgetRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit    string
		requests int // that are answered before
		body     string
		seconds  string
		want     string
	}{
		"money used up": {`"usdPerDay": "0.0063"`, 1, smallRequest, "day",
			`anthropic: the daily limit usdPerDay is used up: 0.002 of 0.0063 is used, 0.00 is reserved, and this request may take 0.0052. Try again from DAY 00:00 UTC`},
		"money, a request that is too large": {`"usdPerDay": 0.001`, 0, smallRequest, "day",
			`anthropic: this request alone may take 0.0052, and the daily limit usdPerDay is 0.001: it is refused at any time. A smaller limit of its output, or a smaller request, may pass`},
		"tokens used up": {`"tokensPerDay": 3000`, 1, smallRequest, "day",
			`anthropic: the daily limit tokensPerDay is used up: 1100 of 3000 is used, 0 is reserved, and this request may take 2200. Try again from DAY 00:00 UTC`},
		"requests used up": {`"requestsPerMinute": 2`, 2, smallRequest, "60",
			`anthropic: requestsPerMinute is used up: 2 of 2 in the last minute. Try again in 60 s`},
		"nothing is allowed": {`"requestsPerMinute": 0`, 0, smallRequest, "60",
			`anthropic: requestsPerMinute is used up: 0 of 0 in the last minute. Try again in 60 s`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBudget(t, limited(c.limit))
			// So far from midnight that no request meets it, and at a second's beginning.
			b.write("shift", fmt.Sprint(43200-time.Now().Unix()%86400))
			b.says(200, "application/json", plainAnswer, 100)
			numbers := regexp.MustCompile(`may take (2|0\.005)\d+`)
			for range c.requests {
				if response, text := b.ask("anthropic", "/v1/messages", c.body); response.StatusCode != 200 {
					t.Fatalf("%s: %s", response.Status, text)
				}
			}
			response, text := b.ask("anthropic", "/v1/messages", c.body)
			var got struct {
				Type  string
				Error struct{ Type, Message string }
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			want := strings.ReplaceAll(c.want, "DAY", time.Now().UTC().Add(time.Duration(43200-time.Now().Unix()%86400)*time.Second).AddDate(0, 0, 1).Format(time.DateOnly))
			if got.Type != "error" || got.Error.Type != "rate_limit_error" || response.StatusCode != 429 ||
				numbers.ReplaceAllString(got.Error.Message, "may take N") != numbers.ReplaceAllString(want, "may take N") {
				t.Errorf("%s: %s\nwanted: %s", response.Status, text, want)
			}
			seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
			if c.seconds == "day" && (seconds < 43000 || seconds > 43200 || response.Header.Get("X-Should-Retry") != "false") || c.seconds == "60" && (seconds < 55 || seconds > 60) {
				t.Errorf("retry-after: %d, x-should-retry: %s", seconds, response.Header.Get("X-Should-Retry"))
			}
			// Another provider's limits are its own, and what costs nothing passes while requests are left.
			if response, text := b.ask("free", "/v1/chat/completions", `{"model":"gpt-plain"}`); response.StatusCode != 200 {
				t.Errorf("another provider: %s: %s", response.Status, text)
			}
			if strings.Contains(c.limit, "PerDay") {
				for path, body := range map[string]string{"/v1/models": "", "/v1/messages/count_tokens": smallRequest} {
					if response, text := b.ask("anthropic", path, body); response.StatusCode != 200 {
						t.Errorf("%s: %s: %s", path, response.Status, text)
					}
				}
			}
			if !strings.Contains(b.log.String(), "refused: anthropic: ") {
				t.Errorf("the log says nothing:\n%s", b.log)
			}
		})
	}
}

// TestBudgetSpeaksAsTheProvider: a client knows its provider's errors.
func TestBudgetSpeaksAsTheProvider(t *testing.T) {
	t.Parallel()
	b := newBudgetWith(t, `{"providers": {"openai": {"usdPerDay": 0}, "google": {"tokensPerDay": 1}, "anthropic": {"tokensPerDay": 1}}}`,
		plainPrices, `{"MOST_BODY": 100000, "MOST_PARTS": 60000}`)
	b.says(200, "application/json", "{}", 100)
	for name, c := range map[string]struct {
		provider, path, body string
		status               int
		want                 string
	}{
		"OpenAI": {"openai", "/v1/chat/completions", `{"model":"gpt-plain","max_tokens":10}`, 429,
			`{"error": {"message": "…", "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}`},
		"Google":    {"google", "/v1beta/models/gemini-plain:generateContent", `{}`, 429, `{"error": {"code": 429, "message": "…", "status": "RESOURCE_EXHAUSTED"}}`},
		"Anthropic": {"anthropic", "/v1/messages", `{}`, 429, `{"type": "error", "error": {"type": "rate_limit_error", "message": "…"}}`},
		"too large": {"google", "/v1beta/models/gemini-plain:generateContent", `{"x":"` + strings.Repeat("x", 200000) + `"}`, 413,
			`{"error": {"code": 413, "message": "…", "status": "INVALID_ARGUMENT"}}`},
		"too many parts": {"anthropic", "/v1/messages", `{"x":[` + strings.Repeat("[],", 30000) + `[]]}`, 413,
			`{"type": "error", "error": {"type": "request_too_large", "message": "…"}}`},
		"too deep": {"anthropic", "/v1/messages", `{"x":` + strings.Repeat("[", 45000) + strings.Repeat("]", 45000) + `}`, 400,
			`{"type": "error", "error": {"type": "invalid_request_error", "message": "…"}}`},
		"not JSON":      {"openai", "/v1/embeddings", `{"model"`, 400, `{"error": {"message": "…", "type": "invalid_request_error", "param": null, "code": null}}`},
		"not an object": {"anthropic", "/v1/messages", `[]`, 400, `{"type": "error", "error": {"type": "invalid_request_error", "message": "…"}}`},
		"said twice": {"openai", "/v1/chat/completions", `{"model":"gpt-plain","max_tokens":1,"max_tokens":100000}`, 400,
			`{"error": {"message": "…", "type": "invalid_request_error", "param": null, "code": null}}`},
		// A reader written in Go takes the one for the other, and believes the last.
		"said twice in other letters": {"openai", "/v1/chat/completions", `{"model":"gpt-plain","Model":"gpt-long"}`, 400,
			`{"error": {"message": "…", "type": "invalid_request_error", "param": null, "code": null}}`},
		"a name without end": {"openai", "/v1/chat/completions", `{"model":"` + strings.Repeat("-", 90_000) + `"}`, 400,
			`{"error": {"message": "…", "type": "invalid_request_error", "param": null, "code": null}}`},
		"not known": {"anthropic", "/v1/messages/batches", `{}`, 404, `{"type": "error", "error": {"type": "not_found_error", "message": "…"}}`},
		"nobody":    {"nobody", "/v1/messages", `{}`, 404, `{"type": "error", "error": {"type": "not_found_error", "message": "…"}}`},
	} {
		response, text := b.ask(c.provider, c.path, c.body)
		got := regexp.MustCompile(`("message"|"description"): "(\\"|[^"])*"`).ReplaceAllString(text, `$1: "…"`)
		if response.StatusCode != c.status || got != c.want || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s: %s\nwanted %d: %s", name, response.Status, text, c.status, c.want)
		}
	}
}

// TestBudgetParallel: requests that fit alone do not pass together, and a refusal that waits for others is short.
func TestBudgetParallel(t *testing.T) {
	t.Parallel()
	b := newBudget(t, limited(`"usdPerDay": "0.0079", "tokensPerDay": 1000000`))
	end := b.waits(context.Background(), "anthropic", "/v1/messages", smallRequest, anthropicStart, anthropicEnd)
	response, text := b.ask("anthropic", "/v1/messages", smallRequest)
	if response.StatusCode != 429 || response.Header.Get("Retry-After") != "10" || response.Header.Get("X-Should-Retry") != "" ||
		!regexp.MustCompile(`anthropic: usdPerDay is 0\.0079: 0\.00 is used, 0\.0052\d+ is reserved by requests that are running, and this one may take 0\.0052\d+. Try again in 10 s`).MatchString(text) {
		t.Errorf("%s, retry-after %s: %s", response.Status, response.Header.Get("Retry-After"), text)
	}
	reserved := b.sums().Providers["anthropic"].Limits
	if got := reserved["usdPerDay"]; got["used"] != "0.00" || !strings.HasPrefix(fmt.Sprint(got["reserved"]), "0.0052") || got["limit"] != "0.0079" {
		t.Errorf("sums: %v", reserved)
	}
	if got := reserved["tokensPerDay"]; got["used"] != 0.0 || got["reserved"].(float64) < 2000 || got["limit"] != 1e6 {
		t.Errorf("sums: %v", reserved)
	}
	if got := end(); got != anthropicStart+anthropicEnd {
		t.Errorf("the stream: %s", got)
	}
	b.counted("anthropic", 1)
	b.says(200, "application/json", plainAnswer, 100)
	if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 200 {
		t.Errorf("after it: %s: %s", response.Status, text)
	}
	// A crowd: the worst of one is 0.0052, so that one fits.
	crowd := newBudget(t, limited(`"usdPerDay": "0.0075"`))
	hold := make(chan struct{})
	crowd.answers(func(w http.ResponseWriter, r *http.Request) { <-hold; io.WriteString(w, plainAnswer) })
	var passed, all sync.WaitGroup
	var mutex sync.Mutex
	codes := map[int]int{}
	passed.Add(39)
	for range 40 {
		all.Go(func() {
			response, _ := crowd.ask("anthropic", "/v1/messages", smallRequest)
			mutex.Lock()
			codes[response.StatusCode]++
			mutex.Unlock()
			if response.StatusCode == 429 {
				passed.Done()
			}
		})
	}
	passed.Wait()
	close(hold)
	all.Wait()
	b.expect("of 40 at once", codes, map[int]int{200: 1, 429: 39})
}

// TestBudgetClientLeaves: what was asked for is paid, whether anybody hears it or not.
func TestBudgetClientLeaves(t *testing.T) {
	t.Parallel()
	t.Run("and its figure is read", func(t *testing.T) {
		t.Parallel()
		b := newBudget(t, allProviders)
		ctx, leave := context.WithCancel(context.Background())
		end := b.waits(ctx, "anthropic", "/v1/messages", smallRequest, anthropicStart, strings.Repeat(": padding\n", 100_000)+anthropicEnd)
		leave()
		end()
		got := b.counted("anthropic", 1)
		b.expect("counted", []int{got.Estimated, got.Input, got.Output}, []int{0, 1000, 50})
	})
	for name, changes := range map[string]string{"and too long passes": `{"ORPHAN_SECONDS": 0.2}`, "and too many did": `{"MOST_ORPHANS": 0}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBudgetWith(t, allProviders, plainPrices, changes)
			ctx, leave := context.WithCancel(context.Background())
			end := b.waits(ctx, "anthropic", "/v1/messages", smallRequest, anthropicStart, anthropicEnd)
			leave()
			got := b.counted("anthropic", 1)
			end()
			b.expect("counted", []int{got.Estimated, got.Output}, []int{1, 100})
		})
	}
	t.Run("and others have its place", func(t *testing.T) {
		t.Parallel()
		b := newBudgetWith(t, allProviders, plainPrices, `{"MOST_AT_ONCE": 1, "WAIT_SECONDS": 0.5}`)
		ctx, leave := context.WithCancel(context.Background())
		end := b.waits(ctx, "anthropic", "/v1/messages", smallRequest, anthropicStart, anthropicEnd)
		if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 503 || response.Header.Get("Retry-After") != "10" {
			t.Errorf("with no place free: %s: %s", response.Status, text)
		}
		leave()
		b.says(200, "application/json", plainAnswer, 100)
		if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 200 {
			t.Errorf("%s: %s", response.Status, text)
		}
		end()
		b.counted("anthropic", 2)
	})
}

// TestBudgetRemembers: neither a kill nor a restart gives anything back.
func TestBudgetRemembers(t *testing.T) {
	t.Parallel()
	b := newBudget(t, limited(`"requestsPerMinute": 3, "tokensPerDay": 5000`))
	b.says(200, "application/json", plainAnswer, 100)
	b.ask("anthropic", "/v1/messages", smallRequest)
	end := b.waits(context.Background(), "anthropic", "/v1/messages", smallRequest, anthropicStart, anthropicEnd)
	b.restart(syscall.SIGKILL)
	end()
	got := b.counted("anthropic", 2)
	if got.Estimated != 1 || got.Output != 200 || got.Input < 3000 {
		t.Errorf("after a kill: %+v", got.modelSum)
	}
	b.expect("the minute", got.Limits["requestsPerMinute"], map[string]any{"used": 2.0, "limit": 3.0})
	b.says(200, "application/json", plainAnswer, 100)
	if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 429 || !strings.Contains(text, "tokensPerDay is used up") ||
		response.Header.Get("Retry-After") == "10" {
		t.Errorf("what the killed one had reserved is free: %s: %s", response.Status, text)
	}
	b.ask("anthropic", "/v1/models", "")
	if response, text := b.ask("anthropic", "/v1/models", ""); response.StatusCode != 429 || !strings.Contains(text, "requestsPerMinute") {
		t.Errorf("the minute began again: %s: %s", response.Status, text)
	}
	b.write("shift", "61")
	if response, text := b.ask("anthropic", "/v1/models", ""); response.StatusCode != 200 {
		t.Errorf("the minute does not end: %s: %s", response.Status, text)
	}
	if state, err := os.Stat(b.root + "/state/counts.sqlite"); err != nil || state.Mode().Perm() != 0o600 {
		t.Errorf("the database: %v, %v", state, err)
	}
}

// TestBudgetMidnight: a day ends at midnight UTC, and a request is of the day on which it began.
func TestBudgetMidnight(t *testing.T) {
	t.Parallel()
	b := newBudget(t, limited(`"tokensPerDay": 3000`))
	shift := 86400 - time.Now().Unix()%86400 - 30 // half a minute to midnight
	b.write("shift", fmt.Sprint(shift))
	yesterday := b.sums().Day
	end := b.waits(context.Background(), "anthropic", "/v1/messages", smallRequest, anthropicStart, anthropicEnd)
	if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 429 {
		t.Errorf("before midnight: %s: %s", response.Status, text)
	}
	b.write("shift", fmt.Sprint(shift+60))
	b.says(200, "application/json", plainAnswer, 100)
	if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 200 {
		t.Errorf("after midnight: %s: %s", response.Status, text)
	}
	end()
	today := b.counted("anthropic", 1)
	b.expect("today", []int{today.Input, today.Output}, []int{1000, 100})
	b.write("shift", fmt.Sprint(shift))
	before := b.counted("anthropic", 1)
	b.expect("yesterday", []any{b.sums().Day, before.Input, before.Output}, []any{yesterday, 1000, 50})
	// Days are kept for a month.
	for _, c := range []struct{ days, requests int }{{29, 1}, {32, 0}} {
		b.write("shift", fmt.Sprint(shift+int64(c.days)*86400))
		b.ask("anthropic", "/v1/messages", smallRequest)
		b.write("shift", fmt.Sprint(shift))
		b.expect(fmt.Sprintf("after %d days", c.days), b.sums().Providers["anthropic"].Requests, c.requests)
	}
}

func TestBudgetWarns(t *testing.T) {
	t.Parallel()
	b := newBudget(t, limited(`"tokensPerDay": 20000, "requestsPerMinute": 100, "usdPerDay": 100`))
	b.says(200, "application/json", `{"type":"message","usage":{"input_tokens":8000,"output_tokens":0}}`, 100)
	said := func() int { return strings.Count(b.log.String(), "anthropic: tokensPerDay: ") }
	b.ask("anthropic", "/v1/messages", smallRequest)
	b.counted("anthropic", 1)
	b.expect("lines at 40 %", said(), 0)
	b.says(200, "application/json", `{"type":"message","usage":{"input_tokens":100,"output_tokens":7900}}`, 100)
	b.ask("anthropic", "/v1/messages", smallRequest)
	b.counted("anthropic", 2)
	if said() != 1 || !strings.Contains(b.log.String(), "anthropic: tokensPerDay: 16000 of 20000 is used\n") {
		t.Errorf("at 80 %%:\n%s", b.log)
	}
	b.says(200, "application/json", `{"type":"message","usage":{"input_tokens":1,"output_tokens":0}}`, 100)
	for requests := 3; requests < 5; requests++ {
		b.ask("anthropic", "/v1/messages", `{"model":"claude-small-1","max_tokens":1}`)
		b.counted("anthropic", requests)
		b.expect("lines after that", said(), 1)
		b.restart(syscall.SIGTERM)
	}
}

// TestBudgetPrices: each a request with 1000 tokens of input and 100 of output; and what it reserved before.
func TestBudgetPrices(t *testing.T) {
	t.Parallel()
	b := newBudget(t, `{"providers": {"anthropic": {}, "openai": {}, "google": {}, "openrouter": {}, "own": {}, "mine": {}},
		"prices": {"anthropic": {"claude-own-1": {"input": "0.5", "output": 5}, "claude-large-1": {"input": 1, "output": 1}},
			"mine": {"*": {"input": 0, "output": 0, "maxOutput": 10, "context": 5000}}}}`)
	long := strings.Repeat("x", 60_000)
	for _, c := range []struct {
		provider, body, answer string
		unknown                bool
		usd                    string
		worst                  string // what it would have been without a figure, but for the body's bytes
	}{
		{"anthropic", `{"model":"claude-small-1","max_tokens":7}`, plainAnswer, false, "0.002", "7"},
		{"anthropic", `{"model":"claude-small-1"}`, plainAnswer, false, "0.002", "1000"},
		{"anthropic", `{"model":"claude-small-1","max_tokens":null}`, plainAnswer, false, "0.002", "1000"},
		{"anthropic", `{"model":"claude-small-1-20261001"}`, plainAnswer, false, "0.002", "1000"},
		{"anthropic", `{"model":"claude-small-1@20261001"}`, plainAnswer, false, "0.002", "1000"},
		{"anthropic", `{"model":"claude-small-1-latest"}`, plainAnswer, false, "0.002", "1000"},
		{"anthropic", `{"model":"Claude-Small-1"}`, plainAnswer, false, "0.002", "1000"},
		// A sibling is no snapshot: each kind of token is as dear as the dearest of its provider.
		{"anthropic", `{"model":"claude-small-1-pro"}`, plainAnswer, true, "0.02", "128000"},
		{"anthropic", `{"model":"claude-small-1.5"}`, plainAnswer, true, "0.02", "128000"},
		{"anthropic", `{"model":"claude-small-15"}`, plainAnswer, true, "0.02", "128000"},
		{"anthropic", `{"model":"claude-unheard-of"}`, plainAnswer, true, "0.02", "128000"},
		{"anthropic", `{"max_tokens":9}`, plainAnswer, true, "0.02", "9"},
		{"anthropic", `{"model":{"x":1}}`, plainAnswer, true, "0.02", "128000"},
		{"anthropic", `{"model":"claude-own-1"}`, plainAnswer, false, "0.001", "128000"},
		{"anthropic", `{"model":"claude-large-1"}`, plainAnswer, false, "0.0011", "128000"},
		{"mine", `{"model":"whatever"}`, plainChat, false, "0.00", "10"},
		{"own", `{"model":"gpt-plain"}`, plainChat, true, "0.0225", "128000"},
		{"openai", `{"model":"gpt-plain","max_tokens":20,"max_completion_tokens":30,"n":3}`, plainChat, false, "0.002", "90"},
		{"openai", `{"model":"gpt-plain","max_tokens":1e30,"n":1e30}`, plainChat, false, "0.002", "1000000000"},
		{"openai", `{"model":"gpt-plain","max_tokens":-5,"n":true}`, plainChat, false, "0.002", "1000"},
		{"openai", `{"model":"gpt-plain","max_tokens":1` + strings.Repeat("0", 400) + `}`, plainChat, false, "0.002", "1000000000"},
		// A field that its API does not have bounds nothing.
		{"openai", `{"model":"gpt-plain","max_output_tokens":1}`, plainChat, false, "0.002", "1000"},
		{"openai", `{"model":"gpt-plain","service_tier":"flex"}`, plainChat, false, "0.002", "1000"},
		{"openai", `{"model":"gpt-plain","service_tier":"priority"}`, plainChat, false, "0.006", "1000"},
		{"openai", `{"model":"gpt-plain","service_tier":"unheard-of"}`, plainChat, false, "0.006", "1000"},
		{"openai", `{"model":"gpt-plain","service_tier":"priority"}`, `{"service_tier":"default",` + plainChat[1:], false, "0.002", "1000"},
		{"openai", `{"model":"gpt-plain","service_tier":"auto"}`, `{"service_tier":"priority",` + plainChat[1:], false, "0.006", "1000"},
		{"openai", `{"model":"gpt-long"}`, plainChat, false, "0.002", "1000"},
		{"openai", `{"model":"gpt-long"}`, `{"usage":{"prompt_tokens":50001,"completion_tokens":100}}`, false, "0.152003", "1000"},
		{"openai", `{"model":"gpt-long","x":"` + long + `"}`, plainChat, false, "0.002", "1000"},
		{"anthropic", `{"model":"claude-quick-1","speed":"fast"}`, plainAnswer, false, "0.004", "1000"},
		{"anthropic", `{"model":"claude-small-1","speed":"fast"}`, plainAnswer, false, "0.012", "1000"},
		{"anthropic", `{"model":"claude-quick-1","speed":"fast"}`, `{"type":"message","usage":{"speed":"standard","input_tokens":1000,"output_tokens":100}}`, false, "0.002", "1000"},
		{"anthropic", `{"model":"claude-small-1","inference_geo":"us"}`, plainAnswer, false, "0.003", "1000"},
		{"anthropic", `{"model":"claude-small-1"}`, `{"type":"message","usage":{"inference_geo":"us","input_tokens":1000,"output_tokens":100}}`, false, "0.003", "1000"},
		{"openrouter", `{"model":"google/gemini-plain"}`, plainChat, false, "0.002", "1000"},
		{"openrouter", `{"model":"openai/gpt-plain:free"}`, plainChat, false, "0.002", "1000"},
		{"openrouter", `{"model":"openai/gpt-plain","models":["x/unheard-of"]}`, plainChat, true, "0.0225", "128000"},
		{"openrouter", `{"model":"openai/gpt-plain:online"}`, plainChat, true, "0.0225", "128000"},
	} {
		path := "/v1/chat/completions"
		if c.provider == "anthropic" {
			path = "/v1/messages"
		}
		before := b.sums().Providers[c.provider]
		b.says(200, "application/json", c.answer, 1000)
		b.ask(c.provider, path, c.body)
		after := b.counted(c.provider, before.Requests+1)
		if got := difference(after.USD, before.USD); got != c.usd {
			t.Errorf("%.100s: %s, wanted %s", c.body, got, c.usd)
		}
		b.says(200, "application/json", `{}`, 1000)
		b.ask(c.provider, path, c.body)
		worst := b.counted(c.provider, before.Requests+2)
		if got := fmt.Sprint(worst.Output - after.Output); got != c.worst || worst.Estimated != before.Estimated+1 {
			t.Errorf("%.100s: %s of output were reserved, wanted %s", c.body, got, c.worst)
		}
		var model string
		for name, sum := range worst.Models {
			if sum.Requests != before.Models[name].Requests {
				model = name
			}
		}
		if worst.Models[model].Unknown != c.unknown {
			t.Errorf("%.100s: unknown: %v", c.body, !c.unknown)
		}
		if c.unknown && !strings.Contains(b.log.String(), fmt.Sprintf("%s: the model %q has no price, and counts as the dearest\n", c.provider, model)) {
			t.Errorf("%.100s: the log does not say so:\n%s", c.body, b.log)
		}
	}
}

// difference is of USD as text.
func difference(a, b string) string {
	x, _ := strconv.ParseFloat(a, 64)
	y, _ := strconv.ParseFloat(b, 64)
	text := strings.TrimRight(fmt.Sprintf("%.6f", math.Round((x-y)*1e6)/1e6), "0")
	for len(text)-strings.Index(text, ".") < 3 {
		text += "0"
	}
	return text
}

// TestBudgetReservesInput: by what is sent, at most what the model reads; all of that where what is sent does not say.
func TestBudgetReservesInput(t *testing.T) {
	t.Parallel()
	b := newBudget(t, allProviders)
	b.says(200, "application/json", `{}`, 1000)
	for _, c := range []struct {
		provider, path, body string
		least, most          int
	}{
		{"anthropic", "/v1/messages", `{"model":"claude-small-1","messages":"` + strings.Repeat("x", 1000) + `"}`, 3000, 3100},
		{"anthropic", "/v1/messages", `{"model":"claude-small-1","messages":"` + strings.Repeat("x", 300_000) + `"}`, 200_000, 200_000},
		{"anthropic", "/v1/messages", `{"model":"claude-small-1","messages":[{"content":[{"type":"image","source":{"type":"url","url":"https://x"}}]}]}`, 7000, 7200},
		{"anthropic", "/v1/messages", `{"model":"claude-small-1","messages":[{"content":[{"type":"document","source":{"type":"url","url":"https://x"}}]}]}`, 200_000, 200_000},
		{"anthropic", "/v1/messages", `{"model":"claude-small-1","messages":[{"content":[{"type":"x","source":{"file\u005fid":"f"}}]}]}`, 200_000, 200_000},
		{"anthropic", "/v1/messages", `{"model":"claude-small-1","tools":[{"name":"x","input_schema":{"file_id":"x"}},{"type":"bash_20250124"},{"type":"custom"}]}`, 2000, 2300},
		{"anthropic", "/v1/messages", `{"model":"claude-small-1","messages":[{"content":[{"type":"tool_use","input":{"file_id":"x"}}]}]}`, 2000, 2300},
		{"anthropic", "/v1/messages", `{"model":"claude-small-1","tools":[{"type":"web_search_20260209"}]}`, 200_000, 200_000},
		{"openai", "/v1/responses", `{"model":"gpt-plain","previous_response_id":"r"}`, 400_000, 400_000},
		{"openai", "/v1/responses", `{"model":"gpt-plain","tools":[{"type":"function","name":"x"}]}`, 2000, 2300},
		{"openai", "/v1/responses", `{"model":"gpt-plain","tools":[{"type":"code_interpreter"}]}`, 400_000, 400_000},
		{"google", "/v1/models/gemini-plain:generateContent", `{"tools":[{"functionDeclarations":[]}]}`, 2000, 2300},
		{"google", "/v1/models/gemini-plain:generateContent", `{"tools":[{"googleSearch":{}}]}`, 1_000_000, 1_000_000},
		{"google", "/v1/models/gemini-plain:generateContent", `{"contents":[{"parts":[{"inlineData":{"mimeType":"application/pdf"}}]}]}`, 1_000_000, 1_000_000},
		{"google", "/v1/models/gemini-plain:generateContent", `{"cachedContent":"c"}`, 1_000_000, 1_000_000},
	} {
		before := b.sums().Providers[c.provider]
		b.ask(c.provider, c.path, c.body)
		after := b.counted(c.provider, before.Requests+1)
		if got := after.Input - before.Input; got < c.least || got > c.most {
			t.Errorf("%.120s: %d", c.body, got)
		}
	}
	// The dearest that input can become: written to the cache, and for an hour where that is asked for.
	for body, want := range map[string]string{
		`{"model":"claude-small-1","max_tokens":1,"x":"` + strings.Repeat("x", 300_000) + `"}`:                              "0.40001",
		`{"model":"claude-small-1","max_tokens":1,"cache_control":{"ttl":"1h"},"x":"` + strings.Repeat("x", 300_000) + `"}`: "0.80001",
	} {
		before := b.sums().Providers["anthropic"]
		b.ask("anthropic", "/v1/messages", body)
		if got := difference(b.counted("anthropic", before.Requests+1).USD, before.USD); got != want {
			t.Errorf("%.100s: %s, wanted %s", body, got, want)
		}
	}
	// Google's limits are elsewhere.
	before := b.sums().Providers["google"]
	b.ask("google", "/v1/models/gemini-plain:generateContent", `{"generationConfig":{"maxOutputTokens":70,"candidateCount":2},"max_tokens":9999}`)
	b.expect("Google's output", b.counted("google", before.Requests+1).Output-before.Output, 140)
}

// TestBudgetAsksForTheFigure: a stream of chats ends without one, if nobody asks.
func TestBudgetAsksForTheFigure(t *testing.T) {
	t.Parallel()
	b := newBudget(t, allProviders)
	var sent string
	b.answers(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = string(body)
		io.WriteString(w, plainChat)
	})
	for _, c := range []struct{ provider, path, body, want string }{
		{"openai", "/v1/chat/completions", ` {"model":"gpt-plain", "stream":true,"seed":1.0}`, ` {"stream_options":{"include_usage":true},"model":"gpt-plain", "stream":true,"seed":1.0}`},
		{"openai", "/v1/chat/completions", `{"model":"gpt-plain","stream":true,"stream_options":{"include_usage":false,"x":1}}`,
			`{"model": "gpt-plain", "stream": true, "stream_options": {"include_usage": true, "x": 1}}`},
		{"openai", "/v1/chat/completions", `{"model":"gpt-plain","stream":true,"stream_options":{"include_usage":true}}`, ""},
		{"openai", "/v1/chat/completions", `{"model":"gpt-plain","stream":false}`, ""},
		{"openai", "/v1/responses", `{"model":"gpt-plain","stream":true}`, ""},
		{"own", "/v1/chat/completions", `{"model":"gpt-plain","stream":true}`, ""},
		{"anthropic", "/v1/messages", smallRequest, ""},
	} {
		b.ask(c.provider, c.path, c.body)
		if c.want == "" {
			c.want = c.body
		}
		b.expect("sent", sent, c.want)
	}
}

// TestBudgetDisk: what cannot be written down is not sent, where there is a limit.
func TestBudgetDisk(t *testing.T) {
	t.Parallel()
	const config = `{"providers": {"anthropic": {"tokensPerDay": 100000}, "openai": {}}}`
	refused := func(b *budget, when, words string) {
		b.t.Helper()
		response, text := b.ask("anthropic", "/v1/messages", smallRequest)
		if response.StatusCode != 503 || !strings.Contains(text, "anthropic has a limit, and what it uses cannot be written down: "+words) {
			b.t.Errorf("%s: %s: %s", when, response.Status, text)
		}
		if response, text := b.ask("openai", "/v1/chat/completions", `{"model":"gpt-plain"}`); response.StatusCode != 200 {
			b.t.Errorf("%s, without a limit: %s: %s", when, response.Status, text)
		}
	}
	t.Run("full", func(t *testing.T) {
		t.Parallel()
		b := newBudget(t, config)
		b.says(200, "application/json", plainAnswer, 100)
		b.ask("anthropic", "/v1/messages", smallRequest)
		size := func(limit string) {
			if out, err := exec.Command("prlimit", "--pid", strconv.Itoa(b.command.Process.Pid), "--fsize="+limit).CombinedOutput(); err != nil {
				t.Fatalf("prlimit: %v: %s", err, out)
			}
		}
		end := b.waits(context.Background(), "anthropic", "/v1/messages", smallRequest, anthropicStart, anthropicEnd)
		size("1:unlimited")
		b.says(200, "application/json", plainChat, 100)
		end()
		refused(b, "full", "")
		size("unlimited:unlimited")
		b.says(200, "application/json", plainAnswer, 100)
		if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 200 {
			t.Errorf("with room again: %s: %s", response.Status, text)
		}
		// What ended while there was no room is not lost.
		got := b.counted("anthropic", 3)
		b.expect("counted", []int{got.Estimated, got.Output}, []int{0, 250})
		b.expect("counted without a limit", b.sums().Providers["openai"].Requests, 1)
	})
	t.Run("damaged", func(t *testing.T) {
		t.Parallel()
		b := newBudgetWith(t, config, plainPrices, `{"REOPEN_SECONDS": 0}`)
		b.says(200, "application/json", plainAnswer, 100)
		b.ask("anthropic", "/v1/messages", smallRequest)
		b.counted("anthropic", 1)
		b.stop(syscall.SIGKILL)
		good, _ := os.ReadFile(b.root + "/state/counts.sqlite")
		wal, _ := os.ReadFile(b.root + "/state/counts.sqlite-wal")
		b.write("state/counts.sqlite", strings.Repeat("x", len(good)+4096))
		os.Remove(b.root + "/state/counts.sqlite-wal")
		b.start()
		b.says(200, "application/json", plainChat, 100)
		refused(b, "damaged", "file is not a database")
		if got, _ := os.ReadFile(b.root + "/state/counts.sqlite"); !bytes.HasPrefix(got, []byte("xxxx")) {
			t.Error("the damaged file is gone, and with it what the day used")
		}
		if out, err := b.arguments("sums").CombinedOutput(); err == nil || string(out) != b.root+"/state/counts.sqlite: file is not a database\n" {
			t.Errorf("sums: %v: %s", err, out)
		}
		// Whoever puts it right need not start anything.
		os.WriteFile(b.root+"/state/counts.sqlite-wal", wal, 0o600)
		b.write("state/counts.sqlite", string(good))
		b.says(200, "application/json", plainAnswer, 100)
		if response, text := b.ask("anthropic", "/v1/messages", smallRequest); response.StatusCode != 200 {
			t.Errorf("mended: %s: %s", response.Status, text)
		}
		b.expect("counted", b.counted("anthropic", 2).Output, 200)
	})
}

func TestBudgetReload(t *testing.T) {
	t.Parallel()
	b := newBudget(t, limited(`"requestsPerMinute": 0`))
	b.says(200, "application/json", plainAnswer, 100)
	status := func() int {
		response, _ := b.ask("anthropic", "/v1/messages", smallRequest)
		return response.StatusCode
	}
	b.expect("at first", status(), 429)
	b.write("config.json", limited(`"requestsPerMinute": 5`))
	b.command.Process.Signal(syscall.SIGHUP)
	b.until("it has read it", func() bool { return strings.Contains(b.log.String(), "the configuration was read again") })
	b.expect("with more", status(), 200)
	b.write("config.json", limited(`"requestsPerMinut": 0`))
	b.command.Process.Signal(syscall.SIGHUP)
	b.until("it has said so", func() bool {
		return strings.Contains(b.log.String(), `config.json: providers.anthropic: "requestsPerMinut" is not known: the configuration stays as it was`)
	})
	b.expect("with what it had", status(), 200)
}

// TestBudgetStops: streams that run may end, but not for ever.
func TestBudgetStops(t *testing.T) {
	t.Parallel()
	b := newBudgetWith(t, allProviders, plainPrices, `{"STOP_SECONDS": 1}`)
	for name, c := range map[string]struct{ ends bool }{"it ends": {true}, "it does not": {false}} {
		before := b.sums().Providers["anthropic"]
		end := b.waits(context.Background(), "anthropic", "/v1/messages", smallRequest, anthropicStart, anthropicEnd)
		b.command.Process.Signal(syscall.SIGTERM)
		var got string
		if c.ends {
			time.Sleep(100 * time.Millisecond)
			got = end()
		}
		start := time.Now()
		if err := b.command.Wait(); err != nil || time.Since(start) > 5*time.Second {
			t.Errorf("%s: it stopped with %v after %v", name, err, time.Since(start))
		}
		if _, err := os.Stat(b.root + "/in.sock"); err != nil {
			t.Errorf("systemd's socket is gone: %v", err)
		}
		if !c.ends {
			end()
		} else if got != anthropicStart+anthropicEnd {
			t.Errorf("%s: the stream: %s", name, got)
		}
		b.client.CloseIdleConnections()
		b.start()
		after := b.counted("anthropic", before.Requests+1)
		b.expect(name+": estimated", after.Estimated-before.Estimated == 0, c.ends)
	}
}

// TestBudgetSecrets: what the agent says is nowhere in the log, and what it calls a model only cut and in quotes.
func TestBudgetSecrets(t *testing.T) {
	t.Parallel()
	b := newBudget(t, limited(`"tokensPerDay": 10`))
	b.says(200, "application/json", `{"canary-answer":1}`, 100)
	b.ask("anthropic", "/v1/messages?canary-query", `{"model":"evil\u001b[31m\n\ud83d\u202e`+strings.Repeat("m", 100)+`","messages":"canary-body"}`)
	b.ask("anthropic", "/v1/canary-path", `{}`)
	b.ask("free", "/v1/chat/completions", `{"model":"evil\u001b[31m\n\ud83d\u202e`+strings.Repeat("m", 100)+`","messages":"canary-body"}`)
	got := b.counted("free", 1)
	name := "evil?[31m???" + strings.Repeat("m", 45) + "..."
	if _, ok := got.Models[name]; !ok || !strings.Contains(b.log.String(), `free: the model "`+name+`" has no price`) {
		t.Errorf("%v\n%s", got.Models, b.log)
	}
	if strings.Contains(b.log.String(), "canary") || strings.ContainsAny(b.log.String(), "\x1b\u202e") {
		t.Errorf("the log:\n%s", b.log)
	}
	// The agent's names do not fill the database.
	for i := range 110 {
		b.ask("free", "/v1/chat/completions", fmt.Sprintf(`{"model":"m%d"}`, i))
	}
	if got := b.counted("free", 111); len(got.Models) != 101 || got.Models["others"].Requests != 11 {
		t.Errorf("%d names, %+v", len(got.Models), got.Models["others"])
	}
	// Nor do those of snapshots, of which there is no end either.
	for i := range 110 {
		b.ask("free", "/v1/chat/completions", fmt.Sprintf(`{"model":"openai/gpt-plain-%08d"}`, i))
	}
	if got := b.counted("free", 221); len(got.Models) != 202 || got.Models["other snapshots"].Requests != 10 {
		t.Errorf("%d names, %+v", len(got.Models), got.Models["other snapshots"])
	}
}

// TestBudgetNames: whatever a model is called, the program looks it up in a moment.
func TestBudgetNames(t *testing.T) {
	t.Parallel()
	b := newBudget(t, allProviders)
	b.says(200, "application/json", plainAnswer, 100)
	for _, end := range []string{"-2024-05-13", "-05-13-2024", "-12345678", "-latest", "@-:"} {
		for _, length := range []int{184, 1000} {
			start := time.Now()
			b.ask("anthropic", "/v1/messages", `{"model":"claude-small-1`+strings.Repeat(end, length/len(end))+`x"}`)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s: %v", end, took)
			}
		}
	}
}

// TestBudgetFreeIsFree: what is not counted asks nothing of a model.
func TestBudgetFreeIsFree(t *testing.T) {
	t.Parallel()
	b := newBudget(t, allProviders)
	b.answers(func(http.ResponseWriter, *http.Request) { t.Error("the provider was asked") })
	request, err := http.NewRequest(http.MethodGet, "http://broker/v1beta/models/gemini-plain:generateContent", strings.NewReader(`{"contents":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Openclaw-Provider", "google")
	request.Header.Set("X-HTTP-Method-Override", "POST")
	response, err := b.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 400 {
		t.Errorf("a question for models with a body: %s", response.Status)
	}
}

func TestBudgetCheck(t *testing.T) {
	t.Parallel()
	b := newBudget(t, allProviders)
	for config, want := range map[string]string{
		allProviders: "",
		`{"providers": {"anthropic": {"requestsPerMinute": 20, "tokensPerDay": 2000000, "usdPerDay": "5.00"}}, "prices": {"anthropic": {"m": {"input": 1, "output": 2.5, "cacheRead": "0.1", "cacheWrite": 1.25, "context": 1000, "maxOutput": 10}}}}`: "",
		`{`:                                     "not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
		`[]`:                                    `it needs an object "providers", and takes an object "prices"`,
		`{"providers": {}, "limits": {}}`:       `"limits" is not known`,
		`{"providers": {"A b": {}}}`:            "providers.A b: not a name",
		`{"providers": {"a": []}}`:              "providers.a: not an object",
		`{"providers": {"a": {"usdPerDy": 1}}}`: `providers.a: "usdPerDy" is not known`,
		`{"providers": {"a": {"usdPerDay": "5,00"}}}`:                                     "providers.a.usdPerDay: not a number",
		`{"providers": {"a": {"usdPerDay": -1}}}`:                                         "providers.a.usdPerDay: not a price",
		`{"providers": {"a": {"tokensPerDay": 1.5}}}`:                                     "providers.a.tokensPerDay: not a whole number",
		`{"providers": {"a": {"requestsPerMinute": true}}}`:                               "providers.a.requestsPerMinute: not a whole number",
		`{"providers": {}, "prices": {"a": {"m": {"input": 1}}}}`:                         "prices.a.m: output is missing",
		`{"providers": {}, "prices": {"a": {"m": {"input": 1, "output": 1, "x": 1}}}}`:    `prices.a.m: "x" is not known`,
		`{"providers": {}, "prices": {"a": {"m": {"input": "NaN", "output": 1}}}}`:        "prices.a.m.input: not a price",
		`{"providers": {}, "prices": {"a": {"m": {"input": 1, "output": 1, "long": 1}}}}`: "prices.a.m.long: not an object",
	} {
		b.write("other.json", config)
		out, err := b.arguments("check", b.root+"/other.json").CombinedOutput()
		got := strings.TrimPrefix(strings.TrimSpace(string(out)), b.root+"/other.json: ")
		if got != want || (err != nil) != (want != "") {
			t.Errorf("%s\n%v: %s\nwanted: %s", config, err, got, want)
		}
	}
}

// TestBudgetPriceTable: the table that is shipped knows what OpenClaw asks for, and says where it is from.
func TestBudgetPriceTable(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile(budgetPrices)
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Providers map[string]struct {
			Date, Source string
			Models       map[string]map[string]any
		}
	}
	if err := json.Unmarshal(table, &found); err != nil {
		t.Fatal(err)
	}
	for name, provider := range found.Providers {
		if _, err := time.Parse(time.DateOnly, provider.Date); err != nil || !strings.HasPrefix(provider.Source, "https://") {
			t.Errorf("%s: date %q, source %q", name, provider.Date, provider.Source)
		}
		for model, price := range provider.Models {
			read, ok := price["cacheRead"]
			if model != strings.ToLower(model) || ok && read.(float64) > price["input"].(float64) || price["output"] == 0.0 && price["maxOutput"] != 0.0 {
				t.Errorf("%s %s: %v", name, model, price)
			}
		}
	}
	b := newBudgetWith(t, `{"providers": {"anthropic": {}, "openai": {}, "google": {}, "mistral": {}, "groq": {}, "deepseek": {}, "xai": {}, "openrouter": {}}}`, string(table), "{}")
	b.says(200, "application/json", `{"usage":{"prompt_tokens":1000000,"completion_tokens":0,"prompt_tokens_details":{"cache_write_tokens":0}}}`, 1000)
	asked := map[string]int{}
	for _, c := range []struct{ provider, model, usd string }{
		{"anthropic", "claude-haiku-4-5", "1.00"},
		{"anthropic", "claude-haiku-4-5-20251001", "1.00"},
		{"anthropic", "claude-opus-5-5", "4.00"},
		{"anthropic", "claude-haiku-5-5", "0.50"},
		{"openai", "gpt-6.1-sol", "4.00"},
		{"openai", "gpt-5.4-mini-2026-03-17", "0.75"},
		{"openai", "text-embedding-3-small", "0.02"},
		{"google", "gemini-3.1-pro-preview", "4.00"},
		{"google", "models/gemini-3.5-flash", "1.50"},
		{"google", "gemini-embedding-001", "0.15"},
		{"mistral", "mistral-large-latest", "1.36"},
		{"groq", "openai/gpt-oss-120b", "0.15"},
		{"deepseek", "deepseek-flash", "0.30"},
		{"xai", "grok-4.7", "2.00"},
		{"openrouter", "anthropic/claude-opus-5.5", "4.00"},
		{"openrouter", "x-ai/grok-4.7", "2.00"},
		{"openrouter", "google/gemini-3.5-flash", "1.50"},
		{"openrouter", "deepseek/deepseek-v4-pro", "1.32"},
	} {
		b.ask(c.provider, "/v1/chat/completions", fmt.Sprintf(`{"model":%q}`, c.model))
		asked[c.provider]++
		model := b.counted(c.provider, asked[c.provider]).Models[c.model]
		if model.USD != c.usd || model.Unknown {
			t.Errorf("%s %s: %+v, wanted %s", c.provider, c.model, model, c.usd)
		}
	}
}

// BenchmarkBudget shows what the program adds to a request, and what memory it has after all of them:
// go test -run '^$' -bench Budget -benchtime 1000x ./internal/hosttest
func BenchmarkBudget(b *testing.B) {
	p := newBudgetWith(b, limited(`"requestsPerMinute": 1000000, "tokensPerDay": 1000000000000, "usdPerDay": 100000`), plainPrices, "{}")
	p.says(200, "text/event-stream", anthropicStart+strings.Repeat("data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"word\"}}\n\n", 100)+anthropicEnd, 2000)
	body := `{"model":"claude-small-1","max_tokens":100,"stream":true,"messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("words ", 50)+`"},`, 190) + `{}]}`
	direct := &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.root+"/out.sock")
	}}}
	through := p.client
	took := map[*http.Client][]time.Duration{}
	processor := func() float64 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		user, _ := strconv.ParseFloat(strings.Fields(after)[11], 64)
		system, _ := strconv.ParseFloat(strings.Fields(after)[12], 64)
		return (user + system) * 10 // ticks of a hundredth of a second
	}
	before := processor()
	for b.Loop() {
		for _, client := range []*http.Client{direct, through} {
			p.client = client
			start := time.Now()
			if response, text := p.ask("anthropic", "/v1/messages", body); response.StatusCode != 200 {
				b.Fatal(response.Status, text)
			}
			took[client] = append(took[client], time.Since(start))
		}
	}
	p.client = through
	p.counted("anthropic", len(took[through]))
	for _, values := range took {
		slices.Sort(values)
	}
	at := func(share float64) float64 {
		of := func(client *http.Client) float64 {
			return took[client][int(float64(len(took[client])-1)*share)].Seconds() * 1000
		}
		return of(through) - of(direct)
	}
	b.ReportMetric(at(0.5), "ms-added")
	b.ReportMetric((processor()-before)/float64(len(took[through])), "ms-processor")
	b.ReportMetric(at(0.99), "ms-added-p99")
	memory, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.command.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for name, unit := range map[string]string{"Pss": "MB-PSS", "Rss": "MB-RSS"} {
		kilobytes, _ := strconv.Atoi(regexp.MustCompile(name + `: +(\d+)`).FindStringSubmatch(string(memory))[1])
		b.ReportMetric(float64(kilobytes)/1024, unit)
	}
}
