"""Archive what is old enough, month by month (:mod:`jobs.archiving.onemonth`): which tables, which months, and who may."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.config import Settings
from infra.errors import StoreError
from jobs.archiving import ledger, lock, manifest, months, onemonth, parquet, removal
from jobs.archiving import place as places
from jobs.archiving.columns import ArchiveLayout
from jobs.archiving.months import Month
from jobs.archiving.onemonth import MonthDone, Say, TableRun
from jobs.sinks import postgres
from jobs.sinks.migrations import migrate
from schemas.archive import ArchiveState
from schemas.records import RecordType


@dataclass(frozen=True)
class Wish:
    """What is asked for: months before one, or one alone; all that are old enough by default. ``keep``: nothing is deleted."""

    before: Month | None = None
    month: Month | None = None
    keep: bool = False


@dataclass(frozen=True)
class Planned:
    """A month that may be archived: rows in the hot store, and what the book says of it."""

    table: str
    month: str
    rows: int
    state: str


def run(settings: Settings, records: Sequence[RecordType], wish: Wish, say: Say) -> list[MonthDone]:
    """Archive months of the hot tables of some record types.

    Parameters
    ----------
    settings
        Sections ``hot``, ``archive`` and, where it is a bucket, ``lake``.
    records
        Those with a hot table.
    wish
        Which months.
    say
        Told what is being done, a line each.

    Returns
    -------
    list of MonthDone
        A month each, in the order of tables and months.

    Raises
    ------
    StoreError
        A store is away, full or refuses, or another run is at work. Nothing is lost: the next run goes on.
    """
    if not wish.keep and not settings.hot.keep_until_archived:
        say("hot.keep_until_archived is false: retention may have dropped rows of a month before they were archived")
    with lock.session(settings, "run") as connection:
        migrate(ledger.component(settings), say)
        done = []
        for work in _works(settings, connection, records, say):
            _check_rights(work, wish)
            manifest.adopt(work.connection, work.place, work.table)
            for month in _months(work, wish):
                done.append(onemonth.archive(work, month, keep=wish.keep))
            _tell_of_rest(work)
            parquet.sweep(work.place)
        return done


def plan(settings: Settings, records: Sequence[RecordType], wish: Wish, say: Say) -> list[Planned]:
    """What :func:`run` would do: the months, and how many rows of them are in the hot store. Changes nothing.

    Raises
    ------
    StoreError
        The hot store is away or refuses.
    """
    found = []
    with lock.session(settings, "dry run", alone=False) as connection:
        for work in _works(settings, connection, records, say):
            for month in _months(work, wish):
                with connection, connection.cursor() as cursor:
                    cursor.execute(f"SELECT count(*) FROM {work.table} t WHERE {removal.in_month(work.layout, month)}")
                    (rows,) = cursor.fetchone()
                    known = ledger.entries(cursor, work.table, month)
                found.append(Planned(work.table, months.text(month), rows, known[-1].state.value if known else ""))
    return found


# -- which months ------------------------------------------------------------------------------------------------------


def _works(settings: Settings, connection: Any, records: Sequence[RecordType], say: Say) -> Iterator[TableRun]:
    """The hot tables that are there."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    for record in records:
        layout = ArchiveLayout.of(record)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (layout.table.name,))
            (there,) = cursor.fetchone()
        if there:
            yield TableRun(settings, connection, layout, places.of(settings, layout.table.name), stamp, say)
        else:
            say(f"{layout.table.name}: there is no such table yet")


def _check_rights(work: TableRun, wish: Wish) -> None:
    """A right that is missing shows before hours of writing, not after.

    Raises
    ------
    StoreError
        Names it.
    """
    user = work.settings.hot.user
    for right in ("SELECT",) if wish.keep else ("SELECT", "DELETE"):
        with work.connection, work.connection.cursor() as cursor:
            cursor.execute("SELECT has_table_privilege(%s, %s)", (work.table, right))
            (allowed,) = cursor.fetchone()
        if not allowed:
            other = "; or archive without deleting: --keep" if right == "DELETE" else ""
            raise StoreError(
                f"{postgres.where(work.settings.hot)}: user {user!r} lacks the right {right} on {work.table}",
                f"GRANT {right} ON {work.table} TO {user}{other}",
            )


def _months(work: TableRun, wish: Wish) -> list[Month]:
    """Months with something to do, the oldest first."""
    limit = months.ended_before(work.now, work.settings.archive.after_days)
    if wish.month is not None and wish.month >= limit:
        raise StoreError(
            f"{months.text(wish.month)} cannot be archived yet: months before {months.text(limit)} can",
            f"whole months leave, never the current one, {work.settings.archive.after_days} days after their end (archive.after_days)",
        )
    limit = min(limit, wish.before) if wish.before else limit
    with work.connection, work.connection.cursor() as cursor:
        found = set(_with_rows(cursor, work.layout, limit))
        unfinished = (ArchiveState.WRITING, ArchiveState.WRITTEN, ArchiveState.VERIFIED)
        found |= {entry.month for entry in ledger.entries(cursor, work.table) if entry.month < limit and entry.state in unfinished}
    return sorted(month for month in found if wish.month in (None, month))


def _with_rows(cursor: Any, layout: ArchiveLayout, limit: Month) -> Iterator[Month]:
    """Months before ``limit`` of which the hot table has rows: a look into the index each."""
    time, at = layout.time, "0001-01-01 00:00:00+00"
    while True:
        cursor.execute(f"SELECT min({time}) FROM {layout.table.name} WHERE {time} >= %s AND {time} < %s", (at, months.bounds(limit)[0]))
        (first,) = cursor.fetchone()
        if first is None:
            return
        yield months.of(first)
        at = months.bounds(months.of(first))[1]


def _tell_of_rest(work: TableRun) -> None:
    """Rows that belong to no month of the calendar are told of: they stay in the hot store."""
    with work.connection, work.connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {work.table} WHERE {work.layout.time} < '0001-01-01 00:00:00+00'")
        (rows,) = cursor.fetchone()
    if rows:
        work.say(f"{work.table}: {rows:,} rows of times before year 1 belong to no month, and stay in the hot store")
