"""Decoded records on their way to be enriched: as Arrow, by bucket of their flow, with whose duplicate each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.flowexport.columns import ADDRESS, FlowColumns
from jobs.flowexport.duplicates import Addresses, flow_hashes
from jobs.flowexport.extras import Extras
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


def columns_of(batch: pa.RecordBatch, columns: Mapping[str, NDArray[Any]]) -> FlowColumns:
    """The same as columns, with the names of applications and without fields that have no column."""
    names = batch.column("application_name").dictionary_encode()
    every = ["", *names.dictionary.to_pylist()]
    return FlowColumns({**columns, "application_name": names.indices.to_numpy() + 1}, Extras.none(batch.num_rows), every)


def marked(batch: pa.RecordBatch, duplicate_of: Addresses) -> bytes:
    """Records with whose duplicate each is, as a stream."""
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(ADDRESS), len(duplicate_of), [None, pa.py_buffer(np.ascontiguousarray(duplicate_of))]
    )
    return arrow_stream(batch.append_column(_DUPLICATE_OF, column))
