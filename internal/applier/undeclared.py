"""What grants access and nobody declared. What finds it also says how to take it away, so that observing and applying
judge alike."""

import base64
import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from applier.accounts import Accounts, locked
from applier.commands import Done, must, run
from applier.files import Found, look, matching
from applier.findings import Finding, Put, Reinstall, Run, Strip, gone
from applier.records import IMAGE, read_state, write_state
from applier.request import Spec
from applier.timer import TIMER_LINK, timer_files
from applier.words import Failure, describe, quote

DPKG_STATUS = "/var/lib/dpkg/status"
UCF_HASHES = "/var/lib/ucf/hashfile"


class Host:
    """What these probes know of the host: what all layers declare, what packages brought, what the image brought."""

    def __init__(self, layers: Mapping[str, Spec], accounts: Accounts) -> None:
        self.accounts = accounts
        self.declared: set[str] = {spec["path"] for declared in layers.values() for section in ("files", "directories")
                                   for spec in declared.get(section) or []}
        self.declared |= {path for path, _ in timer_files(0)} | {TIMER_LINK}
        self.users: set[str] = {user["name"] for declared in layers.values() for user in declared.get("users") or []}
        self._packaged: dict[str, str | None] | None = None
        self._image: dict[str, dict[str, Any]] = {}

    def packaged(self) -> dict[str, str | None]:
        """Path to MD5, or None where it has none: the packages' configuration files, and their units."""
        if self._packaged is None:
            found: dict[str, str | None] = {}
            with open(DPKG_STATUS, encoding="utf-8", errors="surrogateescape") as file:
                for line in file:
                    if line.startswith(" /"):
                        fields = line.split()
                        if len(fields) >= 2:
                            found[fields[0]] = fields[1]
            try:
                with open(UCF_HASHES, encoding="utf-8", errors="surrogateescape") as file:
                    found.update((line.split()[1], line.split()[0]) for line in file if len(line.split()) == 2)
            except FileNotFoundError:
                pass
            units = run(["sh", "-c", "cd /var/lib/dpkg/info && cat -- *.list *.md5sums | grep -F /systemd/system/"])
            for line in units.out.splitlines():
                value, _, path = line.rpartition("  ")
                path = re.sub("^/lib/", "/usr/lib/", "/" + path.lstrip("/"))
                found[path] = value or found.get(path)
            self._packaged = found
        return self._packaged

    def image(self, layer: str) -> dict[str, Any]:
        if layer not in self._image:
            self._image[layer] = read_state(image_path(layer)) or {}
        return self._image[layer]


def image_path(layer: str) -> str:
    return f"{IMAGE}/{layer}.json"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()  # what dpkg keeps


def places(probe: Spec) -> list[str]:
    left_out = probe.get("except") or []
    return [path for pattern in probe["paths"] for path in matching(pattern)
            if not any(fnmatch.fnmatchcase(path, other) for other in left_out)]


def stranger(path: str, probe: Spec, host: Host, depth: int = 0) -> Finding | None:
    """Why a path may not stand where it stands."""
    if path in host.declared:
        return None
    found, owned = look(path), path in host.packaged()
    packaged = host.packaged().get(path)
    image = host.image(probe["layer"]).get(path)
    if found.kind in ("missing", "folder"):
        return None
    if found.kind == "symlink":
        if owned or _leads_somewhere_known(path, found, probe, host, depth):
            return None
        return Finding(path, "nothing", f"a symlink to {_target(path, found)} that nobody declared", gone(path))
    if found.kind == "file" and _known(path, found, probe, host):
        if found.uid == 0 and not found.mode & 0o022:
            return None
        return Finding(path, "root alone writes it",
                       f"owner {host.accounts.owner(found.uid, found.gid)}, mode {found.mode:04o}",
                       Put(path, found.data, found.mode & ~0o6022, 0, 0))
    if owned and not (image and image.get("md5") == packaged):
        return Finding(path, "as its package brought it", "content differs", Reinstall(path))
    if image is not None and "data" in image:
        return Finding(path, "as the image brought it", "content differs", restored(path, image))
    return Finding(path, "nothing", f"{found.words()} that nobody declared", gone(path))


def _target(path: str, found: Found) -> str:
    return re.sub("^/lib/", "/usr/lib/", os.path.normpath(os.path.join(os.path.dirname(path), found.target)))


def _leads_somewhere_known(path: str, found: Found, probe: Spec, host: Host, depth: int) -> bool:
    target, image = _target(path, found), host.image(probe["layer"]).get(path)
    return bool(target == "/dev/null" or target in host.declared or target in host.packaged() or
                (image and image.get("target") == found.target) or look(target, read=False).kind == "missing" or
                (depth == 0 and stranger(target, probe, host, 1) is None))


