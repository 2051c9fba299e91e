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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infra.errors import CheckpointError
from jobs.metering import pickled
from jobs.metering.bucket import BucketMeter, Emission
from jobs.metering.layout import BucketState, Bytes, Entry, LayoutError, Segment
from jobs.metering.settings import MeterSettings

#: Rows of the tail that a batch writes again at most: as many as it has changed itself, and no fewer than this; and the log's size below
#: which nobody cares.
COMPACT_ROWS = 4_096
SLACK_ROWS = 16_384
#: Segments kept at most, however small: a quiet bucket writes an empty one per batch.
MAX_SEGMENTS = 64


class Store(Protocol):
    """Where segments lie: Spark's MapState, or a dict in tests.

    A version may have been written more than once; its nonce says which is meant.
    """

    def get(self, version: int, nonce: bytes) -> Bytes | None:
        """Segment ``version``, if it is there."""

    def put(self, version: int, nonce: bytes, segment: bytes, plain: Callable[[], bytes]) -> None:
        """Write a segment; ``plain``: the same, quicker to make and read and larger, for a copy that is read once or never."""

    def remove(self, version: int, nonce: bytes) -> None:
        """Drop a segment."""


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

    def apply(self, version: int, segment: Segment) -> None:
        """Repeat on the table what a segment says."""
        self.meter.table.apply(segment.released, segment.rows)
        self.note(version, segment.rows["slot"].copy())

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


def load(query: str, bucket: int, buckets: int, settings: MeterSettings, meta: bytes | None, store: Store, slice_s: int = 0) -> Handle:
    """The bucket as it was committed: from the cache when that is current, else from the log.

    ``meta`` is the blob that :func:`save` gave last; None for a bucket that was never seen. That of state before the blobs had a layout
    (:mod:`jobs.metering.pickled`) is read too; what is saved next has the layout. ``slice_s``: as of
    :class:`jobs.metering.bucket.BucketMeter`.

    Raises
    ------
    CheckpointError
        The state was written by another version of the program, or is damaged: nothing is metered from half of it.
    """
    key = (query, bucket)
    # taken out of the cache: if this batch fails half way, a table half changed must not be found there
    handle = _cache.pop(key, None)

    def fresh() -> Handle:
        return Handle(BucketMeter(bucket, buckets, settings, slice_s))

    if meta is None:
        return fresh()
    try:
        return _loaded(handle, fresh, meta, store)
    except ValueError as e:  # LayoutError, and what a table refuses
        # the way out is in the message: a hint is lost on the way from a Python worker to the driver
        raise CheckpointError(f"open-flow state of bucket {bucket}: {e}; {_WAY_OUT}") from e


_WAY_OUT = "go on with the version that wrote the checkpoint, or start with --reset-checkpoint (what it had open is given up)"


def _loaded(cached: Handle | None, fresh: Callable[[], Handle], meta: bytes, store: Store) -> Handle:
    """What ``meta`` says: ``cached`` when that is it, or was it lately; else a ``fresh`` one, from the log."""
    old = pickled.is_pickled(meta)
    if cached is not None and not old and BucketState.newest(meta) == (cached.version, cached.segments[cached.version].nonce):
        return cached
    stored = pickled.bucket_state(meta) if old else BucketState.decode(meta)
    version, segments = stored.version, stored.segments
    caught_up = cached is not None and _catch_up(cached, version, segments, store)
    if cached is not None and caught_up:
        handle = cached
    else:
        handle = fresh()
        for number, entry in segments.items():
            handle.apply(number, _segment(store, number, entry))
    handle.version, handle.segments = version, segments
    handle.slots = {number: handle.slots[number] for number in segments}
    handle.meter.load(stored.meter)
    if not caught_up and (unknown := set(np.unique(handle.meter.table.open_domains()).tolist()) - set(stored.meter.names)):
        raise LayoutError(f"rows of domains {sorted(unknown)[:8]} that have no name: the log is damaged")
    return handle


def _catch_up(handle: Handle, version: int, segments: dict[int, Entry], store: Store) -> bool:
    """Apply the segments after the cached version, if that version is part of this history."""
    if not handle.version < version or segments.get(handle.version) != handle.segments[handle.version]:
        return False
    for number in range(handle.version + 1, version + 1):
        handle.apply(number, _segment(store, number, segments[number]))
    return True


def _segment(store: Store, version: int, entry: Entry) -> Segment:
    blob = store.get(version, entry.nonce)
    if blob is None:
        raise LayoutError(f"segment {version} is missing from the log")
    segment = pickled.segment(blob) if pickled.is_segment(blob, entry.nonce) else Segment.decode(blob)
    if segment.nonce != entry.nonce:
        raise LayoutError(f"segment {version} is of another run of its batch")
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
    segment = Segment(nonce, released, rows)
    store.put(version, nonce, segment.encode(), lambda: segment.encode(plain=True))
    for number in tail:
        store.remove(number, handle.segments.pop(number).nonce)
        del handle.slots[number]
    handle.version = version
    handle.segments[version] = Entry(nonce, len(rows))
    handle.note(version, rows["slot"].copy())
    _cache[(query, handle.meter.bucket)] = handle
    return BucketState(version, handle.segments, handle.meter.state()).encode()


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
