"""Labels of records: ground truth and analysts' verdicts, in the side table ``labels`` of the lake.

A source (a data set, a person, a rule) says one thing of a record; what it says later takes the place of that. Of several sources the last
word of a person counts; that of a machine (:data:`MACHINES`) only where no person has said anything (:func:`latest`).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra import files
from infra.config import Settings
from infra.errors import CaptureError, ConfigError, StoreError, one_line
from jobs.runtime import lake
from jobs.runtime.sidetable import Side, SideTable
from schemas.labels import NOTHING, UNKNOWN, UNLABELLED
from schemas.records import RecordType

LABELS = SideTable(
    lake.LABELS,
    pa.schema(
        [
            ("record_type", pa.string()),
            ("record_key", pa.string()),
            ("label", pa.int8()),  # 1: attack, 0: benign
            ("attack_type", pa.string()),  # BENIGN where label is 0
            ("source", pa.string()),  # who or what says so
            ("labelled_by", pa.string()),
            ("labelled_at", pa.timestamp("us", tz="UTC")),
            ("note", pa.string()),
        ]
    ),
    "Ground truth and verdicts; one row a record and source",
    "record_type",
)
#: What tells one row from another.
KEY = ("record_type", "record_key", "source")
#: Sources, or what stands before the ":" in them, that are no person: whatever they say, a person's word goes before it.
MACHINES: tuple[str, ...] = ("generator", "rule", "model", "truth")
#: Attack types of models of one's own have names of their own; a number, or what is no name at all, is none.
_NAME = re.compile(r"[A-Za-z][\w .:/+-]{0,63}", re.ASCII)
_BENIGN = "BENIGN"
_ATTACK = "ATTACK"
_WORDS = {"0": 0, "false": 0, "benign": 0, "normal": 0, "1": 1, "true": 1, "attack": 1}
#: Columns of a file that are named where none of them is wanted.
_SHOWN = 10
#: How far the clocks of those who label may be ahead.
_AHEAD = timedelta(days=1)
#: Identities are no longer (:class:`schemas.records.RecordType`).
_KEY_CHARACTERS = 36


class BadLabel(ValueError):
    """Something that is no label; the text says why."""


@dataclass(frozen=True)
class Imported:
    """What an import did with the rows of a file."""

    rows: int
    added: int
    changed: int
    rejected: int
    reject_file: str = ""
    #: Attack types that the record types do not declare, taken as they are written; and how many rows have them.
    undeclared: Mapping[str, int] = field(default_factory=dict)
    #: Records that the file is about.
    keys: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


def verdict(label: str, attack_type: str = "") -> tuple[int, str]:
    """Label and attack type of what was said: ``0``, ``benign``, ``1``, ``attack``, or the name of an attack type.

    Raises
    ------
    BadLabel
        Nothing was said, or one thing contradicts the other.
    """
    word, kind = label.strip(), attack_type.strip()
    if word == UNLABELLED:
        raise BadLabel(f"label {word}: nobody has said what it is")
    given = word or kind
    word, kind = ("" if one.lower() in NOTHING else one for one in (word, kind))
    if not word and not kind:
        raise BadLabel(f"label {given}: nothing is said" if given else "no label")
    known = _WORDS.get(word.lower())
    if known is None:
        if not (_NAME.fullmatch(word or kind) and _NAME.fullmatch(kind or word)):
            raise BadLabel(f"label {(word or kind)[:50]!r} is neither 0, 1, benign, attack nor the name of an attack type")
        if kind and word and kind != word:
            raise BadLabel(f"label {word!r} is another than attack_type {kind!r}")
        kind = word or kind
        known = int(kind.upper() != _BENIGN)
    if known == (kind.upper() == _BENIGN) and kind:
        raise BadLabel(f"label {word!r} contradicts attack_type {kind!r}")
    if kind.upper() == UNKNOWN.name:
        raise BadLabel(f"{UNKNOWN.name} is what a model says of what it does not know: name the attack, or say attack")
    return known, (kind or _ATTACK) if known else _BENIGN


def put(settings: Settings, rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Store labels, those of one record and source once; returns how many are new and how many changed.

    Raises
    ------
    StoreError
        See :meth:`jobs.runtime.sidetable.Side.upsert`.
    """
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in KEY)
        if key not in last or last[key]["labelled_at"] <= row["labelled_at"]:
            last[key] = row
    return Side(settings, LABELS).upsert(pa.Table.from_pylist(list(last.values()), schema=LABELS.schema), KEY, newer="labelled_at")


Cells = dict[str, Any]


