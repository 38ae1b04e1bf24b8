"""Makes the process of a number the owner of OpenClaw's state: what a loss of power leaves once that number is another's."""

import glob
import json
import sqlite3
import sys


def other(text, *keys):
    whole = json.loads(text)
    part = whole[keys[0]] if len(keys) > 2 else whole
    part[keys[-2]], part[keys[-1]] = int(sys.argv[1]), 1
    return json.dumps(whole)


database = sqlite3.connect("/var/lib/openclaw/state/openclaw.sqlite", timeout=3)
leases = database.execute("SELECT payload_json FROM state_leases WHERE scope = 'gateway-owner'").fetchall()
assert len(leases) == 1, leases
database.execute("UPDATE state_leases SET payload_json = ? WHERE scope = 'gateway-owner'",
                 (other(leases[0][0], "owner", "pid", "startedAt"),))
database.commit()
locks = glob.glob("/var/lib/openclaw/tmp/openclaw-*/gateway.*.lock")
assert locks
for path in locks:
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(other(text, "pid", "startTime"))
