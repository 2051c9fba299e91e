"""Verdicts of people as labels to train with: a false alarm's flows are benign, and who said so stands beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.config import Settings
from jobs.incidents import flows
from jobs.sinks import labels

#: ``source`` of the labels.
SOURCE = "incidents"


def benign(settings: Settings, alerts: Sequence[Mapping[str, Any]], by: str, why: str = "") -> int:
    """Label the records of alerts; returns how many.

    Raises
    ------
    StoreError
        The lake, or the hot store, is away or refuses.
    """
    now = datetime.now(UTC)
    rows = [
        labels.row(
            {"record_key": key, "record_type": alert["record_type"], "label": 0, "source": SOURCE, "labelled_by": by, "note": why[:1000]},
            flows.record_of(settings, alert["record_type"]),
            {},
            now,
        )
        for alert in alerts
        for key in flows.keys(settings, alert)
    ]
    if rows:
        labels.put(settings, rows)
    return len(rows)
