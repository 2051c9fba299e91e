"""What a collector that stores flows itself keeps over a restart, in its row of ``flow_raw_collectors``."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg2

from infra.errors import StoreError
from jobs.flowexport import state
from jobs.flowexport.duplicates import CLAIM_DTYPE, OWNER_DTYPE, FlowOwners
from jobs.flowexport.session import ExportSessions
from jobs.metering.words import compress, decompress
from jobs.sinks import postgres
from jobs.sources.netflow.switching import FlowWay
from schemas.rawflowtable import STATE

_LENGTH = struct.Struct("<I")
_SAVE = (
    f"INSERT INTO {STATE} (collector, state, way) VALUES (%s, %s, %s) "
    "ON CONFLICT (collector) DO UPDATE SET state = EXCLUDED.state, way = EXCLUDED.way, saved_at = clock_timestamp()"
)
_SAVE_OWNERS = f"UPDATE {STATE} SET owners = %s WHERE collector = %s"


@dataclass
class KeptCollector:
    """As it was written.

    Attributes
    ----------
    sessions
        What is known of exporters.
    way
        Where their datagrams went.
    owners
        Who owned which flow when the collector ended; None: it did not end by itself.
    """

    sessions: ExportSessions
    way: FlowWay
    owners: bytes | None


def locked(cursor: Any, name: str) -> bool:
    """Whether this connection has the name of a collector to itself, until it is closed."""
    cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (postgres.LOCK_COLLECTOR, name))
    return bool(cursor.fetchone()[0])


def load(cursor: Any, name: str) -> KeptCollector | None:
    """What a collector has written; None: nothing.

    Raises
    ------
    StoreError
        It is of another version, or damaged.
    """
    cursor.execute(f"SELECT state, way, owners FROM {STATE} WHERE collector = %s", (name,))
    found = cursor.fetchone()
    if found is None:
        return None
    try:
        return KeptCollector(state.decode(bytes(found[0])), FlowWay(found[1]), bytes(found[2]) if found[2] else None)
    except ValueError as e:
        raise StoreError(
            f"{STATE}, collector {name}: {e}", f"DELETE FROM {STATE} WHERE collector = '{name}'; templates are learnt again"
        ) from e


def save(cursor: Any, name: str, sessions: ExportSessions, way: FlowWay) -> None:
    """Write what is known of exporters, and where their datagrams go."""
    cursor.execute(_SAVE, (name, psycopg2.Binary(state.encode(sessions)), str(way)))


def save_owners(cursor: Any, name: str, owners: FlowOwners) -> None:
    """Write who owns which flow, to the row that :func:`save` wrote."""
    cursor.execute(_SAVE_OWNERS, (psycopg2.Binary(packed(owners)), name))


def packed(owners: FlowOwners) -> bytes:
    """Claims and owners as bytes: a JSON text of lengths, in front of the arrays, compressed."""
    said = {"next": owners.next, "owners": len(owners.owners), "pieces": {number: len(piece) for number, piece in owners.pieces.items()}}
    text = json.dumps(said).encode()
    arrays = [owners.owners.tobytes(), *(piece.tobytes() for piece in owners.pieces.values())]
    return compress(b"".join([_LENGTH.pack(len(text)), text, *arrays]), "lz4")


def unpacked(blob: bytes, now_us: int, *, keep_us: int, most: int) -> FlowOwners:
    """Inverse of :func:`packed`; of what has been silent for longer than ``keep_us`` at ``now_us`` (us since the epoch) nothing.

    Raises
    ------
    ValueError
        Damaged.
    """
    try:
        whole = bytes(decompress(memoryview(blob), "lz4"))
        (length,) = _LENGTH.unpack_from(whole)
        said = json.loads(whole[_LENGTH.size : _LENGTH.size + length])
        at = _LENGTH.size + length
        owners = np.frombuffer(whole, OWNER_DTYPE, int(said["owners"]), at)
        at += owners.nbytes
        pieces = {}
        for number, n in said["pieces"].items():
            piece = np.frombuffer(whole, CLAIM_DTYPE, int(n), at)
            at += piece.nbytes
            if len(piece) and int(piece["heard"].max()) >= now_us - keep_us:
                pieces[int(number)] = piece
        return FlowOwners(keep_us, most, pieces, owners[owners["heard"] >= now_us - keep_us], int(said["next"]))
    except (struct.error, KeyError, TypeError, AttributeError, OSError) as e:
        raise ValueError(f"damaged owners of flows: {e!r}") from e
