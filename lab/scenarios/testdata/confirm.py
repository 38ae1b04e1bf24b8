"""Confirms the host's pending change as the program does: by the applier's own function, over the connection that it is run over."""

import json
import sys

PATH = "/usr/local/lib/openclaw-deploy/apply.py"
with open("/var/lib/openclaw-deploy/pending/manifest.json") as file:
    pending = json.load(file)
with open(PATH, "rb") as file:
    source = file.read()
applier = {"__name__": "openclaw_apply"}
exec(compile(source, PATH, "exec"), applier)
request = {"op": "confirm", "layer": pending["layer"], "digest": pending["digest"], "port": pending["port"]}
sys.exit(applier["main"](json.dumps(request).encode(), source))
