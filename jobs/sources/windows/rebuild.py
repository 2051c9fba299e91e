"""Windows of the lake's 5 s records, an hour after the other, and how they differ from those that the lake has. No Spark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.windows.again import NEEDED, windows_again
from jobs.windows.bounds import Bounds
from jobs.windows.records import records
from schemas.windows import SIZES, WINDOW_SCHEMA

if TYPE_CHECKING:
    import pyarrow.dataset as ds

#: What is read at a time, and what is remembered of the time before (:mod:`jobs.windows.memory`).
HOUR = timedelta(hours=1)
_LARGEST = timedelta(seconds=SIZES[-1])
_EPOCH, _NEVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


@dataclass
class Compared:
    """Windows that were made again beside those of the lake.

    Attributes
    ----------
    equal, different
        Those that both have: with the same values in all columns, with others.
    missing, unknown
        Those that the lake lacks; those that the lake alone has.
    """

    equal: int = 0
    different: int = 0
    missing: int = 0
    unknown: int = 0

    @property
    def same(self) -> bool:
        """Whether the lake has what was made, and no more."""
        return not (self.different or self.missing or self.unknown)

    def add(self, made: pa.Table, kept: pa.Table) -> None:
        """Compare windows of one size and time, columns of the schema. An id that the lake has again is one more that it alone has."""
        a, b = (np.array(table["window_id"].to_pylist(), dtype=object) for table in (made, kept))
        b, first = np.unique(b, return_index=True)
        _, here, there = np.intersect1d(a, b, assume_unique=True, return_indices=True)
        mine, others = made.take(here), kept.take(first[there])
        same = np.ones(len(here), bool)
        for name in made.column_names:
            same &= np.asarray(pc.equal(mine[name], others[name]).combine_chunks().to_numpy(zero_copy_only=False), bool)
        self.equal += int(same.sum())
        self.different += int((~same).sum())
        self.missing += made.num_rows - len(here)
        self.unknown += kept.num_rows - len(here)


def bounds(five: ds.Dataset, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime] | None:
    """The part of a range in which windows may begin, by the records of 5 s that are there; None where there are none."""
    found = [
        pc.min_max(batch.column(0)).as_py()
        for batch in five.to_batches(columns=["window_start"], filter=_within(since or _EPOCH, _after(until) if until else _NEVER))
        if batch.num_rows
    ]
    if not found:
        return None
    first, last = _before(min(one["min"] for one in found)), max(one["max"] for one in found) + timedelta(seconds=SIZES[0])
    return max(since or first, first), min(until or last, last)


def rebuilt(
    five: ds.Dataset, sizes: Sequence[int], since: datetime, until: datetime, *, partial: bool = True, most: Bounds | None = None
) -> Iterator[tuple[datetime, datetime, pa.Table]]:
    """Windows that begin in a range, by hours of it: where each begins and ends, and its windows in the order of time.

    Two hours are held at a time, and of a flood of sources what a window may have (:class:`jobs.windows.cascade.Bounds`).

    Parameters
    ----------
    five
        The table of records of 5 s.
    sizes
        Sizes of windows that are wanted, seconds.
    since, until
        The range; windows that begin at its end are not in it.
    partial
        Larger windows, too, that lack a record of some slot.
    most
        What the stream keeps at most, over all buckets.

    Raises
    ------
    BlobError
        A summary is damaged.
    """
    begin, end = _before(since) - HOUR, _after(until)
    read = given = begin

    def tables() -> Iterator[pa.Table]:
        nonlocal read
        while read < end:
            rows = five.to_table(columns=list(NEEDED), filter=_within(read, min(read + HOUR, end)))
            yield rows.sort_by("window_start")
            read += HOUR

    waiting: list[pa.Table] = []

    def over(now: datetime) -> Iterator[tuple[datetime, datetime, pa.Table]]:
        """Whole hours before a time, at which no window of them is open."""
        nonlocal given, waiting
        while given < now:
            last = min(given + HOUR, end)
            of_hour, waiting = _parted(waiting, last)
            if last > since:
                yield max(given, since), min(last, until), of_hour
            given = last

    for made in windows_again(tables(), partial=partial, bounds=most):
        for size in sizes:
            rows = pa.Table.from_batches([records(made[size], size)]).select(WINDOW_SCHEMA.names)
            waiting.append(_between(rows, since, until))
        yield from over(read - HOUR)
    yield from over(end)


def kept(table: ds.Dataset, begin: datetime, end: datetime) -> pa.Table:
    """Windows of one size that the lake has and that begin in a range."""
    return table.to_table(columns=WINDOW_SCHEMA.names, filter=_within(begin, end)).cast(WINDOW_SCHEMA)


def of_size(windows: pa.Table, size: int) -> pa.Table:
    """Those of one size, seconds."""
    return windows.filter(pc.equal(windows["window_size"], size))


def _before(time: datetime) -> datetime:
    """When the window of the largest size began in which a time lies."""
    return time - (time - _EPOCH) % _LARGEST


def _after(time: datetime) -> datetime:
    """The end of the last window of the largest size that began before a time."""
    return min(time, _NEVER) + (_EPOCH - min(time, _NEVER)) % _LARGEST


def _parted(windows: Sequence[pa.Table], end: datetime) -> tuple[pa.Table, list[pa.Table]]:
    """Those that begin before a time, in order, and the others."""
    together = pa.concat_tables([WINDOW_SCHEMA.empty_table(), *windows])
    before = pc.less(together["window_start"], pa.scalar(end, WINDOW_SCHEMA.field("window_start").type))
    order = [("window_start", "ascending"), ("window_size", "ascending"), ("window_id", "ascending")]
    return together.filter(before).sort_by(order), [together.filter(pc.invert(before))]


def _between(windows: pa.Table, begin: datetime, end: datetime) -> pa.Table:
    first, last = (pa.scalar(time, WINDOW_SCHEMA.field("window_start").type) for time in (begin, end))
    return windows.filter(pc.and_(pc.greater_equal(windows["window_start"], first), pc.less(windows["window_start"], last)))


def _within(begin: datetime, end: datetime) -> ds.Expression:
    """Condition: it begins in a range. Days that do not are not opened."""
    import pyarrow.dataset as ds

    day, time = ds.field("event_date"), ds.field("window_start")
    return (day >= begin.date()) & (day <= end.date()) & (time >= begin) & (time < end)
