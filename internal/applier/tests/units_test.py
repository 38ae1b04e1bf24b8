import unittest
from typing import Any

from applier import units
from applier.commands import Done
from applier.words import Failure

RUNS = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}
STOPPED = {"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "disabled"}
MASKED = {"LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"}
MISSING = {"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""}


class Units(unittest.TestCase):
    def test_unit_faults(self) -> None:
        on: dict[str, Any] = {"enabled": True, "active": True, "masked": False}
        off: dict[str, Any] = {"enabled": False, "active": False, "masked": False}
        for wanted, state, found in (
            (on, RUNS, []),
            (on, dict(RUNS, ActiveState="reloading", UnitFileState="static"), []),
            (on, STOPPED, [("enabled", "disabled"), ("active", "inactive")]),
            (on, dict(RUNS, ActiveState="activating"), [("active", "activating")]),
            (on, dict(RUNS, ActiveState="failed"), [("active", "failed")]),
            (on, MASKED, [("not masked", "masked"), ("enabled", "masked"), ("active", "inactive")]),
            (on, MISSING, [("a unit", "not found")]),
            (on, {}, [("enabled", "disabled"), ("active", "inactive")]),
            (off, STOPPED, []),
            (off, RUNS, [("disabled", "enabled"), ("inactive", "active")]),
            (off, dict(STOPPED, ActiveState="failed"), []),
            (off, MISSING, []),
            (off, MASKED, [("not masked", "masked")]),
            ({"masked": True}, MASKED, []),
            ({"masked": True}, RUNS, [("masked", "not masked")]),
            ({"enabled": None, "active": None, "masked": False}, RUNS, []),
            ({}, MASKED, []),
        ):
            with self.subTest(wanted=wanted, state=state):
                got = units.unit_faults(dict(wanted, name="x.service"), state)
                self.assertEqual([(fault.want, fault.got) for fault in got], found)
                self.assertEqual({fault.subject for fault in got} - {"unit x.service"}, set())

    def test_unit_states(self) -> None:
        out = "Id=a.service\nActiveState=active\n\nId=b.service\nActiveState=x=y\n"
        self.assertEqual(units.unit_states(["a.service", "b.service", "c.service"], Done((), 0, out, "", "")), {
            "a.service": {"Id": "a.service", "ActiveState": "active"},
            "b.service": {"Id": "b.service", "ActiveState": "x=y"}, "c.service": {}})
        with self.assertRaises(Failure):
            units.unit_states(["a.service"], Done(("systemctl",), 1, "", "no bus", ""))

    def test_is_unit_file(self) -> None:
        for path, is_one in (
            ("/etc/systemd/system/x.service", True), ("/run/systemd/system/x.timer", True),
            ("/usr/lib/systemd/system/x.d/y.conf", True), ("/etc/systemd/system", False),
            ("/etc/systemd/systemd.conf", False), ("/srv/etc/systemd/system/x.service", False),
        ):
            with self.subTest(path):
                self.assertEqual(units.is_unit_file(path), is_one)
