"""Held-out records as a file beside a model: what another model is compared with it on, later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from infra.errors import ModelError, one_line
from jobs.training.labelled import LabelledFlows

#: The file, among those that are logged with a version.
FILE = "held_out.parquet"
#: Records that it holds at most.
MOST = 20_000
#: Columns beside those of the features.
_LABEL, _CLOSED, _GROUP, _HOST, _AGE = "label", "closed", "held_out.group", "held_out.host", "held_out.age"


def write(folder: Path, flows: LabelledFlows, *, most: int = MOST, seed: int = 7, name: str = FILE) -> Path:
    """Write labelled records into a folder, held-out ones in a file :data:`FILE`: all their features, not those of one model alone.

    Of more than ``most``, the labels with the most records give up some of them, drawn at random by ``seed``; small ones stay whole.
    """
    import pyarrow.parquet as pq

    kept = flows.capped(cap(np.unique(flows.y, return_counts=True)[1].tolist(), most), seed)
    columns: dict[str, object] = {name: kept.x[:, i] for i, name in enumerate(kept.columns)}
    columns |= {_LABEL: kept.y.tolist(), _CLOSED: kept.closed, _GROUP: kept.group.tolist(), _HOST: kept.host.tolist(), _AGE: kept.age}
    file = folder / name
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file


def cap(counts: list[int], most: int) -> int:
    """The largest number of records of each label with which there are no more than ``most`` in all; at least 1."""
    low, high = 1, max([1, *counts])
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(min(n, middle) for n in counts) <= most else (low, middle - 1)
    return low


def read(file: Path) -> LabelledFlows:
    """Held-out records of a file.

    Raises
    ------
    ModelError
        It cannot be read, or is no such file.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        features = [name for name in table.schema.names if name not in (_LABEL, _CLOSED, _GROUP, _HOST, _AGE)]
        x = np.column_stack([table.column(name).to_numpy() for name in features]).astype(np.float32)
        y, group, host = (np.array(table.column(name).to_pylist(), dtype=str) for name in (_LABEL, _GROUP, _HOST))
        if odd := int((~np.isfinite(x).all(axis=1)).sum()):
            raise ValueError(f"values of {odd:,} records are no numbers")
        closed, age = table.column(_CLOSED).to_numpy(), table.column(_AGE).to_numpy()
    except (OSError, pa.ArrowException, KeyError, ValueError) as e:
        raise ModelError(f"held-out records {file}: {one_line(e)}", "train the model anew, or name labelled records with --records") from e
    return LabelledFlows(x, tuple(features), y, group, closed.astype(bool), host, age.astype(np.float32))
