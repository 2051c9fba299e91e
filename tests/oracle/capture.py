"""Capture files, read and written plainly: pcap (us, ns, modified, both byte orders) and pcapng (EPB, SPB, obsolete PB).

A damaged file is read up to the first thing that cannot be: a record cut off, longer than any packet, or of an interface that nobody
described. Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.oracle.meter import Frame
from tests.oracle.parse import MAX_WIRE


def write_pcap(path: Path, frames: Iterable[Frame], link_type: int = 1) -> Path:
    """Write a little-endian nanosecond pcap."""
    with path.open("wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link_type))
        for frame in frames:
            seconds, ns = divmod(frame.ns, 1_000_000_000)
            f.write(struct.pack("<IIII", seconds, ns, len(frame.data), _on_wire(frame)))
            f.write(frame.data)
    return path


def write_pcapng(path: Path, frames: Sequence[Frame]) -> Path:
    """Write a pcapng with one interface per link type and times in ns."""
    types = list(dict.fromkeys(f.link_type for f in frames)) or [1]

    def block(kind: int, body: bytes) -> bytes:
        body += b"\0" * (-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    with path.open("wb") as f:
        f.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        for kind in types:
            f.write(block(1, struct.pack("<HHI", kind, 0, 0) + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)))
        for frame in frames:
            n = len(frame.data)
            head = struct.pack("<IIIII", types.index(frame.link_type), frame.ns >> 32, frame.ns & 0xFFFFFFFF, n, _on_wire(frame))
            f.write(block(6, head + frame.data))
    return path


def _on_wire(frame: Frame) -> int:
    return len(frame.data) if frame.wire is None else frame.wire


def _frame(ns: int, data: bytes, link_type: int, wire: int) -> Frame:
    """What was captured is no longer than what there was, whatever the record says; nor was there more than a card takes."""
    return Frame(ns, data, link_type, wire if len(data) < wire <= MAX_WIRE else None)


def read(path: Path) -> list[Frame]:
    """Every packet of a capture file up to its end or its first damage, in file order.

    Raises:
        ValueError: not a capture file.
    """
    data = path.read_bytes()
    if data[:4] == b"\x0a\x0d\x0d\x0a" and data[8:12] in _ORDERS:
        return list(_pcapng(data))
    if data[:4] in _MAGICS and len(data) >= 24:
        return list(_pcap(data))
    raise ValueError("not a capture file")


#: No packet is longer (libpcap's greatest snap length).
_LONGEST = 262_144
_LATEST = 1 << 62  # ns: times are kept within what flows can be computed from
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
#: First four bytes: byte order, ns in a unit of the fraction, bytes of a record header.
_MAGICS = {
    struct.pack(order + "I", magic): (order, unit, size)
    for order in "<>"
    for magic, unit, size in ((0xA1B2C3D4, 1000, 16), (0xA1B23C4D, 1, 16), (0xA1B2CD34, 1000, 24))
}


def _pcap(data: bytes) -> Iterator[Frame]:
    at, order, unit, header, link_type = 0, "<", 1, 16, 0
    while at + header <= len(data):
        magic = data[at : at + 4]
        if magic in _MAGICS and (at == 0 or data[at + 4 : at + 8] == struct.pack(_MAGICS[magic][0] + "HH", 2, 4)):
            if at + 24 > len(data):  # the file begins, or another one that was put behind it
                return
            order, unit, header = _MAGICS[magic]
            link_type = struct.unpack_from(order + "I", data, at + 20)[0] & 0xFFFF  # above: length of the check sum
            at += 24
            continue
        seconds, sub, size, wire = struct.unpack_from(order + "IIII", data, at)
        if size > _LONGEST or seconds == size == wire == 0 or at + header + size > len(data):  # zeros: space that was never written
            return
        at += header
        yield _frame(seconds * 1_000_000_000 + sub * unit, data[at : at + size], link_type, wire)
        at += size


@dataclass(frozen=True)
class _Interface:
    link_type: int
    snap: int
    ticks: int  # a second
    offset: int  # ns

    def time(self, high: int, low: int) -> int:
        """Nanoseconds since the epoch of a count of ticks."""
        seconds, ticks = divmod(high << 32 | low, self.ticks)
        ns = seconds * 10**9 + ticks * 10**9 // self.ticks
        if seconds >= _LATEST // 10**9:
            ns = _LATEST
        return min(max(ns + self.offset, 0), _LATEST)


def _pcapng(data: bytes) -> Iterator[Frame]:
    at, order, last = 0, "<", 0
    interfaces: list[_Interface] = []
    while at + 12 <= len(data):
        new = data[at : at + 4] == b"\x0a\x0d\x0d\x0a"
        if new:
            if data[at + 8 : at + 12] not in _ORDERS:
                return
            order, interfaces = _ORDERS[data[at + 8 : at + 12]], []
        kind, size = struct.unpack_from(order + "II", data, at)
        if size % 4 or size < {True: 28, False: {2: 32, 3: 16, 6: 32}.get(kind, 12)}[new] or at + size > len(data):
            return
        body = data[at + 8 : at + size - 4]
        if kind == 1:
            interface = _interface(body, order) if size <= _LONGEST else None
            if interface is None:
                return
            interfaces.append(interface)
        elif kind in (2, 3, 6):
            where, head = 0, 4
            if kind == 3:
                n = wire = struct.unpack_from(order + "I", body)[0]
                snap = interfaces[0].snap if interfaces else 0
                n = min(n, snap or n, len(body) - 4)
            else:
                where, high, low, n, wire = struct.unpack_from(order + ("IIIII" if kind == 6 else "HxxIIII"), body)
                head = 20
            if where >= len(interfaces) or n > min(_LONGEST, len(body) - head) or size > 2 * _LONGEST:
                return
            if kind != 3:  # a simple packet has no time of its own: it gets that of the packet before it
                last = interfaces[where].time(high, low)
            yield _frame(last, body[head : head + n], interfaces[where].link_type, wire)
        at += size


def _interface(body: bytes, order: str) -> _Interface | None:
    """An interface description; None when it is too short, or counts time more finely than 64 bits can."""
    if len(body) < 8:
        return None
    link_type, _, snap = struct.unpack_from(order + "HHI", body)
    resolution, offset, at = 6, 0, 8
    while at + 4 <= len(body):
        code, n = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + n]
        if code == 0 or len(value) < n:
            break
        if code == 9 and n:
            resolution = value[0]
        if code == 14 and n >= 8:
            offset = struct.unpack_from(order + "q", value)[0]
        at += 4 + n + (-n % 4)
    binary, power = bool(resolution & 128), resolution & 127
    if power > (63 if binary else 19):
        return None
    latest = _LATEST // 10**9
    return _Interface(link_type, snap, 2**power if binary else 10**power, min(max(offset, -latest), latest) * 10**9)
