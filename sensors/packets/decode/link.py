"""The first header of a frame, by the link type of the capture (tcpdump.org LINKTYPE registry)."""

from __future__ import annotations

from infra.kernels import piece
from sensors.packets.decode.cursor import ETHERNET, ETHERTYPE, IP, LLC, PPP, WIFI
from sensors.packets.decode.octets import u16, u16_little, u32, u32_little
from sensors.packets.decode.packet import NOT_IP, TRUNCATED, UNKNOWN_LINK
from sensors.packets.protocols import (
    AF_INET,
    AF_INET6_DARWIN,
    AF_INET6_FREEBSD,
    AF_INET6_LINUX,
    AF_INET6_OPENBSD,
    ETHERTYPE_LLC,
    LINKTYPE_C_HDLC,
    LINKTYPE_DLT_RAW_BSD,
    LINKTYPE_DLT_RAW_OPENBSD,
    LINKTYPE_ENC,
    LINKTYPE_ETHERNET,
    LINKTYPE_IEEE802_11,
    LINKTYPE_IEEE802_11_AVS,
    LINKTYPE_IEEE802_11_PRISM,
    LINKTYPE_IEEE802_11_RADIOTAP,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
    LINKTYPE_LINUX_SLL,
    LINKTYPE_LINUX_SLL2,
    LINKTYPE_LOOP,
    LINKTYPE_NULL,
    LINKTYPE_PPI,
    LINKTYPE_PPP,
    LINKTYPE_PPP_ETHER,
    LINKTYPE_PPP_HDLC,
    LINKTYPE_RAW,
)

#: Bytes of headers of fixed length.
_LOOPBACK, _HDLC, _PPPOE, _ENC, _SLL, _SLL2, _PRISM = 4, 4, 6, 12, 16, 20, 144
#: Bytes from which the length of a radiotap, PPI or AVS header is known, and its least value.
_WIFI_META = 8
#: The content of a PPI header: a link type again.
_PPI_ETHERNET, _PPI_WIFI = LINKTYPE_ETHERNET, LINKTYPE_IEEE802_11
#: Cisco HDLC: the address is unicast or broadcast, the control octet 0.
_CISCO_UNICAST, _CISCO_BROADCAST = 0x0F, 0x8F


@piece
def begin(d, c):
    """Read the first header of a frame: sets the cursor's layer, position and EtherType."""
    link = c.link
    if link == LINKTYPE_ETHERNET:
        c.layer = ETHERNET
        return 0
    if link == LINKTYPE_RAW or link == LINKTYPE_IPV4 or link == LINKTYPE_IPV6:
        c.layer = IP
        return 0
    if link == LINKTYPE_DLT_RAW_BSD or link == LINKTYPE_DLT_RAW_OPENBSD:
        c.layer = IP
        return 0
    if link == LINKTYPE_NULL or link == LINKTYPE_LOOP:
        return _loopback(d, c)
    if link == LINKTYPE_LINUX_SLL:
        return _cooked(d, c, _SLL, 14)
    if link == LINKTYPE_LINUX_SLL2:
        return _cooked(d, c, _SLL2, 0)
    if link == LINKTYPE_PPP or link == LINKTYPE_PPP_HDLC or link == LINKTYPE_C_HDLC:
        return _hdlc(d, c)
    if link == LINKTYPE_PPP_ETHER:
        return _skip(c, _PPPOE, PPP)
    if link == LINKTYPE_ENC:
        return _skip(c, _ENC, IP)
    return _begin_wifi(d, c)


@piece
def _begin_wifi(d, c):
    """802.11, bare or behind what its driver has to say."""
    link = c.link
    if link == LINKTYPE_IEEE802_11:
        c.layer = WIFI
        return 0
    if link == LINKTYPE_IEEE802_11_PRISM:
        return _skip(c, _PRISM, WIFI)
    if link != LINKTYPE_IEEE802_11_RADIOTAP and link != LINKTYPE_PPI and link != LINKTYPE_IEEE802_11_AVS:
        return UNKNOWN_LINK
    if c.pos + _WIFI_META > c.end:
        return TRUNCATED
    header = u32(d, c.pos + 4) if link == LINKTYPE_IEEE802_11_AVS else u16_little(d, c.pos + 2)
    if header < _WIFI_META:
        return TRUNCATED
    layer = WIFI
    content = u32_little(d, c.pos + 4)
    if link == LINKTYPE_PPI and content != _PPI_WIFI:
        if c.pos + header <= c.end and content != _PPI_ETHERNET:
            return NOT_IP
        layer = ETHERNET
    return _skip(c, header, layer)


@piece
def _skip(c, size, layer):
    """Pass over a header of ``size`` bytes that says nothing the meter needs."""
    if c.pos + size > c.end:
        return TRUNCATED
    c.pos += size
    c.layer = layer
    return 0


@piece
def _loopback(d, c):
    """BSD loopback: an address family."""
    if c.pos + _LOOPBACK > c.end:
        return TRUNCATED
    # in the byte order of the capturing host (NULL) or of the network (LOOP); small, so try both ends
    family = u32(d, c.pos)
    if family > 0xFFFF:
        family = u32_little(d, c.pos)
    if (
        family != AF_INET
        and family != AF_INET6_LINUX
        and family != AF_INET6_OPENBSD
        and family != AF_INET6_FREEBSD
        and family != AF_INET6_DARWIN
    ):
        return NOT_IP
    return _skip(c, _LOOPBACK, IP)


@piece
def _cooked(d, c, size, at):
    """Linux cooked capture: a header of ``size`` bytes with the EtherType ``at`` bytes from its beginning."""
    if c.pos + size > c.end:
        return TRUNCATED
    c.ethertype = u16(d, c.pos + at)
    return _skip(c, size, LLC if c.ethertype == ETHERTYPE_LLC else ETHERTYPE)


@piece
def _hdlc(d, c):
    """Cisco HDLC, or PPP: the former is often captured as the latter; its address octet tells them apart."""
    if c.pos + _HDLC > c.end:
        return TRUNCATED
    address = d[c.pos]
    if c.link == LINKTYPE_C_HDLC or ((address == _CISCO_UNICAST or address == _CISCO_BROADCAST) and d[c.pos + 1] == 0):
        c.ethertype = u16(d, c.pos + 2)
        return _skip(c, _HDLC, ETHERTYPE)
    c.layer = PPP
    return 0
