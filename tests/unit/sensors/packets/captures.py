"""Capture files built byte by byte, for the tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

MAGIC = {"us": 0xA1B2C3D4, "ns": 0xA1B23C4D, "modified": 0xA1B2CD34}
Packet = tuple[int, bytes]  # time in ns, frame


def pcap(packets: Iterable[Packet], kind: str = "us", order: str = "<", link: int = 1) -> bytes:
    out = [struct.pack(order + "IHHiIII", MAGIC[kind], 2, 4, 0, 0, 262144, link)]
    for ts, frame in packets:
        fraction = ts % 10**9 // (1 if kind == "ns" else 1000)
        out.append(struct.pack(order + "IIII", ts // 10**9, fraction, len(frame), len(frame) + 7))
        if kind == "modified":
            out.append(struct.pack(order + "IHBB", 3, 0x0800, 0, 0))
        out.append(frame)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(link: int = 1, order: str = "<", options: Sequence[bytes] = (), snaplen: int = 0) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + b"".join(options) + (option(0, b"") if options else b""), order)


def enhanced(count: int, frame: bytes, order: str = "<", number: int = 0, options: bytes = b"") -> bytes:
    """Enhanced packet block; ``count`` in units of the interface."""
    padded = frame + bytes(-len(frame) % 4)
    return block(
        6, struct.pack(order + "IIIII", number, count >> 32, count & 0xFFFFFFFF, len(frame), len(frame) + 7) + padded + options, order
    )


def simple(frame: bytes, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(frame)) + frame, order)


def obsolete(count: int, frame: bytes, order: str = "<", number: int = 0) -> bytes:
    return block(2, struct.pack(order + "HHIIII", number, 0, count >> 32, count & 0xFFFFFFFF, len(frame), len(frame)) + frame, order)
