"""The table ``quarantine``: rows that failed a check, each as it was read, with what it failed and where it came from.

It lies beside the lake. A row is kept as JSON from which the record is made again to the bit: floats in the shortest form that reads back
as the same number, times as microseconds since 1970, what JSON has no number for as text.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from infra.config import Settings
from infra.errors import ConfigError
from jobs.quality.batch import Failed
from jobs.runtime import lake
from jobs.runtime.sidetable import Side, SideTable
from jobs.sinks import parquet
from schemas.records import RecordType

_TS = pa.timestamp("us", tz="UTC")
#: Stage of the rows that were taken out of a batch; those of the nightly run have the store's name.
BATCH = "batch"

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # the same however often a batch is repeated
        pa.field("record", pa.string(), nullable=False),  # record type
        pa.field("version", pa.int32(), nullable=False),  # of its columns
        pa.field("stage", pa.string(), nullable=False),  # batch, or the store that a nightly run looked at: lake, hot, archive
        pa.field("query", pa.string(), nullable=False),  # the query that took it out; of a nightly run: "nightly"
        pa.field("rule", pa.string(), nullable=False),  # the first constraint that it fails: range(src_port)
        pa.field("reason", pa.string(), nullable=False),  # all that it fails, with its values, in one line
        pa.field("record_id", pa.string()),  # its identity
        pa.field("topic", pa.string()),  # where its message lay; null of a nightly run
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("row", pa.int32()),  # its place in the message, from 0
        pa.field("quarantined_at", _TS, nullable=False),
        pa.field("replayed_at", _TS),  # when it was published again; null: it was not
        pa.field("value", pa.string(), nullable=False),  # the record as JSON (:func:`as_json`)
        pa.field(parquet.PARTITION, pa.date32(), nullable=False),  # UTC date of quarantined_at
    ]
)
TABLE = SideTable("quarantine", SCHEMA, "Rows that failed a check, as they were read", parquet.PARTITION)
#: Columns with statistics in the table's log.
STATISTICS = ("record", "stage", "rule", "quarantined_at", "replayed_at")

_NAMESPACE = uuid.UUID("6f2f1a0e-1f2b-5c57-9a31-0d8f5b7a4c11")
_NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def side(settings: Settings) -> Side:
    """The table in its place.

    Raises
    ------
    ConfigError
        ``lake.path`` is a root, and ``lake.tables`` names no place for it.
    """
    return Side(settings, TABLE)


def problem(settings: Settings) -> str:
    """Why there can be no quarantine; empty where there can."""
    try:
        path = lake.beside(settings, TABLE.name)
    except ConfigError as e:
        return str(e)
    return "" if parquet.reaches(path) and parquet.reaches(settings.lake.path) else f"only Spark can write {path}"


def rows_of(failed: Iterable[Failed], record: RecordType, query: str, now: datetime) -> pa.Table:
    """Rows of the table for what was taken out of messages."""
    found: list[dict[str, Any]] = []
    for item in failed:
        message = item.message
        keys = message.rows[record.key].to_pylist() if record.key in message.rows.column_names else [None] * message.rows.num_rows
        for number, rule, reason, key, value in zip(item.numbers, item.rules, item.reasons, keys, as_json(message.rows), strict=True):
            found.append(
                {
                    # The message's id and not its place: a copy that a repeated batch of the meter wrote is no other row.
                    "id": identity(record.name, BATCH, message.message_id, str(number), key or ""),
                    "stage": BATCH,
                    "query": query,
                    "rule": rule,
                    "reason": reason,
                    "record_id": key,
                    "topic": message.topic,
                    "partition": message.partition,
                    "offset": message.offset,
                    "row": number,
                    "value": value,
                }
            )
    return table_of(found, record, now)


def table_of(rows: Iterable[Mapping[str, Any]], record: RecordType, now: datetime) -> pa.Table:
    """Rows as a table of :data:`SCHEMA`; what is the same for all is filled in."""
    same = {"record": record.name, "version": record.version, "quarantined_at": now, parquet.PARTITION: now.date()}
    return pa.Table.from_pylist([{**row, **same} for row in rows], SCHEMA)


def identity(*parts: str) -> str:
    """Id of a row: a UUID made of what it is."""
    return str(uuid.uuid5(_NAMESPACE, "|".join(parts)))


def as_json(rows: pa.Table) -> list[str]:
    """Each row of a table as JSON."""
    columns = {name: _plain(rows[name]) for name in rows.column_names}
    names = list(columns)
    dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    return [dump(dict(zip(names, values, strict=True))) for values in zip(*columns.values(), strict=True)]


def from_json(values: Iterable[str], schema: pa.Schema) -> pa.Table:
    """Rows of a schema, made again of their JSON; a column that is not in it is null.

    Raises
    ------
    ValueError
        The text is no JSON, or a value does not fit its column.
    """
    given = [json.loads(value) for value in values]
    try:
        return pa.table([_made([row.get(field.name) for row in given], field.type) for field in schema], schema=schema)
    except (pa.ArrowException, TypeError, AttributeError, OverflowError) as e:
        raise ValueError(str(e)) from e


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_temporal(column.type):
        # by their numbers: Python has no dates before the year 1 or after 9999
        unit = pa.timestamp("us", tz=column.type.tz) if pa.types.is_timestamp(column.type) else column.type
        column = column.cast(unit).cast(pa.int64() if column.type.bit_width == 64 else pa.int32())
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(column.type):
        return [_named(value) if value is not None and not math.isfinite(value) else value for value in values]
    return [value.hex() for value in values] if pa.types.is_binary(column.type) else values


def _named(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _made(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind):
        return pa.array([_NO_NUMBERS[value] if isinstance(value, str) else value for value in values], kind)
    if pa.types.is_temporal(kind):
        return pa.array(values, pa.int64() if kind.bit_width == 64 else pa.int32()).cast(kind)
    if pa.types.is_binary(kind):
        return pa.array([None if value is None else bytes.fromhex(value) for value in values], kind)
    return pa.array(values, kind)
