"""Prose of the documentation can be read in a terminal and compared line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import generate

ROOT = Path(__file__).resolve().parents[3]
WRITTEN = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.parent != generate.REFERENCE or p.name not in generate.PAGES),
]
WIDTH = 120

FENCE = re.compile(r" *(```+|~~~+)")
#: What is one line by the rules of Markdown: a heading, a row of a table, a comment, indented code.
ONE_LINE = re.compile(r" *#{1,6} | *\||<!--| {4}(?![-*] |\d+\. )\S")
#: What cannot be broken: code, a link's target, a word.
UNBROKEN = re.compile(r"(?:`[^`]*`|\]\([^)\s]*\)|\S)+")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Lines of prose with their numbers."""
    fence = ""
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif found:
            fence = found[1]
        elif not ONE_LINE.match(line) or (line.startswith("    ") and before.strip()):
            yield number, line
        before = line


def too_long(text: str) -> list[str]:
    """Lines of prose that are too long and have a place to be broken at."""
    found = []
    for number, line in prose(text):
        body = re.sub(r"^ *(?:[-*] |\d+\. )?", "", line)
        if len(line) > WIDTH and len(UNBROKEN.findall(body)) > 1:
            found.append(f"line {number}: {len(line)} columns: {line[:60]}...")
    return found


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_prose_is_wrapped(page: Path) -> None:
    assert too_long(page.read_text(encoding="utf-8")) == []


LONG = "word " * 30


@pytest.mark.parametrize("text", [LONG, f"- {LONG}", f"- a\n  {LONG}", f"```\nx\n```\n{LONG}", f"1. a\n    {LONG}"])
def test_a_long_line_is_found(text: str) -> None:
    assert len(too_long(text)) == 1


@pytest.mark.parametrize(
    "text", [f"| {LONG} |", f"## {LONG}", f"```bash\n{LONG}\n```", f"[a](https://example.org/{'x' * 120})", f"- `{LONG}`", f"\n    {LONG}"]
)
def test_what_cannot_be_broken_may_be_long(text: str) -> None:
    assert too_long(text) == []
