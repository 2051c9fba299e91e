"""The lake and the checkpoints on a real object store, through S3A: the sink as its own process, as it is submitted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from pydantic import SecretStr

from infra.config import ROOT, Settings
from infra.process import free_port
from infra.stack.s3 import ObjectStore
from jobs.runtime.s3 import storage_options, uri
from ops.cli.main import main
from tests.objectstores import Fate, Request, between
from tests.sinksdata import flow_id, headers, table, value

pytestmark = pytest.mark.integration
Factory = Callable[..., Settings]
_SECRETS = {"lake": {"s3_access_key", "s3_secret_key"}, "kafka": {"sasl_password"}, "hot": {"password"}, "alerts": {"password"}}


@pytest.fixture
def bucket(s3_server: ObjectStore) -> str:
    """A bucket of this test alone."""
    name = f"b{uuid.uuid4().hex[:12]}"
    s3_server.create_bucket(name)
    return name


def configure(made: Settings, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings as a file, the keys in the environment."""
    conf = home / "conf.yaml"
    conf.write_text(yaml.safe_dump(made.model_dump(mode="json", exclude=_SECRETS)))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    monkeypatch.setenv("FLOWLAKE_LAKE__S3_ACCESS_KEY", made.lake.s3_access_key.get_secret_value())
    monkeypatch.setenv("FLOWLAKE_LAKE__S3_SECRET_KEY", made.lake.s3_secret_key.get_secret_value())


class Lake:
    """The sink's process, its topic and its table."""

    def __init__(self, settings: Settings, store: ObjectStore, bucket: str, output: Path) -> None:
        self.settings, self.store, self.bucket, self.output = settings, store, bucket, output
        self._producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)

    def send(self, names: range, message_id: str) -> None:
        rows = [{"name": name, "at": name, "closed": name % 4 != 0} for name in names]
        self._producer.send(self.settings.topic("predictions"), value=value(table(rows)), headers=headers(message_id), partition=0).get(20)

    def close(self) -> None:
        self._producer.close()

    @contextmanager
    def running(self) -> Iterator[psutil.Process]:
        with self.output.open("ab") as out:
            child = subprocess.Popen([sys.executable, "-m", "jobs.sink_lake"], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        process = psutil.Process(child.pid)
        try:
            yield process
        finally:
            family = [process, *process.children(recursive=True)] if child.poll() is None else []
            for member in family:
                with suppress(psutil.Error):
                    member.kill()
            child.wait()

    def until(self, condition: Callable[[], bool], process: psutil.Process) -> None:
        end = time.monotonic() + 200
        while not condition():
            ended = not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
            assert not ended, self.output.read_text()
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.3)

    def ids(self) -> list[str]:
        try:
            found = DeltaTable(uri(self.settings.lake.path), storage_options=storage_options(self.settings.lake))
        except TableNotFoundError:
            return []
        return sorted(found.to_pyarrow_table(columns=["flow_id"])["flow_id"].to_pylist())

    def objects(self, prefix: str = "") -> Iterator[str]:
        for page in self.store.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            yield from (o["Key"] for o in page.get("Contents", ()))


@pytest.fixture
def lake(
    kafka_server: str, s3_server: ObjectStore, bucket: str, settings: Factory, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Lake]:
    made = settings(
        kafka={"bootstrap_servers": kafka_server},
        lake=s3_server.lake(bucket) | {"trigger_ms": 0},
        paths={"checkpoints": f"s3a://{bucket}/checkpoints"},
        log={"level": "debug"},
    )
    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    admin.create_topics(
        [NewTopic(made.topic(t.name), made.kafka.partitions.get(t.name, 1), 1, topic_configs=t.config()) for t in made.catalogue.topics]
    )
    admin.close()
    configure(made, home, monkeypatch)
    built = Lake(made, s3_server, bucket, tmp_path / "output.txt")
    yield built
    built.close()


def expected(names: range) -> list[str]:
    return sorted(flow_id(name) for name in names if name % 4)


def command_lines(process: psutil.Process) -> list[str]:
    """Of a process and all below it."""
    found = []
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):  # it has ended meanwhile
            found.append(" ".join(member.cmdline()))
    return found


