"""The exporters of the demo: each sees the same capture, and says so in its own protocol."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.config import Settings
from infra.errors import FlowlakeError
from infra.process import free_port
from jobs.sources.netflow.exporting import ExportJob, ExportKind, ExportOptions
from jobs.sources.netflow.settings import ExportedFlowSettings
from sensors.netflow.sending import SendPace, UdpSender
from sensors.netflow.settings import ExporterSensorSettings
from sensors.packets.files import find_captures

#: Datagrams a second of each: they share the machine with everything behind them.
RATE = 400.0


@dataclass
class Router:
    """One exporter.

    Attributes
    ----------
    name
        For people.
    kind, sampling
        As what it exports, one packet of how many.
    target
        Address of the collector, as it reaches it; its own is the same (of sFlow: ``agent``).
    protocol
        What records call it (:data:`schemas.exportedflows.PROTOCOLS`).
    summary
        What was exported, when it is done.
    """

    name: str
    kind: ExportKind
    protocol: str
    target: str = "127.0.0.1"
    agent: str = "127.0.0.1"
    sampling: int = 1
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Exporter's address in records."""
        return self.agent if self.kind is ExportKind.SFLOW else self.target

    def export(self, capture: Path, settings: Settings, port: int, stop: threading.Event) -> None:
        """Export the capture.

        Raises
        ------
        CaptureError
            It cannot be read.
        FlowlakeError
            Nobody listens.
        """
        options = ExportOptions(self.kind, self.sampling, agent=self.agent)
        job = ExportJob(find_captures([capture]), options, settings, stop)
        began = time.monotonic()
        with UdpSender(self.target, port) as sink:
            job.run(sink, SendPace(0.0, RATE, stop))
        self.summary = job.summary(time.monotonic() - began, sink.refused)
        if sink.refused:
            raise FlowlakeError(f"{self.name}: {sink.refused:,} datagrams were refused by {self.target} port {port}")


def routers() -> list[Router]:
    """A router with NetFlow v9; where the machine has IPv6 another with IPFIX, that sees the same; a switch that samples."""
    found = [Router("edge router", ExportKind.V9, "netflow-v9")]
    if has_ipv6():
        found.append(Router("core router", ExportKind.IPFIX, "ipfix", target="::1"))
    found.append(Router("switch", ExportKind.SFLOW, "sflow", agent="192.0.2.10", sampling=10))
    return found


def has_ipv6() -> bool:
    """Whether the machine can speak IPv6 with itself."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.bind(("::1", 0))
            return True
    except OSError:
        return False


def with_own_ports(settings: Settings) -> Settings:
    """With UDP ports that are free, on this machine alone."""
    sensor = settings.section(ExporterSensorSettings)
    addresses = ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",)
    ports = tuple(free_port() for _ in range(3))
    section = sensor.model_copy(update={"addresses": addresses, "ports": ports})
    stream = settings.section(ExportedFlowSettings).model_copy(update={"enabled": True})
    return settings.model_copy(update={"netflow_sensor": section, "exported_flows": stream})
