"""Frame bytes -> the header fields that metering needs, read byte by byte.

Lengths are those the headers state; captured bytes are only ever read for header fields. The innermost IP packet is the one that counts:
once an inner packet has a sound IP header it is judged on its own, otherwise the packet around it is the innermost. Where the capture ends
before that can be told, the frame is rejected: a longer snap length must not turn one flow into another. A packet in fragments is never
opened: its pieces stay together, under the outer addresses.

Sources: RFC 791, 8200 (IP), 4302 (AH), 9293 (TCP), 768 (UDP), 9260 (SCTP), 2784/2890/1701 (GRE), 2637 (PPTP), 7348 (VXLAN),
8926 (Geneve), 3GPP TS 29.281 (GTP-U), 4380 (Teredo), 5415/5416 (CAPWAP), 3032 (MPLS), 2516 (PPPoE), 1661/1662 (PPP),
IEEE 802.3/802.1Q/802.11, tcpdump.org link types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

TCP, UDP, SCTP, ICMP, ICMP6 = 6, 17, 132, 1, 58
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
#: IP headers within each other, and tunnels that a record has room for.
MAX_DEPTH = 8
#: A longer frame is on no wire: the capture's word for it is damaged.
MAX_WIRE = 1 << 20
TPIDS = (0x8100, 0x88A8, 0x9100, 0x9200, 0x8200)
VN_TAG = 0x8926
AH, NO_NEXT = 51, 59
#: What may stand between an IP header and the transport.
EXTENSIONS = {4: (AH,), 6: (0, 43, 44, AH, 60, 135, 139, 140)}


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
    seq: int = 0
    icmp: tuple[int, int] = (-1, -1)
    malformed: bool = False
    fragment: Fragment | None = None
    vlans: tuple[int, ...] = ()
    tunnels: tuple[str, ...] = ()


@dataclass
class _Way:
    """What has been walked through on the way in; ``end`` is where the frame ended on the wire."""

    end: int
    vlans: list[int] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)
    depth: int = 0

    def within(self, kind: str) -> _Way:
        return _Way(self.end, list(self.vlans), [*self.tunnels, kind], self.depth)

    def tag(self, vlan: int) -> None:
        """VLANs are those the frame itself was in, not those inside a tunnel's packet."""
        if self.depth == 0 and len(self.vlans) < 3:
            self.vlans.append(vlan)


def _u8(b: bytes, at: int) -> int:
    if at >= len(b):
        raise _NoIp("truncated")
    return b[at]


def _u16(b: bytes, at: int) -> int:
    return _u8(b, at) << 8 | _u8(b, at + 1)


def _u32(b: bytes, at: int) -> int:
    return _u16(b, at) << 16 | _u16(b, at + 2)


