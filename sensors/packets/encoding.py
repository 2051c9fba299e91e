"""Frames to messages of ``raw-packets``: split by flow hash, encoded as Arrow IPC (see :mod:`schemas.wire`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.wire import PACKET_SCHEMA, arrow_stream
from sensors.packets.frames import FrameBatch

#: A message is kept below this, so that a broker with its default limit (1 MiB) takes it.
MAX_MESSAGE_BYTES = 1_000_000


def to_arrow(frames: FrameBatch, hashes: NDArray[np.uint32]) -> pa.RecordBatch:
    """Frames as a record batch of ``PACKET_SCHEMA``; the frame bytes are shared, not copied."""
    base = int(frames.offsets[0])
    offsets = (frames.offsets - base).astype(np.int32)
    data = frames.data[base : frames.offsets[-1]]
    frame = pa.Array.from_buffers(pa.binary(), len(frames), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))])
    columns = [
        pa.array(np.ascontiguousarray(frames.ts)),
        pa.array(np.ascontiguousarray(frames.wire_len)),
        pa.array(np.ascontiguousarray(frames.link_type)),
        pa.array(hashes),
        frame,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=PACKET_SCHEMA)


def from_arrow(batch: pa.RecordBatch) -> FrameBatch:
    """Inverse of :func:`to_arrow`, but for the hashes; the frame bytes are shared."""
    frames = batch["frame"]
    n = len(frames)
    # as many as are needed: a damaged message may tell of a buffer that is longer, and no multiple of an offset's size
    offsets = np.frombuffer(frames.buffers()[1], np.int32, n + 1, offset=4 * frames.offset).astype(np.int64)
    body = frames.buffers()[2]
    data = np.frombuffer(body, np.uint8) if body is not None and body.size else np.zeros(1, np.uint8)
    ts, wire_len, link_type = (batch[name].to_numpy() for name in ("ts", "wire_len", "link_type"))
    return FrameBatch(ts, wire_len, link_type, data, offsets)


EMPTY = arrow_stream(to_arrow(FrameBatch.empty(), np.empty(0, np.uint32)))


def split(frames: FrameBatch, partitions: int) -> Iterator[tuple[int, bytes, int]]:
    """Messages for the partitions that have frames: ``(partition, value, packets)``, in partition order.

    A flow's packets go to partition ``flow_hash % partitions`` and keep their order. A partition's share that would not fit one message is
    cut into several.
    """
    from sensors.packets.decode import flow_hashes  # compiled on first use

    if not len(frames):
        return
    hashes = flow_hashes(frames.data, frames.offsets, frames.wire_len, frames.link_type)
    target = hashes % np.uint32(partitions)
    order = np.argsort(target, kind="stable")
    whole = to_arrow(frames.take(order), hashes[order])
    bounds = np.searchsorted(target[order], np.arange(partitions + 1))
    for partition in range(partitions):
        start, stop = int(bounds[partition]), int(bounds[partition + 1])
        if stop > start:
            for value, n in _fitting(whole.slice(start, stop - start)):
                yield partition, value, n


def _fitting(batch: pa.RecordBatch) -> Iterator[tuple[bytes, int]]:
    """Encode, halving what is too long; a single frame is at most 256 KiB and always fits."""
    n = batch.num_rows
    # Encoding first what can hardly fit would be wasted; lz4 does at best some 4:1 on traffic.
    if n == 1 or batch.get_total_buffer_size() <= 4 * MAX_MESSAGE_BYTES or batch.nbytes <= 4 * MAX_MESSAGE_BYTES:
        value = arrow_stream(batch)
        if n == 1 or len(value) <= MAX_MESSAGE_BYTES:
            yield value, n
            return
    yield from _fitting(batch.slice(0, n // 2))
    yield from _fitting(batch.slice(n // 2))
