"""Ground truth joined to flow records: by flow key, in either direction, and time.

A truth table has one row for every conversation: ``src_ip, src_port, dst_ip, dst_port, protocol`` (ports 0 where the protocol has none),
``start_time``, ``end_time`` and ``label``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import ModelError
from jobs.scoring.matrix import Records

KEY = ("src_ip", "src_port", "dst_ip", "dst_port", "protocol")
SPAN = ("start_time", "end_time")


def join_labels(records: Records, truth: pa.Table, *, slack_us: int = 1000) -> pa.Array:
    """Label of every record.

    Parameters
    ----------
    records : n records with the columns of a flow key, ``start_time`` and ``end_time``.
    truth : m rows with the same columns and ``label``. Rows of one key may follow one another in time (a port used again).
    slack_us : microseconds by which a record may lie outside its truth row's span (rounding of capture files).

    Returns
    -------
    string[n]; null where no truth row of the key overlaps the record. Of several, the one with the longest overlap.

    Raises
    ------
    ModelError
        A column is missing.
    """
    for name, table, columns in (("the records", records, (*KEY, *SPAN)), ("the truth table", truth, (*KEY, *SPAN, "label"))):
        if missing := [c for c in columns if c not in table.schema.names]:
            raise ModelError(f"{name}: missing columns {', '.join(missing)}", f"needed: {', '.join(columns)}")
    ours, theirs = _keys(records), _keys(truth)
    codes = pa.chunked_array([ours, theirs]).dictionary_encode().combine_chunks().indices.to_numpy()
    rec, tru = codes[: len(ours)], codes[len(ours) :]
    order = np.argsort(tru, kind="stable")
    lo, hi = np.searchsorted(tru[order], rec, "left"), np.searchsorted(tru[order], rec, "right")
    start, end = (_us(records.column(c)) for c in SPAN)
    t_start, t_end = (_us(truth.column(c))[order] for c in SPAN)
    best = np.full(len(rec), -1, dtype=np.int64)
    best_overlap = np.full(len(rec), -1, dtype=np.int64)
    left = np.flatnonzero(hi > lo)
    at = lo.copy()
    while len(left):  # one turn for every further truth row of a key
        candidate = at[left]
        overlap = np.minimum(end[left], t_end[candidate]) - np.maximum(start[left], t_start[candidate]) + slack_us
        better = overlap > best_overlap[left]
        best[left[better]] = candidate[better]
        best_overlap[left[better]] = overlap[better]
        at[left] += 1
        left = left[at[left] < hi[left]]
    labels = pa.chunked_array([truth.column("label")]) if isinstance(truth, pa.RecordBatch) else truth.column("label")
    rows = pa.array(np.where(best >= 0, order[best] if len(order) else 0, 0), mask=best < 0)
    return labels.cast(pa.string()).combine_chunks().take(rows)


def _keys(table: Records) -> pa.Array:
    """One text for a conversation, the same for both directions."""
    a, b = (
        pc.binary_join_element_wise(table.column(ip).cast(pa.string()), table.column(port).cast(pa.int64()).cast(pa.string()), "|")
        for ip, port in (("src_ip", "src_port"), ("dst_ip", "dst_port"))
    )
    protocol = table.column("protocol").cast(pa.int64()).cast(pa.string())
    swap = pc.greater(a, b)
    keys = pc.binary_join_element_wise(pc.if_else(swap, b, a), pc.if_else(swap, a, b), protocol, "|")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def _us(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Microseconds since the epoch of a timestamp column (any unit), or of integer nanoseconds."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy()) // 1000
    return np.asarray(column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64()).to_numpy())
