"""Frame batches, splitting by flow hash, Arrow encoding, client options, live queue."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import ConfigError
from infra.kafka.client import client_options
from infra.sections import KafkaSettings
from schemas.wire import CLOCK_END, PACKET_SCHEMA
from sensors.packets import encoding
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.live import FlushQueue


def ipv4(a: int, b: int, size: int = 60) -> bytes:
    """An Ethernet/IPv4/UDP frame from host ``a`` to host ``b``."""
    ip = b"\x45\x00" + (size - 14).to_bytes(2, "big") + bytes(4) + b"\x40\x11" + bytes(2) + bytes([10, 0, 0, a, 10, 0, 0, b])
    udp = (1000 + a).to_bytes(2, "big") + (1000 + b).to_bytes(2, "big") + (size - 34).to_bytes(2, "big") + bytes(2)
    return (b"\x02" * 12 + b"\x08\x00" + ip + udp + os.urandom(size))[:size]


def rows(batch: FrameBatch) -> list[tuple[int, int, int, bytes]]:
    return [(int(batch.ts[i]), int(batch.wire_len[i]), int(batch.link_type[i]), batch.frame(i)) for i in range(len(batch))]


@settings(deadline=None)
@given(frames=st.lists(st.binary(max_size=30), max_size=40), data=st.data())
def test_batches_behave_like_lists(frames: list[bytes], data: st.DataObject) -> None:
    batch = FrameBatch.from_frames(frames, list(range(len(frames))), snaplen=20)
    expected = rows(batch)
    a, b = sorted(data.draw(st.tuples(st.integers(0, len(frames)), st.integers(0, len(frames)))))
    part = batch.slice(a, b)
    assert rows(part) == expected[a:b]
    assert rows(part.compact()) == expected[a:b]
    assert rows(concat([part, batch, batch.slice(b)])) == expected[a:b] + expected + expected[b:]
    order = data.draw(st.permutations(range(b - a)))
    assert rows(part.take(np.array(order, np.int64))) == [expected[a:b][i] for i in order]
    assert part.nbytes == sum(len(f) for *_, f in expected[a:b])


def test_split_keeps_pairs_together_and_in_order() -> None:
    frames = [ipv4(i % 7, i % 11 + 20) for i in range(3000)] + [ipv4(i % 11 + 20, i % 7) for i in range(3000)] + [b"not ip"]
    batch = FrameBatch.from_frames(frames, list(range(len(frames)))).slice(1)
    where: dict[frozenset[bytes], int] = {}
    seen: list[tuple[int, bytes]] = []
    for partition, value, n in encoding.split(batch, 5):
        table = pa.ipc.open_stream(value).read_all()
        assert table.schema == PACKET_SCHEMA
        assert table.num_rows == n
        times = table["ts"].to_pylist()
        assert times == sorted(times)
        for ts, frame, flow_hash in zip(times, table["frame"].to_pylist(), table["flow_hash"].to_pylist(), strict=True):
            assert flow_hash % 5 == partition
            if len(frame) > 34:
                assert where.setdefault(frozenset((frame[26:30], frame[30:34])), partition) == partition
            seen.append((ts, frame))
    assert sorted(seen) == [(i, f) for i, f in enumerate(frames)][1:]
    assert len(set(where.values())) > 1


def test_a_share_too_large_for_a_message_is_cut() -> None:
    batch = FrameBatch.from_frames([ipv4(1, 2, 60_000) for _ in range(100)], list(range(100)))
    messages = list(encoding.split(batch, 3))
    assert sum(n for *_, n in messages) == 100
    assert len({p for p, *_ in messages}) == 1
    assert len(messages) > 6
    assert all(len(v) <= encoding.MAX_MESSAGE_BYTES for _, v, _ in messages)
    assert [t for _, v, _ in messages for t in pa.ipc.open_stream(v).read_all()["ts"].to_pylist()] == list(range(100))


def test_empty_message_is_one_empty_batch() -> None:
    with pa.ipc.open_stream(encoding.EMPTY) as reader:
        batches = list(reader)
    assert [b.num_rows for b in batches] == [0]
    assert list(encoding.split(FrameBatch.empty(), 3)) == []


def test_client_options() -> None:
    kafka = KafkaSettings(
        bootstrap_servers="a:1, b:2",
        security={
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "ssl.truststore.location": "ca.pem",
            "sasl.jaas.config": "x",
        },
        sasl_username="u",
        sasl_password="secret",
    )
    assert client_options(kafka) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "ssl_cafile": "ca.pem",
        "sasl_plain_username": "u",
        "sasl_plain_password": "secret",
    }
    with pytest.raises(ConfigError, match=r"sasl\.wrong"):
        client_options(KafkaSettings(security={"sasl.wrong": "x"}))
    with pytest.raises(ConfigError, match="PEM"):
        client_options(KafkaSettings(security={"ssl.truststore.location": "trust.jks"}))


def test_live_queue_drops_the_oldest_frames_and_tells() -> None:
    queue = FlushQueue(bound=10_000)
    for k in range(10):
        queue.put(FrameBatch.from_frames([bytes(1000)] * 3, [k, k, k]), 100 + k)
    kept = []
    dropped = 0
    queue.close()
    while not queue.finished:
        item = queue.get(0)
        assert item is not None
        frames, clock, lost = item
        kept.append((int(frames.ts[0]), clock))
        dropped += lost
    assert kept == [(7, 107), (8, 108), (9, 109)]
    assert dropped == 21
    assert queue.nbytes == 0


def test_live_queue_never_drops_the_end_of_a_run() -> None:
    queue = FlushQueue(bound=5_000)
    queue.put(FrameBatch.from_frames([bytes(1000)] * 3, [1, 1, 1]), CLOCK_END)
    queue.put(FrameBatch.from_frames([bytes(1000)] * 4, [2, 2, 2, 2]), 5)
    first = queue.get(0)
    assert first is not None
    assert (len(first[0]), first[1], first[2]) == (0, CLOCK_END, 3)
    assert queue.clear() == 4


def test_live_queue_cuts_a_single_flush_that_is_too_large() -> None:
    queue = FlushQueue(bound=10_000)
    queue.put(FrameBatch.from_frames([bytes(1000)] * 50, list(range(50))), 7)
    assert queue.nbytes <= 10_000
    item = queue.get(0)
    assert item is not None
    assert int(item[0].ts[-1]) == 49
    assert len(item[0]) + item[2] == 50
    assert len(item[0]) == 9
