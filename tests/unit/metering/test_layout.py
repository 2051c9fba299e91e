"""Blobs between the meter's steps and in its state: what is written is read again, by this version of the program and by the next."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from jobs.metering.domains import JSON, RUN, SHARED, Domain, JsonDomain, JsonLane, Lane, Run
from jobs.metering.envelope import Envelope
from jobs.metering.layout import (
    FIRST_DTYPE,
    VERSIONS,
    AccountRows,
    BucketState,
    Digest,
    Entry,
    FlowRows,
    Kind,
    LayoutError,
    MeterState,
    RefusedBlob,
    Segment,
    Tick,
    WindowPart,
    decode,
    kind_of,
)
from jobs.metering.row import ROW_DTYPE
from jobs.metering.words import squeeze
from schemas.wire import CLOCK_END, KIND_PACKETS
from sensors.packets.decode import PACKET_DTYPE

ENVELOPE = Envelope("s", "d", 7, 1, 2, 3, KIND_PACKETS, 10**18, 5, 4, 6, {"late": 2}, 8, 9, 10)


def filled(n: int, dtype: np.dtype) -> np.ndarray:
    """Rows whose fields all differ."""
    rows = np.zeros(n, dtype)
    for i, name in enumerate(dtype.names or ()):
        rows[name] = np.arange(n) + i
    return rows


def state() -> BucketState:
    """A bucket that has something of everything."""
    lane = Lane(CLOCK_END, 1, 2, 4000, (1 << 4000) | 5)
    meter = MeterState(
        held=filled(2, PACKET_DTYPE),
        firsts=filled(3, FIRST_DTYPE),
        waiting=filled(1, PACKET_DTYPE),
        domains={
            ("s", RUN, 7): Domain(0, "s", False, 0, 5, 6, {("s", 7): Run(2, {0: lane, 1: Lane()}, closed=True)}, {0: 9}, {}),
            ("all", SHARED, 1): Domain(2, "all", True, 1000, 0, 0, {}, {}, {1: 10**18}),
            ("j", JSON, 0): JsonDomain(1, "j", 2 * 10**9, 3, 4, {1: JsonLane(8, 9)}),
        },
        names={0: "s", 2: "all", 1: "j"},
        sensors={"s": 0, "j": 1},
        ended={("gone", 3): 12},
        accounts={"s": Counter(packets=5, metered=4)},
    )
    return BucketState(9, {7: Entry(b"nonce..7", 0), 9: Entry(bytes(range(8)), 40)}, meter)


def blobs() -> dict[Kind, bytes]:
    """One of each kind, with something in every field."""
    (digest,) = Digest.encode_each([ENVELOPE], [filled(2, PACKET_DTYPE)])
    rows = filled(2, ROW_DTYPE)
    return {
        Kind.DIGEST: digest,
        Kind.REFUSED: RefusedBlob(b"\x00\xff", "json: no \ud800", 3, 1 << 40).encode(),
        Kind.TICK: Tick(1_795_779_573_085).encode(),
        Kind.FLOWS: FlowRows(3, 9, 4096, True, 2, ["s", ""], ["s"], 513, squeeze(rows)).encode(),
        Kind.ACCOUNTS: AccountRows(9, [{"domain": "s", "bucket": 3, "packets": 5}]).encode(),
        Kind.BUCKET: state().encode(),
        Kind.SEGMENT: Segment(b"nonce..9", np.array([1, 1 << 40], np.uint64), rows).encode(plain=True),
        Kind.WINDOWS: WindowPart(3, 9, 1, b"whatever it is").encode(),
    }


def test_what_passes_from_step_to_step_is_read_as_it_was_written() -> None:
    made = blobs()
    digest = decode(made[Kind.DIGEST])
    assert isinstance(digest, Digest)
    assert digest.envelopes == [ENVELOPE]
    assert digest.packets.tobytes() == filled(2, PACKET_DTYPE).tobytes()
    assert digest.packets.flags.writeable
    assert decode(made[Kind.REFUSED]) == RefusedBlob(b"\x00\xff", "json: no \ud800", 3, 1 << 40)
    assert decode(made[Kind.TICK]) == Tick(1_795_779_573_085)
    assert decode(made[Kind.FLOWS]) == FlowRows(3, 9, 4096, True, 2, ["s", ""], ["s"], 513, squeeze(filled(2, ROW_DTYPE)))
    assert decode(made[Kind.ACCOUNTS]) == AccountRows(9, [{"domain": "s", "bucket": 3, "packets": 5}])
    assert decode(made[Kind.WINDOWS]) == WindowPart(3, 9, 1, b"whatever it is")
    assert [kind_of(blob) for blob in made.values()] == list(Kind)


def test_a_message_without_a_value_is_told_from_an_empty_one() -> None:
    for value in (None, b""):
        assert decode(RefusedBlob(value, "empty", 0, 0).encode()) == RefusedBlob(value, "empty", 0, 0)


def test_what_lies_in_the_state_is_read_as_it_was_written() -> None:
    made, again = state(), BucketState.decode(state().encode())
    for name in ("held", "firsts", "waiting"):
        assert getattr(again.meter, name).tobytes() == getattr(made.meter, name).tobytes(), name
        setattr(again.meter, name, getattr(made.meter, name))
    assert again == made
    assert BucketState.newest(made.encode()) == (9, bytes(range(8)))
    assert list(again.meter.domains) == list(made.meter.domains), "domains are metered in their order"
    assert isinstance(again.meter.accounts["s"], Counter)
    assert again.meter.held.flags.writeable


#: SHA-256 of each kind's bytes (of the uncompressed ones for a bucket, since a codec may change), by version.
FROZEN = {
    (Kind.DIGEST, 1): "aa26d111c0fd5e13",
    (Kind.REFUSED, 1): "72fd32b9d74178c1",
    (Kind.TICK, 1): "3cf860db6d628da3",
    (Kind.FLOWS, 1): "68f0938895c77b06",
    (Kind.ACCOUNTS, 1): "6006bd9d6c11e0f2",
    (Kind.BUCKET, 1): "4d7f717b0a32538f",
    (Kind.SEGMENT, 1): "27d961656c7d1b7e",
    (Kind.WINDOWS, 1): "c5e390ab03be08ef",
}


def test_the_layout_of_a_version_does_not_change() -> None:
    """Fields, their order, and the rows' own: a change takes a new version in ``VERSIONS``, a reader of the old one, and a line here."""
    assert sys.byteorder == "little"
    made = blobs()
    packed = made[Kind.BUCKET]
    at = 8 + int.from_bytes(packed[4:8], "little")
    size = int.from_bytes(packed[at : at + 8], "little")
    made[Kind.BUCKET] = packed[:at] + pa.decompress(packed[at + 8 :], decompressed_size=size, codec="lz4", asbytes=True)
    found = {(kind, VERSIONS[kind]): hashlib.sha256(blob).hexdigest()[:16] for kind, blob in made.items()}
    assert found == FROZEN


