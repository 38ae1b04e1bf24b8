"""Packages: which are there, and installing what is missing."""

import time
from collections.abc import Iterable

from applier.commands import Done, run
from applier.files import remove, write_file
from applier.records import SOURCES
from applier.request import Spec
from applier.words import Failure, say, tail

APT_SECONDS = 1800


def package_query(names: Iterable[str]) -> tuple[str, ...]:
    return "dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\n", "--", *sorted(names)


def installed_packages(done: Done) -> set[str]:
    have = set()
    for line in done.out.splitlines():
        name, _, status = line.partition(" ")
        if status[1:2] == "i" and status[2:3] in ("", " "):
            have.add(name)
    return have


class Locked(Failure):
    """Another apt does not end."""


def apt(what: str, argv: list[str], deadline: float) -> None:
    """apt-get, waiting for whoever else holds its locks: some of them it does not wait for by itself."""
    repaired, waiting = False, False
    while True:
        done = run(argv, seconds=APT_SECONDS)
        words = done.err + done.out
        if done.code == 0:
            return
        if "Could not get lock" in words or "Unable to acquire the dpkg frontend lock" in words or \
                "Unable to lock directory" in words:
            if time.monotonic() < deadline:
                if not waiting:
                    held = [line for line in words.splitlines() if "Could not get lock" in line]
                    say(f"waiting for another apt: {(held or [tail(words, 1)])[0]}")
                    waiting = True
                time.sleep(1)
                continue
            raise Locked(f"{what} failed: {done.words()}")
        elif "dpkg was interrupted" in words and not repaired:
            repaired = True
            say("finishing an interrupted installation")
            run(["dpkg", "--force-confold", "--force-confdef", "--configure", "-a"], seconds=APT_SECONDS)
            continue
        raise Failure(f"{what} failed: {done.words()}")


def install(declared: Spec, lock_seconds: int) -> list[str]:
    """Installs what is missing, and says what that was."""
    names = declared.get("packages") or []
    if not names:
        return []
    missing = sorted(set(names) - installed_packages(run(package_query(names))))
    if not missing:
        return []
    deadline = time.monotonic() + lock_seconds
    options = ["-y", "-q", "-o", f"DPkg::Lock::Timeout={lock_seconds}", "-o", "Acquire::Retries=3",
               "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Options::=--force-confdef",
               "-o", "Dpkg::Use-Pty=0"]
    say("reading the lists of packages")
    broken = read_lists(options, deadline)
    say(f"installing {' '.join(missing)}")
    try:
        apt(f"installing {' '.join(missing)}", ["apt-get"] + options + ["install", "--"] + missing, deadline)
    except Failure as error:
        raise Failure("\n".join([str(error), *broken])) from None
    return missing


def read_lists(options: list[str], deadline: float) -> list[str]:
    """Reads the lists of packages, and gives what is wrong with a source. One that is broken may be somebody else's, and what the
    distribution has is installed all the same; the look tells of it until the lists were read again without a fault."""
    broken: list[str] = []
    try:
        apt("apt-get update", ["apt-get"] + options + ["update"], deadline)
    except Locked:
        raise
    except Failure as error:
        broken = [f"apt-get update: {line[2:]}" for line in str(error).splitlines() if line.startswith("| E: ")] or [str(error)]
    remove(SOURCES)
    if broken:
        text = "; what the other sources have was installed. This is told of until the lists are read at night without a fault, or `sudo rm " + SOURCES + "`"
        write_file(SOURCES, "".join(f"{line}{text}\n" for line in broken).encode(), 0o600, 0, 0)
    return broken
