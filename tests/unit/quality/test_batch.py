"""Checks of a batch: what follows from a declaration, which rows fail, and that all others go on."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import config
from infra.config import Settings
from jobs.quality import batch, derive, intake, table, vectorised
from jobs.quality.vectorised import TimeBounds
from jobs.sinks.messages import Message
from schemas.labels import LABELS
from schemas.packets import FLOWS
from schemas.records import HotColumn, RecordType
from schemas.rules import UUID, Address, Constraint, NoNul, NotNull, OneOf, Order, Pattern, PlausibleTime, Range, Together
from tests.qualitydata import FAULTS, NIGHTLY, T0, faulty, readings
from tests.sinksdata import table as flows
from tests.toy_source.records import READING

NOW = TimeBounds(315_532_800_000_000, 86_400_000_000, int(T0.timestamp() * 1e6))


def message(rows: pa.Table, name: str = "m", published_us: int = 0) -> Message:
    return Message(rows, name, "predictions", 0, 7, b"", published_us)


def checks(settings: Settings, record: RecordType) -> batch.Checks:
    found = intake.checks(settings, record)
    assert found is not None
    return found


def test_each_planted_fault_is_found_and_named(settings: Callable[..., Settings]) -> None:
    rows = pa.concat_tables([flows([{"name": i} for i in range(5)]), faulty(), flows([{"name": "last"}])])
    (good,), (failed,) = checks(settings(), FLOWS).sift([message(rows)])
    assert good.rows.num_rows == 6
    assert dict(zip(failed.rules, failed.numbers, strict=True)) == {rule: 5 + n for n, rule in enumerate(FAULTS)}
    reasons = dict(zip(failed.rules, failed.reasons, strict=True))
    assert reasons["range(src_port)"] == "range(src_port): 70000, expected 0 to 65535"
    assert reasons["range(confidence_score)"] == "range(confidence_score): nan, expected 0 to 1"
    assert reasons["time(start_time)"].startswith("time(start_time): 0001-01-01T00:00:00+00:00, expected")


def test_what_only_the_nightly_run_looks_for_goes_on(settings: Callable[..., Settings]) -> None:
    """Columns that the hot store has no use for are not read for the checks alone; a model may have labels of its own."""
    rows = flows([{"name": rule, **fault} for rule, fault in NIGHTLY.items()])
    (good,), failed = checks(settings(), FLOWS).sift([message(rows)])
    assert good.rows.num_rows == len(NIGHTLY)
    assert not failed
    found = batch.failures(rows, derive.constraints(FLOWS, settings()), NOW)
    assert {constraint.name: np.flatnonzero(mask).tolist() for constraint, mask in found.items()} == {
        rule: [n] for n, rule in enumerate(NIGHTLY)
    }


def test_labels_of_the_settings_are_known(settings: Callable[..., Settings]) -> None:
    own = settings(quality={"labels": {"flows": ["NO_SUCH_THING"]}})
    rows = flows([NIGHTLY["one-of(attack_type)"]])
    assert not batch.failures(rows, derive.constraints(FLOWS, own), NOW)


def test_only_final_rows_are_looked_at(settings: Callable[..., Settings]) -> None:
    rows = flows([{"name": 1, "closed": False, **FAULTS["range(src_port)"]}, {"name": 2, **FAULTS["range(src_port)"]}])
    (good,), (failed,) = checks(settings(), FLOWS).sift([message(rows)])
    assert good.rows["closed"].to_pylist() == [False]
    assert failed.numbers == (1,)


def test_times_are_compared_with_the_clock_of_the_message(settings: Callable[..., Settings]) -> None:
    """Whoever reads it, and whenever: two stores, and a batch that is repeated next week."""
    rows = flows([{"name": 1, "at": 3 * 86_400}])
    sent = int(T0.timestamp() * 1e6)
    early, late = message(rows, "early", sent), message(rows, "late", sent + 3 * 86_400_000_000)
    good, failed = checks(settings(), FLOWS).sift([early, late])
    assert [m.rows.num_rows for m in good] == [0, 1]
    assert [f.message.message_id for f in failed] == ["early"]
    assert time.time_ns() // 1000 > sent, "by the reader's clock both would pass"


def test_a_source_that_declares_no_rules_has_those_of_its_columns(settings: Callable[..., Settings]) -> None:
    own = settings(sources={"packages": ["jobs.sources", "tests.toy_source"]})
    rows = readings([{}, {"zscore": float("nan")}, {"reading_id": "no uuid"}, {"confidence_score": 1.5}, {"predicted_label": -1}])
    _, (failed,) = checks(own, READING).sift([message(rows)])
    assert failed.rules == ("range(zscore)", "pattern(reading_id)", "range(confidence_score)", "one-of(predicted_label)")


def test_a_source_s_own_rules_are_kept(settings: Callable[..., Settings]) -> None:
    rules: tuple[Constraint, ...] = (Range("std", 0), OneOf("device", ("boiler",)), Order(("repeats",), ("gap_s",)))
    record = dataclasses.replace(READING, rules=rules)
    rows = readings([{}, {"std": -1.0}, {"device": "other"}, {"repeats": 2, "gap_s": 1.0}])
    _, (failed,) = checks(settings(), record).sift([message(rows)])
    assert failed.rules == ("range(std)", "one-of(device)", "order(repeats, gap_s)")
    with pytest.raises(ValueError, match="rules: no column 'nothing'"):
        dataclasses.replace(READING, rules=(Range("nothing"),))


def test_checks_of_sql_become_constraints(settings: Callable[..., Settings]) -> None:
    assert READING.hot is not None
    columns = (
        *READING.hot.columns,
        HotColumn("repeats", "smallint NOT NULL CHECK (repeats >= 0 AND repeats <= 9)", "repeats"),
        HotColumn("sensor", "text CHECK (sensor IN ('a', 'b'))", "sensor_id"),
    )
    record = dataclasses.replace(READING, hot=dataclasses.replace(READING.hot, columns=columns))
    found = derive.constraints(record, settings())
    assert Range("repeats", 0, 9) in found
    assert OneOf("sensor_id", ("a", "b")) in found


def test_no_checks_where_they_are_turned_off_or_nobody_keeps_what_fails(settings: Callable[..., Settings]) -> None:
    assert intake.checks(settings(quality={"batch_checks": False}), FLOWS) is None
    assert intake.checks(settings(lake={"path": "s3a://bucket"}), FLOWS) is None
    assert intake.checks(settings(), dataclasses.replace(FLOWS, lake=None, hot=None)) is None
    assert intake.owner(FLOWS) == "lake"
    assert intake.owner(dataclasses.replace(FLOWS, lake=None)) == "hot"


@hypothesis.settings(deadline=None)
@given(st.one_of(st.ip_addresses().map(str), st.text("0123456789abcdefABCDEF:.", max_size=24), st.from_regex(r"\A[0-9a-f:]{2,20}\Z")))
def test_addresses_are_those_that_the_system_reads(text: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
        known = True
    except (OSError, ValueError):
        known = False
    assert (vectorised.failing(pa.table({"a": [text]}), Address("a"), NOW) is None) is known


_FLOATS = st.one_of(st.none(), st.floats(-5, 5), st.sampled_from([float("nan"), float("inf"), -float("inf")]))


@hypothesis.settings(deadline=None)
@given(
    st.lists(st.tuples(_FLOATS, _FLOATS, st.one_of(st.none(), st.sampled_from(["x", "y", "z"]))), min_size=1, max_size=20),
    st.integers(1, 5),
)
def test_a_look_at_columns_finds_what_a_look_at_rows_does(rows: list[tuple[Any, Any, Any]], cut: int) -> None:
    """Every constraint beside its definition for one row, however the rows lie in chunks."""
    schema = pa.schema([("a", pa.float64()), ("b", pa.float64()), ("c", pa.string())])
    whole = pa.Table.from_pylist([dict(zip("abc", row, strict=True)) for row in rows], schema)
    found = pa.concat_tables([whole.slice(begin, cut) for begin in range(0, len(rows), cut)])
    for constraint, keeps in (
        (Range("a", -1, 2), lambda a, b, c: a is None or -1 <= a <= 2),
        (Range("a"), lambda a, b, c: a is None or np.isfinite(a)),
        (NotNull("a"), lambda a, b, c: a is not None),
        (OneOf("c", ("x", "y")), lambda a, b, c: c in (None, "x", "y")),
        (Order(("a",), ("b",)), lambda a, b, c: a is None or b is None or not a > b + abs(b) * 1e-9),
        (Order(("a", "b"), ("b",)), lambda a, b, c: a is None or b is None or not a + b > b + abs(b) * 1e-9),
        (Together("a", 1.0, "c", "x"), lambda a, b, c: a is None or c is None or (a == 1.0) == (c == "x")),
    ):
        mask = vectorised.failing(found, constraint, NOW)
        assert [not keeps(*row) for row in rows] == (mask.tolist() if mask is not None else [False] * len(rows)), constraint


@hypothesis.settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.uuids().map(str), st.text("0123456789abcdef-", min_size=35, max_size=37)), max_size=5),
    st.integers(0, 2),
)
def test_uuids_are_read_by_their_bytes_as_by_the_expression(texts: list[str | None], skip: int) -> None:
    import re

    column = pa.array(texts, pa.string()).slice(skip)
    mask = vectorised.failing(pa.table({"a": column}), Pattern("a", UUID, "a UUID"), NOW)
    expected = [text is not None and re.match(UUID, text) is None for text in column.to_pylist()]
    assert (mask.tolist() if mask is not None else [False] * len(expected)) == expected


def test_times_of_other_units_and_beyond_python_s_dates() -> None:
    day = 86_400
    seconds = [0, int(T0.timestamp()), int(T0.timestamp()) + 2 * day, 9_999_999_999_999, -62_135_596_801, None]
    for unit, known in (("s", 6), ("ms", 6), ("us", 3), ("ns", 3)):
        rows = pa.table({"t": pa.array(seconds[:known], pa.timestamp("s", tz="UTC")).cast(pa.timestamp(unit, tz="UTC"))})
        mask = vectorised.failing(rows, PlausibleTime("t"), NOW)
        assert mask is not None
        assert mask.tolist() == [True, False, True, True, True, False][:known]


@hypothesis.settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "a\0", "\0"])), max_size=6), st.integers(0, 3))
def test_nul_is_found_wherever_a_slice_begins(texts: list[str | None], skip: int) -> None:
    mask = vectorised.failing(pa.table({"a": pa.array(texts, pa.string()).slice(skip)}), NoNul("a"), NOW)
    expected = [text is not None and "\0" in text for text in texts[skip:]]
    assert (mask.tolist() if mask is not None else [False] * len(expected)) == expected


def test_infinity_of_short_floats_is_beyond_every_bound() -> None:
    rows = pa.table({"a": pa.array([1.0, float("inf"), float("nan"), None], pa.float32())})
    mask = vectorised.failing(rows, Range("a", 0), NOW)
    assert mask is not None
    assert mask.tolist() == [False, True, True, False]


def test_a_row_kept_as_json_is_made_again_to_the_bit() -> None:
    rows = faulty()
    made = table.from_json(table.as_json(rows), FLOWS.published)
    for name in rows.column_names:
        assert (
            made[name]
            .combine_chunks()
            .view(pa.int64() if pa.types.is_floating(rows[name].type) else rows[name].type)
            .equals(rows[name].combine_chunks().view(pa.int64() if pa.types.is_floating(rows[name].type) else rows[name].type))
        ), name


def test_a_kept_row_that_is_none_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        table.from_json(["no json"], FLOWS.published)
    with pytest.raises(ValueError, match="int"):
        table.from_json(['{"src_port": "text"}'], FLOWS.published)


_CLEAN = st.fixed_dictionaries(
    {
        "src_ip": st.ip_addresses().map(str),
        "dst_ip": st.ip_addresses().map(str),
        "src_port": st.integers(0, 65_535),
        "dst_port": st.integers(0, 65_535),
        "protocol": st.integers(0, 255),
        "confidence_score": st.floats(0, 1),
        "flow_duration": st.integers(0, 2**62),
        "flow_bytes_per_sec": st.floats(0, 1e308),
        "at": st.integers(-400 * 86_400, 0),
        "lasts": st.integers(0, 3600),
        "sensor_id": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        "attack_type": st.sampled_from([label.name for label in LABELS]),
        "end_reason": st.sampled_from([None, "fin", "idle"]),
    }
)


@pytest.mark.slow
@hypothesis.settings(deadline=None)
@given(st.lists(_CLEAN, min_size=1, max_size=8))
def test_whatever_keeps_the_rules_passes(rows: list[dict[str, Any]]) -> None:
    """Of each batch, and of the whole that the nightly run looks at."""
    own = config.load()
    made = flows([{**row, "name": n} for n, row in enumerate(rows)])
    assert checks(own, FLOWS).sift([message(made)])[1] == []
    assert batch.failures(made, derive.constraints(FLOWS, own), NOW) == {}
