"""Which frames belong to flows: by observation domain, ends, protocol and time, as the meter has them; fragments by their first one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray

from jobs.metering.fragments import Datagram, datagram_of
from sensors.packets.decode import FRAG_FIRST, FRAG_LATER, PACKET_DTYPE, decode
from sensors.packets.frames import FrameBatch, concat

#: A flow's key, the same in both directions. No padding: its bytes are compared.
_KEY = np.dtype(
    [(f"{side}_{half}", "u8") for side in "ab" for half in ("hi", "lo")]
    + [("a_port", "u2"), ("b_port", "u2"), ("proto", "u1"), ("ipver", "u1")]
)
#: Odd numbers that spread the fields of a key over 64 bits (fractional digits of square roots of primes, as of SHA-512).
_SPREAD = tuple(np.uint64(n) for n in (0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1, 0x510E527FADE682D1))
#: Datagrams of a domain whose first fragment is remembered, and later fragments that wait for theirs, at most.
_MAX_FRAGMENTS = 16_384


@dataclass(frozen=True)
class FlowSpan:
    """A flow, as far as frames are found by it. Times: us since the epoch.

    ``domains``: where it was observed; ``packets``: how many the meter counted, 0 where that is not known.
    """

    src_ip: str
    src_port: int
    dst_ip: str
    dst_port: int
    protocol: int
    start: int
    end: int
    domains: frozenset[str]
    packets: int = 0


@dataclass
class _Datagrams:
    """Fragments of one domain."""

    firsts: dict[Datagram, tuple[int, int]] = field(default_factory=dict)  # -> time (ns), flow
    waiting: dict[Datagram, list[tuple[int, FrameBatch]]] = field(default_factory=dict)  # -> time (ns), the frame
    held: int = 0  # frames that wait

    def note(self, datagram: Datagram, ts: int, flow: int) -> list[tuple[int, FrameBatch]]:
        """Take a first fragment (``flow`` -1: of none of ours); what waited for it."""
        self.firsts.pop(datagram, None)
        if flow >= 0:
            self.firsts[datagram] = (ts, flow)
            if len(self.firsts) > _MAX_FRAGMENTS:
                del self.firsts[next(iter(self.firsts))]
        waited = self.waiting.pop(datagram, [])
        self.held -= len(waited)
        return waited if flow >= 0 else []

    def wait(self, datagram: Datagram, ts: int, frame: FrameBatch) -> None:
        """Keep a later fragment; beyond the bound the oldest datagrams are given up."""
        self.waiting.setdefault(datagram, []).append((ts, frame))
        self.held += 1
        while self.held > _MAX_FRAGMENTS:
            self.held -= len(self.waiting.pop(next(iter(self.waiting))))


class Membership:
    """Tells which frames belong to some flows.

    Parameters
    ----------
    flows
        The flows; of those with the same ends and domain each has its own time.
    fragment_timeout_s
        How far fragments may be from their first one (``meter.fragment_timeout_s``).
    """

    def __init__(self, flows: Sequence[FlowSpan], fragment_timeout_s: float) -> None:
        self._timeout = round(fragment_timeout_s * 1e9)
        packets = _as_packets(flows)
        keys = _keys(packets)
        self._hashes = np.unique(_hashes(keys))
        self._pairs = set(_pairs(packets))
        spans: dict[tuple[str, bytes], list[tuple[int, int, int]]] = {}
        for number, flow in enumerate(flows):
            for domain in flow.domains:
                spans.setdefault((domain, keys[number].tobytes()), []).append((flow.start, flow.end, number))
        self._spans = {key: sorted(found) for key, found in spans.items()}
        self._first = min((flow.start for flow in flows), default=0) * 1000 - self._timeout
        self._last = max((flow.end for flow in flows), default=-1) * 1000 + 999 + self._timeout
        self._datagrams: dict[str, _Datagrams] = {}
        self.domains: Collection[str] = frozenset(domain for flow in flows for domain in flow.domains)

    def of(self, domain: str, frames: FrameBatch) -> tuple[FrameBatch, NDArray[np.int64]]:
        """Those frames that belong to a flow, and the numbers of their flows.

        A later fragment that came before its first one is given back with it.

        Parameters
        ----------
        domain
            Where the frames were observed.
        frames
            In the order in which they came.

        Returns
        -------
        frames, flows
            ``n`` frames, in no order, and ``int64[n]``: positions in the flows.
        """
        near = np.flatnonzero((frames.ts >= self._first) & (frames.ts <= self._last))
        if domain not in self.domains or not len(near):
            return FrameBatch.empty(), np.zeros(0, np.int64)
        frames = frames.take(near)
        packets, reasons = decode(frames.data, frames.offsets, frames.ts, frames.wire_len, frames.link_type)
        flows = np.full(len(frames), -1, np.int64)
        keys = _keys(packets)
        ours = (reasons == 0) & (packets["frag"] != FRAG_LATER) & self._known(_hashes(keys))
        for i in np.flatnonzero(ours):
            flows[i] = self._flow(domain, keys[i].tobytes(), int(packets["ts"][i]) // 1000)
        late = self._fragments(domain, frames, packets, flows, np.flatnonzero((reasons == 0) & (packets["frag"] != 0)))
        chosen = np.flatnonzero(flows >= 0)
        parts = [frames.take(chosen), *(frame for frame, _ in late)]
        return concat(parts), np.concatenate([flows[chosen], np.array([flow for _, flow in late], np.int64)])

    def _known(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the hashes a flow has."""
        if not len(self._hashes):
            return np.zeros(len(hashes), bool)
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        found: NDArray[np.bool_] = self._hashes[place] == hashes
        return found

    def _flow(self, domain: str, key: bytes, us: int) -> int:
        """The flow of these ends at this time, or -1; where two meet, the later one."""
        spans = self._spans.get((domain, key), [])
        for start, end, number in reversed(spans[: bisect_right(spans, us, key=lambda span: span[0])]):
            if start <= us <= end:
                return number
        return -1

    def _fragments(
        self, domain: str, frames: FrameBatch, packets: NDArray, flows: NDArray[np.int64], cut: NDArray[np.int64]
    ) -> list[tuple[FrameBatch, int]]:
        """Give later fragments the flow of their first one; those of former batches that waited for one of these."""
        known = self._datagrams.setdefault(domain, _Datagrams())
        released: list[tuple[FrameBatch, int]] = []
        pairs = _pairs(packets[cut])
        for i in (i for i, pair in zip(cut.tolist(), pairs, strict=True) if pair in self._pairs):
            datagram, ts = datagram_of(packets[i]), int(packets["ts"][i])
            if packets["frag"][i] == FRAG_FIRST:
                flow = int(flows[i])
                released += [(frame, flow) for at, frame in known.note(datagram, ts, flow) if abs(ts - at) <= self._timeout]
                continue
            at, flow = known.firsts.get(datagram, (ts, -1))
            if flow >= 0 and abs(ts - at) <= self._timeout:
                flows[i] = flow
            else:
                known.wait(datagram, ts, frames.take(np.array([i])))
        return released


