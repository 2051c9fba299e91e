"""What the stateful step hands to the scoring step: flow rows of one bucket and batch, as blobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from jobs.metering.bucket import Emission
from jobs.metering.features import records
from jobs.metering.layout import FlowRows
from jobs.metering.row import ROW_DTYPE
from jobs.metering.words import expand_into, squeeze

#: Rows of one blob, and of the message of ``predictions`` that it becomes, at most: some 2 MB before compression. A blob is one value in
#: Spark, whose buffers grow by doubling up to the longest.
BLOB_ROWS = 4_096
#: Rows that are made records in one go at most: their columns fit into a core's cache.
ROWS = 16_384


def pack(emission: Emission, bucket: int, version: int) -> Iterator[FlowRows]:
    """Rows with the names they refer to. The features are computed behind the state, where all buckets of a task are in one place."""
    first = 0
    for rows, closed in ((emission.closed, True), (emission.interim, False)):
        for at in range(0, len(rows), BLOB_ROWS):
            part = rows[at : at + BLOB_ROWS]
            names = (emission.domains, emission.sensors, emission.community_id_seed)
            yield FlowRows(bucket, version, first, closed, len(part), *names, squeeze(part))
            first += len(part)


def together(blobs: Iterable[FlowRows]) -> Iterator[list[FlowRows]]:
    """Blobs in their order, as many at a time as share their names and have at most :data:`ROWS` rows."""
    group: list[FlowRows] = []
    for flows in blobs:
        if group and ((flows.domains, flows.sensors) != (group[0].domains, group[0].sensors) or sum(f.n for f in group) + flows.n > ROWS):
            yield group
            group = []
        group.append(flows)
    if group:
        yield group


def records_of(group: Sequence[FlowRows]) -> pa.RecordBatch:
    """Blobs that share their names as records of :data:`schemas.flows.RECORD_SCHEMA`, one blob behind the other."""
    ends = np.cumsum([flows.n for flows in group])
    rows = np.empty(ends[-1], ROW_DTYPE)
    for flows, end in zip(group, ends, strict=True):
        expand_into(flows.body, rows[end - flows.n : end])
    closed = np.repeat([flows.closed for flows in group], [flows.n for flows in group])
    one = group[0]
    return records(rows, one.domains, one.sensors, closed=closed, community_id_seed=one.community_id_seed)
