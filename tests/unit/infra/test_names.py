"""Names that are not UTF-8 come out escaped, everywhere the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import CaptureError
from infra.names import printable, valid_text, visible

LATIN1 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain-äöü €", "plain-äöü €"),
        (LATIN1, r"caf\xe9"),
        (os.fsdecode(b"\x80\xff"), r"\x80\xff"),
        ("\ud800x\udfff", r"\ud800x\udfff"),
        ("two\nlines\t\x1b[31m\x7f\x85\u2028", r"two\nlines\t\x1b[31m\x7f\x85\u2028"),
        (Path("a") / LATIN1, r"a/caf\xe9"),
        ("invoice\u202egpj.exe", r"invoice\u202egpj.exe"),
        ("\u2066a\u2069\u200fb\u061cc\u2028", r"\u2066a\u2069\u200fb\u061cc\u2028"),
        ("ad\u200bmin\ufeff\xad\u2060", r"ad\u200bmin\ufeff\xad\u2060"),
        ("a\U000e0041", r"a\U000e0041"),
        ("\u05d0\u05d1 \u0627\u0644 \u4f60 \U0001f600", "\u05d0\u05d1 \u0627\u0644 \u4f60 \U0001f600"),
    ],
)
def test_printable(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(shown) == shown, "once is enough"
    shown.encode()


def test_lines_and_tabs_are_visible_and_what_turns_text_around_is_not() -> None:
    assert visible("a\tb\nc\u202ed\u2029") == "a\tb\nc\\u202ed\\u2029"


def test_valid_text_keeps_lines() -> None:
    assert valid_text(f"{LATIN1}\n\ud800") == "caf\\xe9\n\\ud800"


def test_errors_are_one_line_whatever_they_name() -> None:
    error = CaptureError(f"capture file {LATIN1}\n: no such file", f"chmod +r {LATIN1}")
    assert (str(error), error.hint) == (r"capture file caf\xe9\n: no such file", r"chmod +r caf\xe9")


@pytest.mark.parametrize("form", ["json", "console"])
def test_log_lines(form: str) -> None:
    """In a process of its own: the test runner keeps what is logged, and cannot hand on such names."""
    code = (
        "import logging, sys; from pathlib import Path; from infra import log; from infra.config import LogSettings\n"
        "log.setup(LogSettings(format=sys.argv[1]))\n"
        "log.get('jobs.test').warning('read', file=Path(sys.argv[2]))\n"
        "logging.getLogger('sensors.test').warning('capture file %s', sys.argv[2])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, form, LATIN1], capture_output=True, check=True)
    lines = done.stderr.decode().splitlines()
    if form == "json":
        assert json.loads(lines[0])["file"] == json.loads(lines[1])["event"].removeprefix("capture file ") == r"caf\xe9"
    else:
        assert len(lines) == 2
        assert all(r"caf\xe9" in line for line in lines)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_terminal_of_any_encoding_gets_the_whole_line(encoding: str) -> None:
    code = "from infra.names import escape_on_output as e; import sys; e(); print(sys.argv[1]); print(sys.argv[1], file=sys.stderr)"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", code, b"caf\xe9 \xe2\x82\xac"], capture_output=True, check=True, env=environment)
    expected = "caf\\xe9 €\n".encode() if encoding == "utf-8" else b"caf\\xe9 \\u20ac\n"
    assert (done.stdout, done.stderr) == (expected, expected)
