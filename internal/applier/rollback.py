"""Putting back a change that nobody confirmed, or whose run is gone."""

import errno
import time
from typing import Any, NamedTuple

from applier.clock import boot_id
from applier.files import remove_tree
from applier.journal import Journal
from applier.lock import Lock
from applier.records import LAST_ROLLBACK, PENDING, clear_dirty, make_state, write_state
from applier.request import REQUESTS, only
from applier.timer import disarm
from applier.words import answer, clean

LOCK_SECONDS = 900  # longer than any window: the run inside it puts back by itself


def roll_back(journal: Journal, reason: str, patience: int = 1) -> str:
    """Puts an armed change back and says so where the next run will look. The verdict is taken already."""
    problems = journal.undo(patience)
    if problems:
        reason += "; not all of what was before could be put back: " + "; ".join(problems)
    else:
        clear_dirty(journal.manifest["layer"])
    manifest = journal.manifest
    try:
        write_state(LAST_ROLLBACK, {"layer": manifest["layer"], "token": manifest["token"], "at": int(time.time()),
                                    "reason": clean(reason)})
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    journal.drop()
    return reason


def unconfirmed(manifest: dict[str, Any]) -> str:
    if manifest["bootId"] != boot_id():
        return "the host restarted before the change was confirmed"
    return f"no confirmation over a new connection on port {manifest['port']} within {manifest['seconds']} s"


class Settled(NamedTuple):
    layer: str
    kept: bool
    words: str


def settle(reason: str | None = None, patience: int = 1) -> Settled | None:
    """Ends a change whose run is gone, where there is one. The lock is held."""
    journal = Journal.load(PENDING)
    if journal is None:
        remove_tree(PENDING)
        return None
    layer = journal.manifest["layer"]
    if journal.claim("rollback") == "confirmed":
        journal.keep()
        return Settled(layer, True, "kept")
    done = roll_back(journal, reason or unconfirmed(journal.manifest), patience)
    return Settled(layer, False, f"rolled back: {done}")


def rollback(body: dict[str, Any]) -> int:
    only(body, REQUESTS["rollback"], (), "request")
    journal = Journal.load(PENDING)
    reason = None
    if journal is not None:
        reason = unconfirmed(journal.manifest)
        journal.claim("rollback")  # a run that still waits for its confirmation sees it and puts back by itself
    with Lock("putting back", LOCK_SECONDS):
        make_state()
        settled = settle(reason, patience=5)
        if settled is None:
            disarm()
    if settled is None:
        return answer({"rolledback": False, "reason": "nothing pending"}, 0)
    return answer({"rolledback": not settled.kept, "layer": settled.layer, "reason": clean(settled.words)}, 0)
