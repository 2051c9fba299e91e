"""Counters of the notifier: what became of messages, and what waits."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from infra.metrics import REGISTRY

MESSAGES = Counter(
    "flowlake_notifications",
    "Messages by what became of them: sent, retried (the receiver was away), failed (given up), held (for the digest)",
    ["channel", "result"],
    registry=REGISTRY,
)
WAITING = Gauge("flowlake_notifications_waiting", "Messages that wait to be sent", ["channel"], registry=REGISTRY)
OLDEST = Gauge("flowlake_notifications_oldest_seconds", "Age of the oldest message that waits", ["channel"], registry=REGISTRY)
OUTBOX = Gauge("flowlake_notifications_outbox", "Rows of the outbox that nobody has looked at yet", registry=REGISTRY)
