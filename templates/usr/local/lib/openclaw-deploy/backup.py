# Managed by Pulumi (openclaw): edits are overwritten by the next `pulumi up`.
"""Back OpenClaw up, and restore it. As root:

openclaw-backup                  make a backup now; exit status 0 only where a whole, verified one was made
openclaw-backup --check          say what is wrong with the backups; nothing where nothing is
openclaw-backup --mend           make one where something is wrong
openclaw-restore FILE|latest     put a backup's state and /etc/openclaw.env in the place of today's
openclaw-restore --sha256 SUM FILE   the same with one that another machine made: SUM is the file's, noted when it was
                                 taken away
openclaw-restore --undo          take the last restore back

A backup is a plain tar of four files: state.tar.gz, which OpenClaw made of its state; openclaw.env; SHA256SUMS of the
two; and SEAL, by which this machine knows its own: an HMAC of SHA256SUMS with a key of the stack that root alone reads.

Root never parses what the agent wrote. OpenClaw's own archive is made, looked through and unpacked by the service's
user in a sandbox (inspect, unpack); root takes files over as bytes, up to a size, and a folder by renaming it.
"""

import datetime
import fcntl
import grp
import gzip
import hashlib
import hmac
import io
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
import time
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, cast

LATE_HOURS = 26  # a day, and what a backup may take
TARGET = "/backups/openclaw"
READERS = "claw"
SERVICE_USER = "openclaw"
STATE = "/var/lib/openclaw"
ENVIRONMENT = "/etc/openclaw.env"
CONFIGURATION = "/etc/openclaw"  # OpenClaw's archive holds it too; here it is Pulumi's
KEY = "/etc/openclaw/backup-key"
OWN = "/var/lib/openclaw-backup"  # root's alone
RECORD = OWN + "/record.json"
UNDO = OWN + "/undo"  # what a restore replaced
PENDING = OWN + "/restoring.json"  # there while a restore is not finished
SPOOL = "/var/spool/openclaw-backup"  # the service's user makes its archive there
STAGE = "/var/lib/openclaw-restore"  # and unpacks it there, beside the state
ARCHIVE_UNIT = "openclaw-backup-archive.service"
UNPACK_UNIT = "openclaw-restore-unpack.service"
SERVICE = "openclaw.service"
INSTALLER = "/usr/local/sbin/openclaw-install"

INNER, ENV, SUMS, SEAL = "state.tar.gz", "openclaw.env", "SHA256SUMS", "SEAL"
MOST_BYTES = (8 << 30) - 1  # of a file in the archive: what its header holds
MOST_TEXT = 1 << 20  # of the other three
MOST_UNPACKED = 16 << 30
MOST_ENTRIES = 500_000
LONGEST_LINE = 500  # of another program's
MOST_SHOWN = 160  # characters of a fault: the applier cuts longer lines
SPARE = 256 << 20  # of the disk, which stays free
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


def create(keep_days: int) -> str:
    """Makes a backup and notes how that ended."""
    record = read_record() or {"since": time.time()}
    record["last"] = {"started": time.time(), "ended": None, "fault": None}
    write_record(record)
    try:
        path = make(keep_days)
    except (Failure, OSError, ValueError, tarfile.TarError, subprocess.CalledProcessError) as fault:
        record["last"].update(ended=time.time(), fault=words(fault))
        write_record(record)
        raise
    record["last"].update(ended=time.time())
    write_record(record)
    return path


def make(keep_days: int) -> str:
    run_unit(ARCHIVE_UNIT, "OpenClaw's own backup failed")
    now = datetime.datetime.now(datetime.timezone.utc)
    name = f"openclaw-{now:%Y%m%dT%H%M%S.%fZ}.tar"
    path, part = os.path.join(TARGET, name), os.path.join(TARGET, f".{name}.part")
    for left in os.listdir(TARGET):  # by a run that was killed
        if left.startswith(".openclaw-") and left.endswith(".part"):
            os.unlink(os.path.join(TARGET, left))
    try:
        pack(part)
        with open(part, "rb") as file:
            whole = Backup(file).whole
        os.chown(part, 0, grp.getgrnam(READERS).gr_gid)
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
    os.unlink(os.path.join(SPOOL, INNER))
    expire(now, name, keep_days)
    say(f"{path}: verified\nsha256 {whole}")
    return path


