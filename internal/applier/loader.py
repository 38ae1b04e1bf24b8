"""Puts one layer of the deployment in place on this host, or puts it back.

Managed by the openclaw deployment: edits here are overwritten by its next run.

The deployment sends this file together with what it wants and runs it from there; the copy on disk serves the
rollback timer (`apply.py rollback`) and reading (`apply.py observe`). Standard library only.

A change that can cut off the way in is armed: what was is saved, a timer that survives a reboot is started, and only
a confirmation over a connection accepted after the change disarms it. Until then whoever finds the change first, this
process, the timer or the next run, puts the host back.

The modules follow, each as its own file has it: a traceback names the module and the line in it.
"""

import sys
import types


def load(name: str, text: str) -> None:
    module = types.ModuleType(f"applier.{name}")
    sys.modules[module.__name__] = module
    exec(compile(text, f"applier/{name}.py", "exec"), module.__dict__)
