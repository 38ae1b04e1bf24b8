"""Probes: what is effective, read from the kernel and the programs, not from files."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from applier.commands import Done, Job
from applier.findings import Finding, Run
from applier.request import Spec
from applier.routes import ROUTES_QUERY, probe_routes
from applier.sockets import probe_sockets
from applier.undeclared import Host, probe_accounts, probe_files, probe_keys, probe_nftables
from applier.words import tail

PROBE_SECONDS = 10
TELLER_SECONDS = 25  # of what is told beside drift

Query = tuple[str, ...]  # a command whose answer a probe needs


def sshd_query(probe: Spec) -> Query:
    address = probe.get("addr", "127.0.0.1")
    return ("sshd", "-T", "-C",
            f"user={probe['user']},host={address},addr={address},lport={probe['lport']},laddr=127.0.0.1")


def iptables_query(probe: Spec) -> Query:
    program = "ip6tables" if probe.get("family") == "6" else "iptables"
    return program, "-w", "5", "-t", probe.get("table", "filter"), "-S"


def probe_query(probe: Spec) -> Query | None:
    """The command that a probe needs, or None; equal commands run once."""
    kind = probe["kind"]
    if kind == "command":
        return tuple(probe["argv"])
    if kind == "sshd":
        return sshd_query(probe)
    if kind == "iptables":
        return iptables_query(probe)
    if kind == "wireguard":
        return "wg", "show", probe["interface"], "dump"
    if kind == "nftables":
        return "nft", "-j", "list", "ruleset"
    if kind == "routes":
        return ROUTES_QUERY
    if kind == "sockets":
        return "systemctl", "show", "--property=MainPID", "--value", probe["service"]
    if kind == "files" and probe.get("units"):
        return "systemctl", "show", "--property=FragmentPath,DropInPaths", "--", *probe["units"]
    return None


def probe_command(probe: Spec, done: Done, _: Host) -> Iterator[Finding]:
    got = done.out.strip()
    if got == probe["want"].strip() and not done.problem:
        return
    if done.problem or (done.code != 0 and not got):
        got = done.short()
    yield Finding(probe.get("subject") or " ".join(probe["argv"]), probe["want"], tail(got, 4, 300))


def sysctl_path(key: str) -> str:
    # As sysctl(8): whichever of the two separators comes first separates.
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return f"/proc/sys/{key}"
    return f"/proc/sys/{key.translate(str.maketrans('./', '/.'))}"


def sysctl_paths(key: str) -> list[str]:
    """Where a kernel setting stands. A `*` stands for every interface, and for what they begin with."""
    import glob

    path = sysctl_path(key)
    return sorted(glob.glob(path)) if "*" in path else [path]


def sysctl_now(path: str, wanted: object) -> tuple[str, str | None]:
    """What a kernel setting is to be, and what it is; None where it differs and cannot be set, or is not there."""
    want = " ".join(str(wanted).split())
    try:
        with open(path) as file:
            got = " ".join(file.read().split())
        settable = os.access(path, os.W_OK) and os.stat(path).st_mode & 0o222
    except OSError:
        return want, None
    return want, got if got == want or settable else None


NOT_AVAILABLE = "not available"  # what the kernel does not have cannot be mended by trying again


def probe_sysctl(probe: Spec, _: Done, __: Host) -> Iterator[Finding]:
    for path in sysctl_paths(probe["key"]):
        want, got = sysctl_now(path, probe["want"])
        if got is None and "*" in probe["key"] and not os.path.exists(path):
            continue  # an interface that is gone meanwhile
        if got != want and not (got is None and probe.get("mayLack")):
            # The whole path has an interface's name as it is, dots and all.
            key = path[len("/proc/sys/"):].replace("/", ".") if "*" in probe["key"] else probe["key"]
            yield Finding(f"sysctl {key}", want, NOT_AVAILABLE if got is None else got)


def probe_sshd(probe: Spec, done: Done, __: Host) -> Iterator[Finding]:
    subject = f"sshd for {probe['user']} on port {probe['lport']}"
    if done.code != 0:
        yield Finding(subject, "an answer", done.short())
        return
    lines: dict[str, list[str]] = {}
    for line in done.out.splitlines():
        key, _, value = line.partition(" ")
        lines.setdefault(key.lower(), []).append(value)
    for key, want in sorted(probe["want"].items()):
        have = lines.get(key.lower())
        if have is None:
            got = "not set"
        else:
            got = " ".join(sorted(have))
            if len(have) > 1:
                want = " ".join(sorted(str(want).split()))
                got = " ".join(sorted(got.split()))
        if got != str(want):
            yield Finding(f"{subject}: {key}", str(want), got)


def chains(lines: Iterable[str]) -> dict[str, list[str]]:
    """The rules of a table by their chains. The kernel lists chains before rules; in what order is nobody's concern."""
    held: dict[str, list[str]] = {}
    for line in lines:
        held.setdefault((line.split(" ") + [""])[1], []).append(line)
    return {chain: sorted(rules, key=lambda line: line.startswith("-A ")) for chain, rules in held.items()}


