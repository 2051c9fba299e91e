"""What the tests of the archive share: a record type with a column of every SQL type, rows of it, and a hot store to fill."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pyarrow as pa
from psycopg2.extras import execute_values

from infra.sections import PostgresSettings
from schemas.hot import first_migration
from schemas.records import Features, HotColumn, HotTable, RecordType
from schemas.topics import DAY_MS, TopicSpec
from tests.integration.sinkbench import run as sql

_TS = pa.timestamp("us", tz="UTC")
_NAMESPACE = uuid.UUID("11111111-2222-5333-8444-666666666666")
#: Column -> SQL type, Arrow type of the record. What begins with "f_" a model reads.
KINDS: dict[str, tuple[str, pa.DataType]] = {
    "at": ("timestamptz NOT NULL", _TS),
    "id": ("uuid NOT NULL", pa.string()),
    "small": ("smallint", pa.int16()),
    "whole": ("integer", pa.int32()),
    "big": ("bigint", pa.int64()),
    "label": ("integer", pa.int8()),
    "single": ("real", pa.float32()),
    "double": ("double precision", pa.float64()),
    "f_big": ("bigint", pa.int64()),
    "f_double": ("double precision", pa.float64()),
    "f_single": ("real", pa.float32()),
    "seen": ("timestamptz", _TS),
    "other": ("uuid", pa.string()),
    "address": ("inet", pa.string()),
    "words": ("text", pa.string()),
    "more": ("jsonb", pa.string()),
}
_HOT = tuple(HotColumn(name, sql, name) for name, (sql, _) in KINDS.items())
EVERYTHING = RecordType(
    name="everything",
    version=1,
    schema=pa.schema([pa.field(name, kind, nullable="NOT NULL" not in sql) for name, (sql, kind) in KINDS.items()]),
    key="id",
    event_time="at",
    topic=TopicSpec("everything", 1, DAY_MS, "of tests"),
    content_type="application/vnd.flowlake.everything+arrow; v=1",
    features=Features(tuple(name for name in KINDS if name.startswith("f_")), "1", "none", "nothing trains one"),
    hot=HotTable("everything", "everything", _HOT, ("at", "id"), {1: first_migration("everything", _HOT, ("at", "id"))}),
)


def row_id(name: object) -> str:
    """A UUID that is the same for the same name."""
    return str(uuid.uuid5(_NAMESPACE, str(name)))


def insert(where: PostgresSettings, record: RecordType, rows: Sequence[dict[str, Any]]) -> None:
    """Put rows into the hot table; columns that are not given are null."""
    assert record.hot is not None
    names = list(record.hot.types)
    values = ", ".join(f"%s::{sql}" for sql in record.hot.types.values())
    connection = psycopg2.connect(
        host=where.host, port=where.port, dbname=where.database, user=where.user,
        password=where.password.get_secret_value() or None, options="-c TimeZone=UTC",
    )  # fmt: skip
    with closing(connection), connection, connection.cursor() as cursor:
        query = f"INSERT INTO {record.hot.name} ({', '.join(names)}) VALUES %s"
        given = [[_text(row.get(name)) for name in names] for row in rows]
        execute_values(cursor, query, given, f"({values})", page_size=500)


def _text(value: Any) -> Any:
    """As text, which the cast behind it reads whole: ``-32768::smallint`` is minus 32768."""
    return None if value is None else str(value)


def plain_rows(count: int, first: datetime, step: timedelta = timedelta(minutes=7), prefix: str = "r") -> list[dict[str, Any]]:
    """Rows one ``step`` after the other, every column filled."""
    return [
        {
            "at": first + n * step, "id": row_id(f"{prefix}{n}"), "small": n % 100, "whole": n, "big": 2**60 + n, "label": n % 2,
            "single": n / 7, "double": n / 3, "f_big": 2**40 + n, "f_double": n / 11, "f_single": 0.5 * n,
            "seen": first + n * step + timedelta(microseconds=1), "other": row_id(f"o{n}"), "address": f"10.0.{n // 256 % 256}.{n % 256}",
            "words": f"word {n % 5}", "more": f'{{"n": {n}}}',
        }
        for n in range(count)
    ]  # fmt: skip


def months_ago(count: int, day: int = 1) -> datetime:
    """Midnight of a day of the month that began so many months ago, by UTC."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    number = today.year * 12 + today.month - 1 - count
    return today.replace(year=number // 12, month=number % 12 + 1, day=day)


def everything(where: PostgresSettings, table: str) -> list[str]:
    """The rows of a table as the server prints them, in their order: what two tables have in common to the last digit."""
    return [line for (line,) in sql(where, f"SELECT t::text FROM {table} t ORDER BY t::text")]


def insert_flows(where: PostgresSettings, count: int, first: datetime, step: timedelta = timedelta(hours=1)) -> None:
    """Put flows into ``network_flows``, every third one an attack."""
    from schemas.packets import FLOWS

    assert FLOWS.hot is not None
    row = {name: 1 if kind not in ("text", "inet") else "10.0.0.1" if kind == "inet" else "x" for name, kind in FLOWS.hot.types.items()}
    rows = [
        row | {"timestamp": first + n * step, "flow_id": row_id(f"flow{n}"), "predicted_label": int(n % 3 == 0), "confidence_score": 0.25}
        for n in range(count)
    ]
    insert(where, FLOWS, rows)
