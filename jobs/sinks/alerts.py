"""Alerts: attack-labelled records, open or closed, into the table ``alerts`` and the topic ``alerts``.

The tasks reduce their messages to evidence (one row an alert, :mod:`jobs.sinks.evidence`), the driver merges the few rows and applies
them in one
transaction (:mod:`jobs.sinks.alertstore`). No shuffle, no join, one small collect: the fixed cost of a batch is the alert's latency.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from infra import metrics
from infra.config import Settings
from infra.errors import StoreError
from infra.log import get
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.workers import settled
from jobs.sinks import alertbook, counters, evidence, messages, postgres, source
from jobs.sinks.alertbook import Alert
from jobs.sinks.alertstore import AlertStore, Applied
from jobs.sinks.messages import Message
from jobs.sinks.outbox import Drainer
from jobs.sinks.stores import QueryHandle, StoreUnavailable, until_done
from schemas import alerts as table
from schemas.wire import arrow_stream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

NAME = "alerts"
_REPORT = pa.schema([("partials", pa.binary()), ("refused", pa.string())])
_REPORT_DDL = "partials binary, refused string"
#: Batches between two clearings of old evidence.
_PRUNE_EVERY = 5000


def task(settings: Settings) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for ``mapInArrow``: Kafka rows in, one row of packed evidence out."""

    def reduce(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found: list[pa.Table] = []
        letters: list[DeadLetter] = []
        for batch in batches:
            decoded, bad = messages.decode(batch, query=NAME, columns=table.EVIDENCE_COLUMNS)
            letters += bad
            rows, refused = _attacks(decoded, settings.alerts.min_severity)
            found += rows
            letters += refused
        packed = b""
        if any(rows.num_rows for rows in found):
            packed = arrow_stream(evidence.partials(pa.concat_tables(found), settings.alerts.episode_s))
        yield pa.record_batch([[packed], [source.refuse(letters, settings.kafka)]], schema=_REPORT)

    return reduce


def _measure(raised: Iterable[Alert]) -> None:
    """Count new alerts, and how long after the capture of the packet that sufficed their rows are there."""
    now = time.time()
    for alert in raised:
        metrics.ALERTS.labels(attack_type=alert.attack_type).inc()
        evident = datetime.fromisoformat(alert.details["evidence_time"]).timestamp()
        metrics.LATENCY.labels(query=NAME).observe(max(now - evident, 0.0))


def _attacks(decoded: list[Message], min_severity: int) -> tuple[list[pa.Table], list[DeadLetter]]:
    """Attacks of the messages; a message with an address or a time that no alert can have is a dead letter of its own."""
    if not decoded:
        return [], []
    rows = evidence.attacks(messages.joined(decoded), min_severity)
    bad = [f"address: {text[:100]!r}" for text in evidence.bad_addresses(rows)] + [f"time: {us} us" for us in evidence.bad_times(rows)]
    if not bad:
        return [rows], []
    if len(decoded) == 1:
        return [], [decoded[0].refused(bad[0], NAME)]
    both = [_attacks([message], min_severity) for message in decoded]
    return [table for tables, _ in both for table in tables], [letter for _, letters in both for letter in letters]


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Start the query ``alerts``, and the thread that sends its messages.

    Raises
    ------
    StoreError
        The database cannot be reached or refuses. (Once started, the query waits for a database that goes away.)
    """
    handle = QueryHandle(NAME)
    name = postgres.where(settings.alerts)
    store = AlertStore(settings.alerts)
    try:
        postgres.migrate(settings.alerts, NAME, table.MIGRATIONS)
        store.prune()
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it (flowlake up), or set alerts.host and alerts.port") from e
    drainer = Drainer(settings, handle)

    def waiting(_: str) -> None:
        counters.add(counters.WAITS, NAME, 1)

    def apply(frame: DataFrame, batch_id: int) -> dict[str, Any]:
        reports = frame.mapInArrow(settled(task(settings)), _REPORT_DDL).collect()
        found = alertbook.gather(alertbook.unpack(bytes(r.partials)) for r in reports if r.partials)
        applied: Applied = until_done(lambda: store.apply(found), handle, store=name, on_wait=waiting)
        if applied.messages:
            drainer.wake()
        counters.add(counters.SINK_ROWS, NAME, len(applied.raised))
        counters.add(counters.FORGOTTEN, NAME, applied.forgotten)
        counters.CANDIDATES.set(applied.candidates)
        _measure(applied.raised)
        refused = source.count_refused((r.refused for r in reports), NAME)
        if batch_id % _PRUNE_EVERY == _PRUNE_EVERY - 1:
            try:
                store.prune()
            except (StoreUnavailable, StoreError) as e:
                get("sink.alerts").warning("old evidence stays", cause=str(e))
        return {"raised": len(applied.raised), "changed": applied.changed, "candidates": applied.candidates, "refused": refused}

    query = source.run(source.read(spark, settings, snapshots=True), settings, NAME, settings.alerts.trigger_ms, handle, apply)
    drainer.start()
    return query
