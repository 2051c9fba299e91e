"""Kernels and libraries of exported flows in memory before the first datagram: compiling takes half a minute on a fresh machine."""

from __future__ import annotations

import struct

#: Seconds since the epoch, and of uptime, of the datagrams below.
_NOW, _UPTIME_S = 1_700_000_000, 1_000


def datagrams() -> list[bytes]:
    """NetFlow v5, v9 with its template, and an sFlow sample with a raw header: one record each."""
    ends = b"\x0a\x00\x00\x01\x0a\x00\x00\x02"
    record5 = ends + bytes(4) + struct.pack(">HHIIIIHHxBBBHHBBxx", 1, 2, 10, 1000, 1, 2, 40_000, 80, 0x1B, 6, 0, 0, 0, 24, 24)
    netflow5 = struct.pack(">HHIIIIBBH", 5, 1, _UPTIME_S * 1000, _NOW, 0, 0, 0, 0, 0) + record5
    fields = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (1, 4), (2, 4))
    template = struct.pack(">HH", 256, len(fields)) + b"".join(struct.pack(">HH", *one) for one in fields)
    record9 = ends + struct.pack(">HHBBII", 40_000, 53, 17, 0, 100, 1)
    sets = struct.pack(">HH", 0, 4 + len(template)) + template + struct.pack(">HH", 256, 4 + len(record9) + 2) + record9 + bytes(2)
    netflow9 = struct.pack(">HHIIII", 9, 2, _UPTIME_S * 1000, _NOW, 0, 1) + sets
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + ends + struct.pack(">HHIIBBHHH", 40_000, 80, 1, 1, 0x50, 2, 1024, 0, 0)
    frame = b"\x02" * 12 + b"\x08\x00" + packet
    header = struct.pack(">IIII", 1, len(frame) + 4, 4, len(frame)) + frame + bytes(-len(frame) % 4)
    sample = struct.pack(">IIIIIIII", 1, 7, 100, 100, 0, 1, 2, 1) + struct.pack(">II", 1, len(header)) + header
    sflow = struct.pack(">II4sIIII", 5, 1, ends[:4], 0, 1, 1, 1) + struct.pack(">II", 1, len(sample)) + sample
    return [netflow5, netflow9, sflow]


def decode() -> int:
    """Send one datagram of each kind the whole way: all kernels are in memory then. Returns the number of records."""
    from jobs.enriching.settings import EnrichmentSettings, GeoIpSettings
    from jobs.flowexport import decoder
    from jobs.flowexport.datagrams import DatagramBatch, address16
    from jobs.flowexport.duplicates import FlowOwners
    from jobs.flowexport.flowbatch import by_flow, marked, read
    from jobs.flowexport.recordtable import FlowCollector, numbers
    from jobs.flowexport.session import ExportSessions
    from jobs.sources.netflow.lookups import Lookups
    from jobs.sources.netflow.publish import made, unscored

    lookups = Lookups(EnrichmentSettings(geoip=GeoIpSettings(enabled=False)))
    owners = FlowOwners(1_000_000, 1000)
    batch = DatagramBatch.of((payload, address16(f"192.0.2.{n}"), 2055, _NOW * 1_000_000) for n, payload in enumerate(datagrams(), 1))
    found = 0
    for piece in decoder.decode(batch, ExportSessions()):
        for _, stream in by_flow(piece.flows, 2):
            rows = read(stream)
            (whose,) = owners.mark([numbers(rows)])
            found += unscored(made(marked(rows, whose), FlowCollector("warm", "warm"), lookups)).num_rows
    return found