def pack(part: str) -> None:
    """Takes OpenClaw's archive over into a sealed tar, synced."""
    spool = os.open(SPOOL, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    descriptor = os.open(INNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=spool)
    os.close(spool)
    with os.fdopen(descriptor, "rb") as state:
        found = os.fstat(state.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise Failure(f"{SPOOL}/{INNER}: not a plain file")
        if found.st_size > MOST_BYTES:
            raise Failure(f"{SPOOL}/{INNER}: {found.st_size} bytes, at most {MOST_BYTES} are kept")
        want_room(TARGET, found.st_size)
        with open(ENVIRONMENT, "rb") as file:
            environment = file.read(MOST_TEXT + 1)
        if len(environment) > MOST_TEXT:
            raise Failure(f"{ENVIRONMENT}: larger than {MOST_TEXT} bytes")
        with open(part, "xb") as out:
            with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                reader = Summing(state)
                add(tar, INNER, cast("IO[bytes]", reader), found.st_size)
                add(tar, ENV, io.BytesIO(environment), len(environment))
                sums = sums_text(reader.sum.hexdigest(), hashlib.sha256(environment).hexdigest())
                add(tar, SUMS, io.BytesIO(sums), len(sums))
                seal = seal_text(sums)
                add(tar, SEAL, io.BytesIO(seal), len(seal))
            out.flush()
            os.fsync(out.fileno())


class Summing:
    """Reads a file once, for the archive and for its sum."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sum = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        self.sum.update(block)
        return block


def add(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    tar.addfile(entry, file)


def sums_text(inner: str, environment: str) -> bytes:
    return f"{inner}  {INNER}\n{environment}  {ENV}\n".encode()


def seal_text(sums: bytes) -> bytes:
    with open(KEY, "rb") as file:
        key = bytes.fromhex(file.read().decode("ascii").strip())
    if len(key) < 32:
        raise Failure(f"{KEY}: no key")
    return f"HMAC-SHA256 {hmac.new(key, sums, hashlib.sha256).hexdigest()}\n".encode()


def expire(now: datetime.datetime, newest: str, keep_days: int) -> None:
    for name in os.listdir(TARGET):
        if is_backup(name) and name != newest:
            path = os.path.join(TARGET, name)
            if now.timestamp() - os.lstat(path).st_mtime > keep_days * 86400:
                os.unlink(path)


def is_backup(name: str) -> bool:
    return name.startswith("openclaw-") and name.endswith(".tar")


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
    newest = 0.0
    try:
        newest = os.stat(os.path.join(TARGET, "latest")).st_mtime
    except OSError:
        if last:
            return f"{TARGET}/latest is gone"
    if time.time() - max(newest, record["since"]) > LATE_HOURS * 3600:
        return f"the newest backup is of {when(newest)}" if newest else f"there is no backup since {when(record['since'])}"
    return None


def mend(keep_days: int) -> None:
    if read_record() is None:  # a machine just made has until its first night
        write_record({"since": time.time()})
    fault = check()
    if fault:
        say(f"{fault}: making one now")
        create(keep_days)


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


# ---------------------------------------------------------------------------------------------------------------------
# What a backup has to look like


class Backup:
    """Reads a backup that anybody may have made: four plain files in their order, each a header of ours, and nothing
    else. Copies state.tar.gz to `inner` on the way, where that is given."""

    def __init__(self, file: BinaryIO, inner: BinaryIO | None = None) -> None:
        self.file, self.total = file, hashlib.sha256()
        got = self.member(INNER, MOST_BYTES, inner)
        self.environment, env_sum = self.text(ENV)
        self.sums_text, _ = self.text(SUMS)
        self.seal_text, _ = self.text(SEAL)
        while block := self.take(tarfile.BLOCKSIZE, short=True):
            if block.strip(b"\0") or len(block) != tarfile.BLOCKSIZE:
                raise Failure("something follows the backup: it was altered, or something else made it")
        if self.sums_text != sums_text(got, env_sum):
            raise Failure("its files are not those that SHA256SUMS was made of: it was altered or damaged")
        self.whole = self.total.hexdigest()

    def sealed(self) -> bool:
        return hmac.compare_digest(self.seal_text, seal_text(self.sums_text))

    def take(self, size: int, short: bool = False) -> bytes:
        block = self.file.read(size)
        if len(block) != size and not short:
            raise Failure("it ends too early: it was cut off")
        self.total.update(block)
        return block

    def member(self, name: str, most: int, out: BinaryIO | None = None) -> str:
        header = self.take(tarfile.BLOCKSIZE)
        try:
            entry = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError):
            raise Failure(f"no backup of this program: it has no {name} where that should be") from None
        # Not tarfile's own reader, which obeys what further headers say: here there are none.
        if entry.name != name or entry.type != tarfile.REGTYPE or entry.linkname or not 0 <= entry.size <= most or \
                entry.uid or entry.gid or entry.mode != 0o600:
            raise Failure(f"no backup of this program: {entry.name[:80]!r} stands where {name} should be")
        total, left = hashlib.sha256(), entry.size
        while left:
            block = self.take(min(left, 1 << 20))
            left -= len(block)
            total.update(block)
            if out:
                out.write(block)
        self.take(-entry.size % tarfile.BLOCKSIZE)
        return total.hexdigest()

    def text(self, name: str) -> tuple[bytes, str]:
        out = io.BytesIO()
        total = self.member(name, MOST_TEXT, out)
        return out.getvalue(), total


class Bounded(io.RawIOBase):
    """A stream that ends in a fault where it is longer than it may be."""

    def __init__(self, file: gzip.GzipFile, most: int) -> None:
        self.file, self.left, self.most = file, most, most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(min(size if size >= 0 else 1 << 20, 1 << 20))
        self.left -= len(block)
        if self.left < 0:
            raise Failure(f"{INNER} unpacks to more than {self.most} bytes")
        return block


FOLDER = re.compile(r"[0-9A-Za-z.+:-]{1,80}-openclaw-backup")


class Entries:
    """Goes through OpenClaw's archive of its state, refuses what does not belong in one, and gives the rest, by its path
    below the state: as the service's user, in the sandbox."""

    def __init__(self, path: str, most: int) -> None:
        self.file, self.most = open(path, "rb"), most
        self.kinds = {"": "implied"}
        self.top: str | None = None
        self.size, self.count, self.manifest, self.found = 0, 0, False, False

    def __iter__(self) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
        try:
            plain = Bounded(gzip.GzipFile(fileobj=self.file), self.most)
            with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="r|", errorlevel=2) as tar:
                while member := tar.next():
                    cast(Any, tar).members.clear()  # it would keep them all
                    path = self.admit(member)
                    if path is not None:
                        yield path, member, tar
                while plain.read(1 << 20):  # to its end, where its sum is
                    pass
        except (tarfile.TarError, EOFError, OSError, UnicodeError, ValueError) as fault:
            if isinstance(fault, OSError) and fault.errno:
                raise
            raise Failure(f"{INNER} is damaged: {fault}") from None
        if not self.manifest or not self.found:
            raise Failure(f"{INNER} is not OpenClaw's: it holds no manifest and state")

    def admit(self, member: tarfile.TarInfo) -> str | None:
        name = member.name.rstrip("/") if member.isdir() else member.name
        shown = repr((name.partition("/payload/posix")[2] or name)[:200])  # as it is called on the host
        parts = name.split("/")
        if not name or name.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in name:
            raise Failure(f"{INNER} holds {shown}, which leads out of it")
        self.count += 1
        self.size += member.size
        if self.count > MOST_ENTRIES or self.size > self.most:
            raise Failure(f"{INNER} unpacks to more than {self.most} bytes or {MOST_ENTRIES} entries")
        if not (member.isreg() or member.isdir() or member.issym()) or member.issparse():
            kind = "a hard link" if member.islnk() else "a device" if member.isdev() else "no plain file"
            raise Failure(f"{INNER} holds {shown}, which is {kind}")
        if member.mode & 0o7000:
            raise Failure(f"{INNER} holds {shown} with mode {member.mode:o}")
        if self.top is None and FOLDER.fullmatch(parts[0]):
            self.top = parts[0]
        if parts[0] != self.top:
            raise Failure(f"{INNER} holds {shown}, which is not OpenClaw's")
        inside = "/".join(parts[1:])
        # Nothing twice, and nothing below what is no folder: a link that the archive made is never written through.
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if self.kinds.setdefault(above, "implied") not in ("implied", "folder"):
                raise Failure(f"{INNER} holds {shown} below what is no folder")
        if self.kinds.get(name, "new") != ("implied" if member.isdir() and name in self.kinds else "new"):
            raise Failure(f"{INNER} holds {shown} twice")
        self.kinds[name] = "folder" if member.isdir() else "link" if member.issym() else "file"
        if inside == "manifest.json" and member.isreg():
            self.manifest = True
            return None
        for path, wanted in ((STATE, True), (CONFIGURATION, False)):
            place = "payload/posix" + path
            if inside == place or inside.startswith(place + "/"):
                if wanted and inside == place and not member.isdir():
                    raise Failure(f"{INNER} holds {shown}, which is no folder")
                self.found = self.found or wanted
                return inside[len(place) + 1:] if wanted else None
            if (place + "/").startswith(inside + "/") and member.isdir():
                return None
        if not inside and member.isdir():
            return None
        raise Failure(f"{INNER} holds {shown}, which is not OpenClaw's state")


def inspect(path: str) -> None:
    """Whether a restore would take it: what is no use then is no backup."""
    for _ in Entries(path, MOST_UNPACKED):
        pass


def unpack(source: str, target: str) -> None:
    """Unpacks what the agent wrote, with the rights of the agent, into a folder that does not exist yet. The agent's
    links are the last to be made, as they were: nothing is written through them."""
    room = shutil.disk_usage(os.path.dirname(target)).free - SPARE
    if room < 0:
        raise Failure(f"{os.path.dirname(target)}: the disk is full")
    os.mkdir(target, 0o700)
    folders: list[tuple[str, tarfile.TarInfo]] = []
    links: list[tuple[str, tarfile.TarInfo]] = []
    for path, member, tar in Entries(source, min(MOST_UNPACKED, room)):
        full = os.path.join(target, path) if path else target
        if member.isdir():
            os.makedirs(full, 0o700, exist_ok=True)
            folders.append((full, member))
            continue
        os.makedirs(os.path.dirname(full), 0o700, exist_ok=True)
        if member.issym():
            links.append((full, member))
            continue
        descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            shutil.copyfileobj(cast("IO[bytes]", tar.extractfile(member)), out, 1 << 20)
            out.flush()
            os.fchmod(out.fileno(), member.mode & 0o777)
            os.utime(out.fileno(), (member.mtime, member.mtime))
    for full, member in links:
        os.symlink(member.linkname, full)
    for full, member in reversed(folders):
        os.chmod(full, member.mode & 0o777)
    os.chmod(target, 0o700)


# ---------------------------------------------------------------------------------------------------------------------
# The restore


def restore(name: str, sum_: str | None) -> None:
    """Verified and staged first, then switched; the old state comes back where the gateway does not get ready."""
    recover()
    path = resolve(name)
    clear_stage()
    try:
        environment = stage(path, sum_)
        old = switch(environment)
    finally:
        clear_stage()
    say(f"{path}: restored, and the gateway is ready")
    say(f"the state as it was is kept in {old}: openclaw-restore --undo brings it back")
    say("variables that the stack configures are in /etc/openclaw.env as they were when the backup was made: "
        "`pulumi up` brings them up to date")


def resolve(name: str) -> str:
    if name == "latest":
        name = os.path.join(TARGET, "latest")
    return os.path.realpath(name)


def stage(path: str, sum_: str | None) -> bytes:
    """Copies the backup to where nobody can alter it any more while it is read, and verifies it there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Failure(f"there is no {path}") from None
    user = pwd.getpwnam(SERVICE_USER)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise Failure(f"{path}: not a plain file")
    with os.fdopen(descriptor, "rb") as file:
        want_room(STAGE, 2 * found.st_size)
        if os.stat(STAGE).st_dev != os.stat(STATE).st_dev:
            raise Failure(f"{STAGE} and {STATE} are on two file systems: there is no switching in one step")
        inner = os.path.join(STAGE, INNER)
        with open(inner, "xb") as out:
            try:
                backup = Backup(file, out)
            except Failure as fault:
                raise Failure(f"{path}: refused, nothing was changed: {fault}") from None
    whole = backup.whole
    if sum_ is not None and not hmac.compare_digest(sum_.lower(), whole):
        raise Failure(f"{path}: refused, nothing was changed: its SHA-256 is {whole}, not the one that was given:"
                      " it was altered, or is another file")
    if sum_ is None and not backup.sealed():
        raise Failure(f"{path}: refused, nothing was changed: it does not bear this machine's seal: another machine made"
                      " it, or it was altered\n"
                      "hint: where it is yours, from before a rebuild, compare this SHA-256 with the one you noted, and"
                      f" vouch for it: openclaw-restore --sha256 {whole} {path}")
    carried = os.path.join(STAGE, ENV)
    write(carried, backup.environment)
    asked = subprocess.run([INSTALLER, "environment", carried], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           errors="replace", check=False)
    if asked.returncode != 0:
        raise Failure(f"{path}: refused, nothing was changed: {asked.stdout.strip()}")
    os.chown(inner, user.pw_uid, user.pw_gid)
    os.chown(STAGE, user.pw_uid, user.pw_gid)
    os.chmod(STAGE, 0o700)
    try:
        run_unit(UNPACK_UNIT, f"{path}: refused, nothing was changed")
    finally:
        os.chown(STAGE, 0, 0)  # from here on nobody but root gets there
    unpacked = os.lstat(os.path.join(STAGE, "state"))
    if not stat.S_ISDIR(unpacked.st_mode) or unpacked.st_uid != user.pw_uid:
        raise Failure(f"{STAGE}/state: not a folder of {SERVICE_USER}'s")
    say(f"{path}: verified")
    return backup.environment


def switch(environment: bytes) -> str:
    """One exchange of two folders; what was goes to UNDO. No hangup in the middle of it ends it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    fresh = os.path.join(STAGE, "state")
    with open(ENVIRONMENT, "rb") as file:
        old_environment = file.read()
    subprocess.run(["sync", "--file-system", fresh], check=True)
    shutil.rmtree(UNDO, ignore_errors=True)
    os.mkdir(UNDO, 0o700)
    write(os.path.join(UNDO, ENV), old_environment)
    write(PENDING, json.dumps({"inode": os.lstat(fresh).st_ino}).encode())
    try:
        stop_service()
        exchange(fresh, STATE)
        os.rename(fresh, os.path.join(UNDO, "state"))
        write_environment(environment)
        start_service()
    except (Failure, OSError, subprocess.CalledProcessError) as fault:
        try:
            recover()
        except Failure as again:
            raise Failure(f"{words(fault)}\nthe old state is back, and does not start either: {again}") from None
        raise Failure(f"the gateway does not get ready with the restored state: the old one is back: {words(fault)}") from None
    os.unlink(PENDING)
    return UNDO


def undo() -> None:
    recover()
    if not os.path.isdir(os.path.join(UNDO, "state")):
        raise Failure("no restore is kept that could be taken back")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    swap_back()
    start_service()
    say("the state from before the restore is back, and the gateway is ready; --undo once more takes that back")


def swap_back() -> None:
    """Exchanges today's state and environment with those in UNDO."""
    stop_service()
    with open(ENVIRONMENT, "rb") as file:
        today = file.read()
    with open(os.path.join(UNDO, ENV), "rb") as file:
        before = file.read()
    exchange(os.path.join(UNDO, "state"), STATE)
    write(os.path.join(UNDO, ENV), today)
    write_environment(before)


def recover() -> None:
    """Takes back a restore that did not finish: its process was killed, or the gateway did not get ready."""
    try:
        with open(PENDING) as file:
            inode = json.load(file)["inode"]
    except FileNotFoundError:
        return
    except (ValueError, KeyError):
        inode = None
    if inode is not None and os.lstat(STATE).st_ino == inode:  # the exchange took place
        left = os.path.join(STAGE, "state")
        if os.path.isdir(left):
            os.rename(left, os.path.join(UNDO, "state"))
        swap_back()
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
    for name in os.listdir(STAGE):
        path = os.path.join(STAGE, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


# ---------------------------------------------------------------------------------------------------------------------
# Both


def run_unit(unit: str, failed: str) -> None:
    """Runs a unit to its end; where that fails its own last line says why."""
    subprocess.run(["systemctl", "reset-failed", unit], stderr=subprocess.DEVNULL, check=False)
    if subprocess.run(["systemctl", "start", unit], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return
    shown = subprocess.run(["systemctl", "show", "--value", "--property=InvocationID", unit], stdout=subprocess.PIPE,
                           text=True, check=False).stdout.strip()
    subprocess.run(["journalctl", "--namespace=openclaw", "--sync"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    lines = subprocess.run(["journalctl", "--namespace=+openclaw", "--no-pager", "--quiet", "--output=cat", "--lines=40", "--unit=" + unit,
                            "_SYSTEMD_INVOCATION_ID=" + shown], stdout=subprocess.PIPE, text=True, errors="replace",
                           check=False).stdout.splitlines()
    said = [re.sub("[^ -~]", "?", line[:LONGEST_LINE]) for line in lines if line.strip()]  # a terminal obeys some characters
    # What this program says there comes before the last word of OpenClaw's, now and then.
    said = [line for line in said if line.startswith(("openclaw-inspect: ", "openclaw-unpack: "))] or said
    raise Failure(f"{failed}: {said[-1] if said else 'see journalctl --namespace=+openclaw -u ' + unit}")


def want_room(folder: str, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free - size < SPARE:
        raise Failure(f"{folder}: {free >> 20} MB are free, {(size + SPARE) >> 20} MB are needed")


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
    """One backup or restore at a time."""

    def __init__(self, wait: bool) -> None:
        self.wait = wait

    def __enter__(self) -> None:
        os.makedirs(OWN, 0o700, exist_ok=True)
        self.descriptor = os.open(OWN + "/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | (0 if self.wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(self.descriptor)
            raise Failure("a backup or a restore is under way") from None

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def main(command: str, arguments: list[str]) -> None:
    os.umask(0o077)
    if command == "inspect":
        inspect(os.path.join(SPOOL, INNER))
        return
    if command == "unpack":
        unpack(os.path.join(STAGE, INNER), os.path.join(STAGE, "state"))
        return
    keep_days = int(arguments.pop(0)) if command == "backup" else 0  # the program's wrapper says it
    if os.geteuid() != 0:
        raise Failure("it needs root: sudo openclaw-" + command)
    if command == "backup" and arguments == ["--check"]:
        try:
            with Lock(wait=False):
                fault = check()
        except Failure:
            return  # under way: nothing is wrong yet
        if fault:
            print(fault)
    elif command == "backup" and arguments in ([], ["--mend"]):
        with Lock(wait=True):
            (mend if arguments else create)(keep_days)
    elif command == "restore" and arguments == ["--undo"]:
        with Lock(wait=False):
            undo()
    elif command == "restore" and len(arguments) == 1 and not arguments[0].startswith("-"):
        with Lock(wait=False):
            restore(arguments[0], None)
    elif command == "restore" and len(arguments) == 3 and arguments[0] == "--sha256":
        with Lock(wait=False):
            restore(arguments[2], arguments[1])
    else:
        sys.exit("usage: openclaw-backup [--check | --mend]\n"
                 "       openclaw-restore [--sha256 SUM] FILE|latest\n"
                 "       openclaw-restore --undo")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except (Failure, OSError, ValueError, tarfile.TarError, subprocess.CalledProcessError) as problem:
        sys.exit(f"openclaw-{sys.argv[1]}: {words(problem)}")
