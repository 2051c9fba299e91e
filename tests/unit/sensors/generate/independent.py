"""A small parser of its own for the tests: Ethernet, 802.1Q, IPv4, IPv6, TCP, UDP, ICMP without options of any kind in mind."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from typing import NamedTuple

from sensors.packets.frames import FrameBatch


class Packet(NamedTuple):
    """Header fields of one frame; ``payload`` is the L4 payload length by the headers."""

    ts: int
    src: str
    dst: str
    sport: int
    dport: int
    protocol: int
    flags: int
    seq: int
    ack: int
    payload: int
    ttl: int


def parse(ts: int, raw: bytes) -> Packet:
    """Fields of one frame."""
    at, kind = 14, int.from_bytes(raw[12:14])
    if kind == 0x8100:
        at, kind = 18, int.from_bytes(raw[16:18])
    if kind == 0x0800:
        assert raw[at] == 0x45
        size, ttl, protocol = int.from_bytes(raw[at + 2 : at + 4]), raw[at + 8], raw[at + 9]
        src, dst = (socket.inet_ntop(socket.AF_INET, raw[i : i + 4]) for i in (at + 12, at + 16))
        l4, end = at + 20, at + size
    else:
        assert kind == 0x86DD
        size, protocol, ttl = int.from_bytes(raw[at + 4 : at + 6]), raw[at + 6], raw[at + 7]
        src, dst = (socket.inet_ntop(socket.AF_INET6, raw[i : i + 16]) for i in (at + 8, at + 24))
        l4, end = at + 40, at + 40 + size
    assert end <= len(raw)
    if protocol == 6:
        sport, dport, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", raw, l4)
        return Packet(ts, src, dst, sport, dport, 6, flags, seq, ack, end - l4 - (offset >> 4) * 4, ttl)
    if protocol == 17:
        sport, dport, length = struct.unpack_from("!HHH", raw, l4)
        assert length == end - l4
        return Packet(ts, src, dst, sport, dport, 17, 0, 0, 0, length - 8, ttl)
    assert protocol in (1, 58)
    return Packet(ts, src, dst, 0, 0, protocol, 0, 0, 0, 0, ttl)


def packets(batches: list[FrameBatch]) -> list[Packet]:
    """All packets of some batches."""
    return [parse(int(b.ts[i]), b.frame(i)) for b in batches for i in range(len(b))]


def count_by_key(items: list[Packet]) -> Counter[tuple[str, int, str, int, int]]:
    """Packets by (source, port, destination, port, protocol), one direction."""
    return Counter((p.src, p.sport, p.dst, p.dport, p.protocol) for p in items)
