"""What the agent's gate costs, on the host as root: run once in the host's network, and once more by itself in the agent's."""

import http.client
import json
import resource
import socket
import statistics
import subprocess
import sys
import time

ORIGIN = "198.18.10.10"
HELD = 1500
UNITS = ("openclaw-gate.service", "openclaw-dns.service", "openclaw-entry.service")


def get() -> float:
    began = time.monotonic()
    link = http.client.HTTPConnection(ORIGIN, 8000, timeout=20)
    link.request("GET", "/", headers={"Connection": "close"})
    link.getresponse().read()
    link.close()
    return (time.monotonic() - began) * 1000


def median() -> float:
    get()
    return statistics.median(get() for _ in range(200))


def pss() -> float:
    """In MB, of all processes of the units."""
    total = 0
    for unit in UNITS:
        subprocess.run(["systemctl", "start", unit], check=True)
        group = subprocess.run(["systemctl", "show", "--property=ControlGroup", "--value", unit], stdout=subprocess.PIPE, text=True, check=True)
        with open(f"/sys/fs/cgroup{group.stdout.strip()}/cgroup.procs") as file:
            for pid in file.read().split():
                with open(f"/proc/{pid}/smaps_rollup") as rollup:
                    total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024


def held() -> tuple[float, float]:
    """Opens many connections that say nothing; how long that took, and a request beside them, in ms."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (HELD + 100, HELD + 100))
    began = time.monotonic()
    links = [socket.create_connection((ORIGIN, 8000), 20) for _ in range(HELD)]
    for link in links:  # the gate waits for first bytes
        link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    took, beside = (time.monotonic() - began) * 1000, get()
    time.sleep(2)
    for link in links:
        link.sendall(b"\r\n")
    assert all(link.recv(12) == b"HTTP/1.1 200" for link in links), "not all of them lived"
    return took, beside


if sys.argv[1:] == ["within"]:
    print(json.dumps({"gate": median(), "held": held()}))
else:
    direct = median()
    inner = subprocess.run(["nsenter", "--net=/run/netns/openclaw", sys.executable, "-c", sys.stdin.read(), "within"],
                           stdout=subprocess.PIPE, text=True, check=True)
    print(json.dumps({"direct": direct, "pss": pss(), **json.loads(inner.stdout)}))
