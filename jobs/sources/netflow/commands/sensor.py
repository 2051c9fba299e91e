"""``flowlake sensor netflow``."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from infra.config import Settings
from infra.console.options import ConfFile, Json
from infra.console.progress import ProgressLine
from infra.console.signals import handled
from infra.plurals import counted
from jobs.sending.options import Domain, Duration, MetricsPort, SensorId
from jobs.sending.preparing import port_of_metrics, prepare
from jobs.sources.netflow.commands.options import Addresses, Mode, Ports, with_options
from sensors.netflow.settings import ExporterSensorSettings

if TYPE_CHECKING:
    from jobs.sources.netflow.directmetrics import DirectMaker


def netflow(
    port: Ports = None,
    address: Addresses = None,
    mode: Mode = None,
    sensor_id: SensorId = None,
    domain: Domain = None,
    duration: Duration = None,
    metrics_port: MetricsPort = None,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Receive NetFlow v5 and v9, IPFIX and sFlow v5 from routers and switches, and send the datagrams, undecoded, to flows.raw.

    With --mode direct they are decoded here, and stored in PostgreSQL (flow_raw, flow_exports), without Kafka and Spark. With --mode auto
    that is done while there are few records, and datagrams go to flows.raw while there are many.

    Every port takes every protocol. Goes on while the broker, or PostgreSQL, is away: what memory allows is kept, then one datagram stands
    for several, then they are dropped, and all of it is counted. With --metrics-port, /health is served beside /metrics.

    Example:  flowlake sensor netflow --port 2055 --metrics-port 9109
    """
    from infra.health import serving
    from sensors.netflow import metrics
    from sensors.netflow.sensor import FlowExportSensor

    settings = with_options(prepare(conf_file, sensor_id), port, address, mode)
    began, line = time.monotonic(), ProgressLine(as_json)
    direct = _direct(settings)
    sensor = FlowExportSensor(settings, sensor_id, domain, duration_s=duration, outlet=direct)

    def show(working: FlowExportSensor) -> None:
        a = working.account()
        line.show(f"{a.received:,} datagrams of {counted(len(working.intake.exporters), 'exporter')}, {a.sent:,} sent, {a.lost:,} lost")

    with ExitStack() as stack:
        stack.enter_context(handled(sensor.stop))
        if serve_at := port_of_metrics(settings, metrics_port):
            host = settings.metrics.host
            registry = metrics.registry(sensor)
            if direct:
                registry.register(direct)
            stack.enter_context(serving(host, serve_at, registry, lambda: metrics.health(sensor)))
        try:
            sensor.run(show)
        finally:
            line.end()
            if sensor.listener.sockets:
                summary = _summary(sensor, settings.section(ExporterSensorSettings))
                _report({**summary, **(direct.counts() if direct else {})}, began, as_json)


def _direct(settings: Settings) -> DirectMaker | None:
    """What stores flows, where the mode says so: its modules are loaded then only."""
    if settings.section(ExporterSensorSettings).mode == "kafka":
        return None
    from jobs.sources.netflow.directmetrics import DirectMaker

    return DirectMaker(settings)


def _summary(sensor: Any, own: ExporterSensorSettings) -> dict[str, Any]:
    account = asdict(sensor.account())
    return {
        "sensor": sensor.sensor_id,
        "mode": own.mode,
        "addresses": list(own.addresses),
        "ports": list(own.ports),
        "exporters": len(sensor.intake.exporters) + sensor.intake.exporters.forgotten,
        "messages": sensor.counters.messages,
        "unaccounted": sensor.intake.unaccounted,
        **{f"datagrams_{name}" if name in ("received", "sent") else name: value for name, value in account.items() if name != "waiting"},
    }


def _report(summary: dict[str, Any], began: float, as_json: bool) -> None:
    summary["seconds"] = round(time.monotonic() - began, 3)
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"{counted(summary['datagrams_received'], 'datagram')} of {counted(summary['exporters'], 'exporter')} received, "
        f"{summary['datagrams_sent']:,} sent in {counted(summary['messages'], 'message')}, {summary['seconds']:.1f} s"
    )
    if "records_stored" in summary:
        undecoded = sum(summary["undecoded"].values())
        print(
            f"{counted(summary['records_stored'], 'record')} stored; refused: {summary['records_refused']:,} by PostgreSQL, "
            f"{counted(undecoded, 'datagram')} that could not be decoded wholly"
        )
    store = {"kafka": "the broker", "direct": "PostgreSQL"}.get(summary["mode"], "PostgreSQL or the broker")
    print(
        f"others stand for {summary['thinned'] + summary['limited']:,}; lost: {summary['dropped']:,} as the queue was full, "
        f"{summary['refused'] + summary['unsent']:,} not taken by {store}, {summary['kernel_dropped']:,} dropped by the kernel"
    )
