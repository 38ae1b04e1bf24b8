"""One request, from the remote command or from the host's own timer."""

import json
import os
import signal
from collections.abc import Sequence
from types import TracebackType

from applier.apply import apply
from applier.confirm import confirm
from applier.observe import observe, prove
from applier.rollback import rollback
from applier.words import EXIT_FAILED, Failure, answer, clean, describe, put, quote

EXIT_USAGE = 64

OTHERS = {"confirm": confirm, "observe": observe, "prove": prove, "rollback": rollback}


def main(request: bytes, source: bytes, words: Sequence[str] = ()) -> int:
    # The very change may cut the session: neither its end nor a closed pipe may stop what was begun.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    try:
        if os.geteuid() != 0:
            raise Failure("this needs root")
        try:
            body = json.loads(request)
        except ValueError:
            raise Failure("request: not JSON: it was cut or damaged on the way") from None
        if not isinstance(body, dict):
            raise Failure("request: an object is wanted")
        op = body.get("op")
        if op == "apply":
            return apply(body, words[0] if words else "", source)
        if isinstance(op, str) and op in OTHERS:
            return OTHERS[op](body)
        raise Failure(f"request: unknown op {quote(op)}")
    except (Failure, OSError) as error:
        return answer({"result": "failed", "error": clean(describe(error))}, EXIT_FAILED)
    except Exception as error:  # its message may repeat what it stumbled over, so only its kind and place are told
        return answer({"result": "failed",
                       "error": f"a fault of the applier: {type(error).__name__} at {place_of(error.__traceback__)}"},
                      EXIT_FAILED)


def place_of(trace: TracebackType | None) -> str:
    """The last line of the applier's own that a fault came from."""
    place = "no line"
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith("applier/"):
            place = f"{name} line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def from_disk(arguments: list[str]) -> int:
    if arguments not in (["rollback"], ["observe"]):
        put(2, b"usage: apply.py rollback|observe\n")
        return EXIT_USAGE
    return main(json.dumps({"op": arguments[0]}).encode(), b"")  # neither puts a layer in place with it
