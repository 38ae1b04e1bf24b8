package scenarios

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// knowsNot looks for a secret in all that a page can get at, and in all that the browser told of since listen.
func (b *browser) knowsNot(secret string) {
	b.l.t.Helper()
	kept := b.run(`(async () => JSON.stringify([localStorage, sessionStorage, document.cookie, location.href, document.documentElement.outerHTML, history.state,
		performance.getEntries().map(entry => entry.name), (await indexedDB.databases()).map(database => database.name),
		(await caches.keys()), (await navigator.serviceWorker.getRegistrations()).map(worker => worker.scope)]))()`)
	history := b.ask("Page.getNavigationHistory", nil)
	cookies := b.ask("Network.getCookies", nil)
	traffic := b.traffic.String()
	for _, want := range []string{`"method":"connect"`, "hello-ok", "Network.webSocketFrameReceived"} {
		if plain := strings.ReplaceAll(traffic, `\"`, `"`); !strings.Contains(plain, want) {
			b.l.t.Errorf("the browser told of no %s", want)
		}
	}
	if len(kept) < 1000 {
		b.l.t.Errorf("the page has nothing to look through: %q", kept)
	}
	for where, text := range map[string]string{"what the page has": kept, "its history": fmt.Sprint(history), "its cookies": fmt.Sprint(cookies), "its traffic": traffic} {
		if strings.Contains(text, secret) {
			b.l.t.Errorf("the gateway's token is in %s", where)
		}
	}
	if registered := b.run(`(async () => String((await navigator.serviceWorker.getRegistrations()).length))()`); registered != "0" {
		b.l.t.Errorf("%s service workers stay in the browser", registered)
	}
}

// serve has a user of the operator's computer serve a page on a port of it.
func (l *one) serve(user, port, page string) *exec.Cmd {
	l.t.Helper()
	dir, err := os.MkdirTemp("", "served") // not the scratch folder, which is root's
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(page), 0o644); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	// By its path: what comes first in root's may be root's alone.
	server := exec.Command(l.root+"/bin/lab", "exec", "operator", "--", "setpriv", "--reuid", user, "--regid", user, "--clear-groups",
		"/usr/bin/python3", "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", dir)
	server.Env = append(os.Environ(), "LAB="+l.name)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { endServer(server) })
	l.eventually("user "+user+" listens on port "+port, time.Minute, func() error {
		if r := l.at("operator", "curl", "-sS", "http://127.0.0.1:"+port+"/"); r.stdout != page {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	return server
}

func endServer(server *exec.Cmd) {
	if server.ProcessState == nil {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	}
}

// controlUIDoor: in a real browser that is logged in, a message is answered; and no page of another place, no other user of the
// operator's computer and nobody who has the port afterwards gets anything by it.
func controlUIDoor(l *one) {
	token := l.output("gatewayToken")
	f := l.startForward()
	b := l.openBrowser("--host-resolver-rules=MAP evil.example 127.0.0.1")
	b.listen()
	b.shows(f.link, "Automations")
	b.shows(f.ui+"chat", "Message")
	// Its answer is in nothing that was said before.
	b.types("Chat composer", "RUN:"+base64.StdEncoding.EncodeToString([]byte("echo answer-$((40+2))"))+":END")
	l.eventually("the message is answered", 2*time.Minute, func() error {
		if !strings.Contains(b.run(`document.body.textContent`), "answer-42") {
			return fmt.Errorf("it shows %q", b.run("document.body.innerText"))
		}
		return nil
	})
	b.knowsNot(token)

	// A page of another server on this computer, which is what a local application is, or a page of the agent's by another way.
	l.serve("65534", "8000", "another page")
	b.shows("http://127.0.0.1:8000/", "another page")
	tries := `(async () => (await Promise.all([
		fetch(UI).then(() => "reads", () => "no"),
		fetch(UI + "chat", {credentials: "include"}).then(() => "reads with cookies", () => "no"),
		fetch(UI + "api", {method: "POST", body: "x"}).then(() => "posts", () => "no"),
		new Promise(done => { const socket = new WebSocket(UI.replace("http", "ws")); socket.onopen = () => done("talks"); socket.onerror = () => done("no"); }),
		new Promise(done => { const script = document.createElement("script"); script.src = UI + "sw.js"; script.onload = () => done("loads"); script.onerror = () => done("no"); document.head.append(script); }),
	])).join(" "))()`
	quoted := fmt.Sprintf("%q", f.ui)
	if got := b.run(strings.ReplaceAll(tries, "UI", quoted)); got != "no no no no no" {
		l.t.Errorf("a page at 127.0.0.1:8000 %s", got)
	}
	b.run(`location = ` + quoted)
	b.has("this is not for other sites")
	// A page whose name leads to this computer, now.
	b.shows("http://evil.example:"+f.port+"/", "nothing is served at this address")
	b.shows("http://127.0.0.1:"+f.port+"/", "nothing is served at this address")
	b.shows("http://localhost:"+f.port+"/", "nothing is served at this address")
	// The twin: the same place, by the user themselves.
	b.shows(f.ui, "Automations")

	// Another user of the operator's computer, who knows the address.
	ask := []string{"curl", "-sS", "-m", "20", "-H", "Host: " + strings.Trim(strings.TrimPrefix(f.ui, "http://"), "/"), "http://127.0.0.1:" + f.port + "/"}
	if r := l.at("operator", ask...); !strings.Contains(r.stdout, "open the link that claw forward prints") {
		l.t.Errorf("the same user: %s", r)
	}
	if r := l.at("operator", append([]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}, ask...)...); r.code == 0 || r.stdout != "" {
		l.t.Errorf("another user: %s", r)
	}
	if want := "claw: refused a connection to port " + f.port + " of this computer: it is user 65534's\n"; !strings.Contains(f.shown.String(), want) {
		l.t.Errorf("claw forward says %q, not %q", f.shown.String(), want)
	}

	// The tab stays open, and another user has the port next: what they are given is this run's, and opens nothing in the next.
	if code := f.stop(); code != 128+2 {
		l.t.Errorf("claw forward after Ctrl-C: exit status %d", code)
	}
	squatter := l.serve("65534", f.port, "<p>the squatter's")
	b.shows(f.ui, "the squatter's")
	kept := b.run(`JSON.stringify([localStorage, sessionStorage, document.cookie])`)
	if strings.Contains(kept, token) {
		l.t.Error("whoever has the port after the run finds the gateway's token")
	}
	endServer(squatter)
	next := l.startForward("--port", f.port)
	b.shows(f.ui, "nothing is served at this address")
	b.shows(next.ui, "open the link that claw forward prints")
	b.shows(next.link, "Automations")
	b.close()
	next.stop()
}
