"""The cookbook of docs/how-to/query-the-stores.md: its blocks by engine, and the known answer of each question.

An engine's test runs every block that is shown for it on the data of :mod:`tests.cookbookdata`, and hands the rows to :func:`check`:

>>> for block in blocks("trino"):  # doctest: +SKIP
...     check(block, run(block), data)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from infra.config import ROOT
from tests.cookbookanswers import ANSWERS
from tests.cookbookdata import Data

PAGE = ROOT / "docs" / "how-to" / "query-the-stores.md"
ENGINES = ("postgresql", "duckdb", "trino", "athena")
#: Store -> catalog and schema that names without a catalog are looked up in.
HOMES = {"hot": ("hot", "public"), "lake": ("lake", "flowlake"), "archive": ("archive", "flowlake")}
_TABLES = {"network_flows": "hot", "hourly_attack_stats": "hot", "hourly_flow_stats": "hot", "alerts": "hot", "archived_flows": "archive"}
_BLOCK = re.compile(r"^<!-- run: ([a-z, ]+) -->\n```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
_QUESTION = re.compile(r"^### (\d+)\. (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """One block of SQL: the number and title of its question, its place among the question's blocks, the engines that it runs on."""

    number: int
    title: str
    place: int
    engines: tuple[str, ...]
    sql: str

    @property
    def home(self) -> tuple[str, str]:
        """Catalog and schema that its names without a catalog lie in: for engines that look in one place only."""
        bare = re.findall(r"\b(?:FROM|JOIN)\s+(\w+)(?![\w.])", self.sql)
        return HOMES[next((_TABLES[name] for name in bare if name in _TABLES), "lake")]

    @property
    def id(self) -> str:
        """Name of a test of it."""
        return f"{self.number}-{self.place}"


def questions() -> list[tuple[int, str]]:
    """Numbers and titles, as the page has them."""
    return [(int(number), title) for number, title in _QUESTION.findall(PAGE.read_text(encoding="utf-8"))]


def blocks(engine: str | None = None) -> list[Recipe]:
    """The blocks shown for an engine, or all."""
    parts = _QUESTION.split(PAGE.read_text(encoding="utf-8"))[1:]
    found = []
    for number, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        for place, (engines, sql) in enumerate(_BLOCK.findall(text)):
            names = tuple(name.strip() for name in engines.split(","))
            if engine is None or engine in names:
                found.append(Recipe(int(number), title, place, names, sql))
    return found


def check(block: Recipe, rows: Sequence[Sequence[Any]], data: Data) -> None:
    """See that an engine's rows are the known answer: in its order, numbers to four digits (stores keep some in 32 bits).

    Raises
    ------
    AssertionError
        They are not; names the question and the first row that differs.
    """
    expected = ANSWERS[block.number](data)
    got = [tuple(map(plain, row)) for row in rows]
    want = [tuple(map(plain, row)) for row in expected]
    assert len(got) == len(want), f"{block.number}. {block.title}: {len(got)} rows, expected {len(want)}: {got[:5]}"
    for number, (one, other) in enumerate(zip(got, want, strict=True)):
        alike = len(one) == len(other) and all(map(same, one, other))
        assert alike, f"{block.number}. {block.title}: row {number} is {one}, not {other}"


def plain(value: Any) -> Any:
    """A value of any engine's client as Python has it: numbers as int or float, times in UTC, UUIDs as text."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def same(one: Any, other: Any) -> bool:
    """Equal, or numbers that hardly differ."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-9)
    return bool(one == other)
