"""Accounts and groups: what they are, where they differ, and what puts them right."""

import os
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

from applier.commands import must, run
from applier.findings import Finding
from applier.request import Spec
from applier.words import Failure, digest_of, quote


class User(NamedTuple):
    uid: int
    gid: int
    home: str
    shell: str
    password: str


class Group(NamedTuple):
    gid: int
    members: list[str]


class Accounts:
    """What passwd, group and shadow say."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.shadow: dict[str, list[str]] = {}
        for fields in self._rows("/etc/passwd", 7):
            self.users[fields[0]] = User(int(fields[2]), int(fields[3]), fields[5], fields[6], fields[1])
        for fields in self._rows("/etc/group", 4):
            self.groups[fields[0]] = Group(int(fields[2]), [name for name in fields[3].split(",") if name])
        for fields in self._rows("/etc/shadow", 9):
            self.shadow[fields[0]] = fields

    @staticmethod
    def _rows(path: str, count: int) -> Iterator[list[str]]:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.rstrip("\n").split(":")
                if len(fields) == count and fields[0] and fields[0][0] not in "+-#":
                    yield fields

    def uid(self, name: str) -> int | None:
        return int(name) if name.isdigit() else self.users[name].uid if name in self.users else None

    def gid(self, name: str) -> int | None:
        return int(name) if name.isdigit() else self.groups[name].gid if name in self.groups else None

    def owner(self, uid: int, gid: int) -> str:
        users = [name for name, user in self.users.items() if user.uid == uid]
        groups = [name for name, group in self.groups.items() if group.gid == gid]
        return f"{users[0] if users else uid}:{groups[0] if groups else gid}"

    def supplementary(self, name: str) -> list[str]:
        primary = self.users[name].gid
        return sorted(group for group, row in self.groups.items() if name in row.members and row.gid != primary)

    def primary(self, name: str) -> str:
        names = [group for group, row in self.groups.items() if row.gid == self.users[name].gid]
        return names[0] if names else str(self.users[name].gid)

    def ids(self, spec: Spec) -> tuple[int, int]:
        uid, gid = self.uid(spec["owner"]), self.gid(spec["group"])
        if uid is None:
            raise Failure(f"{quote(spec['path'])}: no user {quote(spec['owner'])} on this host")
        if gid is None:
            raise Failure(f"{quote(spec['path'])}: no group {quote(spec['group'])} on this host")
        return uid, gid


def locked(field: str) -> bool:
    return field == "" or field[0] in "!*"


def logs_in(user: Spec) -> bool:
    return os.path.basename(user.get("shell") or "nologin") != "nologin"


def account_faults(user: Spec, accounts: Accounts) -> list[Finding]:
    """Where an account differs from what is wanted; the subject is what of it, nothing for the account itself."""
    name = user["name"]
    if name not in accounts.users:
        return [Finding("", "an account", "missing")]
    have, faults = accounts.users[name], []
    for what, got in (("shell", have.shell), ("home", have.home)):
        if user.get(what) and got != user[what]:
            faults.append(Finding(what, user[what], got))
    if user.get("group") and accounts.primary(name) != user["group"]:
        faults.append(Finding("group", user["group"], accounts.primary(name)))
    if accounts.supplementary(name):
        faults.append(Finding("groups", "none", ",".join(accounts.supplementary(name))))
    row = accounts.shadow.get(name) or [name] + [""] * 8
    wanted = user.get("passwordSHA256") or ""
    if not wanted and (row[1] == "" or not locked(row[1])):
        faults.append(Finding("password", "locked", "set" if row[1] else "empty"))
    elif wanted and digest_of(row[1]) != wanted:
        faults.append(Finding("password", "as deployed", "locked" if locked(row[1]) else "differs"))
    today = int(time.time() // 86400)
    if row[7].isdigit() and int(row[7]) <= today:
        faults.append(Finding("account", "in force", "expired"))
    # PAM asks who logs in by a key, too.
    if logs_in(user) and row[2] == "0":
        faults.append(Finding("password age", "in force", "must be changed"))
    elif logs_in(user) and row[2].isdigit() and row[4].isdigit() and int(row[2]) + int(row[4]) < today:
        faults.append(Finding("password age", "in force", "expired"))
    return faults


def set_hash(name: str, value: str) -> None:
    # On standard input: an argument would stand in the process list.
    must(f"setting the password of {quote(name)}", ["chpasswd", "-e"], f"{name}:{value}\n".encode())


def set_home(name: str, home: str) -> None:
    """usermod refuses while the account has a process, which the service's always has. vipw locks as usermod does, and takes a
    file for unchanged that was written in the second in which it began."""
    import shlex

    to = re.sub(r"([\\&#])", r"\\\1", home)
    edit = "sed -i -E " + shlex.quote(rf"s#^({re.escape(name)}(:[^:]*){{4}}):[^:]*:#\1:{to}:#")
    editor = "sh -c " + shlex.quote(edit + ' "$1" && touch -d "2 seconds" "$1"') + " sh"
    must(f"changing the home of the account {quote(name)}", ["env", "VISUAL=" + editor, "vipw"])


def mend_account(user: Spec, accounts: Accounts, hashes: dict[str, str]) -> None:
    name = user["name"]
    if name not in accounts.users:
        argv = ["useradd", "--home-dir", user.get("home") or f"/home/{name}", "--shell",
                user.get("shell") or "/usr/sbin/nologin"]
        argv += ["--system", "--no-create-home"] if user.get("system") else ["--create-home"]
        if user.get("group"):
            argv += ["--gid", user["group"]]
        must(f"making the account {quote(name)}", argv + [name])
        accounts = Accounts()
    faults = {fault.subject for fault in account_faults(user, accounts)}
    argv = []
    if "shell" in faults:
        argv += ["--shell", user["shell"]]
    if "home" in faults:
        set_home(name, user["home"])
    if "group" in faults:
        argv += ["--gid", user["group"]]
    if "groups" in faults:
        argv += ["--groups", ""]
    if argv:
        must(f"changing the account {quote(name)}", ["usermod"] + argv + [name])
    if "password" in faults:
        set_hash(name, hashes[name] if user.get("passwordSHA256") else "*")
    if "account" in faults:
        must(f"renewing the account {quote(name)}", ["chage", "--expiredate", "-1", name])
    if "password age" in faults:
        must(f"renewing the password of {quote(name)}",
             ["chage", "--lastday", str(int(time.time() // 86400)), name])


def account_now(name: str, accounts: Accounts) -> Spec:
    """An account as put_account_back needs it."""
    if name not in accounts.users:
        return {"name": name, "existed": False}
    have = accounts.users[name]
    return {"name": name, "existed": True, "shell": have.shell, "home": have.home, "gid": have.gid,
            "groups": accounts.supplementary(name), "hash": accounts.shadow.get(name, [name, "*"])[1]}


def put_account_back(saved: Spec) -> None:
    name, accounts = saved["name"], Accounts()
    if name not in accounts.users:
        return
    if not saved["existed"]:
        if run(["userdel", name]).code != 0:  # still logged in: it must at least open nothing
            must(f"locking the account {quote(name)}",
                 ["usermod", "--lock", "--expiredate", "1", "--shell", "/usr/sbin/nologin", name])
        return
    have = accounts.users[name]
    argv: list[str] = []
    if have.shell != saved["shell"]:
        argv += ["--shell", saved["shell"]]
    if have.home != saved["home"]:
        set_home(name, saved["home"])
    if have.gid != saved["gid"]:
        argv += ["--gid", str(saved["gid"])]
    if accounts.supplementary(name) != saved["groups"]:
        argv += ["--groups", ",".join(group for group in saved["groups"] if group in accounts.groups)]
    if argv:
        must(f"putting back the account {quote(name)}", ["usermod"] + argv + [name])
    if accounts.shadow.get(name, [name, ""])[1] != saved["hash"]:
        set_hash(name, saved["hash"])
