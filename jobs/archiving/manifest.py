"""Manifests: what the book says of a month, as a JSON file beside the data, so that the archive explains itself without the database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from math import isfinite
from typing import Any

from infra.errors import ConfigError, StoreError, one_line
from infra.times import EPOCH
from jobs.archiving import ledger, parquet
from jobs.archiving.ledger import BookEntry
from jobs.archiving.months import Month, following, parse, text
from jobs.archiving.place import MANIFESTS, ArchivePlace
from schemas.archive import ARCHIVE_VERSION, HELD, ArchiveState

#: Said of one that is not there: a run writes it where it comes to its month, so that is not always damage.
MISSING = "it is not there"
_DAY_US = 86_400_000_000


def write(place: ArchivePlace, entry: BookEntry) -> None:
    """Write the manifest of a run's month, in place of an earlier one.

    Raises
    ------
    StoreError
        The store refuses.
    """
    name = _name(entry)
    with place.told(f"write the manifest {name}"):
        parquet.put_whole(place, name, json.dumps(content(place, entry), indent=1).encode(), entry.run)


def content(place: ArchivePlace, entry: BookEntry) -> dict[str, Any]:
    """A manifest: paths are below the table's folder."""
    return {
        "table": entry.table,
        "month": text(entry.month),
        "run": entry.run,
        "state": entry.state.value,
        "program": entry.program,
        "schema_version": entry.version,
        "rows": entry.rows,
        "bytes": entry.size,
        "files": [{"path": f"{place.folder(entry.month)}/{file['name']}", **file} for file in entry.files],
        "sums": entry.sums,
        "days": ledger.plain_days(entry),
    }


def where(place: ArchivePlace, entry: BookEntry) -> str:
    """Path of a manifest."""
    return place.path(MANIFESTS, _name(entry))


def way_out(entry: BookEntry) -> str:
    """What to do about a manifest that is not what was written."""
    return f"have it written anew from the database: flowlake archive verify {text(entry.month)} --write-manifests"


def problem(place: ArchivePlace, entry: BookEntry) -> str:
    """Read a manifest, and compare it with the book.

    How far the month has come is not compared: a run may have been killed between the two, and no manifest tells of a restored month.

    Returns
    -------
    str
        What is wrong; empty when nothing is.

    Raises
    ------
    StoreError
        The store does not answer: that says nothing about the manifest.
    """
    path = where(place, entry)
    with place.told(f"read the manifest {path}"):
        if place.size(path) is None:
            return MISSING
        written = _bytes(place, path)
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):
        return "it cannot be read as JSON"
    if not isinstance(found, dict):
        return "it is no manifest"
    if found.get("state") not in [state.value for state in HELD]:
        return f"state is {one_line(repr(found.get('state')))}"
    for name, value in content(place, entry).items():
        if name != "state" and not _same(found.get(name), value):
            if isinstance(value, list | dict):
                return f"{name} are not those of the database"
            return f"{name} is {one_line(repr(found.get(name)))}, the database says {value!r}"
    return ""


def check(place: ArchivePlace, entry: BookEntry) -> None:
    """As :func:`problem`, but what is wrong is raised.

    Raises
    ------
    StoreError
        Names the manifest.
    """
    if wrong := problem(place, entry):
        raise refusal(place, entry, wrong)


def refusal(place: ArchivePlace, entry: BookEntry, wrong: str) -> StoreError:
    """What to raise where :func:`problem` has found something, and rows were to be deleted."""
    return StoreError(
        f"archive {place.shown}: manifest {where(place, entry)} does not say what was written: {wrong}; nothing was deleted",
        way_out(entry),
    )


def write_anew(place: ArchivePlace, entry: BookEntry) -> None:
    """Write the manifest of a month that is in its place, from the book alone.

    Raises
    ------
    StoreError
        The store refuses.
    """
    restored = entry.state is ArchiveState.RESTORED
    write(place, replace(entry, state=ArchiveState.DELETED) if restored else entry)  # until when it stays is the database's affair


def adopt(connection: Any, place: ArchivePlace, table: str) -> int:
    """Enter what only the manifests know into the book: the database may be older than the archive, or a new one.

    Returns
    -------
    int
        Manifests that the book did not know.

    Raises
    ------
    StoreError
        A manifest cannot be read, or is none; names it.
    """
    with connection, connection.cursor() as cursor:
        known = ledger.entries(cursor, table)
    found = unknown(place, table, known)
    for entry in found:
        with connection, connection.cursor() as cursor:
            ledger.write(cursor, entry)
    return len(found)


