"""Captures exported by our own exporter and decoded again, beside what the meter says of them."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from infra.config import load
from jobs.flowexport.columns import FlowColumns
from jobs.flowexport.datagrams import DatagramBatch, address16
from jobs.flowexport.decoder import Decoded, decode
from jobs.flowexport.session import ExportSessions
from jobs.metering.batch import meter_captures
from jobs.sources.netflow.exporting import ExportJob, ExportKind, ExportOptions
from sensors.packets.files import Found
from tests.unit.flowexport.wire import EXPORTER, text

#: Protocol, source, port, destination, port; of ICMP without its types.
FlowKey = tuple[int, str, int, str, int]
ICMP = (1, 58)


class KeptDatagrams:
    """Keeps what is sent."""

    refused = 0

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, int]] = []

    def send(self, payload: bytes, exported_us: int) -> None:
        self.datagrams.append((payload, exported_us))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class RoundTrip:
    """Captures that were exported, and what a decoder made of them."""

    def __init__(self, paths: Path | list[Path], kind: str, **options: Any) -> None:
        found = Found([paths] if isinstance(paths, Path) else paths)
        self.job = ExportJob(found, ExportOptions(ExportKind(kind), **options), load(None), threading.Event())
        sink = KeptDatagrams()
        self.job.run(sink, None)
        self.datagrams = sink.datagrams
        self.summary = self.job.summary(0.0, 0)
        self.sessions = ExportSessions()
        batch = DatagramBatch.of((payload, address16(EXPORTER), 2055, exported) for payload, exported in sink.datagrams)
        self.pieces: list[Decoded] = list(decode(batch, self.sessions))

    @property
    def flows(self) -> list[FlowColumns]:
        return [piece.flows for piece in self.pieces]

    @property
    def rejected(self) -> list[Any]:
        return [r for piece in self.pieces for r in piece.rejected]

    @property
    def lost(self) -> int:
        return sum(account["lost"] + account["lost_samples"] for _, account in self.sessions.accounts())

    def column(self, name: str) -> np.ndarray:
        return np.concatenate([f[name] for f in self.flows]) if self.flows else np.zeros(0, np.uint64)

    def total(self, name: str) -> int:
        return int(self.column(name).sum())

    def by_key(self) -> Counter[tuple[FlowKey, str]]:
        """Packets and bytes of each direction, summed by what names it."""
        return sum((keyed(flows) for flows in self.flows), Counter())


def keyed(flows: FlowColumns) -> Counter[tuple[FlowKey, str]]:
    """Packets and bytes of each direction of decoded records, summed by what names it."""
    found: Counter[tuple[FlowKey, str]] = Counter()
    for i in range(len(flows)):
        proto = int(flows["proto"][i])
        ends = [text(flows[end][i]) for end in ("src", "dst")]
        ports = [0, 0] if proto in ICMP else [int(flows[port][i]) for port in ("sport", "dport")]
        for way, prefix in ((1, ""), (-1, "reverse_")):
            (a, b), (p, q) = ends[::way], ports[::way]
            for what in ("packets", "bytes"):
                found[(proto, a, p, b, q), what] += int(flows[prefix + what][i])
    return +found


def metered(path: Path) -> Counter[tuple[FlowKey, str]]:
    """The same, as the meter says."""
    found: Counter[tuple[FlowKey, str]] = Counter()
    for batch in meter_captures([path]):
        for row in batch.to_pylist():
            ends, ports = [row["src_ip"], row["dst_ip"]], [row["src_port"], row["dst_port"]]
            if row["protocol"] in ICMP:
                ports = [0, 0]
            for way, packets, size in ((1, "total_fwd_packets", "fwd_l3_bytes"), (-1, "total_backward_packets", "bwd_l3_bytes")):
                (a, b), (p, q) = ends[::way], ports[::way]
                key = (row["protocol"], a, p, b, q)
                found[key, "packets"] += row[packets]
                found[key, "bytes"] += row[size]
    return +found


def of_version(found: Counter[tuple[FlowKey, str]], version: int) -> Counter[tuple[FlowKey, str]]:
    """Of one IP version."""
    return Counter({key: n for key, n in found.items() if (":" in key[0][1]) == (version == 6)})
