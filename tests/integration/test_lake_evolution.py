"""A record type gets a column: the table goes on, old rows have none in it, for every reader alike. What is no addition is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from infra.config import Settings
from infra.errors import CheckpointError, StoreError
from jobs.runtime import lake as tables
from jobs.sinks import sink
from jobs.sinks.lake import LakeSink
from schemas.packets import FLOWS
from schemas.records import RecordType
from tests.integration.sinkbench import Bench, drain
from tests.sinksdata import START, flow_id, headers, table, value

pytestmark = [pytest.mark.integration, pytest.mark.spark]

#: Flows of tomorrow: one feature more.
WIDER = replace(FLOWS, version=FLOWS.version + 1, schema=FLOWS.schema.append(pa.field("entropy", pa.float64(), nullable=False)))


def start(record: RecordType) -> Any:
    return lambda spark, settings: sink.run(spark, settings, LakeSink(spark, settings, record))


def elsewhere(settings: Settings) -> Settings:
    """With checkpoints of its own: what the old ones hold is of another version."""
    return settings.model_copy(update={"paths": settings.paths.model_copy(update={"checkpoints": "var/other"})})


def send_wider(bench: Bench, name: str) -> None:
    rows = table([{"name": name, "at": 5}])
    at = WIDER.published.get_field_index("entropy")
    rows = rows.add_column(at, WIDER.published.field("entropy"), pa.array([0.25]))
    told = [(k, str(WIDER.version).encode() if k == "record-version" else v) for k, v in headers(name)]
    bench.send((value(rows), told))


def test_a_column_more(spark: Any, bench: Bench) -> None:
    bench.rows([{"name": "old"}])
    drain(START["lake"], spark, bench.settings)
    path = tables.location(bench.settings, FLOWS)
    before = DeltaTable(path).version()

    send_wider(bench, "new")
    with pytest.raises(CheckpointError, match=rf"schema version {FLOWS.version}, this program writes version {WIDER.version}"):
        drain(start(WIDER), spark, bench.settings)
    drain(start(WIDER), spark, elsewhere(bench.settings))

    found = {flow_id("old"): None, flow_id("new"): 0.25}
    assert {r.flow_id: r.entropy for r in spark.read.format("delta").load(path).select("flow_id", "entropy").collect()} == found
    rows = tables.dataset(path)
    assert dict(zip(*rows.to_table(columns=["flow_id", "entropy"]).to_pydict().values(), strict=True)) == found
    assert dict(duckdb.sql("SELECT flow_id, entropy FROM rows").fetchall()) == found
    # The versions before know nothing of it, and are still there.
    assert "entropy" not in tables.dataset(path, version=before).schema.names
    assert spark.read.format("delta").option("versionAsOf", before).load(path).count() == 1
    # What the topic still holds of the old version is in the table since; it is told, and kept with its reason.
    reasons = [dict(letter.headers)["reason"].decode() for letter in bench.topic("dead-letter")]
    assert [reason for reason in reasons if not reason.startswith("record-version")] == []
    assert reasons

    with pytest.raises(StoreError, match=r"column entropy is there, and the records have none of that name") as told:
        drain(START["lake"], spark, elsewhere(elsewhere(bench.settings)))
    assert "only columns may be added" in told.value.hint


@pytest.mark.parametrize(
    ("make", "told"),
    [
        ("flow_id string, src_port string, event_date date", "column src_port is string, expected int"),
        ("flow_id string, mine int, event_date date", "column mine is there"),
    ],
)
def test_what_is_no_addition_is_refused(spark: Any, bench: Bench, make: str, told: str) -> None:
    path = tables.location(bench.settings, FLOWS)
    spark.sql(f"CREATE TABLE delta.`{path}` ({make}) USING delta PARTITIONED BY (event_date)")
    with pytest.raises(StoreError, match=told) as said:
        START["lake"](spark, bench.settings)
    assert path in str(said.value)
    assert "lake.path" in said.value.hint
    assert "\n" not in str(said.value)


def test_a_table_partitioned_otherwise_is_refused(spark: Any, bench: Bench) -> None:
    path = tables.location(bench.settings, FLOWS)
    spark.sql(f"CREATE TABLE delta.`{path}` (flow_id string, event_date date) USING delta")
    with pytest.raises(StoreError, match="it is partitioned by nothing, expected event_date"):
        START["lake"](spark, bench.settings)


def test_properties_follow_the_settings(spark: Any, bench: Bench) -> None:
    START["lake"](spark, bench.settings).stop()
    path = tables.location(bench.settings, FLOWS)
    version = DeltaTable(path).version()
    START["lake"](spark, bench.settings).stop()
    assert DeltaTable(path).version() == version, "nothing to change"
    longer = bench.settings.model_copy(update={"lake": bench.settings.lake.model_copy(update={"history_days": 30})})
    START["lake"](spark, longer).stop()
    assert DeltaTable(path).metadata().configuration["delta.logRetentionDuration"] == "interval 32 days"
