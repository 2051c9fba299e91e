"""Flow records of an sFlow sample: what is said of one packet ("sFlow Version 5", section 5.3, ``flow_data``).

Each reader fills in a sample from one record, ``data[at:end]``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from jobs.flowexport.datagrams import MAPPED, NO_ADDRESS
from jobs.flowexport.extras import key
from jobs.flowexport.faults import FaultReason, MessageFault
from jobs.flowexport.samples import PacketSample
from sensors.packets.protocols import (
    LINKTYPE_ETHERNET,
    LINKTYPE_IEEE802_11,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
    LINKTYPE_PPP,
)

_RAW = struct.Struct(">IIII")
_ETHERNET = struct.Struct(">I8s8sI")
_IPV4, _IPV6 = struct.Struct(">II4s4sIIII"), struct.Struct(">II16s16sIIII")
_SWITCH, _AS, _PAIR = struct.Struct(">IIII"), struct.Struct(">IIII"), struct.Struct(">II")
_ETHERNET_HEADER = 14
_FORMAT_BITS = 12
_FORMATS = (1 << _FORMAT_BITS) - 1

#: ``header_protocol`` of a raw header: what it begins with.
_LINKS = {1: LINKTYPE_ETHERNET, 7: LINKTYPE_PPP, 11: LINKTYPE_IPV4, 12: LINKTYPE_IPV6, 15: LINKTYPE_IEEE802_11}
_MPLS = 13
#: In front of labels: an Ethernet header without addresses, so that they are read as behind one.
_LABELS_AHEAD = bytes(12) + b"\x88\x47"
_ADDRESS_V4, _ADDRESS_V6 = 1, 2
_AS_SEQUENCE = 2
_MOST = 0xFFFF


def address(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """An address with its type in front: 16 bytes, zeros where it is none or unspecified, and where it ends.

    Raises
    ------
    MessageFault
        It goes beyond ``end``.
    """
    kind = int.from_bytes(data[at : at + 4], "big")
    size = {_ADDRESS_V4: 4, _ADDRESS_V6: 16}.get(kind, 0)
    if at + 4 + size > end:
        raise MessageFault(FaultReason.BAD_SAMPLE, at)
    value = data[at + 4 : at + 4 + size]
    return address16_of(value), at + 4 + size


def address16_of(value: bytes) -> bytes:
    """The 4 or 16 bytes of an address as 16; zeros of one that is unspecified."""
    if not any(value):
        return NO_ADDRESS
    return value if len(value) == len(NO_ADDRESS) else MAPPED + value


def read(sample: PacketSample, kind: int, data: bytes, at: int, end: int) -> None:
    """Fill in a sample from a record of a kind (format, and above its 12 bits the enterprise); others go to its extras.

    Raises
    ------
    MessageFault
        It is shorter than its kind.
    """
    reader = _READERS.get(kind)
    if reader is None:
        sample.extras.append((key(kind >> _FORMAT_BITS, kind & _FORMATS, sflow=True), data[at:end]))
        return
    reader(sample, data, at, end)


def _need(at: int, size: int, end: int) -> None:
    if at + size > end:
        raise MessageFault(FaultReason.BAD_SAMPLE, at)


def _raw(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    _need(at, _RAW.size, end)
    protocol, length, stripped, size = _RAW.unpack_from(data, at)
    first = at + _RAW.size
    _need(first, size, end)
    frame = data[first : first + size]
    sample.frame_length = max(length - stripped, 0)
    if protocol == _MPLS:
        sample.link, sample.frame = LINKTYPE_ETHERNET, _LABELS_AHEAD + frame
        sample.frame_length += len(_LABELS_AHEAD)
    elif protocol in _LINKS:
        sample.link, sample.frame = _LINKS[protocol], frame
    else:
        sample.said.setdefault("bytes", sample.frame_length)


def _ethernet(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    _need(at, _ETHERNET.size, end)
    length, source, target, _ = _ETHERNET.unpack_from(data, at)
    sample.said |= {"src_mac": int.from_bytes(source[:6], "big"), "dst_mac": int.from_bytes(target[:6], "big")}
    sample.said.setdefault("bytes", max(length - _ETHERNET_HEADER, 0))


def _ipv4(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    _need(at, _IPV4.size, end)
    length, proto, source, target, *rest = _IPV4.unpack_from(data, at)
    _ip(sample, (4, length, proto), (MAPPED + source, MAPPED + target), rest)


def _ipv6(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    _need(at, _IPV6.size, end)
    length, proto, source, target, *rest = _IPV6.unpack_from(data, at)
    _ip(sample, (6, length, proto), (source, target), rest)


def _ip(sample: PacketSample, head: tuple[int, int, int], between: tuple[bytes, bytes], rest: list[int]) -> None:
    version, length, proto = head
    sport, dport, flags, tos = rest
    sample.said |= {"ip_version": version, "bytes": length, "proto": proto & 0xFF, "src": between[0], "dst": between[1]}
    sample.said |= {"sport": sport & _MOST, "dport": dport & _MOST, "tcp_flags": flags & _MOST, "tos": tos & 0xFF}


def _switch(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    _need(at, _SWITCH.size, end)
    vlan, _, post, _ = _SWITCH.unpack_from(data, at)
    sample.said |= {"vlan": vlan & _MOST, "post_vlan": post & _MOST}


def _router(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    next_hop, at = address(data, at, end)
    _need(at, _PAIR.size, end)
    source, target = _PAIR.unpack_from(data, at)
    sample.said |= {"next_hop": next_hop, "src_mask": min(source, 255), "dst_mask": min(target, 255)}


def _gateway(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    """The way of the route; its last system is that of the destination."""
    next_hop, at = address(data, at, end)
    _need(at, _AS.size, end)
    target, source, _, segments = _AS.unpack_from(data, at)
    at += _AS.size
    while segments:
        _need(at, _PAIR.size, end)
        kind, count = _PAIR.unpack_from(data, at)
        at += _PAIR.size
        _need(at, 4 * count, end)
        if kind == _AS_SEQUENCE and count:
            target = int.from_bytes(data[at + 4 * (count - 1) : at + 4 * count], "big")
        at += 4 * count
        segments -= 1
    sample.said |= {"bgp_next_hop": next_hop, "src_as": source, "dst_as": target}


def _nat(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    source, at = address(data, at, end)
    sample.said |= {"nat_src": source, "nat_dst": address(data, at, end)[0]}


def _nat_ports(sample: PacketSample, data: bytes, at: int, end: int) -> None:
    _need(at, _PAIR.size, end)
    source, target = _PAIR.unpack_from(data, at)
    sample.said |= {"nat_sport": source & _MOST, "nat_dport": target & _MOST}


_READERS: dict[int, Callable[[PacketSample, bytes, int, int], None]] = {
    1: _raw,
    2: _ethernet,
    3: _ipv4,
    4: _ipv6,
    1001: _switch,
    1002: _router,
    1003: _gateway,
    1007: _nat,
    1020: _nat_ports,
}
