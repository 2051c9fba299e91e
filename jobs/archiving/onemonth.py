"""One month of one table goes into the archive: written, read back, verified, put in its place - and only then deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from importlib import metadata
from typing import Any

import pyarrow as pa

from infra.config import Settings
from infra.errors import FlowlakeError, StoreError
from jobs.archiving import copying, ledger, lock, manifest, months, parquet, removal
from jobs.archiving.columns import ArchiveLayout
from jobs.archiving.ledger import BookEntry
from jobs.archiving.months import Month
from jobs.archiving.place import STAGING, ArchivePlace
from schemas.archive import ArchiveState

Say = Callable[[str], None]
#: Seconds between two lines of progress.
_TELL_S = 2.0


@dataclass(frozen=True)
class MonthDone:
    """What became of one month of one table.

    ``rows`` were written, into ``files`` files of ``size`` bytes; ``deleted`` left the hot store, of ``dropped`` whole partitions some;
    ``differing`` stay there because the archive holds others of the same keys.
    """

    table: str
    month: str
    run: str
    state: str
    rows: int = 0
    files: int = 0
    size: int = 0
    deleted: int = 0
    dropped: int = 0
    differing: int = 0
    seconds: float = 0.0


@dataclass
class TableRun:
    """One table of one run: its settings, its connection, its place, and who is told."""

    settings: Settings
    connection: Any
    layout: ArchiveLayout
    place: ArchivePlace
    run: str
    say: Say

    @property
    def table(self) -> str:
        """Name of the hot table."""
        return self.layout.table.name

    @property
    def now(self) -> datetime:
        """The time, by the earlier of two clocks: one that is wrong makes no month old."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (theirs,) = cursor.fetchone()
        return min(theirs.astimezone(UTC), datetime.now(UTC))

    def book(self, entry: BookEntry) -> None:
        """Write an entry into the book, in a transaction of its own."""
        with self.connection, self.connection.cursor() as cursor:
            ledger.write(cursor, entry)

    def entries(self, month: Month) -> list[BookEntry]:
        """What the book says of a month."""
        with self.connection, self.connection.cursor() as cursor:
            return ledger.entries(cursor, self.table, month)


def archive(work: TableRun, month: Month, *, keep: bool) -> MonthDone:
    """Go on with what a broken run left, write what no run has written, and delete what is archived (``keep``: nothing).

    Raises
    ------
    StoreError
        A store is away, full or refuses, or a file is damaged. Nothing is lost: the next run goes on.
    """
    began = time.monotonic()
    fresh = _resume(work, month)
    held = [entry for entry in work.entries(month) if entry.held]
    if _restored(work, held):
        return MonthDone(work.table, months.text(month), held[-1].run, ArchiveState.RESTORED.value)
    _explain(work, held, keep=keep)
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


def _tell(work: TableRun, done: MonthDone) -> None:
    files = f"{done.files} file{'' if done.files == 1 else 's'}"
    work.say(f"{done.table} {done.month}: {done.rows:,} rows in {files}, {done.deleted:,} rows left the hot store")
    if done.differing:
        work.say(f"{done.table} {done.month}: {done.differing:,} rows differ from archived ones of the same key, and stay in the hot store")


def _resume(work: TableRun, month: Month) -> BookEntry | None:
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


def _all_there(work: TableRun, entry: BookEntry) -> bool:
    with work.place.told("look for what a broken run left"):
        return all(work.place.size(path) is not None for path in (_where(work, entry, file) for file in entry.files))


def _where(work: TableRun, entry: BookEntry, file: dict[str, Any]) -> str:
    """Path of a file that may have been moved to its place already."""
    final = work.place.path(work.place.folder(entry.month), file["name"])
    return final if work.place.size(final) is not None else work.place.path(STAGING, entry.run, file["name"])


def _restored(work: TableRun, held: list[BookEntry]) -> bool:
    until = max((entry.restored_until for entry in held if entry.restored_until is not None), default=None)
    if until is None or until <= work.now:
        return False
    month = months.text(held[0].month)
    work.say(f"{work.table} {month}: restored into the hot store until {until:%Y-%m-%d %H:%M} UTC, left alone")
    return True


def _check(work: TableRun, entry: BookEntry) -> None:
    """What is in the archive may have been damaged since: rows are deleted only where it has not."""
    for file in entry.files:
        parquet.check(work.place, work.layout, work.place.path(work.place.folder(entry.month), file["name"]), file)


def _explain(work: TableRun, held: list[BookEntry], *, keep: bool) -> None:
    """A run that was killed may not have come to its manifest. Rows are deleted only where the archive explains itself without them."""
    for entry in held:
        wrong = manifest.problem(work.place, entry)
        if wrong == manifest.MISSING:
            manifest.write_anew(work.place, entry)
            wrong = manifest.problem(work.place, entry)
        if wrong and not keep:
            raise manifest.refusal(work.place, entry, wrong)


def _all_held(work: TableRun, month: Month, held: list[BookEntry]) -> bool:
    """Whether the hot store has nothing of a month that is not in the archive, by the server's hashes alone."""
    return all(ledger.same(digest, held, [day]) for day, digest in _digests(work, removal.in_month(work.layout, month)).items())


def _digests(work: TableRun, condition: str) -> dict[date, ledger.Digest]:
    with work.connection, work.connection.cursor() as cursor:
        return ledger.digests(cursor, work.layout, condition)


def _leave(work: TableRun, month: Month, held: list[BookEntry], *, keep: bool) -> removal.Removed:
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


def _write(work: TableRun, month: Month) -> BookEntry | None:
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
    wanted = work.settings.archive
    writer = parquet.FilesWriter(work.place, layout, month, work.run, wanted.compression, wanted.file_rows, about)
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


def _copy(work: TableRun, month: Month, condition: str, writer: parquet.FilesWriter) -> dict[date, ledger.Digest]:
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


def _progress(work: TableRun, month: Month, total: int, write: Callable[[pa.Table], None]) -> Callable[[pa.Table], None]:
    seen, told = 0, time.monotonic()

    def take(rows: pa.Table) -> None:
        nonlocal seen, told
        write(rows)
        seen += rows.num_rows
        if time.monotonic() - told >= _TELL_S:
            told = time.monotonic()
            work.say(f"{work.table} {months.text(month)}: {seen:,} of {total:,} rows written")

    return take


def _publish(work: TableRun, entry: BookEntry) -> BookEntry:
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
    manifest.check(work.place, entry)
    return entry


def _give_up(work: TableRun, entry: BookEntry) -> None:
    """Forget a run whose files are wrong; the next one writes them anew."""
    with suppress(FlowlakeError):
        parquet.sweep(work.place)
    with work.connection, work.connection.cursor() as cursor:
        ledger.forget(cursor, entry)
