"""``flowlake windows rebuild``: from any part of the lake's records the rows that the stream has made; what differs is told."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from infra.errors import ConfigError, StoreError
from jobs.sources.windows.rebuild import Compared
from jobs.windows.blob import BlobError
from jobs.windows.cascade import WindowCascade
from jobs.windows.records import records
from jobs.windows.storedsummary import summaries
from jobs.windows.summary import merge
from ops.cli import main
from schemas.windows import SIZES, SUMMARY, WINDOW_SCHEMA
from tests.unit.windows.test_memory import spoken

#: A little before midnight, in the middle of a window of 180 s.
BEGIN = datetime(2026, 1, 5, 21, 31, 40, tzinfo=UTC)
HOURS = 4


@pytest.fixture(scope="module")
def made() -> dict[int, pa.Table]:
    """Windows of a stream of four hours: a beat, one who asks twice a minute whom he never asked before, one who comes once."""
    first = int(BEGIN.timestamp()) // 5
    end = first + HOURS * 720
    parts = [spoken(slot, 99) for slot in range(first, end, 12)]
    parts += [spoken(slot, slot, slot + 1, source=8) for slot in range(first, end, 7)]
    parts += [spoken(first + 2000, 5, source=9)]
    found = WindowCascade().take(merge(parts), {"a": (end + 36) * 5_000_000}, ["a"])
    return {size: pa.Table.from_batches([records(one[size], size) for one in found if len(one[size])]) for size in SIZES}


@pytest.fixture
def lake(made: dict[int, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its tables, as the stream writes them, not in the order of time."""
    conf = tmp_path / "conf.yaml"
    conf.write_text(f"lake: {{path: {tmp_path}/lake/flows}}\n")
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    for size, table in made.items():
        put(tmp_path / "lake" / f"windows_{size}", table.sort_by("window_id"))
    return tmp_path / "lake"


def put(place: Path, table: pa.Table, mode: Any = "append") -> None:
    days = table["window_start"].cast(pa.date32())
    write_deltalake(str(place), table.append_column("event_date", days), partition_by=["event_date"], mode=mode)


def between(made: dict[int, pa.Table], size: int, since: datetime, until: datetime) -> list[dict[str, Any]]:
    rows = made[size].select(WINDOW_SCHEMA.names).to_pylist()
    found = [row for row in rows if since <= row["window_start"] < until]
    return sorted(found, key=lambda row: (row["window_start"], row["window_size"], row["window_id"]))


