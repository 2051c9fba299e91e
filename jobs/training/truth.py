"""Ground truth joined to flow records: by flow key, in either direction, and time.

A truth table has one row for every conversation: ``src_ip, src_port, dst_ip, dst_port, protocol`` (ports 0 where the protocol has none),
``start_time``, ``end_time`` and ``label``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import ModelError
from jobs.scoring.matrix import Records

KEY = ("src_ip", "src_port", "dst_ip", "dst_port", "protocol")
SPAN = ("start_time", "end_time")


class Truth:
    """A truth table made ready to label records, batch after batch.

    Parameters
    ----------
    truth
        The m rows with the columns of a flow key, ``start_time``, ``end_time`` and ``label``. Rows of one key may
        follow one another in time (a port used again).

    Raises
    ------
    ModelError
        A column is missing.
    """

    def __init__(self, truth: Records) -> None:
        _check("the truth table", truth, (*KEY, *SPAN, "label"))
        keys = _keys(truth).dictionary_encode()
        codes = keys.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        self._bounds = np.searchsorted(codes[order], np.arange(len(keys.dictionary) + 1))  # rows of a key, in ``order``
        self._index = pd.Index(keys.dictionary.to_numpy(zero_copy_only=False), dtype=object)
        self._start, self._end = (_us(truth.column(c))[order] for c in SPAN)
        labels = truth.column("label").cast(pa.string())
        self._labels = (labels.combine_chunks() if isinstance(labels, pa.ChunkedArray) else labels).take(pa.array(order))

    def labels(self, records: Records, *, slack_us: int = 1000) -> pa.Array:
        """Label of every record.

        Parameters
        ----------
        records
            The n records with the columns of a flow key, ``start_time`` and ``end_time``.
        slack_us
            Microseconds by which a record may lie outside its truth row's span (rounding of capture files).

        Returns
        -------
        string[n]; null where no truth row of the key overlaps the record. Of several, the one with the longest overlap.

        Raises
        ------
        ModelError
            A column is missing.
        """
        _check("the records", records, (*KEY, *SPAN))
        code = self._index.get_indexer(pd.Index(_keys(records).to_numpy(zero_copy_only=False), dtype=object))
        known = code >= 0
        lo = np.where(known, self._bounds[code], 0)
        hi = np.where(known, self._bounds[code + 1], 0)
        start, end = (_us(records.column(c)) for c in SPAN)
        best = np.full(len(code), -1, dtype=np.int64)
        best_overlap = np.full(len(code), -1, dtype=np.int64)
        left = np.flatnonzero(hi > lo)
        at = lo.copy()
        while len(left):  # one turn for every further truth row of a key
            candidate = at[left]
            overlap = np.minimum(end[left], self._end[candidate]) - np.maximum(start[left], self._start[candidate]) + slack_us
            better = overlap > best_overlap[left]
            best[left[better]] = candidate[better]
            best_overlap[left[better]] = overlap[better]
            at[left] += 1
            left = left[at[left] < hi[left]]
        return self._labels.take(pa.array(np.maximum(best, 0), mask=best < 0))


def join_labels(records: Records, truth: Records, *, slack_us: int = 1000) -> pa.Array:
    """Label of every record (:meth:`Truth.labels`), for a truth table that is used once."""
    return Truth(truth).labels(records, slack_us=slack_us)


def _check(what: str, table: Records, columns: tuple[str, ...]) -> None:
    if missing := [c for c in columns if c not in table.schema.names]:
        raise ModelError(f"{what}: missing columns {', '.join(missing)}", f"needed: {', '.join(columns)}")


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
