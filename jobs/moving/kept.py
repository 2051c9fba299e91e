"""What a store holds of a span of time, as tables of record columns, in bounded memory; and how late it was written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.dataset as ds

from infra.config import Settings
from infra.errors import StoreError, one_line
from jobs.moving.columns import SENSOR
from jobs.moving.sums import HOUR_US
from jobs.runtime import lake
from jobs.sinks import hot, postgres
from jobs.sinks.parquet import PARTITION
from jobs.sinks.stores import StoreUnavailable
from schemas.records import RecordType

_IN_MEMORY = 16 << 20


def kept(settings: Settings, record: RecordType, store: str, names: Sequence[str], since: int, until: int) -> Iterator[pa.Table]:
    """Rows of a store from a time on, up to but not including another (microseconds).

    Raises
    ------
    StoreError
        The store cannot be read.
    """
    return (_hot if store == "hot" else _lake)(settings, record, names, since, until)


def available(settings: Settings, record: RecordType, store: str) -> set[str]:
    """Record columns that a store has."""
    return set(hot.table_of(record).sources) if store == "hot" else set(record.published.names)


def _hot(settings: Settings, record: RecordType, names: Sequence[str], since: int, until: int) -> Iterator[pa.Table]:
    table = hot.table_of(record)
    by_source = {column.source: column.name for column in table.columns}
    shown = {name: _shown(by_source[name], table.types[by_source[name]]) for name in names}
    time = by_source[record.event_time]
    kinds = {name: record.published.field(name).type for name in names}
    read = {name: pa.int64() if pa.types.is_timestamp(kind) else kind for name, kind in kinds.items()}
    with _asked(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT floor(extract(epoch FROM {time}) / 3600)::bigint FROM {table.name} WHERE {time} >= %s AND {time} < %s",
            (moment(since), moment(until)),
        )
        for hour in sorted(row[0] for row in cursor.fetchall()):
            low, high = max(since, hour * HOUR_US), min(until, (hour + 1) * HOUR_US)
            span = cursor.mogrify(f"{time} >= %s AND {time} < %s", (moment(low), moment(high))).decode()
            with tempfile.SpooledTemporaryFile(_IN_MEMORY) as content:
                cursor.copy_expert(
                    f"COPY (SELECT {', '.join(shown.values())} FROM {table.name} WHERE {span}) TO STDOUT WITH (FORMAT csv, HEADER false)",
                    content,
                )
                if not content.tell():
                    continue
                content.seek(0)
                options = arrow_csv.ConvertOptions(column_types=read, strings_can_be_null=False, true_values=["t"], false_values=["f"])
                named, quoted = arrow_csv.ReadOptions(column_names=list(names)), arrow_csv.ParseOptions(newlines_in_values=True)
                with arrow_csv.open_csv(content, named, quoted, options) as batches:
                    for batch in batches:
                        yield pa.table([batch.column(name).cast(kinds[name]) for name in names], names=list(names))


def _shown(column: str, sql: str) -> str:
    if sql == "timestamptz":
        return f"(extract(epoch FROM {column}) * 1000000)::bigint"
    return f"host({column})" if sql == "inet" else column


def moment(us: int) -> datetime:
    """A time in UTC."""
    found: datetime = pa.scalar(us, pa.timestamp("us", tz="UTC")).as_py()
    return found


@contextmanager
def _asked(settings: Settings) -> Iterator[Any]:
    """A connection for questions; what goes wrong is one line."""
    try:
        with closing(postgres.connect(settings.hot, "flowlake-migrate")) as connection:
            yield connection
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    except psycopg2.Error as e:
        raise StoreError(f"{postgres.where(settings.hot)}: {one_line(e)}", "flowlake db status shows its tables") from e


def _lake(settings: Settings, record: RecordType, names: Sequence[str], since: int, until: int) -> Iterator[pa.Table]:
    time = record.event_time
    chosen = (ds.field(PARTITION) >= moment(since).date()) & (ds.field(PARTITION) <= moment(until - 1).date())
    chosen &= (ds.field(time) >= moment(since)) & (ds.field(time) < moment(until))
    try:
        rows = lake.dataset(lake.location(settings, record), settings.lake)
        for batch in rows.scanner(columns=list(names), filter=chosen).to_batches():
            yield pa.Table.from_batches([batch])
    except Exception as e:
        raise StoreError(f"lake {lake.location(settings, record)}: {one_line(e)}", "check lake.path") from e


def latency(settings: Settings, record: RecordType, store: str, since: int, until: int) -> dict[str, Any]:
    """How long after its own time a row was in the store, of rows that were not migrated: seconds, and what was measured."""
    if store == "hot":
        return _hot_latency(settings, record, since, until)
    if not record.features:
        return {"measured": "not measured: records that are not scored carry no time of their writing"}
    columns = [record.event_time, "scored_at", *([SENSOR] if SENSOR in record.schema.names else [])]
    waits = [
        (np.asarray(rows["scored_at"].cast(pa.int64())) - np.asarray(rows[record.event_time].cast(pa.int64())))[_live(rows)] / 1e6
        for rows in _lake(settings, record, columns, since, until)
    ]
    found = np.concatenate(waits) if waits else np.zeros(0)
    if not len(found):
        return {"measured": "not measured: no row of the span was scored by the stream"}
    p50, p99 = np.percentile(found, [50, 99])
    return {
        "measured": f"scored_at - {record.event_time}",
        "rows": len(found),
        "p50_s": round(float(p50), 3),
        "p99_s": round(float(p99), 3),
    }


def _live(rows: pa.Table) -> np.ndarray:
    if SENSOR not in rows.column_names:
        return np.ones(rows.num_rows, bool)
    return np.array([not str(sensor).startswith("migrated:") for sensor in rows[SENSOR].to_pylist()], bool)


def _hot_latency(settings: Settings, record: RecordType, since: int, until: int) -> dict[str, Any]:
    table = hot.table_of(record)
    time = table.key[0]
    live = f" AND {SENSOR} NOT LIKE 'migrated:%%'" if SENSOR in table.types else ""
    with _asked(settings) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("SHOW track_commit_timestamp")
        if cursor.fetchone()[0] != "on":
            return {"measured": "not measured: the server keeps no times of commits (track_commit_timestamp is off)"}
        cursor.execute(
            "SELECT count(*), percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP "
            f"(ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin) - {time})::float8) FROM {table.name} "
            f"WHERE {time} >= %s AND {time} < %s{live}",
            (moment(since), moment(until)),
        )
        rows, found = cursor.fetchone()
    if not rows:
        return {"measured": "not measured: no row of the span was written by the stream"}
    return {"measured": f"commit - {time}", "rows": rows, "p50_s": round(found[0], 3), "p99_s": round(found[1], 3)}
