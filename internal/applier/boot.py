"""A machine's first boot: cloud-init may still be at work when sshd lets the deployment in."""

import os
import time

from applier.commands import run
from applier.records import STATE

LIMIT = 600  # seconds
ENABLED = "/run/cloud-init/enabled"
RESULT = "/run/cloud-init/result.json"


def await_first_boot() -> None:
    """Waits, before anything is noted of the machine, until cloud-init has ended: what it makes is the image's, and what it changes
    would be undone, or undo the deployment's."""
    if os.path.exists(STATE):
        return
    deadline = time.monotonic() + LIMIT
    while os.path.exists(ENABLED) and not os.path.exists(RESULT) and at_work() and time.monotonic() < deadline:
        time.sleep(0.5)


def at_work() -> bool:
    """Whether there is something to wait for: where cloud-init is broken its jobs are gone without a result."""
    jobs = run(("systemctl", "list-jobs", "--no-legend"))
    state = run(("systemctl", "show", "--property=ActiveState", "--value", "cloud-final.service"))
    return jobs.code != 0 or " cloud-" in jobs.out or state.out.strip() == "activating"
