"""Exporters of the tests: they send datagrams to a listener on this machine."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from schemas.rawflows import RawDatagram
from sensors.netflow.draining import Drained
from sensors.netflow.intake import DatagramIntake
from sensors.netflow.settings import ExporterSensorSettings
from sensors.netflow.streams import raw_datagram
from sensors.netflow.waiting import DatagramQueue
from sensors.netflow.workers import FlowListener

ROOMY = 64 << 20
LOCAL = bytes(10) + b"\xff\xff" + bytes([127, 0, 0, 1])
NOW_US = 1_767_225_600_000_000


def free_ports(n: int) -> tuple[int, ...]:
    """UDP ports that nobody listens on."""
    sockets = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(n)]
    for one in sockets:
        one.bind(("::", 0))
    ports = tuple(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    return ports


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


@contextmanager
def listening(settings: ExporterSensorSettings, hand_on: Callable[[Drained], None]) -> Iterator[FlowListener]:
    listener = FlowListener(settings, hand_on)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


def send(payloads: Sequence[bytes], port: int, host: str = "127.0.0.1", source: str = "") -> int:
    """Send from one socket; the port that they came from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as out:
        out.bind((source or host, 0))
        for payload in payloads:
            out.sendto(payload, (host, port))
        return int(out.getsockname()[1])


def ipfix(domain: int, *sets: tuple[int, bytes], sequence: int = 0) -> bytes:
    body = b"".join(struct.pack(">HH", kind, len(content) + 4) + content for kind, content in sets)
    return struct.pack(">HHIII", 10, 16 + len(body), 1_767_225_600, sequence, domain) + body


#: A template of one field, and data for it.
TEMPLATE = (2, struct.pack(">HHHH", 256, 1, 1, 4))
DATA = (256, struct.pack(">I", 1000))


def sender(number: int) -> bytes:
    return bytes(10) + b"\xff\xff" + struct.pack(">I", 0x0A000000 + number)


def some(n: int, domain: int = 1, who: int = 1, at_us: int = NOW_US, step_us: int = 0) -> list[RawDatagram]:
    """``n`` datagrams of data of one stream."""
    return [raw_datagram(ipfix(domain, DATA, sequence=i), sender(who), 5000, 4739, at_us + i * step_us) for i in range(n)]


def drained(datagrams: Sequence[RawDatagram]) -> Drained:
    """As they come from a socket."""
    columns = ([d.payload for d in datagrams], [d.sender for d in datagrams], [d.port for d in datagrams])
    return Drained(4739, (*columns, [d.received_us for d in datagrams]))


class IntakeBench:
    """An intake with a queue of so many bytes."""

    def __init__(self, bound: int = ROOMY, **settings: float) -> None:
        self.queue = DatagramQueue(bound)
        self.intake = DatagramIntake(ExporterSensorSettings.model_validate(settings), self.queue)
        self.counts = self.intake.counts

    def take(self, datagrams: Sequence[RawDatagram]) -> None:
        self.intake.take(drained(datagrams))

    def kept(self) -> list[RawDatagram]:
        return self.queue.get(1 << 40, 0)
