"""What stands around a virtual machine in Azure, as far as a probe needs it: something answers on port 80 of the metadata
service, of the platform's address and of another machine of the VNet."""

import http.server
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


class Server(socketserver.ThreadingTCPServer):
    """Unlike HTTPServer it looks its own name up nowhere."""

    allow_reuse_address = True


first, *others = sys.argv[1:]
for address in others:
    threading.Thread(target=Server((address, 80), Here).serve_forever, daemon=True).start()
Server((first, 80), Here).serve_forever()
