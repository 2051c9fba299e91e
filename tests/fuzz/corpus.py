"""Sound frames to damage: every link type, tag, tunnel and extension header that the meter reads, and real captures where there are any."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from tests.oracle.capture import read
from tests.oracle.craft import MAC, ethernet, icmp, ip, sctp, tcp, udp
from tests.oracle.parse import ACK, FIN, PSH, RST, SYN, TCP, UDP
from tests.unit.metering.test_encapsulation import (
    EXTENSIONS,
    LINKS,
    OUT6,
    TEREDO,
    TUNNELS,
    VLANS,
    Wrap,
    dot11,
    inner_ethernet,
    outer,
    over_udp,
    ppp_proto,
    typed,
)

#: Link type and bytes.
Seed = tuple[int, bytes]
ENDS4, ENDS6 = ("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")
#: Frames taken of each real capture, and bytes of each frame: headers are at the beginning.
_MOST, _LONGEST = 40, 400

_ETHERNET: list[Wrap] = [
    lambda p: MAC + struct.pack("!H", len(p) + 3) + b"\x06\x06\x03" + p,  # IP's own LLC service access point
    lambda p: MAC + struct.pack("!H", len(p) + 8) + b"\xaa\xaa\x03\0\0\xf8" + typed(p),
    lambda p: MAC + b"\x92\0\0\x05" + typed(p),
    lambda p: ethernet(struct.pack("!I", 16 << 12 | 0x100 | 64) + b"\x90\2\2\2\2\2" + MAC[6:] + typed(p), kind=0x8847),
    outer(lambda p: b"\0\0\x88\xbe" + inner_ethernet(p), 47),
    outer(lambda p: b"\x10\0\x88\xbe\0\0\0\1" + b"\x10\0\0\0\0\0\0\0" + inner_ethernet(p), 47),
    outer(lambda p: b"\x10\0\x22\xeb\0\0\0\1" + b"\x20\0" + b"\0" * 10 + inner_ethernet(p), 47),
    outer(lambda p: b"\x10\0\x22\xeb\0\0\0\1" + b"\x20\0" + b"\0" * 9 + b"\1" + b"\0" * 8 + inner_ethernet(p), 47),
    outer(lambda p: b"\0\0\x88\x0b" + ppp_proto(p) + p, 47),
    outer(lambda p: b"\0\0\x88\xa8\0\x07" + typed(p), 47, OUT6),
    over_udp(8472, lambda p: b"\x08\0\0\0\0\0\1\0" + inner_ethernet(p)),
    over_udp(6081, lambda p: b"\0\0\x65\x58\0\0\1\0" + ethernet(p, (7, 8))),
]
_OTHERS: list[tuple[int, Wrap]] = [
    (109, lambda p: b"\0" * 12 + p),
    (113, lambda p: struct.pack("!HHH8sH", 0, 1, 6, b"\2" * 6, 4) + b"\xaa\xaa\x03\0\0\0" + typed(p)),
    (119, lambda p: b"\0" * 144 + dot11(p, b"\x08\x01")),
    (163, lambda p: struct.pack("!II", 1, 64) + b"\0" * 56 + dot11(p, b"\x08\x01")),
    (192, lambda p: struct.pack("<BBHI", 0, 0, 8, 1) + ethernet(p)),
    (192, lambda p: struct.pack("<BBHI", 0, 0, 12, 105) + b"\0" * 4 + dot11(p, b"\x88\x01", b"\0\0")),
    (228, lambda p: p),
    (229, lambda p: p),
    (147, lambda p: p),  # nobody's
]
WRAPS: list[tuple[int, Wrap]] = [
    *LINKS.values(),
    *((1, wrap) for wrap, _ in (*VLANS.values(), *TUNNELS.values())),
    *((1, over_udp(3544, lambda p, head=head: head + p)) for head in TEREDO.values()),
    *((1, wrap) for wrap in _ETHERNET),
    *_OTHERS,
]
LINK_TYPES = sorted({link_type for link_type, _ in WRAPS})


def packets() -> list[bytes]:
    """IP packets of every protocol and shape, few enough hosts and ports for them to meet in flows."""
    out = []
    for a, b in (ENDS4, ENDS6):
        ping = 1 if ":" not in a else 58
        for flags in (SYN, SYN | ACK, PSH | ACK, FIN | ACK, RST):
            out.append(ip(a, b, TCP, tcp(40000, 80, flags, 30, options=12)))
        out += [ip(b, a, TCP, tcp(80, 40000, ACK, 100)), ip(a, b, UDP, udp(40000, 80, 40)), ip(b, a, UDP, udp(80, 40000, 9))]
        out += [ip(a, b, 132, sctp(40000, 80, 16)), ip(a, b, ping, icmp(8 if ping == 1 else 128, 0, 8)), ip(a, b, 89, b"o" * 20)]
        for ident in (1, 2):
            out.append(ip(a, b, UDP, udp(40000, 80, 40), ident=ident, more=True))
            out.append(ip(a, b, UDP, b"l" * 24, ident=ident, offset=6))
    out.append(ip(*ENDS4, TCP, tcp(40000, 80, ACK, 9), options=b"\1" * 8))
    for first, chain in EXTENSIONS.values():
        out.append(ip(*ENDS6, first, tcp(40000, 80, ACK, 30), options=chain))
    return out


def crafted() -> list[Seed]:
    """Each wrapping around each packet, and a few wrapped twice."""
    inside = packets()
    out = [(link_type, wrap(packet)) for link_type, wrap in WRAPS for packet in inside]
    ethernets = [wrap for link_type, wrap in WRAPS if link_type == 1]
    for wrap in ethernets:
        for again in ethernets[::3]:
            frame = again(inside[0])
            if frame[12:14] in (b"\x08\0", b"\x86\xdd"):  # the packet behind a plain Ethernet header
                out.append((1, wrap(frame[14:])))
    return out


def captured() -> list[Seed]:
    """Frames of the real captures in the folder that FLOWLAKE_DATA names; none without it."""
    folder = os.environ.get("FLOWLAKE_DATA")
    out: list[Seed] = []
    for path in sorted(Path(folder, "pcaps").iterdir()) if folder else []:
        found = read(path)
        out += [(f.link_type, f.data[:_LONGEST]) for f in found[:: max(len(found) // _MOST, 1)][:_MOST]]
    return out


def seeds() -> list[Seed]:
    """All of them, without doubles."""
    return list(dict.fromkeys([*crafted(), *captured()]))
