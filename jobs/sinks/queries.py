"""The queries that carry the records of a type to the stores that it declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.config import Settings
from infra.sources import Query
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

#: Modules that the tasks of the sinks import.
MODULES = ("jobs.runtime.dead_letter", "jobs.sinks.alerts", "jobs.sinks.hot", "jobs.sinks.lake", "kafka", "pandas", "pyarrow.compute")


def stored(record: RecordType) -> tuple[Query, ...]:
    """One query for each store that a record type declares: alerts, hot, lake.

    They are imported, and connect, when they are started.
    """
    return tuple(_queries(record))


def _queries(record: RecordType) -> Iterator[Query]:
    def alerts(spark: SparkSession, settings: Settings) -> StreamingQuery:
        from jobs.sinks import sink
        from jobs.sinks.alerts import AlertSink

        return sink.run(spark, settings, AlertSink(settings, record))

    def hot(spark: SparkSession, settings: Settings) -> StreamingQuery:
        from jobs.sinks import sink
        from jobs.sinks.hot import HotSink

        return sink.run(spark, settings, HotSink(settings, record))

    def lake(spark: SparkSession, settings: Settings) -> StreamingQuery:
        from jobs.sinks import sink
        from jobs.sinks.lake import LakeSink

        return sink.run(spark, settings, LakeSink(spark, settings, record))

    for store, declared, start in (("alerts", record.alerts, alerts), ("hot", record.hot, hot), ("lake", record.lake, lake)):
        if declared is not None:
            yield Query(record.query(store), start, (record.topic,), stores=frozenset({store}))
