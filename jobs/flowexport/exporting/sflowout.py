"""sFlow v5, written: flow samples with the beginning of each packet ("sFlow Version 5", sFlow.org 2004, sections 4 and 5)."""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from jobs.flowexport.exporting.outgoing import INSIDE, OUTSIDE, SPAN, ExportClock, ExportRules, ExportTally, OutDatagram
from sensors.packets.frames import FrameBatch
from sensors.packets.protocols import (
    LINKTYPE_DLT_RAW_BSD,
    LINKTYPE_DLT_RAW_OPENBSD,
    LINKTYPE_ETHERNET,
    LINKTYPE_IEEE802_11,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
    LINKTYPE_PPP,
    LINKTYPE_RAW,
)

#: Bytes of a packet that a sample holds, as most agents have it.
HEADER_BYTES = 128
#: ``header_protocol`` by link type; raw IP has one for each version.
_PROTOCOLS = {LINKTYPE_ETHERNET: 1, LINKTYPE_PPP: 7, LINKTYPE_IPV4: 11, LINKTYPE_IPV6: 12, LINKTYPE_IEEE802_11: 15}
_RAW_LINKS = (LINKTYPE_RAW, LINKTYPE_DLT_RAW_BSD, LINKTYPE_DLT_RAW_OPENBSD)
#: The checksum at a frame's end, which a capture does not have and sFlow counts.
_FCS = 4
#: Behind the agent's address: sub-agent, sequence, uptime, samples.
_REST = struct.Struct(">IIII")
_HEAD = struct.Struct(">IIIIIIII")
_RAW = struct.Struct(">IIIIII")
_FLOW_SAMPLE = 1


class SflowEncoder:
    """Samples of one agent.

    Parameters
    ----------
    rules
        ``domain`` is the sub-agent.
    agent
        Its address.

    Attributes
    ----------
    unsaid
        Packets of links that sFlow has no number for, by link type.
    """

    def __init__(self, rules: ExportRules, agent: str) -> None:
        packed = ipaddress.ip_address(agent).packed
        self._agent = struct.pack(">II", 5, 1 if len(packed) == 4 else 2) + packed
        self._rules = rules
        self._clock = ExportClock()
        self._samples: list[bytes] = []
        self._size = self._empty = len(self._agent) + _REST.size
        self._tally = ExportTally()
        self._sequence = self._number = 0
        self.unsaid: Counter[str] = Counter()

    def feed(self, frames: FrameBatch, pool: NDArray[Any], sizes: NDArray[Any]) -> Iterator[OutDatagram]:
        """Datagrams that are full.

        Parameters
        ----------
        frames
            Packets that were taken, ``n``.
        pool
            ``n`` numbers: packets seen so far, each of them the last.
        sizes
            ``n`` numbers of bytes of layer 3, for the accounts alone.
        """
        wire, moments, passed, bytes_ = frames.wire_len.tolist(), frames.ts.tolist(), pool.tolist(), sizes.tolist()
        for i, link in enumerate(frames.link_type.tolist()):
            frame = frames.frame(i)[:HEADER_BYTES]
            protocol = self._protocol(link, frame)
            if not protocol:
                self.unsaid[f"link type {link}"] += 1
                continue
            sample = self._sample(frame, protocol, wire[i], passed[i])
            if self._samples and self._size + len(sample) > self._rules.room:
                yield self._datagram()
            moment = moments[i] // 1000
            self._clock.begin(moment)
            self._clock.reach(moment)
            self._samples.append(sample)
            self._size += len(sample)
            self._tally.records += 1
            self._tally.packets += 1
            self._tally.bytes += bytes_[i]

    def finish(self) -> Iterator[OutDatagram]:
        """What is left."""
        if self._samples:
            yield self._datagram()

    @staticmethod
    def _protocol(link: int, frame: bytes) -> int:
        if link in _RAW_LINKS and frame:
            return {4: _PROTOCOLS[LINKTYPE_IPV4], 6: _PROTOCOLS[LINKTYPE_IPV6]}.get(frame[0] >> 4, 0)
        return _PROTOCOLS.get(link, 0)

    def _sample(self, frame: bytes, protocol: int, wire: int, pool: int) -> bytes:
        self._number = (self._number + 1) % SPAN
        stripped = _FCS if protocol == _PROTOCOLS[LINKTYPE_ETHERNET] else 0
        padded = frame + bytes(-len(frame) % 4)
        raw = _RAW.pack(1, 16 + len(padded), protocol, wire + stripped, stripped, len(frame)) + padded
        head = _HEAD.pack(self._number, INSIDE, self._rules.sampling, pool % SPAN, 0, INSIDE, OUTSIDE, 1)
        return struct.pack(">II", _FLOW_SAMPLE, len(head) + len(raw)) + head + raw

    def _datagram(self) -> OutDatagram:
        self._sequence = (self._sequence + 1) % SPAN
        clock = self._clock
        head = _REST.pack(self._rules.domain, self._sequence, clock.uptime_at(clock.now_ms), len(self._samples))
        made = OutDatagram(self._agent + head + b"".join(self._samples), clock.now_us, self._tally)
        self._samples, self._size, self._tally = [], self._empty, ExportTally()
        return made
