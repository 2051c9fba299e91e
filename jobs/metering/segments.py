"""State of a bucket as a log of segments: what is written per batch is in proportion to what the batch changed, not to what is open.

A segment is what one batch did to the flow table: slots released, rows set. The table itself is cached in the worker process; the cache is
current when its version *and* nonce are the stored ones (a killed batch leaves a cache ahead of what was committed, with another
nonce). A cache that is a few versions behind applies the missing segments; anything else is rebuilt from the log. When the log has
grown beyond about twice the open rows, live rows of its tail are written again and the tail is dropped, a bounded number per batch.
"""

from __future__ import annotations

import os
import pickle
import struct
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.config import MeterSettings
from jobs.metering.bucket import BucketMeter, Emission
from jobs.metering.table import ROW_DTYPE

#: Rows of the tail that a batch writes again at most, and the log's size below which nobody cares.
COMPACT_ROWS = 32_768
SLACK_ROWS = 16_384
#: Segments kept at most, however small: a quiet bucket writes an empty one per batch.
MAX_SEGMENTS = 64


class Store(Protocol):
    """Where segments lie: Spark's MapState, or a dict in tests."""

    def get(self, version: int) -> bytes | None:
        """Segment ``version``, if it is there."""

    def put(self, version: int, segment: bytes) -> None:
        """Write a segment."""

    def remove(self, version: int) -> None:
        """Drop a segment."""


@dataclass
class Handle:
    """A bucket's meter with its place in the log."""

    meter: BucketMeter
    version: int = 0
    nonce: bytes = b""
    segments: dict[int, int] = field(default_factory=dict)  # version -> rows in it, oldest first

    @property
    def log_rows(self) -> int:
        """Rows in all segments."""
        return sum(self.segments.values())


_cache: dict[tuple[str, int], Handle] = {}


def clear_cache() -> None:
    """Forget every cached table (tests: what a fresh worker knows)."""
    _cache.clear()


def pack_segment(nonce: bytes, released: NDArray[np.uint64], rows: NDArray) -> bytes:
    """Segment as bytes: nonce, counts, then slots and rows, lz4."""
    body = released.astype("<u8").tobytes() + rows.tobytes()
    return struct.pack("<8sIIQ", nonce, len(released), len(rows), len(body)) + pa.compress(body, codec="lz4", asbytes=True)


def unpack_segment(segment: bytes) -> tuple[bytes, NDArray[np.uint64], NDArray]:
    """Inverse of :func:`pack_segment`."""
    nonce, n_released, n_rows, size = struct.unpack_from("<8sIIQ", segment)
    body = pa.decompress(segment[24:], decompressed_size=size, codec="lz4", asbytes=True)
    released = np.frombuffer(body, "<u8", n_released)
    return nonce, released, np.frombuffer(body, ROW_DTYPE, n_rows, offset=8 * n_released)


def load(query: str, bucket: int, buckets: int, settings: MeterSettings, meta: bytes | None, store: Store) -> Handle:
    """The bucket as it was committed: from the cache when that is current, else from the log.

    ``meta`` is the blob that :func:`save` gave last; None for a bucket that was never seen.
    """
    key = (query, bucket)
    # taken out of the cache: if this batch fails half way, a table half changed must not be found there
    handle = _cache.pop(key, None)
    if meta is None:
        return Handle(BucketMeter(bucket, buckets, settings))
    stored = pickle.loads(pa.decompress(meta[8:], decompressed_size=struct.unpack("<Q", meta[:8])[0], codec="lz4", asbytes=True))
    version, nonce, segments = stored["version"], stored["nonce"], stored["segments"]
    if handle is None or (handle.version, handle.nonce) != (version, nonce):
        if handle is None or not _catch_up(handle, version, segments, store):
            handle = Handle(BucketMeter(bucket, buckets, settings))
            for number in segments:
                _, released, rows = unpack_segment(_segment(store, number))
                handle.meter.table.apply(released, rows)
        handle.version, handle.nonce, handle.segments = version, nonce, segments
        handle.meter.load(stored["meter"])
    return handle


def _catch_up(handle: Handle, version: int, segments: dict[int, int], store: Store) -> bool:
    """Apply the segments after the cached version, if that version is part of this history."""
    if not handle.version < version or handle.version not in segments:
        return False
    nonce, _, _ = unpack_segment(_segment(store, handle.version))
    if nonce != handle.nonce:
        return False
    for number in range(handle.version + 1, version + 1):
        _, released, rows = unpack_segment(_segment(store, number))
        handle.meter.table.apply(released, rows)
    return True


def _segment(store: Store, version: int) -> bytes:
    segment = store.get(version)
    if segment is None:
        raise RuntimeError(f"open-flow state: segment {version} is missing from the log")
    return segment


def save(query: str, handle: Handle, emission: Emission, store: Store) -> bytes:
    """Write what the batch changed; returns the blob to be kept for :func:`load`, and caches the table."""
    table = handle.meter.table
    released = emission.closed["slot"]
    rows = table.take_dirty()
    tail: list[int] = []
    if handle.log_rows + len(rows) > 2 * len(table) + SLACK_ROWS or len(handle.segments) >= MAX_SEGMENTS:
        rows, tail = _compact(handle, rows, store)
    version, nonce = handle.version + 1, os.urandom(8)
    store.put(version, pack_segment(nonce, released, rows))
    handle.segments[version] = len(rows)
    for number in tail:
        store.remove(number)
        del handle.segments[number]
    handle.version, handle.nonce = version, nonce
    state = {"version": version, "nonce": nonce, "segments": handle.segments, "meter": handle.meter.meta()}
    blob = pickle.dumps(state, protocol=5)
    _cache[(query, handle.meter.bucket)] = handle
    return struct.pack("<Q", len(blob)) + pa.compress(blob, codec="lz4", asbytes=True)


def _compact(handle: Handle, rows: NDArray, store: Store) -> tuple[NDArray, list[int]]:
    """Rows of the oldest segments that are still open join ``rows``; returns them and the segments that may go."""
    budget = COMPACT_ROWS
    tail: list[int] = []
    slots: list[NDArray] = [rows["slot"]]
    for number, size in handle.segments.items():
        if tail and size > budget:
            break
        tail.append(number)
        slots.append(unpack_segment(_segment(store, number))[2]["slot"])
        budget -= size
        if budget <= 0:
            break
    # the log of a bucket must keep the version before this one, by which caches recognise their place
    if handle.version in tail:
        tail.remove(handle.version)
    return handle.meter.table.rows_at(np.unique(np.concatenate(slots))), tail
