"""Records in a file, scored or not, by whatever names its columns have: a record type's own, or CICFlowMeter's."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import InputError, ModelError, one_line
from infra.names import printable
from jobs.moving.columns import known_names, names_of
from jobs.scoring.model import ScoringModel
from jobs.scoring.names import features_of
from jobs.training import labelwords
from jobs.training.cic import ATTEMPTED
from jobs.training.labelwords import ATTACK
from jobs.training.rows import VERSION
from schemas.labels import BENIGN
from schemas.records import RecordType

_LABEL = "label"
_LIMIT = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class RecordFile:
    """Records of a file.

    Attributes
    ----------
    table
        As it was read.
    features
        Feature -> column of the table.
    labels : str[n]
        What each record is, by the file's names, ``BENIGN`` for ordinary ones and "" where it does not say; None without such a column.
    notes
        What was done to read it.
    """

    path: Path
    table: pa.Table
    features: dict[str, str]
    labels: npt.NDArray[np.str_] | None
    notes: tuple[str, ...]

    def matrix(self, columns: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """float32[n, columns], finite as a stream's, and bool[n]: where a value was missing, no number, NaN or infinite.

        Raises
        ------
        ModelError
            The file lacks columns; they are named.
        """
        if missing := [name for name in columns if name not in self.features]:
            more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
            raise ModelError(
                f"{self.path}: missing columns {', '.join(missing[:8])}{more}, which the model reads",
                "columns have the names of the record type, or CICFlowMeter's",
            )
        x = np.empty((self.table.num_rows, len(columns)), dtype=np.float32)
        odd = np.zeros(self.table.num_rows, dtype=bool)
        for j, name in enumerate(columns):
            values = _numbers(self.table.column(self.features[name]))
            odd |= ~np.isfinite(values)
            with np.errstate(over="ignore"):
                x[:, j] = np.nan_to_num(values, nan=0.0, posinf=_LIMIT, neginf=-_LIMIT).clip(-_LIMIT, _LIMIT)
        return x, odd

    def current(self, record: RecordType) -> npt.NDArray[np.bool_]:
        """bool[n]: whether a record is of this program's version of the features, or does not say of which."""
        if VERSION not in self.table.schema.names:
            return np.ones(self.table.num_rows, dtype=bool)
        said = self.table.column(VERSION).cast(pa.string()).to_pylist()
        return np.array([one in (None, "", features_of(record).version) for one in said], dtype=bool)


def table_of(path: Path) -> pa.Table:
    """A Parquet or CSV file as it is.

    Raises
    ------
    InputError
        It cannot be read, or has no row.
    """
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{path}: no such file", "name a Parquet or CSV file with records")
    try:
        with path.open("rb") as file:
            begins = file.read(4)
            file.seek(0)
            if begins == b"PAR1":
                table = pq.ParquetFile(file).read()  # a column that is there twice is told later, by its name
            else:
                table = csv.read_csv(path)
                if odd := next((field.name for field in table.schema if pa.types.is_binary(field.type)), None):
                    raise InputError(f"{path}: column {odd} is not UTF-8", "write it as UTF-8, such as: iconv -f WINDOWS-1252 -t UTF-8")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: neither Parquet nor CSV: {one_line(e, 200)}", "name a Parquet or CSV file with records") from e
    if not table.num_rows:
        raise InputError(f"{path}: no rows", "name a file with records")
    return table


def read(path: Path, record: RecordType) -> RecordFile:
    """Read a Parquet or CSV file.

    Raises
    ------
    InputError
        It cannot be read, or has no row.
    """
    return of_table(path, table_of(path), record)