def parse(frame: bytes, link_type: int, wire: int | None = None) -> Packet:
    """Take a frame apart; ``wire`` is its length on the wire, and counts when it is more than was captured.

    Raises:
        Rejected: not IP, of an unknown link type, cut before the end of a needed header, or malformed.
    """
    b, way = frame, _Way(len(frame) if wire is None or wire > MAX_WIRE else max(wire, len(frame)))
    if link_type == 1:
        return _ethernet(b, 0, way)
    if link_type in (12, 14, 101, 228, 229):
        return _ip(b, 0, way)
    if link_type in (0, 108):
        _u32(b, 0)
        families = {int.from_bytes(b[:4], "big"), int.from_bytes(b[:4], "little")}
        if families & {2, 10, 24, 28, 30}:
            return _ip(b, 4, way)
        raise Rejected("not_ip")
    if link_type in (113, 276):
        size, at = (16, 14) if link_type == 113 else (20, 0)
        _u8(b, size - 1)
        kind = _u16(b, at)
        return _llc(b, size, way) if kind == 4 else _ethertype(b, size, kind, way)  # 4 stands for 802.2
    if link_type in (9, 50, 104):
        _u32(b, 0)
        if link_type == 104 or b[:2] in (b"\x0f\0", b"\x8f\0"):  # Cisco HDLC under PPP's link type, as routers write it
            return _ethertype(b, 4, _u16(b, 2), way)
        return _ppp(b, 0, way)
    if link_type == 51:
        return _pppoe(b, 0, way)
    if link_type == 105:
        return _wlan(b, 0, way, pad=False)
    if link_type == 127:
        return _radiotap(b, way)
    if link_type == 192:  # PPI
        _u8(b, 7)
        size, inside = int.from_bytes(b[2:4], "little"), int.from_bytes(b[4:8], "little")
        if size < 8 or size > len(b):
            raise Rejected("truncated")
        if inside == 1:
            return _ethernet(b, size, way)
        if inside == 105:
            return _wlan(b, size, way, pad=False)
        raise Rejected("not_ip")
    if link_type == 119:  # Prism
        return _wlan(b, 144, way, pad=False)
    if link_type == 163:  # AVS
        size = _u32(b, 4)
        if size < 8:
            raise Rejected("truncated")
        return _wlan(b, size, way, pad=False)
    if link_type == 109:  # OpenBSD enc
        return _ip(b, 12, way)
    raise Rejected(f"unknown_link_type_{link_type}")


def _ethernet(b: bytes, at: int, way: _Way) -> Packet:
    kind = _u16(b, at + 12)
    return _llc(b, at + 14, way) if kind <= 1500 else _ethertype(b, at + 14, kind, way)  # a length; 1501 to 1535 mean nothing


def _ethertype(b: bytes, at: int, kind: int, way: _Way) -> Packet:
    while kind in (*TPIDS, VN_TAG):
        if kind == VN_TAG:  # who sent it and who gets it, among the virtual ports of a switch
            kind, at = _u16(b, at + 4), at + 6
        else:
            vlan, kind, at = _u16(b, at) & 0x0FFF, _u16(b, at + 2), at + 4
            way.tag(vlan)
        if kind <= 1500:
            return _llc(b, at, way)
    if kind in (0x0800, 0x86DD):
        return _ip(b, at, way)
    if kind in (0x8847, 0x8848):
        return _mpls(b, at, way)
    if kind == 0x8864:
        return _pppoe(b, at, way)
    if kind == 0x6558:
        return _ethernet(b, at, way)
    raise _NoIp("not_ip")


def _llc(b: bytes, at: int, way: _Way) -> Packet:
    dsap, ssap, control = _u8(b, at), _u8(b, at + 1), _u8(b, at + 2)
    if (dsap, ssap, control) == (0xAA, 0xAA, 3):
        kind = _u16(b, at + 6)
        if b[at + 3 : at + 6] in (b"\0\0\0", b"\0\0\xf8"):
            return _ethertype(b, at + 8, kind, way)
    if (dsap, ssap, control) == (6, 6, 3):
        return _ip(b, at + 3, way)
    raise _NoIp("not_ip")


def _ppp(b: bytes, at: int, way: _Way) -> Packet:
    if b[at : at + 2] == b"\xff\x03":
        at += 2
    kind = _u16(b, at)
    if _u8(b, at) & 1:  # protocol field compressed to one byte
        kind, at = _u8(b, at), at + 1
    else:
        at += 2
    if kind in (0x0021, 0x0057):
        return _ip(b, at, way)
    if kind in (0x0281, 0x0283):
        return _mpls(b, at, way)
    raise _NoIp("not_ip")


def _pppoe(b: bytes, at: int, way: _Way) -> Packet:
    return _ppp(b, at + 6, way)


def _mpls(b: bytes, at: int, way: _Way) -> Packet:
    while not _u32(b, at) & 0x100:
        at += 4
    at += 4
    way = way.within("mpls")
    first = _u8(b, at) >> 4
    if first in (4, 6):
        return _ip(b, at, way)
    return _ethernet(b, at + 4 if first == 0 else at, way)  # a pseudowire, with a control word or without