def _known(path: str, found: Found, probe: Spec, host: Host) -> bool:
    """Whether a file has the content that its package or the image brought, or that something makes there."""
    image = host.image(probe["layer"]).get(path)
    return path in host.packaged() and host.packaged()[path] in (None, md5(found.data)) or \
        image is not None and image.get("sha256") == found.sha256 or \
        any(fnmatch.fnmatchcase(path, pattern) and
            re.fullmatch(text, found.data.decode("utf-8", "replace")) is not None
            for pattern, text in (probe.get("generated") or {}).items())


def restored(path: str, image: Spec) -> Put:
    return Put(path, base64.b64decode(image["data"]), image["mode"], image["uid"], image["gid"])


def probe_files(probe: Spec, done: Done, host: Host) -> Iterator[Finding]:
    paths = places(probe)
    # What our own units are made of, wherever it stands: /run as well.
    for line in done.out.splitlines():
        paths += line.partition("=")[2].split()
    for path in sorted(set(paths) | {path for path in host.image(probe["layer"]) if path in probe["paths"]}):
        try:
            image = host.image(probe["layer"]).get(path)
            if image and "data" in image and look(path, read=False).kind == "missing":
                yield Finding(path, "as the image brought it", "missing", restored(path, image))
                continue
            fault = stranger(path, probe, host)
            if fault:
                yield fault
        except (Failure, OSError) as error:
            yield Finding(path, "nothing that nobody declared", describe(error))


def take_image(declared: Spec) -> None:
    """Keeps what the image brought where the layer allows nothing else, once, before the layer is first applied:
    nobody but the image has been there. Only what is root's."""
    path = image_path(declared["layer"])
    probes = [probe for probe in declared.get("probes") or [] if probe["kind"] == "files"]
    if not probes or os.path.exists(path):
        return
    kept: dict[str, dict[str, Any]] = {}
    for probe in probes:
        for name in places(probe):
            found = look(name)
            if found.kind == "symlink":
                kept[name] = {"target": found.target}
            elif found.kind == "file" and found.uid == 0 and not found.mode & 0o022:
                kept[name] = {"sha256": found.sha256, "md5": md5(found.data), "mode": found.mode, "uid": found.uid,
                              "gid": found.gid, "data": base64.b64encode(found.data).decode()}
    os.makedirs(IMAGE, 0o700, exist_ok=True)
    write_state(path, kept)


KEY_BLOB = re.compile(r"(?:^|[\s\"])((?:ssh|sk-ssh|ecdsa|sk-ecdsa)-[a-z0-9@.-]+)\s+(AAAA[A-Za-z0-9+/=]+)")


def fingerprint(blob: str) -> str:
    try:
        digest = hashlib.sha256(base64.b64decode(blob)).digest()
    except ValueError:
        return "that cannot be read"
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def probe_keys(probe: Spec, _: Done, host: Host) -> Iterator[Finding]:
    """Keys that nobody declared, in every home but those of declared users: they write there as they please, and sshd reads
    their keys elsewhere."""
    seen: set[str] = set()
    for name, user in sorted(host.accounts.users.items()):
        if name in host.users:
            continue
        for file in (".ssh/authorized_keys", ".ssh/authorized_keys2"):
            path = os.path.normpath(f"{user.home}/{file}")
            if not path.startswith("/") or path in host.declared or path in seen:
                continue
            seen.add(path)
            folder = os.path.dirname(path)
            try:
                found = look(path)
            except Failure:
                if folder not in seen and look(folder, read=False).kind == "symlink":
                    seen.add(folder)
                    yield Finding(folder, "a folder", "a symlink", gone(folder))
                continue
            if found.kind in ("missing", "folder"):
                continue
            if found.kind != "file":
                yield Finding(path, "nothing", f"{found.words()} that nobody declared", gone(path))
                continue
            kept, others = sorted_keys(found.data, probe["allowed"].get(name) or [])
            if others:
                data = ("\n".join(kept) + "\n").encode("utf-8", "surrogateescape") if any(
                    KEY_BLOB.search(line) for line in kept) else None
                yield Finding(path, "no key that nobody declared", f"key {', '.join(others)}",
                              Put(path, data, found.mode, found.uid, found.gid))


def sorted_keys(data: bytes, allowed: list[str]) -> tuple[list[str], list[str]]:
    """The lines of a file of keys that may stay, and the fingerprints of those that may not."""
    kept, others = [], []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            kept.append(line)
            continue
        match = KEY_BLOB.search(line)
        mark = fingerprint(match.group(2)) if match else "that cannot be read"
        if mark in allowed:
            kept.append(line)
        else:
            others.append(mark)
    return kept, others


NO_LOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync")


def reserved(name: str, host: Host, admins: list[str]) -> bool:
    """Whether an account that nobody declared shares the uid of one that somebody did."""
    users = host.accounts.users
    return users[name].uid in {0} | {users[other].uid for other in host.users | set(admins) if other in users}


