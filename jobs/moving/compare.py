"""Do CSV files and a store hold the same rows of a span of time? The check of a time in which both are written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra.config import Settings
from infra.errors import InputError
from infra.times import micros
from jobs.moving import kept as stores
from jobs.moving import sums
from jobs.moving.columns import CONFIDENCE, LABEL, recognise
from jobs.moving.convert import Converter
from jobs.moving.csvfile import CsvFile
from jobs.moving.report import shown
from jobs.moving.sums import HOUR_US, HourSums
from jobs.moving.times import TimeReading
from schemas.records import RecordType


@dataclass(frozen=True)
class RowDifference:
    """Two rows of one time that differ, or a row that the other side has not (None)."""

    csv: dict[str, Any] | None
    store: dict[str, Any] | None
    columns: tuple[str, ...] = ()


@dataclass
class Comparison:
    """Both sides by hour, and what differs.

    Attributes
    ----------
    columns
        What was compared: what the files have, and the store.
    csv, store
        Hours since 1970 -> rows and checksums.
    differences
        The first.
    rejected
        Lines of the files that are no rows.
    latency
        How late rows came into the store.
    """

    columns: tuple[str, ...]
    csv: dict[int, HourSums] = field(default_factory=dict)
    store: dict[int, HourSums] = field(default_factory=dict)
    differences: list[RowDifference] = field(default_factory=list)
    rejected: int = 0
    latency: dict[str, Any] = field(default_factory=dict)

    @property
    def differing(self) -> list[int]:
        """Hours that are not the same."""
        return [hour for hour in sorted({*self.csv, *self.store}) if self.csv.get(hour) != self.store.get(hour)]

    @property
    def equal(self) -> bool:
        """Both hold the same rows."""
        return not self.differing

    def checksums(self) -> Iterator[tuple[str, str, str]]:
        """Each column with its checksum in the files and in the store."""
        csv, store = sums.total(self.csv.values(), len(self.columns)), sums.total(self.store.values(), len(self.columns))
        for name, one, other in zip(self.columns, csv.columns.tolist(), store.columns.tolist(), strict=True):
            yield name, f"{one:016x}", f"{other:016x}"

    def told(self) -> dict[str, Any]:
        """For JSON."""
        hours = sorted({*self.csv, *self.store})
        return {
            "equal": self.equal,
            "rows_csv": sum(hour.rows for hour in self.csv.values()),
            "rows_store": sum(hour.rows for hour in self.store.values()),
            "rejected_csv": self.rejected,
            "hours": [
                {
                    "hour": shown(hour * HOUR_US),
                    "csv": self.csv.get(hour, HourSums()).rows,
                    "store": self.store.get(hour, HourSums()).rows,
                    "equal": self.csv.get(hour) == self.store.get(hour),
                }
                for hour in hours
            ],
            "days": [{"day": day, "csv": counts[0], "store": counts[1]} for day, counts in sorted(self.days().items())],
            "columns": {name: {"csv": one, "store": other, "equal": one == other} for name, one, other in self.checksums()},
            "first_differences": [{"csv": d.csv, "store": d.store, "columns": list(d.columns)} for d in self.differences],
            "write_latency": self.latency,
        }

    def days(self) -> dict[str, list[int]]:
        """Rows of a day in the files and in the store."""
        found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for side, hours in enumerate((self.csv, self.store)):
            for hour, summed in hours.items():
                found[str(shown(hour * HOUR_US))[:10]][side] += summed.rows
        return found


def compare(
    settings: Settings,
    record: RecordType,
    paths: Sequence[Path],
    *,
    since: datetime,
    until: datetime,
    store: str,
    clock: TimeReading,
    layout: str | None = None,
    most: int = 5,
) -> Comparison:
    """Compare the rows of CSV files with those of a store.

    Parameters
    ----------
    settings
        Where the store is.
    record
        What the rows are.
    paths
        The files.
    since, until
        From the first on, up to but not including the second.
    store
        ``hot`` or ``lake``.
    clock, layout
        How the files are read.
    most
        Differences that are shown.

    Raises
    ------
    InputError
        A file cannot be read, or has no column that can be compared.
    StoreError
        The store cannot be read.
    """
    files = [CsvFile(path, final=True) for path in paths]
    files = [file for file in files if not file.empty]
    if not files:
        raise InputError(f"CSV file {paths[0]} is empty", "there is nothing to compare")
    names = _compared(settings, record, files, store, layout)
    done = Comparison(names)
    time, span = record.event_time, (micros(since), micros(until))

    def rows(low: int, high: int) -> Iterator[tuple[pa.Table, int]]:
        for file in files:
            moments = (stores.moment(low), stores.moment(high))
            columns = recognise(record, file, layout)
            converter = Converter(record, file, columns, clock, since=moments[0], until=moments[1], hot=False)
            for block in file.blocks():
                converted = converter.convert(block)
                yield converted.rows.select(list(names)), len(converted.rejects)

    for table, rejected in rows(*span):
        sums.add(done.csv, table, names, time)
        done.rejected += rejected
    for table in stores.kept(settings, record, store, names, *span):
        sums.add(done.store, table, names, time)
    for hour in done.differing:
        if len(done.differences) >= most:
            break
        low, high = max(span[0], hour * HOUR_US), min(span[1], (hour + 1) * HOUR_US)
        of_files = pa.concat_tables([table for table, _ in rows(low, high)])
        of_store = list(stores.kept(settings, record, store, names, low, high))
        found = differences(of_files, pa.concat_tables(of_store) if of_store else of_files.slice(0, 0), names, time)
        done.differences += found[: most - len(done.differences)]
    done.latency = stores.latency(settings, record, store, *span)
    return done


def _compared(settings: Settings, record: RecordType, files: Sequence[CsvFile], store: str, layout: str | None) -> tuple[str, ...]:
    """Columns that every file and the store have; the identity is not compared: whoever writes gives his own."""
    shared = stores.available(settings, record, store) - {record.key}
    for file in files:
        places = recognise(record, file, layout).places
        shared &= {*places}
    if shared == {record.event_time}:
        raise InputError(f"CSV file {files[0].path} shares no column but {record.event_time} with the store", "see: flowlake migrate csv")
    order = [record.event_time, *(n for n in record.published.names if n in shared and n != record.event_time)]
    return tuple(sorted(order, key=lambda name: name in (LABEL, CONFIDENCE)))


def differences(csv: pa.Table, store: pa.Table, names: Sequence[str], time: str) -> list[RowDifference]:
    """Rows that only one of the tables has, as often as it has more of them; two of one time are shown side by side."""
    hashes = {"csv": sums.row_hashes(csv, names).tolist(), "store": sums.row_hashes(store, names).tolist()}
    more = Counter(hashes["csv"])
    more.subtract(hashes["store"])
    left = {side: _unmatched(table, hashes[side], more, 1 if side == "csv" else -1) for side, table in (("csv", csv), ("store", store))}
    by_time: dict[datetime, list[dict[str, Any]]] = defaultdict(list)
    for row in left["store"]:
        by_time[row[time]].append(row)
    found = []
    for row in left["csv"]:
        other = by_time[row[time]].pop(0) if by_time[row[time]] else None
        found.append(RowDifference(row, other, _differing(row, other) if other else ()))
    found += [RowDifference(None, row) for rows in by_time.values() for row in rows]
    return sorted(found, key=lambda d: (d.csv or d.store or {})[time])


def _unmatched(table: pa.Table, hashes: Sequence[int], more: Counter[int], sign: int) -> list[dict[str, Any]]:
    left = {value: count * sign for value, count in more.items() if count * sign > 0}
    places = []
    for place, value in enumerate(hashes):
        if left.get(value, 0) > 0:
            left[value] -= 1
            places.append(place)
    rows: list[dict[str, Any]] = table.take(pa.array(places, pa.int64())).to_pylist()
    return rows


def _differing(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    def same(a: Any, b: Any) -> bool:
        if isinstance(a, float) or isinstance(b, float):
            return a is not None and b is not None and bool(np.float32(a) == np.float32(b))
        return bool(a == b)

    return tuple(name for name in one if not same(one[name], other[name]))
