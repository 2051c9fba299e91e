"""All views, in the order of a shift: what passes, what attacks, what is to do, and whether the platform is well."""

from __future__ import annotations

from collections.abc import Sequence

from ops.views import alerting, attacks, flows, pipeline, scoring, storage, traffic, windows
from ops.views.model import View
from ops.views.subjects import Subject, subjects
from schemas.interfacecounters import TABLE as INTERFACES
from schemas.records import RecordType
from schemas.windowrecords import TABLE as WINDOWS


def views(records: Sequence[RecordType], *, countries: bool = False) -> tuple[View, ...]:
    """The views of some record types.

    Parameters
    ----------
    records
        Record types: those with a hot table are shown, flows first.
    countries
        Whether a GeoIP file has been loaded (:mod:`schemas.countries`): sources are then shown by country.
    """
    stored = subjects(records)
    # Windows, of several sizes, and counters of interfaces, which are no traffic, have a view and panels of their own.
    shown = [subject for subject in stored if subject.table not in (WINDOWS, INTERFACES)]
    tables = {subject.table for subject in stored}
    return (
        traffic.view(shown),
        attacks.view(shown, countries=countries),
        *([windows.view()] if WINDOWS in tables else []),
        alerting.view(),
        scoring.view(shown),
        pipeline.view(counted=INTERFACES in tables),
        storage.view(stored),
        flows.view(shown),
    )


def sensors_query(shown: Sequence[Subject]) -> str:
    """SQL for the sensors that can be chosen: those of the last week, and of the last hour, which no rollup has yet.

    One whose name has a ``$`` is left out: Grafana would look for a macro in it.
    """
    parts = []
    for subject in shown:
        if not subject.has("sensor_id"):
            continue
        if subject.rollup and "sensor_id" in subject.rollup.group_by:
            rollup = subject.rollup
            parts.append(f"SELECT sensor_id FROM {rollup.name} WHERE {rollup.bucket} > now() - interval '7 days'")
        parts.append(f"SELECT sensor_id FROM {subject.table} WHERE {subject.time} > now() - interval '1 hour'")
    if not parts:
        return "SELECT NULL::text AS sensor_id WHERE false"
    return f"SELECT DISTINCT sensor_id FROM ({' UNION ALL '.join(parts)}) known WHERE sensor_id NOT LIKE '%$%' ORDER BY 1 LIMIT 500"
