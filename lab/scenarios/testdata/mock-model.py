"""A model for OpenClaw that does as it is told, so that an agent's turn runs with no account and no luck.

It speaks OpenAI's chat completions on loopback. A message with RUN:<base64>:END is answered by one call of the tool
`exec` with the decoded script, and the tool's result by a text that repeats it.
"""

import base64
import http.server
import json
import re
import sys
import time

ORDER = re.compile(r"RUN:([A-Za-z0-9+/=]+):END")


def text(message):
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def answer(messages):
    """What the model says, and why it stops."""
    order, result = None, None
    for message in messages:
        if message["role"] == "user":
            for found in ORDER.findall(text(message)):
                order, result = found, None
        elif message["role"] == "tool":
            result = text(message)
    if order and result is None:
        # After 10 s a command would go to the background, and its result say nothing.
        arguments = {"command": base64.b64decode(order).decode(), "yieldMs": 120000}
        call = {"name": "exec", "arguments": json.dumps(arguments)}
        return {"role": "assistant", "content": None, "tool_calls": [
            {"index": 0, "id": "call_%d" % time.time_ns(), "type": "function", "function": call}]}, "tool_calls"
    return {"role": "assistant", "content": "nothing to run" if result is None else result}, "stop"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        delta, reason = answer(body["messages"])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece, end in ((delta, None), ({}, reason)):
            chunk = {"id": "mock", "object": "chat.completion.chunk", "created": 1, "model": "mock",
                     "choices": [{"index": 0, "delta": piece, "finish_reason": end}]}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
