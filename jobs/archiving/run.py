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
<<<<<<< HEAD


# -- one month ---------------------------------------------------------------------------------------------------------


def _month(work: _TableRun, month: Month, *, keep: bool) -> MonthDone:
    began = time.monotonic()
    fresh = _resume(work, month)
    held = [entry for entry in work.entries(month) if entry.held]
    if _restored(work, held):
        return MonthDone(work.table, months.text(month), held[-1].run, ArchiveState.RESTORED.value)
    _explain(work, held)
    if keep and held and _all_held(work, month, held):
        return MonthDone(work.table, months.text(month), held[-1].run, held[-1].state.value)
    for entry in held:
        if not keep and (fresh is None or entry.run != fresh.run):
            _check(work, entry)
    before = _leave(work, month, held, keep=keep)
    written, after = _write(work, month), removal.Removed()
    if written is not None:
        written = _publish(work, written)
        held.append(written)
        if not keep:
            after = _leave(work, month, held, keep=False)
    new = [entry for entry in (fresh, written) if entry is not None]
    done = MonthDone(
        work.table,
        months.text(month),
        held[-1].run if held else "",
        (ArchiveState.VERIFIED if keep else ArchiveState.DELETED).value if held else "",
        sum(entry.rows for entry in new),
        sum(len(entry.files) for entry in new),
        sum(entry.size for entry in new),
        before.rows + after.rows,
        before.dropped + after.dropped,
        (before if written is None or keep else after).differing,
        round(time.monotonic() - began, 3),
    )
    _tell(work, done)
    return done


def _tell(work: _TableRun, done: MonthDone) -> None:
    files = f"{done.files} file{'' if done.files == 1 else 's'}"
    work.say(f"{done.table} {done.month}: {done.rows:,} rows in {files}, {done.deleted:,} rows left the hot store")
    if done.differing:
        work.say(f"{done.table} {done.month}: {done.differing:,} rows differ from archived ones of the same key, and stay in the hot store")


def _resume(work: _TableRun, month: Month) -> BookEntry | None:
    """What a run that was killed left: whole files go on to their place, others are cleared away. The month that went on."""
    gone_on = None
    for entry in work.entries(month):
        if entry.state is ArchiveState.WRITTEN and _all_there(work, entry):
            work.say(f"{work.table} {months.text(month)}: going on with run {entry.run}, whose files are written")
            gone_on = _publish(work, entry)
        elif entry.state in (ArchiveState.WRITING, ArchiveState.WRITTEN):
            with work.connection, work.connection.cursor() as cursor:
                ledger.forget(cursor, entry)
    parquet.sweep(work.place)
    return gone_on


def _all_there(work: _TableRun, entry: BookEntry) -> bool:
    with work.place.told("look for what a broken run left"):
        return all(work.place.size(path) is not None for path in (_where(work, entry, file) for file in entry.files))


def _where(work: _TableRun, entry: BookEntry, file: dict[str, Any]) -> str:
    """Path of a file that may have been moved to its place already."""
    final = work.place.path(work.place.folder(entry.month), file["name"])
    return final if work.place.size(final) is not None else work.place.path(STAGING, entry.run, file["name"])


def _restored(work: _TableRun, held: list[BookEntry]) -> bool:
    until = max((entry.restored_until for entry in held if entry.restored_until is not None), default=None)
    if until is None or until <= _now(work.connection):
        return False
    month = months.text(held[0].month)
    work.say(f"{work.table} {month}: restored into the hot store until {until:%Y-%m-%d %H:%M} UTC, left alone")
    return True


def _check(work: _TableRun, entry: BookEntry) -> None:
    """What is in the archive may have been damaged since: rows are deleted only where it has not."""
    for file in entry.files:
        parquet.check(work.place, work.layout, work.place.path(work.place.folder(entry.month), file["name"]), file)


def _explain(work: _TableRun, held: list[BookEntry]) -> None:
    """A run that was killed may not have come to its manifest."""
    for entry in held:
        if not manifest.there(work.place, entry):
            manifest.write(work.place, entry)


def _all_held(work: _TableRun, month: Month, held: list[BookEntry]) -> bool:
    """Whether the hot store has nothing of a month that is not in the archive, by the server's hashes alone."""
    return all(ledger.same(digest, held, [day]) for day, digest in _digests(work, removal.in_month(work.layout, month)).items())


def _digests(work: _TableRun, condition: str) -> dict[date, ledger.Digest]:
    with work.connection, work.connection.cursor() as cursor:
        return ledger.digests(cursor, work.layout, condition)


