"""Puts one layer of the deployment in place on this host, or puts it back.

Managed by the openclaw deployment: edits here are overwritten by its next run.

The deployment sends this file together with what it wants and runs it from there; the copy on disk serves the
rollback timer (`apply.py rollback`) and reading (`apply.py observe`). Standard library only.

A change that can cut off the way in is armed: what was is saved, a timer that survives a reboot is started, and only
a confirmation over a connection accepted after the change disarms it. Until then whoever finds the change first, this
process, the timer or the next run, puts the host back.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import stat
import sys
import time

STATE = "/var/lib/openclaw-deploy"
LAYERS = STATE + "/layers"
PENDING = STATE + "/pending"
STAGE = STATE + "/stage"
LAST_ROLLBACK = STATE + "/last-rollback.json"
IMAGE = STATE + "/image"
QUARANTINE = STATE + "/quarantine"
LOCK = "/run/openclaw-deploy.lock"
SELF = "/usr/local/lib/openclaw-deploy/apply.py"
PYTHON = "/usr/bin/python3"
UNITS = "/etc/systemd/system"
TIMER = "openclaw-deploy-rollback.timer"
SERVICE = "openclaw-deploy-rollback.service"
TIMER_LINK = UNITS + "/timers.target.wants/" + TIMER

COMMAND_SECONDS = 120  # one check, reload or undo, where the layer names no limit of its own
MOST_COMMAND_SECONDS = 1500  # less than the whole request has
PROBE_SECONDS = 10
APT_SECONDS = 1800
TIMER_SLACK = 2  # the timer is for a run that is gone: one that lives decides first
ROLLBACK_LOCK_SECONDS = 900  # longer than any window: the run inside it puts back by itself
MOST_CONFIRM_WAIT = 10
NO_SPACE = "no space left on the disk"
MAX_CONTENT = 64 << 20  # nothing that a layer manages is larger

EXIT_FAILED = 1
EXIT_ROLLED_BACK = 3
EXIT_NOT_PENDING = 75
EXIT_REFUSED = 77

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


class Failure(Exception):
    """What failed, in words that may be shown."""


class Refused(Exception):
    """A confirmation that does not count."""

    def __init__(self, code, reason):
        Exception.__init__(self, reason)
        self.code = code


# ---------------------------------------------------------------------------------------------------------------------
# Words


SECRETS = set()
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal obeys some of them
KEY_LINE = re.compile(r"(?i)((?:private|preshared)-?key\W{1,3})\S+")
LONG_TOKEN = re.compile(r"[A-Za-z0-9+/=]{16,}|[A-Za-z0-9_-]{20,}")


def hide(text):
    """Remembers what looks like a key in a text that not everybody may read, so that no message repeats it. Names of
    files and algorithms, which a message needs, are of small letters."""
    for token in LONG_TOKEN.findall(text):
        if re.search("[0-9]", token) and re.search("[a-z]", token) and re.search("[A-Z]", token) or \
                re.fullmatch("[0-9a-f]{32,}", token):
            SECRETS.add(token)


def clean(text):
    for secret in sorted(SECRETS, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return CONTROL.sub("?", KEY_LINE.sub(r"\1[secret]", text))


def tail(text, lines=8, characters=1500):
    """The last lines, each cut where they are too much: the first of them often says what the others are about."""
    kept = clean("\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-lines:])).split("\n")
    if sum(map(len, kept)) > characters:
        kept = [line[:characters // len(kept)] for line in kept]
    return "\n".join(kept)


def quote(text):
    return json.dumps(text, ensure_ascii=False)


def put(descriptor, data):
    # The session may be gone, cut by the very change: that is no reason to stop in the middle of it.
    try:
        while data:
            data = data[os.write(descriptor, data):]
    except OSError:
        pass


def say(text):
    put(2, (clean(text) + "\n").encode("utf-8", "replace"))


def answer(body, code):
    put(1, (json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "replace"))
    return code


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def digest_of(value):
    return sha256(value.encode("utf-8", "surrogateescape"))


# ---------------------------------------------------------------------------------------------------------------------
# Clocks: only the one that counts from boot, through suspend, and that nobody sets


def since_boot():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


# ---------------------------------------------------------------------------------------------------------------------
# Commands


class Job:
    """A running command. Its output goes to memory of its own, so that a daemon that keeps the output open, or the
    end of this process, neither hangs nor kills anything, and a full disk loses no message."""

    def __init__(self, argv, stdin=b""):
        import subprocess

        self.argv = argv
        self.out = os.memfd_create("out")
        self.err = os.memfd_create("err")
        self.input = os.memfd_create("in")
        os.write(self.input, stdin)
        os.lseek(self.input, 0, os.SEEK_SET)
        self.process = None
        self.problem = ""
        try:
            self.process = subprocess.Popen(
                argv, stdin=self.input, stdout=self.out, stderr=self.err, cwd="/",
                env=ENVIRONMENT, start_new_session=True, umask=0o022)
        except FileNotFoundError:
            self.problem = "%s: not found" % argv[0]
        except OSError as error:
            self.problem = "%s: %s" % (argv[0], error.strerror)

    def finish(self, seconds):
        import subprocess

        code = 127
        if self.process is not None:
            try:
                code = self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                code, self.problem = 124, "no end after %d s" % seconds
        done = Done(self.argv, code, self._read(self.out), self._read(self.err), self.problem)
        os.close(self.input)
        return done

    @staticmethod
    def _read(descriptor):
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MAX_CONTENT).decode("utf-8", "replace")


class Done:
    def __init__(self, argv, code, out, err, problem):
        self.argv, self.code, self.out, self.err, self.problem = argv, code, out, err, problem

    def words(self):
        """Why it failed: the command, its status and its own last lines."""
        status = self.problem or "exit status %d" % self.code
        text = "%s: %s" % (quote(" ".join(self.argv)), status)
        last = tail(self.out + "\n" + self.err)
        return text + (":\n" + last if last else "")


def run(argv, stdin=b"", seconds=COMMAND_SECONDS):
    return Job(argv, stdin).finish(seconds)


def must(what, argv, stdin=b"", seconds=COMMAND_SECONDS):
    done = run(argv, stdin, seconds)
    if done.code != 0:
        raise Failure("%s failed: %s" % (what, done.words()))
    return done


# ---------------------------------------------------------------------------------------------------------------------
# Files, reached one folder at a time: a user who owns a folder on the way must not be able to turn root elsewhere


class Found:
    """What stands at a path."""

    def __init__(self, kind, status=None, target=None):
        self.kind = kind  # missing, file, folder, symlink, other
        self.mode = stat.S_IMODE(status.st_mode) if status else None
        self.uid = status.st_uid if status else None
        self.gid = status.st_gid if status else None
        self.size = status.st_size if status else None
        self.target = target
        self.data = None
        self.sha256 = None

    def words(self):
        return {"missing": "missing", "file": "a file", "folder": "a folder", "symlink": "a symlink",
                "other": "neither file nor folder"}[self.kind]


FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(path, make=None):
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
                make.append(walked + "/" + part)
                parts.insert(0, part)
                continue
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                status = os.stat(part, dir_fd=here, follow_symlinks=False)
                if not stat.S_ISLNK(status.st_mode):
                    raise Failure("%s: %s is not a folder" % (quote(path), quote(walked + "/" + part)))
                folder = os.fstat(here)
                if status.st_uid != 0 or folder.st_uid != 0 or folder.st_mode & 0o022:
                    raise Failure("%s: refusing to follow the symlink %s, which root did not make"
                                  % (quote(path), quote(walked + "/" + part)))
                links += 1
                if links > 40:
                    raise Failure("%s: too many symlinks" % quote(path))
                target = os.readlink(part, dir_fd=here)
                parts = [step for step in target.split("/") if step] + parts
                if target.startswith("/"):
                    os.close(here)
                    here = os.open("/", FOLDER_FLAGS)
                    walked = ""
                continue
            os.close(here)
            here = there
            walked = walked + "/" + part
        return here
    except BaseException:
        os.close(here)
        raise


class Place:
    """The folder of a path, open, and the last name in it."""

    def __init__(self, path, make=None):
        folder, self.name = os.path.split(path)
        self.path = path
        self.descriptor = open_folder(folder, make)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)

    def status(self):
        return os.stat(self.name, dir_fd=self.descriptor, follow_symlinks=False)


def look(path, read=True):
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


def write_file(path, data, mode, uid, gid, make=None):
    """Replaces a file in one step: whoever reads the path finds the whole old content or the whole new one."""
    with Place(path, make) as place:
        fresh = ".%s.openclaw-new" % place.name
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


def remove_name(name, folder):
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def remove_tree(path):
    import shutil

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass


def sync_folder(path):
    descriptor = os.open(path, FOLDER_FLAGS)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_state(path, value):
    write_file(path, json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogateescape") + b"\n",
               0o600, 0, 0)


def read_state(path):
    """What write_state wrote; damaged is as good as missing, and must not stand in the way of the next run."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None


def make_state():
    for path in (STATE, LAYERS):
        os.makedirs(path, 0o700, exist_ok=True)
        os.chmod(path, 0o700)


def matching(pattern):
    """The paths that a pattern names, without following symlinks that root did not make."""
    import fnmatch

    paths = [""]
    for part in [part for part in pattern.split("/") if part]:
        if not re.search(r"[*?\[]", part):
            paths = [path + "/" + part for path in paths]
            continue
        longer = []
        for path in paths:
            if path and not os.path.isdir(path):
                continue
            try:
                folder = open_folder(path or "/")
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                longer += [path + "/" + name for name in sorted(os.listdir(folder)) if fnmatch.fnmatchcase(name, part)]
            finally:
                os.close(folder)
        paths = longer
    return [path for path in paths if look(path, read=False).kind != "missing"]


# ---------------------------------------------------------------------------------------------------------------------
# /etc/openclaw.env and files like it: the lines of keys that the configuration names are ours, the rest the operator's


def assignments(text):
    """The assignments of an environment file as systemd reads one: (key, value, start, end), quotes and continued
    lines included, so that a line inside somebody's quoted text is never taken for a key."""
    at, size = 0, len(text)
    while at < size:
        start = at
        while at < size and text[at] in " \t\r":
            at += 1
        if at < size and text[at] == "\n":
            at += 1
            continue
        if at >= size or text[at] in "#;":
            end = text.find("\n", at)
            at = size if end < 0 else end + 1
            continue
        line = text.find("\n", at)
        line = size if line < 0 else line
        equals = text.find("=", at, line)
        if equals < 0:
            at = line + 1
            continue
        key, value, at, bare, quoting = text[at:equals].strip(), "", equals + 1, False, ""
        solid = 0  # trailing blanks of an unquoted value do not count
        while at < size:
            letter = text[at]
            at += 1
            if quoting == "'":
                if letter == "'":
                    quoting = ""
                else:
                    value += letter
                solid = len(value)
            elif quoting == '"':
                if letter == '"':
                    quoting = ""
                elif letter == "\\" and at < size:
                    escaped = text[at]
                    at += 1
                    if escaped in '"\\`$':
                        value += escaped
                    elif escaped != "\n":
                        value += letter + escaped
                else:
                    value += letter
                solid = len(value)
            elif letter == "\n":
                break
            elif letter == "\\":
                if at < size:
                    if text[at] != "\n":
                        value += text[at]
                    at += 1
                bare, solid = True, len(value)
            elif not bare and letter in "'\"":
                quoting = letter
            elif not bare and letter in " \t\r":
                continue
            else:
                bare = True
                value += letter
                if letter not in " \t\r":
                    solid = len(value)
        yield key, value[:solid], start, at


def env_line(key, value):
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]*", value):
        return "%s=%s\n" % (key, value)
    return '%s="%s"\n' % (key, re.sub(r'(["\\`$])', r"\\\1", value))


