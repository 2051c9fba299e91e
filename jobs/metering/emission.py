"""What the stateful step hands to the scoring step: flow rows of one bucket and batch, as bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from jobs.metering.bucket import Emission
from jobs.metering.features import records
from jobs.metering.planes import grow, shrink
from jobs.metering.table import ROW_DTYPE

#: Rows of one blob at most: what a batch gives may be hundreds of MB, and a blob is one value in Spark.
ROWS = 16_384


@dataclass(frozen=True)
class Flows:
    """Decoded blob of :func:`pack`: records of one bucket and batch, all closed or all interim.

    ``first`` is the number of its first row among all rows of the bucket and batch.
    """

    bucket: int
    version: int
    first: int
    closed: bool
    batch: pa.RecordBatch


def pack(emission: Emission, bucket: int, version: int) -> Iterator[bytes]:
    """Rows with the names they refer to. The features are computed behind the state, where all buckets of a task are in one place."""
    first = 0
    for rows, closed in ((emission.closed, True), (emission.interim, False)):
        for at in range(0, len(rows), ROWS):
            part = rows[at : at + ROWS]
            head = json.dumps([bucket, version, first, closed, len(part), emission.domains, emission.sensors], separators=(",", ":"))
            yield struct.pack("<I", len(head)) + head.encode() + shrink(part, "lz4")
            first += len(part)


def unpack(blob: bytes) -> Flows:
    """Inverse of :func:`pack` for one blob, as records of :data:`schemas.flows.RECORD_SCHEMA`."""
    (size,) = struct.unpack_from("<I", blob)
    bucket, version, first, closed, n, domains, sensors = json.loads(blob[4 : 4 + size])
    rows = grow(memoryview(blob)[4 + size :], n, ROW_DTYPE, "lz4")
    return Flows(bucket, version, first, closed, records(rows, domains, sensors, closed=closed))
