"""Files of the lake and the commit that adds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from infra.sections import LakeSettings
from jobs.sinks import parquet
from schemas.packets import FLOWS
from tests.sinksdata import table

LAKE = LakeSettings()


def rows(*cells: dict[str, Any]) -> pa.Table:
    return parquet.lake_rows(table(list(cells)), FLOWS)


def written(root: Path, *tables: pa.Table) -> list[dict[str, Any]]:
    return [file for batch in parquet.write(tables, str(root), LAKE, parquet.statistics_of(FLOWS)) for file in batch.to_pylist()]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    DeltaTable.create(str(tmp_path), parquet.lake_schema(FLOWS), partition_by=[parquet.PARTITION])
    return tmp_path


def test_a_file_a_day(tmp_path: Path) -> None:
    days = [{"name": n, "at": (n % 3) * 86_400} for n in range(9)]
    files = written(tmp_path, rows(*days[:5]), rows(*days[5:]))
    assert len({file["date"] for file in files}) == len(files) == 3
    for file in files:
        path = tmp_path / file["path"]
        assert path.parent.name == f"event_date={file['date']}"
        assert path.stat().st_size == file["size"]
        content = pq.read_table(path, partitioning=None)
        assert content.num_rows == 3
        assert content.schema.names == [f.name for f in parquet.lake_schema(FLOWS) if f.name != parquet.PARTITION]


def test_many_rows_are_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "FILE_ROWS", 4)
    files = written(tmp_path, *(rows({"name": n}, {"name": n + 100}) for n in range(5)))
    assert [json.loads(file["stats"])["numRecords"] for file in files] == [4, 4, 2]
    assert written(tmp_path) == []


def test_statistics_hold_every_value() -> None:
    """Bounds that were too narrow would make readers skip files with rows they look for: times are rounded outwards."""
    some = rows({"name": 1, "at": 0.0001, "dst_port": 443, "src_ip": "10.0.0.9"}, {"name": 2, "at": 1.9999, "dst_port": 22})
    told = json.loads(parquet.statistics(some, parquet.statistics_of(FLOWS)))
    assert told["numRecords"] == 2
    assert set(told["nullCount"]) == set(parquet.statistics_of(FLOWS))
    low, high = told["minValues"], told["maxValues"]
    assert low["dst_port"] == 22
    assert high["dst_port"] == 443
    starts = sorted(some["start_time"].to_pylist())
    assert low["start_time"] == starts[0].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert low["start_time"].endswith(".000Z")
    assert high["start_time"].endswith("2.000Z"), "1.9999 s, rounded up"


def test_a_transaction_is_committed_once(lake: Path) -> None:
    log = parquet.Log(str(lake), LAKE)
    first = [tuple(file.values()) for file in written(lake, rows({"name": 1}, {"name": 2}))]
    log.commit(first, "app", 4)
    log.commit([tuple(file.values()) for file in written(lake, rows({"name": 1}, {"name": 2}))], "app", 4)
    assert parquet.Log(str(lake), LAKE).commit([tuple(f.values()) for f in written(lake, rows({"name": 3}))], "app", 3) is None
    assert DeltaTable(str(lake)).version() == 1, "repetitions and older batches leave the table as it is"
    log.commit([tuple(file.values()) for file in written(lake, rows({"name": 3}))], "app", 5)
    log.commit([tuple(file.values()) for file in written(lake, rows({"name": 4}))], "another checkpoint", 0)
    table = DeltaTable(str(lake)).to_pyarrow_table()
    assert table.num_rows == 4
    assert table["event_date"].null_count == 0


def test_another_writer_between_two_commits_is_seen(lake: Path) -> None:
    log, other = parquet.Log(str(lake), LAKE), parquet.Log(str(lake), LAKE)
    for n, writer in enumerate((log, other, log, other)):
        writer.commit([tuple(file.values()) for file in written(lake, rows({"name": n}))], "app", n)
    assert DeltaTable(str(lake)).to_pyarrow_table().num_rows == 4


@pytest.mark.parametrize(("root", "bucket", "start"), [("s3://b", "b", "event_date="), ("s3://b/flows/v1", "b", "flows/v1/event_date=")])
def test_keys_of_a_bucket(root: str, bucket: str, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table's root may be the bucket itself: a key that began with a slash would lie in a folder without a name."""
    put: list[dict[str, Any]] = []

    class Client:
        def put_object(self, **what: Any) -> None:
            put.append(what)

    monkeypatch.setattr(parquet.s3, "client", lambda lake: Client())
    (file,) = [f for batch in parquet.write([rows({"name": 1})], root, LAKE, ()) for f in batch.to_pylist()]
    assert put[0]["Bucket"] == bucket
    assert put[0]["Key"].startswith(start)
    assert put[0]["Key"].endswith(file["path"])
    assert len(put[0]["Body"]) == file["size"]
