"""Header templates, built once by Scapy; the renderer only patches fields.

One template for every combination of link layer (untagged or 802.1Q), IP version and header kind (TCP by option layout, UDP,
ICMP). Offsets of the patched fields are read from the built bytes, not assumed.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

#: Header kinds (column KIND of the packet matrix).
TCP_PLAIN, TCP_MSS, TCP_SYN_LINUX, TCP_SYN_WINDOWS, TCP_SYN_BSD, TCP_TS, TCP_TS_SACK, TCP_SACK, UDP_KIND, ICMP_ECHO, ICMP_ERROR = range(11)
KINDS = 11

_TCP_OPTIONS: dict[int, list] = {
    TCP_PLAIN: [],
    TCP_MSS: [("MSS", 0)],
    TCP_SYN_LINUX: [("MSS", 0), ("SAckOK", b""), ("Timestamp", (0, 0)), ("NOP", None), ("WScale", 0)],
    TCP_SYN_WINDOWS: [("MSS", 0), ("NOP", None), ("WScale", 0), ("NOP", None), ("NOP", None), ("SAckOK", b"")],
    TCP_SYN_BSD: [
        ("MSS", 0),
        ("NOP", None),
        ("WScale", 0),
        ("NOP", None),
        ("NOP", None),
        ("Timestamp", (0, 0)),
        ("SAckOK", b""),
        ("EOL", None),
    ],
    TCP_TS: [("NOP", None), ("NOP", None), ("Timestamp", (0, 0))],
    TCP_TS_SACK: [("NOP", None), ("NOP", None), ("Timestamp", (0, 0)), ("NOP", None), ("NOP", None), ("SAck", (0, 0))],
    TCP_SACK: [("NOP", None), ("NOP", None), ("SAck", (0, 0))],
}

#: Columns of the offsets table; -1 where a template has no such field. All from the frame's start.
LENGTH, L3, L4, O_MSS, O_WSCALE, O_TS, O_SACK = range(7)


def layers(vlan: bool, version: int, kind: int) -> Packet:
    """The Scapy packet behind one template, every patched field zero."""
    ether = Ether(src="00:00:00:00:00:00", dst="00:00:00:00:00:00")
    link = ether / Dot1Q(vlan=0) if vlan else ether
    ip = IP(src="0.0.0.0", dst="0.0.0.0", id=0, ttl=0, chksum=0) if version == 4 else IPv6(src="::", dst="::", hlim=0)
    if kind in _TCP_OPTIONS:
        return link / ip / TCP(sport=0, dport=0, seq=0, ack=0, flags=0, window=0, chksum=0, options=_TCP_OPTIONS[kind])
    if kind == UDP_KIND:
        return link / ip / UDP(sport=0, dport=0, chksum=0)
    if version == 4:
        return link / ip / ICMP(type=8 if kind == ICMP_ECHO else 3, code=0, chksum=0, id=0, seq=0)
    return link / ip / (ICMPv6EchoRequest(id=0, seq=0, cksum=0) if kind == ICMP_ECHO else ICMPv6DestUnreach(cksum=0))


@cache
def templates() -> tuple[np.ndarray, np.ndarray]:
    """All templates.

    Returns
    -------
    headers : uint8[4 * KINDS, H]
        Header bytes, zero-padded to the longest.
    offsets : int64[4 * KINDS, 7]
        Header length and field offsets (``LENGTH .. O_SACK``).
    """
    built: list[bytes] = []
    offsets = np.full((4 * KINDS, 7), -1, np.int64)
    for vlan in (False, True):
        for version in (4, 6):
            for kind in range(KINDS):
                raw = bytes(layers(vlan, version, kind))
                l3 = 18 if vlan else 14
                l4 = l3 + (20 if version == 4 else 40)
                row = offsets[len(built)]
                row[LENGTH], row[L3], row[L4] = len(raw), l3, l4
                if kind in _TCP_OPTIONS:
                    row[O_MSS:] = _option_offsets(raw, l4 + 20)
                built.append(raw)
    headers = np.zeros((len(built), max(map(len, built))), np.uint8)
    for i, raw in enumerate(built):
        headers[i, : len(raw)] = np.frombuffer(raw, np.uint8)
    return headers, offsets


def _option_offsets(raw: bytes, at: int) -> tuple[int, int, int, int]:
    """Offsets of the values of MSS, window scale, timestamps and the first SACK block (RFC 9293, 7323, 2018)."""
    found = {2: -1, 3: -1, 8: -1, 5: -1}
    while at < len(raw):
        option = raw[at]
        if option == 0:
            break
        if option == 1:
            at += 1
            continue
        if option in found:
            found[option] = at + 2
        at += raw[at + 1]
    return found[2], found[3], found[8], found[5]
