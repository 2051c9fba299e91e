"""What all encoders share: how they are told to export, the exporter's clock, a datagram that is to be sent, what cannot be said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Flows = NDArray[np.void]

#: Numbers of sequence, uptime and pool are of 32 bits, and begin anew.
SPAN = 1 << 32
#: Interfaces of the exporter: what its first packet came in by, and the other one.
INSIDE, OUTSIDE = 1, 2
#: Id of the only sampler.
SAMPLER = 1
_MS, _S = 1000, 1_000_000
#: The exporter was started so long before the first flow, ms.
_BEFORE_MS = 3_600_000


@dataclass(frozen=True)
class ExportRules:
    """How one exporter writes.

    Attributes
    ----------
    domain
        Source id, observation domain, engine or sub-agent.
    sampling
        One packet of so many was taken before it was metered; 1: all were.
    biflow
        IPFIX: both directions in one record (RFC 5103).
    refresh
        Templates and options are sent again in front of every so many datagrams,
    refresh_s
        and when the last ones are so old, by the exporter's clock, s.
    room
        Bytes of a datagram at most, without the headers of IP and UDP.
    """

    domain: int = 1
    sampling: int = 1
    biflow: bool = False
    refresh: int = 20
    refresh_s: int = 60
    room: int = 1400


@dataclass
class ExportTally:
    """Records, packets and bytes of something."""

    records: int = 0
    packets: int = 0
    bytes: int = 0

    def add(self, flows: Flows) -> None:
        """Count flows, both of their directions."""
        self.records += len(flows)
        self.packets += int(flows["packets"].sum()) + int(flows["reverse_packets"].sum())
        self.bytes += int(flows["bytes"].sum()) + int(flows["reverse_bytes"].sum())

    def as_dict(self) -> dict[str, int]:
        """For programs."""
        return {"records": self.records, "packets": self.packets, "bytes": self.bytes}


@dataclass(frozen=True)
class OutDatagram:
    """A datagram to send: its payload, when it is exported (us since the epoch), and what its records say."""

    payload: bytes
    exported_us: int
    tally: ExportTally


@dataclass
class ExportClock:
    """Time of one exporter: it goes on with the flows, and never back.

    Attributes
    ----------
    boot_ms
        When it was started, ms since the epoch; -1: that is not settled yet.
    now_us
        Time of the newest flow, us since the epoch.
    """

    boot_ms: int = -1
    now_us: int = 0

    def begin(self, first_us: int) -> None:
        """Settle when the exporter was started: an hour before the first flow that it tells of."""
        if self.boot_ms < 0:
            self.boot_ms = max(first_us // _MS - _BEFORE_MS, 0)

    def reach(self, moment_us: int) -> None:
        """Go on to a moment."""
        self.now_us = max(self.now_us, moment_us)

    @property
    def now_ms(self) -> int:
        """Rounded up: no flow ends behind its export."""
        return -(-self.now_us // _MS)

    @property
    def now_s(self) -> int:
        """Rounded up."""
        return -(-self.now_us // _S)

    def uptime_at(self, moment_ms: int) -> int:
        """Milliseconds since the start, as 32 bits count them."""
        return (moment_ms - self.boot_ms) % SPAN

    def uptimes(self, moments_us: NDArray[Any]) -> NDArray[np.uint32]:
        """The same of many moments (us)."""
        return ((moments_us // _MS - self.boot_ms) % SPAN).astype(np.uint32)


class FlowEncoder(Protocol):
    """Flows in, datagrams out.

    ``unsaid`` counts, by reason, what the protocol cannot say.
    """

    unsaid: defaultdict[str, ExportTally]

    def feed(self, flows: Flows) -> Iterator[OutDatagram]:
        """Take flows (:data:`jobs.flowexport.exporting.flowrows.OUT_DTYPE`); datagrams that are full."""

    def finish(self) -> Iterator[OutDatagram]:
        """Datagrams of what is left."""


@dataclass
class Backlog:
    """Flows that wait until a datagram is full of them."""

    flows: list[Flows] = field(default_factory=list)

    def cut(self, more: Flows, size: int, *, rest: bool = False) -> Iterator[Flows]:
        """Pieces of ``size`` flows, of those that waited and of ``more``; with ``rest`` also what is left, else that waits on."""
        waiting = np.concatenate([*self.flows, more]) if self.flows else more
        whole = len(waiting) // size * size
        for at in range(0, whole, size):
            yield waiting[at : at + size]
        left = waiting[whole:]
        if rest and len(left):
            yield left
        self.flows = [] if rest or not len(left) else [left.copy()]
