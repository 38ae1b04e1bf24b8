import errno
import unittest

from applier import words


class Words(unittest.TestCase):
    def setUp(self) -> None:
        words.SECRETS.clear()

    def test_hide(self) -> None:
        for text, hidden in (
            ("PrivateKey = kLq3mA7yX9zPw2RtVbN5", {"kLq3mA7yX9zPw2RtVbN5"}),
            ("0123456789abcdef0123456789abcdef", {"0123456789abcdef0123456789abcdef"}),
            ("0123456789abcdef0123456789abcde", set()),
            ("/etc/ssh/ssh_host_openclaw_ed25519_key", set()),
            ("chacha20-poly1305@openssh.com,aes256-gcm@openssh.com", set()),
            ("short1Aa", set()),
            ("", set()),
        ):
            with self.subTest(text):
                words.SECRETS.clear()
                words.hide(text)
                self.assertEqual(words.SECRETS, hidden)

    def test_clean(self) -> None:
        words.SECRETS.update({"hunter2", "hunter2-and-more"})
        for text, shown in (
            ("nothing", "nothing"),
            ("the password hunter2 is wrong", "the password [secret] is wrong"),
            ("hunter2-and-more", "[secret]"),
            ("PrivateKey = abc=", "PrivateKey = [secret]"),
            ("preshared-key: abc", "preshared-key: [secret]"),
            ("a\x1b[31mb\x07\x9bc\rd", "a?[31mb??c?d"),
            ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ):
            with self.subTest(text):
                self.assertEqual(words.clean(text), shown)

    def test_foreign(self) -> None:
        for text, shown in (
            ("", ""),
            ("Größe, 大きさ: 5 MB", "| Größe, 大きさ: 5 MB"),
            ("one\nhint: two\r\nhint: three\u2028hint: four\x0bhint: five", "| one\n| hint: two\n| hint: three\n| hint: four\n| hint: five"),
            ("\x1b]52;c;eA==\x07\x9b2J\x7f", "| ?]52;c;eA==??2J?"),
            ("a\u202eb\u2066c\u200bd\ufeffe\U000e0041f\ufe0fg\u3164h\u0378i\ue000j\udcffk\u00a0l", "| a?b?c?d?e?f?g?h?i?j?k?l"),
        ):
            with self.subTest(text):
                self.assertEqual(words.printable(words.marked(text)), shown)

    def test_tail(self) -> None:
        for text, lines, characters, shown in (
            ("", 8, 1500, ""),
            ("one\n\n  \ntwo  \n", 8, 1500, "one\ntwo"),
            ("one\ntwo\nthree\n", 2, 1500, "two\nthree"),
            ("abcdef\nghijkl\n", 2, 6, "abc\nghi"),
        ):
            with self.subTest(text):
                self.assertEqual(words.tail(text, lines, characters), shown)

    def test_describe(self) -> None:
        for error, path, shown in (
            (FileNotFoundError(errno.ENOENT, "No such file or directory", "/etc/x"), None,
             '"/etc/x": no such file or directory'),
            (OSError(errno.ENOSPC, "No space left on device", "/etc/x"), None, '"/etc/x": no space left on the disk'),
            (OSError(errno.EDQUOT, "Disk quota exceeded"), "/etc/y", '"/etc/y": no space left on the disk'),
            (OSError(errno.EIO, "Input/output error"), None, "input/output error"),
            (OSError(), None, "i/o error"),
            (words.Failure("tar: No space left on device"), None,
             "tar: No space left on device\nno space left on the disk"),
        ):
            with self.subTest(shown):
                self.assertEqual(words.describe(error, path), shown)
