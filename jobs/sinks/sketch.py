"""Counting distinct values in bounded memory, so that seeing the same evidence twice, in any order, changes nothing.

Bottom-k sketch (Bar-Yossef et al., RANDOM 2002; Beyer et al., SIGMOD 2007): of the 64-bit hashes of the
values, the k smallest are kept. Fewer than k: the count is exact. Else the k-th smallest hash ``h`` estimates
it as ``(k - 1) / (h / 2^64)``, relative standard error ``1 / sqrt(k - 2)``. Union and repetition are exact
operations on sketches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from pandas.util import hash_array

from schemas.alerts import SAMPLE_SIZE, SKETCH_SIZE

Hashes = npt.NDArray[np.uint64]
EMPTY: Hashes = np.empty(0, np.uint64)
_LITTLE = np.dtype("<u8")


def hashes(values: Sequence[str] | npt.NDArray[np.object_]) -> Hashes:
    """SipHash of each text, uint64[n]."""
    array = np.empty(len(values), object)
    array[:] = values
    return np.asarray(hash_array(array, categorize=False), np.uint64)


def union(a: Hashes, b: Hashes, k: int = SKETCH_SIZE) -> Hashes:
    """Sketch of the union of two sketches (ascending, distinct)."""
    new = missing(a, b)
    return insert(a, new)[:k] if len(new) else a


def missing(known: Hashes, values: Hashes) -> Hashes:
    """Those of ``values`` that are not in ``known``; both ascending and distinct."""
    if not len(known):
        return values
    at = np.searchsorted(known, values)
    at[at == len(known)] = 0
    return values[known[at] != values]


def insert(known: Hashes, new: Hashes) -> Hashes:
    """``known`` with ``new``, none of which it holds; both ascending and distinct."""
    if not len(known):
        return new
    places = np.searchsorted(known, new)
    places += np.arange(len(new))
    out = np.empty(len(known) + len(new), np.uint64)
    rest = np.ones(len(out), np.bool_)
    rest[places] = False
    out[places] = new
    out[rest] = known
    return out


def estimate(sketch: Hashes, k: int = SKETCH_SIZE) -> int:
    """Number of distinct values; exact below ``k``."""
    if len(sketch) < k:
        return len(sketch)
    return round((k - 1) / ((float(sketch[k - 1]) + 1.0) / 2.0**64))


def sample(values: Iterable[str], size: int = SAMPLE_SIZE) -> list[str]:
    """The values with the smallest hashes: the same ones whatever the order of arrival; at most ``size``."""
    distinct = sorted(set(values))
    if len(distinct) <= size:
        return distinct
    order = np.argsort(hashes(distinct), kind="stable")[:size]
    return sorted(distinct[i] for i in order)


def joined(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """:func:`sample` of two samples together; mostly the second says nothing new."""
    return list(a) if set(a).issuperset(b) else sample([*a, *b])


def pack(array: Hashes) -> bytes:
    """Little-endian bytes, 8 a hash."""
    return array.astype("<u8", copy=False).tobytes()


def unpack(data: bytes | memoryview) -> Hashes:
    """Inverse of :func:`pack`."""
    return np.frombuffer(data, _LITTLE)
