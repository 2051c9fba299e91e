"""The nightly run: the whole suite of a record type on one day of one of its tables, by great-expectations.

A day is read in pieces, each a pandas frame, and what is found in them is added up: memory is that of one piece, however many rows a day
has. Which engine of great-expectations it is and why: docs/explanation/decisions.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from infra.config import Settings
from infra.names import printable
from jobs.quality import batch, derive, rates, suites, table
from jobs.quality.daytables import DayTable
from jobs.quality.vectorised import TimeBounds
from schemas.records import RecordType
from schemas.rules import Constraint, NotNull, PlausibleTime

if TYPE_CHECKING:
    import pandas as pd

#: Values of failing rows that a result shows.
_SHOWN = 20


@dataclass
class Tally:
    """What one expectation came to, over all pieces."""

    config: Any
    elements: int = 0
    nulls: int = 0
    unexpected: int = 0
    values: list[Any] = field(default_factory=list)
    error: str = ""

    @property
    def success(self) -> bool:
        """Whether it holds."""
        return not self.unexpected and not self.error

    @property
    def rule(self) -> str:
        """Name of the constraint."""
        return str((self.config.meta or {}).get(suites.RULE, self.config.type))

    @property
    def said(self) -> str:
        """What was found, in a line: how many rows, and some of their values; of what was counted, the count and what was expected."""
        kwargs, kind = self.config.kwargs, self.rule.partition("(")[0]
        if self.error:
            return self.error
        if kind == "rate" and self.values:
            return f"{_number(self.values[0])}, expected {_number(kwargs['min_value'])} to {_number(kwargs['max_value'])}"
        if kind in ("unique", "strays") and self.values:
            return f"{self.values[0]:,} {'identities' if kind == 'unique' else 'rows'}"
        rows = f"{self.unexpected:,} row{'' if self.unexpected == 1 else 's'}"
        some = "; ".join(list(dict.fromkeys(str(value)[:60] for value in self.values))[:3])
        return rows if kind == "null" or not some else f"{rows}, such as {some}"

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"rule": self.rule, "rows": self.unexpected, "values": self.values, "error": self.error}

    def add(self, result: Any) -> None:
        """What great-expectations says of one piece."""
        told = result.result or {}
        self.elements += int(told.get("element_count") or 0)
        self.nulls += int(told.get("missing_count") or 0)
        bad = int(told.get("unexpected_count") or 0)
        self.unexpected += bad if bad or result.success else 1
        self.values = (self.values + [_plain(value) for value in told.get("partial_unexpected_list") or []])[:_SHOWN]
        for one in (result.exception_info or {}).values():
            if isinstance(one, dict) and one.get("raised_exception"):
                self.error = str(one.get("exception_message"))[:300]


@dataclass
class SuiteRun:
    """A run of one suite, of one record type in one store, and what it came to.

    Attributes
    ----------
    record, stage, day : what was looked at.
    rows : rows of the day.
    found : one for each expectation.
    note : what was not compared, and why; empty otherwise.
    copied : rows that are in the quarantine because of this run.
    seconds : that it took.
    """

    record: RecordType
    stage: str
    day: date
    rows: int = 0
    found: list[Tally] = field(default_factory=list)
    note: str = ""
    copied: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Of the suite."""
        return f"{self.record.name}.{self.stage}"

    @property
    def failed(self) -> list[Tally]:
        """Expectations that do not hold."""
        return [one for one in self.found if not one.success]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "suite": self.name,
            "record": self.record.name,
            "stage": self.stage,
            "day": self.day.isoformat(),
            "rows": self.rows,
            "expectations": len(self.found),
            "success": not self.failed,
            "failed": [
                {"rule": one.rule, "rows": one.unexpected, "values": [_plain(v) for v in one.values], "error": one.error}
                for one in self.failed
            ],
            "note": self.note,
            "quarantined": self.copied,
            "seconds": self.seconds,
        }


