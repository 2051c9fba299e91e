"""Frames -> flow records, one packet after the other.

Rules beyond the feature definitions: time is the capture time cut to whole microseconds, and packets come in order of (capture time in
ns, position in the capture). Idle is looked at before active; a closing TCP flow knows neither.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, NamedTuple

from tests.oracle.community import community_id
from tests.oracle.features import Seen, compute
from tests.oracle.parse import ACK, FIN, RST, SYN, TCP, Packet, Rejected, parse
from tests.oracle.sequence import counts
from tests.oracle.tcpstate import conn_state

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Endpoint = tuple[bytes, int]
Key = tuple[tuple[Endpoint, Endpoint], int]


class Frame(NamedTuple):
    """One captured frame: time in ns since the epoch, link type, bytes (possibly cut), and its length on the wire when that is known."""

    ns: int
    data: bytes
    link_type: int = 1
    wire: int | None = None


@dataclass(frozen=True)
class Rules:
    """Timeouts in us, and the seed of the community ids."""

    active: int = 120_000_000
    idle: int = 60_000_000
    linger: int = 3_000_000
    fragment: int = 30_000_000
    community_seed: int = 0


@dataclass
class Connection:
    """What outlives a split: direction, first time, TCP close."""

    origin: Endpoint
    target: Endpoint
    start: int
    fins: set[bool] = field(default_factory=set)
    both_fins: bool = False
    close_at: int | None = None
    close_by: str = ""
    syns: dict[bool, int] = field(default_factory=dict)
    history: list[Seen] = field(default_factory=list)
    part: int = 0
    packets: list[Seen] = field(default_factory=list)

    def add(self, t: int, packet: Packet) -> None:
        forward = (packet.src, packet.sport) == self.origin
        seen = Seen(t, forward, packet)
        self.packets.append(seen)
        self.history.append(seen)
        if packet.proto == TCP and packet.flags & SYN:
            self.syns[forward] = packet.seq
        if packet.proto != TCP or self.close_at is not None:
            return
        if packet.flags & RST:
            self.close_at, self.close_by = t, "rst"
        elif self.both_fins and packet.flags & ACK:
            self.close_at, self.close_by = t, "fin"
        if packet.flags & FIN:
            self.fins.add(forward)
            self.both_fins = len(self.fins) == 2

    def followed_by(self, packet: Packet) -> bool:
        """Whether the packet opens the next connection: a SYN after FINs or RST that is no copy of the last SYN of its side."""
        if packet.flags & (SYN | ACK) != SYN or not (self.both_fins or self.close_at is not None):
            return False
        return self.syns.get((packet.src, packet.sport) == self.origin) != packet.seq


class Meter:
    """One observation domain."""

    def __init__(self, rules: Rules = Rules(), sensor: str = "oracle", domain: str | None = None) -> None:
        self.rules, self.sensor, self.domain = rules, sensor, domain or sensor
        self.flows: dict[Key, Connection] = {}
        self.firsts: dict[tuple[bytes, bytes, int, int], tuple[int, Packet]] = {}
        self.waiting: defaultdict[tuple[bytes, bytes, int, int], list[tuple[int, Packet]]] = defaultdict(list)
        self.records: list[dict[str, Any]] = []
        self.rejected: Counter[str] = Counter()

    def see(self, frame: Frame) -> None:
        """Meter the next frame in time order."""
        t = frame.ns // 1000
        try:
            packet = parse(frame.data, frame.link_type, frame.wire)
        except Rejected as e:
            self.rejected[str(e)] += 1
            return
        f = packet.fragment
        if f is None:
            self._add(t, t, packet)
            return
        ident = (f.src, f.dst, f.proto, f.ident)
        if f.first:
            self.firsts[ident] = (t, packet)
            for since, later in self.waiting.pop(ident, []):
                if t - since > self.rules.fragment:
                    self.rejected["fragment_orphan"] += 1
                else:
                    self._add(max(since, t - self.rules.idle), t, _joined(later, packet))
            self._add(t, t, packet)
        elif ident in self.firsts and t - self.firsts[ident][0] <= self.rules.fragment:
            self._add(t, t, _joined(packet, self.firsts[ident][1]))
        else:
            self.waiting[ident].append((t, packet))

    def _add(self, t: int, now: int, packet: Packet) -> None:
        """Meter a packet of time ``t`` at time ``now``, which is later when it waited for the first fragment of its datagram."""
        a, b = (packet.src, packet.sport), (packet.dst, packet.dport)
        key: Key = ((min(a, b), max(a, b)), packet.proto)
        flow = before = self.flows.get(key)
        if flow is not None:
            flow = self._expire(key, flow, now, packet)
        if flow is None:
            turned = packet.proto == TCP and packet.flags & SYN and packet.flags & ACK
            flow = Connection(b, a, t) if turned else Connection(a, b, t)
            self.flows[key] = flow
            if before is not None and before.packets[0].t == t:  # another record of this key, start and part is there already
                flow.part = before.part + 1
        elif flow.history:
            t = max(t, flow.history[-1].t)
        flow.add(t, packet)

    def _expire(self, key: Key, flow: Connection, t: int, packet: Packet) -> Connection | None:
        """Close what this packet closes; the flow that it goes on with, if any."""
        if flow.close_at is not None:
            if t - flow.close_at > self.rules.linger or flow.followed_by(packet):
                self._close(key, flow, flow.close_by)
                return None
            return flow
        if t - flow.packets[-1].t > self.rules.idle:
            self._close(key, flow, "idle")
            return None
        if flow.followed_by(packet):
            self._close(key, flow, "fin")
            return None
        if t - flow.packets[0].t > self.rules.active:
            self._emit(flow, "active")
            flow.part += 1
            flow.packets = []
        return flow

    def _close(self, key: Key, flow: Connection, reason: str) -> None:
        self._emit(flow, reason)
        del self.flows[key]

    def end(self, clock: int) -> list[dict[str, Any]]:
        """End of input at ``clock`` (us): close everything that is open, give all records."""
        for flow in self.flows.values():
            if flow.close_at is not None:
                self._emit(flow, flow.close_by)
            elif clock - flow.packets[-1].t > self.rules.idle:
                self._emit(flow, "idle")
            else:
                self._emit(flow, "forced")
        self.flows.clear()
        self.rejected.update({"fragment_orphan": n} if (n := sum(map(len, self.waiting.values()))) else {})
        self.waiting.clear()
        return self.records

    def _emit(self, flow: Connection, reason: str) -> None:
        first = flow.packets[0].packet
        opening = flow.history[0].packet  # the connection keeps its community id over a split
        protocol = first.proto
        out_of_order, duplicate = counts(flow.history, flow.packets)
        ends = (opening.src, opening.dst, protocol, opening.sport, opening.dport, opening.icmp)
        record: dict[str, Any] = {
            "community_id": community_id(*ends, self.rules.community_seed),
            "sensor_id": self.sensor,
            "domain": self.domain,
            "ip_version": first.version,
            "protocol": protocol,
            "src_ip": str(ip_address(flow.origin[0])),
            "src_port": flow.origin[1],
            "dst_ip": str(ip_address(flow.target[0])),
            "dst_port": flow.target[1],
            "start_time": _EPOCH + timedelta(microseconds=flow.packets[0].t),
            "end_time": _EPOCH + timedelta(microseconds=flow.packets[-1].t),
            "closed": True,
            "end_reason": reason,
            "part": flow.part,
            "vlan_ids": ",".join(map(str, first.vlans)),
            "tunnel": ",".join(first.tunnels),
            "tcp_state": conn_state(flow.history) if protocol == TCP else "",
            "fwd_l3_bytes": sum(p.packet.l3 for p in flow.packets if p.forward),
            "bwd_l3_bytes": sum(p.packet.l3 for p in flow.packets if not p.forward),
            "out_of_order_packets": out_of_order,
            "duplicate_packets": duplicate,
            "malformed_packets": sum(1 for p in flow.packets if p.packet.malformed),
            "feature_version": "1",
        }
        self.records.append(record | compute(flow.packets, flow.start))


def _joined(later: Packet, first: Packet) -> Packet:
    """A later fragment with what its datagram's first one says of the conversation."""
    same = ("src", "dst", "proto", "version", "sport", "dport", "icmp", "window")
    return replace(later, **{name: getattr(first, name) for name in same})


def meter(
    frames: Iterable[Frame],
    *,
    rules: Rules = Rules(),
    sensor: str = "oracle",
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Records of one capture, and how many frames were rejected, by reason."""
    ordered = sorted(frames, key=lambda f: f.ns)  # stable: capture order decides between equal times
    one = Meter(rules, sensor)
    for frame in ordered:
        one.see(frame)
    return one.end(ordered[-1].ns // 1000 if ordered else 0), one.rejected
