"""The list of incidents at a terminal: one line each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ops.cli.incidents import in_lines

ROW: dict[str, Any] = {
    "id": "0b4c1f6e-3f1c-5d2e-9a53-d5a3a9a0c7de", "priority": "CRITICAL", "status": "OPEN", "alerts": 8, "flows": 2_743,
    "title": "HTTP flood, then slowloris, then botnet beacon, then web injection: many hosts -> 10.212.142.123",
    "last_seen": datetime(2026, 3, 1, 12, 5, tzinfo=UTC), "assigned_to": None,
}  # fmt: skip


def wide(rows: list[dict[str, Any]]) -> int:
    """Columns that a table of them takes: borders and padding are three a column, and one."""
    return 1 + sum(3 + max(len(name), *(len(str(row[name])) for row in rows)) for name in rows[0])


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_line_fits(width: int) -> None:
    rows = in_lines([ROW, {**ROW, "title": "SYN scan"}], width)
    assert wide(rows) <= width
    assert (rows[0]["id"], rows[0]["last_seen"]) == ("0b4c1f6e", "03-01 12:05")
    assert rows[0]["title"].startswith("HTTP flood")
    assert rows[1]["title"] == "SYN scan"


def test_who_has_it_is_told_where_somebody_has_one() -> None:
    assert "assigned_to" not in in_lines([ROW], 120)[0]
    rows = in_lines([ROW, {**ROW, "status": "INVESTIGATING", "assigned_to": "anna"}], 120)
    assert [(row["status"], row["assigned_to"]) for row in rows] == [("OPEN", ""), ("INVESTIGATING", "anna")]
    assert wide(rows) <= 120


def test_a_title_of_somebody_else_steers_no_terminal() -> None:
    assert "\x1b" not in in_lines([{**ROW, "title": "\x1b[2J", "assigned_to": "\x1b]0;x"}], 80)[0]["title"]
    assert in_lines([], 80) == []
