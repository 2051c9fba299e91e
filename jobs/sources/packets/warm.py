"""The meter's compiled kernels in memory before the first packet: compiling takes half a minute on a fresh machine, loading a second."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

#: One flow each way, with an end: TCP handshake, data, FIN; then a datagram. (direction, protocol, flags, payload bytes)
_PACKETS = (
    [(0, 6, 0x02, 0), (1, 6, 0x12, 0), (0, 6, 0x10, 0)]
    + [(n % 2, 6, 0x18, 100) for n in range(12)]
    + [(0, 6, 0x11, 0), (1, 6, 0x11, 0), (0, 6, 0x10, 0), (0, 17, 0, 30)]
)


def capture() -> bytes:
    """A pcap file of two short flows."""
    out = bytearray(bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000"))
    sides = (b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02")
    ports = ((40000, 80), (80, 40000))
    for n, (way, protocol, flags, payload) in enumerate(_PACKETS):
        source, target = sides[way], sides[1 - way]
        a, b = ports[way]
        if protocol == 6:
            upper = struct.pack("!HHIIBBHHH", a, b, 1000 + n * 100, 1, 0x50, flags, 65535, 0, 0)
        else:
            upper = struct.pack("!HHHH", a, b, 8 + payload, 0)
        length = 20 + len(upper) + payload
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, n, 0, 64, protocol, 0, source, target)
        frame = b"\x02" * 12 + b"\x08\x00" + ip + upper + bytes(payload)
        at = n * 100_000
        out += struct.pack("<IIII", 1_700_000_000 + at // 1_000_000, at % 1_000_000, len(frame), len(frame)) + frame
    return bytes(out)


def metering() -> int:
    """Meter a tiny capture, interim snapshots too: all kernels of the meter are in memory then. Returns the number of records."""
    from jobs.metering.batch import meter_captures

    with tempfile.TemporaryDirectory(prefix="flowlake-warm-") as folder:
        file = Path(folder) / "warm.pcap"
        file.write_bytes(capture())
        return sum(batch.num_rows for batch in meter_captures([file], sensor_id="warm", interim=True))
