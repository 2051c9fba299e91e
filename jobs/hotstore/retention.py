"""Days that are older than rows live: dropped whole where they have a partition or chunk, else deleted some rows at a time.

Dropped plainly and not ``CONCURRENTLY``, which PostgreSQL refuses to a table with a default partition: a change of the catalogue that
waits for a lock for a moment only, and is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.sections import HotSettings
from jobs.archiving import ledger
from jobs.archiving.months import following
from jobs.hotstore.shape import FIRST, Shape, Span, days, midnight
from schemas import hot
from schemas.records import HotTable

#: Rows that are deleted in one transaction.
ROWS_AT_ONCE = 50_000
_DROPPED = (
    f"INSERT INTO {hot.DROPPED} (table_name, before) VALUES (%s, %s) "
    f"ON CONFLICT (table_name) DO UPDATE SET before = greatest({hot.DROPPED}.before, EXCLUDED.before)"
)
#: Days with rows before a time, by jumping along the index.
_DAYS = """
WITH RECURSIVE found(day) AS (
  SELECT date_trunc('day', min({time}), 'UTC') FROM {place} WHERE {time} < %(before)s AND {time} >= '0001-01-02'
  UNION ALL
  SELECT (SELECT date_trunc('day', {time}, 'UTC') FROM {place} WHERE {time} >= found.day + interval '1 day' AND {time} < %(before)s
    ORDER BY {time} LIMIT 1)
  FROM found WHERE found.day IS NOT NULL
)
SELECT day FROM found WHERE day IS NOT NULL
"""


@dataclass
class DeletedRows:
    """Rows that were deleted one by one (by a dry run: that would be).

    Attributes
    ----------
    place : partition (the default one for rows of days that none is made for), or the table itself.
    rows : how many.
    first, last : their times, as text: PostgreSQL knows more of them than Python.
    """

    place: str
    rows: int
    first: str
    last: str


def cutoff(settings: HotSettings, table: HotTable, now: datetime) -> datetime:
    """The midnight (UTC) before which rows are too old."""
    kept = table.life.retention_days or settings.retention_days
    return midnight(now.astimezone(UTC).date() - timedelta(days=min(kept, now.toordinal() - 2)))


def old(shape: Shape, before: datetime) -> list[Span]:
    """Partitions all of whose rows are too old."""
    return [span for span in shape.spans if span.last <= before]


def places(table: HotTable, shape: Shape, before: datetime) -> list[str]:
    """Where single rows may be too old: partitions of more than that, the default one, or the table itself where it has none."""
    if not shape.spans and not shape.default:
        return [table.name]
    mixed = [span.name for span in shape.spans if span.first < before < span.last]
    return [*mixed, *([shape.default] if shape.default else [])]


def may_go(cursor: Any, settings: HotSettings, table: HotTable, span: Span) -> bool:
    """Whether a partition may be dropped: none of its days is restored, and the archive has each of them, where it must."""
    if span.first == FIRST:
        return not any_rows(cursor, span.name) if settings.keep_until_archived else not ledger.restored(cursor, table.name)
    held = days(span.first, span.last)
    if not settings.keep_until_archived:
        return not any(ledger.held(cursor, table.name, day) for day in held)
    return all(ledger.archived(cursor, table.name, day) for day in held)


def any_rows(cursor: Any, place: str) -> bool:
    """Whether a table has a row."""
    cursor.execute(f"SELECT EXISTS (SELECT FROM {place})")
    return bool(cursor.fetchone()[0])


def drop(cursor: Any, settings: HotSettings, table: HotTable, span: Span) -> bool:
    """Drop a partition that may go, and remember that what is as old has been dropped; whether it was.

    Asked once more behind a lock: a late row that came since the partition was looked at is in no archive.
    """
    cursor.execute(f"LOCK TABLE {span.name} IN SHARE MODE")
    if not may_go(cursor, settings, table, span):
        return False
    cursor.execute(f"DROP TABLE {span.name}")
    remember(cursor, table, span.last)
    return True


def remember(cursor: Any, table: HotTable, before: datetime) -> None:
    """Rollups of what is older stay as they are from now on."""
    cursor.execute(_DROPPED, (table.name, before))


def to_delete(
    cursor: Any, settings: HotSettings, table: HotTable, place: str, before: datetime
) -> Iterator[tuple[str, tuple[datetime, ...]]]:
    """Conditions (with their values) of rows that may be deleted from a place: all that are too old, or those of archived days."""
    if not settings.keep_until_archived:
        yield from _around(cursor, table, before)
        return
    cursor.execute(_DAYS.format(time=table.time, place=place), {"before": before})
    for (day,) in cursor.fetchall():
        if ledger.archived(cursor, table.name, day.date()):
            yield f"{table.time} >= %s AND {table.time} < %s", (day, day + timedelta(days=1))


def _around(cursor: Any, table: HotTable, before: datetime) -> Iterator[tuple[str, tuple[datetime, ...]]]:
    """All that is too old, but for months that have been restored."""
    after, values = "", ()  # type: tuple[str, tuple[datetime, ...]]
    for month in ledger.restored(cursor, table.name):
        first = midnight(month)
        if first < before:
            yield f"{after}{table.time} < %s", (*values, first)
            after, values = f"{table.time} >= %s AND ", (midnight(following(month)),)
    if not values or values[0] < before:
        yield f"{after}{table.time} < %s", (*values, before)


def delete(cursor: Any, place: str, condition: str, values: tuple[datetime, ...]) -> int:
    """Delete some rows of a place; how many."""
    found = f"SELECT ctid FROM {place} WHERE {condition} LIMIT {ROWS_AT_ONCE}"
    cursor.execute(f"DELETE FROM {place} WHERE ctid = ANY(ARRAY({found}))", values)
    return int(cursor.rowcount)


def extent(cursor: Any, table: HotTable, place: str, condition: str, values: tuple[datetime, ...]) -> DeletedRows:
    """What :func:`delete` would delete in all."""
    cursor.execute(f"SELECT count(*), min({table.time})::text, max({table.time})::text FROM {place} WHERE {condition}", values)
    rows, first, last = cursor.fetchone()
    return DeletedRows(place, int(rows), first or "", last or "")


def delete_archived(cursor: Any, table: HotTable, place: str, condition: str, values: tuple[datetime, ...]) -> int:
    """Delete an archived day's rows from a place (:func:`to_delete`); how many. In a transaction that has not begun.

    In one snapshot, which a row that comes meanwhile is not in: what is deleted is what was compared with the archive.
    """
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    if not ledger.archived(cursor, table.name, values[0].date()):
        return 0
    cursor.execute(f"DELETE FROM {place} WHERE {condition}", values)
    return int(cursor.rowcount)
