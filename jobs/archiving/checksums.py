"""Checksums of a table's columns that do not depend on the order of its rows: what two copies of the same rows must agree in.

Of each column: how many values are null, the least and the greatest, and the sum modulo 2**64 of the 64-bit hashes of the others
(:func:`pandas.util.hash_array`, which is the same on every machine). One more sum is over the rows: it tells two copies apart whose
columns hold the same values in other rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_NULL = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0x100000001B3)


@dataclass
class ColumnSum:
    """What is known of one column. ``least`` and ``greatest`` ignore nulls and NaN; None where there is nothing else."""

    nulls: int = 0
    hashes: int = 0
    least: Any = None
    greatest: Any = None

    def add(self, other: ColumnSum) -> None:
        """Take in more rows of the column."""
        self.nulls += other.nulls
        self.hashes = (self.hashes + other.hashes) % 2**64
        if other.least is not None:
            self.least = other.least if self.least is None else min(self.least, other.least)
            self.greatest = other.greatest if self.greatest is None else max(self.greatest, other.greatest)

    def json(self) -> dict[str, Any]:
        """As JSON holds it: the checksum in hexadecimal, an infinite number as text."""
        return {"nulls": self.nulls, "checksum": f"{self.hashes:016x}", "min": _plain(self.least), "max": _plain(self.greatest)}


@dataclass
class TableSum:
    """What is known of some rows."""

    rows: int = 0
    hashes: int = 0
    columns: dict[str, ColumnSum] = field(default_factory=dict)

    def add(self, other: TableSum) -> None:
        """Take in more rows."""
        self.rows += other.rows
        self.hashes = (self.hashes + other.hashes) % 2**64
        for name, column in other.columns.items():
            self.columns.setdefault(name, ColumnSum()).add(column)

    def json(self) -> dict[str, Any]:
        """As JSON holds it."""
        columns = {name: column.json() for name, column in self.columns.items()}
        return {"rows": self.rows, "checksum": f"{self.hashes:016x}", "columns": columns}


def of(table: pa.Table) -> TableSum:
    """The sums of a table's rows."""
    rows = np.zeros(table.num_rows, np.uint64)
    columns = {}
    for name in table.column_names:
        values = table[name].combine_chunks()
        hashes = _hashes(values)
        rows = (rows ^ hashes) * _STEP
        columns[name] = ColumnSum(values.null_count, _sum(hashes[_present(values)]), *_ends(values))
    return TableSum(table.num_rows, _sum(_mixed(rows)), columns)


def difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What differs first between two sums (:meth:`TableSum.json`), in words; empty where nothing does."""
    if expected["rows"] != found["rows"]:
        return f"{found['rows']:,} rows, expected {expected['rows']:,}"
    for name, column in expected["columns"].items():
        other = found["columns"].get(name, {})
        for what, value in column.items():
            seen = other.get(what)
            # A database's JSON writes a large float as a whole number of all its digits.
            if (float(value) if isinstance(seen, float) and isinstance(value, int) else value) != seen:
                return f"column {name}: {what} is {seen}, expected {value}"
    if expected["checksum"] != found["checksum"]:
        return f"checksum of the rows is {found['checksum']}, expected {expected['checksum']}"
    return ""


def _sum(hashes: Hashes) -> int:
    return int(np.add.reduce(hashes, dtype=np.uint64))


def _mixed(values: Hashes) -> Hashes:
    """A sum of rows must not be a sum of their columns: the last step of splitmix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _present(values: pa.Array) -> NDArray[np.bool_]:
    present: NDArray[np.bool_] = values.is_valid().to_numpy(zero_copy_only=False)
    return present


def _hashes(values: pa.Array) -> Hashes:
    """One hash a value."""
    from pandas.util import hash_array

    if not len(values):
        return np.zeros(0, np.uint64)
    if pa.types.is_string(values.type):
        coded = values.dictionary_encode()
        known = hash_array(coded.dictionary.to_numpy(zero_copy_only=False).astype(object), categorize=False)
        hashes = np.append(known, _NULL)[pc.fill_null(coded.indices, len(known)).to_numpy()]
    else:
        numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
        if numbers.dtype.kind == "f":
            numbers = np.where(np.isnan(numbers), numbers.dtype.type("nan"), numbers)  # PostgreSQL knows one NaN, whatever its bits
        hashes = hash_array(numbers)
        hashes = np.where(_present(values), hashes, _NULL)
    found: Hashes = hashes.astype(np.uint64)
    return found


def _ends(values: pa.Array) -> tuple[Any, Any]:
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(pc.fill_null(values, float("nan")))))
    ends = pc.min_max(values)
    return ends["min"].as_py(), ends["max"].as_py()


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, float) and not np.isfinite(value) else value
