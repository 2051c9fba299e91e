"""Every blob of the meter, typed and versioned: what passes from step to step, and what lies in the state of a bucket.

A blob is a head of eight bytes, a JSON text, and a body of rows. Nothing in it names a module or a class: code can
move. All numbers are little-endian.

====================  ====================================================================================
head                  ``"FL"``, :class:`Kind` (u1), version of the kind (u1), length of the JSON text (u4)
:class:`Digest`       stateless step -> stateful step: envelopes and packets of one task for one bucket
:class:`RefusedBlob`  stateless step -> stateful step -> publisher: a message that could not be decoded
:class:`Tick`         Spark's clock -> stateful step: the wall clock; made by Spark SQL, without Python
:class:`FlowRows`     stateful step -> publisher: rows of flows that closed, or of open ones
:class:`AccountRows`  stateful step -> publisher: the bucket's accounts
:class:`WindowPart`   stateful step -> publisher: what the batch adds to windows (:mod:`jobs.windows.message`)
:class:`BucketState`  in the state, replaced by every batch: all that a bucket knows but its open flows
:class:`Segment`      in the state, one per batch: what the batch did to the open flows
====================  ====================================================================================

What passes lives as long as a batch. What is in the state is read by later versions of the program: a change of its
fields, or of the rows in it (``ROW_DTYPE``, ``PACKET_DTYPE``), takes a new version of the kind, and a reader of the old
one. :mod:`jobs.metering.pickled` is that of the state before this layout.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.metering.domains import JSON, AnyDomain, Domain, JsonDomain, JsonLane, Key, Lane, Run
from jobs.metering.envelope import Envelope
from jobs.metering.row import ROW_DTYPE
from jobs.metering.words import compress, decompress, expand, squeeze
from sensors.packets.decode import PACKET_DTYPE

Bytes = bytes | bytearray | memoryview


class Kind(IntEnum):
    """What a blob is."""

    DIGEST = 1
    REFUSED = 2
    TICK = 3
    FLOWS = 4
    ACCOUNTS = 5
    BUCKET = 6
    SEGMENT = 7
    WINDOWS = 8


#: The version that is written of each kind, and the only one that is read.
VERSIONS: dict[Kind, int] = dict.fromkeys(Kind, 1)

MAGIC = b"FL"
_HEAD = struct.Struct("<2sBBI")
_LENGTH = struct.Struct("<I")
#: A bucket's state is never so large: a length beyond it is damage, for which no memory is taken.
_MOST_BYTES = 1 << 31


class LayoutError(ValueError):
    """Bytes that are not the blob that was expected; says what was found."""


def kind_of(blob: Bytes) -> Kind:
    """What a blob is, after its version was checked.

    Raises
    ------
    LayoutError
        No blob of the meter, or one of a kind or version that this program does not read.
    """
    if len(blob) < _HEAD.size or bytes(blob[: len(MAGIC)]) != MAGIC:
        raise LayoutError(f"{len(blob)} bytes that begin with {bytes(blob[:8]).hex() or 'nothing'} are no blob of the meter")
    _, number, version, _ = _HEAD.unpack_from(blob)
    if number not in VERSIONS:
        raise LayoutError(f"a blob of kind {number}, this program knows {min(Kind)} to {max(Kind)}")
    kind = Kind(number)
    if version != VERSIONS[kind]:
        raise LayoutError(f"a {kind.name} blob of version {version}, this program reads version {VERSIONS[kind]}")
    return kind


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _framed(kind: Kind, said: bytes, *body: Bytes) -> bytes:
    """Head, JSON text, body."""
    return b"".join((_HEAD.pack(MAGIC, kind, VERSIONS[kind], len(said)), said, *body))


def _opened(blob: Bytes, kind: Kind) -> tuple[Any, memoryview]:
    """Inverse of :func:`_framed`: the JSON value (None when there is no text) and the body."""
    found = kind_of(blob)
    if found is not kind:
        raise LayoutError(f"a {found.name} blob, expected {kind.name}")
    *_, length = _HEAD.unpack_from(blob)
    return _json(memoryview(blob)[_HEAD.size :], length, kind)


def _json(data: memoryview, length: int, kind: Kind) -> tuple[Any, memoryview]:
    if len(data) < length:
        raise LayoutError(f"a {kind.name} blob cut short: {len(data)} of {length} bytes of its text")
    try:
        return (json.loads(bytes(data[:length])) if length else None), data[length:]
    except ValueError as e:
        raise LayoutError(f"a {kind.name} blob with a damaged text: {e}") from e


@contextmanager
def reading(what: str, *more: type[Exception]) -> Iterator[None]:
    """Whatever damaged bytes lead to becomes a :class:`LayoutError`."""
    damage: tuple[type[Exception], ...] = (ValueError, KeyError, TypeError, IndexError, OSError, struct.error, *more)
    try:
        yield
    except LayoutError:
        raise
    except damage as e:
        raise LayoutError(f"a damaged {what}: {type(e).__name__}: {e}") from e


# ---- from step to step


@dataclass(frozen=True)
class Digest:
    """What one task hands to one bucket.

    ``packets``: ``PACKET_DTYPE[n]``, writable; their ``msg`` is an index into ``envelopes``.
    """

    envelopes: list[Envelope]
    packets: NDArray

    @staticmethod
    def encode_each(envelopes: Sequence[Envelope], parts: Iterable[NDArray]) -> Iterator[bytes]:
        """Digests of the same messages for several buckets, as bytes, from each bucket's packets."""
        said = _text([list(vars(e).values()) for e in envelopes])  # once, not for every bucket
        for packets in parts:
            yield _framed(Kind.DIGEST, said, _LENGTH.pack(len(packets)), squeeze(packets))

    @staticmethod
    def decode(blob: Bytes) -> Digest:
        """Inverse of :meth:`encode_each` for one of them."""
        envelopes, body = _opened(blob, Kind.DIGEST)
        (n,) = _LENGTH.unpack_from(body)
        return Digest([Envelope(*values) for values in envelopes], expand(body[_LENGTH.size :], n, PACKET_DTYPE))

    @property
    def order(self) -> tuple[int, int, str, int, int]:
        """A place among the digests of a batch that does not depend on which of them came first; no two tasks read the same message."""
        first = self.envelopes[0]
        return (first.partition, first.seen_ms, first.sensor, first.run, first.seq)


