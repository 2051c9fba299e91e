"""What the binary COPY writes is what the server reads back."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.sections import PostgresSettings
from jobs.sinks import postgres

pytestmark = pytest.mark.integration

TYPES = {
    "a": "smallint",
    "b": "integer",
    "c": "bigint",
    "d": "real",
    "e": "double precision",
    "f": "timestamptz",
    "g": "uuid",
    "h": "inet",
    "i": "text",
    "j": "jsonb",
}
ARROW = [pa.int64(), pa.int64(), pa.int64(), pa.float64(), pa.float64(), pa.timestamp("us", tz="UTC"), *[pa.string()] * 4]
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
VALUES = st.tuples(
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(width=32, allow_nan=False),
    st.floats(allow_nan=False),
    st.datetimes(datetime(1901, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    st.uuids().map(str),
    st.ip_addresses().map(str),
    _TEXT,
    st.dictionaries(_TEXT, st.integers(-5, 5) | _TEXT, max_size=3).map(json.dumps),
)
ROWS = st.lists(VALUES.flatmap(lambda row: st.tuples(*[st.just(v) | st.none() for v in row])), max_size=12)


@pytest.fixture(scope="module")
def cursor(postgres_server: PostgresSettings) -> Any:
    connection = postgres.connect(postgres_server, "test-pgcopy")
    with connection.cursor() as found:
        found.execute("CREATE TEMP TABLE t (n bigserial, " + ", ".join(f"{name} {sql}" for name, sql in TYPES.items()) + ")")
        yield found
    connection.close()


def _same(wanted: Any, found: Any, sql: str) -> bool:
    if wanted is None or found is None:
        return wanted is found
    if sql == "inet":
        return ip_address(wanted) == ip_address(found)
    if sql == "jsonb":
        return json.loads(wanted) == found
    if sql == "real":  # read back as text of few digits
        return math.isclose(wanted, found, rel_tol=1e-6, abs_tol=1e-44) or struct.pack("f", wanted) == struct.pack("f", found)
    return bool(wanted == found)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_every_value_comes_back(cursor: Any, rows: list[tuple[Any, ...]]) -> None:
    cursor.execute("TRUNCATE t")
    table = pa.table([pa.array([row[i] for row in rows], ARROW[i]) for i in range(len(TYPES))], names=list(TYPES))
    postgres.copy_table(cursor, "t", TYPES, table)
    assert cursor.rowcount == len(rows)
    cursor.execute(f"SELECT {', '.join(TYPES)} FROM t ORDER BY n")
    for wanted, found in zip(rows, cursor.fetchall(), strict=True):
        for value, there, sql in zip(wanted, found, TYPES.values(), strict=True):
            assert _same(value, there, sql), (sql, value, there)


def test_a_value_that_is_refused_here_or_there_is_the_rows_fault(postgres_server: PostgresSettings) -> None:
    connection = postgres.connect(postgres_server, "test-pgcopy")
    with connection.cursor() as cursor:
        with pytest.raises(postgres.RefusedData, match="column h: not an IP address: 'nowhere'"):
            postgres.copy_table(cursor, "nothing", {"h": "inet"}, pa.table({"h": ["nowhere"]}))
        cursor.execute("CREATE TEMP TABLE u (i text, j jsonb)")
        for column, value in (("i", "a\0b"), ("j", "{")):
            cursor.execute("SAVEPOINT s")
            with pytest.raises(psycopg2.Error) as error:
                postgres.copy_table(cursor, "u", {column: TYPES[column]}, pa.table({column: [value]}))
            assert isinstance(postgres.classify(error.value, postgres_server), postgres.RefusedData)
            cursor.execute("ROLLBACK TO SAVEPOINT s")
    connection.close()
