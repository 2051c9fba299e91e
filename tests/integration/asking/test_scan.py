"""A table of PostgreSQL scanned for DuckDB: whatever the condition, the rows are those that Arrow takes; only what is needed is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import duckdb
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import StoreError
from infra.sections import PostgresSettings
from jobs.asking.pgscan import PostgresTable, Snapshot

pytestmark = pytest.mark.integration

ODD = """
DROP TABLE IF EXISTS odd;
CREATE TABLE odd (
    moment timestamptz, day date, port int, small smallint, big bigint, load double precision, share real, amount numeric, ip inet, id uuid,
    label text, details jsonb, ok boolean, local_time timestamp, "odd name" int, raw bytea
);
INSERT INTO odd VALUES
    ('2026-03-01 12:00:00.000001+00', '2026-03-01', 22, 1, 9223372036854775807, 0.1, 0.1, 1.5, '10.0.0.1',
     'f10e0000-0000-0000-0000-000000000001', 'SYN_SCAN', '{"a": [1, "x"]}', true, '2026-03-01 12:00', 7, '\\x00ff'),
    ('infinity', '0001-01-01', -1, -32768, -9223372036854775808, 'NaN', 'Infinity', -2, '2001:db8::1',
     null, '', '[]', false, null, null, ''),
    ('-infinity', null, null, null, null, '-Infinity', 'NaN', null, null, null, null, null, null, '0001-01-01', null, null),
    ('0001-01-01 00:00:00+00', '9999-12-31', 2147483647, 0, 0, 0, 0, 0, '10.0.0.0/8', 'f10e0000-0000-0000-0000-000000000002',
     E'a "quoted",\\nlong ''text'' and (port > 5)', 'null', true, 'infinity', 0, null),
    ('20000-01-01 00:00:00+00', '2026-03-02', 22, 5, 5, 1e300, 1e-30, 1e20, '::ffff:10.0.0.1', null, 'NULL', null, null, null, 1, null);
