"""The tables of ``flowlake bench detection``: a row for every age, and for every kind of attack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from ops.bench.tables import table

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
    yield table(_AGES, result["ages"])
    yield table(_KINDS, result["kinds"])
