"""Record layouts of pcap and pcapng, and the kernels that walk them.

Sources: draft-ietf-opsawg-pcap-05, draft-ietf-opsawg-pcapng-03; the modified pcap header is that of Kuznetzov's libpcap patch
(record header of 24 bytes: the usual 16, then interface index, protocol and packet type).
"""

from __future__ import annotations

import struct
from enum import IntEnum

import numpy as np
from numba import njit

from sensors.packets.decode import wire_length

#: No packet is longer in a file (libpcap's MAXIMUM_SNAPLEN); a greater length is damage.
MAX_RECORD = 262_144

#: magic -> (byte order, ns per unit of the fraction, bytes of a record header)
PCAP_MAGICS: dict[bytes, tuple[str, int, int]] = {
    bytes.fromhex("d4c3b2a1"): ("<", 1000, 16),
    bytes.fromhex("a1b2c3d4"): (">", 1000, 16),
    bytes.fromhex("4d3cb2a1"): ("<", 1, 16),
    bytes.fromhex("a1b23c4d"): (">", 1, 16),
    bytes.fromhex("34cdb2a1"): ("<", 1000, 24),
    bytes.fromhex("a1b2cd34"): (">", 1000, 24),
}
PCAPNG_MAGIC = bytes.fromhex("0a0d0d0a")
BLOCK_INTERFACE, BLOCK_OBSOLETE_PACKET, BLOCK_SIMPLE_PACKET = 1, 2, 3
#: Of one section: what a file of nothing but interfaces can make us keep is bounded.
MOST_INTERFACES = 1 << 20

_MAX_TIME = 1 << 62  # ns; year 2116: what lies beyond is clamped, so that sums of times cannot overflow


class ScanStatus(IntEnum):
    """Why a kernel stopped."""

    MORE = 0  # the record is not complete in the block
    FULL = 1  # the batch is full
    DAMAGED = 2  # an impossible length
    BLOCK = 3  # pcapng: a block that is no packet
    FILE_HEADER = 4  # pcap: a further file header
    INTERFACE = 5  # pcapng: a packet of an interface that is not described


_MORE, _FULL, _DAMAGED, _BLOCK, _FILE_HEADER, _INTERFACE = (int(s) for s in ScanStatus)


def byte_order_of(magic: bytes) -> str | None:
    """``<`` or ``>`` from the byte-order magic of a section header."""
    return {bytes.fromhex("4d3c2b1a"): "<", bytes.fromhex("1a2b3c4d"): ">"}.get(magic)


class Interfaces:
    """The interfaces of one pcapng section, as arrays for the kernel, of which the first ``len()`` elements count.

    ``units[i]`` > 0: fractions of a second (decimal resolution); 0: the resolution is ``2**-shift[i]`` s. ``offset[i]`` in ns.
    """

    def __init__(self) -> None:
        self._n = 0
        self.link = np.zeros(1, np.uint16)
        self.units = np.zeros(1, np.uint64)
        self.shift = np.zeros(1, np.uint64)
        self.offset = np.zeros(1, np.int64)
        self.snaplen = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return self._n

    def add(self, body: bytes, order: str) -> bool:
        """Take an interface description (block body without type and lengths); False when it makes no sense, or is one too many."""
        if len(body) < 8 or self._n == MOST_INTERFACES:
            return False
        link, _, snaplen = struct.unpack_from(order + "HHI", body)
        resolution, offset = 6, 0
        at = 8
        while at + 4 <= len(body):
            code, length = struct.unpack_from(order + "HH", body, at)
            value = body[at + 4 : at + 4 + length]
            if code == 0 or len(value) < length:
                break
            if code == 9 and length >= 1:  # if_tsresol
                resolution = value[0]
            elif code == 14 and length >= 8:  # if_tsoffset, seconds
                offset = struct.unpack(order + "q", value[:8])[0]
            at += 4 + (length + 3) // 4 * 4
        exponent = resolution & 0x7F
        binary = bool(resolution & 0x80)
        if exponent > (63 if binary else 19):  # finer than 64 bits can count a second in
            return False
        limit = _MAX_TIME // 1_000_000_000
        n = self._n
        if n == len(self.link):
            self._grow()
        self.link[n] = link
        self.units[n] = 0 if binary else 10**exponent
        self.shift[n] = exponent if binary else 0
        self.offset[n] = max(-limit, min(offset, limit)) * 1_000_000_000
        self.snaplen[n] = snaplen
        self._n = n + 1
        return True

    def _grow(self) -> None:
        """Double the room: one array more for each interface would take time in the square of their number."""
        for name in ("link", "units", "shift", "offset", "snaplen"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))


