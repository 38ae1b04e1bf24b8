# Clients of every kind, none of them told of a gate. Each says whether it got what it came for.
t() {
	what=$1
	shift
	if timeout 15 "$@" >/dev/null 2>&1 </dev/null; then echo "$what: yes"; else echo "$what: no"; fi
}
cat >/tmp/clients.py <<'END'
import http.server, socket, ssl, sys, threading, time, urllib.request


def imaps():
    with socket.create_connection(("imap.example", 993), 10) as link:
        with ssl.create_default_context().wrap_socket(link, server_hostname="imap.example") as mail:
            assert mail.recv(99).startswith(b"* OK")


def imap():
    with socket.create_connection(("imap.example", 143), 10) as link:
        assert link.recv(99).startswith(b"* OK")


def ssh():
    with socket.create_connection(("git.example", 22), 10) as link:
        assert link.recv(99).startswith(b"SSH-2.0-")


def events():
    began, at = time.monotonic(), []
    for line in urllib.request.urlopen("https://www.good.example/sse", timeout=10):
        if line.startswith(b"data:"):
            at.append(time.monotonic() - began)
    assert len(at) == 5 and at[-1] - at[0] > 1.2, at


def listens():
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert urllib.request.urlopen(f"http://localhost:{server.server_port}/", timeout=5).status == 200


globals()[sys.argv[1]]()
END
t "curl, HTTP/2 by TLS to the origin's own certificate" sh -c 'curl -sS https://www.good.example/ | grep -q proto=HTTP/2'
t "curl, plain HTTP" sh -c 'curl -sS http://www.good.example/ | grep -q host=.www.good.example'
t "node's fetch" node --use-system-ca -e 'fetch("https://www.good.example/").then(r => process.exit(r.status === 200 ? 0 : 1), () => process.exit(1))'
t "a web socket" node --use-system-ca -e 'const s = new WebSocket("wss://www.good.example/ws"); s.onopen = () => s.send("there"); s.onmessage = m => process.exit(m.data === "there" ? 0 : 1); s.onerror = () => process.exit(1)'
t "node's http2" node --use-system-ca -e 'const s = require("http2").connect("https://www.good.example"); s.on("error", () => process.exit(1)); s.request({":path": "/"}).on("response", h => process.exit(h[":status"] === 200 ? 0 : 1)).end()'
t "node's own resolver" node -e 'require("dns").resolve4("www.good.example", (e, a) => process.exit(!e && a[0] === "198.18.10.10" ? 0 : 1))'
t "git over HTTPS" sh -c 'git ls-remote https://git.example/repository.git | grep -q refs/heads/main'
t "an upload of 50 MB" sh -c 'head -c 50000000 /dev/zero | curl -sS -T - https://www.good.example/upload | grep -q "got 50000000 bytes"'
for client in imaps imap ssh events listens; do
	t "python, $client" python3 /tmp/clients.py $client
done
rm /tmp/clients.py
