"""``kill -9`` of the Spark driver in the middle of the stream: after the restart the accounts close, by identity, in every store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from deltalake import DeltaTable

from infra.config import ROOT, Settings
from infra.kafka import topics
from infra.kafka.client import client_options
from infra.sections import PostgresSettings
from jobs.metering.batch import meter_captures
from jobs.sources.packets.accounts import AccountBook
from schemas.packets import ACCOUNTS
from sensors.generate import generate, preset
from sensors.packets.pcapwriter import PcapWriter
from sensors.packets.publisher import PacketPublisher
from sensors.packets.replay import chunks
from tests.champions import promote_any

pytestmark = [pytest.mark.e2e, pytest.mark.integration, pytest.mark.timeout(600)]

PATIENCE_S = 240


@contextmanager
def driver(conf: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The whole stream as a process group of its own; killed with SIGKILL at the end, however it ends."""
    log = (home / "stream.log").open("ab")
    environment = {**os.environ, "FLOWLAKE_HOME": str(home), "FLOWLAKE_CONF": str(conf)}
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", "stream"], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def totals(settings: Settings) -> dict[str, int]:
    """The meter's accounts as they stand on the broker."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(group_id=None, enable_auto_commit=False, **client_options(settings.kafka))
    book = AccountBook()
    try:
        lane = TopicPartition(settings.topic(ACCOUNTS.name), 0)
        consumer.assign([lane])
        consumer.seek_to_beginning()
        end = consumer.end_offsets([lane])[lane]
        while consumer.position(lane) < end:
            for messages in consumer.poll(timeout_ms=500).values():
                for message in messages:
                    book.add(message.value)
    finally:
        consumer.close()
    return dict(book.totals())


def lake_ids(settings: Settings) -> list[str]:
    path = settings.path(settings.lake.path)
    if not (path / "_delta_log").is_dir():
        return []
    return list(DeltaTable(path).to_pyarrow_dataset().to_table(["flow_id"])["flow_id"].to_pylist())


def hot_ids(server: PostgresSettings) -> list[str]:
    where = {"host": server.host, "port": server.port, "user": server.user, "dbname": server.database}
    with psycopg2.connect(**where) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('network_flows')")
        if cursor.fetchone() == (None,):
            return []
        cursor.execute("SELECT flow_id::text FROM network_flows")
        return [row[0] for row in cursor.fetchall()]


def until(what: Callable[[], Any], process: subprocess.Popen[bytes], home: Path) -> Any:
    """The first true answer; fails when the driver dies or nothing comes."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, (home / "stream.log").read_text()[-2000:]
        answer = what()
        if answer:
            return answer
        time.sleep(1)
    raise AssertionError(f"nothing after {PATIENCE_S} s; the log ends: {(home / 'stream.log').read_text()[-2000:]}")


def test_accounts_close_after_kill_9(
    settings: Callable[..., Settings], kafka_server: str, postgres_server: PostgresSettings, home: Path, tmp_path: Path
) -> None:
    base = {"host": postgres_server.host, "port": postgres_server.port, "database": postgres_server.database, "user": postgres_server.user}
    sections = {
        "kafka": {"bootstrap_servers": kafka_server},
        "hot": {**base, "retention_days": 36500},  # the traffic is that of a fixed day
        "alerts": base,
        # On a machine that is busy, the driver may be away for longer than a sensor may be silent: flows would be closed in two.
        "meter": {"buckets": 2, "sensor_timeout_s": 3600},
        "lake": {"trigger_ms": 1000},
        "sensor": {"batch_packets": 1000},
    }
    made = settings(**sections)
    conf = tmp_path / "kill.yaml"
    plain = json.loads(made.model_dump_json(exclude={"hot": {"password"}, "alerts": {"password"}}))
    plain["kafka"].pop("sasl_password")
    for key in ("s3_access_key", "s3_secret_key"):
        plain["lake"].pop(key)
    conf.write_text(yaml.safe_dump(plain))
    topics.ensure(made)
    promote_any(made)
    capture = tmp_path / "mixed.pcap"
    with PcapWriter(capture) as out:
        for batch in generate(preset("demo", seed=5, duration_s=12)):
            out.write(batch)
    pieces = list(chunks(capture, made.sensor))
    expected = sorted(i for b in meter_captures([capture], sensor_id="tap", sensor=made.sensor) for i in b["flow_id"].to_pylist())

    publisher = PacketPublisher(made, "tap")
    with driver(conf, home) as process:
        for piece in pieces[: len(pieces) // 2]:
            publisher.publish(piece)
        publisher.flush()
        until(lambda: totals(made).get("metered", 0) > 0, process, home)
    # killed: batches of four queries under way, flows open, packets waiting
    for piece in pieces[len(pieces) // 2 :]:
        publisher.publish(piece)
    publisher.flush()
    sent = publisher.counters.sent
    publisher.close()
    with driver(conf, home) as process:
        book = until(lambda: (t := totals(made)).get("packets") == sent and t["open"] == t["waiting"] == 0 and t, process, home)
        until(lambda: len(set(lake_ids(made))) >= len(expected) and len(hot_ids(postgres_server)) >= len(expected), process, home)
    assert book["metered"] + book.get("rejected", 0) == sent
    assert book["flows"] == len(expected) > 1000
    assert sorted(lake_ids(made)) == expected
    assert sorted(hot_ids(postgres_server)) == expected
