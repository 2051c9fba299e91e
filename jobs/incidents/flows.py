"""The records behind an alert: asked of the hot store by what the alert is one of, with the sample that the alert names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.config import Settings
from infra.errors import ConfigError
from jobs.sinks import ask
from schemas.records import AlertRules, RecordType

#: Records of one alert that are looked up at most.
MAX_RECORDS = 100_000
#: Text of a condition, and the values of its ``%s``.
Condition = tuple[str, list[Any]]


def record_of(settings: Settings, name: str) -> RecordType:
    """A record type by its name.

    Raises
    ------
    ConfigError
        No source that is there has such records.
    """
    for record in settings.catalogue.records:
        if record.name == name:
            return record
    known = ", ".join(sorted(record.name for record in settings.catalogue.records))
    raise ConfigError(f"no source has records of type {name!r}", f"record types: {known}")


def condition(alert: Mapping[str, Any], record: RecordType, rules: AlertRules, columns: Mapping[str, str], time: str) -> Condition:
    """SQL condition on a table of ``record`` for the records of an alert.

    By what the alert is one of (:func:`schemas.alerts.alert_key`) and its times; records that the alert names are in it in any case.

    Parameters
    ----------
    columns
        Record column -> column of the table.
    time
        The table's column of the record's event time.
    """
    details = alert["details"]
    ids = [details["flow_id"]] if details.get("flow_id") else list(details.get("flow_ids", []))
    named = f"{columns[record.key]}::text = ANY(%s)"
    # By time in any case: tables lie in days of it.
    within, times = f"{time} BETWEEN %s AND %s", [alert["first_seen"], alert["last_seen"]]
    if alert["kind"] == "per-flow":
        return f"({within} AND {named})", [*times, ids]
    parts, values = list[str](), list[Any]()
    sides = {"flood": ("dst_ip",), "scan": ("src_ip",)}.get(alert["kind"], ("src_ip", "dst_ip"))
    for name, value in (("attack_type", alert["attack_type"]), ("domain", alert["domain"]), *((side, alert[side]) for side in sides)):
        if (there := columns.get(rules.columns.get(name, name))) is not None and value is not None:
            parts.append(f"{there} = %s")
            values.append(value)
    same = f"({' AND '.join(parts)}) OR " if parts else ""
    return f"({within} AND ({same}{named}))", [*times, *values, ids]


def of_hot(record: RecordType) -> dict[str, str]:
    """Record column -> column of the hot table."""
    assert record.hot is not None
    return {column.source: column.name for column in record.hot.columns}


def keys(settings: Settings, alert: Mapping[str, Any]) -> list[str]:
    """Keys of the records of an alert: of those that the hot store holds, and of those that the alert names.

    Raises
    ------
    StoreError
        The hot store is away or refuses.
    """
    record = record_of(settings, alert["record_type"])
    details = alert["details"]
    known = [details["flow_id"]] if details.get("flow_id") else list(details.get("flow_ids", []))
    if record.hot is None or record.alerts is None:
        return known
    columns = of_hot(record)
    where, values = condition(alert, record, record.alerts, columns, record.hot.time)
    key = columns[record.key]
    rows = ask.query(settings.hot, f"SELECT {key}::text AS key FROM {record.hot.name} WHERE {where} LIMIT %s", [*values, MAX_RECORDS])
    return sorted({*known, *(row["key"] for row in rows)})
