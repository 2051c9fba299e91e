"""What the sinks share: naming their checkpoint, running batches, refusing messages."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from infra.config import Settings
from infra.errors import StoreError
from infra.log import get
from infra.sections import KafkaSettings
from jobs.quality import intake
from jobs.runtime import dead_letter
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.kafka import read_records
from jobs.sinks import counters
from jobs.sinks.stores import QueryHandle, QueryStopped, StoreUnavailable, until_done
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from jobs.runtime.checkpoints import Checkpoint


def checkpoint(settings: Settings, name: str, record: RecordType) -> Checkpoint:
    """The checkpoint of a sink's query; the version of the records is part of it.

    Raises
    ------
    CheckpointError
        There is a checkpoint of this query for another version of the records, or it has read their topic before that was made anew.
    """
    from jobs.runtime import checkpoints, inputs

    place = checkpoints.open(settings, name, record.version)
    inputs.settle(place, name, settings.topic(record.topic.name), settings, fail_on_data_loss=settings.sinks.fail_on_data_loss)
    return place


@dataclass(frozen=True)
class Applied:
    """What a batch did to a store: final records, new ones, reports of messages refused and of rows left out, what else is worth a line."""

    rows: int = 0
    inserted: int = 0
    refused: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """For a log line."""
        return {"rows": self.rows, "inserted": self.inserted, **self.more}


class Sink(Protocol):
    """A store that the records of one type are carried to. Making one does nothing: no connection, no thread, no file.

    Attributes
    ----------
    name : name of its query.
    record : what it stores.
    final : whether it reads final records only.
    store : what is waited for when it is away, as a person would say it.
    hint : what to do when it cannot be reached at the start.
    trigger_ms : milliseconds between batches.
    """

    name: str
    record: RecordType
    final: bool
    hint: str
    trigger_ms: int

    @property
    def store(self) -> str: ...

    def prepare(self) -> None:
        """Make its place, or bring it up to date. StoreError: it refuses; StoreUnavailable: it cannot be reached."""
        ...

    def begin(self, handle: QueryHandle) -> None:
        """Start what works beside the batches, until the handle's query ends."""
        ...

    def apply(self, frame: DataFrame, batch_id: int, *, again: bool) -> Applied:
        """Write a batch once, by the identity of its records, however often it is repeated; ``again``: an attempt failed before.

        StoreUnavailable: nothing was applied, or it was and this was not heard; it is tried again. StoreError: the query ends.
        """
        ...

    def applied(self, frame: DataFrame, batch_id: int, done: Applied) -> None:
        """After a batch: housekeeping. Does not raise for what can wait."""
        ...


def query_id(spark: SparkSession) -> str:
    """Id of the query whose batch runs on this thread. It is born with the checkpoint: a new checkpoint is a new query.

    (Spark sets it as a local property of the thread that runs ``foreachBatch``.)
    """
    found = spark.sparkContext.getLocalProperty("sql.streaming.queryId")
    if not found:
        raise RuntimeError("not inside foreachBatch: the thread carries no query id")
    return str(found)


def application(sink: Sink, spark: SparkSession) -> str:
    """Id of a sink's Delta transactions, unique to a checkpoint: with the id of an older one Delta would silently drop the batch."""
    return f"flowlake-{sink.name}-v{sink.record.version}-{query_id(spark)}"


def run(spark: SparkSession, settings: Settings, sink: Sink) -> StreamingQuery:
    """Prepare a sink's store, and start the query that feeds it: each batch is applied, measured and logged.

    When the query is stopped while its store is away, the batch ends without having been applied; Spark repeats it at the next start.

    Raises
    ------
    StoreError
        The store cannot be reached or refuses. (Once started, the query waits for a store that goes away.)
    CheckpointError
        See :func:`checkpoint`.
    """
    name = sink.name
    log = get(f"sink.{name}")
    handle = QueryHandle(name)
    try:
        sink.prepare()
    except StoreUnavailable as e:
        raise StoreError(str(e), sink.hint) from e

    def batch(frame: DataFrame, batch_id: int) -> None:
        began = time.perf_counter()
        attempts = 0

        def attempt() -> Applied:
            nonlocal attempts
            attempts += 1
            return sink.apply(frame, batch_id, again=attempts > 1)

        try:
            done = until_done(attempt, handle, store=sink.store, on_wait=lambda _: counters.add(counters.WAITS, name, 1))
        except QueryStopped as e:
            log.info("stopped while waiting", batch=batch_id, cause=str(e))
            raise
        counters.add(counters.SINK_ROWS, name, done.inserted)
        counters.add(counters.SINK_COPIES, name, done.rows - done.inserted)
        refused = count_refused(done.refused, name)
        left_out = intake.count(done.left_out, name)
        sink.applied(frame, batch_id, done)
        log.debug(
            "batch applied",
            batch=batch_id,
            seconds=round(time.perf_counter() - began, 3),
            refused=refused,
            left_out=left_out,
            **done.told(),
        )

    stream = read_records(spark, settings, sink.record, final=sink.final)
    writer = stream.writeStream.queryName(name).foreachBatch(batch)
    writer = writer.option("checkpointLocation", checkpoint(settings, name, sink.record).path)
    query = writer.trigger(processingTime=f"{sink.trigger_ms} milliseconds").start()
    handle.query = query
    sink.begin(handle)
    return query


def refuse(letters: Iterable[DeadLetter], kafka: KafkaSettings) -> str:
    """Send dead letters from inside a task; returns the counts by reason as JSON, for the driver (``""`` when there were none)."""
    letters = list(letters)
    if not letters:
        return ""
    dead_letter.send(letters, kafka)
    return json.dumps(Counter(letter.code for letter in letters))


def count_refused(reports: Iterable[str], name: str) -> int:
    """Count what the tasks of a batch refused; logs one warning a batch."""
    total: Counter[str] = Counter()
    for report in reports:
        total.update(json.loads(report) if report else {})
    for reason, amount in total.items():
        counters.add(counters.REJECTED, name, amount, reason=reason)
    if total:
        get(f"sink.{name}").warning("messages refused, sent to the dead-letter topic", **{k.replace("-", "_"): v for k, v in total.items()})
    return total.total()
