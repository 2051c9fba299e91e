"""Labelled flow records from a Parquet file: CICFlowMeter's column names, or flowlake's own.

Of files with CICFlowMeter's names, columns whose values are known to be wrong or differently defined are left out
(``WRONG_IN_CIC``), so that the model only learns what the meter will show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import ModelError, one_line
from jobs.training.fit import CANDIDATES
from jobs.training.labelled import LabelledFlows
from schemas.features import FEATURES
from schemas.labels import BENIGN

#: Features not taken from files with CICFlowMeter's names, and why.
WRONG_IN_CIC: dict[str, str] = {
    **{f"subflow_{d}_{what}": "equal to the totals, or integer quotients" for d in ("fwd", "bwd") for what in ("packets", "bytes")},
    "bwd_init_win_bytes": "holds the last window, not the first",
    "fwd_header_length": "wraps at 16 bits",
    "bwd_header_length": "wraps at 16 bits",
    "fwd_act_data_pkts": "leaves out the first packet",
}

#: Labels of the corrected CIC-IDS2017 by the name that alerts know (schemas/labels.py). Others keep their own.
CIC_LABELS: dict[str, str] = {
    "Benign": BENIGN,
    "Botnet": "BOTNET_BEACON",
    "DDoS": "HTTP_FLOOD",
    "DoS GoldenEye": "HTTP_FLOOD",
    "DoS Hulk": "HTTP_FLOOD",
    "DoS Slowhttptest": "SLOWLORIS",
    "DoS Slowloris": "SLOWLORIS",
    "FTP-Patator": "FTP_BRUTE_FORCE",
    "SSH-Patator": "SSH_BRUTE_FORCE",
    "Infiltration - Portscan": "SYN_SCAN",
    "Portscan": "SYN_SCAN",
    "Web Attack - Brute Force": "WEB_INJECTION",
    "Web Attack - SQL Injection": "WEB_INJECTION",
    "Web Attack - XSS": "WEB_INJECTION",
}

#: Flows of an attack tool that carried no attack (no payload arrived): the data's authors count them as benign.
ATTEMPTED = " - Attempted"


@dataclass(frozen=True)
class Loaded:
    """Labelled flows and what was done to get them: one line each."""

    flows: LabelledFlows
    notes: tuple[str, ...]


def load_records(path: Path) -> Loaded:
    """Read a Parquet file of labelled flow records.

    Raises
    ------
    ModelError
        The file cannot be read, has no ``Label`` column, lacks feature columns (named) or holds no usable row.
    """
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ModelError(f"{path}: no such file", "--records takes a Parquet file or the folder of a Delta table")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as e:
        raise ModelError(f"{path}: not a readable Parquet file: {one_line(e, 200)}") from e
    label = next((c for c in ("Label", "label") if c in table.schema.names), None)
    if label is None:
        raise ModelError(f"{path}: no Label column", "labels of a truth table are joined with --labels truth.parquet")
    return labelled(table, table.column(label), str(path))


def labelled(table: pa.Table, labels: pa.ChunkedArray | pa.Array, origin: str) -> Loaded:
    """Records with their labels as :class:`LabelledFlows`; grouped by day (UTC) where a time is given.

    Rows without a label, or with NaN or infinity in a feature, are dropped and counted in the notes.

    Raises
    ------
    ModelError
        Feature columns are missing (named), are no numbers, or no row is left.
    """
    notes: list[str] = []
    sources, columns = _sources(table, origin, notes)
    x = np.empty((table.num_rows, len(columns)), dtype=np.float32)
    finite = np.ones(table.num_rows, dtype=bool)
    for j, source in enumerate(sources):
        try:
            values = table.column(source).cast(pa.float64(), safe=False).to_numpy()  # null becomes NaN
        except pa.ArrowException as e:
            raise ModelError(f"{origin}: column {source} is {table.column(source).type}, not a number") from e
        with np.errstate(over="ignore"):
            x[:, j] = values
        finite &= np.isfinite(x[:, j])
    y = np.array(["" if v is None else str(v).strip() for v in labels.to_pylist()], dtype=str)
    unlabelled = y == ""
    keep = finite & ~unlabelled
    for count, what in ((int((~finite).sum()), "with NaN or infinity in a feature"), (int((finite & unlabelled).sum()), "without a label")):
        if count:
            notes.append(f"{count:,} rows dropped {what}")
    if not keep.any():
        raise ModelError(f"{origin}: no usable row of {table.num_rows:,}", "; ".join(notes))
    closed = np.ones(table.num_rows, dtype=bool)
    if "closed" in table.schema.names:
        closed = table.column("closed").cast(pa.bool_()).fill_null(True).to_numpy()
    flows = LabelledFlows(x, columns, _names(y, notes), _days(table, notes), closed)
    return Loaded(flows.where(keep), tuple(notes))


def _sources(table: pa.Table, origin: str, notes: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Columns of the table to read, and the features they are."""
    have = set(table.schema.names)
    cic = {f.name: f.cic for f in FEATURES if f.name in CANDIDATES}
    if sum(c in have for c in cic.values()) > sum(n in have for n in cic):
        wanted = {n: c for n, c in cic.items() if n not in WRONG_IN_CIC}
        notes.append(f"left out, known to be wrong in such files: {', '.join(sorted(cic[n] for n in WRONG_IN_CIC))}")
    else:
        wanted = {n: n for n in CANDIDATES}
    if missing := [c for c in wanted.values() if c not in have]:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise ModelError(f"{origin}: missing columns {shown}", "names are those of CICFlowMeter or of schemas/features.py")
    return list(wanted.values()), tuple(wanted)


def _names(y: np.ndarray, notes: list[str]) -> np.ndarray:
    """Labels by flowlake's names."""
    attempted = int(np.char.endswith(y, ATTEMPTED).sum())
    if attempted:
        notes.append(f"{attempted:,} rows labelled '..{ATTEMPTED}' taken as {BENIGN}")
    mapping = {v: BENIGN if v.endswith(ATTEMPTED) else CIC_LABELS.get(v, v) for v in np.unique(y).tolist()}
    return np.array([mapping[v] for v in y.tolist()], dtype=str)


def _days(table: pa.Table, notes: list[str]) -> np.ndarray:
    """Date of every record, "" where the table gives no time."""
    name = next((c for c in ("Timestamp", "timestamp", "start_time") if c in table.schema.names), None)
    if name is None:
        notes.append("no Timestamp column: no split by day")
        return np.full(table.num_rows, "", dtype="U10")
    column = table.column(name)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = pc.strftime(column, format="%Y-%m-%d")
    days = np.array([str(v or "")[:10] for v in column.to_pylist()], dtype="U10")
    if not all(len(d) == 10 and d[4] == d[7] == "-" for d in np.unique(days).tolist() if d):
        notes.append(f"column {name} is not in the form YYYY-MM-DD: no split by day")
        return np.full(table.num_rows, "", dtype="U10")
    return days
