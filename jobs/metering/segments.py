"""State of a bucket as a log of segments: what is written per batch is in proportion to what the batch changed, not to what is open.

A segment is what one batch did to the flow table: slots released, rows set. The table itself is cached in the worker process; the cache is
current when its version *and* nonce are the stored ones (a killed batch leaves a cache ahead of what was committed, with another
nonce). A cache that is a few versions behind applies the missing segments; anything else is rebuilt from the log. When the log has
grown beyond about twice the open rows, those rows of its tail that no later segment holds are written again, a bounded number per batch,
and what is left without any is dropped. Which rows those are is remembered beside the table: reading a segment back costs some 100 ms per
MB in Spark's state server.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from infra.config import MeterSettings
from jobs.metering.bucket import BucketMeter, Emission
from jobs.metering.table import ROW_DTYPE
from jobs.metering.words import compress, decompress, expand, squeeze

#: Rows of the tail that a batch writes again at most: as many as it has changed itself, and no fewer than this; and the log's size below
#: which nobody cares.
COMPACT_ROWS = 4_096
SLACK_ROWS = 16_384
#: Segments kept at most, however small: a quiet bucket writes an empty one per batch.
MAX_SEGMENTS = 64


class Store(Protocol):
    """Where segments lie: Spark's MapState, or a dict in tests. A version may have been written more than once; its nonce says which is
    meant.
    """

    def get(self, version: int, nonce: bytes) -> bytes | bytearray | None:
        """Segment ``version``, if it is there."""

    def put(self, version: int, nonce: bytes, segment: bytes, plain: Callable[[], bytes]) -> None:
        """Write a segment; ``plain``: the same, quicker to make and read and larger, for a copy that is read once or never."""

    def remove(self, version: int, nonce: bytes) -> None:
        """Drop a segment."""


class Entry(NamedTuple):
    """What is known of a segment without reading it."""

    nonce: bytes
    rows: int


@dataclass
class Handle:
    """A bucket's meter with its place in the log."""

    meter: BucketMeter
    version: int = 0
    segments: dict[int, Entry] = field(default_factory=dict)  # by version, oldest first
    slots: dict[int, NDArray[np.uint64]] = field(default_factory=dict)  # of the rows in each segment
    latest: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # by slot: the last segment that has its row

    @property
    def log_rows(self) -> int:
        """Rows in all segments."""
        return sum(entry.rows for entry in self.segments.values())

    def apply(self, version: int, segment: bytes | bytearray) -> None:
        """Repeat on the table what a segment says."""
        _, released, rows = unpack_segment(segment)
        self.meter.table.apply(released, rows)
        self.note(version, rows["slot"].copy())

    def note(self, version: int, slots: NDArray[np.uint64]) -> None:
        """Segment ``version`` holds the rows of ``slots``."""
        self.slots[version] = slots
        self.mark(version, slots)

    def mark(self, version: int, slots: NDArray[np.uint64]) -> None:
        """No segment before ``version`` is needed for the rows of ``slots``."""
        top = int(slots.max()) + 1 if len(slots) else 0
        if top > len(self.latest):
            self.latest = np.concatenate([self.latest, np.zeros(max(top - len(self.latest), len(self.latest)), np.int64)])
        self.latest[slots] = version


_cache: dict[tuple[str, int], Handle] = {}


def clear_cache() -> None:
    """Forget every cached table (tests: what a fresh worker knows)."""
    _cache.clear()


#: Set in the number of rows: they are not compressed.
_PLAIN = 1 << 31


def pack_segment(nonce: bytes, released: NDArray[np.uint64], rows: NDArray, *, plain: bool = False) -> bytes:
    """Segment as bytes: nonce, counts, then slots and rows, compressed unless ``plain``."""
    head = struct.pack("<8sII", nonce, len(released), len(rows) | _PLAIN * plain) + released.astype("<u8").tobytes()
    return head + squeeze(rows, None if plain else "zstd")


def unpack_segment(segment: bytes | bytearray) -> tuple[bytes, NDArray[np.uint64], NDArray]:
    """Inverse of :func:`pack_segment`."""
    nonce, n_released, n_rows = struct.unpack_from("<8sII", segment)
    rows_at = 16 + 8 * n_released
    released = np.frombuffer(segment, "<u8", n_released, offset=16).copy()  # writable, as compiled code knows it
    rows = expand(memoryview(segment)[rows_at:], n_rows & ~_PLAIN, ROW_DTYPE, None if n_rows & _PLAIN else "zstd")
    return nonce, released, rows


