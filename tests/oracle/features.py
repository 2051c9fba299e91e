"""A flow's packets -> its features, each computed from its definition.

Sums and sums of squares are exact integers; one division at the end gives each float. Times are integer microseconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tests.oracle.parse import ACK, CWR, ECE, FIN, PSH, RST, SYN, TCP, URG, Packet

SECOND = 1_000_000


@dataclass(frozen=True)
class Seen:
    """A packet as the flow sees it: time in us, whether it goes forward."""

    t: int
    forward: bool
    packet: Packet


def mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def variance(values: Sequence[int]) -> float:
    """Sample variance (n - 1); 0 for fewer than two values."""
    n = len(values)
    if n < 2:
        return 0.0
    total = sum(values)
    return (n * sum(v * v for v in values) - total * total) / (n * (n - 1))


def std(values: Sequence[int]) -> float:
    return math.sqrt(variance(values))


def ratio(above: float, below: float) -> float:
    return above / below if below else 0.0


def lowest(values: Sequence[int]) -> int:
    return min(values, default=0)


def highest(values: Sequence[int]) -> int:
    return max(values, default=0)


def gaps(times: Sequence[int]) -> list[int]:
    return [b - a for a, b in itertools.pairwise(times)]


def active_idle(times: Sequence[int], threshold: int = 5 * SECOND) -> tuple[list[int], list[int]]:
    """Active spans and idle gaps, us."""
    active: list[int] = []
    idle: list[int] = []
    start = end = times[0]
    for t in times[1:]:
        gap = t - end
        if gap > threshold:
            if end - start > 0:
                active.append(end - start)
            idle.append(gap)
            start = t
        end = t
    return active, idle


class _Bulk:
    """Bulk state of one direction; ``None`` stands for the definition's 0 = not set."""

    def __init__(self) -> None:
        self.start: int | None = None
        self.last: int | None = None
        self.cnt = self.size = 0
        self.nb = self.pk = self.by = self.dur = 0

    def restart(self, t: int, s: int) -> None:
        self.start = self.last = t
        self.cnt, self.size = 1, s

    def see(self, t: int, s: int, other: _Bulk) -> None:
        if self.start is not None and other.last is not None and other.last > self.start:
            self.start = None
        if s == 0:
            return
        if self.start is None or self.last is None or t - self.last > SECOND:
            self.restart(t, s)
        else:
            self.cnt += 1
            self.size += s
            if self.cnt == 4:
                self.nb += 1
                self.pk += 4
                self.by += self.size
                self.dur += t - self.start
            elif self.cnt > 4:
                self.pk += 1
                self.by += s
                self.dur += t - self.last
            self.last = t

    def averages(self) -> tuple[float, float, float]:
        """Bytes a bulk, packets a bulk, bytes a second."""
        return ratio(self.by, self.nb), ratio(self.pk, self.nb), ratio(self.by * SECOND, self.dur)


def bulks(packets: Sequence[Seen]) -> tuple[_Bulk, _Bulk]:
    fwd, bwd = _Bulk(), _Bulk()
    for p in packets:
        if p.forward:
            fwd.see(p.t, p.packet.payload, bwd)
        else:
            bwd.see(p.t, p.packet.payload, fwd)
    return fwd, bwd


def compute(packets: Sequence[Seen], connection_start: int) -> dict[str, int | float]:
    """All features of one record.

    ``packets`` in time order, at least one; ``connection_start`` the time of the first packet of part 0, us.
    """
    out: dict[str, int | float] = {}
    times = [p.t for p in packets]
    n, duration = len(packets), times[-1] - times[0]
    first = packets[0].packet
    sizes = [p.packet.payload for p in packets]
    total = sum(sizes)
    sides = {"fwd": [p for p in packets if p.forward], "bwd": [p for p in packets if not p.forward]}
    count = {side: len(ps) for side, ps in sides.items()}
    size = {side: sum(p.packet.payload for p in ps) for side, ps in sides.items()}

    def flagged(ps: Sequence[Seen], bit: int) -> int:
        return sum(1 for p in ps if p.packet.flags & bit)

    def per_second(amount: int) -> float:
        return ratio(amount * SECOND, duration)

    def spread(name: str, values: Sequence[int]) -> None:
        out[f"{name}_mean"], out[f"{name}_std"] = mean(values), std(values)
        out[f"{name}_max"], out[f"{name}_min"] = highest(values), lowest(values)

    out["flow_duration"] = duration
    out["total_fwd_packets"], out["total_backward_packets"] = count["fwd"], count["bwd"]
    out["total_length_fwd_packets"], out["total_length_bwd_packets"] = size["fwd"], size["bwd"]
    out["flow_bytes_per_sec"], out["flow_packets_per_sec"] = per_second(total), per_second(n)
    spread("flow_iat", gaps(times))
    subflows = 1 + sum(1 for gap in gaps(times) if gap > SECOND)
    for side, bulk in zip(sides, bulks(packets), strict=True):
        ps = sides[side]
        spread(f"{side}_packet_length", [p.packet.payload for p in ps])
        spread(f"{side}_iat", gaps([p.t for p in ps]))
        out[f"{side}_iat_total"] = ps[-1].t - ps[0].t if ps else 0
        out[f"{side}_psh_flags"] = flagged(ps, PSH)
        out[f"{side}_urg_flags"] = flagged(ps, URG)
        out[f"{side}_rst_flags"] = flagged(ps, RST)
        out[f"{side}_header_length"] = sum(p.packet.header for p in ps)
        out[f"{side}_packets_per_sec"] = per_second(count[side])
        out[f"{side}_segment_size_avg"] = ratio(size[side], count[side])
        out[f"{side}_bytes_bulk_avg"], out[f"{side}_packet_bulk_avg"], out[f"{side}_bulk_rate_avg"] = bulk.averages()
        out[f"subflow_{side}_packets"] = count[side] / subflows
        out[f"subflow_{side}_bytes"] = size[side] / subflows
        out[f"{side}_init_win_bytes"] = ps[0].packet.window if ps else 0
        out[f"{side}_act_data_pkts"] = sum(1 for p in ps if p.packet.payload >= 1)
        out[f"{side}_seg_size_min"] = lowest([p.packet.header for p in ps])
    out["min_packet_length"], out["max_packet_length"] = lowest(sizes), highest(sizes)
    out["packet_length_mean"], out["packet_length_std"] = mean(sizes), std(sizes)
    out["packet_length_variance"] = variance(sizes)
    bits = {"fin": FIN, "syn": SYN, "rst": RST, "psh": PSH, "ack": ACK, "urg": URG, "cwr": CWR, "ece": ECE}
    for name, bit in bits.items():
        out[f"{name}_flag_count"] = flagged(packets, bit)
    out["down_up_ratio"] = ratio(count["bwd"], count["fwd"])
    out["average_packet_size"] = total / n
    active, idle = active_idle(times)
    spread("active", active)
    spread("idle", idle)
    out["icmp_type"], out["icmp_code"] = first.icmp
    out["total_tcp_flow_time"] = times[-1] - connection_start if first.proto == TCP else 0
    return out
