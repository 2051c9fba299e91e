"""The scoring step of the stream: flow rows of the meter -> messages for Kafka, scored by the broadcast champion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from jobs.metering.emission import records_of, together
from jobs.metering.layout import AccountRows, FlowRows, LayoutError, RefusedBlob, decode
from jobs.runtime.dead_letter import DeadLetter
from jobs.scoring.model import Champion
from schemas.flows import RECORD_VERSION
from schemas.packets import ACCOUNTS, PREDICTIONS, RAW_PACKETS
from schemas.records import HEADER_MESSAGE_ID, HEADER_RECORD_VERSION, HEADER_SNAPSHOTS
from schemas.topics import DEAD_LETTER
from schemas.wire import CONTENT_FLOWS, CONTENT_JSON, Header, arrow_stream

KAFKA_DDL = "topic string, key binary, value binary, headers array<struct<key: string, value: binary>>"
_HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
KAFKA_SCHEMA = pa.schema([("topic", pa.string()), ("key", pa.binary()), ("value", pa.binary()), ("headers", _HEADERS)])


def publish(batches: Iterable[pa.RecordBatch], champion: Champion, query: str, prefix: str) -> Iterator[pa.RecordBatch]:
    """Rows of the meter (bucket, blob) of one task -> rows of ``KAFKA_DDL``.

    All flows of the task are scored in one call; a message holds the rows of one blob, of one bucket and batch, so that its identity
    (``message-id``) means the same content however often the batch is repeated.
    """
    flows: list[FlowRows] = []
    rows: list[dict[str, Any]] = []
    for batch in batches:
        for blob in batch.column(1).to_pylist():
            match decode(blob):
                case FlowRows() as some:
                    flows.append(some)
                case RefusedBlob() as refused:
                    rows.append(_letter(refused, query, prefix))
                case AccountRows(version, accounts):
                    rows.extend(_account({"version": version, **row}, query, prefix) for row in accounts)
                case other:
                    raise LayoutError(f"{type(other).__name__} before the publisher, which is what goes into the stateful step")
    if flows:
        groups = list(together(flows))
        for group, scored in zip(groups, champion.score_each([records_of(group) for group in groups]), strict=True):
            rows.extend(_messages(group, scored, query, prefix))
    for row in rows:
        yield pa.RecordBatch.from_pylist([row], KAFKA_SCHEMA)


def _messages(group: list[FlowRows], scored: pa.RecordBatch, query: str, prefix: str) -> Iterator[dict[str, Any]]:
    at = 0
    for f in group:
        message = f"{query}/{f.bucket}/{f.version}/{f.first}"
        about = {Header.CONTENT_TYPE: CONTENT_FLOWS, HEADER_MESSAGE_ID: message, HEADER_RECORD_VERSION: str(RECORD_VERSION)}
        yield {
            "topic": prefix + PREDICTIONS.name,
            "key": str(f.bucket).encode(),
            "value": arrow_stream(scored.slice(at, f.n)),
            "headers": _headers(about if f.closed else {**about, HEADER_SNAPSHOTS: "1"}),
        }
        at += f.n


def _letter(refused: RefusedBlob, query: str, prefix: str) -> dict[str, Any]:
    letter = DeadLetter(refused.value, refused.reason, prefix + RAW_PACKETS.name, refused.partition, refused.offset, query)
    return {"topic": prefix + DEAD_LETTER.name, **letter.row()}


def _account(row: dict[str, Any], query: str, prefix: str) -> dict[str, Any]:
    return {
        "topic": prefix + ACCOUNTS.name,
        "key": f"{query}/{row['domain']}/{row['bucket']}".encode(),
        "value": json.dumps({"query": query, **row}).encode(),
        "headers": _headers({Header.CONTENT_TYPE: CONTENT_JSON}),
    }


def _headers(pairs: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": k, "value": v.encode()} for k, v in pairs.items()]
