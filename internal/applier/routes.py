"""What decides which way a packet takes beside the packet filters: policy rules, routes, the interfaces' MTU."""

import glob
import ipaddress
from collections.abc import Iterator

from applier.commands import Done
from applier.findings import Finding, Run
from applier.request import Spec
from applier.undeclared import Host

ROUTES_QUERY = ("sh", "-c", "ip -4 rule show && echo -- && ip -4 -d -o route show table all && echo -- && "
                "ip -4 -o address show up && echo -- && { systemctl is-active systemd-networkd.service || true; }")
KERNEL_RULES = (("0", "local"), ("32766", "main"), ("32767", "default"))
NETWORK_FILES = ("/etc/netplan/*.yaml", "/etc/systemd/network/*.network", "/run/systemd/network/*.network")
LEAST_MTU = 1500  # Azure's, and the least that its DHCP hands out


def probe_routes(_: Spec, done: Done, __: Host) -> Iterator[Finding]:
    """Right are the kernel's own and what the network's manager made. The break-glass judges alike, without this."""
    parts = done.out.split("--\n")
    if done.code != 0 or len(parts) != 4:
        yield Finding("routes", "an answer", done.short())
        return
    rules, routes, addresses, networkd = ([" ".join(line.split()) for line in part.splitlines()] for part in parts)
    managed = any(glob.glob(pattern) for pattern in NETWORK_FILES)
    yield from policy_faults(rules)
    yield from route_faults(routes, managed)
    yield from address_faults(routes, addresses)
    yield from mtu_faults()
    # Last: when it starts it takes away what it did not make, and the others' repairs would find nothing.
    if managed and networkd != ["active"]:
        units = ["systemd-networkd.service", "systemd-networkd.socket"]
        yield Finding("systemd-networkd", "active", " ".join(networkd),
                      Run([["systemctl", "unmask", *units], ["systemctl", "start", units[0]]]))


def policy_faults(rules: list[str]) -> Iterator[Finding]:
    own = {f"{number}: from all lookup {table}": (number, table) for number, table in KERNEL_RULES}
    for line, (number, table) in own.items():  # before any other goes: without one nothing is routed
        if line not in rules:
            yield Finding(f"policy rule {line}", "the kernel's own", "missing",
                          # As the kernel's: systemd-networkd takes away those of others when it starts.
                          Run([["ip", "-4", "rule", "add", "pref", number, "table", table, "protocol", "kernel"]]))
    for line in rules:
        if line not in own:
            number, _, words = line.partition(": ")
            yield Finding(f"policy rule {line}", "nothing", "a rule that nobody declared",
                          Run([["ip", "-4", "rule", "del", "pref", number, *words.replace(" [detached]", "").split()]]))


def route_faults(routes: list[str], managed: bool) -> Iterator[Finding]:
    default = False
    for line in routes:
        words = line.split()
        named = dict(zip(words[2:], words[3:]))
        kind, to, table, protocol = words[0], words[1], named.get("table", "main"), named.get("proto", "boot")
        refuses = kind in ("blackhole", "unreachable", "prohibit", "throw")
        # Without a manager a default route is a person's.
        kept = protocol == "static" if managed else to == "default"
        if not refuses and (protocol in ("kernel", "dhcp", "ra") or table == "main" and kept):
            default = default or (to == "default" and table == "main")  # one that goes is none
            continue
        way = " ".join([kind] + [named[word] for word in ("via", "dev") if word in named])
        yield Finding(f"route {to}", "nothing", f"{way}, table {table}, that nobody declared", Run(
            [["ip", "-4", "route", "flush", "table", table, "type", kind, "exact", to, "proto", protocol]]))
    if not default:
        yield Finding("default route", "one", "none",
                      Run([["systemctl", "restart", "systemd-networkd.service"]] if managed else []))


def address_faults(routes: list[str], addresses: list[str]) -> Iterator[Finding]:
    """Routes that the kernel makes with an address, and only then, and that are gone."""
    own = {tuple(line.split()[:4]) for line in routes if " proto kernel " in f"{line} "}
    for line in addresses:
        words = line.split()
        name, address = words[1], words[3]
        plain, _, bits = address.partition("/")
        if not bits:
            continue  # the other end of a line of two
        network = str(ipaddress.ip_interface(address).network)
        local = ["table", "local", "scope", "host"]
        wanted = {("local", plain, "dev", name): local}
        if name == "lo":
            wanted["local", network, "dev", name] = local
        elif bits != "32" and "secondary" not in words and "noprefixroute" not in words:
            wanted["unicast", network, "dev", name] = ["scope", "link"]
        for route, rest in wanted.items():
            if route not in own:
                yield Finding(f"route {route[1]} dev {name}", "the kernel's own, with its address", "missing",
                              Run([["ip", "-4", "route", "add", *route, *rest, "proto", "kernel", "src", plain]]))


def mtu_faults() -> Iterator[Finding]:
    # By the names that udev and Azure give: what other programs make has an MTU of its own.
    for path in sorted(glob.glob("/sys/class/net/eth*/mtu") + glob.glob("/sys/class/net/en*/mtu")):
        name = path.split("/")[4]
        try:
            with open(path) as file:
                size = int(file.read())
        except (OSError, ValueError):
            continue  # gone meanwhile
        if size < LEAST_MTU:
            yield Finding(f"MTU of {name}", f"{LEAST_MTU} or more", str(size),
                          Run([["ip", "link", "set", "dev", name, "mtu", str(LEAST_MTU)]]))
