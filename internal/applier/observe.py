"""The requests that read what is effective: all of it, or whether it is as declared."""

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from applier.accounts import Accounts, account_faults
from applier.clock import boot_id, since_boot
from applier.commands import Done, run
from applier.envfile import env_values
from applier.files import Found, look
from applier.findings import Finding
from applier.journal import Journal
from applier.packages import installed_packages, package_query
from applier.probes import PROBE_SECONDS, Query, gather, probe_faults, sysctl_now, sysctl_path
from applier.records import LAST_ROLLBACK, PENDING, all_records, dirty_path, read_state
from applier.request import REQUESTS, Spec, only
from applier.timer import TIMER, TIMER_SLACK
from applier.undeclared import Host
from applier.units import State, unit_faults, unit_query, unit_states
from applier.words import EXIT_FAILED, Failure, answer, clean, describe, digest_of, say


def place_faults(spec: Spec, found: Found, kind: str, accounts: Accounts) -> Finding | None:
    """Where a file or a folder differs from what is wanted, all in one."""
    if found.kind != kind:
        return Finding(spec["path"], f"a {kind}", found.words())
    want, got = [], []
    if kind == "file" and spec.get("policy", "replace") == "replace" and found.sha256 != spec.get("sha256"):
        want.append("content as deployed")
        got.append("content differs")
    if found.mode != int(spec["mode"], 8):
        want.append(f"mode {spec['mode']}")
        got.append(f"mode {found.mode:04o}")
    if (found.uid, found.gid) != (accounts.uid(spec["owner"]), accounts.gid(spec["group"])):
        want.append(f"owner {spec['owner']}:{spec['group']}")
        got.append(f"owner {accounts.owner(found.uid, found.gid)}")
    return Finding(spec["path"], ", ".join(want), ", ".join(got)) if want else None


def env_faults(spec: Spec, found: Found) -> list[Finding]:
    """The configured lines that a file has not."""
    values, faults = env_values(found.data.decode("utf-8", "surrogateescape")), []
    for key, wanted in sorted((spec.get("env") or {}).items()):
        got = "missing" if key not in values else "another value" if digest_of(values[key]) != wanted else ""
        if got:
            faults.append(Finding(f"{spec['path']}: {key}", "the configured value", got))
    return faults


def observe_places(declared: Spec, accounts: Accounts) -> list[Finding]:
    drift: list[Finding] = []
    for section, kind in (("directories", "folder"), ("files", "file")):
        for spec in declared.get(section) or []:
            try:
                found = look(spec["path"], read=kind == "file")
            except (Failure, OSError) as error:
                drift.append(Finding(spec["path"], f"a {kind}", describe(error)))
                continue
            fault = place_faults(spec, found, kind, accounts)
            if fault:
                drift.append(fault)
            if spec.get("policy", "replace") == "env" and found.kind == "file":
                drift += env_faults(spec, found)
    return drift


def observe_layer(declared: Spec, host: Host, results: Mapping[Query, Done], states: Mapping[str, State],
                  packages: set[str]) -> list[Finding]:
    drift, accounts = [], host.accounts
    for name in declared.get("packages") or []:
        if name not in packages:
            drift.append(Finding(f"package {name}", "installed", "missing"))
    for group in declared.get("groups") or []:
        if group["name"] not in accounts.groups:
            drift.append(Finding(f"group {group['name']}", "a group", "missing"))
    for user in declared.get("users") or []:
        for what, want, got, _ in account_faults(user, accounts):
            drift.append(Finding(f"user {user['name']}: {what}" if what else f"user {user['name']}", want, got))
    drift += observe_places(declared, accounts)
    for unit in declared.get("units") or []:
        drift += unit_faults(unit, states.get(unit["name"], {}))
    drift += probe_faults(declared, results, host)
    return drift


def pending_now() -> dict[str, Any] | None:
    journal = Journal.load(PENDING)
    if journal is None:
        return None
    manifest, now = journal.manifest, int(time.time())
    if manifest["bootId"] == boot_id():
        deadline = now + manifest["deadline"] - since_boot() + TIMER_SLACK
    else:
        # The timer counts anew from when it was started, by the clock that systemd counts by.
        done = run(["systemctl", "show", "--property=ActiveEnterTimestampMonotonic", TIMER], seconds=PROBE_SECONDS)
        started = done.out.strip().partition("=")[2]
        passed = time.monotonic() - int(started) / 1e6 if started.isdigit() else 0
        deadline = now - passed + manifest["seconds"] + TIMER_SLACK
    return {"layer": manifest["layer"], "token": manifest["token"], "since": manifest["since"],
            "deadline": int(deadline)}


