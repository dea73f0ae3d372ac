#!/usr/bin/python3
"""Runs `shuntd demo` and checks what a newcomer would see, and that nothing is left behind.

Usage: demo.py SHUNTD complete|break
"""
import os
import re
import subprocess
import sys
import tempfile


def run(shuntd, arguments, locale, folder):
    environment = dict(os.environ, LC_ALL=locale, TMPDIR=folder)
    return subprocess.run([shuntd, "demo", *arguments], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=100, check=False)


def number(pattern, text):
    match = re.search(pattern, text)
    assert match, f"nothing matches {pattern!r}"
    return int(match.group(1))


def check_complete(text):
    for share in ("5%", "25%", "50%", "100%"):
        assert re.search(rf"share +{share} ", text), f"no line with share {share}"
    assert re.search(r"migration +demo-1 completed after", text)
    assert "active group: new" in text
    assert text.index("Step 1:") < text.index("Step 2:") < text.index("Step 3:") < text.index("Step 4:")
    assert text.index("Step 4:") < text.index("Drain:") < text.index("Completed:")


def check_break(text):
    assert re.search(r"migration +demo-1 rolled-back after", text)
    assert "active group: old" in text
    assert number(r"saved +(\d+) connections", text) > 0
    assert "Step 4:" not in text, "the ramp went on although the new version was broken"
    assert text.index("Version 2 breaks") < text.index("$ shuntctl abort demo") < text.index("Rolled back:")


def main():
    shuntd, kind = sys.argv[1:]
    arguments = ["--seconds", "6"] + (["--break", "new"] if kind == "break" else [])
    locale = "C.UTF-8" if kind == "break" else "C"
    with tempfile.TemporaryDirectory(prefix="d") as folder:
        done = run(shuntd, arguments, locale, folder)
        text = done.stdout.decode()
        print(text)
        print(done.stderr.decode(), file=sys.stderr)
        assert done.returncode == 0, f"exit code {done.returncode}"
        assert not os.listdir(folder), f"left behind: {os.listdir(folder)}"
        assert done.stderr == b"", "something on standard error"
        assert "\033" not in text, "colours without a terminal"
        assert text.isascii() == (locale == "C"), "characters do not fit the locale"
        assert number(r"(\d+) errors seen by clients", text) == 0
        assert number(r"requests +(\d+) answered", text) > 100
        check_break(text) if kind == "break" else check_complete(text)


if __name__ == "__main__":
    main()
