"""What is in the archive, and whether it still is what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from infra.config import Settings
from jobs.archiving import ledger, lock, manifest, months, parquet
from jobs.archiving import place as places
from jobs.archiving.columns import ArchiveLayout
from jobs.archiving.ledger import BookEntry
from jobs.archiving.months import Month
from jobs.archiving.place import ArchivePlace
from schemas.records import RecordType


@dataclass(frozen=True)
class ArchivedMonth:
    """A month of a table: its runs together. ``state`` is the last run's; ``until``: a restored one stays in the hot store."""

    table: str
    month: str
    state: str
    rows: int
    files: int
    size: int
    runs: int
    until: str


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written."""

    table: str
    month: str
    path: str
    problem: str


def listed(settings: Settings, records: Sequence[RecordType]) -> list[ArchivedMonth]:
    """What the book and the manifests say; changes nothing.

    Raises
    ------
    StoreError
        The hot store or the archive is away or refuses.
    """
    found = []
    with lock.session(settings, "list", alone=False) as connection:
        for record in records:
            layout = ArchiveLayout.of(record)
            entries = _entries(connection, places.of(settings, layout.table.name), layout)
            for month, group in groupby(entries, key=lambda entry: entry.month):
                found.append(_month(layout.table.name, month, list(group)))
    return found


def verify(
    settings: Settings, records: Sequence[RecordType], month: Month | None, say: Callable[[str], None], *, anew: bool = False
) -> tuple[int, list[Damage]]:
    """Read every file again, and compare it with what was written; the manifests with the book.

    Parameters
    ----------
    settings, records
        As :func:`listed`.
    month
        One alone; None: all.
    say
        Told which file is being read, a line each.
    anew
        Write manifests that are not what was written anew from the book, where all files are what it says.

    Returns
    -------
    int, list of Damage
        Files that were expected, and what is wrong: damaged, missing, or nobody's (readers would see its rows as well). Manifests
        are not counted, but what is wrong with them is told.

    Raises
    ------
    StoreError
        The hot store or the archive is away or refuses: that says nothing about the files. Or another run is at work (``anew``).
    """
    files, damages = 0, []
    with lock.session(settings, "verify", alone=anew) as connection:
        for record in records:
            layout = ArchiveLayout.of(record)
            place = places.of(settings, layout.table.name)
            entries = [entry for entry in _entries(connection, place, layout) if entry.held and month in (None, entry.month)]
            for entry in entries:
                files += len(entry.files)
                damaged = _files(place, layout, entry, say)
                damages += [*damaged, *_manifest(place, entry, say, anew=anew and not damaged)]
            damages += _foreign(place, layout, entries, month)
    return files, damages


def _entries(connection: Any, place: ArchivePlace, layout: ArchiveLayout) -> list[BookEntry]:
    with connection, connection.cursor() as cursor:
        known = ledger.entries(cursor, layout.table.name)
    return sorted([*known, *manifest.unknown(place, layout.table.name, known)], key=lambda entry: entry.month)


def _files(place: ArchivePlace, layout: ArchiveLayout, entry: BookEntry, say: Callable[[str], None]) -> list[Damage]:
    found = []
    for file in entry.files:
        path = place.path(place.folder(entry.month), file["name"])
        say(f"{entry.table} {months.text(entry.month)}: {file['name']}, {file['rows']:,} rows")
        with place.told(f"read {path}"):
            wrong = parquet.problem(place, layout, path, file)
        found += [Damage(entry.table, months.text(entry.month), path, wrong)] if wrong else []
    return found


def _manifest(place: ArchivePlace, entry: BookEntry, say: Callable[[str], None], *, anew: bool) -> list[Damage]:
    wrong, path = manifest.problem(place, entry), manifest.where(place, entry)
    if wrong and anew:
        manifest.write_anew(place, entry)
        say(f"{path}: {wrong}; written anew")
        wrong = manifest.problem(place, entry)
    return [Damage(entry.table, months.text(entry.month), path, f"{wrong}; {manifest.way_out(entry)}")] if wrong else []


def _foreign(place: ArchivePlace, layout: ArchiveLayout, entries: list[BookEntry], month: Month | None) -> list[Damage]:
    """Files that readers would take for rows of the archive, and that no run has put there."""
    ours = {place.path(place.folder(entry.month), file["name"]) for entry in entries for file in entry.files}
    with place.told("list the files"):
        there = place.below(place.folder(month)) if month else [path for path in place.below() if "/_" not in path[len(place.root) :]]
    strange = [path for path in there if path not in ours and path.endswith(".parquet")]
    return [Damage(layout.table.name, months.text(month) if month else "", path, "no run has written it") for path in strange]


def _month(table: str, month: Month, runs: list[BookEntry]) -> ArchivedMonth:
    last, held = runs[-1], [entry for entry in runs if entry.held]
    return ArchivedMonth(
        table,
        months.text(month),
        last.state.value,
        sum(entry.rows for entry in held),
        sum(len(entry.files) for entry in held),
        sum(entry.size for entry in held),
        len(held),
        f"{last.restored_until:%Y-%m-%d %H:%M}" if last.restored_until else "",
    )
