"""A source that came by new files only, from its sensor to the stores: here, and submitted to a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config import ROOT, Settings
from infra.kafka import topics
from jobs.runtime import lake
from tests.e2e.standalone import Cluster, bare_python, environment
from tests.integration.sinkbench import run as sql
from tests.integration.sinkbench import until
from tests.toy_source.records import READING
from tests.toy_source.sensor import LineSensor
from tests.toy_source.train import train

pytestmark = pytest.mark.e2e

PACKAGES = ["jobs.sources", "tests.toy_source"]
T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def lines(device: str, values: list[float], first: int = 0) -> list[bytes]:
    """Readings of a device, one a second."""
    return [
        json.dumps({"device": device, "time": (T0 + timedelta(seconds=first + n)).isoformat(), "value": value}).encode()
        for n, value in enumerate(values)
    ]


def ordinary(count: int) -> list[float]:
    return [20 + (n * 7 % 11) / 10 for n in range(count)]


#: Two devices that do well, one with a spike, one that is stuck; and lines that are no readings.
GIVEN = [
    *lines("boiler-1", ordinary(60)),
    *lines("boiler-2", [*ordinary(40), 95.0, *ordinary(9)]),
    *lines("boiler-3", [*ordinary(30), *[21.0] * 20]),
    *lines("Kessel ü", ordinary(10)),
    b"no json",
    b'{"device": "boiler-1", "time": "2026-03-01T12:00:00Z"}',
]
READINGS = 60 + 50 + 50 + 10


@pytest.fixture
def made(kafka_server: str, database: dict[str, Any], settings: Callable[..., Settings], home: Path) -> Settings:
    built = settings(
        sources={"packages": PACKAGES},
        kafka={"bootstrap_servers": kafka_server, "partitions": {"raw-readings": 2, "readings": 1}},
        hot=database,
        alerts={**database, "min_flows": 2},
        lake={"trigger_ms": 0, "path": str(home / "lake" / "flows")},
    )
    topics.ensure(built)
    train(built)
    return built


@pytest.mark.timeout(400)
def test_from_the_sensor_to_the_stores(made: Settings, spark: Any) -> None:
    counters = LineSensor(made, GIVEN).run()
    assert counters.sent == len(GIVEN)
    with running(made, spark) as queries:
        settle(queries)
        stored(made, spark, READINGS)
        assert sorted(line for letter in letters(made) for line in letter.value.splitlines()) == sorted(GIVEN[-2:])
        LineSensor(made, GIVEN).run()  # all of it once more: the history knows what it has seen
        settle(queries)
    stored(made, spark, READINGS)
    spoken = sql(made.alerts, "SELECT attack_type, kind, record_type, src_ip, domain, flow_count, details FROM alerts ORDER BY attack_type")
    spike = [row for row in spoken if row[0] == "SPIKE"]
    stuck = [row for row in spoken if row[0] == "STUCK"]
    assert [(row[1:5], row[6]["device"], row[6]["value"]) for row in spike if row[6]["value"] == 95.0] == [
        (("per-flow", "readings", None, "boiler-2"), "boiler-2", 95.0)
    ]
    assert [row[1:5] for row in stuck] == [("flood", "readings", None, "boiler-3")], "one alert about one device"
    assert stuck[0][5] >= 10
    why = stuck[0][6]["why"]
    drove = {one["feature"]: one for one in why["features"]}
    assert why["score"] == pytest.approx(why["base"] + why["others"] + sum(one["contribution"] for one in drove.values()), abs=5e-6)
    assert why["features"][0]["feature"] == "repeats", "that is what stuck means"
    assert drove["repeats"]["value"] > drove["repeats"]["usual"][1]
    # What was not read twice is not judged twice either after a restart: the state goes on where it was.
    LineSensor(made, lines("boiler-3", [21.0] * 3, first=50)).run()
    with running(made, spark) as queries:
        settle(queries)
    stored(made, spark, READINGS + 3)
    ((repeats,),) = sql(made.hot, "SELECT count(*) FROM sensor_readings WHERE device = 'boiler-3' AND attack_type = 'STUCK'")
    assert repeats >= 13, "the newest three are stuck as well: what was known of the device is still known"


@pytest.mark.timeout(60)
def test_what_is_there_is_derived_from_the_declaration(made: Settings, home: Path) -> None:
    assert {"readings", "alerts_readings", "hot_readings", "lake_readings"} < {query.name for query in made.catalogue.queries}
    assert made.topic("raw-readings") in {topic.name for topic in topics.inspect(made).topics}
    assert not topics.inspect(made).differences
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    conf = written(made, home)
    for words, said in (
        (["sources"], "flowlake readings send"),
        (["config", "show"], "batch_lines"),
        (["readings", "--help"], "Train a model of readings."),
        (["status"], "raw-readings"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli.main", *words, "--conf-file", str(conf)], env=env, capture_output=True, text=True, timeout=60
        )
        assert said in done.stdout, done.stderr


@pytest.mark.long  # that what is shipped arrives is shown by test_standalone_cluster.py, what the source does by the test above
@pytest.mark.timeout(500)
def test_submitted_to_a_standalone_cluster(made: Settings, home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Driver and executors have what was shipped and nothing else: the source is in it."""
    LineSensor(made, GIVEN).run()
    conf = written(made, home)
    cluster = Cluster(tmp_path_factory.mktemp("toy-cluster"))
    cluster.start()
    log = home / "driver.log"
    try:
        with log.open("wb") as out:
            driver = subprocess.Popen(
                [str(ROOT / "spark-submit.sh"), "stream", "--master", cluster.master, "--conf-file", str(conf), "--executor-memory", "512m",
                 "--", "--only", "readings,hot_readings,alerts_readings"],
                cwd=home, env=environment(bare_python(home), FLOWLAKE_HOME=str(home), PYTHONPATH=str(ROOT)),
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

        def there() -> bool:
            assert driver.poll() is None, log.read_text(errors="replace")[-3000:]
            try:
                ((rows,),) = sql(made.hot, "SELECT count(*) FROM sensor_readings")
                ((alerts,),) = sql(made.alerts, "SELECT count(*) FROM alerts WHERE attack_type = 'STUCK'")
            except Exception:
                return False
            return rows >= READINGS and alerts == 1

        try:
            until(there, 360)
        finally:
            driver.terminate()
            driver.wait(60)
    finally:
        cluster.stop()
    ((rows, distinct),) = sql(made.hot, "SELECT count(*), count(DISTINCT reading_id) FROM sensor_readings")
    assert rows == distinct == READINGS


class running:
    """The queries of the source, while inside."""

    def __init__(self, settings: Settings, spark: Any) -> None:
        self._settings = settings
        self._spark = spark
        self._ends = ExitStack()

    def __enter__(self) -> list[Any]:
        started = []
        for query in self._settings.catalogue.source("readings").queries:
            handle = query.start(self._spark, self._settings)
            self._ends.callback(handle.stop)
            started.append(handle)
        return started

    def __exit__(self, *_: object) -> None:
        self._ends.close()


def settle(queries: list[Any]) -> None:
    """Until all has been taken: the first feeds the others."""
    for query in queries:
        query.processAllAvailable()


def stored(settings: Settings, spark: Any, count: int) -> None:
    """So many readings in the lake and in the hot store, each once."""
    ((rows, distinct),) = sql(settings.hot, "SELECT count(*), count(DISTINCT reading_id) FROM sensor_readings")
    assert rows == distinct == count
    table = lake.dataset(lake.location(settings, READING)).to_table(columns=["reading_id", "zscore", "event_date"])
    assert table.num_rows == len(set(table["reading_id"].to_pylist())) == count


def letters(settings: Settings) -> Iterator[Any]:
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        settings.topic("dead-letter"), bootstrap_servers=settings.kafka.bootstrap_servers, auto_offset_reset="earliest",
        group_id=None, consumer_timeout_ms=1500,
    )  # fmt: skip
    try:
        yield from consumer
    finally:
        consumer.close()


def written(settings: Settings, folder: Path) -> Path:
    """The settings as a file, as somebody would write them."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "readings.yaml"
    database = settings.hot.model_dump(include={"host", "port", "database", "user", "trigger_ms"})
    conf.write_text(
        yaml.safe_dump(
            {
                "sources": {"packages": PACKAGES},
                "kafka": settings.kafka.model_dump(include={"bootstrap_servers", "partitions", "topic_prefix", "replication_factor"}),
                "spark": {"driver_memory": "512m"},
                "hot": {**database, "maintain_s": 0},  # what is sent here is older than rows live
                "alerts": {**database, "min_flows": 2},
                "lake": {"path": settings.lake.path},
                "metrics": {"stream_port": 0},
            }
        )
    )
    return conf
