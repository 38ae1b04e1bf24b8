"""One change of the host at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from applier.words import Failure, say

LOCK = "/run/openclaw-deploy.lock"


class Lock:
    def __init__(self, what: str, seconds: int) -> None:
        self.what, self.seconds = what, seconds
        self.descriptor = -1

    def __enter__(self) -> Lock:
        self.descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        deadline, told = time.monotonic() + self.seconds, False
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
            holder = os.pread(self.descriptor, 200, 0).decode("utf-8", "replace").strip() or "another run"
            if time.monotonic() >= deadline:
                os.close(self.descriptor)
                raise Failure(f"the host is busy: {holder} holds {LOCK}, waited {self.seconds} s")
            if not told:
                say(f"waiting for {holder}")
                told = True
            time.sleep(0.05)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{self.what}, process {os.getpid()}".encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)
