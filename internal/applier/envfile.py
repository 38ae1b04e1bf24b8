"""/etc/openclaw.env and files like it: the lines of keys that the configuration names are ours, the rest the
operator's."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from applier.words import Failure, digest_of, quote


class Assignment(NamedTuple):
    """One assignment, and the piece of the text that it takes up."""

    key: str
    value: str
    start: int
    end: int


def assignments(text: str) -> Iterator[Assignment]:
    """The assignments of an environment file as systemd reads one, quotes and continued lines included, so that a line
    inside somebody's quoted text is never taken for a key."""
    at, size = 0, len(text)
    while at < size:
        start = at
        while at < size and text[at] in " \t\r":
            at += 1
        if at < size and text[at] == "\n":
            at += 1
            continue
        if at >= size or text[at] in "#;":
            end = text.find("\n", at)
            at = size if end < 0 else end + 1
            continue
        line = text.find("\n", at)
        line = size if line < 0 else line
        equals = text.find("=", at, line)
        if equals < 0:
            at = line + 1
            continue
        key = text[at:equals].strip()
        value, at = _value(text, equals + 1)
        yield Assignment(key, value, start, at)


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that begins at a place of the text, and where what follows it begins."""
    size, value, bare, quoting = len(text), "", False, ""
    solid = 0  # trailing blanks of an unquoted value do not count
    while at < size:
        letter = text[at]
        at += 1
        if quoting == "'":
            if letter == "'":
                quoting = ""
            else:
                value += letter
            solid = len(value)
        elif quoting == '"':
            if letter == '"':
                quoting = ""
            elif letter == "\\" and at < size:
                escaped = text[at]
                at += 1
                if escaped in '"\\`$':
                    value += escaped
                elif escaped != "\n":
                    value += letter + escaped
            else:
                value += letter
            solid = len(value)
        elif letter == "\n":
            break
        elif letter == "\\":
            if at < size:
                if text[at] != "\n":
                    value += text[at]
                at += 1
            bare, solid = True, len(value)
        elif not bare and letter in "'\"":
            quoting = letter
        elif not bare and letter in " \t\r":
            continue
        else:
            bare = True
            value += letter
            if letter not in " \t\r":
                solid = len(value)
    return value[:solid], at


def env_line(key: str, value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]*", value):
        return f"{key}={value}\n"
    escaped = re.sub(r'(["\\`$])', r"\\\1", value)
    return f'{key}="{escaped}"\n'


def env_values(text: str) -> dict[str, str]:
    return {found.key: found.value for found in assignments(text)}  # the last one counts, as for systemd


def merge_env(path: str, text: str, wanted: Mapping[str, str], dropped: Mapping[str, str]) -> str:
    """The text with every wanted key at its value. A dropped key loses its line only while its value is still the one
    that was deployed (its sha256 in dropped)."""
    pieces: list[str] = []
    at, seen = 0, set()
    for key, value, start, end in assignments(text):
        pieces.append(text[at:start])
        piece = text[start:end]
        if key in wanted:
            seen.add(key)
            if value != wanted[key]:
                piece = env_line(key, wanted[key])
        elif key in dropped and digest_of(value) == dropped[key]:
            piece = ""
        pieces.append(piece)
        at = end
    merged = "".join(pieces) + text[at:]
    for key in wanted:
        if key not in seen:
            if merged and not merged.endswith("\n"):
                merged += "\n"
            merged += env_line(key, wanted[key])
    values = env_values(merged)
    for key in wanted:
        if values.get(key) != wanted[key]:
            raise Failure(f"{quote(path)}: {quote(key)} cannot be set: a line before it opens a quote that nothing closes")
    return merged
