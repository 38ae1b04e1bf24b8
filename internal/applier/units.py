"""systemd's units: what they are, where they differ, and what puts them right."""

import re
from collections.abc import Sequence

from applier.commands import Done, run
from applier.findings import Finding
from applier.request import Spec
from applier.words import Failure, marked, quote, tail

State = dict[str, str]  # what systemd says of a unit, by its properties' names

RUNNING = ("active", "activating", "reloading")
ENABLED = ("enabled", "static", "generated", "alias", "indirect", "linked")  # what `enable` would not change further


def is_unit_file(path: str) -> bool:
    return re.match(r"/(etc|usr/lib|lib|usr/local/lib|run)/systemd/system/", path) is not None


def unit_query(names: Sequence[str]) -> tuple[str, ...]:
    return "systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState", "--", *names


def unit_states(names: Sequence[str], done: Done) -> dict[str, State]:
    """What systemd says of each unit; a unit it says nothing of is empty."""
    states: dict[str, State] = {name: {} for name in names}
    if done.code != 0 and not done.out.strip():
        raise Failure(f"reading the units' states failed: {done.words()}")
    for name, block in zip(names, done.out.strip().split("\n\n")):
        for line in block.splitlines():
            key, _, value = line.partition("=")
            states[name][key] = value
    return states


def query_units(names: Sequence[str]) -> dict[str, State]:
    return unit_states(names, run(unit_query(names))) if names else {}


def unit_faults(unit: Spec, state: State) -> list[Finding]:
    """Where a unit differs from what is wanted."""
    file, active, load = state.get("UnitFileState", ""), state.get("ActiveState", ""), state.get("LoadState", "")
    masked = file.startswith("masked") or load == "masked"
    found: list[tuple[str, str]] = []
    if unit.get("masked"):
        if not masked:
            found.append(("masked", "not masked"))
    elif load == "not-found" and (unit.get("enabled") or unit.get("active")):
        if masked:
            found.append(("not masked", "masked"))
        found.append(("a unit", "not found"))
    else:
        if masked and (unit.get("masked") is False or unit.get("enabled") or unit.get("active")):
            found.append(("not masked", "masked"))
        if unit.get("enabled") is True and file not in ENABLED:
            found.append(("enabled", file or "disabled"))
        if unit.get("enabled") is False and file in ("enabled", "enabled-runtime"):
            found.append(("disabled", file))
        if unit.get("active") is True and active not in ("active", "reloading"):
            found.append(("active", active or "inactive"))
        if unit.get("active") is False and active not in ("inactive", "failed", "deactivating", ""):
            found.append(("inactive", active))
    return [Finding(f"unit {unit['name']}", want, got) for want, got in found]


def systemctl(*arguments: str) -> None:
    done = run(["systemctl", "--no-ask-password", *arguments])
    if done.code != 0:
        words = done.words()
        if arguments[0] in ("start", "restart", "reload", "enable") and arguments[-1].rpartition(".")[2] != "socket":
            log = run(["journalctl", "--namespace=*", "--no-pager", "--quiet", "-o", "cat", "-n", "5", "-u", arguments[-1]], seconds=10)
            words += "\n" + marked(tail(log.out, 5)) if log.out.strip() else ""
        raise Failure(words)


def mask_ahead(units: list[Spec]) -> None:
    """Masks what is declared masked and is not there yet: a package that is about to bring it would start it."""
    masked = [unit["name"] for unit in units if unit.get("masked")]
    states = query_units(masked)
    for name in masked:
        if states[name].get("LoadState") == "not-found":
            systemctl("mask", name)


released: list[str] = []  # services to be running again in the end, whether the layer names them or not


def mend_unit(unit: Spec, state: State) -> None:
    name, wants = unit["name"], {fault.want for fault in unit_faults(unit, state)}
    if "masked" in wants:
        if state.get("ActiveState") in RUNNING:
            systemctl("stop", name)
        systemctl("mask", name)
        return
    if "not masked" in wants:
        systemctl("unmask", name)
        systemctl("daemon-reload")
        wants = {fault.want for fault in unit_faults(unit, query_units([name])[name])}
    if "a unit" in wants:
        raise Failure(f"no unit {quote(name)} on this host")
    if "disabled" in wants:
        systemctl("disable", name)
    if "inactive" in wants:
        systemctl("stop", name)
        if name.endswith(".socket"):
            release(service_of(name))
    if "enabled" in wants:
        systemctl("enable", name)
    if "active" in wants:
        # A unit that failed too often refuses to start until its count is cleared.
        run(["systemctl", "reset-failed", name])
        systemctl("start", name)


def service_of(socket: str) -> str:
    return socket[:-len(".socket")] + ".service"


def release(service: str) -> None:
    """Stops the service that a stopped socket had started, which still listens on what the socket gave it. Enabling
    it while it runs makes systemd forget its process where the unit has an alias that others name (ssh.service on
    Ubuntu): a restart then leaves the old sshd listening beside the new one. Its sessions go on."""
    if query_units([service])[service].get("ActiveState") in RUNNING:
        systemctl("stop", service)
        released.append(service)


def stop_what_was_not_running(saved: list[Spec], problems: list[str]) -> None:
    """The first half of putting units back, before the old files: what was not running stops, what was not enabled is
    disabled while its file still says how."""
    states = query_units([unit["name"] for unit in saved])
    for unit in reversed(saved):
        name, was, now = unit["name"], unit["state"], states[unit["name"]]
        try:
            if now.get("ActiveState") in RUNNING and was.get("ActiveState") in ("inactive", "failed", ""):
                systemctl("stop", name)
            if now.get("UnitFileState") == "enabled" and was.get("UnitFileState") != "enabled":
                systemctl("disable", name)
            if now.get("UnitFileState", "").startswith("masked") and \
                    not was.get("UnitFileState", "").startswith("masked"):
                systemctl("unmask", name)
        except Failure as failure:
            problems.append(str(failure))


def start_what_was_running(saved: list[Spec], problems: list[str]) -> None:
    """The second half, with the old files in place."""
    states = query_units([unit["name"] for unit in saved])
    for unit in saved:
        name, was, now = unit["name"], unit["state"], states[unit["name"]]
        try:
            if was.get("UnitFileState") == "enabled" and now.get("UnitFileState") != "enabled":
                systemctl("enable", name)
            if was.get("ActiveState") in RUNNING and now.get("ActiveState") not in RUNNING:
                start_again(name)
            if was.get("UnitFileState", "").startswith("masked") and \
                    not now.get("UnitFileState", "").startswith("masked"):
                systemctl("mask", name)
        except Failure as failure:
            problems.append(str(failure))


def start_again(name: str) -> None:
    service = service_of(name)
    if name.endswith(".socket") and query_units([service])[service].get("ActiveState") == "active":
        # A socket does not start under its running service; sessions outlive the service's stop.
        systemctl("stop", service)
        systemctl("start", name)
        systemctl("start", service)
    else:
        run(["systemctl", "reset-failed", name])
        systemctl("start", name)
