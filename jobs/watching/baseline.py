"""What a model on a sensor is compared with: a week it has served there, else the profile of its training.

A served week is taken where somebody named one (``flowlake drift --baseline``), and by itself for a model without a profile, once
``drift.baseline_days`` have passed since its first row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from infra import paths
from infra.config import Settings
from infra.errors import ConfigError, ModelError, one_line
from jobs.scoring import registry, tracking
from jobs.scoring.names import features_of
from jobs.watching import hourly, measures, reference, tables
from jobs.watching.hourly import Presence, Served
from jobs.watching.reference import Reference, UnreadableProfile
from jobs.watching.span import EventSpan
from jobs.watching.stored import ScoredTable
from schemas.records import RecordType

Say = Callable[[str], None]


def known(settings: Settings, record: RecordType, wanted: Iterable[Served], say: Say) -> dict[Served, Reference]:
    """References that there are, by version and sensor.

    Raises
    ------
    StoreError
        The table of references cannot be read.
    ModelError
        The registry cannot be asked for the profile of a training.
    """
    kept: dict[Served, str] = {(row["model_version"], row["sensor_id"]): row["profile"] for row in tables.references(settings, record.name)}
    profiles: dict[str, Reference | None] = {}
    found: dict[Served, Reference] = {}
    for key in sorted(wanted):
        version, _ = key
        if key in kept:
            try:
                found[key] = Reference.from_json(kept[key])
                continue
            except UnreadableProfile as e:
                say(f"model {version} on {key[1]!r}: its reference in {tables.REFERENCES.name} is unreadable ({one_line(e, 120)})")
        if version not in profiles:
            profiles[version] = _profile(settings, record, version, say)
        if (of_training := profiles[version]) is not None:
            found[key] = of_training
    return found


def make(
    settings: Settings, table: ScoredTable, span: EventSpan, there: dict[Served, Presence], *, who: str, now: datetime, say: Say
) -> dict[Served, Reference]:
    """Take a span as the reference of the versions and sensors that have served in it, and keep it.

    Raises
    ------
    StoreError
        The lake cannot be read, or the table of references not be written.
    """
    edges = {key: _edges(settings, table, span, key, some, say) for key, some in sorted(there.items())}
    made: dict[Served, Reference] = {}
    for key, hours in hourly.count(table, span, edges).items():
        made[key] = Reference(
            record=table.record.name,
            model_version=key[0],
            feature_version=features_of(table.record).version,
            source=reference.SERVED,
            parts=tuple(tables.hour_time(one.hour).isoformat() for one in hours),
            hours=np.array([one.hour for one in hours], dtype=np.int64),
            rows=np.array([one.rows for one in hours], dtype=np.int64),
            edges=edges[key],
            counts={name: np.array([one.counts[name] for one in hours]) for name in edges[key]},
        )
    same = {"record_type": table.record.name, "first": span.first, "until": span.until, "made_by": who, "made_at": now}
    rows = [{**same, "model_version": key[0], "sensor_id": key[1], "profile": one.to_json()} for key, one in made.items()]
    if rows:
        tables.put(settings, tables.REFERENCES, tables.REFERENCES_KEY, rows)
    return made


def first_week(settings: Settings, table: ScoredTable, key: Served, now: datetime) -> tuple[EventSpan, Presence] | datetime:
    """The first days that a version has served on a sensor, and what it served; where they are not over yet, when they will be.

    Raises
    ------
    StoreError
        The lake cannot be read.
    """
    length = timedelta(days=settings.drift.baseline_days)
    ever = EventSpan(datetime(1970, 1, 1, tzinfo=UTC), now)
    seen = hourly.served(table, ever)[key]
    first = tables.hour_time(seen.first_hour)
    if first + length > now:
        return first + length
    week = EventSpan(first, first + length)
    return week, hourly.served(table, week)[key]


def _edges(
    settings: Settings, table: ScoredTable, span: EventSpan, key: Served, there: Presence, say: Say
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    columns = [*_features(settings, table.record, key[0], say), *measures.OF_MODEL.values()]
    return measures.edges(hourly.sample(table, span, key, columns, there.rows))


def _features(settings: Settings, record: RecordType, version: str, say: Say) -> tuple[str, ...]:
    """Columns that a version reads; all that a model may read where the registry does not know it any more."""
    try:
        return registry.load_version(settings, record, version).columns
    except ModelError as e:
        say(f"model {version}: {one_line(e, 160)}; all features are watched")
        return features_of(record).names


def _profile(settings: Settings, record: RecordType, version: str, say: Say) -> Reference | None:
    """The profile beside a registered version; None where there is none that can be read."""
    try:
        text = _logged(settings, record, version)
        return Reference.from_json(text) if text is not None else None
    except UnreadableProfile as e:
        say(f"model {version}: its {reference.FILE} is unreadable ({one_line(e, 120)})")
    return None


def _logged(settings: Settings, record: RecordType, version: str) -> bytes | None:
    """What was logged beside a version under the name of a profile; None: nothing, or the registry does not know the version.

    Raises
    ------
    ModelError
        The registry cannot be asked: the model may well have one, and would be compared with something else from now on.
    """
    if (file := paths.registry_file(settings)) and not file.exists():
        return None
    with tempfile.TemporaryDirectory(prefix="flowlake-profile-") as temp:
        try:
            with tracking.opened(settings, create=False) as client:
                one = tracking.by_number(client, settings, record, version)
                return tracking.fetch(client, one, settings, reference.FILE, Path(temp)).read_bytes()
        except (tracking.ModelMissingError, tracking.ArtifactMissingError):
            return None


def check(span: EventSpan, there: dict[Served, Presence]) -> None:
    """See that a span can be a reference.

    Raises
    ------
    ConfigError
        Nothing was scored in it, or it is shorter than a day.
    """
    if span.until - span.first < timedelta(days=1):
        raise ConfigError(f"--baseline {span}: shorter than a day", "name whole days, best a week: --baseline 2026-03-01 2026-03-08")
    if not there:
        raise ConfigError(f"--baseline {span}: no scored rows", "name days that the model has served")
