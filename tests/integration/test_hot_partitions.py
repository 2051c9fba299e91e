"""Days of a hot table on plain PostgreSQL: who makes them, what is in their way, and rows that have none."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from infra.errors import StoreError
from infra.sections import HotSettings
from jobs.hotstore import placing
from jobs.hotstore.maintain import maintain
from jobs.hotstore.retention import DeletedRows
from jobs.sinks import hot, postgres
from jobs.sinks.hot import Writer
from jobs.sinks.postgres import RefusedData
from jobs.sinks.stores import StoreUnavailable
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.integration.hotstore import DAY, HOUR, NOW, Store, flows, partition, write

pytestmark = pytest.mark.integration

DEFAULT = "network_flows_default"


@pytest.fixture
def made(plain: HotSettings) -> Store:
    built = Store(plain)
    built.migrate()
    return built


@pytest.fixture
def role(made: Store) -> Iterator[Store]:
    """The store as a role sees it that may read and write, and make nothing."""
    name = f"r{uuid.uuid4().hex[:12]}"
    made.sql(
        f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA public TO {name}; "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
    )
    yield made.with_settings(user=name)
    made.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_late_row_makes_the_day_that_it_needs(made: Store) -> None:
    made.write(flows([NOW, NOW - 30 * DAY, NOW + 6 * DAY]))
    assert made.where() == {partition(NOW): 1, partition(NOW - 30 * DAY): 1, partition(NOW + 6 * DAY): 1}
    made.sql(f"DROP TABLE {partition(NOW + 3 * DAY)}")  # nobody made it ahead
    made.write(flows([NOW + 3 * DAY]))
    assert made.where()[partition(NOW + 3 * DAY)] == 1


#: Times that no day is made for: a clock that was never set, one that is years ahead, and the ends of what can be written.
ODD = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    NOW - 91 * DAY,
    NOW + 9 * DAY,
    NOW + 366 * DAY,
    datetime(2262, 4, 11, 23, 47, 16, 854775, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
]


def test_times_that_no_day_is_made_for_are_kept_and_told_of(made: Store) -> None:
    assert made.write(flows([*ODD, NOW])) == len(ODD) + 1
    assert made.write(flows(ODD)) == 0
    assert made.where() == {partition(NOW): 1, DEFAULT: len(ODD)}
    looked = made.maintain(dry_run=True)
    assert (looked.left, looked.deleted, looked.moved) == (4, 3, 0)
    assert made.rows == len(ODD) + 1
    done = made.maintain()
    assert (done.left, done.deleted, done.problems) == (4, 3, [])
    gone = DeletedRows(DEFAULT, 3, "0001-01-01 00:00:00+00", f"{NOW - 91 * DAY:%Y-%m-%d %H:%M:%S.%f}".rstrip("0") + "+00")
    assert looked.deletions == done.deletions == [gone]
    assert made.where() == {partition(NOW): 1, DEFAULT: 4}
    made.sql("INSERT INTO network_flows SELECT 'infinity', gen_random_uuid(), " + ", ".join(list(NETWORK_FLOWS.types)[2:])
             + " FROM network_flows LIMIT 1")  # fmt: skip
    assert (made.maintain().left, made.maintain().problems) == (5, [])


def test_rows_whose_day_has_come_are_moved_into_it(made: Store) -> None:
    days = [NOW + 2 * DAY, NOW - 5 * DAY]
    made.sql(f"DROP TABLE {partition(days[0])}")
    times = [day + timedelta(seconds=n) for day in days for n in range(-3, 4)]
    with closing(postgres.connect(made.settings, "test")) as connection:
        assert hot.insert(connection, flows(times), NETWORK_FLOWS, ("test", 1, 0, "1")) == len(times)  # nobody made them ready
    assert set(made.where()) == {DEFAULT}
    looked = made.maintain(dry_run=True)
    assert (looked.moved, made.where()) == (len(times), {DEFAULT: len(times)})
    done = made.maintain()
    assert done.moved == len(times)
    assert DEFAULT not in made.where()
    assert made.rows == len(times)
    assert made.write(flows(times)) == 0
    again = made.maintain()
    assert (again.moved, again.made, again.changed) == (0, [], False)


def test_a_move_that_was_broken_off_goes_on(made: Store) -> None:
    times = [NOW - 5 * DAY + timedelta(seconds=n) for n in range(10)]
    with closing(postgres.connect(made.settings, "test")) as connection:
        hot.insert(connection, flows(times), NETWORK_FLOWS, ("test", 1, 0, "1"))
        from jobs.hotstore import strays

        with connection, connection.cursor() as cursor:
            strays.copy(cursor, NETWORK_FLOWS, DEFAULT, (NOW - 5 * DAY).date())
        # Whoever copied is gone; more rows come, and one that was copied is there no more.
        hot.insert(connection, flows([times[0] + HOUR / 60]), NETWORK_FLOWS, ("test", 2, 0, "2"))
    assert made.maintain().moved == 11
    assert made.where() == {partition(NOW - 5 * DAY): 11}


def test_makers_at_the_same_time(made: Store) -> None:
    days = [NOW - n * DAY for n in range(20, 32)]

    def work(worker: int) -> int:
        with closing(postgres.connect(made.settings, "test")) as connection:
            return sum(
                write(connection, made.settings, flows([day + timedelta(seconds=worker)]), NETWORK_FLOWS, 100 * worker + n)
                for n, day in enumerate(days)
            )

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [len(days)] * 4
    assert made.where() == {partition(day): 4 for day in days}


def test_a_role_that_may_make_nothing_writes_all_the_same(made: Store, role: Store) -> None:
    role.migrate()  # nothing is to do
    late = [NOW - 20 * DAY, NOW]
    assert (role.write(flows(late)), role.write(flows(late))) == (2, 0)
    assert made.where() == {partition(NOW): 1, DEFAULT: 1}
    report = role.maintain()
    assert any("permission denied" in problem or "must be owner" in problem for problem, _ in report.problems)
    assert made.rows == 2
    assert made.maintain().moved == 1
    assert made.where() == {partition(NOW): 1, partition(NOW - 20 * DAY): 1}
    assert [hour for (hour,) in made.sql("SELECT hour FROM hourly_attack_stats")] == [
        (NOW - 20 * DAY).replace(minute=0, second=0, microsecond=0)
    ]


def test_hours_that_a_role_may_not_note_are_told_of(made: Store, role: Store, capsys: pytest.CaptureFixture[str]) -> None:
    made.sql(f"REVOKE INSERT ON hot_touched_hours FROM {role.settings.user}")
    assert role.write(flows([NOW - 5 * HOUR])) == 1
    assert "GRANT INSERT ON hot_touched_hours" in capsys.readouterr().err
    made.maintain()
    assert made.sql("SELECT count(*) FROM hourly_attack_stats") == [(0,)]
    made.maintain(rebuild=True)
    assert made.sql("SELECT count(*) FROM hourly_attack_stats") == [(1,)]


WRONG = {
    "CREATE TABLE {name} (x integer)": "is a table",
    "CREATE TABLE {name} (LIKE network_flows)": "is a table",
    "CREATE VIEW {name} AS SELECT 1 AS x": "is a view",
    "CREATE TABLE other (timestamp timestamptz) PARTITION BY RANGE (timestamp); CREATE TABLE {name} PARTITION OF other DEFAULT":
        "is a table, a partition of other",
    "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; "
    "CREATE FOREIGN TABLE {name} (x integer) SERVER s": "is a foreign table",
}  # fmt: skip


@pytest.mark.parametrize("statement", WRONG)
def test_something_else_has_the_name_of_a_day(made: Store, statement: str) -> None:
    day = NOW - 10 * DAY
    name = partition(day)
    made.sql(statement.format(name=name))
    assert made.write(flows([day, NOW])) == 2
    assert made.where() == {DEFAULT: 1, partition(NOW): 1}
    ((problem, hint),) = made.maintain().problems
    assert problem == f"the partition {name} of network_flows cannot be made: {name} {WRONG[statement]}"
    assert hint.startswith(
        f"rename it (ALTER {'FOREIGN TABLE' if 'foreign' in problem else 'VIEW' if 'view' in problem else 'TABLE'} {name}"
    )
    assert made.rows == 2
    made.sql(hint[hint.index("ALTER") : hint.index(")")])  # the way out
    done = made.maintain()
    assert (done.problems, made.where()) == ([], {name: 1, partition(NOW): 1})


def test_a_partition_with_other_bounds_is_told_of(made: Store) -> None:
    day = NOW - 10 * DAY
    made.sql(
        f"CREATE TABLE {partition(day)} PARTITION OF network_flows FOR VALUES FROM ('{day - DAY:%Y-%m-%d}') TO ('{day + DAY:%Y-%m-%d}')"
    )
    assert made.write(flows([day, day - DAY])) == 2
    assert made.where() == {partition(day): 2}
    ((problem, hint),) = made.maintain().problems
    assert "expected its day" in problem
    assert f"DETACH PARTITION {partition(day)}" in hint
    assert made.rows == 2


def test_a_default_partition_that_was_dropped_is_put_back(made: Store) -> None:
    made.sql(f"DROP TABLE {DEFAULT}")
    assert made.missing() == ("default partition of network_flows",)
    made.migrate()
    assert made.missing() == ()
    assert made.write(flows([NOW + 300 * DAY])) == 1


def test_a_default_partition_that_was_dropped_is_put_back_by_maintenance(made: Store) -> None:
    made.sql(f"DROP TABLE {DEFAULT}")
    assert (made.maintain(dry_run=True).made, made.missing()) == ([DEFAULT], ("default partition of network_flows",))
    assert (made.maintain().made, made.missing()) == ([DEFAULT], ())
    assert made.maintain().made == []
    assert made.write(flows([NOW + 300 * DAY])) == 1
    assert made.where() == {DEFAULT: 1}


def test_a_default_partition_that_was_detached_is_told_of(made: Store) -> None:
    made.write(flows([NOW + 300 * DAY]))
    made.sql(f"ALTER TABLE network_flows DETACH PARTITION {DEFAULT}")
    ((problem, hint),) = made.maintain().problems
    assert problem == f"the partition {DEFAULT} of network_flows cannot be made: {DEFAULT} is a table"
    assert hint.endswith("until then rows of a day without a partition are refused")
    made.sql(hint[hint.index("ALTER") : hint.index(")")])  # the way out
    assert (made.maintain().problems, made.missing()) == ([], ())


def test_two_at_once(made: Store) -> None:
    with closing(postgres.connect(made.settings, "test")) as other:
        other.cursor().execute("SELECT pg_advisory_lock(%s)", (postgres.LOCK_MAINTAIN,))
        assert maintain(made.settings, [NETWORK_FLOWS]) is None
    assert maintain(made.settings, [NETWORK_FLOWS]) is not None


def test_a_reader_that_does_not_end_holds_up_nobody_for_long(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that a day needs is not waited for: its rows are written, and moved when the reader has ended."""
    monkeypatch.setattr(placing, "_LOCK_TIMEOUT", "100ms")
    late, old = NOW - 20 * DAY, NOW - 85 * DAY
    made.write(flows([old]))
    with closing(postgres.connect(made.settings, "test")) as reader:
        reader.cursor().execute("SELECT count(*) FROM network_flows")  # and its transaction stays open
        assert made.write(flows([late, NOW])) == 2
        assert made.where() == {partition(old): 1, DEFAULT: 1, partition(NOW): 1}
        shorter = made.with_settings(retention_days=60)
        monkeypatch.setattr("jobs.hotstore.maintain.LOCK_TIMEOUT", "50ms")
        monkeypatch.setattr("jobs.hotstore.maintain._PAUSE_S", 0.0)
        problems = shorter.maintain().problems
        assert any("lock" in problem and "pg_stat_activity" in hint for problem, hint in problems)
        assert made.rows == 3
    done = shorter.maintain()
    assert (done.moved, done.dropped, done.problems) == (1, [partition(old)], [])
    assert made.where() == {partition(late): 1, partition(NOW): 1}


