"""Datagrams of sFlow like most: flow samples alone, with a raw header, VLANs and a next router; read by a compiled kernel.

It reads a whole datagram or none of it: whatever else is in one, damage too, is for :mod:`jobs.flowexport.sflow`, sample by sample.
"""

from __future__ import annotations

import numpy as np

from infra.kernels import kernel, piece
from sensors.packets.decode.octets import u32

#: A flow sample. Positions are those of the data; -1: there is none.
PLAIN_DTYPE = np.dtype(
    [
        ("position", "i8"),  # in its datagram
        ("frame_at", "i8"),
        ("frame_size", "i8"),
        ("frame_length", "i8"),  # on the wire
        ("next_hop_at", "i8"),
        ("rate", "f8"),  # filled in later, with its source
        ("number", "u4"),
        ("source", "u4"),
        ("told", "u4"),
        ("pool", "u4"),
        ("drops", "u4"),
        ("input", "u4"),
        ("output", "u4"),
        ("source_type", "u4"),
        ("marks", "u4"),
        ("part", "i4"),
        ("protocol", "u4"),  # of the frame
        ("next_hop_size", "u4"),
        ("drop_reason", "u2"),
        ("vlan", "u2"),
        ("post_vlan", "u2"),
        ("src_mask", "u1"),
        ("dst_mask", "u1"),
        ("rate_source", "u1"),
    ],
    align=True,
)

FLOW, FLOW_EXPANDED = 1, 3
#: Records, and bytes of their heads.
_RAW, _SWITCH, _ROUTER = 1, 1001, 1002
_HEAD, _EXPANDED, _KIND, _RAW_HEAD, _SWITCH_SIZE, _MASKS = 32, 44, 8, 16, 16, 8
#: Protocols of raw headers: Ethernet, IPv4, IPv6.
ETHERNET, IPV4, IPV6 = 1, 11, 12
_ADDRESS_V4, _ADDRESS_V6 = 1, 2
_VALUE_BITS, _SOURCE_BITS = 30, 24
_VALUE, _SOURCE = (1 << _VALUE_BITS) - 1, (1 << _SOURCE_BITS) - 1
#: Formats of interfaces, and marks: FlowMark.DISCARDED, FlowMark.MANY_OUTPUTS.
_SINGLE, _DISCARDED, _SEVERAL = 0, 1, 2
_MARK_DISCARDED, _MARK_SEVERAL = 256, 512


@piece
def _interfaces(o, came_format, came, went_format, went):
    o.input = np.uint32(came) if came_format == _SINGLE else np.uint32(0)
    o.output = np.uint32(0)
    o.marks = np.uint32(0)
    o.drop_reason = np.uint16(0)
    if went_format == _SINGLE:
        o.output = np.uint32(went)
    elif went_format == _DISCARDED:
        o.marks = np.uint32(_MARK_DISCARDED)
        o.drop_reason = np.uint16(min(went, 0xFFFF))
    elif went_format == _SEVERAL:
        o.marks = np.uint32(_MARK_SEVERAL)


@piece
def _compact(d, at, o):
    """Head of a flow sample."""
    source, came, went = u32(d, at + 4), u32(d, at + 20), u32(d, at + 24)
    o.source_type = np.uint32(source >> _SOURCE_BITS)
    o.source = np.uint32(source & _SOURCE)
    o.told = np.uint32(u32(d, at + 8))
    o.pool = np.uint32(u32(d, at + 12))
    o.drops = np.uint32(u32(d, at + 16))
    _interfaces(o, came >> _VALUE_BITS, came & _VALUE, went >> _VALUE_BITS, went & _VALUE)


@piece
def _expanded(d, at, o):
    """Head of an expanded flow sample."""
    o.source_type = np.uint32(u32(d, at + 4))
    o.source = np.uint32(u32(d, at + 8))
    o.told = np.uint32(u32(d, at + 12))
    o.pool = np.uint32(u32(d, at + 16))
    o.drops = np.uint32(u32(d, at + 20))
    _interfaces(o, u32(d, at + 24), u32(d, at + 28), u32(d, at + 32), u32(d, at + 36))


@piece
def _raw(d, at, size, o):
    """A raw header; whether it can be read here."""
    if size < _RAW_HEAD or o.frame_at >= 0:
        return False
    protocol, taken = u32(d, at), u32(d, at + 12)
    if _RAW_HEAD + taken > size or (protocol != ETHERNET and protocol != IPV4 and protocol != IPV6):
        return False
    o.protocol = np.uint32(protocol)
    o.frame_at = at + _RAW_HEAD
    o.frame_size = taken
    o.frame_length = max(u32(d, at + 4) - u32(d, at + 8), 0)
    return True


@piece
def _router(d, at, size, o):
    """Next router and masks."""
    if size < 4:
        return False
    kind = u32(d, at)
    width = 4 if kind == _ADDRESS_V4 else 16 if kind == _ADDRESS_V6 else 0
    if 4 + width + _MASKS > size:
        return False
    o.next_hop_at = at + 4 if width > 0 else -1
    o.next_hop_size = np.uint32(width)
    o.src_mask = np.uint8(min(u32(d, at + 4 + width), 255))
    o.dst_mask = np.uint8(min(u32(d, at + 8 + width), 255))
    return True


@piece
def _record(d, at, kind, size, o):
    """One record; whether it is one that is read here."""
    if kind == _RAW:
        return _raw(d, at, size, o)
    if kind == _ROUTER:
        return _router(d, at, size, o)
    if kind == _SWITCH and size >= _SWITCH_SIZE:
        o.vlan = np.uint16(u32(d, at) & 0xFFFF)
        o.post_vlan = np.uint16(u32(d, at + 8) & 0xFFFF)
        return True
    return False


@piece
def _records(d, at, end, count, o):
    """The records of a sample; whether all are read."""
    while count > 0 and at < end:
        if at + _KIND > end:
            return False
        size = u32(d, at + 4)
        if at + _KIND + size > end or not _record(d, at + _KIND, u32(d, at), size, o):
            return False
        at += _KIND + size + (-size) % 4
        count -= 1
    return True


@kernel
def plain_samples(d, begin, at, end, count, out):
    """Read the samples of a datagram.

    Parameters
    ----------
    d
        ``uint8[...]``: data; the datagram begins at ``begin``, its samples at ``at``, and it ends at ``end``.
    count
        Samples that it is said to have.
    out
        :data:`PLAIN_DTYPE` ``[...]``: filled in, but for ``part``, ``rate`` and ``rate_source``.

    Returns
    -------
    int
        Samples read: all; or -1: it is not like most.
    """
    if count > out.shape[0]:
        return -1
    for n in range(count):
        if at + _KIND > end:
            return -1
        kind = u32(d, at)
        stop = at + _KIND + u32(d, at + 4)
        at += _KIND
        head = _HEAD if kind == FLOW else _EXPANDED
        if stop > end or at + head > stop or (kind != FLOW and kind != FLOW_EXPANDED):
            return -1
        o = out[n]
        o.position = at - begin
        o.number = np.uint32(u32(d, at))
        o.frame_at = -1
        o.frame_size = 0
        o.frame_length = 0
        o.next_hop_at = -1
        o.next_hop_size = np.uint32(0)
        o.protocol = np.uint32(0)
        o.vlan = np.uint16(0)
        o.post_vlan = np.uint16(0)
        o.src_mask = np.uint8(0)
        o.dst_mask = np.uint8(0)
        if kind == FLOW:
            _compact(d, at, o)
        else:
            _expanded(d, at, o)
        if not _records(d, at + head, stop, u32(d, at + head - 4), o):
            return -1
        at = stop
    return count
