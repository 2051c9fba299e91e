"""Small files of the lake made into larger ones, in which like rows lie together: one bounded step at a time, each a commit.

A step takes files of one date that follow each other in time, so that a file stays a slice of time and the table's log tells which files a
question about an hour needs. Within the file rows are sorted along a Z-order curve of the columns that a record type clusters by
(:class:`schemas.records.LakeTable`): questions about one source and questions about one destination both find most row groups, by their
least and largest values, without need; so do questions about an hour, where a file holds more of time. Bloom filters tell which of the
others hold a single address or identity. (Morton 1966, "A computer oriented geodetic data base"; for files: "Processing Petabytes of Data
in Seconds with Databricks Delta", 2018.)
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.sections import LakeSettings
from jobs.runtime import lake as tables
from jobs.sinks import parquet
from jobs.sinks.parquet import PARTITION
from schemas.records import RecordType

#: Rows that share least and largest values, and a Bloom filter: what a reader takes or leaves.
GROUP_ROWS = 8192
#: Files of more bytes are left as they are, whatever they hold; a step reads no more than twice as much.
FILE_BYTES = 64 << 20
#: Files that a step joins at most: to open one of a hundred columns takes some 20 ms.
STEP_FILES = 50
#: A file of more time than this is ordered by time too: a question about an hour should not need all of it.
_HOUR_US = 3_600_000_000
#: Bits of each column in the curve.
_BITS = 12


@dataclass(frozen=True)
class LakeFile:
    """A file of the table as its log has it: rows (None: not counted by its writer), and the order in time among those of its date."""

    path: str
    size: int
    rows: int | None
    day: date
    first: int


def pieces(table: Any, record: RecordType) -> list[LakeFile]:
    """The files of a Delta table; none where rows are marked as deleted beside the files, which only Spark's compaction knows of."""
    if "deletionVectors" in (table.protocol().reader_features or ()):
        return []
    actions = pa.table(table.get_add_actions(flatten=True))
    start = f"min.{record.event_time}"
    starts = actions[start].cast(pa.int64()).to_pylist() if start in actions.column_names else [None] * actions.num_rows
    columns = (actions[name].to_pylist() for name in ("path", "size_bytes", "num_records", f"partition.{PARTITION}", "modification_time"))
    return [
        LakeFile(path, size, rows, day, changed * 1000 if begin is None else begin)
        for path, size, rows, day, changed, begin in zip(*columns, starts, strict=True)
    ]


def plan(found: Iterable[LakeFile], file_rows: int) -> list[list[LakeFile]]:
    """Steps that are worth doing: in each, files of one date that are to become one. The dates take turns, so that none waits for another.

    Parameters
    ----------
    found
        Files of a table.
    file_rows
        Rows that a file is to have; those of half as many are left alone.
    """
    by_day: dict[date, list[LakeFile]] = defaultdict(list)
    for piece in found:
        if piece.size < FILE_BYTES and (piece.rows is None or piece.rows * 2 <= file_rows):
            by_day[piece.day].append(piece)
    turns = [list(_steps(sorted(small, key=lambda p: (p.first, p.path)), file_rows)) for _, small in sorted(by_day.items(), reverse=True)]
    return [step for turn in zip_longest(*turns) for step in turn if step]


def _steps(small: Sequence[LakeFile], file_rows: int) -> Iterator[list[LakeFile]]:
    step: list[LakeFile] = []
    rows = size = 0
    for piece in small:
        step.append(piece)
        rows += piece.rows or 0
        size += piece.size
        if rows >= file_rows or size >= FILE_BYTES or len(step) >= STEP_FILES:
            if len(step) > 1:
                yield step
            step, rows, size = [], 0, 0
    if len(step) > 1:
        yield step


def join(step: Sequence[LakeFile], record: RecordType, root: str, lake: LakeSettings, log: parquet.Log) -> int:
    """Do one step: read its files, write the one that takes their place, commit. Returns bytes written.

    Raises
    ------
    deltalake.exceptions.DeltaError, OSError, pa.ArrowException
        The table is as it was, or the commit was made and this was not heard.
    """
    rows = _read(step, record, root, lake)
    rows = clustered(rows, ordered_by(rows, record))
    day = step[0].day
    path = f"{PARTITION}={day}/part-{parquet.unique()}.parquet"
    size = parquet.put(rows, root, path, lake, GROUP_ROWS, bloom=_looked_up(record))
    now = int(time.time() * 1000)
    try:
        log.replace(
            [(path, size, day, parquet.statistics(rows, parquet.statistics_of(record)))], [(p.path, p.size, p.day) for p in step], now
        )
    except Exception:
        if not log.holds(path):
            parquet.discard([path], root, lake)
        raise
    return size


def ordered_by(rows: pa.Table, record: RecordType) -> tuple[str, ...]:
    """Columns of the curve: those of the record type, and the event time where the rows are of more than an hour."""
    cluster = record.lake.cluster if record.lake else ()
    bounds = pc.min_max(rows[record.event_time].cast(pa.int64())).as_py()
    long = (bounds["max"] or 0) - (bounds["min"] or 0) > _HOUR_US
    return (record.event_time, *cluster) if long and record.event_time not in cluster else cluster


def _looked_up(record: RecordType) -> tuple[str, ...]:
    """Columns that are asked for single values: the identity, and text that the table is clustered by."""
    cluster = record.lake.cluster if record.lake else ()
    return (record.key, *(name for name in cluster if pa.types.is_string(record.published.field(name).type)))


def _read(step: Sequence[LakeFile], record: RecordType, root: str, lake: LakeSettings) -> pa.Table:
    """Rows of the files, in the columns of today: a file may be older than one of them."""
    files = tables.files(root, lake)
    wanted = pa.schema([field.with_nullable(True) for field in record.published])
    parts = []
    for piece in step:
        rows = pq.read_table(piece.path, filesystem=files, partitioning=None)
        parts.append(
            pa.table(
                [rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in wanted],
                schema=wanted,
            )
        )
    return pa.concat_tables(parts)


def clustered(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Rows along a Z-order curve of some columns. One column of them is copied at a time."""
    if not columns or rows.num_rows < 2:
        return rows
    order = pa.array(np.argsort(curve([rows[name] for name in columns]), kind="stable"))
    schema, parts = rows.schema, dict(zip(rows.column_names, rows.columns, strict=True))
    del rows
    return pa.table([parts.pop(name).combine_chunks().take(order) for name in schema.names], schema=schema)


def curve(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """Places on a Z-order curve: the bits of the columns' ranks, by turns.

    Ranks and not values: each column then spreads evenly, whatever its type.

    Parameters
    ----------
    columns
        At most five, of any type that can be sorted, of one length n.

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    count = len(columns[0])
    places = np.zeros(count, np.uint64)
    for at, column in enumerate(columns):
        ranks = pc.rank(column.combine_chunks(), tiebreaker="min").to_numpy().astype(np.uint64) - np.uint64(1)
        scaled = ranks * np.uint64((1 << _BITS) - 1) // np.uint64(max(count - 1, 1))
        for bit in range(_BITS):
            places |= ((scaled >> np.uint64(bit)) & np.uint64(1)) << np.uint64(bit * len(columns) + at)
    return places
