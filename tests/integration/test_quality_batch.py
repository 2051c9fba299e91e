"""Checks of batches on a real broker, a real database and Delta tables: what fails is in the quarantine once, and in no store."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from infra.metrics import REGISTRY
from jobs.quality import table as quarantine
from jobs.runtime import lake
from schemas.packets import FLOWS
from tests.integration.sinkbench import Bench, drain
from tests.qualitydata import FAULTS, faulty
from tests.sinksdata import START, flow_id, headers, table, value

pytestmark = [pytest.mark.integration, pytest.mark.spark]


def kept(bench: Bench) -> list[dict[str, Any]]:
    rows = quarantine.side(bench.settings).dataset().to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["offset"], row["row"]))


def stored(bench: Bench) -> tuple[list[str], list[str]]:
    there = lake.dataset(lake.location(bench.settings, FLOWS)).to_table(columns=["flow_id"])["flow_id"].to_pylist()
    return sorted(there), sorted(row[0] for row in bench.sql("SELECT flow_id::text FROM network_flows"))


def left_out(query: str) -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "flowlake_sink_left_out_total" and sample.labels["query"] == query
    )


def test_every_fault_is_quarantined_once_and_both_stores_hold_the_rest(spark: Any, bench: Bench) -> None:
    before = {name: left_out(name) for name in ("lake", "hot")}
    good = [{"name": f"good {n}", "at": n} for n in range(20)]
    mixed = (value(pa.concat_tables([table(good[:10]), faulty()])), headers("m/0"))
    bench.send(mixed, (value(table(good[10:])), headers("m/1")), mixed)  # the last: a copy that a repeated batch of the meter wrote
    for name in ("lake", "hot"):
        drain(START[name], spark, bench.settings)
    expected = sorted(flow_id(row["name"]) for row in good)
    assert stored(bench) == (expected, expected)
    rows = kept(bench)
    assert [row["rule"] for row in rows] == list(FAULTS)
    assert [row["row"] for row in rows] == list(range(10, 10 + len(FAULTS)))
    for row, rule in zip(rows, FAULTS, strict=True):
        assert (row["record"], row["stage"], row["query"], row["offset"]) == ("flows", "batch", "lake", 0)
        assert row["topic"] == bench.settings.topic("predictions")
        assert row["record_id"] == flow_id(rule)
        assert row["replayed_at"] is None
        assert rule in row["reason"]
    # the accounts: what was read is what was stored, and what was left out (the copies too)
    assert {name: left_out(name) - before[name] for name in before} == {"lake": 2 * len(FAULTS), "hot": 2 * len(FAULTS)}

    moved = bench.settings.model_copy(update={"paths": bench.settings.paths.model_copy(update={"checkpoints": "var/other"})})
    more = {"name": "new", "src_port": -7}
    bench.send((value(table([more, {"name": "good n"}])), headers("m/2")))
    for name in ("lake", "hot"):
        drain(START[name], spark, moved)  # a new checkpoint reads everything again
    assert [row["rule"] for row in kept(bench)] == [*FAULTS, "range(src_port)"]
    expected = sorted([*expected, flow_id("good n")])
    assert stored(bench) == (expected, expected)


def test_alerts_are_raised_of_rows_that_fail_too(spark: Any, bench: Bench) -> None:
    """A clock that is wrong, or a broken counter, must not hide an attack."""
    bench.rows([{"name": "odd", "attack_type": "DNS_TUNNEL", "src_port": 99_999}])
    for name in ("alerts", "hot"):
        drain(START[name], spark, bench.settings)
    assert bench.sql("SELECT attack_type FROM alerts") == [("DNS_TUNNEL",)]
    assert bench.sql("SELECT count(*) FROM network_flows") == [(0,)]


def test_checks_can_be_turned_off(spark: Any, bench: Bench) -> None:
    quality = bench.settings.quality.model_copy(update={"batch_checks": False})
    own = bench.settings.model_copy(update={"quality": quality})
    bench.rows([{"name": "odd", "src_port": 99_999}])
    for name in ("lake", "hot"):
        drain(START[name], spark, own)
    assert stored(bench) == ([flow_id("odd")], [flow_id("odd")])
    assert not quarantine.side(own).exists()
