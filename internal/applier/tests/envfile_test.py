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

    # What a person, or the agent through one, may leave in the file. systemd breaks a line at \n alone.
    HOSTILE = (
        "", "\n", "=", "==", "=\n=\n", "A", "A==1\n", " = \n", "\0", "A=\0\n", "\ufeffA=0\n", "A=0\r\nB=2\r\n", "A=0\rB=2\n",
        "A=\u2028B=2\n", "A=\x85B=2\n", "A=\x0b\x0cB=2\n", "A=\udcff\n", "\u00a0A=0\n", "export A=0\n", "a=0\n", "A A=0\n",
        "A='", 'A="', "A='\n", 'B="A=0\n', "B='A=0\nA=1\n", 'A="0"1"\n', "A='0''1'\n", 'B="\\"\nA=0\n"\n', "A=\\", "A=\\\n", "#\\\nA=0\n", "#'\nA=0\n",
        "B=\\\n#\\\nA=0\n", "A=0 # '\nB=2\n", "A=$(reboot)`reboot`\n", "'=\nA=0\n", '"A=0\n', "A=0\n" * 300, "A='" * 300, "\\\n" * 300, "#" * 3000,
    )

    def test_hostile_texts(self) -> None:
        wanted = {"A": "1", "Z": "two\twords '\"\\$`"}
        for text in self.HOSTILE:
            with self.subTest(text):
                found = list(envfile.assignments(text))
                at = 0
                for one in found:
                    self.assertTrue(at <= one.start < one.end <= len(text), one)
                    at = one.end
                # Nothing wanted and nothing dropped: not a byte is another.
                self.assertEqual(envfile.merge_env("/etc/x", text, {}, {}), text)
                try:
                    merged = envfile.merge_env("/etc/x", text, wanted, {})
                except Failure as failure:
                    self.assertRegex(str(failure), '^"/etc/x": "[AZ]" cannot be set: a line before it opens a quote that nothing closes$')
                    continue
                values = envfile.env_values(merged)
                for key, value in wanted.items():
                    self.assertEqual(values[key], value)
                theirs = [text[one.start:one.end] for one in found if one.key not in wanted]
                self.assertEqual([merged[one.start:one.end].removesuffix("\n") for one in envfile.assignments(merged) if one.key not in wanted],
                                 [piece.removesuffix("\n") for piece in theirs])
                self.assertEqual(envfile.merge_env("/etc/x", merged, wanted, {}), merged)
