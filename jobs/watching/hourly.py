"""Counting by hour with Spark: each task counts its rows, what belongs together is added up, and the driver gets one row an hour.

Only counts leave the workers: a week of ten sensors is a few MB, however many rows it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.runtime.workers import settled
from jobs.watching import measures
from jobs.watching.judging import HourCounts
from jobs.watching.measures import Edges
from jobs.watching.span import HOUR_US, EventSpan
from jobs.watching.stored import SENSOR, VERSION, ScoredTable

#: Model version and sensor.
Served = tuple[str, str]

_COUNTED = pa.schema(
    [("model_version", pa.string()), ("sensor_id", pa.string()), ("hour", pa.int64()), ("rows", pa.int64()), ("counts", pa.binary())]
)
_DDL = "model_version string, sensor_id string, hour bigint, rows bigint, counts binary"
#: Rows of which the edges of a reference are made.
_SAMPLE = 100_000


@dataclass(frozen=True)
class Presence:
    """How much a version has served on a sensor in a span."""

    rows: int
    first_hour: int


def served(table: ScoredTable, span: EventSpan) -> dict[Served, Presence]:
    """Versions and sensors of a span, with their rows and first hour.

    Raises
    ------
    StoreError
        The table cannot be read.
    """
    from pyspark.sql import functions as F

    time = table.record.event_time
    sensor = F.col(SENSOR) if SENSOR in table.columns else F.lit("")
    frame = table.rows(span, [VERSION, SENSOR, time]).groupBy(F.col(VERSION).alias("v"), sensor.alias("s"))
    hour = F.floor(F.unix_micros(F.col(time)) / F.lit(HOUR_US))
    try:
        rows = frame.agg(F.count("*").alias("n"), F.min(hour).alias("first")).collect()
    except Exception as e:
        raise table.problem(e) from e
    return {(row.v, row.s or ""): Presence(int(row.n), int(row["first"])) for row in rows}


def count(table: ScoredTable, span: EventSpan, edges: Mapping[Served, Edges]) -> dict[Served, list[HourCounts]]:
    """Histograms of each hour of a span, by version and sensor; hours without rows are left out.

    Parameters
    ----------
    table, span
        What is read.
    edges
        By version and sensor, those that are counted; others are left out.

    Raises
    ------
    StoreError
        The table cannot be read.
    """
    if not edges:
        return {}
    names = [name for some in edges.values() for name in some]
    time = table.record.event_time
    frame = table.rows(span, [VERSION, SENSOR, time, *measures.columns(names)])
    by = {key: dict(some) for key, some in edges.items()}
    try:
        parts = frame.mapInArrow(settled(lambda batches: _counted(batches, time, by)), _DDL)
        rows = parts.groupBy("model_version", "sensor_id", "hour").applyInArrow(_summed, _DDL).collect()
    except Exception as e:
        raise table.problem(e) from e
    found: dict[Served, list[HourCounts]] = {}
    for row in sorted(rows, key=lambda row: row.hour):
        key = (row.model_version, row.sensor_id)
        found.setdefault(key, []).append(HourCounts(row.hour, row.rows, _apart(row.counts, by[key])))
    return found


def sample(
    table: ScoredTable, span: EventSpan, key: Served, columns: list[str], rows: int
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Values of some rows of a version and sensor, NaN where there are none: at most some 100,000, the same at every call.

    Raises
    ------
    StoreError
        The table cannot be read.
    """
    from pyspark.sql import functions as F

    version, sensor = key
    frame = table.rows(span, [VERSION, SENSOR, *columns]).where(F.col(VERSION) == version)
    if SENSOR in table.columns:
        frame = frame.where(F.coalesce(F.col(SENSOR), F.lit("")) == sensor)
    try:
        taken = frame.select(*(name for name in columns if name in table.columns)).sample(fraction=min(1.0, _SAMPLE / max(rows, 1)), seed=7)
        return measures.values(taken.toArrow(), columns)
    except Exception as e:
        raise table.problem(e) from e


def _counted(batches: Iterable[pa.RecordBatch], time: str, by: Mapping[Served, Edges]) -> Iterator[pa.RecordBatch]:
    """One row for each hour, version and sensor of a task's rows."""
    rows: dict[tuple[str, str, int], int] = {}
    counts: dict[tuple[str, str, int], np.ndarray[Any, Any]] = {}
    for batch in batches:
        for (version, sensor, hour), part in _groups(batch, time):
            if edges := by.get((version, sensor)):
                key = (version, sensor, hour)
                rows[key] = rows.get(key, 0) + part.num_rows
                values = measures.values(part, measures.columns(list(edges)))
                found = np.concatenate(list(measures.count(values, edges).values()))
                counts[key] = counts[key] + found if key in counts else found
    yield _batch([(*key, number, counts[key].tobytes()) for key, number in rows.items()])


def _groups(batch: pa.RecordBatch, time: str) -> Iterator[tuple[tuple[str, str, int], pa.RecordBatch]]:
    """Rows by version, sensor and hour."""
    hours = np.asarray(batch.column(time).cast(pa.int64()).to_numpy(zero_copy_only=False)) // HOUR_US
    words = [batch.column(name).fill_null("").dictionary_encode() if name in batch.schema.names else None for name in (VERSION, SENSOR)]
    codes = [np.zeros(len(hours), np.int64) if one is None else one.indices.to_numpy().astype(np.int64) for one in words]
    keys, group = np.unique(np.stack([*codes, hours]), axis=1, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    ends = np.searchsorted(group.ravel()[order], np.arange(keys.shape[1] + 1))
    said = [["" if one is None else one.dictionary[int(code)].as_py() for code in keys[at]] for at, one in enumerate(words)]
    taken = batch.take(pa.array(order))
    for at in range(keys.shape[1]):
        yield (said[0][at], said[1][at], int(keys[2, at])), taken.slice(ends[at], ends[at + 1] - ends[at])


def _summed(rows: pa.Table) -> pa.Table:
    """One row of all rows of an hour, version and sensor."""
    total = sum(np.frombuffer(one, np.int64) for one in rows["counts"].to_pylist())
    key = (rows["model_version"][0].as_py(), rows["sensor_id"][0].as_py(), rows["hour"][0].as_py())
    return pa.Table.from_batches([_batch([(*key, sum(rows["rows"].to_pylist()), np.asarray(total, np.int64).tobytes())])])


def _batch(rows: list[tuple[str, str, int, int, bytes]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(_COUNTED)
    return pa.RecordBatch.from_arrays(
        [pa.array(list(values), kind.type) for values, kind in zip(columns, _COUNTED, strict=True)], schema=_COUNTED
    )


def _apart(packed: bytes, edges: Edges) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """Counts by measure of the row that holds them all, in the order of the edges."""
    ends = np.cumsum([len(at) + 1 for at in edges.values()])
    return dict(zip(edges, np.split(np.frombuffer(packed, np.int64), ends[:-1]), strict=True))
