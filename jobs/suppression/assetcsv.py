"""The asset list from a CSV file, as people and Excel write them: UTF-8 or Windows-1252, a byte order mark, commas, semicolons or tabs."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ConfigError, InputError, one_line
from infra.networks import Network, network
from jobs.incidents.people import MAX_NAME, MAX_NOTE
from jobs.suppression.assets import Asset, importance_of
from schemas.assets import UNKNOWN

#: Column -> what a header may call it.
COLUMNS: dict[str, tuple[str, ...]] = {
    "address": ("address", "network", "ip", "cidr"),
    "name": ("name", "host", "hostname"),
    "importance": ("importance", "criticality"),
    "owner": ("owner",),
    "notes": ("notes", "note", "comment"),
}
_REQUIRED = ("address", "name")
#: A list of more is no list of what matters; and it has to go to every task of a batch.
MAX_ROWS = 100_000
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class AssetFile:
    """What a file says: its assets, its rows that are not right (line, why), and columns that are not read."""

    assets: Sequence[Asset]
    bad: Sequence[tuple[int, str]]
    unread: Sequence[str]


def read(path: Path) -> AssetFile:
    """Read a file.

    Raises
    ------
    InputError
        It cannot be read, has no header, or lacks a column.
    """
    lines = _text(path)
    first, _, rest = lines.partition("\n")
    skipped = 0
    delimiter = ""
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # Excel says so in a line of its own
        delimiter, lines, skipped = first.strip()[4], rest, 1
        first = rest.partition("\n")[0]
    delimiter = delimiter or max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
    except csv.Error as e:
        raise InputError(f"{path}: line {1 + skipped}: {one_line(e)}", "the first line names the columns: address,name,importance") from e
    places = _places(path, header)
    assets, bad = _rows(reader, header, places, skipped)
    unread = [name for i, name in enumerate(header) if i not in places.values() and name]
    return AssetFile(assets, bad, unread)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} is larger than {_MAX_BYTES >> 20} MiB", f"an asset list has {MAX_ROWS:,} rows at most")
        data = path.read_bytes()
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or one_line(e)}", "name a CSV file that can be read") from e
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")  # what Excel writes as plain "CSV"


def _places(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Column -> its place in a row."""
    low = [name.lower() for name in header]
    places: dict[str, int] = {}
    for column, names in COLUMNS.items():
        found = [i for i, name in enumerate(low) if name in names]
        if len(found) > 1:
            raise InputError(
                f"{path}: the columns {header[found[0]]!r} and {header[found[1]]!r} are one and the same", "leave one of them out"
            )
        if found:
            places[column] = found[0]
    if missing := [name for name in _REQUIRED if name not in places]:
        shown = one_line(", ".join(header), 200) or "empty"
        raise InputError(
            f"{path}: no column {missing[0]!r}; the first line is: {shown}", "it names the columns: address,name,importance,owner,notes"
        )
    return places


def _rows(
    reader: Iterator[list[str]], header: Sequence[str], places: dict[str, int], skipped: int
) -> tuple[list[Asset], list[tuple[int, str]]]:
    assets: list[Asset] = []
    bad: list[tuple[int, str]] = []
    seen: dict[Network, int] = {}
    while True:
        line = getattr(reader, "line_num", 0) + 1 + skipped
        try:
            row = next(reader)
        except StopIteration:
            return assets, bad
        except csv.Error as e:
            # Behind a quotation mark that is not closed nothing can be told from it.
            return assets, [*bad, (line, f"{one_line(e)}: what follows was not read")]
        if not any(cell.strip() for cell in row):
            continue
        try:
            asset = _asset(row, header, places)
            if asset.network in seen:
                raise ConfigError(f"{asset.network} is in line {seen[asset.network]} already")
            if len(assets) >= MAX_ROWS:
                raise ConfigError(f"more than {MAX_ROWS:,} rows: name networks, not hosts")
        except ConfigError as e:
            bad.append((line, f"{e}{f' ({e.hint})' if e.hint else ''}"))
            continue
        seen[asset.network] = line
        assets.append(asset)


def _asset(row: Sequence[str], header: Sequence[str], places: dict[str, int]) -> Asset:
    if len(row) != len(header):
        raise ConfigError(f"{len(row)} cells, and the header has {len(header)}")

    def cell(name: str, most: int = MAX_NAME) -> str:
        value = row[places[name]].strip() if name in places else ""
        if len(value) > most or not all(c.isprintable() or c in "\n\r\t" for c in value):
            raise ConfigError(f"{name} {one_line(value, 60)!r}: {most:,} characters at most, and none that cannot be printed")
        return " ".join(value.splitlines())

    if not cell("name"):
        raise ConfigError("name is empty")
    importance = cell("importance")
    return Asset(
        network(cell("address")), cell("name"), importance_of(importance) if importance else UNKNOWN, cell("owner"), cell("notes", MAX_NOTE)
    )