def run(
    settings: Settings, record: RecordType, stage: str, days: DayTable, day: date, *, now: datetime, say: Callable[[str], None]
) -> SuiteRun:
    """Look at one day of a table; what fails is copied to the quarantine, and stays where it is.

    Parameters
    ----------
    settings
        Bounds, and where the quarantine is.
    record, stage, days
        The table, which must exist.
    day
        UTC.
    now
        The clock that times are compared with.
    say
        Told what is being done.

    Raises
    ------
    StoreError
        The table, or the quarantine, cannot be read or written.
    """
    began, done = time.monotonic(), SuiteRun(record, stage, day)
    there = days.types()
    clock = TimeBounds.of(settings.quality, int(now.timestamp() * 1e6))
    found = constraints_for(record, settings, days, there)
    copies = _Copies(settings, record, stage, now)
    expected = list(days.expected) or sorted(derive.columns_of(constraints_for(record, settings, days)))
    done.found += validate(suites.types_frame(there), suites.of_schema(expected, days.expected, there))
    if record.key not in there or record.event_time not in there:
        done.note = f"without {record.key} and {record.event_time} its rows cannot be looked at"
        return done
    of_rows = suites.of_rows(found, clock)
    results = {one.meta[suites.RULE]: Tally(one.configuration) for one in of_rows}
    for piece in days.pieces(day, day, settings.quality.piece_rows):
        for rule, one in _checked(suites.frame(piece, found), of_rows).items():
            results[rule].add(one)
        done.rows += piece.num_rows
        say(f"{done.name} {day}: {done.rows:,} rows, {sum(not one.success for one in results.values())} expectations failed")
        copies.take(piece, found, clock, {rule for rule, one in results.items() if not one.success})
    done.found += results.values()
    twice = _twice(days, record, day)
    copies.take_twice(days, day, twice)
    strays = _strays(days, record, clock, settings, copies)
    say(f"{done.name} {day}: rates beside those of the {settings.quality.history_days} days before")
    measured = rates.measure(days, record, day, settings.quality, now)
    done.note = measured.note
    counted = {suites.twice(record.key): len(twice), suites.strays(record.event_time): strays}
    done.found += validate(suites.summary_frame(measured.rates, counted), suites.of_summary(measured.rates, record.key, record.event_time))
    done.copied = copies.write()
    done.seconds = round(time.monotonic() - began, 1)
    return done


def constraints_for(record: RecordType, settings: Settings, days: DayTable, there: dict[str, str] | None = None) -> tuple[Constraint, ...]:
    """Constraints of a record type that a table can be asked about: of columns that it has, nulls where it has no room for them."""
    names = set(days.names) & set(there if there is not None else days.names)
    return tuple(
        one
        for one in derive.constraints(record, settings)
        if names.issuperset(one.columns) and not (isinstance(one, NotNull) and one.column not in days.required)
    )


def validate(frame: pd.DataFrame, expectations: Sequence[Any]) -> list[Tally]:
    """What great-expectations says of one frame."""
    checked = _checked(frame, expectations)
    found = []
    for one in expectations:
        found.append(Tally(one.configuration))
        found[-1].add(checked[one.meta[suites.RULE]])
    return found


def _checked(frame: pd.DataFrame, expectations: Sequence[Any]) -> dict[str, Any]:
    """Results by rule."""
    from jobs.quality import site
    from jobs.quality.gxlib import gx

    context = site.scratch()
    source = context.data_sources.add_pandas(f"piece-{time.monotonic_ns()}")
    piece = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("piece")
    suite = gx.ExpectationSuite("piece", expectations=list(expectations))
    result = piece.get_batch(batch_parameters={"dataframe": frame}).validate(suite, result_format="SUMMARY")
    context.data_sources.delete(source.name)
    return {one.expectation_config.meta[suites.RULE]: one for one in result.results}


def _twice(days: DayTable, record: RecordType, day: date) -> list[str]:
    """Identities that are there more than once, as many as are worth to be shown."""
    rows = days.summary({"times": "count(*)"}, [record.key], day, day, having="count(*) > 1")
    return [str(row[record.key]) for row in rows]


