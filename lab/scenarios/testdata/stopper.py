"""Stops the applier, or the break-glass's script, in the moment in which it gets to a point of a run, says so, and lets it go on
when it is told to. So a fault strikes there and nowhere else."""

import json
import os
import signal
import sys
import time

phase, layer = sys.argv[1:3]
STATE = "/var/lib/openclaw-deploy/"


def running(mark):
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open("/proc/%s/cmdline" % name, "rb") as file:
                    argv = file.read().split(b"\0")
            except OSError:
                continue
            if mark(argv):
                found.add(int(name))
    return found


def applier(argv):
    return argv[0].endswith(b"python3") and any(b"openclaw_apply" in word for word in argv)


def script(argv):
    return any(b"run-command-handler/download" in word and word.endswith(b"/script.sh") for word in argv)


def pending():
    try:
        with open(STATE + "pending/manifest.json") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def renewed():
    try:
        return os.stat(STATE + "layers/%s.json" % layer).st_mtime_ns
    except OSError:
        return 0


before, old = renewed(), None


def there():
    global old
    if phase == "checks":
        return os.path.isdir(STATE + "stage/" + layer) and running(applier)
    if phase == "armed":
        return pending().get("layer") == layer and running(applier)
    if phase == "break-glass":
        return running(script)
    if phase == "proof":
        if renewed() == before:
            return set()
        if old is None:
            # The record was written a moment ago, by one that still runs; the proof's own cannot have begun.
            old = running(applier)
        return running(applier) - old
    sys.exit("no phase is named %r" % phase)


def tell(found, number):
    for pid in found:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


print("waiting", flush=True)
while True:
    found = there()
    if found:
        break
    time.sleep(0.002)
tell(found, signal.SIGSTOP)
print("reached", flush=True)
sys.stdin.readline()
tell(found, signal.SIGCONT)
print("released", flush=True)
