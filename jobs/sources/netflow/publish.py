"""The last step: records with their owners -> enriched, scored -> messages for Kafka."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.flowexport.flowbatch import read
from jobs.flowexport.recordtable import FlowCollector, numbers, records
from jobs.runtime import outgoing
from jobs.scoring.modelset import ModelSet
from jobs.sources.netflow.flowcounts import FlowDelays
from schemas.exportedflows import EXPORTED_FLOWS, FLOW_ACCOUNTS
from schemas.labels import BENIGN
from schemas.records import PREDICTION_FIELDS
from schemas.wire import CONTENT_JSON, Header

#: Rows of a message at most: some 1 MB.
ROWS = 8192


class Lookup(Protocol):
    """Finds out more about records."""

    def found(self, batch: pa.RecordBatch, columns: Mapping[str, NDArray[np.generic]]) -> dict[str, pa.Array]:
        """Columns of the record type, by name."""
        ...


def publish(batches: Iterable[pa.RecordBatch], models: ModelSet | None, lookup: Lookup, prefix: str) -> Iterator[pa.RecordBatch]:
    """Rows of :data:`jobs.sources.netflow.stateful.ROW_DDL` of one task -> rows of :data:`jobs.runtime.outgoing.KAFKA_DDL`.

    ``models`` None: records go unscored, under no model's version.
    """
    delays: dict[int, tuple[str, FlowDelays]] = {}
    for batch in batches:
        for row in batch.to_pylist():
            if row["topic"]:
                key, headers = json.loads(row["about"])
                yield from outgoing.batches([outgoing.message(row["topic"], key, row["blob"], headers)])
                continue
            rows = made(row["blob"], FlowCollector(row["sensor"], row["domain"]), lookup)
            scored = models.score(rows) if models else unscored(rows)
            _, took = delays.setdefault(row["bucket"], (row["message"], FlowDelays()))
            took.note(rows.column("received_time").cast(pa.int64()).to_numpy(), time.time())
            for at in range(0, scored.num_rows, ROWS):
                message = f"{row['message']}/{at}"
                yield from outgoing.batches(
                    [outgoing.records(EXPORTED_FLOWS, scored.slice(at, ROWS), str(row["bucket"]), message, prefix=prefix)]
                )
    for bucket, (message, took) in delays.items():
        query, _, version, _ = message.rsplit("/", 3)
        yield from outgoing.batches([account(query, bucket, took.message(query, bucket, int(version)), prefix)])


def account(query: str, bucket: int, value: bytes, prefix: str) -> outgoing.Row:
    """A message of ``flows.accounts``."""
    return outgoing.message(prefix + FLOW_ACCOUNTS.name, f"{query}/{bucket}", value, {Header.CONTENT_TYPE: CONTENT_JSON})


def made(stream: bytes, collector: FlowCollector, lookup: Lookup) -> pa.RecordBatch:
    """Records of the record type of what :func:`jobs.flowexport.flowbatch.marked` gave."""
    batch = read(stream)
    columns = numbers(batch)
    return records(batch, columns, collector, columns["duplicate_of"], lookup.found(batch, columns))


def unscored(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Records that no model has judged: nobody called them an attack, and the version is empty."""
    nothing = {"confidence_score": 0.0, "predicted_label": 0, "attack_type": BENIGN, "model_version": ""}
    times = {"scored_at": rows.column("received_time")}
    for field in PREDICTION_FIELDS:
        if field.name in nothing:
            values = pa.repeat(pa.scalar(nothing[field.name], field.type), rows.num_rows)
        else:
            values = times.get(field.name, pa.nulls(rows.num_rows, field.type))
        rows = rows.append_column(field, values)
    return rows
