"""Datagrams on a real broker to exported flows in the stores: the stream says what one call says, wherever it stops."""

from __future__ import annotations

import json
import struct
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from kafka import KafkaProducer

from infra import metrics
from infra.config import Settings
from infra.kafka import topics
from infra.kafka.client import client_options
from infra.process import free_port
from jobs.flowexport import state
from jobs.flowexport.datagrams import address16
from jobs.flowexport.handover import packed
from jobs.runtime import lake
from jobs.scoring import serving
from jobs.sources.netflow import query
from ops.views import interfaces
from ops.views.macros import expand
from schemas.exportedflows import EXPORTED_FLOWS, FLOW_ACCOUNTS, FLOWS_ENRICHED
from schemas.interfacecounters import INTERFACE_COUNTERS
from schemas.rawflows import CONTENT_EXPORTERS, CONTENT_RAW_FLOWS, FLOWS_RAW, RawDatagram
from schemas.topics import DEAD_LETTER
from sensors.netflow.encoding import RawFlowEncoder
from sensors.netflow.streams import raw_datagram
from tests.champions import promote_any
from tests.integration.sinkbench import drain as run_through
from tests.integration.sinkbench import run as sql
from tests.integration.sinkbench import running, until
from tests.integration.test_meter_stream import drain
from tests.unit.flowexport import wire
from tests.unit.flowexport.test_sflow import counters

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.integration, pytest.mark.spark]

NOW_US = wire.NOW * 1_000_000
HEADERS = [("content-type", CONTENT_RAW_FLOWS.encode()), ("sensor", b"collector"), ("domain", b"site")]


@pytest.fixture
def ready(settings: Callable[..., Settings], kafka_server: str, database: dict[str, Any], home: Path) -> Settings:
    """Settings of a test alone, its topics made; no model."""
    made = settings(
        kafka={"bootstrap_servers": kafka_server},
        exported_flows={"enabled": True},
        hot=database,
        alerts=database,
        lake={"path": str(home / "lake" / "flows"), "trigger_ms": 0},
    )
    topics.ensure(made)
    return made


def datagram(payload: bytes, exporter: str = "192.0.2.1", after_s: float = 0.0) -> RawDatagram:
    return raw_datagram(payload, address16(exporter), 50_000, 2055, NOW_US + round(after_s * 1e6))


def send(settings: Settings, datagrams: Sequence[RawDatagram]) -> None:
    """As the sensor sends them."""
    producer = KafkaProducer(**client_options(settings.kafka))
    topic = settings.topic(FLOWS_RAW.name)
    partitions = len(producer.partitions_for(topic))
    for partition, value, _ in RawFlowEncoder().split(datagrams, partitions):
        producer.send(topic, value, partition=partition, headers=HEADERS).get(10)
    producer.close()


def published(settings: Settings) -> list[dict[str, Any]]:
    messages = list(drain(settings, FLOWS_ENRICHED.name))
    rows = [row for message in messages for row in pa.ipc.open_stream(message.value).read_all().to_pylist()]
    assert len({row["flow_id"] for row in rows}) == len(rows)
    return rows


def accounts(settings: Settings) -> dict[tuple[str, str], dict[str, Any]]:
    """The newest account of each exporter and protocol."""
    lines = [json.loads(line) for message in drain(settings, FLOW_ACCOUNTS.name) for line in message.value.splitlines()]
    return {
        (line["exporter"], line["export_protocol"]): line for line in sorted(lines, key=lambda line: line["version"]) if line["exporter"]
    }


@pytest.mark.timeout(300)
def test_every_record_once_in_the_stores_through_a_restart(spark: SparkSession, ready: Settings) -> None:
    flows = [wire.plain(f"10.0.{n // 250}.{n % 250 + 1}", size=1000 + n) for n in range(600)]
    template = wire.templates9(wire.template(256, wire.PLAIN))
    first = [datagram(wire.v9(wire.data(256, *flows[:20]), sequence=1))]  # before its template
    first += [datagram(wire.v9(template, sequence=2)), datagram(wire.v9(wire.data(256, *flows[20:300]), sequence=3))]
    second = [datagram(wire.v9(wire.data(256, *flows[300:]), sequence=5), after_s=1)]  # one was lost; the template is known
    second += [datagram(wire.v5([wire.v5_record(f"10.9.0.{n}") for n in range(1, 31)]), exporter="198.51.100.7", after_s=1)]
    send(ready, first)
    run_through(query.start, spark, ready)
    send(ready, second)
    run_through(query.start, spark, ready)
    rows = published(ready)
    assert sorted(row["bytes"] for row in rows if row["export_protocol"] == "netflow-v9") == list(range(1000, 1600))
    assert sum(row["export_protocol"] == "netflow-v5" for row in rows) == 30
    assert {(row["sensor_id"], row["domain"], row["model_version"], row["predicted_label"]) for row in rows} == {
        ("collector", "site", "", 0)
    }
    assert {(row["is_internal"], row["service"], row["toward_server"]) for row in rows} == {(True, "http", 1)}
    assert sum("delayed" in row["marks"] for row in rows) == 20
    found = accounts(ready)
    assert found["192.0.2.1", "netflow-v9"]["lost"] == 1
    assert found["192.0.2.1", "netflow-v9"]["waiting_sets"] == 0
    assert found["198.51.100.7", "netflow-v5"]["lost"] == 0

    for one in ready.catalogue.source("netflow").queries:
        if one.stores & {"lake", "hot"}:
            run_through(one.start, spark, ready)
    ((count, size),) = sql(ready.hot, "SELECT count(*), sum(bytes) FROM flow_exports WHERE export_protocol = 'netflow-v9'")
    assert (count, size) == (600, sum(range(1000, 1600)))
    stored = lake.dataset(lake.location(ready, EXPORTED_FLOWS)).to_table()
    assert sorted(stored["flow_id"].to_pylist()) == sorted(row["flow_id"] for row in rows)


