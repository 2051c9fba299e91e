"""What belongs together, and what must not be given up."""

from __future__ import annotations

import random
import struct

import pytest

from schemas.rawflows import decode
from sensors.netflow.encoding import MAX_MESSAGE_BYTES, RawFlowEncoder
from sensors.netflow.streams import option_ids, raw_datagram, stream_key, teaches
from tests.unit.flowexport import wire
from tests.unit.sensors.netflow.senders import DATA, NOW_US, TEMPLATE, ipfix, sender, some

ONE, TWO = sender(1), sender(2)


@pytest.mark.parametrize(
    ("first", "again", "others"),
    [
        (ipfix(1, DATA), ipfix(1, TEMPLATE, sequence=9), [ipfix(2, DATA), wire.v9(domain=1)]),
        (wire.v9(domain=1), wire.v9(domain=1, sequence=77), [wire.v9(domain=2), ipfix(1)]),
        (wire.v5([]), wire.v5([wire.v5_record()], sequence=8), [wire.v5([], engine=1), wire.v5([], engine=256)]),
        (wire.sflow(), wire.sflow(sequence=5), [wire.sflow(sub_agent=1), wire.sflow(agent="192.0.2.9"), wire.sflow(agent="2001:db8::1")]),
        (wire.sflow(agent="::1"), wire.sflow(agent="::1", sequence=5), [wire.sflow(agent="::2"), wire.sflow(agent="::1", sub_agent=1)]),
        (b"what", b"what ever", [b""]),
    ],
)
def test_a_stream_is_an_exporter_and_a_domain(first: bytes, again: bytes, others: list[bytes]) -> None:
    key = stream_key(first, ONE)
    assert stream_key(again, ONE) == key
    assert stream_key(first, TWO) != key
    assert all(stream_key(other, ONE) != key for other in others)


@pytest.mark.parametrize(
    "payload",
    [
        wire.v9(wire.templates9(wire.template(256, wire.PLAIN))),
        wire.v9(wire.data(256, wire.plain()), wire.options9(257, [(1, 4)], [(34, 4)])),
        ipfix(1, TEMPLATE),
        ipfix(1, DATA, DATA, (3, bytes(8))),
    ],
)
def test_templates_are_seen(payload: bytes) -> None:
    assert teaches(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        wire.v5([wire.v5_record()]),
        wire.v9(wire.data(256, wire.plain())),
        ipfix(1, DATA),
        wire.sflow(),
        ipfix(1)[:10],
        ipfix(1) + struct.pack(">HHHH", 256, 0, 2, 8),  # a set shorter than its head
        ipfix(1) + struct.pack(">HH", 256, 4) * 10_000 + struct.pack(">HH", 2, 4),
    ],
)
def test_other_datagrams_teach_nothing(payload: bytes) -> None:
    assert not teaches(payload)


def fields10(number: int, *fields: tuple[int, ...]) -> bytes:
    """An options template of IPFIX whose first field is the scope."""
    return struct.pack(">HHH", number, len(fields), 1) + wire.specifiers(fields)


@pytest.mark.parametrize(
    ("payload", "ids"),
    [
        (wire.v9(wire.options9(257, [(1, 4)], [(34, 4)]), wire.options9(258, [(1, 4), (2, 4)], [(34, 4)])), [257, 258]),
        (wire.v9(wire.a_set(1, struct.pack(">HHH", 259, 0, 0) + struct.pack(">HHH", 260, 0, 4) + bytes(6))), [259, 260]),
        (ipfix(1, (3, fields10(300, (1, 4, 99), (2, 4)) + fields10(301, (1, 4), (2, 4, 9)))), [300, 301]),
        (ipfix(1, (3, struct.pack(">HHH", 300, 0, 0))), []),
        (ipfix(1, (3, struct.pack(">HHH", 300, 65_535, 1) + bytes(20))), [300]),
        (ipfix(1, TEMPLATE, DATA), []),
        (wire.v9(wire.templates9(wire.template(256, wire.PLAIN))), []),
        (wire.v5([wire.v5_record()]), []),
        (wire.sflow(), []),
        (ipfix(1, (3, b"\x01"))[:-1], []),
    ],
)
def test_options_templates(payload: bytes, ids: list[int]) -> None:
    assert option_ids(payload) == ids


def test_data_of_options_teach() -> None:
    assert teaches(ipfix(1, DATA), {256})
    assert not teaches(ipfix(1, DATA), {257})


def test_no_bytes_break_it() -> None:
    chance = random.Random(3)
    lesson = wire.v9(wire.options9(257, [(1, 4)], [(34, 4)]), wire.data(256, wire.plain()))
    for _ in range(2000):
        payload = bytearray(lesson if chance.random() < 0.5 else ipfix(1, TEMPLATE, (3, chance.randbytes(30))))
        for _ in range(4):
            payload[chance.randrange(2, len(payload))] = chance.randrange(256)
        some_bytes = bytes(payload[: chance.randrange(len(payload) + 1)])
        assert len(option_ids(some_bytes)) <= len(some_bytes)
        assert teaches(some_bytes) in (True, False)
        assert len(stream_key(some_bytes, ONE)) >= 16


def test_what_belongs_together_goes_to_one_partition_in_order() -> None:
    batch = [d for i in range(40) for who in range(1, 9) for d in some(1, domain=i % 4, who=who, at_us=NOW_US + i)]
    messages = list(RawFlowEncoder().split(batch, 12))
    assert [partition for partition, _, _ in messages] == sorted({d.stream % 12 for d in batch})
    assert sum(n for _, _, n in messages) == len(batch)
    for partition, value, n in messages:
        raw = decode(value)
        assert list(zip(raw.streams, raw.received_us, strict=True)) == [
            (d.stream, d.received_us) for d in batch if d.stream % 12 == partition
        ]
        assert len(raw) == n


def test_messages_fit() -> None:
    long = [raw_datagram(ipfix(1) + bytes(range(256)) * 255, ONE, 1, 4739, NOW_US + i) for i in range(40)]
    short = some(70_000)
    for batch in (long, short):
        messages = list(RawFlowEncoder().split(batch, 1))
        assert len(messages) > 1
        assert max(len(value) for _, value, _ in messages) <= MAX_MESSAGE_BYTES
        assert [t for _, value, _ in messages for t in decode(value).received_us] == [d.received_us for d in batch]
