"""Small files become larger ones, step by step: which, in which order of rows, and what stays as it is when a step fails or is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from infra.config import ROOT
from infra.sections import LakeSettings
from jobs.runtime import lake as tables
from jobs.sinks import compaction, parquet
from jobs.sinks.compaction import LakeFile, plan
from jobs.sinks.upkeep import Upkeep
from schemas.packets import FLOWS
from schemas.records import RecordType
from tests.sinksdata import table
from tests.toy_source.records import READING

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)


class Owned:
    """A table as its owner has it."""

    def __init__(self, root: Path, record: RecordType = FLOWS, **settings: Any) -> None:
        self.root, self.record = str(root), record
        self.lake = LakeSettings(path=self.root, **settings)
        self.log = parquet.Log(self.root, self.lake)
        self.upkeep = Upkeep(record, self.root, self.lake, self.log)
        self._batch = 0
        if not DeltaTable.is_deltatable(self.root):
            schema = pa.schema([field.with_nullable(True) for field in parquet.lake_schema(record)])
            counted = {"delta.dataSkippingStatsColumns": ",".join(parquet.statistics_of(record))}
            DeltaTable.create(self.root, schema, partition_by=[parquet.PARTITION], configuration=counted)

    def add(self, rows: pa.Table) -> None:
        """A batch: a file for each date in it."""
        files = [
            file for batch in parquet.write([rows], self.root, self.lake, parquet.statistics_of(self.record)) for file in batch.to_pylist()
        ]
        self._batch += 1
        self.log.commit([(f["path"], f["size"], f["date"], f["stats"]) for f in files], "test", self._batch)

    def flows(self, count: int, first: int = 0, each: int = 2, **more: Any) -> None:
        """Batches of so many flows, one a second and day."""
        for n in range(first, first + count):
            self.add(parquet.lake_rows(table([{"name": f"{n}/{i}", "at": n + 86_400 * (i % 2), **more} for i in range(each)]), FLOWS))

    def readings(self, count: int, names: str) -> None:
        """A batch of readings of three devices, where the table is theirs."""
        columns = {f.name: pa.nulls(count, f.type) for f in parquet.lake_schema(READING)}
        columns |= {
            "reading_id": pa.array([f"{names}{i}" for i in range(count)]),
            "device": pa.array([f"d{i % 3}" for i in range(count)]),
            "reading_time": pa.array([1_772_366_400_000_000 + i for i in range(count)], pa.timestamp("us", "UTC")),
            "event_date": pa.array([DAY] * count),
        }
        self.add(pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in parquet.lake_schema(READING)])))

    def files(self) -> list[LakeFile]:
        return compaction.pieces(DeltaTable(self.root), self.record)

    def ids(self) -> Counter[str]:
        return Counter(tables.dataset(self.root).to_table(columns=[self.record.key])[self.record.key].to_pylist())


def piece(name: str, day: date = DAY, rows: int | None = 10, size: int = 1000, first: int = 0) -> LakeFile:
    return LakeFile(name, size, rows, day, first)


def test_neighbours_in_time_are_joined_and_the_dates_take_turns() -> None:
    small = [piece(f"a{n}", first=n) for n in (3, 1, 2, 0)] + [piece(f"b{n}", NEXT, first=n) for n in range(4)]
    steps = plan([*small, piece("large", rows=600), piece("heavy", size=compaction.FILE_BYTES), piece("alone", date(2026, 1, 1))], 20)
    assert [[p.path for p in step] for step in steps] == [["b0", "b1"], ["a0", "a1"], ["b2", "b3"], ["a2", "a3"]]
    assert plan([piece("a"), piece("b", NEXT)], 100) == [], "one file of a date is left alone"
    unknown = [piece(f"s{n}", rows=None, size=compaction.FILE_BYTES // 2) for n in range(4)]
    assert [len(step) for step in plan(unknown, 1000)] == [2, 2], "without counts the size bounds a step"
    many = [piece(f"{n}", rows=1, first=n) for n in range(compaction.STEP_FILES * 2 + 1)]
    assert [len(step) for step in plan(many, 1000)] == [compaction.STEP_FILES] * 2


def test_steps_are_bounded_and_what_is_left_is_done_by_whoever_comes_next(tmp_path: Path) -> None:
    owned = Owned(tmp_path, file_rows=8)
    owned.flows(24)
    before = owned.ids()
    assert len(owned.files()) == 48
    first = owned.upkeep.compact(0.0)
    assert (first.made, first.joined, first.left) == (1, 8, 5)
    assert owned.ids() == before
    later = Owned(tmp_path, file_rows=8)  # a new process: nothing but the table is known to it
    assert later.upkeep.compact(60.0).made == 5
    assert len(later.files()) == 6
    assert later.ids() == before
    assert later.upkeep.compact(60.0).made == 0
    # Who follows the table's changes sees none, and the log says what each file holds.
    last = sorted((tmp_path / "_delta_log").glob("*.json"))[-1].read_text()
    assert {action["dataChange"] for line in last.splitlines() for action in json.loads(line).values() if "dataChange" in action} == {False}
    assert {p.rows for p in later.files()} == {8}
    firsts = sorted((p.day, p.first) for p in later.files())
    assert len(set(firsts)) == 6


def test_it_follows_the_batches(tmp_path: Path) -> None:
    owned = Owned(tmp_path, file_rows=1000, compact_every=5, checkpoint_every=4)
    for n in range(11):
        owned.flows(1, first=n, each=1)
        owned.upkeep.after_batch()
    assert len(owned.files()) == 2, "ten files are one, and one came after"
    since = DeltaTable(tmp_path).version() - (tables.last_checkpoint(str(tmp_path), owned.lake) or 0)
    assert since < 4, "as many as lake.checkpoint_every would have made one"
    assert sum(owned.ids().values()) == 11


def test_a_failure_is_no_failure_of_the_batch(tmp_path: Path) -> None:
    owned = Owned(tmp_path, compact_every=1)
    owned.flows(3, each=1)
    lost = Path(tmp_path / owned.files()[1].path)
    content = lost.read_bytes()
    lost.write_bytes(b"damaged")
    assert owned.upkeep.after_batch().made == 0
    lost.write_bytes(content)
    assert owned.upkeep.after_batch().made == 1
    assert sum(owned.ids().values()) == 3


def test_a_file_that_is_not_committed_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = Owned(tmp_path)
    owned.flows(3, each=1)

    def refuses(*_: Any) -> None:
        raise OSError("no commit")

    monkeypatch.setattr(owned.log, "_write", refuses)
    with pytest.raises(OSError, match="no commit"):
        owned.upkeep.compact(1.0)
    assert len(list(tmp_path.rglob("part-*.parquet"))) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from jobs.sinks import parquet
from tests.unit.sinks.test_compaction import Owned

owned = Owned(Path(sys.argv[1]))
write = parquet.Log._write
def dies(log, actions, properties):
    if sys.argv[2] == "after":
        write(log, actions, properties)
    os.kill(os.getpid(), signal.SIGKILL)
parquet.Log._write = dies
owned.upkeep.compact(60.0)
"""