def with_numbers(line: str, host: Host) -> str:
    """A rule with users' numbers for their names, as the kernel has it."""
    def number(match: re.Match[str]) -> str:
        return str(host.accounts.uid(match[1]))

    return re.sub(r"\{uid:([a-z0-9_-]+)\}", number, line)


def probe_iptables(probe: Spec, done: Done, host: Host) -> Iterator[Finding]:
    """A whole table, chain by chain. What is ignored has to match from end to end."""
    import collections
    import shlex

    argv, table = list(iptables_query(probe)[:-1]), probe.get("table", "filter")
    name = f"{argv[0]} {table}"
    if done.code != 0:
        family = "ip6" if probe.get("family") == "6" else "ip"
        yield Finding(name, "rules", done.short(), Run([["nft", "delete", "table", family, table]]))
        return
    ignore = [re.compile(pattern) for pattern in probe.get("ignore") or []]
    got = [line for line in done.out.splitlines() if not any(pattern.fullmatch(line) for pattern in ignore)]
    want = [with_numbers(line, host) for line in probe["want"]]
    wanted, have = chains(want), chains(got)
    repair: list[list[str]] = []
    removed: list[list[str]] = []
    faults: list[tuple[str, str, str]] = []
    for chain in sorted(set(wanted) | set(have)):
        here, there = wanted.get(chain, []), have.get(chain, [])
        missing = list((collections.Counter(here) - collections.Counter(there)).elements())
        extra = list((collections.Counter(there) - collections.Counter(here)).elements())
        if here == there:
            continue
        if missing or extra:
            faults.append((f"{name} {chain}", "\n".join(missing) or "nothing more", "\n".join(extra) or "missing"))
        else:
            faults.append((f"{name} {chain}", "\n".join(here), "another order:\n" + "\n".join(there)))
        if chain not in wanted:
            repair.append(argv + ["-F", chain])
            removed.append(argv + ["-X", chain])
        else:
            repair += [argv + ["-D"] + shlex.split(line)[1:] for line in extra if line.startswith("-A ")]
        if missing or not extra:
            removed += [command for command in probe.get("rebuild") or [] if command not in removed]
    for number, fault in enumerate(faults):
        # One repair for all of them: a chain goes only when no other names it.
        yield Finding(*fault, Run(repair + removed if number == 0 else []))


def probe_wireguard(probe: Spec, done: Done, _: Host) -> Iterator[Finding]:
    subject = f"wireguard {probe['interface']}"
    if done.code != 0:
        yield Finding(subject, "up", done.short())
        return
    rows = [line.split("\t") for line in done.out.splitlines()]
    if not rows or len(rows[0]) < 4:
        yield Finding(subject, "up", "no answer")
        return
    public, port = rows[0][1], rows[0][2]  # rows[0][0] is the private key: never shown
    if "port" in probe and str(probe["port"]) != port:
        yield Finding(f"{subject} port", str(probe["port"]), port)
    if probe.get("publicKey") and probe["publicKey"] != public:
        yield Finding(f"{subject} public key", probe["publicKey"], public)
    if "peers" in probe:
        have = {row[0]: sorted(row[3].split(",")) for row in rows[1:] if len(row) > 3}
        for key in sorted(set(have) | set(probe["peers"])):
            want = ",".join(sorted(probe["peers"][key])) if key in probe["peers"] else "no peer"
            got = ",".join(have[key]) if key in have else "missing"
            if want != got:
                yield Finding(f"{subject} peer {key}", want, got)


