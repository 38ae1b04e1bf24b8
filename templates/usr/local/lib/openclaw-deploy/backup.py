# Managed by Pulumi (openclaw): edits are overwritten by the next `pulumi up`.
"""Back OpenClaw up, and restore it. As root:

openclaw-backup                  make a backup now; exit status 0 only where a whole, verified one was made
openclaw-backup --check          say what is wrong with the backups; nothing where nothing is
openclaw-backup --mend           make one where something is wrong, remove what is older than it may be, see to the machine's key
openclaw-backup --left-out       say what the newest backup is without
openclaw-backup --newest         say which the newest is, and its SHA-256
openclaw-restore FILE|latest     put a backup's state and /etc/openclaw.env in the place of today's
openclaw-restore --sha256 SUM FILE   the same with one that was away: SUM is what it was when it was made
openclaw-restore -               the same with what comes from standard input, for claw restore
openclaw-restore --undo          take the last restore back

A backup is a plain tar of two files that age encrypted, to a key of this machine's root and to the operator's:
openclaw.env.age, and state.tar.zst.age, which holds the agent's folders by their names on the host. This machine knows
its own by their sums, which root keeps.

Root never parses what the agent wrote. tar reads and writes the agent's files as the service's user in a sandbox
(archive, list, unpack), to and from a pipe; root encrypts and decrypts bytes, and takes a folder over by renaming it.
"""

import contextlib
import datetime
import fcntl
import grp
import hashlib
import hmac
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO

STANDARD_INPUT = "-"
LATE_HOURS = 26  # a day, and what a backup may take
TARGET = "/backups/openclaw"
READERS = "claw"
SERVICE_USER = "openclaw"
STATE = "/var/lib/openclaw"
ENVIRONMENT = "/etc/openclaw.env"
OPERATORS = "/etc/openclaw/backup-recipients"  # whom backups are encrypted to, beside this machine
OWN = "/var/lib/openclaw-backup"  # root's alone
IDENTITY = OWN + "/identity"  # this machine's key, which goes with it
RECIPIENT = TARGET + "/recipient"  # its public half
SUMS = TARGET + "/SHA256SUMS"
RECORD = OWN + "/record.json"
UNDO = OWN + "/undo"  # what a restore replaced
PENDING = OWN + "/restoring.json"  # there while a restore is not finished
PIPE = OWN + "/pipe"  # between root and a unit of the service's user
SPOOL = "/var/spool/openclaw-backup"  # copies of databases, and what was left out: the service's user's
LEFT_OUT = SPOOL + "/left-out.json"
STAGE = "/var/lib/openclaw-restore"  # a backup is unpacked there, beside the state
TREE = STAGE + "/tree"
ARCHIVE_UNIT = "openclaw-backup-archive.service"
LIST_UNIT = "openclaw-restore@list.service"
UNPACK_UNIT = "openclaw-restore@unpack.service"
SERVICE = "openclaw.service"
INSTALLER = "/usr/local/sbin/openclaw-install"

ENV_MEMBER, STATE_MEMBER = "openclaw.env.age", "state.tar.zst.age"
MOST_TEXT = 1 << 20  # of an environment
MOST_REPORT = 64 << 10
MOST_NAMES = 20  # that a report holds; the rest is counted
LONGEST_NAME = 120  # of a file, as it is shown
LONGEST_PATH = 3900  # a tar cannot be unpacked where a path is longer than the kernel takes
LONGEST_LINE = 500  # of another program's
MOST_SHOWN = 160  # characters of a fault: the applier cuts longer lines
SPARE = 256 << 20  # of a disk, which stays free; and a twentieth of it
BATCH_BYTES, BATCH_FILES = 64 << 20, 1000  # of databases whose copies wait for the archive
LOCK_SECONDS = 60.0  # for all databases that somebody keeps locked
RENAME_EXCHANGE, AT_FDCWD = 2, -100


class Failure(Exception):
    """What failed, in words that may be shown; a hint may follow on a line of its own."""


def say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        pass  # whoever listened has gone; what was begun is finished all the same


# ---------------------------------------------------------------------------------------------------------------------
# The backup


def create(keep_days: int) -> None:
    """Makes a backup and notes how that ended."""
    record = read_record() or {"since": time.time()}
    record["last"] = {"started": time.time(), "ended": None, "fault": None}
    write_record(record)
    try:
        path, whole, left_out = make()
        expire(keep_days, os.path.basename(path))
    except (Failure, OSError, ValueError, tarfile.TarError, subprocess.CalledProcessError) as fault:
        record["last"].update(ended=time.time(), fault=words(fault))
        write_record(record)
        raise
    record["last"].update(ended=time.time())
    record["leftOut"] = left_out
    kept = {name: sum_ for name, sum_ in sums(record).items() if os.path.lexists(os.path.join(TARGET, name))}
    record["sums"] = {**kept, os.path.basename(path): whole}
    write_record(record)
    write(SUMS, "".join(f"{sum_}  {name}\n" for name, sum_ in record["sums"].items()).encode(), 0o640, readers())
    say(f"{path}: verified\nsha256 {whole}")
    for line in left_out_lines(record):
        say(line)


