"""Rows of an Arrow table as PostgreSQL's binary COPY stream (manual: SQL commands, COPY, "Binary Format").

Against CSV it halves the work of a row on both sides: no number is printed, and none is parsed by the server. Measured, 50,000 rows of
the hot table's 35 columns, encoded and copied into a table without an index on 2 cores: 208 k rows/s, against 104 k with Arrow's CSV
writer. What a column looks like in the stream is decided by its SQL type, which must be that of the table: COPY does not convert.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.sinks.addresses import packed

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension of the header
_END = b"\xff\xff"
#: Microseconds from 1970 to 2000, from where PostgreSQL counts.
_EPOCH_US = 946_684_800_000_000
#: The server's earliest time, 4713 BC, in microseconds from 1970. (Its latest is later than 64 bits reach from here.)
_EARLIEST_US = -210_866_803_200_000_000
#: Address family, bits, "is no network", bytes (``inet_send`` of the server; its number for IPv6 is not the system's).
_INET4, _INET6 = b"\0\0\0\x08\x02\x20\0\x04", b"\0\0\0\x14\x03\x80\0\x10"
_NULL = b"\xff\xff\xff\xff"
_JSONB_VERSION = b"\x01"

#: SQL types of fixed width: how they lie in the stream, and the Arrow type whose range is theirs.
_NUMBERS: dict[str, tuple[str, pa.DataType]] = {
    "smallint": (">i2", pa.int16()),
    "integer": (">i4", pa.int32()),
    "bigint": (">i8", pa.int64()),
    "real": (">f4", pa.float64()),
    "double precision": (">f8", pa.float64()),
    "boolean": ("?", pa.bool_()),
}
#: Those whose fields are as long as their values.
_BYTES = ("text", "jsonb", "bytea")
_HEX = np.full(256, 0xFF, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
_DASHES = [8, 13, 18, 23]


def encode(rows: pa.Table, types: Mapping[str, str]) -> bytes:
    """The whole stream, header and end mark included.

    Parameters
    ----------
    rows
        Its columns, in the order of ``types``; times in microseconds, addresses and UUIDs as text.
    types
        SQL type by column: ``smallint``, ``integer``, ``bigint``, ``real``, ``double precision``, ``boolean``, ``timestamptz``,
        ``uuid``, ``inet``, ``text``, ``jsonb`` or ``bytea`` (binary).

    Raises
    ------
    ValueError
        A value is none of its type; the text names the column.
    KeyError
        A type that is not in the list.
    """
    if not rows.num_rows:
        return _SIGNATURE + _END
    width = np.dtype(">i2")
    pieces: list[pa.Array] = []
    fixed: list[NDArray[Any]] = [np.full(rows.num_rows, len(types), width)]
    for name, sql in types.items():
        column = rows[name].combine_chunks()
        try:
            if sql == "inet" or sql in _BYTES or column.null_count:
                pieces += [*_joined(fixed), *_ragged(column, sql)]
                fixed = []
            else:
                fixed += _with_length(_fixed(column, sql))
        except (ValueError, pa.ArrowException) as e:
            raise ValueError(f"column {name}: {e}") from e
    pieces += _joined(fixed)
    lines = pieces[0] if len(pieces) == 1 else pc.binary_join_element_wise(*pieces, b"")
    _, offsets, data = lines.buffers()
    first, last = np.frombuffer(offsets, np.int32)[[lines.offset, lines.offset + len(lines)]]
    return b"".join([_SIGNATURE, memoryview(data)[first:last], _END])


def _fixed(column: pa.Array, sql: str) -> NDArray[Any]:
    """Values without nulls, as they lie in the stream."""
    if sql == "timestamptz":
        times = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
        if (times < _EARLIEST_US).any():
            raise ValueError(f"time out of range: {times.min()} us")
        return (times - _EPOCH_US).astype(">i8")
    if sql == "uuid":
        return _uuids(column)
    layout, arrow = _NUMBERS[sql]
    values = column.cast(arrow).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        sent = values.astype(layout)
    if sql == "real" and (np.isinf(sent) & np.isfinite(values)).any():
        raise ValueError("out of range for a real")
    return sent


def _uuids(column: pa.Array) -> NDArray[Any]:
    """Text of 36 characters -> 16 bytes each."""
    lengths, data = _text(column)
    if (lengths != 36).any():
        raise ValueError(f"not a UUID: {column[int(np.argmax(lengths != 36))].as_py()!r}")
    characters = data.reshape(-1, 36)
    digits = _HEX[np.delete(characters, _DASHES, axis=1)]
    bad = (digits == 0xFF).any(axis=1) | (characters[:, _DASHES] != ord("-")).any(axis=1)
    if bad.any():
        raise ValueError(f"not a UUID: {column[int(np.argmax(bad))].as_py()!r}")
    return np.ascontiguousarray(digits[:, ::2] << 4 | digits[:, 1::2]).view("V16").ravel()


def _with_length(values: NDArray[Any]) -> list[NDArray[Any]]:
    return [np.full(len(values), values.dtype.itemsize, ">i4"), values]


def _joined(columns: list[NDArray[Any]]) -> list[pa.Array]:
    """Columns of fixed width side by side, as one array of bytes; none of none."""
    if not columns:
        return []
    layout = np.dtype([(str(i), column.dtype) for i, column in enumerate(columns)])
    lines = np.empty(len(columns[0]), layout)
    for i, column in enumerate(columns):
        lines[str(i)] = column
    return [pa.Array.from_buffers(pa.binary(layout.itemsize), len(lines), [None, pa.py_buffer(lines)]).cast(pa.binary())]


def _text(column: pa.Array) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Lengths in bytes and the bytes of a text column; a null is 0 bytes."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.diff(ends), np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]


def _ragged(column: pa.Array, sql: str) -> list[pa.Array]:
    """Pieces of a column whose fields differ in length: by their type, or because some are null."""
    if sql == "inet":
        return [_inets(column)]
    if sql in _BYTES:
        version = _JSONB_VERSION if sql == "jsonb" else b""
        lengths = (pc.fill_null(pc.binary_length(column), -1 - len(version)).to_numpy() + len(version)).astype(">i4")
        values = pc.fill_null(column.cast(pa.binary()), b"")
        if not version:
            return [*_joined([lengths]), values]
        present = pa.array([b"", version], pa.binary()).take(column.is_valid().cast(pa.int32()))
        return [*_joined([lengths]), present, values]
    present = column.is_valid().to_numpy(zero_copy_only=False)
    whole = _joined(_with_length(_fixed(column.drop_null(), sql)))
    if not whole:
        return [pa.array([_NULL] * len(column), pa.binary())]
    place = np.where(present, np.cumsum(present) - 1, int(present.sum()))
    return [pa.concat_arrays([*whole, pa.array([_NULL], pa.binary())]).take(pa.array(place))]


def _inets(column: pa.Array) -> pa.Array:
    """Addresses as text -> fields, their lengths included."""
    coded = column.dictionary_encode()
    fields = [_inet(address) for address in coded.dictionary.to_pylist()]
    return pa.array([*fields, _NULL], pa.binary()).take(pc.fill_null(coded.indices, len(fields)))


def _inet(address: str) -> bytes:
    raw = packed(address)
    return (_INET4 if len(raw) == 4 else _INET6) + raw
