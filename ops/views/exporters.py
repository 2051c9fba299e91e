"""Panels of what routers export: whether each is heard, what of it is lost, and how long its records take."""

from __future__ import annotations

from collections.abc import Iterator

from ops.views.model import Panel

_RATE = "[$__rate_interval]"


def panels() -> Iterator[Panel]:
    """Panels of *Pipeline health*."""
    yield _panel(
        "flows_received", "Records of exporters per second", f"topk(20, sum by (exporter) (rate(flowlens_flows_received_total{_RATE})))",
        "ops", "Decoded records; of the 20 exporters with the most.", "{{exporter}}",
    )  # fmt: skip
    yield _panel(
        "flows_processed", "Records received and published per second",
        f'label_replace(sum(rate(flowlens_flows_received_total{_RATE})), "what", "received", "", "") '
        f'or label_replace(sum(rate(flowlens_flows_processed_total{_RATE})), "what", "published", "", "") '
        f'or label_replace(sum(rate(flowlens_flows_duplicate_total{_RATE})), "what", "duplicates", "", "")',
        "ops", "Lines that part: records are held up. Duplicates are records of flows that another exporter reports, too.", "{{what}}",
    )  # fmt: skip
    lost, came = (f"sum by (exporter) (rate(flowlens_export_{what}_total{_RATE}))" for what in ("lost", "counted"))
    yield _panel(
        "flows_lost", "Share of exports that is lost", f"topk(20, {lost} / ({lost} + {came}))", "percentunit",
        "By sequence numbers: between the exporter and this collector, or in the exporter.", "{{exporter}}",
    )  # fmt: skip
    yield _panel(
        "flows_latency", "From datagram to published record", "flowlens_processing_latency_seconds", "s",
        "Of the last 10 minutes: that share of the records took no longer.", "{{quantile}}",
    )  # fmt: skip
    yield _panel(
        "flows_pending", "Sets that wait for a template", "topk(20, flowlens_pending_sets > 0)", "short",
        "Data of which the exporter has not said the layout. They are decoded when it does, or given up.", "{{exporter}}",
    )  # fmt: skip
    yield _panel(
        "exporters_silent", "Silence of exporters", "topk(20, time() - flowlens_exporter_seen_timestamp_seconds)", "s",
        "Time since an exporter was heard of.", "{{exporter}}",
    )  # fmt: skip


def _panel(key: str, title: str, promql: str, unit: str, description: str, legend: str) -> Panel:
    return Panel(key, title, "timeseries", "metrics", promql, description, unit=unit, legend=legend, section="Exporters of flows")