def make() -> tuple[str, str, dict[str, Any]]:
    for left in os.listdir(TARGET):  # by a run that was killed
        if left.startswith(".openclaw-") and left.endswith(".part"):
            os.unlink(os.path.join(TARGET, left))
    name = f"openclaw-{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S.%fZ}.tar"
    path, part = os.path.join(TARGET, name), os.path.join(TARGET, f".{name}.part")
    with open(ENVIRONMENT, "rb") as file:
        environment = file.read(MOST_TEXT + 1)
    if len(environment) > MOST_TEXT:
        raise Failure(f"{ENVIRONMENT}: larger than {MOST_TEXT} bytes")
    make_room()
    try:
        with open(part, "xb", buffering=0) as out:
            encrypt = ["age", "--encrypt", *(word for key in recipients() for word in ("--recipient", key))]
            with member(out, ENV_MEMBER):
                subprocess.run(encrypt, input=environment, stdout=out, check=True)
            with member(out, STATE_MEMBER):
                from_unit(ARCHIVE_UNIT, "the archive of the agent's files failed", encrypt, out)
            out.write(bytes(2 * tarfile.BLOCKSIZE))
            os.fsync(out.fileno())
        left_out = read_left_out()
        with open(part, "rb") as made:
            backup = Backup(made)
            if backup.environment() != environment:
                raise Failure(f"{part}: its environment is not what was written")
            backup.state_into(LIST_UNIT, "it was made and cannot be read")
        os.chown(part, 0, readers())
        os.chmod(part, 0o640)
        os.rename(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    link = os.path.join(TARGET, ".latest.part")
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(name, link)
    os.rename(link, os.path.join(TARGET, "latest"))
    sync_folder(TARGET)
    return path, backup.whole, left_out


@contextlib.contextmanager
def member(out: IO[bytes], name: str) -> Iterator[None]:
    """One file of the tar, whose length is known once it is written."""
    start = out.tell()
    out.write(bytes(tarfile.BLOCKSIZE))
    yield
    end = out.seek(0, os.SEEK_END)
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = end - start - tarfile.BLOCKSIZE, 0o600, int(time.time())
    out.write(bytes(-entry.size % tarfile.BLOCKSIZE))
    out.seek(start)
    out.write(entry.tobuf(tarfile.GNU_FORMAT))
    out.seek(0, os.SEEK_END)


def recipients() -> list[str]:
    """This machine's key, made where there is none yet, and the operator's."""
    if not os.path.exists(IDENTITY):
        made = subprocess.run(["age-keygen"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        write(IDENTITY, made)
    own = subprocess.run(["age-keygen", "-y", IDENTITY], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    write(RECIPIENT, f"{own}\n".encode(), 0o640, readers())
    with open(OPERATORS) as file:
        return [own, *(line.strip() for line in file if line.startswith("age1"))]


def from_unit(unit: str, failed: str, argv: list[str], out: IO[bytes]) -> None:
    """Runs a unit whose standard output is the pipe, through a program of root's into a file."""
    new_pipe()
    reader = os.open(PIPE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    keeper = os.open(PIPE, os.O_WRONLY | os.O_CLOEXEC)  # while it is there the reader sees no end
    os.set_blocking(reader, True)
    sealing = subprocess.Popen(argv, stdin=reader, stdout=out)
    os.close(reader)
    try:
        run_unit(unit, failed, lambda: make_room() if sealing.poll() is None else fail("no room, or age ended early"))
    except BaseException:
        sealing.kill()
        raise
    finally:
        os.close(keeper)
        status = sealing.wait()
        os.unlink(PIPE)
    if status != 0:
        raise Failure(f"age ended with exit status {status}")


def fail(text: str) -> None:
    raise Failure(text)


def new_pipe() -> None:
    if os.path.lexists(PIPE):
        os.unlink(PIPE)
    os.mkfifo(PIPE, 0o600)


def backups() -> list[str]:
    """By their names, which is by their age."""
    return sorted(name for name in os.listdir(TARGET) if name.startswith("openclaw-") and name.endswith(".tar"))


def expire(keep_days: int, newest: str) -> None:
    for name in backups():
        path = os.path.join(TARGET, name)
        if name != newest and time.time() - os.lstat(path).st_mtime > keep_days * 86400:
            os.unlink(path)


def make_room() -> None:
    """The oldest gives way while the disk has less than it is to keep; the newest never does."""
    while missing_room(TARGET) > 0:
        old = [name for name in backups() if name != newest()]
        if not old:
            raise Failure(f"{TARGET}: the disk is full: {shutil.disk_usage(TARGET).free >> 20} MB are free, and no older backup is left that could give way")
        os.unlink(os.path.join(TARGET, old[0]))


def missing_room(folder: str) -> int:
    usage = shutil.disk_usage(folder)
    return max(SPARE, usage.total // 20) - usage.free


def newest() -> str | None:
    try:
        return os.path.basename(os.readlink(os.path.join(TARGET, "latest")))
    except OSError:
        return None


def check() -> str | None:
    """What is wrong with the backups, on one line; None where nothing is."""
    record = read_record()
    if record is None:
        return f"there is no {RECORD}: no run of openclaw-backup is known"
    last = record.get("last")
    if last and last["ended"] is None:
        return f"the run of {when(last['started'])} did not end"
    if last and last["fault"]:
        return f"the run of {when(last['started'])} failed: {last['fault'].splitlines()[0][:MOST_SHOWN]}"
    made = 0.0
    try:
        made = os.stat(os.path.join(TARGET, "latest")).st_mtime
    except OSError:
        if last:
            return f"{TARGET}/latest is gone"
    if time.time() - max(made, record["since"]) > LATE_HOURS * 3600:
        return f"the newest backup is of {when(made)}" if made else f"there is no backup since {when(record['since'])}"
    return None


def mend(keep_days: int) -> None:
    recipients()  # a machine just made has a key, to be sent a backup; and until its first night for its own
    if read_record() is None:
        write_record({"since": time.time()})
    fault = check()
    if fault:
        say(f"{fault}: making one now")
        create(keep_days)
    elif name := newest():
        expire(keep_days, name)


def when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def read_record() -> dict[str, Any] | None:
    try:
        with open(RECORD) as file:
            record: dict[str, Any] = json.load(file)
            return record
    except (FileNotFoundError, ValueError):
        return None


def write_record(record: dict[str, Any]) -> None:
    write(RECORD, json.dumps(record).encode())


def sums(record: dict[str, Any] | None) -> dict[str, str]:
    found: dict[str, str] = (record or {}).get("sums") or {}
    return found


def readers() -> int:
    return grp.getgrnam(READERS).gr_gid


def read_left_out() -> dict[str, Any]:
    """What the archive's unit says that it left out: the service's user wrote it, so it is bounded and cleaned."""
    try:
        with open(os.open(LEFT_OUT, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            said = json.loads(file.read(MOST_REPORT))
        names = [[printable(str(word))[:LONGEST_NAME] for word in pair][:2] for pair in said["names"][:MOST_NAMES]]
        return {"count": int(said["count"]), "names": [pair for pair in names if len(pair) == 2]}
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise Failure(f"{LEFT_OUT}: no account of what was left out: {words(fault)}") from None


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def left_out_lines(record: dict[str, Any] | None) -> list[str]:
    left = (record or {}).get("leftOut") or {"count": 0, "names": []}
    if not left["count"]:
        return []
    lines = [f"the newest backup is without {left['count']} of the agent's files, which cannot be kept:"]
    lines += [f"| {name}: {why}" for name, why in left["names"]]
    if left["count"] > len(left["names"]):
        lines.append(f"and {left['count'] - len(left['names'])} more")
    return lines


# ---------------------------------------------------------------------------------------------------------------------
# The agent's files, as the service's user in the sandbox


class LeftOut:
    """What no archive can hold, by its name."""

    def __init__(self) -> None:
        self.count, self.names = 0, list[tuple[str, str]]()

    def add(self, name: str, why: str) -> None:
        self.count += 1
        if len(self.names) < MOST_NAMES:
            self.names.append((name[-LONGEST_NAME:], why[:LONGEST_NAME]))


# Names come as they are, from a file, each ended by a zero: no byte of one means anything.
TAR = ["tar", "--quoting-style=escape", "--create", "--file=-", "--format=gnu", "--sparse", "--ignore-failed-read", "--no-recursion", "--null",
       "--verbatim-files-from"]
# What tar says of a file that it keeps all the same, or that was gone before anybody could keep it.
KEPT = re.compile(r"file changed as we read it|File shrank by \d+ bytes; padding with zeros|File removed before we read it|No such file or directory|time stamp")
TARS_WORD = re.compile(r"tar: (.*?): (?:Warning: )?([^:]+(?:: [^:]+)?)$")


def archive(places: list[str]) -> None:
    """Writes the places to standard output, a tar compressed; databases as SQLite copies them."""
    empty(SPOOL)
    left = LeftOut()
    packing = subprocess.Popen(["zstd", "-3", "--quiet", "--stdout"], stdin=subprocess.PIPE)
    assert packing.stdin
    until = time.monotonic() + LOCK_SECONDS
    copied: list[bytes] = []
    size = 0

    def flush() -> None:
        nonlocal size
        if copied:
            with open(SPOOL + "/copied", "wb") as file:
                file.write(b"".join(path[1:] + b"\0" for path in copied))
            run_tar(["--directory=" + SPOOL + "/copies", "--files-from=" + SPOOL + "/copied"], packing, left)
            shutil.rmtree(SPOOL + "/copies")
            copied.clear()
            size = 0

    with open(SPOOL + "/names", "wb") as names:
        for place in places:
            for paths, databases in walk(os.fsencode(place), left):
                instead: set[bytes] = set()
                for path, length in databases:
                    if copy_database(path, until):
                        instead |= {path + end for end in (b"", b"-wal", b"-shm", b"-journal")}
                        copied.append(path)
                        size += length
                        if size > BATCH_BYTES or len(copied) >= BATCH_FILES:
                            flush()
                names.writelines(path[1:] + b"\0" for path in paths if path not in instead)
    flush()
    run_tar(["--directory=/", "--files-from=" + SPOOL + "/names"], packing, left)
    packing.stdin.close()
    if packing.wait() != 0:
        raise Failure("zstd failed: nobody takes what it writes, or it has no memory")
    with open(LEFT_OUT, "w") as report:
        json.dump({"count": left.count, "names": left.names}, report)


def walk(top: bytes, left: LeftOut) -> Iterator[tuple[list[bytes], list[tuple[bytes, int]]]]:
    """What stands in each folder from one on, that one first; and what of it may be a database, with its length. Other file systems
    are left out, and folders too deep for anybody to unpack."""
    try:
        device = os.lstat(top).st_dev
    except OSError:
        return
    yield [top], []
    folders = [top]
    while folders:
        folder = folders.pop()
        paths: list[bytes] = []
        databases: list[tuple[bytes, int]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue  # gone
                    if stat.S_ISDIR(found.st_mode) and found.st_dev != device:
                        left.add(shown_name(entry.path), "another file system")
                    elif len(entry.path) > LONGEST_PATH:
                        left.add(shown_name(entry.path), "too deep")
                    else:
                        paths.append(entry.path)
                        if stat.S_ISDIR(found.st_mode):
                            folders.append(entry.path)
                        elif stat.S_ISREG(found.st_mode) and found.st_size >= 512 and found.st_size % 512 == 0 and is_database(entry.path):
                            databases.append((entry.path, found.st_size))
        except OSError:
            pass  # tar, which cannot open it either, says why
        yield paths, databases


def shown_name(path: bytes) -> str:
    return repr(os.fsdecode(path))[1:-1]


def is_database(path: bytes) -> bool:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def copy_database(path: bytes, until: float) -> bool:
    """Copies a database that may be in use. What SQLite cannot copy, or not before that time, stays a file like any other."""
    import sqlite3  # each look at the host runs this program, and needs neither
    import urllib.parse

    def progress(status: int, _left: int, _all: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise TimeoutError

    target = os.fsencode(SPOOL + "/copies") + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        found = os.lstat(path)
        # With the right to write: a reader alone cannot open a journal that nobody holds open.
        source = sqlite3.connect(f"file:{urllib.parse.quote(path)}?mode=rw", uri=True, timeout=0)
        try:
            copy = sqlite3.connect(os.fsdecode(target))
            try:
                copy.execute("PRAGMA journal_mode=OFF")
                copy.execute("PRAGMA synchronous=OFF")
                source.backup(copy, progress=progress, sleep=0.05)
            finally:
                copy.close()
        finally:
            source.close()
        os.chmod(target, stat.S_IMODE(found.st_mode))
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        return True
    except (sqlite3.Error, OSError):
        if missing_room(SPOOL) > 0:
            raise Failure(f"{SPOOL}: the disk is full: a database could not be copied") from None
        with contextlib.suppress(OSError):
            os.unlink(target)
        return False


def run_tar(what: list[str], packing: "subprocess.Popen[bytes]", left: LeftOut) -> None:
    tar = subprocess.Popen([*TAR, *what], stdin=subprocess.DEVNULL, stdout=packing.stdin, stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
    assert tar.stderr
    for raw in tar.stderr:
        line = raw.decode("ascii", "replace").rstrip("\n")
        said = TARS_WORD.fullmatch(line)
        if "Error is not recoverable" in line:
            tar.kill()
            tar.wait()
            raise Failure(f"{line}: nobody takes what it writes")
        if said and not KEPT.search(line) and said[1] != "Exiting with failure status due to previous errors":
            left.add("/" + said[1], said[2])
    tar.wait()


def read_archive(argv: list[str]) -> None:
    """Standard input, through zstd, into tar."""
    unpacking = subprocess.Popen(["zstd", "--decompress", "--quiet", "--stdout"], stdout=subprocess.PIPE)
    tar = subprocess.run(["tar", "--quoting-style=escape", "--file=-", "--ignore-zeros", *argv], stdin=unpacking.stdout, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}, check=False)
    assert unpacking.stdout
    unpacking.stdout.close()
    if unpacking.wait() != 0 or tar.returncode != 0:
        said = [line for line in tar.stderr.decode("ascii", "replace").splitlines() if "Exiting with failure" not in line]
        raise Failure("the archive is damaged" + (f": {said[-1][:LONGEST_LINE]}" if said else ""))


def unpack() -> None:
    """As its user may, links as they were: tar makes those that lead out of the folder last, and writes through none."""
    os.mkdir(TREE, 0o700)
    read_archive(["--extract", "--preserve-permissions", "--delay-directory-restore", "--directory=" + TREE])


# ---------------------------------------------------------------------------------------------------------------------
# What a backup has to look like


class Backup:
    """Reads a backup that anybody may have made: two plain files in their order, each a header of ours, and nothing else."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, total = file, hashlib.sha256()
        self.places: dict[str, tuple[int, int]] = {}
        for name in (ENV_MEMBER, STATE_MEMBER):
            header = self.take(tarfile.BLOCKSIZE, total)
            try:
                entry = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            except (tarfile.HeaderError, ValueError):
                raise Failure(f"no backup of this program: it has no {name} where that should be") from None
            # Not tarfile's own reader, which obeys what further headers say: here there are none.
            if entry.name != name or entry.type != tarfile.REGTYPE or entry.linkname or entry.size < 0 or entry.uid or entry.gid or entry.mode != 0o600:
                raise Failure(f"no backup of this program: {entry.name[:80]!r} stands where {name} should be")
            self.places[name] = (file.tell(), entry.size)
            left = entry.size + -entry.size % tarfile.BLOCKSIZE
            while left:
                left -= len(self.take(min(left, 1 << 20), total))
        if self.take(2 * tarfile.BLOCKSIZE, total).strip(b"\0") or file.read(1):
            raise Failure("something follows the backup: it was altered, or something else made it")
        self.whole = total.hexdigest()

    def take(self, size: int, total: Any) -> bytes:
        block = self.file.read(size)
        if len(block) != size:
            raise Failure("it ends too early: it was cut off")
        total.update(block)
        return block

    def pieces(self, name: str) -> Iterator[bytes]:
        start, left = self.places[name]
        self.file.seek(start)
        while left:
            block = self.file.read(min(left, 1 << 20))
            if not block:
                return
            left -= len(block)
            yield block

    def environment(self) -> bytes:
        if self.places[ENV_MEMBER][1] > 2 * MOST_TEXT:
            raise Failure(f"{ENV_MEMBER}: larger than {MOST_TEXT} bytes")
        done = subprocess.run(["age", "--decrypt", "--identity", IDENTITY], input=b"".join(self.pieces(ENV_MEMBER)), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise Failure(undecrypted(done.stderr))
        return done.stdout

    def state_into(self, unit: str, failed: str) -> None:
        """Decrypts the state into the pipe that is a unit's standard input."""
        new_pipe()
        # It opens the pipe once the unit does.
        opening = subprocess.Popen(["sh", "-c", 'exec age --decrypt --identity "$1" >"$2"', "age", IDENTITY, PIPE], stdin=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        assert opening.stdin and opening.stderr
        feeder = threading.Thread(target=feed_pieces, args=(opening.stdin, self.pieces(STATE_MEMBER)))
        feeder.start()
        fault: Failure | None = None
        try:
            run_unit(unit, failed, lambda: fail(f"{STAGE}: the disk is full") if missing_room(STAGE) > 0 else None)
        except Failure as failure:
            fault = failure
            if opening.poll() is None:
                time.sleep(0.2)  # it may be about to say why
                opening.kill()
        finally:
            said = opening.stderr.read()
            status = opening.wait()
            feeder.join()
            os.unlink(PIPE)
        if status > 0 and said:
            raise Failure(undecrypted(said))
        if fault:
            raise fault


def feed_pieces(pipe: IO[bytes], pieces: Iterator[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        for piece in pieces:
            pipe.write(piece)


def undecrypted(said: bytes) -> str:
    if b"no identity matched" in said:
        return ("it is encrypted, and not to this machine's key: another machine made it\n"
                "hint: from the operator's computer, which has the key: claw restore FILE")
    return "it cannot be decrypted: it was altered or damaged"


# ---------------------------------------------------------------------------------------------------------------------
# The restore


def restore(name: str, sum_: str | None, places: list[str]) -> None:
    """Verified and staged first, then switched; the old state comes back where the gateway does not get ready."""
    recover()
    path = name if name == STANDARD_INPUT else os.path.realpath(os.path.join(TARGET, "latest") if name == "latest" else name)
    clear_stage()
    try:
        try:
            environment, staged = stage(path, sum_, places)
        except Failure as fault:
            raise Failure(f"{shown(path)}: refused, nothing was changed: {fault}") from None
        say(f"{shown(path)}: verified")
        old = switch(environment, staged)
    finally:
        clear_stage()
    say(f"{shown(path)}: restored, and the gateway is ready")
    say(f"the state as it was is kept in {old}: openclaw-restore --undo brings it back")
    say("variables that the stack configures are in /etc/openclaw.env as they were when the backup was made: "
        "`pulumi up` brings them up to date")


def shown(path: str) -> str:
    return "the backup" if path == STANDARD_INPUT else path


def stage(path: str, sum_: str | None, places: list[str]) -> tuple[bytes, list[str]]:
    """Verifies a backup, and unpacks it where nobody but root gets once it is done. Gives its environment and the places that it has."""
    if path == STANDARD_INPUT:
        return taken_over(sys.stdin.buffer, path, None, places)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Failure("there is no such file") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise Failure("not a plain file")
    with os.fdopen(descriptor, "rb") as file:
        if os.path.dirname(path) == TARGET:
            return unpacked(Backup(file), path, sum_, places)
        return taken_over(file, path, sum_, places)


def taken_over(file: BinaryIO, path: str, sum_: str | None, places: list[str]) -> tuple[bytes, list[str]]:
    """The same with a copy, which nobody can alter any more."""
    with open(os.path.join(STAGE, "backup.tar"), "x+b") as copy:
        while block := file.read(1 << 20):
            copy.write(block)
            if missing_room(STAGE) > 0:
                raise Failure(f"{STAGE}: the disk is full")
        copy.flush()
        copy.seek(0)
        return unpacked(Backup(copy), path, sum_, places)


def unpacked(backup: Backup, path: str, sum_: str | None, places: list[str]) -> tuple[bytes, list[str]]:
    if sum_ is not None and not hmac.compare_digest(sum_.lower(), backup.whole):
        raise Failure(f"its SHA-256 is {backup.whole}, not the one that was given: it was altered, or is another file")
    # Who sends one through sudo has compared it: claw restore.
    if sum_ is None and path != STANDARD_INPUT and backup.whole not in sums(read_record()).values():
        raise Failure("this machine made no such backup: another one did, or it was altered\n"
                      "hint: from the operator's computer, with the SHA-256 that it had when it was made: claw restore --sha256 SUM FILE")
    environment = backup.environment()
    carried = os.path.join(STAGE, "openclaw.env")
    write(carried, environment)
    asked = subprocess.run([INSTALLER, "environment", carried], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           errors="replace", check=False)
    if asked.returncode != 0:
        raise Failure(asked.stdout.strip())
    user = pwd.getpwnam(SERVICE_USER)
    os.chown(STAGE, user.pw_uid, user.pw_gid)
    try:
        backup.state_into(UNPACK_UNIT, "it cannot be unpacked")
    finally:
        os.chown(STAGE, 0, 0)  # from here on nobody but root gets there
    staged = []
    for place in places:
        fresh = TREE + place
        # Below a folder of the service's user, whose programs get there no more: what stands there stays.
        if not os.path.lexists(fresh):
            continue
        there = os.lstat(fresh)
        if os.path.realpath(fresh) != fresh or not stat.S_ISDIR(there.st_mode) or there.st_uid != user.pw_uid:
            raise Failure(f"{place} in it is no folder of {SERVICE_USER}'s")
        if not os.path.isdir(place):
            raise Failure(f"it holds {place}, which is no folder here\nhint: mkdir {place} && chown {SERVICE_USER}: {place}")
        staged.append(place)
    if STATE not in staged:
        raise Failure(f"it holds no {STATE}")
    return environment, staged


def switch(environment: bytes, places: list[str]) -> str:
    """An exchange of two folders for the state, and of what is in them for another place; what was goes to UNDO. No hangup in the
    middle of it ends it."""
    ignore_signals()
    with open(ENVIRONMENT, "rb") as file:
        old_environment = file.read()
    subprocess.run(["sync", "--file-system", TREE], check=True)
    shutil.rmtree(UNDO, ignore_errors=True)
    os.mkdir(UNDO, 0o700)
    write(os.path.join(UNDO, "openclaw.env"), old_environment)
    os.rename(TREE, os.path.join(UNDO, "tree"))
    pending: dict[str, Any] = {"inode": os.lstat(kept(STATE)).st_ino, "folders": places[1:], "copied": []}
    write(PENDING, json.dumps(pending).encode())
    try:
        stop_service()
        exchange(kept(STATE), STATE)
        for folder in places[1:]:
            swap_contents(folder, pending)
        write_environment(environment)
        start_service()
    except (Failure, OSError, subprocess.CalledProcessError) as fault:
        try:
            recover()
        except Failure as again:
            raise Failure(f"{words(fault)}\nthe old state is back, and does not start either: {again}") from None
        raise Failure(f"the gateway does not get ready with the restored state: the old one is back: {words(fault)}") from None
    write(os.path.join(UNDO, "places.json"), json.dumps(places).encode())
    os.unlink(PENDING)
    return UNDO


def kept(place: str) -> str:
    return UNDO + "/tree" + place


def ignore_signals() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def undo() -> None:
    recover()
    try:
        with open(UNDO + "/places.json") as file:
            places = json.load(file)
    except FileNotFoundError:
        raise Failure("no restore is kept that could be taken back") from None
    ignore_signals()
    stop_service()
    swap_environment()
    exchange(kept(STATE), STATE)
    for folder in places[1:]:
        swap_contents(folder, None)
    start_service()
    say("the state from before the restore is back, and the gateway is ready; --undo once more takes that back")


def swap_environment() -> None:
    with open(ENVIRONMENT, "rb") as file:
        today = file.read()
    with open(os.path.join(UNDO, "openclaw.env"), "rb") as file:
        before = file.read()
    write(os.path.join(UNDO, "openclaw.env"), today)
    write_environment(before)


def swap_contents(folder: str, pending: dict[str, Any] | None) -> None:
    """Exchanges what is in a folder, which may be a disk of its own, with what is kept of it."""
    was = kept(folder) + ".was"  # there while the folder is neither the one nor the other
    copy_folder(folder, was + ".part")
    os.rename(was + ".part", was)
    fill(folder, kept(folder))
    if pending:
        pending["copied"].append(folder)
        write(PENDING, json.dumps(pending).encode())
    shutil.rmtree(kept(folder))
    os.rename(was, kept(folder))


def fill(folder: str, source: str) -> None:
    subprocess.run(["find", folder, "-xdev", "-mindepth", "1", "-delete"], check=True)
    copy_folder(source, folder)


def copy_folder(source: str, target: str) -> None:
    """No link is followed, and nobody of the service's is there to put one in the way."""
    subprocess.run(["cp", "--archive", "--one-file-system", "--reflink=auto", "--no-target-directory", source, target], check=True)


def recover() -> None:
    """Takes back a restore that did not finish: its process was killed, or the gateway did not get ready."""
    try:
        with open(PENDING) as file:
            pending = json.load(file)
    except FileNotFoundError:
        return
    except ValueError:
        pending = {"inode": None, "folders": [], "copied": []}
    if os.lstat(STATE).st_ino == pending["inode"]:  # the exchange took place
        stop_service()
        for folder in pending["folders"]:
            if os.path.isdir(kept(folder) + ".was"):
                fill(folder, kept(folder) + ".was")
            elif folder in pending["copied"]:
                fill(folder, kept(folder))
        swap_environment()
        exchange(kept(STATE), STATE)
        say("a restore that did not finish was taken back")
    shutil.rmtree(UNDO, ignore_errors=True)
    os.unlink(PENDING)
    start_service()


def exchange(one: str, other: str) -> None:
    import ctypes  # it makes memory that is writable and executable, which the sandbox of a backup refuses

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise Failure(f"exchange {one} and {other}: {os.strerror(number)}")
    sync_folder(os.path.dirname(other))


def write_environment(content: bytes) -> None:
    write(ENVIRONMENT, content, 0o640, grp.getgrnam(SERVICE_USER).gr_gid)


def stop_service() -> None:
    subprocess.run(["systemctl", "stop", SERVICE], check=True)


def start_service() -> None:
    """The installer knows how to start it: it waits until the gateway is ready, and says why it is not."""
    done = subprocess.run([INSTALLER, "switch"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    if done.returncode != 0:
        raise Failure(done.stdout.strip() or f"{INSTALLER} switch: exit status {done.returncode}")


def clear_stage() -> None:
    os.makedirs(STAGE, 0o700, exist_ok=True)
    os.chown(STAGE, 0, 0)
    empty(STAGE)


# ---------------------------------------------------------------------------------------------------------------------
# Both


def run_unit(unit: str, failed: str, watch: Callable[[], None]) -> None:
    """Runs a unit to its end, and looks twice a second at what may end it; where it fails its own last line says why."""
    subprocess.run(["systemctl", "reset-failed", unit], stderr=subprocess.DEVNULL, check=False)
    starting = subprocess.Popen(["systemctl", "start", unit], stderr=subprocess.DEVNULL)
    while True:
        try:
            if starting.wait(0.5) == 0:
                return
            break
        except subprocess.TimeoutExpired:
            try:
                watch()
            except Failure:
                subprocess.run(["systemctl", "stop", unit], stderr=subprocess.DEVNULL, check=False)
                starting.wait()
                raise
    shown = subprocess.run(["systemctl", "show", "--value", "--property=InvocationID", unit], stdout=subprocess.PIPE,
                           text=True, check=False).stdout.strip()
    subprocess.run(["journalctl", "--namespace=openclaw", "--sync"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    lines = subprocess.run(["journalctl", "--namespace=+openclaw", "--no-pager", "--quiet", "--output=cat", "--lines=40", "--unit=" + unit,
                            "_SYSTEMD_INVOCATION_ID=" + shown], stdout=subprocess.PIPE, text=True, errors="replace",
                           check=False).stdout.splitlines()
    said = [re.sub("[^ -~]", "?", line[:LONGEST_LINE]) for line in lines if line.strip()]  # a terminal obeys some characters
    # What this program says there comes before systemd's last word, now and then.
    said = [line for line in said if line.startswith(("openclaw-archive: ", "openclaw-list: ", "openclaw-unpack: "))] or said
    raise Failure(f"{failed}: {said[-1] if said else 'see journalctl --namespace=+openclaw -u ' + unit}")


def empty(folder: str) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def write(path: str, content: bytes, mode: int = 0o600, group: int = 0) -> None:
    fresh = path + ".new"
    with open(fresh, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), 0, group)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.rename(fresh, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def words(fault: Exception) -> str:
    return str(fault) or type(fault).__name__


class Lock:
    """One backup or restore at a time; who only looks may be where nothing can be written."""

    def __init__(self, wait: bool, looks: bool = False) -> None:
        self.wait, self.looks = wait, looks

    def __enter__(self) -> None:
        self.descriptor = -1
        if not self.looks:
            os.makedirs(OWN, 0o700, exist_ok=True)
        try:
            self.descriptor = os.open(OWN + "/lock", os.O_RDONLY | os.O_CLOEXEC | (0 if self.looks else os.O_CREAT), 0o600)
        except FileNotFoundError:
            return  # nobody has begun anything yet
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | (0 if self.wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(self.descriptor)
            raise Failure("a backup or a restore is under way") from None

    def __exit__(self, *_: object) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def main(command: str, arguments: list[str]) -> None:
    os.umask(0o077)
    # The wrappers and units say how many days backups are kept, and where the agent has files beside its state.
    keep_days = int(arguments.pop(0)) if command == "backup" else 0
    places = [STATE]
    if arguments and arguments[0].startswith("--folder="):
        places += [folder for folder in [arguments.pop(0).removeprefix("--folder=")] if folder]
    if command == "archive":
        archive(places)
        return
    if command == "list":
        read_archive(["--list"])
        return
    if command == "unpack":
        unpack()
        return
    if os.geteuid() != 0:
        raise Failure("it needs root: sudo openclaw-" + command)
    if command == "backup" and arguments == ["--check"]:
        try:
            with Lock(wait=False, looks=True):
                fault = check()
        except Failure:
            return  # under way: nothing is wrong yet
        if fault:
            print(fault)
    elif command == "backup" and arguments == ["--left-out"]:
        for line in left_out_lines(read_record()):
            print(line)
    elif command == "backup" and arguments == ["--newest"]:
        for name, sum_ in sums(read_record()).items():
            if name == newest():
                print(f"{name} sha256 {sum_}")
    elif command == "backup" and arguments in ([], ["--mend"]):
        with Lock(wait=True):
            (mend if arguments else create)(keep_days)
    elif command == "restore" and arguments == ["--undo"]:
        with Lock(wait=False):
            undo()
    elif command == "restore" and len(arguments) == 1 and (arguments[0] == STANDARD_INPUT or not arguments[0].startswith("-")):
        with Lock(wait=False):
            restore(arguments[0], None, places)
    elif command == "restore" and len(arguments) == 3 and arguments[0] == "--sha256":
        with Lock(wait=False):
            restore(arguments[2], arguments[1], places)
    else:
        sys.exit("usage: openclaw-backup [--check | --mend | --left-out | --newest]\n"
                 "       openclaw-restore [--sha256 SUM] FILE|latest\n"
                 "       openclaw-restore --undo")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except (Failure, OSError, ValueError, tarfile.TarError, subprocess.CalledProcessError) as problem:
        sys.exit(f"openclaw-{sys.argv[1]}: {words(problem)}")
