"""Tables beside the lake's: once by transaction, in place by key, with a column that came later, by several writers at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from infra.config import Settings
from infra.errors import ConfigError, StoreError
from jobs.runtime import lake, sidetable
from jobs.runtime.sidetable import CHECKPOINT_EVERY, Side, SideTable

Factory = Callable[..., Settings]
NOTES = SideTable("labels", pa.schema([("id", pa.string()), ("day", pa.date32()), ("note", pa.string())]), "Notes.", "day")


@pytest.fixture
def side(settings: Factory, tmp_path: Path) -> Side:
    return Side(settings(lake={"path": str(tmp_path / "lake" / "flows")}), NOTES)


def rows(*notes: tuple[str, str | None]) -> pa.Table:
    return pa.table({"note": [n for _, n in notes], "id": [i for i, _ in notes]})


def held(side: Side) -> dict[str, str | None]:
    found = side.dataset().to_table().to_pylist()
    assert len(found) == len({row["id"] for row in found})
    return {row["id"]: row["note"] for row in found}


def test_it_lies_beside_the_lake_and_is_empty_until_it_is_made(side: Side, tmp_path: Path) -> None:
    assert side.path == str(tmp_path / "lake" / "labels")
    assert not side.exists()
    assert held(side) == {}
    side.create()
    side.create()
    assert side.exists()
    assert side.dataset().schema.names == ["id", "day", "note"]
    assert DeltaTable(side.path).metadata().partition_columns == ["day"]


def test_rows_of_one_transaction_are_there_once(side: Side) -> None:
    assert side.append(rows(("a", "1")), once=("writer", 1))
    assert not side.append(rows(("a", "1")), once=("writer", 1))
    assert side.append(rows(("b", None)), once=("writer", 2))
    assert side.append(rows(("c", "1")), once=("another", 1))
    assert held(side) == {"a": "1", "b": None, "c": "1"}


def test_a_row_takes_the_place_of_the_one_with_its_key(side: Side) -> None:
    assert side.upsert(rows(("a", "1"), ("b", None)), ["id"]) == (2, 0)
    assert side.upsert(rows(("a", "1"), ("b", "2"), ("c", "3")), ["id"]) == (1, 1)
    assert held(side) == {"a": "1", "b": "2", "c": "3"}
    before = DeltaTable(side.path).version()
    assert side.upsert(rows(("a", "1"), ("b", "2")), ["id"]) == (0, 0)
    assert side.upsert(rows(), ["id"]) == (0, 0)
    assert DeltaTable(side.path).version() <= before + 1
    assert side.delete("id = 'a'") == 1
    assert held(side) == {"b": "2", "c": "3"}


def test_a_column_that_came_later_is_empty_in_old_rows(side: Side, settings: Factory) -> None:
    side.append(rows(("a", "1")))
    wider = replace(NOTES, schema=NOTES.schema.append(pa.field("score", pa.float64())))
    later = Side(settings(lake={"path": str(Path(side.path).parent / "flows")}), wider)
    later.append(pa.table({"id": ["b"], "score": [0.5]}))
    assert {(row["id"], row["score"]) for row in later.dataset().to_table().to_pylist()} == {("a", None), ("b", 0.5)}
    # Who still knows the old columns goes on.
    side.append(rows(("c", "3")))
    assert later.dataset().count_rows() == 3
    odd = replace(NOTES, schema=pa.schema([("note", pa.float64())]))
    with pytest.raises(StoreError, match=r"column note is .*, expected double"):
        Side(settings(lake={"path": str(Path(side.path).parent / "flows")}), odd).create()
    with pytest.raises(ValueError, match="no column 'nosuch'"):
        side.append(pa.table({"nosuch": [1]}))


def test_several_writers_at_once_lose_nothing(side: Side) -> None:
    side.create()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: side.append(rows((f"r{n}", None)), once=(f"w{n}", 1)), range(CHECKPOINT_EVERY + 10)))
    assert len(held(side)) == CHECKPOINT_EVERY + 10
    assert list(Path(side.path).glob("_delta_log/*.checkpoint.parquet")), "its log does not have to be read from the beginning"
    files = len(DeltaTable(side.path).file_uris())
    side.maintain()
    assert len(DeltaTable(side.path).file_uris()) < files
    assert len(held(side)) == CHECKPOINT_EVERY + 10


def test_several_that_put_rows_in_their_places_at_once_lose_nothing(side: Side) -> None:
    with ThreadPoolExecutor(4) as pool:  # the table is not there yet
        done = list(pool.map(lambda n: side.upsert(rows((f"r{n}", "1"), ("shared", str(n))), ("id",)), range(8)))
    assert sum(new for new, _ in done) == 9
    assert set(held(side)) == {"shared", *(f"r{n}" for n in range(8))}


def test_a_table_that_is_changed_each_time_is_told(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    side.upsert(rows(("a", "1")), ("id",))
    tried: list[str] = []

    def changed() -> None:
        tried.append("once")
        raise CommitFailedError("a concurrent transaction")

    monkeypatch.setattr(sidetable, "_PAUSE_S", 0.0)
    monkeypatch.setattr(side, "_open", changed)
    with pytest.raises(StoreError, match="other programs were changing it each of 20 times: a concurrent transaction") as told:
        side.delete("id = 'a'")
    assert len(tried) == 20
    assert "again" in told.value.hint


def test_a_place_that_cannot_be_had(settings: Factory, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a file")
    with pytest.raises(StoreError, match=f"{tmp_path}/labels") as told:
        Side(settings(lake={"path": str(tmp_path / "flows")}), NOTES).append(rows(("a", "1")))
    assert "\n" not in str(told.value)
    with pytest.raises(ConfigError, match="no place beside it for the table of labels"):
        Side(settings(lake={"path": "s3a://bucket"}), NOTES)
    assert Side(settings(lake={"tables": {"labels": str(tmp_path / "elsewhere")}}), NOTES).path == str(tmp_path / "elsewhere")
    lake.check(settings(lake={"path": "s3a://bucket"}))
    with pytest.raises(ConfigError, match="the table labels and flows would share the table"):
        lake.check(settings(lake={"path": str(tmp_path / "labels")}))
