"""The message of ``flows.raw``: there and back, and what is no message."""

from __future__ import annotations

import random
import struct
import zlib

import lz4.block
import pytest

from jobs.flowexport.rawmessages import datagrams_of
from schemas import rawflows
from schemas.rawflows import MOST_DATAGRAMS, RawDatagram, RawFlowsError, decode, encode
from tests.unit.sensors.netflow.senders import sender, some

HEAD = struct.Struct("<4sHHIII")


def message(n: int, body: bytes, *, size: int | None = None, version: int = 1) -> bytes:
    packed = lz4.block.compress(body, store_size=False)
    return HEAD.pack(b"FLRF", version, 0, n, len(body) if size is None else size, zlib.crc32(packed)) + packed


def odd() -> list[RawDatagram]:
    """Of all lengths, from nothing to the longest."""
    chance = random.Random(1)
    rows = []
    for i, n in enumerate((0, 1, 7, 1472, 65_507)):
        rows.append(RawDatagram(chance.randbytes(n), sender(i), 65_535 - i, 2055 + i, 2**62 - i, 1 + i * 1000, 2**32 - 1 - i))
    return rows


def test_there_and_back() -> None:
    sent = odd()
    came = decode(encode(sent))
    assert [came.data[a:b] for a, b in zip(came.offsets, came.offsets[1:], strict=False)] == [d.payload for d in sent]
    assert came.senders == [d.sender for d in sent]
    assert (came.ports, came.listening) == ([d.port for d in sent], [d.listening for d in sent])
    assert (came.received_us, came.kept_of) == ([d.received_us for d in sent], [d.kept_of for d in sent])
    assert came.streams == [d.stream for d in sent]
    assert len(came) == 5


def test_to_the_decoder() -> None:
    sent = odd()
    batch = datagrams_of([rawflows.decode(encode(sent))])
    assert len(batch) == len(sent)
    assert batch.data[batch.offsets[3] : batch.offsets[4]] == sent[3].payload
    assert (batch.senders[3], batch.ports[3], batch.received_us[3], batch.kept_of[3]) == (sender(3), 65_532, 2**62 - 3, 3001)


def test_nothing_is_a_message_too() -> None:
    assert len(decode(encode(()))) == 0


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        ("12 bytes", bytes(12)),
        ("begins with 50415231", b"PAR1" + bytes(40)),
        ("version 9", message(0, b"x" * 44, version=9)),
        ("4,000,000,000 datagrams", message(4_000_000_000, b"")),
        ("1 datagrams in 10 bytes", message(1, b"0123456789")),
        ("0 datagrams in 3,000,000,000 bytes", message(0, b"", size=3_000_000_000)),
        ("cannot be decompressed", message(1, b"x" * 80, size=60)),
        ("holds 80 bytes, and says 90", message(1, b"x" * 80, size=90)),
        ("sum to 2,021,161,080 bytes", message(1, b"x" * 80)),
        ("kept of 0", message(1, bytes(40))),
    ],
)
def test_no_message(what: str, bad: bytes) -> None:
    with pytest.raises(RawFlowsError, match=what):
        decode(bad)


def test_any_damage_is_noticed() -> None:
    whole = encode(some(50))
    chance = random.Random(2)
    for _ in range(300):
        at, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        if at in (6, 7):  # means nothing yet
            continue
        with pytest.raises(RawFlowsError):
            decode(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        with pytest.raises(RawFlowsError):
            decode(whole[:at])


def test_more_than_a_reader_takes_is_not_written() -> None:
    with pytest.raises(RawFlowsError, match="65,537 datagrams"):
        encode(some(1) * (MOST_DATAGRAMS + 1))
    with pytest.raises(RawFlowsError, match="to 16,777,216 are allowed"):
        encode([some(1)[0]._replace(payload=bytes(60_000))] * 300)
