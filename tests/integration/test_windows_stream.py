"""Windows on a real broker: the stream says what one call says, whatever is replayed and wherever it stops; the stores have it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from kafka import KafkaProducer

from infra.config import Settings
from infra.errors import CheckpointError, ModelError
from infra.kafka import topics
from infra.kafka.client import client_options
from jobs.runtime import checkpoints, lake
from jobs.sources.packets import query as metering
from jobs.sources.windows import query
from jobs.sources.windows.rebuild import bounds, of_size, rebuilt
from jobs.windows.again import NEEDED, windows_again
from jobs.windows.batch import windows_of
from jobs.windows.records import records
from schemas.topics import DEAD_LETTER
from schemas.windowrecords import CONTENT_WINDOW_SLICES, WINDOW_SLICES, WINDOWS
from schemas.windows import SIZES, SUMMARY, schema_of
from sensors.generate import generate, preset
from sensors.packets.pcapwriter import PcapWriter
from tests.champions import promote_any
from tests.integration.sinkbench import drain as run_through
from tests.integration.sinkbench import run as sql
from tests.integration.test_meter_stream import drain, send, send_rest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.integration, pytest.mark.spark]


@pytest.fixture
def ready(settings: Callable[..., Settings], kafka_server: str, database: dict[str, Any], home: Path) -> Settings:
    """Settings of a test alone, its topics made, champions registered."""
    made = settings(
        kafka={"bootstrap_servers": kafka_server},
        meter={"buckets": 3},
        windows={"enabled": True, "trigger_ms": 0},
        hot=database,
        alerts=database,
        lake={"path": str(home / "lake" / "flows"), "trigger_ms": 0},
    )
    topics.ensure(made)
    promote_any(made)
    for record in WINDOWS.values():
        promote_any(made, record, ("flows_started", "packets_out"))
    return made


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds, which begin in the middle of a slot."""
    path = tmp_path_factory.mktemp("windows") / "mixed.pcap"
    with PcapWriter(path) as out:
        for batch in generate(preset("demo", seed=3, duration_s=40, rate=300.0, start_ns=1_767_603_622_300_000_000)):
            out.write(batch)
    return path


def by_id(tables: list[pa.Table], size: int) -> dict[str, dict[str, Any]]:
    """Windows without what scoring added; each id once."""
    rows = [row for table in tables for row in table.select(schema_of(size).names).to_pylist()]
    found = {row["window_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def expected(capture: Path, sensor: str) -> dict[int, dict[str, dict[str, Any]]]:
    made = list(windows_of([capture], sensor_id=sensor))
    return {size: by_id([pa.Table.from_batches([records(one[size], size)]) for one in made], size) for size in SIZES}


def published(settings: Settings, size: int) -> list[pa.Table]:
    return [pa.ipc.open_stream(message.value).read_all() for message in drain(settings, WINDOWS[size].topic.name)]


@pytest.mark.timeout(300)
def test_stream_batch_and_lake_have_the_same_rows(spark: SparkSession, ready: Settings, capture: Path) -> None:
    publisher = send(ready, capture, "tap", most=2)
    run_through(metering.start, spark, ready)
    run_through(query.start, spark, ready)  # stopped in the midst of a window
    send_rest(publisher, ready, capture, 2)
    run_through(metering.start, spark, ready)
    run_through(query.start, spark, ready)
    wanted = expected(capture, "tap")
    assert all(wanted.values())
    for size in SIZES:
        assert by_id(published(ready, size), size) == wanted[size]

    # The same messages once more, as a batch of the meter that is done again writes them: nothing is counted twice.
    again(ready)
    run_through(query.start, spark, ready)
    for size in SIZES:
        assert by_id(published(ready, size), size) == wanted[size]

    (place,) = checkpoints.existing(ready, query.NAME)
    parts = [part for part in (Path(place.path) / "state" / "0").iterdir() if part.name.isdigit()]
    assert len(parts) == ready.windows.buckets == 1, "no task without a bucket"  # type: ignore[attr-defined]

    # The stores: each window once.
    for one in ready.catalogue.source("windows").queries:
        if one.stores & {"lake", "hot"}:
            run_through(one.start, spark, ready)
    counts = dict(sql(ready.hot, "SELECT window_size, count(*) FROM window_features GROUP BY 1"))
    assert counts == {size: len(rows) for size, rows in wanted.items()}
    ((name,),) = sql(ready.hot, "SELECT DISTINCT indexname FROM pg_indexes WHERE indexname = 'idx_agg_window_src_start'")
    assert name
    stored = {size: lake.dataset(lake.location(ready, record)).to_table() for size, record in WINDOWS.items()}
    for size, table in stored.items():
        assert by_id([table], size) == wanted[size]
    where = lake.dataset(lake.location(ready, WINDOWS[5]))
    found = bounds(where, None, None)
    assert found is not None
    rows = [hour for *_, hour in rebuilt(where, SIZES, *found)]
    for size in SIZES:
        assert by_id([of_size(hour, size) for hour in rows], 30) == {
            key: {name: value for name, value in row.items() if name != SUMMARY} for key, row in wanted[size].items()
        }
    five = stored[5].select(NEEDED).sort_by("window_start")
    made = list(windows_again(five.slice(at, 100) for at in range(0, five.num_rows, 100)))
    for size in SIZES:
        assert by_id([pa.Table.from_batches([records(one[size], size)]) for one in made], size) == wanted[size]


def again(settings: Settings) -> None:
    """Write every message of the windows' input once more."""
    producer = KafkaProducer(**client_options(settings.kafka))
    for message in list(drain(settings, WINDOW_SLICES.name)):
        producer.send(settings.topic(WINDOW_SLICES.name), message.value, key=message.key, headers=message.headers)
    producer.flush()
    producer.close()


@pytest.mark.timeout(200)
def test_messages_that_are_none_go_aside_alone(spark: SparkSession, ready: Settings) -> None:
    producer = KafkaProducer(**client_options(ready.kafka))
    for value, content in ((b"FW damaged", CONTENT_WINDOW_SLICES), (b"{}", "application/json"), (None, CONTENT_WINDOW_SLICES)):
        producer.send(ready.topic(WINDOW_SLICES.name), value, key=b"k", headers=[("content-type", content.encode())])
    producer.flush()
    producer.close()
    run_through(query.start, spark, ready)
    letters = list(drain(ready, DEAD_LETTER.name))
    assert sorted(letter.value or b"" for letter in letters) == [b"", b"FW damaged", b"{}"]
    assert all(dict(letter.headers)["reason"].startswith(b"window-slices: ") for letter in letters)


def test_a_model_of_other_features_is_refused_before_the_first_message(spark: SparkSession, ready: Settings) -> None:
    thirty = WINDOWS[30]
    assert thirty.features is not None
    other = replace(thirty, features=replace(thirty.features, version="0"))
    promote_any(ready, other, ("flows_started", "packets_out"))
    with pytest.raises(ModelError, match=r"flowlake-windows-30.*version"):
        query.start(spark, ready)


def test_other_sizes_and_buckets_are_refused_with_the_way_out(ready: Settings, settings: Callable[..., Settings]) -> None:
    frozen = {"buckets": 2, "sizes": "5,30,180"}
    place = checkpoints.open(ready, query.NAME, 1, frozen)
    (Path(place.path) / "offsets").mkdir(parents=True)  # it has begun
    for other in ({**frozen, "sizes": "10,60"}, {**frozen, "buckets": 4}):
        with pytest.raises(CheckpointError) as told:
            checkpoints.open(ready, query.NAME, 1, other)
        assert "--reset-checkpoint" in f"{told.value} {told.value.hint}"
