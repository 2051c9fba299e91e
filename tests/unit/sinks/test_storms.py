"""What is beyond the bound of a group is one row, that says as much as the rows did."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from jobs.sinks import alertbook, evidence, storms
from schemas.labels import STORM
from schemas.packets import FLOWS
from tests.sinksdata import table

EPISODE = 3600
Rows = list[dict[str, Any]]


def forged(n: int, attack_type: str = "WEB_INJECTION", first: int = 0) -> Rows:
    return [
        {"name": f"{attack_type}/{i}", "attack_type": attack_type, "src_ip": f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", "at": i / 1000}
        for i in range(first, first + n)
    ]


def partials(rows: Rows) -> pa.Table:
    return evidence.partials(evidence.attacks(table(rows), FLOWS.alerts), FLOWS.alerts, EPISODE)


@pytest.mark.parametrize("attack_type", ["WEB_INJECTION", "ODD"])
def test_a_task_leaves_so_many_rows_and_the_storm(attack_type: str) -> None:
    rows = storms.bounded(partials(forged(500, attack_type)), 20, EPISODE)
    (storm,) = [item for item in alertbook.gather([rows]) if item.kind == STORM]
    assert rows.num_rows == 21
    assert rows.schema == partials([]).schema
    assert len(storm.flows) == 480
    assert len(storm.sketches["source"]) == 480
    assert len(storm.sketches["target"]) == 1
    assert len(storm.samples["source"]) == len(storm.samples["flow"]) == 20
    change = alertbook.apply(None, storm)
    assert change is not None
    assert (change.alert.flow_count, change.alert.address("source"), change.alert.address("target")) == (480, None, "10.0.0.2")


def test_what_has_most_flows_keeps_a_row_of_its_own() -> None:
    busy = [{**row, "name": f"again/{i}", "src_ip": "10.9.9.9"} for i, row in enumerate(forged(3))]
    rows = storms.bounded(partials([*forged(50), *busy]), 1, EPISODE)
    by_kind = {item.kind: item for item in alertbook.gather([rows])}
    assert by_kind["repeated"].samples["source"] == ["10.9.9.9"]
    assert len(by_kind[STORM].flows) == 50


def test_groups_are_bounded_by_themselves() -> None:
    later = [{**row, "at": row["at"] + EPISODE} for row in forged(5, first=100)]
    elsewhere = [{**row, "domain": "d2"} for row in forged(5, first=200)]
    rows = partials([*forged(5), *later, *elsewhere, *forged(5, "DNS_TUNNEL")])
    assert storms.bounded(rows, 5, EPISODE).equals(rows)
    cut = storms.bounded(rows, 2, EPISODE)
    assert cut.num_rows == 4 * (2 + 1)
    assert len(set(cut["id"].to_pylist())) == cut.num_rows


def test_probes_that_are_no_alert_by_themselves_are_no_storm() -> None:
    rows = partials(forged(300, "SYN_SCAN"))
    assert storms.bounded(rows, 10, EPISODE).equals(rows)


def test_a_storm_folded_twice_is_the_storm() -> None:
    whole = storms.fold(partials(forged(100)), storms.storm_id(("WEB_INJECTION", "d1", 0)))
    parts = [storms.fold(partials(forged(60)), storms.storm_id(("WEB_INJECTION", "d1", 0)))]
    parts.append(storms.fold(partials(forged(60, first=40)), storms.storm_id(("WEB_INJECTION", "d1", 0))))
    (one,), (other,) = alertbook.gather([whole]), alertbook.gather(parts)
    assert alertbook.rows([one]).to_pylist() == alertbook.rows([other]).to_pylist()
