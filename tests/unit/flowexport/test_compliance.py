"""The sheet of rules is true: every line names a test that is there, and its sums are those of its lines."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "flow-export-compliance.md"
FOLDERS = (Path(__file__).parent, ROOT / "tests" / "fuzz")
LEVELS = ("MUST", "SHOULD")


def lines() -> list[list[str]]:
    """Cells of the lines that have a level."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if len(row) >= 3 and set(row[1:]) & set(LEVELS)]


def level(row: list[str]) -> str:
    (found,) = set(row) & set(LEVELS)
    return found


def test_every_line_that_is_kept_names_a_test() -> None:
    there = {
        node.name
        for folder in FOLDERS
        for file in folder.glob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    named = [re.findall(r"`(test_\w+)`", row[-1].rstrip(" |")) for row in lines()]
    assert [name for names in named for name in names if name not in there] == []
    assert sum(not names for names in named) == 3


def test_sums_are_those_of_the_lines() -> None:
    kept = Counter(level(row) for row in lines() if "`test_" in row[-1])
    of = Counter(level(row) for row in lines())
    sums = {name: (kept[name], of[name]) for name in LEVELS} | {"together": (kept.total(), of.total())}
    text = PAGE.read_text(encoding="utf-8")
    for name, (some, every) in sums.items():
        assert f"| {name} | {some} | {every} | {100 * some // every} % |" in text, sums
    assert kept.total() / of.total() >= 0.95
    assert kept["MUST"] == of["MUST"]