def test_any_part_gives_the_rows_of_the_stream(made: dict[int, pa.Table], lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = lake.parent / "again.parquet"
    for begin, length in ((BEGIN - timedelta(days=400), 500 * 24 * 60), (BEGIN + timedelta(minutes=63, seconds=7), 95), (BEGIN, 1)):
        until = begin + timedelta(minutes=length)
        words = ["--since", begin.isoformat(), "--until", until.isoformat(), "--size", "180,30,5", "--out", str(out), "--json"]
        assert main.run(["windows", "rebuild", *words]) == 0
        table = pq.read_table(out)
        assert table.schema.equals(WINDOW_SCHEMA)
        assert table["window_start"].to_pylist() == sorted(table["window_start"].to_pylist())
        counts = json.loads(capsys.readouterr().out)["windows"]
        for size in SIZES:
            some = [row for row in table.to_pylist() if row["window_size"] == size]
            assert some == between(made, size, begin, until), (begin, size)
            assert counts[str(size)] == len(some)


def test_without_a_range_all_is_made_and_a_day_after_the_other_told(
    made: dict[int, pa.Table], lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = lake.parent / "again.csv"
    assert main.run(["windows", "rebuild", "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert csv.read_csv(out).num_rows == made[30].num_rows + made[180].num_rows
    assert f"{made[180].num_rows:,} windows of 180 s" in told
    assert "2026-01-05: " in told


def test_what_the_lake_has_otherwise_is_told(made: dict[int, pa.Table], lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["windows", "rebuild", "--check", "--json"]
    assert main.run(check) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["compared"]["180"] == {"equal": made[180].num_rows, "different": 0, "missing": 0, "unknown": 0}
    rows = made[180].to_pylist()
    rows[3]["flows_started"] += 1
    rows[4]["window_id"] = "00000000-0000-0000-0000-000000000000"
    put(lake / "windows_180", pa.Table.from_pylist(rows[:-2], made[180].schema), "overwrite")
    assert main.run(check) == 5
    told = json.loads(capsys.readouterr().out)
    assert told["compared"]["180"] == {"equal": len(rows) - 4, "different": 1, "missing": 3, "unknown": 1}
    assert told["compared"]["30"] == {"equal": made[30].num_rows, "different": 0, "missing": 0, "unknown": 0}
    assert main.run([*check[:-1], "--size", "180"]) == 5
    assert "different" in capsys.readouterr().out


def test_nothing_is_the_same_as_nothing() -> None:
    found = Compared()
    found.add(WINDOW_SCHEMA.empty_table(), WINDOW_SCHEMA.empty_table())
    assert found.same
    assert found == Compared(0, 0, 0, 0)


def test_what_cannot_be_made_is_said(lake: Path, made: dict[int, pa.Table]) -> None:
    out = ["--out", str(lake.parent / "w.csv")]
    for words, told in (
        ([], "neither --out nor --check"),
        (["--out", "w.txt"], "its name ends neither"),
        (["--check", "--size", "7"], "no part '7'"),
        (["--since", "2026-01-05", "--until", "2026-01-05", *out], "is not before --until"),
        (["--since", "2026-02-05", *out], "has no record of 5 s in the range"),
        (["--until", "soon", *out], "--until 'soon' is no time"),
    ):
        with pytest.raises(ConfigError, match=told):
            main.run(["windows", "rebuild", *words])
    with pytest.raises(StoreError, match="No such file"):
        main.run(["windows", "rebuild", "--out", str(lake / "no" / "w.csv")])
    damaged = made[5].slice(0, 1).drop_columns(SUMMARY).append_column(made[5].schema.field(SUMMARY), pa.array(["AAAA"]))
    put(lake / "windows_5", damaged)
    with pytest.raises(StoreError, match="no summary of a window"):
        main.run(["windows", "rebuild", *out])
    assert not (lake.parent / "w.csv").exists()
    for file in (lake / "windows_5").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(StoreError, match="windows_5"):
        main.run(["windows", "rebuild", *out])
    for file in sorted((lake / "windows_5").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    with pytest.raises(StoreError, match="holds no table yet"):
        main.run(["windows", "rebuild", "--check"])


def test_rows_that_the_lake_holds_twice_are_told(made: dict[int, pa.Table], lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(lake / "windows_30", made[30].slice(5, 4))
    assert main.run(["windows", "rebuild", "--size", "30,30", "--check", "--json"]) == StoreError.exit_code
    told = json.loads(capsys.readouterr().out)["compared"]
    assert told == {"30": {"equal": made[30].num_rows, "different": 0, "missing": 0, "unknown": 4}}
    put(lake / "windows_5", made[5].slice(7, 1))
    with pytest.raises(StoreError, match="1 records of 5 s are there twice"):
        main.run(["windows", "rebuild", "--size", "30", "--check"])


def test_a_text_that_is_cut_does_not_take_from_the_next(made: dict[int, pa.Table]) -> None:
    written = made[5][SUMMARY].to_pylist()[:50]
    for at in range(0, 50, 7):
        cut = [*written]
        cut[at] = base64.b64encode(base64.b64decode(cut[at])[:-4]).decode()
        with pytest.raises(BlobError, match="no summary of a window"):
            summaries(["a"] * 50, cut)


def test_a_range_may_end_with_the_calendar(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["windows", "rebuild", "--until", "9999-12-31T23:59:59", "--size", "180", "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"]["180"] > 0
