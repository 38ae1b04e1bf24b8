"""The request that keeps an armed change, or asks whether there is one: over a connection that was accepted after it."""

import os
import time
from typing import Any

from applier.clock import boot_id, since_boot
from applier.journal import Journal
from applier.records import PENDING
from applier.request import REQUESTS, only
from applier.words import EXIT_NOT_PENDING, EXIT_REFUSED, Failure, answer, quote

MOST_WAIT = 10


class Refused(Exception):
    """A confirmation that does not count."""

    def __init__(self, code: str, reason: str) -> None:
        Exception.__init__(self, reason)
        self.code = code


def process(pid: int) -> tuple[int, bytes, int]:
    """Parent, name and start (in clock ticks since boot) of a process."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        text = file.read()
    name = text[text.index(b"(") + 1:text.rindex(b")")]
    fields = text[text.rindex(b")") + 2:].split()
    return int(fields[1]), name, int(fields[19])  # fields 4 and 22 of proc(5)


def own_connection() -> tuple[int, int]:
    """When the connection that this request came by was accepted, in ticks, and the port it arrived on."""
    pid, below = os.getpid(), os.getpid()
    chain: list[int] = []
    port = None
    while pid > 1:
        parent, name, start = process(pid)
        if name.startswith(b"sshd"):
            if not chain:
                port = local_port(below)
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                listener = b"[listener]" in file.read()
            if not listener:
                chain.append(start)
        elif chain:
            break
        below, pid = pid, parent
    if not chain or port is None:
        raise Refused("no-connection", "the request did not come over ssh")
    return chain[-1], port


def local_port(pid: int) -> int | None:
    # From the shell that sshd started: sudo hands on none of it.
    with open(f"/proc/{pid}/environ", "rb") as file:
        for variable in file.read().split(b"\0"):
            if variable.startswith(b"SSH_CONNECTION="):
                fields = variable.partition(b"=")[2].split()
                if len(fields) == 4:
                    return int(fields[3])
    return None


def confirm(body: dict[str, Any]) -> int:
    only(body, REQUESTS["confirm"], ("layer", "port"), "request")
    waits = body.get("waits", 0)
    if not isinstance(waits, int) or not 0 <= waits <= MOST_WAIT:
        raise Failure(f"request: waits: {quote(waits)} is not a number of seconds up to {MOST_WAIT}")
    journal = applied_within(waits)
    if journal is None:
        return not_pending("nothing pending")
    try:
        verify_same(body, journal.manifest)
        if not body.get("keep", True):
            return answer({"armed": True}, 0)
        start, port = own_connection()
        if port != journal.manifest["port"]:
            raise Refused("wrong-port", f"the connection arrived on port {port}, not {journal.manifest['port']}")
        changed = int(journal.manifest["applied"] * os.sysconf("SC_CLK_TCK"))
        if start == changed:  # the clock is no finer: it may have been just before
            return not_pending("the connection is as old as the change")
        if start < changed:
            raise Refused("old-connection", "the connection is older than the change")
        verdict = journal.claim("confirmed")
        if verdict is None:
            return not_pending("nothing pending")
        if verdict != "confirmed":
            raise Refused("too-late", "the host is putting back what was before")
    except Refused as refused:
        return answer({"confirmed": False, "refused": refused.code, "reason": str(refused)}, EXIT_REFUSED)
    return answer({"confirmed": True}, 0)


def not_pending(reason: str) -> int:
    return answer({"confirmed": False, "reason": reason}, EXIT_NOT_PENDING)


def applied_within(seconds: int) -> Journal | None:
    """The change that waits to be confirmed. A connection that came too early waits here for it, so that the next one
    comes at the right moment."""
    deadline = since_boot() + seconds
    while True:
        journal = Journal.load(PENDING)
        if journal is not None and "applied" in journal.manifest:
            return journal
        if since_boot() >= deadline:
            return None
        time.sleep(0.05)


def verify_same(body: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Refuses the confirmation of another change."""
    if manifest["layer"] != body["layer"] or manifest["digest"] != body.get("digest"):
        raise Refused("wrong-token", f"what is pending is another change, of layer {manifest['layer']}")
    if manifest["bootId"] != boot_id():
        raise Refused("restarted", "the host restarted since the change")
    if body["port"] != manifest["port"]:
        raise Refused("wrong-port", f"the change is to be confirmed on port {manifest['port']}, not {body['port']}")