def of_table(path: Path, table: pa.Table, record: RecordType) -> RecordFile:
    """Records of a table that was read from ``path``.

    Raises
    ------
    InputError
        It has several columns of labels.
    ModelError
        A column is there twice, or the labels are of a type that is none.
    """
    known, canonical = known_names(record), names_of(record).canonical
    wanted = set(features_of(record).names)
    best: dict[str, tuple[int, str]] = {}
    for name in table.schema.names:
        column, rank = known.get(canonical(name), ("", 0))
        if column in wanted and (column not in best or rank < best[column][0]):
            best[column] = (rank, name)
    known_as = {column: name for column, (_, name) in best.items()}
    said = [name for name in table.schema.names if name.strip().lower() == _LABEL]
    if len(said) > 1:
        raise InputError(f"{path}: {len(said)} columns {', '.join(said)}", "which one holds the truth? leave out the others")
    labelwords.once(table.schema.names, list(known_as.values()), str(path))
    notes: list[str] = []
    labels = _labels(table.column(said[0]), str(path), notes) if said else None
    file = RecordFile(path, table, known_as, labels, tuple(notes))
    if odd := misspelt(file, record):
        notes.append(f"{odd} it is taken for an attack")
    if others := int((~file.current(record)).sum()):
        notes.append(
            f"{others:,} rows of another feature-schema version than {features_of(record).version}: their features mean something else"
        )
    return replace(file, notes=tuple(notes))


def truth(file: RecordFile, model: ScoringModel, record: RecordType) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """The labels str[n] of a file, and what a model's verdicts are called beside them, str[verdicts].

    A label that is no class of the model, while the name that alerts have for it is one, is taken by that name. Where neither is of any
    label, both labels and verdicts are taken by the names of alerts. Of a file that says attack or benign alone, so are the verdicts.
    """
    assert file.labels is not None
    if set(file.labels.tolist()) <= {ATTACK, BENIGN, ""} and ATTACK not in model.classes:  # it does not say which attack
        return file.labels, np.array([BENIGN if name == BENIGN else ATTACK for name in model.verdicts])
    alerts = record.csv.labels if record.csv else {}
    names = np.unique(file.labels).tolist()
    known = set(model.classes)
    alike = {name: name if name in known or alerts.get(name.lower()) not in known else alerts[name.lower()] for name in names}
    if (set(alike.values()) & known) - {BENIGN} or not set(names) - {BENIGN, ""}:
        return np.array([alike[one] for one in file.labels.tolist()]), np.array(model.verdicts)
    return np.array([alerts.get(one.lower(), one) for one in file.labels.tolist()]), np.array(model.types)


def _labels(column: pa.ChunkedArray, origin: str, notes: list[str]) -> npt.NDArray[np.str_]:
    said = labelwords.words(column, origin)
    if (odd := labelwords.unknown(said)).any():
        notes.append(f"{int(odd.sum()):,} rows {labelwords.LEFT_OUT}")
        said = np.where(odd, "", said)
    if attempted := int(np.char.endswith(said, ATTEMPTED).sum()):
        notes.append(f"{attempted:,} rows labelled '..{ATTEMPTED}' taken as {BENIGN}")
    plain = {v: BENIGN if v.endswith(ATTEMPTED) else v for v in np.unique(said).tolist()}
    return np.array([plain[v] for v in said.tolist()], dtype=str)


def misspelt(file: RecordFile, record: RecordType) -> str:
    """A label of a file that looks like ``BENIGN`` wrongly written, and would be an attack; "" where there is none."""
    called, known = record.csv.labels if record.csv else {}, record.alerts.by_name if record.alerts else {}
    for name in np.unique(file.labels).tolist() if file.labels is not None else ():
        if name in ("", BENIGN) or name in known or called.get(name.lower()) in known:
            continue
        if difflib.get_close_matches(name.upper(), [BENIGN], 1, 0.8):
            return f"label {printable(name[:50])!r}: did you mean {BENIGN}?"
    return ""


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """float64[n]; NaN for what is no number."""
    try:
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    except pa.ArrowException:
        import pandas as pd

        text = pc.utf8_trim_whitespace(column.cast(pa.string(), safe=False)).to_pandas()
        return np.asarray(pd.to_numeric(text, errors="coerce"), dtype=np.float64)
