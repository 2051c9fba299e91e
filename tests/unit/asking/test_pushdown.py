"""What of DuckDB's conditions is said to PostgreSQL, and what is not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.asking.pushdown import columns_of, condition

TYPES = {
    "timestamp": "timestamptz", "day": "date", "port": "int4", "load": "float8", "ip": "inet", "id": "uuid", "label": "text",
    "odd name": "int4", "details": "jsonb", "ok": "bool",
}  # fmt: skip
AT = pa.scalar(datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC), pa.timestamp("us", "UTC"))
PORT, LABEL = pc.field("port"), pc.field("label")
MANY = list(range(100))


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        (PORT == 22, '"port" = 22'),
        (PORT != -1, '"port" <> -1'),
        (pc.field("timestamp") > AT, "\"timestamp\" > timestamptz '2026-03-01 12:00:00.000005Z'"),
        (pc.field("day") >= date(2026, 3, 1), "\"day\" >= date '2026-03-01'"),
        (LABEL == "", "\"label\" = ''"),
        (LABEL == "SYN_SCAN", "\"label\" = 'SYN_SCAN'"),
        (pc.field("ip") == "10.0.0.1", "\"ip\" = inet '10.0.0.1'"),
        (pc.field("ip") == "2001:db8::1", "\"ip\" = inet '2001:db8::1'"),
        (
            pc.field("id") == "f10e0000-0000-0000-0000-000000000001",
            "\"id\" = uuid 'f10e0000-0000-0000-0000-000000000001'",
        ),
        ((PORT > 5) & (PORT <= 9) & (LABEL == "A"), '"port" > 5 AND "port" <= 9 AND "label" = \'A\''),
        ((PORT == 5) | (PORT == 9), '("port" = 5 OR "port" = 9)'),
        (PORT.isin([1, 2]), '("port" = 1 OR "port" = 2)'),
        (LABEL.isin(["A", "B"]), "(\"label\" = 'A' OR \"label\" = 'B')"),
        (PORT.is_valid(), '"port" IS NOT NULL'),
        (PORT.is_null(), '"port" IS NULL'),
        (
            pc.if_else(PORT.is_valid(), PORT.isin([1]), pa.scalar(None, pa.bool_())),
            '("port" = 1)',
        ),
        # what is said is less than what is meant, and never leaves out a row
        ((PORT == 22) & (pc.field("load") > 0.5), '"port" = 22'),
        ((PORT == 22) & (pc.field("load") > 1e300) & (pc.field("ok") == True), '"port" = 22'),  # noqa: E712 - an expression
        ((PORT == 22) & ~(LABEL == "A"), ""),
        ((PORT == 22) & (LABEL == "it's"), '"port" = 22'),
    ],
)  # fmt: skip
def test_said(expression: Any, sql: str) -> None:
    assert condition(expression, TYPES) == sql


@pytest.mark.parametrize(
    "expression",
    [
        pc.field("load") == 5,  # NaN, and numbers that print with fewer digits
        LABEL > "A",  # the server sorts by its own rules
        LABEL != "A",
        LABEL == 'quoted " and (port > 5)',
        LABEL == "back\\slash",
        pc.field("ip") > "10.0.0.1",
        pc.field("ip") == "010.0.0.1",
        pc.field("ip") == "no address",
        pc.field("id") == "F10E0000-0000-0000-0000-000000000001",
        pc.field("details") == "{}",
        pc.field("unknown") == 1,
        pc.field("odd name") == 1,
        (PORT == 5) | (pc.field("load") > 0.5),  # one half of an "or" is no condition
        PORT.isin(MANY),  # cut in the text
        ~(PORT == 5),
        pc.field("ok"),
        PORT + 1 > 5,
        pc.field("timestamp") > pa.scalar(datetime(2026, 3, 1), pa.timestamp("us")),
    ],
    ids=str,
)
def test_left_to_arrow(expression: Any) -> None:
    assert condition(expression, TYPES) == ""


def test_columns_that_a_condition_reads() -> None:
    expression = (PORT == 22) & (LABEL == "timestamp")
    assert {"port", "label"} <= set(columns_of(expression, list(TYPES)))
    assert "load" not in columns_of(expression, list(TYPES))