def _strays(days: DayTable, record: RecordType, clock: TimeBounds, settings: Settings, copies: _Copies) -> int:
    """Rows of the whole table at times that cannot be: they lie in days that nobody looks at."""
    epoch = date(1970, 1, 1)
    before = epoch + timedelta(microseconds=clock.earliest_us) - timedelta(days=1)
    behind = epoch + timedelta(microseconds=int(np.min(clock.latest_us))) + timedelta(days=1)
    rule, count = PlausibleTime(record.event_time), 0
    for first, last in ((date.min, before), (behind, date(9999, 12, 30))):
        rows = days.summary({"rows": "count(*)"}, [], first, last)[0]["rows"]
        if rows:
            count += int(rows)
            for piece in days.pieces(first, last, settings.quality.piece_rows):
                copies.take(piece, [rule], clock, {rule.name})
    return count


class _Copies:
    """Rows for the quarantine, up to ``quality.copies``; counted beyond."""

    def __init__(self, settings: Settings, record: RecordType, stage: str, now: datetime) -> None:
        self._settings = settings
        self._record = record
        self._stage = stage
        self._now = now
        self._rows: dict[str, dict[str, Any]] = {}

    @property
    def _left(self) -> int:
        return self._settings.quality.copies - len(self._rows)

    def take(self, piece: pa.Table, found: Sequence[Constraint], clock: TimeBounds, failed: set[str]) -> None:
        """Rows of a piece that fail one of the constraints that failed."""
        wanted = [one for one in found if one.name in failed]
        if not wanted or self._left <= 0:
            return
        bad = batch.failures(piece, wanted, clock)
        for number in _first(bad, piece.num_rows, self._left):
            broken = [one for one, mask in bad.items() if mask[number]]
            reason = "; ".join(batch.told(one, piece, number) for one in broken[:5])
            self._keep(piece.slice(number, 1), broken[0].name, reason)

    def take_twice(self, days: DayTable, day: date, keys: Sequence[str]) -> None:
        """Rows with an identity that is there more than once."""
        if not keys or self._left <= 0:
            return
        rule = f"unique({self._record.key})"
        for piece in days.pieces(day, day, self._settings.quality.piece_rows, keys[: self._left]):
            for number in range(min(piece.num_rows, self._left)):
                key = piece[self._record.key][number].as_py()
                self._keep(piece.slice(number, 1), rule, f"{rule}: {key!r} is there more than once", f"{number}")

    def _keep(self, row: pa.Table, rule: str, reason: str, again: str = "") -> None:
        (value,) = table.as_json(row)
        key = row[self._record.key][0].as_py()
        name = table.identity(self._record.name, self._stage, rule, value, again)
        self._rows[name] = {
            "id": name, "stage": self._stage, "query": "nightly", "rule": rule, "reason": reason, "record_id": key, "value": value,
        }  # fmt: skip

    def write(self) -> int:
        """Put them into the quarantine, those left out that an earlier run put there; how many of them are there."""
        if not self._rows:
            return 0
        import pyarrow.compute as pc

        side = table.side(self._settings)
        there = set(side.dataset().to_table(columns=["id"], filter=pc.field("stage") == self._stage)["id"].to_pylist())
        fresh = [row for name, row in self._rows.items() if name not in there]
        if fresh:
            side.append(table.table_of(fresh, self._record, self._now))
        return len(self._rows)


def _first(bad: dict[Constraint, Any], rows: int, most: int) -> Iterator[int]:
    """Places of the first rows that fail anything."""
    any_of = np.logical_or.reduce(list(bad.values())) if bad else np.zeros(rows, bool)
    yield from np.flatnonzero(any_of)[:most].tolist()


def _number(value: float) -> str:
    """A rate for a person: whole numbers and large ones without decimals."""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:,.4g}"


def _plain(value: Any) -> Any:
    """A value of a frame as JSON has it."""
    if isinstance(value, tuple):
        return ", ".join(str(_plain(one)) for one in value)
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float) or value is None else printable(str(value))


def yesterday() -> date:
    """The last UTC day that is over."""
    return datetime.now(UTC).date() - timedelta(days=1)