def env_values(text):
    return {key: value for key, value, _, _ in assignments(text)}  # the last one counts, as for systemd


def merge_env(path, text, wanted, dropped):
    """The text with every wanted key at its value. A dropped key loses its line only while its value is still the one
    that was deployed (its sha256 in dropped)."""
    pieces, at, seen = [], 0, set()
    for key, value, start, end in assignments(text):
        pieces.append(text[at:start])
        piece = text[start:end]
        if key in wanted:
            seen.add(key)
            if value != wanted[key]:
                piece = env_line(key, wanted[key])
        elif key in dropped and digest_of(value) == dropped[key]:
            piece = ""
        pieces.append(piece)
        at = end
    merged = "".join(pieces) + text[at:]
    for key in wanted:
        if key not in seen:
            if merged and not merged.endswith("\n"):
                merged += "\n"
            merged += env_line(key, wanted[key])
    values = env_values(merged)
    for key in wanted:
        if values.get(key) != wanted[key]:
            raise Failure("%s: %s cannot be set: a line before it opens a quote that nothing closes"
                          % (quote(path), quote(key)))
    return merged


# ---------------------------------------------------------------------------------------------------------------------
# Accounts


class Accounts:
    def __init__(self):
        self.users, self.groups, self.shadow = {}, {}, {}
        for fields in self._rows("/etc/passwd", 7):
            self.users[fields[0]] = {"uid": int(fields[2]), "gid": int(fields[3]), "home": fields[5],
                                     "shell": fields[6], "password": fields[1]}
        for fields in self._rows("/etc/group", 4):
            self.groups[fields[0]] = {"gid": int(fields[2]), "members": [name for name in fields[3].split(",") if name]}
        for fields in self._rows("/etc/shadow", 9):
            self.shadow[fields[0]] = fields

    @staticmethod
    def _rows(path, count):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.rstrip("\n").split(":")
                if len(fields) == count and fields[0] and fields[0][0] not in "+-#":
                    yield fields

    def uid(self, name):
        return int(name) if name.isdigit() else self.users[name]["uid"] if name in self.users else None

    def gid(self, name):
        return int(name) if name.isdigit() else self.groups[name]["gid"] if name in self.groups else None

    def owner(self, uid, gid):
        users = [name for name, user in self.users.items() if user["uid"] == uid]
        groups = [name for name, group in self.groups.items() if group["gid"] == gid]
        return "%s:%s" % (users[0] if users else uid, groups[0] if groups else gid)

    def supplementary(self, name):
        primary = self.users[name]["gid"]
        return sorted(group for group, row in self.groups.items() if name in row["members"] and row["gid"] != primary)

    def primary(self, name):
        names = [group for group, row in self.groups.items() if row["gid"] == self.users[name]["gid"]]
        return names[0] if names else str(self.users[name]["gid"])

    def ids(self, spec):
        uid, gid = self.uid(spec["owner"]), self.gid(spec["group"])
        if uid is None:
            raise Failure("%s: no user %s on this host" % (quote(spec["path"]), quote(spec["owner"])))
        if gid is None:
            raise Failure("%s: no group %s on this host" % (quote(spec["path"]), quote(spec["group"])))
        return uid, gid


def locked(field):
    return field == "" or field[0] in "!*"


