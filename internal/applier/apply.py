"""The request that puts a layer in place, and waits for its confirmation where it is armed."""

import time
from typing import Any, NamedTuple

from applier.boot import await_first_boot
from applier.change import change, save_what_was, stage_and_check
from applier.clock import since_boot
from applier.files import remove_tree
from applier.journal import Journal
from applier.lock import Lock
from applier.packages import install
from applier.plan import Plan
from applier.records import PENDING, STATE, clear_dirty, make_state, set_dirty
from applier.request import Request
from applier.rollback import roll_back, settle, unconfirmed
from applier.timer import TIMER, arm_timer, disarm
from applier.undeclared import take_image
from applier.units import mask_ahead, systemctl
from applier.words import EXIT_FAILED, EXIT_ROLLED_BACK, Failure, answer, clean, describe, say

UNDO = STATE + "/undo"


class Outcome(NamedTuple):
    result: str
    changed: list[str]
    error: str = ""


def apply(body: dict[str, Any], token: str, source: bytes) -> int:
    layer = body.get("layer") if isinstance(body.get("layer"), str) else ""
    try:
        request = Request(body, token)
        await_first_boot()
        with Lock(f"applying layer {request.layer}", request.lock_seconds):
            make_state()
            settled = settle()
            if settled:
                say(f"an earlier change of layer {settled.layer} was {settled.words}")
            outcome = apply_locked(request, source)
    except (Failure, OSError) as error:
        outcome = Outcome("failed", [], describe(error))
    reply = {"layer": layer, "result": outcome.result, "changed": outcome.changed}
    if outcome.error:
        say(f"layer {layer}: {outcome.error}")  # for people; the answer is for the program
        reply["error"] = clean(outcome.error)
    return answer(reply, {"failed": EXIT_FAILED, "rolledback": EXIT_ROLLED_BACK}.get(outcome.result, 0))


def apply_locked(request: Request, source: bytes) -> Outcome:
    mask_ahead(request.declared.get("units") or [])
    installed = install(request.declared, request.lock_seconds)
    take_image(request.declared)
    plan = Plan(request, installed)
    stage_and_check(request, plan)
    plan.running()
    changed = plan.changed()
    journal = Journal.begin(UNDO, request)
    if not changed:
        journal.keep()
        return Outcome("unchanged", [])
    prepare(request, plan, journal, source)
    try:
        change(request, plan, journal)
        if request.confirm:
            systemctl("restart", TIMER)  # the window counts from here
            journal.applied()
    except (Failure, OSError) as error:
        return Outcome("failed", changed, take_back(request, journal, describe(error)))
    if not request.confirm:
        journal.keep()
        return Outcome("applied", changed)
    say(f"layer {request.layer} is applied; it stays if confirmed over a new connection on port"
        f" {request.confirm['port']} within {request.confirm['seconds']} s")
    if await_verdict(journal) == "confirmed":
        journal.keep()
        return Outcome("applied", changed)
    reason = roll_back(journal, unconfirmed(journal.manifest))
    return Outcome("rolledback", changed, f"{reason}\nthe host has put back what was before")


def prepare(request: Request, plan: Plan, journal: Journal, source: bytes) -> None:
    """Makes sure that the change can be taken back, before it begins."""
    try:
        save_what_was(journal, plan)
        set_dirty(request.layer)
        if request.confirm:
            arm_timer(request.confirm["seconds"], source)
            journal.arm()
    except (Failure, OSError):
        clear_dirty(request.layer)
        remove_tree(UNDO)
        if request.confirm:
            remove_tree(PENDING)
            disarm()
        raise


def take_back(request: Request, journal: Journal, words: str) -> str:
    """Puts back what was before a change that failed, and says why it did and what came of that."""
    if request.confirm:
        journal.claim("rollback")
    problems = journal.undo(1)
    if problems:
        words += "\nnot all of what was before could be put back: " + "; ".join(problems)
    else:
        words += "\nwhat was before is in force again"
        clear_dirty(request.layer)
    journal.drop()
    return words


def await_verdict(journal: Journal) -> str:
    """Waits for the confirmation; whoever decides first, this, the timer or a confirmation, decides for all."""
    deadline = journal.manifest["deadline"]
    while True:
        verdict = journal.verdict()
        if verdict is None and since_boot() >= deadline:
            verdict = journal.claim("rollback")
        if verdict is not None:
            return verdict
        time.sleep(0.02)
