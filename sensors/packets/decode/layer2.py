"""Headers between the first one of a frame and its IP header: Ethernet, tags, LLC, 802.11, PPP, MPLS.

Layouts: IEEE 802.3, 802.1Q/802.1ad, 802.2, 802.11; RFC 1042 (SNAP), 1661/1662 (PPP), 3032 (MPLS), 4385 (pseudowires).
"""

from __future__ import annotations

import numpy as np

from infra.kernels import piece
from sensors.packets.decode.cursor import ETHERNET, ETHERTYPE, IP, LLC, MPLS_LABELS, PPP, add_kind
from sensors.packets.decode.octets import u16
from sensors.packets.decode.packet import MPLS, NOT_IP, TRUNCATED
from sensors.packets.decode.wifi import wifi
from sensors.packets.protocols import (
    ETHERNET_MAX_LENGTH,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_MPLS,
    ETHERTYPE_MPLS_MULTICAST,
    ETHERTYPE_PPPOE_SESSION,
    ETHERTYPE_QINQ,
    ETHERTYPE_TEB,
    ETHERTYPE_VLAN,
    ETHERTYPE_VLAN_8200,
    ETHERTYPE_VLAN_9100,
    ETHERTYPE_VLAN_9200,
    ETHERTYPE_VN_TAG,
    PPP_IPV4,
    PPP_IPV6,
    PPP_MPLS,
    PPP_MPLS_MULTICAST,
)

#: Bytes of headers.
_ETHERNET, _SNAP, _PPPOE, _LABEL, _CONTROL_WORD = 14, 8, 6, 4, 4
#: Tag control information, and what a VN-Tag has in its place.
_TCI, _VN_TAG = 2, 4
_VLAN_ID = 0x0FFF
#: LLC: service access points of SNAP and of IP, and the control octet of unnumbered information.
_SAP_SNAP, _SAP_IP, _UI = 0xAA, 0x06, 0x03
#: SNAP: organisation codes whose protocol number is an EtherType are 00:00:00 and, IEEE 802.1H, 00:00:f8.
_BRIDGE_TUNNEL = 0xF8


@piece
def to_ip(d, c, out):
    """Read headers until an IP header is due."""
    fail = 0
    while fail == 0 and c.layer != IP:
        if c.layer == ETHERNET:
            fail = _ethernet(d, c)
        elif c.layer == ETHERTYPE:
            fail = _by_ethertype(d, c, out)
        elif c.layer == LLC:
            fail = _llc(d, c)
        elif c.layer == PPP:
            fail = _ppp(d, c)
        elif c.layer == MPLS_LABELS:
            fail = _mpls(d, c)
        else:  # WIFI
            fail = wifi(d, c)
    return fail


@piece
def _ethernet(d, c):
    if c.pos + _ETHERNET > c.end:
        return TRUNCATED
    c.ethertype = u16(d, c.pos + 12)
    c.pos += _ETHERNET
    c.layer = LLC if c.ethertype <= ETHERNET_MAX_LENGTH else ETHERTYPE
    return 0


@piece
def _by_ethertype(d, c, out):
    """Whatever the EtherType names: the next layer, or a tag."""
    kind = c.ethertype
    if kind == ETHERTYPE_IPV4 or kind == ETHERTYPE_IPV6:
        c.layer = IP
    elif kind == ETHERTYPE_VN_TAG or _is_vlan(kind):
        return _tag(d, c, out)
    elif kind == ETHERTYPE_MPLS or kind == ETHERTYPE_MPLS_MULTICAST:
        c.layer = MPLS_LABELS
    elif kind == ETHERTYPE_PPPOE_SESSION:
        c.pos += _PPPOE
        c.layer = PPP
    elif kind == ETHERTYPE_TEB:
        c.layer = ETHERNET
    else:
        return NOT_IP
    return 0


@piece
def _is_vlan(kind):
    """Whether an EtherType is the tag protocol identifier of a VLAN tag."""
    return (
        kind == ETHERTYPE_VLAN
        or kind == ETHERTYPE_QINQ
        or kind == ETHERTYPE_VLAN_9100
        or kind == ETHERTYPE_VLAN_9200
        or kind == ETHERTYPE_VLAN_8200
    )


@piece
def _tag(d, c, out):
    """A VLAN tag or a VN-Tag, which names ports of a switch and no VLAN. The frame's own first three VLANs are noted."""
    virtual = c.ethertype == ETHERTYPE_VN_TAG
    tag = _VN_TAG if virtual else _TCI
    if c.pos + tag + 2 > c.end:
        return TRUNCATED
    if c.metered == 0 and not virtual:
        vlan = np.uint16((u16(d, c.pos) & _VLAN_ID) + 1)
        if out.vlan1 == 0:
            out.vlan1 = vlan
        elif out.vlan2 == 0:
            out.vlan2 = vlan
        elif out.vlan3 == 0:
            out.vlan3 = vlan
    c.ethertype = u16(d, c.pos + tag)
    c.pos += tag + 2
    if c.ethertype <= ETHERNET_MAX_LENGTH:
        c.layer = LLC
    return 0


@piece
def _llc(d, c):
    """IEEE 802.2: IP behind SNAP, or behind its own service access point."""
    p = c.pos
    if p + 3 > c.end:
        return TRUNCATED
    if d[p] == _SAP_IP and d[p + 1] == _SAP_IP and d[p + 2] == _UI:
        c.pos += 3
        c.layer = IP
        return 0
    if d[p] != _SAP_SNAP or d[p + 1] != _SAP_SNAP or d[p + 2] != _UI:
        return NOT_IP
    if p + _SNAP > c.end:
        return TRUNCATED
    if d[p + 3] != 0 or d[p + 4] != 0 or (d[p + 5] != 0 and d[p + 5] != _BRIDGE_TUNNEL):
        return NOT_IP  # the number is of another organisation's making
    c.ethertype = u16(d, p + 6)
    c.pos += _SNAP
    c.layer = ETHERTYPE
    return 0


@piece
def _ppp(d, c):
    """PPP, its address and control octets and the first octet of its protocol number present or compressed (RFC 1661, 6.5 and 6.6)."""
    if c.pos + 2 <= c.end and d[c.pos] == 0xFF and d[c.pos + 1] == 0x03:
        c.pos += 2
    if c.pos + 2 > c.end:
        return TRUNCATED
    if d[c.pos] & 1:
        protocol = np.int64(d[c.pos])
        c.pos += 1
    else:
        protocol = u16(d, c.pos)
        c.pos += 2
    if protocol == PPP_IPV4 or protocol == PPP_IPV6:
        c.layer = IP
    elif protocol == PPP_MPLS or protocol == PPP_MPLS_MULTICAST:
        c.layer = MPLS_LABELS
    else:
        return NOT_IP
    return 0


@piece
def _mpls(d, c):
    """A stack of MPLS labels. What is inside it does not say: the first four bits do (RFC 4928, 3)."""
    bottom = False
    while c.pos + _LABEL <= c.end and not bottom:
        bottom = (d[c.pos + 2] & 1) == 1
        c.pos += _LABEL
    if not bottom or c.pos >= c.end:
        return TRUNCATED
    add_kind(c, MPLS)
    nibble = d[c.pos] >> 4
    if nibble == 4 or nibble == 6:
        c.layer = IP
        return 0
    if nibble == 0:
        c.pos += _CONTROL_WORD  # of a pseudowire, RFC 4385
    c.layer = ETHERNET
    return 0
