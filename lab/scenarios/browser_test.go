package scenarios

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// browser is a real one at the operator's place, driven by Chrome's DevTools protocol over two pipes.
type browser struct {
	l       *one
	command *exec.Cmd
	orders  *os.File
	answers *bufio.Reader
	session string
	id      int
	traffic *strings.Builder // what it tells of requests and WebSockets, from listen on
}

// openBrowser starts a browser that knows nobody, with more options for its command line; it ends with close.
func (l *one) openBrowser(options ...string) *browser {
	l.t.Helper()
	orders, to, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	from, answers, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	b := &browser{l: l, orders: to, answers: bufio.NewReaderSize(from, 1<<20)}
	b.command = exec.Command(l.root+"/bin/lab", append([]string{"exec", "operator", "--", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir=" + l.tempDir(), "--window-size=1280,860", "--remote-debugging-pipe"}, options...)...)
	b.command.Env = append(os.Environ(), "LAB="+l.name)
	b.command.ExtraFiles = []*os.File{orders, answers} // its descriptors 3 and 4
	if err := b.command.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(b.end)
	orders.Close()
	answers.Close()
	target := b.ask("Target.createTarget", map[string]any{"url": "about:blank"})
	b.session, _ = b.ask("Target.attachToTarget", map[string]any{"targetId": target["targetId"], "flatten": true})["sessionId"].(string)
	return b
}

func (b *browser) close() {
	b.l.t.Helper()
	b.session = ""
	b.ask("Browser.close", nil)
	b.end()
}

// end waits for the browser, which ends with its orders.
func (b *browser) end() {
	if b.command.ProcessState != nil {
		return
	}
	b.orders.Close()
	stop := time.AfterFunc(20*time.Second, func() { _ = b.command.Process.Kill() })
	_ = b.command.Wait()
	stop.Stop()
}

// ask sends one order and gives its result.
func (b *browser) ask(method string, parameters map[string]any) map[string]any {
	b.l.t.Helper()
	b.id++
	order := map[string]any{"id": b.id, "method": method, "params": parameters}
	if b.session != "" {
		order["sessionId"] = b.session
	}
	text, err := json.Marshal(order)
	if err != nil {
		b.l.t.Fatal(err)
	}
	if _, err := b.orders.Write(append(text, 0)); err != nil {
		b.l.t.Fatalf("ask the browser for %s: %v", method, err)
	}
	stop := time.AfterFunc(time.Minute, func() { _ = b.command.Process.Kill() })
	defer stop.Stop()
	for {
		line, err := b.answers.ReadBytes(0)
		if err != nil {
			b.l.t.Fatalf("the browser ended without an answer to %s: %v", method, err)
		}
		var answer struct {
			ID     int
			Result map[string]any
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(line[:len(line)-1], &answer); err != nil {
			b.l.t.Fatal(err)
		}
		if answer.ID != b.id { // an event
			if b.traffic != nil {
				b.traffic.Write(line)
			}
			continue
		}
		if answer.Error != nil {
			b.l.t.Fatalf("the browser refuses %s: %s", method, answer.Error.Message)
		}
		return answer.Result
	}
}

// run runs a program of JavaScript in the page and gives the text that it ends with.
func (b *browser) run(program string) string {
	b.l.t.Helper()
	result, _ := b.ask("Runtime.evaluate", map[string]any{"expression": program, "awaitPromise": true})["result"].(map[string]any)
	text, _ := result["value"].(string)
	return text
}

// listen has the browser tell of all that goes over the network: addresses, headers, what WebSockets carry.
func (b *browser) listen() {
	b.l.t.Helper()
	b.traffic = &strings.Builder{}
	b.ask("Network.enable", nil)
}

// written is the text in the field that has the focus.
const written = `(() => {
	let e = document.activeElement;
	while (e && e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement;
	return e && typeof e.value === "string" ? e.value : "no field";
})()`

// types writes a line where something with a label takes it, and sends it: a page that is drawn anew may lose either.
func (b *browser) types(label, line string) {
	b.l.t.Helper()
	b.l.eventually(fmt.Sprintf("%q takes a line and sends it", label), 60*time.Second, func() error {
		b.clicked(label)
		if b.run(written) == "" {
			b.ask("Input.insertText", map[string]any{"text": line})
		}
		if got := b.run(written); got != line {
			return fmt.Errorf("its field holds %q", got)
		}
		for _, what := range []string{"keyDown", "keyUp"} {
			b.ask("Input.dispatchKeyEvent", map[string]any{"type": what, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"})
		}
		for range 10 {
			if b.run(written) != line && strings.Contains(b.run("document.body.innerText"), line) {
				return nil
			}
			time.Sleep(200 * time.Millisecond)
		}
		return errors.New("its field keeps the line, or lost it")
	})
}

// shows opens an address and waits until its page shows a text.
func (b *browser) shows(address, want string) {
	b.l.t.Helper()
	b.ask("Page.navigate", map[string]any{"url": address})
	b.has(want)
}

// has waits until the page shows a text.
func (b *browser) has(want string) {
	b.l.t.Helper()
	b.l.eventually(fmt.Sprintf("the page shows %q", want), 90*time.Second, func() error {
		text := b.run("document.body ? document.body.textContent : ''")
		if text = strings.Join(strings.Fields(text), " "); !strings.Contains(text, want) {
			return fmt.Errorf("it shows %q", text[max(0, len(text)-1500):])
		}
		return nil
	})
}

// place finds what a page has with a label that can be clicked, the topmost last, and gives the middle of it.
const place = `(label => {
	const all = root => [...root.querySelectorAll("*")].flatMap(e => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
	const named = e => [e.title, e.getAttribute("aria-label"), e.children.length ? "" : e.textContent].some(text => text && text.trim() === label);
	for (const e of all(document).filter(named).reverse()) {
		e.scrollIntoView({block: "center", behavior: "instant"});
		const box = e.getBoundingClientRect();
		const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
		const top = document.elementFromPoint(x, y);
		if (box.width > 1 && top && (top === e || e.contains(top) || top.contains(e))) return JSON.stringify({x, y});
	}
	return "";
})`

// click clicks what has this label with the mouse, as soon as it is there.
func (b *browser) click(label string) {
	b.l.t.Helper()
	b.l.eventually(fmt.Sprintf("the page has %q", label), 60*time.Second, func() error {
		if !b.clicked(label) {
			return fmt.Errorf("it shows %q", b.run("document.body.innerText"))
		}
		return nil
	})
}

// opens clicks what has one label until something with another is there: a page that is drawn anew forgets what was open.
func (b *browser) opens(label, next string) {
	b.l.t.Helper()
	b.l.eventually(fmt.Sprintf("%q opens %q", label, next), 60*time.Second, func() error {
		if b.place(next) != "" {
			return nil
		}
		b.clicked(label)
		for range 10 {
			if b.place(next) != "" {
				return nil
			}
			time.Sleep(200 * time.Millisecond)
		}
		return fmt.Errorf("it shows %q", b.run("document.body.innerText"))
	})
}

// place is where the page has something with a label, in JSON; empty where it has not.
func (b *browser) place(label string) string {
	b.l.t.Helper()
	quoted, err := json.Marshal(label)
	if err != nil {
		b.l.t.Fatal(err)
	}
	return b.run(place + "(" + string(quoted) + ")")
}

func (b *browser) clicked(label string) bool {
	b.l.t.Helper()
	found := b.place(label)
	if found == "" {
		return false
	}
	var at struct{ X, Y float64 }
	if err := json.Unmarshal([]byte(found), &at); err != nil {
		b.l.t.Fatal(err)
	}
	for _, what := range []string{"mousePressed", "mouseReleased"} {
		b.ask("Input.dispatchMouseEvent", map[string]any{"type": what, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1})
	}
	return true
}

// picture takes a PNG of what it shows.
func (b *browser) picture() []byte {
	b.l.t.Helper()
	data, _ := b.ask("Page.captureScreenshot", nil)["data"].(string)
	content, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		b.l.t.Fatal(err)
	}
	return content
}
