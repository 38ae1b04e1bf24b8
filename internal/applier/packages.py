"""Packages: which are there, and installing what is missing."""

import time
from collections.abc import Iterable

from applier.commands import Done, run
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
    apt("apt-get update", ["apt-get"] + options + ["update"], deadline)
    say(f"installing {' '.join(missing)}")
    apt(f"installing {' '.join(missing)}", ["apt-get"] + options + ["install", "--"] + missing, deadline)
    return missing