@dataclass(frozen=True)
class RefusedBlob:
    """A message that could not be decoded, with ``reason``, and where it lies in ``raw-packets``."""

    value: bytes | None
    reason: str
    partition: int
    offset: int

    def encode(self) -> bytes:
        """As bytes."""
        return _framed(Kind.REFUSED, _text([self.reason, self.partition, self.offset, self.value is not None]), self.value or b"")

    @staticmethod
    def decode(blob: Bytes) -> RefusedBlob:
        """Inverse of :meth:`encode`."""
        (reason, partition, offset, has_value), body = _opened(blob, Kind.REFUSED)
        return RefusedBlob(bytes(body) if has_value else None, reason, partition, offset)


@dataclass(frozen=True)
class Tick:
    """The wall clock, ms since the epoch."""

    now_ms: int
    #: In front of the time in decimal digits: so Spark SQL can make one.
    HEAD: ClassVar[bytes] = _framed(Kind.TICK, b"")

    def encode(self) -> bytes:
        """As bytes."""
        return self.HEAD + str(self.now_ms).encode()

    @staticmethod
    def decode(blob: Bytes) -> Tick:
        """Inverse of :meth:`encode`."""
        _, body = _opened(blob, Kind.TICK)
        return Tick(int(bytes(body)))


@dataclass(frozen=True)
class FlowRows:
    """``n`` rows of one bucket and batch, all closed or all interim, with the names they refer to.

    ``first`` is the number of the first row among all rows of the bucket and batch; ``body`` the rows (``ROW_DTYPE[n]``), squeezed
    (:func:`jobs.metering.words.squeeze`): who reads them expands them where he needs them.
    """

    bucket: int
    version: int
    first: int
    closed: bool
    n: int
    domains: Sequence[str]  # names by the rows' domain number
    sensors: Sequence[str]
    community_id_seed: int
    body: bytes | memoryview

    def encode(self) -> bytes:
        """As bytes."""
        about = [self.bucket, self.version, self.first, self.closed, self.n, self.domains, self.sensors, self.community_id_seed]
        return _framed(Kind.FLOWS, _text(about), self.body)

    @staticmethod
    def decode(blob: Bytes) -> FlowRows:
        """Inverse of :meth:`encode`."""
        (bucket, version, first, closed, n, domains, sensors, seed), body = _opened(blob, Kind.FLOWS)
        return FlowRows(bucket, version, first, closed, n, domains, sensors, seed, body)


@dataclass(frozen=True)
class AccountRows:
    """Cumulative accounts of one bucket as of one batch, a row a domain (:meth:`jobs.metering.bucket.BucketMeter.account_rows`)."""

    version: int
    rows: list[dict[str, Any]]

    def encode(self) -> bytes:
        """As bytes."""
        return _framed(Kind.ACCOUNTS, _text([self.version, self.rows]))

    @staticmethod
    def decode(blob: Bytes) -> AccountRows:
        """Inverse of :meth:`encode`."""
        (version, rows), _ = _opened(blob, Kind.ACCOUNTS)
        return AccountRows(version, rows)


