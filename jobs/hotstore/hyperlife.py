"""What TimescaleDB's policies leave to do for a hypertable.

A policy refreshes a continuous aggregate for the last hours only. Rows that come later than that change hours that it does not look at
any more; TimescaleDB remembers which, and a refresh of all time computes these alone. And it knows nothing of the archive.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg2

from infra.sections import HotSettings
from jobs.archiving import ledger
from jobs.hotstore import retention
from jobs.hotstore.layout import LOCK_TIMEOUT
from jobs.hotstore.shape import days
from jobs.sinks.migrations import Say
from schemas.records import HotTable

if TYPE_CHECKING:
    from jobs.hotstore.maintain import Maintained

_OLDEST = """
SELECT min(range_start) FROM timescaledb_information.chunks
WHERE hypertable_name = %s AND hypertable_schema = current_schema() AND range_start >= '0001-01-02' AND range_end > %s
"""
_CHUNKS = """
SELECT chunk_schema, chunk_name, range_start, range_end FROM timescaledb_information.chunks
WHERE hypertable_name = %s AND hypertable_schema = current_schema() AND range_start >= '0001-01-02' AND range_end <= %s ORDER BY range_start
"""
#: Newer versions refresh in batches, which they cut before they have seen all that was touched: the rest would stay undone.
_KNOWS = "SELECT bool_or(%s = ANY(proargnames)) FROM pg_proc WHERE proname = 'refresh_continuous_aggregate'"
_WHOLE = """, options => '{"buckets_per_batch": 0}'::jsonb"""
_JOBS = """
SELECT job_id, proc_name FROM timescaledb_information.jobs
WHERE hypertable_schema = current_schema() AND proc_name LIKE 'policy\\_%%' AND hypertable_name = ANY(%s) ORDER BY job_id
"""
_DROP = "SELECT drop_chunks(%s, older_than => %s::timestamptz, newer_than => %s::timestamptz)"
#: Times that a refresh is asked for where a policy is at it, which newer versions refuse; and seconds between.
_TRIES, _PAUSE_S = 6, 1.0


def refresh(connection: Any, settings: HotSettings, table: HotTable, report: Maintained, dry_run: bool, rebuild: bool) -> None:
    """Refresh the continuous aggregates as far back as there are rows that live."""
    now = datetime.now(UTC)
    oldest = _one(connection, _OLDEST, (table.name, retention.cutoff(settings, table, now)))
    how = _WHOLE if _one(connection, _KNOWS, ("options",)) else ""
    # An older version computes what was touched alone, and there is no row that it did not see being changed.
    how += ", force => true" if rebuild and _one(connection, _KNOWS, ("force",)) else ""
    for rollup in table.rollups:
        end = now - timedelta(hours=rollup.end_offset_hours)
        if oldest is None or end - oldest < timedelta(hours=2 * rollup.hours):
            continue
        report.refreshed += 1
        if not dry_run:
            _in_turn(connection, f"CALL refresh_continuous_aggregate(%s, %s, %s{how})", (rollup.name, oldest, end))


def drop(connection: Any, settings: HotSettings, table: HotTable, report: Maintained, dry_run: bool) -> None:
    """Drop chunks that are too old and archived, where nothing else may be dropped (elsewhere a policy does)."""
    if not settings.keep_until_archived:
        return
    with connection, connection.cursor() as cursor:
        cursor.execute(_CHUNKS, (table.name, retention.cutoff(settings, table, datetime.now(UTC))))
        chunks = [chunk for chunk in cursor.fetchall() if _archived(cursor, table, *chunk[2:])]
    for schema, name, first, last in chunks:
        if dry_run or _dropped(connection, table, f'"{schema}"."{name}"', first, last):
            report.dropped.append(name)


def _archived(cursor: Any, table: HotTable, first: datetime, last: datetime) -> bool:
    return all(ledger.archived(cursor, table.name, day) for day in days(first, last))


def _dropped(connection: Any, table: HotTable, chunk: str, first: datetime, last: datetime) -> bool:
    """Drop a chunk, unless a late row has come since it was looked at, which is in no archive."""
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        cursor.execute(f"LOCK TABLE {chunk} IN SHARE MODE")
        if not _archived(cursor, table, first, last):
            return False
        cursor.execute(_DROP, (table.name, last, first))
        return True


def run_jobs(connection: Any, table: HotTable, say: Say) -> None:
    """Run the jobs of the policies of a table and its rollups now."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_JOBS, ([table.name, *(rollup.name for rollup in table.rollups)],))
        jobs = cursor.fetchall()
    for job, what in jobs:
        say(f"{table.name}: job {job} ({what}) runs")
        _alone(connection, "CALL run_job(%s)", (job,))


def _one(connection: Any, query: str, values: tuple[Any, ...]) -> Any:
    with connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchone()[0]


def _in_turn(connection: Any, statement: str, values: tuple[Any, ...]) -> None:
    for attempt in range(1, _TRIES + 1):
        try:
            return _alone(connection, statement, values)
        except psycopg2.errors.LockNotAvailable:
            if attempt == _TRIES:
                raise
        time.sleep(_PAUSE_S * attempt)


def _alone(connection: Any, statement: str, values: tuple[Any, ...]) -> None:
    """Outside of a transaction block, which these procedures need."""
    connection.autocommit = True
    try:
        connection.cursor().execute(statement, values)
    finally:
        if not connection.closed:
            connection.autocommit = False
