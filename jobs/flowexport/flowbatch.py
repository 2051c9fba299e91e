"""Decoded records on their way to be enriched: as Arrow, by bucket of their flow, with whose duplicate each is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from jobs.flowexport.columns import ADDRESS, FlowColumns
from jobs.flowexport.duplicates import Addresses, flow_hashes
from schemas.wire import arrow_stream

#: Column of the exporter whose record counts.
_DUPLICATE_OF = "duplicate_of"


def by_flow(flows: FlowColumns, buckets: int) -> Iterator[tuple[int, bytes]]:
    """Records by bucket of their flow, as Arrow streams."""
    batch = flows.to_arrow()
    if buckets == 1:
        yield 0, arrow_stream(batch)
        return
    bucket = flow_hashes(flows.columns) % np.uint64(buckets)
    for number in np.unique(bucket).tolist():
        yield number, arrow_stream(batch.filter(pa.array(bucket == number)))


def read(stream: bytes) -> pa.RecordBatch:
    """The one batch of a stream that :func:`by_flow` or :func:`marked` gave."""
    with pa.ipc.open_stream(stream) as reader:
        (batch,) = list(reader)
    return batch


def marked(batch: pa.RecordBatch, duplicate_of: Addresses) -> bytes:
    """Records with whose duplicate each is, as a stream."""
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(ADDRESS), len(duplicate_of), [None, pa.py_buffer(np.ascontiguousarray(duplicate_of))]
    )
    return arrow_stream(batch.append_column(_DUPLICATE_OF, column))
