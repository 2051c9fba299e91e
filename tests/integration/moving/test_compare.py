"""Do files and store hold the same rows? Equal and different, in both stores, and for another record type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.moving.conftest import Mover
from tests.integration.sinkbench import run as sql
from tests.movingdata import row, rows, text

pytestmark = pytest.mark.integration
DAY = ("--from", "2026-03-01", "--to", "2026-03-02")


@pytest.fixture
def file(mover: Mover, tmp_path: Path) -> Path:
    """A file whose rows are in both stores, over three hours."""
    made = tmp_path / "live.csv"
    made.write_text(text(rows(40) + rows(40, 3600) + rows(40, 7200)))
    mover.told("csv", made, "--into", "both")
    return made


def compared(mover: Mover, file: Path, *more: object, code: int) -> dict[str, Any]:
    ended, out, err = mover("compare", "--csv", file, *DAY, *more, "--json")
    assert ended == code, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize("store", ["hot", "lake"])
def test_the_same_rows_are_equal(mover: Mover, file: Path, store: str) -> None:
    told = compared(mover, file, "--store", store, code=0)
    assert (told["equal"], told["rows_csv"], told["rows_store"]) == (True, 120, 120)
    assert told["days"] == [{"day": "2026-03-01", "csv": 120, "store": 120}]
    assert [hour["csv"] for hour in told["hours"]] == [40, 40, 40]
    assert len(told["columns"]) == 23
    assert all(column["equal"] for column in told["columns"].values())
    assert told["first_differences"] == []
    shuffled = file.with_name("shuffled.csv")
    lines = file.read_text().splitlines(keepends=True)
    shuffled.write_text("".join([lines[0], *reversed(lines[1:])]))
    assert compared(mover, shuffled, "--store", store, code=0)["equal"], "the order of rows is nobody's business"


def test_numbers_are_compared_as_float32(mover: Mover, file: Path) -> None:
    sql(mover.settings.hot, "UPDATE network_flows SET flow_bytes_per_sec = flow_bytes_per_sec::real")
    assert compared(mover, file, code=0)["equal"]
    sql(mover.settings.hot, "UPDATE network_flows SET flow_bytes_per_sec = flow_bytes_per_sec * 1.001 WHERE flow_duration = 310")
    told = compared(mover, file, code=1)
    assert [name for name, column in told["columns"].items() if not column["equal"]] == ["flow_bytes_per_sec"]
    (difference,) = told["first_differences"]
    assert difference["columns"] == ["flow_bytes_per_sec"]
    assert difference["csv"]["flow_duration"] == difference["store"]["flow_duration"] == 310
    assert difference["csv"]["start_time"] == "2026-03-01T12:00:10.000003Z"


def test_rows_that_are_on_one_side_only(mover: Mover, file: Path) -> None:
    sql(mover.settings.hot, "DELETE FROM network_flows WHERE flow_duration = 310")
    with file.open("a") as out:
        out.write(text([row(7300), row(7301), row(7300)], header=False))
    told = compared(mover, file, code=1)
    assert (told["rows_csv"], told["rows_store"]) == (123, 119)
    assert [(hour["csv"], hour["store"]) for hour in told["hours"] if not hour["equal"]] == [(40, 39), (43, 40)]
    assert [d["store"] for d in told["first_differences"]] == [None] * 4
    assert len(compared(mover, file, "--differences", 2, code=1)["first_differences"]) == 2
    sql(mover.settings.hot, "UPDATE network_flows SET timestamp = timestamp + interval '1 day' WHERE flow_duration <> 341")
    only = compared(mover, file, "--to", "2026-03-01T12:00:12", "--from", "2026-03-01T12:00:11", code=0)
    assert (only["rows_csv"], only["rows_store"]) == (1, 1)


def test_for_people(mover: Mover, file: Path) -> None:
    code, out, _ = mover("compare", "--csv", file, *DAY)
    assert code == 0
    assert "CSV 120 rows, hot 120 rows: equal" in out
    assert "write latency: not measured: the server keeps no times of commits" in out
    sql(mover.settings.hot, "UPDATE network_flows SET ack_flag_count = 7 WHERE flow_duration = 310")
    code, out, _ = mover("compare", "--csv", file, *DAY)
    assert code == 1
    assert "DIFFERENT" in out
    assert "differs in ack_flag_count:" in out
    assert "ack_flag_count 328" in out
    assert "ack_flag_count 7" in out


def test_what_cannot_be_compared(mover: Mover, tmp_path: Path, file: Path) -> None:
    code, _, err = mover("compare", "--csv", file, "--from", "2026-03-02", "--to", "2026-03-01")
    assert (code, "is not before" in err) == (2, True)
    code, _, err = mover("compare", "--csv", file, "--from", "once")
    assert (code, "--from 'once' is no time" in err) == (2, True)
    (tmp_path / "empty.csv").touch()
    code, _, err = mover("compare", "--csv", tmp_path / "empty.csv", *DAY)
    assert (code, "is empty" in err) == (9, True)
    code, _, err = mover("compare", "--csv", file, *DAY, "--store", "lake", "--record", "nothing")
    assert (code, "no record type of that name" in err) == (2, True)