@pytest.mark.spark
@pytest.mark.timeout(600)
def test_each_record_once_through_a_kill_and_the_keys_nowhere(lake: Lake, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table and checkpoint on S3; the driver is killed in the middle of a batch, a new one goes on from the checkpoint."""
    secret = lake.settings.lake.s3_secret_key.get_secret_value()
    lake.send(range(40), "m1")
    with lake.running() as process:
        lake.until(lambda: lake.ids() == expected(range(40)), process)
        lines = command_lines(process)
        lake.until(lambda: any(key.endswith("/commits/0") for key in lake.objects("checkpoints/lake-")), process)
        lake.send(range(20, 60), "m2")
        lake.until(lambda: any(key.endswith("/offsets/1") for key in lake.objects("checkpoints/lake-")), process)
    lake.send(range(80), "m3")
    with lake.running() as process:
        lake.until(lambda: len(lake.ids()) >= len(expected(range(80))), process)
        process.terminate()
        assert process.wait(60) == 0, lake.output.read_text()
    assert lake.ids() == expected(range(80))

    # The same lake without Spark.
    with pytest.raises(SystemExit) as end:
        main(["flows", "--store", "lake", "--limit", "5", "--json"])
    assert not end.value.code
    assert [row["flow_id"] for row in json.loads(capsys.readouterr().out)] == [flow_id(name) for name in (79, 78, 77, 75, 74)]

    assert any("java" in line for line in lines)
    assert not [line for line in lines if secret in line]
    told = [file for file in (*home.rglob("*.log"), lake.output) if secret in file.read_text(errors="replace")]
    assert not told
    client = lake.store.client()
    assert not [k for k in lake.objects() if secret.encode() in client.get_object(Bucket=lake.bucket, Key=k)["Body"].read()]


def fails_now_and_then(request: Request) -> Fate:
    """Of the requests that write: throttled, failed, cut off before they arrived, and done without the client's hearing of it."""
    if request.method != "PUT":
        return None
    return {1: 503, 3: "unheard", 5: 500, 7: "reset", 9: "slow"}.get(request.count % 10)


@pytest.mark.spark
@pytest.mark.timeout(600)
def test_a_store_that_fails_now_and_then(lake: Lake, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream tries again, and ends with each record once: through failures of all kinds, of data files and of commits."""
    plain = lake.settings
    with between(lake.store.endpoint) as proxy:
        through = plain.lake.model_copy(update={"s3_endpoint": proxy.url, "compact_every": 3})
        local = plain.paths.model_copy(update={"checkpoints": str(home / "checkpoints")})
        configure(plain.model_copy(update={"lake": through, "paths": local}), home, monkeypatch)
        with lake.running() as process:
            lake.send(range(10), "m0")
            lake.until(lambda: lake.ids() == expected(range(10)), process)
            proxy.counts.clear()
            proxy.fate = fails_now_and_then
            for n in range(1, 8):
                lake.send(range(10 * n - 5, 10 * n + 10), f"m{n}")
                lake.until(lambda n=n: lake.ids() == expected(range(10 * n + 10)), process)
        met = {fate for _, fate in proxy.seen}
    assert {503, 500, "unheard", "reset"} <= met
    assert lake.ids() == expected(range(80))


_REFUSALS = """
import json, sys
from infra import config
from infra.config import Settings
from infra.errors import FlowlakeError
from jobs.runtime import session

base = config.load()
spark = session.build(base, "refusals")
hadoop = spark.sparkContext._jsc.hadoopConfiguration()
shown = str(spark.sparkContext.getConf().getAll()) + str(spark.sql("set -v").collect())
result = {"shown": base.lake.s3_secret_key.get_secret_value() in shown}
for case in json.loads(sys.argv[1]):
    settings = base.model_copy(update={"lake": base.lake.model_copy(update={"path": f"s3a://{case['bucket']}/flows"})})
    for name, value in case["hadoop"].items():
        hadoop.set(f"fs.s3a.bucket.{case['bucket']}.{name}", value)
    try:
        next(query for query in settings.catalogue.queries if query.name == "lake").start(spark, settings)
        result[case["name"]] = None
    except FlowlakeError as e:
        result[case["name"]] = [type(e).__name__, str(e), e.hint]
print("RESULT " + json.dumps(result))
spark.stop()
"""


@pytest.mark.spark
def test_sink_tells_what_is_wrong_with_the_store(
    s3_server: ObjectStore, bucket: str, settings: Factory, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings(lake=s3_server.lake(bucket)), home, monkeypatch)
    # Each case has a bucket name of its own, for S3A keeps one client a bucket.
    cases: list[dict[str, Any]] = [
        {"name": "missing", "bucket": "nobody-made-this", "hadoop": {}},
        {"name": "secret", "bucket": bucket, "hadoop": {"secret.key": "wrong"}},
        {"name": "access", "bucket": "second-bucket", "hadoop": {"access.key": "wrong"}},
        {"name": "down", "bucket": "third-bucket", "hadoop": {"endpoint": f"http://127.0.0.1:{free_port()}"}},
    ]
    done = subprocess.run(
        [sys.executable, "-c", _REFUSALS, json.dumps(cases)], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=200
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")] or [done.stdout + done.stderr]
    result = json.loads(line.removeprefix("RESULT "))
    assert result.pop("shown") is False
    assert {name: (found[0], "\n" in found[1]) for name, found in result.items()} == {c["name"]: ("StoreError", False) for c in cases}
    assert "no bucket 'nobody-made-this'" in result["missing"][1]
    for name in ("secret", "access"):
        assert "refuses access" in result[name][1]
        assert "FLOWLAKE_LAKE__S3_SECRET_KEY" in result[name][2]
    assert "does not answer (connection refused)" in result["down"][1]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"path": "s3a://nobody-made-this/flows"}, "there is no bucket 'nobody-made-this'"),
        ({}, "holds no table yet"),
        ({"s3_secret_key": SecretStr("wrong")}, "refuses access"),
        ({"s3_access_key": SecretStr("wrong")}, "refuses access"),
        ({"s3_endpoint": "http://127.0.0.1:1"}, "does not answer (connection refused)"),
    ],
    ids=["bucket", "table", "secret", "access", "down"],
)
def test_flows_tells_what_is_wrong_with_the_store(
    s3_server: ObjectStore,
    bucket: str,
    settings: Factory,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
    told: str,
) -> None:
    configure(settings(lake=s3_server.lake(bucket) | changed), home, monkeypatch)
    with pytest.raises(SystemExit) as end:
        main(["flows", "--store", "lake"])
    error = capsys.readouterr().err
    assert end.value.code == 5
    assert told in " ".join(error.split())
    assert "Traceback" not in error