def _wlan(b: bytes, at: int, way: _Way, pad: bool = False, swapped: bool = False) -> Packet:
    control, flags = _u8(b, at), _u8(b, at + 1)
    if swapped:
        control, flags = flags, control
    kind, subtype = control >> 2 & 3, control >> 4
    if kind != 2 or subtype & 4 or flags & 0x40:  # not data, no payload, or encrypted
        raise _NoIp("not_ip")
    _u8(b, at + 23)
    size = 24
    if flags & 3 == 3:
        size += 6
    if subtype & 8:
        if _u8(b, at + size) & 0x80:  # A-MSDU
            raise _NoIp("not_ip")
        size += 2
        if flags & 0x80:
            size += 4
    if pad:
        size = (size + 3) // 4 * 4
    return _llc(b, at + size, way)


def _radiotap(b: bytes, way: _Way) -> Packet:
    _u8(b, 7)
    size = _u8(b, 2) | _u8(b, 3) << 8
    if size < 8 or size > len(b):
        raise Rejected("truncated")
    present = [int.from_bytes(b[4:8], "little")]
    at = 8
    while present[-1] >> 31 and at + 4 <= len(b):
        present.append(int.from_bytes(b[at : at + 4], "little"))
        at += 4
    if present[0] & 1:  # TSFT, eight bytes, aligned to eight
        at = (at + 7) // 8 * 8 + 8
    pad = bool(present[0] & 2 and at < len(b) and b[at] & 0x20)
    return _wlan(b, size, way, pad)


def _ip(b: bytes, at: int, way: _Way) -> Packet:
    version = _u8(b, at) >> 4
    if way.depth == MAX_DEPTH:
        raise Rejected("tunnel_too_deep")
    way = replace(way, depth=way.depth + 1)
    if version == 4:
        return _ipv4(b, at, way)
    if version == 6:
        return _ipv6(b, at, way)
    raise _NoIp("malformed_ip")


def _ipv4(b: bytes, at: int, way: _Way) -> Packet:
    _u8(b, at + 19)
    ihl = (b[at] & 15) * 4
    stated = _u16(b, at + 2)
    total = stated or way.end - at  # 0: the card is to cut it into segments, and fill this in
    if ihl < 20 or total < ihl:
        raise _NoIp("malformed_ip")
    ident = _u16(b, at + 4)
    more, offset = _u16(b, at + 6) & 0x2000, _u16(b, at + 6) & 0x1FFF
    proto, src, dst = b[at + 9], b[at + 12 : at + 16], b[at + 16 : at + 20]
    base = Packet(4, src, dst, proto, total)
    if more or offset:
        base = replace(base, fragment=Fragment(src, dst, proto, ident, offset == 0))
    return _body(b, at + ihl, total - ihl, base, way, stated != 0)


def _ipv6(b: bytes, at: int, way: _Way) -> Packet:
    _u8(b, at + 39)
    length, proto, src, dst = _u16(b, at + 4), b[at + 6], b[at + 8 : at + 24], b[at + 24 : at + 40]
    stated, rest = length, way.end - at - 40
    if proto == 0 and b[at + 42 : at + 44] == b"\xc2\4" and at + 48 <= len(b) and 65535 < _u32(b, at + 44) <= MAX_WIRE:
        rest = _u32(b, at + 44)  # a jumbogram, RFC 2675
    if stated == 0 and proto != NO_NEXT and rest >= 8:  # as in IPv4; less than that is padding of an empty packet
        length = rest
    return _body(b, at + 40, length, Packet(6, src, dst, proto, 40 + length), way, stated != 0)


