"""What a bucket makes of messages of ``flows.raw``: records by collector, what is refused, and the exporters' accounts. No Spark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from jobs.flowexport import decoder, handover, state
from jobs.flowexport.columns import FlowColumns
from jobs.flowexport.datagrams import DatagramBatch, address_text
from jobs.flowexport.decoder import Decoded
from jobs.flowexport.faults import Rejected
from jobs.flowexport.interfacetable import interface_rows
from jobs.flowexport.rawmessages import datagrams_of
from jobs.flowexport.recordtable import FlowCollector
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.session import ExportSessions
from jobs.runtime.dead_letter import DeadLetter
from schemas import rawflows
from schemas.exportedflows import PROTOCOLS
from schemas.rawflows import CONTENT_EXPORTERS, CONTENT_RAW_FLOWS, RawDatagram, RawMessage


class RawRow(NamedTuple):
    """A message of ``flows.raw`` and its place."""

    topic: str
    partition: int
    offset: int
    kind: str
    collector: FlowCollector
    value: bytes


@dataclass
class Taken:
    """What became of some messages beside the records.

    Attributes
    ----------
    letters
        What was refused, one a message: the message, or one of those of its datagrams that were refused.
    interfaces
        Counters of interfaces, rows of :data:`schemas.interfacecounters.SCHEMA`.
    first_us
        Receipt of the first datagram, or of the newest that a collector had decoded of an exporter.
    """

    query: str
    letters: list[DeadLetter] = field(default_factory=list)
    interfaces: list[pa.RecordBatch] = field(default_factory=list)
    first_us: int = 0

    def records(self, rows: Iterable[RawRow], sessions: ExportSessions, rules: DecodeRules) -> Iterator[tuple[FlowCollector, FlowColumns]]:
        """Decode messages in the order of their places, those of a collector that lie together at once."""
        ordered = sorted(rows, key=lambda row: (row.partition, row.offset))
        for (collector, told), some in groupby(ordered, key=lambda row: (row.collector, row.kind == CONTENT_EXPORTERS)):
            for piece in self._adopted(some, sessions, rules) if told else self._decoded(some, sessions, rules):
                if len(piece.counters):
                    self.interfaces.append(interface_rows(piece.counters, piece.exporters, piece.counted_us, collector))
                if len(piece.flows):
                    yield collector, piece.flows

    def _decoded(self, rows: Iterable[RawRow], sessions: ExportSessions, rules: DecodeRules) -> Iterator[Decoded]:
        readable = list(self._readable(rows))
        batch = datagrams_of([message for _, message in readable])
        if not len(batch):
            return
        self._since(min(batch.received_us))
        refused: list[Rejected] = []
        for piece in decoder.decode(batch, sessions, rules):
            refused += piece.rejected
            yield piece
        self._refuse([(row, len(message)) for row, message in readable], batch, refused)

    def _adopted(self, rows: Iterable[RawRow], sessions: ExportSessions, rules: DecodeRules) -> Iterator[Decoded]:
        """What a collector knew of exporters that it decoded itself until then."""
        for row in rows:
            try:
                given = state.decode(row.value)
            except state.ExportStateError as e:
                self.letters.append(DeadLetter(row.value, f"exporters: {e}", row.topic, row.partition, row.offset, self.query))
                continue
            for one in given.known.values():
                self._since(one.seen_us)
            yield from handover.adopt(given, sessions, rules)

    def _since(self, received_us: int) -> None:
        self.first_us = min(self.first_us, received_us) if self.first_us else received_us

    def _readable(self, rows: Iterable[RawRow]) -> Iterator[tuple[RawRow, RawMessage]]:
        """Messages that are some, taken apart."""
        for row in rows:
            try:
                if row.kind != CONTENT_RAW_FLOWS:
                    raise rawflows.RawFlowsError(f"has content type {row.kind!r}, not {CONTENT_RAW_FLOWS!r}")
                message = rawflows.decode(row.value)
            except rawflows.RawFlowsError as e:
                self.letters.append(DeadLetter(row.value, f"raw-flows: the message {e}", row.topic, row.partition, row.offset, self.query))
                continue
            if len(message):  # else a heartbeat
                yield row, message

    def _refuse(self, rows: list[tuple[RawRow, int]], batch: DatagramBatch, refused: list[Rejected]) -> None:
        """One letter for each message: its datagrams that were not decoded wholly."""
        by_number = {one.datagram: one for one in refused}
        first = 0
        for row, n in rows:
            mine = [number for number in range(first, first + n) if number in by_number]
            first += n
            if not mine:
                continue
            fault = by_number[mine[0]]
            sender = address_text(batch.senders[mine[0]])
            reason = f"{fault.reason}: byte {fault.at} of a datagram of {sender}; {len(mine)} of {n} datagrams of the message refused"
            value = rawflows.encode([_datagram(batch, number) for number in mine])
            self.letters.append(DeadLetter(value, reason, row.topic, row.partition, row.offset, self.query))


def _datagram(batch: DatagramBatch, number: int) -> RawDatagram:
    at, end = batch.offsets[number : number + 2]
    return RawDatagram(
        batch.data[at:end], batch.senders[number], batch.ports[number], 0, batch.received_us[number], batch.kept_of[number], 0
    )


def account_rows(sessions: ExportSessions, since_us: int = 0) -> Iterator[dict[str, Any]]:
    """Cumulative counts of exporters that were heard of since a time, a row each protocol and domain, and whose they are."""
    for key, session in reversed(sessions.known.items()):
        if session.seen_us < since_us:
            break
        yield {
            "exporter": address_text(session.exporter),
            "sender": address_text(key.sender),
            "export_protocol": PROTOCOLS.get(key.version, str(key.version)),
            "exporter_domain": key.domain,
            "seen_us": session.seen_us,
            **session.account(),
        }


def accounts(sessions: ExportSessions, since_us: int, about: dict[str, Any]) -> str:
    """Cumulative counts of exporters that were heard of since a time, a JSON object a line; the last line is of what belongs to none."""
    lines = [json.dumps({**about, **row}) for row in account_rows(sessions, since_us)]
    if sessions.counts:
        lines.append(json.dumps({**about, "exporter": "", **sessions.counts}))
    return "\n".join(lines)
