"""Windows as records."""

from __future__ import annotations

import base64
import ipaddress
import uuid
import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from jobs.windows.blob import BlobError
from jobs.windows.cascade import SIZES
from jobs.windows.features import features
from jobs.windows.slots import SECONDS
from jobs.windows.summary import ITEM_DTYPE, RECALLED, ROW_DTYPE, Summaries, grouped
from schemas.windows import SUMMARY, WINDOW_VERSION, schema_of

#: Of the ids: arbitrary, ours.
_NAMESPACE = uuid.UUID("c6f0a4f2-3a37-5b0d-8f0c-52f1b7d4a6e9")
_US = 1_000_000


def records(windows: Summaries, size: int) -> pa.RecordBatch:
    """Windows of one size (seconds) as columns of :func:`schemas.windows.schema_of`, in their order."""
    rows = windows.rows
    domains = [windows.domains[number] for number in rows["domain"].tolist()]
    addresses = [_text(*row) for row in zip(*(rows[name].tolist() for name in ("ipver", "src_hi", "src_lo")), strict=True)]
    start = rows["begin"] * (SECONDS * _US)
    parts = zip(domains, addresses, rows["bits"].tolist(), start.tolist(), strict=True)
    names = [f"{domain}|{size}|{source}/{bits}|{at}" for domain, source, bits, at in parts]
    values = {
        "window_id": [str(uuid.uuid5(_NAMESPACE, name)) for name in names],
        "window_size": np.full(len(rows), size, np.int16),
        "domain": domains,
        "ip_version": rows["ipver"].astype(np.int8),
        "src_ip": addresses,
        "src_prefix": rows["bits"].astype(np.int16),
        "window_start": start,
        "window_end": start + size * _US,
        "last_packet": rows["last"],
        "complete": (rows["parts"] == SIZES[size]).astype(np.int8),
        "window_version": [WINDOW_VERSION] * len(rows),
        **features(windows),
    }
    schema = schema_of(size)
    if SUMMARY in schema.names:
        values[SUMMARY] = samples(windows)
    columns = []
    for field in schema:
        column = pa.array(values[field.name], pa.int64()) if pa.types.is_timestamp(field.type) else pa.array(values[field.name])
        columns.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _text(version: int, high: int, low: int) -> str:
    return str(ipaddress.IPv4Address(low & 0xFFFFFFFF) if version == 4 else ipaddress.IPv6Address(high << 64 | low))


def samples(windows: Summaries) -> list[str]:
    """What larger windows are made of, beyond the columns of a record: the row and its samples, base64 of each."""
    rows = windows.rows.copy()
    for name in RECALLED:
        rows[name] = 0
    rows["domain"] = 0
    items = windows.items.copy()
    items["row"] = 0
    ends = np.searchsorted(windows.items["row"], np.arange(len(rows) + 1))
    plain, samples_ = rows.tobytes(), items.tobytes()
    size, each = ROW_DTYPE.itemsize, ITEM_DTYPE.itemsize
    bounds = zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    return [
        base64.b64encode(zlib.compress(plain[i * size : (i + 1) * size] + samples_[a * each : b * each], 1)).decode()
        for i, (a, b) in enumerate(bounds)
    ]


def summaries(domains: Sequence[str], texts: Sequence[str]) -> Summaries:
    """Inverse of :func:`samples`, of records of any order.

    Raises
    ------
    BlobError
        A text that is none.
    """
    names = tuple(sorted(set(domains)))
    number = {name: i for i, name in enumerate(names)}
    rows, items = [], []
    for i, (domain, text) in enumerate(zip(domains, texts, strict=True)):
        try:
            data = zlib.decompress(base64.b64decode(text, validate=True))
            row = np.frombuffer(data, ROW_DTYPE, 1).copy()
            some = np.frombuffer(data, ITEM_DTYPE, offset=ROW_DTYPE.itemsize).copy()
        except (ValueError, zlib.error) as e:
            raise BlobError(f"no summary of a window: {text[:40]!r}: {e}") from e
        row["domain"], some["row"] = number[domain], i
        rows.append(row)
        items.append(some)
    return grouped(np.concatenate([np.zeros(0, ROW_DTYPE), *rows]), np.concatenate([np.zeros(0, ITEM_DTYPE), *items]), names)
