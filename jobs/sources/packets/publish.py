"""The scoring step of the stream: flow rows of the meter -> messages for Kafka, scored by the models in force."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from jobs.metering.emission import records_of, together
from jobs.metering.layout import AccountRows, FlowRows, LayoutError, RefusedBlob, WindowPart, decode
from jobs.runtime import outgoing
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.outgoing import Row
from jobs.scoring.modelset import ModelSet
from schemas.packets import ACCOUNTS, FLOWS, RAW_PACKETS
from schemas.records import HEADER_MESSAGE_ID
from schemas.windowrecords import CONTENT_WINDOW_SLICES, WINDOW_SLICES
from schemas.wire import CONTENT_JSON, Header


def publish(batches: Iterable[pa.RecordBatch], champion: ModelSet, query: str, prefix: str) -> Iterator[pa.RecordBatch]:
    """Rows of the meter (bucket, blob) of one task -> rows of :data:`jobs.runtime.outgoing.KAFKA_DDL`.

    All flows of the task are scored in one call; a message holds the rows of one blob, of one bucket and batch, so that its identity
    (``message-id``) means the same content however often the batch is repeated.
    """
    flows: list[FlowRows] = []
    rows: list[Row] = []
    for batch in batches:
        for blob in batch.column(1).to_pylist():
            match decode(blob):
                case FlowRows() as some:
                    flows.append(some)
                case RefusedBlob() as refused:
                    rows.append(_letter(refused, query, prefix))
                case AccountRows(version, accounts):
                    rows.extend(_account({"version": version, **row}, query, prefix) for row in accounts)
                case WindowPart() as part:
                    rows.append(_window_part(part, query, prefix))
                case other:
                    raise LayoutError(f"{type(other).__name__} before the publisher, which is what goes into the stateful step")
    if flows:
        groups = list(together(flows))
        for group, scored in zip(groups, champion.score_each([records_of(group) for group in groups]), strict=True):
            rows.extend(_messages(group, scored, query, prefix))
    yield from outgoing.batches(rows)


def _messages(group: list[FlowRows], scored: pa.RecordBatch, query: str, prefix: str) -> Iterator[Row]:
    at = 0
    for f in group:
        message = f"{query}/{f.bucket}/{f.version}/{f.first}"
        yield outgoing.records(FLOWS, scored.slice(at, f.n), str(f.bucket), message, prefix=prefix, final=f.closed)
        at += f.n


def _window_part(part: WindowPart, query: str, prefix: str) -> Row:
    about = {Header.CONTENT_TYPE: CONTENT_WINDOW_SLICES, HEADER_MESSAGE_ID: f"{query}/{part.bucket}/{part.version}/{part.number}"}
    return outgoing.message(prefix + WINDOW_SLICES.name, str(part.bucket), bytes(part.body), about)


def _letter(refused: RefusedBlob, query: str, prefix: str) -> Row:
    letter = DeadLetter(refused.value, refused.reason, prefix + RAW_PACKETS.name, refused.partition, refused.offset, query)
    return outgoing.dead_letter(letter, prefix=prefix)


def _account(row: dict[str, Any], query: str, prefix: str) -> Row:
    key, value = f"{query}/{row['domain']}/{row['bucket']}", json.dumps({"query": query, **row}).encode()
    return outgoing.message(prefix + ACCOUNTS.name, key, value, {Header.CONTENT_TYPE: CONTENT_JSON})