def _as_packets(flows: Sequence[FlowSpan]) -> NDArray:
    """Flows as ``PACKET_DTYPE[n]``, as far as a key is made from it."""
    packets = np.zeros(len(flows), PACKET_DTYPE)
    for column, name in (("sport", "src_port"), ("dport", "dst_port"), ("proto", "protocol")):
        packets[column] = [getattr(flow, name) for flow in flows]
    for side in ("src", "dst"):
        addresses = [ip_address(getattr(flow, f"{side}_ip")) for flow in flows]
        packets["ipver"] = [address.version for address in addresses]
        packets[f"{side}_hi"] = [int(address) >> 64 for address in addresses]
        packets[f"{side}_lo"] = [int(address) & (1 << 64) - 1 for address in addresses]
    return packets


def _keys(packets: NDArray) -> NDArray:
    """Keys (``_KEY[n]``) of packets (``PACKET_DTYPE[n]``)."""
    p = packets
    turned = (p["src_hi"] > p["dst_hi"]) | (
        (p["src_hi"] == p["dst_hi"]) & ((p["src_lo"] > p["dst_lo"]) | ((p["src_lo"] == p["dst_lo"]) & (p["sport"] > p["dport"])))
    )
    keys = np.zeros(len(p), _KEY)
    for name, of, other in (("hi", "src_hi", "dst_hi"), ("lo", "src_lo", "dst_lo"), ("port", "sport", "dport")):
        keys[f"a_{name}"] = np.where(turned, p[other], p[of])
        keys[f"b_{name}"] = np.where(turned, p[of], p[other])
    keys["proto"], keys["ipver"] = p["proto"], p["ipver"]
    return keys


def _hashes(keys: NDArray) -> NDArray[np.uint64]:
    """64 bits of each key: what no flow has need not be looked up."""
    ends = (keys["a_port"].astype(np.uint64) << np.uint64(32)) | (keys["b_port"].astype(np.uint64) << np.uint64(16))
    rest = ends | (keys["proto"].astype(np.uint64) << np.uint64(8)) | keys["ipver"].astype(np.uint64)
    mixed: NDArray[np.uint64] = np.zeros(len(keys), np.uint64)
    for part, spread in zip((keys["a_hi"], keys["a_lo"], keys["b_hi"], keys["b_lo"], rest), _SPREAD, strict=True):
        mixed = (mixed ^ part) * spread
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _pairs(packets: NDArray) -> list[frozenset[tuple[int, int]]]:
    """The two addresses of each packet, in no order."""
    sides = [zip(packets[f"{side}_hi"].tolist(), packets[f"{side}_lo"].tolist(), strict=True) for side in ("src", "dst")]
    return [frozenset(both) for both in zip(*sides, strict=True)]
