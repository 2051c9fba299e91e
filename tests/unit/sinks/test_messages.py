"""Messages of predictions taken apart; what is no such message becomes a dead letter."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest

from jobs.sinks import messages
from schemas.flows import PREDICTION_SCHEMA
from schemas.packets import FLOWS
from schemas.records import HEADER_RECORD_VERSION, PREDICTION_FIELDS
from schemas.wire import CONTENT_PACKETS, Header
from tests.sinksdata import headers, kafka_rows, table, value

GOOD = value(table([{"name": "a"}, {"name": "b", "closed": False}]))


def replaced(name: str, new: bytes | None) -> list[tuple[str, bytes]]:
    """Good headers with one changed or left out."""
    return [(k, new if k == name else v) for k, v in headers() if k != name or new is not None]


def test_decodes_rows_ids_and_places() -> None:
    found, letters = messages.decode(kafka_rows([(GOOD, headers("m1")), (GOOD, replaced("message-id", None))]), FLOWS, query="q")
    assert not letters
    assert [m.message_id for m in found] == ["m1", "predictions/0/1"]
    assert messages.joined(found, FLOWS).schema.equals(PREDICTION_SCHEMA)
    assert messages.joined(found, FLOWS).num_rows == 4
    assert found[0].rows["end_reason"].to_pylist() == ["fin", None]


def test_columns_are_chosen_in_the_order_of_the_schema() -> None:
    found, _ = messages.decode(kafka_rows([(GOOD, headers())]), FLOWS, query="q", columns=("closed", "flow_id"))
    assert found[0].rows.column_names == ["flow_id", "closed"]
    assert messages.joined([], FLOWS, ("closed", "flow_id")).schema.names == ["flow_id", "closed"]


LATER = [field.name for field in PREDICTION_FIELDS if field.nullable]


@pytest.mark.parametrize("columns", [None, ("flow_id", LATER[0]), (LATER[-1],), ("closed",)])
def test_an_older_programs_messages_have_nothing_in_what_came_later(columns: tuple[str, ...] | None) -> None:
    older = value(table([{"name": "a"}, {"name": "b"}]).drop_columns(LATER))
    found, letters = messages.decode(kafka_rows([(older, headers("m1")), (GOOD, headers("m2"))]), FLOWS, query="q", columns=columns)
    assert not letters
    rows = messages.joined(found, FLOWS, columns)
    assert rows.num_rows == 4
    assert rows.schema.names == (PREDICTION_SCHEMA.names if columns is None else sorted(columns, key=PREDICTION_SCHEMA.get_field_index))
    assert all(rows[name].slice(0, 2).null_count == 2 for name in LATER if name in rows.schema.names)


def without_end() -> bytes:
    return GOOD[:-8]


def other_columns() -> bytes:
    return value(table([{}]).drop_columns(["flow_duration"]))


def other_type() -> bytes:
    rows = table([{}])
    index = rows.schema.get_field_index("protocol")
    return value(rows.set_column(index, "protocol", rows["protocol"].cast(pa.int64())))


def with_null() -> bytes:
    schema = pa.schema([f.with_nullable(True) for f in PREDICTION_SCHEMA])
    rows = table([{}]).cast(schema)
    return value(rows.set_column(0, schema.field(0), pa.nulls(1, pa.string())))


@pytest.mark.parametrize(
    ("data", "pairs", "code"),
    [
        (GOOD, [], "content-type"),
        (GOOD, None, "content-type"),
        (GOOD, replaced(Header.CONTENT_TYPE, CONTENT_PACKETS.encode()), "content-type"),
        (GOOD, replaced(Header.CONTENT_TYPE, b"\xff\xfe"), "content-type"),
        (GOOD, replaced(HEADER_RECORD_VERSION, b"999"), "record-version"),
        (GOOD, replaced(HEADER_RECORD_VERSION, None), "record-version"),
        (b"", headers(), "empty"),
        (None, headers(), "empty"),
        (b"\x00", headers(), "not-arrow"),
        (b"not arrow at all" * 1000, headers(), "not-arrow"),
        (os.urandom(5 * 1024 * 1024), headers(), "not-arrow"),
        (GOOD[: len(GOOD) // 2], headers(), "not-arrow"),
        (GOOD[:100], headers(), "not-arrow"),
        (without_end(), headers(), "truncated"),
        (other_columns(), headers(), "schema"),
        (other_type(), headers(), "schema"),
        (with_null(), headers(), "schema"),
    ],
)
def test_refused_with_reason_and_place_and_the_others_go_on(data: bytes | None, pairs: list[tuple[str, bytes]], code: str) -> None:
    found, letters = messages.decode(kafka_rows([(GOOD, headers()), (data, pairs), (GOOD, headers())]), FLOWS, query="q")
    assert [m.offset for m in found] == [0, 2]
    (letter,) = letters
    assert letter.code == code, letter.reason
    assert (letter.value, letter.topic, letter.partition, letter.offset, letter.query) == (data, "predictions", 0, 1, "q")
    assert "\n" not in letter.reason


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_never_raise(seed: int) -> None:
    """A damaged message is decoded or refused; it never stops the query."""
    import random

    rng = random.Random(seed)
    data = bytearray(GOOD)
    for _ in range(rng.choice([1, 3, 30])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    found, letters = messages.decode(kafka_rows([(bytes(data), headers())]), FLOWS, query="q")
    assert len(found) + len(letters) == 1


def test_chunks_keep_order_and_bound() -> None:
    found, _ = messages.decode(kafka_rows([(GOOD, headers(str(i))) for i in range(5)]), FLOWS, query="q")
    groups = list(messages.chunks(found, 4))
    assert [len(g) for g in groups] == [2, 2, 1]
    assert [m.message_id for g in groups for m in g] == ["0", "1", "2", "3", "4"]
    assert [len(g) for g in messages.chunks(found, 1)] == [1] * 5
