"""Rates of a day beside those of the days before: rows, attacks, sources, nulls, means of features.

A rate is odd when it is out of proportion (``quality.ratio``) *and* beyond what it varies by anyhow (``quality.deviations``); a share also
by a least difference (``quality.share``). Of a day that is not over only its past hours are looked at, and the same hours before.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from infra.sections import QualitySettings
from jobs.quality.daytables import DayTable
from schemas.records import RecordType

ROWS = "rows of the day"


@dataclass(frozen=True)
class Rate:
    """One rate: what it was, between which values it was expected (ends included)."""

    name: str
    value: float
    low: float
    high: float

    @property
    def odd(self) -> bool:
        """Whether it lies outside."""
        return not self.low <= self.value <= self.high


@dataclass(frozen=True)
class Rates:
    """Rates of a day; without any where there is too little history, which ``note`` says."""

    rates: tuple[Rate, ...]
    note: str = ""


def measure(table: DayTable, record: RecordType, day: date, quality: QualitySettings, now: datetime) -> Rates:
    """Rates of a UTC day.

    Parameters
    ----------
    table
        Of the record type.
    record
        What it holds.
    day
        The day.
    quality
        Days before, and what is odd.
    now
        Of a day that is not over, the hour that has begun is left out.

    Raises
    ------
    StoreError
        The table cannot be read.
    """
    hours = 24 if now.astimezone(UTC).date() > day else now.astimezone(UTC).hour
    first, epoch = day - timedelta(days=quality.history_days), date(1970, 1, 1)
    there = set(table.types())
    asked = _columns(record, there)
    # sums and counts, so that hours add up; distinct values do not, and are asked for by day
    inside = f"hour - day * 24 < {hours}"
    sums = {name: sql for name, (sql, _) in asked.items()}
    by_day = {epoch + timedelta(days=int(row["day"])): row for row in table.summary(_only(sums, inside), ["day"], first, day)}
    by_hour = {
        (epoch + timedelta(days=int(row["day"])), int(row["hour"]) % 24): float(row["rows"])
        for row in table.summary({"rows": "count(*)"}, ["day", "hour"], first, day)
    }
    before = [past for past in sorted(by_day) if past < day and by_day[past]["rows"]]
    if len(before) < quality.least_days:
        return Rates(
            (), f"too little history: rows on {len(before)} of the {quality.history_days} days before, {quality.least_days} needed"
        )
    if not hours:
        return Rates((), "the day has just begun")
    today = by_day.get(day) or dict.fromkeys(sums, 0)
    found = [_rate(ROWS, float(today["rows"] or 0), [float(by_day[past]["rows"]) for past in before], quality)]
    for name, (_, share) in asked.items():
        if name == "rows":
            continue
        value, history = today[name], [float(by_day[past][name]) for past in before if _number(by_day[past][name])]
        if today["rows"] and _number(value) and len(history) >= quality.least_days:
            found.append(_rate(name, float(value), history, quality, share=share))
    for hour in range(hours):
        past_rows = [by_hour.get((past, hour), 0.0) for past in before]
        if all(past_rows):  # an hour that was empty once may be empty again
            found.append(_rate(f"rows at {hour:02}:00", by_hour.get((day, hour), 0.0), past_rows, quality))
    return Rates(tuple(rate for rate in found if rate is not None))


def _columns(record: RecordType, there: set[str]) -> dict[str, tuple[str, bool]]:
    """Rate -> SQL of it by day, and whether it is a share."""
    found: dict[str, tuple[str, bool]] = {"rows": ("count(*)", False)}
    if record.features and "predicted_label" in there:
        found["share of attacks"] = ("avg(CASE WHEN predicted_label = 1 THEN 1.0 ELSE 0.0 END)", True)
    rules = record.alerts
    if rules:
        about = [rules.columns.get(name, name) for name in ("src_ip", "domain")]
        for source in [name for name in about if name in there][:1]:
            found[f"distinct {source}"] = (f'count(DISTINCT "{source}")', False)
    for field in record.published:
        if field.nullable and field.name in there:
            found[f"share of nulls in {field.name}"] = (f'avg(CASE WHEN "{field.name}" IS NULL THEN 1.0 ELSE 0.0 END)', True)
    stored = record.hot.sources if record.hot else record.features.names if record.features else ()
    for name in record.features.names if record.features else ():
        if name in there and name in stored and not pa.types.is_boolean(record.schema.field(name).type):
            found[f"mean of {name}"] = (f'avg(CAST("{name}" AS double precision))', False)
    return found


def _only(columns: Mapping[str, str], condition: str) -> dict[str, str]:
    return {name: f"{sql} FILTER (WHERE {condition})" for name, sql in columns.items()}


def _number(value: object) -> bool:
    return value is not None and math.isfinite(float(value))  # type: ignore[arg-type]


def _rate(name: str, value: float, history: Sequence[float], quality: QualitySettings, *, share: bool = False) -> Rate | None:
    mean = statistics.fmean(history)
    if not any(history) and not share:
        return None  # nothing to be in proportion to
    spread = quality.deviations * statistics.stdev(history)
    low, high = sorted((mean / quality.ratio, mean * quality.ratio))
    if share:
        low, high = min(low, mean - quality.share), max(high, mean + quality.share)
    return Rate(name, value, min(low, mean - spread), max(high, mean + spread))
