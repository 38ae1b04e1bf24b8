"""What is said, and to whom: no secret, nothing that a terminal obeys, and the exit statuses."""

import errno
import hashlib
import json
import os
import re
from typing import Any

NO_SPACE = "no space left on the disk"

EXIT_FAILED = 1
EXIT_ROLLED_BACK = 3
EXIT_NOT_PENDING = 75
EXIT_REFUSED = 77


class Failure(Exception):
    """What failed, in words that may be shown."""


SECRETS: set[str] = set()
INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")  # and yet "printable"
KEY_LINE = re.compile(r"(?i)((?:private|preshared)-?key\W{1,3})\S+")
LONG_TOKEN = re.compile(r"[A-Za-z0-9+/=]{16,}|[A-Za-z0-9_-]{20,}")


def hide(text: str) -> None:
    """Remembers what looks like a key in a text that not everybody may read, so that no message repeats it. Names of
    files and algorithms, which a message needs, are of small letters."""
    for token in LONG_TOKEN.findall(text):
        if re.search("[0-9]", token) and re.search("[a-z]", token) and re.search("[A-Z]", token) or \
                re.fullmatch("[0-9a-f]{32,}", token):
            SECRETS.add(token)


def printable(text: str) -> str:
    """Foreign text with question marks for what does not print: what a terminal obeys, what turns the direction of writing, what
    has no width or no meaning. Line breaks and tabs stay. Other programs on the host have the same function."""
    return "".join(c if c in "\n\t" or c.isprintable() and not INVISIBLE.match(c) else "?" for c in text)


def marked(text: str) -> str:
    """Foreign text on lines of its own: none of them passes for the program's words."""
    return "\n".join("| " + line for line in text.splitlines())


def clean(text: str) -> str:
    for secret in sorted(SECRETS, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return printable(KEY_LINE.sub(r"\1[secret]", text))


def tail(text: str, lines: int = 8, characters: int = 1500) -> str:
    """The last lines, each cut where they are too much: the first of them often says what the others are about."""
    kept = clean("\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-lines:])).split("\n")
    if sum(map(len, kept)) > characters:
        kept = [line[:characters // len(kept)] for line in kept]
    return "\n".join(kept)


def quote(text: object) -> str:
    return json.dumps(text, ensure_ascii=False)


def describe(error: Failure | OSError, path: str | None = None) -> str:
    """An error in words: a Failure's own, or what the system said of which path."""
    if isinstance(error, Failure):
        words, room = str(error), os.statvfs("/etc")
        # A tool that found no room says so in words of its own, or not at all. Of free blocks ext4 keeps some from everybody.
        full = room.f_bavail * room.f_frsize < 64 << 10 or "No space left on device" in words
        return f"{words}\n{NO_SPACE}" if full and NO_SPACE not in words else words
    name = path or error.filename
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    words = NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else (error.strerror or "i/o error").lower()
    return f"{quote(name)}: {words}" if name else words


def put(descriptor: int, data: bytes) -> None:
    # The session may be gone, cut by the very change: that is no reason to stop in the middle of it.
    try:
        while data:
            data = data[os.write(descriptor, data):]
    except OSError:
        pass


def say(text: str) -> None:
    put(2, (clean(text) + "\n").encode("utf-8", "replace"))


def answer(body: dict[str, Any], code: int) -> int:
    put(1, (json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "replace"))
    return code


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(value: str) -> str:
    return sha256(value.encode("utf-8", "surrogateescape"))
