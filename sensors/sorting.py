"""All packets of one capture in time order, however far out of order they are, in bounded memory.

For captures that :mod:`sensors.ordering` cannot put right: files of several taps put one behind the other, ring buffers that
were read in the wrong order, clocks that were set back by seconds. DuckDB sorts, and spills to disk what does not fit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from infra.errors import CaptureError
from sensors.encoding import to_arrow
from sensors.frames import FrameBatch

#: Memory of the sort, and rows handed out at a time.
MEMORY_MB = 256
_ROWS = 16_384


def sort_by_time(batches: Iterable[FrameBatch], *, memory_mb: int = MEMORY_MB) -> Iterator[FrameBatch]:
    """The same packets in order of (capture time, position in the capture).

    Parameters
    ----------
    batches
        Frames in capture order; read to their end before the first is given back.
    memory_mb
        Bound of what the sort keeps in memory; the rest lies in temporary files (``TMPDIR``), removed at the end.

    Yields
    ------
    FrameBatch
        Of at most some ten thousand frames.

    Raises
    ------
    CaptureError
        There is no room for the temporary files.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="flowlake-sort-") as folder, duckdb.connect() as database:
        options = {"memory_limit": f"{memory_mb}MB", "temp_directory": folder, "threads": "2", "preserve_insertion_order": "false"}
        for name, value in options.items():
            database.execute(f"SET {name} = $value", {"value": value})
        try:
            database.execute("CREATE TEMP TABLE frames (ts BIGINT, wire_len UINTEGER, link_type USMALLINT, position BIGINT, frame BLOB)")
            for rows in _numbered(batches):
                database.execute("INSERT INTO frames SELECT * FROM rows")
                del rows
            query = "SELECT ts, wire_len, link_type, frame FROM frames ORDER BY ts, position"
            for batch in database.sql(query).to_arrow_reader(_ROWS):
                yield _frames(batch)
        except duckdb.Error as e:
            reason = " ".join(str(e).split())[:200]
            raise CaptureError(f"packets cannot be sorted in {folder}: {reason}", "make room, or set TMPDIR to a larger disk") from e


def _numbered(batches: Iterable[FrameBatch]) -> Iterator[pa.Table]:
    """Frames as Arrow, with their position in the capture."""
    at = 0
    for batch in batches:
        n = len(batch)
        rows = to_arrow(batch, np.zeros(n, np.uint32))
        columns = {name: rows[name] for name in ("ts", "wire_len", "link_type")}
        yield pa.table({**columns, "position": np.arange(at, at + n), "frame": rows["frame"]})
        at += n


def _frames(batch: pa.RecordBatch) -> FrameBatch:
    """Back from Arrow."""
    frame = batch["frame"]
    n = len(frame)
    offsets = np.frombuffer(frame.buffers()[1], np.int32, n + 1, offset=4 * frame.offset).astype(np.int64)
    body = frame.buffers()[2]
    data = np.frombuffer(body, np.uint8) if body is not None and body.size else np.zeros(1, np.uint8)
    ts, wire_len, link_type = (batch[name].to_numpy() for name in ("ts", "wire_len", "link_type"))
    return FrameBatch(ts, wire_len, link_type, data, offsets)
