"""What a request may say."""

import json
import os
import re
from collections.abc import Collection
from typing import Any

from applier.commands import COMMAND_SECONDS
from applier.words import SECRETS, Failure, digest_of, hide, quote, sha256

Spec = dict[str, Any]  # one thing that is declared, as it came and verified

MOST_COMMAND_SECONDS = 1500  # less than the whole request has

REQUESTS = {
    "apply": {"op", "layer", "digest", "declared", "contents", "secrets", "confirm", "lockSeconds"},
    "confirm": {"op", "layer", "digest", "port", "waits", "keep"},
    "observe": {"op"},
    "prove": {"op", "digests"},
    "rollback": {"op"},
}
SECRET_FIELDS = {"users", "env"}
CONFIRM_FIELDS = {"port", "seconds"}
FIELDS = {
    "": {"layer", "packages", "groups", "users", "directories", "files", "checks", "units",
         "quick", "reload", "undo", "probes", "notes", "warnings", "facts", "commandSeconds"},
    "groups": {"name", "system"},
    "users": {"name", "group", "shell", "home", "system", "passwordSHA256"},
    "directories": {"path", "mode", "owner", "group"},
    "files": {"path", "mode", "owner", "group", "sha256", "policy", "env"},
    "checks": {"argv"},
    "units": {"name", "enabled", "active", "masked"},
}
QUICK_FIELDS = {"paths", "argv"}
PROBE_FIELDS = {
    "command": {"kind", "subject", "argv", "want", "seconds"},
    "sysctl": {"kind", "key", "want", "mayLack"},
    "sshd": {"kind", "user", "addr", "lport", "want"},
    "iptables": {"kind", "family", "table", "want", "ignore", "rebuild"},
    "wireguard": {"kind", "interface", "port", "publicKey", "peers"},
    "jail": {"kind", "name", "want"},
    "files": {"kind", "paths", "except", "generated", "units"},
    "keys": {"kind", "allowed"},
    "accounts": {"kind", "admins", "privileged"},
    "nftables": {"kind"},
    "routes": {"kind"},
    "sockets": {"kind", "service", "user", "want"},
}
PROBE_NEEDS: dict[str, tuple[str, ...]] = {
    "command": ("argv", "want"), "sysctl": ("key", "want"), "sshd": ("user", "lport", "want"), "iptables": ("want",),
    "wireguard": ("interface",), "jail": ("name", "want"), "files": ("paths",), "keys": ("allowed",), "accounts": (),
    "nftables": (), "routes": (), "sockets": ("service", "user"),
}
NEEDS = {"groups": ("name",), "users": ("name",), "directories": ("path", "mode", "owner", "group"),
         "files": ("path", "mode", "owner", "group"), "checks": ("argv",), "units": ("name",)}


def only(value: object, allowed: Collection[str], needed: Collection[str], where: str) -> None:
    if not isinstance(value, dict):
        raise Failure(f"{where}: an object is wanted")
    for key in value:
        if key not in allowed:
            raise Failure(f"{where}: unknown field {quote(key)}")
    for key in needed:
        if key not in value:
            raise Failure(f"{where}: the field {quote(key)} is missing")


def plain_path(path: object, where: str) -> None:
    if not isinstance(path, str) or not path.startswith("/") or os.path.normpath(path) != path or path == "/" \
            or path.startswith("//") or "\0" in path or "\n" in path:
        raise Failure(f"{where}: {quote(path)} is not a plain absolute path")


def verify_declared(declared: Spec) -> None:
    only(declared, FIELDS[""], ("layer",), "declared")
    for section, fields in FIELDS.items():
        if section:
            for number, value in enumerate(declared.get(section) or []):
                only(value, fields, NEEDS[section], f"declared: {section} {number}")
    for number, value in enumerate(declared.get("probes") or []):
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind not in PROBE_FIELDS:
            raise Failure(f"declared: probes {number}: unknown kind {quote(kind)}")
        only(value, PROBE_FIELDS[kind], PROBE_NEEDS[kind], f"declared: probes {number}")
    for section in ("directories", "files"):
        for value in declared.get(section) or []:
            plain_path(value["path"], f"declared: {section}")
            if not re.fullmatch("[0-7]{3,4}", str(value["mode"])):
                raise Failure(f"declared: {section}: {quote(value['path'])}: {quote(value['mode'])} is not a mode")
    for value in declared.get("files") or []:
        if value.get("policy", "replace") not in ("replace", "env"):
            raise Failure(f"declared: files: {quote(value['path'])}: unknown policy {quote(value['policy'])}")
    if declared.get("quick") is not None:
        only(declared["quick"], QUICK_FIELDS, QUICK_FIELDS, "declared: quick")
    seconds = command_seconds(declared)
    if type(seconds) is not int or not 0 < seconds <= MOST_COMMAND_SECONDS:
        raise Failure(f"declared: commandSeconds: {quote(seconds)} is not a number of seconds up to {MOST_COMMAND_SECONDS}")


