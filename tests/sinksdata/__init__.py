"""Predictions made by hand for the tests of the sinks: records with chosen columns, and messages of them as the meter writes them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from jobs.sinks.queries import stored
from schemas.flows import PREDICTION_SCHEMA, RECORD_VERSION
from schemas.packets import FLOWS
from schemas.records import HEADER_MESSAGE_ID, HEADER_RECORD_VERSION
from schemas.wire import CONTENT_FLOWS, Header

#: What starts the query of each store.
START = {query.name: query.start for query in stored(FLOWS)}
T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_NAMESPACE = uuid.UUID("11111111-2222-5333-8444-555555555555")


def flow_id(name: object) -> str:
    """A flow id that is the same for the same name."""
    return str(uuid.uuid5(_NAMESPACE, str(name)))


def table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Predictions: each row gives the columns that matter, the others are plausible. ``name`` makes the flow id; ``at``/``lasts`` are
    seconds."""
    count = len(rows)
    columns: dict[str, list[Any]] = {}
    for field in PREDICTION_SCHEMA:
        if pa.types.is_string(field.type):
            columns[field.name] = [""] * count
        elif pa.types.is_timestamp(field.type):
            columns[field.name] = [T0] * count
        else:
            columns[field.name] = [0] * count
    constant = {
        "community_id": "1:abc=", "sensor_id": "s1", "domain": "d1", "ip_version": 4, "protocol": 6, "src_ip": "10.0.0.1",
        "src_port": 40000,
        "dst_ip": "10.0.0.2", "dst_port": 80, "closed": True, "end_reason": "fin", "tcp_state": "SF", "feature_version": "1",
        "attack_type": "BENIGN", "model_version": "7", "confidence_score": 0.1,
    }  # fmt: skip
    for name, value in constant.items():
        columns[name] = [value] * count
    for i, row in enumerate(rows):
        start = T0 + timedelta(seconds=row.get("at", 0))
        columns["flow_id"][i] = flow_id(row.get("name", i))
        columns["start_time"][i] = start
        columns["end_time"][i] = start + timedelta(seconds=row.get("lasts", 0))
        if row.get("attack_type", "BENIGN") != "BENIGN":
            columns["predicted_label"][i], columns["confidence_score"][i] = 1, 0.9
        if not row.get("closed", True):
            columns["end_reason"][i] = None
        for name, value in row.items():
            if name not in ("name", "at", "lasts"):
                columns[name][i] = value
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in PREDICTION_SCHEMA}, schema=PREDICTION_SCHEMA)


def value(rows: pa.Table) -> bytes:
    """Value of a message: Arrow IPC stream, lz4."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


def headers(message_id: str = "q/0/0/0") -> list[tuple[str, bytes]]:
    """Headers of a message."""
    return [
        (Header.CONTENT_TYPE, CONTENT_FLOWS.encode()),
        (HEADER_MESSAGE_ID, message_id.encode()),
        (HEADER_RECORD_VERSION, str(RECORD_VERSION).encode()),
    ]


def kafka_rows(messages: Sequence[tuple[bytes | None, list[tuple[str, bytes]]]], topic: str = "predictions") -> pa.RecordBatch:
    """Messages as the Kafka source hands them over."""
    pairs = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    return pa.record_batch(
        [
            pa.array([m for m, _ in messages], pa.binary()),
            pa.array([[{"key": k, "value": v} for k, v in h] if h is not None else None for _, h in messages], pairs),
            pa.array([topic] * len(messages)),
            pa.array([0] * len(messages), pa.int32()),
            pa.array(range(len(messages)), pa.int64()),
        ],
        names=["value", "headers", "topic", "partition", "offset"],
    )
