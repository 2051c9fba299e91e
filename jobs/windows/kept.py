"""What is kept of a bucket of windows between two batches: pieces that never change, and a text that says which they are.

A batch writes the pieces that it added and drops those that it made windows of, so what is written is in proportion to what the batch
changed. The bucket itself is cached in the worker; it is current when its nonce is the stored one. A worker that lacks it takes the pieces
that it has, by their nonces, and reads the others.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from infra.errors import CheckpointError
from jobs.windows.blob import BlobError, pack, pack_traces, unpack, unpack_traces
from jobs.windows.bounds import Bounds
from jobs.windows.cascade import SIZES, WindowCascade
from jobs.windows.feed import Feed
from jobs.windows.level import Level, Pieces

#: Version of the text and the pieces.
VERSION = 1
#: A piece's key: its number, and what it is of: windows of a size, or the memory.
_KINDS = (*SIZES, 0)
_TRACES = 0
_WAY_OUT = "go on with the version that wrote the checkpoint, or start with --reset-checkpoint (windows that are open are given up)"


class PieceStore(Protocol):
    """Where pieces lie: Spark's MapState, or a dict in tests. A key may have been written more than once; its nonce says which is meant."""

    def get(self, key: int, nonce: bytes) -> bytes | bytearray | memoryview | None:
        """A piece, if it is there."""

    def put(self, key: int, nonce: bytes, piece: bytes, plain: Callable[[], bytes]) -> None:
        """Write a piece."""

    def remove(self, key: int, nonce: bytes) -> None:
        """Drop a piece."""


@dataclass
class HeldWindows:
    """A bucket of windows, and what of it is written."""

    feed: Feed
    nonces: dict[int, bytes] = field(default_factory=dict)  # by key of the pieces
    nonce: bytes = b""  # of the text

    def pieces(self) -> dict[int, Any]:
        """All pieces by key."""
        cascade = self.feed.cascade
        found = {
            number * len(_KINDS) + _KINDS.index(size): piece for size in SIZES for number, piece in cascade.levels[size].pieces.items()
        }
        return found | {number * len(_KINDS) + _KINDS.index(_TRACES): piece for number, piece in cascade.traces.items()}


_cache: dict[tuple[str, int], HeldWindows] = {}


def clear_cache() -> None:
    """Forget every cached bucket (tests: what a fresh worker knows)."""
    _cache.clear()


def load(query: str, bucket: int, meta: bytes | None, store: PieceStore, *, partial: bool, bounds: Bounds) -> HeldWindows:
    """The bucket as it was committed; ``meta`` is what :func:`save` gave last, None for one that was never seen.

    Raises
    ------
    CheckpointError
        What is kept was written by another version of the program, or is damaged.
    """
    # taken out of the cache: if this batch fails half way, a bucket half changed must not be found there
    cached = _cache.pop((query, bucket), None)
    if meta is None:
        return HeldWindows(Feed(WindowCascade(partial, bounds)))
    try:
        said = json.loads(meta)
        if said["version"] != VERSION:
            raise BlobError(f"version {said['version']}, this program reads version {VERSION}")
        nonce = bytes.fromhex(said["nonce"])
        if cached is not None and cached.nonce == nonce:
            return cached
        return _rebuilt(cached, said, nonce, store, partial, bounds)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        # the way out is in the message: a hint is lost on the way from a Python worker to the driver
        raise CheckpointError(f"open windows of bucket {bucket}: {e if isinstance(e, BlobError) else repr(e)}; {_WAY_OUT}") from e


def _rebuilt(
    cached: HeldWindows | None, said: dict[str, Any], nonce: bytes, store: PieceStore, partial: bool, bounds: Bounds
) -> HeldWindows:
    have = cached.pieces() if cached else {}
    known = cached.nonces if cached else {}
    levels = {size: Level(slots) for size, slots in SIZES.items()}
    traces: Pieces[Any] = Pieces()
    nonces = {int(key): bytes.fromhex(of) for key, of in said["pieces"].items()}
    for key in sorted(nonces):
        number, kind = divmod(key, len(_KINDS))
        piece: Any = have[key] if known.get(key) == nonces[key] else None
        if piece is None:
            blob = store.get(key, nonces[key])
            if blob is None:
                raise BlobError(f"piece {key} is missing")
            piece = unpack_traces(bytes(blob)) if _KINDS[kind] == _TRACES else unpack(bytes(blob))[1]
        if _KINDS[kind] == _TRACES:
            traces.put(number, piece)
        else:
            levels[_KINDS[kind]].put(number, piece)
    of = said["cascade"]
    cascade = WindowCascade(
        partial,
        bounds,
        levels,
        traces,
        dict(of["clocks"]),
        _by_number(of["newest"]),
        _by_number(of["ended"]),
        {name: Counter(counts) for name, counts in of["accounts"].items()},
    )
    clocks = _by_number(said["clocks"])
    versions = {int(bucket): (int(version), int(number)) for bucket, (version, number) in said["versions"].items()}
    return HeldWindows(Feed(cascade, said["query"], said["buckets"], versions, clocks), nonces, nonce)


def _by_number(values: dict[str, dict[str, int]]) -> dict[str, dict[int, int]]:
    return {name: {int(number): value for number, value in some.items()} for name, some in values.items()}


def save(query: str, bucket: int, kept: HeldWindows, store: PieceStore) -> bytes:
    """Write what changed; the text to be kept for :func:`load`."""
    pieces = kept.pieces()
    for key in [key for key in kept.nonces if key not in pieces]:
        store.remove(key, kept.nonces.pop(key))
    for key, piece in pieces.items():
        if key not in kept.nonces:
            kept.nonces[key] = os.urandom(8)
            blob = pack_traces(piece) if _KINDS[key % len(_KINDS)] == _TRACES else pack(piece)
            store.put(key, kept.nonces[key], blob, lambda blob=blob: blob)  # type: ignore[misc]
    kept.nonce = os.urandom(8)
    feed, cascade = kept.feed, kept.feed.cascade
    _cache[query, bucket] = kept
    said = {
        "version": VERSION,
        "nonce": kept.nonce.hex(),
        "pieces": {key: nonce.hex() for key, nonce in kept.nonces.items()},
        "query": feed.query,
        "buckets": feed.buckets,
        "versions": feed.versions,
        "clocks": feed.clocks,
        "cascade": {name: getattr(cascade, name) for name in ("clocks", "newest", "ended", "accounts")},
    }
    return json.dumps(said, separators=(",", ":")).encode()
