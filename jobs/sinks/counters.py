"""Counters of the sinks, in the registry that the stream process serves to Prometheus."""

from __future__ import annotations

from functools import cache
from typing import Any

from prometheus_client import Counter, Histogram

_BATCH_BUCKETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60)


@cache
def rows() -> Counter:
    """Rows written (lake, hot: records; alerts: alerts inserted)."""
    return Counter("flowlake_sink_rows_total", "Rows a store took", ["query"])


@cache
def duplicates() -> Counter:
    """Records that the store had already (redelivered messages)."""
    return Counter("flowlake_sink_duplicates_total", "Records the store had already", ["query"])


@cache
def rejected() -> Counter:
    """Messages sent to the dead-letter topic."""
    return Counter("flowlake_sink_rejected_total", "Messages that went to the dead-letter topic", ["query", "reason"])


@cache
def waits() -> Counter:
    """Attempts that found the store away."""
    return Counter("flowlake_sink_waits_total", "Attempts that found the store away", ["query"])


@cache
def seconds() -> Histogram:
    """Duration of the batches, waiting included."""
    return Histogram("flowlake_sink_batch_seconds", "Duration of a sink's batch", ["query"], buckets=_BATCH_BUCKETS)


def labelled(metric: Any, query: str, amount: float, **labels: str) -> None:
    """Add to a counter; nothing is exposed before the first event."""
    if amount:
        metric.labels(query=query, **labels).inc(amount)
