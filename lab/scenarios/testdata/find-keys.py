"""Looks for keys wherever whoever runs it may look, and says where each was found: NAME PLACE, a line each, and what is around it.

The words that it looks for stand backwards here, so that it does not find itself: words in pieces become whole where a program
keeps this text compressed.
"""

import os
import re
import stat

WORDS = {"anthropic": "-bal-tna-ks", "telegram": "balAA:987654321", "discord": "bal.10balG", "slackBot": "bal-2-1-bxox", "slackApp": "bal-2-1A-1-ppax"}
PATTERNS = {name: re.compile(re.escape(word[::-1].encode())) for name, word in WORDS.items()}
MOST = 256 << 20


def look(place, data):
    for name, pattern in PATTERNS.items():
        found = pattern.search(data)
        if found:
            print(name, place)
            before = data[max(0, found.start() - 60):found.start()]
            for other in PATTERNS.values():  # what it prints, others read
                before = other.sub(b"KEY", before)
            print("around:", before, "KEY")


def files():
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys", "/dev", "/opt", "/usr/lib", "/usr/share")]
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode) and status.st_size < MOST:
                    with open(path, "rb") as file:
                        look("file " + path, file.read())
            except OSError:
                pass


def processes():
    for number in filter(str.isdigit, os.listdir("/proc")):
        for what in ("environ", "cmdline"):
            try:
                with open(f"/proc/{number}/{what}", "rb") as file:
                    look(f"{what} {number}", file.read())
            except OSError:
                pass
        if int(number) != os.getpid():
            memory(number)


def memory(number):
    try:
        with open(f"/proc/{number}/comm") as file:
            name = file.read().strip()
        with open(f"/proc/{number}/maps") as maps, open(f"/proc/{number}/mem", "rb", 0) as mem:
            for line in maps:
                span, mode = line.split()[:2]
                start, end = (int(part, 16) for part in span.split("-"))
                if not mode.startswith("rw") or end - start > MOST:
                    continue
                try:
                    mem.seek(start)
                    look(f"memory of {name}", mem.read(end - start))
                except (OSError, ValueError):
                    pass
    except OSError:
        pass


files()
processes()
print("looked")
