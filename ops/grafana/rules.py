"""When the platform itself is not well: rules for Prometheus, and the same for Grafana's own alerting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ops.grafana.names import DATASOURCES, PLATFORM, PLUGINS, TRAFFIC
from ops.views.model import Source
from schemas.alerts import TABLE as ALERTS
from schemas.incidents import INCIDENTS, UNDONE

#: ``critical``: wake somebody. ``warning``: see to it in the day.
Urgency = Literal["critical", "warning"]


@dataclass(frozen=True)
class MonitoringRule:
    """One rule.

    Parameters
    ----------
    name : str
        Of the alert.
    query : str
        PromQL that gives series where it fires; SQL that gives one number above 0 where it fires.
    wait : str
        How long it must hold.
    urgency : str
        Label ``severity``.
    summary, description : str
        What is wrong, with ``{{ $labels.query }}`` and ``{{ $value }}``; what to do.
    source : str
        Where it is asked. Only rules of metrics go to Prometheus.
    """

    name: str
    query: str
    wait: str
    urgency: Urgency
    summary: str
    description: str
    source: Source = "metrics"


RULES: tuple[MonitoringRule, ...] = (
    MonitoringRule(
        "FlowlakeStreamAway", "absent(flowlake_query_active)", "5m", "critical",
        "No stream shows its metrics", "Is it running? flowlake stream --help; then whether Prometheus reaches metrics.stream_port.",
    ),
    MonitoringRule(
        "FlowlakeQueryStopped", "flowlake_query_active == 0", "2m", "critical",
        "Query {{ $labels.query }} does not run", "The log of the stream says why. The others go on without it.",
    ),
    MonitoringRule(
        "FlowlakeQueryFails", "increase(flowlake_query_failures_total[15m]) > 2", "0m", "warning",
        "Query {{ $labels.query }} fails again and again", "It is started again each time. The log of the stream says why.",
    ),
    MonitoringRule(
        "FlowlakeFallsBehind", "flowlake_kafka_lag_messages > 10000 and deriv(flowlake_kafka_lag_messages[10m]) > 0", "10m", "warning",
        "Query {{ $labels.query }} falls behind on {{ $labels.topic }}", "It is slower than what comes in: docs/how-to/operate.md.",
    ),
    MonitoringRule(
        "FlowlakeStandsStill",
        "time() - flowlake_last_batch_timestamp_seconds > 300 and on (query) sum by (query) (flowlake_kafka_lag_messages) > 0",
        "5m", "critical",
        "Query {{ $labels.query }} has ended no batch for 5 minutes, and there is more to read",
        "A store that is away, or a task that hangs. See waits for a store on the dashboard Pipeline health.",
    ),
    MonitoringRule(
        "FlowlakeMessagesLost", "increase(flowlake_skipped_messages_total[10m]) > 0", "0m", "critical",
        "Query {{ $labels.query }} lost messages of {{ $labels.topic }}",
        "The broker removed them before they were read: the query was behind for longer than the topic keeps them.",
    ),
    MonitoringRule(
        "FlowlakeStoreAway", "increase(flowlake_sink_waits_total[5m]) > 0", "5m", "critical",
        "The store of query {{ $labels.query }} is away", "Nothing is lost: the batch waits. Start the store.",
    ),
    MonitoringRule(
        "FlowlakeSlowAlerts",
        'histogram_quantile(0.95, sum by (query, le) (rate(flowlake_latency_seconds_bucket{query=~"alerts.*"}[10m]))) > 30',
        "10m", "warning",
        "Alerts come {{ $value | humanizeDuration }} after their packets", "Look for the slow query on the dashboard Pipeline health.",
    ),
    MonitoringRule(
        "FlowlakeAlertStorm", "sum(increase(flowlake_alerts_total[5m])) > 1000", "0m", "critical",
        "{{ $value | humanize }} alerts in 5 minutes", "One attack of many parts, or a model that is wrong: see the dashboard Attacks.",
    ),
    MonitoringRule(
        "FlowlakeRowsFailChecks",
        "sum by (query) (rate(flowlake_sink_left_out_total[15m])) / sum by (query) (rate(flowlake_sink_rows_total[15m])) > 0.01",
        "15m", "warning",
        "{{ $value | humanizePercentage }} of the rows of {{ $labels.query }} fail a check", "They are kept: flowlake quarantine list.",
    ),
    MonitoringRule(
        "FlowlakeMaintenanceLate", "time() - max by (table) (flowlake_hot_maintained_timestamp_seconds) > 6 * 3600", "10m", "warning",
        "{{ $labels.table }} was not maintained for 6 hours", "flowlake db maintain says what is in the way.",
    ),
    MonitoringRule(
        "FlowlakeMaintenanceFails", 'increase(flowlake_hot_maintenances_total{result="failed"}[3h]) > 0', "0m", "warning",
        "Maintenance of the hot store fails", "flowlake db maintain says why.",
    ),
    MonitoringRule(
        "FlowlakeClockAhead", "flowlake_hot_rows_of_days_to_come > 0", "10m", "warning",
        "{{ $value | humanize }} rows of {{ $labels.table }} are of days to come", "The clock of a sensor is wrong.",
    ),
    MonitoringRule(
        "FlowlakeSensorLosesPackets",
        "(rate(flowlake_sensor_packets_dropped_total[5m]) + rate(flowlake_sensor_packets_kernel_dropped_total[5m])) "
        "/ rate(flowlake_sensor_packets_received_total[5m]) > 0.01",
        "5m", "warning",
        "Sensor {{ $labels.sensor }} loses {{ $value | humanizePercentage }} of its packets",
        "docs/how-to/capture-live.md says where packets are lost.",
    ),
    MonitoringRule(
        "FlowlakeSensorAway", 'up{job="flowlake-sensors"} == 0', "5m", "critical",
        "The sensor at {{ $labels.instance }} does not answer", "Does it run? What it would have seen is not seen by another.",
    ),
    MonitoringRule(
        "FlowlakeSensorSilent", "rate(flowlake_sensor_packets_received_total[5m]) == 0", "10m", "warning",
        "Sensor {{ $labels.sensor }} sees no packets", "The link is down, the mirror port is off, or the filter lets nothing pass.",
    ),
    MonitoringRule(
        "FlowlakeSensorIdTwice", "increase(flowlake_shared_id_messages_total[10m]) > 0", "0m", "warning",
        "Two sensors of domain {{ $labels.domain }} have one id", "Give each an id of its own: --sensor-id.",
    ),
    MonitoringRule(
        "FlowlakeExporterSilent", "(time() - flowlens_exporter_seen_timestamp_seconds > 900) < 86400", "5m", "warning",
        "Exporter {{ $labels.exporter }} has been silent for {{ $value | humanizeDuration }}",
        "Does it run, and does it still send here? docs/how-to/receive-flow-exports.md. After a day of silence it is taken for gone.",
    ),
    MonitoringRule(
        "FlowlakeExportsLost",
        "sum by (exporter) (increase(flowlens_export_lost_total[10m])) / (sum by (exporter) (increase(flowlens_export_lost_total[10m])) "
        "+ sum by (exporter) (increase(flowlens_export_counted_total[10m]))) > 0.01",
        "5m", "warning",
        "{{ $value | humanizePercentage }} of what {{ $labels.exporter }} exports is lost",
        "On the way, in the kernel or in the collector: its own metrics tell the last two.",
    ),
    MonitoringRule(
        "FlowlakeTemplatesMissing",
        "flowlens_pending_sets > 0 and time() - flowlens_exporter_seen_timestamp_seconds < 900", "15m", "warning",
        "Data of {{ $labels.exporter }} wait for a template", "Let the exporter send its templates more often, every minute or so.",
    ),
)  # fmt: skip

_UNDONE = ", ".join(f"'{status}'" for status in UNDONE)
#: What only Grafana can ask.
DATABASE_RULES: tuple[MonitoringRule, ...] = (
    MonitoringRule(
        "FlowlakeCriticalIncidentOfNobody",
        f"SELECT count(*) AS incidents FROM {INCIDENTS} WHERE status IN ({_UNDONE}) AND priority = 'CRITICAL' AND assigned_to IS NULL "
        "AND created_at < now() - interval '15 min'",
        "0m", "critical",
        "Critical incidents unassigned for 15 minutes", "flowlake incidents list; flowlake incidents assign ID --to NAME", "alerts",
    ),
    MonitoringRule(
        "FlowlakeOpenAlertsPileUp",
        f"SELECT count(*) AS alerts FROM {ALERTS} WHERE resolved_at IS NULL AND suppressed_by IS NULL "
        "AND timestamp > now() - interval '24 h' HAVING count(*) > 1000",
        "15m", "warning",
        "More than 1,000 alerts of a day are open", "Resolve them by incident, or suppress what is known.", "alerts",
    ),
)  # fmt: skip


def prometheus(rules: Sequence[MonitoringRule] = RULES) -> dict[str, Any]:
    """A file of rules for Prometheus."""
    return {
        "groups": [
            {
                "name": "flowlake",
                "rules": [
                    {
                        "alert": rule.name,
                        "expr": rule.query,
                        "for": rule.wait,
                        "labels": {"severity": rule.urgency},
                        "annotations": {"summary": rule.summary, "description": rule.description},
                    }
                    for rule in rules
                ],
            }
        ]
    }


def provisioned(metrics: Sequence[MonitoringRule] = RULES, database: Sequence[MonitoringRule] = DATABASE_RULES) -> dict[str, Any]:
    """Grafana's file of alert rules: those of Prometheus, and those that ask the database of the alerts."""
    groups = (("flowlake platform", PLATFORM, metrics), ("flowlake on call", TRAFFIC, database))
    return {
        "apiVersion": 1,
        "groups": [
            {"orgId": 1, "name": name, "folder": folder, "interval": "1m", "rules": [_rule(rule) for rule in rules]}
            for name, folder, rules in groups
        ],
    }


