"""Prometheus metrics and health of the sensor of flow exporters, read from its counters when asked for.

Labels are bounded: exporters are as many as the sensor follows (``most_exporters``); those forgotten are told as one.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.health import Health
from sensors.netflow.exporters import SendingExporter
from sensors.netflow.sensor import FlowExportSensor
from sensors.publish.metrics import SensorCollector

#: What the exporters that had to make room for others are called; and those whose datagrams are told only in sum.
_FORGOTTEN, _ALL = "forgotten", "all"


class FlowExportCollector(Collector):
    """Metrics of one sensor."""

    def __init__(self, sensor: FlowExportSensor) -> None:
        self._sensor = sensor

    def collect(self) -> Iterable[Metric]:
        """Metrics as of now."""
        yield from self._of_exporters()
        yield from self._of_all()

    def _of_exporters(self) -> Iterator[Metric]:
        received = CounterMetricFamily("flowlens_datagrams_received", "Datagrams that came.", labels=["exporter"])
        dropped = CounterMetricFamily("flowlens_datagrams_dropped", "Datagrams lost, by what.", labels=["exporter", "reason"])
        thinned = CounterMetricFamily("flowlens_datagrams_thinned", "Datagrams given up, which others stand for.", labels=["exporter"])
        sampling = GaugeMetricFamily("flowlens_sampling", "N of the 1:N by which an exporter is thinned now.", labels=["exporter"])

        def count(name: str, exporter: SendingExporter) -> None:
            received.add_metric([name], exporter.received)
            thinned.add_metric([name], exporter.thinned)
            dropped.add_metric([name, "queue_full"], exporter.dropped)

        for sender, exporter, every in self._sensor.intake.known():
            name = shown(sender)
            count(name, exporter)
            sampling.add_metric([name], every)
        count(_FORGOTTEN, self._sensor.intake.exporters.past)
        account = self._sensor.account()
        dropped.add_metric([_ALL, "refused"], account.refused)
        dropped.add_metric([_ALL, "unsent"], account.unsent)
        yield from (received, dropped, thinned, sampling)

    def _of_all(self) -> Iterator[Metric]:
        sensor = self._sensor
        kernel = CounterMetricFamily("flowlens_kernel_dropped", "Datagrams that the kernel dropped, by port.", labels=["port"])
        by_port: Counter[int] = Counter()
        for one in list(sensor.listener.sockets):
            by_port[one.port] += one.dropped()
        for port, n in by_port.items():
            kernel.add_metric([str(port)], n)
        yield kernel
        yield _gauge("flowlens_queue_depth", "Datagrams that wait in the queue.", len(sensor.queue))
        yield _gauge("flowlens_queue_ratio", "Share of the queue that is used.", sensor.queue.depth)
        yield _gauge("flowlens_pending", "Bytes that wait for the broker's acknowledgement.", sensor.counters.buffered_bytes)
        yield _gauge("flowlens_exporters", "Exporters that are followed.", len(sensor.intake.exporters))


def _gauge(name: str, text: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, text)
    gauge.add_metric([], value)
    return gauge


def shown(sender: bytes) -> str:
    """An address of 16 bytes as people write it; IPv4, which is mapped, as IPv4."""
    address = ipaddress.IPv6Address(sender)
    return str(address.ipv4_mapped or address)


def registry(sensor: FlowExportSensor) -> CollectorRegistry:
    """Its metrics: those that every sensor has, and its own."""
    made = CollectorRegistry(auto_describe=False)
    made.register(SensorCollector(sensor.sensor_id, lambda: sensor.counters))
    made.register(FlowExportCollector(sensor))
    return made


def _checked(sensor: FlowExportSensor, way: str, reached: str) -> str:
    """How what lies at the end of a way does, as far as it is used."""
    if sensor.way in (way, "auto"):
        return reached
    return "standby" if sensor.mode == "auto" else "not_configured"


def health(sensor: FlowExportSensor) -> Health:
    """How it does: unhealthy when a thread has ended that should be at work, degraded when something was lost or thinned lately."""
    now = time.monotonic()
    reached = sensor.broker.told(now)
    checks = {
        **{name: _checked(sensor, way, reached) for name, way in (("kafka", "kafka"), ("postgresql", "direct"))},
        "redis": "not_configured",
        "listeners": "ok" if sensor.working else "failed",
        "datagrams": sensor.losses.told(now),
    }
    if not sensor.working:
        return Health("unhealthy", checks)
    return Health("healthy" if reached == checks["datagrams"] == "ok" else "degraded", checks)
