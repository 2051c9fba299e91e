"""A run of the watching: count the last hours of each model and sensor, judge them, keep what was found, and say what is an alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import log
from infra.config import Settings
from jobs.sinks import parquet
from jobs.watching import baseline, hourly, judging, tables
from jobs.watching.hourly import Served
from jobs.watching.judging import JudgedHour
from jobs.watching.reference import Reference
from jobs.watching.span import EventSpan, whole_hours
from jobs.watching.stored import ScoredTable
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG = log.get("jobs.watching")
Say = Callable[[str], None]


@dataclass
class Watched:
    """One model version on one sensor, and what its hours came to.

    Attributes
    ----------
    record, model_version, sensor_id
        What was looked at.
    rows
        Of the span.
    reference
        ``training`` or ``served``; empty where there is none yet.
    hours
        Judged, in the order of time.
    note
        Why nothing was judged; empty otherwise.
    """

    record: str
    model_version: str
    sensor_id: str
    rows: int
    reference: str = ""
    hours: list[JudgedHour] = field(default_factory=list)
    note: str = ""

    @property
    def alarms(self) -> list[JudgedHour]:
        """Hours with an alarm."""
        return [hour for hour in self.hours if hour.alarms]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "record": self.record,
            "model_version": self.model_version,
            "sensor_id": self.sensor_id,
            "rows": self.rows,
            "hours": len(self.hours),
            "reference": self.reference,
            "note": self.note,
            "alarms": [
                {
                    "hour": tables.hour_time(hour.hour).isoformat(),
                    "rows": hour.rows,
                    "measures": [
                        {
                            "measure": one.measure,
                            "reason": one.reason,
                            "psi": one.distance.psi,
                            "limit": one.distance.limit,
                            "ks": one.distance.ks,
                        }
                        for one in hour.alarms
                        if one.distance
                    ],
                }
                for hour in self.alarms
            ],
        }


def last_hours(settings: Settings, now: datetime) -> EventSpan:
    """The last whole hours, ``drift.hours`` of them, that are settled."""
    until = (now - timedelta(seconds=settings.drift.settle_s)).replace(minute=0, second=0, microsecond=0)
    return EventSpan(until - timedelta(hours=settings.drift.hours), until)


def run(
    spark: SparkSession, settings: Settings, record: RecordType, span: EventSpan, *, who: str, now: datetime, say: Say
) -> list[Watched]:
    """Judge the hours of a span, and put them into ``model_drift``; those of an earlier run are replaced.

    Parameters
    ----------
    spark, settings, record
        What is read, and its limits.
    span
        Of event time; widened to whole hours.
    who
        Whoever runs this, kept with a reference that is made.
    now
        The clock.
    say
        Told what is being done.

    Raises
    ------
    StoreError
        The lake cannot be read, or the tables beside it not be written.
    ModelError
        The registry cannot be asked for the profiles of trainings.
    """
    table, span = ScoredTable(spark, settings, record), whole_hours(span)
    there = hourly.served(table, span)
    say(f"{record.name}: {sum(one.rows for one in there.values()):,} rows of {span}")
    references = baseline.known(settings, record, there, say)
    watched = {key: Watched(record.name, key[0], key[1], one.rows) for key, one in sorted(there.items())}
    for key in watched:
        if key not in references:
            watched[key].note = _first_week(settings, table, key, references, who, now, say)
    edges = {key: one.edges for key, one in references.items() if key in there}
    rows: list[dict[str, Any]] = []
    for key, hours in hourly.count(table, span, edges).items():
        one = watched[key]
        one.reference, one.hours = references[key].source, judging.judge(references[key], hours, settings.drift)
        rows += _rows(one, now)
    if rows:
        tables.put(settings, tables.DRIFT, tables.DRIFT_KEY, rows)
    for one in watched.values():
        _tell(one)
    return list(watched.values())


def take_baseline(
    spark: SparkSession, settings: Settings, record: RecordType, span: EventSpan, *, who: str, now: datetime, say: Say
) -> Mapping[Served, Reference]:
    """Make a span the reference of every version and sensor that has served in it.

    Raises
    ------
    ConfigError
        Nothing was scored in it, or it is shorter than a day.
    StoreError
        The lake cannot be read, or the reference not be kept.
    """
    table, span = ScoredTable(spark, settings, record), whole_hours(span)
    there = hourly.served(table, span)
    baseline.check(span, there)
    return baseline.make(settings, table, span, there, who=who, now=now, say=say)


def write_metrics(settings: Settings, watched: list[Watched]) -> Path:
    """Write the newest hour of each model and sensor as a file for the textfile collector of Prometheus' node exporter.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()
    names = ("record", "model_version", "sensor")
    alarm = Gauge("flowlake_model_drift_alarm", "1 where the newest hour of a model is an alarm", names, registry=registry)
    worst = Gauge("flowlake_model_drift_psi_ratio", "Largest PSI of the newest hour, as a multiple of its limit", names, registry=registry)
    hour = Gauge("flowlake_model_drift_hour_seconds", "Beginning of the newest hour, since 1970", names, registry=registry)
    for one in watched:
        if one.hours:
            newest, labels = one.hours[-1], (one.record, one.model_version, one.sensor_id)
            alarm.labels(*labels).set(bool(newest.alarms))
            worst.labels(*labels).set(max((f.distance.psi / f.distance.limit for f in newest.findings if f.distance), default=0.0))
            hour.labels(*labels).set(newest.hour * 3600)
    file = folder(settings) / "drift.prom"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(file), registry)
    return file


