"""Taking away what nobody declared. What was there is kept."""

import os
import time

from applier.commands import must, run
from applier.files import look, remove, write_file
from applier.findings import Put, Repair, Run, Strip
from applier.packages import apt
from applier.records import QUARANTINE
from applier.undeclared import Host, strip_account
from applier.units import is_unit_file
from applier.words import say


def quarantine(path: str) -> None:
    """Keeps what is taken away, where root alone reads it."""
    found = look(path)
    if found.kind == "missing":
        return
    data = found.data if found.kind == "file" else f"{found.words()} {found.target}\n".encode()
    where = f"{QUARANTINE}/{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}{path}"
    write_file(where, data, 0o600, 0, 0, [])
    say(f"{path} is kept as {where}")


def repair(how: Repair, host: Host) -> None:
    if isinstance(how, Run):
        for argv in how.commands:
            must("taking away what nobody declared", argv)
        return
    if isinstance(how, Strip):
        strip_account(how, host)
        return
    path = how.path
    quarantine(path)
    if isinstance(how, Put) and how.data is not None:
        write_file(path, how.data, how.mode, how.uid, how.gid, [])
        return
    if is_unit_file(path) and "." in os.path.basename(path) and os.path.dirname(path).endswith("/system"):
        run(["systemctl", "stop", os.path.basename(path)])
    remove(path)
    if not isinstance(how, Put):
        owner = must(f"finding the package of {path}", ["dpkg-query", "--search", path]).out.partition(": ")[0]
        apt(f"bringing back {path}", ["apt-get", "-y", "-q", "-o", "Dpkg::Options::=--force-confmiss", "-o",
                                      "Dpkg::Use-Pty=0", "install", "--reinstall", "--", owner],
            time.monotonic() + 300)
