"""Rows that a verified archive holds leave the hot store: whole partitions where they hold nothing else, row by row where they do.

A row is deleted when the archive holds the very same: the same key and the same value in every column, compared by the server. A row with
the key of an archived one and other values stays, and is counted. So it does no harm to do this again, or to be killed in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc

from infra.times import EPOCH, micros
from jobs.archiving import copying, ledger, parquet
from jobs.archiving.columns import ArchiveLayout
from jobs.archiving.ledger import BookEntry
from jobs.archiving.months import Month, bounds
from jobs.archiving.place import ArchivePlace
from jobs.hotstore import retention, rollups, shape
from jobs.hotstore.layout import LOCK_TIMEOUT
from schemas.hot import DROPPED, TOUCHED

#: Keys of hot rows that the archive knows, for the rest of the session.
KNOWN = "archive_known"
_BOUND = re.compile(r"FOR VALUES FROM \('([^']+)'\) TO \('([^']+)'\)")
_PARTITIONS = (
    "SELECT c.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = to_regclass(%s) AND c.relkind = 'r' AND pg_has_role(c.relowner, 'USAGE')"
)
_CHUNKS = (
    "SELECT format('%%I.%%I', c.chunk_schema, c.chunk_name), c.range_start, c.range_end FROM timescaledb_information.chunks c "
    "WHERE c.hypertable_schema = current_schema() AND c.hypertable_name = %s"
)


@dataclass(frozen=True)
class WholeDays:
    """A partition, or a chunk of TimescaleDB: its name as SQL takes it, and its days."""

    name: str
    start: datetime
    end: datetime
    chunk: bool

    @property
    def days(self) -> list[date]:
        """The days that it holds."""
        return shape.days(self.start, self.end)


@dataclass(frozen=True)
class Removed:
    """Rows that left, those of whole partitions among them; and rows that differ from the archived ones of the same key."""

    rows: int = 0
    dropped: int = 0
    differing: int = 0


def remove(connection: Any, layout: ArchiveLayout, place: ArchivePlace, month: Month, held: list[BookEntry]) -> Removed:
    """Delete the rows of a month that are archived.

    Raises
    ------
    psycopg2.Error
        The server refuses, or went away: what has been deleted is in the archive.
    StoreError
        A file of the archive cannot be read, or holds something else than was written.
    """
    whole = dropped = 0
    for piece in pieces(connection, layout, month):
        rows = _drop(connection, layout, piece, held)
        whole += rows
        dropped += rows > 0
    known = _known(connection, layout, place, month, held, delete=True)
    if whole + known.rows and layout.table.rollups:
        _remember(connection, layout, month)
    return Removed(whole + known.rows, dropped, known.differing)


def roll_up(connection: Any, layout: ArchiveLayout) -> None:
    """Bring the rollups up to date while the rows are there; with TimescaleDB its own policies have done so."""
    table = layout.table
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (TOUCHED,))
        (noted,) = cursor.fetchone()
    done = 1 if noted and table.rollups else 0
    while done:
        with connection, connection.cursor() as cursor:
            done = rollups.refresh(cursor, table, datetime.now(UTC))


def know(connection: Any, layout: ArchiveLayout, place: ArchivePlace, month: Month, held: list[BookEntry]) -> Removed:
    """Find the rows that are archived, without deleting them; their keys are in :data:`KNOWN` afterwards.

    Raises
    ------
    psycopg2.Error, StoreError
        As :func:`remove`.
    """
    return _known(connection, layout, place, month, held, delete=False)


def _remember(connection: Any, layout: ArchiveLayout, month: Month) -> None:
    """Rollups of what has left are not computed again, from what came late alone."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (DROPPED,))
        if cursor.fetchone()[0]:
            retention.remember(cursor, layout.table, datetime.fromisoformat(bounds(month)[1]))


def in_month(layout: ArchiveLayout, month: Month) -> str:
    """SQL condition on ``t``: the rows of a month."""
    start, end = bounds(month)
    return f"t.{layout.time} >= '{start}' AND t.{layout.time} < '{end}'"


def unknown(layout: ArchiveLayout) -> str:
    """SQL condition on ``t``: rows that are not in :data:`KNOWN`."""
    same = " AND ".join(f"k.{name} = t.{name}" for name in layout.table.key)
    return f"NOT EXISTS (SELECT FROM {KNOWN} k WHERE {same})"


# -- whole partitions ----------------------------------------------------------------------------------------------------


def pieces(connection: Any, layout: ArchiveLayout, month: Month) -> Iterator[WholeDays]:
    """Partitions and chunks that lie within a month, whole days each."""
    first, after = map(datetime.fromisoformat, bounds(month))
    for piece in [*_partitions(connection, layout), *_chunks(connection, layout)]:
        aligned = all(at.hour == at.minute == at.second == at.microsecond == 0 for at in (piece.start, piece.end))
        if aligned and first <= piece.start < piece.end <= after:
            yield piece


def _partitions(connection: Any, layout: ArchiveLayout) -> Iterator[WholeDays]:
    with connection, connection.cursor() as cursor:
        cursor.execute(_PARTITIONS, (layout.table.name,))
        found = cursor.fetchall()
    for name, said in found:
        if match := _BOUND.match(said or ""):
            try:
                start, end = (datetime.fromisoformat(text) for text in match.groups())
            except ValueError:  # a time that Python has no number for: infinity, or before year 1
                continue
            yield WholeDays(name, start, end, chunk=False)


