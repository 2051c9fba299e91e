"""The collector without Kafka: real datagrams over UDP, decoded in the process, in PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.config import Settings
from jobs.hotstore.maintain import maintain
from jobs.sinks import postgres
from jobs.sinks.hot import component
from jobs.sinks.migrations import migrate
from jobs.sources.netflow.commands.sensor import netflow
from jobs.sources.netflow.direct import DirectOutlet
from jobs.sources.netflow.warm import datagrams
from schemas.rawflowtable import flow_raw
from sensors.netflow import metrics
from sensors.netflow.outlet import FlowOutlet
from sensors.netflow.sensor import FlowExportSensor
from tests.unit.sensors.netflow.runningsensor import Start, port_of, starting
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


def configured(settings: Callable[..., Settings], database: dict[str, Any], port: int) -> Settings:
    own: dict[str, Any] = {"ports": [port], "mode": "direct", "heartbeat_ms": 100, "raw_retention_days": 3}
    return settings(hot=database, netflow_sensor=own, enrichment={"geoip": {"enabled": False}})


def collector(own: Settings) -> FlowExportSensor:
    def made(sensor_id: str, domain: str | None, stop: Any) -> FlowOutlet:
        return DirectOutlet(own, sensor_id, domain, stop)

    return FlowExportSensor(own, "edge", outlet=made, linger_s=30.0)


def test_flows_are_stored_once_in_both_tables_and_templates_outlive_the_collector(
    database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    (port,) = free_ports(1)
    own = configured(settings, database, port)
    sensor = collector(own)
    running = start(sensor)
    port_of(sensor)
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

    later = collector(own)
    running = start(later)
    port_of(later)
    # the v9 datagram with its data alone: header of 20 bytes, template set, data set
    nine = every[1]
    template = int.from_bytes(nine[22:24], "big")
    alone = nine[:12] + (2).to_bytes(4, "big") + nine[16:20] + nine[20 + template :]
    send([alone], port)
    assert eventually(lambda: later.account().sent == 1, 60)
    running.end()
    assert rows(own, "SELECT count(*) FROM flow_raw") == [(4,)]


def test_what_comes_while_postgresql_refuses_is_stored_later_and_nothing_twice(
    database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    (port,) = free_ports(1)
    own = configured(settings, database, port)
    sensor = collector(own)
    running = start(sensor)
    port_of(sensor)
    five = datagrams()[0]

    def numbered(sequence: int) -> bytes:
        return five[:16] + sequence.to_bytes(4, "big") + five[20:]

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


def test_without_postgresql_the_end_counts_what_was_not_stored(
    database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    ports = free_ports(2)
    own = configured(settings, {**database, "port": ports[1]}, ports[0])
    sensor = FlowExportSensor(own, "edge", outlet=lambda s, d, stop: DirectOutlet(own, s, d, stop), linger_s=1.0)
    running = start(sensor)
    port_of(sensor)
    send(datagrams(), ports[0])
    assert eventually(lambda: sensor.account().received == 3)
    assert metrics.health(sensor).checks["postgresql"] == "unreachable"
    account = running.end()
    assert (account.received, account.sent, account.unsent, account.lost) == (3, 0, 3, 3)


def test_the_command_needs_postgresql_alone(database: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What docs/how-to/receive-flow-exports.md says under Without Kafka."""
    (port,) = free_ports(1)
    words = {"host": database["host"], "port": database["port"], "user": database["user"], "database": database["database"]}
    lines = ["hot:", *(f"  {name}: {value}" for name, value in words.items()), "kafka:", "  bootstrap_servers: 127.0.0.1:1"]
    conf = tmp_path / "small.yaml"
    conf.write_text("\n".join([*lines, "enrichment:", "  geoip:", "    enabled: false", ""]))
    sending = threading.Timer(12.0, send, (datagrams(), port))
    sending.start()
    netflow(port=[port], mode="direct", duration=16.0, conf_file=conf, as_json=True)
    sending.join()
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["mode"], summary["datagrams_received"], summary["datagrams_sent"]) == ("direct", 3, 3)
    assert (summary["records_stored"], summary["records_refused"], summary["undecoded"]) == (3, 0, {})


@pytest.mark.parametrize(("days", "left"), [(3, 0), (7, 1)])
def test_raw_rows_live_as_long_as_set(database: dict[str, Any], settings: Callable[..., Settings], days: int, left: int) -> None:
    own = settings(hot=database)
    table = flow_raw(days)
    migrate(component(own, table))
    values = "gen_random_uuid(), '192.0.2.1', 1, 2, 6, 10, 1, 0"
    execute(
        own,
        "INSERT INTO flow_raw (received_at, id, flow_id, exporter_ip, src_port, dst_port, protocol, bytes, packets, tcp_flags) "
        f"VALUES (now() - interval '5 days', 1, {values}), (now(), 2, {values})",
    )
    maintain(own.hot, [table])
    assert rows(own, "SELECT count(*) FILTER (WHERE id = 1), count(*) FILTER (WHERE id = 2) FROM flow_raw") == [(left, 1)]
