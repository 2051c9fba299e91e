"""What views know of a record type: its hot table, what its columns are, what was computed of it beforehand, and SQL made of that.

Long ranges are asked of a rollup by the hour, with the newest rows, which are not in it yet, added; short ones of the rows themselves.
Which way a question goes is a condition on numbers that Grafana puts in: PostgreSQL sees before it begins that one side is never true,
and leaves it out of the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ops.views.model import SENSOR
from schemas.records import HotTable, RecordType, Rollup, hot_records

#: Ranges up to so many seconds are asked of the rows.
SHORT_S = 6 * 3600
_HOUR_MS = 3_600_000
#: Chosen sensors as SQL literals.
CHOSEN = f"${{{SENSOR}:sqlstring}}"
_LONG = f"($__unixEpochTo() - $__unixEpochFrom() > {SHORT_S})"
_SHORT = f"($__unixEpochTo() - $__unixEpochFrom() <= {SHORT_S})"
_BEGIN, _END = "$__timeFrom()::timestamptz", "$__timeTo()::timestamptz"
#: Whole hours only: the rollup has no others.
_FIRST_HOUR = f"date_bin('1 hour', {_BEGIN} + interval '59 min 59.999999 s', timestamptz 'epoch')"


def sensors(column: str = "sensor_id") -> str:
    """Condition: one of the chosen sensors. All is NULL, which no sensor is called."""
    return f"(coalesce({CHOSEN}) IS NULL OR {column} IN ({CHOSEN}))"


def binned(column: str, width: str = "$__interval_ms * interval '1 ms'") -> str:
    """The beginning of the bucket that a time is in. Grafana's macro gives a number, and with TimescaleDB a time."""
    return f"date_bin({width}, {column}, timestamptz 'epoch')"


def recent(column: str, length: str) -> str:
    """Condition: within so long before the end of the range."""
    return f"{column} > {_END} - interval '{length}' AND {column} <= {_END}"


@dataclass(frozen=True)
class Measure:
    """A number that adds up: over rows, and over hours of the rollup that has it.

    Parameters
    ----------
    name : str
        Of its column.
    rows, hours : str
        SQL aggregates over the hot table and over the rollup.
    """

    name: str
    rows: str
    hours: str


