"""Summaries as bytes: what passes through a topic, and what is kept of a query."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.metering.words import expand, squeeze
from jobs.windows.rings import TRACE_DTYPE
from jobs.windows.summary import ITEM_DTYPE, ROW_DTYPE, Summaries, ordered

#: Of the bytes: magic, version of the layout, length of the JSON text behind it.
_HEAD = struct.Struct("<2sHI")
_MAGIC, VERSION = b"FW", 1
_CODEC = "lz4"
_LENGTH = struct.Struct("<I")
#: No piece is so large: a length beyond it is damage.
_MOST_BYTES = 1 << 31


class BlobError(ValueError):
    """Bytes that are not what was expected; says what was found."""


def encode(about: dict[str, Any], *arrays: npt.NDArray[np.void]) -> bytes:
    """A JSON object and arrays of structured rows, compressed."""
    said = json.dumps([about, [len(rows) for rows in arrays]], separators=(",", ":")).encode()
    bodies = [squeeze(rows, _CODEC) for rows in arrays]
    return b"".join([_HEAD.pack(_MAGIC, VERSION, len(said)), said, *(part for body in bodies for part in (_LENGTH.pack(len(body)), body))])


def decode(blob: bytes, *dtypes: np.dtype[np.void]) -> tuple[dict[str, Any], list[npt.NDArray[np.void]]]:
    """Inverse of :func:`encode` for arrays of these dtypes.

    Raises
    ------
    BlobError
        Damaged, or of another version.
    """
    if len(blob) < _HEAD.size or blob[:2] != _MAGIC:
        raise BlobError(f"{len(blob)} bytes that begin with {blob[:8].hex() or 'nothing'} are no summaries of windows")
    _, version, length = _HEAD.unpack_from(blob)
    if version != VERSION:
        raise BlobError(f"summaries of version {version}, this program reads version {VERSION}")
    try:
        about, counts = json.loads(blob[_HEAD.size : _HEAD.size + length])
        at, arrays = _HEAD.size + length, []
        for n, dtype in zip(counts, dtypes, strict=True):
            (size,) = _LENGTH.unpack_from(blob, at)
            at += _LENGTH.size
            if int.from_bytes(blob[at : at + 8], "little") > _MOST_BYTES:  # before memory is taken for it
                raise ValueError("a length that cannot be")
            arrays.append(expand(memoryview(blob)[at : at + size], n, dtype, _CODEC))
            at += size
        return about, arrays
    except (ValueError, KeyError, TypeError, IndexError, OSError, struct.error) as e:
        raise BlobError(f"damaged summaries of windows: {type(e).__name__}: {e}") from e


def pack(windows: Summaries, **about: Any) -> bytes:
    """Summaries, and what else is to be said."""
    return encode({**about, "domains": windows.domains}, windows.rows, windows.items)


def unpack(blob: bytes) -> tuple[dict[str, Any], Summaries]:
    """Inverse of :func:`pack`.

    Raises
    ------
    BlobError
        Damaged, or of another version.
    """
    about, (rows, items) = decode(blob, ROW_DTYPE, ITEM_DTYPE)
    if len(items) and not 0 <= int(items["row"].min()) <= int(items["row"].max()) < len(rows):
        raise BlobError("damaged summaries of windows: items of rows that are not there")
    names = about.get("domains") if isinstance(about, dict) else None
    if not isinstance(names, list) or (len(rows) and int(rows["domain"].max()) >= len(names)):
        raise BlobError("damaged summaries of windows: rows of domains without a name")
    if not ordered(rows, items):
        raise BlobError("damaged summaries of windows: out of order")
    return about, Summaries(rows, items, tuple(map(str, names)))


def pack_traces(rows: npt.NDArray[np.void]) -> bytes:
    """What is remembered of a window."""
    return encode({}, rows)


def unpack_traces(blob: bytes) -> npt.NDArray[np.void]:
    """Inverse of :func:`pack_traces`.

    Raises
    ------
    BlobError
        Damaged, or of another version.
    """
    return decode(blob, TRACE_DTYPE)[1][0]
