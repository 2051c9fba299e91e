"""Structured rows in other shapes: squeezed to the words that are not zero, to be passed on; turned into columns, to be computed with.

Most of a flow's aggregates are zero: a one-packet flow has no gaps, a UDP flow no flags. Leaving zeros out halves a row at a tenth of a
microsecond or three, where a general compressor takes one or two; and what is left compresses as well as byte planes do, in half the time.
"""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

_SIZE = struct.Struct("<Q")


@njit(cache=True, nogil=True)
def _masks(words):  # type: ignore[no-untyped-def]
    """Words that say which of so many words are not zero."""
    return (words + 31) // 32


@njit(cache=True, nogil=True)
def _squeeze(words, out):  # type: ignore[no-untyped-def]
    """Each row of ``words`` (uint32[n, w]) as a bit per word that is not zero, then those words; returns the length."""
    n, w = words.shape
    masks = _masks(w)
    at = 0
    for i in range(n):
        row = words[i]
        masks_at = at
        at += masks
        for k in range(masks):
            mask = np.uint32(0)
            for b in range(min(32, w - 32 * k)):
                word = row[32 * k + b]
                out[at] = word  # written over by the next one if it is zero: no branch to be guessed wrong
                some = np.uint32(word != 0)
                at += np.int64(some)
                mask |= some << np.uint32(b)
            out[masks_at + k] = mask
    return at


@njit(cache=True, nogil=True)
def _expand(data, words):  # type: ignore[no-untyped-def]
    """Inverse of :func:`_squeeze`; returns how much of ``data`` it wanted to read, which is not its length if it is damaged."""
    n, w = words.shape
    masks = _masks(w)
    last = data.shape[0] - 1
    at = 0
    for i in range(n):
        row = words[i]
        masks_at = at
        at += masks
        for k in range(masks):
            mask = data[min(masks_at + k, last)]
            for b in range(min(32, w - 32 * k)):
                some = (mask >> np.uint32(b)) & np.uint32(1)
                row[32 * k + b] = data[min(at, last)] & (np.uint32(0) - some)
                at += np.int64(some)
    return at


@njit(cache=True, nogil=True)
def _turn(source, target):  # type: ignore[no-untyped-def]
    """``target[j, i] = source[i, j]``, tile by tile: a column at a time costs a cache miss per value."""
    tile = 32
    for i in range(0, source.shape[0], tile):
        last_i = min(i + tile, source.shape[0])
        for j in range(source.shape[1]):
            for a in range(i, last_i):
                target[j, a] = source[a, j]


def compress(data: bytes | NDArray, codec: str) -> bytes:
    """``data`` compressed by an Arrow codec, its length in front."""
    plain = pa.py_buffer(data)
    return _SIZE.pack(plain.size) + bytes(pa.compress(plain, codec=codec, asbytes=True))


def decompress(data: bytes | memoryview, codec: str) -> pa.Buffer:
    """Inverse of :func:`compress`."""
    (size,) = _SIZE.unpack_from(data)
    return pa.decompress(memoryview(data)[_SIZE.size :], decompressed_size=size, codec=codec)


def squeeze(rows: NDArray, codec: str | None = None) -> bytes:
    """``rows`` of a dtype of whole 32-bit words as bytes; ``codec``: an Arrow one (``zstd``), for what is kept."""
    n, width = len(rows), rows.dtype.itemsize // 4
    out = np.empty(n * (width + _masks(width)) + 1, np.uint32)
    size = _squeeze(np.ascontiguousarray(rows).view(np.uint32).reshape(n, width), out)
    if codec is None:
        return out[:size].tobytes()
    return compress(out[:size], codec)


def expand(data: bytes | memoryview, n: int, dtype: np.dtype, codec: str | None = None) -> NDArray:
    """Inverse of :func:`squeeze`: ``n`` rows, writable.

    Raises
    ------
    ValueError
        The bytes are not those of ``n`` rows.
    """
    if codec is not None:
        data = decompress(data, codec)
    if len(data) < n * _masks(dtype.itemsize // 4) * 4:  # before memory is taken for a number that may be damaged
        raise ValueError(f"{len(data) // 4} words are not {n} rows of {dtype.itemsize} bytes")
    rows = np.empty(n, dtype)
    expand_into(data, rows)
    return rows


def expand_into(data: bytes | memoryview, rows: NDArray) -> None:
    """Fill contiguous ``rows`` with what :func:`squeeze` gave, without a codec, of as many.

    Raises
    ------
    ValueError
        The bytes are those of another number of rows, or damaged.
    """
    n, width = len(rows), rows.dtype.itemsize
    words = np.frombuffer(data, np.uint32).copy()  # writable and aligned, as compiled code knows it
    used = _expand(words, rows.view(np.uint32).reshape(n, width // 4)) if n and len(words) else 0
    if used != len(words) or (n and not used):
        raise ValueError(f"{len(words)} words are not {n} rows of {width} bytes")


def columns(rows: NDArray) -> dict[str, NDArray]:
    """Every field of ``rows`` by name; fields of 8 bytes lie in one piece. The dtype is one of whole 64-bit words."""
    n, width = len(rows), rows.dtype.itemsize // 8
    planes = np.empty((width, n), np.uint64)
    _turn(np.ascontiguousarray(rows).view(np.uint64).reshape(n, width), planes)
    found = {}
    for name, (kind, offset, *_) in (rows.dtype.fields or {}).items():
        each = 8 // kind.itemsize
        found[name] = planes[offset // 8].view(kind)[offset % 8 // kind.itemsize :: each]
    return found