@pytest.mark.timeout(300)
def test_it_goes_on_where_a_collector_left_off_decoding(spark: SparkSession, ready: Settings) -> None:
    collector = wire.Collector()
    template = wire.templates9(wire.template(256, wire.PLAIN))
    collector.feed(wire.v9(template, sequence=1), wire.v9(wire.data(256, wire.plain(size=1)), sequence=2))
    collector.feed(wire.v9(wire.data(257, wire.plain(size=2)), sequence=3))  # waits for its template
    (known,) = packed(collector.sessions.known.values())
    again = wire.v9(wire.templates9(wire.template(257, wire.PLAIN)), wire.data(256, wire.plain(size=3)), sequence=4)
    ((partition, value, _),) = RawFlowEncoder().split([datagram(again, after_s=1)], FLOWS_RAW.partitions)
    producer = KafkaProducer(**client_options(ready.kafka))
    told = [("content-type", CONTENT_EXPORTERS.encode()), *HEADERS[1:]]
    producer.send(ready.topic(FLOWS_RAW.name), b"FXno state", partition=partition, headers=told).get(10)
    producer.send(ready.topic(FLOWS_RAW.name), state.encode(known), partition=partition, headers=told).get(10)
    run_through(query.start, spark, ready)  # what was told outlives a batch without datagrams, and a restart
    producer.send(ready.topic(FLOWS_RAW.name), value, partition=partition, headers=HEADERS).get(10)
    producer.close()
    run_through(query.start, spark, ready)
    assert sorted(row["bytes"] for row in published(ready)) == [2, 3]
    account = accounts(ready)["192.0.2.1", "netflow-v9"]
    assert (account["lost"], account["waiting_sets"]) == (0, 0)
    (letter,) = drain(ready, "dead-letter")
    assert letter.value == b"FXno state"


@pytest.mark.timeout(200)
def test_what_two_exporters_see_counts_once_and_is_scored(spark: SparkSession, ready: Settings) -> None:
    promote_any(ready, EXPORTED_FLOWS, ("duration", "scaled_bytes"))
    template = wire.templates10(wire.template(300, (*wire.PLAIN[:-2], (150, 4), (151, 4))))
    times = struct.pack(">II", wire.NOW - 5, wire.NOW - 1)
    flows = [wire.plain(f"10.0.0.{n}")[:-8] + times for n in range(1, 101)]
    send(ready, [datagram(wire.ipfix(template, wire.data(300, *flows)), exporter) for exporter in ("192.0.2.1", "192.0.2.2")])
    run_through(query.start, spark, ready)
    rows = published(ready)
    assert len(rows) == 200
    whose = [row["duplicate_of"] for row in rows]
    assert whose.count(None) == 100
    assert len(set(whose)) == 2, "of one exporter all are duplicates"
    assert {row["model_version"] for row in rows} == {"1"}


@pytest.mark.timeout(200)
def test_the_first_model_comes_into_force_while_the_stream_runs(spark: SparkSession, ready: Settings) -> None:
    quick = ready.model_copy(update={"scoring": ready.scoring.model_copy(update={"poll_s": 0.3})})
    numbers = count()
    with running(query.start, spark, quick) as stream:

        def more() -> None:
            n = next(numbers)
            send(quick, [datagram(wire.v5([wire.v5_record()], sequence=n), after_s=n)])
            stream.processAllAvailable()

        try:
            more()
            assert [row["model_version"] for row in published(quick)] == [""]
            promote_any(quick, EXPORTED_FLOWS, ("duration", "scaled_bytes"))

            def scored() -> bool:
                more()
                return "1" in {row["model_version"] for row in published(quick)}

            until(scored)
        finally:
            serving.stop()


