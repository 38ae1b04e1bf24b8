"""What stands around a virtual machine in Azure, as far as a probe needs it: something answers on port 80 of the metadata
service, of the platform's address and of another machine of the VNet, and the platform's resolver knows one name."""

import http.server
import socket
import socketserver
import sys
import threading


class Here(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"here\n")


def resolve(server):
    while True:
        query, client = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        found = query[end - 4:end - 2] == b"\0\1"  # type A
        answer = query[:2] + b"\x81\x80" + query[4:6] + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0" + query[12:end]
        if found:
            answer += b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\4" + socket.inet_aton("198.18.0.1")
        server.sendto(answer, client)


class Server(socketserver.ThreadingTCPServer):
    """Unlike HTTPServer it looks its own name up nowhere."""

    allow_reuse_address = True


platform, *others = sys.argv[1:]
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind((platform, 53))
threading.Thread(target=resolve, args=(names,), daemon=True).start()
for address in others:
    threading.Thread(target=Server((address, 80), Here).serve_forever, daemon=True).start()
Server((platform, 80), Here).serve_forever()
