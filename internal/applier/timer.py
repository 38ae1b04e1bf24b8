"""The dead man's switch: a timer of systemd's that puts back what nobody confirmed."""

import os

from applier.commands import run
from applier.files import look, open_folder, sync_folder, write_file
from applier.units import systemctl

SELF = "/usr/local/lib/openclaw-deploy/apply.py"
PYTHON = "/usr/bin/python3"
UNITS = "/etc/systemd/system"
TIMER = "openclaw-deploy-rollback.timer"
SERVICE = "openclaw-deploy-rollback.service"
TIMER_LINK = f"{UNITS}/timers.target.wants/{TIMER}"
TIMER_SLACK = 2  # the timer is for a run that is gone: one that lives decides first


def timer_files(seconds: int) -> tuple[tuple[str, str], ...]:
    service = f"""\
# Managed by the openclaw deployment. Puts back a change that nobody confirmed.
[Unit]
Description=Put back an unconfirmed change of the openclaw deployment
# A full disk passes: giving up on it would leave the host without a door.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={PYTHON} -I {SELF} rollback
Restart=on-failure
RestartSec=10
"""
    timer = f"""\
# Managed by the openclaw deployment. Started before a change that can cut off the way in, enabled until the change is
# confirmed, so that a reboot does not lose it. Counts from its own start, not by the wall clock.
[Unit]
Description=Put back an unconfirmed change of the openclaw deployment in time
# One run starts it for every layer that it arms.
StartLimitIntervalSec=0

[Timer]
OnActiveSec={seconds + TIMER_SLACK}
AccuracySec=1

[Install]
WantedBy=timers.target
"""
    return (f"{UNITS}/{SERVICE}", service), (f"{UNITS}/{TIMER}", timer)


def arm_timer(seconds: int, source: bytes) -> None:
    """Starts the timer, with the program that it runs in place: this very one, in one rename."""
    if look(SELF).data != source:
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
        os.symlink(f"{UNITS}/{TIMER}", TIMER_LINK)
        sync_folder(os.path.dirname(TIMER_LINK))
    systemctl("restart", TIMER)


def disarm() -> None:
    try:
        os.unlink(TIMER_LINK)
        sync_folder(os.path.dirname(TIMER_LINK))
    except FileNotFoundError:
        pass
    run(["systemctl", "stop", TIMER])
