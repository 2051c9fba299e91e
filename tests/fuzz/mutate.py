"""A seeded mutator of frames and of capture files: the same seed gives the same damage."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable, Sequence

from tests.fuzz.corpus import LINK_TYPES, Seed
from tests.oracle.meter import Frame
from tests.unit.sensors.packets import captures

_BYTES = (0, 1, 4, 6, 8, 0x11, 0x1F, 0x29, 0x2F, 0x33, 0x45, 0x60, 0x7F, 0x80, 0xFF)
_TYPES = (0x0800, 0x86DD, 0x8100, 0x8200, 0x8926, 0x8847, 0x8864, 0x6558, 0x880B)
_PORTS = (2152, 3544, 4789, 5247, 6081)
_WORDS = (0, 1, 4, 7, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, *_TYPES, *_PORTS)
_LONGS = (0, 1, 0xFF, 0xFFFF, 0x40000, 0x40001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADERS = 160  # headers lie in front; damage behind them says little
T0 = 1_700_000_000 * 10**9


def _place(r: random.Random, b: bytearray, width: int) -> int:
    """Where to write: anywhere in the headers, more often near the front."""
    last = min(len(b), _HEADERS) - width
    return -1 if last < 0 else r.randint(0, r.randint(0, last))


def _flip(r: random.Random, b: bytearray) -> bytearray:
    at = _place(r, b, 1)
    if at >= 0:
        b[at] ^= 1 << r.randrange(8)
    return b


def _byte(r: random.Random, b: bytearray) -> bytearray:
    at = _place(r, b, 1)
    if at >= 0:
        b[at] = r.choice(_BYTES) if r.random() < 0.7 else r.randrange(256)
    return b


def _word(r: random.Random, b: bytearray) -> bytearray:
    at = _place(r, b, 2)
    if at >= 0:
        b[at : at + 2] = struct.pack(r.choice("<>") + "H", r.choice(_WORDS))
    return b


def _long(r: random.Random, b: bytearray) -> bytearray:
    at = _place(r, b, 4)
    if at >= 0:
        b[at : at + 4] = struct.pack(r.choice("<>") + "I", r.choice(_LONGS))
    return b


def _step(r: random.Random, b: bytearray) -> bytearray:
    """A length or type that is off by one, by a few."""
    at = _place(r, b, 1)
    if at >= 0:
        b[at] = (b[at] + r.choice((-8, -4, -1, 1, 4, 8))) & 0xFF
    return b


def _cut(r: random.Random, b: bytearray) -> bytearray:
    return b[: r.randint(0, min(len(b), _HEADERS))]


def _drop(r: random.Random, b: bytearray) -> bytearray:
    at = max(_place(r, b, 1), 0)
    del b[at : at + r.choice((1, 2, 4, 8, 14, 20))]
    return b


def _repeat(r: random.Random, b: bytearray) -> bytearray:
    at = max(_place(r, b, 1), 0)
    n = r.choice((1, 2, 4, 8, 20, 40))
    return b[: at + n] + b[at:]


EDITS: Sequence[Callable[[random.Random, bytearray], bytearray]] = (
    _flip,
    _byte,
    _byte,
    _word,
    _word,
    _long,
    _step,
    _step,
    _cut,
    _drop,
    _repeat,
)


def frame(r: random.Random, corpus: Sequence[Seed], ns: int = T0) -> Frame:
    """One frame, sound or with up to four faults."""
    link_type, data = r.choice(corpus)
    b = bytearray(data)
    if r.random() < 0.1:  # splice two of them
        other = r.choice(corpus)[1]
        b = b[: r.randint(0, min(len(b), _HEADERS))] + other[r.randint(0, min(len(other), _HEADERS)) :]
    for _ in range(r.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        b = r.choice(EDITS)(r, b)
    if r.random() < 0.03:
        link_type = r.choice(LINK_TYPES)
    wire = None
    if r.random() < 0.2:
        wire = r.choice((0, 1, len(b) + 4, len(b) + 1400, 70_000, 1 << 20, 0xFFFFFFFF))
        if wire == len(b):
            wire = None
    return Frame(ns, bytes(b), link_type, wire)


def sequence(r: random.Random, corpus: Sequence[Seed], most: int = 60) -> list[Frame]:
    """Frames in time order, a few of them twice."""
    ns, out = T0, []
    for _ in range(r.randint(1, most)):
        out.append(frame(r, corpus, ns))
        if r.random() < 0.1:
            out.append(out[-1])
        ns += r.choice((0, 1, 999, 1000, 10**6, 10**8, 10**9, 7 * 10**9, 31 * 10**9, 61 * 10**9))
    return out


def _records(r: random.Random, corpus: Sequence[Seed]) -> list[tuple[int, bytes]]:
    return [(T0 + i * 10**6, frame(r, corpus).data) for i in range(r.randint(0, 12))]


def _pcapng(r: random.Random, corpus: Sequence[Seed]) -> bytes:
    out = b""
    for _ in range(r.choice((1, 1, 2))):
        order = r.choice("<>")
        out += captures.section(order)
        resolutions = [r.choice((None, 0, 3, 6, 9, 12, 19, 20, 63, 0x80, 0x8A, 0xA0, 0xBF, 0xFF)) for _ in range(r.randint(0, 3))]
        for code in resolutions:
            options = [] if code is None else [captures.option(9, bytes((code,)), order)]
            if r.random() < 0.2:
                options.append(captures.option(14, struct.pack(order + "q", r.choice((0, 1, -1, 2**62, -(2**63)))), order))
            out += captures.interface(r.choice(LINK_TYPES), order, options, r.choice((0, 0, 64)))
        for ns, data in _records(r, corpus):
            number = r.randrange(len(resolutions) or 1)
            kind = r.randrange(5)
            if kind == 0:
                out += captures.simple(data, order)
            elif kind == 1:
                out += captures.obsolete(ns // 1000, data, order, number)
            elif kind == 2:
                out += captures.block(r.choice((4, 5, 0xBAD, 0x80000001)), data, order)
            else:
                out += captures.enhanced(ns // 1000, data, order, number, r.choice((b"", captures.option(1, b"note", order))))
    return out


def _pcap(r: random.Random, corpus: Sequence[Seed]) -> bytes:
    out = b""
    for _ in range(r.choice((1, 1, 1, 2))):
        out += captures.pcap(_records(r, corpus), r.choice(("us", "ns", "modified")), r.choice("<>"), r.choice(LINK_TYPES))
    return out


def _damage(r: random.Random, data: bytes) -> bytes:
    b = bytearray(data)
    for _ in range(r.choice((0, 1, 1, 2, 3))):
        if not b:
            break
        how, at = r.randrange(7), r.randrange(len(b))
        if how == 0:
            b[at] ^= 1 << r.randrange(8)
        elif how == 1:
            b[at : at + 4] = struct.pack(r.choice("<>") + "I", r.choice((*_LONGS, 12, 16, 20, 28, 32, len(b))))
        elif how == 2:
            at -= at % 4  # fields of both formats mostly lie on such places
            b[at : at + 4] = struct.pack(r.choice("<>") + "I", r.choice((*_LONGS, 12, 16, 20, 28, 32, len(b))))
        elif how == 3:
            del b[at:]
        elif how == 4:
            del b[at : at + r.randint(1, 40)]
        elif how == 5:
            b[at:at] = b[r.randrange(len(b)) :][: r.randint(1, 200)]
        else:
            b[at:at] = bytes(r.choice((1, 4, 16, 64, 4096)))
    return bytes(b)


def capture(r: random.Random, corpus: Sequence[Seed]) -> bytes:
    """Bytes of a capture file, plain or gzip, damaged before or behind the compression or not at all."""
    data = _damage(r, (_pcapng if r.random() < 0.5 else _pcap)(r, corpus))
    if r.random() < 0.2:
        data = gzip.compress(data, 1, mtime=0)
        if r.random() < 0.3:
            data += gzip.compress(captures.pcap(_records(r, corpus)), 1, mtime=0)
        if r.random() < 0.5:
            data = _damage(r, data)
    return data
