"""What has to change for a layer to be as declared."""

import json
import os
from typing import Any

from applier.accounts import Accounts, account_faults
from applier.envfile import merge_env
from applier.files import Found, look
from applier.findings import Put, Reinstall, Repair, Run
from applier.probes import NOT_AVAILABLE, gather, probe_faults
from applier.records import all_records, dirty_path, read_record
from applier.request import Request, Spec
from applier.undeclared import Host
from applier.units import State, is_unit_file, unit_faults, unit_query, unit_states
from applier.words import Failure, quote


class Plan:
    """What has to change: what stands on the disk at once, what runs once `running` has compared it."""

    def __init__(self, request: Request, installed: list[str]) -> None:
        self.request, self.installed = request, installed
        declared = request.declared
        record: dict[str, Any] = read_record(request.layer) or {}
        self.before: Spec = json.loads(record["declared"]) if record.get("declared") else {}
        self.dirty = os.path.exists(dirty_path(request.layer))
        self.accounts = Accounts()
        self.groups: list[str] = [group["name"] for group in declared.get("groups") or []
                                  if group["name"] not in self.accounts.groups]
        for user in declared.get("users") or []:
            group = user.get("group")
            if group and group not in self.accounts.groups and group not in self.groups:
                self.groups.append(group)
        self.system_groups = {group["name"] for group in declared.get("groups") or [] if group.get("system")} | \
            {user["group"] for user in declared.get("users") or [] if user.get("system") and user.get("group")}
        self.users = [user for user in declared.get("users") or [] if account_faults(user, self.accounts)]
        self.data: dict[str, bytes] = {}
        self.files: list[Spec] = []
        self.folders = [spec for spec in declared.get("directories") or [] if self._differs(
            spec, look(spec["path"], read=False), "folder")]
        self._files(declared)
        self.removals = self._removals(declared)
        self.units: list[Spec] = []
        self.retired: list[Spec] = []
        self.states: dict[str, State] = {}
        self.probes: list[str] = []  # what they found, by its subjects
        self.repairs: list[Repair] = []
        self.host: Host

    def _differs(self, spec: Spec, found: Found, kind: str) -> bool:
        return found.kind != kind or found.mode != int(spec["mode"], 8) or \
            (found.uid, found.gid) != (self.accounts.uid(spec["owner"]), self.accounts.gid(spec["group"]))

    def _files(self, declared: Spec) -> None:
        previous = {spec["path"]: spec for spec in self.before.get("files") or []}
        for spec in declared.get("files") or []:
            path, found = spec["path"], look(spec["path"])
            if found.kind in ("folder", "other"):
                raise Failure(f"{quote(path)} is {found.words()}, a file is wanted")
            data = self.request.contents.get(path, b"")
            if spec.get("policy", "replace") == "env":
                data = self._merged(spec, previous.get(path, {}), found, data)
            self.data[path] = data
            if found.data != data or self._differs(spec, found, "file"):
                self.files.append(spec)

    def _merged(self, spec: Spec, previous: Spec, found: Found, data: bytes) -> bytes:
        """The file with the configured lines in it."""
        path = spec["path"]
        if found.kind == "symlink":
            raise Failure(f"{quote(path)} is a symlink: it may hold lines of yours, so it is not replaced\n"
                          "put a plain file there, then run again")
        text = (found.data if found.kind == "file" else data).decode("utf-8", "surrogateescape")
        wanted = {key: self.request.values[key] for key in spec.get("env") or {}}
        dropped = {key: value for key, value in (previous.get("env") or {}).items() if key not in wanted}
        return merge_env(path, text, wanted, dropped).encode("utf-8", "surrogateescape")

    def _removals(self, declared: Spec) -> list[str]:
        kept = {spec["path"] for spec in declared.get("files") or []}
        kept |= {spec["path"] for spec in declared.get("directories") or []}
        for name, record in all_records():
            if name != self.request.layer and record is not None:
                kept |= {spec["path"] for spec in record.declared.get("files") or []}
        return [spec["path"] for spec in self.before.get("files") or []
                if spec.get("policy", "replace") == "replace" and spec["path"] not in kept and
                look(spec["path"], read=False).kind in ("file", "symlink")]

    def running(self) -> None:
        """Compares what runs; after the checks, since they cost nothing when they fail."""
        declared = self.request.declared
        units = declared.get("units") or []
        named = {unit["name"] for unit in units}
        # A unit whose file goes with this change must not stay enabled or running without it.
        self.retired = [unit for unit in self.before.get("units") or [] if unit["name"] not in named and any(
            is_unit_file(path) and os.path.basename(path) == unit["name"] for path in self.removals)]
        names = [unit["name"] for unit in units] + [unit["name"] for unit in self.retired]
        probes = declared.get("probes") or []
        results = gather({unit_query(names)} if names else set(), (), probes)
        self.states = unit_states(names, results[unit_query(names)]) if names else {}
        self.units = [unit for unit in units if unit_faults(unit, self.states[unit["name"]])]
        layers = {name: record.declared for name, record in all_records() if record is not None}
        layers[self.request.layer] = declared
        self.host = Host(layers, self.accounts)
        found = [fault for fault in probe_faults(declared, results, self.host) if fault.got != NOT_AVAILABLE]
        self.probes = [fault.subject for fault in found]
        self.repairs = [fault.repair for fault in found if fault.repair]

    def placed(self) -> list[str]:
        """The paths that are made or replaced."""
        return [spec["path"] for spec in self.folders] + [spec["path"] for spec in self.files]

    def changed(self) -> list[str]:
        return (self.placed() + self.removals
                + [f"package {name}" for name in self.installed] + [f"group {name}" for name in self.groups]
                + [f"user {user['name']}" for user in self.users]
                + [f"unit {unit['name']}" for unit in self.units + self.retired]
                + self.probes + (["an unfinished run"] if self.dirty else []))

    def reloads(self) -> bool:
        return bool(self.folders or self.files or self.removals or self.installed or self.groups or self.users
                    or self.probes or self.dirty)

    def quick(self) -> bool:
        """Whether nothing changes but files that the layer has a short way for."""
        way, changed = self.request.declared.get("quick"), {spec["path"] for spec in self.files}
        return way is not None and bool(changed) and changed <= set(way["paths"]) and not (
            self.folders or self.removals or self.installed or self.groups or self.users or self.units or self.retired
            or self.dirty or any(not isinstance(how, Run) for how in self.repairs))

    def saved_repairs(self) -> list[str]:
        """The paths that repairs replace or take away."""
        return [how.path for how in self.repairs if isinstance(how, (Put, Reinstall))]

    def unit_files(self) -> bool:
        """Whether systemd has files of its own to read anew."""
        return any(map(is_unit_file, [spec["path"] for spec in self.files] + self.removals
                       + [how.path for how in self.repairs if isinstance(how, Put)]))
