"""Checksums of columns and rows that do not depend on the order of the rows: sums, modulo 2^64, of a number for each value.

Integers, times and text are the same when they are equal; floating-point numbers when they are equal as ``float32``, which is what the
old files and the table's ``real`` columns hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pyarrow as pa

HOUR_US = 3_600_000_000


@dataclass
class HourSums:
    """Rows of one hour: how many, and the sum of each column and of the rows."""

    rows: int = 0
    columns: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    whole: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HourSums) and (self.rows, self.whole) == (other.rows, other.whole)


def add(hours: dict[int, HourSums], rows: pa.Table, names: Sequence[str], time: str) -> None:
    """Add rows to the sums of their hours (hours since 1970)."""
    if not rows.num_rows:
        return
    values = np.stack([column_hashes(rows[name], name) for name in names])
    lines = line_hashes(values)
    at = np.asarray(rows[time].combine_chunks().cast(pa.int64())) // HOUR_US
    for hour in np.unique(at).tolist():
        chosen = at == hour
        found = hours.setdefault(hour, HourSums(columns=np.zeros(len(names), np.uint64)))
        found.rows += int(chosen.sum())
        found.columns = found.columns + values[:, chosen].sum(axis=1, dtype=np.uint64)
        found.whole = (found.whole + int(lines[chosen].sum(dtype=np.uint64))) % (1 << 64)


def line_hashes(values: np.ndarray) -> np.ndarray:
    """One number a row, of those of its columns (shape (columns, rows))."""
    return _mixed(values.sum(axis=0, dtype=np.uint64))


def row_hashes(rows: pa.Table, names: Sequence[str]) -> np.ndarray:
    """One number a row."""
    return line_hashes(np.stack([column_hashes(rows[name], name) for name in names]))


def column_hashes(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """A number for each value of a column, another one in another column; uint64."""
    column = column.combine_chunks()
    salt = np.uint64(int.from_bytes(sha256(name.encode()).digest()[:8], "little"))
    if pa.types.is_string(column.type):
        coded = column.dictionary_encode()
        texts = [int.from_bytes(sha256((text or "").encode()).digest()[:8], "little") for text in coded.dictionary.to_pylist()]
        bits = np.append(np.array(texts, np.uint64), np.uint64(0))[np.asarray(coded.indices.fill_null(len(texts)))]
    elif pa.types.is_floating(column.type):
        with np.errstate(over="ignore"):
            short = np.asarray(column.cast(pa.float64()).fill_null(np.nan)).astype(np.float32) + np.float32(0)  # -0 is 0
        bits = short.view(np.uint32).astype(np.uint64)
    else:
        kept = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
        bits = np.asarray(kept.cast(pa.int64()).fill_null(-(1 << 62))).view(np.uint64)
    return _mixed(bits ^ salt)


def _mixed(bits: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014)."""
    with np.errstate(over="ignore"):
        bits = bits + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))


def total(hours: Iterable[HourSums], columns: int) -> HourSums:
    """Sums of all hours."""
    found = HourSums(columns=np.zeros(columns, np.uint64))
    for hour in hours:
        found.rows += hour.rows
        found.columns = found.columns + hour.columns
        found.whole = (found.whole + hour.whole) % (1 << 64)
    return found