class Subject:
    """A record type that has a hot table.

    Parameters
    ----------
    record
        The record type.
    name
        What it is called where it shares its hot table; default: its name.
    """

    def __init__(self, record: RecordType, name: str = "") -> None:
        if record.hot is None:
            raise ValueError(f"record type {record.name} has no hot table: there is nothing to ask")
        self.record = record
        self.hot: HotTable = record.hot
        self.name = name or record.name

    @property
    def title(self) -> str:
        """Its name, for people."""
        return self.name.replace("_", " ").capitalize()

    @property
    def table(self) -> str:
        """The hot table."""
        return self.hot.name

    @property
    def time(self) -> str:
        """Its column of time."""
        return self.hot.time

    def has(self, *columns: str) -> bool:
        """Whether the hot table has these columns."""
        return all(column in self.hot.types for column in columns)

    @property
    def scored(self) -> bool:
        """Whether its rows say attack or not, which, how sure, and by which model."""
        return self.has("predicted_label", "attack_type", "confidence_score", "model_version")

    def column(self, evidence: str) -> str:
        """Its hot column for a column of the evidence of alerts (``src_ip``); empty where it has none."""
        record = self.record.alerts.columns.get(evidence, evidence) if self.record.alerts else evidence
        return next((column.name for column in self.hot.columns if column.source == record and record), "")

    @cached_property
    def rollup(self) -> Rollup | None:
        """What is computed by sensor, label and model, if it is."""
        return next((rollup for rollup in self.hot.rollups if {"attack_type", "model_version"} <= set(rollup.group_by)), None)

    @property
    def sensors(self) -> str:
        """Condition of the chosen sensors, true where a row has none."""
        return sensors() if self.has("sensor_id") else "true"

    # --- measures
    def _measure(self, name: str, rows: str) -> Measure:
        return Measure(name, rows, f"sum({name})")

    @property
    def total(self) -> Measure:
        """Rows."""
        return self._measure("total_flows", "count(*)")

    @property
    def attacks(self) -> Measure:
        """Rows that are attacks."""
        return self._measure("attacks", "count(*) FILTER (WHERE predicted_label = 1)")

    @property
    def confidence(self) -> Measure:
        """Sum of the confidence."""
        return Measure("confidence", "sum(confidence_score)", "sum(mean_confidence * total_flows)")

    @property
    def volume(self) -> Measure | None:
        """Bytes, where the rollup counts them."""
        aggregates = self.rollup.aggregates if self.rollup else ()
        return next((self._measure("total_bytes", each.sql) for each in aggregates if each.name == "total_bytes"), None)

    # --- questions
    @property
    def width(self) -> str:
        """Width of a bucket: not below an hour where the rollup is asked."""
        if self.rollup is None:
            return "($__interval_ms * interval '1 ms')"
        return f"(greatest($__interval_ms, CASE WHEN {_LONG} THEN {_HOUR_MS} ELSE 0 END) * interval '1 ms')"

    @property
    def begin(self) -> str:
        """Where the range begins: with a whole hour where the rollup is asked."""
        return f"(CASE WHEN {_LONG} THEN {_FIRST_HOUR} ELSE {_BEGIN} END)" if self.rollup else f"({_BEGIN})"

    @property
    def seconds(self) -> str:
        """Seconds that a bucket ``at`` has of the range: those at its ends are cut."""
        overlap = f"least(at + {self.width}, {_END}) - greatest(at, {self.begin})"
        return f"greatest(extract(epoch FROM {overlap}), 1)"

    def parts(self, measures: Sequence[Measure], group: Sequence[str] = (), *, attacks: bool = False) -> str:
        """A sub-query ``part`` of the range: ``at``, columns of ``group``, and measures; several rows for one bucket and group.

        Parameters
        ----------
        measures
            Its numbers.
        group
            Columns that the rollup has as well.
        attacks
            Of attacks alone: these have an index.
        """
        of_rows, of_hours = ("predicted_label = 1", "attacks > 0") if attacks else ("true", "true")

        def asked(table: str, time: str, numbers: Sequence[str], within: str) -> str:
            condition = f"{self.sensors} AND {of_rows if table == self.table else of_hours}"
            columns = [
                f"{binned(time, self.width)} AS at",
                *group,
                *(f"{sql} AS {m.name}" for sql, m in zip(numbers, measures, strict=True)),
            ]
            grouped = ", ".join(str(n + 1) for n in range(1 + len(group)))
            return f"SELECT {', '.join(columns)} FROM {table} WHERE {within} AND {condition} GROUP BY {grouped}"

        rows = [measure.rows for measure in measures]
        if self.rollup is None:
            return f"({asked(self.table, self.time, rows, f'$__timeFilter({self.time})')}) part"
        bucket, name = self.rollup.bucket, self.rollup.name
        newest = f"(SELECT max({bucket}) + interval '{self.rollup.hours} h' FROM {name})"
        # Of an hour that the range ends in, the rollup has also what comes after the end: its rows are asked.
        hours = f"interval '{self.rollup.hours} h'"
        after = f"greatest({_FIRST_HOUR}, least(date_bin({hours}, {_END}, timestamptz 'epoch'), coalesce({newest}, '-infinity')))"
        return "\n".join(
            [
                f"({asked(self.table, self.time, rows, f'{_SHORT} AND $__timeFilter({self.time})')}",
                "UNION ALL "
                + asked(
                    name, bucket, [m.hours for m in measures], f"{_LONG} AND {bucket} >= {_FIRST_HOUR} AND {bucket} <= {_END} - {hours}"
                ),
                "UNION ALL "
                + asked(self.table, self.time, rows, f"{_LONG} AND {self.time} >= {after} AND {self.time} <= {_END}")
                + ") part",
            ]
        )


def subjects(records: Sequence[RecordType]) -> list[Subject]:
    """Record types that have a hot table, flows first; of those that share one the first, by the name of the table's component."""
    tables = Counter(record.hot.name for record in records if record.hot)
    found = [Subject(record, record.hot.component if record.hot and tables[record.hot.name] > 1 else "") for record in hot_records(records)]
    return sorted(found, key=lambda subject: subject.name != "flows")
