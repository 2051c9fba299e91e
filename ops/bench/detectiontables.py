"""The tables of ``flowlake bench detection``: a row for every age, and for every kind of attack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

_AGES = {
    "age": "age",
    "benign": "benign",
    "false_alarms": "false alarms",
    "fpr": "rate",
    "attacks": "attacks",
    "recall": "found",
    "shown": "shown",
    "recall_shown": "found of shown",
}
_KINDS = {
    "kind": "kind",
    "attacks": "closed",
    "recall": "found",
    "shown": "shown",
    "recall_shown": "found of shown",
    "recall_shown_at_max_fpr": "at 0.1 %",
    "snapshots": "snapshots",
    "recall_snapshots": "found",
}


def tables(result: dict[str, Any]) -> Iterator[Table]:
    """By age and by kind."""
    yield _table(_AGES, result["ages"])
    yield _table(_KINDS, result["kinds"])


def _table(columns: dict[str, str], rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i, title in enumerate(columns.values()):
        table.add_column(title, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(_spell(name, row[name]) for name in columns))
    return table


def _spell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3%}" if name == "fpr" else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
