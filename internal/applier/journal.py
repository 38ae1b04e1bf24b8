"""What was, saved so that it can be put back without needing room on the disk."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Any

from applier.accounts import put_account_back
from applier.clock import boot_id, since_boot
from applier.commands import run
from applier.files import (FOLDER_FLAGS, Place, look, remove_name, remove_tree, sync_folder, write_file)
from applier.records import (LAST_ROLLBACK, LAYERS, PENDING, STATE, clear_dirty, read_state, record_path, write_state)
from applier.request import Request, Spec, command_seconds
from applier.timer import SELF, disarm
from applier.units import is_unit_file, start_what_was_running, stop_what_was_not_running
from applier.words import Failure, describe, quote


class Journal:
    """A folder with what a change replaces. Old files are hard links: putting one back is a rename, which works on a
    full disk and keeps every attribute. `armed` ones become PENDING in one rename, complete or not there at all."""

    def __init__(self, path: str, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def load(cls, path: str) -> Journal | None:
        manifest = read_state(f"{path}/manifest.json")
        return None if manifest is None else cls(path, manifest)

    @classmethod
    def begin(cls, path: str, request: Request) -> Journal:
        remove_tree(path)
        os.mkdir(path, 0o700)
        declared = request.declared
        undo = declared.get("undo")
        journal = cls(path, {"layer": request.layer, "token": request.token, "digest": request.digest,
                             "bootId": boot_id(), "entries": [], "users": [], "groups": [], "units": [],
                             "undo": declared.get("reload") or [] if undo is None else undo,
                             "commandSeconds": command_seconds(declared),
                             "port": request.confirm["port"] if request.confirm else None,
                             "seconds": request.confirm["seconds"] if request.confirm else None})
        # The record is written now, so that keeping the change later needs no room either.
        write_state(f"{path}/record.json", {"token": request.token, "digest": request.digest, "declared": request.text,
                                            "appliedAt": int(time.time())})
        return journal

    def save(self, path: str) -> None:
        number = str(len(self.manifest["entries"]))
        entry: Spec = {"path": path, "was": "missing", "saved": number}
        try:
            with Place(path) as place:
                status = place.status()
                entry.update(mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid)
                if stat.S_ISLNK(status.st_mode):
                    entry.update(was="symlink", target=os.readlink(place.name, dir_fd=place.descriptor))
                elif stat.S_ISDIR(status.st_mode):
                    entry["was"] = "folder"
                elif stat.S_ISREG(status.st_mode):
                    entry["was"] = "file"
                    self._link(place, number, entry)
                else:
                    raise Failure(f"{quote(path)} is neither file nor folder")
        except (FileNotFoundError, NotADirectoryError):
            pass
        self.manifest["entries"].append(entry)

    def _link(self, place: Place, number: str, entry: Spec) -> None:
        folder = os.open(self.path, FOLDER_FLAGS)
        try:
            os.link(place.name, number, src_dir_fd=place.descriptor, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                raise
            found = look(place.path)
            write_file(f"{self.path}/{number}", found.data, entry["mode"], entry["uid"], entry["gid"])
            entry["was"] = "copy"
        finally:
            os.close(folder)

    def seal(self) -> None:
        write_state(f"{self.path}/manifest.json", self.manifest)

    def arm(self) -> None:
        self.manifest.update(since=int(time.time()), deadline=since_boot() + self.manifest["seconds"])
        for verdict in ("confirmed", "rollback"):
            with open(f"{self.path}/verdict-{verdict}", "w") as file:
                file.write(verdict)
        self.seal()
        sync_folder(self.path)
        remove_tree(PENDING)
        os.rename(self.path, PENDING)
        self.path = PENDING
        sync_folder(STATE)

    def applied(self) -> None:
        self.manifest["applied"] = since_boot()
        self.manifest["deadline"] = self.manifest["applied"] + self.manifest["seconds"]
        self.seal()

    def verdict(self) -> str | None:
        try:
            with open(f"{self.path}/verdict") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def claim(self, verdict: str) -> str | None:
        """Decides, once for all: the first to link the verdict wins, and everybody else reads it."""
        try:
            os.link(f"{self.path}/verdict-{verdict}", f"{self.path}/verdict")
        except FileExistsError:
            return self.verdict()
        except FileNotFoundError:  # settled and gone
            return None
        try:
            sync_folder(self.path)
        except FileNotFoundError:  # whoever waited for the verdict has acted on it already
            pass
        return verdict

    def put_back(self, entry: Spec) -> None:
        path, was = entry["path"], entry["was"]
        if path == SELF:
            return  # the timer may still need it
        saved = f"{self.path}/{entry['saved']}"
        try:
            place = Place(path, [] if was != "missing" else None)
        except (FileNotFoundError, NotADirectoryError):
            return
        with place:
            try:
                now = place.status()
            except FileNotFoundError:
                now = None
            if was == "missing":
                _empty(place, now)
            elif was == "folder":
                _old_folder(place, now, entry)
            elif was == "symlink":
                _old_symlink(place, now, entry)
            elif was == "copy":
                with open(saved, "rb") as file:
                    write_file(path, file.read(), entry["mode"], entry["uid"], entry["gid"])
            else:
                _old_file(place, saved)
            os.fsync(place.descriptor)

    def undo(self, patience: int) -> list[str]:
        """Puts everything back and returns what could not be. A full disk is a Failure: the journal stays, and the
        next try may find room. Anything else would fail again for ever, and the rest matters more."""
        problems: list[str] = []
        manifest = self.manifest
        stop_what_was_not_running(manifest["units"], problems)
        full = ""
        for entry in reversed(manifest["entries"]):
            try:
                self.put_back(entry)
            except (OSError, Failure) as error:
                problems.append(describe(error, entry["path"]))
                if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
                    full = problems[-1]
        if full:
            raise Failure(f"putting back what was before failed: {full}")
        for saved in reversed(manifest["users"]):
            try:
                put_account_back(saved)
            except Failure as failure:
                problems.append(str(failure))
        for name in manifest["groups"]:
            run(["groupdel", name])
        if any(is_unit_file(entry["path"]) for entry in manifest["entries"]):
            run(["systemctl", "daemon-reload"])
        start_what_was_running(manifest["units"], problems)
        for argv in manifest["undo"]:
            for chance in range(patience):
                done = run(argv, seconds=manifest["commandSeconds"])
                if done.code == 0:
                    break
                if chance + 1 < patience:  # after a boot, what it talks to may still be starting
                    time.sleep(3)
            else:
                problems.append(done.words())
        return problems

    def keep(self) -> None:
        """The change stays: the record makes it so, and comes before anything that could fail."""
        layer = self.manifest["layer"]
        os.rename(f"{self.path}/record.json", record_path(layer))
        sync_folder(LAYERS)
        clear_dirty(layer)
        last = read_state(LAST_ROLLBACK)
        if last and last.get("layer") == layer:
            os.unlink(LAST_ROLLBACK)
        self.drop()

    def drop(self) -> None:
        done = f"{STATE}/done"
        remove_tree(done)
        armed = self.path == PENDING
        os.rename(self.path, done)
        sync_folder(STATE)
        remove_tree(done)
        if armed:
            disarm()


def _empty(place: Place, now: os.stat_result | None) -> None:
    if now is None:
        return
    if not stat.S_ISDIR(now.st_mode):
        os.unlink(place.name, dir_fd=place.descriptor)
        return
    try:
        os.rmdir(place.name, dir_fd=place.descriptor)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def _old_folder(place: Place, now: os.stat_result | None, entry: Spec) -> None:
    if now is None:
        os.mkdir(place.name, 0o700, dir_fd=place.descriptor)
    descriptor = os.open(place.name, FOLDER_FLAGS, dir_fd=place.descriptor)
    try:
        os.fchown(descriptor, entry["uid"], entry["gid"])
        os.fchmod(descriptor, entry["mode"])
    finally:
        os.close(descriptor)


def _old_symlink(place: Place, now: os.stat_result | None, entry: Spec) -> None:
    fresh = f".{place.name}.openclaw-old"
    remove_name(fresh, place.descriptor)
    os.symlink(entry["target"], fresh, dir_fd=place.descriptor)
    os.chown(fresh, entry["uid"], entry["gid"], dir_fd=place.descriptor, follow_symlinks=False)
    if now is not None and stat.S_ISDIR(now.st_mode):
        os.rmdir(place.name, dir_fd=place.descriptor)
    os.rename(fresh, place.name, src_dir_fd=place.descriptor, dst_dir_fd=place.descriptor)


def _old_file(place: Place, saved: str) -> None:
    fresh = f".{place.name}.openclaw-old"
    remove_name(fresh, place.descriptor)
    os.link(saved, fresh, dst_dir_fd=place.descriptor, follow_symlinks=False)
    os.rename(fresh, place.name, src_dir_fd=place.descriptor, dst_dir_fd=place.descriptor)
    remove_name(fresh, place.descriptor)  # rename leaves it where both are one file already
