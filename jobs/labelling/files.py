"""The file that goes to a person and comes back: CSV or Parquet, an empty column ``label``, and why each row is in it."""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra import files
from infra.config import Settings
from infra.errors import ConfigError, StoreError
from jobs.labelling.choose import Selected, held_by_lake
from jobs.sinks import labels
from jobs.sinks.labels import BadLabel, Cells, Conflict, Imported
from schemas.labels import BENIGN, UNKNOWN
from schemas.records import RecordType

#: What spreadsheets take for a formula when a cell begins with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: What a model has said, by names under which nobody takes it for the label.
_SAID = {
    "confidence_score": "model_score",
    "predicted_label": "model_label",
    "attack_type": "model_attack_type",
    "novelty_score": "model_novelty",
    "challenger_score": "challenger_score",
    "challenger_label": "challenger_label",
    "model_version": "model_version",
}
_ADDRESSES = ("src_ip", "src_port", "dst_ip", "dst_port", "protocol")
#: Columns that count when a file comes back.
_COUNT = ("record_key", "label", "note", "labelled_by", "labelled_at")
_WORDS = ("0", "1", "benign", "attack", "normal", "true", "false")


@dataclass(frozen=True)
class Back:
    """What became of a file that came back.

    Attributes
    ----------
    done
        Rows stored and rejected.
    skipped
        Rows whose label is empty.
    unknown
        Records that the lake does not hold.
    conflicts
        Records of the file of which others say something else.
    unasked
        Why the lake could not be asked which of them it holds; "" where it was, or is not there yet.
    """

    done: Imported
    skipped: int
    unknown: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    unasked: str = ""


def write(file: Path, chosen: Selected, record: RecordType) -> None:
    """Write a file for a person: key, time, addresses, ``label`` (empty), ``note`` (empty), ``why``, what the model says, features.

    Raises
    ------
    ConfigError
        Its name ends neither in .csv nor in .parquet, or it cannot be written.
    """
    assert record.features is not None
    rows, have = chosen.rows, chosen.rows.schema.names
    empty = pa.array([""] * rows.num_rows, pa.string())
    columns: dict[str, Any] = {record.key: rows[record.key], record.event_time: rows[record.event_time]}
    columns |= {name: rows[name] for name in _ADDRESSES if name in have}
    columns |= {"label": empty, "note": empty, "why": pa.array(chosen.why, pa.string())}
    columns |= {shown: rows[name] for name, shown in _SAID.items() if name in have}
    columns |= {name: rows[name] for name in record.features.names if name in have}
    table = pa.table(columns)
    content: bytes | str
    if file.suffix.lower() == ".parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        content = bytes(sink.getvalue())
    elif file.suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([[_cell(value) for value in row.values()] for row in table.to_pylist()])
        content = text.getvalue()
    else:
        raise ConfigError(f"{file}: its name ends neither in .csv nor in .parquet", "the ending says what is written")
    try:
        files.replace(file, content)
    except OSError as e:
        raise ConfigError(f"{file}: {e.strerror}", "name a file in a folder of yours") from e


def unsaved(file: Path, record: RecordType) -> int:
    """Labels that a person has written into a file that is there already, and that writing it anew would lose."""
    try:
        cells = labels.cells_of(file) if file.is_file() else []
    except (OSError, ValueError, csv.Error, pa.ArrowException):  # none of ours
        return 0
    ours = cells and {"label", record.key} <= set(cells[0])
    return sum(bool(_plain(cell.get("label"))) for cell in cells) if ours else 0


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"  # https://owasp.org/www-community/attacks/CSV_Injection
    return value


def bring_back(settings: Settings, file: Path, record: RecordType, by: str, *, new_types: bool = False) -> Back:
    """Store the labels of a file as those of a person; a second time changes nothing. The source of each is the person's name.

    Parameters
    ----------
    new_types
        Take attack types that nobody declares and that the table does not have yet.

    Raises
    ------
    ConfigError
        The name is one that machines have.
    CaptureError, StoreError
        The file, or the table, cannot be read or written.
    """
    from deltalake.exceptions import TableNotFoundError

    by = by.strip()
    if not by or labels.by_machine(by):
        raise ConfigError(
            f"--by {by!r}: so no person is called, and its words count less than any person's" if by else "--by '': nobody",
            "give the name of whoever has filled the file in; labels of machines: flowlake lake label import --source",
        )
    declared = record.alerts.by_name if record.alerts else {}
    there = {row["attack_type"] for row in labels.latest(settings, record).select(["attack_type"]).to_pylist()}
    names = {name.upper(): name for name in {*there, *declared, BENIGN} - {UNKNOWN.name}}
    skipped = 0

    def prepare(cells: Cells) -> Cells | None:
        nonlocal skipped
        said = _plain(cells.get("label"))
        if not said:
            skipped += 1
            return None
        kept = {name: cells[name] for name in _COUNT if name in cells} | {"label": _named(said, names, new_types)}
        key = _plain(cells.get("record_key")) or _plain(cells.get(record.key))
        return {**kept, "record_key": key, **({None: ""} if None in cells else {})}  # type: ignore[dict-item]  # cells without a header

    done = labels.import_file(settings, file, record, {"source": by, "labelled_by": by}, prepare)
    unknown, unasked = list[str](), ""
    try:
        unknown = sorted(done.keys - held_by_lake(settings, record, sorted(done.keys))) if done.keys else []
    except StoreError as e:
        if isinstance(e.__cause__, TableNotFoundError):
            unknown = sorted(done.keys)  # there is no lake yet
        else:
            unasked = str(e)
    disputed = [one for one in labels.conflicts(settings, record) if one.record_key in done.keys]
    return Back(done, skipped, tuple(unknown), tuple(disputed), unasked)


def _plain(value: Any) -> str:
    """A cell as text, without the mark that keeps a spreadsheet from computing it."""
    if isinstance(value, float):
        if math.isnan(value):
            return ""  # an empty cell of a column of numbers
        value = int(value) if value.is_integer() else value
    text = "" if value is None else str(value).strip()
    return text[1:] if text.startswith("'") and text[1:2] in _FORMULA else text


def _named(said: str, names: Mapping[str, str], new_types: bool) -> str:
    """The label that is meant: its own spelling does not matter, another name does."""
    if said.lower() in _WORDS:
        return said
    if said.upper() in names:
        return names[said.upper()]
    if said.upper() == UNKNOWN.name:
        raise BadLabel(f"label {UNKNOWN.name}: that is what a model says; name the attack, or leave it empty")
    near = _near(said, [*names.values(), "attack"])
    if near or not new_types:
        meant = f": did you mean {near}?" if near else "; one that is new is taken with --new-types"
        raise BadLabel(f"label {said[:50]!r} is no attack type that is known{meant}")
    return said


def _near(said: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(said.upper(), [name.upper() for name in known], 1, 0.7)
    return next((name for name in known if found and name.upper() == found[0]), "")
