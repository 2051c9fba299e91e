"""DatagramBatch in, records out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport import netflow5, setmessages, sflow
from jobs.flowexport.chunk import ExportChunk
from jobs.flowexport.columns import FlowColumns
from jobs.flowexport.datagrams import Arrival, DatagramBatch
from jobs.flowexport.faults import FaultReason, MessageFault, Rejected
from jobs.flowexport.filling import filled
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.samples import COUNTER_DTYPE
from jobs.flowexport.session import ExportSessions
from jobs.flowexport.versions import IPFIX, NETFLOW9

_SFLOW_5 = b"\x00\x00\x00\x05"


@dataclass
class Decoded:
    """What some datagrams said.

    Attributes
    ----------
    flows
        Records.
    counters
        Of interfaces (sFlow): :data:`jobs.flowexport.samples.COUNTER_DTYPE`; ``exporters`` has the address of each one's agent,
        ``counted_us`` the receipt.
    rejected
        DatagramBatch that were not decoded wholly, at most one entry for each: they belong into a dead letter.
    """

    flows: FlowColumns
    counters: NDArray[np.void]
    exporters: list[bytes]
    counted_us: list[int]
    rejected: list[Rejected]


def decode(datagrams: DatagramBatch, sessions: ExportSessions, rules: DecodeRules | None = None) -> Iterator[Decoded]:
    """Decode datagrams, in order.

    Parameters
    ----------
    datagrams
        Of any versions and exporters.
    sessions
        What is known of exporters; changed.
    rules
        Bounds and choices.

    Yields
    ------
    Decoded
        Of so many datagrams that :attr:`DecodeRules.chunk_rows` records are reached; one at least. Where a batch is cut, and how many
        pieces it is given back in, changes no record but its ``datagram``.
    """
    rules = rules or DecodeRules()
    chunk, first = ExportChunk(), 0
    for number in range(len(datagrams)):
        _take(chunk, sessions, datagrams, number, rules)
        size = datagrams.offsets[number + 1] - datagrams.offsets[first]
        if chunk.rows >= rules.chunk_rows or size >= rules.chunk_bytes:
            yield finished(chunk, rules)
            chunk, first = ExportChunk(), number + 1
    if chunk.rows or chunk.rejected or chunk.samples.counters:
        yield finished(chunk, rules)


def _take(chunk: ExportChunk, sessions: ExportSessions, datagrams: DatagramBatch, number: int, rules: DecodeRules) -> None:
    at, end = datagrams.offsets[number : number + 2]
    data = datagrams.data
    kept_of = datagrams.kept_of[number] if datagrams.kept_of else 1
    arrival = Arrival(data, at, end, number, datagrams.senders[number], datagrams.ports[number], datagrams.received_us[number], kept_of)
    version = int.from_bytes(data[at : at + 2], "big") if end - at >= 2 else -1
    try:
        if version == netflow5.VERSION:
            netflow5.take(chunk, sessions, arrival, rules)
        elif version in (NETFLOW9, IPFIX):
            setmessages.take(chunk, sessions, arrival, rules, version)
        elif data[at : min(at + 4, end)] == _SFLOW_5:
            sflow.take(chunk, sessions, arrival, rules)
        else:
            raise MessageFault(FaultReason.UNKNOWN_VERSION, at)
    except MessageFault as fault:  # of the header: no exporter is known yet
        sessions.counts[fault.reason] += 1
        chunk.rejected.append(Rejected(number, fault.reason, fault.at - at, True))


def finished(chunk: ExportChunk, rules: DecodeRules) -> Decoded:
    """What was gathered, read."""
    counters = np.array(chunk.samples.counters, COUNTER_DTYPE)
    parts = [chunk.parts[part] for part in counters["part"]]
    exporters = [chunk.sessions[part.session].exporter for part in parts]
    return Decoded(filled(chunk, rules), counters, exporters, [part.received_us for part in parts], chunk.rejected)
