"""Prometheus metrics of the stream: what every query has, and the page that shows them.

A part declares its own beside itself, in :data:`REGISTRY` (:mod:`jobs.sinks.counters`; of packets :mod:`jobs.sources.packets.metrics`).

Counters count since the process started. Query metrics carry the label ``query`` (its name, e.g. ``meter``).
Import the object and move it: ``INPUT_ROWS.labels(query="lake").inc(rows)``.
"""

from __future__ import annotations

import errno
import threading

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server

from infra.errors import StackError

disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()

_BATCH_S = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)

# --- every query
REJECTED = Counter("flowlake_rejected", "Packets and messages not metered, by reason", ["query", "reason"], registry=REGISTRY)
BATCH_SECONDS = Histogram("flowlake_batch_seconds", "Duration of a micro-batch", ["query"], buckets=_BATCH_S, registry=REGISTRY)
BATCHES = Counter("flowlake_batches", "Micro-batches ended", ["query"], registry=REGISTRY)
LAST_BATCH = Gauge("flowlake_last_batch_timestamp_seconds", "When the last micro-batch ended", ["query"], registry=REGISTRY)
INPUT_ROWS = Counter("flowlake_input_rows", "Rows (Kafka messages) read", ["query"], registry=REGISTRY)
INPUT_RATE = Gauge("flowlake_input_rows_per_second", "Rows read per second, last batch", ["query"], registry=REGISTRY)
PROCESSED_RATE = Gauge("flowlake_processed_rows_per_second", "Rows processed per second of work, last batch", ["query"], registry=REGISTRY)
LAG = Gauge("flowlake_kafka_lag_messages", "Messages on the broker that the last batch did not read", ["query", "topic"], registry=REGISTRY)
SKIPPED = Counter(
    "flowlake_skipped_messages", "Messages gone from the broker before they were read", ["query", "topic", "partition"], registry=REGISTRY
)
STATE_ROWS = Gauge("flowlake_state_rows", "Rows of state", ["query"], registry=REGISTRY)
STATE_BYTES = Gauge("flowlake_state_bytes", "Memory of state", ["query"], registry=REGISTRY)
ACTIVE = Gauge("flowlake_query_active", "1 while the query runs", ["query"], registry=REGISTRY)
FAILURES = Counter("flowlake_query_failures", "Times the query ended with an error", ["query"], registry=REGISTRY)

_lock = threading.Lock()
_serving: dict[tuple[str, int], int] = {}


def serve(host: str, port: int) -> int:
    """Show the metrics on ``http://host:port/metrics``; once, however often it is called. Port 0 turns it off.

    Returns
    -------
    int
        The port served on; 0 when off.

    Raises
    ------
    StackError
        The port is taken by another process, or the address is not of this machine.
    """
    if port == 0:
        return 0
    with _lock:
        if (host, port) not in _serving:
            try:
                start_http_server(port, host, registry=REGISTRY)
            except OSError as e:
                why = "the port is taken" if e.errno == errno.EADDRINUSE else e.strerror or str(e)
                raise StackError(
                    f"metrics cannot be served on {host}:{port}: {why}",
                    "set FLOWLAKE_METRICS__STREAM_PORT (or __SENSOR_PORT, __NOTIFY_PORT) to a free port, or to 0 for none",
                ) from e
            _serving[host, port] = port
    return port