@njit(cache=True, nogil=True, inline="always")
def _u16(b, at, swapped):  # type: ignore[no-untyped-def]
    if swapped:
        return np.int64(b[at]) << 8 | np.int64(b[at + 1])
    return np.int64(b[at + 1]) << 8 | np.int64(b[at])


@njit(cache=True, nogil=True, inline="always")
def _u32(b, at, swapped):  # type: ignore[no-untyped-def]
    if swapped:
        return np.int64(b[at]) << 24 | np.int64(b[at + 1]) << 16 | np.int64(b[at + 2]) << 8 | np.int64(b[at + 3])
    return np.int64(b[at + 3]) << 24 | np.int64(b[at + 2]) << 16 | np.int64(b[at + 1]) << 8 | np.int64(b[at])


@njit(cache=True, nogil=True, inline="always")
def _is_file_header(b, at):  # type: ignore[no-untyped-def]
    """A pcap magic followed by version 2.4: as a record it would be a packet of the year 2055 without a byte in it."""
    little = b[at + 2] == 0xB2 and b[at + 3] == 0xA1
    big = b[at] == 0xA1 and b[at + 1] == 0xB2
    if little:
        known = (b[at] == 0xD4 and b[at + 1] == 0xC3) or (b[at] == 0x4D and b[at + 1] == 0x3C) or (b[at] == 0x34 and b[at + 1] == 0xCD)
        return known and b[at + 4] == 2 and b[at + 5] == 0 and b[at + 6] == 4 and b[at + 7] == 0
    if big:
        known = (
            (b[at + 2] == 0xC3 and b[at + 3] == 0xD4)
            or (b[at + 2] == 0x3C and b[at + 3] == 0x4D)
            or (b[at + 2] == 0xCD and b[at + 3] == 0x34)
        )
        return known and b[at + 4] == 0 and b[at + 5] == 2 and b[at + 6] == 0 and b[at + 7] == 4
    return False


@njit(cache=True, nogil=True)
def walk_pcap(block, end, swapped, scale, header, link_type, snaplen, ts, wire, link, offsets, data, cursor):  # type: ignore
    """Take records from ``block[cursor[2]:end]`` until something stops it.

    ``cursor``: int64[4] = packets in the batch, frame bytes in the batch, position in the block, last time; moved along.
    Returns a :class:`ScanStatus`.
    """
    n, total, at = cursor[0], cursor[1], cursor[2]
    room = len(data) - snaplen
    status = _MORE
    while True:
        if n == len(ts) or total > room:
            status = _FULL
            break
        if at + header > end:
            break
        if _is_file_header(block, at):
            status = _FILE_HEADER
            break
        seconds, captured = _u32(block, at, swapped), _u32(block, at + 8, swapped)
        # A header of zeros is the unwritten tail of a preallocated or sparse file.
        if captured > MAX_RECORD or (seconds == 0 and captured == 0 and _u32(block, at + 12, swapped) == 0):
            status = _DAMAGED
            break
        if at + header + captured > end:
            break
        ts[n] = seconds * 1_000_000_000 + _u32(block, at + 4, swapped) * scale
        wire[n] = wire_length(captured, _u32(block, at + 12, swapped))
        link[n] = link_type
        at += header
        keep = min(captured, snaplen)
        for k in range(keep):
            data[total + k] = block[at + k]
        at += captured
        total += keep
        n += 1
        offsets[n] = total
    cursor[0], cursor[1], cursor[2] = n, total, at
    return status


