"""Packet rows to frames: copies a header template, patches its fields, adds the payload and the checksums.

Checksums are the Internet checksum (RFC 1071) over the IPv4 header and over pseudo header, L4 header and payload
(RFC 9293, 768, 792, 4443, 8200).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sensors.generate import templates as tp
from sensors.generate.table import ACK, DIR, FLAGS, FLOW, IPID, KIND, LEN, OFF, SEQ, TS, TSECR, TSVAL, WIN, A, B
from sensors.generate.templates import ICMP_ECHO, ICMP_ERROR, KINDS, L3, L4, LENGTH, O_MSS, O_SACK, O_TS, O_WSCALE, UDP_KIND
from sensors.packets.frames import FrameBatch

LINKTYPE_ETHERNET = 1
_MINIMUM_FRAME = 60  # without the frame check sequence


@njit(cache=True, inline="always")
def _put16(out, at, value):  # type: ignore[no-untyped-def]
    out[at] = (value >> 8) & 0xFF
    out[at + 1] = value & 0xFF


@njit(cache=True, inline="always")
def _put32(out, at, value):  # type: ignore[no-untyped-def]
    _put16(out, at, (value >> 16) & 0xFFFF)
    _put16(out, at + 2, value & 0xFFFF)


@njit(cache=True, inline="always")
def _put_bytes(out, at, value, n):  # type: ignore[no-untyped-def]
    """The low ``n`` bytes of an unsigned value, big-endian."""
    v = np.uint64(value)
    for i in range(n):
        out[at + n - 1 - i] = v & np.uint64(0xFF)
        v >>= np.uint64(8)


@njit(cache=True)
def _sum(data, start, end):  # type: ignore[no-untyped-def]
    """Unfolded sum of 16-bit words, an odd tail padded with zero."""
    total = np.int64(0)
    i = start
    while i + 1 < end:
        total += (np.int64(data[i]) << 8) | np.int64(data[i + 1])
        i += 2
    if i < end:
        total += np.int64(data[i]) << 8
    return total


@njit(cache=True)
def _fold(total):  # type: ignore[no-untyped-def]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total) & 0xFFFF


@njit(cache=True)
def _ip_header(out, at, flow, back, length, protocol, ttl, ident):  # type: ignore[no-untyped-def]
    """Patch an IP header at ``at``; ``length`` is that of its payload. Returns the unfolded sum of the addresses."""
    if flow.version == 4:
        _put16(out, at + 2, 20 + length)
        _put16(out, at + 4, ident)
        _put16(out, at + 6, 0x4000 if flow.df else 0)
        out[at + 8] = ttl
        out[at + 9] = protocol
        _put16(out, at + 10, 0)
        _put_bytes(out, at + 12, flow.dst_lo if back else flow.src_lo, 4)
        _put_bytes(out, at + 16, flow.src_lo if back else flow.dst_lo, 4)
        _put16(out, at + 10, _fold(_sum(out, at, at + 20)))
        return _sum(out, at + 12, at + 20)
    _put16(out, at + 4, length)
    out[at + 6] = protocol
    out[at + 7] = ttl
    _put_bytes(out, at + 8, flow.dst_hi if back else flow.src_hi, 8)
    _put_bytes(out, at + 16, flow.dst_lo if back else flow.src_lo, 8)
    _put_bytes(out, at + 24, flow.src_hi if back else flow.dst_hi, 8)
    _put_bytes(out, at + 32, flow.src_lo if back else flow.dst_lo, 8)
    return _sum(out, at + 8, at + 40)


@njit(cache=True)
def _quote(out, at, row, flows, pool):  # type: ignore[no-untyped-def]
    """The start of the UDP datagram an ICMP error is about: IPv4 header and 8 bytes (RFC 792)."""
    quoted = flows[row[A]]
    length = 8 + row[B]
    out[at] = 0x45
    out[at + 1] = 0
    pseudo = _ip_header(out, at, quoted, False, length, 17, quoted.ttl_fwd, row[IPID])
    _put16(out, at + 20, np.int64(quoted.src_port))
    _put16(out, at + 22, np.int64(quoted.dst_port))
    _put16(out, at + 24, length)
    _put16(out, at + 26, 0)
    total = pseudo + 17 + length + _sum(out, at + 20, at + 28) + _sum(pool, row[OFF], row[OFF] + row[B])
    checksum = _fold(total)
    _put16(out, at + 26, checksum if checksum else 0xFFFF)


@njit(cache=True)
def _sizes(rows, flows, offsets_table, offsets):  # type: ignore[no-untyped-def]
    for i in range(rows.shape[0]):
        flow = flows[rows[i, FLOW]]
        kind = rows[i, KIND]
        t = ((1 if flow.vlan else 0) * 2 + (1 if flow.version == 6 else 0)) * KINDS + kind
        size = offsets_table[t, LENGTH] + (28 if kind == ICMP_ERROR else rows[i, LEN])
        if flow.pad and size < _MINIMUM_FRAME:
            size = _MINIMUM_FRAME
        offsets[i + 1] = offsets[i] + size


@njit(cache=True)
def _render(rows, flows, headers, offsets_table, pool, out, offsets):  # type: ignore[no-untyped-def]
    for i in range(rows.shape[0]):
        row = rows[i]
        flow = flows[row[FLOW]]
        back = row[DIR] != 0
        kind = row[KIND]
        t = ((1 if flow.vlan else 0) * 2 + (1 if flow.version == 6 else 0)) * KINDS + kind
        f = offsets_table[t]
        at = offsets[i]
        head = f[LENGTH]
        size = 28 if kind == ICMP_ERROR else row[LEN]
        for k in range(head):
            out[at + k] = headers[t, k]
        _put_bytes(out, at, flow.src_mac if back else flow.dst_mac, 6)
        _put_bytes(out, at + 6, flow.dst_mac if back else flow.src_mac, 6)
        if flow.vlan:
            _put16(out, at + 14, np.int64(flow.vlan))
        if kind == ICMP_ERROR:
            _quote(out, at + head, row, flows, pool)
        else:
            start = row[OFF]
            for k in range(size):
                out[at + head + k] = pool[start + k]
        l3 = at + f[L3]
        l4 = at + f[L4]
        end = at + head + size
        length = end - l4
        protocol = np.int64(flow.protocol)
        ttl = flow.ttl_bwd if back else flow.ttl_fwd
        pseudo = _ip_header(out, l3, flow, back, length, protocol, ttl, row[IPID]) + protocol + length
        if kind < UDP_KIND:
            _put16(out, l4, np.int64(flow.dst_port if back else flow.src_port))
            _put16(out, l4 + 2, np.int64(flow.src_port if back else flow.dst_port))
            _put32(out, l4 + 4, row[SEQ])
            _put32(out, l4 + 8, row[ACK])
            out[l4 + 13] = row[FLAGS]
            _put16(out, l4 + 14, row[WIN])
            if f[O_MSS] >= 0:
                _put16(out, at + f[O_MSS], row[A])
            if f[O_WSCALE] >= 0:
                out[at + f[O_WSCALE]] = row[B]
            if f[O_TS] >= 0:
                _put32(out, at + f[O_TS], row[TSVAL])
                _put32(out, at + f[O_TS] + 4, row[TSECR])
            if f[O_SACK] >= 0:
                _put32(out, at + f[O_SACK], row[A])
                _put32(out, at + f[O_SACK] + 4, row[B])
            _put16(out, l4 + 16, _fold(pseudo + _sum(out, l4, end)))
        elif kind == UDP_KIND:
            _put16(out, l4, np.int64(flow.dst_port if back else flow.src_port))
            _put16(out, l4 + 2, np.int64(flow.src_port if back else flow.dst_port))
            _put16(out, l4 + 4, length)
            if row[A] and size >= 2:
                _put16(out, l4 + 8, row[A])
            checksum = _fold(pseudo + _sum(out, l4, end))
            _put16(out, l4 + 6, checksum if checksum else 0xFFFF)
        else:
            out[l4] = (row[FLAGS] >> 8) & 0xFF
            out[l4 + 1] = row[FLAGS] & 0xFF
            if kind == ICMP_ECHO:
                _put16(out, l4 + 4, row[A])
                _put16(out, l4 + 6, row[B])
            total = _sum(out, l4, end)
            if flow.version == 6:
                total += pseudo
            _put16(out, l4 + 2, _fold(total))


def render(rows: np.ndarray, flows: np.ndarray, pool: np.ndarray) -> FrameBatch:
    """Frames of a packet matrix.

    Parameters
    ----------
    rows : int64[n, WIDTH]
        Packets in time order (:mod:`sensors.generate.table`).
    flows : FLOW_DTYPE[m]
        The flow table.
    pool : uint8[p]
        Payload bytes that OFF and LEN point into.
    """
    headers, table = tp.templates()
    rows = np.ascontiguousarray(rows)
    offsets = np.zeros(len(rows) + 1, np.int64)
    _sizes(rows, flows, table, offsets)
    data = np.zeros(int(offsets[-1]), np.uint8)
    _render(rows, flows, headers, table, pool, data, offsets)
    return FrameBatch(
        ts=rows[:, TS].copy(),
        wire_len=np.diff(offsets).astype(np.uint32),
        link_type=np.full(len(rows), LINKTYPE_ETHERNET, np.uint16),
        data=data,
        offsets=offsets,
    )
