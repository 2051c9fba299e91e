"""Moving in is for every record type: the readings of a source that came by new files only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra import config
from jobs.runtime import lake
from tests.integration.moving.conftest import Mover, written
from tests.integration.sinkbench import run as sql
from tests.toy_source.records import READING

pytestmark = pytest.mark.integration
LINES = [
    "timestamp,Device,value,zscore,predicted_label,confidence",
    *(f"2026-03-01T12:00:{n:02d},boiler-{n % 3},{20 + n / 10},0.5,{n // 29},0.25" for n in range(30)),
]


@pytest.fixture
def readings(database: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mover:
    packages = {"packages": ["jobs.sources", "tests.toy_source"]}
    monkeypatch.setenv("FLOWLAKE_CONF", str(written(home, database, sources=packages)))
    monkeypatch.setenv("FLOWLAKE_HOT__PASSWORD", database["password"].get_secret_value())
    return Mover(config.load(), capsys)


def test_readings_into_both_stores_and_compared(readings: Mover, tmp_path: Path) -> None:
    file = tmp_path / "readings.csv"
    file.write_text("\n".join([*LINES, "2026-03-01T12:01:00,,1,2,3,4", ""]).replace("confidence", "confidence_score"))
    told = readings.told("csv", file, "--record", "readings", "--into", "both")
    (found,) = told["files"]
    assert (told["record"], found["closes"], found["rows"]) == ("readings", True, 30)
    assert found["rejected_by_reason"] == {"predicted_label: not a label": 1}
    assert sql(readings.settings.hot, "SELECT count(*), max(value), max(attack_type) FROM sensor_readings") == [(30, 22.9, "BENIGN")]
    rows = lake.dataset(lake.location(readings.settings, READING)).to_table().to_pylist()
    assert len(rows) == len({row["reading_id"] for row in rows}) == 30
    assert {row["sensor_id"] for row in rows} == {"migrated:readings.csv"}
    assert {row["mean"] for row in rows} == {None}
    for store in ("hot", "lake"):
        code, out, _ = readings(
            "compare", "--csv", file, "--record", "readings", "--store", store, "--from", "2026-03-01", "--to", "2026-03-02", "--json"
        )
        assert (code, json.loads(out)["rows_store"]) == (0, 30)
    code, _, err = readings("csv", file, "--record", "nothing")
    assert (code, "no record type of that name" in err, "readings" in err) == (2, True, True)