@njit(cache=True, nogil=True)
def _pcapng_time(high, low, units, shift, offset):  # type: ignore[no-untyped-def]
    """64-bit count of an interface's resolution to ns since the epoch, within [0, 2**62]."""
    value = np.uint64(high) << np.uint64(32) | np.uint64(low)
    billion = np.uint64(1_000_000_000)
    if units > np.uint64(0):
        seconds = value // units
        fraction = value % units
        if units <= billion:
            ns = fraction * (billion // units)
        else:
            ns = fraction // (units // billion)
    else:
        seconds = value >> shift
        fraction = value & ((np.uint64(1) << shift) - np.uint64(1))
        if shift > np.uint64(32):  # 2**-32 s is finer than a ns; more bits would overflow
            ns = ((fraction >> (shift - np.uint64(32))) * billion) >> np.uint64(32)
        else:
            ns = (fraction * billion) >> shift
    if seconds >= np.uint64(_MAX_TIME // 1_000_000_000):
        time = np.int64(_MAX_TIME) if offset >= 0 else np.int64(_MAX_TIME) + offset
    else:
        time = np.int64(seconds) * 1_000_000_000 + np.int64(ns) + offset
    return min(max(time, np.int64(0)), np.int64(_MAX_TIME))


@njit(cache=True, nogil=True)
def walk_pcapng(  # type: ignore[no-untyped-def]
    block, end, swapped, if_link, if_units, if_shift, if_offset, if_snaplen, interfaces, snaplen, ts, wire, link, offsets, data, cursor
):
    """As :func:`walk_pcap`, for the packet blocks of a section: enhanced (6), simple (3) and the obsolete one (2)."""
    n, total, at, last = cursor[0], cursor[1], cursor[2], cursor[3]
    room = len(data) - snaplen
    status = _MORE
    while True:
        if n == len(ts) or total > room:
            status = _FULL
            break
        if at + 12 > end:
            break
        kind = _u32(block, at, swapped)
        if kind != 6 and kind != 3 and kind != 2:
            status = _BLOCK
            break
        length = _u32(block, at + 4, swapped)
        fixed = 16 if kind == 3 else 32
        if length % 4 != 0 or length < fixed or length > 2 * MAX_RECORD:  # options may follow the packet
            status = _DAMAGED
            break
        if at + length > end:
            break
        if kind == 3:
            interface = np.int64(0)
            original = _u32(block, at + 8, swapped)
            captured = min(original, length - 16)
            if interfaces > 0 and if_snaplen[0] > 0:
                captured = min(captured, if_snaplen[0])
            frame = at + 12
        else:
            interface = _u32(block, at + 8, swapped) if kind == 6 else _u16(block, at + 8, swapped)
            captured = _u32(block, at + 20, swapped)
            original = _u32(block, at + 24, swapped)
            frame = at + 28
        if interface >= interfaces:
            status = _INTERFACE
            break
        if captured > MAX_RECORD or frame + captured + 4 > at + length:
            status = _DAMAGED
            break
        if kind != 3:
            high, low = _u32(block, at + 12, swapped), _u32(block, at + 16, swapped)
            last = _pcapng_time(high, low, if_units[interface], if_shift[interface], if_offset[interface])
        ts[n] = last
        wire[n] = wire_length(captured, original)
        link[n] = if_link[interface]
        keep = min(captured, snaplen)
        for k in range(keep):
            data[total + k] = block[frame + k]
        total += keep
        n += 1
        offsets[n] = total
        at += length
    cursor[0], cursor[1], cursor[2], cursor[3] = n, total, at, last
    return status
