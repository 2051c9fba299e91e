"""Flows of another meter on a real broker: scored as our own are, stored once, and what is no flow goes aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer
from pyarrow.csv import write_csv

from infra import metrics
from infra.config import Settings
from infra.kafka import topics
from infra.kafka.client import client_options
from jobs.metering.batch import meter_captures
from jobs.moving.times import TimeReading
from jobs.runtime import lake, listener
from jobs.scoring.registry import load_champion
from jobs.sources.features import query
from jobs.sources.features.convert import Reading, check
from jobs.sources.features.files import Featured
from jobs.sources.features.message import FeatureMessage, take_apart
from jobs.sources.features.rows import GivenRows
from jobs.sources.features.sensor import FeatureSensor
from jobs.sources.features.settings import FlowFeaturesSettings
from jobs.sources.features.topic import CONTENT_ARROW, FLOW_FEATURES
from schemas.cicflowmeter import OURS, cic_table, csv_table
from schemas.flows import PREDICTION_SCHEMA, RECORD_SCHEMA
from schemas.packets import FLOWS, PREDICTIONS
from schemas.topics import DEAD_LETTER
from schemas.wire import CONTENT_JSON, arrow_stream
from sensors.generate import generate, preset
from sensors.packets.pcapwriter import PcapWriter
from tests.champions import promote_any
from tests.integration.sinkbench import drain
from tests.integration.test_meter_stream import drain as messages_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.integration, pytest.mark.spark]

_SCORES = ("confidence_score", "predicted_label", "attack_type", "model_version")


@pytest.fixture(scope="module")
def metered(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Flows that our own meter makes of some seconds of traffic."""
    path = tmp_path_factory.mktemp("features") / "mixed.pcap"
    with PcapWriter(path) as out:
        for batch in generate(preset("demo", seed=5, duration_s=2)):
            out.write(batch)
    return pa.Table.from_batches(meter_captures([path], sensor_id="tap"), RECORD_SCHEMA).combine_chunks()


@pytest.fixture
def topic(settings: Callable[..., Settings], kafka_server: str, home: Path) -> Settings:
    """Settings of a test alone, its topics made."""
    made = settings(
        kafka={"bootstrap_servers": kafka_server, "partitions": {FLOW_FEATURES.name: 1, PREDICTIONS.name: 1}},
        lake={"path": str(home / "lake" / "flows"), "trigger_ms": 0},
    )
    topics.ensure(made)
    return made


@pytest.fixture
def ready(topic: Settings) -> Settings:
    """And a champion registered."""
    promote_any(topic)
    return topic


def send(settings: Settings, *values: tuple[bytes | None, str]) -> None:
    producer = KafkaProducer(max_request_size=10 << 20, **client_options(settings.kafka))
    for value, content in values:
        headers = [("sensor", b"exporter"), *([("content-type", content.encode())] if content else [])]
        producer.send(settings.topic(FLOW_FEATURES.name), value, key=b"k", headers=headers)
    producer.flush()
    producer.close()


def as_cicflowmeter(flows: pa.Table) -> pa.Table:
    """The flows with the columns that CICFlowMeter has, and no others."""
    table = cic_table(flows)
    return table.drop([name for name in table.column_names if name in OURS])


def as_json(flows: pa.Table) -> list[bytes]:
    return [json.dumps(row).encode() for row in csv_table(as_cicflowmeter(flows)).to_pylist()]


def predictions(settings: Settings) -> tuple[pa.Table, list[str]]:
    """Rows of all messages, and the messages' ids."""
    found = [
        (pa.ipc.open_stream(m.value).read_all(), dict(m.headers)["message-id"].decode()) for m in messages_of(settings, PREDICTIONS.name)
    ]
    return pa.concat_tables([rows for rows, _ in found]), [name for _, name in found]


def test_they_are_scored_as_our_own_and_stored_once(spark: SparkSession, ready: Settings, metered: pa.Table) -> None:
    third = metered.num_rows // 3
    one, other, last = metered.slice(0, third), metered.slice(third, third), metered.slice(2 * third)
    sent = (
        (b"[" + b",".join(as_json(one)) + b"]", CONTENT_JSON),
        (b"\n".join(as_json(other)), ""),
        (arrow_stream(as_cicflowmeter(last).combine_chunks()), CONTENT_ARROW),
    )
    send(ready, *sent)
    drain(query.start, spark, ready)
    rows, names = predictions(ready)
    assert rows.schema.equals(PREDICTION_SCHEMA)
    assert len(set(names)) == len(names) == 3
    ours = pa.Table.from_batches([load_champion(ready, FLOWS).score(metered)])
    key = ["start_time", "src_ip", "src_port", "dst_ip", "dst_port", "protocol", "part"]
    wanted = [*key, "community_id", "end_time", *_SCORES, "flow_iat_std", "fwd_init_win_bytes"]
    by_key = [(name, "ascending") for name in key]
    assert rows.sort_by(by_key).select(wanted).to_pylist() == ours.sort_by(by_key).select(wanted).to_pylist()
    assert set(rows["sensor_id"].to_pylist()) == set(rows["domain"].to_pylist()) == {"exporter"}
    assert set(rows["feature_version"].to_pylist()) == {"cicflowmeter"}
    # A replay: new messages of the same flows.
    send(ready, *sent)
    drain(query.start, spark, ready)
    again, names = predictions(ready)
    assert again.num_rows == 2 * metered.num_rows
    assert len(set(names)) == 6
    assert set(again["flow_id"].to_pylist()) == set(rows["flow_id"].to_pylist())
    (lake_query,) = [q for q in ready.catalogue.queries if q.name == "lake"]
    drain(lake_query.start, spark, ready)
    stored = lake.dataset(lake.location(ready, FLOWS)).to_table(columns=["flow_id"])["flow_id"].to_pylist()
    assert len(stored) == len(set(stored)) == metered.num_rows


