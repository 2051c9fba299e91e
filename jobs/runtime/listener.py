"""What streaming queries tell about themselves, as metrics and log lines."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING, Any

from pyspark.sql.streaming.listener import (
    JStreamingQueryListener,
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from infra import log, metrics

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG = log.get("jobs.runtime.listener")

#: Name of the observation (``DataFrame.observe``) in which a query counts what it refuses: a column for each reason.
REFUSED = "refused"

#: topic -> partition -> offset, as Spark writes Kafka offsets in JSON.
Offsets = Mapping[str, Mapping[str, int]]
#: Called with a progress report (Spark's JSON).
Observer = Callable[[Mapping[str, Any]], None]


def attach(spark: SparkSession, observer: Observer | None = None) -> MetricsListener:
    """Listen to the queries of a session; once per session.

    ``observer`` gets each progress report too: a listener of its own would cost some hundred calls across to the
    JVM for every batch.
    """
    listener = MetricsListener(observer)
    spark.streams.addListener(listener)
    return listener


class MetricsListener(StreamingQueryListener):
    """Moves the query metrics of :mod:`infra.metrics` and logs each batch that read something (level debug)."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer
        self._names: dict[str, str] = {}  # run id -> query name; the end event does not tell it

    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        name = event.name or str(event.id)
        self._names[str(event.runId)] = name
        metrics.ACTIVE.labels(name).set(1)
        metrics.FAILURES.labels(name)  # shown as 0 from the start: an alert rule needs the series
        LOG.info("query started", query=name)

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        self.take(json.loads(event.progress.json))

    def take(self, progress: Mapping[str, Any]) -> None:
        """Note one progress report (Spark's JSON)."""
        record(progress)
        if self._observer:
            self._observer(progress)

    @functools.cached_property
    def _jlistener(self) -> Any:
        from pyspark import SparkContext

        return SparkContext._jvm.PythonStreamingQueryListenerWrapper(_Calls(self))  # type: ignore[union-attr]

    def onQueryIdle(self, event: QueryIdleEvent) -> None:
        if name := self._names.get(str(event.runId)):
            metrics.LAST_BATCH.labels(name).set(time())

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:
        name = self._names.pop(str(event.runId), str(event.id))
        metrics.ACTIVE.labels(name).set(0)
        if event.exception:
            metrics.FAILURES.labels(name).inc()


class _Calls(JStreamingQueryListener):
    """What the JVM calls. PySpark's own builds each report anew with some hundred calls back; its JSON is one."""

    pylistener: MetricsListener

    def onQueryProgress(self, jevent: Any) -> None:
        self.pylistener.take(json.loads(jevent.progress().json()))


def record(progress: Mapping[str, Any]) -> None:
    """Take one progress report (Spark's JSON) into the metrics.

    Parameters
    ----------
    progress : mapping
        As ``StreamingQueryProgress.json``: times in ms, rates in rows/s.
    """
    name = progress.get("name") or str(progress.get("id", ""))
    seconds = float(progress.get("batchDuration") or progress.get("durationMs", {}).get("triggerExecution", 0)) / 1000
    rows = int(progress.get("numInputRows") or 0)
    metrics.BATCHES.labels(name).inc()
    metrics.LAST_BATCH.labels(name).set(time())
    metrics.BATCH_SECONDS.labels(name).observe(seconds)
    metrics.INPUT_ROWS.labels(name).inc(rows)
    metrics.INPUT_RATE.labels(name).set(_number(progress.get("inputRowsPerSecond")))
    metrics.PROCESSED_RATE.labels(name).set(_number(progress.get("processedRowsPerSecond")))
    for reason, count in ((progress.get("observedMetrics") or {}).get(REFUSED) or {}).items():
        if number := _number(count):
            metrics.REJECTED.labels(name, reason).inc(number)
    state = progress.get("stateOperators") or []
    metrics.STATE_ROWS.labels(name).set(sum(_number(s.get("numRowsTotal")) for s in state))
    metrics.STATE_BYTES.labels(name).set(sum(_number(s.get("memoryUsedBytes")) for s in state))
    behind: dict[str, int] = {}
    for source in progress.get("sources") or []:
        for topic, messages in lag(offsets(source.get("latestOffset")), offsets(source.get("endOffset"))).items():
            behind[topic] = behind.get(topic, 0) + messages
    for topic, messages in behind.items():
        metrics.LAG.labels(name, topic).set(messages)
    if rows:
        LOG.debug("batch", query=name, batch=progress.get("batchId"), rows=rows, seconds=round(seconds, 3), lag=sum(behind.values()))


def offsets(value: object) -> Offsets:
    """Kafka offsets of a progress report: a dict or its JSON; empty for a source that is not Kafka."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if not isinstance(value, dict):
        return {}
    return {topic: parts for topic, parts in value.items() if isinstance(parts, dict)}


def lag(latest: Offsets, end: Offsets) -> dict[str, int]:
    """Messages per topic between where a batch ended and what the broker had; a partition the batch does not know counts whole."""
    return {
        topic: sum(max(0, int(at) - int(end.get(topic, {}).get(part, 0))) for part, at in parts.items()) for topic, parts in latest.items()
    }


def _number(value: object) -> float:
    """Spark reports rates of an instant as NaN or infinity, in JSON as text or not at all."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return number if abs(number) < float("inf") else 0.0