def read(
    file: Path, record: RecordType, defaults: Mapping[str, str], prepare: Callable[[Cells], Cells | None] = lambda cells: cells
) -> tuple[list[dict[str, Any]], list[tuple[int, str, Cells]]]:
    """Labels in a file: CSV with a header line, or Parquet.

    Parameters
    ----------
    file
        Its columns are those of the table; ``record_key`` may bear the name of the type's own key, ``label`` that of the column in
        files of the meter. ``labelled_at`` is the file's time where it is left out, so that a second import changes nothing.
    record
        Whose labels they are, where no column ``record_type`` says so.
    defaults
        ``source`` and ``labelled_by`` where the file has none.
    prepare
        What a row's cells are taken for; None: it says nothing, and is no label. Raises :class:`BadLabel`.

    Returns
    -------
    tuple of lists
        Rows of the table; and of those that are none: line (or row), reason, cells.

    Raises
    ------
    CaptureError
        The file cannot be read, or has no column of keys or labels.
    """
    if file.exists() and not file.is_file() and not file.is_dir():  # a named pipe would be waited for, for ever
        raise CaptureError(f"{file}: is no plain file", "its time counts and its rejects lie beside it: write it into a file first")
    try:
        cells = cells_of(file)
        # of a file from the future nothing said later would count
        changed = min(datetime.fromtimestamp(os.stat(file).st_mtime, UTC), datetime.now(UTC))
    except (OSError, ValueError, csv.Error, pa.ArrowException) as e:
        raise CaptureError(
            f"{file}: {getattr(e, 'strerror', None) or one_line(e)}", "name a CSV file with a header line, or a Parquet file"
        ) from e
    if cells and "label" not in cells[0] and "Label" in cells[0]:  # what flowlake meter --labels writes
        cells = [{"label" if name == "Label" else name: value for name, value in cell.items()} for cell in cells]
    names = set(cells[0]) if cells else set()
    if cells and not (names & {"record_key", record.key} and names & {"label", "attack_type"}):
        some = sorted(map(str, names))
        shown = ", ".join(some[:_SHOWN]) + (f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else "")
        need = f"it needs record_key (or {record.key}), and label or attack_type"
        if len(some) == 1 and (between := next((sign for sign in ";\t" if sign in some[0]), "")):
            need = f"its cells are separated by {between!r}: save it with commas, as a spreadsheet does where that is asked"
        raise CaptureError(f"{file}: its columns are {shown}", need)
    good, bad = [], []
    for number, cell in enumerate(cells, start=2 if file.suffix.lower() != ".parquet" else 1):
        try:
            if (prepared := prepare(cell)) is not None:
                good.append((number, row(prepared, record, defaults, changed), cell))
        except BadLabel as e:
            bad.append((number, str(e), cell))
    disputed = _disputed([one for _, one, _ in good])
    bad += [(number, why, cell) for number, one, cell in good if (why := disputed.get(_moment(one)))]
    return [one for _, one, _ in good if _moment(one) not in disputed], sorted(bad, key=lambda one: one[0])


def _moment(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*(one[name] for name in KEY), one["labelled_at"])


def _disputed(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], str]:
    """Of which record, source and moment a file says different things, and what it says: none of them is the last word."""
    said: dict[tuple[Any, ...], list[str]] = {}
    for one in rows:
        said.setdefault(_moment(one), []).append(one["attack_type"])
    return {
        at: f"record_key {at[1]}: the file says {' and '.join(sorted(set(words)))} of it, at the same time"
        for at, words in said.items()
        if len(set(words)) > 1
    }