@pytest.mark.parametrize(("when", "files"), [("before", 3), ("after", 1)])
def test_killed_beside_the_commit(tmp_path: Path, when: str, files: int) -> None:
    owned = Owned(tmp_path)
    owned.flows(3, each=1)
    before = owned.ids()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), when], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(owned.files()) == files
    assert owned.ids() == before
    assert len(list(tmp_path.rglob("part-*.parquet"))) == 4
    assert owned.upkeep.compact(60.0).made == (1 if when == "before" else 0)
    assert owned.ids() == before


def test_what_is_old_is_removed_and_the_rest_can_be_read(tmp_path: Path) -> None:
    owned = Owned(tmp_path)
    owned.flows(4, each=1)
    owned.upkeep.compact(60.0)
    (tmp_path / "event_date=2026-03-01" / "part-never-committed.parquet").write_bytes(b"x")
    assert owned.upkeep.clean() == 0, "younger than lake.history_days"
    old = 1_700_000_000
    for file in tmp_path.rglob("*.parquet"):
        os.utime(file, (old, old))
    assert owned.log.vacuum(0, full=False) == 4, "what compaction has replaced"
    assert len(list(tmp_path.rglob("part-*.parquet"))) == 2, "what was never committed is not in the log"
    owned.log.vacuum(0, full=True)
    assert len(list(tmp_path.rglob("part-*.parquet"))) == 1
    assert sum(owned.ids().values()) == 4


def test_the_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    owned = Owned(tmp_path)
    DeltaTable(tmp_path).alter.set_table_properties({"delta.logRetentionDuration": "interval 1 days"})
    owned.flows(6, each=1)
    owned.upkeep.compact(60.0)
    for file in (tmp_path / "_delta_log").iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))
    before = len(list((tmp_path / "_delta_log").glob("*.json")))
    owned.upkeep.clean()
    after = len(list((tmp_path / "_delta_log").glob("*.json")))
    assert after < before
    assert after <= 2, "versions of today"
    assert sum(owned.ids().values()) == 6


def test_questions_about_one_value_find_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "GROUP_ROWS", 256)
    owned = Owned(tmp_path)
    draw = np.random.default_rng(1)
    for n in range(4):
        ends = [{"src_ip": f"10.0.{a}.1", "dst_ip": f"10.1.{b}.1"} for a, b in draw.integers(0, 200, (1024, 2)).tolist()]
        owned.add(parquet.lake_rows(table([{"name": f"{n}/{i}", "at": n, **end} for i, end in enumerate(ends)]), FLOWS))
    before = owned.ids()
    owned.upkeep.compact(60.0)
    assert owned.ids() == before
    (file,) = tmp_path.rglob(owned.files()[0].path)
    meta = pq.read_metadata(file)
    assert meta.num_row_groups == 16
    for column, value in (("src_ip", "10.0.77.1"), ("dst_ip", "10.1.123.1")):
        index = meta.schema.names.index(column)
        spans = [meta.row_group(g).column(index).statistics for g in range(meta.num_row_groups)]
        assert sum(s.min <= value <= s.max for s in spans) <= 8, f"{column}: half of the row groups and more are left"


def test_another_record_type_and_a_column_that_came_later(tmp_path: Path) -> None:
    owned = Owned(tmp_path, READING)
    owned.readings(5, "a")
    owned.readings(5, "b")
    older = pq.read_table(tmp_path / owned.files()[0].path, partitioning=None).drop_columns(["zscore"])
    pq.write_table(older, tmp_path / owned.files()[0].path)
    owned.upkeep.compact(60.0)
    rows = tables.dataset(str(tmp_path)).to_table()
    assert rows.num_rows == 10
    assert rows["zscore"].null_count == 10
    assert rows["device"].to_pylist() == sorted(rows["device"].to_pylist())
