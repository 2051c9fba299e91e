"""Messages that cannot be decoded are refused with a reason; those that can give the same packets whatever their form."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.metering.digest import Digester, KafkaMessage, json_frame, json_time
from jobs.metering.layout import Digest
from schemas.wire import CONTENT_JSON, CONTENT_PACKETS, PACKET_SCHEMA, Header
from tests.oracle.craft import ethernet, packet

GOOD = {
    Header.CONTENT_TYPE: CONTENT_PACKETS,
    Header.SENSOR: "s",
    Header.RUN: "5",
    Header.KIND: "packets",
    Header.CLOCK: "0",
    Header.PARTITIONS: "4",
    Header.SEQ: "0",
}


def arrow(frames: list[bytes], schema: pa.Schema = PACKET_SCHEMA) -> bytes:
    n = len(frames)
    columns = [pa.array(v, f.type) for v, f in zip([range(n), [60] * n, [1] * n, [7] * n, frames], schema, strict=False)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns[: len(schema)], schema=schema))
    return sink.getvalue().to_pybytes()


def message(value: bytes | None, partition: int = 0, offset: int = 0, **headers: str | None) -> KafkaMessage:
    named = {getattr(Header, k.upper()): v for k, v in headers.items()}
    merged = {**GOOD, **named}
    return KafkaMessage(value, {k: v.encode() for k, v in merged.items() if v is not None}, partition, offset, 1000)


def reason(m: KafkaMessage) -> str:
    digester = Digester(2, 2 * 10**9)
    digester.add(m)
    assert len(digester.refused) == 1
    assert list(digester.finish()) == []
    return digester.refused[0][1]


FRAME = ethernet(packet("10.0.0.1", "10.0.0.2", 6, 1, 2, flags=2))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (message(b""), "empty"),
        (message(None), "empty"),
        (message(b"garbage"), "arrow"),
        (message(arrow([FRAME])[:-40]), "arrow"),
        (message(arrow([FRAME])[:10]), "arrow"),
        (message(bytes(5 * 1024 * 1024)), "arrow"),
        (message(arrow([FRAME]), content_type="application/vnd.flowlake.packets+arrow; v=2"), "wrong-version"),
        (message(arrow([FRAME]), content_type="text/plain"), "content-type"),
        (message(arrow([FRAME]), content_type=None), "content-type"),
        (message(arrow([FRAME], pa.schema(list(PACKET_SCHEMA)[:3]))), "schema"),
        (message(arrow([FRAME]), sensor=None), "header: 'sensor'"),
        (message(arrow([FRAME]), clock="soon"), "header: 'clock'"),
        (message(arrow([FRAME]), clock="-1"), "header: 'clock'"),
        (message(arrow([FRAME]), partitions="0"), "header: 'partitions'"),
        (message(arrow([FRAME]), partition=4), "header: 'partitions'"),
        (message(arrow([FRAME]), kind="gift"), "header: 'kind'"),
        (message(b"{", content_type=CONTENT_JSON), "json"),
        (message(b"[" * 100_000, content_type=CONTENT_JSON), "json"),
        (message(b"[]", content_type=CONTENT_JSON), "json"),
        (message(b'{"timestamp": 1, "raw_bytes": "zz"}', content_type=CONTENT_JSON), "json: raw_bytes 'zz' is not hex"),
        (message(b'{"timestamp": 1, "raw_bytes": "abc"}', content_type=CONTENT_JSON), "json: raw_bytes 'abc' is not hex"),
        (message(b'{"timestamp": 1}', content_type=CONTENT_JSON), "json: raw_bytes"),
        (message(b'{"raw_bytes": "00"}', content_type=CONTENT_JSON), "json: timestamp"),
        (message(b'{"timestamp": "yesterday", "raw_bytes": "00"}', content_type=CONTENT_JSON), "json: timestamp 'yesterday'"),
        (message(b'{"timestamp": true, "raw_bytes": "00"}', content_type=CONTENT_JSON), "json: timestamp"),
        (message(b'{"timestamp": NaN, "raw_bytes": "00"}', content_type=CONTENT_JSON), "json: timestamp"),
        (message(b'{"timestamp": -5, "raw_bytes": "00"}', content_type=CONTENT_JSON), "json: timestamp"),
        (message(b'{"timestamp": 1, "raw_bytes": "00", "link_type": "x"}', content_type=CONTENT_JSON), "json: link_type"),
        (message(b'{"timestamp": 1, "raw_bytes": "00", "sensor_id": 7}', content_type=CONTENT_JSON), "json: sensor_id"),
    ],
)
def test_a_bad_message_is_refused_with_its_reason(bad: KafkaMessage, says: str) -> None:
    assert reason(bad).startswith(says)


def test_a_bad_message_does_not_disturb_its_neighbours() -> None:
    digester = Digester(1, 2 * 10**9)
    for i, value in enumerate([arrow([FRAME]), b"junk", arrow([FRAME, FRAME])]):
        digester.add(message(value, offset=i, seq=str(i)))
    ((_, blob),) = digester.finish()
    digest = Digest.decode(blob)
    assert [e.packets for e in digest.envelopes] == [1, 2]
    assert len(digest.packets) == 3
    assert [m.offset for m, _ in digester.refused] == [1]


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        ("2026-11-21T08:00:00Z", 1_795_248_000_000_000_000),
        ("2026-11-21T08:00:00", 1_795_248_000_000_000_000),
        ("2026-11-21T10:00:00.5+02:00", 1_795_248_000_500_000_000),
        (1_795_248_000, 1_795_248_000_000_000_000),
        ("1795248000.25", 1_795_248_000_250_000_000),
        (1_795_248_000_123, 1_795_248_000_123_000_000),
        (1_795_248_000_123_456, 1_795_248_000_123_456_000),
        (1_795_248_000_123_456_789, 1_795_248_000_123_456_789),
    ],
)
def test_json_times(value: object, ns: int) -> None:
    assert json_time(value) == ns


def test_epoch_seconds_keep_their_microseconds() -> None:
    digester = Digester(1, 2 * 10**9)
    body = b'{"timestamp": 1795248000.123457, "raw_bytes": "' + FRAME.hex().encode() + b'", "more": [1]}'
    digester.add(message(body, content_type=CONTENT_JSON))
    ((_, blob),) = digester.finish()
    assert Digest.decode(blob).packets["ts"].tolist() == [1_795_248_000_123_457_000]


@pytest.mark.parametrize("text", ["0a0b", "0x0A0B", "0a:0b", "0a 0b"])
def test_json_hex_forms(text: str) -> None:
    assert json_frame(text) == b"\x0a\x0b"


def test_json_without_headers_is_recognised() -> None:
    digester = Digester(1, 2 * 10**9)
    body = json.dumps({"timestamp": 1, "raw_bytes": FRAME.hex()}).encode()
    digester.add(KafkaMessage(body, {}, 0, 0, 0))
    ((_, blob),) = digester.finish()
    assert Digest.decode(blob).packets["sport"].tolist() == [1]


def test_json_and_arrow_give_the_same_packet() -> None:
    one, two = Digester(1, 2 * 10**9), Digester(1, 2 * 10**9)
    one.add(message(arrow([FRAME])))
    two.add(message(json.dumps({"timestamp": 0, "raw_bytes": FRAME.hex(), "wire_len": 60}).encode(), content_type=CONTENT_JSON))
    a, b = (Digest.decode(next(d.finish())[1]).packets for d in (one, two))
    for name in a.dtype.names:
        assert np.array_equal(a[name], b[name]), name  # also the hash, of which the Arrow message carries an arbitrary one


def test_every_bucket_learns_every_clock() -> None:
    digester = Digester(5, 2 * 10**9)
    digester.add(message(arrow([FRAME]), clock="123"))
    blobs = list(digester.finish())
    assert [b for b, _ in blobs] == [0, 1, 2, 3, 4]
    assert all(Digest.decode(blob).envelopes[0].clock == 123 for _, blob in blobs)
    assert sum(len(Digest.decode(blob).packets) for _, blob in blobs) == 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([CONTENT_PACKETS, CONTENT_JSON, "x"]))
def test_no_bytes_stop_the_digester(value: bytes, content: str) -> None:
    digester = Digester(2, 2 * 10**9)
    digester.add(message(value, content_type=content))
    assert len(digester.refused) == 1 or list(digester.finish())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_arrow_is_refused_or_read(data: st.DataObject) -> None:
    """Flipped bytes may still be a valid message; anything else is refused, never an exception or a crash."""
    value = bytearray(arrow([FRAME, FRAME[:30]]))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    digester = Digester(2, 2 * 10**9)
    digester.add(message(bytes(value)))
    assert len(digester.refused) == 1 or list(digester.finish())


@pytest.mark.parametrize("damage", [0, 1, 13, 64, 127, 128, 255])
def test_every_byte_of_an_arrow_message_damaged(damage: int) -> None:
    """Also one that makes a buffer longer than its offsets, and no multiple of their size."""
    whole = arrow([FRAME, FRAME[:30]])
    for at in range(len(whole)):
        digester = Digester(2, 2 * 10**9)
        digester.add(message(whole[:at] + bytes([damage]) + whole[at + 1 :]))
        assert len(digester.refused) == 1 or list(digester.finish())


def test_json_names_half_a_surrogate_pair() -> None:
    """Which is no UTF-8: the flow ids could not be made of it."""
    digester = Digester(1, 2 * 10**9)
    digester.add(message(b'{"timestamp": 1, "raw_bytes": "00", "sensor_id": "\\ud800x"}', content_type=CONTENT_JSON))
    ((_, blob),) = digester.finish()
    assert [(e.sensor, e.domain) for e in Digest.decode(blob).envelopes] == [(r"\ud800x", r"\ud800x")]
