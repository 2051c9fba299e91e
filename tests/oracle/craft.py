"""Frames from values, byte by byte. Checksums are zero: the meter does not look at them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from tests.oracle.parse import ICMP, ICMP6, SCTP, TCP, UDP

MAC = bytes.fromhex("020000000001020000000002")


def ethernet(packet: bytes, vlans: tuple[int, ...] = (), kind: int | None = None, pad: bool = True) -> bytes:
    """An Ethernet frame, padded to 60 bytes; the type follows the packet's IP version unless given."""
    if kind is None:
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    tags = b""
    for i, vlan in enumerate(vlans):
        tags += struct.pack("!HH", 0x88A8 if i + 1 < len(vlans) else 0x8100, vlan)
    frame = MAC + tags + struct.pack("!H", kind) + packet
    return frame.ljust(60, b"\xee") if pad else frame


def ip(src: str, dst: str, proto: int, body: bytes, *, options: bytes = b"", ident: int = 0, offset: int = 0, more: bool = False) -> bytes:
    """An IP packet; the version is the address's. ``offset`` in units of 8 bytes.

    IPv4: ``options`` is a multiple of 4 bytes. IPv6: ``options`` is the chain of extension headers and ``proto`` its first one's type;
    a fragment gets a fragment header of its own before ``body``.
    """
    a, b = ip_address(src), ip_address(dst)
    if a.version == 4:
        total = 20 + len(options) + len(body)
        head = (0x45 + len(options) // 4, 0, total, ident, (0x2000 if more else 0) | offset, 64, proto, 0)
        return struct.pack("!BBHHHBBH", *head) + a.packed + b.packed + options + body
    if offset or more:
        body = struct.pack("!BBHI", proto, 0, offset << 3 | int(more), ident) + body
        proto = 44
    return struct.pack("!IHBB", 6 << 28, len(options) + len(body), proto, 64) + a.packed + b.packed + options + body


def tcp(sport: int, dport: int, flags: int, payload: int = 0, *, window: int = 1000, options: int = 0, seq: int = 1) -> bytes:
    """A TCP segment with ``payload`` bytes of data and ``options`` bytes of options (a multiple of 4)."""
    offset = (20 + options) // 4
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, 1, offset << 4, flags, window, 0, 0)
    return head + b"\x01" * options + b"t" * payload


def udp(sport: int, dport: int, payload: bytes | int = 0, length: int | None = None) -> bytes:
    """A UDP datagram; ``length`` overrides what its header states."""
    data = b"u" * payload if isinstance(payload, int) else payload
    return struct.pack("!HHHH", sport, dport, 8 + len(data) if length is None else length, 0) + data


def sctp(sport: int, dport: int, payload: int = 0) -> bytes:
    return struct.pack("!HHII", sport, dport, 1, 0) + b"s" * payload


def icmp(kind: int, code: int = 0, payload: int = 0) -> bytes:
    """An ICMP message: eight bytes of header, then data."""
    return struct.pack("!BBHI", kind, code, 0, 0) + b"i" * payload


def packet(src: str, dst: str, proto: int, sport: int = 0, dport: int = 0, payload: int = 0, flags: int = 0, **ipargs: object) -> bytes:
    """An IP packet of the usual protocols in one call; for ICMP the ports are type and code."""
    if proto == TCP:
        body = tcp(sport, dport, flags, payload)
    elif proto == UDP:
        body = udp(sport, dport, payload)
    elif proto == SCTP:
        body = sctp(sport, dport, payload)
    elif proto in (ICMP, ICMP6):
        body = icmp(sport, dport, payload)
    else:
        body = b"o" * payload
    return ip(src, dst, proto, body, **ipargs)  # type: ignore[arg-type]
