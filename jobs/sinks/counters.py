"""Counters of the sinks. What every query has (batches, seconds, lag) is counted by the query listener."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge

from infra.metrics import REGISTRY, REJECTED, SINK_COPIES, SINK_ROWS

WAITS = Counter("flowlake_sink_waits", "Attempts that found the store away", ["query"], registry=REGISTRY)
CANDIDATES = Gauge(
    "flowlake_alert_candidates", "Scans, floods and brute force of too few flows to be an alert yet", ["query"], registry=REGISTRY
)
FORGOTTEN = Counter("flowlake_alert_candidates_forgotten", "Candidates given up because there were too many", ["query"], registry=REGISTRY)

__all__ = ["CANDIDATES", "FORGOTTEN", "REJECTED", "SINK_COPIES", "SINK_ROWS", "WAITS", "add"]


def add(metric: Any, query: str, amount: float, **labels: str) -> None:
    """Add to a counter; nothing is exposed before the first event."""
    if amount:
        metric.labels(query=query, **labels).inc(amount)
