"""The meter's query on a real broker: the stream says what the batch says, bad messages go aside, a restart changes nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from infra.config import Settings
from infra.errors import CheckpointError
from infra.kafka import topics
from infra.kafka.client import client_options
from jobs.metering.batch import meter_captures
from jobs.runtime import inputs
from jobs.sources.packets import query
from jobs.sources.packets.accounts import AccountBook
from schemas.flows import PREDICTION_SCHEMA, RECORD_SCHEMA
from schemas.labels import BENIGN
from schemas.packets import ACCOUNTS, PREDICTIONS, RAW_PACKETS
from schemas.records import HEADER_SNAPSHOTS
from schemas.topics import DEAD_LETTER
from schemas.wire import CONTENT_JSON, CONTENT_PACKETS
from sensors.generate import generate, preset
from sensors.packets.pcapwriter import PcapWriter
from sensors.packets.publisher import PacketPublisher
from sensors.packets.replay import chunks
from sensors.packets.settings import SensorSettings
from tests.champions import promote_any
from tests.integration.remake import remake
from tests.oracle.craft import ethernet, packet

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

pytestmark = [pytest.mark.integration, pytest.mark.spark]


@pytest.fixture
def ready(settings: Callable[..., Settings], kafka_server: str) -> Settings:
    """Settings of a test alone, its topics made, a champion registered."""
    made = settings(kafka={"bootstrap_servers": kafka_server}, meter={"buckets": 4})
    topics.ensure(made)
    promote_any(made)
    return made


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.pcap"
    with PcapWriter(path) as out:
        for batch in generate(preset("demo", seed=3, duration_s=8)):
            out.write(batch)
    return path


def send(settings: Settings, capture: Path, sensor: str, most: int | None = None) -> PacketPublisher:
    publisher = PacketPublisher(settings, sensor)
    for n, chunk in enumerate(chunks(capture, settings.section(SensorSettings))):
        if most is not None and n >= most:
            break
        publisher.publish(chunk)
    publisher.flush()
    return publisher


def send_rest(publisher: PacketPublisher, settings: Settings, capture: Path, since: int) -> int:
    """What :func:`send` left out, by the same run of the sensor, and its end; returns the packets sent in all."""
    for n, chunk in enumerate(chunks(capture, settings.section(SensorSettings))):
        if n >= since:
            publisher.publish(chunk)
    publisher.flush()
    sent: int = publisher.counters.sent
    publisher.close()
    return sent


def drain(settings: Settings, topic: str) -> Iterator[Any]:
    """Every message of a topic, up to where it ends now."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(group_id=None, enable_auto_commit=False, **client_options(settings.kafka))
    try:
        name = settings.topic(topic)
        lanes = [TopicPartition(name, p) for p in consumer.partitions_for_topic(name) or ()]
        consumer.assign(lanes)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(lanes)
        while any(consumer.position(lane) < ends[lane] for lane in lanes):
            for messages in consumer.poll(timeout_ms=500).values():
                yield from messages
    finally:
        consumer.close()


def settled(t: dict[str, int], sent: int) -> bool:
    """Every packet is accounted for, none waits. Each bucket writes its account alone: a look between two of them does not add up."""
    return t["packets"] == sent == t.get("metered", 0) + t.get("rejected", 0) and t["waiting"] == 0


def totals(settings: Settings) -> dict[str, int]:
    book = AccountBook()
    for message in drain(settings, ACCOUNTS.name):
        book.add(message.value)
    return dict(book.totals())


def wait_for(settings: Settings, running: StreamingQuery, done: Callable[[dict[str, int]], bool], seconds: float = 120) -> dict[str, int]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if running.exception() is not None:
            raise AssertionError(str(running.exception()))
        now = totals(settings)
        if now and done(now):
            return now
        time.sleep(0.5)
    raise AssertionError(f"not done in {seconds} s: {now}, {running.status}, {running.lastProgress}")


