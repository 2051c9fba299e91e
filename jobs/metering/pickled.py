"""State of a bucket as it was before :mod:`jobs.metering.layout`: read, so that a checkpoint goes on, and never written.

Each bucket had a pickle of the meter's own classes, compressed, and segments without a head. The pickle names classes
by the modules of that time. Here each name that it may hold becomes plain data, and any other is refused: nothing is
imported or called by name.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import Counter
from typing import Any

import numpy as np

from jobs.metering.domains import AnyDomain, Domain, JsonDomain, JsonLane, Lane, Run
from jobs.metering.layout import FIRST_DTYPE, BucketState, Bytes, Entry, LayoutError, MeterState, Segment, inflated, reading
from jobs.metering.row import ROW_DTYPE
from jobs.metering.words import expand
from sensors.packets.decode import PACKET_DTYPE

#: First bytes of a pickled state: the length of the pickle, which is less than this; a blob with a layout has its magic there.
_LENGTH = struct.Struct("<Q")
_MOST = 1 << 32
_SEGMENT = struct.Struct("<8sII")
#: In the number of a segment's rows: they are not compressed.
_PLAIN = 1 << 31


class _Plain:
    """Stands for an instance of one of the meter's classes; its fields are set by the unpickler."""


class _OldDomain(_Plain):
    pass


class _OldJsonDomain(_Plain):
    pass


class _OldRun(_Plain):
    pass


class _OldLane(_Plain):
    pass


class _OldJsonLane(_Plain):
    pass


#: Everything that a pickled state may name.
_NAMES: dict[tuple[str, str], Any] = {
    ("jobs.metering.segments", "Entry"): Entry,
    ("jobs.metering.domains", "Domain"): _OldDomain,
    ("jobs.metering.domains", "JsonDomain"): _OldJsonDomain,
    ("jobs.metering.domains", "Run"): _OldRun,
    ("jobs.metering.domains", "Lane"): _OldLane,
    ("jobs.metering.domains", "_JsonLane"): _OldJsonLane,
    ("collections", "Counter"): Counter,
}


#: Fields that have other names now.
_RENAMED = {"frontier": "watermark"}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise LayoutError(f"a pickled state that names {module}.{name}, which none has") from None


def is_pickled(blob: Bytes) -> bool:
    """Whether a bucket's blob is of before the layout."""
    return len(blob) >= _LENGTH.size and _LENGTH.unpack_from(blob)[0] < _MOST


def bucket_state(blob: Bytes) -> BucketState:
    """A bucket's blob of before the layout.

    Raises
    ------
    LayoutError
        Damaged, or of another version still.
    """
    with reading("pickled state", AttributeError, EOFError, pickle.UnpicklingError):
        stored = _Unpickler(io.BytesIO(inflated(blob))).load()
        return BucketState(stored["version"], stored["segments"], _meter(stored["meter"]))


def is_segment(blob: Bytes, nonce: bytes) -> bool:
    """Whether a segment is of before the layout: it begins with the nonce, which the bucket's state knows, and not with a head."""
    return bytes(blob[: len(nonce)]) == nonce


def segment(blob: Bytes) -> Segment:
    """A segment of before the layout.

    Raises
    ------
    LayoutError
        Damaged.
    """
    with reading("segment"):
        nonce, n_released, n_rows = _SEGMENT.unpack_from(blob)
        rows_at = _SEGMENT.size + 8 * n_released
        released = np.frombuffer(blob, "<u8", n_released, offset=_SEGMENT.size).copy()
        rows = expand(memoryview(blob)[rows_at:], n_rows & ~_PLAIN, ROW_DTYPE, None if n_rows & _PLAIN else "zstd")
        return Segment(nonce, released, rows)


def _meter(meta: dict[str, Any]) -> MeterState:
    firsts: list[tuple[int, ...]] = []
    waiting = b""
    for index, (of_domain, rows) in meta["fragments"].items():
        firsts += [(index, *datagram, ts, *inherited) for datagram, (ts, inherited) in of_domain.items()]
        waiting += b"".join(row for _, _, row in rows)
    return MeterState(
        held=np.frombuffer(meta["held"], PACKET_DTYPE).copy(),
        firsts=np.array(firsts, FIRST_DTYPE),
        waiting=np.frombuffer(waiting, PACKET_DTYPE),
        domains={key: _domain(domain) for key, domain in meta["domains"].items()},
        names=meta["names"],
        sensors=meta["sensors"],
        ended=meta["ended"],
        accounts=meta["accounts"],
    )


def _domain(old: _Plain) -> AnyDomain:
    fields = {_RENAMED.get(name, name): value for name, value in vars(old).items()}
    if isinstance(old, _OldJsonDomain):
        return JsonDomain(**{**fields, "lanes": {p: JsonLane(**vars(lane)) for p, lane in fields["lanes"].items()}})
    return Domain(**{**fields, "runs": {key: _run(run) for key, run in fields["runs"].items()}})


def _run(old: _Plain) -> Run:
    fields = vars(old)
    return Run(**{**fields, "lanes": {p: Lane(**vars(lane)) for p, lane in fields["lanes"].items()}})