def load(query: str, bucket: int, buckets: int, settings: MeterSettings, meta: bytes | None, store: Store) -> Handle:
    """The bucket as it was committed: from the cache when that is current, else from the log.

    ``meta`` is the blob that :func:`save` gave last; None for a bucket that was never seen.
    """
    key = (query, bucket)
    # taken out of the cache: if this batch fails half way, a table half changed must not be found there
    handle = _cache.pop(key, None)
    if meta is None:
        return Handle(BucketMeter(bucket, buckets, settings))
    stored = pickle.loads(decompress(meta, "lz4"))
    version, segments = stored["version"], stored["segments"]
    if handle is None or handle.version != version or handle.segments[version] != segments[version]:
        rebuilt = handle is None or not _catch_up(handle, version, segments, store)
        if rebuilt or handle is None:
            handle = Handle(BucketMeter(bucket, buckets, settings))
            for number, entry in segments.items():
                handle.apply(number, _segment(store, number, entry))
        handle.version, handle.segments = version, segments
        handle.slots = {number: handle.slots[number] for number in segments}
        handle.meter.load(stored["meter"])
        if rebuilt and (unknown := set(np.unique(handle.meter.table.open_domains()).tolist()) - set(stored["meter"]["names"])):
            raise RuntimeError(f"open-flow state: rows of domains {sorted(unknown)[:8]} that have no name: the log is damaged")
    return handle


def _catch_up(handle: Handle, version: int, segments: dict[int, Entry], store: Store) -> bool:
    """Apply the segments after the cached version, if that version is part of this history."""
    if not handle.version < version or segments.get(handle.version) != handle.segments[handle.version]:
        return False
    for number in range(handle.version + 1, version + 1):
        handle.apply(number, _segment(store, number, segments[number]))
    return True


def _segment(store: Store, version: int, entry: Entry) -> bytes | bytearray:
    segment = store.get(version, entry.nonce)
    if segment is None:
        raise RuntimeError(f"open-flow state: segment {version} is missing from the log")
    if segment[: len(entry.nonce)] != entry.nonce:
        raise RuntimeError(f"open-flow state: segment {version} is of another run of its batch")
    return segment


def save(query: str, handle: Handle, emission: Emission, store: Store) -> bytes:
    """Write what the batch changed; returns the blob to be kept for :func:`load`, and caches the table."""
    table = handle.meter.table
    released = emission.closed["slot"]
    rows = table.take_dirty()
    tail: list[int] = []
    if handle.log_rows + len(rows) > 2 * len(table) + SLACK_ROWS or len(handle.segments) >= MAX_SEGMENTS:
        rows, tail = _compact(handle, rows)
    version, nonce = handle.version + 1, os.urandom(8)
    store.put(version, nonce, pack_segment(nonce, released, rows), lambda: pack_segment(nonce, released, rows, plain=True))
    for number in tail:
        store.remove(number, handle.segments.pop(number).nonce)
        del handle.slots[number]
    handle.version = version
    handle.segments[version] = Entry(nonce, len(rows))
    handle.note(version, rows["slot"].copy())
    state = {"version": version, "segments": handle.segments, "meter": handle.meter.meta()}
    _cache[(query, handle.meter.bucket)] = handle
    return compress(pickle.dumps(state, protocol=5), "lz4")


def _compact(handle: Handle, rows: NDArray) -> tuple[NDArray, list[int]]:
    """Rows that only the oldest segments hold join ``rows``; returns them and the segments that may go."""
    table = handle.meter.table
    budget = max(COMPACT_ROWS, len(rows))
    excess = handle.log_rows + len(rows) - 2 * len(table) - SLACK_ROWS
    spare = len(handle.segments) - MAX_SEGMENTS
    handle.mark(handle.version + 1, rows["slot"])
    tail: list[int] = []
    again = [rows]
    for number, entry in handle.segments.items():
        # the log of a bucket must keep the version before this one, by which caches recognise their place
        if number == handle.version or (excess <= 0 and spare < 0):
            break
        slots = handle.slots[number]
        live = table.open_among(slots[handle.latest[slots] == number])
        kept = table.rows_at(live[:budget])
        again.append(kept)
        if len(live) > budget:
            break  # it goes when the rest of its rows have moved on
        budget -= len(kept)
        tail.append(number)
        excess -= entry.rows - len(kept)
        spare -= 1
    return np.concatenate(again), tail