def predictions(settings: Settings) -> tuple[pa.Table, dict[str, bytes]]:
    """Rows of all messages, and the messages by id (a copy must be equal)."""
    by_id: dict[str, bytes] = {}
    tables = []
    for message in drain(settings, PREDICTIONS.name):
        headers = dict(message.headers)
        name = headers["message-id"].decode()
        if name in by_id:
            continue
        by_id[name] = message.value
        tables.append(pa.ipc.open_stream(message.value).read_all())
        # closed records and snapshots are never in one message, and the header says which
        assert tables[-1]["closed"].unique().to_pylist() == [HEADER_SNAPSHOTS not in headers]
    return pa.concat_tables(tables), by_id


def half_read(spark: SparkSession, settings: Settings, capture: Path) -> tuple[Settings, PacketPublisher]:
    """A query that was stopped with flows open and packets waiting, nothing cached, and the sensor in the midst of its run."""
    from jobs.metering import segments

    small = settings.model_copy(update={"sensor": settings.section(SensorSettings).model_copy(update={"batch_packets": 1000})})
    sensor = send(small, capture, "tap", most=6)
    running = query.start(spark, small)
    wait_for(small, running, lambda t: t.get("packets", 0) == sensor.counters.sent)
    running.stop()
    segments.clear_cache()
    return small, sensor


def whole(spark: SparkSession, settings: Settings, sent: int) -> pa.Table:
    """Run the query until every packet sent is accounted for and no flow is open; what it published."""
    running = query.start(spark, settings)
    try:
        wait_for(settings, running, lambda t: settled(t, sent) and t["open"] == 0)
    finally:
        running.stop()
    return predictions(settings)[0]


def closed_flows(rows: pa.Table) -> pa.Table:
    """Records of flows that closed, by id."""
    return rows.filter(rows["closed"]).select(RECORD_SCHEMA.names).sort_by("flow_id").combine_chunks()


def batch_flows(capture: Path) -> pa.Table:
    """What the batch meter says of a capture, by id."""
    return pa.Table.from_batches(meter_captures([capture], sensor_id="tap"), RECORD_SCHEMA).sort_by("flow_id").combine_chunks()


def test_the_stream_says_what_the_batch_says(spark: SparkSession, ready: Settings, capture: Path) -> None:
    running = query.start(spark, ready)
    try:
        publisher = send(ready, capture, "tap")
        sent = publisher.counters.sent
        publisher.close()
        book = wait_for(ready, running, lambda t: settled(t, sent) and t["open"] == 0)
    finally:
        running.stop()
    assert book["metered"] + book.get("rejected", 0) == sent > 5000
    rows, _ = predictions(ready)
    assert rows.schema.equals(PREDICTION_SCHEMA)
    assert closed_flows(rows).equals(batch_flows(capture))
    assert set(rows["attack_type"].to_pylist()) <= {BENIGN, "SYN_SCAN"}


@pytest.mark.skipif(not os.environ.get("FLOWLAKE_DATA"), reason="FLOWLAKE_DATA is not set")
def test_every_real_capture_side_by_side(spark: SparkSession, ready: Settings) -> None:
    """Many link types, years and clocks, fuzzed and cut ones among them, each from a sensor of its own into one stream."""
    captures = sorted(Path(os.environ["FLOWLAKE_DATA"], "pcaps").iterdir())
    running = query.start(spark, ready)
    try:
        sent = 0
        for path in captures:
            publisher = send(ready, path, path.name)
            sent += publisher.counters.sent
            publisher.close()
        book = wait_for(ready, running, lambda t: settled(t, sent) and t["open"] == 0)
    finally:
        running.stop()
    assert book["packets"] == book["metered"] + book["rejected"]
    rows, _ = predictions(ready)
    closed = rows.filter(rows["closed"]).select(RECORD_SCHEMA.names).sort_by("flow_id").combine_chunks()
    batches = [batch for path in captures for batch in meter_captures([path], sensor_id=path.name)]
    assert closed.equals(pa.Table.from_batches(batches, RECORD_SCHEMA).sort_by("flow_id").combine_chunks())
    assert book["flows"] == closed.num_rows > 1000


