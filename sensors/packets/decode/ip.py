"""IP headers and what may lie between them and the transport header (RFC 791, 8200, 2675, 4302)."""

from __future__ import annotations

import numpy as np

from infra.kernels import piece
from sensors.packets.decode.hashing import pair_hash
from sensors.packets.decode.octets import u16, u32, u64
from sensors.packets.decode.packet import FRAG_FIRST, FRAG_LATER, FRAG_NONE, MALFORMED_IP, MAX_WIRE, TRUNCATED
from sensors.packets.protocols import (
    IPPROTO_AH,
    IPPROTO_DSTOPTS,
    IPPROTO_FRAGMENT,
    IPPROTO_HIP,
    IPPROTO_HOPOPTS,
    IPPROTO_MOBILITY,
    IPPROTO_NONE,
    IPPROTO_ROUTING,
    IPPROTO_SHIM6,
)

#: Bytes of the headers: IPv4 at least, IPv6, an extension header at least.
_IPV4, _IPV6, _EXTENSION = 20, 40, 8
#: Fragmentation fields: offset and "more fragments" of IPv4, the same of IPv6.
_OFFSET4, _MORE4, _OFFSET6, _MORE6 = 0x1FFF, 0x2000, 0xFFF8, 0x0001
#: What may follow an IPv6 header without payload length, and is none: Ethernet pads an empty packet by six bytes. No transport is shorter.
_LEAST_REST = 8
#: Hop-by-hop option of a jumbogram (RFC 2675): type and length; for its alignment it is the first one.
_JUMBO = 0xC204


@piece
def ip_header(d, c, out):
    """Read the IP header at the cursor; until it is known to be sound, the digest keeps what it holds.

    Its failure is none of the packet's around it, which is metered then.
    """
    if c.pos >= c.end:
        return TRUNCATED
    c.version = d[c.pos] >> 4
    if c.version == 4:
        fail = _ipv4(d, c, out)
    elif c.version == 6:
        fail = _ipv6(d, c, out)
    else:
        return MALFORMED_IP
    if fail == 0:
        out.ipver = np.uint8(c.version)
        out.flow_hash = pair_hash(out.src_hi, out.src_lo, out.dst_hi, out.dst_lo)
    return fail


@piece
def _ipv4(d, c, out):
    p = c.pos
    if p + _IPV4 > c.end:
        return TRUNCATED
    header = np.int64(d[p] & 15) * 4
    total = u16(d, p + 2)
    c.unstated = 1 if total == 0 else 0
    if total == 0:
        total = c.wire_end - p  # segmentation offload leaves it to the card
    if header < _IPV4 or total < header:
        return MALFORMED_IP
    c.proto = d[p + 9]
    fragment = u16(d, p + 6)
    frag = FRAG_NONE
    if (fragment & _OFFSET4) != 0:
        frag = FRAG_LATER
    elif (fragment & _MORE4) != 0:
        frag = FRAG_FIRST
    out.frag = np.uint8(frag)
    out.frag_id = np.uint32(0 if frag == FRAG_NONE else (c.proto << 16) | u16(d, p + 4))
    out.src_hi = np.uint64(0)
    out.src_lo = np.uint64(u32(d, p + 12))
    out.dst_hi = np.uint64(0)
    out.dst_lo = np.uint64(u32(d, p + 16))
    out.l3_bytes = np.uint32(total)
    c.l4 = p + header
    c.l4_len = total - header
    return 0


@piece
def _ipv6(d, c, out):
    p = c.pos
    if p + _IPV6 > c.end:
        return TRUNCATED
    c.proto = d[p + 6]
    c.l4_len = u16(d, p + 4)
    c.unstated = 1 if c.l4_len == 0 else 0
    if c.l4_len == 0 and c.proto != IPPROTO_NONE:
        c.l4_len = _unstated_length(d, c)
    out.frag = np.uint8(FRAG_NONE)
    out.frag_id = np.uint32(0)
    out.src_hi = u64(d, p + 8)
    out.src_lo = u64(d, p + 16)
    out.dst_hi = u64(d, p + 24)
    out.dst_lo = u64(d, p + 32)
    out.l3_bytes = np.uint32(c.l4_len + _IPV6)
    c.l4 = p + _IPV6
    return 0


@piece
def _unstated_length(d, c):
    """Payload of an IPv6 packet whose header says 0: more than the field can say, or left to the card by segmentation offload."""
    p = c.pos
    rest = c.wire_end - p - _IPV6
    if c.proto == IPPROTO_HOPOPTS and p + 48 <= c.end and u16(d, p + 42) == _JUMBO and 0xFFFF < u32(d, p + 44) <= MAX_WIRE:
        rest = u32(d, p + 44)
    return rest if rest >= _LEAST_REST else 0


@piece
def _is_extension(version, proto):
    """Whether a header between IP and transport comes next: AH in both versions, the others in IPv6."""
    if proto == IPPROTO_AH:
        return True
    if version != 6:
        return False
    return (
        proto == IPPROTO_HOPOPTS
        or proto == IPPROTO_ROUTING
        or proto == IPPROTO_DSTOPTS
        or proto == IPPROTO_FRAGMENT
        or proto == IPPROTO_MOBILITY
        or proto == IPPROTO_HIP
        or proto == IPPROTO_SHIM6
    )


@piece
def extension_headers(d, c, out):
    """Pass over the headers between IP and transport. A later fragment has none of them."""
    while out.frag != FRAG_LATER and _is_extension(c.version, c.proto):
        if c.l4_len < _EXTENSION:
            return MALFORMED_IP
        if c.l4 + _EXTENSION > c.end:
            return TRUNCATED
        if c.proto == IPPROTO_FRAGMENT:
            size = np.int64(_EXTENSION)
            _fragment(d, c, out)
        elif c.proto == IPPROTO_AH:
            size = (np.int64(d[c.l4 + 1]) + 2) * 4
        else:
            size = (np.int64(d[c.l4 + 1]) + 1) * 8
        if size > c.l4_len:
            return MALFORMED_IP
        c.proto = d[c.l4]
        c.l4 += size
        c.l4_len -= size
    return 0


@piece
def _fragment(d, c, out):
    """IPv6's fragment header; one that is neither first nor later is no fragment (RFC 6946)."""
    fragment = u16(d, c.l4 + 2)
    if (fragment & _OFFSET6) != 0:
        out.frag = np.uint8(FRAG_LATER)
        out.frag_id = np.uint32(u32(d, c.l4 + 4))
    elif (fragment & _MORE6) != 0:
        out.frag = np.uint8(FRAG_FIRST)
        out.frag_id = np.uint32(u32(d, c.l4 + 4))
