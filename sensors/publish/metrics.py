"""Prometheus metrics of one sensor, read from its counters when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.errors import ConfigError
from schemas.wire import CLOCK_END
from sensors.publish.counting import Counters

_COUNTERS = {
    "received": ("flowlake_sensor_packets_received", "Packets taken by the sensor."),
    "sent": ("flowlake_sensor_packets_sent", "Packets acknowledged by the broker."),
    "dropped": ("flowlake_sensor_packets_dropped", "Packets given up in the sensor: buffer full, or refused by the broker."),
    "kernel_dropped": ("flowlake_sensor_packets_kernel_dropped", "Packets the kernel dropped before the sensor saw them."),
    "messages": ("flowlake_sensor_messages_sent", "Messages acknowledged by the broker."),
    "bytes": ("flowlake_sensor_bytes_sent", "Message bytes acknowledged by the broker."),
    "send_errors": ("flowlake_sensor_send_errors", "Messages given up."),
}


class SensorCollector(Collector):
    """Metrics from ``counters()``, labelled with the sensor id."""

    def __init__(self, sensor_id: str, counters: Callable[[], Counters]) -> None:
        self._sensor_id = sensor_id
        self._counters = counters

    def collect(self) -> Iterable[Metric]:
        counters = self._counters()
        for field, (name, text) in _COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=["sensor"])
            family.add_metric([self._sensor_id], getattr(counters, field))
            yield family
        gauge = GaugeMetricFamily("flowlake_sensor_buffer_bytes", "Bytes waiting for the broker.", labels=["sensor"])
        gauge.add_metric([self._sensor_id], counters.buffered_bytes)
        yield gauge
        if 0 < counters.clock < CLOCK_END:
            clock = GaugeMetricFamily("flowlake_sensor_clock_seconds", "The sensor's clock, seconds since the epoch.", labels=["sensor"])
            clock.add_metric([self._sensor_id], counters.clock / 1e9)
            yield clock


def serve(host: str, port: int, sensor_id: str, counters: Callable[[], Counters]) -> Callable[[], None]:
    """Serve ``/metrics`` on ``host:port``; returns what stops it.

    Raises
    ------
    ConfigError
        The port cannot be had.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SensorCollector(sensor_id, counters))
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as e:
        raise ConfigError(f"metrics port {host}:{port}: {e.strerror}", "name another with --metrics-port, 0 turns it off") from e

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5)

    return stop
