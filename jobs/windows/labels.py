"""What a source did in a window, by the ground truth of its flows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.labels import BENIGN

#: Columns of a truth table that are looked at.
NEEDED: tuple[str, ...] = ("src_ip", "start_time", "end_time", "label")


def label(windows: pa.Table, truth: pa.Table) -> pa.Array:
    """Label of every window, string[n]: the attack that most flows of its source in that time belonged to, else ``BENIGN``.

    A flow counts in each window that its packets reached into, by its first and last packet; of as many flows of two attacks the
    name that comes first in the alphabet counts.

    Parameters
    ----------
    windows
        Columns of :data:`schemas.windows.WINDOW_SCHEMA`.
    truth
        One row a flow, with the columns of :data:`NEEDED`; ``src_ip`` is who began it.
    """
    found = np.full(windows.num_rows, BENIGN, dtype=object)
    attacks = truth.select(list(NEEDED)).filter(pc.not_equal(truth["label"], BENIGN))
    source = np.array(attacks["src_ip"].to_pylist(), dtype=object)
    times = (attacks[name].cast(pa.timestamp("us", "UTC"), safe=False) for name in ("start_time", "end_time"))  # ns are cut off
    first, last = (column.cast(pa.int64()).to_numpy() for column in times)
    names, kind = np.unique(np.array(attacks["label"].to_pylist(), dtype=str), return_inverse=True)
    begin, end = (windows[name].cast(pa.int64()).to_numpy() for name in ("window_start", "window_end"))
    places = _places(windows["src_ip"].to_pylist())
    for name, rows in _places(source.tolist()).items():
        for at in places.get(name, ()):
            inside = rows[(first[rows] < end[at]) & (last[rows] >= begin[at])]
            if len(inside):
                found[at] = names[np.bincount(kind[inside]).argmax()]
    return pa.array(found, pa.string())


def _places(values: list[str]) -> dict[str, np.ndarray]:
    """Row numbers of each value."""
    if not values:
        return {}
    array = np.array(values, dtype=str)
    order = np.argsort(array, kind="stable")
    distinct, starts = np.unique(array[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts[1:]), strict=True))
