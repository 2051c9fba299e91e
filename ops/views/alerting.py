"""*Alerts and incidents*: what is open, what is new, who sees to it."""

from __future__ import annotations

from collections.abc import Iterator

from ops.views.model import TOTAL, Colour, Field, Link, Panel, View
from ops.views.subjects import binned, sensors
from schemas.alerts import TABLE as ALERTS
from schemas.crowds import column
from schemas.incidents import INCIDENTS, PRIORITIES, UNDONE

#: A severity of its own on pictures: alerts that nobody is to be told of.
SUPPRESSED = "suppressed"
#: Severities as the table has them, in words.
SEVERITIES = ("1 low", "2 minor", "3 medium", "4 high", "5 critical")
#: What is urgent is red and orange, whoever shows it.
SEVERITY_COLOURS: dict[str, Colour] = {
    **dict(zip(SEVERITIES, ("blue", "light-blue", "yellow", "orange", "red"), strict=True)), SUPPRESSED: "gray",
}  # fmt: skip
PRIORITY_COLOURS: dict[str, Colour] = dict(zip(PRIORITIES, ("blue", "yellow", "orange", "red"), strict=True))
_UNDONE = ", ".join(f"'{status}'" for status in UNDONE)
_RANK = " ".join(f"WHEN '{priority}' THEN {rank}" for rank, priority in enumerate(PRIORITIES))
_SEVERITY = " ".join(f"WHEN {rank} THEN '{name}'" for rank, name in enumerate(SEVERITIES, 1))
_NAMED = f"CASE severity {_SEVERITY} END"
_SHOWN = f"CASE WHEN suppressed_by IS NULL THEN {_NAMED} ELSE '{SUPPRESSED}' END"
#: Whose flows an alert is about: of a flood those to its target, of a scan those of its source, else those between both.
_SOURCE = "CASE WHEN kind = 'flood' THEN '' ELSE coalesce(host(src_ip), '') END"
_TARGET = "CASE WHEN kind = 'scan' THEN '' ELSE coalesce(host(dst_ip), '') END"
_BEGIN = "(floor(extract(epoch FROM first_seen)) * 1000)::bigint"
_END = "(ceil(extract(epoch FROM last_seen)) * 1000 + 1000)::bigint"
#: From an alert to its flows.
TO_FLOWS = Link("Its flows", "flows", {"source": "flows_of", "target": "flows_to"}, "begin_ms", "end_ms")


def view() -> View:
    """The view."""
    panels = (*_numbers(), _by_priority(), *_over_time(), _incidents(), _alerts())
    return View(
        "alerts", "Alerts and incidents", "What is open, what is new, who sees to it. Incidents are of all sensors.", panels, span="24h"
    )


def _number(key: str, title: str, sql: str, unit: str, description: str, warn: float | None = None, bad: float | None = None) -> Panel:
    return Panel(key, title, "stat", "alerts", sql, description, (Field(key, "number", unit),), warn=warn, bad=bad, width=6, height=4)


def _numbers() -> Iterator[Panel]:
    yield _number(
        "open_alerts", "Open alerts",
        f"SELECT count(*) AS open_alerts FROM {ALERTS} WHERE resolved_at IS NULL AND suppressed_by IS NULL AND {sensors()}",
        "short", "Alerts that nobody has resolved, of any age; suppressed ones are not counted.", warn=50, bad=500,
    )  # fmt: skip
    yield _number(
        "new_alerts", "New alerts", f"SELECT count(*) AS new_alerts FROM {ALERTS} WHERE $__timeFilter(timestamp) AND {sensors()}",
        "short", "Alerts of the range. A storm of them shows here first.",
    )  # fmt: skip
    yield _number(
        "unassigned", "Unassigned incidents",
        f"SELECT count(*) AS unassigned FROM {INCIDENTS} WHERE status IN ({_UNDONE}) AND assigned_to IS NULL",
        "short", "Incidents that are not done and that nobody sees to.", warn=1, bad=10,
    )  # fmt: skip
    yield _number(
        "time_to_close", "Time to close an incident",
        f"SELECT round(extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY closed_at - created_at))) AS time_to_close "
        f"FROM {INCIDENTS} WHERE closed_at IS NOT NULL AND $__timeFilter(closed_at)",
        "s", "Half of those that were closed in the range took no longer. Empty: none was closed.",
    )  # fmt: skip


def _by_priority() -> Panel:
    return Panel(
        "by_priority", "Incidents to see to", "bars", "alerts",
        f"SELECT priority, count(*) AS incidents FROM {INCIDENTS} WHERE status IN ({_UNDONE}) GROUP BY 1 "
        f"ORDER BY CASE priority {_RANK} END DESC",
        "Not done, of any age.",
        (Field("priority", "text", colours=PRIORITY_COLOURS), Field("incidents", "number", "short")), width=6,
    )  # fmt: skip


