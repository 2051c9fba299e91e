"""The binary COPY stream, byte by byte where the manual says how, and the values it refuses. (Through a server: tests/integration.)"""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest

from jobs.sinks.pgcopy import encode
from schemas import alerts
from schemas.network_flows import NETWORK_FLOWS

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def one(sql: str, value: Any, arrow: pa.DataType | None = None) -> bytes:
    """The one field of a stream of one row and one column, its length included."""
    stream = encode(pa.table({"x": pa.array([value], arrow)}), {"x": sql})
    assert stream.startswith(HEAD + b"\0\x01")
    assert stream.endswith(b"\xff\xff")
    return stream[len(HEAD) + 2 : -2]


@pytest.mark.parametrize(
    ("sql", "value", "arrow", "field"),
    [
        ("smallint", -2, pa.int64(), struct.pack(">ih", 2, -2)),
        ("integer", 7, pa.int8(), struct.pack(">ii", 4, 7)),
        ("bigint", 1 << 40, pa.int64(), struct.pack(">iq", 8, 1 << 40)),
        ("real", 0.1, pa.float64(), struct.pack(">if", 4, 0.1)),
        ("double precision", float("inf"), pa.float64(), struct.pack(">id", 8, float("inf"))),
        ("timestamptz", 946_684_800_000_001, pa.timestamp("us", tz="UTC"), struct.pack(">iq", 8, 1)),
        ("uuid", "00112233-4455-6677-8899-AABBCCDDEEFF", pa.string(), struct.pack(">i", 16) + bytes(range(0, 256, 17))),
        ("inet", "192.0.2.1", pa.string(), struct.pack(">iBBBB", 8, 2, 32, 0, 4) + bytes([192, 0, 2, 1])),
        ("inet", "::1", pa.string(), struct.pack(">iBBBB", 20, 3, 128, 0, 16) + bytes(15) + b"\x01"),
        ("text", "é", pa.string(), struct.pack(">i", 2) + "é".encode()),
        ("text", "", pa.string(), struct.pack(">i", 0)),
        ("bytea", b"\0\xff", pa.binary(), struct.pack(">i", 2) + b"\0\xff"),
        ("jsonb", "{}", pa.string(), struct.pack(">iB", 3, 1) + b"{}"),
    ],
)
def test_fields_are_as_the_server_sends_them(sql: str, value: Any, arrow: pa.DataType, field: bytes) -> None:
    assert one(sql, value, arrow) == field
    assert one(sql, None, arrow) == b"\xff\xff\xff\xff"


def test_rows_follow_each_other_also_of_a_slice() -> None:
    table = pa.table({"n": [9, 1, 2], "t": ["x", "aa", None]}).slice(1)
    row = b"\0\x02" + struct.pack(">iq", 8, 1) + struct.pack(">i", 2) + b"aa" + b"\0\x02" + struct.pack(">iq", 8, 2) + b"\xff" * 4
    assert encode(table, {"n": "bigint", "t": "text"}) == HEAD + row + b"\xff\xff"


def test_no_rows_are_a_header_and_an_end() -> None:
    assert encode(pa.table({"n": pa.array([], pa.int64())}), {"n": "bigint"}) == HEAD + b"\xff\xff"


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("inet", "192.0.2.256"),
        ("inet", "192.0.2.0/24"),
        ("inet", "nonsense"),
        ("inet", ""),
        ("inet", "1\0"),
        ("uuid", "00112233-4455-6677-8899-aabbccddeef"),
        ("uuid", "00112233-4455-6677-8899-aabbccddeefg"),
        ("uuid", "001122334455-6677-8899-aabbccddeeff0"),
        ("smallint", 40_000),
        ("integer", 1 << 31),
        ("real", 1e300),
        ("timestamptz", -(1 << 63)),
        ("timestamptz", -(1 << 63) + 946_684_800_000_000),
    ],
)
def test_what_is_no_such_value_is_named(sql: str, value: Any) -> None:
    with pytest.raises(ValueError, match="column x: "):
        one(sql, value)


def test_the_stores_have_no_type_that_cannot_be_sent() -> None:
    for types in (NETWORK_FLOWS.types, alerts.WRITTEN_TYPES):
        row = len(types).to_bytes(2, "big") + b"\xff\xff\xff\xff" * len(types)
        assert encode(pa.table({name: pa.array([None], pa.string()) for name in types}), types) == HEAD + row + b"\xff\xff"
