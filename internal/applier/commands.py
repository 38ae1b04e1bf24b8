"""The host's own programs, run with a limit, and what they said."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from applier.files import MAX_CONTENT
from applier.words import Failure, marked, quote, tail

COMMAND_SECONDS = 120  # one check, reload or undo, where the layer names no limit of its own

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
    "DEBIAN_FRONTEND": "noninteractive",
    "UCF_FORCE_CONFFOLD": "1",
    "NEEDRESTART_MODE": "l",  # list only: a restart of ssh in the middle of a layer is the layer's to decide
}


class Job:
    """A running command. Its output goes to memory of its own, so that a daemon that keeps the output open, or the
    end of this process, neither hangs nor kills anything, and a full disk loses no message."""

    def __init__(self, argv: Sequence[str], stdin: bytes = b"") -> None:
        import subprocess  # a confirmation runs no command, and has no time to load it

        self.argv = argv
        self.out = os.memfd_create("out")
        self.err = os.memfd_create("err")
        self.input = os.memfd_create("in")
        os.write(self.input, stdin)
        os.lseek(self.input, 0, os.SEEK_SET)
        self.process: subprocess.Popen[bytes] | None = None
        self.problem = ""
        try:
            self.process = subprocess.Popen(
                argv, stdin=self.input, stdout=self.out, stderr=self.err, cwd="/",
                env=ENVIRONMENT, start_new_session=True, umask=0o022)
        except FileNotFoundError:
            self.problem = f"{argv[0]}: not found"
        except OSError as error:
            self.problem = f"{argv[0]}: {error.strerror}"

    def finish(self, seconds: float) -> Done:
        import subprocess

        code = 127
        if self.process is not None:
            try:
                code = self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                code, self.problem = 124, f"no end after {seconds} s"
        done = Done(self.argv, code, self._read(self.out), self._read(self.err), self.problem)
        os.close(self.input)
        return done

    @staticmethod
    def _read(descriptor: int) -> str:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MAX_CONTENT).decode("utf-8", "replace")


class Done:
    """A command that has ended, or could not begin."""

    def __init__(self, argv: Sequence[str], code: int, out: str, err: str, problem: str) -> None:
        self.argv, self.code, self.out, self.err, self.problem = argv, code, out, err, problem

    def words(self) -> str:
        """Why it failed: the command, its status and its own last lines, marked."""
        text = f"{quote(' '.join(self.argv))}: {self.problem or f'exit status {self.code}'}"
        last = tail(f"{self.out}\n{self.err}")
        return f"{text}:\n{marked(last)}" if last else text

    def short(self) -> str:
        """Why it gave no answer, on one line."""
        return self.problem or tail(self.err or self.out, 1, 200) or f"exit status {self.code}"


def run(argv: Sequence[str], stdin: bytes = b"", seconds: float = COMMAND_SECONDS) -> Done:
    return Job(argv, stdin).finish(seconds)


def must(what: str, argv: Sequence[str], stdin: bytes = b"", seconds: float = COMMAND_SECONDS) -> Done:
    done = run(argv, stdin, seconds)
    if done.code != 0:
        raise Failure(f"{what} failed: {done.words()}")
    return done
