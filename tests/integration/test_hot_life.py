"""The life of a hot table, the same on plain PostgreSQL and on TimescaleDB: days, retention, rollups, and the way there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from infra import config
from infra.metrics import REGISTRY
from infra.sections import HotSettings
from jobs.archiving import ledger
from jobs.hotstore import bucketing, hyperlife
from jobs.hotstore.keeper import HotKeeper
from jobs.sinks import postgres
from schemas.records import Aggregate, HotTable, Life, Rollup
from tests.integration.hotstore import DAY, HOUR, NOW, Store, at, flows
from tests.integration.released import HOT_1, ROWS, VERSIONS
from tests.integration.sinkbench import until
from tests.sinksdata import flow_id
from tests.toy_source.records import READING

pytestmark = pytest.mark.integration

#: What the rollup is to hold, computed from the rows themselves.
STATS = """
SELECT date_trunc('hour', timestamp, 'UTC'), host(src_ip), count(*) FILTER (WHERE predicted_label = 1), count(*),
  round((avg(confidence_score) FILTER (WHERE predicted_label = 1))::numeric, 6)
FROM network_flows WHERE timestamp < %s GROUP BY 1, 2 ORDER BY 1, 2
"""
ROLLED_UP = (
    "SELECT hour, host(src_ip), attacks, total_flows, round(avg_confidence::numeric, 6) FROM hourly_attack_stats ORDER BY hour, src_ip"
)


@pytest.fixture
def made(store: HotSettings) -> Store:
    built = Store(store)
    built.migrate()
    return built


def is_timescale(store: Store) -> bool:
    return bool(store.sql("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"))


def test_made_once_and_current(made: Store) -> None:
    assert made.missing() == ()
    assert made.migrate() == []
    assert made.rows == 0
    names = {name for (name,) in made.sql("SELECT indexname FROM pg_indexes WHERE tablename = 'network_flows'")}
    assert names == {f"network_flows_{what}" for what in ("pkey", "src_time", "dst_time", "attackers", "confidence", "failed", "large")}


def test_each_row_is_there_once_however_late_and_however_often_it_comes(made: Store) -> None:
    times = [NOW - n * DAY - k * HOUR for n in (0, 1, 5, 40, 88) for k in range(3)]
    assert made.write(flows(times)) == len(times)
    assert made.write(flows(times)) == 0
    if is_timescale(made):
        made.sql("SELECT compress_chunk(c, true) FROM show_chunks('network_flows', older_than => INTERVAL '3 days') c")
        assert made.sql("SELECT count(*) > 2 FROM timescaledb_information.chunks WHERE is_compressed") == [(True,)]
    later = [time + timedelta(minutes=1) for time in times]
    assert made.write(flows([*times, *later])) == len(later)
    assert made.rows == len(times) + len(later)


def test_a_rollup_is_what_its_query_says_and_late_rows_change_it(made: Store) -> None:
    hour = (NOW - 30 * HOUR).replace(minute=0, second=0, microsecond=0)
    made.write(flows([hour, hour + HOUR / 2], src_ip="10.0.0.1", confidence_score=0.75))
    made.write(flows([hour + HOUR / 3], attack=False, src_ip="10.0.0.2"))
    made.write(flows([hour + 2 * HOUR, hour + 2 * HOUR + timedelta(microseconds=1)], src_ip="2001:db8::1", confidence_score=0.5))
    made.maintain()
    assert made.sql(ROLLED_UP) == made.sql(STATS, NOW)
    assert [(row[1], row[4] is None) for row in made.sql(ROLLED_UP)] == [("10.0.0.1", False), ("10.0.0.2", True), ("2001:db8::1", False)]
    # A late row of an hour that is there, one of an older hour, and one of an hour without any.
    made.write(flows([hour + HOUR / 4], src_ip="10.0.0.1", confidence_score=0.25))
    made.write(flows([hour - 60 * DAY, hour + HOUR], attack=False))
    made.maintain()
    assert made.sql(ROLLED_UP) == made.sql(STATS, NOW)
    assert len(made.sql(ROLLED_UP)) == 5
    made.maintain()
    assert made.sql(ROLLED_UP) == made.sql(STATS, NOW)


def test_rows_that_were_changed_by_hand_are_rolled_up_anew_on_request(made: Store) -> None:
    hour = (NOW - 30 * HOUR).replace(minute=0, second=0, microsecond=0)
    made.write(flows([hour, hour + HOUR / 2, hour + HOUR]))
    made.maintain()
    with_hours = made.sql(ROLLED_UP)
    made.sql("DELETE FROM hourly_attack_stats WHERE hour = %s" if not is_timescale(made) else "SELECT %s::timestamptz", hour)
    made.maintain(rebuild=True)
    assert made.sql(ROLLED_UP) == with_hours == made.sql(STATS, NOW)


def test_a_refresh_waits_for_that_of_a_policy(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """TimescaleDB refuses two at once: that is nothing that a person must see to."""
    if not is_timescale(made):
        pytest.skip("only TimescaleDB has policies")
    made.write(flows([NOW - 30 * HOUR, NOW - 29 * HOUR]))
    ((place,),) = made.sql(
        "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) "
        "FROM timescaledb_information.continuous_aggregates WHERE view_name = 'hourly_attack_stats'"
    )
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'CALL %'"
    with closing(postgres.connect(made.settings, "test")) as holder, ThreadPoolExecutor(1) as pool:
        holder.cursor().execute(f"LOCK TABLE {place} IN EXCLUSIVE MODE")
        policy = pool.submit(made.sql, "CALL refresh_continuous_aggregate('hourly_attack_stats', NULL, NULL)")
        until(lambda: made.sql(waits) == [(1,)])

        def ends(_: float) -> None:
            holder.rollback()
            policy.result(60)

        monkeypatch.setattr(hyperlife, "time", SimpleNamespace(sleep=ends))
        assert made.maintain().problems == []
        assert policy.done(), "the two did not meet"
    assert made.sql(ROLLED_UP) == made.sql(STATS, NOW)


def test_an_hour_that_is_too_young_is_not_there_yet(made: Store) -> None:
    old = (NOW - 5 * HOUR).replace(minute=0)
    made.write(flows([NOW, NOW - timedelta(seconds=1), old]))
    made.maintain()
    (row,) = made.sql(ROLLED_UP)
    assert row[0] == old.replace(second=0, microsecond=0)


def test_old_days_go_and_what_was_computed_of_them_stays(made: Store) -> None:
    kept, old = [NOW - 3 * DAY], [NOW - 40 * DAY, NOW - 60 * DAY]
    made.write(flows([*kept, *old]))
    made.maintain()
    stats = made.sql(ROLLED_UP)
    assert len(stats) == 3
    shorter = made.with_settings(retention_days=30)
    shorter.migrate()
    assert shorter.missing() == ()
    for _ in range(2):
        shorter.maintain(jobs=True)
        assert made.sql("SELECT timestamp FROM network_flows") == [(kept[0],)]
        assert made.sql(ROLLED_UP) == stats
    # A row that is older than what is kept changes nothing of what was computed of its hour.
    shorter.write(flows([old[0] + timedelta(microseconds=1)]))
    shorter.maintain(jobs=True)
    shorter.maintain(jobs=True)
    assert made.rows == 1
    assert made.sql(ROLLED_UP) == stats


def test_nothing_goes_that_is_not_archived(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [NOW - n * DAY for n in (2, 40, 41, 60)]
    made.write(flows(days))
    keeping = made.with_settings(retention_days=30, keep_until_archived=True)
    keeping.migrate()
    assert keeping.missing() == ()
    keeping.maintain(jobs=True)
    assert made.rows == 4
    held = {days[1].date(), days[3].date()}
    monkeypatch.setattr(ledger, "archived", lambda cursor, table, day: table == "network_flows" and day in held)
    looked = keeping.maintain(dry_run=True)
    assert (len(looked.dropped), made.rows) == (2, 4)
    keeping.maintain()
    assert {time for (time,) in made.sql("SELECT timestamp FROM network_flows")} == {days[0], days[2]}
    assert keeping.maintain().dropped == []


def late_at(call: int, made: Store, held: datetime, late: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that holds one row. In the middle of the ``call``-th question for its day, a further one comes."""
    calls = iter(range(1, 100))

    def archived(cursor: Any, table: str, day: date) -> bool:
        cursor.execute(f"SELECT timestamp FROM {table} WHERE timestamp >= %s::date AND timestamp < %s::date + 1", (day, day))
        rows = cursor.fetchall()
        if rows and next(calls) == call:
            assert made.write(late) == 1
        return all(row == (held,) for row in rows)

    monkeypatch.setattr(ledger, "archived", archived)


