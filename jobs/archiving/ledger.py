"""The book of the archive (:mod:`schemas.archive`): what is archived, how far each run has come, and what retention may drop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from infra.config import Settings
from jobs.archiving.columns import ArchiveLayout
from jobs.archiving.months import Month
from jobs.sinks.grants import RoleGrants
from jobs.sinks.migrations import Component
from schemas.archive import ARCHIVE_VERSION, BOOK, COMPONENT, HELD, MIGRATIONS, ArchiveState
from schemas.roles import OF_ARCHIVE

#: Rows of a day, and the sum of the server's hashes of them: whether two sets of rows are the same.
Digest = tuple[int, int]


@dataclass(frozen=True)
class BookEntry:
    """One run's archive of a month (a row of the book)."""

    table: str
    month: Month
    run: str
    state: ArchiveState
    place: str
    rows: int = 0
    size: int = 0
    files: tuple[dict[str, Any], ...] = ()
    sums: dict[str, Any] = field(default_factory=dict)
    days: dict[date, Digest] = field(default_factory=dict)
    program: str = ""
    version: int = ARCHIVE_VERSION
    restored_until: datetime | None = None

    @property
    def held(self) -> bool:
        """Its files are in their place."""
        return self.state in HELD


_COLUMNS = "table_name, month, run_id, state, place, rows, bytes, files, sums, days, program, schema_version, restored_until"


def component(settings: Settings) -> Component:
    """The book's table, in the database of the hot store."""
    return Component(COMPONENT, settings.hot, MIGRATIONS, RoleGrants(OF_ARCHIVE))


