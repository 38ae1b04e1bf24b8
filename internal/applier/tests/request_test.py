import json
import unittest
from typing import Any

from applier import packages, request
from applier.commands import Done
from applier.words import Failure, sha256


class Requests(unittest.TestCase):
    def test_plain_path(self) -> None:
        request.plain_path("/etc/x", "here")
        for path in ("", "/", "etc/x", "//etc/x", "/etc/", "/etc/../x", "/etc/./x", "/etc//x", "/etc/x\n", "/etc/\0", None, 7):
            with self.subTest(path), self.assertRaisesRegex(Failure, "^here: .* is not a plain absolute path$"):
                request.plain_path(path, "here")

    def test_only(self) -> None:
        request.only({"a": 1}, {"a", "b"}, ("a",), "here")
        for value, words in (
            ([], "here: an object is wanted"), (None, "here: an object is wanted"),
            ({"a": 1, "c": 1}, 'here: unknown field "c"'), ({"b": 1}, 'here: the field "a" is missing'),
        ):
            with self.subTest(words), self.assertRaises(Failure) as raised:
                request.only(value, {"a", "b"}, ("a",), "here")
            self.assertEqual(str(raised.exception), words)

    def test_verify_declared(self) -> None:
        good: dict[str, Any] = {"layer": "x", "files": [{"path": "/etc/x", "mode": "0644", "owner": "0", "group": "0"}]}
        request.verify_declared(good)
        for more, words in (
            ({"colour": 1}, 'declared: unknown field "colour"'),
            ({"files": [{"path": "/etc/x"}]}, 'declared: files 0: the field "mode" is missing'),
            ({"users": [{"name": "x", "groups": []}]}, 'declared: users 0: unknown field "groups"'),
            ({"checks": [{"argv": [], "hint": ""}]}, 'declared: checks 0: unknown field "hint"'),
            ({"quick": {"paths": ["/x"]}}, 'declared: quick: the field "argv" is missing'),
            ({"probes": ["x"]}, "declared: probes 0: unknown kind null"),
            ({"probes": [{"kind": "sysctl"}]}, 'declared: probes 0: the field "key" is missing'),
            ({"commandSeconds": True}, "declared: commandSeconds: true is not a number of seconds up to 1500"),
            ({"commandSeconds": 0}, "declared: commandSeconds: 0 is not a number of seconds up to 1500"),
        ):
            with self.subTest(words), self.assertRaises(Failure) as raised:
                request.verify_declared({**good, **more})
            self.assertEqual(str(raised.exception).replace("'", '"'), words)

    def test_request(self) -> None:
        text = json.dumps({"layer": "x"})
        got = request.Request({"op": "apply", "layer": "x", "digest": sha256(text.encode()), "declared": text}, "t")
        self.assertEqual((got.layer, got.token, got.declared, got.confirm, got.lock_seconds), ("x", "t", {"layer": "x"}, None, 300))

    def test_installed_packages(self) -> None:
        out = "there ii \nhalf iU \nheld hi \ngone rc \nbroken iiR\nnever un \n"
        self.assertEqual(packages.installed_packages(Done((), 0, out, "", "")), {"there", "held"})
