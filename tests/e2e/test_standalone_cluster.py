"""A job submitted to a standalone cluster: only what spark-submit ships is in reach of driver and workers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from kafka import KafkaConsumer
from sklearn.tree import DecisionTreeClassifier

from infra.config import ROOT, Settings
from infra.kafka import topics
from jobs.metering.batch import meter_captures
from jobs.scoring import registry
from jobs.sinks.messages import decode_value
from schemas.packets import FLOWS, PREDICTIONS
from sensors.generate import generate
from sensors.generate.scenario import Scenario
from sensors.packets.pcapwriter import PcapWriter
from sensors.packets.publisher import PacketPublisher
from sensors.packets.replay import chunks
from tests.champions import crown
from tests.e2e.standalone import Cluster, bare_python, environment, submit

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    started.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.mark.timeout(180)
def test_probe_finds_the_project_only_in_what_was_shipped(cluster: Cluster, tmp_path: Path) -> None:
    conf = tmp_path / "probe.yaml"
    conf.write_text("kafka:\n  topic_prefix: shipped.\nspark:\n  shuffle_partitions: 3\n  driver_memory: 512m\n")
    done = submit(
        [
            str(Path(__file__).parent / "probe_job.py"), "--master", cluster.master, "--conf-file", str(conf), "--executor-memory", "512m",
            "--conf", "spark.scheduler.minRegisteredResourcesRatio=1.0", "--", str(tmp_path / "table"), "--flag",
        ],
        tmp_path, environment(bare_python(tmp_path), FLOWLAKE_HOME=str(tmp_path)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    result = json.loads(lines[0].removeprefix("RESULT "))

    for place in [result["driver"], *result["workers"]]:
        assert place["otherwise"] == []
        assert place["finders"] == []
        assert all(".zip/" in file for file in place["files"]), place
    # Both workers took part, each in a folder of its own.
    assert {Path(w["cwd"]).parent.parent.name for w in result["workers"]} == {"worker-0", "worker-1"}
    assert sum(w["rows"] for w in result["workers"]) == 1000
    assert result["delta_rows"] == 100  # the jars are there too
    assert result["prefix"] == "shipped."
    assert result["partitions"] == "3"
    assert result["master"] == cluster.master
    assert result["executor_memory"] == "512m"
    assert result["arguments"] == [str(tmp_path / "table"), "--flag"]


@pytest.mark.timeout(600)
def test_meter_stream_on_the_cluster_closes_the_flows_of_the_batch_meter(
    cluster: Cluster, kafka_server: str, settings: Callable[..., Settings], home: Path
) -> None:
    """Packets from Kafka to predictions, metered in the executors, against the same capture metered here."""
    local = settings(kafka={"bootstrap_servers": kafka_server, "partitions": {"raw-packets": 2, "predictions": 1}})
    conf = home / "cluster.yaml"
    conf.write_text(
        yaml.safe_dump(
            {
                "kafka": local.kafka.model_dump(include={"bootstrap_servers", "partitions", "topic_prefix", "replication_factor"}),
                "spark": {"driver_memory": "512m"},
                "meter": {"buckets": 2},
                "metrics": {"stream_port": 0},
            }
        )
    )
    register_model(local)
    topics.ensure(local)
    capture = home / "capture.pcap"
    with PcapWriter(capture) as writer:
        for frames in generate(Scenario(seed=3, duration_s=5.0, rate=300.0)):
            writer.write(frames)
    publisher = PacketPublisher(local, "e2e", "e2e")
    for chunk in chunks(capture, local.sensor):
        publisher.publish(chunk)
    publisher.flush(30)
    publisher.close()
    expected = {i for batch in meter_captures([capture], sensor_id="e2e") for i in batch.column("flow_id").to_pylist()}
    assert len(expected) > 20

    log = home / "driver.log"
    with log.open("wb") as out:
        command = [str(ROOT / "spark-submit.sh"), "meter_stream", "--master", cluster.master, "--conf-file", str(conf)]
        driver = subprocess.Popen(
            [*command, "--executor-memory", "512m"],
            cwd=home,
            env=environment(bare_python(home), FLOWLAKE_HOME=str(home)),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        closed = predictions(local, expected, driver)
    finally:
        driver.terminate()
        try:
            driver.wait(30)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
    assert closed == expected, log.read_text(errors="replace")[-3000:]


def register_model(settings: Settings) -> None:
    """A model that fits the feature table; what it says does not matter here."""
    tree = DecisionTreeClassifier(max_depth=1).fit([[0.0], [1.0]], ["BENIGN", "PortScan"])
    crown(
        settings,
        registry.register(settings, FLOWS, tree, columns=["flow_duration"], threshold=0.5, training=registry.Training("nothing", {}, {})),
    )


def predictions(settings: Settings, expected: set[str], driver: subprocess.Popen[bytes], patience_s: float = 480.0) -> set[str]:
    """Ids of the closed flows on the topic, once there are as many as expected, the driver has ended or patience has."""
    consumer = KafkaConsumer(
        settings.topic(PREDICTIONS.name), bootstrap_servers=settings.kafka.bootstrap_servers, auto_offset_reset="earliest", group_id=None
    )
    closed: set[str] = set()
    until = time.monotonic() + patience_s
    try:
        while not closed >= expected and driver.poll() is None and time.monotonic() < until:
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    table = decode_value(record.value, dict(record.headers), FLOWS)
                    closed |= set(table.filter(table["closed"])["flow_id"].to_pylist())
    finally:
        consumer.close()
    return closed


@pytest.mark.timeout(120)
def test_a_failing_job_ends_with_its_exit_code_and_one_line(tmp_path: Path) -> None:
    """On local[1]: the same way in, and the way out of an error."""
    job = tmp_path / "failing.py"
    job.write_text(
        "import sys\nfrom infra.errors import ModelError\nfrom jobs.runtime import runner\n"
        "sys.exit(runner.report(ModelError('model x is corrupt', 'train')))\n"
    )
    done = submit([str(job), "--master", "local[1]"], tmp_path, environment(bare_python(tmp_path), FLOWLAKE_HOME=str(tmp_path)))
    assert done.returncode == 6
    said = done.stdout + done.stderr  # spark-submit joins the two streams of a Python driver
    assert "error: model x is corrupt\n  train\n" in said
    assert "Traceback" not in said
    assert "\tat " not in said
