"""The three sinks on a real broker, a real database and a Delta table: every record once, whatever is delivered twice or breaks."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality

from infra.config import Settings
from infra.errors import StoreError
from infra.process import free_port
from infra.sections import HotSettings, PostgresSettings
from infra.stack.postgres import Postgres
from jobs.runtime import dead_letter
from jobs.runtime import lake as tables
from jobs.sinks import alerts, hot, lake, parquet
from jobs.sinks.migrations import migrate
from schemas.flows import PREDICTION_SCHEMA
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from schemas.records import HEADER_SNAPSHOTS
from tests.integration.sinkbench import Bench, Rows, drain, run, running, until
from tests.sinksdata import START, flow_id, headers, table, value

pytestmark = [pytest.mark.integration, pytest.mark.spark]


def mixed(count: int = 40) -> Rows:
    """Closed and open records of two days, nulls and empty strings."""
    return [
        {
            "name": i,
            "closed": i % 4 != 0,
            "at": (i % 2) * 86400 + i,
            "flow_duration": i,
            "tcp_state": "" if i % 3 else "SF",
            "sensor_id": 'a "b", c',
        }
        for i in range(count)
    ]


def closed_ids(rows: Rows) -> set[str]:
    return {flow_id(r["name"]) for r in rows if r.get("closed", True)}


def lake_table(spark: Any, settings: Settings) -> Any:
    return spark.read.format("delta").load(tables.location(settings, FLOWS))


def test_lake_and_hot_hold_each_closed_record_once(spark: Any, bench: Bench) -> None:
    """Duplicates inside a message, between messages, over partitions, batches, restarts and new checkpoints."""
    rows = mixed()
    bench.rows(rows, "m1")
    bench.rows(rows[:25] + rows[:5], "m1")
    bench.rows(rows, "m1", partition=1)
    for sink in (lake, hot):
        drain(START[sink.SINK], spark, bench.settings)
    more = [{"name": f"n{i}", "at": i} for i in range(10)]
    bench.rows(rows + more, "m2")
    bench.rows([{"name": 3, "closed": False}])
    for sink in (lake, hot):
        drain(START[sink.SINK], spark, bench.settings)  # goes on from its checkpoint
    moved = bench.settings.model_copy(update={"paths": bench.settings.paths.model_copy(update={"checkpoints": "var/other"})})
    bench.rows([{"name": "last"}])
    for sink in (lake, hot):
        drain(START[sink.SINK], spark, moved)  # a new checkpoint reads everything again
    expected = closed_ids(rows) | closed_ids(more) | {flow_id("last")}

    stored = lake_table(spark, bench.settings)
    assert sorted(r.flow_id for r in stored.select("flow_id").collect()) == sorted(expected)
    assert sorted(r[0] for r in bench.sql("SELECT flow_id::text FROM network_flows")) == sorted(expected)
    assert list(stored.columns) == [*PREDICTION_SCHEMA.names, "event_date"]
    # files of records that were there already are not left lying about
    files = {Path(f).name for f in stored.inputFiles()}
    assert {f.name for f in Path(tables.location(bench.settings, FLOWS)).rglob("event_date=*/*.parquet")} == files
    days = {str(r.event_date): r["count"] for r in stored.groupBy("event_date").count().collect()}
    assert set(days) == {"2026-03-01", "2026-03-02"}

    names = ("flow_id", "flow_duration", "tcp_state", "sensor_id", "end_reason", "start_time")
    here = bench.sql("SELECT flow_id::text, flow_duration, tcp_state, sensor_id, end_reason, timestamp FROM network_flows")
    assert_df_equality(
        spark.createDataFrame(here, stored.select(*names).schema), stored.select(*names), ignore_row_order=True, ignore_nullable=True
    )


def test_messages_of_snapshots_alone_are_for_the_alerts(spark: Any, bench: Bench) -> None:
    """Readers of closed records leave them out by their header, unseen; a message without headers is opened, and refused."""
    about = [*headers("s/0"), (HEADER_SNAPSHOTS, b"1")]
    attack = {"name": "s", "closed": False, "attack_type": "SYN_SCAN"}
    bench.send((value(table([attack])), about), (value(table(mixed(4))), headers("c/0")), (b"no message", about), (b"no headers", []))
    for start in (START["lake"], START["hot"], START["alerts"]):
        drain(start, spark, bench.settings)
    assert {row.flow_id for row in lake_table(spark, bench.settings).select("flow_id").collect()} == closed_ids(mixed(4))
    assert {str(row[0]) for row in bench.sql("SELECT flow_id FROM network_flows")} == closed_ids(mixed(4))
    assert bench.sql("SELECT attack_type FROM alerts") == [("SYN_SCAN",)]
    refused = sorted((dict(m.headers)[dead_letter.HEADER_QUERY].decode(), m.value) for m in bench.topic("dead-letter"))
    assert refused == [("alerts", b"no headers"), ("alerts", b"no message"), ("hot", b"no headers"), ("lake", b"no headers")]


def test_alerts_come_from_snapshots_and_count_flows_once(spark: Any, bench: Bench) -> None:
    """A flood of 10^5 flows, first open, then closed, each delivered twice: one row, the exact count, one message."""
    flows = 100_000
    rows = [
        {"name": i, "attack_type": "SYN_FLOOD", "src_ip": f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", "at": i / 1e5} for i in range(flows)
    ]
    everything = table(rows)
    index = everything.schema.get_field_index("closed")
    import pyarrow as pa

    still_open = everything.set_column(index, everything.schema.field("closed"), pa.array([False] * flows))
    with running(START["alerts"], spark, bench.settings) as query:
        for step in range(0, flows, 10_000):
            bench.send((value(still_open.slice(step, 10_000)), headers(f"i/{step}")), partition=step // 10_000 % 2)
        query.processAllAvailable()
        assert bench.sql("SELECT flow_count FROM alerts") == [(flows,)]
        for twice in range(2):
            for step in range(0, flows, 10_000):
                bench.send((value(everything.slice(step, 10_000)), headers(f"c/{step}")), partition=twice)
        query.processAllAvailable()
    ((count, severity, src, dst, kind, details, created),) = bench.sql(
        "SELECT flow_count, severity, src_ip, host(dst_ip), kind, details, created_at FROM alerts"
    )
    assert (count, severity, src, dst, kind) == (flows, 5, None, "10.0.0.2", "flood")
    assert details["distinct_sources"] == pytest.approx(flows, rel=0.15)
    assert len(details["sources"]) == 20
    assert created is not None
    assert bench.sql("SELECT count(*) FROM alert_flows")[0][0] < 100
    # Counting goes on from what the database knows, not from this process: a new start, a new checkpoint, everything again.
    moved = bench.settings.model_copy(update={"paths": bench.settings.paths.model_copy(update={"checkpoints": "var/other"})})
    bench.rows([{"name": "one more", "attack_type": "SYN_FLOOD"}])
    drain(START["alerts"], spark, moved)
    assert bench.sql("SELECT flow_count FROM alerts") == [(flows + 1,)]
    until(lambda: bench.sql("SELECT count(*) FROM alert_outbox") == [(0,)])
    (sent,) = bench.topic("alerts")
    assert json.loads(sent.value)["attack_type"] == "SYN_FLOOD"


def test_alerts_of_every_kind_and_their_messages(spark: Any, bench: Bench) -> None:
    rows: Rows = [
        {"name": f"s{i}", "attack_type": "SYN_SCAN", "dst_port": i, "dst_ip": f"10.1.0.{i % 5}", "src_ip": "10.6.6.6"} for i in range(50)
    ]
    rows += [{"name": f"g{i}", "attack_type": "SSH_BRUTE_FORCE", "src_ip": "10.7.7.7", "dst_port": 22} for i in range(9)]
    beacon = {"attack_type": "BOTNET_BEACON", "src_ip": "2001:db8::1", "dst_ip": "2001:db8::2"}
    rows += [{"name": f"b{i}", "closed": c, **beacon} for i in range(3) for c in (False, True)]
    rows += [{"name": f"x{i}"} for i in range(20)]
    bench.rows(rows)
    with running(START["alerts"], spark, bench.settings) as query:
        query.processAllAvailable()
        until(lambda: bench.sql("SELECT count(*) FROM alert_outbox") == [(0,)])
    found = bench.sql("SELECT attack_type, host(src_ip), host(dst_ip), flow_count, details FROM alerts ORDER BY attack_type, id")
    assert [r[:4] for r in found] == [
        ("BOTNET_BEACON", "2001:db8::1", "2001:db8::2", 3),
        ("SSH_BRUTE_FORCE", "10.7.7.7", "10.0.0.2", 9),
        ("SYN_SCAN", "10.6.6.6", None, 50),
    ]
    assert found[-1][4]["distinct_ports"] == 50
    for *_, details in found:  # there is no registry: the alerts are there, and say so
        assert details["why"]["missing"] == "model-missing: version 7 cannot be loaded"
    sent = bench.topic("alerts")
    ids = {r[0] for r in bench.sql("SELECT id::text FROM alerts")}
    assert sorted(json.loads(m.value)["id"] for m in sent) == sorted(ids)
    assert {m.key.decode() for m in sent} == {"2001:db8::1", "10.7.7.7", "10.6.6.6"}


def test_messages_survive_a_crash_between_commit_and_sending(spark: Any, bench: Bench) -> None:
    """What a former process left in the outbox is sent at the next start."""
    drain(START["alerts"], spark, bench.settings)
    bench.sql("INSERT INTO alert_outbox (alert_id, key, message) VALUES (gen_random_uuid(), 'k', '{\"id\": 1}') RETURNING seq")
    with running(START["alerts"], spark, bench.settings):
        until(lambda: bench.sql("SELECT count(*) FROM alert_outbox") == [(0,)])
    assert [m.value for m in bench.topic("alerts")] == [b'{"id": 1}']


def test_garbage_goes_to_the_dead_letters_and_the_rest_is_stored(spark: Any, bench: Bench) -> None:
    """Without checks on batches, which would take the address out before a store meets it."""
    bench.settings = bench.settings.model_copy(update={"quality": bench.settings.quality.model_copy(update={"batch_checks": False})})
    good = value(table([{"name": "ok", "attack_type": "DNS_TUNNEL"}]))
    garbage = [
        (os.urandom(5 << 20), headers()),
        (good[: len(good) // 2], headers()),
        (good, [("content-type", b"text/plain")]),
        (None, headers()),
        # Arrow as it should be, but a value that PostgreSQL cannot take.
        (value(table([{"name": "odd", "src_ip": "not an address", "attack_type": "DNS_TUNNEL"}])), headers()),
    ]
    bench.send((good, headers()), *garbage[:2], (good, headers()), *garbage[2:])
    for sink in (lake, hot):
        drain(START[sink.SINK], spark, bench.settings)
    assert bench.sql("SELECT flow_id::text FROM network_flows") == [(flow_id("ok"),)]
    assert {r.flow_id for r in lake_table(spark, bench.settings).collect()} == {flow_id("ok"), flow_id("odd")}
    letters: dict[str, dict[int, tuple[str, Any]]] = {"lake": {}, "hot": {}}
    for letter in bench.topic("dead-letter"):
        about = {k: v.decode() for k, v in letter.headers}
        assert about[dead_letter.HEADER_TOPIC] == bench.settings.topic("predictions")
        assert about[dead_letter.HEADER_PARTITION] == "0"
        letters[about[dead_letter.HEADER_QUERY]][int(about[dead_letter.HEADER_OFFSET])] = (
            about[dead_letter.HEADER_REASON].split(":")[0],
            letter.value,
        )
    raw = [data or b"" for data, _ in garbage]
    expected = {1: ("not-arrow", raw[0]), 2: ("not-arrow", raw[1]), 4: ("content-type", raw[2]), 5: ("empty", raw[3])}
    assert letters["lake"] == expected
    assert letters["hot"] == {**expected, 6: ("store", raw[4])}


def test_a_value_the_alerts_cannot_take_is_refused_too(spark: Any, bench: Bench) -> None:
    bench.rows([{"name": "odd", "src_ip": "not an address", "attack_type": "DNS_TUNNEL"}])
    bench.rows([{"name": "ok", "attack_type": "DNS_TUNNEL"}])
    drain(START["alerts"], spark, bench.settings)
    assert bench.sql("SELECT details->'flow_ids'->>0 FROM alerts") == [(flow_id("ok"),)]
    (letter,) = bench.topic("dead-letter")
    assert dict(letter.headers)[dead_letter.HEADER_REASON].startswith(b"address:")


@pytest.mark.parametrize("sink", [hot, alerts])
def test_database_restarted_while_the_stream_runs(spark: Any, bench: Bench, tmp_path: Path, sink: Any) -> None:
    server = Postgres(tmp_path / "own", free_port())
    server.start()
    try:
        server.create_database("flowlake")
        section = HotSettings(**{**server.settings().model_dump(), "trigger_ms": 0})
        options = {name: getattr(section, name) for name in PostgresSettings.model_fields}
        changed = {"hot": section, "alerts": type(bench.settings.alerts)(**options)}
        own = bench.settings.model_copy(update=changed)
        count = (
            "SELECT count(*), count(DISTINCT id) FROM (SELECT flow_id id FROM network_flows) f"
            if sink is hot
            else "SELECT count(*), max(flow_count) FROM alerts"
        )
        with running(START[sink.SINK], spark, own) as query:
            bench.rows([{"name": f"a{i}", "attack_type": "UDP_FLOOD"} for i in range(100)])
            query.processAllAvailable()
            server.stop()
            bench.rows([{"name": f"b{i}", "attack_type": "UDP_FLOOD"} for i in range(100)])
            until(lambda: query.status["isTriggerActive"])
            time.sleep(1)
            assert query.isActive
            server.start()
            query.processAllAvailable()
        assert run(section, count) == [(200, 200)] if sink is hot else [(1, 200)]
    finally:
        server.stop()


def test_stopping_does_not_wait_for_a_store_that_is_away(spark: Any, bench: Bench, tmp_path: Path) -> None:
    server = Postgres(tmp_path / "own", free_port())
    server.start()
    try:
        server.create_database("flowlake")
        own = bench.settings.model_copy(update={"hot": HotSettings(**server.settings().model_dump())})
        query = START["hot"](spark, own)
        query.processAllAvailable()
        server.stop()
        bench.rows([{"name": 1}])
        until(lambda: query.status["isTriggerActive"])
        query.stop()
        assert not query.isActive
        server.start()
        drain(START["hot"], spark, own)  # nothing was lost
        assert run(own.hot, "SELECT count(*) FROM network_flows") == [(1,)]
    finally:
        server.stop()


@pytest.mark.parametrize("sink", [hot, alerts])
def test_database_absent_at_start_is_one_line(spark: Any, bench: Bench, sink: Any) -> None:
    nobody = free_port()
    own = bench.settings.model_copy(
        update={name: getattr(bench.settings, name).model_copy(update={"port": nobody}) for name in ("hot", "alerts")}
    )
    with pytest.raises(StoreError, match=f":{nobody}/") as failure:
        START[sink.SINK](spark, own)
    assert "\n" not in str(failure.value)
    assert failure.value.hint


def test_missing_database_and_permission_are_refusals(spark: Any, bench: Bench) -> None:
    absent = bench.settings.model_copy(update={"hot": bench.settings.hot.model_copy(update={"database": "nothere"})})
    with pytest.raises(StoreError, match="nothere"):
        START["hot"](spark, absent)


def test_a_lake_that_only_spark_reaches_is_the_same(spark: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another scheme, where delta-rs has no keys: Spark's own writer takes the rows."""
    rows = mixed()
    bench.rows(rows)
    monkeypatch.setattr(parquet, "reaches", lambda path: False)
    drain(START["lake"], spark, bench.settings)
    moved = bench.settings.model_copy(update={"paths": bench.settings.paths.model_copy(update={"checkpoints": "var/other"})})
    bench.rows([{"name": "last"}])
    drain(START["lake"], spark, moved)
    stored = lake_table(spark, bench.settings)
    assert sorted(r.flow_id for r in stored.select("flow_id").collect()) == sorted(closed_ids(rows) | {flow_id("last")})
    assert "Apache-Spark" in last_commit(Path(tables.location(bench.settings, FLOWS)))["engineInfo"]
    monkeypatch.undo()
    bench.rows([{"name": "more"}])
    drain(START["lake"], spark, moved)  # both write the same table
    assert lake_table(spark, bench.settings).count() == len(closed_ids(rows)) + 2
    assert "Apache-Spark" not in last_commit(Path(tables.location(bench.settings, FLOWS))).get("engineInfo", "")


