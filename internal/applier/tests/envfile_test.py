import unittest

from applier import envfile
from applier.words import Failure, digest_of


class EnvFile(unittest.TestCase):
    def test_assignments(self) -> None:
        for text, found in (
            ("", []),
            ("\n \t\n", []),
            ("A=1", [("A", "1", "A=1")]),
            ("A=1\nB=2\n", [("A", "1", "A=1\n"), ("B", "2", "B=2\n")]),
            ("  A = 1 2 \t\n", [("A", "1 2", "  A = 1 2 \t\n")]),
            ("# A=1\n; B=2\n  #C=3\n", []),
            ("no assignment\nA=1\n", [("A", "1", "A=1\n")]),
            ("A='1 # 2'\n", [("A", "1 # 2", "A='1 # 2'\n")]),
            ("A='a\\b'\n", [("A", "a\\b", "A='a\\b'\n")]),
            ('A="a\\"b\\\\c\\$d\\`e\\f"\n', [("A", 'a"b\\c$d`e\\f', 'A="a\\"b\\\\c\\$d\\`e\\f"\n')]),
            ('A="x\nB=2\n"\nC=3\n', [("A", "x\nB=2\n", 'A="x\nB=2\n"\n'), ("C", "3", "C=3\n")]),
            ('A="x\\\ny"\n', [("A", "xy", 'A="x\\\ny"\n')]),
            ("A=x\\\nB=2\n", [("A", "xB=2", "A=x\\\nB=2\n")]),
            ("A=\\ b\\\\\n", [("A", " b\\", "A=\\ b\\\\\n")]),
            ("A=b'c'\n", [("A", "b'c'", "A=b'c'\n")]),
            ("A='b' c\n", [("A", "bc", "A='b' c\n")]),
            ("A=\n", [("A", "", "A=\n")]),
            ("A=\"open\n", [("A", "open\n", "A=\"open\n")]),
            ("A=x\\", [("A", "x", "A=x\\")]),
        ):
            with self.subTest(text):
                got = [(one.key, one.value, text[one.start:one.end]) for one in envfile.assignments(text)]
                self.assertEqual(got, found)

    def test_env_line(self) -> None:
        for value, line in (
            ("", "A=\n"),
            ("plain-1.2:3/4@x%+=,_", "A=plain-1.2:3/4@x%+=,_\n"),
            ("two words", 'A="two words"\n'),
            ("#", 'A="#"\n'),
            ("a\"b\\c`d$e'f", "A=\"a\\\"b\\\\c\\`d\\$e'f\"\n"),
        ):
            with self.subTest(value):
                self.assertEqual(envfile.env_line("A", value), line)
                self.assertEqual(envfile.env_values(line), {"A": value})

    def test_the_last_value_counts(self) -> None:
        self.assertEqual(envfile.env_values("A=1\nB=2\nA=3\n"), {"A": "3", "B": "2"})

    def test_merge_env(self) -> None:
        ours = digest_of("1")
        for text, wanted, dropped, merged in (
            ("", {}, {}, ""),
            ("", {"A": "1"}, {}, "A=1\n"),
            ("# mine\nB=2", {}, {}, "# mine\nB=2"),
            ("# mine\nB=2", {"A": "1"}, {}, "# mine\nB=2\nA=1\n"),
            ("A=0\nB=2\n", {"A": "1"}, {}, "A=1\nB=2\n"),
            (" A = 1 \n", {"A": "1"}, {}, " A = 1 \n"),
            ("A=0\nB=2\nA=9\n", {"A": "1"}, {}, "A=1\nB=2\nA=1\n"),
            ("A=1\nB=2\n", {}, {"A": ours}, "B=2\n"),
            ("A=mine\nB=2\n", {}, {"A": ours}, "A=mine\nB=2\n"),
            ("B=\"x\nA=0\n\"\n", {"A": "1"}, {}, "B=\"x\nA=0\n\"\nA=1\n"),
            ("B=2\n", {"C": "3", "A": "1"}, {}, "B=2\nC=3\nA=1\n"),
        ):
            with self.subTest(text):
                self.assertEqual(envfile.merge_env("/etc/x", text, wanted, dropped), merged)

    def test_an_open_quote(self) -> None:
        with self.assertRaisesRegex(Failure, '^"/etc/x": "A" cannot be set: a line before it opens a quote that nothing closes$'):
            envfile.merge_env("/etc/x", 'B="open\n', {"A": "1"}, {})
