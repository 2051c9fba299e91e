"""Windows as records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.metering.identity import address_texts
from jobs.mixing import mixed
from jobs.uuids import uuid_texts
from jobs.windows.cascade import SIZES
from jobs.windows.features import features
from jobs.windows.fold import summed_up
from jobs.windows.slots import SECONDS
from jobs.windows.storedsummary import texts
from jobs.windows.summary import Summaries
from schemas.windows import SUMMARY, WINDOW_VERSION, schema_of

_US = 1_000_000


def records(windows: Summaries, size: int, bucket: int = 0) -> pa.RecordBatch:
    """Windows as records, in their order.

    Parameters
    ----------
    windows
        Of one size.
    size
        Seconds.
    bucket
        That they were made in: sources of one network lie in several, and where they were summed up each has a window of it.

    Returns
    -------
    pa.RecordBatch
        Columns of :func:`schemas.windows.schema_of`.
    """
    rows = windows.rows
    part = np.where(summed_up(rows), bucket, 0).astype(np.int16)
    start = rows["begin"] * (SECONDS * _US)
    values = {
        "window_id": _ids(rows["tag"] + part.astype(np.uint64), rows["begin"], size),
        "window_size": np.full(len(rows), size, np.int16),
        "domain": pa.DictionaryArray.from_arrays(rows["domain"].astype(np.int32), pa.array(windows.domains, pa.string())),
        "ip_version": rows["ipver"].astype(np.int8),
        "src_ip": address_texts(rows["ipver"].astype(np.uint8), rows["src_hi"].copy(), rows["src_lo"].copy()),
        "src_prefix": rows["bits"].astype(np.int16),
        "part": part,
        "window_start": start,
        "window_end": start + size * _US,
        "last_packet": rows["last"],
        "complete": (rows["parts"] == SIZES[size]).astype(np.int8),
        "window_version": pa.repeat(WINDOW_VERSION, len(rows)),
        **features(windows),
    }
    schema = schema_of(size)
    if SUMMARY in schema.names:
        values[SUMMARY] = texts(windows)
    columns = []
    for field in schema:
        column = pa.array(values[field.name], pa.int64()) if pa.types.is_timestamp(field.type) else pa.array(values[field.name])
        columns.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _ids(tag: npt.NDArray[np.uint64], begin: npt.NDArray[np.int64], size: int) -> pa.StringArray:
    """UUIDs (version 8, RFC 9562) of a source's hash, a window's beginning and size: the same for the same window, wherever it is made."""
    high = mixed(tag ^ mixed(begin.astype(np.uint64) * np.uint64(1024) + np.uint64(size)))
    low = mixed(high + tag)
    return uuid_texts(high, low)
