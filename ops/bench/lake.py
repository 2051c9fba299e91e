"""What compaction of the lake saves: bytes that must be read for usual questions, and the cost of a commit as the log grows."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.sections import LakeSettings
from jobs.sinks import parquet
from jobs.sinks.upkeep import Upkeep
from ops.bench.place import machine
from schemas.packets import FLOWS

#: Hosts, of which few send most (Zipf's law with this exponent).
_HOSTS, _ZIPF = 4096, 1.3
_START = datetime(2026, 3, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000


def run(rows: int, batches: int, commits: int, *, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Write flows of one day in batches, ask, compact, ask again; then commit on and on.

    Returns
    -------
    dict
        ``before``, ``after``: question -> share of files and of bytes that its filter leaves; ``compaction``: rows a second;
        ``log``: commits -> ms a commit and ms to open the table; the machine.
    """
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="flowlake-bench-") as folder:
        lake = LakeSettings(path=folder)
        log = _table(folder, lake)
        draw = np.random.default_rng(1)
        for n in range(batches):
            _add(log, _flows(draw, rows // batches, n, batches), lake, n)
        say(f"{rows:,} flows in {batches} batches")
        before = _asked(log, folder)
        began = time.perf_counter()
        done = Upkeep(FLOWS, folder, lake, log).compact(3600)
        took = time.perf_counter() - began
        say(f"{done.joined} files are {done.made}")
        after = _asked(log, folder)
    with tempfile.TemporaryDirectory(prefix="flowlake-bench-") as folder:
        grown = _grow(folder, LakeSettings(path=folder), commits, say)
    return {"before": before, "after": after, "compaction": {"rows_per_s": round(rows / took)}, "log": grown, "machine": facts}


def _table(folder: str, lake: LakeSettings) -> parquet.Log:
    from deltalake import DeltaTable

    schema = pa.schema([field.with_nullable(True) for field in parquet.lake_schema(FLOWS)])
    counted = {"delta.dataSkippingStatsColumns": ",".join(parquet.statistics_of(FLOWS))}
    DeltaTable.create(folder, schema, partition_by=[parquet.PARTITION], configuration=counted)
    return parquet.Log(folder, lake)


def _flows(draw: np.random.Generator, count: int, batch: int, batches: int) -> pa.Table:
    """Flows of a slice of the day; columns that no question here asks for are noise."""

    def column(field: pa.Field) -> pa.Array:
        if field.name == FLOWS.key:
            return pa.array([str(uuid.UUID(bytes=draw.bytes(16))) for _ in range(count)])
        if field.name in ("src_ip", "dst_ip"):
            hosts = np.minimum(draw.zipf(_ZIPF, count) - 1, _HOSTS - 1)
            return pa.array([f"10.{host >> 8}.{host & 255}.1" for host in hosts.tolist()])
        if pa.types.is_timestamp(field.type):
            first = int(_START.timestamp() * 1e6) + batch * _DAY_US // batches
            return pa.array(np.sort(first + draw.integers(0, _DAY_US // batches, count)), field.type)
        if pa.types.is_date(field.type):
            return pa.array([_START.date()] * count)
        if pa.types.is_string(field.type):
            return pa.array(draw.choice(["a", "b", "c"], count))
        if pa.types.is_boolean(field.type):
            return pa.array(np.ones(count, bool))
        return pa.array(np.round(draw.exponential(50, count), 2)).cast(field.type, safe=False)

    schema = parquet.lake_schema(FLOWS)
    return pa.table([column(field) for field in schema], schema=schema)


def _add(log: parquet.Log, rows: pa.Table, lake: LakeSettings, version: int) -> None:
    files = [f for told in parquet.write([rows], lake.path, lake, parquet.statistics_of(FLOWS)) for f in told.to_pylist()]
    log.commit([(f["path"], f["size"], f["date"], f["stats"]) for f in files], "bench", version)


def _asked(log: parquet.Log, folder: str) -> dict[str, dict[str, float]]:
    """For each question the share of files by the table's log, and of bytes by the row groups' least and largest values."""
    host = "10.2.188.1"
    questions = {
        "one hour": ("start_time", _START + timedelta(hours=5), _START + timedelta(hours=6)),
        "one source": ("src_ip", host, host),
        "one destination": ("dst_ip", host, host),
    }
    actions = pa.table(log.table().get_add_actions(flatten=True)).to_pylist()
    total = sum(action["size_bytes"] for action in actions)
    found = {}
    for question, (column, low, high) in questions.items():
        chosen = [action for action in actions if action[f"min.{column}"] <= high and action[f"max.{column}"] >= low]
        read = sum(_bytes(Path(folder) / action["path"], column, low, high) for action in chosen)
        found[question] = {"files": round(len(chosen) / len(actions), 3), "bytes": round(read / total, 3)}
    return found


def _bytes(file: Path, column: str, low: Any, high: Any) -> int:
    meta = pq.read_metadata(file)
    place = meta.schema.to_arrow_schema().get_field_index(column)
    groups = [meta.row_group(n) for n in range(meta.num_row_groups)]
    kept = [g for g in groups if g.column(place).statistics.min <= high and g.column(place).statistics.max >= low]
    return sum(g.column(n).total_compressed_size for g in kept for n in range(g.num_columns))


def _grow(folder: str, lake: LakeSettings, commits: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Commits of one file each, with the checkpoints that a table's owner writes."""
    from deltalake import DeltaTable

    log, found = _table(folder, lake), {}
    began = time.perf_counter()
    for n in range(1, commits + 1):
        log.commit([(f"{parquet.PARTITION}={_START.date()}/{n}.parquet", 1000, _START.date(), '{"numRecords":1}')], "bench", n)
        if log.since_checkpoint() >= lake.checkpoint_every:
            log.checkpoint()
        if n % max(commits // 5, 1) == 0:
            took = (time.perf_counter() - began) / max(commits // 5, 1)
            opening = time.perf_counter()
            DeltaTable(folder)
            opened = time.perf_counter() - opening
            found[str(n)] = {"commit_ms": round(took * 1000, 1), "open_ms": round(opened * 1000, 1)}
            say(f"{n:,} commits: {took * 1000:.1f} ms each, {opened * 1000:.1f} ms to open")
            began = time.perf_counter()
    return found
