"""Tunnels over UDP, told by their port: VXLAN, Geneve, GTP-U, Teredo, CAPWAP.

As in :mod:`sensors.packets.decode.tunnels`, a header that the snap length hides makes the frame a truncated one.
"""

from __future__ import annotations

import numpy as np

from infra.kernels import piece
from sensors.packets.decode.cursor import ETHERNET, ETHERTYPE, IP, WIFI, carries
from sensors.packets.decode.octets import u16
from sensors.packets.decode.packet import CAPWAP, GENEVE, GTPU, TEREDO, TRUNCATED, VXLAN
from sensors.packets.protocols import PORT_CAPWAP_DATA, PORT_GENEVE, PORT_GTPU, PORT_TEREDO, PORT_VXLAN, PORT_VXLAN_LINUX

#: Bytes of headers: of UDP; of VXLAN; of Geneve, GTP-U and CAPWAP without options; of IPv6.
_UDP, _VXLAN, _GENEVE, _GTPU, _CAPWAP, _IPV6 = 8, 8, 8, 8, 8, 40
_VXLAN_VNI = 0x08  # flag I: there is a network identifier
_GENEVE_OPTIONS = 0x3F  # their length in words
#: GTP-U: version 1 and protocol type 1 in the first four bits, G-PDU, flags of the optional fields, the one of an extension header.
_GTP1, _G_PDU, _GTP_OPTIONAL, _GTP_EXTENSION = 0x3, 0xFF, 0x07, 0x04
#: Teredo: bytes of an authentication header without its values, and of an origin indication (RFC 4380, 5.1.1).
_AUTHENTICATION, _ORIGIN = 13, 8
#: CAPWAP (RFC 5415, 4.3): fragment and keep-alive; native frame; the binding of 802.11.
_FRAGMENT_OR_KEEP_ALIVE, _NATIVE, _BINDING_WIFI = 0x88, 0x01, 1


@piece
def udp_tunnel(d, c, sport, dport):
    """Note a tunnel, if the datagram is one."""
    if dport == PORT_VXLAN or dport == PORT_VXLAN_LINUX:
        return _vxlan(d, c)
    if dport == PORT_GENEVE:
        return _geneve(d, c)
    if dport == PORT_GTPU or sport == PORT_GTPU:
        return _gtpu(d, c)
    if dport == PORT_TEREDO or sport == PORT_TEREDO:
        return _teredo(d, c)
    if dport == PORT_CAPWAP_DATA or sport == PORT_CAPWAP_DATA:
        return _capwap(d, c)
    return 0


@piece
def _vxlan(d, c):
    p = c.l4 + _UDP
    if p >= c.end:
        return TRUNCATED
    if (d[p] & _VXLAN_VNI) != 0:
        carries(c, ETHERNET, p + _VXLAN, VXLAN)
    return 0


@piece
def _geneve(d, c):
    p = c.l4 + _UDP
    if p + 4 > c.end:
        return TRUNCATED
    if (d[p] >> 6) == 0:  # version
        carries(c, ETHERTYPE, p + _GENEVE + np.int64(d[p] & _GENEVE_OPTIONS) * 4, GENEVE)
        c.inner_ethertype = u16(d, p + 2)
    return 0


@piece
def _gtpu(d, c):
    p = c.l4 + _UDP
    if p + 2 > c.end:
        return TRUNCATED
    if (d[p] >> 4) != _GTP1 or d[p + 1] != _G_PDU:
        return 0
    q = p + _GTPU
    if d[p] & _GTP_OPTIONAL:
        q = _behind_extensions(d, q, c.end, (d[p] & _GTP_EXTENSION) != 0)
    if q >= c.end:
        return TRUNCATED if c.limit > c.end else 0
    if q >= 0 and (d[q] >> 4 == 4 or d[q] >> 4 == 6):
        carries(c, IP, q, GTPU)
    return 0


@piece
def _behind_extensions(d, q, end, extended):
    """Position behind GTP-U's optional fields at ``q`` and its extension headers; at least ``end``: not captured, -1: damaged."""
    extension = 0
    if extended:
        if q + 4 > end:
            return end + 4
        extension = np.int64(d[q + 3])
    q += 4
    while extension != 0 and q < end:
        size = np.int64(d[q]) * 4
        if size == 0:
            return np.int64(-1)
        if q + size <= end:
            extension = np.int64(d[q + size - 1])
        q += size
    return q


@piece
def _teredo(d, c):
    """IPv6 behind an authentication header and an origin indication, which may be there or not."""
    q = c.l4 + _UDP
    if q + _IPV6 <= c.limit:  # else there is no room for an IPv6 header
        if q + 4 > c.end:
            return TRUNCATED
        if d[q] == 0 and d[q + 1] == 1:
            q += _AUTHENTICATION + np.int64(d[q + 2]) + np.int64(d[q + 3])
    if q + _IPV6 <= c.limit:
        if q + 2 > c.end:
            return TRUNCATED
        if d[q] == 0 and d[q + 1] == 0:
            q += _ORIGIN
    if q + _IPV6 > c.limit:
        return 0
    if q >= c.end:
        return TRUNCATED
    if d[q] >> 4 == 6:
        if q + 6 > c.end:
            return TRUNCATED
        if q + _IPV6 + u16(d, q + 4) <= c.limit:
            carries(c, IP, q, TEREDO)
    return 0


@piece
def _capwap(d, c):
    p = c.l4 + _UDP
    if p >= c.end:
        return TRUNCATED
    if d[p] != 0:  # DTLS, or another version
        return 0
    if p + 4 > c.end:
        return TRUNCATED
    size = np.int64(d[p + 1] >> 3) * 4
    # there must be room for something behind the header
    if (d[p + 3] & _FRAGMENT_OR_KEEP_ALIVE) != 0 or size < _CAPWAP or p + size >= c.limit:
        return 0
    if (d[p + 2] & _NATIVE) == 0:
        carries(c, ETHERNET, p + size, CAPWAP)
    elif (d[p + 2] >> 1) & 31 == _BINDING_WIFI:
        carries(c, WIFI, p + size, CAPWAP)
    return 0