@dataclass(frozen=True)
class WindowPart:
    """A message of the windows' topic, of one bucket and batch, as it is."""

    bucket: int
    version: int
    number: int  # among those of the bucket and batch
    body: bytes | memoryview

    def encode(self) -> bytes:
        """As bytes."""
        return _framed(Kind.WINDOWS, _text([self.bucket, self.version, self.number]), self.body)

    @staticmethod
    def decode(blob: Bytes) -> WindowPart:
        """Inverse of :meth:`encode`."""
        (bucket, version, number), body = _opened(blob, Kind.WINDOWS)
        return WindowPart(bucket, version, number, body)


Passed = Digest | RefusedBlob | Tick | FlowRows | AccountRows | WindowPart
_PASSED: dict[Kind, type[Passed]] = {
    Kind.DIGEST: Digest,
    Kind.REFUSED: RefusedBlob,
    Kind.TICK: Tick,
    Kind.FLOWS: FlowRows,
    Kind.ACCOUNTS: AccountRows,
    Kind.WINDOWS: WindowPart,
}


def decode(blob: Bytes) -> Passed:
    """A blob that passes from step to step, whichever it is.

    Raises
    ------
    LayoutError
        It is another one, or damaged.
    """
    kind = kind_of(blob)
    if kind not in _PASSED:
        raise LayoutError(f"a {kind.name} blob, expected one that passes from step to step")
    with reading(f"{kind.name} blob"):
        return _PASSED[kind].decode(blob)


# ---- in the state

#: A first fragment (:mod:`jobs.metering.fragments`): the domain's number, the datagram, us of event time, what later fragments inherit.
FIRST_DTYPE = np.dtype(
    [("domain", "<u8")]
    + [(name, "<u8") for name in ("src_hi", "src_lo", "dst_hi", "dst_lo", "ipver", "frag_id")]
    + [("ts", "<i8")]
    + [(name, "<i8") for name in ("sport", "dport", "proto", "icmp_type", "icmp_code", "window")]
)


@dataclass
class MeterState:
    """All that a :class:`jobs.metering.bucket.BucketMeter` knows but its open flows."""

    held: NDArray = field(default_factory=lambda: np.zeros(0, PACKET_DTYPE))  # packets that wait for the clock
    firsts: NDArray = field(default_factory=lambda: np.zeros(0, FIRST_DTYPE))  # by domain, in the order of their times
    waiting: NDArray = field(default_factory=lambda: np.zeros(0, PACKET_DTYPE))  # later fragments without a first one, the same
    domains: dict[Key, AnyDomain] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # domain number -> name, of domains with state
    sensors: dict[str, int] = field(default_factory=dict)  # name -> number, counted from 0 in the order of the dict
    ended: dict[tuple[str, int], int] = field(default_factory=dict)  # sensor, run -> ms
    accounts: dict[str, Counter[str]] = field(default_factory=dict)  # by domain name, cumulative


class Entry(NamedTuple):
    """What is known of a segment without reading it."""

    nonce: bytes
    rows: int


@dataclass
class BucketState:
    """A bucket as of one batch: the meter, and of which segments its open flows are made, by version, oldest first."""

    version: int
    segments: dict[int, Entry]
    meter: MeterState

    def encode(self) -> bytes:
        """As bytes, compressed."""
        m = self.meter
        about = {
            "segments": [[number, entry.nonce.hex(), entry.rows] for number, entry in self.segments.items()],
            "domains": [_domain_text(key, domain) for key, domain in m.domains.items()],
            "names": list(m.names.items()),
            "sensors": list(m.sensors),
            "ended": [[sensor, run, ms] for (sensor, run), ms in m.ended.items()],
            "accounts": m.accounts,
            "rows": [len(m.held), len(m.firsts), len(m.waiting)],
        }
        said = _text(about)
        whole = b"".join((_LENGTH.pack(len(said)), said, m.held.tobytes(), m.firsts.tobytes(), m.waiting.tobytes()))
        nonce = self.segments[self.version].nonce
        return _framed(Kind.BUCKET, _text([self.version, nonce.hex()]), compress(whole, "lz4"))

    @staticmethod
    def newest(blob: Bytes) -> tuple[int, bytes]:
        """Version and nonce of the newest segment, which say whether a copy of the state is this one, without reading the rest.

        Raises
        ------
        LayoutError
            Another blob, or damaged.
        """
        said, _ = _opened(blob, Kind.BUCKET)
        with reading("BUCKET blob"):
            version, nonce = said
            return version, bytes.fromhex(nonce)

    @staticmethod
    def decode(blob: Bytes) -> BucketState:
        """Inverse of :meth:`encode`.

        Raises
        ------
        LayoutError
            Another blob, or damaged.
        """
        (version, _), packed = BucketState.newest(blob), _opened(blob, Kind.BUCKET)[1]
        with reading("BUCKET blob"):
            whole = inflated(packed)
            about, rest = _json(whole[_LENGTH.size :], _LENGTH.unpack_from(whole)[0], Kind.BUCKET)
            arrays = []
            for n, dtype in zip(about["rows"], (PACKET_DTYPE, FIRST_DTYPE, PACKET_DTYPE), strict=True):
                arrays.append(np.frombuffer(rest, dtype, n).copy())
                rest = rest[n * dtype.itemsize :]
            held, firsts, waiting = arrays
            meter = MeterState(
                held=held,
                firsts=firsts,
                waiting=waiting,
                domains=dict(_domain_of(d) for d in about["domains"]),
                names=dict(about["names"]),
                sensors={name: number for number, name in enumerate(about["sensors"])},
                ended={(sensor, run): ms for sensor, run, ms in about["ended"]},
                accounts={name: Counter(counts) for name, counts in about["accounts"].items()},
            )
            segments = {number: Entry(bytes.fromhex(nonce), n) for number, nonce, n in about["segments"]}
            return BucketState(version, segments, meter)


