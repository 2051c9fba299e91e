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

from infra.errors import ModelError, one_line
from infra.plurals import counted
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

    Attributes
    ----------
    left_out
        Rows that say of no conversation when it was.
    met : bool[usable rows]
        Which were found in records, so far.

    Raises
    ------
    ModelError
        A column is missing, or of another type.
    """

    def __init__(self, truth: Records) -> None:
        _check("the truth table", truth, (*KEY, *SPAN, "label"))
        try:
            keys, labels = _keys(truth), _plain(truth.column("label").cast(pa.string()))
            start, end = (_us(truth.column(c)) for c in SPAN)
        except pa.ArrowException as e:
            hint = "addresses and labels are text, ports and protocol whole numbers, times timestamps"
            raise ModelError(f"the truth table: {one_line(e, 200)}", hint) from e
        known = [keys.is_valid(), *(_plain(truth.column(c)).is_valid() for c in SPAN)]
        usable = np.logical_and.reduce([np.asarray(v.to_numpy(zero_copy_only=False), bool) for v in known]) & (start <= end)
        self.left_out = int((~usable).sum())
        rows = np.flatnonzero(usable)
        named = keys.take(pa.array(rows)).dictionary_encode()
        codes = named.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        self._bounds = np.searchsorted(codes[order], np.arange(len(named.dictionary) + 1))  # rows of a key, in ``order``
        self._index = pd.Index(named.dictionary.to_numpy(zero_copy_only=False), dtype=object)
        self._start, self._end = start[rows][order], end[rows][order]
        self._labels = labels.take(pa.array(rows[order]))
        self.met = np.zeros(len(rows), bool)

    def notes(self) -> list[str]:
        """What became of the table's rows, a line each, once all records were labelled."""
        found = []
        if self.left_out:
            why = "without an address, port or time, or ending before they begin"
            found.append(f"{counted(self.left_out, 'row')} of the truth table left out: {why}")
        if unmet := int((~self.met).sum()):
            found.append(f"{unmet:,} of {counted(len(self.met), 'conversation')} of the truth table meet no record of the lake")
        return found

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
        self.met[best[best >= 0]] = True
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
    return _plain(keys)


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _us(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Microseconds since the epoch of a timestamp column (any unit), or of integer nanoseconds; 0 where there is none."""
    if not pa.types.is_integer(column.type):
        column = column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
        return np.asarray(column.fill_null(0).to_numpy())
    return np.asarray(column.fill_null(0).to_numpy()) // 1000