def test_what_is_no_flow_goes_aside_alone(spark: SparkSession, ready: Settings, metered: pa.Table) -> None:
    good = as_json(metered.slice(0, 3))
    lacking = json.loads(good[1])
    del lacking["Total Fwd Packet"]
    wrong = [
        (b"{]", CONTENT_JSON),
        (b"", CONTENT_ARROW),
        (b"x", "text/plain"),
        (None, ""),
        (arrow_stream(pa.table({"a": [1]})), CONTENT_ARROW),
    ]
    send(ready, *wrong, (b"\n".join([good[0], json.dumps(lacking).encode(), good[2]]), CONTENT_JSON))
    running = query.start(spark, ready)
    try:
        running.processAllAvailable()
        for progress in running.recentProgress:
            listener.record(json.loads(progress.json))
    finally:
        running.stop()
    rows, _ = predictions(ready)
    assert rows.num_rows == 2
    letters = {dict(m.headers)["reason"].decode(): m for m in messages_of(ready, DEAD_LETTER.name)}
    assert sorted(reason.split(":")[0] for reason in letters) == ["content-type", "empty", "json", "missing", "schema"]
    assert len(list(messages_of(ready, DEAD_LETTER.name))) == 6
    ((reason, letter),) = [(reason, m) for reason, m in letters.items() if reason.startswith("missing")]
    assert reason.startswith(
        "missing: total_fwd_packets (Total Fwd Packet), which the champion (version 1) reads (1 of 3 rows refused, the first is row 2"
    )
    assert json.loads(letter.value) == lacking
    headers = {name: value.decode() for name, value in letter.headers}
    assert (headers["query"], headers["source-topic"]) == ("features", ready.topic(FLOW_FEATURES.name))
    counted: dict[str, Any] = {
        code: metrics.REGISTRY.get_sample_value("flowlake_rejected_total", {"query": "features", "reason": code})
        for code in ("missing", "json", "empty")
    }
    assert counted == {"missing": 1, "json": 1, "empty": 2}


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_a_file_is_sent_whole(topic: Settings, metered: pa.Table, tmp_path: Path, form: str) -> None:
    """With a line that is cut off, and columns that no flow has."""
    table = csv_table(as_cicflowmeter(metered)).append_column("Fwd Header Length.1", metered["fwd_header_length"])
    path = tmp_path / f"flows.{form}"
    if form == "parquet":
        pq.write_table(table, path)
    else:
        with pa.output_stream(path, compression="gzip" if form == "csv.gz" else None) as out:
            out.write(b"\xef\xbb\xbf")
            write_csv(table, out)
            out.write(b"10.0.0.1,1\n")
    small = topic.model_copy(update={"features": topic.section(FlowFeaturesSettings).model_copy(update={"batch_rows": 100})})
    featured = Featured(path)
    counters = FeatureSensor(small, featured, "other-meter", "site").run()
    assert counters.sent == metered.num_rows
    assert featured.left_out == (form != "parquet")
    found = [FeatureMessage(m.value, dict(m.headers), m.topic, m.partition, m.offset) for m in messages_of(topic, FLOW_FEATURES.name)]
    assert {message.headers["sensor"] for message in found} == {b"other-meter"}
    rows = [part for part in take_apart(found, 100) if isinstance(part, GivenRows)]
    assert sum(len(part.source) for part in rows) == metered.num_rows
    assert len(rows) == len(range(0, metered.num_rows, 100)), "heartbeats and the end are no flows, and no faults"
    checked = [check(part, Reading(TimeReading("UTC", True), ("flow_iat_std",))) for part in rows]
    assert not any(one.refused for one in checked)
    sent = np.concatenate([one.numbers["flow_iat_std"].values for one in checked])
    assert np.array_equal(sent, metered["flow_iat_std"].to_numpy())