def observe(body: dict[str, Any]) -> int:
    only(body, REQUESTS["observe"], (), "request")
    layers, words = observe_all(("notes", "warnings", "facts"))
    return answer({"layers": layers, **words, "pending": pending_now(), "lastRollback": read_state(LAST_ROLLBACK)}, 0)


# The parts of a layer that are read back.
SETTINGS = ("packages", "groups", "users", "directories", "files", "units", "probes")


def prove(body: dict[str, Any]) -> int:
    """Fails with a table unless every layer is in place, as declared by the digests that came with the request."""
    only(body, REQUESTS["prove"], ("digests",), "request")
    layers, words = observe_all(("warnings", "facts"))
    rows: list[tuple[str, str, str]] = []
    for name, digest in body["digests"].items():
        found = layers.get(name)
        if found is None:
            rows.append((name, "in place", "never applied"))
        elif found["digest"] != digest:
            rows.append((name, "as declared by this run", "another version"))
        else:
            rows += [(name, f"{fault['subject']}: {fault['want']}", fault["got"]) for fault in found["drift"]]
    if not rows:
        return answer({"proven": sorted(body["digests"]), "at": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
                       "settings": {name: layers[name]["settings"] for name in body["digests"]},
                       "notShown": not_shown(), **words}, 0)
    rows.insert(0, ("LAYER", "EXPECTED", "EFFECTIVE"))
    rows = [(layer, "; ".join(want.splitlines()), "; ".join(got.splitlines())) for layer, want, got in rows]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    say("the host is not as declared:")
    for layer, want, got in rows:
        say(f"{layer:<{widths[0]}}  {want:<{widths[1]}}  {got}")
    return answer({"proven": [], "result": "failed"}, EXIT_FAILED)


def not_shown() -> list[str]:
    """Kernel settings that were declared for a host with a kernel of its own, and that this one's cannot be told."""
    probes = [probe for _, record in all_records() if record is not None
              for probe in record.declared.get("probes") or []]
    return [probe["key"] for probe in probes
            if probe.get("mayLack") and sysctl_now(sysctl_path(probe["key"]), probe["want"])[1] is None]


def observe_all(asides: Sequence[str]) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """What is effective, layer by layer: token, digest and drift; and what is worth knowing and no drift, as the layers'
    fields of these names have it told."""
    records = list(all_records())
    declared = [record.declared for _, record in records if record is not None]
    packages = {name for layer in declared for name in layer.get("packages") or []}
    units = sorted({unit["name"] for layer in declared for unit in layer.get("units") or []})
    queries: set[Query] = set()
    if packages:
        queries.add(package_query(packages))
    if units:
        queries.add(unit_query(units))
    tellers = {field: [tuple(argv) for layer in declared for argv in layer.get(field) or []] for field in asides}
    results = gather(queries, itertools.chain.from_iterable(tellers.values()), [probe for layer in declared for probe in layer.get("probes") or []])
    installed = installed_packages(results[package_query(packages)]) if packages else set()
    words = {field: [clean(line) for argv in argvs for line in results[argv].out.splitlines() if line.strip()]
             for field, argvs in tellers.items()}
    states: dict[str, State] = {}
    units_problem = ""
    try:
        states = unit_states(units, results[unit_query(units)]) if units else {}
    except Failure as failure:
        units_problem = str(failure)
    host = Host({layer["layer"]: layer for layer in declared}, Accounts())
    layers: dict[str, dict[str, Any]] = {}
    for name, record in records:
        if record is None:
            drift = [Finding(f"record of layer {name}", "a record", "unreadable")]
            layers[name] = {"token": "", "digest": "", "drift": list(map(wire, drift))}
            continue
        drift = observe_layer(record.declared, host, results, states, installed)
        if units_problem and record.declared.get("units"):
            drift.append(Finding("units", "an answer", units_problem))
        if os.path.exists(dirty_path(name)):
            drift.append(Finding(f"last run of layer {name}", "finished", "interrupted"))
        layers[name] = {"token": record.token, "digest": record.digest, "drift": list(map(wire, drift)),
                        "settings": sum(len(record.declared.get(section) or []) for section in SETTINGS)}
    return layers, words


def wire(fault: Finding) -> dict[str, str]:
    return {"subject": fault.subject, "want": clean(fault.want), "got": clean(fault.got)}
