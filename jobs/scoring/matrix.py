"""Feature columns of flow records as the one float32 matrix a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import ModelError

_LIMIT = float(np.finfo(np.float32).max)

Records: TypeAlias = pa.Table | pa.RecordBatch


def check_columns(records: Records, columns: Sequence[str], what: str) -> None:
    """Raise :class:`ModelError` naming the ``columns`` that ``records`` lacks."""
    have = set(records.schema.names)
    if missing := [c for c in columns if c not in have]:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise ModelError(f"{what}: missing columns {shown}", "the columns of a flow record are declared in schemas/flows.py")


def feature_matrix(records: Records, columns: Sequence[str]) -> npt.NDArray[np.float32]:
    """Pack feature columns into one matrix.

    Parameters
    ----------
    records
        Arrow table or batch of n rows with numeric ``columns``.
    columns
        The k column names, in the model's order.

    Returns
    -------
    float32[n, k], C-contiguous, always finite: NaN and null become 0 (the sentinel of an undefined feature), values beyond float32
    its largest. A flow record holds neither; a frame from elsewhere may.

    Raises
    ------
    ModelError
        A column is missing or is not a number.
    """
    check_columns(records, columns, "the records to be scored")
    out = np.empty((records.num_rows, len(columns)), dtype=np.float32)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite here and is clipped below
        for j, name in enumerate(columns):
            column = records.column(name)
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
                raise ModelError(f"the records to be scored: column {name} is {column.type}, not a number")
            out[:, j] = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
    if not np.isfinite(out).all():
        np.nan_to_num(out, copy=False, nan=0.0, posinf=_LIMIT, neginf=-_LIMIT)
    return out
