"""A query that reads ``predictions`` as the sinks do, and only notes what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.config import Settings
from jobs.sinks import sink
from jobs.sinks.sink import Applied
from jobs.sinks.stores import QueryHandle
from schemas.packets import FLOWS

NAME = "probe"


def start(spark: Any, settings: Settings, take: Callable[[Any, int], Any] = lambda frame, _: frame.collect()) -> Any:
    """Start it; ``take(batch, batch_id)`` reads the batches."""
    return sink.run(spark, settings, Probe(take))


class Probe:
    """A store of which nothing is known but what came."""

    name, record, final, store, hint, trigger_ms = NAME, FLOWS, False, "nothing", "", 0

    def __init__(self, take: Callable[[Any, int], Any]) -> None:
        self._take = take

    def prepare(self) -> None: ...

    def begin(self, handle: QueryHandle) -> None: ...

    def apply(self, frame: Any, batch_id: int, *, again: bool) -> Applied:
        self._take(frame.select("offset"), batch_id)
        return Applied()

    def applied(self, frame: Any, batch_id: int, done: Applied) -> None: ...


def read_all(spark: Any, settings: Settings) -> list[int]:
    """Offsets of what there is to read."""
    found: list[int] = []
    query = start(spark, settings, lambda frame, _: found.extend(row.offset for row in frame.collect()))
    try:
        query.processAllAvailable()
    finally:
        query.stop()
    return sorted(found)