def _rule(rule: MonitoringRule) -> dict[str, Any]:
    # A comparison in PromQL gives the series that meet it, whatever their value, 0 too: one that is there fires.
    compared = rule.query if rule.source != "metrics" else f"({rule.query}) * 0 + 1"
    return {
        "uid": rule.name.lower(),
        "title": rule.name,
        "condition": "fires",
        "data": [_asked(rule, "A", compared), *([_asked(rule, "value", rule.query)] if "$value" in rule.summary else []), _FIRES],
        "for": rule.wait,
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": {"severity": rule.urgency},
        "annotations": {"summary": rule.summary.replace("$value", "$values.value.Value"), "description": rule.description},
    }


def _asked(rule: MonitoringRule, name: str, query: str) -> dict[str, Any]:
    where = {"type": PLUGINS[rule.source], "uid": DATASOURCES[rule.source]}
    model: dict[str, Any] = {"refId": name, "datasource": where}
    if rule.source == "metrics":
        model |= {"expr": query, "instant": True, "range": False}
    else:
        model |= {"rawSql": query, "rawQuery": True, "format": "table", "editorMode": "code"}
    return {"refId": name, "datasourceUid": where["uid"], "relativeTimeRange": {"from": 600, "to": 0}, "model": model}


_FIRES: dict[str, Any] = {
    "refId": "fires",
    "datasourceUid": "__expr__",
    "model": {"refId": "fires", "type": "threshold", "expression": "A", "conditions": [{"evaluator": {"type": "gt", "params": [0]}}]},
}
