import hashlib
import unittest
from typing import Any
from unittest import mock

from applier import probes, undeclared
from applier.accounts import Accounts, Group, User
from applier.commands import Done
from applier.files import Found
from applier.findings import Finding, Put, Reinstall, Run, gone


def accounts() -> Accounts:
    found = Accounts.__new__(Accounts)
    found.users = {"root": User(0, 0, "/root", "/bin/bash", "x"), "openclaw": User(989, 989, "/", "/bin/false", "x"),
                   "openclaw-keys": User(989, 989, "/", "/bin/false", "x")}
    found.groups = {"root": Group(0, [])}
    found.shadow = {}
    return found


class FakeHost(undeclared.Host):
    """A host whose packages and image brought what a test says."""

    def __init__(self, packaged: dict[str, str | None], image: dict[str, Any]) -> None:
        undeclared.Host.__init__(self, {"x": {"files": [{"path": "/etc/ours"}]}}, accounts())
        self._packaged, self._image = packaged, {"x": image}


def file(data: bytes, uid: int = 0, mode: int = 0o644) -> Found:
    found = Found("file")
    found.data, found.uid, found.gid, found.mode = data, uid, 0, mode
    found.sha256 = hashlib.sha256(data).hexdigest()
    return found


class Probes(unittest.TestCase):
    def test_sysctl_path(self) -> None:
        for key, path in (
            ("kernel.sysrq", "/proc/sys/kernel/sysrq"),
            ("net/ipv4/ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/100.rp_filter", "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"),
            ("net/ipv4/conf/eth0.100/rp_filter", "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"),
            ("plain", "/proc/sys/plain"),
        ):
            with self.subTest(key):
                self.assertEqual(probes.sysctl_path(key), path)

    def test_chains(self) -> None:
        self.assertEqual(probes.chains(["-A b -j c", "-N b", "-P INPUT DROP", "-A b -j d", "-Z"]), {
            "b": ["-N b", "-A b -j c", "-A b -j d"], "INPUT": ["-P INPUT DROP"], "": ["-Z"]})

    def test_command(self) -> None:
        probe = {"kind": "command", "argv": ["x", "-y"], "want": "fine\n"}
        for done, found in (
            (Done((), 0, " fine \n", "", ""), []),
            (Done((), 1, "fine", "", ""), []),
            (Done((), 1, "broken", "why", ""), [Finding("x -y", "fine\n", "broken")]),
            (Done((), 3, "", "first\nwhy\n", ""), [Finding("x -y", "fine\n", "why")]),
            (Done((), 3, "", "", ""), [Finding("x -y", "fine\n", "exit status 3")]),
            (Done((), 124, "fine", "", "no end after 10 s"), [Finding("x -y", "fine\n", "no end after 10 s")]),
        ):
            with self.subTest(done.words()):
                self.assertEqual(list(probes.probe_command(probe, done, FakeHost({}, {}))), found)

    def test_iptables(self) -> None:
        wait = ["iptables", "-w", "5", "-t", "filter"]
        for want, got, found in (
            (["-N a", "-A a -j DROP"], ["-A a -j DROP", "-N a"], []),
            (["-A a -m owner --uid-owner {uid:openclaw}"], ["-A a -m owner --uid-owner 989"], []),
            (["-A a -m owner --uid-owner {uid:openclaw-keys}"], ["-A a -m owner --uid-owner 989"], []),
            (["-N a"], ["-N a", "-N ignored"], []),
            (["-N a"], ["-N a", "-A a -j X"], [
                Finding("iptables filter a", "nothing more", "-A a -j X", Run([wait + ["-D", "a", "-j", "X"]]))]),
            (["-N a"], ["-N a", "-N b", "-A b -j X"], [
                Finding("iptables filter b", "nothing more", "-N b\n-A b -j X",
                        Run([wait + ["-F", "b"], wait + ["-X", "b"]]))]),
            (["-N a", "-N b"], [], [
                Finding("iptables filter a", "-N a", "missing", Run([["rebuild"]])),
                Finding("iptables filter b", "-N b", "missing", Run([]))]),
            (["-A a -j X", "-A a -j Y"], ["-A a -j Y", "-A a -j X"], [
                Finding("iptables filter a", "-A a -j X\n-A a -j Y", "another order:\n-A a -j Y\n-A a -j X",
                        Run([["rebuild"]]))]),
        ):
            with self.subTest(got=got):
                probe = {"kind": "iptables", "want": want, "ignore": ["-N ignored"], "rebuild": [["rebuild"]]}
                done = Done((), 0, "\n".join(got), "", "")
                self.assertEqual(list(probes.probe_iptables(probe, done, FakeHost({}, {}))), found)

    def test_every_kind_is_known(self) -> None:
        from applier import request
        self.assertEqual(set(probes.PROBES), set(request.PROBE_FIELDS))
        self.assertEqual(set(probes.PROBES), set(request.PROBE_NEEDS))


