"""Frames -> packet digests: the header fields the meter needs, read by a compiled kernel.

A digest is one fixed-size record (:data:`PACKET_DTYPE`). Lengths come from the headers, never from the captured bytes, so a frame
cut behind its L4 header gives the same digest as the whole frame. A tunnel is read down to its innermost IP packet; when what is
inside is no IP (ARP in VXLAN, a GTP echo), the outer packet is metered. The rules in words: ``docs/reference/flow-rules.md``.

Link-layer and protocol layouts: tcpdump.org LINKTYPE registry; RFC 791, 8200, 4302 (AH), 9293, 768, 9260, 2784/2890 (GRE), 2637 (PPTP),
7348 (VXLAN), 8926 (Geneve), 3GPP TS 29.281 (GTP-U), 4380 (Teredo), 5415/5416 (CAPWAP), 3032 (MPLS), 2516 (PPPoE), 1661 (PPP);
IEEE 802.1Q/802.1ad, 802.11; VN-Tag: Cisco's proposal for what became IEEE 802.1BR.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

PACKET_DTYPE = np.dtype(
    [
        ("ts", "i8"),  # capture time, ns
        ("src_hi", "u8"),
        ("src_lo", "u8"),  # IPv4: the low 32 bits
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("msg", "u4"),  # message of the digest that carried it
        ("idx", "u4"),  # position inside the message
        ("flow_hash", "u4"),
        ("seq", "u4"),
        ("ack", "u4"),
        ("payload", "u4"),  # L4 payload bytes
        ("l3_bytes", "u4"),  # IP datagram bytes
        ("frag_id", "u4"),  # names the datagram between two addresses: identification; IPv4: and, above 16 bits, the header's protocol
        ("tunnel", "u4"),  # kinds, 4 bits each, outermost in the lowest bits
        ("sport", "u2"),
        ("dport", "u2"),
        ("window", "u2"),
        ("vlan1", "u2"),  # VLAN id + 1; 0 = none
        ("vlan2", "u2"),
        ("vlan3", "u2"),
        ("icmp_type", "i2"),
        ("icmp_code", "i2"),
        ("domain", "u2"),  # set by the bucket
        ("sensor", "u2"),  # set by the bucket
        ("proto", "u1"),
        ("ipver", "u1"),
        ("l4_header", "u1"),  # bytes
        ("flags", "u1"),  # TCP flag bits, FIN = 1 .. CWR = 128
        ("frag", "u1"),  # FRAG_*
        ("malformed", "u1"),
    ],
    align=True,
)

FRAG_NONE, FRAG_FIRST, FRAG_LATER = 0, 1, 2

#: Why a packet is not metered; index = code. ``unknown_link_type`` is reported with the number, by link type.
REJECT_REASONS: tuple[str, ...] = (
    "",
    "not_ip",
    "unknown_link_type",
    "truncated",
    "malformed_ip",
    "malformed_l4",
    "tunnel_too_deep",
    "fragment_orphan",
    "late",
    "bad_timestamp",
)
NOT_IP, UNKNOWN_LINK, TRUNCATED, MALFORMED_IP, MALFORMED_L4, TOO_DEEP, FRAGMENT_ORPHAN, LATE, BAD_TIMESTAMP = range(1, 10)

TUNNEL_KINDS: tuple[str, ...] = (
    "",
    "gre",
    "vxlan",
    "geneve",
    "gtp-u",
    "4in4",
    "4in6",
    "6in4",
    "6in6",
    "teredo",
    "mpls",
    "pptp",
    "erspan",
    "pppoe",
    "capwap",
)
_GRE, _VXLAN, _GENEVE, _GTPU, _4IN4, _4IN6, _6IN4, _6IN6, _TEREDO, _MPLS, _PPTP, _ERSPAN, _PPPOE, _CAPWAP = range(1, 15)

#: Encapsulations inside one frame beyond which it is rejected as ``tunnel_too_deep``.
MAX_DEPTH = 8

#: Bytes on the wire that are believed where an IP header leaves its length to the card; no card takes more. Sums of squares rely on it.
MAX_WIRE = 1 << 20

#: What may follow an IPv6 header without payload length, and is none: Ethernet pads an empty packet by six bytes. No transport is shorter.
_LEAST_REST = 8
_JUMBO = 0xC204  # hop-by-hop option of a jumbogram (RFC 2675): type and length; for its alignment it is the first one
_AH, _NO_NEXT_HEADER = 51, 59

_L_ETHERNET, _L_IP, _L_ETHERTYPE, _L_PPP, _L_MPLS, _L_WIFI, _L_LLC = 1, 2, 3, 4, 5, 6, 7


@njit(inline="always")
def _u16(d, p):
    return (np.int64(d[p]) << 8) | np.int64(d[p + 1])


@njit(inline="always")
def _u32(d, p):
    return (np.int64(d[p]) << 24) | (np.int64(d[p + 1]) << 16) | (np.int64(d[p + 2]) << 8) | np.int64(d[p + 3])


@njit(inline="always")
def _u64(d, p):
    return (np.uint64(_u32(d, p)) << np.uint64(32)) | np.uint64(_u32(d, p + 4))


@njit(inline="always")
def wire_length(captured, original):
    """Bytes that a frame had on the wire, from a capture's two lengths.

    Offloads state less than they hand over: the longer of the two counts. More than any card takes is damage: what was captured counts.
    """
    return original if captured < original <= MAX_WIRE else captured


@njit(inline="always")
def _mix(x):
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(inline="always")
def address_hash(hi, lo):
    """64-bit hash of one address."""
    return _mix(_mix(hi + np.uint64(0x9E3779B97F4A7C15)) + lo)


@njit(inline="always")
def _pair_hash(src_hi, src_lo, dst_hi, dst_lo):
    h = _mix(address_hash(src_hi, src_lo) + address_hash(dst_hi, dst_lo))
    return np.uint32(h >> np.uint64(32))


@njit(cache=True, nogil=True)
def _link(d, pos, end, link):
    """First step into a frame -> (layer, position, ethertype or PPP protocol); layer 0: unknown link type, -1: cut, -2: no IP."""
    if link == 1:
        return _L_ETHERNET, pos, 0
    if link == 12 or link == 14 or link == 101 or link == 228 or link == 229:
        return _L_IP, pos, 0
    if link == 0 or link == 108:
        if pos + 4 > end:
            return -1, pos, 0
        # the address family is in the byte order of the capturing host (0) or of the network (108); small, so try both ends
        af = _u32(d, pos)
        if af > 0xFFFF:
            af = np.int64(d[pos]) | (np.int64(d[pos + 1]) << 8) | (np.int64(d[pos + 2]) << 16) | (np.int64(d[pos + 3]) << 24)
        if af == 2 or af == 24 or af == 28 or af == 30 or af == 10:
            return _L_IP, pos + 4, 0
        return -2, pos, 0
    if link == 113:
        if pos + 16 > end:
            return -1, pos, 0
        etype = _u16(d, pos + 14)
        return _L_LLC if etype == 4 else _L_ETHERTYPE, pos + 16, etype  # 4 stands for 802.2
    if link == 276:
        if pos + 20 > end:
            return -1, pos, 0
        etype = _u16(d, pos)
        return _L_LLC if etype == 4 else _L_ETHERTYPE, pos + 20, etype
    if link == 9 or link == 50 or link == 104:
        if pos + 4 > end:
            return -1, pos, 0
        # Cisco HDLC is often captured as PPP; its address octet tells them apart
        if link == 104 or ((d[pos] == 0x0F or d[pos] == 0x8F) and d[pos + 1] == 0):
            return _L_ETHERTYPE, pos + 4, _u16(d, pos + 2)
        return _L_PPP, pos, 0
    if link == 51:
        if pos + 6 > end:
            return -1, pos, 0
        return _L_PPP, pos + 6, 0
    if link == 127 or link == 192:
        if pos + 8 > end:
            return -1, pos, 0
        header = np.int64(d[pos + 2]) | (np.int64(d[pos + 3]) << 8)
        if header < 8 or pos + header > end:
            return -1, pos, 0
        if link == 192:
            inside = _u32(d, pos + 4)  # little-endian
            if inside == 0x01000000:
                return _L_ETHERNET, pos + header, 0
            if inside != 0x69000000:  # 105
                return -2, pos, 0
        return _L_WIFI, pos + header, 0
    if link == 119:
        if pos + 144 > end:
            return -1, pos, 0
        return _L_WIFI, pos + 144, 0
    if link == 163:
        if pos + 8 > end:
            return -1, pos, 0
        header = _u32(d, pos + 4)
        if header < 8 or pos + header > end:
            return -1, pos, 0
        return _L_WIFI, pos + header, 0
    if link == 105:
        return _L_WIFI, pos, 0
    if link == 109:
        if pos + 12 > end:
            return -1, pos, 0
        return _L_IP, pos + 12, 0
    return 0, pos, 0


@njit(cache=True, nogil=True)
def _radiotap_pads(d, pos, end):
    """Whether the radiotap header at ``pos`` says that the 802.11 header is padded to 4 bytes (radiotap.org, field Flags)."""
    present = np.int64(d[pos + 4]) | (np.int64(d[pos + 7]) << 24)
    if (present & 2) == 0:
        return False
    q = pos + 8
    word = present
    while word & (1 << 31) and q + 4 <= end:
        word = np.int64(d[q + 3]) << 24
        q += 4
    if present & 1:
        q += (8 - (q - pos) % 8) % 8 + 8  # TSFT, aligned
    return q < end and (d[q] & 0x20) != 0


@njit(cache=True, nogil=True)
def _parse(d, pos, end, wire_end, link, out):
    """Read one frame ``d[pos:end]`` (``wire_end``: where it ended on the wire) into the record ``out``; 0 or a reject code."""
    have = False
    depth = 0
    tunnel = np.int64(0)
    tunnels = 0
    vlan1 = 0
    vlan2 = 0
    vlan3 = 0
    cut = False  # the capture ends before the packet that carries the tunnel
    start = pos
    layer, pos, etype = _link(d, pos, end, link)
    if layer <= 0:
        return UNKNOWN_LINK if layer == 0 else (TRUNCATED if layer == -1 else NOT_IP)
    version = 0
    while True:
        fail = 0
        if layer == _L_WIFI:
            if pos + 2 > end:
                fail = TRUNCATED
            else:
                control = np.int64(d[pos])
                bits = np.int64(d[pos + 1])
                if have and (control & 3) != 0:
                    # Inside CAPWAP, Cisco's access points swap the two bytes. The lowest bits of the first one are the protocol version,
                    # always 0; of the second one the direction, never 0 on the way through an access point.
                    control, bits = bits, control
                kind = (control >> 2) & 3
                sub = control >> 4
                if kind != 2 or (sub & 4) != 0 or (bits & 0x40) != 0:
                    fail = NOT_IP  # management, control (ten bytes are a whole one), no data, or encrypted
                elif pos + 24 > end:
                    fail = TRUNCATED
                else:
                    header = 24
                    if (bits & 3) == 3:
                        header += 6
                    if (sub & 8) != 0:
                        if pos + header < end and (d[pos + header] & 0x80) != 0:
                            fail = NOT_IP  # several frames in one (A-MSDU): no LLC header comes next
                        header += 2
                        if (bits & 0x80) != 0:
                            header += 4
                    if link == 127 and not have and _radiotap_pads(d, start, end):
                        header += (4 - header % 4) % 4
                    pos += header
                    layer = _L_LLC
            if fail == 0:
                continue
        elif layer == _L_LLC:
            if pos + 3 > end:
                fail = TRUNCATED
            elif d[pos] == 0xAA and d[pos + 1] == 0xAA and d[pos + 2] == 3:
                if pos + 8 > end:
                    fail = TRUNCATED
                elif d[pos + 3] == 0 and d[pos + 4] == 0 and (d[pos + 5] == 0 or d[pos + 5] == 0xF8):
                    etype = _u16(d, pos + 6)
                    pos += 8
                    layer = _L_ETHERTYPE
                    continue
                else:
                    fail = NOT_IP  # the number is of another organisation's making
            elif d[pos] == 6 and d[pos + 1] == 6 and d[pos + 2] == 3:
                pos += 3  # IP's own service access point
                layer = _L_IP
                continue
            else:
                fail = NOT_IP
        elif layer == _L_ETHERNET:
            if pos + 14 > end:
                fail = TRUNCATED
            else:
                etype = _u16(d, pos + 12)
                pos += 14
                layer = _L_LLC if etype <= 1500 else _L_ETHERTYPE
                continue
        elif layer == _L_PPP:
            if pos + 2 <= end and d[pos] == 0xFF and d[pos + 1] == 3:
                pos += 2
            if pos + 2 > end:
                fail = TRUNCATED
            else:
                if d[pos] & 1:
                    etype = np.int64(d[pos])
                    pos += 1
                else:
                    etype = _u16(d, pos)
                    pos += 2
                if etype == 0x21 or etype == 0x57:
                    layer = _L_IP
                    continue
                if etype == 0x281 or etype == 0x283:
                    layer = _L_MPLS
                    continue
                fail = NOT_IP
        elif layer == _L_MPLS:
            bottom = False
            while pos + 4 <= end and not bottom:
                bottom = (d[pos + 2] & 1) == 1
                pos += 4
            if not bottom or pos >= end:
                fail = TRUNCATED
            else:
                if tunnels < 8:
                    tunnel |= np.int64(_MPLS) << (4 * tunnels)
                tunnels += 1
                nibble = d[pos] >> 4
                if nibble == 4 or nibble == 6:
                    layer = _L_IP
                elif nibble == 0:
                    pos += 4  # pseudowire control word, RFC 4385
                    layer = _L_ETHERNET
                else:
                    layer = _L_ETHERNET
                continue
        elif layer == _L_ETHERTYPE:
            if etype == 0x0800 or etype == 0x86DD:
                layer = _L_IP
                continue
            if etype == 0x8100 or etype == 0x88A8 or etype == 0x9100 or etype == 0x9200 or etype == 0x8200 or etype == 0x8926:
                virtual = etype == 0x8926  # VN-Tag: four bytes that name ports of a switch, and no VLAN
                tag = 4 if virtual else 2
                if pos + tag + 2 > end:
                    fail = TRUNCATED
                else:
                    if not have and not virtual:
                        if vlan1 == 0:
                            vlan1 = (_u16(d, pos) & 0x0FFF) + 1
                        elif vlan2 == 0:
                            vlan2 = (_u16(d, pos) & 0x0FFF) + 1
                        elif vlan3 == 0:
                            vlan3 = (_u16(d, pos) & 0x0FFF) + 1
                    etype = _u16(d, pos + tag)
                    pos += tag + 2
                    if etype <= 1500:
                        layer = _L_LLC
                    continue
            elif etype == 0x8847 or etype == 0x8848:
                layer = _L_MPLS
                continue
            elif etype == 0x8864:
                pos += 6
                layer = _L_PPP
                continue
            elif etype == 0x6558:
                layer = _L_ETHERNET
                continue
            else:
                fail = NOT_IP
        if fail != 0:
            # metering the outer packet because the snap length hides the inner one would make flows that a longer one does not have
            return 0 if have and not (fail == TRUNCATED and cut) else fail

        # ---- an IP header is due at pos
        if pos >= end:
            return 0 if have and not cut else TRUNCATED
        depth += 1
        if depth > MAX_DEPTH:
            return TOO_DEEP
        version = d[pos] >> 4
        frag = FRAG_NONE
        frag_id = np.int64(0)
        src_hi = np.uint64(0)
        dst_hi = np.uint64(0)
        if version == 4:
            if pos + 20 > end:
                return 0 if have and not cut else TRUNCATED
            ihl = np.int64(d[pos] & 15) * 4
            total = _u16(d, pos + 2)
            unstated = total == 0
            if unstated:
                total = wire_end - pos  # segmentation offload leaves it to the card
            if ihl < 20 or total < ihl:
                return 0 if have else MALFORMED_IP
            proto = np.int64(d[pos + 9])
            src_lo = np.uint64(_u32(d, pos + 12))
            dst_lo = np.uint64(_u32(d, pos + 16))
            fragment = _u16(d, pos + 6)
            if (fragment & 0x1FFF) != 0:
                frag = FRAG_LATER
            elif (fragment & 0x2000) != 0:
                frag = FRAG_FIRST
            if frag != FRAG_NONE:
                frag_id = (proto << 16) | _u16(d, pos + 4)
            l4 = pos + ihl
            l4_len = total - ihl
            l3_bytes = total
        elif version == 6:
            if pos + 40 > end:
                return 0 if have and not cut else TRUNCATED
            l4_len = _u16(d, pos + 4)
            proto = np.int64(d[pos + 6])
            unstated = l4_len == 0
            if unstated and proto != _NO_NEXT_HEADER:
                rest = wire_end - pos - 40  # segmentation offload, which has more than the field can say or leaves it to the card
                if proto == 0 and pos + 48 <= end and _u16(d, pos + 42) == _JUMBO and 0xFFFF < _u32(d, pos + 44) <= MAX_WIRE:
                    rest = _u32(d, pos + 44)
                if rest >= _LEAST_REST:
                    l4_len = rest
            l3_bytes = l4_len + 40
            src_hi = _u64(d, pos + 8)
            src_lo = _u64(d, pos + 16)
            dst_hi = _u64(d, pos + 24)
            dst_lo = _u64(d, pos + 32)
            l4 = pos + 40
        else:
            return 0 if have else MALFORMED_IP

        # ---- headers between IP and transport: IPv6's own, and AH of both versions. A later fragment has none of them.
        while frag != FRAG_LATER and (
            proto == _AH
            or (version == 6 and (proto == 0 or proto == 43 or proto == 60 or proto == 44 or proto == 135 or proto == 139 or proto == 140))
        ):
            if l4_len < 8:
                return MALFORMED_IP
            if l4 + 8 > end:
                return TRUNCATED
            if proto == 44:
                size = np.int64(8)
                fragment = _u16(d, l4 + 2)
                if (fragment & 0xFFF8) != 0:
                    frag = FRAG_LATER
                    frag_id = _u32(d, l4 + 4)
                elif (fragment & 1) != 0:
                    frag = FRAG_FIRST
                    frag_id = _u32(d, l4 + 4)
            elif proto == _AH:
                size = (np.int64(d[l4 + 1]) + 2) * 4
            else:
                size = (np.int64(d[l4 + 1]) + 1) * 8
            if size > l4_len:
                return MALFORMED_IP
            proto = np.int64(d[l4])
            l4 += size
            l4_len -= size

        # ---- transport: this packet has a sound IP header, so it is the innermost one, and its faults are no reason to meter another
        sport = np.int64(0)
        dport = np.int64(0)
        header = np.int64(0)
        payload = l4_len
        flags = np.int64(0)
        window = np.int64(0)
        seq = np.int64(0)
        ack = np.int64(0)
        icmp_type = -1
        icmp_code = -1
        malformed = 0
        limit = l4 + l4_len  # end of what it carries
        nxt = 0  # layer inside, when this is a tunnel
        nxt_pos = l4
        nxt_etype = np.int64(0)
        kind = 0
        if frag != FRAG_LATER:
            if proto == 6:
                if l4_len < 20:
                    return MALFORMED_L4
                if l4 + 20 > end:
                    return TRUNCATED
                header = np.int64(d[l4 + 12] >> 4) * 4
                if header < 20 or header > l4_len:
                    return MALFORMED_L4
                sport = _u16(d, l4)
                dport = _u16(d, l4 + 2)
                seq = _u32(d, l4 + 4)
                ack = _u32(d, l4 + 8)
                flags = np.int64(d[l4 + 13])
                window = _u16(d, l4 + 14)
                payload = l4_len - header
            elif proto == 17:
                if l4_len < 8:
                    return MALFORMED_L4
                if l4 + 8 > end:
                    return TRUNCATED
                header = 8
                sport = _u16(d, l4)
                dport = _u16(d, l4 + 2)
                size = _u16(d, l4 + 4)
                if frag == FRAG_FIRST or (size == 0 and unstated):
                    payload = l4_len - 8  # what leaves the IP length to the card leaves this one to it, too
                elif size < 8 or size > l4_len:
                    payload = l4_len - 8
                    malformed = 1
                else:
                    payload = size - 8
                limit = l4 + 8 + payload
                # what hides a tunnel's header is the snap length: the outer packet is no stand-in for the one inside
                if frag == FRAG_NONE and payload >= 8:
                    p = l4 + 8
                    if dport == 4789 or dport == 8472:
                        if p >= end:
                            return TRUNCATED
                        if (d[p] & 8) != 0:
                            nxt, nxt_pos, kind = _L_ETHERNET, p + 8, _VXLAN
                    elif dport == 6081:
                        if p + 4 > end:
                            return TRUNCATED
                        if (d[p] >> 6) == 0:
                            nxt, nxt_pos, kind = _L_ETHERTYPE, p + 8 + np.int64(d[p] & 0x3F) * 4, _GENEVE
                            nxt_etype = _u16(d, p + 2)
                    elif dport == 2152 or sport == 2152:
                        if p + 2 > end:
                            return TRUNCATED
                        if (d[p] >> 4) == 3 and d[p + 1] == 255:
                            q = p + 8
                            if d[p] & 7:
                                extension = 0
                                if d[p] & 4:
                                    if q + 4 <= end:
                                        extension = d[q + 3]
                                    else:
                                        q = end
                                q += 4
                                while extension != 0 and q < end:
                                    size = np.int64(d[q]) * 4
                                    if size == 0:
                                        q = np.int64(-1)
                                        break
                                    if q + size <= end:
                                        extension = d[q + size - 1]
                                    q += size
                            if q >= end:
                                if limit > end:
                                    return TRUNCATED
                            elif q >= 0 and (d[q] >> 4 == 4 or d[q] >> 4 == 6):
                                nxt, nxt_pos, kind = _L_IP, q, _GTPU
                    elif dport == 3544 or sport == 3544:
                        q = p
                        if q + 40 <= limit:  # else there is no room for an IPv6 header
                            if q + 4 > end:
                                return TRUNCATED
                            if d[q] == 0 and d[q + 1] == 1:
                                q += 13 + np.int64(d[q + 2]) + np.int64(d[q + 3])
                        if q + 40 <= limit:
                            if q + 2 > end:
                                return TRUNCATED
                            if d[q] == 0 and d[q + 1] == 0:
                                q += 8
                        if q + 40 <= limit:
                            if q >= end:
                                return TRUNCATED
                            if d[q] >> 4 == 6:
                                if q + 6 > end:
                                    return TRUNCATED
                                if q + 40 + _u16(d, q + 4) <= limit:
                                    nxt, nxt_pos, kind = _L_IP, q, _TEREDO
                    elif dport == 5247 or sport == 5247:
                        if p >= end:
                            return TRUNCATED
                        if d[p] == 0:  # else DTLS, or another version
                            if p + 4 > end:
                                return TRUNCATED
                            size = np.int64(d[p + 1] >> 3) * 4
                            # neither a fragment nor a keep-alive; room for something behind the header
                            if (d[p + 3] & 0x88) == 0 and size >= 8 and size < payload:
                                if (d[p + 2] & 1) == 0:
                                    nxt, nxt_pos, kind = _L_ETHERNET, p + size, _CAPWAP
                                elif (d[p + 2] >> 1) & 31 == 1:  # a native frame of the binding 802.11
                                    nxt, nxt_pos, kind = _L_WIFI, p + size, _CAPWAP
            elif proto == 132:
                if l4_len < 12:
                    return MALFORMED_L4
                if l4 + 4 > end:
                    return TRUNCATED
                header = 12
                sport = _u16(d, l4)
                dport = _u16(d, l4 + 2)
                payload = l4_len - 12
            elif (proto == 1 and version == 4) or (proto == 58 and version == 6):
                if l4_len < 4:
                    malformed = 1
                if l4_len >= 2:
                    if l4 + 2 > end:
                        return TRUNCATED
                    icmp_type = np.int64(d[l4])
                    icmp_code = np.int64(d[l4 + 1])
            elif frag == FRAG_NONE:
                if proto == 4 or proto == 41:
                    if l4_len > 0:
                        if l4 >= end:
                            return TRUNCATED
                        if d[l4] >> 4 == (4 if proto == 4 else 6):
                            nxt, nxt_pos = _L_IP, l4
                            if proto == 4:
                                kind = _4IN4 if version == 4 else _4IN6
                            else:
                                kind = _6IN4 if version == 4 else _6IN6
                elif proto == 47 and l4_len >= 4:
                    if l4 + 4 > end:
                        return TRUNCATED
                    bits = _u16(d, l4)
                    inner = _u16(d, l4 + 2)
                    q = l4 + 4
                    if (bits & 7) == 0:
                        if bits & 0xC000:
                            q += 4
                        if bits & 0x2000:
                            q += 4
                        if bits & 0x1000:
                            q += 4
                        if bits & 0x4000:  # source routes, RFC 1701: until one of length 0
                            while q + 4 <= end and d[q + 3] != 0:
                                q += 4 + np.int64(d[q + 3])
                            q += 4
                        kind = _GRE
                        nxt_pos = q
                        if inner == 0x88BE or inner == 0x22EB:
                            kind = _ERSPAN
                            nxt = _L_ETHERNET
                            # type I has no header of its own, II 8 bytes, III 12 and perhaps 8 more
                            if inner == 0x22EB:
                                nxt_pos = q + 12
                                if q + 12 <= end and d[q + 11] & 1:
                                    nxt_pos += 8
                            elif bits & 0x1000:
                                nxt_pos = q + 8
                        elif inner == 0x880B:
                            nxt = _L_PPP
                        else:  # no IP in it: the layer says so, and the GRE packet is metered
                            nxt, nxt_etype = _L_ETHERTYPE, inner
                    elif (bits & 7) == 1 and inner == 0x880B:
                        q += 4  # key: payload length and call id
                        if bits & 0x1000:
                            q += 4
                        if bits & 0x0080:
                            q += 4
                        if l4_len > q - l4:
                            nxt, nxt_pos, kind = _L_PPP, q, _PPTP
        have = True
        out.src_hi = src_hi
        out.src_lo = src_lo
        out.dst_hi = dst_hi
        out.dst_lo = dst_lo
        out.flow_hash = _pair_hash(src_hi, src_lo, dst_hi, dst_lo)
        out.seq = np.uint32(seq)
        out.ack = np.uint32(ack)
        out.payload = np.uint32(payload)
        out.l3_bytes = np.uint32(l3_bytes)
        out.frag_id = np.uint32(frag_id)
        out.tunnel = np.uint32(tunnel)
        out.sport = np.uint16(sport)
        out.dport = np.uint16(dport)
        out.window = np.uint16(window)
        out.vlan1 = np.uint16(vlan1)
        out.vlan2 = np.uint16(vlan2)
        out.vlan3 = np.uint16(vlan3)
        out.icmp_type = np.int16(icmp_type)
        out.icmp_code = np.int16(icmp_code)
        out.proto = np.uint8(proto)
        out.ipver = np.uint8(version)
        out.l4_header = np.uint8(header)
        out.flags = np.uint8(flags)
        out.frag = np.uint8(frag)
        out.malformed = np.uint8(malformed)
        if nxt == 0:
            return 0
        # what lies behind the packet that carries the tunnel (padding, a trailer) is not in the tunnel
        cut = limit > end
        end = min(end, limit)
        wire_end = min(wire_end, limit)
        layer = nxt
        pos = nxt_pos
        etype = nxt_etype
        if tunnels < 8:
            tunnel |= np.int64(kind) << (4 * tunnels)
        tunnels += 1


#: Capture times are accepted from the epoch to the year 2116: what 2**62 ns can say.
MAX_TS_NS = 1 << 62


@njit(cache=True, nogil=True)
def _decode(data, offsets, ts, wire_len, link_type, out, reasons):
    for i in range(offsets.shape[0] - 1):
        lo = offsets[i]
        hi = offsets[i + 1]
        out[i].ts = ts[i]
        out[i].idx = np.uint32(i)
        wire_end = lo + wire_length(hi - lo, np.int64(wire_len[i]))
        reasons[i] = _parse(data, lo, hi, wire_end, np.int64(link_type[i]), out[i])
        if ts[i] < 0 or ts[i] > MAX_TS_NS:
            reasons[i] = BAD_TIMESTAMP


@njit(cache=True, nogil=True)
def _hashes(data, offsets, wire_len, link_type, scratch, out):
    for i in range(offsets.shape[0] - 1):
        lo = offsets[i]
        hi = offsets[i + 1]
        wire_end = lo + wire_length(hi - lo, np.int64(wire_len[i]))
        out[i] = scratch[0].flow_hash if _parse(data, lo, hi, wire_end, np.int64(link_type[i]), scratch[0]) == 0 else 0


def decode(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    ts: NDArray[np.int64],
    wire_len: NDArray[np.uint32],
    link_type: NDArray[np.uint16],
) -> tuple[NDArray, NDArray[np.uint8]]:
    """Digest ``n`` frames.

    Parameters
    ----------
    data
        Frame bytes, end to end.
    offsets
        ``int64[n + 1]``: frame ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
    ts
        ``int64[n]``: capture time, ns since the epoch, UTC.
    wire_len
        ``uint32[n]``: bytes on the wire, as far as :func:`wire_length` believes them.
    link_type
        ``uint16[n]``: LINKTYPE_* value.

    Returns
    -------
    packets, reasons
        :data:`PACKET_DTYPE` ``[n]`` and ``uint8[n]``: 0, or the index into :data:`REJECT_REASONS`; rejected rows hold no meaning.
    """
    n = len(offsets) - 1
    packets = np.zeros(n, PACKET_DTYPE)
    reasons = np.zeros(n, np.uint8)
    _decode(data, offsets, ts, wire_len, link_type, packets, reasons)
    return packets, reasons


def flow_hashes(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], wire_len: NDArray[np.uint32], link_type: NDArray[np.uint16]
) -> NDArray[np.uint32]:
    """``flow_hash`` of :func:`decode` alone, ``uint32[n]``: symmetric, of the innermost address pair; 0 for frames that are not metered."""
    out = np.zeros(len(offsets) - 1, np.uint32)
    _hashes(data, offsets, wire_len, link_type, np.zeros(1, PACKET_DTYPE), out)
    return out


def tunnel_name(code: int) -> str:
    """Tunnel kinds of :data:`PACKET_DTYPE` ``tunnel`` as text, from the outside in, e.g. ``"vxlan"`` or ``"gre,4in4"``."""
    names = []
    while code:
        names.append(TUNNEL_KINDS[code & 15])
        code >>= 4
    return ",".join(names)
