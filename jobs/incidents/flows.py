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


def condition(alert: Mapping[str, Any], record: RecordType, rules: AlertRules) -> tuple[str, list[Any]]:
    """SQL condition on the hot table of ``record`` for the records of an alert, and its values.

    By what the alert is one of (:func:`schemas.alerts.alert_key`) and its times; records that the alert names are in it in any case.
    """
    assert record.hot is not None
    named = {column.source: column.name for column in record.hot.columns}
    details = alert["details"]

    def column(name: str) -> str | None:
        return named.get(rules.columns.get(name, name))

    key = named.get(record.key)
    ids = [details["flow_id"]] if details.get("flow_id") else list(details.get("flow_ids", []))
    exact = f"{key}::text = ANY(%s)"
    if alert["kind"] == "per-flow":
        return exact, [ids]
    parts, values = [f"{record.hot.time} BETWEEN %s AND %s"], [alert["first_seen"], alert["last_seen"]]
    sides = {"flood": ("dst_ip",), "scan": ("src_ip",)}.get(alert["kind"], ("src_ip", "dst_ip"))
    for name, value in (("attack_type", alert["attack_type"]), ("domain", alert["domain"]), *((side, alert[side]) for side in sides)):
        if (there := column(name)) is not None and value is not None:
            parts.append(f"{there} = %s")
            values.append(value)
    return f"(({' AND '.join(parts)}) OR ({record.hot.time} BETWEEN %s AND %s AND {exact}))", [
        *values, alert["first_seen"], alert["last_seen"], ids,
    ]  # fmt: skip


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
    where, values = condition(alert, record, record.alerts)
    key = {column.source: column.name for column in record.hot.columns}[record.key]
    rows = ask.query(settings.hot, f"SELECT {key}::text AS key FROM {record.hot.name} WHERE {where} LIMIT %s", [*values, MAX_RECORDS])
    return sorted({*known, *(row["key"] for row in rows)})
