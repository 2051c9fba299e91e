"""NetFlow v5, written: a header of 24 bytes and at most 30 records of 48 (Cisco, "NetFlow Export Datagram Format").

It knows IPv4 alone, and counts in 32 bits: flows beyond are not exported, and counted.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from jobs.flowexport.exporting.flowrows import OUT_DTYPE
from jobs.flowexport.exporting.outgoing import SPAN, Backlog, ExportClock, ExportRules, ExportTally, Flows, OutDatagram

#: Two bits of mode, of which 2 is random sampling, then the interval.
MOST_INTERVAL = 0x3FFF
_RANDOM = 2 << 14
_RECORDS = 30
_HEADER = struct.Struct(">HHIIIIBBH")
_VERSION = 5
_RECORD = np.dtype(
    [
        ("src", "u1", 4),
        ("dst", "u1", 4),
        ("next_hop", "u1", 4),
        ("input", ">u2"),
        ("output", ">u2"),
        ("packets", ">u4"),
        ("bytes", ">u4"),
        ("first", ">u4"),
        ("last", ">u4"),
        ("sport", ">u2"),
        ("dport", ">u2"),
        ("pad", "u1"),
        ("tcp_flags", "u1"),
        ("proto", "u1"),
        ("rest", "u1", 9),  # type of service, systems, prefixes: not known
    ]
)
_SAME = ("input", "output", "packets", "bytes", "sport", "dport", "tcp_flags", "proto")


class Netflow5Encoder:
    """Flows of one engine (:class:`jobs.flowexport.exporting.outgoing.FlowEncoder`).

    Raises
    ------
    ValueError
        Its header cannot say this sampling, or this domain.
    """

    def __init__(self, rules: ExportRules) -> None:
        if rules.sampling > MOST_INTERVAL or not 0 <= rules.domain <= 0xFFFF:
            raise ValueError(f"NetFlow v5 cannot say sampling {rules.sampling}, engine {rules.domain}")
        self._rules = rules
        self._clock = ExportClock()
        self._backlog = Backlog()
        self._sequence = 0
        self.unsaid: defaultdict[str, ExportTally] = defaultdict(ExportTally)

    def feed(self, flows: Flows) -> Iterator[OutDatagram]:
        """Datagrams that are full."""
        return map(self._datagram, self._backlog.cut(self._said(flows), _RECORDS))

    def finish(self) -> Iterator[OutDatagram]:
        """What is left."""
        return map(self._datagram, self._backlog.cut(np.zeros(0, OUT_DTYPE), _RECORDS, rest=True))

    def _said(self, flows: Flows) -> Flows:
        """Those that it can tell of."""
        six = flows["ip_version"] != 4
        large = ~six & ((flows["bytes"] >= SPAN) | (flows["packets"] >= SPAN))
        for reason, which in (("IPv6", six), ("more than 32 bits", large)):
            if which.any():
                self.unsaid[reason].add(flows[which])
        return flows[~six & ~large]

    def _datagram(self, flows: Flows) -> OutDatagram:
        clock = self._clock
        clock.begin(int(flows["start_us"].min()))
        clock.reach(int(flows["end_us"].max()))
        made = np.zeros(len(flows), _RECORD)
        for name in _SAME:
            made[name] = flows[name]
        made["src"], made["dst"] = flows["src"][:, 12:], flows["dst"][:, 12:]
        made["first"], made["last"] = clock.uptimes(flows["start_us"]), clock.uptimes(flows["end_us"])
        seconds, ms = divmod(clock.now_ms, 1000)
        interval = _RANDOM | self._rules.sampling if self._rules.sampling > 1 else 0
        kind, engine = divmod(self._rules.domain, 256)
        head = (_VERSION, len(flows), clock.uptime_at(clock.now_ms), seconds, ms * 1_000_000, self._sequence, kind, engine, interval)
        self._sequence = (self._sequence + len(flows)) % SPAN
        tally = ExportTally()
        tally.add(flows)
        return OutDatagram(_HEADER.pack(*head) + made.tobytes(), clock.now_ms * 1000, tally)