"""
AT = datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)


@pytest.fixture
def odd(database: dict[str, Any]) -> Iterator[PostgresTable]:
    place = PostgresSettings(**database)
    execute(place, ODD)
    snapshot = Snapshot(place)
    with closing(snapshot):
        yield PostgresTable(snapshot, "odd", failures.append)


failures: list[Exception] = []


def execute(place: PostgresSettings, sql: str) -> None:
    target = {"host": place.host, "port": place.port, "user": place.user, "dbname": place.database}
    with closing(psycopg2.connect(**target)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)


def read(table: PostgresTable, columns: list[str] | None = None, condition: Any = None) -> pa.Table:
    return table.scanner(columns=columns, filter=condition).to_reader().read_all()


def test_every_type_comes_as_it_is(odd: PostgresTable) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("odd", odd)
        first, second, third, fourth, fifth = connection.execute("SELECT * FROM odd").fetchall()
        times = [row[0] for row in connection.execute("SELECT moment::text FROM odd").fetchall()]
    assert first[:10] == (AT, AT.date(), 22, 1, 2**63 - 1, 0.1, pytest.approx(0.1, rel=1e-7), 1.5, "10.0.0.1", first[9])
    assert first[9:] == (
        "f10e0000-0000-0000-0000-000000000001", "SYN_SCAN", '{"a": [1, "x"]}', True, datetime(2026, 3, 1, 12), 7, "\\x00ff",
    )  # fmt: skip
    assert (second[8], second[10], second[12]) == ("2001:db8::1", "", False)
    assert (third[2], third[8], third[10], third[12]) == (None, None, None, None), "NULL is not an empty text"
    assert (fourth[8], fourth[10]) == ("10.0.0.0/8", "a \"quoted\",\nlong 'text' and (port > 5)")
    assert (fifth[8], fifth[10]) == ("::ffff:10.0.0.1", "NULL")
    assert times == ["2026-03-01 12:00:00.000001+00", "infinity", "-infinity", "0001-01-01 00:00:00+00", "20000-01-01 00:00:00+00"]


def _comparison(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    field = pc.field(name)
    signs = st.sampled_from(["__eq__", "__ne__", "__gt__", "__ge__", "__lt__", "__le__"])
    return st.builds(lambda sign, value: getattr(field, sign)(value), signs, values)


_MOMENTS = st.sampled_from([AT, datetime(1, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)])
_LEAVES = st.one_of(
    _comparison("port", st.sampled_from([22, -1, 0, 2**31 - 1])),
    _comparison("big", st.sampled_from([2**63 - 1, -(2**63), 0, 5])),
    _comparison("load", st.sampled_from([0.1, 0.0, 1e300, float("nan"), float("inf")])),
    _comparison("moment", _MOMENTS.map(lambda at: pa.scalar(at, pa.timestamp("us", "UTC")))),
    _comparison("day", st.sampled_from([AT.date(), AT.date().replace(year=1)])),
    _comparison("label", st.sampled_from(["", "NULL", "SYN_SCAN", "a", "a \"quoted\",\nlong 'text' and (port > 5)"])),
    _comparison("ip", st.sampled_from(["10.0.0.1", "10.0.0.0/8", "::ffff:10.0.0.1", "2001:db8::1", "2001:DB8::1", "x"])),
    _comparison("id", st.sampled_from(["f10e0000-0000-0000-0000-000000000001", "F10E0000-0000-0000-0000-000000000001"])),
    _comparison("odd name", st.sampled_from([7, 0])),
    st.sampled_from(["port", "label", "ip", "moment"]).map(lambda name: pc.field(name).is_null()),
    st.sampled_from(["port", "label", "ip", "moment"]).map(lambda name: pc.field(name).is_valid()),
    st.lists(st.sampled_from([22, -1, 7]), max_size=3).map(lambda ports: pc.field("port").isin(pa.array(ports, pa.int32()))),
)
_CONDITIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner), st.builds(lambda a, b: a | b, inner, inner), inner.map(lambda a: ~a)
    ),
    max_leaves=5,
)


@given(condition=_CONDITIONS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_condition_takes_the_rows_that_arrow_takes(odd: PostgresTable, condition: Any) -> None:
    everything = read(odd)
    wanted = everything.filter(condition).select(["big", "label"])
    assert read(odd, ["big", "label"], condition).to_pylist() == wanted.to_pylist()


def test_only_what_is_needed_is_asked_for(odd: PostgresTable) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("odd", odd)
        for sql, sent in (
            ("SELECT count(*) FROM odd WHERE moment > TIMESTAMPTZ '2026-01-01 00:00+00' AND ip = '10.0.0.1'", ["moment", "ip"]),
            ("WITH o AS (SELECT * FROM odd) SELECT label FROM o WHERE port IN (22, 23)", ["label", "port"]),
            ("SELECT a.label FROM odd a JOIN odd b ON a.port = b.big WHERE a.port = 5", ["label", "port", "big"]),
        ):
            odd.sent.clear()
            connection.execute(sql).fetchall()
            text = " ".join(odd.sent)
            assert {name for name in odd.schema.names if f'"{name}"' in text} == set(sent)
            assert any("WHERE" in statement for statement in odd.sent)


def test_all_scans_of_a_question_see_one_moment(odd: PostgresTable, database: dict[str, Any]) -> None:
    before = read(odd, ["port"])
    execute(PostgresSettings(**database), "DELETE FROM odd")
    assert read(odd, ["port"]) == before


def test_habits_of_a_role_change_nothing(odd: PostgresTable, database: dict[str, Any]) -> None:
    place = PostgresSettings(**database)
    names = ["day", "load", "share", "raw"]
    before, times = read(odd, names).to_pylist(), read(odd, ["moment"])
    execute(place, "ALTER DATABASE " + place.database + " SET datestyle = 'SQL, DMY'")
    execute(place, "ALTER DATABASE " + place.database + " SET extra_float_digits = -3")
    execute(place, "ALTER DATABASE " + place.database + " SET bytea_output = 'escape'")
    execute(place, "ALTER DATABASE " + place.database + " SET timezone = 'Asia/Tokyo'")
    with closing(Snapshot(place)) as snapshot:
        table = PostgresTable(snapshot, "odd", failures.append)
        assert str(read(table, names).to_pylist()) == str(before), "as text, in which NaN is NaN"
        assert read(table, ["moment"]) == times


@pytest.mark.parametrize("name", ["port", "label", "local_time", "day", "ip", "raw"])
def test_null_in_the_only_column_is_a_row(odd: PostgresTable, name: str) -> None:
    assert read(odd, [name]) == read(odd, [name, "big"]).select([name])
    with duckdb.connect() as connection:
        connection.register("odd", odd)
        (counted,) = connection.execute(f"SELECT count(*), count({name}), count(*) FILTER ({name} IS NULL) FROM odd").fetchall()
    assert counted[0] == 5
    assert counted[1] + counted[2] == 5
    assert counted[2], "there is a NULL"


def test_days_beyond_those_of_python(database: dict[str, Any]) -> None:
    place = PostgresSettings(**database)
    days = ["infinity", "-infinity", "0044-03-15 (BC)", "12026-01-01", "1969-12-31"]
    given = ", ".join(f"('{day}')" for day in ("infinity", "-infinity", "0044-03-15 BC", "12026-01-01", "1969-12-31"))
    execute(place, f"CREATE TABLE far (day date); INSERT INTO far VALUES {given}")
    with closing(Snapshot(place)) as snapshot, duckdb.connect() as connection:
        connection.register("far", PostgresTable(snapshot, "far", failures.append))
        assert [day for (day,) in connection.execute("SELECT day::text FROM far").fetchall()] == days
        assert connection.execute("SELECT count(*) FROM far WHERE day > DATE '2026-01-01'").fetchall() == [(2,)]


def test_a_value_that_cannot_be_held_is_told(database: dict[str, Any]) -> None:
    place = PostgresSettings(**database)
    execute(place, "CREATE TABLE far (n int, long text); INSERT INTO far VALUES (1, repeat('x', 20000000))")
    with closing(Snapshot(place)) as snapshot:
        table = PostgresTable(snapshot, "far", failures.append)
        assert read(table, ["n"]).to_pylist() == [{"n": 1}]
        failures.clear()
        with pytest.raises(Exception, match="a value cannot be read"):
            read(table, ["long"])
    assert isinstance(failures[0], StoreError)


def test_a_server_that_breaks_off_is_told(odd: PostgresTable, database: dict[str, Any]) -> None:
    place = PostgresSettings(**database)
    execute(place, "CREATE TABLE long AS SELECT repeat('x', 1000) AS text FROM generate_series(1, 100000)")
    with closing(Snapshot(place)) as snapshot:
        batches = iter(PostgresTable(snapshot, "long", failures.append).scanner().to_reader())
        next(batches)
        execute(place, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%'")
        failures.clear()
        with pytest.raises(Exception, match=r"connection broke off|terminat|closed"):
            list(batches)
    assert isinstance(failures[0], StoreError)
    assert "table long" in str(failures[0])


def test_a_scan_that_is_left_ends_at_the_server(odd: PostgresTable, database: dict[str, Any]) -> None:
    place = PostgresSettings(**database)
    execute(place, "CREATE TABLE long AS SELECT repeat('x', 1000) AS text FROM generate_series(1, 100000)")
    with closing(Snapshot(place)) as snapshot:
        batches = PostgresTable(snapshot, "long", failures.append).rows('SELECT "text" FROM "long"', ["text"], ["text"], None)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        with snapshot.joined() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND datname = current_database()")
            assert cursor.fetchone() == (0,)


def test_a_table_that_is_not_there(database: dict[str, Any]) -> None:
    with closing(Snapshot(PostgresSettings(**database))) as snapshot, pytest.raises(StoreError, match="holds no table nothing yet"):
        PostgresTable(snapshot, "nothing", failures.append)
