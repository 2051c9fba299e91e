"""Records in a file, scored or not, by whatever names its columns have: a record type's own, or CICFlowMeter's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import InputError, ModelError, one_line
from jobs.moving.columns import known_names, names_of
from jobs.scoring.model import ScoringModel
from jobs.scoring.names import features_of
from jobs.training.cic import ATTEMPTED
from schemas.labels import BENIGN, UNLABELLED
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
            if file.read(4) == b"PAR1":
                table = pq.read_table(path, partitioning=None)
            else:
                table = csv.read_csv(path)
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
    """Records of a table that was read from ``path``."""
    known, canonical = known_names(record), names_of(record).canonical
    wanted = set(features_of(record).names)
    best: dict[str, tuple[int, str]] = {}
    for name in table.schema.names:
        column, rank = known.get(canonical(name), ("", 0))
        if column in wanted and (column not in best or rank < best[column][0]):
            best[column] = (rank, name)
    label = next((name for name in table.schema.names if name.strip().lower() == _LABEL), None)
    notes: list[str] = []
    labels = None if label is None else _labels(table.column(label), notes)
    return RecordFile(path, table, {column: name for column, (_, name) in best.items()}, labels, tuple(notes))


def truth(file: RecordFile, model: ScoringModel, record: RecordType) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """The labels str[n] of a file, and what a model's verdicts are called beside them, str[verdicts].

    A label that is no class of the model, while the name that alerts have for it is one, is taken by that name. Where neither is of any
    label, both labels and verdicts are taken by the names of alerts.
    """
    assert file.labels is not None
    alerts = record.csv.labels if record.csv else {}
    names = np.unique(file.labels).tolist()
    known = set(model.classes)
    alike = {name: name if name in known or alerts.get(name.lower()) not in known else alerts[name.lower()] for name in names}
    if (set(alike.values()) & known) - {BENIGN} or not set(names) - {BENIGN, ""}:
        return np.array([alike[one] for one in file.labels.tolist()]), np.array(model.verdicts)
    return np.array([alerts.get(one.lower(), one) for one in file.labels.tolist()]), np.array(model.types)


def _labels(column: pa.ChunkedArray, notes: list[str]) -> npt.NDArray[np.str_]:
    said = np.array(["" if v is None else str(v).strip() for v in column.to_pylist()], dtype=str)
    if attempted := int(np.char.endswith(said, ATTEMPTED).sum()):
        notes.append(f"{attempted:,} rows labelled '..{ATTEMPTED}' taken as {BENIGN}")
    said[said == UNLABELLED] = ""
    plain = {v: BENIGN if v.endswith(ATTEMPTED) or v.upper() in (BENIGN, "NORMAL") else v for v in np.unique(said).tolist()}
    return np.array([plain[v] for v in said.tolist()], dtype=str)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """float64[n]; NaN for what is no number."""
    try:
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    except pa.ArrowException:
        import pandas as pd

        text = pc.utf8_trim_whitespace(column.cast(pa.string(), safe=False)).to_pandas()
        return np.asarray(pd.to_numeric(text, errors="coerce"), dtype=np.float64)
