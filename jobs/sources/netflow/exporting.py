"""What ``flowlake netflow export`` does: capture files, metered by the project's own meter, to datagrams of an exporter."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.config import Settings
from infra.errors import CaptureError
from jobs.flowexport.exporting.flowrows import flows_of
from jobs.flowexport.exporting.netflow5out import Netflow5Encoder
from jobs.flowexport.exporting.outgoing import ExportRules, ExportTally, FlowEncoder, Flows, OutDatagram
from jobs.flowexport.exporting.setsout import SetsEncoder
from jobs.flowexport.exporting.sflowout import HEADER_BYTES, SflowEncoder
from jobs.flowexport.versions import IPFIX, NETFLOW9
from jobs.metering.batch import Accounts, emissions
from jobs.metering.settings import MeterSettings
from sensors.netflow.sending import DatagramSink, SendPace
from sensors.packets.capture import CaptureReader
from sensors.packets.decode import decode
from sensors.packets.files import Found, Problem, told
from sensors.packets.replay import Chunk, chunks
from sensors.packets.settings import SensorSettings
from sensors.packets.thinning import PacketSampler


class ExportKind(StrEnum):
    """What is exported."""

    V5 = "v5"
    V9 = "v9"
    IPFIX = "ipfix"
    SFLOW = "sflow"


#: Where collectors listen for each.
PORTS = {ExportKind.V5: 2055, ExportKind.V9: 2055, ExportKind.IPFIX: 4739, ExportKind.SFLOW: 6343}


@dataclass(frozen=True)
class ExportOptions:
    """How capture files are exported.

    Attributes
    ----------
    kind
        As what.
    sampling
        One packet of so many is taken.
    seed
        Chooses which.
    biflow
        IPFIX: both directions in one record.
    refresh
        Templates again in front of every so many datagrams.
    shift_to_now
        Times of each file are moved so that its first packet is now.
    sort
        Put the packets of each file in order first.
    agent
        Address that sFlow gives as the exporter's.
    """

    kind: ExportKind
    sampling: int = 1
    seed: int = 0
    biflow: bool = False
    refresh: int = 20
    shift_to_now: bool = False
    sort: bool = False
    agent: str = "127.0.0.1"

    def rules(self, domain: int) -> ExportRules:
        """Those of one exporter."""
        return ExportRules(domain, self.sampling, self.biflow, self.refresh)

    def encoder(self, domain: int) -> FlowEncoder:
        """Writes flows."""
        if self.kind is ExportKind.V5:
            return Netflow5Encoder(self.rules(domain))
        return SetsEncoder(NETFLOW9 if self.kind is ExportKind.V9 else IPFIX, self.rules(domain))


class _PacketTap:
    """Takes a sample of each chunk, and notes when the first packet was.

    ``delta_us``: by how much times are to be moved. ``places``: of the packets that were taken last, the numbers among all, from 1.
    """

    def __init__(self, options: ExportOptions) -> None:
        self._shift = options.shift_to_now
        self.sampler = PacketSampler(options.sampling, options.seed)
        self.delta_us = 0
        self.places = np.zeros(0, np.int64)
        self._begun = False

    def __call__(self, chunk: Chunk) -> Chunk:
        if len(chunk.frames) and not self._begun:
            self._begun = True
            if self._shift:
                self.delta_us = (time.time_ns() - int(chunk.frames.ts[0])) // 1000
        before = self.sampler.seen
        chosen = self.sampler.take(len(chunk.frames))
        self.places = before + 1 + chosen
        if len(chosen) < len(chunk.frames):
            chunk.frames = chunk.frames.take(chosen)
        return chunk


@dataclass
class ExportJob:
    """Files that are exported, each as an observation domain of its own, and the accounts of it.

    Attributes
    ----------
    seen, flows
        Packets of the files; flows that the meter made of those that were taken (of sFlow: none are made).
    datagrams, octets
        Sent, and bytes of their payloads.
    tally
        What the records in them say, not scaled by the sampling.
    unsaid
        What the protocol cannot say, by reason.
    accounts
        Of the meter, of the packets that were taken.
    """

    found: Found
    options: ExportOptions
    settings: Settings
    stop: threading.Event
    seen: int = 0
    flows: int = 0
    datagrams: int = 0
    octets: int = 0
    tally: ExportTally = field(default_factory=ExportTally)
    unsaid: dict[str, ExportTally] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)

    @property
    def failed(self) -> list[Problem]:
        """Captures that were not read to their end."""
        return self.found.failed + self.accounts.failed

    def run(self, sink: DatagramSink, pace: SendPace | None) -> None:
        """Export everything; without ``pace`` nothing is waited for.

        Raises
        ------
        CaptureError
            The only file cannot be read.
        """
        for number, path in enumerate(self.found.files, 1):
            if pace is not None:
                pace.begin()
            try:
                self._file(path, number, sink, pace)
            except CaptureError as e:
                if len(self.found.files) + len(self.found.failed) == 1:
                    raise
                self.accounts.failed.append(Problem.of(path, e))
            if self.stop.is_set():
                return

    def _file(self, path: Path, number: int, sink: DatagramSink, pace: SendPace | None) -> None:
        for datagram in self._sampled(path, number) if self.options.kind is ExportKind.SFLOW else self._metered(path, number):
            if pace is not None and not pace.wait(datagram.exported_us):
                return
            sink.send(datagram.payload, datagram.exported_us)
            self.datagrams += 1
            self.octets += len(datagram.payload)
            _sum(self.tally, datagram.tally)

    def _metered(self, path: Path, number: int) -> Iterator[OutDatagram]:
        """Datagrams of the flows of a file."""
        encoder, tap = self.options.encoder(number), _PacketTap(self.options)
        settings = self.settings
        metered = emissions(
            [path],
            settings=settings.section(MeterSettings),
            sensor=settings.section(SensorSettings),
            accounts=self.accounts,
            sort=self.options.sort,
            tap=tap,
        )
        try:
            for emission in metered:
                if len(emission.closed):
                    self.flows += len(emission.closed)
                    yield from encoder.feed(_moved(flows_of(emission.closed, biflow=self.options.biflow), tap.delta_us))
            yield from encoder.finish()
        finally:  # left early, too
            metered.close()
            self.seen += tap.sampler.seen
            for reason, tally in encoder.unsaid.items():
                _sum(self.unsaid.setdefault(reason, ExportTally()), tally)

    def _sampled(self, path: Path, number: int) -> Iterator[OutDatagram]:
        """Datagrams of the packets of a file, as an sFlow agent has them: not metered."""
        options = self.options
        encoder = SflowEncoder(options.rules(number), options.agent)
        tap = _PacketTap(options)
        reader = CaptureReader(path, HEADER_BYTES)
        try:
            for chunk in chunks(reader, self.settings.section(SensorSettings), sort=options.sort):
                taken = tap(chunk).frames.shifted(tap.delta_us * 1000)
                yield from encoder.feed(taken, tap.places, self._layer3(taken))
            yield from encoder.finish()
        finally:
            reader.close()
            self.seen += tap.sampler.seen
            self._note(reader)
            for reason, packets in encoder.unsaid.items():
                _sum(self.unsaid.setdefault(reason, ExportTally()), ExportTally(packets, packets))

    def _layer3(self, frames: Any) -> NDArray[np.int64]:
        """Bytes of layer 3 of each packet, 0 of those that are no IP; these are counted."""
        packets, reasons = decode(frames.data, frames.offsets, frames.ts, frames.wire_len, frames.link_type)
        self.accounts.packets += len(frames)
        self.accounts.metered += int((reasons == 0).sum())
        return np.where(reasons == 0, packets["l3_bytes"], 0).astype(np.int64)

    def _note(self, reader: CaptureReader) -> None:
        if reader.failed:
            self.accounts.failed.append(Problem(reader.path, reader.problem))

    def summary(self, seconds: float, refused: int) -> dict[str, Any]:
        """Accounts, so that those of the receiver can be compared with them."""
        accounts = self.accounts
        return {
            "as": str(self.options.kind),
            "files": len(self.found.files),
            "sampling": self.options.sampling,
            "packets_seen": self.seen,
            "packets_taken": accounts.packets,
            "rejected": dict(sorted(accounts.rejected.items())),
            "flows": self.flows,
            **self.tally.as_dict(),
            "unsaid": {reason: tally.as_dict() for reason, tally in sorted(self.unsaid.items())},
            "datagrams": self.datagrams,
            "octets": self.octets,
            "refused": refused,
            "stopped": self.stop.is_set(),
            "skipped": told(self.found.skipped),
            "failed": told(self.failed),
            "seconds": round(seconds, 3),
        }


def _sum(total: ExportTally, more: ExportTally) -> None:
    total.records += more.records
    total.packets += more.packets
    total.bytes += more.bytes


def _moved(flows: Flows, delta_us: int) -> Flows:
    """The flows, that much later; those given are changed."""
    flows["start_us"] += delta_us
    flows["end_us"] += delta_us
    return flows
