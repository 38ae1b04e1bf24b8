"""Which of the host's sockets a service's processes can connect to, tried as one of them."""

import errno
import os
import socket
import stat
from collections.abc import Iterator

from applier.commands import Done
from applier.findings import Finding
from applier.request import Spec
from applier.undeclared import Host

TABLE = "/proc/net/unix"
FOLDER = "/run"  # daemons in networks of their own have theirs there too, and in no table of this network
KINDS = {"0001": socket.SOCK_STREAM, "0002": socket.SOCK_DGRAM, "0005": socket.SOCK_SEQPACKET}
EVERY_KIND = tuple(KINDS.values())

# What a socket that is within reach answers: it is there, though busy or of another kind.
REACHED = (errno.EAGAIN, errno.EPROTOTYPE)


def names_now() -> dict[str, tuple[int, ...]]:
    """The host's sockets by path, or by name with an @ in front, with their kinds."""
    found: dict[str, set[int]] = {}
    with open(TABLE, encoding="utf-8", errors="surrogateescape") as file:
        for line in list(file)[1:]:
            fields = line.rstrip("\n").split(" ", 7)
            if len(fields) == 8 and fields[7] and fields[4] in KINDS:
                found.setdefault(fields[7], set()).add(KINDS[fields[4]])
    for base, _, files in os.walk(FOLDER):
        for name in files:
            path = f"{base}/{name}"
            try:
                is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
            except OSError:
                continue
            if is_socket and path not in found:
                found[path] = set(EVERY_KIND)
    return {name: tuple(sorted(kinds)) for name, kinds in found.items()}


def reached(name: str, kinds: tuple[int, ...]) -> bool:
    address: str | bytes = b"\0" + os.fsencode(name[1:]) if name.startswith("@") else name
    for kind in kinds:
        with socket.socket(socket.AF_UNIX, kind) as link:
            link.setblocking(False)
            try:
                link.connect(address)
                return True
            except OSError as error:
                if error.errno in REACHED:
                    return True
    return False


def as_process(pid: int, uid: int, gid: int, names: dict[str, tuple[int, ...]]) -> list[str]:
    """The names that are within reach of a process's network and files, as a user."""
    import ctypes  # Debian 12's Python has none of these calls of its own, nor its mypy

    libc = ctypes.CDLL(None)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # Opened before any is entered: /proc is another one then.
            net, mnt, base = [os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                              for name in ("ns/net", "ns/mnt", "root")]
            if all(libc.setns(descriptor, 0) == 0 for descriptor in (net, mnt)):
                os.fchdir(base)
                os.chroot(".")
                # The user for files alone, which takes root's rights over them too: a process of the user's own could be
                # ended by the service, and with it the look at the host.
                os.setgroups([])
                libc.setfsgid(gid)
                libc.setfsuid(uid)
                if (libc.setfsgid(-1), libc.setfsuid(-1)) == (gid, uid):
                    said = "\0".join(name for name, kinds in names.items() if reached(name, kinds))
                    os.write(writing, os.fsencode(said) + b"\0")
                    status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = os.fsdecode(file.read())
    if os.waitpid(child, 0)[1] != 0:
        raise OSError(errno.EIO, "the try failed")
    return [name for name in said.split("\0") if name]


def probe_sockets(probe: Spec, done: Done, host: Host) -> Iterator[Finding]:
    shown = done.out.strip()
    uid, gid = host.accounts.uid(probe["user"]), host.accounts.gid(probe["user"])
    if not shown.isdigit() or shown == "0" or uid is None or gid is None:
        return  # what does not run reaches nothing, and others find that it does not run
    try:
        within = as_process(int(shown), uid, gid, names_now())
    except OSError as error:
        if not os.path.exists(f"/proc/{shown}"):
            return
        yield Finding(f"sockets within reach of {probe['service']}", "an answer", error.strerror or str(error))
        return
    for name in sorted(set(within) - set(probe.get("want") or [])):
        yield Finding(f"socket {name}", f"out of reach of {probe['service']}", "within its reach")