def command_seconds(declared: Spec) -> int:
    seconds: int = declared.get("commandSeconds", COMMAND_SECONDS)
    return seconds


class Request:
    """An apply request, verified: what is declared is what its digest says, and every content is the declared one."""

    def __init__(self, body: dict[str, Any], token: str) -> None:
        only(body, REQUESTS["apply"], ("layer", "digest", "declared"), "request")
        self.token = token
        self.layer: str = body["layer"]
        self.digest: str = body["digest"]
        self.text: str = body["declared"]
        self.declared = self._verified()
        secrets = body.get("secrets") or {}
        only(secrets, SECRET_FIELDS, (), "request: secrets")
        self.hashes: dict[str, str] = secrets.get("users") or {}
        self.values: dict[str, str] = secrets.get("env") or {}
        SECRETS.update(value for value in list(self.hashes.values()) + list(self.values.values()) if len(value) > 3)
        self.confirm: Spec | None = body.get("confirm")
        if self.confirm is not None:
            self._verify_confirm(self.confirm)
        self.lock_seconds = int(body.get("lockSeconds") or 300)
        self.contents: dict[str, bytes] = {}
        for path, text in (body.get("contents") or {}).items():
            if not isinstance(text, str):
                raise Failure(f"request: contents: {quote(path)} is not text")
            self.contents[path] = text.encode("utf-8", "surrogatepass")
        for spec in self.declared.get("files") or []:
            self._verify_file(spec)
        for user in self.declared.get("users") or []:
            self._verify_password(user)

    def _verified(self) -> Spec:
        """What is declared, once its digest and its own words are verified."""
        if not isinstance(self.layer, str) or not re.fullmatch("[a-z][a-z0-9-]{0,40}", self.layer):
            raise Failure(f"request: {quote(self.layer)} is not a layer's name")
        if not isinstance(self.text, str):
            raise Failure("request: declared: a string is wanted")
        if sha256(self.text.encode()) != self.digest:
            raise Failure(f"request: declared does not match its digest {quote(self.digest)}:"
                          " the payload was damaged on the way")
        try:
            declared: Spec = json.loads(self.text)
        except ValueError:
            raise Failure("request: declared: not JSON") from None
        verify_declared(declared)
        if declared["layer"] != self.layer:
            raise Failure(f"request: layer {quote(self.layer)}, declared {quote(declared['layer'])}")
        return declared

    @staticmethod
    def _verify_confirm(confirm: Spec) -> None:
        only(confirm, CONFIRM_FIELDS, ("port", "seconds"), "request: confirm")
        if type(confirm["seconds"]) is not int or not 0 < confirm["seconds"] <= 3600:
            raise Failure(f"request: confirm: {quote(confirm['seconds'])} is not a number of seconds up to an hour")

    def _verify_file(self, spec: Spec) -> None:
        path, policy = spec["path"], spec.get("policy", "replace")
        if path not in self.contents:
            if policy != "env":
                raise Failure(f"request: contents: {quote(path)} is missing")
        elif spec.get("sha256") != sha256(self.contents[path]):
            raise Failure(f"request: contents: {quote(path)} does not match its declared sha256")
        if int(spec["mode"], 8) & 0o004 == 0 and path in self.contents:
            hide(self.contents[path].decode("utf-8", "replace"))
        for key, wanted in (spec.get("env") or {}).items():
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key):
                raise Failure(f"{quote(path)}: {quote(key)} is not a variable's name")
            value = self.values.get(key)
            if value is None or digest_of(value) != wanted:
                raise Failure(f"request: the value of {quote(key)} does not match what is declared")
            if re.search(r"[\n\r\0]", value):
                raise Failure(f"{quote(path)}: the value of {quote(key)} has more than one line")

    def _verify_password(self, user: Spec) -> None:
        wanted, value = user.get("passwordSHA256"), self.hashes.get(user["name"])
        if wanted and (value is None or digest_of(value) != wanted):
            raise Failure(f"request: the password of {quote(user['name'])} does not match what is declared")
        if value is not None and re.search(r"[:\n]", value):
            raise Failure(f"request: the password of {quote(user['name'])} is not a crypt hash")