def ask_fail2ban(argument: list[str]) -> Any:
    """One question over fail2ban's own socket: its client takes a quarter of a second each."""
    import io
    import pickle
    import socket

    class Plain(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in (("builtins", "str"), ("builtins", "set")):
                return {"str": str, "set": set}[name]
            raise pickle.UnpicklingError(f"unexpected {module}.{name}")

    end = b"<F2B_END_COMMAND>"
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect("/run/fail2ban/fail2ban.sock")
        link.sendall(pickle.dumps(argument, 2) + end)
        data = b""
        while not data.endswith(end):
            piece = link.recv(65536)
            if not piece or len(data) > 1 << 20:
                raise OSError(errno.EPROTO, "no whole answer")
            data += piece
        try:
            link.sendall(b"<F2B_CLOSE_COMMAND>" + end)
        except OSError:
            pass
    code, value = Plain(io.BytesIO(data[:-len(end)])).load()
    if code != 0:
        raise OSError(errno.EPROTO, str(value))
    return value


def probe_jail(probe: Spec, _: Done, __: Host) -> Iterator[Finding]:
    subject = f"fail2ban jail {probe['name']}"
    for key, want in sorted(probe["want"].items()):
        try:
            value = ask_fail2ban(["get", probe["name"]] + key.split(" "))
        except Exception as error:  # pickle raises many kinds; all of them mean that it does not answer as it should
            yield Finding(subject, "running", f"no answer: {getattr(error, 'strerror', None) or error}")
            return
        if isinstance(value, (list, tuple, set)):
            # It gives a network of one address back as the address.
            got = " ".join(sorted(re.sub("/(32|128)$", "", str(item)) for item in value))
            want = " ".join(sorted(re.sub("/(32|128)$", "", item) for item in str(want).split()))
        else:
            got, want = str(value), str(want)
        if got != want:
            yield Finding(f"{subject}: {key}", want, got)


PROBES: dict[str, Callable[[Spec, Done, Host], Iterator[Finding]]] = {
    "command": probe_command, "sysctl": probe_sysctl, "sshd": probe_sshd, "iptables": probe_iptables,
    "wireguard": probe_wireguard, "jail": probe_jail, "files": probe_files, "keys": probe_keys,
    "accounts": probe_accounts, "nftables": probe_nftables, "routes": probe_routes, "sockets": probe_sockets,
}
NOT_ASKED = Done((), 0, "", "", "")  # the answer for a probe that needs none


def gather(queries: Iterable[Query], tellers: Iterable[Query], probes: Iterable[Spec]) -> dict[Query, Done]:
    """Runs all commands side by side, those of the probes too: reading a host is mostly waiting."""
    seconds: dict[Query, int] = dict.fromkeys(queries, PROBE_SECONDS)
    seconds.update(dict.fromkeys(tellers, TELLER_SECONDS))
    for probe in probes:
        query = probe_query(probe)
        if query:
            seconds[query] = max(seconds.get(query, 0), probe.get("seconds", PROBE_SECONDS))
    jobs = {query: Job(query) for query in seconds}
    return {query: job.finish(seconds[query]) for query, job in jobs.items()}


def probe_faults(declared: Spec, results: Mapping[Query, Done], host: Host) -> Iterator[Finding]:
    """What all probes of a layer find; what has no repair of its own the layer's reload is to mend."""
    for probe in declared.get("probes") or []:
        query = probe_query(probe)
        done = results[query] if query else NOT_ASKED
        yield from PROBES[probe["kind"]](dict(probe, layer=declared["layer"]), done, host)
