"""What differs from what is declared, and what takes it away where the layer's own reload would not."""

from __future__ import annotations

from typing import NamedTuple


class Run(NamedTuple):
    """Commands take it away."""

    commands: list[list[str]]


class Put(NamedTuple):
    """A file gets this content; with None it goes."""

    path: str
    data: bytes | None
    mode: int
    uid: int
    gid: int


class Reinstall(NamedTuple):
    """A file comes back from its package."""

    path: str


class Strip(NamedTuple):
    """An account opens nothing any more."""

    name: str
    admins: list[str]
    privileged: list[str]


Repair = Run | Put | Reinstall | Strip


class Finding(NamedTuple):
    subject: str
    want: str
    got: str
    repair: Repair | None = None


def gone(path: str) -> Put:
    return Put(path, None, 0, 0, 0)