def _leave(work: _TableRun, month: Month, held: list[BookEntry], *, keep: bool) -> removal.Removed:
    """Delete what is archived, and note it; with ``keep`` only find out what is."""
    if keep:
        return removal.know(work.connection, work.layout, work.place, month, held)
    removal.roll_up(work.connection, work.layout)
    removed = removal.remove(work.connection, work.layout, work.place, month, held)
    changed = [entry for entry in held if entry.state is not ArchiveState.DELETED]
    for entry in changed:
        manifest.write(work.place, replace(entry, state=ArchiveState.DELETED))
    if changed:
        with work.connection, work.connection.cursor() as cursor:
            ledger.mark(cursor, work.table, month, ArchiveState.DELETED)
    return removed


def _write(work: _TableRun, month: Month) -> BookEntry | None:
    """Write the rows that no run has archived yet, where no reader looks; None where there is none."""
    layout, connection = work.layout, work.connection
    condition = f"{removal.in_month(layout, month)} AND {removal.unknown(layout)}"
    version = metadata.version("flowlake")
    entry = BookEntry(work.table, month, work.run, ArchiveState.WRITING, work.place.shown, program=version)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {work.table} t WHERE {condition})")
        if not cursor.fetchone()[0]:
            return None
        ledger.write(cursor, entry)
    about = {"flowlake.table": work.table, "flowlake.run": work.run, "flowlake.version": version}
    archive = work.settings.archive
    writer = parquet.FilesWriter(work.place, layout, month, work.run, archive.compression, archive.file_rows, about)
    days = _copy(work, month, condition, writer)
    entry = replace(
        entry,
        state=ArchiveState.WRITTEN,
        rows=writer.sums.rows,
        size=sum(file["bytes"] for file in writer.files),
        files=tuple(writer.files),
        sums=writer.sums.json(),
        days=days,
    )
    expected = sum(rows for rows, _ in days.values())
    if entry.rows != expected:
        raise StoreError(f"{work.table} {months.text(month)}: {entry.rows:,} of {expected:,} rows came out of the hot store", lock.ON_AGAIN)
    work.book(entry)
    return entry


def _copy(work: _TableRun, month: Month, condition: str, writer: parquet.FilesWriter) -> dict[date, ledger.Digest]:
    """Copy the rows in one snapshot, which the digests are of as well."""
    try:
        with work.place.told("write"), work.connection, work.connection.cursor() as cursor, writer:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            days = ledger.digests(cursor, work.layout, condition)
            total = sum(rows for rows, _ in days.values())
            copying.read(cursor, work.layout, condition, _progress(work, month, total, writer.write))
            return days
    except BaseException:
        with suppress(FlowlakeError):  # a disk that is full is not to stay so; where this fails, the next run does it
            parquet.sweep(work.place)
        raise


def _progress(work: _TableRun, month: Month, total: int, write: Callable[[pa.Table], None]) -> Callable[[pa.Table], None]:
    seen, told = 0, time.monotonic()

    def take(rows: pa.Table) -> None:
        nonlocal seen, told
        write(rows)
        seen += rows.num_rows
        if time.monotonic() - told >= _TELL_S:
            told = time.monotonic()
            work.say(f"{work.table} {months.text(month)}: {seen:,} of {total:,} rows written")

    return take


def _publish(work: _TableRun, entry: BookEntry) -> BookEntry:
    """Read the files back, give them their place, and note it: from here on they count."""
    folder = work.place.folder(entry.month)
    work.say(f"{work.table} {months.text(entry.month)}: {entry.rows:,} rows written, reading them back")
    try:
        for file in entry.files:
            parquet.check(work.place, work.layout, _where(work, entry, file), file)
    except StoreError:
        _give_up(work, entry)
        raise
    for file in entry.files:
        staged, final = work.place.path(STAGING, entry.run, file["name"]), work.place.path(folder, file["name"])
        with work.place.told(f"move {file['name']} to its place"):
            if work.place.size(final) is None:
                work.place.move(staged, final)
            wrong = parquet.moved_problem(work.place, final, file)
        if wrong:
            raise StoreError(f"archive {work.place.shown}: {file['name']} is not whole in its place: {wrong}", lock.ON_AGAIN)
    entry = replace(entry, state=ArchiveState.VERIFIED)
    work.book(entry)
    manifest.write(work.place, entry)
    return entry


def _give_up(work: _TableRun, entry: BookEntry) -> None:
    """Forget a run whose files are wrong; the next one writes them anew."""
    with suppress(FlowlakeError):
        parquet.sweep(work.place)
    with work.connection, work.connection.cursor() as cursor:
        ledger.forget(cursor, entry)
=======
>>>>>>> fin-hot
