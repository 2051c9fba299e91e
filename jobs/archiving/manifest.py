"""Manifests: what the book says of a month, as a JSON file beside the data, so that the archive explains itself without the database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from infra.errors import StoreError, one_line
from jobs.archiving import ledger, parquet
from jobs.archiving.ledger import BookEntry
from jobs.archiving.months import parse, text
from jobs.archiving.place import MANIFESTS, ArchivePlace
from schemas.archive import ARCHIVE_VERSION, ArchiveState


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


def there(place: ArchivePlace, entry: BookEntry) -> bool:
    """Whether the manifest has been written."""
    with place.told("look for manifests"):
        return place.size(place.path(MANIFESTS, _name(entry))) is not None


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


def _read(place: ArchivePlace, path: str, table: str) -> BookEntry:
    with place.told(f"read the manifest {path}"), place.files.open_input_file(path) as source:
        content = source.read()
    try:
        found = json.loads(content)
        if found["schema_version"] > ARCHIVE_VERSION:
            raise StoreError(
                f"archive {place.shown}: manifest {path} is of version {found['schema_version']}, this program knows {ARCHIVE_VERSION}",
                "use the newer program",
            )
        return BookEntry(
            table, parse(found["month"], path), found["run"], ArchiveState(found["state"]), place.shown, found["rows"], found["bytes"],
            tuple(found["files"]), found["sums"], ledger.read_days(found["days"]), found["program"], found["schema_version"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as e:
        raise StoreError(
            f"archive {place.shown}: {path} is no manifest: {type(e).__name__} {one_line(e)}", "mend it from a backup, or move it away"
        ) from e