class Undeclared(unittest.TestCase):
    def test_stranger(self) -> None:
        link = Found("symlink", None, "../lib/target")
        image = {"sha256": hashlib.sha256(b"image").hexdigest(), "md5": undeclared.md5(b"image"),
                 "mode": 0o640, "uid": 0, "gid": 7, "data": "aW1hZ2U="}
        back = Put("/etc/x", b"image", 0o640, 0, 7)
        for name, found, packaged, kept, want in (
            ("nothing there", Found("missing"), {}, {}, None),
            ("a folder", Found("folder"), {}, {}, None),
            ("nobody's", file(b"x"), {}, {}, Finding("/etc/x", "nothing", "a file that nobody declared", gone("/etc/x"))),
            ("a pipe", Found("other"), {}, {},
             Finding("/etc/x", "nothing", "neither file nor folder that nobody declared", gone("/etc/x"))),
            ("a package's", file(b"x"), {"/etc/x": undeclared.md5(b"x")}, {}, None),
            ("a package's, of no known content", file(b"x"), {"/etc/x": None}, {}, None),
            ("a package's, changed", file(b"y"), {"/etc/x": undeclared.md5(b"x")}, {},
             Finding("/etc/x", "as its package brought it", "content differs", Reinstall("/etc/x"))),
            ("a package's, anybody's to write", file(b"x", mode=0o4666), {"/etc/x": None}, {},
             Finding("/etc/x", "root alone writes it", "owner root:root, mode 4666", Put("/etc/x", b"x", 0o644, 0, 0))),
            ("the image's", file(b"image"), {}, {"/etc/x": image}, None),
            ("the image's, changed", file(b"y"), {}, {"/etc/x": image},
             Finding("/etc/x", "as the image brought it", "content differs", back)),
            ("the image's and a package's, changed", file(b"y"), {"/etc/x": undeclared.md5(b"image")}, {"/etc/x": image},
             Finding("/etc/x", "as the image brought it", "content differs", back)),
            ("a package's, other than the image's", file(b"y"), {"/etc/x": "0" * 32}, {"/etc/x": image},
             Finding("/etc/x", "as its package brought it", "content differs", Reinstall("/etc/x"))),
            ("made by a program", file(b"id = 7\n"), {}, {}, None),
            ("a package's link", link, {"/etc/x": None}, {}, None),
            ("a link to a package's file", link, {"/usr/lib/target": None}, {}, None),
            ("a link to nothing", Found("symlink", None, "/no/such/thing"), {}, {}, None),
            ("a masked unit", Found("symlink", None, "/dev/null"), {}, {}, None),
            ("a link to ours", Found("symlink", None, "/etc/ours"), {}, {}, None),
            ("the image's link", Found("symlink", None, "/bin/sh"), {}, {"/etc/x": {"target": "/bin/sh"}}, None),
            ("a link elsewhere", Found("symlink", None, "/etc/y"), {}, {},
             Finding("/etc/x", "nothing", "a symlink to /etc/y that nobody declared", gone("/etc/x"))),
        ):
            def look(path: str, read: bool = True, here: Found = found) -> Found:
                if path == "/etc/x":
                    return here
                return file(b"y") if path == "/etc/y" else Found("missing")

            probe = {"layer": "x", "paths": ["/etc/*"], "generated": {"/etc/x": "id = [0-9]\n"}}
            with self.subTest(name), mock.patch.object(undeclared, "look", look):
                self.assertEqual(undeclared.stranger("/etc/x", probe, FakeHost(packaged, kept)), want)

    def test_what_is_declared_is_no_stranger(self) -> None:
        self.assertIsNone(undeclared.stranger("/etc/ours", {"layer": "x", "paths": []}, FakeHost({}, {})))

    def test_sorted_keys(self) -> None:
        blob = "AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
        mark = "SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA"
        self.assertEqual(undeclared.fingerprint(blob), mark)
        for line, allowed, kept in (
            ("", [], True), ("# a comment", [], True), (f"ssh-ed25519 {blob} me", [mark], True),
            (f'from="1.2.3.4" ssh-ed25519 {blob}', [mark], True), (f"ssh-ed25519 {blob} me", [], False),
            ("no key at all", [mark], False),
        ):
            with self.subTest(line):
                others = [] if kept else [mark if blob in line else "that cannot be read"]
                self.assertEqual(undeclared.sorted_keys(line.encode() + b"\n", allowed), ([line] if kept else [], others))
