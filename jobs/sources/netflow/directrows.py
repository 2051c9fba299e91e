"""Datagrams to rows of PostgreSQL in one process: decoded, marked and enriched by what the stream does it with."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from infra.log import get
from jobs.flowexport import decoder
from jobs.flowexport.columns import ADDRESS
from jobs.flowexport.datagrams import DatagramBatch, address_text
from jobs.flowexport.duplicates import FlowOwners
from jobs.flowexport.faults import Rejected
from jobs.flowexport.flowbatch import by_flow, marked, read
from jobs.flowexport.interfacetable import interface_rows
from jobs.flowexport.recordtable import FlowCollector, numbers
from jobs.flowexport.session import ExportSessions
from jobs.scoring.modelset import ModelSet
from jobs.sinks.hot import columns, hot_rows
from jobs.sources.netflow.directdead import DirectDeadLetters
from jobs.sources.netflow.directquality import short_id
from jobs.sources.netflow.directstate import unpacked
from jobs.sources.netflow.publish import Lookup, made, unscored
from jobs.sources.netflow.settings import ExportedFlowSettings
from schemas.exportedflows import EXPORTED_FLOWS
from schemas.rawflows import RawDatagram
from schemas.rawflowtable import FLOW_RAW

_US = 1_000_000
_LOG = get("netflow.direct")
#: Bytes of a refused datagram that its log line shows.
_SHOWN = 64


class ModelsInForce(Protocol):
    """Where a batch takes its models from."""

    @property
    def value(self) -> ModelSet | None:
        """Those in force; None: there are none."""
        ...


@dataclass
class DirectDecoder:
    """What one collector knows of its exporters, and what it makes of their datagrams.

    Parameters
    ----------
    settings, collector, lookup
        How datagrams are decoded, by whom, and what is found out about their records.
    models
        Without, or where none is in force, records are not scored.

    Attributes
    ----------
    sessions
        Exporters and their templates.
    refused
        Datagrams that were not decoded wholly, by reason.
    decoded
        Records, of datagrams that stand for others as many times.
    interfaces
        Counters of interfaces of the datagrams that were decoded last.
    rules
        Bounds and choices of the decoder.
    owners
        Who owns which flow.
    dead
        Datagrams that were not decoded wholly, to be kept.
    """

    settings: ExportedFlowSettings
    collector: FlowCollector
    lookup: Lookup
    models: ModelsInForce | None = None
    sessions: ExportSessions = field(default_factory=ExportSessions)
    refused: Counter[str] = field(default_factory=Counter)
    decoded: int = 0
    interfaces: list[pa.RecordBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rules = self.settings.rules()
        self._keep_us = round(self.settings.duplicates_s * _US)
        self.owners = FlowOwners(self._keep_us, self.settings.max_claims)
        self.dead = DirectDeadLetters(self.collector.sensor_id)

    def records(self, datagrams: Sequence[RawDatagram]) -> pa.Table | None:
        """Records of :data:`schemas.exportedflows.EXPORTED_FLOWS` of some datagrams, scored where there is a model; None: none."""
        batch = batch_of(datagrams)
        found: list[pa.RecordBatch] = []
        self.interfaces = []
        for piece in decoder.decode(batch, self.sessions, self.rules):
            self._refuse(piece.rejected, datagrams)
            if len(piece.counters):
                self.interfaces.append(interface_rows(piece.counters, piece.exporters, piece.counted_us, self.collector))
            if len(piece.flows):
                found += [read(stream) for _, stream in by_flow(piece.flows, 1)]
        if not found:
            return None
        given = [numbers(one) for one in found]
        self.decoded += sum(int(one["kept_of"].sum()) for one in given)
        if self.settings.duplicates_s:
            whose = self.owners.mark(given)
        else:
            whose = [np.zeros((one.num_rows, ADDRESS), np.uint8) for one in found]
        rows = [made(marked(one, of), self.collector, self.lookup) for one, of in zip(found, whose, strict=True)]
        models = self.models.value if self.models else None
        return pa.Table.from_batches(models.score_each(rows) if models else [unscored(one) for one in rows])

    def own_again(self, kept: bytes) -> None:
        """Take up claims that were kept (:func:`jobs.sources.netflow.directstate.packed`). ValueError: damaged."""
        self.owners = unpacked(kept, time.time_ns() // 1000, keep_us=self._keep_us, most=self.settings.max_claims)

    def _refuse(self, rejected: Sequence[Rejected], datagrams: Sequence[RawDatagram]) -> None:
        """Count and keep them, and show one."""
        self.dead.take(rejected, datagrams)
        self.refused.update(str(one.reason) for one in rejected)
        if rejected:
            one = rejected[0]
            shown = datagrams[one.datagram]
            _LOG.warning("datagrams were not decoded wholly", datagrams=len(rejected), reason=str(one.reason), at=one.at,
                         sender=address_text(shown.sender), begins=shown.payload[:_SHOWN].hex())  # fmt: skip


def batch_of(datagrams: Sequence[RawDatagram]) -> DatagramBatch:
    """Datagrams as the decoder takes them."""
    offsets = np.zeros(len(datagrams) + 1, np.int64)
    np.cumsum([len(d.payload) for d in datagrams], out=offsets[1:])
    return DatagramBatch(
        b"".join(d.payload for d in datagrams),
        offsets.tolist(),
        [d.sender for d in datagrams],
        [d.port for d in datagrams],
        [d.received_us for d in datagrams],
        [d.kept_of for d in datagrams],
    )


def stored_rows(records: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows of ``flow_exports`` and of ``flow_raw`` of some records."""
    n = records.num_rows
    ids = [short_id(text) for text in records["flow_id"].to_pylist()]
    known = {"id": pa.array(ids, pa.int64()), "processed": pa.repeat(pa.scalar(True), n)}
    raw = pa.table({column.name: known[column.source] if column.source in known else records[column.source] for column in FLOW_RAW.columns})
    return hot_rows(records.select(columns(EXPORTED_FLOWS)), EXPORTED_FLOWS), raw
