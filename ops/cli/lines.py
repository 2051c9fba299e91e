"""Rows as a person at a terminal reads them: one line each, whatever the width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.console import looks

#: Of the column that gives way so much is shown whatever the terminal is.
_SHORTEST = 20


def in_lines(
    rows: Sequence[Mapping[str, Any]], last: Sequence[str], width: int, name: str, optional: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Rows whose table fits a terminal: the last column is cut to what fits.

    Parameters
    ----------
    rows
        Columns that are whole.
    last
        Values of the last column.
    width
        Columns of the terminal.
    name
        Of the last column.
    optional
        Columns that are left out, the last of them first, as long as the last column does not fit.
    """
    rows, optional = [dict(row) for row in rows], list(optional)
    whole = max([len(name), *map(len, last)])
    while optional and _room(rows, width) < whole:
        gone = optional.pop()
        rows = [{column: value for column, value in row.items() if column != gone} for row in rows]
    room = max(_SHORTEST, _room(rows, width))
    return [{**row, name: looks.word(text, room)} for row, text in zip(rows, last, strict=True)]


def _room(rows: Sequence[Mapping[str, Any]], width: int) -> int:
    """Characters that are left for the last column; borders and padding take three a column."""
    taken = sum(3 + max([len(name), *(len(str(row[name])) for row in rows)]) for name in (rows[0] if rows else ()))
    return width - taken - 4


def differing(rows: Sequence[Mapping[str, Any]], usual: Mapping[str, Any]) -> list[str]:
    """Columns in which some row is not as usual."""
    return [name for name, value in usual.items() if any(row[name] != value for row in rows)]


def minute(moment: datetime) -> str:
    """``03-01 12:05``, of UTC."""
    return f"{moment.astimezone(UTC):%m-%d %H:%M}"