@pytest.mark.parametrize("kind", Kind)
def test_another_version_is_refused_with_both_numbers(kind: Kind) -> None:
    blob = bytearray(blobs()[kind])
    blob[3] = 9
    readers = {Kind.BUCKET: BucketState.decode, Kind.SEGMENT: Segment.decode}
    with pytest.raises(LayoutError, match=f"a {kind.name} blob of version 9, this program reads version 1"):
        readers.get(kind, decode)(bytes(blob))


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        (b"", "0 bytes that begin with nothing"),
        (b"FL", "2 bytes that begin with 464c"),
        (b"\x80\x05pickle", "begin with 80057069636b6c65 are no blob of the meter"),
        (b"FL\x63\x01\0\0\0\0", "kind 99, this program knows 1 to 8"),
        (Tick(5).encode()[:-1], "a damaged TICK blob"),
        (AccountRows(1, []).encode()[:-1], "ACCOUNTS blob cut short"),
    ],
)
def test_other_bytes_are_refused_with_what_was_found(blob: bytes, says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        decode(blob)


def test_one_kind_is_not_taken_for_another() -> None:
    with pytest.raises(LayoutError, match="a TICK blob, expected BUCKET"):
        BucketState.decode(Tick(1).encode())
    with pytest.raises(LayoutError, match="a BUCKET blob, expected one that passes"):
        decode(state().encode())


@pytest.mark.parametrize("kind", Kind)
def test_cut_anywhere_a_blob_is_refused_or_shorter(kind: Kind) -> None:
    """Never another exception, and never memory for a number that is damaged."""
    blob = blobs()[kind]
    readers = {Kind.BUCKET: BucketState.decode, Kind.SEGMENT: Segment.decode}
    refused = 0
    for at in range(len(blob)):
        try:
            readers.get(kind, decode)(blob[:at])
        except LayoutError:
            refused += 1
    # of a refused message, of the digits of a time, and of rows that nobody has expanded yet, the end is not known here
    assert refused >= 8 + int.from_bytes(blob[4:8], "little")
