"""Frame bytes -> the header fields that metering needs, read byte by byte.

Lengths are those the headers state; captured bytes are only ever read for header fields. The innermost IP packet is the one that counts:
once an inner packet has a sound IP header it is judged on its own, otherwise the packet around it is the innermost.

Sources: RFC 791, 8200 (IP), 9293 (TCP), 768 (UDP), 9260 (SCTP), 2784/2890/1701 (GRE), 2637 (PPTP), 7348 (VXLAN), 8926 (Geneve),
3GPP TS 29.281 (GTP-U), 4380 (Teredo), 3032 (MPLS), 2516 (PPPoE), 1661/1662 (PPP), IEEE 802.3/802.1Q/802.11, tcpdump.org link types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

TCP, UDP, SCTP, ICMP, ICMP6 = 6, 17, 132, 1, 58
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
MAX_DEPTH = 16


class Rejected(Exception):
    """The frame is not metered; ``args[0]`` says why."""


class _NoIp(Rejected):
    """There is no (sound) IP packet at this place."""


@dataclass(frozen=True)
class Fragment:
    """Identity of the datagram a fragment belongs to, and whether it is the first piece."""

    src: bytes
    dst: bytes
    proto: int
    ident: int
    first: bool


@dataclass(frozen=True)
class Packet:
    """One innermost IP packet. Lengths in bytes; ``src``/``dst`` 4 or 16 bytes in network order."""

    version: int
    src: bytes
    dst: bytes
    proto: int
    l3: int
    sport: int = 0
    dport: int = 0
    header: int = 0
    payload: int = 0
    flags: int = 0
    window: int = 0
    icmp: tuple[int, int] = (-1, -1)
    malformed: bool = False
    fragment: Fragment | None = None
    vlans: tuple[int, ...] = ()
    tunnels: tuple[str, ...] = ()


@dataclass
class _Way:
    """What has been walked through on the way in."""

    vlans: list[int] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)

    def within(self, *kinds: str) -> _Way:
        if len(self.tunnels) >= MAX_DEPTH:
            raise Rejected("too deep")
        return _Way(list(self.vlans), [*self.tunnels, *kinds])


def _u8(b: bytes, at: int) -> int:
    if at >= len(b):
        raise _NoIp("truncated")
    return b[at]


def _u16(b: bytes, at: int) -> int:
    return _u8(b, at) << 8 | _u8(b, at + 1)


def _u32(b: bytes, at: int) -> int:
    return _u16(b, at) << 16 | _u16(b, at + 2)


def parse(frame: bytes, link_type: int) -> Packet:
    """Take a frame apart.

    Raises:
        Rejected: not IP, of an unknown link type, cut before the end of a needed header, or malformed.
    """
    way = _Way()
    if link_type == 1:
        return _ethernet(frame, 0, way)
    if link_type in (12, 14, 101, 228, 229):
        return _ip(frame, 0, way)
    if link_type in (0, 108):
        raw = frame[:4]
        families = {int.from_bytes(raw, "big"), int.from_bytes(raw, "little")}
        if len(raw) == 4 and families & {2, 10, 24, 28, 30}:
            return _ip(frame, 4, way)
        raise Rejected("not ip")
    if link_type == 113:
        return _ethertype(frame, 16, _u16(frame, 14), way)
    if link_type == 276:
        return _ethertype(frame, 20, _u16(frame, 0), way)
    if link_type in (9, 50):
        if _u8(frame, 0) in (0x0F, 0x8F):  # Cisco HDLC under PPP's link type, as routers write it
            return _ethertype(frame, 4, _u16(frame, 2), way)
        return _ppp(frame, 0, way)
    if link_type == 51:
        return _pppoe(frame, 0, way)
    if link_type == 104:
        return _ethertype(frame, 4, _u16(frame, 2), way)
    if link_type == 105:
        return _wlan(frame, 0, way, pad=False)
    if link_type == 127:
        return _radiotap(frame, way)
    raise Rejected(f"link type {link_type}")


def _ethernet(b: bytes, at: int, way: _Way) -> Packet:
    return _ethertype(b, at + 14, _u16(b, at + 12), way)


def _ethertype(b: bytes, at: int, kind: int, way: _Way) -> Packet:
    while kind in (0x8100, 0x88A8, 0x9100):
        way.vlans.append(_u16(b, at) & 0x0FFF)
        kind = _u16(b, at + 2)
        at += 4
    if kind in (0x0800, 0x86DD):
        return _ip(b, at, way)
    if kind in (0x8847, 0x8848):
        return _mpls(b, at, way)
    if kind == 0x8864:
        return _pppoe(b, at, way)
    if kind <= 1500:  # a length; 1501 to 1535 mean nothing
        return _llc(b, at, way)
    raise _NoIp("not ip")


def _llc(b: bytes, at: int, way: _Way) -> Packet:
    dsap, ssap, control = _u8(b, at), _u8(b, at + 1), _u8(b, at + 2)
    if (dsap, ssap, control) == (0xAA, 0xAA, 3) and b[at + 3 : at + 6] in (b"\0\0\0", b"\0\0\xf8"):
        return _ethertype(b, at + 8, _u16(b, at + 6), way)
    if (dsap, ssap, control) == (6, 6, 3):
        return _ip(b, at + 3, way)
    raise _NoIp("not ip")


def _ppp(b: bytes, at: int, way: _Way) -> Packet:
    if _u8(b, at) == 0xFF and _u8(b, at + 1) == 0x03:
        at += 2
    if _u8(b, at) & 1:  # protocol field compressed to one byte
        kind, at = _u8(b, at), at + 1
    else:
        kind, at = _u16(b, at), at + 2
    if kind in (0x0021, 0x0057):
        return _ip(b, at, way)
    if kind in (0x0281, 0x0283):
        return _mpls(b, at, way)
    raise _NoIp("not ip")


def _pppoe(b: bytes, at: int, way: _Way) -> Packet:
    return _ppp(b, at + 6, way)


def _mpls(b: bytes, at: int, way: _Way) -> Packet:
    while not _u8(b, at + 2) & 1:
        at += 4
    at += 4
    way = way.within("mpls")
    if _u8(b, at) >> 4 in (4, 6):
        return _ip(b, at, way)
    if _u8(b, at) >> 4 == 0:  # pseudowire control word
        return _ethernet(b, at + 4, way)
    raise _NoIp("not ip")


def _wlan(b: bytes, at: int, way: _Way, pad: bool) -> Packet:
    control = _u8(b, at)
    flags = _u8(b, at + 1)
    kind, subtype = control >> 2 & 3, control >> 4
    if kind != 2 or subtype & 4 or flags & 0x40:  # not data, no payload, or encrypted
        raise _NoIp("not ip")
    size = 24
    if flags & 3 == 3:
        size += 6
    if subtype & 8:
        if _u8(b, at + size) & 0x80:  # A-MSDU
            raise _NoIp("not ip")
        size += 2
        if flags & 0x80:
            size += 4
    if pad:
        size = (size + 3) // 4 * 4
    return _llc(b, at + size, way)


def _radiotap(b: bytes, way: _Way) -> Packet:
    size = _u8(b, 2) | _u8(b, 3) << 8
    present = [int.from_bytes(b[4:8], "little")]
    at = 8
    while present[-1] >> 31:
        present.append(int.from_bytes(b[at : at + 4], "little"))
        at += 4
    if present[0] & 1:  # TSFT, eight bytes, aligned to eight
        at = (at + 7) // 8 * 8 + 8
    pad = bool(present[0] & 2 and _u8(b, at) & 0x20)
    return _wlan(b, size, way, pad)


def _ip(b: bytes, at: int, way: _Way) -> Packet:
    version = _u8(b, at) >> 4
    if version == 4:
        return _ipv4(b, at, way)
    if version == 6:
        return _ipv6(b, at, way)
    raise _NoIp("not ip")


def _ipv4(b: bytes, at: int, way: _Way) -> Packet:
    if at + 20 > len(b):
        raise _NoIp("truncated")
    ihl = (b[at] & 15) * 4
    total = _u16(b, at + 2)
    if ihl < 20 or total < ihl:
        raise _NoIp("malformed")
    ident = _u16(b, at + 4)
    more, offset = _u16(b, at + 6) & 0x2000, _u16(b, at + 6) & 0x1FFF
    proto, src, dst = b[at + 9], b[at + 12 : at + 16], b[at + 16 : at + 20]
    base = Packet(4, src, dst, proto, total)
    if more or offset:
        base = replace(base, fragment=Fragment(src, dst, proto, ident, offset == 0))
    return _body(b, at + ihl, total - ihl, base, way)


def _ipv6(b: bytes, at: int, way: _Way) -> Packet:
    if at + 40 > len(b):
        raise _NoIp("truncated")
    length = _u16(b, at + 4)
    proto, src, dst = b[at + 6], b[at + 8 : at + 24], b[at + 24 : at + 40]
    base = Packet(6, src, dst, proto, 40 + length)
    return _body(b, at + 40, length, base, way)


def _body(b: bytes, at: int, length: int, base: Packet, way: _Way) -> Packet:
    """What follows the IP header: extension headers, then a tunnel or the transport. ``length`` is stated by the headers."""
    try:
        while not (base.fragment and not base.fragment.first):
            proto = base.proto
            if base.version == 6 and proto in (0, 43, 60, 135, 139, 140):
                size = (_u8(b, at + 1) + 1) * 8
            elif base.version == 6 and proto == 51:
                size = (_u8(b, at + 1) + 2) * 4
            elif base.version == 6 and proto == 44:
                size = 8
                offset, more = _u16(b, at + 2) >> 3, b[at + 3] & 1
                if offset or more:
                    fragment = Fragment(base.src, base.dst, _u8(b, at), _u32(b, at + 4), offset == 0)
                    base = replace(base, fragment=fragment)
            else:
                break
            if size > length:
                raise Rejected("malformed")
            base = replace(base, proto=_u8(b, at))
            at, length = at + size, length - size
        base = replace(base, vlans=tuple(way.vlans), tunnels=tuple(way.tunnels))
        if base.fragment and not base.fragment.first:
            return replace(base, payload=length)
        try:
            inner = _tunnel(b, at, length, base, way)
        except _NoIp:
            inner = None
        if inner is not None:
            if base.fragment:  # the rest of a fragmented tunnel packet follows the inner flow
                inner = replace(inner, fragment=base.fragment)
            return inner
        return _transport(b, at, length, base)
    except _NoIp as e:  # cut inside this packet: this packet's fault, not a reason to look at the one around it
        raise Rejected(*e.args) from e


def _transport(b: bytes, at: int, length: int, base: Packet) -> Packet:
    if base.proto == TCP:
        if length < 20:
            raise Rejected("malformed")
        if at + 20 > len(b):
            raise Rejected("truncated")
        header = (b[at + 12] >> 4) * 4
        if header < 20 or header > length:
            raise Rejected("malformed")
        return replace(
            base,
            sport=_u16(b, at),
            dport=_u16(b, at + 2),
            header=header,
            payload=length - header,
            flags=b[at + 13],
            window=_u16(b, at + 14),
        )
    if base.proto == UDP:
        if length < 8:
            raise Rejected("malformed")
        stated = _u16(b, at + 4)
        malformed = base.fragment is None and (stated < 8 or stated > length)
        payload = length - 8 if malformed or base.fragment else stated - 8
        _u16(b, at + 6)
        return replace(base, sport=_u16(b, at), dport=_u16(b, at + 2), header=8, payload=payload, malformed=malformed)
    if base.proto == SCTP:
        if length < 12:
            raise Rejected("malformed")
        _u32(b, at + 8)
        return replace(base, sport=_u16(b, at), dport=_u16(b, at + 2), header=12, payload=length - 12)
    if base.proto in (ICMP, ICMP6):
        if length < 2:
            raise Rejected("malformed")
        return replace(base, icmp=(_u8(b, at), _u8(b, at + 1)), payload=length)
    return replace(base, payload=length)


def _tunnel(b: bytes, at: int, length: int, base: Packet, way: _Way) -> Packet | None:
    """The packet inside, or None when this is no tunnel; :class:`_NoIp` when it is one and holds no IP packet."""
    if base.proto == 4:
        return _ip(b, at, way.within(f"4in{base.version}"))
    if base.proto == 41:
        return _ip(b, at, way.within(f"6in{base.version}"))
    if base.proto == 47:
        return _gre(b, at, way)
    if base.proto != UDP or length < 8:
        return None
    sport, dport, data = _u16(b, at), _u16(b, at + 2), at + 8
    stated = _u16(b, at + 4)
    if (stated if 8 <= stated <= length else length) < 16:  # every header below takes eight bytes or more
        return None
    if dport == 4789:
        if not _u8(b, data) & 8:
            return None
        return _ethernet(b, data + 8, way.within("vxlan"))
    if dport == 6081:
        if _u8(b, data) >> 6:
            return None
        start = data + 8 + (b[data] & 0x3F) * 4
        kind = _u16(b, data + 2)
        way = way.within("geneve")
        return _ethernet(b, start, way) if kind == 0x6558 else _ethertype(b, start, kind, way)
    if 2152 in (sport, dport):
        return _gtp(b, data, way)
    if 3544 in (sport, dport):
        if _u16(b, data) == 1:  # authentication
            data += 13 + _u8(b, data + 2) + _u8(b, data + 3)
        if _u16(b, data) == 0:  # origin indication
            data += 8
        if _u8(b, data) >> 4 != 6 or 40 + _u16(b, data + 4) > at + length - data:
            return None
        return _ipv6(b, data, way.within("teredo"))
    return None


def _gre(b: bytes, at: int, way: _Way) -> Packet | None:
    flags, kind = _u16(b, at), _u16(b, at + 2)
    version = flags & 7
    at += 4
    if version == 0:
        if flags & 0xC000:
            at += 4
        if flags & 0x2000:
            at += 4
        if flags & 0x1000:
            at += 4
        if flags & 0x4000:
            while True:
                family, size = _u16(b, at), _u8(b, at + 3)
                at += 4 + size
                if family == 0 and size == 0:
                    break
        way = way.within("gre")
        if kind == 0x6558:
            return _ethernet(b, at, way)
        if kind == 0x880B:
            return _ppp(b, at, way)
        return _ethertype(b, at, kind, way)
    if version == 1 and kind == 0x880B:
        at += 4
        if flags & 0x1000:
            at += 4
        if flags & 0x0080:
            at += 4
        return _ppp(b, at, way.within("pptp"))
    return None


def _gtp(b: bytes, at: int, way: _Way) -> Packet | None:
    flags = _u8(b, at)
    if flags >> 5 != 1 or not flags & 0x10 or _u8(b, at + 1) != 0xFF:
        return None
    data = at + 8
    if flags & 7:
        following = _u8(b, at + 11)
        data += 4
        while flags & 4 and following:
            size = _u8(b, data) * 4
            if size == 0:
                return None
            following = _u8(b, data + size - 1)
            data += size
    return _ip(b, data, way.within("gtp-u"))
