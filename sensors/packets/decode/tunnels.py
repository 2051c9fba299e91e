"""Tunnels directly over IP: IP in IP (RFC 2003, 2473, 4213) and GRE (RFC 2784, 2890, 1701) with PPTP (RFC 2637) and ERSPAN.

Functions here note a tunnel at the cursor and leave it to the caller to go in. What hides a tunnel's header is the snap length: the
packet around it is no stand-in for the one inside, and such a frame is truncated.
"""

from __future__ import annotations

import numpy as np

from infra.kernels import piece
from sensors.packets.decode.cursor import ETHERNET, ETHERTYPE, IP, PPP, carries
from sensors.packets.decode.octets import u16
from sensors.packets.decode.packet import (
    ERSPAN,
    GRE,
    IPV4_IN_IPV4,
    IPV4_IN_IPV6,
    IPV6_IN_IPV4,
    IPV6_IN_IPV6,
    PPTP,
    TRUNCATED,
)
from sensors.packets.protocols import ETHERTYPE_ERSPAN_II, ETHERTYPE_ERSPAN_III, ETHERTYPE_PPP, IPPROTO_IPIP

#: Bytes of GRE's header without options.
_GRE = 4
#: Its first two bytes: which options there are, and the version: 0, or 1 of PPTP.
_CHECKSUM, _ROUTING, _KEY, _SEQUENCE, _ACKNOWLEDGED, _GRE_VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080, 0x0007
#: Bytes of ERSPAN's headers: type I has none of its own, II 8, III 12 and perhaps 8 more, of which the last bit tells.
_ERSPAN_II, _ERSPAN_III, _ERSPAN_MORE, _ERSPAN_OPTIONAL = 8, 12, 8, 0x01


@piece
def ip_in_ip(d, c):
    """IPv4 or IPv6 directly behind the IP header."""
    if c.l4_len == 0:
        return 0
    if c.l4 >= c.end:
        return TRUNCATED
    four = c.proto == IPPROTO_IPIP
    if d[c.l4] >> 4 == (4 if four else 6):
        if four:
            kind = IPV4_IN_IPV4 if c.version == 4 else IPV4_IN_IPV6
        else:
            kind = IPV6_IN_IPV4 if c.version == 4 else IPV6_IN_IPV6
        carries(c, IP, c.l4, kind)
    return 0


@piece
def gre(d, c):
    """GRE of version 0, or of version 1 with PPP in it."""
    if c.l4_len < _GRE:
        return 0
    if c.l4 + _GRE > c.end:
        return TRUNCATED
    bits = u16(d, c.l4)
    protocol = u16(d, c.l4 + 2)
    version = bits & _GRE_VERSION
    if version == 0:
        _gre_content(d, c, bits, protocol, _behind_options(d, c, bits))
    elif version == 1 and protocol == ETHERTYPE_PPP:
        q = c.l4 + _GRE + 4  # key: payload length and call id
        if bits & _SEQUENCE:
            q += 4
        if bits & _ACKNOWLEDGED:
            q += 4
        if c.l4_len > q - c.l4:
            carries(c, PPP, q, PPTP)
    return 0


@piece
def _behind_options(d, c, bits):
    """Position behind a GRE header of version 0."""
    q = c.l4 + _GRE
    if bits & (_CHECKSUM | _ROUTING):
        q += 4
    if bits & _KEY:
        q += 4
    if bits & _SEQUENCE:
        q += 4
    if bits & _ROUTING:  # source routes, RFC 1701: until one of length 0
        while q + 4 <= c.end and d[q + 3] != 0:
            q += 4 + np.int64(d[q + 3])
        q += 4
    return q


@piece
def _gre_content(d, c, bits, protocol, q):
    """What a GRE header of version 0 carries at ``q``."""
    if protocol == ETHERTYPE_ERSPAN_III:
        more = q + _ERSPAN_III <= c.end and d[q + _ERSPAN_III - 1] & _ERSPAN_OPTIONAL
        carries(c, ETHERNET, q + _ERSPAN_III + (_ERSPAN_MORE if more else 0), ERSPAN)
    elif protocol == ETHERTYPE_ERSPAN_II:
        carries(c, ETHERNET, q + (_ERSPAN_II if bits & _SEQUENCE else 0), ERSPAN)
    elif protocol == ETHERTYPE_PPP:
        carries(c, PPP, q, GRE)
    else:  # no IP in it: the layer says so, and the GRE packet is metered
        carries(c, ETHERTYPE, q, GRE)
        c.inner_ethertype = protocol