def test_values_that_no_table_takes_are_refused_and_none_of_their_batch_is_there(made: Store) -> None:
    for bad in (math.nan, math.inf, -0.5, 1.5):
        with pytest.raises(psycopg2.Error) as refused:
            made.write(flows([NOW, NOW - DAY], confidence_score=bad))
        assert isinstance(postgres.classify(refused.value, made.settings), RefusedData)
    assert made.rows == 0
    assert made.sql("SELECT count(*) FROM hot_touched_hours") == [(0,)]


class Restarted:
    """Takes the writer's server process away between the rows and the commit, once."""

    def __init__(self, made: Store) -> None:
        self._made = made
        self._note = placing.note
        self.done = False

    def __call__(self, cursor: object, table: object, times: object) -> None:
        self._note(cursor, table, times)  # type: ignore[arg-type]
        if not self.done:
            self.done = True
            self._made.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flowlake-hot'")


def test_a_store_that_goes_away_in_the_middle_of_a_batch(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "note", Restarted(made))
    writer = Writer(made.settings, FLOWS, "q", 1, 0)
    rows = flows([NOW, NOW - 20 * DAY])
    with pytest.raises(StoreUnavailable):
        writer._insert(rows, ("q", 1, 0, "a"))
    assert made.rows == 0
    assert (writer._insert(rows, ("q", 1, 0, "a")), writer._insert(rows, ("q", 1, 0, "a"))) == (2, 0)
    assert made.rows == 2


def test_a_store_that_may_only_be_read_is_waited_for(made: Store) -> None:
    name = made.settings.database
    writer = Writer(made.settings, FLOWS, "q", 1, 0)
    made.write(flows([NOW - 19 * DAY]))  # an hour to be rolled up
    made.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        with pytest.raises(StoreUnavailable, match="read-only"):
            writer._insert(flows([NOW - 20 * DAY]), ("q", 1, 0, "a"))
        with pytest.raises(StoreUnavailable, match="read-only"):
            made.maintain()
    finally:
        with closing(postgres.connect(made.settings, "test")) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ WRITE")
            cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    made.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flowlake-hot'")
    with pytest.raises(StoreUnavailable):
        writer._insert(flows([NOW - 20 * DAY]), ("q", 1, 0, "a"))  # the connection was of the time before
    assert writer._insert(flows([NOW - 20 * DAY]), ("q", 1, 0, "a")) == 1
    assert made.where() == {partition(NOW - 20 * DAY): 1, partition(NOW - 19 * DAY): 1}


def test_no_server_says_so(made: Store) -> None:
    with pytest.raises((StoreUnavailable, StoreError)):
        maintain(made.settings.model_copy(update={"port": 1}), [NETWORK_FLOWS])
