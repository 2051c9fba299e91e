"""*Pipeline health*: whether the stream keeps up, and where it does not. From the metrics that the stream and the sensors show."""

from __future__ import annotations

from collections.abc import Iterator

from ops.views import exporters, interfaces
from ops.views.model import Panel, View


def view(*, counted: bool = False) -> View:
    """The view; with panels of exporters' interfaces where their counters are stored."""
    panels = (*_panels(), *exporters.panels(), *(interfaces.panels() if counted else ()))
    return View(
        "pipeline", "Pipeline health", "Whether the stream keeps up, and where it does not.", panels, span="1h", refresh="10s",
        sensors=False,
    )  # fmt: skip


def _metric(key: str, title: str, promql: str, unit: str, description: str, legend: str = "", section: str = "") -> Panel:
    return Panel(key, title, "timeseries", "metrics", promql, description, unit=unit, legend=legend, section=section)


def _number(key: str, title: str, promql: str, description: str, warn: float, bad: float, falling: bool = False) -> Panel:
    return Panel(key, title, "stat", "metrics", promql, description, unit="short", warn=warn, bad=bad, falling=falling, width=6, height=4)


def _numbers() -> Iterator[Panel]:
    yield _number(
        "running", "Queries running", "sum(flowlake_query_active)",
        "Streaming queries that run now. Fewer than there should be: look at the log of the stream.", warn=1, bad=1, falling=True,
    )  # fmt: skip
    yield _number(
        "behind", "Messages behind", "sum(flowlake_kafka_lag_messages)",
        "Messages on the broker that no query has read yet, over all queries.", warn=1_000, bad=100_000,
    )  # fmt: skip
    yield _number(
        "failures", "Failures, 1 hour", "sum(increase(flowlake_query_failures_total[1h]))",
        "Times that a query ended with an error and was started again.", warn=1, bad=5,
    )  # fmt: skip
    yield _number(
        "lost", "Packets lost, 1 hour",
        "sum(increase(flowlake_sensor_packets_dropped_total[1h])) + sum(increase(flowlake_sensor_packets_kernel_dropped_total[1h]))",
        "Packets that sensors gave up, or that the kernel dropped before a sensor saw them.", warn=1, bad=1_000,
    )  # fmt: skip


def _panels() -> Iterator[Panel]:
    yield from _numbers()
    rows = "[$__rate_interval]"
    yield _metric(
        "lag", "Messages behind by query", "sum by (query, topic) (flowlake_kafka_lag_messages)", "short",
        "Messages that the last batch left. A line that only grows: the query is too slow, or stands.", legend="{{query}} {{topic}}",
    )  # fmt: skip
    yield _metric(
        "input", "Messages read per second", f"sum by (query) (rate(flowlake_input_rows_total{rows}))", "ops",
        "What each query reads.", legend="{{query}}",
    )  # fmt: skip
    yield _metric(
        "batch", "Duration of a batch, 95 of 100",
        f"histogram_quantile(0.95, sum by (query, le) (rate(flowlake_batch_seconds_bucket{rows})))", "s",
        "95 of 100 batches took no longer.", legend="{{query}}",
    )  # fmt: skip
    yield _metric(
        "latency", "From capture to row, 95 of 100",
        f"histogram_quantile(0.95, sum by (query, le) (rate(flowlake_latency_seconds_bucket{rows})))", "s",
        "From the last packet of a record until its row is in the store: 95 of 100 rows were no slower.", legend="{{query}}",
    )  # fmt: skip
    yield _metric(
        "written", "Rows written per second", f"sum by (query) (rate(flowlake_sink_rows_total{rows}))", "ops",
        "New rows in each store; copies are not counted.", legend="{{query}}",
    )  # fmt: skip
    yield _metric(
        "waits", "Waits for a store", f"sum by (query) (increase(flowlake_sink_waits_total{rows}))", "short",
        "Attempts that found a store away. The batch is tried again until it is there.", legend="{{query}}",
    )  # fmt: skip
    yield _metric(
        "packets", "Packets metered per second", f"sum by (query) (rate(flowlake_packets_total{rows}))", "pps",
        "What the meter takes in.", legend="{{query}}",
    )  # fmt: skip
    yield _metric(
        "open_flows", "Open flows", "sum by (query) (flowlake_open_flows)", "short",
        "Conversations that the meter holds in memory.", legend="{{query}}",
    )  # fmt: skip
    yield _metric(
        "state", "Memory of state", "sum by (query) (flowlake_state_bytes)", "bytes",
        "What queries keep from one batch to the next.", legend="{{query}}",
    )  # fmt: skip
    yield _metric(
        "rejected", "Messages and packets not metered per second",
        f"sum by (query, reason) (rate(flowlake_rejected_total{rows}))", "ops",
        "By reason. What can be kept lies in dead letters: flowlake topics. Of windows: late packets, and sources that were summed up.",
        legend="{{query}} {{reason}}",
    )  # fmt: skip
    yield _metric(
        "sensor_packets", "Packets of sensors per second", f"sum by (sensor) (rate(flowlake_sensor_packets_sent_total{rows}))", "pps",
        "Acknowledged by the broker.", legend="{{sensor}}", section="Sensors",
    )  # fmt: skip
    yield _metric(
        "sensor_dropped", "Packets that sensors lost per second",
        f"sum by (sensor) (rate(flowlake_sensor_packets_dropped_total{rows})) "
        f"+ sum by (sensor) (rate(flowlake_sensor_packets_kernel_dropped_total{rows}))",
        "pps", "Given up by the sensor, or dropped by the kernel before.", legend="{{sensor}}", section="Sensors",
    )  # fmt: skip
