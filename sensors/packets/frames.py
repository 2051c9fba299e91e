"""A batch of captured frames as flat arrays: the form in which packets travel from a capture to the wire.

Frames lie one behind the other in one byte array, with ``n + 1`` offsets (Arrow's layout of a binary column), so that reading,
cutting, ordering, partitioning and encoding are array operations and no Python object is made per packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(slots=True)
class FrameBatch:
    """``n`` captured frames.

    Attributes
    ----------
    ts : int64[n]
        Capture time, ns since the epoch, UTC.
    wire_len : uint32[n]
        Bytes on the wire (not what was kept).
    link_type : uint16[n]
        LINKTYPE_* number of tcpdump.org.
    data : uint8[total]
        Frame bytes, one frame behind the other.
    offsets : int64[n + 1]
        Frame ``i`` is ``data[offsets[i]:offsets[i + 1]]``. A slice keeps its parent's ``data``: ``offsets[0]`` need not be 0.
    """

    ts: NDArray[np.int64]
    wire_len: NDArray[np.uint32]
    link_type: NDArray[np.uint16]
    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def nbytes(self) -> int:
        """Frame bytes kept (without the parent's, for a slice)."""
        return int(self.offsets[-1] - self.offsets[0])

    @classmethod
    def empty(cls) -> FrameBatch:
        """A batch of no frame."""
        return cls(np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, np.uint8), np.zeros(1, np.int64))

    @classmethod
    def from_frames(
        cls, frames: Sequence[bytes], ts: Sequence[int], link_type: int = 1, wire_len: Sequence[int] | None = None, snaplen: int = 262144
    ) -> FrameBatch:
        """Build a batch from single frames; ``wire_len`` defaults to the frames' own lengths before they are cut at ``snaplen``."""
        if len(frames) != len(ts):
            raise ValueError(f"{len(frames)} frames but {len(ts)} times")
        kept = [f[:snaplen] for f in frames]
        offsets = np.zeros(len(kept) + 1, np.int64)
        np.cumsum([len(f) for f in kept], out=offsets[1:])
        wire = [len(f) for f in frames] if wire_len is None else wire_len
        return cls(
            np.asarray(ts, np.int64),
            np.asarray(wire, np.uint32),
            np.full(len(kept), link_type, np.uint16),
            np.frombuffer(b"".join(kept), np.uint8),
            offsets,
        )

    def frame(self, i: int) -> bytes:
        """Bytes of frame ``i``."""
        return self.data[self.offsets[i] : self.offsets[i + 1]].tobytes()

    def slice(self, start: int, stop: int | None = None) -> FrameBatch:
        """Frames ``start:stop`` (as Python slices), sharing the arrays."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        return FrameBatch(
            self.ts[start:stop], self.wire_len[start:stop], self.link_type[start:stop], self.data, self.offsets[start : stop + 1]
        )

    def take(self, order: NDArray[np.integer]) -> FrameBatch:
        """Frames in the order of the indices ``order`` (int[m]); copies."""
        index = np.asarray(order, np.int64)
        offsets = np.zeros(len(index) + 1, np.int64)
        np.cumsum((self.offsets[1:] - self.offsets[:-1])[index], out=offsets[1:])
        data = np.empty(offsets[-1], np.uint8)
        _gather(self.data, self.offsets, index, offsets, data)
        return FrameBatch(self.ts[index], self.wire_len[index], self.link_type[index], data, offsets)

    def compact(self) -> FrameBatch:
        """The same frames in arrays of their own, without the parent's bytes; itself when there are none."""
        if self.offsets[0] == 0 and self.offsets[-1] == len(self.data) and self.data.base is None:
            return self
        lo, hi = self.offsets[0], self.offsets[-1]
        return FrameBatch(self.ts.copy(), self.wire_len.copy(), self.link_type.copy(), self.data[lo:hi].copy(), self.offsets - lo)

    def shifted(self, delta_ns: int) -> FrameBatch:
        """The same frames, ``delta_ns`` later."""
        return self if delta_ns == 0 else FrameBatch(self.ts + delta_ns, self.wire_len, self.link_type, self.data, self.offsets)


def concat(batches: Sequence[FrameBatch]) -> FrameBatch:
    """One batch of all frames in order; copies unless there is only one batch."""
    some = [b for b in batches if len(b)]
    if not some:
        return FrameBatch.empty()
    if len(some) == 1:
        return some[0]
    sizes = [len(b) for b in some]
    offsets = np.zeros(sum(sizes) + 1, np.int64)
    at, base = 0, 0
    for batch, n in zip(some, sizes, strict=True):
        offsets[at + 1 : at + n + 1] = batch.offsets[1:] - (batch.offsets[0] - base)
        at, base = at + n, base + batch.nbytes
    return FrameBatch(
        np.concatenate([b.ts for b in some]),
        np.concatenate([b.wire_len for b in some]),
        np.concatenate([b.link_type for b in some]),
        np.concatenate([b.data[b.offsets[0] : b.offsets[-1]] for b in some]),
        offsets,
    )


@njit(cache=True, nogil=True)
def _gather(source, source_offsets, index, offsets, out):  # type: ignore[no-untyped-def]
    """Copy frames ``index`` of ``source`` behind one another into ``out``."""
    for i in range(len(index)):
        at = source_offsets[index[i]]
        to = offsets[i]
        for k in range(offsets[i + 1] - to):
            out[to + k] = source[at + k]
