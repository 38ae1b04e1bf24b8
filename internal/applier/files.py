"""Files, reached one folder at a time: a user who owns a folder on the way must not be able to turn root elsewhere."""

from __future__ import annotations

import errno
import os
import re
import stat

from applier.words import Failure, quote, sha256

MAX_CONTENT = 64 << 20  # nothing that a layer manages is larger
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found:
    """What stands at a path: missing, file, folder, symlink or other."""

    def __init__(self, kind: str, status: os.stat_result | None = None, target: str = "") -> None:
        self.kind = kind
        self.mode = stat.S_IMODE(status.st_mode) if status else 0
        self.uid = status.st_uid if status else -1
        self.gid = status.st_gid if status else -1
        self.target = target
        self.data = b""
        self.sha256 = ""

    def words(self) -> str:
        return {"missing": "missing", "file": "a file", "folder": "a folder", "symlink": "a symlink",
                "other": "neither file nor folder"}[self.kind]


def open_folder(path: str, make: list[str] | None = None) -> int:
    """Opens a folder. A symlink on the way is followed only where root alone could have put it there. With make, a
    list, missing folders are made and named in it."""
    here = os.open("/", FOLDER_FLAGS)
    try:
        parts = [part for part in path.split("/") if part]
        walked, links = "", 0
        while parts:
            part = parts.pop(0)
            if part == ".":
                continue
            try:
                there = os.open(part, FOLDER_FLAGS, dir_fd=here)
            except FileNotFoundError:
                if make is None:
                    raise
                os.mkdir(part, 0o700, dir_fd=here)
                os.chmod(part, 0o755, dir_fd=here)
                make.append(f"{walked}/{part}")
                parts.insert(0, part)
                continue
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                links += 1
                target = _trusted_target(path, walked, part, here)
                if links > 40:
                    raise Failure(f"{quote(path)}: too many symlinks")
                parts = [step for step in target.split("/") if step] + parts
                if target.startswith("/"):
                    os.close(here)
                    here = os.open("/", FOLDER_FLAGS)
                    walked = ""
                continue
            os.close(here)
            here = there
            walked = f"{walked}/{part}"
        return here
    except BaseException:
        os.close(here)
        raise


def _trusted_target(path: str, walked: str, part: str, here: int) -> str:
    """Where a symlink on the way leads to, which root alone could have put there."""
    status = os.stat(part, dir_fd=here, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        raise Failure(f"{quote(path)}: {quote(f'{walked}/{part}')} is not a folder")
    folder = os.fstat(here)
    if status.st_uid != 0 or folder.st_uid != 0 or folder.st_mode & 0o022:
        raise Failure(f"{quote(path)}: refusing to follow the symlink {quote(f'{walked}/{part}')}, which root did not make")
    return os.readlink(part, dir_fd=here)


class Place:
    """The folder of a path, open, and the last name in it."""

    def __init__(self, path: str, make: list[str] | None = None) -> None:
        folder, self.name = os.path.split(path)
        self.path = path
        self.descriptor = open_folder(folder, make)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def status(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.descriptor, follow_symlinks=False)


def look(path: str, read: bool = True) -> Found:
    """What stands at a path, with its content where it is a file."""
    try:
        with Place(path) as place:
            status = place.status()
            if stat.S_ISLNK(status.st_mode):
                return Found("symlink", status, os.readlink(place.name, dir_fd=place.descriptor))
            if stat.S_ISDIR(status.st_mode):
                return Found("folder", status)
            if not stat.S_ISREG(status.st_mode):
                return Found("other", status)
            if not read:
                return Found("file", status)
            # Not blocking, or a pipe put there between the two calls would hang this.
            descriptor = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                                 dir_fd=place.descriptor)
            with os.fdopen(descriptor, "rb") as file:
                found = Found("file", os.fstat(descriptor))
                found.data = file.read(MAX_CONTENT)
                found.sha256 = sha256(found.data)
                return found
    except (FileNotFoundError, NotADirectoryError):
        return Found("missing")


def write_file(path: str, data: bytes, mode: int, uid: int, gid: int, make: list[str] | None = None) -> None:
    """Replaces a file in one step: whoever reads the path finds the whole old content or the whole new one."""
    with Place(path, make) as place:
        fresh = f".{place.name}.openclaw-new"
        remove_name(fresh, place.descriptor)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                             dir_fd=place.descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchown(descriptor, uid, gid)
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            os.rename(fresh, place.name, src_dir_fd=place.descriptor, dst_dir_fd=place.descriptor)
        except BaseException:
            remove_name(fresh, place.descriptor)
            raise
        os.fsync(place.descriptor)


def make_folder(path: str, mode: int, uid: int, gid: int) -> None:
    """Makes a folder, in the place of whatever else stands there."""
    found = look(path, read=False)
    if found.kind in ("file", "symlink", "other"):
        with Place(path) as place:
            os.unlink(place.name, dir_fd=place.descriptor)
    with Place(path, []) as place:
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.descriptor)
        except FileExistsError:
            pass
        descriptor = os.open(place.name, FOLDER_FLAGS, dir_fd=place.descriptor)
        try:
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.fsync(place.descriptor)


def remove(path: str) -> None:
    try:
        with Place(path) as place:
            remove_name(place.name, place.descriptor)
            os.fsync(place.descriptor)
    except (FileNotFoundError, NotADirectoryError):
        pass


def remove_name(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def remove_tree(path: str) -> None:
    import shutil

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass


def sync_folder(path: str) -> None:
    descriptor = os.open(path, FOLDER_FLAGS)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def matching(pattern: str) -> list[str]:
    """The paths that a pattern names, without following symlinks that root did not make."""
    import fnmatch

    paths = [""]
    for part in [part for part in pattern.split("/") if part]:
        if not re.search(r"[*?\[]", part):
            paths = [f"{path}/{part}" for path in paths]
            continue
        longer: list[str] = []
        for path in paths:
            if path and not os.path.isdir(path):
                continue
            try:
                folder = open_folder(path or "/")
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                longer += [f"{path}/{name}" for name in sorted(os.listdir(folder)) if fnmatch.fnmatchcase(name, part)]
            finally:
                os.close(folder)
        paths = longer
    return [path for path in paths if look(path, read=False).kind != "missing"]
