"""A query that reads ``predictions`` as the sinks do, and only notes what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.config import Settings
from jobs.sinks import source
from jobs.sinks.stores import QueryHandle

NAME = "probe"


def start(spark: Any, settings: Settings, take: Callable[[Any, int], Any] = lambda frame, _: frame.collect()) -> Any:
    """Start it; ``take(batch, batch_id)`` reads the batches."""

    def apply(frame: Any, batch_id: int) -> dict[str, Any]:
        take(frame.select("offset"), batch_id)
        return {}

    return source.run(source.read(spark, settings, snapshots=True), settings, NAME, 0, QueryHandle(NAME), apply)


def read_all(spark: Any, settings: Settings) -> list[int]:
    """Offsets of what there is to read."""
    found: list[int] = []
    query = start(spark, settings, lambda frame, _: found.extend(row.offset for row in frame.collect()))
    try:
        query.processAllAvailable()
    finally:
        query.stop()
    return sorted(found)
