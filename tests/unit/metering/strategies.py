"""Hypothesis strategies: packet sequences that crowd into few flows, at times around every threshold."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hypothesis import strategies as st

from tests.oracle.craft import ethernet, icmp, ip, sctp, tcp, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import ACK, FIN, PSH, RST, SCTP, SYN, TCP, UDP
from tests.unit.metering.cases import EPOCH

US = 1_000
SECOND = 1_000_000_000
HOSTS = {4: ("10.0.0.1", "10.0.0.2", "192.168.7.9"), 6: ("fd00::1", "fd00::2", "2001:db8::1:0:0:9")}
PORTS = (80, 40000)

_edges = [s * SECOND + d for s in (1, 3, 5, 30, 60, 120) for d in (-US, 0, 1, 999, US)]
GAPS = st.one_of(
    st.sampled_from([0, 0, 1, 999, US, 100 * US]),
    st.integers(0, 2 * SECOND),
    st.sampled_from([*_edges, 59 * SECOND, 60 * SECOND]),
    st.integers(0, 130 * SECOND),
)
FLAGS = st.one_of(
    st.sampled_from([SYN, SYN | ACK, ACK, ACK, PSH | ACK, FIN | ACK, FIN | ACK, RST, RST | ACK, FIN, SYN | FIN]), st.integers(0, 255)
)
#: In order, again, behind a gap, into the gap; around the wrap of the numbers and half way round.
NUMBERS = st.one_of(
    st.sampled_from([1, 1, 2, 101, 102, 201, 1461, 1561, 2921, 0, 2**32 - 1, 2**32 - 100, 2**31, 2**31 + 1]), st.integers(0, 2**32 - 1)
)
SIZES = st.one_of(st.sampled_from([0, 0, 1, 100, 1460]), st.integers(0, 1460))

Wrap = Callable[[bytes], bytes]


def _gre(packet: bytes) -> bytes:
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    return ethernet(ip("192.0.2.1", "192.0.2.2", 47, struct.pack("!HHI", 0x2000, kind, 5) + packet))


def _vxlan(packet: bytes) -> bytes:
    inner = ethernet(packet, pad=False)
    return ethernet(ip("2001:db8::f1", "2001:db8::f2", UDP, udp(50000, 4789, b"\x08\0\0\0\0\0\2\0" + inner)))


def _mpls(packet: bytes) -> bytes:
    return ethernet(struct.pack("!I", 16 << 12 | 0x100 | 64) + packet, kind=0x8847)


WRAPS: list[Wrap] = [ethernet] * 6 + [lambda p: ethernet(p, (10,)), lambda p: ethernet(p, (10, 20)), _gre, _vxlan, _mpls]


@st.composite
def _body(draw: st.DrawFn, version: int, proto: int) -> bytes:
    if proto == TCP:
        options = draw(st.sampled_from([0, 0, 12, 20, 40]))
        sport, dport = draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))
        return tcp(sport, dport, draw(FLAGS), draw(SIZES), window=draw(st.integers(0, 65535)), options=options, seq=draw(NUMBERS))
    if proto == UDP:
        size = draw(SIZES)
        length = draw(st.sampled_from([None, None, None, None, 0, 7, 9, 8 + size // 2, 9 + size]))
        return udp(draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS)), size, length)
    if proto == SCTP:
        return sctp(draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS)), draw(SIZES))
    if proto in (1, 58):
        kinds = [8, 0, 3, 13, 14] if version == 4 else [128, 129, 135, 136, 1]
        return icmp(draw(st.sampled_from(kinds)), draw(st.integers(0, 3)), draw(SIZES))
    return b"o" * draw(SIZES)


@st.composite
def ip_packet(draw: st.DrawFn) -> bytes:
    """An IP packet between two of three hosts, whole or a fragment."""
    version = draw(st.sampled_from([4, 4, 4, 6]))
    hosts = HOSTS[version][: draw(st.sampled_from([2, 2, 3]))]
    src, dst = draw(st.sampled_from(hosts)), draw(st.sampled_from(hosts))
    proto = draw(st.sampled_from([TCP] * 6 + [UDP, UDP, 1 if version == 4 else 58, SCTP, 89]))
    body = draw(_body(version, proto))
    piece = draw(st.sampled_from(["whole"] * 8 + ["first", "later"]))
    if piece == "whole":
        return ip(src, dst, proto, body)
    ident = draw(st.integers(0, 1))
    if piece == "first":
        return ip(src, dst, proto, body, ident=ident, more=True)
    return ip(src, dst, proto, body, ident=ident, offset=draw(st.integers(1, 100)), more=draw(st.booleans()))


@st.composite
def frames(draw: st.DrawFn, max_size: int = 60) -> list[Frame]:
    """Ethernet frames in time order, any protocol."""
    packets = draw(st.lists(st.tuples(GAPS, ip_packet(), st.sampled_from(WRAPS)), min_size=1, max_size=max_size))
    ns, out = EPOCH * SECOND, []
    for gap, packet, wrap in packets:
        ns += gap
        out.append(Frame(ns, wrap(packet)))
    return out


@st.composite
def tcp_conversation(draw: st.DrawFn, max_size: int = 50) -> list[Frame]:
    """One TCP key: direction, flags and sizes at will."""
    steps = st.tuples(GAPS, st.booleans(), FLAGS, SIZES, st.sampled_from([0, 12]), NUMBERS)
    a, b = HOSTS[4][:2]
    ns, out = EPOCH * SECOND, []
    for gap, forward, flags, size, options, seq in draw(st.lists(steps, min_size=1, max_size=max_size)):
        ns += gap
        src, dst, sport, dport = (a, b, 40000, 80) if forward else (b, a, 80, 40000)
        out.append(Frame(ns, ethernet(ip(src, dst, TCP, tcp(sport, dport, flags, size, options=options, seq=seq)))))
    return out


@st.composite
def shuffled(draw: st.DrawFn, within: int = SECOND * 9 // 10) -> list[Frame]:
    """Frames written up to ``within`` ns late."""
    ordered = draw(frames(max_size=40))
    late = draw(st.lists(st.integers(0, within), min_size=len(ordered), max_size=len(ordered)))
    return [f for _, f in sorted(zip(late, ordered, strict=True), key=lambda x: x[0] + x[1].ns)]


@st.composite
def damaged(draw: st.DrawFn, links: list[tuple[int, Wrap]], max_size: int = 30) -> list[Frame]:
    """Frames of every link type and tunnel, most with a few bytes changed or the end cut off."""
    out = []
    for i, (packet, (link_type, wrap)) in enumerate(
        draw(st.lists(st.tuples(ip_packet(), st.sampled_from(links)), min_size=1, max_size=max_size))
    ):
        frame = bytearray(wrap(packet))
        for _ in range(draw(st.integers(0, 2))):
            frame[draw(st.integers(0, min(len(frame), 120) - 1))] = draw(st.integers(0, 255))
        if draw(st.integers(0, 3)) == 0:
            frame = frame[: draw(st.integers(0, min(len(frame), 120)))]
        out.append(Frame(EPOCH * SECOND + i * 1000 * US, bytes(frame), link_type))
    return out