def account_faults(user, accounts):
    """Where an account differs from what is wanted: (what, want, got)."""
    name = user["name"]
    if name not in accounts.users:
        return [("", "an account", "missing")]
    have, faults = accounts.users[name], []
    for what in ("shell", "home"):
        if user.get(what) and have[what] != user[what]:
            faults.append((what, user[what], have[what]))
    if user.get("group") and accounts.primary(name) != user["group"]:
        faults.append(("group", user["group"], accounts.primary(name)))
    groups = sorted(user.get("groups") or [])
    if accounts.supplementary(name) != groups:
        faults.append(("groups", ",".join(groups) or "none", ",".join(accounts.supplementary(name)) or "none"))
    row = accounts.shadow.get(name) or [name] + [""] * 8
    wanted = user.get("passwordSHA256") or ""
    if not wanted and (row[1] == "" or not locked(row[1])):
        faults.append(("password", "locked", "set" if row[1] else "empty"))
    elif wanted and digest_of(row[1]) != wanted:
        faults.append(("password", "as deployed", "locked" if locked(row[1]) else "differs"))
    today = int(time.time() // 86400)
    if row[7].isdigit() and int(row[7]) <= today:
        faults.append(("account", "in force", "expired"))
    if wanted and row[2] == "0":
        faults.append(("password age", "in force", "must be changed"))
    elif wanted and row[2].isdigit() and row[4].isdigit() and int(row[2]) + int(row[4]) < today:
        faults.append(("password age", "in force", "expired"))
    return faults


def set_hash(name, value):
    # On standard input: an argument would stand in the process list.
    must("setting the password of %s" % quote(name), ["chpasswd", "-e"], ("%s:%s\n" % (name, value)).encode())


def mend_account(user, accounts, hashes):
    name = user["name"]
    if name not in accounts.users:
        argv = ["useradd", "--home-dir", user.get("home") or "/home/" + name, "--shell",
                user.get("shell") or "/usr/sbin/nologin"]
        argv += ["--system", "--no-create-home"] if user.get("system") else ["--create-home"]
        if user.get("group"):
            argv += ["--gid", user["group"]]
        if user.get("groups"):
            argv += ["--groups", ",".join(user["groups"])]
        must("making the account %s" % quote(name), argv + [name])
        accounts = Accounts()
    faults = {what for what, _, _ in account_faults(user, accounts)}
    argv = []
    if "shell" in faults:
        argv += ["--shell", user["shell"]]
    if "home" in faults:
        argv += ["--home", user["home"]]
    if "group" in faults:
        argv += ["--gid", user["group"]]
    if "groups" in faults:
        argv += ["--groups", ",".join(user.get("groups") or [])]
    if argv:
        must("changing the account %s" % quote(name), ["usermod"] + argv + [name])
    if "password" in faults:
        if user.get("passwordSHA256"):
            set_hash(name, hashes[name])
        else:
            set_hash(name, "*")
    if "account" in faults:
        must("renewing the account %s" % quote(name), ["chage", "--expiredate", "-1", name])
    if "password age" in faults:
        must("renewing the password of %s" % quote(name),
             ["chage", "--lastday", str(int(time.time() // 86400)), name])


def put_account_back(saved):
    name, accounts = saved["name"], Accounts()
    if name not in accounts.users:
        return
    if not saved["existed"]:
        if run(["userdel", name]).code != 0:  # still logged in: it must at least open nothing
            must("locking the account %s" % quote(name),
                 ["usermod", "--lock", "--expiredate", "1", "--shell", "/usr/sbin/nologin", name])
        return
    have, argv = accounts.users[name], []
    if have["shell"] != saved["shell"]:
        argv += ["--shell", saved["shell"]]
    if have["home"] != saved["home"]:
        argv += ["--home", saved["home"]]
    if have["gid"] != saved["gid"]:
        argv += ["--gid", str(saved["gid"])]
    if accounts.supplementary(name) != saved["groups"]:
        argv += ["--groups", ",".join(group for group in saved["groups"] if group in accounts.groups)]
    if argv:
        must("putting back the account %s" % quote(name), ["usermod"] + argv + [name])
    if accounts.shadow.get(name, [name, ""])[1] != saved["hash"]:
        set_hash(name, saved["hash"])


# ---------------------------------------------------------------------------------------------------------------------
# Packages


def package_query(names):
    return ("dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\n", "--") + tuple(sorted(names))


def installed_packages(done):
    have = set()
    for line in done.out.splitlines():
        name, _, status = line.partition(" ")
        if status[1:2] == "i" and status[2:3] in ("", " "):
            have.add(name)
    return have


def apt(what, argv, deadline):
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
                    say("waiting for another apt: %s" % (held or [tail(words, 1)])[0])
                    waiting = True
                time.sleep(1)
                continue
        elif "dpkg was interrupted" in words and not repaired:
            repaired = True
            say("finishing an interrupted installation")
            run(["dpkg", "--force-confold", "--force-confdef", "--configure", "-a"], seconds=APT_SECONDS)
            continue
        raise Failure("%s failed: %s" % (what, done.words()))


def install(declared, lock_seconds):
    names = declared.get("packages") or []
    if not names:
        return []
    missing = sorted(set(names) - installed_packages(run(list(package_query(names)))))
    if not missing:
        return []
    deadline = time.monotonic() + lock_seconds
    options = ["-y", "-q", "-o", "DPkg::Lock::Timeout=%d" % lock_seconds, "-o", "Acquire::Retries=3",
               "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Options::=--force-confdef",
               "-o", "Dpkg::Use-Pty=0"]
    say("reading the lists of packages")
    apt("apt-get update", ["apt-get"] + options + ["update"], deadline)
    say("installing %s" % " ".join(missing))
    apt("installing %s" % " ".join(missing), ["apt-get"] + options + ["install", "--"] + missing, deadline)
    return missing


# ---------------------------------------------------------------------------------------------------------------------
# Units


def unit_query(names):
    return ("systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState", "--") + tuple(names)


def unit_states(names, done):
    """What systemd says of each unit; a unit it says nothing of is empty."""
    states = {name: {} for name in names}
    if done.code != 0 and not done.out.strip():
        raise Failure("reading the units' states failed: %s" % done.words())
    for name, block in zip(names, done.out.strip().split("\n\n")):
        states[name] = dict(line.partition("=")[::2] for line in block.splitlines())
    return states


def query_units(names):
    return unit_states(names, run(list(unit_query(names)))) if names else {}


ENABLED = ("enabled", "static", "generated", "alias", "indirect", "linked")  # what `enable` would not change further


def unit_faults(unit, state):
    """Where a unit differs from what is wanted: (want, got)."""
    file, active, load = state.get("UnitFileState", ""), state.get("ActiveState", ""), state.get("LoadState", "")
    masked = file.startswith("masked") or load == "masked"
    if unit.get("masked"):
        return [] if masked else [("masked", "not masked")]
    faults = []
    if masked and (unit.get("masked") is False or unit.get("enabled") or unit.get("active")):
        faults.append(("not masked", "masked"))
    if load == "not-found" and (unit.get("enabled") or unit.get("active")):
        return faults + [("a unit", "not found")]
    if unit.get("enabled") is True and file not in ENABLED:
        faults.append(("enabled", file or "disabled"))
    if unit.get("enabled") is False and file in ("enabled", "enabled-runtime"):
        faults.append(("disabled", file))
    if unit.get("active") is True and active not in ("active", "reloading"):
        faults.append(("active", active or "inactive"))
    if unit.get("active") is False and active not in ("inactive", "failed", "deactivating", ""):
        faults.append(("inactive", active))
    return faults


def systemctl(*arguments):
    done = run(["systemctl", "--no-ask-password"] + list(arguments))
    if done.code != 0:
        words = done.words()
        if arguments[0] in ("start", "restart", "reload", "enable") and arguments[-1].rpartition(".")[2] != "socket":
            log = run(["journalctl", "--no-pager", "--quiet", "-o", "cat", "-n", "5", "-u", arguments[-1]], seconds=10)
            words += "\n" + tail(log.out, 5) if log.out.strip() else ""
        raise Failure(words)


def mend_unit(unit, state):
    name, wants = unit["name"], {want for want, _ in unit_faults(unit, state)}
    if "masked" in wants:
        if state.get("ActiveState") in ("active", "activating", "reloading"):
            systemctl("stop", name)
        systemctl("mask", name)
        return
    if "not masked" in wants:
        systemctl("unmask", name)
        systemctl("daemon-reload")
        wants = {want for want, _ in unit_faults(unit, query_units([name])[name])}
    if "a unit" in wants:
        raise Failure("no unit %s on this host" % quote(name))
    if "disabled" in wants:
        systemctl("disable", name)
    if "inactive" in wants:
        systemctl("stop", name)
        if name.endswith(".socket"):
            release(name[:-len(".socket")] + ".service")
    if "enabled" in wants:
        systemctl("enable", name)
    if "active" in wants:
        # A unit that failed too often refuses to start until its count is cleared.
        run(["systemctl", "reset-failed", name])
        systemctl("start", name)


def release(service):
    """Stops the service that a stopped socket had started, which still listens on what the socket gave it. Enabling
    it while it runs makes systemd forget its process where the unit has an alias that others name (ssh.service on
    Ubuntu): a restart then leaves the old sshd listening beside the new one. Its sessions go on."""
    if query_units([service])[service].get("ActiveState") in ("active", "activating", "reloading"):
        systemctl("stop", service)
        released.append(service)


released = []  # to be running again in the end, whether the layer names them or not


def stop_what_was_not_running(saved, problems):
    """The first half of putting units back, before the old files: what was not running stops, what was not enabled is
    disabled while its file still says how."""
    states = query_units([unit["name"] for unit in saved])
    for unit in reversed(saved):
        name, was, now = unit["name"], unit["state"], states[unit["name"]]
        try:
            if now.get("ActiveState") in ("active", "activating", "reloading") and \
                    was.get("ActiveState") in ("inactive", "failed", ""):
                systemctl("stop", name)
            if now.get("UnitFileState") == "enabled" and was.get("UnitFileState") != "enabled":
                systemctl("disable", name)
            if now.get("UnitFileState", "").startswith("masked") and \
                    not was.get("UnitFileState", "").startswith("masked"):
                systemctl("unmask", name)
        except Failure as failure:
            problems.append(str(failure))


def start_what_was_running(saved, problems):
    states = query_units([unit["name"] for unit in saved])
    for unit in saved:
        name, was, now = unit["name"], unit["state"], states[unit["name"]]
        try:
            if was.get("UnitFileState") == "enabled" and now.get("UnitFileState") != "enabled":
                systemctl("enable", name)
            if was.get("ActiveState") in ("active", "activating", "reloading") and \
                    now.get("ActiveState") not in ("active", "activating", "reloading"):
                service = name[:-len(".socket")] + ".service"
                if name.endswith(".socket") and query_units([service])[service].get("ActiveState") == "active":
                    # A socket does not start under its running service; sessions outlive the service's stop.
                    systemctl("stop", service)
                    systemctl("start", name)
                    systemctl("start", service)
                else:
                    run(["systemctl", "reset-failed", name])
                    systemctl("start", name)
            if was.get("UnitFileState", "").startswith("masked") and \
                    not now.get("UnitFileState", "").startswith("masked"):
                systemctl("mask", name)
        except Failure as failure:
            problems.append(str(failure))


# ---------------------------------------------------------------------------------------------------------------------
# Probes: what is effective, read from the kernel and the programs, not from files


def sshd_query(probe):
    address = probe.get("addr", "127.0.0.1")
    return ("sshd", "-T", "-C", "user=%s,host=%s,addr=%s,lport=%s,laddr=127.0.0.1"
            % (probe["user"], address, address, probe["lport"]))


def iptables_query(probe):
    return ("ip6tables" if probe.get("family") == "6" else "iptables", "-w", "5", "-t", probe.get("table", "filter"),
            "-S")


def probe_query(probe):
    """The command that a probe needs, or None; equal commands run once."""
    kind = probe["kind"]
    if kind == "command":
        return tuple(probe["argv"])
    if kind == "sshd":
        return sshd_query(probe)
    if kind == "iptables":
        return iptables_query(probe)
    if kind == "wireguard":
        return ("wg", "show", probe["interface"], "dump")
    if kind == "nftables":
        return ("nft", "-j", "list", "ruleset")
    if kind == "files" and probe.get("units"):
        return ("systemctl", "show", "--property=FragmentPath,DropInPaths", "--") + tuple(probe["units"])
    return None


def unanswered(done):
    return done.problem or tail(done.err or done.out, 1, 200) or "exit status %d" % done.code


def probe_command(probe, done, _):
    got = done.out.strip()
    if got == probe["want"].strip() and not done.problem:
        return
    if done.problem or (done.code != 0 and not got):
        got = unanswered(done)
    yield probe.get("subject") or " ".join(probe["argv"]), probe["want"], tail(got, 4, 300)


def sysctl_path(key):
    # As sysctl(8): whichever of the two separators comes first separates.
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return "/proc/sys/" + key
    return "/proc/sys/" + key.translate(str.maketrans("./", "/."))


def sysctl_now(probe):
    """What a kernel setting is; None where it differs and cannot be set, or is not there."""
    path, want = sysctl_path(probe["key"]), " ".join(str(probe["want"]).split())
    try:
        with open(path) as file:
            got = " ".join(file.read().split())
        settable = os.access(path, os.W_OK) and os.stat(path).st_mode & 0o222
    except OSError:
        return want, None
    return want, got if got == want or settable else None


def probe_sysctl(probe, _, __):
    want, got = sysctl_now(probe)
    if got != want and not (got is None and probe.get("mayLack")):
        yield "sysctl " + probe["key"], want, "not available" if got is None else got


def not_shown():
    """Kernel settings that were declared for a host with a kernel of its own, and that this one's cannot be told."""
    probes = [probe for _, record in all_records() if record is not None for probe in record["parsed"].get("probes") or []]
    return [probe["key"] for probe in probes if probe.get("mayLack") and sysctl_now(probe)[1] is None]


def probe_sshd(probe, done, _):
    subject = "sshd for %s on port %s" % (probe["user"], probe["lport"])
    if done.code != 0:
        yield subject, "an answer", unanswered(done)
        return
    lines = {}
    for line in done.out.splitlines():
        key, _, value = line.partition(" ")
        lines.setdefault(key.lower(), []).append(value)
    for key, want in sorted(probe["want"].items()):
        have = lines.get(key.lower())
        if have is None:
            got = "not set"
        else:
            got = " ".join(sorted(have))
            if len(have) > 1:
                want = " ".join(sorted(str(want).split()))
                got = " ".join(sorted(got.split()))
        if got != str(want):
            yield "%s: %s" % (subject, key), str(want), got


def probe_iptables(probe, done, host):
    """A whole table, chain by chain. What is ignored has to match from end to end."""
    import collections
    import shlex

    argv, table = list(iptables_query(probe)[:-1]), probe.get("table", "filter")
    name = "%s %s" % (argv[0], table)
    if done.code != 0:
        family = "ip6" if probe.get("family") == "6" else "ip"
        yield name, "rules", unanswered(done), ("run", [["nft", "delete", "table", family, table]])
        return
    ignore = [re.compile(pattern) for pattern in probe.get("ignore") or []]
    got = [line for line in done.out.splitlines() if not any(pattern.fullmatch(line) for pattern in ignore)]
    want = [re.sub(r"\{uid:([a-z]+)\}", lambda match: str(host.accounts.uid(match.group(1))), line)
            for line in probe["want"]]

    def chains(lines):
        sorted_lines = {}
        for line in lines:
            sorted_lines.setdefault((line.split(" ") + [""])[1], []).append(line)
        # The kernel lists chains before rules; in what order is nobody's concern.
        return {chain: sorted(held, key=lambda line: line.startswith("-A ")) for chain, held in sorted_lines.items()}

    wanted, have, repair, removed, faults = chains(want), chains(got), [], [], []
    for chain in sorted(set(wanted) | set(have)):
        here, there = wanted.get(chain, []), have.get(chain, [])
        missing = list((collections.Counter(here) - collections.Counter(there)).elements())
        extra = list((collections.Counter(there) - collections.Counter(here)).elements())
        if here == there:
            continue
        if missing or extra:
            faults.append(("%s %s" % (name, chain), "\n".join(missing) or "nothing more",
                           "\n".join(extra) or "missing"))
        else:
            faults.append(("%s %s" % (name, chain), "\n".join(here), "another order:\n" + "\n".join(there)))
        if chain not in wanted:
            repair.append(argv + ["-F", chain])
            removed.append(argv + ["-X", chain])
        else:
            repair += [argv + ["-D"] + shlex.split(line)[1:] for line in extra if line.startswith("-A ")]
        if missing or not extra:
            removed += [argv for argv in probe.get("rebuild") or [] if argv not in removed]
    for number, fault in enumerate(faults):
        # One repair for all of them: a chain goes only when no other names it.
        yield fault + (("run", repair + removed if number == 0 else []),)


def probe_wireguard(probe, done, _):
    subject = "wireguard " + probe["interface"]
    if done.code != 0:
        yield subject, "up", unanswered(done)
        return
    rows = [line.split("\t") for line in done.out.splitlines()]
    if not rows or len(rows[0]) < 4:
        yield subject, "up", "no answer"
        return
    public, port = rows[0][1], rows[0][2]  # rows[0][0] is the private key: never shown
    if "port" in probe and str(probe["port"]) != port:
        yield subject + " port", str(probe["port"]), port
    if probe.get("publicKey") and probe["publicKey"] != public:
        yield subject + " public key", probe["publicKey"], public
    if "peers" in probe:
        have = {row[0]: sorted(row[3].split(",")) for row in rows[1:] if len(row) > 3}
        for key in sorted(set(have) | set(probe["peers"])):
            want = ",".join(sorted(probe["peers"][key])) if key in probe["peers"] else "no peer"
            got = ",".join(have[key]) if key in have else "missing"
            if want != got:
                yield "%s peer %s" % (subject, key), want, got


def ask_fail2ban(argument):
    """One question over fail2ban's own socket: its client takes a quarter of a second each."""
    import io
    import pickle
    import socket

    class Plain(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) in (("builtins", "str"), ("builtins", "set")):
                return {"str": str, "set": set}[name]
            raise pickle.UnpicklingError("unexpected %s.%s" % (module, name))

    end = b"<F2B_END_COMMAND>"
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect("/run/fail2ban/fail2ban.sock")
        link.sendall(pickle.dumps(argument, 2) + end)
        data = b""
        while not data.endswith(end):
            piece = link.recv(65536)
            if not piece or len(data) > 1 << 20:
                raise OSError(errno.EPROTO, "no whole answer")
            data += piece
        try:
            link.sendall(b"<F2B_CLOSE_COMMAND>" + end)
        except OSError:
            pass
    code, value = Plain(io.BytesIO(data[:-len(end)])).load()
    if code != 0:
        raise OSError(errno.EPROTO, str(value))
    return value


def probe_jail(probe, _, __):
    subject = "fail2ban jail " + probe["name"]
    for key, want in sorted(probe["want"].items()):
        try:
            value = ask_fail2ban(["get", probe["name"]] + key.split(" "))
        except Exception as error:  # pickle raises many kinds; all of them mean that it does not answer as it should
            yield subject, "running", "no answer: %s" % (getattr(error, "strerror", None) or error)
            return
        if isinstance(value, (list, tuple, set)):
            # It gives a network of one address back as the address.
            got = " ".join(sorted(re.sub("/(32|128)$", "", str(item)) for item in value))
            want = " ".join(sorted(re.sub("/(32|128)$", "", item) for item in str(want).split()))
        else:
            got, want = str(value), str(want)
        if got != want:
            yield "%s: %s" % (subject, key), want, got


# ---------------------------------------------------------------------------------------------------------------------
# What grants access and nobody declared. These probes also say how to take it away, so that observing and applying
# judge alike: ("file", path, content or None, mode, uid, gid), ("package", path), ("account", name, ...), ("run",
# commands).


DPKG_STATUS = "/var/lib/dpkg/status"
UCF_HASHES = "/var/lib/ucf/hashfile"


class Host:
    """What these probes know of the host: what all layers declare, what packages brought, what the image brought."""

    def __init__(self, layers, accounts):
        self.layers, self.accounts = layers, accounts
        self.declared = {spec["path"] for declared in layers.values() for section in ("files", "directories")
                         for spec in declared.get(section) or []}
        self.declared |= {path for path, _ in timer_files(0)} | {TIMER_LINK}
        self.users = {user["name"] for declared in layers.values() for user in declared.get("users") or []}
        self._packaged = None
        self._image = {}

    def packaged(self):
        """Path to MD5, or None where it has none: the packages' configuration files, and their units."""
        if self._packaged is None:
            found = {}
            with open(DPKG_STATUS, encoding="utf-8", errors="surrogateescape") as file:
                for line in file:
                    if line.startswith(" /"):
                        fields = line.split()
                        if len(fields) >= 2:
                            found[fields[0]] = fields[1]
            try:
                with open(UCF_HASHES, encoding="utf-8", errors="surrogateescape") as file:
                    found.update((line.split()[1], line.split()[0]) for line in file if len(line.split()) == 2)
            except FileNotFoundError:
                pass
            units = run(["sh", "-c", "cd /var/lib/dpkg/info && cat -- *.list *.md5sums | grep -F /systemd/system/"])
            for line in units.out.splitlines():
                value, _, path = line.rpartition("  ")
                path = re.sub("^/lib/", "/usr/lib/", "/" + path.lstrip("/"))
                found[path] = value or found.get(path)
            self._packaged = found
        return self._packaged

    def image(self, layer):
        if layer not in self._image:
            self._image[layer] = read_state("%s/%s.json" % (IMAGE, layer)) or {}
        return self._image[layer]


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()  # what dpkg keeps


def places(probe):
    import fnmatch

    left_out = probe.get("except") or []
    return [path for pattern in probe["paths"] for path in matching(pattern)
            if not any(fnmatch.fnmatchcase(path, other) for other in left_out)]


def stranger(path, probe, host, depth=0):
    """Why a path may not stand where it stands: (want, got, repair), or None."""
    import fnmatch

    if path in host.declared:
        return None
    found, owned = look(path), path in host.packaged()
    packaged = host.packaged().get(path)
    image = host.image(probe["layer"]).get(path)
    if found.kind in ("missing", "folder"):
        return None
    remove = ("file", path, None, 0, 0, 0)
    if found.kind == "symlink":
        target = os.path.normpath(os.path.join(os.path.dirname(path), found.target))
        target = re.sub("^/lib/", "/usr/lib/", target)
        if target == "/dev/null" or owned or target in host.declared or target in host.packaged() or \
                (image and image.get("target") == found.target) or look(target, read=False).kind == "missing" or \
                (depth == 0 and stranger(target, probe, host, 1) is None):
            return None
        return "nothing", "a symlink to %s that nobody declared" % found.target, remove
    if found.kind == "file":
        known = owned and packaged in (None, md5(found.data)) or \
            image is not None and image.get("sha256") == found.sha256 or \
            any(fnmatch.fnmatchcase(path, pattern) and
                re.fullmatch(text, found.data.decode("utf-8", "replace"))
                for pattern, text in (probe.get("generated") or {}).items())
        if known and found.uid == 0 and not found.mode & 0o022:
            return None
        if known:
            return "root alone writes it", "owner %s, mode %04o" % (
                host.accounts.owner(found.uid, found.gid), found.mode), \
                ("file", path, found.data, found.mode & ~0o6022, 0, 0)
    if owned and not (image and image.get("md5") == packaged):
        return "as its package brought it", "content differs", ("package", path)
    if image is not None and "data" in image:
        return "as the image brought it", "content differs", restored(path, image)
    return "nothing", "%s that nobody declared" % found.words(), remove


def restored(path, image):
    import base64

    return "file", path, base64.b64decode(image["data"]), image["mode"], image["uid"], image["gid"]


def probe_files(probe, done, host):
    paths = places(probe)
    if done is not None:
        # What our own units are made of, wherever it stands: /run as well.
        for line in done.out.splitlines():
            paths += line.partition("=")[2].split()
    for path in sorted(set(paths) | {path for path in host.image(probe["layer"]) if path in probe["paths"]}):
        try:
            image = host.image(probe["layer"]).get(path)
            if image and "data" in image and look(path, read=False).kind == "missing":
                yield path, "as the image brought it", "missing", restored(path, image)
                continue
            fault = stranger(path, probe, host)
            if fault:
                yield (path,) + fault
        except (Failure, OSError) as error:
            yield path, "nothing that nobody declared", describe(error)


def take_image(declared):
    """Keeps what the image brought where the layer allows nothing else, once, before the layer is first applied:
    nobody but the image has been there. Only what is root's."""
    import base64

    path = "%s/%s.json" % (IMAGE, declared["layer"])
    probes = [probe for probe in declared.get("probes") or [] if probe["kind"] == "files"]
    if not probes or os.path.exists(path):
        return
    kept = {}
    for probe in probes:
        for name in places(probe):
            found = look(name)
            if found.kind == "symlink":
                kept[name] = {"target": found.target}
            elif found.kind == "file" and found.uid == 0 and not found.mode & 0o022:
                kept[name] = {"sha256": found.sha256, "md5": md5(found.data), "mode": found.mode, "uid": found.uid, "gid": found.gid,
                              "data": base64.b64encode(found.data).decode()}
    os.makedirs(IMAGE, 0o700, exist_ok=True)
    write_state(path, kept)


KEY_BLOB = re.compile(r"(?:^|[\s\"])((?:ssh|sk-ssh|ecdsa|sk-ecdsa)-[a-z0-9@.-]+)\s+(AAAA[A-Za-z0-9+/=]+)")


def fingerprint(blob):
    import base64

    try:
        digest = hashlib.sha256(base64.b64decode(blob)).digest()
    except ValueError:
        return "that cannot be read"
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def probe_keys(probe, _, host):
    """Keys that log in and that nobody declared, in every home."""
    seen = set()
    for name, user in sorted(host.accounts.users.items()):
        for file in (".ssh/authorized_keys", ".ssh/authorized_keys2"):
            path = os.path.normpath(user["home"] + "/" + file)
            if not path.startswith("/") or path in host.declared or path in seen:
                continue
            seen.add(path)
            folder = os.path.dirname(path)
            try:
                found = look(path)
            except Failure:
                if folder not in seen and look(folder, read=False).kind == "symlink":
                    seen.add(folder)
                    yield folder, "a folder", "a symlink", ("file", folder, None, 0, 0, 0)
                continue
            if found.kind in ("missing", "folder"):
                continue
            if found.kind != "file":
                yield path, "nothing", "%s that nobody declared" % found.words(), ("file", path, None, 0, 0, 0)
                continue
            allowed, kept, others = probe["allowed"].get(name) or [], [], []
            for line in found.data.decode("utf-8", "surrogateescape").splitlines():
                if not line.strip() or line.lstrip().startswith("#"):
                    kept.append(line)
                    continue
                match = KEY_BLOB.search(line)
                mark = fingerprint(match.group(2)) if match else "that cannot be read"
                if mark in allowed:
                    kept.append(line)
                else:
                    others.append(mark)
            if others:
                data = ("\n".join(kept) + "\n").encode("utf-8", "surrogateescape") if any(
                    KEY_BLOB.search(line) for line in kept) else None
                yield path, "no key that nobody declared", "key " + ", ".join(others), (
                    "file", path, data, found.mode, found.uid, found.gid)


NO_LOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync")


def reserved(name, host, admins):
    """Whether an account that nobody declared shares the uid of one that somebody did."""
    users = host.accounts.users
    return users[name]["uid"] in {0} | {users[other]["uid"] for other in host.users | set(admins) if other in users}


def probe_accounts(probe, _, host):
    users, groups, admins = host.accounts.users, host.accounts.groups, probe.get("admins") or []
    privileged = probe.get("privileged") or []
    for name, user in sorted(users.items()):
        subject = "user " + name
        if name in host.users:
            if user["uid"] == 0:
                yield subject, "no root", "uid 0"
            continue
        field = user["password"] if user["password"] != "x" else host.accounts.shadow.get(name, [name, "*"])[1]
        password = "an empty password" if field == "" else "a password" if not locked(field) else ""
        if name == "root" or name in admins:
            if password:
                yield subject, "no password", password, ("run", [["usermod", "--password", "*", name]])
            continue
        got = ["uid %d, which is another's" % user["uid"]] if reserved(name, host, admins) else []
        if user["shell"] not in NO_LOGIN:
            got.append("shell %s" % (user["shell"] or "/bin/sh"))
        if password:
            got.append(password)
        got += ["group " + group for group in privileged if group in groups and
                (name in groups[group]["members"] or groups[group]["gid"] == user["gid"])]
        if got:
            yield subject, "no access that nobody declared", ", ".join(got), ("account", name, admins, privileged)


def strip_account(name, host, admins, privileged):
    """An account that nobody declared opens nothing any more; its files stay."""
    if reserved(name, host, admins):
        must("removing the account %s" % quote(name), ["userdel", "--force", name])
        return
    left = [group for group in host.accounts.supplementary(name) if group not in privileged]
    argv = ["--shell", "/usr/sbin/nologin", "--password", "*", "--groups", ",".join(left)]
    if host.accounts.primary(name) in privileged:
        argv += ["--gid", "nogroup"]
    if host.accounts.users[name]["password"] != "x":
        must("moving passwords where root alone reads them", ["pwconv"])
    must("locking the account %s" % quote(name), ["usermod"] + argv + [name])


def probe_nftables(_, done, __):
    """Tables beside those of the two packet filters, which other probes compare rule by rule, and fail2ban's, which
    only refuses. An empty table does nothing."""
    if done.code != 0:
        yield "nftables", "an answer", unanswered(done)
        return
    tables, hooked = {}, []
    for item in json.loads(done.out or '{"nftables": []}')["nftables"]:
        for kind in ("chain", "rule"):
            if kind not in item:
                continue
            here = item[kind]
            table = here["family"], here["table"]
            tables.setdefault(table, [])
            if kind == "rule" or here.get("policy") == "drop":
                tables[table].append(here)
            if kind == "chain" and here.get("hook") and table[1] == "filter" and table[0] in ("ip", "ip6") and \
                    here["name"] not in ("INPUT", "FORWARD", "OUTPUT"):
                hooked.append(table + (here["name"],))
    for table, held in sorted(tables.items()):
        if table in (("ip", "filter"), ("ip6", "filter")):
            continue
        name, repair = "%s %s" % table, [["nft", "delete", "table"] + list(table)]
        if table == ("inet", "f2b-table"):
            held = [rule for rule in held if not all(
                set(part) <= {"match", "reject", "drop", "counter"} for part in rule.get("expr") or [{"policy": 1}])]
            repair.append(["systemctl", "restart", "fail2ban.service"])
        if held:
            rules = sum("expr" in one for one in held)
            yield "nftables table " + name, "nothing", "%d rule%s that nobody declared" % (
                rules, "" if rules == 1 else "s"), ("run", repair)
    for family, table, chain in sorted(hooked):
        where = [family, table, chain]
        yield "nftables chain " + " ".join(where), "nothing", "a chain that nobody declared", (
            "run", [["nft", "flush", "chain"] + where, ["nft", "delete", "chain"] + where])


PROBES = {"command": probe_command, "sysctl": probe_sysctl, "sshd": probe_sshd, "iptables": probe_iptables,
          "wireguard": probe_wireguard, "jail": probe_jail, "files": probe_files, "keys": probe_keys,
          "accounts": probe_accounts, "nftables": probe_nftables}


def gather(queries, probes):
    """Runs all commands side by side, those of the probes too: reading a host is mostly waiting."""
    seconds = dict.fromkeys(queries, PROBE_SECONDS)
    for probe in probes:
        query = probe_query(probe)
        if query:
            seconds[query] = max(seconds.get(query, 0), probe.get("seconds", PROBE_SECONDS))
    jobs = {query: Job(list(query)) for query in seconds}
    return {query: job.finish(seconds[query]) for query, job in jobs.items()}


def probe_faults(declared, results, host):
    """(fault, repair) for each; without a repair of its own the layer's reload is to mend it."""
    for probe in declared.get("probes") or []:
        probe = dict(probe, layer=declared["layer"])
        for subject, want, got, *repair in PROBES[probe["kind"]](probe, results.get(probe_query(probe)), host):
            yield {"subject": subject, "want": want, "got": got}, repair[0] if repair else None


def quarantine(path):
    """Keeps what is taken away, where root alone reads it."""
    found = look(path)
    if found.kind == "missing":
        return
    data = found.data if found.kind == "file" else ("%s %s\n" % (found.words(), found.target)).encode()
    where = "%s/%s%s" % (QUARANTINE, time.strftime("%Y%m%d-%H%M%S", time.gmtime()), path)
    write_file(where, data, 0o600, 0, 0, [])
    say("%s is kept as %s" % (path, where))


def repair(how, host):
    kind, what = how[0], how[1]
    if kind == "run":
        for argv in what:
            must("taking away what nobody declared", argv)
    elif kind == "account":
        strip_account(what, host, *how[2:])
    else:
        quarantine(what)
        if kind == "file" and how[2] is not None:
            write_file(what, how[2], how[3], how[4], how[5], [])
            return
        if is_unit_file(what) and "." in os.path.basename(what) and os.path.dirname(what).endswith("/system"):
            run(["systemctl", "stop", os.path.basename(what)])
        remove(what)
        if kind == "package":
            owner = must("finding the package of %s" % what, ["dpkg-query", "--search", what]).out.partition(": ")[0]
            apt("bringing back %s" % what, ["apt-get", "-y", "-q", "-o", "Dpkg::Options::=--force-confmiss", "-o",
                                            "Dpkg::Use-Pty=0", "install", "--reinstall", "--", owner],
                time.monotonic() + 300)


# ---------------------------------------------------------------------------------------------------------------------
# What a request may say


REQUESTS = {
    "apply": {"op", "layer", "token", "digest", "declared", "contents", "secrets", "confirm", "lockSeconds"},
    "confirm": {"op", "layer", "token", "digest", "port", "waits"},
    "observe": {"op"},
    "prove": {"op", "digests"},
    "rollback": {"op"},
}
FIELDS = {
    "": {"layer", "packages", "groups", "users", "directories", "files", "checks", "units",
         "quick", "reload", "undo", "probes", "commandSeconds"},
    "groups": {"name", "system"},
    "users": {"name", "group", "groups", "shell", "home", "system", "passwordSHA256"},
    "directories": {"path", "mode", "owner", "group"},
    "files": {"path", "mode", "owner", "group", "sha256", "policy", "env"},
    "checks": {"argv", "hint"},
    "units": {"name", "enabled", "active", "masked"},
}
PROBE_FIELDS = {
    "command": {"kind", "subject", "argv", "want", "seconds"},
    "sysctl": {"kind", "key", "want", "mayLack"},
    "sshd": {"kind", "user", "addr", "lport", "want"},
    "iptables": {"kind", "family", "table", "want", "ignore", "rebuild"},
    "wireguard": {"kind", "interface", "port", "publicKey", "peers"},
    "jail": {"kind", "name", "want"},
    "files": {"kind", "paths", "except", "generated", "units"},
    "keys": {"kind", "allowed"},
    "accounts": {"kind", "admins", "privileged"},
    "nftables": {"kind"},
}
PROBE_NEEDS = {"command": ("argv", "want"), "sysctl": ("key", "want"), "sshd": ("user", "lport", "want"),
               "iptables": ("want",), "wireguard": ("interface",), "jail": ("name", "want"), "files": ("paths",),
               "keys": ("allowed",), "accounts": (), "nftables": ()}
NEEDS = {"groups": ("name",), "users": ("name",), "directories": ("path", "mode", "owner", "group"),
         "files": ("path", "mode", "owner", "group"), "checks": ("argv",), "units": ("name",)}


def only(value, allowed, needed, where):
    if not isinstance(value, dict):
        raise Failure("%s: an object is wanted" % where)
    for key in value:
        if key not in allowed:
            raise Failure("%s: unknown field %s" % (where, quote(key)))
    for key in needed:
        if key not in value:
            raise Failure("%s: the field %s is missing" % (where, quote(key)))


def plain_path(path, where):
    if not isinstance(path, str) or not path.startswith("/") or os.path.normpath(path) != path or path == "/" \
            or path.startswith("//") or "\0" in path or "\n" in path:
        raise Failure("%s: %s is not a plain absolute path" % (where, quote(path)))


def verify_declared(declared):
    only(declared, FIELDS[""], ("layer",), "declared")
    for section, fields in FIELDS.items():
        if section:
            for number, value in enumerate(declared.get(section) or []):
                only(value, fields, NEEDS[section], "declared: %s %d" % (section, number))
    for number, value in enumerate(declared.get("probes") or []):
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind not in PROBE_FIELDS:
            raise Failure("declared: probes %d: unknown kind %s" % (number, quote(kind)))
        only(value, PROBE_FIELDS[kind], PROBE_NEEDS[kind], "declared: probes %d" % number)
    for section in ("directories", "files"):
        for value in declared.get(section) or []:
            plain_path(value["path"], "declared: " + section)
            if not re.fullmatch("[0-7]{3,4}", str(value["mode"])):
                raise Failure("declared: %s: %s: %s is not a mode" % (section, quote(value["path"]),
                                                                     quote(value["mode"])))
    for value in declared.get("files") or []:
        if value.get("policy", "replace") not in ("replace", "env"):
            raise Failure("declared: files: %s: unknown policy %s" % (quote(value["path"]), quote(value["policy"])))
    if declared.get("quick") is not None:
        only(declared["quick"], {"path", "argv"}, ("path", "argv"), "declared: quick")
    seconds = command_seconds(declared)
    if type(seconds) is not int or not 0 < seconds <= MOST_COMMAND_SECONDS:
        raise Failure("declared: commandSeconds: %s is not a number of seconds up to %d"
                      % (quote(seconds), MOST_COMMAND_SECONDS))


def command_seconds(declared):
    return declared.get("commandSeconds", COMMAND_SECONDS)


class Request:
    """An apply request, verified: what is declared is what its digest says, and every content is the declared one."""

    def __init__(self, body):
        only(body, REQUESTS["apply"], ("layer", "token", "digest", "declared"), "request")
        self.layer, self.token, self.digest, self.text = body["layer"], body["token"], body["digest"], body["declared"]
        if not isinstance(self.layer, str) or not re.fullmatch("[a-z][a-z0-9-]{0,40}", self.layer):
            raise Failure("request: %s is not a layer's name" % quote(self.layer))
        if not isinstance(self.text, str):
            raise Failure("request: declared: a string is wanted")
        if sha256(self.text.encode()) != self.digest:
            raise Failure("request: declared does not match its digest %s: the payload was damaged on the way"
                          % quote(self.digest))
        try:
            self.declared = json.loads(self.text)
        except ValueError:
            raise Failure("request: declared: not JSON") from None
        verify_declared(self.declared)
        if self.declared["layer"] != self.layer:
            raise Failure("request: layer %s, declared %s" % (quote(self.layer), quote(self.declared["layer"])))
        secrets = body.get("secrets") or {}
        only(secrets, {"users", "env"}, (), "request: secrets")
        self.hashes, self.values = secrets.get("users") or {}, secrets.get("env") or {}
        SECRETS.update(value for value in list(self.hashes.values()) + list(self.values.values()) if len(value) > 3)
        self.confirm = body.get("confirm")
        if self.confirm is not None:
            only(self.confirm, {"port", "seconds"}, ("port", "seconds"), "request: confirm")
            if type(self.confirm["seconds"]) is not int or not 0 < self.confirm["seconds"] <= 3600:
                raise Failure("request: confirm: %s is not a number of seconds up to an hour"
                              % quote(self.confirm["seconds"]))
        self.lock_seconds = int(body.get("lockSeconds") or 300)
        self.contents = {}
        for path, text in (body.get("contents") or {}).items():
            if not isinstance(text, str):
                raise Failure("request: contents: %s is not text" % quote(path))
            self.contents[path] = text.encode("utf-8", "surrogatepass")
        for spec in self.declared.get("files") or []:
            self._verify_file(spec)
        for user in self.declared.get("users") or []:
            wanted, value = user.get("passwordSHA256"), self.hashes.get(user["name"])
            if wanted and (value is None or digest_of(value) != wanted):
                raise Failure("request: the password of %s does not match what is declared" % quote(user["name"]))
            if value is not None and re.search(r"[:\n]", value):
                raise Failure("request: the password of %s is not a crypt hash" % quote(user["name"]))

    def _verify_file(self, spec):
        path, policy = spec["path"], spec.get("policy", "replace")
        if path not in self.contents:
            if policy != "env":
                raise Failure("request: contents: %s is missing" % quote(path))
        elif spec.get("sha256") != sha256(self.contents[path]):
            raise Failure("request: contents: %s does not match its declared sha256" % quote(path))
        if int(spec["mode"], 8) & 0o004 == 0 and path in self.contents:
            hide(self.contents[path].decode("utf-8", "replace"))
        for key, wanted in (spec.get("env") or {}).items():
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key):
                raise Failure("%s: %s is not a variable's name" % (quote(path), quote(key)))
            value = self.values.get(key)
            if value is None or digest_of(value) != wanted:
                raise Failure("request: the value of %s does not match what is declared" % quote(key))
            if re.search(r"[\n\r\0]", value):
                raise Failure("%s: the value of %s has more than one line" % (quote(path), quote(key)))


# ---------------------------------------------------------------------------------------------------------------------
# The lock


class Lock:
    def __init__(self, what, seconds):
        self.what, self.seconds = what, seconds

    def __enter__(self):
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
                raise Failure("the host is busy: %s holds %s, waited %d s" % (holder, LOCK, self.seconds))
            if not told:
                say("waiting for %s" % holder)
                told = True
            time.sleep(0.05)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, ("%s, process %d" % (self.what, os.getpid())).encode(), 0)
        return self

    def __exit__(self, *_):
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


# ---------------------------------------------------------------------------------------------------------------------
# What was, saved so that it can be put back without needing room on the disk


class Journal:
    """A folder with what a change replaces. Old files are hard links: putting one back is a rename, which works on a
    full disk and keeps every attribute. `armed` ones become PENDING in one rename, complete or not there at all."""

    def __init__(self, path, manifest):
        self.path, self.manifest = path, manifest

    @classmethod
    def load(cls, path):
        manifest = read_state(path + "/manifest.json")
        return None if manifest is None else cls(path, manifest)

    @classmethod
    def begin(cls, path, request):
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
        write_state(path + "/record.json", {"token": request.token, "digest": request.digest, "declared": request.text,
                                            "appliedAt": int(time.time())})
        return journal

    def save(self, path):
        number = str(len(self.manifest["entries"]))
        entry = {"path": path, "was": "missing", "saved": number}
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
                    raise Failure("%s is neither file nor folder" % quote(path))
        except (FileNotFoundError, NotADirectoryError):
            pass
        self.manifest["entries"].append(entry)
        return entry

    def _link(self, place, number, entry):
        folder = os.open(self.path, FOLDER_FLAGS)
        try:
            os.link(place.name, number, src_dir_fd=place.descriptor, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                raise
            found = look(place.path)
            write_file("%s/%s" % (self.path, number), found.data, entry["mode"], entry["uid"], entry["gid"])
            entry["was"] = "copy"
        finally:
            os.close(folder)

    def seal(self):
        write_state(self.path + "/manifest.json", self.manifest)

    def arm(self):
        self.manifest.update(since=int(time.time()), deadline=since_boot() + self.manifest["seconds"])
        for verdict in ("confirmed", "rollback"):
            with open("%s/verdict-%s" % (self.path, verdict), "w") as file:
                file.write(verdict)
        self.seal()
        sync_folder(self.path)
        remove_tree(PENDING)
        os.rename(self.path, PENDING)
        self.path = PENDING
        sync_folder(STATE)

    def applied(self):
        self.manifest["applied"] = since_boot()
        self.manifest["deadline"] = self.manifest["applied"] + self.manifest["seconds"]
        self.seal()

    def verdict(self):
        try:
            with open(self.path + "/verdict") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def claim(self, verdict):
        """Decides, once for all: the first to link the verdict wins, and everybody else reads it."""
        try:
            os.link("%s/verdict-%s" % (self.path, verdict), self.path + "/verdict")
        except FileExistsError:
            return self.verdict()
        except FileNotFoundError:  # settled and gone
            return None
        try:
            sync_folder(self.path)
        except FileNotFoundError:  # whoever waited for the verdict has acted on it already
            pass
        return verdict

    def put_back(self, entry):
        path, was = entry["path"], entry["was"]
        if path == SELF:
            return  # the timer may still need it
        saved = "%s/%s" % (self.path, entry["saved"])
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
                if now is not None and stat.S_ISDIR(now.st_mode):
                    try:
                        os.rmdir(place.name, dir_fd=place.descriptor)
                    except OSError as error:
                        if error.errno != errno.ENOTEMPTY:
                            raise
                elif now is not None:
                    os.unlink(place.name, dir_fd=place.descriptor)
            elif was == "folder":
                if now is None:
                    os.mkdir(place.name, 0o700, dir_fd=place.descriptor)
                descriptor = os.open(place.name, FOLDER_FLAGS, dir_fd=place.descriptor)
                try:
                    os.fchown(descriptor, entry["uid"], entry["gid"])
                    os.fchmod(descriptor, entry["mode"])
                finally:
                    os.close(descriptor)
            elif was == "symlink":
                fresh = ".%s.openclaw-old" % place.name
                remove_name(fresh, place.descriptor)
                os.symlink(entry["target"], fresh, dir_fd=place.descriptor)
                os.chown(fresh, entry["uid"], entry["gid"], dir_fd=place.descriptor, follow_symlinks=False)
                if now is not None and stat.S_ISDIR(now.st_mode):
                    os.rmdir(place.name, dir_fd=place.descriptor)
                os.rename(fresh, place.name, src_dir_fd=place.descriptor, dst_dir_fd=place.descriptor)
            elif was == "copy":
                with open(saved, "rb") as file:
                    write_file(path, file.read(), entry["mode"], entry["uid"], entry["gid"])
            else:
                fresh = ".%s.openclaw-old" % place.name
                remove_name(fresh, place.descriptor)
                os.link(saved, fresh, dst_dir_fd=place.descriptor, follow_symlinks=False)
                os.rename(fresh, place.name, src_dir_fd=place.descriptor, dst_dir_fd=place.descriptor)
                remove_name(fresh, place.descriptor)  # rename leaves it where both are one file already
            os.fsync(place.descriptor)

    def undo(self, patience):
        """Puts everything back and returns what could not be. A full disk is a Failure: the journal stays, and the
        next try may find room. Anything else would fail again for ever, and the rest matters more."""
        problems, manifest = [], self.manifest
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
            raise Failure("putting back what was before failed: " + full)
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
                done = run(argv, seconds=manifest.get("commandSeconds", COMMAND_SECONDS))
                if done.code == 0:
                    break
                if chance + 1 < patience:  # after a boot, what it talks to may still be starting
                    time.sleep(3)
            else:
                problems.append(done.words())
        return problems

    def keep(self):
        """The change stays: the record makes it so, and comes before anything that could fail."""
        layer = self.manifest["layer"]
        os.rename(self.path + "/record.json", "%s/%s.json" % (LAYERS, layer))
        sync_folder(LAYERS)
        clear_dirty(layer)
        last = read_state(LAST_ROLLBACK)
        if last and last.get("layer") == layer:
            os.unlink(LAST_ROLLBACK)
        self.drop()

    def drop(self):
        done = STATE + "/done"
        remove_tree(done)
        armed = self.path == PENDING
        os.rename(self.path, done)
        sync_folder(STATE)
        remove_tree(done)
        if armed:
            disarm()


def is_unit_file(path):
    return re.match(r"/(etc|usr/lib|lib|usr/local/lib|run)/systemd/system/", path) is not None


def dirty_path(layer):
    return "%s/%s.unfinished" % (LAYERS, layer)


def set_dirty(layer):
    write_file(dirty_path(layer), b"", 0o600, 0, 0)


def clear_dirty(layer):
    try:
        os.unlink(dirty_path(layer))
    except FileNotFoundError:
        pass


# ---------------------------------------------------------------------------------------------------------------------
# The dead man's switch


def timer_files(seconds):
    service = """\
# Managed by the openclaw deployment. Puts back a change that nobody confirmed.
[Unit]
Description=Put back an unconfirmed change of the openclaw deployment
# A full disk passes: giving up on it would leave the host without a door.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=%s -I %s rollback
Restart=on-failure
RestartSec=10
""" % (PYTHON, SELF)
    timer = """\
# Managed by the openclaw deployment. Started before a change that can cut off the way in, enabled until the change is
# confirmed, so that a reboot does not lose it. Counts from its own start, not by the wall clock.
[Unit]
Description=Put back an unconfirmed change of the openclaw deployment in time
# One run starts it for every layer that it arms.
StartLimitIntervalSec=0

[Timer]
OnActiveSec=%d
AccuracySec=1

[Install]
WantedBy=timers.target
""" % (seconds + TIMER_SLACK)
    return (("%s/%s" % (UNITS, SERVICE), service), ("%s/%s" % (UNITS, TIMER), timer))


def arm_timer(seconds, source):
    found = look(SELF)
    if found.data != source:
        write_file(SELF, source, 0o644, 0, 0, [])
    changed = False
    for path, text in timer_files(seconds):
        if look(path).data != text.encode():
            write_file(path, text.encode(), 0o644, 0, 0, [])
            changed = True
    if changed:
        systemctl("daemon-reload")
    os.close(open_folder(os.path.dirname(TIMER_LINK), []))
    if not os.path.islink(TIMER_LINK):
        os.symlink("%s/%s" % (UNITS, TIMER), TIMER_LINK)
        sync_folder(os.path.dirname(TIMER_LINK))
    systemctl("restart", TIMER)


def disarm():
    try:
        os.unlink(TIMER_LINK)
        sync_folder(os.path.dirname(TIMER_LINK))
    except FileNotFoundError:
        pass
    run(["systemctl", "stop", TIMER])


def roll_back(journal, reason, patience=1):
    """Puts an armed change back and says so where the next run will look. The verdict is taken already."""
    problems = journal.undo(patience)
    if problems:
        reason += "; not all of what was before could be put back: " + "; ".join(problems)
    else:
        clear_dirty(journal.manifest["layer"])
    manifest = journal.manifest
    try:
        write_state(LAST_ROLLBACK, {"layer": manifest["layer"], "token": manifest["token"], "at": int(time.time()),
                                    "reason": clean(reason)})
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    journal.drop()
    return reason


def unconfirmed(manifest):
    if manifest["bootId"] != boot_id():
        return "the host restarted before the change was confirmed"
    return "no confirmation over a new connection on port %s within %s s" % (manifest["port"], manifest["seconds"])


def settle(reason=None, patience=1):
    """Ends a change whose run is gone. Returns (layer, what happened) or None. The lock is held."""
    journal = Journal.load(PENDING)
    if journal is None:
        remove_tree(PENDING)
        return None
    layer = journal.manifest["layer"]
    if journal.claim("rollback") == "confirmed":
        journal.keep()
        return layer, "kept"
    return layer, "rolled back: " + roll_back(journal, reason or unconfirmed(journal.manifest), patience)


# ---------------------------------------------------------------------------------------------------------------------
# apply


class Plan:
    """What has to change for a layer to be as declared."""

    def __init__(self, request, installed):
        self.request, self.installed = request, installed
        declared = request.declared
        self.record = read_record(request.layer) or {}
        self.before = json.loads(self.record["declared"]) if self.record.get("declared") else {}
        self.dirty = os.path.exists(dirty_path(request.layer))
        self.accounts = Accounts()
        self.groups = [group["name"] for group in declared.get("groups") or []
                       if group["name"] not in self.accounts.groups]
        for user in declared.get("users") or []:
            group = user.get("group")
            if group and group not in self.accounts.groups and group not in self.groups:
                self.groups.append(group)
        self.system_groups = {group["name"] for group in declared.get("groups") or [] if group.get("system")} | \
            {user["group"] for user in declared.get("users") or [] if user.get("system") and user.get("group")}
        self.users = [user for user in declared.get("users") or [] if account_faults(user, self.accounts)]
        self.data, self.files, self.folders, self.removals = {}, [], [], []
        self._folders(declared)
        self._files(declared)
        self._removals(declared)
        # What `running` finds.
        self.units, self.retired, self.states, self.probes, self.repairs = [], [], {}, [], []
        self.host = None

    def _folders(self, declared):
        for spec in declared.get("directories") or []:
            found = look(spec["path"], read=False)
            if found.kind != "folder" or found.mode != int(spec["mode"], 8) or \
                    (found.uid, found.gid) != (self.accounts.uid(spec["owner"]), self.accounts.gid(spec["group"])):
                self.folders.append(spec)

    def _files(self, declared):
        previous = {spec["path"]: spec for spec in self.before.get("files") or []}
        for spec in declared.get("files") or []:
            path, policy, found = spec["path"], spec.get("policy", "replace"), look(spec["path"])
            if found.kind in ("folder", "other"):
                raise Failure("%s is %s, a file is wanted" % (quote(path), found.words()))
            data = self.request.contents.get(path, b"")
            if policy == "env":
                if found.kind == "symlink":
                    raise Failure("%s is a symlink: it may hold lines of yours, so it is not replaced\n"
                                  "put a plain file there, then run again" % quote(path))
                text = (found.data if found.kind == "file" else data).decode("utf-8", "surrogateescape")
                wanted = {key: self.request.values[key] for key in spec.get("env") or {}}
                dropped = {key: value for key, value in (previous.get(path, {}).get("env") or {}).items()
                           if key not in wanted}
                data = merge_env(path, text, wanted, dropped).encode("utf-8", "surrogateescape")
            self.data[path] = data
            if found.kind != "file" or found.data != data or found.mode != int(spec["mode"], 8) or \
                    (found.uid, found.gid) != (self.accounts.uid(spec["owner"]), self.accounts.gid(spec["group"])):
                self.files.append(spec)

    def _removals(self, declared):
        kept = {spec["path"] for spec in declared.get("files") or []}
        kept |= {spec["path"] for spec in declared.get("directories") or []}
        for name, record in all_records():
            if name != self.request.layer and record is not None:
                kept |= {spec["path"] for spec in record["parsed"].get("files") or []}
        for spec in self.before.get("files") or []:
            path = spec["path"]
            if spec.get("policy", "replace") == "replace" and path not in kept and \
                    look(path, read=False).kind in ("file", "symlink"):
                self.removals.append(path)

    def running(self):
        """Compares what runs; after the checks, since they cost nothing when they fail."""
        declared = self.request.declared
        units = declared.get("units") or []
        named = {unit["name"] for unit in units}
        # A unit whose file goes with this change must not stay enabled or running without it.
        self.retired = [unit for unit in self.before.get("units") or [] if unit["name"] not in named and any(
            is_unit_file(path) and os.path.basename(path) == unit["name"] for path in self.removals)]
        names = [unit["name"] for unit in units] + [unit["name"] for unit in self.retired]
        probes = declared.get("probes") or []
        results = gather({unit_query(names)} if names else set(), probes)
        self.states = unit_states(names, results[unit_query(names)]) if names else {}
        self.units = [unit for unit in units if unit_faults(unit, self.states[unit["name"]])]
        layers = {name: record["parsed"] for name, record in all_records() if record is not None}
        layers[self.request.layer] = declared
        self.host = Host(layers, self.accounts)
        # What the kernel does not have cannot be mended by trying again.
        found = [(fault, how) for fault, how in probe_faults(declared, results, self.host)
                 if fault["got"] != "not available"]
        self.probes = [fault for fault, _ in found]
        self.repairs = [how for _, how in found if how]

    def changed(self):
        return ([spec["path"] for spec in self.folders] + [spec["path"] for spec in self.files] + self.removals
                + ["package " + name for name in self.installed] + ["group " + name for name in self.groups]
                + ["user " + user["name"] for user in self.users]
                + ["unit " + unit["name"] for unit in self.units + self.retired]
                + [fault["subject"] for fault in self.probes] + (["an unfinished run"] if self.dirty else []))

    def reloads(self):
        return bool(self.folders or self.files or self.removals or self.installed or self.groups or self.users
                    or self.probes or self.dirty)


def stage_and_check(request, plan):
    root = "%s/%s" % (STAGE, request.layer)
    remove_tree(STAGE)
    os.makedirs(root, 0o700)
    try:
        for spec in request.declared.get("files") or []:
            write_file(root + spec["path"], plan.data[spec["path"]], int(spec["mode"], 8),
                       plan.accounts.uid(spec["owner"]) or 0, plan.accounts.gid(spec["group"]) or 0, [])
        for check in request.declared.get("checks") or []:
            argv = [argument.replace("{stage}", root) for argument in check["argv"]]
            if os.path.basename(argv[0]) == "sshd":
                os.close(open_folder("/run/sshd", []))  # sshd checks nothing without it
            done = run(argv, seconds=command_seconds(request.declared))
            if done.code != 0:
                raise Failure("check failed, nothing was changed: %s%s" % (
                    done.words().replace(root, ""), "\n" + check["hint"] if check.get("hint") else ""))
    finally:
        remove_tree(STAGE)


def save_what_was(journal, plan):
    manifest = journal.manifest
    manifest["groups"] = list(plan.groups)
    for user in plan.users:
        name = user["name"]
        saved = {"name": name, "existed": name in plan.accounts.users}
        if saved["existed"]:
            have = plan.accounts.users[name]
            saved.update(shell=have["shell"], home=have["home"], gid=have["gid"],
                         groups=plan.accounts.supplementary(name),
                         hash=plan.accounts.shadow.get(name, [name, "*"])[1])
        manifest["users"].append(saved)
    missing = set()
    for path in [spec["path"] for spec in plan.folders] + [spec["path"] for spec in plan.files]:
        # Folders on the way that do not exist yet are made, and go again if the change goes.
        parent = os.path.dirname(path)
        chain = []
        while parent != "/" and parent not in missing and look(parent, read=False).kind == "missing":
            chain.insert(0, parent)
            parent = os.path.dirname(parent)
        for folder in chain:
            missing.add(folder)
            journal.save(folder)
        if path not in missing:
            missing.add(path)
            journal.save(path)
    for path in plan.removals:
        journal.save(path)
    for how in plan.repairs:
        if how[0] in ("file", "package"):
            journal.save(how[1])
    names = [unit["name"] for unit in plan.units + plan.retired]
    manifest["units"] = [{"name": name, "state": plan.states[name]} for name in names]
    journal.seal()


def change(request, plan, journal):
    """Everything that touches the live host."""
    for name in plan.groups:
        must("making the group %s" % quote(name),
             ["groupadd"] + (["--system"] if name in plan.system_groups else []) + [name])
    accounts = Accounts() if plan.groups else plan.accounts
    for user in plan.users:
        mend_account(user, accounts, request.hashes)
        accounts = Accounts()
    for unit in plan.retired:
        systemctl("disable", "--now", unit["name"])
    for spec in plan.folders:
        make_folder(spec, accounts)
    for spec in plan.files:
        uid, gid = accounts.ids(spec)
        write_file(spec["path"], plan.data[spec["path"]], int(spec["mode"], 8), uid, gid, [])
    if reload_quickly(request, plan):
        return
    for path in plan.removals:
        remove(path)
    for how in plan.repairs:
        repair(how, plan.host)
    units = request.declared.get("units") or []
    if any(is_unit_file(path) for path in [spec["path"] for spec in plan.files] + plan.removals
           + [how[1] for how in plan.repairs if how[0] == "file"]):
        systemctl("daemon-reload")
    if units and (plan.units or plan.reloads()):
        states = query_units([unit["name"] for unit in units])
        known = {unit["name"] for unit in journal.manifest["units"]}
        for unit in units:
            if released:
                states.update(query_units([unit["name"]]))
            if unit_faults(unit, states[unit["name"]]):
                if unit["name"] not in known:  # the new files made the difference
                    journal.manifest["units"].append({"name": unit["name"], "state": plan.states[unit["name"]]})
                    journal.seal()
                try:
                    mend_unit(unit, states[unit["name"]])
                except Failure as failure:
                    raise Failure("unit %s: %s" % (quote(unit["name"]), failure)) from None
        decided = {unit["name"] for unit in units if unit.get("active") is not None or unit.get("masked")}
        for service in released:
            if service not in decided:
                systemctl("start", service)
    if plan.reloads():
        for argv in request.declared.get("reload") or []:
            must("reload", argv, seconds=command_seconds(request.declared))


def reload_quickly(request, plan):
    """The short way of a layer that has one, where its file is all that changes; says whether all is as declared then."""
    way = request.declared.get("quick")
    if way is None or [spec["path"] for spec in plan.files] != [way["path"]] or plan.folders or plan.removals or \
            plan.installed or plan.groups or plan.users or plan.units or plan.retired or plan.dirty or \
            any(how[0] != "run" for how in plan.repairs):
        return False
    if run(way["argv"], seconds=command_seconds(request.declared)).code != 0:
        return False
    plan.running()
    plan.repairs = [how for how in plan.repairs if how[0] == "run"]  # of anything else nothing was saved
    return not plan.units and not plan.probes


def make_folder(spec, accounts):
    uid, gid = accounts.ids(spec)
    found = look(spec["path"], read=False)
    if found.kind in ("file", "symlink", "other"):
        with Place(spec["path"]) as place:
            os.unlink(place.name, dir_fd=place.descriptor)
    with Place(spec["path"], []) as place:
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.descriptor)
        except FileExistsError:
            pass
        descriptor = os.open(place.name, FOLDER_FLAGS, dir_fd=place.descriptor)
        try:
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, int(spec["mode"], 8))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.fsync(place.descriptor)


def remove(path):
    try:
        with Place(path) as place:
            remove_name(place.name, place.descriptor)
            os.fsync(place.descriptor)
    except (FileNotFoundError, NotADirectoryError):
        pass


def await_verdict(journal):
    """Waits for the confirmation; whoever decides first, this, the timer or a confirmation, decides for all."""
    deadline = journal.manifest["deadline"]
    while True:
        verdict = journal.verdict()
        if verdict is None and since_boot() >= deadline:
            verdict = journal.claim("rollback")
        if verdict is not None:
            return verdict
        time.sleep(0.02)


def apply(body, source):
    layer = body.get("layer") if isinstance(body.get("layer"), str) else ""

    def result(outcome, changed=(), error=""):
        reply = {"layer": layer, "result": outcome, "changed": list(changed)}
        if error:
            say("layer %s: %s" % (layer, error))  # for people; the answer is for the program
            reply["error"] = clean(error)
        return answer(reply, {"failed": EXIT_FAILED, "rolledback": EXIT_ROLLED_BACK}.get(outcome, 0))

    try:
        request = Request(body)
        with Lock("applying layer %s" % request.layer, request.lock_seconds):
            make_state()
            settled = settle()
            if settled:
                say("an earlier change of layer %s was %s" % settled)
            outcome = apply_locked(request, source)
    except (Failure, OSError) as error:
        outcome = ("failed", (), describe(error))
    return result(*outcome)


def apply_locked(request, source):
    installed = install(request.declared, request.lock_seconds)
    take_image(request.declared)
    plan = Plan(request, installed)
    stage_and_check(request, plan)
    plan.running()
    changed = plan.changed()
    journal = Journal.begin(STATE + "/undo", request)
    if not changed:
        journal.keep()
        return "unchanged",
    armed = request.confirm is not None
    try:
        save_what_was(journal, plan)
        set_dirty(request.layer)
        if armed:
            arm_timer(request.confirm["seconds"], source)
            journal.arm()
    except (Failure, OSError):
        clear_dirty(request.layer)
        remove_tree(STATE + "/undo")
        if armed:
            remove_tree(PENDING)
            disarm()
        raise
    try:
        change(request, plan, journal)
        if armed:
            systemctl("restart", TIMER)  # the window counts from here
            journal.applied()
    except (Failure, OSError) as error:
        words = describe(error)
        if armed:
            journal.claim("rollback")
        problems = journal.undo(1)
        if problems:
            words += "\nnot all of what was before could be put back: " + "; ".join(problems)
        else:
            words += "\nwhat was before is in force again"
            clear_dirty(request.layer)
        journal.drop()
        return "failed", changed, words
    if not armed:
        journal.keep()
        return "applied", changed
    say("layer %s is applied; it stays if confirmed over a new connection on port %s within %s s"
        % (request.layer, request.confirm["port"], request.confirm["seconds"]))
    if await_verdict(journal) == "confirmed":
        journal.keep()
        return "applied", changed
    reason = roll_back(journal, unconfirmed(journal.manifest))
    return "rolledback", changed, reason + "\nthe host has put back what was before"


# ---------------------------------------------------------------------------------------------------------------------
# confirm


def process(pid):
    """Parent, name and start (in clock ticks since boot) of a process."""
    with open("/proc/%d/stat" % pid, "rb") as file:
        text = file.read()
    name = text[text.index(b"(") + 1:text.rindex(b")")]
    fields = text[text.rindex(b")") + 2:].split()
    return int(fields[1]), name, int(fields[19])  # fields 4 and 22 of proc(5)


def own_connection():
    """When the connection that this request came by was accepted, in ticks, and the port it arrived on."""
    pid, below, chain = os.getpid(), None, []
    port = None
    while pid > 1:
        parent, name, start = process(pid)
        if name.startswith(b"sshd"):
            if not chain:
                port = local_port(below)
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                listener = b"[listener]" in file.read()
            if not listener:
                chain.append(start)
        elif chain:
            break
        below, pid = pid, parent
    if not chain or port is None:
        raise Refused("no-connection", "the request did not come over ssh")
    return chain[-1], port


def local_port(pid):
    # From the shell that sshd started: sudo hands on none of it.
    with open("/proc/%d/environ" % pid, "rb") as file:
        for variable in file.read().split(b"\0"):
            if variable.startswith(b"SSH_CONNECTION="):
                fields = variable.partition(b"=")[2].split()
                if len(fields) == 4:
                    return int(fields[3])
    return None


def confirm(body):
    only(body, REQUESTS["confirm"], ("layer", "port"), "request")
    waits = body.get("waits", 0)
    if not isinstance(waits, int) or not 0 <= waits <= MOST_CONFIRM_WAIT:
        raise Failure("request: waits: %s is not a number of seconds up to %d" % (quote(waits), MOST_CONFIRM_WAIT))
    # A connection that came too early waits here for the change, so that the next one comes at the right moment.
    deadline = since_boot() + waits
    while True:
        journal = Journal.load(PENDING)
        if journal is not None and "applied" in journal.manifest:
            break
        if since_boot() >= deadline:
            return answer({"confirmed": False, "reason": "nothing pending"}, EXIT_NOT_PENDING)
        time.sleep(0.05)
    manifest = journal.manifest
    try:
        wanted = "digest" if "digest" in body else "token"
        if manifest["layer"] != body["layer"] or manifest[wanted] != body.get(wanted):
            raise Refused("wrong-token", "what is pending is another change, of layer %s" % manifest["layer"])
        if manifest["bootId"] != boot_id():
            raise Refused("restarted", "the host restarted since the change")
        if body["port"] != manifest["port"]:
            raise Refused("wrong-port", "the change is to be confirmed on port %s, not %s"
                          % (manifest["port"], body["port"]))
        start, port = own_connection()
        if port != manifest["port"]:
            raise Refused("wrong-port", "the connection arrived on port %d, not %s" % (port, manifest["port"]))
        changed = int(manifest["applied"] * os.sysconf("SC_CLK_TCK"))
        if start == changed:  # the clock is no finer: it may have been just before
            return answer({"confirmed": False, "reason": "the connection is as old as the change"}, EXIT_NOT_PENDING)
        if start < changed:
            raise Refused("old-connection", "the connection is older than the change")
        verdict = journal.claim("confirmed")
        if verdict is None:
            return answer({"confirmed": False, "reason": "nothing pending"}, EXIT_NOT_PENDING)
        if verdict != "confirmed":
            raise Refused("too-late", "the host is putting back what was before")
    except Refused as refused:
        return answer({"confirmed": False, "refused": refused.code, "reason": str(refused)}, EXIT_REFUSED)
    return answer({"confirmed": True}, 0)


# ---------------------------------------------------------------------------------------------------------------------
# observe


def read_record(layer):
    try:
        return read_state("%s/%s.json" % (LAYERS, layer))
    except (ValueError, OSError):
        return None


def all_records():
    """The layers' records by name; a record that cannot be read is None."""
    try:
        names = sorted(name[:-len(".json")] for name in os.listdir(LAYERS)
                       if name.endswith(".json") and not name.startswith("."))
    except FileNotFoundError:
        return
    for name in names:
        record = read_record(name)
        try:
            record["parsed"] = json.loads(record["declared"])
            verify_declared(record["parsed"])
            yield name, record
        except (Failure, ValueError, TypeError, KeyError):
            yield name, None


def place_faults(spec, found, kind, accounts):
    want, got = [], []
    if found.kind != kind:
        return ["a file" if kind == "file" else "a folder"], [found.words()]
    if kind == "file" and spec.get("policy", "replace") == "replace" and found.sha256 != spec.get("sha256"):
        want.append("content as deployed")
        got.append("content differs")
    if found.mode != int(spec["mode"], 8):
        want.append("mode %s" % spec["mode"])
        got.append("mode %04o" % found.mode)
    owner = "%s:%s" % (spec["owner"], spec["group"])
    if (found.uid, found.gid) != (accounts.uid(spec["owner"]), accounts.gid(spec["group"])):
        want.append("owner " + owner)
        got.append("owner " + accounts.owner(found.uid, found.gid))
    return want, got


def observe_layer(declared, host, results, states, packages):
    drift, accounts = [], host.accounts

    def differs(subject, want, got):
        drift.append({"subject": subject, "want": want, "got": got})

    for name in declared.get("packages") or []:
        if name not in packages:
            differs("package " + name, "installed", "missing")
    for group in declared.get("groups") or []:
        if group["name"] not in accounts.groups:
            differs("group " + group["name"], "a group", "missing")
    for user in declared.get("users") or []:
        for what, want, got in account_faults(user, accounts):
            differs("user %s%s" % (user["name"], ": " + what if what else ""), want, got)
    for section, kind in (("directories", "folder"), ("files", "file")):
        for spec in declared.get(section) or []:
            path, policy = spec["path"], spec.get("policy", "replace")
            try:
                found = look(path, read=kind == "file")
            except (Failure, OSError) as error:
                differs(path, "a " + kind, describe(error))
                continue
            want, got = place_faults(spec, found, kind, accounts)
            if want:
                differs(path, ", ".join(want), ", ".join(got))
            if policy == "env" and found.kind == "file":
                values = env_values(found.data.decode("utf-8", "surrogateescape"))
                for key, wanted in sorted((spec.get("env") or {}).items()):
                    if key not in values:
                        differs("%s: %s" % (path, key), "the configured value", "missing")
                    elif digest_of(values[key]) != wanted:
                        differs("%s: %s" % (path, key), "the configured value", "another value")
    for unit in declared.get("units") or []:
        for want, got in unit_faults(unit, states.get(unit["name"], {})):
            differs("unit " + unit["name"], want, got)
    drift += [fault for fault, _ in probe_faults(declared, results, host)]
    return drift


def pending_now():
    journal = Journal.load(PENDING)
    if journal is None:
        return None
    manifest, now = journal.manifest, int(time.time())
    if manifest["bootId"] == boot_id():
        deadline = now + manifest["deadline"] - since_boot() + TIMER_SLACK
    else:
        # The timer counts anew from when it was started, by the clock that systemd counts by.
        done = run(["systemctl", "show", "--property=ActiveEnterTimestampMonotonic", TIMER], seconds=PROBE_SECONDS)
        started = done.out.strip().partition("=")[2]
        passed = time.monotonic() - int(started) / 1e6 if started.isdigit() else 0
        deadline = now - passed + manifest["seconds"] + TIMER_SLACK
    return {"layer": manifest["layer"], "token": manifest["token"], "since": manifest["since"],
            "deadline": int(deadline)}


def observe(body):
    only(body, REQUESTS["observe"], (), "request")
    return answer({"layers": observe_all(), "pending": pending_now(), "lastRollback": read_state(LAST_ROLLBACK),
                   "clock": int(time.time()), "bootId": boot_id()}, 0)


# The parts of a layer that are read back.
SETTINGS = ("packages", "groups", "users", "directories", "files", "units", "probes")


def prove(body):
    """Fails with a table unless every layer is in place, as declared by the digests that came with the request."""
    only(body, REQUESTS["prove"], ("digests",), "request")
    layers = observe_all()
    rows = []
    for name, digest in body["digests"].items():
        found = layers.get(name)
        if found is None:
            rows.append((name, "in place", "never applied"))
        elif found["digest"] != digest:
            rows.append((name, "as declared by this run", "another version"))
        else:
            rows += [(name, "%s: %s" % (fault["subject"], fault["want"]), fault["got"]) for fault in found["drift"]]
    if not rows:
        return answer({"proven": sorted(body["digests"]), "at": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
                       "settings": {name: layers[name]["settings"] for name in body["digests"]},
                       "notShown": not_shown()}, 0)
    rows.insert(0, ("LAYER", "EXPECTED", "EFFECTIVE"))
    widths = [max(len(str(row[column]).split("\n")[0]) for row in rows) for column in (0, 1)]
    say("the host is not as declared:")
    for layer, want, got in rows:
        say("%-*s  %-*s  %s" % (widths[0], layer, widths[1], want, got))
    return answer({"proven": [], "result": "failed"}, EXIT_FAILED)


def observe_all():
    """What is effective, layer by layer: token, digest and drift."""
    records = list(all_records())
    declared = [record["parsed"] for _, record in records if record is not None]
    packages = {name for layer in declared for name in layer.get("packages") or []}
    units = sorted({unit["name"] for layer in declared for unit in layer.get("units") or []})
    queries = set()
    if packages:
        queries.add(package_query(packages))
    if units:
        queries.add(unit_query(units))
    results = gather(queries, [probe for layer in declared for probe in layer.get("probes") or []])
    accounts = Accounts()
    installed = installed_packages(results[package_query(packages)]) if packages else set()
    states, units_problem = {}, None
    try:
        states = unit_states(units, results[unit_query(units)]) if units else {}
    except Failure as failure:
        units_problem = str(failure)
    host = Host({layer["layer"]: layer for layer in declared}, accounts)
    layers = {}
    for name, record in records:
        if record is None:
            layers[name] = {"token": "", "digest": "", "drift": [
                {"subject": "record of layer " + name, "want": "a record", "got": "unreadable"}]}
            continue
        drift = observe_layer(record["parsed"], host, results, states, installed)
        if units_problem and record["parsed"].get("units"):
            drift.append({"subject": "units", "want": "an answer", "got": units_problem})
        if os.path.exists(dirty_path(name)):
            drift.append({"subject": "last run of layer " + name, "want": "finished", "got": "interrupted"})
        for fault in drift:
            fault["want"], fault["got"] = clean(fault["want"]), clean(fault["got"])
        settings = sum(len(record["parsed"].get(section) or []) for section in SETTINGS)
        layers[name] = {"token": record["token"], "digest": sha256(record["declared"].encode()), "drift": drift,
                        "settings": settings}
    return layers


# ---------------------------------------------------------------------------------------------------------------------
# rollback


def rollback(body):
    only(body, REQUESTS["rollback"], (), "request")
    journal = Journal.load(PENDING)
    reason = None
    if journal is not None:
        reason = unconfirmed(journal.manifest)
        journal.claim("rollback")  # a run that still waits for its confirmation sees it and puts back by itself
    with Lock("putting back", ROLLBACK_LOCK_SECONDS):
        make_state()
        settled = settle(reason, patience=5)
        if settled is None:
            disarm()
    if settled is None:
        return answer({"rolledback": False, "reason": "nothing pending"}, 0)
    return answer({"rolledback": settled[1] != "kept", "layer": settled[0], "reason": clean(settled[1])}, 0)


# ---------------------------------------------------------------------------------------------------------------------


def describe(error, path=None):
    """An error in words: a Failure's own, or what the system said of which path."""
    if isinstance(error, Failure):
        words, room = str(error), os.statvfs("/etc")
        # A tool that found no room says so in words of its own, or not at all. Of free blocks ext4 keeps some from everybody.
        full = room.f_bavail * room.f_frsize < 64 << 10 or "No space left on device" in words
        return words + "\n" + NO_SPACE if full and NO_SPACE not in words else words
    name = path or error.filename
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    words = NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else \
        (error.strerror or "i/o error").lower()
    return "%s: %s" % (quote(name), words) if name else words


def main(request, source, words=()):
    # The very change may cut the session: neither its end nor a closed pipe may stop what was begun.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    try:
        if os.geteuid() != 0:
            raise Failure("this needs root")
        try:
            body = json.loads(request)
        except ValueError:
            raise Failure("request: not JSON: it was cut or damaged on the way") from None
        if not isinstance(body, dict):
            raise Failure("request: an object is wanted")
        op = body.get("op")
        if op == "apply":
            if words:
                body.setdefault("token", words[0])
            return apply(body, source)
        if op in ("confirm", "observe", "prove", "rollback"):
            return {"confirm": confirm, "observe": observe, "prove": prove, "rollback": rollback}[op](body)
        raise Failure("request: unknown op %s" % quote(op))
    except (Failure, OSError) as error:
        return answer({"result": "failed", "error": clean(describe(error))}, EXIT_FAILED)
    except Exception as error:  # its message may repeat what it stumbled over, so only its kind and place are told
        frame = error.__traceback__
        while frame.tb_next is not None:
            frame = frame.tb_next
        return answer({"result": "failed", "error": "a fault of the applier: %s at line %d"
                       % (type(error).__name__, frame.tb_lineno)}, EXIT_FAILED)


def from_disk(arguments):
    if arguments not in (["rollback"], ["observe"]):
        put(2, b"usage: apply.py rollback|observe\n")
        return 64
    with open(SELF if os.path.exists(SELF) else __file__, "rb") as file:
        return main(json.dumps({"op": arguments[0]}).encode(), file.read())


if __name__ == "__main__":
    sys.exit(from_disk(sys.argv[1:]))