def inflated(packed: Bytes) -> memoryview:
    """What was compressed for the state.

    Raises
    ------
    ValueError
        Damaged.
    """
    if not len(packed) > 8 or int.from_bytes(packed[:8], "little") > _MOST_BYTES:  # before memory is taken for it
        raise ValueError("a length that cannot be")
    return memoryview(decompress(memoryview(packed), "lz4"))


def _domain_text(key: Key, domain: AnyDomain) -> dict[str, Any]:
    """A domain as JSON values."""
    _, kind, number = key
    common = {"kind": kind, "number": number, "index": domain.index, "name": domain.name}
    common |= {"frontier": domain.watermark, "max_ts": domain.max_ts}
    if isinstance(domain, JsonDomain):
        lanes = [[partition, lane.max_ts, lane.seen_ms] for partition, lane in domain.lanes.items()]
        return common | {"lateness_ns": domain.lateness_ns, "lanes": lanes}
    return common | {
        "shared": domain.shared,
        "join_ms": domain.join_ms,
        "runs": [
            {
                "sensor": sensor,
                "run": run_number,
                "partitions": run.partitions,
                "closed": run.closed,
                # the mask of seen messages has thousands of bits
                "lanes": [[p, x.clock, x.began_ms, x.seen_ms, x.high, f"{x.mask:x}"] for p, x in run.lanes.items()],
            }
            for (sensor, run_number), run in domain.runs.items()
        ],
        "began": list(domain.began.items()),
        "floors": list(domain.floors.items()),
    }


def _domain_of(said: dict[str, Any]) -> tuple[Key, AnyDomain]:
    """Inverse of :func:`_domain_text`."""
    name, kind = said["name"], said["kind"]
    key: Key = (name, kind, said["number"])
    if kind == JSON:
        lanes = {p: JsonLane(max_ts, seen_ms) for p, max_ts, seen_ms in said["lanes"]}
        return key, JsonDomain(said["index"], name, said["lateness_ns"], said["frontier"], said["max_ts"], lanes)
    runs = {}
    for run in said["runs"]:
        of_run = {p: Lane(clock, began, seen, high, int(mask, 16)) for p, clock, began, seen, high, mask in run["lanes"]}
        runs[run["sensor"], run["run"]] = Run(run["partitions"], of_run, run["closed"])
    return key, Domain(
        said["index"],
        name,
        said["shared"],
        said["join_ms"],
        said["frontier"],
        said["max_ts"],
        runs,
        dict(said["began"]),
        dict(said["floors"]),
    )


@dataclass(frozen=True)
class Segment:
    """What one batch did to the open flows of a bucket.

    ``nonce`` (8 bytes) says of which run of its batch it is; ``released``: ``uint64[m]``, slots whose flows closed; ``rows``:
    ``ROW_DTYPE[n]``, rows that changed. Both arrays are writable.
    """

    nonce: bytes
    released: NDArray[np.uint64]
    rows: NDArray

    def encode(self, *, plain: bool = False) -> bytes:
        """As bytes, compressed unless ``plain``."""
        said = _text([self.nonce.hex(), len(self.released), len(self.rows), plain])
        return _framed(Kind.SEGMENT, said, self.released.astype("<u8").tobytes(), squeeze(self.rows, None if plain else "zstd"))

    @staticmethod
    def decode(blob: Bytes) -> Segment:
        """Inverse of :meth:`encode`."""
        said, body = _opened(blob, Kind.SEGMENT)
        with reading("SEGMENT blob"):
            nonce, n_released, n_rows, plain = said
            released = np.frombuffer(body, "<u8", n_released).copy()  # writable, as compiled code knows it
            return Segment(bytes.fromhex(nonce), released, expand(body[8 * n_released :], n_rows, ROW_DTYPE, None if plain else "zstd"))
