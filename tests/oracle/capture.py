"""Capture files, read and written plainly: pcap (us, ns, both byte orders) and pcapng (EPB, SPB, obsolete PB)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from tests.oracle.meter import Frame


def write_pcap(path: Path, frames: Iterable[Frame], link_type: int = 1) -> Path:
    """Write a little-endian nanosecond pcap; the wire length is the captured length."""
    with path.open("wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link_type))
        for frame in frames:
            seconds, ns = divmod(frame.ns, 1_000_000_000)
            f.write(struct.pack("<IIII", seconds, ns, len(frame.data), len(frame.data)))
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
            head = struct.pack("<IIIII", types.index(frame.link_type), frame.ns >> 32, frame.ns & 0xFFFFFFFF, n, n)
            f.write(block(6, head + frame.data))
    return path


def read(path: Path) -> list[Frame]:
    """Every whole packet of a capture file, in file order."""
    data = path.read_bytes()
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        return list(_pcapng(data))
    return list(_pcap(data))


def _pcap(data: bytes) -> Iterator[Frame]:
    for order in "<>":
        (magic,) = struct.unpack_from(order + "I", data)
        if magic in (0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34):
            break
    else:
        raise ValueError("not a pcap file")
    unit = 1 if magic == 0xA1B23C4D else 1000
    extra = 8 if magic == 0xA1B2CD34 else 0
    link_type = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 + extra <= len(data):
        seconds, sub, size = struct.unpack_from(order + "III", data, at)
        at += 16 + extra
        if at + size > len(data):
            return
        yield Frame(seconds * 1_000_000_000 + sub * unit, data[at : at + size], link_type)
        at += size


def _pcapng(data: bytes) -> Iterator[Frame]:
    at, order = 0, "<"
    interfaces: list[tuple[int, int, Fraction]] = []
    while at + 12 <= len(data):
        kind = struct.unpack_from("<I", data, at)[0]
        if kind == 0x0A0D0D0A:
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12 or at + size > len(data):
            return
        body = data[at + 8 : at + size - 4]
        if kind == 1:
            link_type, _, snap = struct.unpack_from(order + "HHI", body)
            interfaces.append((link_type, snap, _resolution(body, order)))
        elif kind in (2, 6):
            if kind == 6:
                where, high, low, n = struct.unpack_from(order + "IIII", body)
            else:
                where, _, high, low, n = struct.unpack_from(order + "HHIII", body)
            link_type, _, tick = interfaces[where]
            yield Frame(int((high << 32 | low) * tick), body[20 : 20 + n], link_type)
        elif kind == 3:
            link_type, snap, _ = interfaces[0]
            n = struct.unpack_from(order + "I", body)[0]
            yield Frame(0, body[4 : 4 + min(n, snap or n)], link_type)
        at += size


def _resolution(body: bytes, order: str) -> Fraction:
    """Length of a clock tick in ns."""
    at = 8
    while at + 4 <= len(body):
        code, n = struct.unpack_from(order + "HH", body, at)
        if code == 0:
            break
        if code == 9:
            value = body[at + 4]
            return Fraction(10**9, 2 ** (value & 127) if value & 128 else 10**value)
        at += 4 + n + (-n % 4)
    return Fraction(1000)
