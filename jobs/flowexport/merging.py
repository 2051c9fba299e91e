"""What the beginning of a packet says, beside what its record says itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.columns import DEFAULTS, FlowColumns, FlowMark
from jobs.flowexport.frames import FrameFields

_MACS = ("src_mac", "dst_mac")


def merge_frames(found: FrameFields, index: NDArray[np.int64], out: FlowColumns, rows: slice, marks: NDArray[np.uint32]) -> None:
    """Write what frames say into some records, where these say nothing themselves; each stands for one packet.

    Parameters
    ----------
    found
        Of the frames.
    index
        Which of the records each belongs to.
    out, rows
        The records.
    marks
        Of the records; changed.
    """
    for name, values in found.columns.items():
        target = out[name][rows]
        empty = ~target[index].any(axis=1) if target.ndim == 2 else target[index] == DEFAULTS[name]
        chosen = empty if name in _MACS else empty & found.read
        target[index[chosen]] = values[chosen].astype(target.dtype)
    size, count = out["bytes"][rows], out["packets"][rows]
    size[index] = np.where(size[index] == 0, found.lengths, size[index])
    count[index] = np.maximum(count[index], 1)
    marks[index[~found.read]] |= np.uint32(FlowMark.PARTIAL_FRAME)
