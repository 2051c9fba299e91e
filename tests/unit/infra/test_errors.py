"""What exceptions and programs say comes out as one line, bounded, printable and without passwords."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from infra.errors import one_line, without_password

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (ValueError("two\n  lines\tand a tab"), "two lines and a tab"),
        ("  of a program\r\n", "of a program"),
        (TimeoutError(), "TimeoutError"),
        (RuntimeError(" \n"), "RuntimeError"),
        ("", ""),
        (OSError(2, "No such file", os.fsdecode(b"caf\xe9")), r"[Errno 2] No such file: 'caf\udce9'"),
        ("bell\x07, colour \x1b[31m, " + os.fsdecode(b"\xe9"), r"bell\x07, colour \x1b[31m, \xe9"),
    ],
)
def test_one_line(said: BaseException | str, line: str) -> None:
    assert one_line(said) == line
    line.encode()


@pytest.mark.parametrize("length", [299, 300, 301, 5000])
def test_bounded(length: int) -> None:
    line = one_line(ValueError("x" * length))
    assert line == ("x" * length if length <= 300 else "x" * 297 + "...")
    assert len(one_line("word " * 1000, 40)) == 40


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@db:5432/flows", "postgresql://db:5432/flows"),
        ("(at https://token@host/path)", "(at https://host/path)"),
        ("mysql://me:a/b@c@db/x", "mysql://db/x"),
        ("http://host:5000/a@2.0", "http://host:5000/a@2.0"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
        ("mail me@example.org: 10:30", "mail me@example.org: 10:30"),
    ],
)
def test_no_user_and_no_password(text: str, shown: str) -> None:
    assert without_password(text) == shown
    assert one_line(RuntimeError(text)) == shown


def test_made_in_one_place() -> None:
    """Nobody joins the words of an exception by hand: what is made so has no bound and shows passwords."""
    found = []
    for folder in ("infra", "sensors", "jobs", "ops"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if file == ROOT / "infra" / "errors.py":
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "' '.join" and "split()" in ast.unparse(node.args[0]):
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert found == []