def _body(b: bytes, at: int, length: int, base: Packet, way: _Way, stated: bool) -> Packet:
    """What follows the IP header: extension headers, then a tunnel or the transport. ``length`` is that of the IP header, if ``stated``."""
    try:
        while base.proto in EXTENSIONS[base.version] and not (base.fragment and not base.fragment.first):
            if length < 8:
                raise Rejected("malformed_ip")
            _u8(b, at + 7)
            if base.proto == 44:
                size = 8
                offset, more = _u16(b, at + 2) >> 3, b[at + 3] & 1
                if offset or more:
                    # RFC 8200, 4.5: addresses and identification make the datagram; the next header may differ, and the first one's holds
                    fragment = Fragment(base.src, base.dst, 0, _u32(b, at + 4), offset == 0)
                    base = replace(base, fragment=fragment)
            elif base.proto == AH:
                size = (_u8(b, at + 1) + 2) * 4
            else:
                size = (_u8(b, at + 1) + 1) * 8
            if size > length:
                raise Rejected("malformed_ip")
            base = replace(base, proto=_u8(b, at))
            at, length = at + size, length - size
        base = replace(base, vlans=tuple(way.vlans), tunnels=tuple(way.tunnels[:MAX_DEPTH]))
        if base.fragment and not base.fragment.first:
            return replace(base, payload=length)
        packet = _transport(b, at, length, base, stated)
        if base.fragment:
            return packet
        try:
            # what lies behind the packet is not in the tunnel
            end = at + 8 + packet.payload if packet.proto == UDP else at + length
            return _tunnel(b[:end], at, length, packet, replace(way, end=min(way.end, end))) or packet
        except _NoIp as e:
            if e.args[0] == "truncated" and end > len(b):
                raise
            return packet
    except _NoIp as e:  # cut inside this packet: this packet's fault, not a reason to look at the one around it
        raise Rejected(*e.args) from e


def _transport(b: bytes, at: int, length: int, base: Packet, ip_stated: bool) -> Packet:
    if base.proto == TCP:
        if length < 20:
            raise Rejected("malformed_l4")
        _u8(b, at + 19)
        header = (b[at + 12] >> 4) * 4
        if header < 20 or header > length:
            raise Rejected("malformed_l4")
        return replace(
            base,
            sport=_u16(b, at),
            dport=_u16(b, at + 2),
            header=header,
            payload=length - header,
            flags=b[at + 13],
            window=_u16(b, at + 14),
            seq=_u16(b, at + 4) << 16 | _u16(b, at + 6),
        )
    if base.proto == UDP:
        if length < 8:
            raise Rejected("malformed_l4")
        stated = _u16(b, at + 4)
        left_out = stated == 0 and not ip_stated  # both lengths are the card's business
        malformed = base.fragment is None and not left_out and (stated < 8 or stated > length)
        payload = length - 8 if malformed or left_out or base.fragment else stated - 8
        _u16(b, at + 6)
        return replace(base, sport=_u16(b, at), dport=_u16(b, at + 2), header=8, payload=payload, malformed=malformed)
    if base.proto == SCTP:
        if length < 12:
            raise Rejected("malformed_l4")
        return replace(base, sport=_u16(b, at), dport=_u16(b, at + 2), header=12, payload=length - 12)
    if (base.version, base.proto) in ((4, ICMP), (6, ICMP6)):
        kind = (_u8(b, at), _u8(b, at + 1)) if length >= 2 else (-1, -1)
        return replace(base, icmp=kind, payload=length, malformed=length < 4)  # type, code and checksum: the least there is
    return replace(base, payload=length)