def test_a_row_that_comes_while_its_day_is_being_dropped_stays(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = (NOW - 40 * DAY).replace(hour=12)
    made.write(flows([old]))
    keeping = made.with_settings(retention_days=30, keep_until_archived=True)
    keeping.migrate()
    late_at(1, made, old, flows([old + timedelta(minutes=1)]), monkeypatch)
    assert keeping.maintain().dropped == []
    assert made.rows == 2


@pytest.mark.parametrize("call", [1, 2])
def test_a_row_that_comes_while_its_day_is_being_deleted_stays(plain: HotSettings, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = Store(plain).with_settings(retention_days=30, keep_until_archived=True)
    keeping.migrate()
    old = (NOW - 40 * DAY).replace(hour=12)
    late = old + timedelta(minutes=1)
    keeping.write(flows([old]))
    assert keeping.where() == {"network_flows_default": 1}
    late_at(call, keeping, old, flows([late]), monkeypatch)
    done = keeping.maintain()
    assert (done.problems, done.deleted) == ([], call - 1)
    assert keeping.sql("SELECT timestamp FROM network_flows ORDER BY 1") == [(time,) for time in (old, late)[call - 1 :]]


#: As a source of its own may declare it: another width, no group by address.
DEVICES = Rollup(
    "readings_by_device",
    bucket="since",
    group_by=("device", "attack_type"),
    aggregates=(Aggregate("readings", "count(*)"), Aggregate("highest", "max(value)")),
    hours=2,
    start_offset_hours=6,
    indexes=("(since DESC) INCLUDE (device) WHERE readings > 1",),
)


def test_any_record_type_has_rollups(store: HotSettings) -> None:
    assert READING.hot is not None
    table: HotTable = replace(READING.hot, rollups=(DEVICES,), life=Life(retention_days=45))
    made = Store(store, table)
    made.migrate()
    assert made.missing() == ()
    start = (NOW - 3 * DAY).replace(hour=4, minute=0, second=0, microsecond=0)
    times = [start, start + HOUR, start + 2 * HOUR, start - 20 * DAY]
    rows = {
        "timestamp": times, "reading_id": [flow_id(n) for n in range(4)], "device": ["a", "a", "a", "b"], "value": [1.0, 5.0, 2.0, 3.0],
        "zscore": [0.0] * 4, "predicted_label": [0] * 4, "confidence_score": [0.1] * 4, "attack_type": ["BENIGN"] * 4,
        "model_version": ["1"] * 4,
    }  # fmt: skip
    assert made.write(at(pa.table(rows), times)) == 4
    made.maintain()
    found = made.sql("SELECT since, device, attack_type, readings, highest FROM readings_by_device ORDER BY since")
    assert found == [
        (start - 20 * DAY, "b", "BENIGN", 1, 3.0),
        (start, "a", "BENIGN", 2, 5.0),
        (start + 2 * HOUR, "a", "BENIGN", 1, 2.0),
    ]
    further = "SELECT count(*) > 0 FROM pg_index WHERE pg_get_indexdef(indexrelid) LIKE '%%INCLUDE (device) WHERE (readings > 1)'"
    assert made.sql(further.replace("%%", "%")) == [(True,)]


MORE = ROWS["hot"].replace("'2026-03-01'", "timestamp '{time}' AT TIME ZONE 'UTC'").replace("0001'", "{n:04}'")


def earlier(store: HotSettings, times: list[datetime]) -> Store:
    """A table of the first version with rows, as it was made before there were days."""
    made = Store(store)
    made.sql(f"{VERSIONS} {HOT_1} INSERT INTO flowlake_schema VALUES ('hot', 1)")
    for n, time in enumerate(times):
        made.sql(MORE.format(time=f"{time:%Y-%m-%d %H:%M:%S.%f}", n=n))
    return made


def test_a_table_from_before_is_laid_out_in_days_with_all_it_had(store: HotSettings) -> None:
    times = [NOW - n * DAY for n in (0, 1, 2, 50)] + [NOW + 400 * DAY]
    made = earlier(store, times)
    made.sql("CREATE VIEW sources AS SELECT src_ip, count(*) AS n FROM network_flows GROUP BY 1; GRANT SELECT ON sources TO PUBLIC")
    made.sql("GRANT SELECT ON network_flows TO PUBLIC; GRANT UPDATE (model_version) ON network_flows TO pg_monitor")
    rights = "SELECT privilege_type, grantee::regrole::text FROM pg_class, aclexplode(relacl) WHERE relname = %s AND grantee <> relowner"
    before = [made.sql(rights, name) for name in ("network_flows", "sources")]
    said = made.migrate()
    assert "hot: days of network_flows" in said
    assert made.missing() == ()
    assert made.migrate() == []
    assert made.rows == len(times)
    assert made.sql("SELECT n FROM sources") == [(len(times),)]
    assert [made.sql(rights, name) for name in ("network_flows", "sources")] == before
    assert made.sql("SELECT has_column_privilege('pg_monitor', 'network_flows', 'model_version', 'UPDATE')") == [(True,)]
    fresh = flows([NOW - 2 * HOUR, NOW + 3 * DAY])
    assert (made.write(fresh), made.write(fresh)) == (2, 0)
    assert made.sql("SELECT n FROM sources WHERE src_ip = '10.0.0.1'") == [(len(times) + 2,)]
    made.maintain()
    assert {row[0] for row in made.sql(ROLLED_UP)} >= {times[n].replace(minute=0, second=0, microsecond=0) for n in (1, 2, 3)}
    names = {name for (name,) in made.sql("SELECT indexname FROM pg_indexes WHERE tablename = 'network_flows'")}
    assert names == {f"network_flows_{what}" for what in ("pkey", "src_time", "dst_time", "attackers", "confidence", "failed", "large")}


@pytest.mark.parametrize(
    ("what", "hinders"),
    [
        ("CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM network_flows", "materialized view m"),
        ("CREATE TABLE notes (t timestamptz, f uuid, FOREIGN KEY (t, f) REFERENCES network_flows)", "foreign key notes_t_f_fkey of notes"),
    ],
)
def test_what_cannot_be_carried_over_leaves_the_table_as_it_is(
    store: HotSettings, what: str, hinders: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = earlier(store, [NOW, NOW - DAY])
    made.sql(what)
    made.migrate()
    assert hinders in capsys.readouterr().err
    assert made.missing() == ("days of network_flows",)
    assert (made.write(flows([NOW])), made.rows) == (1, 3)
    ((problem, hint),) = made.maintain().problems
    assert "not laid out in days" in problem
    assert hint == "flowlake db migrate"
    made.sql("DROP MATERIALIZED VIEW IF EXISTS m; DROP TABLE IF EXISTS notes")
    made.migrate()
    assert (made.missing(), made.rows) == ((), 3)


TIMES = [
    "2026-11-27 14:53:07.123456+00", "2000-01-03 00:00:00+00", "1999-12-31 23:59:59.999999+00", "1969-07-20 20:17:40+00",
    "2024-02-29 12:00:00+00", "infinity", "0001-01-01 00:00:00+00",
]  # fmt: skip
#: Width -> buckets of the first times, known by hand.
KNOWN: dict[str, list[str]] = {
    "5 minutes": ["2026-11-27 14:50:00+00", "2000-01-03 00:00:00+00", "1999-12-31 23:55:00+00", "1969-07-20 20:15:00+00"],
    "1 hour": ["2026-11-27 14:00:00+00", "2000-01-03 00:00:00+00", "1999-12-31 23:00:00+00", "1969-07-20 20:00:00+00"],
    "1 day": ["2026-11-27 00:00:00+00", "2000-01-03 00:00:00+00", "1999-12-31 00:00:00+00", "1969-07-20 00:00:00+00"],
    "1 week": ["2026-11-23 00:00:00+00", "2000-01-03 00:00:00+00", "1999-12-27 00:00:00+00", "1969-07-14 00:00:00+00"],
    "1 month": ["2026-11-01 00:00:00+00", "2000-01-01 00:00:00+00", "1999-12-01 00:00:00+00", "1969-07-01 00:00:00+00"],
    "3 months": ["2026-10-01 00:00:00+00", "2000-01-01 00:00:00+00", "1999-10-01 00:00:00+00", "1969-07-01 00:00:00+00"],
    "1 year": ["2026-01-01 00:00:00+00", "2000-01-01 00:00:00+00", "1999-01-01 00:00:00+00", "1969-01-01 00:00:00+00"],
}


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def keeping(store: Store) -> HotKeeper:
    settings = config.build(hot={name: getattr(store.settings, name) for name in ("host", "port", "user", "password", "database")})
    return HotKeeper(settings)


def test_what_the_stream_does_by_itself_is_logged_and_counted(store: HotSettings) -> None:
    """On a database of which the queries have not made the tables yet, beside a maintenance by hand, and in earnest."""
    made, results = Store(store), ("done", "busy", "failed")
    before = {result: count("flowlake_hot_maintenances_total", result=result) for result in results}
    old = count("flowlake_hot_too_old_total", table="network_flows")
    keeper = keeping(made)
    with capture_logs() as said:
        keeper._once()
        assert said == [], "nobody is told to make tables that are being made"
        made.migrate()
        made.write(flows([NOW, NOW + 400 * DAY] + ([] if is_timescale(made) else [datetime(1, 1, 1, n, tzinfo=UTC) for n in range(2)])))
        with closing(postgres.connect(store, "test")) as other:
            other.cursor().execute("SELECT pg_advisory_lock(%s)", (postgres.LOCK_MAINTAIN,))
            keeper._once()
            other.cursor().execute("SELECT pg_advisory_unlock(%s)", (postgres.LOCK_MAINTAIN,))
        keeper._once()
        keeping(made.with_settings(port=1))._once()
    told = {line["event"]: line for line in said}
    assert "another process is maintaining" in " ".join(told)
    assert (told["maintained"]["table"], told["maintained"]["log_level"]) == ("network_flows", "info")
    assert told["not maintained"]["log_level"] == "warning"
    after = {result: count("flowlake_hot_maintenances_total", result=result) - before[result] for result in results}
    assert after == {"done": 2, "busy": 1, "failed": 1}
    assert count("flowlake_hot_maintained_timestamp_seconds", table="network_flows") >= NOW.timestamp()
    if not is_timescale(made):  # a chunk is made for any time, and a policy drops it
        gone = told["rows older than rows live were deleted"]
        assert (gone["rows"], gone["first"], gone["place"]) == (2, "0001-01-01 00:00:00+00", "network_flows_default")
        assert count("flowlake_hot_too_old_total", table="network_flows") == old + 2
        assert count("flowlake_hot_rows_of_days_to_come", table="network_flows") == 1


@pytest.mark.parametrize("width", KNOWN)
def test_time_bucket(made: Store, width: str) -> None:
    found = made.sql("SELECT time_bucket(%s::interval, t)::text FROM unnest(%s::timestamptz[]) t", width, TIMES[:4])
    assert [bucket for (bucket,) in found] == KNOWN[width]
    behind = "SELECT t - time_bucket(%s::interval, t, t - interval '3 seconds') = interval '3 seconds' FROM unnest(%s::timestamptz[]) t"
    assert "month" in width or "year" in width or made.sql(behind, width, TIMES[:4]) == [(True,)] * 4


def test_our_time_bucket_says_what_that_of_timescaledb_says(made: Store) -> None:
    """Ours under another name beside that of the server; on plain PostgreSQL they are the same, and the question is whether they agree."""
    for statement in bucketing.statements():
        made.sql(statement.replace("time_bucket(", "our_bucket("))
    widths = [*KNOWN, "7 minutes", "36 hours", "10 days", "2 weeks", "5 months", "30 days", "1.5 hours"]
    ask = (
        "SELECT w, t, o FROM unnest(%s::interval[]) w, unnest(%s::timestamptz[]) t, unnest(%s::timestamptz[]) o "
        "WHERE our_bucket(w, t) IS DISTINCT FROM time_bucket(w, t) OR our_bucket(w, t, o) IS DISTINCT FROM time_bucket(w, t, o)"
    )
    assert made.sql(ask, widths, TIMES, ["2026-11-24 02:00:00+00", "2000-01-01 00:00:00+00", "1987-06-05 04:03:02.1+00"]) == []
    refused: list[Any] = []
    for name in ("our_bucket", "time_bucket"):
        for width in ("0 days", "-1 hour", "1 month 3 days"):
            with pytest.raises(Exception, match=r"."):
                made.sql(f"SELECT {name}(%s::interval, now())", width)
            refused.append(width)
    assert len(refused) == 6
