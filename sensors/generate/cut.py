"""Cutting frames at a snap length, as a capture does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numba import njit

from sensors.packets.frames import FrameBatch


@njit(cache=True)
def _copy(data, offsets, kept, out):  # type: ignore[no-untyped-def]
    for i in range(len(kept) - 1):
        start = offsets[i]
        for k in range(kept[i + 1] - kept[i]):
            out[kept[i] + k] = data[start + k]


def cut(frames: FrameBatch, snaplen: int) -> FrameBatch:
    """The same frames with at most ``snaplen`` bytes each; ``wire_len`` stays."""
    sizes = np.minimum(np.diff(frames.offsets), snaplen)
    kept = np.zeros(len(frames) + 1, np.int64)
    np.cumsum(sizes, out=kept[1:])
    out = np.empty(int(kept[-1]), np.uint8)
    _copy(frames.data, frames.offsets, kept, out)
    return FrameBatch(frames.ts, frames.wire_len, frames.link_type, out, kept)


def cut_all(batches: Iterable[FrameBatch], snaplen: int) -> Iterator[FrameBatch]:
    """Every batch so, as it comes."""
    for batch in batches:
        yield cut(batch, snaplen)