def _chunks(connection: Any, layout: ArchiveLayout) -> Iterator[WholeDays]:
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return
        cursor.execute(_CHUNKS, (layout.table.name,))
        found = cursor.fetchall()
    for name, start, end in found:
        yield WholeDays(name, start.astimezone(UTC), end.astimezone(UTC), chunk=True)


def _drop(connection: Any, layout: ArchiveLayout, piece: WholeDays, held: list[BookEntry]) -> int:
    """Drop a partition that holds just what is archived: its rows; 0 where it holds others, or none, or somebody is using it."""
    table = layout.table
    within = f"t.{layout.time} >= '{piece.start.isoformat()}' AND t.{layout.time} < '{piece.end.isoformat()}'"
    try:
        with connection, connection.cursor() as cursor:
            # Where readers and writers make us wait longer, its rows are deleted one by one.
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            # Nobody writes into it from here on; whoever wants to, waits and then finds another place.
            cursor.execute(f"LOCK TABLE {piece.name} IN SHARE MODE")
            cursor.execute(f"SELECT {ledger.hashed(table.types)} FROM {table.name} t WHERE {within}")
            rows, hashes = cursor.fetchone()
            if not rows or not ledger.same((rows, int(hashes)), held, piece.days):
                return 0
            if piece.chunk:
                cursor.execute("SELECT drop_chunks(%s::regclass, older_than => %s, newer_than => %s)", (table.name, piece.end, piece.start))
            else:
                cursor.execute(f"DROP TABLE {piece.name}")
            return int(rows)
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected, psycopg2.errors.InsufficientPrivilege):
        return 0


# -- row by row ----------------------------------------------------------------------------------------------------


def _known(connection: Any, layout: ArchiveLayout, place: ArchivePlace, month: Month, held: list[BookEntry], *, delete: bool) -> Removed:
    keys = ", ".join(layout.table.key)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {KNOWN}")
        cursor.execute(f"CREATE TEMP TABLE {KNOWN} AS SELECT {keys} FROM {layout.table.name} WITH NO DATA")
        cursor.execute(f"ALTER TABLE {KNOWN} ADD PRIMARY KEY ({keys})")
        span = _span(cursor, layout, month)
    deleted = differing = 0
    for entry in held:
        for file in entry.files:
            if span is None or file["last_us"] < span[0] or file["first_us"] > span[1]:
                continue
            path = place.path(place.folder(month), file["name"])
            with place.told(f"read {path}"), place.files.open_input_file(path) as source:
                for rows in parquet.rows_of(source, layout):
                    gone, other = _settle(connection, layout, _between(rows, layout, span), delete=delete)
                    deleted, differing = deleted + gone, differing + other
    return Removed(deleted, 0, differing)


def _span(cursor: Any, layout: ArchiveLayout, month: Month) -> tuple[int, int] | None:
    """First and last time of the month's rows in the hot store, in microseconds from 1970; None where there is none."""
    cursor.execute(f"SELECT min({layout.time}), max({layout.time}) FROM {layout.table.name} t WHERE {in_month(layout, month)}")
    first, last = cursor.fetchone()
    return None if first is None else (micros(first), micros(last))


def _between(rows: pa.Table, layout: ArchiveLayout, span: tuple[int, int]) -> pa.Table:
    time = rows[layout.time]
    return rows.filter(pc.and_(pc.greater_equal(time, span[0]), pc.less_equal(time, span[1])))


def _settle(connection: Any, layout: ArchiveLayout, rows: pa.Table, *, delete: bool) -> tuple[int, int]:
    """Delete the staged rows from the hot table; note the keys of those that are still in it. Rows deleted, rows that differ."""
    if not rows.num_rows:
        return 0, 0
    table, key = layout.table, layout.table.key
    first, last = pc.min(rows[layout.time]).as_py(), pc.max(rows[layout.time]).as_py()
    ends = [(EPOCH + timedelta(microseconds=at)).isoformat() for at in (first, last)]
    match = " AND ".join([*(f"t.{name} = s.{name}" for name in key), f"t.{layout.time} BETWEEN '{ends[0]}' AND '{ends[1]}'"])
    others = [name for name in table.types if name not in key]
    ours, theirs = (", ".join(f"{letter}.{name}" for name in others) for letter in "ts")
    same = f"ROW({ours}) IS NOT DISTINCT FROM ROW({theirs})" if others else "true"
    staged = copying.staged(layout)
    with connection, connection.cursor() as cursor:
        copying.stage(cursor, layout, rows)
        gone = 0
        if delete:
            cursor.execute(f"DELETE FROM {table.name} t USING {staged} s WHERE {match} AND {same}")
            gone = cursor.rowcount
        cursor.execute(
            f"WITH found AS (SELECT {', '.join(f't.{name}' for name in key)}, {same} AS same "
            f"FROM {table.name} t JOIN {staged} s ON {match}), "
            f"noted AS (INSERT INTO {KNOWN} SELECT {', '.join(key)} FROM found ON CONFLICT DO NOTHING) "
            "SELECT count(*) FILTER (WHERE NOT same) FROM found"
        )
        (other,) = cursor.fetchone()
    return gone, other
