"""Databases in the MaxMind DB format, version 2.0, for tests: https://maxmind.github.io/MaxMind-DB/."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"


def encoded(value: Any, kind: int | None = None) -> bytes:
    if isinstance(value, str):
        return _field(2, len(value.encode())) + value.encode()
    if isinstance(value, float):
        return _field(3, 8) + struct.pack(">d", value)
    if isinstance(value, Mapping):
        return _field(7, len(value)) + b"".join(encoded(k) + encoded(v) for k, v in value.items())
    if isinstance(value, list):
        return _field(11, len(value)) + b"".join(map(encoded, value))
    raw = int(value).to_bytes(8).lstrip(b"\0")
    return _field(kind or 6, len(raw)) + raw


def _field(kind: int, size: int) -> bytes:
    first, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return bytes([kind << 5 | first]) + more if kind < 8 else bytes([first, kind - 7]) + more


def write(path: Path, records: Mapping[str, Mapping[str, Any]], version: int = 6) -> Path:
    """Networks, none within another, and their records."""
    bits = 128 if version == 6 else 32
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for text, record in records.items():
        network = ipaddress.ip_network(text)
        length = network.prefixlen + (bits - network.max_prefixlen)
        word = int(network.network_address)
        at = 0
        for depth in range(length - 1):
            bit = word >> (bits - 1 - depth) & 1
            if nodes[at][bit] is None:
                nodes.append([None, None])
                nodes[at][bit] = len(nodes) - 1
            at = nodes[at][bit]
        nodes[at][word >> (bits - length) & 1] = ("data", len(data))
        data += encoded(record)
    count = len(nodes)

    def pointer(record: Any) -> int:
        return count if record is None else record if isinstance(record, int) else count + 16 + record[1]

    tree = b"".join(struct.pack(">II", pointer(left), pointer(right)) for left, right in nodes)
    metadata = _field(7, 9) + b"".join(
        encoded(name) + value
        for name, value in {
            "node_count": encoded(count),
            "record_size": encoded(32, 5),
            "ip_version": encoded(version, 5),
            "database_type": encoded("Test"),
            "languages": encoded(["en"]),
            "description": encoded({"en": "of a test"}),
            "binary_format_major_version": encoded(2, 5),
            "binary_format_minor_version": encoded(0, 5),
            "build_epoch": encoded(1_700_000_000, 9),
        }.items()
    )
    beside = path.with_suffix(".new")
    beside.write_bytes(tree + bytes(16) + data + MARKER + metadata)
    beside.rename(path)
    return path