def folder(settings: Settings) -> Path:
    """Where pages and metrics lie."""
    return settings.path(settings.paths.var) / "drift"


def _first_week(
    settings: Settings, table: ScoredTable, key: Served, references: dict[Served, Reference], who: str, now: datetime, say: Say
) -> str:
    """Take the first days served as the reference of a model without one; why not, where they are not over."""
    found = baseline.first_week(settings, table, key, now)
    if isinstance(found, datetime):
        return f"no reference yet: the first {settings.drift.baseline_days} days served are over on {found:%Y-%m-%d %H:%M} UTC"
    week, there = found
    say(f"model {key[0]} on {key[1]!r} has no profile: {week}, its first days served, become its reference")
    references |= baseline.make(settings, table, week, {key: there}, who=who, now=now, say=say)
    return ""


def _rows(one: Watched, now: datetime) -> list[dict[str, Any]]:
    """Rows of ``model_drift``."""
    same = {
        "record_type": one.record, "model_version": one.model_version, "sensor_id": one.sensor_id, "reference": one.reference,
        "computed_at": now,
    }  # fmt: skip
    rows = []
    for hour in one.hours:
        time = tables.hour_time(hour.hour)
        usual = hour.usual_rows if hour.usual_rows == hour.usual_rows else None
        for found in hour.findings:
            row = {**same, "hour": time, parquet.PARTITION: time.date(), "measure": found.measure, "rows": hour.rows, "usual_rows": usual}
            row |= {"share": found.share, "usual_share": found.usual_share, "state": found.state, "reason": found.reason}
            if away := found.distance:
                row |= {"psi": away.psi, "psi_limit": away.limit, "ks": away.ks, "ks_limit": away.ks_limit}
            rows.append(row)
    return rows


def _tell(one: Watched) -> None:
    """Log the alarms of the span: the newest hour, and how many there were."""
    if not one.alarms:
        return
    newest = one.alarms[-1]
    LOG.warning(
        "model drift",
        record=one.record,
        model_version=one.model_version,
        sensor=one.sensor_id,
        hour=tables.hour_time(newest.hour).isoformat(),
        hours=len(one.alarms),
        measures=[found.measure for found in newest.alarms[:5]],
    )


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)
