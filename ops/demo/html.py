"""The report as one HTML file: what its template ``report.html`` shows, computed; plots by :mod:`ops.demo.svg`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from infra import files
from infra.names import printable
from infra.plurals import counted
from ops.demo import series, svg
from ops.harness import latency
from ops.harness.outcome import Outcome
from ops.harness.stores import AlertRow
from schemas.labels import BENIGN

#: Dots drawn of one kind of alert.
_MOST_DOTS = 500


def write(outcome: Outcome, file: Path) -> None:
    """Write the page."""
    files.replace(file, page(outcome))


def page(outcome: Outcome) -> str:
    """The whole page; whatever comes from traffic is escaped by the template engine."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("ops.demo", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters.update(thousands="{:,}".format, counted=counted, ms=_ms)
    values = outcome.as_dict()
    confusion = outcome.detection.confusion
    return templates.get_template("report.html").render(
        outcome=outcome,
        values=values,
        source=_source(outcome),
        written=datetime.now(UTC),
        tiles=_tiles(values),
        traffic=_traffic(outcome),
        alerts=_alerts(outcome.alerts),
        delays_plot=_delays(outcome.delay_values),
        columns=sorted({name for row in confusion.values() for name in row}, key=lambda n: (n != BENIGN, n)),
        benign=BENIGN,
    )


def _source(outcome: Outcome) -> str:
    source = outcome.source
    if source.kind == "replay":
        return f"capture file {printable(Path(source.name).name)}"
    return f"{'generated traffic, preset' if source.kind == 'generate' else 'live traffic of interface'} {source.name}"


def _tiles(values: dict[str, Any]) -> list[tuple[str, str]]:
    quality, delay = values["quality"], values["latency_ms"]
    return [
        ("packets sent", f"{values['packets_sent']:,}"),
        ("flows closed", f"{values['flows_closed']:,}"),
        ("alerts", f"{values['alert_rows']:,}"),
        ("recall", _ratio(quality["recall"])),
        ("precision", _ratio(quality["precision"])),
        ("false positives", _ratio(quality["false_positive_rate"])),
        ("capture to alert, p50", _ms(delay["p50"])),
        ("capture to alert, p99", _ms(delay["p99"])),
        ("memory, at most", f"{values['memory_peak_mb']:,} MiB"),
    ]


def _traffic(outcome: Outcome) -> dict[str, Any] | None:
    """Plots of packets and of new flows over time; None without flows."""
    found = series.over_time(outcome.closed)
    if found is None:
        return None
    packets = {name: values.tolist() for name, values in found.packets.items()}
    flows = {name: values.tolist() for name, values in found.flows.items()}
    return {
        "packets_plot": svg.stacked(packets, found.step, "packets per second"),
        "flows_plot": svg.stacked(flows, found.step, "new flows per second"),
        "classes": list(packets),
        "left_out": found.left_out,
    }


def _alerts(alerts: Sequence[AlertRow]) -> dict[str, Any] | None:
    """Plot and table of the alerts, a row for each kind in the order of their first; None without alerts."""
    if not alerts:
        return None
    by_kind: dict[str, list[AlertRow]] = {}
    for alert in sorted(alerts, key=lambda a: a.created_at):
        by_kind.setdefault(alert.attack_type, []).append(alert)
    first, last = min(a.created_at for a in alerts), max(a.created_at for a in alerts)
    rows = []
    for kind, mine in by_kind.items():
        hints = [(a.created_at - first, _hint(a)) for a in mine[:_MOST_DOTS]]
        rows.append((kind, series.class_of(kind), hints))
    return {
        "plot": svg.dots(rows, max(last - first, 1.0), "alerts over time"),
        "classes": list(dict.fromkeys(series.class_of(kind) for kind in by_kind)),
        "kinds": [
            {
                "name": kind,
                "alerts": len(mine),
                "flows": sum(a.flow_count for a in mine),
                "severity": max(a.severity for a in mine),
                "example": _ends(max(mine, key=lambda a: (a.severity, a.flow_count))),
            }
            for kind, mine in by_kind.items()
        ],
    }


def _ends(alert: AlertRow) -> str:
    return f"{alert.source or 'many'} to {alert.target or 'many'}"


def _hint(alert: AlertRow) -> str:
    return f"{_ends(alert)}, severity {alert.severity}, {counted(alert.flow_count, 'flow')}"


def _delays(values: Sequence[float]) -> Markup | None:
    """Histogram of the delays (ms); None without one."""
    edges, counts = latency.histogram(values)
    if not counts:
        return None
    marks = {name: float(value) for name, value in latency.percentiles(values).items() if value is not None}
    return svg.histogram(edges, counts, marks, "delay from capture to alert row")


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"