@pytest.mark.timeout(200)
def test_metrics_of_a_running_stream(spark: SparkSession, ready: Settings) -> None:
    (service,) = [one.service for one in ready.catalogue.queries if one.name == query.NAME]
    assert service is not None
    shown = service(ready)
    shown.start()
    port = free_port()
    metrics.serve("127.0.0.1", port)

    def scraped() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line.startswith("flowlens_")]
        return {name: float(value) for name, value in lines}

    now = time.time()
    lost = wire.v9(wire.data(256, *[wire.plain(f"10.0.0.{n}") for n in range(1, 6)]), sequence=4)
    first = wire.v9(wire.templates9(wire.template(256, wire.PLAIN)), sequence=1)
    unknown = wire.v9(wire.data(300, wire.plain()), sequence=5)
    seen = [raw_datagram(payload, address16("192.0.2.1"), 50_000, 2055, round(now * 1e6)) for payload in (first, lost, unknown)]
    one = '{exporter="192.0.2.1"}'
    try:
        with running(query.start, spark, ready) as stream:
            send(ready, seen)
            stream.processAllAvailable()
            until(lambda: f"flowlens_flows_processed_total{one}" in scraped())
            until(lambda: scraped().get("flowlens_processing_latency_seconds_count") == 5)
            found = scraped()
    finally:
        shown.stop()
    assert found[f"flowlens_flows_received_total{one}"] == found[f"flowlens_flows_processed_total{one}"] == 5
    assert found[f"flowlens_flows_duplicate_total{one}"] == 0
    assert found['flowlens_export_lost_total{export_protocol="netflow-v9",exporter="192.0.2.1"}'] == 2
    assert found[f"flowlens_templates{one}"] == found[f"flowlens_pending_sets{one}"] == 1
    assert found[f"flowlens_exporter_seen_timestamp_seconds{one}"] == pytest.approx(now)
    assert 0 < found['flowlens_processing_latency_seconds{quantile="0.5"}'] <= found['flowlens_processing_latency_seconds{quantile="0.99"}']
    assert not scraped(), "a stopped service shows nothing"


@pytest.mark.timeout(300)
def test_counters_of_interfaces_have_a_table_once(spark: SparkSession, ready: Settings) -> None:
    said = [datagram(wire.sflow(counters(number=n), sequence=n), after_s=10 * n) for n in (1, 2)]
    send(ready, said)
    run_through(query.start, spark, ready)
    send(ready, said[1:])  # again: another message, the same rows
    run_through(query.start, spark, ready)
    (hot,) = [one for one in ready.catalogue.queries if one.name == INTERFACE_COUNTERS.query("hot")]
    run_through(hot.start, spark, ready)
    names = [column.name for column in INTERFACE_COUNTERS.hot.columns] if INTERFACE_COUNTERS.hot else []
    rows = sql(
        ready.hot,
        "SELECT extract(epoch FROM timestamp)::float, host(exporter_ip), interface, speed, duplex, oper_up, in_bytes, out_errors, "
        "collector FROM interface_counters ORDER BY 1",
    )
    same = ("192.0.2.1", 7, 10**9, "full", True, 2**40, 11, "collector")
    assert rows == [(wire.NOW + 10 * n, *same) for n in (1, 2)]
    more = ", ".join(column for column in names if column not in ("timestamp", "counter_id", "in_bytes", "in_errors"))
    sql(
        ready.hot,
        f"INSERT INTO interface_counters (timestamp, counter_id, in_bytes, in_errors, {more}) SELECT timestamp + interval '10 s', "
        f"gen_random_uuid(), in_bytes + 1250, in_errors + 20, {more} FROM interface_counters ORDER BY timestamp DESC LIMIT 1",
    )
    start = datetime.fromtimestamp(wire.NOW, UTC)
    rates = {
        panel.key: [(metric, float(n)) for _, metric, n in sql(ready.hot, asked)]
        for panel in interfaces.panels()
        if (asked := expand(panel.query, start=start, end=start + timedelta(minutes=1), interval="1m"))
    }
    one = "192.0.2.1 7"  # 20 s, in which 10,000 bits came, of 10 s 1,000 a second
    assert rates == {"interface_bits": [(one, 500.0)], "interface_used": [(one, 0.0)], "interface_errors": [(one, 1.0)]}


@pytest.mark.timeout(200)
def test_what_cannot_be_read_goes_aside_and_the_rest_goes_on(spark: SparkSession, ready: Settings) -> None:
    good, bad = datagram(wire.v5([wire.v5_record()])), datagram(b"\x00\x05 damaged", "203.0.113.9")
    send(ready, [bad._replace(stream=0), good._replace(stream=0)])
    producer = KafkaProducer(**client_options(ready.kafka))
    producer.send(ready.topic(FLOWS_RAW.name), b"no message", headers=HEADERS, partition=0).get(10)
    producer.close()
    run_through(query.start, spark, ready)
    assert len(published(ready)) == 1
    reasons = sorted(dict(letter.headers)["reason"].decode() for letter in drain(ready, DEAD_LETTER.name))
    assert len(reasons) == 2
    assert reasons[0].startswith("raw-flows: ")
    assert reasons[1].startswith("short_")
    assert "203.0.113.9" in reasons[1]