def _tunnel(b: bytes, at: int, length: int, base: Packet, way: _Way) -> Packet | None:
    """The packet inside, or None when this is no tunnel; :class:`_NoIp` when it is one and holds no IP packet."""
    if base.proto in (4, 41) and length:
        inner = 4 if base.proto == 4 else 6
        return _ip(b, at, way.within(f"{inner}in{base.version}")) if _u8(b, at) >> 4 == inner else None
    if base.proto == 47 and length >= 4:
        return _gre(b, at, length, way)
    if base.proto != UDP or base.payload < 8:  # every header below takes eight bytes or more
        return None
    data, end = at + 8, at + 8 + base.payload
    if base.dport in (4789, 8472):
        return _ethernet(b, data + 8, way.within("vxlan")) if _u8(b, data) & 8 else None
    if base.dport == 6081:
        kind = _u16(b, data + 2)
        if _u8(b, data) >> 6:
            return None
        return _ethertype(b, data + 8 + (b[data] & 0x3F) * 4, kind, way.within("geneve"))
    if 2152 in (base.sport, base.dport):
        return _gtp(b, data, way)
    if 3544 in (base.sport, base.dport):
        if data + 40 <= end and _u32(b, data) >> 16 == 1:  # authentication
            data += 13 + b[data + 2] + b[data + 3]
        if data + 40 <= end and _u16(b, data) == 0:  # origin indication
            data += 8
        if data + 40 > end or _u8(b, data) >> 4 != 6 or data + 40 + _u16(b, data + 4) > end:
            return None
        return _ip(b, data, way.within("teredo"))
    if 5247 in (base.sport, base.dport):
        return _capwap(b, data, end, way)
    return None


def _capwap(b: bytes, at: int, end: int, way: _Way) -> Packet | None:
    """CAPWAP data: a header of ``HLEN`` words, then an 802.3 or an 802.11 frame."""
    if _u8(b, at):  # of another version, or encrypted
        return None
    word = _u32(b, at)
    size, binding, native, fragment, alive = (word >> 19 & 31) * 4, word >> 9 & 31, word >> 8 & 1, word >> 7 & 1, word >> 3 & 1
    inside = at + size
    if size < 8 or inside >= end or fragment or alive:
        return None
    way = way.within("capwap")
    if not native:
        return _ethernet(b, inside, way)
    if binding != 1:
        return None
    # The version, in the two lowest bits, is 0. Cisco's have flags there: which way the frame went, from or to the access point.
    return _wlan(b, inside, way, swapped=_u8(b, inside) & 3 != 0)


def _gre(b: bytes, at: int, length: int, way: _Way) -> Packet | None:
    flags, kind = _u16(b, at), _u16(b, at + 2)
    version = flags & 7
    end, at = at + length, at + 4
    if version == 0:
        if flags & 0xC000:
            at += 4
        if flags & 0x2000:
            at += 4
        if flags & 0x1000:
            at += 4
        if flags & 0x4000:
            while at + 4 <= len(b) and b[at + 3]:  # length 0: the last source route
                at += 4 + b[at + 3]
            at += 4
        if kind in (0x88BE, 0x22EB):
            way = way.within("erspan")
            if kind == 0x22EB:
                return _ethernet(b, at + (20 if at + 12 <= len(b) and b[at + 11] & 1 else 12), way)
            return _ethernet(b, at + 8 if flags & 0x1000 else at, way)  # with a sequence number type II, without type I
        if kind == 0x880B:
            return _ppp(b, at, way.within("gre"))
        return _ethertype(b, at, kind, way.within("gre"))
    if version == 1 and kind == 0x880B:
        at += 4
        if flags & 0x1000:
            at += 4
        if flags & 0x0080:
            at += 4
        if at < end:  # else an acknowledgement alone
            return _ppp(b, at, way.within("pptp"))
    return None


def _gtp(b: bytes, at: int, way: _Way) -> Packet | None:
    flags, message = _u8(b, at), _u8(b, at + 1)
    if flags >> 5 != 1 or not flags & 0x10 or message != 0xFF:
        return None
    data = at + 8
    if flags & 7:
        following = _u8(b, at + 11) if flags & 4 else 0
        data += 4
        while following:
            size = _u8(b, data) * 4
            if size == 0:
                return None
            following = _u8(b, data + size - 1)
            data += size
    return _ip(b, data, way.within("gtp-u"))
