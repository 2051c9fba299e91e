"""Windows as records."""

from __future__ import annotations

import ipaddress
import uuid

import numpy as np
import pyarrow as pa

from jobs.windows.cascade import SIZES
from jobs.windows.features import features
from jobs.windows.slots import SECONDS
from jobs.windows.summary import Summaries
from schemas.windows import WINDOW_SCHEMA, WINDOW_VERSION

#: Of the ids: arbitrary, ours.
_NAMESPACE = uuid.UUID("c6f0a4f2-3a37-5b0d-8f0c-52f1b7d4a6e9")
_US = 1_000_000


def records(windows: Summaries, size: int) -> pa.RecordBatch:
    """Windows of one size (seconds) as :data:`schemas.windows.WINDOW_SCHEMA`, in their order."""
    rows = windows.rows
    domains = [windows.domains[number] for number in rows["domain"].tolist()]
    addresses = [_text(*row) for row in zip(*(rows[name].tolist() for name in ("ipver", "bits", "src_hi", "src_lo")), strict=True)]
    start = rows["begin"] * (SECONDS * _US)
    names = [f"{domain}|{size}|{source}|{at}" for domain, source, at in zip(domains, addresses, start.tolist(), strict=True)]
    values = {
        "window_id": [str(uuid.uuid5(_NAMESPACE, name)) for name in names],
        "window_size": np.full(len(rows), size, np.int16),
        "domain": domains,
        "ip_version": rows["ipver"].astype(np.int8),
        "src_ip": addresses,
        "window_start": start,
        "window_end": start + size * _US,
        "last_packet": rows["last"],
        "complete": rows["parts"] == SIZES[size],
        "window_version": [WINDOW_VERSION] * len(rows),
        **features(windows),
    }
    columns = []
    for field in WINDOW_SCHEMA:
        column = pa.array(values[field.name], pa.int64()) if pa.types.is_timestamp(field.type) else pa.array(values[field.name])
        columns.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=WINDOW_SCHEMA)


def _text(version: int, bits: int, high: int, low: int) -> str:
    """An address, or the network that stands for many."""
    address = ipaddress.IPv4Address(low & 0xFFFFFFFF) if version == 4 else ipaddress.IPv6Address(high << 64 | low)
    return str(address) if bits == address.max_prefixlen else f"{address}/{bits}"
