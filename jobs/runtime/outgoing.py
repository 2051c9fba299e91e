"""What a query publishes: messages of records, dead letters and others, as rows for Spark's Kafka sink."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from infra.config import Settings
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.kafka import kafka_options
from schemas.records import HEADER_MESSAGE_ID, HEADER_RECORD_VERSION, HEADER_SNAPSHOTS, RecordType
from schemas.topics import DEAD_LETTER, LARGEST_MESSAGE
from schemas.wire import Header, arrow_stream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming import StreamingQuery

    from jobs.runtime.checkpoints import Checkpoint

#: Rows as Spark's Kafka sink takes them.
KAFKA_DDL = "topic string, key binary, value binary, headers array<struct<key: string, value: binary>>"
_HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
KAFKA_SCHEMA = pa.schema([("topic", pa.string()), ("key", pa.binary()), ("value", pa.binary()), ("headers", _HEADERS)])

#: One row of :data:`KAFKA_SCHEMA`.
Row = dict[str, Any]


def message(topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> Row:
    """Any message; ``topic`` as it is on the broker."""
    return {"topic": topic, "key": key.encode(), "value": value, "headers": [{"key": k, "value": v.encode()} for k, v in headers.items()]}


def records(record: RecordType, rows: pa.RecordBatch, key: str, message_id: str, *, prefix: str, final: bool = True) -> Row:
    """A message of records.

    Parameters
    ----------
    record
        Their type; ``rows`` has its published columns.
    rows
        One record batch.
    key
        Kafka key.
    message_id
        The same for the same content, however often the batch is repeated: readers know a copy by it.
    prefix
        Put before the topic's name.
    final
        Whether a final record is among them; readers of those skip the others.
    """
    about = {Header.CONTENT_TYPE: record.content_type, HEADER_MESSAGE_ID: message_id, HEADER_RECORD_VERSION: str(record.version)}
    return message(prefix + record.topic.name, key, arrow_stream(rows), about if final else {**about, HEADER_SNAPSHOTS: "1"})


def dead_letter(letter: DeadLetter, *, prefix: str) -> Row:
    """A message that was refused."""
    return {"topic": prefix + DEAD_LETTER.name, **letter.row()}


def batches(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    """Rows one by one: a value is up to some MB, and Spark's buffers grow by doubling."""
    for row in rows:
        yield pa.RecordBatch.from_pylist([row], KAFKA_SCHEMA)


def write(rows: DataFrame, settings: Settings, name: str, place: Checkpoint, trigger_ms: int) -> StreamingQuery:
    """Start the query that sends rows of :data:`KAFKA_DDL` to their topics, at least once.

    Parameters
    ----------
    rows
        A stream.
    settings
        Where the broker is.
    name
        Of the query.
    place
        Its checkpoint.
    trigger_ms
        Milliseconds between batches; 0: as fast as possible.
    """
    return (
        rows.writeStream.queryName(name)
        .format("kafka")
        .options(**kafka_options(settings.kafka))
        .option("includeHeaders", "true")
        .option("kafka.max.request.size", str(LARGEST_MESSAGE))
        .option("kafka.compression.type", "none")  # values are compressed inside, or small
        .option("checkpointLocation", place.path)
        .trigger(processingTime=f"{trigger_ms} milliseconds")
        .start()
    )
