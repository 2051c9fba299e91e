"""The archived form of rows: the reference's types, and nothing lost by them."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.archiving import checksums
from jobs.archiving.columns import EVER, NEVER, ArchiveLayout
from schemas.hot import first_migration
from schemas.packets import FLOWS
from schemas.records import HotColumn, HotTable, RecordType
from tests.archivedata import EVERYTHING
from tests.toy_source.records import READING

LAYOUT = ArchiveLayout.of(EVERYTHING)
_OF = {
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(NEVER, EVER) | st.integers(-(2**25), 2**25),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats() | st.floats(width=32) | st.integers(-(2**54), 2**54).map(float),
    pa.string(): st.text(st.characters(blacklist_categories=["Cs"])),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    count = draw(st.integers(0, 12))
    columns = [
        pa.array(draw(st.lists(st.none() | _OF[field.type], min_size=count, max_size=count)), field.type) for field in LAYOUT.exact_schema
    ]
    return pa.table(columns, schema=LAYOUT.exact_schema)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and math.copysign(1, one) == math.copysign(1, other))
    return bool(one == other) and type(one) is type(other)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_what_is_archived_comes_back_exactly(rows: pa.Table) -> None:
    archived = LAYOUT.archived(rows)
    assert archived.schema == LAYOUT.schema
    back = LAYOUT.exact(archived)
    for name in rows.column_names:
        pairs = zip(rows[name].to_pylist(), back[name].to_pylist(), strict=True)
        assert all(same(one, other) for one, other in pairs), name
    assert checksums.difference(checksums.of(rows).json(), checksums.of(back).json()) == ""


def test_types_are_those_of_the_reference() -> None:
    schema = ArchiveLayout.of(FLOWS).schema
    assert schema.field("timestamp").type == pa.timestamp("ms", tz="UTC")
    assert schema.field("src_ip").type == schema.field("dst_ip").type == schema.field("flow_id").type == pa.string()
    assert schema.field("predicted_label").type == pa.int8()
    features = [field for field in schema if field.name in FLOWS.features.names]  # type: ignore[union-attr]
    assert len(features) == 20
    assert {field.type for field in features} == {pa.float32()}
    assert schema.field("confidence_score").type == pa.float32()
    assert schema.field("timestamp_us").type == pa.int64()
    toy = ArchiveLayout.of(READING).schema
    assert (toy.field("value").type, toy.field("value_exact").type) == (pa.float32(), pa.float64())


def test_a_companion_holds_only_what_would_be_lost() -> None:
    rows = {name: [None] * 4 for name in LAYOUT.exact_schema.names} | {
        "at": [0, -1, 1_234_567, EVER],
        "f_big": [2**24, 2**24 + 1, -5, 2**53 + 1],
        "f_double": [0.5, 0.1, math.nan, math.inf],
        "label": [1, 127, 128, None],
    }
    archived = LAYOUT.archived(pa.table(rows, schema=LAYOUT.exact_schema)).to_pydict()
    assert [at and round(at.timestamp() * 1000) for at in archived["at"]][1:] == [-1, 1234, None]
    assert archived["at_us"] == [0, -1, 1_234_567, EVER]
    assert archived["f_big_exact"] == [None, 2**24 + 1, None, 2**53 + 1]
    assert archived["f_double_exact"] == [None, 0.1, None, None]
    assert archived["label"] == [1, 127, None, None]
    assert archived["label_exact"] == [None, None, 128, None]


@pytest.mark.parametrize("name", ["year", "timestamp_us"])
def test_a_column_with_a_name_that_the_archive_needs_is_refused(name: str) -> None:
    columns = (HotColumn("timestamp", "timestamptz NOT NULL", "at"), HotColumn(name, "bigint", "big"))
    hot = HotTable("odd", "odd", columns, ("timestamp",), {1: first_migration("odd", columns, ("timestamp",))})
    record = RecordType(
        "odd", 1, EVERYTHING.schema, "id", "at", EVERYTHING.topic, "x", features=EVERYTHING.features, hot=hot
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"'{name}' has a name that the archive uses"):
        ArchiveLayout.of(record)