def unknown(place: ArchivePlace, table: str, known: Sequence[BookEntry]) -> list[BookEntry]:
    """What only the manifests know.

    Raises
    ------
    StoreError
        A manifest cannot be read, or is none; names it.
    """
    names = {_name(entry) for entry in known}
    with place.told("look for manifests"):
        paths = [path for path in place.below(MANIFESTS) if path.endswith(".json") and path.rpartition("/")[2] not in names]
    return [_read(place, path, table) for path in paths]


def _name(entry: BookEntry) -> str:
    return f"{text(entry.month)}-{entry.run}.json"


def _bytes(place: ArchivePlace, path: str) -> bytes:
    with place.files.open_input_file(path) as source:
        found: bytes = source.read()
        return found


def _same(one: Any, other: Any) -> bool:
    """Whether two values of JSON are the same; a database's JSON writes a large float as a whole number of all its digits."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    numbers = all(isinstance(value, int | float) for value in (one, other))
    try:
        return float(one) == float(other) if numbers and float in (type(one), type(other)) else bool(one == other)
    except OverflowError:
        return False


def _read(place: ArchivePlace, path: str, table: str) -> BookEntry:
    with place.told(f"read the manifest {path}"):
        written = _bytes(place, path)
    try:
        found = json.loads(written)
        if found["schema_version"] > ARCHIVE_VERSION:
            raise StoreError(
                f"archive {place.shown}: manifest {path} is of version {found['schema_version']}, this program knows {ARCHIVE_VERSION}",
                "use the newer program",
            )
        return _entry(place, path, table, found)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, ConfigError) as e:
        why = one_line(e) if isinstance(e, ValueError | ConfigError) else f"{type(e).__name__} {one_line(e)}"
        raise StoreError(f"archive {place.shown}: {path} is no manifest: {why}", "mend it from a backup, or move it away") from e


def _entry(place: ArchivePlace, path: str, table: str, found: dict[str, Any]) -> BookEntry:
    """A manifest as an entry; only what a run may have written is taken: paths are opened, and numbers counted with, on its word."""
    month = parse(found["month"], "month")
    entry = BookEntry(
        table, month, _text(found, "run"), ArchiveState(found["state"]), place.shown, _count(found, "rows"), _count(found, "bytes"),
        tuple(found["files"]), found["sums"], ledger.read_days(found["days"]), _text(found, "program"), _count(found, "schema_version"),
    )  # fmt: skip
    _expect(found["table"] == table, f"table is {found['table']!r}, expected {table!r}")
    _expect(path.rpartition("/")[2] == _name(entry), f"its month and run are those of {_name(entry)}")
    _expect(entry.held, f"state is {found['state']!r}")
    for file in entry.files:
        _check_file(place, month, file)
    _check_sums(entry.sums)
    _expect(all(day.replace(day=1) == month for day in entry.days), "days are of another month")
    _expect(entry.rows == sum(file["rows"] for file in entry.files), "rows are not those of the files")
    _expect(entry.rows == sum(rows for rows, _ in entry.days.values()), "rows are not those of the days")
    _expect(entry.size == sum(file["bytes"] for file in entry.files), "bytes are not those of the files")
    return entry


def _check_file(place: ArchivePlace, month: Month, file: dict[str, Any]) -> None:
    name = _text(file, "name")
    _expect("/" not in name and name.endswith(".parquet"), f"name {name!r} is none of a file")
    _expect(file["path"] == f"{place.folder(month)}/{name}", f"path {file['path']!r} is not in the folder of the month")
    _count(file, "bytes")
    _count(file, "rows")
    _text(file, "sha256")
    start = (month - EPOCH.date()).days * _DAY_US
    after = month + timedelta(days=30) if month == following(month) else following(month) - timedelta(days=1)
    end = ((after - EPOCH.date()).days + 1) * _DAY_US
    for key in ("first_us", "last_us"):
        _expect(type(file[key]) is int and start <= file[key] < end, f"{key} {one_line(repr(file[key]))} is no time of the month")
    _check_sums(file["sums"])


def _check_sums(sums: dict[str, Any]) -> None:
    _count(sums, "rows")
    _text(sums, "checksum")
    for name, column in sums["columns"].items():
        for what, value in column.items():
            plain = value is None or isinstance(value, str | int | float)
            _expect(plain, f"column {name}: {what} is {one_line(repr(value))}")
            _expect(not isinstance(value, int | float) or isfinite(value), f"column {name}: {what} is no number")


def _text(found: dict[str, Any], key: str) -> str:
    value = found[key]
    _expect(isinstance(value, str), f"{key} is {one_line(repr(value))}, expected text")
    return str(value)


def _count(found: dict[str, Any], key: str) -> int:
    value = found[key]
    _expect(type(value) is int and 0 <= value < 2**63, f"{key} is {one_line(repr(value))}, expected a number")
    return int(value)


def _expect(fits: bool, otherwise: str) -> None:
    if not fits:
        raise ValueError(otherwise)