def cells_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a CSV or Parquet file, as they are.

    Raises
    ------
    OSError, ValueError, csv.Error, pa.ArrowException
        It cannot be read.
    """
    if file.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        table = pq.ParquetFile(file).read()
        _once(table.column_names)
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        _once(reader.fieldnames or ())
        return list(reader)


def _once(names: Sequence[str]) -> None:
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ValueError(f"{names.count(twice)} columns {twice!r}: leave out all but one")


def row(cells: Mapping[str, Any], record: RecordType, defaults: Mapping[str, str], changed: datetime) -> dict[str, Any]:
    """One label, of cells that have the names of columns; ``changed`` is its time where they say none.

    Raises
    ------
    BadLabel
        They are none.
    """

    def said(name: str) -> str:
        value = cells.get(name)
        return "" if value is None else str(value).strip()

    if None in cells:
        raise BadLabel("more cells than the header has")
    key = said("record_key") or said(record.key)
    if not key or len(key) > _KEY_CHARACTERS or not key.isascii():
        raise BadLabel(f"record_key {key[:50]!r}: 1 to {_KEY_CHARACTERS} ASCII characters")
    label = cells.get("label")
    if isinstance(label, bool) or (isinstance(label, float) and label.is_integer()):
        label = int(label)
    known, kind = verdict("" if label is None else str(label).strip(), said("attack_type"))
    source = said("source") or defaults.get("source", "")
    return {
        "record_type": said("record_type") or record.name,
        "record_key": key,
        "label": known,
        "attack_type": kind,
        "source": source,
        "labelled_by": said("labelled_by") or defaults.get("labelled_by", ""),
        "labelled_at": _time(cells.get("labelled_at"), changed),
        "note": said("note") or None,
    }


def _time(value: Any, default: datetime) -> datetime:
    if value is None or value == "":
        return default
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as e:
        raise BadLabel(f"labelled_at {str(value)[:50]!r} is no ISO 8601 time") from e
    try:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as e:
        raise BadLabel(f"labelled_at {str(value)[:50]!r} is out of range") from e
    if time > datetime.now(UTC) + _AHEAD:
        raise BadLabel(f"labelled_at {time.isoformat()} is in the future: nothing said later would count")
    return time


def import_file(
    settings: Settings,
    file: Path,
    record: RecordType,
    defaults: Mapping[str, str],
    prepare: Callable[[Cells], Cells | None] = lambda cells: cells,
) -> Imported:
    """Store the labels of a file; rows that are none go to ``<file>.rejects.csv`` with line and reason. A second time changes nothing.

    Raises
    ------
    CaptureError, StoreError
        See :func:`read` and :func:`put`.
    ConfigError
        A row is about a record type that there is not.
    """
    good, bad = read(file, record, defaults, prepare)
    known = {r.name for r in settings.catalogue.records}
    if unknown := sorted({row["record_type"] for row in good} - known):
        raise ConfigError(f"{file}: no record type {unknown[0]!r}", f"record types: {', '.join(sorted(known))}")
    rejects = ""
    if bad:
        rejects = str(file.with_name(f"{file.name}.rejects.csv"))
        lines = [["line", "reason", *(str(name) for name in bad[0][2] if name is not None)]]
        lines += [[str(number), why, *(str(value) for name, value in row.items() if name is not None)] for number, why, row in bad]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        try:
            files.replace(Path(rejects), text.getvalue())
        except OSError as e:
            raise CaptureError(
                f"{rejects}: {e.strerror}",
                "rejected rows are written beside the file, before any is stored: copy it into a folder of yours",
            ) from e
    added, changed = put(settings, good)
    declared = {name for r in settings.catalogue.records if r.alerts for name in r.alerts.by_name} | {_BENIGN, _ATTACK}
    undeclared = Counter(row["attack_type"] for row in good if row["attack_type"] not in declared)
    return Imported(
        len(good) + len(bad),
        added,
        changed,
        len(bad),
        rejects,
        dict(sorted(undeclared.items())),
        frozenset(row["record_key"] for row in good),
    )


def by_machine(source: str | None) -> bool:
    """Whether a source is no person (:data:`MACHINES`)."""
    return str(source or "").lower().partition(":")[0] in MACHINES


@dataclass(frozen=True)
class Conflict:
    """A record of which sources say different things. ``words``: what each says, the one that counts first."""

    record_key: str
    words: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.record_key}: " + ", ".join(f"{who} says {what}" for who, what in self.words)


def latest(settings: Settings, record: RecordType, version: int | None = None) -> pa.Table:
    """What counts of each record of a type: rows of :data:`LABELS`, one a record.

    The last word of a person; of a record that no person has labelled, the last word of a machine. ``version``: of the table; default: the
    newest.

    Raises
    ------
    StoreError
        The store does not answer, or refuses.

    Examples
    --------
    >>> truth = latest(settings, FLOWS)  # doctest: +SKIP
    >>> flows = dataset(location(settings, FLOWS)).to_table()  # doctest: +SKIP
    >>> flows.join(truth.select(["record_key", "label"]), "flow_id", "record_key", "inner")  # doctest: +SKIP
    """
    found = _ranked(settings, record, version)
    keys = found["record_key"].combine_chunks()
    return found.take(pc.index_in(pc.unique(keys), keys)).select(LABELS.schema.names)


def conflicts(settings: Settings, record: RecordType, version: int | None = None) -> list[Conflict]:
    """Records of which two sources say different things, in the order of their keys.

    Raises
    ------
    StoreError
        The store does not answer, or refuses.
    """
    said: dict[str, list[tuple[str, str]]] = {}
    for row in _ranked(settings, record, version).select(["record_key", "source", "labelled_by", "attack_type"]).to_pylist():
        who = row["labelled_by"] or row["source"] or "nobody named"
        said.setdefault(row["record_key"], []).append((who, row["attack_type"]))
    return [Conflict(key, tuple(words)) for key, words in sorted(said.items()) if len({what for _, what in words}) > 1]


def _ranked(settings: Settings, record: RecordType, version: int | None = None) -> pa.Table:
    """Labels of a type, those that go before others first."""
    import pyarrow.dataset as ds

    side = Side(settings, LABELS)
    try:
        found = side.dataset(version).to_table(filter=ds.field("record_type") == record.name)
    except FileNotFoundError as e:
        which = "its newest version" if version is None else f"version {version}"
        hint = "put a copy of the table back" if version is None else "VACUUM removes files of older ones: name a newer version, or none"
        raise StoreError(f"table {side.path}: files of {which} are gone", hint) from e
    except (OSError, pa.ArrowException) as e:
        raise lake.problem(e, side.path, settings.lake) from e
    machine = [by_machine(source) for source in found["source"].to_pylist()]
    found = found.append_column("machine", pa.array(machine, pa.bool_()))
    order = pc.sort_indices(found, [("machine", "ascending"), ("labelled_at", "descending"), ("source", "ascending")])
    return found.take(order)
