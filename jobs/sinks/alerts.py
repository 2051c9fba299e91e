"""Alerts: attack-labelled records of a type, final or not, into the table ``alerts`` and the topic ``alerts``.

The tasks reduce their messages to evidence (one row an alert, :mod:`jobs.sinks.evidence`), the driver merges
the few rows and applies them in one transaction (:mod:`jobs.sinks.alertstore`). No shuffle, no join, one
small collect: the fixed cost of a batch is the alert's latency.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.config import Settings
from infra.errors import StoreError
from infra.log import get
from jobs.incidents.guards import AuditGuards
from jobs.incidents.people import labels_of
from jobs.notifying.triggers import OutboxTriggers
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.workers import settled
from jobs.sinks import alertbook, counters, evidence, messages, postgres, sink, storms, tops
from jobs.sinks.alertbook import Alert, Evidence
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.grants import Layouts, RoleGrants
from jobs.sinks.messages import Message
from jobs.sinks.migrations import Component, migrate
from jobs.sinks.outbox import Drainer
from jobs.sinks.sink import Applied
from jobs.sinks.stores import QueryHandle, StoreUnavailable
from jobs.suppression.assets import CurrentAssets
from jobs.suppression.importance import NO_ASSETS, AssetList
from schemas import alerts as table
from schemas.records import AlertRules, RecordType
from schemas.roles import OF_ALERTS
from schemas.wire import arrow_stream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: The sink's own name (:meth:`schemas.records.RecordType.query`), and the component of its tables.
SINK = "alerts"
_REPORT = pa.schema([("partials", pa.binary()), ("refused", pa.string())])
_REPORT_DDL = "partials binary, refused string"
#: Batches between two clearings of old evidence.
_PRUNE_EVERY = 5000


def task(
    settings: Settings, record: RecordType, assets: AssetList = NO_ASSETS
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for ``mapInArrow``: Kafka rows in, one row of packed evidence out."""
    columns, name = table.read_of(record.published, rules_of(record)), record.query(SINK)

    def reduce(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        letters: list[DeadLetter] = []

        def decoded() -> Iterator[list[Message]]:
            for batch in batches:
                found, bad = messages.decode(batch, record, query=name, columns=columns)
                letters.extend(bad)
                yield found

        packed, refused = gathered(decoded(), settings, record, assets, explained=settings.alerts.explained_per_batch > 0)
        yield pa.record_batch([[packed], [sink.refuse([*letters, *refused], settings.kafka)]], schema=_REPORT)

    return reduce


def gathered(
    batches: Iterable[list[Message]], settings: Settings, record: RecordType, assets: AssetList = NO_ASSETS, *, explained: bool
) -> tuple[bytes, list[DeadLetter]]:
    """Evidence of some messages, packed (empty: there is none), and the messages that no alert can be about.

    ``explained``: the features of top flows are read out of the messages.
    """
    rules = rules_of(record)
    found: list[pa.Table] = []
    letters: list[DeadLetter] = []
    for decoded in batches:
        rows, refused = _attacks(tops.placed(decoded), record, settings.alerts.min_severity, bool(assets))
        letters += refused
        if any(some.num_rows for some in rows):
            features = tops.vectors(decoded, record) if explained else None
            found.append(evidence.partials(pa.concat_tables(rows), rules, settings.alerts.episode_s, assets, features))
    if not found:
        return b"", letters
    every = found[0] if len(found) == 1 else alertbook.rows(alertbook.gather(found))
    return arrow_stream(storms.bounded(every, settings.alerts.storm_alerts, settings.alerts.episode_s, rules.namespace)), letters


def rules_of(record: RecordType) -> AlertRules:
    """Alert rules of a record type that has some."""
    if record.alerts is None:
        raise ValueError(f"record type {record.name} has no alert rules")
    return record.alerts


def _measure(raised: Iterable[Alert], query: str) -> None:
    """Count new alerts, and how long after the capture of the packet that sufficed their rows are there."""
    now = time.time()
    for alert in raised:
        counters.ALERTS.labels(attack_type=alert.attack_type).inc()
        evident = datetime.fromisoformat(alert.details["evidence_time"]).timestamp()
        counters.LATENCY.labels(query=query).observe(max(now - evident, 0.0))


def _attacks(decoded: list[Message], record: RecordType, min_severity: int, assets: bool) -> tuple[list[pa.Table], list[DeadLetter]]:
    """Attacks of the messages; a message with an address or a time that no alert can have is a dead letter of its own."""
    if not decoded:
        return [], []
    rules = rules_of(record)
    rows = evidence.attacks(messages.joined(decoded, record), rules, min_severity, assets=assets)
    addresses = [name for name in ("src_ip", "dst_ip") if rules.columns.get(name, name) in record.published.names]
    bad = [f"text: {what}" for what in evidence.bad_text(rows)]
    bad = bad or [f"address: {text[:100]!r}" for text in evidence.bad_addresses(rows, addresses)] + [
        f"time: {us} us" for us in evidence.bad_times(rows)
    ]
    if not bad:
        return [rows], []
    if len(decoded) == 1:
        return [], [decoded[0].refused(bad[0], record.query(SINK))]
    both = [_attacks([message], record, min_severity, assets) for message in decoded]
    return [table for tables, _ in both for table in tables], [letter for _, letters in both for letter in letters]


def component(settings: Settings) -> Component:
    """The tables of the alerts, about whatever record type."""
    return Component(SINK, settings.alerts, table.MIGRATIONS, Layouts(AuditGuards(), OutboxTriggers(), RoleGrants(OF_ALERTS)))


class AlertSink:
    """Alerts about a record type (:class:`jobs.sinks.sink.Sink`), and the thread that sends their messages."""

    final = False
    hint = "start it (flowlake up), or set alerts.host and alerts.port"

    def __init__(self, settings: Settings, record: RecordType) -> None:
        # Models are the driver's; the tasks, in processes of their own, need none of it.
        from jobs.scoring.registry import load_champion, load_version
        from jobs.sinks.explainers import Explainers
        from jobs.sinks.reasons import Reasons

        self.name = record.query(SINK)
        self.record = record
        self.trigger_ms = settings.alerts.trigger_ms
        self._settings = settings
        self._explainers = Explainers(partial(load_champion, settings, record), partial(load_version, settings, record))
        self._most = settings.alerts.explained_per_batch
        reasons = Reasons(self._explainers, record, self._most) if self._most else None
        self._alerts = AlertStore(settings.alerts, record, reasons, labels_of(settings))
        self._assets = CurrentAssets(settings.alerts)
        self._collected = -1  # the batch whose evidence has been found
        self._found: list[Evidence] = []
        self._refused: tuple[str, ...] = ()
        self._drainer: Drainer | None = None

    @property
    def store(self) -> str:
        return postgres.where(self._settings.alerts)

    def prepare(self) -> None:
        migrate(component(self._settings))
        self._alerts.prune()

    def begin(self, handle: QueryHandle) -> None:
        self._drainer = Drainer(self._settings, handle)
        self._drainer.start()
        if self._most:
            self._explainers.prefetch()

    def apply(self, frame: DataFrame, batch_id: int, *, again: bool) -> Applied:
        if not again or self._collected != batch_id:  # what the tasks found does not change while the store is away
            found = task(self._settings, self.record, self._assets.read())
            reports = frame.mapInArrow(settled(found), _REPORT_DDL).collect()
            self._found = alertbook.gather(alertbook.unpack(bytes(r.partials)) for r in reports if r.partials)
            self._refused = tuple(r.refused for r in reports)
            self._collected = batch_id
        done = self._alerts.apply(self._found)
        if done.messages and self._drainer:
            self._drainer.wake()
        counters.add(counters.FORGOTTEN, self.name, done.forgotten)
        counters.add(counters.EXPLAINED, self.name, done.explained)
        for reason, count in Counter(done.unexplained).items():
            counters.add(counters.UNEXPLAINED, self.name, count, reason=reason)
        counters.CANDIDATES.labels(query=self.name).set(done.candidates)
        _measure(done.raised, self.name)
        for entry in done.suppressed:
            counters.SUPPRESSED.labels(entry=str(entry)).inc()
        raised = len(done.raised)
        told = {"raised": raised, "changed": done.changed, "candidates": done.candidates}
        return Applied(raised, raised, self._refused, told)

    def applied(self, frame: DataFrame, batch_id: int, done: Applied) -> None:
        if batch_id % _PRUNE_EVERY == _PRUNE_EVERY - 1:
            try:
                self._alerts.prune()
            except (StoreUnavailable, StoreError) as e:
                get(f"sink.{self.name}").warning("old evidence stays", cause=str(e))
