"""Constraints evaluated on Arrow tables: which rows fail.

A look at a whole column comes first (its least and greatest value, its distinct texts), since nearly always all rows keep it; only when
that finds something are the rows themselves looked at.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from infra.sections import QualitySettings
from schemas.rules import (
    IPV4,
    IPV6,
    TOLERANCE,
    UUID,
    Address,
    Constraint,
    NoNul,
    NotNull,
    OneOf,
    Order,
    Pattern,
    PlausibleTime,
    Range,
    Together,
)

Mask = npt.NDArray[np.bool_]
_S = 1_000_000


@dataclass(frozen=True)
class TimeBounds:
    """Between which times a time is plausible.

    Parameters
    ----------
    earliest_us
        Microseconds since 1970.
    ahead_us
        How far a time may be ahead.
    now_us : int or ndarray of int64, shape (rows,)
        Of the clock that it is compared with: for each row, or for all.
    """

    earliest_us: int
    ahead_us: int
    now_us: int | npt.NDArray[np.int64]

    @classmethod
    def of(cls, quality: QualitySettings, now_us: int | npt.NDArray[np.int64]) -> TimeBounds:
        """With the bounds of the settings."""
        first = datetime(quality.earliest.year, quality.earliest.month, quality.earliest.day, tzinfo=UTC)
        return cls(int(first.timestamp()) * _S, quality.ahead_s * _S, now_us)

    @property
    def latest_us(self) -> npt.NDArray[np.int64] | np.int64:
        """The last plausible time."""
        return np.asarray(self.now_us, np.int64)[()] + np.int64(self.ahead_us)


def failing(table: pa.Table, constraint: Constraint, clock: TimeBounds) -> Mask | None:
    """Rows that do not keep a constraint; None when all do.

    Parameters
    ----------
    table
        Holds the constraint's columns.
    constraint
        Any of :mod:`schemas.rules`.
    clock
        For times.

    Returns
    -------
    ndarray of bool, shape (rows,), or None
    """
    if not table.num_rows:
        return None
    bad = _EVALUATED[type(constraint)](table, constraint, clock)
    if bad is None:
        return None
    mask = np.asarray(pc.fill_null(bad, False)) if isinstance(bad, pa.Array | pa.ChunkedArray) else bad
    return mask if mask.any() else None


def _nulls(table: pa.Table, rule: NotNull, _: TimeBounds) -> Any:
    column = table[rule.column]
    return pc.is_null(column) if column.null_count else None


def _range(table: pa.Table, rule: Range, _: TimeBounds) -> Any:
    column = table[rule.column]
    bounds = pc.min_max(column).as_py()
    floating = pa.types.is_floating(column.type)
    # least and greatest value leave NaN out
    if not floating or not pc.any(pc.is_nan(column)).as_py():
        if bounds["min"] is None or (bounds["min"] >= rule.low and bounds["max"] <= rule.high):
            return None
    elif not floating:
        return None
    values = column.cast(pa.float64(), safe=False).to_numpy()
    with np.errstate(invalid="ignore"):
        inside = (values >= rule.low) & (values <= rule.high)
    return ~inside & ~np.asarray(column.is_null())


def _one_of(table: pa.Table, rule: OneOf, _: TimeBounds) -> Any:
    column, known = table[rule.column], pa.array(rule.values)
    found = pc.unique(column).drop_null()
    odd = found.filter(pc.invert(pc.is_in(found.cast(known.type), known)))
    return pc.is_in(column, odd) if len(odd) else None


def _address(table: pa.Table, rule: Address, _: TimeBounds) -> Any:
    column = table[rule.column]
    found = pc.unique(column).drop_null()
    rest = found.filter(pc.invert(pc.match_substring_regex(found, IPV4)))
    odd = rest.filter(pc.invert(pc.match_substring_regex(rest, IPV6))) if len(rest) else rest
    return pc.is_in(column, odd) if len(odd) else None


def _pattern(table: pa.Table, rule: Pattern, _: TimeBounds) -> Any:
    if rule.regex == UUID and _all_uuids(table[rule.column]):
        return None
    return pc.invert(pc.match_substring_regex(table[rule.column], rule.regex))


#: Of a UUID's characters: 1 a hexadecimal digit, 2 a hyphen, 0 any other.
_CLASSES = np.zeros(256, np.uint8)
_CLASSES[np.frombuffer(b"0123456789abcdefABCDEF", np.uint8)] = 1
_CLASSES[ord("-")] = 2
_UUID_CLASSES = _CLASSES[np.frombuffer(str(uuid.UUID(int=0)).encode(), np.uint8)]


def _all_uuids(column: pa.ChunkedArray) -> bool:
    """Whether all texts are UUIDs, in a fifth of the time that a regular expression takes; identities are in every row of every batch."""
    length = pc.min_max(pc.binary_length(column)).as_py()
    if column.null_count or length != {"min": 36, "max": 36}:
        return False
    for chunk in column.chunks:
        data = np.frombuffer(chunk.buffers()[2], np.uint8)
        first = int(np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset]) if len(chunk) else 0
        if not (_CLASSES[data[first : first + 36 * len(chunk)].reshape(-1, 36)] == _UUID_CLASSES).all():
            return False
    return True


def _no_nul(table: pa.Table, rule: NoNul, _: TimeBounds) -> Any:
    if not any(_zero_byte(chunk) for chunk in table[rule.column].chunks):
        return None
    return pc.match_substring(table[rule.column], "\0")


#: Microseconds of one tick of a time: numerator and denominator.
_TICKS = {"s": (_S, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}


def _zero_byte(chunk: pa.Array) -> bool:
    """Whether a zero is among the bytes of its texts: all at once, in a tenth of the time of a look at each."""
    if not pa.types.is_string(chunk.type):
        return True
    if not len(chunk):
        return False
    offsets = np.frombuffer(chunk.buffers()[1], np.int32)
    data = chunk.buffers()[2]
    first, last = int(offsets[chunk.offset]), int(offsets[chunk.offset + len(chunk)])
    return data is not None and not np.frombuffer(data, np.uint8)[first:last].all()


def _time(table: pa.Table, rule: PlausibleTime, clock: TimeBounds) -> Any:
    column = _ticks(table[rule.column])
    times, by = _TICKS[table[rule.column].type.unit]
    # in the column's own unit: what a coarse one can hold, microseconds may not
    earliest, latest = clock.earliest_us * by // times, clock.latest_us * by // times
    bounds = pc.min_max(column).as_py()
    if bounds["min"] is None or (bounds["min"] >= earliest and bounds["max"] <= latest.min()):
        return None
    values = np.asarray(column.fill_null(0))
    return ~np.asarray(column.is_null()) & ((values < earliest) | (values > latest))


def _order(table: pa.Table, rule: Order, _: TimeBounds) -> Any:
    low, high = _sum(table, rule.lower), _sum(table, rule.upper)
    bad = pc.greater(low, high)
    if not pc.any(bad).as_py():
        return None
    if pa.types.is_floating(low.type) or pa.types.is_floating(high.type):
        a, b = low.cast(pa.float64(), safe=False), high.cast(pa.float64(), safe=False)
        bad = pc.greater(a, pc.add(b, pc.multiply(pc.abs(b), TOLERANCE)))
    return bad


def _together(table: pa.Table, rule: Together, _: TimeBounds) -> Any:
    one, other = table[rule.column], table[rule.other]
    return pc.xor(pc.equal(one, pa.scalar(rule.value, one.type)), pc.equal(other, pa.scalar(rule.other_value, other.type)))


def _sum(table: pa.Table, names: tuple[str, ...]) -> pa.ChunkedArray:
    total = _ticks(table[names[0]])
    for name in names[1:]:
        total = pc.add(total, table[name])
    return total


def _ticks(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A time as an integer of its unit; numbers as they are."""
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


_EVALUATED: dict[type[Constraint], Any] = {
    NotNull: _nulls,
    Range: _range,
    OneOf: _one_of,
    Address: _address,
    Pattern: _pattern,
    NoNul: _no_nul,
    PlausibleTime: _time,
    Order: _order,
    Together: _together,
}
