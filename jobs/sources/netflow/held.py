"""What is kept of a bucket between two batches: exporters and their templates, and who owns which flow.

A bucket is cached in the worker; it is current when its nonce is the stored one, and made of what is stored otherwise: after a start, a
batch that is done again, or another worker's turn.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from infra.errors import CheckpointError
from jobs.flowexport import state
from jobs.flowexport.duplicates import CLAIM_DTYPE, OWNER_DTYPE, FlowOwners
from jobs.flowexport.session import ExportSessions
from jobs.metering.words import compress, decompress

#: Of what is stored of exporters: batches so far, nonce.
_HEAD = struct.Struct("<Q8s")
_WAY_OUT = "go on with the version that wrote the checkpoint, or start with --reset-checkpoint (templates are learnt again)"


class ClaimStore(Protocol):
    """Where pieces lie: Spark's MapState, or a dict in tests."""

    def get(self, key: int, nonce: bytes) -> bytes | bytearray | memoryview | None:
        """A piece, if it is there."""

    def put(self, key: int, nonce: bytes, piece: bytes, plain: Callable[[], bytes]) -> None:
        """Write a piece."""

    def remove(self, key: int, nonce: bytes) -> None:
        """Drop a piece."""


@dataclass
class HeldExporters:
    """Exporters of a bucket, and how many batches it has had."""

    sessions: ExportSessions = field(default_factory=ExportSessions)
    version: int = 0
    nonce: bytes = b""


@dataclass
class HeldOwners:
    """Claims of a bucket, how many batches it has had, what of it is written, and records and duplicates by exporter."""

    owners: FlowOwners
    version: int = 0
    nonces: dict[int, bytes] = field(default_factory=dict)
    nonce: bytes = b""
    told: dict[str, list[int]] = field(default_factory=dict)


_exporters: dict[tuple[str, int], HeldExporters] = {}
_owners: dict[tuple[str, int], HeldOwners] = {}


def clear_cache() -> None:
    """Forget every cached bucket (tests: what a fresh worker knows)."""
    _exporters.clear()
    _owners.clear()


def load_exporters(query: str, bucket: int, meta: bytes | None) -> HeldExporters:
    """Exporters as they were committed; ``meta`` is what :func:`save_exporters` gave last, None for a bucket that was never seen.

    Raises
    ------
    CheckpointError
        What is kept was written by another version of the program, or is damaged.
    """
    cached = _exporters.pop((query, bucket), None)  # if this batch fails half way, one half changed must not be found there
    if meta is None:
        return HeldExporters()
    try:
        version, nonce = _HEAD.unpack_from(meta)
        if cached is not None and cached.nonce == nonce:
            return cached
        return HeldExporters(state.decode(meta[_HEAD.size :]), version, nonce)
    except (struct.error, state.ExportStateError) as e:
        raise CheckpointError(f"exporters of bucket {bucket}: {e}; {_WAY_OUT}") from e


def save_exporters(query: str, bucket: int, held: HeldExporters) -> bytes:
    """What is to be kept for :func:`load_exporters`; a batch more."""
    held.version += 1
    held.nonce = os.urandom(8)
    _exporters[query, bucket] = held
    return _HEAD.pack(held.version, held.nonce) + state.encode(held.sessions)


def load_owners(query: str, bucket: int, meta: bytes | None, store: ClaimStore, *, keep_us: int, most: int) -> HeldOwners:
    """Claims as they were committed; ``meta`` is what :func:`save_owners` gave last.

    Raises
    ------
    CheckpointError
        As :func:`load_exporters`.
    """
    cached = _owners.pop((query, bucket), None)
    if meta is None:
        return HeldOwners(FlowOwners(keep_us, most))
    try:
        said = json.loads(meta)
        nonce = bytes.fromhex(said["nonce"])
        if cached is not None and cached.nonce == nonce:
            return cached
        return _rebuilt(said, nonce, store, keep_us, most)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise CheckpointError(f"flows with an owner, of bucket {bucket}: {e!r}; {_WAY_OUT}") from e


def _rebuilt(said: dict[str, Any], nonce: bytes, store: ClaimStore, keep_us: int, most: int) -> HeldOwners:
    nonces = {int(number): bytes.fromhex(of) for number, of in said["pieces"].items()}
    pieces: dict[int, NDArray[np.void]] = {}
    for number in sorted(nonces):
        blob = store.get(number, nonces[number])
        if blob is None:
            raise ValueError(f"piece {number} is missing")
        pieces[number] = np.frombuffer(bytes(decompress(memoryview(blob), "lz4")), CLAIM_DTYPE)
    owners = np.array([tuple(one) for one in said["owners"]], OWNER_DTYPE)
    claims = FlowOwners(keep_us, most, pieces, owners, int(said["next"]))
    told = {str(name): [int(n), int(twice)] for name, (n, twice) in said.get("told", {}).items()}
    return HeldOwners(claims, int(said["version"]), nonces, nonce, told)


def save_owners(query: str, bucket: int, held: HeldOwners, store: ClaimStore) -> bytes:
    """Write the pieces that are new, drop those that are gone; the text to be kept for :func:`load_owners`."""
    pieces = held.owners.pieces
    for number in [number for number in held.nonces if number not in pieces]:
        store.remove(number, held.nonces.pop(number))
    for number, piece in pieces.items():
        if number not in held.nonces:
            held.nonces[number] = os.urandom(8)
            blob = compress(piece.tobytes(), "lz4")
            store.put(number, held.nonces[number], blob, lambda blob=blob: blob)  # type: ignore[misc]
    held.version += 1
    held.nonce = os.urandom(8)
    _owners[query, bucket] = held
    said = {
        "version": held.version,
        "nonce": held.nonce.hex(),
        "next": held.owners.next,
        "owners": held.owners.owners.tolist(),
        "pieces": {number: nonce.hex() for number, nonce in held.nonces.items()},
        "told": held.told,
    }
    return json.dumps(said, separators=(",", ":")).encode()