def exists(cursor: Any) -> bool:
    """Whether this database has a book."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (BOOK,))
    return bool(cursor.fetchone()[0])


def entries(cursor: Any, table: str, month: Month | None = None) -> list[BookEntry]:
    """What the book says of a table, or of one month: in the order of months and runs. Empty where there is no book."""
    if not exists(cursor):
        return []
    cursor.execute(
        f"SELECT {_COLUMNS} FROM {BOOK} WHERE table_name = %s AND (%s::date IS NULL OR month = %s) ORDER BY month, started_at, run_id",
        (table, month, month),
    )
    return [_entry(row) for row in cursor.fetchall()]


def _entry(row: tuple[Any, ...]) -> BookEntry:
    table, month, run, state, place, rows, size, files, sums, days, *rest = row
    return BookEntry(table, month, run, ArchiveState(state), place, rows, size, tuple(files), sums, read_days(days), *rest)


def read_days(days: Mapping[str, Any]) -> dict[date, Digest]:
    """Digests as JSON holds them (:func:`plain_days`)."""
    return {date.fromisoformat(day): (int(rows), int(hashes)) for day, (rows, hashes) in days.items()}


def plain_days(entry: BookEntry) -> dict[str, list[int | str]]:
    """Digests of the days for JSON, whose numbers are too small for them."""
    return {day.isoformat(): [rows, str(hashes)] for day, (rows, hashes) in sorted(entry.days.items())}


def write(cursor: Any, entry: BookEntry) -> None:
    """Put an entry into the book, in place of what it said of this run and month."""
    cursor.execute(
        f"INSERT INTO {BOOK} (table_name, month, run_id, state, place, rows, bytes, files, sums, days, program, schema_version, "
        "restored_until) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (table_name, month, run_id) DO UPDATE SET "
        "state = EXCLUDED.state, rows = EXCLUDED.rows, bytes = EXCLUDED.bytes, files = EXCLUDED.files, sums = EXCLUDED.sums, "
        "days = EXCLUDED.days, restored_until = EXCLUDED.restored_until, changed_at = clock_timestamp()",
        (
            entry.table, entry.month, entry.run, entry.state.value, entry.place, entry.rows, entry.size, json.dumps(entry.files),
            json.dumps(entry.sums), json.dumps(plain_days(entry)), entry.program, entry.version, entry.restored_until,
        ),
    )  # fmt: skip


def forget(cursor: Any, entry: BookEntry) -> None:
    """Take a run that came to nothing out of the book."""
    cursor.execute(f"DELETE FROM {BOOK} WHERE table_name = %s AND month = %s AND run_id = %s", (entry.table, entry.month, entry.run))


def mark(cursor: Any, table: str, month: Month, state: ArchiveState, until: datetime | None = None) -> None:
    """Say of what is held of a month where its rows are now."""
    cursor.execute(
        f"UPDATE {BOOK} SET state = %s, restored_until = %s, changed_at = clock_timestamp() "
        "WHERE table_name = %s AND month = %s AND state = ANY(%s)",
        (state.value, until, table, month, [held.value for held in HELD]),
    )


# -- what is the same --------------------------------------------------------------------------------------------------------------------


def hashed(columns: Iterable[str]) -> str:
    """SQL: number of rows, and the sum of their hashes; of the table ``t``. The same rows give the same, in whatever order."""
    return f"count(*), coalesce(sum(hash_record_extended(ROW({', '.join(f't.{name}' for name in sorted(columns))}), 0)::numeric), 0)"


def digests(cursor: Any, layout: ArchiveLayout, condition: str) -> dict[date, Digest]:
    """The digest of each day that has rows; ``condition`` is SQL on the hot table as ``t``."""
    day = f"(t.{layout.time} AT TIME ZONE 'UTC')::date"
    cursor.execute(f"SELECT {day}, {hashed(layout.table.types)} FROM {layout.table.name} t WHERE {condition} GROUP BY 1")
    return {at: (rows, int(hashes)) for at, rows, hashes in cursor.fetchall()}


def total(found: Iterable[BookEntry], days: Iterable[date]) -> Digest:
    """The digest of all that some runs have archived of some days."""
    wanted = list(days)
    parts = [entry.days.get(day, (0, 0)) for entry in found for day in wanted]
    return sum(rows for rows, _ in parts), sum(hashes for _, hashes in parts)


def same(digest: Digest, found: list[BookEntry], days: Iterable[date]) -> bool:
    """Whether rows of some days are just what one run, or all of them together, have archived."""
    wanted = list(days)
    return any(digest == total(chosen, wanted) for chosen in ([[entry] for entry in found] + [found]))


# -- for the retention of the hot store --------------------------------------------------------------------------------------------------


def archived(cursor: Any, table: str, day: date) -> bool:
    """Whether everything that a hot table holds of a day is in a verified archive, so that it may be dropped.

    Reads the day's rows; what is written to it afterwards is not known here: lock the partition first (``SHARE`` mode is enough).

    Parameters
    ----------
    cursor
        In the database of the hot store.
    table
        Name of the hot table.
    day
        By UTC.

    Returns
    -------
    bool
        True for a day without rows too; False for one that is restored (:func:`held`).

    Raises
    ------
    psycopg2.Error
        The table cannot be read.
    """
    known = [entry for entry in entries(cursor, table, day.replace(day=1)) if entry.held]
    start, end = day.isoformat(), (day + timedelta(days=1)).isoformat()
    within = _within(cursor, table)
    if not known:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {table} t WHERE {within})", (start, end))
        return not cursor.fetchone()[0]
    if held(cursor, table, day):
        return False
    cursor.execute(f"SELECT {hashed(_columns(known[0].sums))} FROM {table} t WHERE {within}", (start, end))
    rows, hashes = cursor.fetchone()
    return rows == 0 or same((rows, int(hashes)), known, [day])


def held(cursor: Any, table: str, day: date) -> bool:
    """Whether a day has been restored into the hot store and is to stay for now: retention must not drop it."""
    return day.replace(day=1) in restored(cursor, table)


def restored(cursor: Any, table: str) -> list[Month]:
    """The months that have been restored into a hot table and are to stay for now, in their order."""
    if not exists(cursor):
        return []
    cursor.execute(f"SELECT DISTINCT month FROM {BOOK} WHERE table_name = %s AND restored_until > clock_timestamp() ORDER BY 1", (table,))
    return [month for (month,) in cursor.fetchall()]


def _columns(sums: Mapping[str, Any]) -> list[str]:
    return sorted(sums["columns"])


def _within(cursor: Any, table: str) -> str:
    """Condition of a day, as two values: the first column of the primary key is the time."""
    cursor.execute(
        "SELECT quote_ident(a.attname) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
        "WHERE i.indrelid = to_regclass(%s) AND i.indisprimary",
        (table,),
    )
    (time,) = cursor.fetchone()
    return f"t.{time} >= %s::timestamp AT TIME ZONE 'UTC' AND t.{time} < %s::timestamp AT TIME ZONE 'UTC'"
