"""Counters of the sinks. What every query has (batches, seconds, lag) is counted by the query listener."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from infra.metrics import REGISTRY, REJECTED

_LATENCY_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)

SINK_ROWS = Counter("flowlake_sink_rows", "Rows written to a store, copies left out", ["query"], registry=REGISTRY)
SINK_COPIES = Counter("flowlake_sink_copies", "Rows that were in the store already", ["query"], registry=REGISTRY)
LEFT_OUT = Counter("flowlake_sink_left_out", "Rows that fail a check and are left out, by rule", ["query", "rule"], registry=REGISTRY)
ALERTS = Counter("flowlake_alerts", "Alerts raised, by attack type", ["attack_type"], registry=REGISTRY)
SUPPRESSED = Counter("flowlake_alerts_suppressed", "Alerts silenced, by the entry that does it", ["entry"], registry=REGISTRY)
LATENCY = Histogram(
    "flowlake_latency_seconds",
    "Capture of the last packet of a record until its row is in the store",
    ["query"],
    buckets=_LATENCY_S,
    registry=REGISTRY,
)

WAITS = Counter("flowlake_sink_waits", "Attempts that found the store away", ["query"], registry=REGISTRY)
CANDIDATES = Gauge(
    "flowlake_alert_candidates", "Scans, floods and brute force of too few flows to be an alert yet", ["query"], registry=REGISTRY
)
FORGOTTEN = Counter("flowlake_alert_candidates_forgotten", "Candidates given up because there were too many", ["query"], registry=REGISTRY)
EXPLAINED = Counter(
    "flowlake_alerts_explained", "Alerts whose score was explained, at first and by another flow", ["query"], registry=REGISTRY
)
UNEXPLAINED = Counter(
    "flowlake_alerts_unexplained", "Alerts whose score could not be explained, by reason", ["query", "reason"], registry=REGISTRY
)
MAINTENANCES = Counter(
    "flowlake_hot_maintenances",
    "Maintenances of the hot tables by this stream: done, busy (another's), failed",
    ["result"],
    registry=REGISTRY,
)
MAINTAINED = Gauge(
    "flowlake_hot_maintained_timestamp_seconds", "When a hot table was last maintained by this stream", ["table"], registry=REGISTRY
)
TOO_OLD = Counter(
    "flowlake_hot_too_old", "Rows deleted one by one by this stream, because they are older than rows live", ["table"], registry=REGISTRY
)
WITHOUT_DAY = Gauge(
    "flowlake_hot_rows_of_days_to_come", "Rows in the default partition whose time is in the future", ["table"], registry=REGISTRY
)

__all__ = ["CANDIDATES", "FORGOTTEN", "LEFT_OUT", "REJECTED", "SINK_COPIES", "SINK_ROWS", "WAITS", "add"]


def add(metric: Any, query: str, amount: float, **labels: str) -> None:
    """Add to a counter; nothing is exposed before the first event."""
    if amount:
        metric.labels(query=query, **labels).inc(amount)
