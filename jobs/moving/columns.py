"""Which column of a file is which column of a record."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ConfigError, InputError
from infra.names import printable
from jobs.moving.csvfile import CsvFile, fields
from schemas.records import CsvNames, RecordType

_PLAIN = CsvNames(canonical=lambda name: "".join(c for c in name.lower() if c.isalnum()))
LABEL, CONFIDENCE, ATTACK, SENSOR = "predicted_label", "confidence_score", "attack_type", "sensor_id"


@dataclass(frozen=True)
class CsvColumns:
    """Columns of a file.

    Attributes
    ----------
    names
        As the file has them.
    places
        Record column -> place in the line, from 0.
    header
        The line that names them; empty: the file has none.
    """

    names: tuple[str, ...]
    places: dict[str, int]
    header: str

    @property
    def extra(self) -> tuple[str, ...]:
        """What goes nowhere."""
        used = set(self.places.values())
        return tuple(name for i, name in enumerate(self.names) if i not in used)


def names_of(record: RecordType) -> CsvNames:
    """What files may call the columns of a record type; without a declaration, what the stores call them."""
    return record.csv or _PLAIN


def recognise(record: RecordType, file: CsvFile, layout: str | None = None) -> CsvColumns:
    """The columns of a file, by its first line or by a layout.

    Parameters
    ----------
    record
        What the rows are to become.
    file
        Not empty.
    layout
        For a file without a header: the name of a layout of the record type, or the columns' names with commas.

    Raises
    ------
    InputError
        Its first line names no column that is known, or not those that are needed.
    ConfigError
        There is no such layout.
    """
    try:
        first = [name.strip() for name in file.header()]
    except InputError as e:
        raise InputError(f"CSV file {file.path}: its first line is {e}", "it must name the columns; or say them: --columns") from e
    known = known_names(record)
    is_header = sum(names_of(record).canonical(name) in known for name in first if name) * 2 >= len(first)
    if layout is not None:
        wanted = _layout(record, layout)
        if len(wanted) != len(first):
            raise InputError(
                f"CSV file {file.path}: a line has {len(first)} fields, --columns names {len(wanted)}",
                f"they are: {', '.join(wanted)}",
            )
        names, header = (tuple(first), file.first_line) if is_header else (wanted, "")
    else:
        names, header = tuple(first), file.first_line
    places = _places(record, names)
    if not places or record.event_time not in places:
        raise _unknown(record, file, first, known, no_header=not is_header)
    return CsvColumns(names, places, header)


def same_header(record: RecordType, line: bytes, columns: CsvColumns, delimiter: str) -> bool | None:
    """Whether a line is a header: the same columns (a restart has written it again), or, False, other ones; None: it is none."""
    try:
        found = [name.strip() for name in fields(line.decode("utf-8", "replace"), delimiter)]
    except InputError:
        return None
    known = known_names(record)
    if not found or sum(names_of(record).canonical(name) in known for name in found) * 2 < len(found):
        return None
    return len(found) == len(columns.names) and _places(record, found) == columns.places


def known_names(record: RecordType) -> dict[str, tuple[str, int]]:
    """A name as it is compared -> record column, and rank: where two columns of a file are one of the record's, the lesser is taken."""
    found: dict[str, tuple[str, int]] = {}
    canonical = names_of(record).canonical
    for name, column, rank in _spellings(record):
        found.setdefault(canonical(name), (column, rank))
    return found


def _spellings(record: RecordType) -> Iterator[tuple[str, str, int]]:
    own = record.published.names
    yield from ((name, name, 0) for name in own)
    if record.hot:
        yield from ((column.name, column.source, 1) for column in record.hot.columns)
    yield from ((name, column, 2 + rank) for column, others in names_of(record).others.items() for rank, name in enumerate(others))


def _places(record: RecordType, names: Sequence[str]) -> dict[str, int]:
    known, canonical = known_names(record), names_of(record).canonical
    best: dict[str, tuple[int, int]] = {}
    for place, name in enumerate(names):
        if name and (found := known.get(canonical(name))):
            column, rank = found
            if column == record.key and name != record.key:
                continue  # CICFlowMeter's "Flow ID" is a text of addresses and ports, and no identity
            if column not in best or rank < best[column][0]:
                best[column] = (rank, place)
    return {column: place for column, (_, place) in best.items()}


def _layout(record: RecordType, layout: str) -> tuple[str, ...]:
    layouts = names_of(record).layouts
    if layout in layouts:
        return layouts[layout]
    wanted = tuple(name.strip() for name in layout.split(","))
    if len(wanted) < 2:
        raise ConfigError(
            f"--columns {layout!r}: no such layout",
            f"one of: {', '.join(layouts) or 'none'}; or the columns' names with commas, in their order",
        )
    return wanted


def _unknown(record: RecordType, file: CsvFile, first: Sequence[str], known: dict[str, tuple[str, int]], *, no_header: bool) -> InputError:
    shown = ", ".join(repr(name) for name in first[:4]) + (", ..." if len(first) > 4 else "")
    if no_header:
        fitting = [name for name, columns in names_of(record).layouts.items() if len(columns) == len(first)]
        near = _nearest(record, first, known)
        hint = f"--columns {fitting[0]}, if it has no header" if fitting else "say them: --columns"
        return InputError(f"CSV file {file.path}: its first line, {shown}, names no columns of {record.name}{near}", hint)
    return InputError(
        f"CSV file {file.path}: its first line, {shown}, names no {record.event_time}{_nearest(record, first, known)}",
        f"it may be called: {', '.join(sorted({n for n, column, _ in _spellings(record) if column == record.event_time}))}",
    )


def _nearest(record: RecordType, first: Sequence[str], known: dict[str, tuple[str, int]]) -> str:
    canonical = names_of(record).canonical
    for name in first:
        if name and (near := difflib.get_close_matches(canonical(name), known, n=1)) and canonical(name) not in known:
            return f" ({name!r} may be meant for {known[near[0]][0]})"
    return ""


def origin_of(path: Path) -> str:
    """What rows say that came from a file: the mark by which they are known, in ``sensor_id``."""
    return f"migrated:{printable(path.name)}"
