"""Structured rows as few bytes: transposed, so that the n-th bytes of all rows, mostly equal, lie side by side; then compressed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _transpose(source, target):  # type: ignore[no-untyped-def]
    """``target[j, i] = source[i, j]`` of two byte matrices, tile by tile: a column at a time costs a cache miss per byte."""
    tile = 64
    for i in range(0, source.shape[0], tile):
        last_i = min(i + tile, source.shape[0])
        for j in range(0, source.shape[1], tile):
            last_j = min(j + tile, source.shape[1])
            for b in range(j, last_j):
                for a in range(i, last_i):
                    target[b, a] = source[a, b]


def shrink(rows: NDArray, codec: str) -> bytes:
    """``rows`` (any dtype without padding at its end) as bytes; ``codec``: ``lz4`` where they are read once and soon, ``zstd`` else."""
    n, width = len(rows), rows.dtype.itemsize
    planes = np.empty((width, n), np.uint8)
    _transpose(np.ascontiguousarray(rows).view(np.uint8).reshape(n, width), planes)
    return bytes(pa.compress(planes, codec=codec, asbytes=True))


def grow(data: bytes | memoryview, n: int, dtype: np.dtype, codec: str) -> NDArray:
    """Inverse of :func:`shrink`: ``n`` rows, writable."""
    size = n * dtype.itemsize
    planes = np.frombuffer(pa.decompress(data, decompressed_size=size, codec=codec), np.uint8, size)
    rows = np.empty(n, dtype)
    _transpose(planes.reshape(dtype.itemsize, n), rows.view(np.uint8).reshape(n, dtype.itemsize))
    return rows
