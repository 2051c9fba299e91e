"""What the three sinks share: reading ``predictions``, naming their checkpoint, running batches."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from infra.config import KafkaSettings, Settings
from infra.log import get
from jobs.runtime import dead_letter
from jobs.runtime.dead_letter import DeadLetter
from jobs.sinks import counters
from jobs.sinks.stores import QueryHandle, QueryStopped
from schemas.flows import HEADER_SNAPSHOTS, RECORD_VERSION
from schemas.topics import PREDICTIONS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from jobs.runtime.checkpoints import Checkpoint


def kafka_options(kafka: KafkaSettings) -> dict[str, str]:
    """Options of Spark's Kafka source: broker and security."""
    options = {"kafka.bootstrap.servers": kafka.bootstrap_servers}
    options.update({f"kafka.{name}": value for name, value in kafka.security.items()})
    if kafka.sasl_username:
        scram = kafka.security.get("sasl.mechanism", "PLAIN").startswith("SCRAM")
        module = "scram.ScramLoginModule" if scram else "plain.PlainLoginModule"
        user, password = (_quoted(text) for text in (kafka.sasl_username, kafka.sasl_password.get_secret_value()))
        options["kafka.sasl.jaas.config"] = f"org.apache.kafka.common.security.{module} required username={user} password={password};"
    return options


def reader_options(kafka: KafkaSettings) -> dict[str, str]:
    """Options of Spark's Kafka source for reading."""
    # Spark asks for the ends of a partition before each reading, on a connection that holds back its answer while the fetch that the
    # consumer sent ahead waits for new messages: by default 500 ms in every task that comes to the end of its partition.
    return {**kafka_options(kafka), "kafka.fetch.max.wait.ms": "5"}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read(spark: SparkSession, settings: Settings, *, snapshots: bool) -> DataFrame:
    """Stream of Kafka rows of ``predictions``, from the earliest message that the checkpoint does not cover.

    ``snapshots``: those too that hold interim snapshots of open flows only, more than half of what a busy meter writes.
    """
    from pyspark.sql import functions as F

    reader = (
        spark.readStream.format("kafka")
        .options(**reader_options(settings.kafka))
        .option("subscribe", settings.topic(PREDICTIONS.name))
        .option("startingOffsets", "earliest")
        .option("includeHeaders", "true")
        .option("failOnDataLoss", str(settings.sinks.fail_on_data_loss).lower())
        .option("maxOffsetsPerTrigger", str(settings.sinks.max_messages))
    )
    stream = reader.load()
    if not snapshots:
        stream = stream.where(~F.coalesce(F.exists("headers", lambda header: header["key"] == HEADER_SNAPSHOTS), F.lit(False)))
    return stream  # all columns: choosing some would copy every row, and a row is up to a MB


def checkpoint(settings: Settings, name: str) -> Checkpoint:
    """The query's checkpoint; the version of the records is part of it.

    Raises
    ------
    CheckpointError
        There is a checkpoint of this query for another version of the records, or it has read ``predictions`` before that was made anew.
    """
    from jobs.runtime import checkpoints, inputs

    place = checkpoints.open(settings, name, RECORD_VERSION)
    inputs.settle(place, name, settings.topic(PREDICTIONS.name), settings, fail_on_data_loss=settings.sinks.fail_on_data_loss)
    return place


def query_id(spark: SparkSession) -> str:
    """Id of the query whose batch runs on this thread. It is born with the checkpoint: a new checkpoint is a new query.

    (Spark sets it as a local property of the thread that runs ``foreachBatch``.)
    """
    found = spark.sparkContext.getLocalProperty("sql.streaming.queryId")
    if not found:
        raise RuntimeError("not inside foreachBatch: the thread carries no query id")
    return str(found)


def run(
    stream: DataFrame,
    settings: Settings,
    name: str,
    trigger_ms: int,
    handle: QueryHandle,
    apply: Callable[[DataFrame, int], dict[str, Any]],
) -> StreamingQuery:
    """Start the query: ``apply(batch, batch_id)`` for every batch, measured and logged.

    ``apply`` returns what is worth a log line. When the query is stopped while its store is away the batch ends without having been
    applied; Spark
    repeats it at the next start.
    """
    log = get(f"sink.{name}")

    def batch(frame: DataFrame, batch_id: int) -> None:
        began = time.perf_counter()
        try:
            result = apply(frame, batch_id)
        except QueryStopped as e:
            log.info("stopped while waiting", batch=batch_id, cause=str(e))
            raise
        took = time.perf_counter() - began
        log.debug("batch applied", batch=batch_id, seconds=round(took, 3), **result)

    writer = stream.writeStream.queryName(name).foreachBatch(batch).option("checkpointLocation", checkpoint(settings, name).path)
    query = writer.trigger(processingTime=f"{trigger_ms} milliseconds").start()
    handle.query = query
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