def test_a_restart_between_batches_changes_nothing(spark: SparkSession, ready: Settings, capture: Path) -> None:
    """Stopped with flows open and packets waiting; the second query goes on from the checkpoint with an empty cache."""
    small, half = half_read(spark, ready, capture)
    sent = send_rest(half, small, capture, since=6)
    rows = whole(spark, small, sent)
    closed = closed_flows(rows)
    assert closed.equals(batch_flows(capture))
    still_open = rows.filter(pc.invert(rows["closed"]))  # what was scored before the stop, and before it closed
    assert still_open.num_rows > 0
    assert set(still_open["flow_id"].to_pylist()) <= set(closed["flow_id"].to_pylist())


def test_open_flows_outlive_a_topic_that_is_made_anew(spark: SparkSession, ready: Settings, capture: Path) -> None:
    """Half was read when it was deleted, the sensor goes on into the new one: every packet is metered once, every flow is whole."""
    small, sensor = half_read(spark, ready, capture)
    remake(small, RAW_PACKETS.name)
    sent = send_rest(sensor, small, capture, since=6)
    with pytest.raises(CheckpointError, match="query meter") as caught:
        query.start(spark, small)
    assert "--accept-new-topics" in caught.value.hint
    inputs.accept(small, query.NAME)
    assert closed_flows(whole(spark, small, sent)).equals(batch_flows(capture))


def test_bad_messages_go_to_dead_letter_and_the_query_goes_on(spark: SparkSession, ready: Settings, capture: Path) -> None:
    from kafka import KafkaProducer

    whole = {"content-type": CONTENT_PACKETS, "sensor": "s", "run": "1", "kind": "packets", "clock": "0", "partitions": "4", "seq": "0"}
    bad = [
        (b"\x00garbage", whole),
        (b"\x00garbage", {"content-type": CONTENT_PACKETS}),
        (b"", whole),
        (bytes(5 * 1024 * 1024), whole),
        (b"x", {"content-type": "text/plain"}),
        (b"x", {"content-type": "application/vnd.flowlake.packets+arrow; v=99"}),
        (b'{"timestamp": "2026-11-21T08:00:00Z", "raw_bytes": "not hex"}', {"content-type": CONTENT_JSON}),
    ]
    frame = ethernet(packet("10.9.9.1", "10.9.9.2", 17, 5353, 53, 12))
    good = json.dumps({"timestamp": 1_795_248_000.5, "raw_bytes": frame.hex(), "source": "elsewhere"}).encode()
    producer = KafkaProducer(max_request_size=8 << 20, **client_options(ready.kafka))
    for value, headers in [*bad, (good, {"content-type": CONTENT_JSON})]:
        producer.send(ready.topic(RAW_PACKETS.name), value, headers=[(k, v.encode()) for k, v in headers.items()])
    producer.send(ready.topic(RAW_PACKETS.name), None, key=b"tombstone")
    producer.flush()
    producer.close()
    running = query.start(spark, ready)
    try:
        publisher = send(ready, capture, "tap")
        sent = publisher.counters.sent
        publisher.close()
        # the JSON packet has no clock: it is released by the wall clock, after the allowed lateness
        wait_for(ready, running, lambda t: settled(t, sent + 1) and t["open"] <= 1)
    finally:
        running.stop()
    letters = list(drain(ready, DEAD_LETTER.name))
    assert sorted(len(m.value or b"") for m in letters) == sorted([len(v) for v, _ in bad] + [0])
    for letter in letters:
        headers = {k: v.decode() for k, v in letter.headers}
        assert headers["source-topic"] == ready.topic(RAW_PACKETS.name)
        assert {"source-partition", "source-offset", "reason"} <= headers.keys()
    reasons = {dict(m.headers)["reason"].decode().split(":")[0] for m in letters}
    assert reasons == {"arrow", "header", "empty", "content-type", "wrong-version", "json"}
