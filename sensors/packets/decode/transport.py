"""Transport headers: TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792, 4443).

The packet has a sound IP header, so it is the innermost one, and its faults are no reason to meter another.
"""

from __future__ import annotations

import numpy as np

from infra.kernels import piece
from sensors.packets.decode.cursor import NONE
from sensors.packets.decode.octets import u16, u32
from sensors.packets.decode.packet import FRAG_FIRST, FRAG_LATER, FRAG_NONE, MALFORMED_L4, TRUNCATED
from sensors.packets.decode.tunnels import gre, ip_in_ip
from sensors.packets.decode.udp_tunnels import udp_tunnel
from sensors.packets.protocols import (
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IPIP,
    IPPROTO_IPV6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
)

#: Bytes of the headers; of ICMP: type, code and checksum, and what of it is read.
_TCP, _UDP, _SCTP, _ICMP, _ICMP_READ = 20, 8, 12, 4, 2
#: Source and destination port.
_PORTS = 4
#: No tunnel's header is shorter.
_LEAST_TUNNEL = 8


@piece
def transport(d, c, out):
    """Read the transport header, and into a tunnel's header where the packet is one."""
    _portless(c, out)
    if out.frag == FRAG_LATER:
        return 0
    if c.proto == IPPROTO_TCP:
        return _tcp(d, c, out)
    if c.proto == IPPROTO_UDP:
        return _udp(d, c, out)
    if c.proto == IPPROTO_SCTP:
        return _sctp(d, c, out)
    if (c.proto == IPPROTO_ICMP and c.version == 4) or (c.proto == IPPROTO_ICMPV6 and c.version == 6):
        return _icmp(d, c, out)
    if out.frag == FRAG_NONE:
        if c.proto == IPPROTO_IPIP or c.proto == IPPROTO_IPV6:
            return ip_in_ip(d, c)
        if c.proto == IPPROTO_GRE:
            return gre(d, c)
    return 0


@piece
def _portless(c, out):
    """What holds of a packet without a transport header."""
    out.proto = np.uint8(c.proto)
    out.tunnel = np.uint32(c.tunnel)
    out.sport = 0
    out.dport = 0
    out.l4_header = 0
    out.payload = np.uint32(c.l4_len)
    out.flags = 0
    out.window = 0
    out.seq = 0
    out.ack = 0
    out.icmp_type = -1
    out.icmp_code = -1
    out.malformed = 0
    c.limit = c.l4 + c.l4_len
    c.inner_layer = NONE
    c.inner_ethertype = 0


@piece
def _ports(d, c, out):
    out.sport = np.uint16(u16(d, c.l4))
    out.dport = np.uint16(u16(d, c.l4 + 2))


@piece
def _tcp(d, c, out):
    p = c.l4
    if c.l4_len < _TCP:
        return MALFORMED_L4
    if p + _TCP > c.end:
        return TRUNCATED
    header = np.int64(d[p + 12] >> 4) * 4
    if header < _TCP or header > c.l4_len:
        return MALFORMED_L4
    _ports(d, c, out)
    out.seq = np.uint32(u32(d, p + 4))
    out.ack = np.uint32(u32(d, p + 8))
    out.flags = d[p + 13]
    out.window = np.uint16(u16(d, p + 14))
    out.l4_header = np.uint8(header)
    out.payload = np.uint32(c.l4_len - header)
    return 0


@piece
def _udp(d, c, out):
    if c.l4_len < _UDP:
        return MALFORMED_L4
    if c.l4 + _UDP > c.end:
        return TRUNCATED
    _ports(d, c, out)
    size = u16(d, c.l4 + 4)
    payload = c.l4_len - _UDP
    # what leaves the IP length to the card leaves this one to it, too
    if out.frag != FRAG_FIRST and not (size == 0 and c.unstated != 0):
        if size < _UDP or size > c.l4_len:
            out.malformed = 1
        else:
            payload = size - _UDP
    out.l4_header = _UDP
    out.payload = np.uint32(payload)
    c.limit = c.l4 + _UDP + payload
    if out.frag == FRAG_NONE and payload >= _LEAST_TUNNEL:
        return udp_tunnel(d, c, np.int64(out.sport), np.int64(out.dport))
    return 0


@piece
def _sctp(d, c, out):
    if c.l4_len < _SCTP:
        return MALFORMED_L4
    if c.l4 + _PORTS > c.end:
        return TRUNCATED
    _ports(d, c, out)
    out.l4_header = _SCTP
    out.payload = np.uint32(c.l4_len - _SCTP)
    return 0


@piece
def _icmp(d, c, out):
    if c.l4_len < _ICMP:
        out.malformed = 1
    if c.l4_len >= _ICMP_READ:
        if c.l4 + _ICMP_READ > c.end:
            return TRUNCATED
        out.icmp_type = np.int16(d[c.l4])
        out.icmp_code = np.int16(d[c.l4 + 1])
    return 0
