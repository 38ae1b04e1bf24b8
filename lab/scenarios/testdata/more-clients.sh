# After clients.sh: what takes packages that a host has not of itself, or minutes.
t "a web socket without TLS" node -e 'const s = new WebSocket("ws://www.good.example/ws"); s.onopen = () => s.send("there"); s.onmessage = m => process.exit(m.data === "there" ? 0 : 1); s.onerror = () => process.exit(1)'
t "python, requests" python3 -c 'import requests; r = requests.get("https://www.good.example/", timeout=10); assert r.ok and "sni=" in r.text'
t "pip" sh -c 'cd "$(mktemp -d)" && pip download -q --no-cache-dir --disable-pip-version-check --no-deps --index-url https://www.good.example/simple/ thing && test -s thing-1.0-py3-none-any.whl'
if command -v chromium >/dev/null; then
	for scheme in http https; do
		# Its page is drawn without a sandbox of its own, and the lab's authority is none that it knows.
		t "Chromium, $scheme" sh -c 'chromium --headless --no-sandbox --no-zygote --disable-gpu --ignore-certificate-errors --user-data-dir="$(mktemp -d)" --dump-dom "$1://www.good.example/" | grep -q host=' sh "$scheme"
	done
fi