def _over_time() -> Iterator[Panel]:
    yield Panel(
        "severity_over_time", "Alerts by severity", "bars_over_time", "alerts",
        f'SELECT {binned("timestamp")} AS "time", {_SHOWN} AS metric, count(*) AS alerts FROM {ALERTS} '
        f"WHERE $__timeFilter(timestamp) AND {sensors()} GROUP BY 1, 2 ORDER BY 1, 2",
        "By the time of the packets that made them an alert; suppressed ones are a severity of their own.",
        (Field("time", "time"), Field("metric", "text", colours=SEVERITY_COLOURS), Field("alerts", "number", "short")),
        stacked=True, interval="10s", width=9,
    )  # fmt: skip
    yield Panel(
        "kinds", "Alerts by kind", "bars", "alerts",
        f"SELECT attack_type, count(*) AS alerts FROM {ALERTS} WHERE $__timeFilter(timestamp) AND {sensors()} "
        "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 30",
        "Of the range.",
        (Field("attack_type", "text", title="kind"), Field("alerts", "number", "short")), width=9,
    )  # fmt: skip


def _incidents() -> Panel:
    return Panel(
        "incidents", "Incidents", "table", "alerts",
        f"SELECT last_seen AS time, priority, status, title, coalesce(assigned_to, '') AS assigned_to, "
        "coalesce((metadata ->> 'alerts')::bigint, 0) AS alerts, coalesce((metadata ->> 'flows')::bigint, 0) AS flows, "
        f"id::text AS id, count(*) OVER () AS {TOTAL} FROM {INCIDENTS} WHERE status IN ({_UNDONE}) OR $__timeFilter(last_seen) "
        f"ORDER BY status IN ({_UNDONE}) DESC, CASE priority {_RANK} END DESC, last_seen DESC LIMIT 100",
        "Those to see to, whatever their age, the most urgent first; then those of the range that are done. flowlake incidents show ID",
        (
            Field("time", "time", title="last seen"), Field("priority", "text", colours=PRIORITY_COLOURS), Field("status", "text"),
            Field("title", "text"),
            Field("assigned_to", "text"), Field("alerts", "number", "short"), Field("flows", "number", "short"), Field("id", "text"),
            Field(TOTAL, "number", hidden=True),
        ),
        width=24, height=9,
    )  # fmt: skip


def _alerts() -> Panel:
    return Panel(
        "alerts", "Alerts", "table", "alerts",
        f"SELECT a.timestamp AS time, {_NAMED} AS severity, attack_type, {column('source')} AS source, {column('target')} AS target, "
        "flow_count AS flows, round(confidence::numeric, 3) AS confidence, sensor_id, "
        "CASE WHEN suppressed_by IS NOT NULL THEN 'suppressed' WHEN resolved_at IS NULL THEN 'open' "
        "ELSE coalesce(resolved_by, 'resolved') END AS resolved, "
        "coalesce(i.title, '') AS incident, a.id::text AS id, "
        f"{_SOURCE} AS flows_of, {_TARGET} AS flows_to, {_BEGIN} AS begin_ms, {_END} AS end_ms, "
        f"(SELECT count(*) FROM {ALERTS} WHERE $__timeFilter(timestamp) AND {sensors()}) AS {TOTAL} "
        f"FROM (SELECT * FROM {ALERTS} WHERE $__timeFilter(timestamp) AND {sensors()} ORDER BY timestamp DESC LIMIT 200) a "
        f"LEFT JOIN (SELECT id AS incident, title FROM {INCIDENTS}) i ON i.incident = a.incident_id ORDER BY a.timestamp DESC",
        "The newest 200 of the range. The number of flows leads to them; flowlake alerts show ID tells why.",
        (
            Field("time", "time"), Field("severity", "text", colours=SEVERITY_COLOURS), Field("attack_type", "text", title="kind"),
            Field("source", "text"), Field("target", "text"), Field("flows", "number", "short", link=TO_FLOWS),
            Field("confidence", "number", "percentunit"),
            Field("sensor_id", "text", title="sensor"), Field("resolved", "text"), Field("incident", "text"), Field("id", "text"),
            Field("flows_of", "text", hidden=True), Field("flows_to", "text", hidden=True),
            Field("begin_ms", "number", hidden=True), Field("end_ms", "number", hidden=True), Field(TOTAL, "number", hidden=True),
        ),
        width=24, height=10,
    )  # fmt: skip