def last_commit(table: Path) -> dict[str, Any]:
    """Who made the newest version of a table, and how."""
    lines = max((table / "_delta_log").glob("*.json")).read_text(encoding="utf-8").splitlines()
    return next(action["commitInfo"] for action in map(json.loads, lines) if "commitInfo" in action)


def test_lake_folder_that_cannot_be_written(spark: Any, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = str(tmp_path / "file" / "flows")
    own = bench.settings.model_copy(update={"lake": bench.settings.lake.model_copy(update={"path": path})})
    with pytest.raises(StoreError, match="cannot be written") as failure:
        START["lake"](spark, own)
    assert path in str(failure.value)
    assert "\n" not in str(failure.value)


def test_lake_table_of_other_columns(spark: Any, bench: Bench) -> None:
    spark.range(1).write.format("delta").save(tables.location(bench.settings, FLOWS))
    with pytest.raises(StoreError, match="lake"):
        START["lake"](spark, bench.settings)


def test_lake_is_compacted_and_stays_the_same(spark: Any, bench: Bench) -> None:
    own = bench.settings.model_copy(update={"lake": bench.settings.lake.model_copy(update={"compact_every": 3})})
    sent = 0
    with running(START["lake"], spark, own) as query:
        # A topic that was made a moment ago may not be seen yet: then the first batch is empty, and counts. Six batches hold two times
        # three whatever is counted, and each message is to be a batch.
        while sent < 3 or (sent < 6 and len(lake_table(spark, own).inputFiles()) > 1):
            bench.rows([{"name": f"{sent}/{j}"} for j in range(5)])
            sent += 1
            query.processAllAvailable()
            until(lambda stored=5 * sent: lake_table(spark, own).count() == stored)
            query.processAllAvailable()  # rows are seen before the upkeep behind them is done
    stored = lake_table(spark, own)
    assert stored.count() == 5 * sent
    assert len(stored.inputFiles()) == 1


def test_migrations_can_be_repeated(bench: Bench) -> None:

    for _ in range(2):
        migrate(hot.component(bench.settings, NETWORK_FLOWS))
        assert migrate(alerts.component(bench.settings)) == max(alerts.table.MIGRATIONS)
    assert bench.sql("SELECT component, version FROM flowlake_schema ORDER BY 1") == [
        ("alerts", max(alerts.table.MIGRATIONS)),
        ("hot", max(NETWORK_FLOWS.migrations)),
    ]
    bench.sql("UPDATE flowlake_schema SET version = 99 RETURNING 1")
    with pytest.raises(StoreError, match="version 99"):
        migrate(hot.component(bench.settings, NETWORK_FLOWS))
