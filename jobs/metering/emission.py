"""What the stateful step hands to the scoring step: flow rows of one bucket and batch, as bytes."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.metering.bucket import Emission
from jobs.metering.features import records
from jobs.metering.table import ROW_DTYPE


@dataclass(frozen=True)
class Flows:
    """Decoded :func:`pack`: records of one bucket and batch, closed and interim."""

    bucket: int
    version: int
    batch: pa.RecordBatch


def pack(emission: Emission, bucket: int, version: int) -> bytes:
    """Rows with the names they refer to. The features are computed behind the state, where all buckets of a task are in one place."""
    header = json.dumps([bucket, version, len(emission.closed), emission.domains, emission.sensors], separators=(",", ":")).encode()
    return struct.pack("<I", len(header)) + header + emission.closed.tobytes() + emission.interim.tobytes()


def unpack(blob: bytes) -> Flows:
    """Inverse of :func:`pack`, as records of :data:`schemas.flows.RECORD_SCHEMA`."""
    (size,) = struct.unpack_from("<I", blob)
    bucket, version, n_closed, domains, sensors = json.loads(blob[4 : 4 + size])
    rows = np.frombuffer(blob, ROW_DTYPE, offset=4 + size)
    return Flows(bucket, version, records(rows, domains, sensors, closed=np.arange(len(rows)) < n_closed))
