"""What the applier keeps on the host, where root alone reads it: a record of each layer that is in place."""

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from applier.files import write_file
from applier.request import Spec, verify_declared
from applier.words import Failure, sha256

STATE = "/var/lib/openclaw-deploy"
LAYERS = STATE + "/layers"
PENDING = STATE + "/pending"
STAGE = STATE + "/stage"
LAST_ROLLBACK = STATE + "/last-rollback.json"
SOURCES = STATE + "/package-sources"  # what was wrong with them
IMAGE = STATE + "/image"
QUARANTINE = STATE + "/quarantine"


def write_state(path: str, value: object) -> None:
    write_file(path, json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogateescape") + b"\n",
               0o600, 0, 0)


def read_state(path: str) -> Any:
    """What write_state wrote; damaged is as good as missing, and must not stand in the way of the next run."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None


def make_state() -> None:
    for path in (STATE, LAYERS):
        os.makedirs(path, 0o700, exist_ok=True)
        os.chmod(path, 0o700)


def record_path(layer: str) -> str:
    return f"{LAYERS}/{layer}.json"


def read_record(layer: str) -> Any:
    try:
        return read_state(record_path(layer))
    except OSError:
        return None


class Record(NamedTuple):
    """A layer as it was put in place."""

    token: str
    digest: str
    declared: Spec


def all_records() -> Iterator[tuple[str, Record | None]]:
    """The layers' records by name; a record that cannot be read is None."""
    try:
        names = sorted(name[:-len(".json")] for name in os.listdir(LAYERS)
                       if name.endswith(".json") and not name.startswith("."))
    except FileNotFoundError:
        return
    for name in names:
        found, record = read_record(name), None
        try:
            declared: Spec = json.loads(found["declared"])
            verify_declared(declared)
            record = Record(found["token"], sha256(found["declared"].encode()), declared)
        except (Failure, ValueError, TypeError, KeyError):
            pass
        yield name, record


def dirty_path(layer: str) -> str:
    return f"{LAYERS}/{layer}.unfinished"


def set_dirty(layer: str) -> None:
    write_file(dirty_path(layer), b"", 0o600, 0, 0)


def clear_dirty(layer: str) -> None:
    try:
        os.unlink(dirty_path(layer))
    except FileNotFoundError:
        pass
