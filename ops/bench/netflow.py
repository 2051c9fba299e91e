"""The whole way of exported flows: over UDP, collected, decoded, enriched, into lake and hot store; records a second, and what is lost."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.config import Settings
from ops.bench.place import stack
from ops.bench.stream import read_batches
from ops.harness.driver import BATCHES
from ops.harness.exported import account
from ops.harness.exported.routers import with_own_ports
from ops.harness.exported.trial import ExportTrial
from schemas.exportedflows import FLOW_ACCOUNTS

Say = Callable[[str], None]

#: NetFlow v9: the fields of a record, all of fixed length; records of a datagram that fits into an Ethernet frame.
_FIELDS = ((8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (6, 1), (4, 1), (5, 1), (16, 4))
_EACH = 28
_TEMPLATE_ID = 256
_BODIES = 64
#: Time that a template holds before it is sent again, s.
_REFRESH_S = 20.0


@dataclass
class ExportLoad:
    """Many exporters, each with an address of its own below 127/8.

    Attributes
    ----------
    rate
        Records a second, of all.
    seconds
        How long.
    exporters
        How many.
    burst
        From the middle on ``rate`` times so much, for ten seconds.
    """

    rate: float
    seconds: float
    exporters: int
    burst: float = 1.0
    summary: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    name: str = "load"
    protocol: str = "netflow-v9"
    address: str = ""
    sampling: int = 1

    def export(self, _capture: Path, _settings: Settings, port: int, stop: threading.Event) -> None:
        """Send, at the rate."""
        rng = random.Random(1)
        bodies = [_body(rng) for _ in range(_BODIES)]
        sockets = [_socket(number, port) for number in range(self.exporters)]
        sequence, taught = [0] * self.exporters, [-_REFRESH_S] * self.exporters
        boot = time.time() - 86_400
        sent = Counter[str]()
        self.began = time.monotonic()
        due = datagrams = 0.0
        last = self.began
        while (now := time.monotonic()) - self.began < self.seconds and not stop.is_set():
            due += (now - last) * self._now(now - self.began) / _EACH
            last = now
            while datagrams < due:
                one = int(datagrams) % self.exporters
                if now - taught[one] > _REFRESH_S:
                    taught[one] = now
                    self._send(sockets[one], _template(), sequence, one, boot)
                    sent["datagrams"] += 1
                packets, octets, body = bodies[int(datagrams) % _BODIES]
                self._send(sockets[one], body, sequence, one, boot)
                sent.update(datagrams=1, records=_EACH, packets=packets, bytes=octets)
                datagrams += 1
            time.sleep(0.002)
        self.ended = time.monotonic()
        for way in sockets:
            way.close()
        self.summary = dict(sent)

    def _now(self, at: float) -> float:
        middle = self.seconds / 2
        return self.rate * (self.burst if middle <= at < middle + 10 else 1.0)

    @staticmethod
    def _send(to: socket.socket, body: bytes, sequence: list[int], number: int, boot: float) -> None:
        now = time.time()
        head = struct.pack(">HHIIII", 9, 1, int((now - boot) * 1000), int(now), sequence[number], 1)
        sequence[number] += 1
        to.send(head + body)


def _socket(number: int, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((f"127.{1 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}", 0))
    one.connect(("127.0.0.1", port))
    return one


def _template() -> bytes:
    body = struct.pack(">HH", _TEMPLATE_ID, len(_FIELDS)) + b"".join(struct.pack(">HH", *one) for one in _FIELDS)
    return struct.pack(">HH", 0, 4 + len(body)) + body


def _body(rng: random.Random) -> tuple[int, int, bytes]:
    """Packets and bytes of a set of records, and the set."""
    records, packets, octets = [], 0, 0
    uptime = 86_400_000
    for _ in range(_EACH):
        n = rng.randint(1, 40)
        size = n * rng.randint(60, 1400)
        packets, octets = packets + n, octets + size
        source, target = 0x0A000000 | rng.randrange(1 << 12), 0x0B000000 | rng.randrange(1 << 14)
        ports = rng.randint(1024, 65_535), rng.choice((443, 80, 53, 22, 5432))
        times = uptime - rng.randint(1000, 50_000), uptime - rng.randint(0, 900)
        records.append(struct.pack(">IIIIIIIIIHHBBBI", source, target, 0x0A0000FE, 1, 2, n, size, *times, *ports, 0x1B, 6, 0, 64_512))
    body = b"".join(records)
    body += bytes(-len(body) % 4)
    return packets, octets, struct.pack(">HH", _TEMPLATE_ID, 4 + len(body)) + body


def run(settings: Settings, *, rate: float, seconds: float, exporters: int, burst: float, say: Say = print) -> dict[str, Any]:
    """Send, and wait until every record is stored.

    Returns
    -------
    dict
        ``records``; ``stored_per_s``: from the first datagram until the last record was in both stores; ``behind_s``: how long after the
        last datagram that was; what the collector gave up and the kernel dropped (datagrams), what sequence numbers miss.

    Raises
    ------
    FlowlakeError
        A part did not start or ended.
    """
    load = ExportLoad(rate, seconds, exporters, burst)
    with stack(settings) as (own, where):
        where.base.mkdir(parents=True, exist_ok=True)
        trial = ExportTrial(with_own_ports(own), where, [load], lambda: where.base, say)  # type: ignore[list-item]  # exports as one does
        try:
            collected, behind, stored = trial.measured()
            lost = account.lost(trial.messages(FLOW_ACCOUNTS.name))
            batches = read_batches(trial.parts.file(BATCHES))
        finally:
            trial.stop()
    records = load.summary["records"]
    return {
        "exporters": exporters,
        "offered_per_s": round(records / (load.ended - load.began)),
        "records": records,
        "datagrams": load.summary["datagrams"],
        "stored_per_s": round(records / (stored - load.began)),
        "behind_s": round(stored - load.ended, 1),
        "behind": behind,
        "given_up": {name: collected[name] for name in ("thinned", "limited", "dropped", "refused", "unsent", "kernel_dropped")},
        "lost_by_sequence": sum(lost.values()),
        "batches_ms": batches,
    }
