"""Fields without a column of their own, as they came: several a record, of any length.

A key is one number: the element, the enterprise above it, above that how many times the element came before in the record, and whether it
is one of sFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_ENTERPRISE, _ORDINAL, _SFLOW = 16, 48, 56
_MOST_ORDINAL = 255


def key(enterprise: int, element: int, ordinal: int = 0, *, sflow: bool = False) -> int:
    """Number of a field; ``ordinal``: how many times it came before in the record."""
    return element | enterprise << _ENTERPRISE | min(ordinal, _MOST_ORDINAL) << _ORDINAL | int(sflow) << _SFLOW


@lru_cache(4096)
def key_text(number: int) -> str:
    """A key as text: ``"136"``, ``"6871:14"``, the second of its kind ``"70#1"``, a record of sFlow ``"sflow:0:1003"``."""
    element, enterprise = number & 0xFFFF, number >> _ENTERPRISE & 0xFFFFFFFF
    ordinal = number >> _ORDINAL & 0xFF
    text = f"sflow:{enterprise}:{element}" if number >> _SFLOW else f"{enterprise}:{element}" if enterprise else str(element)
    return f"{text}#{ordinal}" if ordinal else text


@dataclass
class Extras:
    """Fields of ``n`` records, ``m`` in all.

    Attributes
    ----------
    counts : int32[n]
        Fields of each record.
    keys : int64[m]
        :func:`key` of each field.
    sizes : int32[m]
        Bytes of each field.
    data
        Bytes of all fields.
    """

    counts: NDArray[np.int32]
    keys: NDArray[np.int64]
    sizes: NDArray[np.int32]
    data: bytes

    @classmethod
    def none(cls, n: int) -> Extras:
        """``n`` records without any."""
        return cls(np.zeros(n, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int32), b"")

    @classmethod
    def uniform(cls, n: int, keys: Sequence[int], sizes: Sequence[int], data: bytes) -> Extras:
        """``n`` records that have the same fields of the same sizes; ``data``: those of the first, those of the second ..."""
        return cls(np.full(n, len(keys), np.int32), np.tile(np.asarray(keys, np.int64), n), np.tile(np.asarray(sizes, np.int32), n), data)

    @classmethod
    def of_fields(cls, records: Sequence[Sequence[tuple[int, bytes]]]) -> Extras:
        """From keys and values of each record."""
        counts = np.asarray([len(r) for r in records], np.int32)
        keys = np.asarray([k for r in records for k, _ in r], np.int64)
        values = [v for r in records for _, v in r]
        return cls(counts, keys, np.asarray([len(v) for v in values], np.int32), b"".join(values))

    @classmethod
    def joined(cls, some: Sequence[Extras]) -> Extras:
        """One behind the other."""
        if len(some) == 1:
            return some[0]
        return cls(
            np.concatenate([e.counts for e in some] or [np.zeros(0, np.int32)]),
            np.concatenate([e.keys for e in some] or [np.zeros(0, np.int64)]),
            np.concatenate([e.sizes for e in some] or [np.zeros(0, np.int32)]),
            b"".join(e.data for e in some),
        )

    def to_arrow(self) -> pa.MapArray:
        """As a map of text to bytes."""
        unique, index = np.unique(self.keys, return_inverse=True)
        texts = pa.array([key_text(int(k)) for k in unique], pa.string()).take(pa.array(index.astype(np.int64)))
        ends = np.zeros(len(self.sizes) + 1, np.int32)
        np.cumsum(self.sizes, out=ends[1:])
        values = pa.BinaryArray.from_buffers(pa.binary(), len(self.sizes), [None, pa.py_buffer(ends), pa.py_buffer(self.data)])
        offsets = np.zeros(len(self.counts) + 1, np.int32)
        np.cumsum(self.counts, out=offsets[1:])
        return pa.MapArray.from_arrays(pa.array(offsets), texts, values)
