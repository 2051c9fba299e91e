"""Ground truth joined to records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from infra.errors import ModelError
from jobs.training.truth import Truth, join_labels

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
_TS = pa.timestamp("us", tz="UTC")


def table(rows: list[tuple[str, int, str, int, int, float, float]], labels: list[str] | None = None) -> pa.Table:
    """HashedRows of (source, port, destination, port, protocol, start, end in seconds)."""
    src, sport, dst, dport, protocol, start, end = zip(*rows, strict=True)
    columns: dict[str, object] = {
        "src_ip": src,
        "src_port": pa.array(sport, pa.int32()),
        "dst_ip": dst,
        "dst_port": pa.array(dport, pa.int32()),
        "protocol": pa.array(protocol, pa.int16()),
        "start_time": pa.array([T0 + timedelta(seconds=s) for s in start], _TS),
        "end_time": pa.array([T0 + timedelta(seconds=s) for s in end], _TS),
    }
    return pa.table(columns | ({} if labels is None else {"label": labels}))


TRUTH = table(
    [
        ("10.0.0.1", 4000, "10.0.0.9", 80, 6, 0, 10),
        ("10.0.0.1", 4000, "10.0.0.9", 80, 6, 20, 30),  # the port used again
        ("10.0.0.1", 4000, "10.0.0.9", 80, 17, 0, 10),
        ("10.0.0.2", 0, "10.0.0.9", 0, 1, 0, 5),
    ],
    ["BENIGN", "SYN_SCAN", "UDP_FLOOD", "EXFILTRATION"],
)


def test_both_directions_time_and_protocol() -> None:
    records = table(
        [
            ("10.0.0.1", 4000, "10.0.0.9", 80, 6, 0, 9),
            ("10.0.0.9", 80, "10.0.0.1", 4000, 6, 21, 30),  # seen from the other side
            ("10.0.0.1", 4000, "10.0.0.9", 80, 17, 3, 4),
            ("10.0.0.9", 0, "10.0.0.2", 0, 1, 1, 2),
            ("10.0.0.1", 4000, "10.0.0.9", 80, 6, 12, 18),  # between the two
            ("10.0.0.1", 80, "10.0.0.9", 4000, 6, 0, 9),  # ports the other way round: another conversation
            ("10.0.0.1", 4000, "10.0.0.9", 80, 6, 8, 28),  # touches both, the second for longer
        ]
    )
    assert join_labels(records, TRUTH).to_pylist() == ["BENIGN", "SYN_SCAN", "UDP_FLOOD", "EXFILTRATION", None, None, "SYN_SCAN"]


def test_addresses_compare_as_text_of_the_whole_key() -> None:
    truth = table([("10.0.0.1", 11, "10.0.0.2", 1, 6, 0, 1)], ["SYN_SCAN"])
    records = table([("10.0.0.1", 1, "10.0.0.2", 11, 6, 0, 1), ("10.0.0.11", 1, "10.0.0.2", 1, 6, 0, 1)])
    assert join_labels(records, truth).to_pylist() == [None, None]


def test_empty_tables() -> None:
    assert join_labels(TRUTH.slice(0, 0), TRUTH).to_pylist() == []
    assert join_labels(TRUTH.slice(0, 2), TRUTH.slice(0, 0)).to_pylist() == [None, None]


def test_missing_columns_are_named() -> None:
    with pytest.raises(ModelError, match="truth table: missing columns end_time, label"):
        join_labels(TRUTH, TRUTH.drop_columns(["end_time", "label"]))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("src_port", ["http"] * 4),
        ("src_port", [1.5] * 4),
        ("start_time", ["yesterday"] * 4),
        ("start_time", [1.5] * 4),
        ("label", [["BENIGN"]] * 4),
        ("src_ip", [["10.0.0.1"]] * 4),
    ],
)
def test_a_column_of_another_type_is_told(column: str, values: list[object]) -> None:
    with pytest.raises(ModelError, match="the truth table: ") as e:
        Truth(TRUTH.set_column(TRUTH.schema.get_field_index(column), column, pa.array(values)))
    assert "ports and protocol whole numbers" in e.value.hint


@pytest.mark.parametrize("column", ["src_ip", "src_port", "protocol", "start_time", "end_time"])
def test_rows_that_say_of_no_conversation_when_it_was_are_left_out_and_counted(column: str) -> None:
    at, there = TRUTH.schema.get_field_index(column), TRUTH[column]
    truth = Truth(TRUTH.set_column(at, column, pa.array([None, *there.to_pylist()[1:]], there.type)))
    assert truth.labels(TRUTH).to_pylist() == [None, "SYN_SCAN", "UDP_FLOOD", "EXFILTRATION"]
    assert truth.notes() == ["1 row of the truth table left out: without an address, port or time, or ending before they begin"]


def test_conversations_that_meet_no_record_are_counted() -> None:
    backwards = TRUTH.rename_columns(
        ["start_time" if n == "end_time" else "end_time" if n == "start_time" else n for n in TRUTH.column_names]
    )
    assert Truth(backwards).labels(TRUTH).to_pylist() == [None] * 4
    assert Truth(backwards).left_out == 4
    truth = Truth(TRUTH)
    truth.labels(TRUTH.slice(1, 2))
    assert truth.notes() == ["2 of 4 conversations of the truth table meet no record of the lake"]
    truth.labels(TRUTH)
    assert truth.notes() == []
