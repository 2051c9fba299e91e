"""Datagrams for the decoder of flow export, made up: full ones, of random values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.flowexport.datagrams import DatagramBatch, address16

#: Seconds and uptime (ms) of every header.
NOW, UPTIME = 1_767_225_600, 10_000_000
#: Bytes of records that fit behind the headers of a datagram.
_ROOM = 1380
_VARIABLE = 0xFFFF

#: Fields of a router's template: element and bytes. Of IPFIX the first is replaced: it knows no sampler there.
FIELDS: tuple[tuple[int, int], ...] = (
    (48, 1), (8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 8), (1, 8), (22, 4), (21, 4), (7, 2), (11, 2), (6, 1), (4, 1), (5, 1),
    (16, 4), (17, 4), (9, 1), (13, 1), (61, 1),
)  # fmt: skip
FIELDS_6 = tuple({8: (27, 16), 12: (28, 16), 15: (62, 16)}.get(element, (element, size)) for element, size in FIELDS)


@dataclass(frozen=True)
class Material:
    """Datagrams of one kind, and how many records they hold; ``fields`` of their only template, for a decoder that takes it as given."""

    payloads: list[bytes]
    senders: list[bytes]
    records: int
    fields: tuple[tuple[int, int], ...] = ()
    header: int = 0  # bytes before the first record

    def batch(self) -> DatagramBatch:
        """As they would be received."""
        return DatagramBatch.of((p, s, 2055, NOW * 1_000_000) for p, s in zip(self.payloads, self.senders, strict=True))


def kinds(records: int, exporters: int) -> dict[str, Callable[[], Material]]:
    """What is measured, by name; each is made when it is due."""
    return {
        "v5": lambda: _netflow5(records),
        "v9": lambda: _templated(9, FIELDS, records, 1),
        "v9, IPv6": lambda: _templated(9, FIELDS_6, records, 1),
        f"v9, {exporters} exporters": lambda: _templated(9, FIELDS, records, exporters),
        "IPFIX": lambda: _templated(10, FIELDS, records, 1),
        "IPFIX, a field of variable length": lambda: _variable(records // 4),
        "sFlow, raw headers": lambda: _sflow(records // 8),
    }


def _senders(n: int, exporters: int) -> list[bytes]:
    known = [address16(f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}") for i in range(exporters)]
    return [known[i % exporters] for i in range(n)]


def _bodies(n: int, size: int) -> Sequence[bytes]:
    """Random bytes for ``n`` datagrams, of a pool: to make them is not what is measured."""
    rng = np.random.default_rng(1)
    pool = [rng.bytes(size) for _ in range(min(n, 500))]
    return [pool[i % len(pool)] for i in range(n)]


def _netflow5(records: int) -> Material:
    n = -(-records // 30)
    payloads = [struct.pack(">HHIIIIBBH", 5, 30, UPTIME, NOW, 0, 30 * i, 0, 1, 100) + body for i, body in enumerate(_bodies(n, 30 * 48))]
    return Material(payloads, _senders(n, 1), 30 * n, (), 24)


def _template(version: int, fields: Sequence[tuple[int, int]]) -> bytes:
    body = struct.pack(">HH", 256, len(fields)) + b"".join(struct.pack(">HH", *f) for f in fields)
    return struct.pack(">HH", 0 if version == 9 else 2, len(body) + 4) + body


def _message(version: int, number: int, content: bytes) -> bytes:
    if version == 9:
        return struct.pack(">HHIIII", 9, 1, UPTIME, NOW, number, 1) + content
    return struct.pack(">HHIII", 10, 16 + len(content), NOW, number, 1) + content


def _templated(version: int, fields: tuple[tuple[int, int], ...], records: int, exporters: int) -> Material:
    size = sum(length for _, length in fields)
    each = _ROOM // size
    n = -(-records // each)
    senders = _senders(exporters, exporters) + _senders(n, exporters)
    payloads = [_message(version, 0, _template(version, fields))] * exporters
    for i, body in enumerate(_bodies(n, each * size)):
        number = 1 + i // exporters if version == 9 else i // exporters * each
        padding = bytes(-len(body) % 4)
        payloads.append(_message(version, number, struct.pack(">HH", 256, 4 + len(body) + len(padding)) + body + padding))
    return Material(payloads, senders, each * n, fields, 20 if version == 9 else 16)


def _variable(records: int) -> Material:
    fields = (*FIELDS, (96, _VARIABLE))
    size = sum(length for _, length in FIELDS)
    each = _ROOM // (size + 8)
    n = -(-records // each)
    payloads = [_message(10, 0, _template(10, fields))]
    for i, body in enumerate(_bodies(n, each * size)):
        content = b"".join(body[k * size : (k + 1) * size] + b"\x07example"[: 1 + 7] for k in range(each))
        payloads.append(_message(10, i * each, struct.pack(">HH", 256, 4 + len(content)) + content))
    return Material(payloads, _senders(n + 1, 1), each * n)


def _sflow(records: int) -> Material:
    """Samples of TCP packets, seven a datagram, as switches send them: the first 128 bytes of the frame, and its VLANs."""
    each = 7
    n = -(-records // each)
    payloads = []
    for i, body in enumerate(_bodies(n, each * 128)):
        samples = []
        for k in range(each):
            frame = bytearray(body[k * 128 : (k + 1) * 128])
            frame[12:24] = bytes.fromhex("0800450005dc000040004006")
            frame[46] = 0x50
            header = struct.pack(">IIIIII", 1, 144, 1, 1518, 4, 128) + bytes(frame)
            records_ = header + struct.pack(">IIIIII", 1001, 16, 10, 0, 20, 0)
            number = each * i + k
            head = struct.pack(">IIIIIIII", number, 7, 1000, 1000 * number % 2**32, 0, 7, 8, 2)
            samples.append(struct.pack(">II", 1, len(head) + len(records_)) + head + records_)
        start = struct.pack(">II4sIIII", 5, 1, b"\x0a\0\0\1", 0, i, UPTIME, each)
        payloads.append(start + b"".join(samples))
    return Material(payloads, _senders(n, 1), each * n)
