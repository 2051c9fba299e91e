"""A checkpoint that the version before wrote goes on in this one, through Kafka and Spark."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from kafka import KafkaProducer

from infra.config import Settings
from infra.kafka import topics
from infra.kafka.client import client_options
from jobs.metering import segments
from jobs.metering.digest import KafkaMessage
from jobs.runtime import inputs
from jobs.sources.packets import query
from schemas.packets import RAW_PACKETS
from tests.champions import promote_any
from tests.integration.test_meter_stream import closed_flows, predictions, settled, wait_for
from tests.recorded_meter import BUCKETS, DATA, HALF, PARTITIONS, PREFIX, messages
from tests.unit.metering.test_pickled import uninterrupted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.integration, pytest.mark.spark]

#: Where Spark's note of the state's schema lies, by its full path, which the recorded checkpoint has not.
RECORDED_AT = b"file:/recorded"


def restore(settings: Settings) -> Path:
    """The recorded checkpoint where the settings say, as if it had been stopped seconds ago."""
    folder = settings.path(settings.paths.checkpoints)
    folder.mkdir(parents=True)
    with tarfile.open(DATA / "meter-v5-checkpoint.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    place = folder / "meter-v5"
    schema = place / "state" / "0" / "_metadata" / "v2" / "0"
    schema.write_bytes(schema.read_bytes().replace(RECORDED_AT, f"file:{folder}".encode()))
    # the rate source gives a tick for every second since the checkpoint began
    seconds = int((place / "offsets" / "4").read_text().splitlines()[-1])
    (place / "sources" / "1" / "0").write_bytes(f"v1\n{round(time.time() - seconds) * 1000}".encode())
    return place


def send(settings: Settings, sent: list[KafkaMessage]) -> None:
    producer = KafkaProducer(**client_options(settings.kafka))
    for m in sent:
        producer.send(settings.topic(RAW_PACKETS.name), m.value, partition=m.partition, headers=list(m.headers.items()))
    producer.flush()
    producer.close()


def own_clock(rows: pa.Table) -> pa.Table:
    """Without the JSON producer's flows, which end by the wall clock."""
    return rows.filter(pc.not_equal(rows["domain"], "elsewhere")).combine_chunks()


def test_the_checkpoint_of_the_version_before_goes_on(spark: SparkSession, settings: Callable[..., Settings], kafka_server: str) -> None:
    made = settings(
        kafka={"bootstrap_servers": kafka_server, "topic_prefix": PREFIX, "partitions": {RAW_PACKETS.name: PARTITIONS}},
        meter={"buckets": BUCKETS, "sensor_timeout_s": 1e6, "starting_offsets": "latest"},
    )
    topics.ensure(made)
    promote_any(made)
    place = restore(made)
    # the topic of then is no more; what the checkpoint has not read comes in one of the same name
    assert len(inputs.accept(made, query.NAME)) == 1
    send(made, messages()[HALF:])
    expected = uninterrupted()
    segments.clear_cache()
    running = query.start(spark, made)
    try:
        sent = sum(packets for name, packets in expected.accounts().items() if name.endswith(": packets"))
        wait_for(made, running, lambda t: t.get("packets") == sent and settled(t, sent) and t["open"] <= 1)
    finally:
        running.stop()
    assert own_clock(closed_flows(predictions(made)[0])).equals(own_clock(expected.flows()))
    assert place.is_dir()
    assert [p.name for p in place.parent.glob("meter-v*")].count("meter-v5") == 1
