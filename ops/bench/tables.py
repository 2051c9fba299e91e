"""Rows of a result as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table


def table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Table:
    """The named columns, by their titles, of some rows: the first to the left, numbers to the right."""
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i, title in enumerate(columns.values()):
        found.add_column(title, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        found.add_row(*(_spell(name, row[name]) for name in columns))
    return found


def _spell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3%}" if name == "fpr" else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