def probe_accounts(probe: Spec, _: Done, host: Host) -> Iterator[Finding]:
    users, groups, admins = host.accounts.users, host.accounts.groups, probe.get("admins") or []
    privileged = probe.get("privileged") or []
    for name, user in sorted(users.items()):
        subject = f"user {name}"
        if name in host.users:
            if user.uid == 0:
                yield Finding(subject, "no root", "uid 0")
            continue
        field = user.password if user.password != "x" else host.accounts.shadow.get(name, [name, "*"])[1]
        password = "an empty password" if field == "" else "a password" if not locked(field) else ""
        if name == "root" or name in admins:
            if password:
                yield Finding(subject, "no password", password, Run([["usermod", "--password", "*", name]]))
            continue
        got = [f"uid {user.uid}, which is another's"] if reserved(name, host, admins) else []
        if user.shell not in NO_LOGIN:
            got.append(f"shell {user.shell or '/bin/sh'}")
        if password:
            got.append(password)
        got += [f"group {group}" for group in privileged if group in groups and
                (name in groups[group].members or groups[group].gid == user.gid)]
        if got:
            yield Finding(subject, "no access that nobody declared", ", ".join(got), Strip(name, admins, privileged))


def strip_account(how: Strip, host: Host) -> None:
    """An account that nobody declared opens nothing any more; its files stay."""
    name, accounts = how.name, host.accounts
    if reserved(name, host, how.admins):
        must(f"removing the account {quote(name)}", ["userdel", "--force", name])
        return
    left = [group for group in accounts.supplementary(name) if group not in how.privileged]
    argv = ["--shell", "/usr/sbin/nologin", "--password", "*", "--groups", ",".join(left)]
    if accounts.primary(name) in how.privileged:
        argv += ["--gid", "nogroup"]
    if accounts.users[name].password != "x":
        must("moving passwords where root alone reads them", ["pwconv"])
    must(f"locking the account {quote(name)}", ["usermod"] + argv + [name])


# What other probes compare rule by rule.
COMPARED = (("ip", "filter"), ("ip6", "filter"), ("ip", "security"))
# Where Azure's agent keeps its own address from everybody but root until there is iptables.
AZURES = ("ip", "walinuxagent")
PLATFORM = "168.63.129.16"


def to_the_platform(rule: Mapping[str, Any]) -> bool:
    """Whether a rule is about nothing but what the host sends to Azure's platform: its agent puts three of them back
    every five minutes."""
    address = {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": PLATFORM}
    return str(rule.get("chain", "")).lower() == "output" and any(
        part.get("match") == address for part in rule.get("expr") or [])


def probe_nftables(_: Spec, done: Done, __: Host) -> Iterator[Finding]:
    """Tables beside those that other probes compare rule by rule, fail2ban's, which only refuses, and Azure's agent's. An
    empty table does nothing."""
    if done.code != 0:
        yield Finding("nftables", "an answer", done.short())
        return
    tables: dict[tuple[str, str], list[dict[str, Any]]] = {}
    hooked: list[tuple[str, str, str]] = []
    for item in json.loads(done.out or '{"nftables": []}')["nftables"]:
        for kind in ("chain", "rule"):
            if kind not in item:
                continue
            here = item[kind]
            table = here["family"], here["table"]
            tables.setdefault(table, [])
            if kind == "rule" or here.get("policy") == "drop":
                tables[table].append(here)
            if kind == "chain" and here.get("hook") and table in COMPARED and \
                    here["name"] not in ("INPUT", "FORWARD", "OUTPUT"):
                hooked.append(table + (here["name"],))
    for table, held in sorted(tables.items()):
        if table in COMPARED:
            continue
        repair = [["nft", "delete", "table", *table]]
        if table == ("inet", "f2b-table"):
            held = [rule for rule in held if not all(
                set(part) <= {"match", "reject", "drop", "counter"} for part in rule.get("expr") or [{"policy": 1}])]
            repair.append(["systemctl", "restart", "fail2ban.service"])
        if table == AZURES:
            held = [rule for rule in held if not to_the_platform(rule)]
        if table == ("inet", "openclaw-door"):
            repair = []  # the break-glass's: it decides until the layer's reload has put the layer's own in force
        if held:
            rules = sum("expr" in one for one in held)
            yield Finding(f"nftables table {' '.join(table)}", "nothing",
                          f"{rules} rule{'' if rules == 1 else 's'} that nobody declared", Run(repair))
    for where in sorted(hooked):
        yield Finding(f"nftables chain {' '.join(where)}", "nothing", "a chain that nobody declared", Run(
            [["nft", "flush", "chain", *where], ["nft", "delete", "chain", *where]]))
