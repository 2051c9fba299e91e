"""The collector without Kafka: real datagrams over UDP, decoded in the process, in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import psycopg2
import pytest

from infra.config import Settings
from infra.errors import StoreError
from infra.sections import QualitySettings
from jobs.hotstore.maintain import maintain
from jobs.sinks import postgres
from jobs.sinks.hot import component
from jobs.sinks.migrations import migrate
from jobs.sources.netflow.directmetrics import DirectMaker
from jobs.sources.netflow.warm import datagrams
from schemas.rawflowtable import own_tables
from sensors.netflow import metrics
from sensors.netflow.sensor import FlowExportSensor
from tests.unit.flowexport import wire
from tests.unit.flowexport.test_sflow import counters
from tests.unit.sensors.netflow.runningsensor import RunningSensor, Start, port_of, starting
from tests.unit.sensors.netflow.senders import eventually, free_ports, send

pytestmark = pytest.mark.integration


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as start:
        yield start


def rows(own: Settings, sql: str) -> list[tuple[Any, ...]]:
    connection = postgres.connect(own.hot, "test")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


def execute(own: Settings, *statements: str) -> None:
    connection = postgres.connect(own.hot, "test")
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def configured(settings: Callable[..., Settings], database: dict[str, Any]) -> Settings:
    own: dict[str, Any] = {"ports": list(free_ports(1)), "mode": "direct", "heartbeat_ms": 100, "raw_retention_days": 3}
    return settings(hot=database, netflow_sensor=own, enrichment={"geoip": {"enabled": False}})


def receiving(
    own: Settings, start: Start, *, linger_s: float = 30.0, outlet: DirectMaker | None = None, sensor_id: str = "edge"
) -> tuple[FlowExportSensor, RunningSensor, int]:
    """A collector at work, and its port."""
    sensor = FlowExportSensor(own, sensor_id, outlet=outlet or DirectMaker(own), linger_s=linger_s)
    running = start(sensor)
    return sensor, running, port_of(sensor)


def stored(own: Settings) -> int:
    """Rows of ``flow_raw``; 0: there is no table yet."""
    try:
        return int(rows(own, "SELECT count(*) FROM flow_raw")[0][0])
    except psycopg2.errors.UndefinedTable:
        return 0


def numbered(sequence: int, dst_port: int = 80) -> bytes:
    """A datagram of NetFlow v5 with one record."""
    five = datagrams()[0]
    return five[:16] + sequence.to_bytes(4, "big") + five[20:58] + dst_port.to_bytes(2, "big") + five[60:]


def test_flows_are_stored_once_in_both_tables_and_templates_outlive_the_collector(
    database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    own = configured(settings, database)
    sensor, running, port = receiving(own, start)
    every = datagrams()
    send([*every, b"\x00\x63nothing"], port)
    assert eventually(lambda: sensor.account().sent == 4, 60)
    assert eventually(lambda: metrics.health(sensor).checks["postgresql"] == "ok", 30)
    assert metrics.health(sensor).checks["kafka"] == "not_configured"
    account = running.end()
    assert (account.received, account.sent, account.lost) == (4, 4, 0)
    raw = rows(own, "SELECT flow_id, bytes, packets, host(src_ip), dst_port, processed FROM flow_raw ORDER BY flow_id")
    exports = rows(own, "SELECT flow_id, bytes, packets, host(src_ip), dst_port, true FROM flow_exports ORDER BY flow_id")
    assert len(raw) == 3
    assert raw == exports
    kept = "SELECT host(sender), reason, at_byte, kept_of, collector, datagram FROM flow_raw_dead_letters"
    assert [(*row[:-1], bytes(row[-1])) for row in rows(own, kept)] == [("127.0.0.1", "unknown_version", 0, 1, "edge", b"\x00\x63nothing")]

    later, running, port = receiving(own, start)
    # the v9 datagram with its data alone: header of 20 bytes, template set, data set
    nine = every[1]
    template = int.from_bytes(nine[22:24], "big")
    alone = nine[:12] + (2).to_bytes(4, "big") + nine[16:20] + nine[20 + template :]
    send([alone], port)
    assert eventually(lambda: later.account().sent == 1, 60)
    running.end()
    assert rows(own, "SELECT count(*) FROM flow_raw") == [(4,)]


def test_what_was_lost_on_the_way_here_is_told(database: dict[str, Any], settings: Callable[..., Settings], start: Start) -> None:
    """As a stream tells it: by its metrics, and in the end by the summary; the counts outlive the collector."""
    own = configured(settings, database)
    maker = DirectMaker(own)
    sensor, running, port = receiving(own, start, outlet=maker)
    send([numbered(10), numbered(11), numbered(15)], port)
    assert eventually(lambda: sensor.account().sent == 3, 60)
    running.end()
    assert maker.counts()["lost_before"] == {"netflow-v5": 3}

    maker = DirectMaker(own)
    sensor, running, port = receiving(own, start, outlet=maker)
    send([numbered(16), numbered(19)], port)
    assert eventually(lambda: sensor.account().sent == 2, 60)
    running.end()
    told = {(one.name, *one.labels.values()): one.value for metric in maker.collect() for one in metric.samples}
    assert told["flowlens_export_lost_total", "127.0.0.1", "netflow-v5"] == 5
    assert told["flowlens_export_counted_total", "127.0.0.1", "netflow-v5"] == 5
    assert told["flowlens_flows_processed_total", "127.0.0.1"] == 2
    assert told["flowlens_flows_duplicate_total", "127.0.0.1"] == 0
    assert told["flowlens_processing_latency_seconds_count",] == 2
    assert 0 < told["flowlens_processing_latency_seconds", "0.99"] < 60


def test_records_that_break_a_rule_are_quarantined(database: dict[str, Any], settings: Callable[..., Settings], start: Start) -> None:
    """Here of times, by a setting: the decoder itself lets none through that a rule would find."""
    own = configured(settings, database)
    strict = own.model_copy(update={"quality": QualitySettings(earliest=date(2300, 1, 1))})
    maker = DirectMaker(strict)
    sensor, running, port = receiving(strict, start, outlet=maker)
    send([numbered(0), numbered(1)], port)
    assert eventually(lambda: sensor.account().sent == 2, 60)
    running.end()
    found = rows(own, "SELECT rule, reason, record ->> 'dst_port', flow_id::text = record ->> 'flow_id' FROM flow_raw_quarantine")
    assert [(rule, port, same) for rule, _, port, same in found] == 2 * [("time(start_time)", "80", True)]
    assert all("start_time" in reason and "expected" in reason for _, reason, _, _ in found)
    assert maker.outlet is not None
    assert maker.outlet.quality.counts == {"time(start_time)": 2}
    assert stored(own) == 0

    sensor, running, port = receiving(own, start)
    send([numbered(2)], port)
    assert eventually(lambda: sensor.account().sent == 1, 60)
    running.end()
    assert (stored(own), len(rows(own, "SELECT 1 FROM flow_raw_quarantine"))) == (1, 2)


def test_counters_of_interfaces_are_stored(database: dict[str, Any], settings: Callable[..., Settings], start: Start) -> None:
    own = configured(settings, database)
    sensor, running, port = receiving(own, start)
    send([wire.sflow(counters()), datagrams()[0]], port)
    assert eventually(lambda: sensor.account().sent == 2, 60)
    running.end()
    told = rows(own, "SELECT interface, speed, in_bytes, out_bytes, oper_up, collector FROM interface_counters")
    assert told == [(7, 10**9, 2**40, 2**41, True, "edge")]
    assert stored(own) == 1


def test_what_comes_while_postgresql_refuses_is_stored_later_and_nothing_twice(
    database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    own = configured(settings, database)
    sensor, running, port = receiving(own, start)
    send([numbered(0)], port)
    assert eventually(lambda: sensor.account().sent == 1, 60)
    mine = "application_name = 'flowlake-netflow' AND datname = current_database()"
    execute(own, "ALTER TABLE flow_raw RENAME TO away", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
    send([numbered(n) for n in range(1, 50)], port)
    assert eventually(lambda: sensor.account().received == 50)
    assert eventually(lambda: metrics.health(sensor).checks["postgresql"] == "unreachable", 30)
    assert sensor.account().sent == 1
    assert rows(own, "SELECT count(*) FROM flow_exports") == [(1,)]
    execute(own, "ALTER TABLE away RENAME TO flow_raw")
    assert eventually(lambda: sensor.account().sent == 50, 60)
    account = running.end()
    assert (account.received, account.lost, account.thinned) == (50, 0, 0)
    assert rows(own, "SELECT count(*), count(DISTINCT flow_id) FROM flow_raw") == [(50, 50)]
    assert rows(own, "SELECT count(*) FROM flow_exports") == [(50,)]


def test_a_record_that_postgresql_refuses_does_not_cost_the_others(
    database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    own = configured(settings, database)
    made = DirectMaker(own)
    sensor, running, port = receiving(own, start, outlet=made)
    send([numbered(0)], port)
    assert eventually(lambda: sensor.account().sent == 1, 60)
    execute(own, "ALTER TABLE flow_raw ADD CONSTRAINT no_finger CHECK (dst_port <> 79)")
    send([numbered(n, 79 if n == 13 else 80) for n in range(1, 40)], port)
    assert eventually(lambda: sensor.account().sent == 40, 60)
    account = running.end()
    assert (account.received, account.lost) == (40, 0)
    assert made.counts() == {"records_stored": 39, "records_refused": 1, "undecoded": {}, "lost_before": {}, "alerts": {}}
    for table in ("flow_raw", "flow_exports"):
        assert rows(own, f"SELECT count(*), count(*) FILTER (WHERE dst_port = 79) FROM {table}") == [(39, 0)]


def test_without_postgresql_the_end_counts_what_was_not_stored(
    database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    (nobody,) = free_ports(1)
    own = configured(settings, {**database, "port": nobody})
    sensor, running, port = receiving(own, start, linger_s=1.0)
    send(datagrams(), port)
    assert eventually(lambda: sensor.account().received == 3)
    assert metrics.health(sensor).checks["postgresql"] == "unreachable"
    account = running.end()
    assert (account.received, account.sent, account.unsent, account.lost) == (3, 0, 3, 3)


def test_two_collectors_of_one_name_are_one_too_many(database: dict[str, Any], settings: Callable[..., Settings], start: Start) -> None:
    own = configured(settings, database)
    _, running, _ = receiving(own, start)
    assert eventually(lambda: locks(own) == 1, 60)
    running.end()
    other = postgres.connect(own.hot, "another process")
    try:
        with other.cursor() as cursor:
            execute(own, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flowlake-netflow'")
            cursor.execute("SELECT pg_advisory_lock(%s, hashtext('edge'))", (postgres.LOCK_COLLECTOR,))
            sensor = FlowExportSensor(own, "edge", outlet=DirectMaker(own))
            failure = start(sensor).join()
            assert isinstance(failure, StoreError)
            assert "another collector named edge" in str(failure)
            assert "--sensor-id" in failure.hint
        _, running, _ = receiving(own, start, sensor_id="other")
        assert eventually(lambda: locks(own) == 2, 60)
        running.end()
    finally:
        other.close()


def locks(own: Settings) -> int:
    return int(rows(own, f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {postgres.LOCK_COLLECTOR}")[0][0])


def test_owners_of_flows_outlive_the_collector(database: dict[str, Any], settings: Callable[..., Settings], start: Start) -> None:
    own = configured(settings, database)
    flow = wire.v5_record("10.9.0.1")
    now = {"now": int(time.time())}
    sensor, running, port = receiving(own, start)
    send([wire.v5([flow], 0, **now)], port, source="127.0.0.2")
    send([wire.v5([wire.v5_record("10.9.0.2")], 0, **now)], port, source="127.0.0.3")
    assert eventually(lambda: sensor.account().sent == 2, 60)
    send([wire.v5([flow], 1, **now)], port, source="127.0.0.2")
    assert eventually(lambda: sensor.account().sent == 3, 60)
    running.end()
    later, running, port = receiving(own, start)
    send([wire.v5([flow], 1, **now)], port, source="127.0.0.3")
    assert eventually(lambda: later.account().sent == 1, 60)
    running.end()
    assert rows(own, "SELECT exporter_ip, duplicate_of FROM flow_exports WHERE duplicate_of IS NOT NULL") == [("127.0.0.3", "127.0.0.2")]


@pytest.mark.parametrize(("days", "left"), [(3, 0), (7, 1)])
def test_raw_rows_live_as_long_as_set(database: dict[str, Any], settings: Callable[..., Settings], days: int, left: int) -> None:
    own = settings(hot=database)
    table = own_tables(days).raw
    migrate(component(own, table))
    values = "gen_random_uuid(), '192.0.2.1', 1, 2, 6, 10, 1, 0"
    execute(
        own,
        "INSERT INTO flow_raw (received_at, id, flow_id, exporter_ip, src_port, dst_port, protocol, bytes, packets, tcp_flags) "
        f"VALUES (now() - interval '5 days', 1, {values}), (now(), 2, {values})",
    )
    maintain(own.hot, [table])
    assert rows(own, "SELECT count(*) FILTER (WHERE id = 1), count(*) FILTER (WHERE id = 2) FROM flow_raw") == [(left, 1)]
