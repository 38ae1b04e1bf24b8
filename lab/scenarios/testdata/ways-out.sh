# Ways out that the agent must not find, whatever is open. Each says whether it got out.
t() {
	what=$1
	shift
	if timeout 10 "$@" >/dev/null 2>&1 </dev/null; then echo "$what: yes"; else echo "$what: no"; fi
}
cat >/tmp/ways-out.py <<'END'
import errno, os, socket, sys, time


def refused_fast(family, kind, address):
    """Whether it fails within a second, and by being refused: a client that waits would look hung."""
    began = time.monotonic()
    with socket.socket(family, kind) as link:
        link.settimeout(5)
        try:
            link.connect(address)
            link.send(b"x")
            link.recv(1)
        except OSError as error:
            return error.errno in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EADDRNOTAVAIL) and time.monotonic() - began < 1
    return False


def quic():
    assert not refused_fast(socket.AF_INET, socket.SOCK_DGRAM, ("198.18.10.10", 443))


def ipv6():
    assert not refused_fast(socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::10", 443))


def gates_port():
    with socket.socket() as link:
        link.bind(("127.0.0.1", int(sys.argv[2])))


def abstract():
    with socket.socket(socket.AF_UNIX) as link:
        link.connect("\0openclaw-lab")


globals()[sys.argv[1]]()
END
for name in rebind vpn imds wire; do
	t "HTTP to a name whose address is inside: $name" curl -sf http://$name.good.example/
	t "TLS to a name whose address is inside: $name" curl -skf https://$name.good.example/
done
t "a port of the host's own loopback" sh -c 'curl -sk --max-time 5 http://127.0.0.1:2222/ | grep -q SSH'
t "an abstract socket of the host's" python3 /tmp/ways-out.py abstract
t "D-Bus" test -e /run/dbus/system_bus_socket
t "sshd's own socket" sh -c 'ls /run/ssh-unix-local /run/sshd 2>/dev/null | grep -q .'
t "the host's resolver" test -e /run/systemd/resolve/io.systemd.Resolve
t "UDP that is not refused at once" python3 /tmp/ways-out.py quic
t "IPv6 that is not refused at once" python3 /tmp/ways-out.py ipv6
t "the gate's own port" python3 /tmp/ways-out.py gates_port 81
t "another network" unshare -n true
t "another route" ip route del local default dev lo
rm /tmp/ways-out.py
