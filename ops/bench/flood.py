"""A million one-packet flows in ten seconds, with ordinary traffic beside them: memory, evictions, and what happens to ordinary flows."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.config import PREFIX, Settings
from jobs.metering.settings import MeterSettings
from ops.bench.meter import meter
from ops.bench.place import machine
from ops.bench.processes import flowlake, measure

#: Bound of the open flows in the second run; the flood is some twenty times as large.
BOUND = 50_000


def run(settings: Settings, *, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Meter the preset ``flood-1m`` twice: with room for every flow, and with a bound far below the flood.

    Returns
    -------
    dict
        ``roomy`` and ``bounded``: seconds, peak memory (MiB), flows, ``evicted``; ``ordinary_flows``, how many of them have the same
        record in both (``unharmed``) and how many were evicted; the machine.
    """
    facts = machine()
    folder = Path(tempfile.mkdtemp(prefix="flowlake-bench-"))
    try:
        capture, truth = folder / "flood.pcap", folder / "flood.truth.parquet"
        made = measure(flowlake("sensor", "generate", "--preset", "flood-1m", "--out", capture, "--truth", truth, "--json"))
        say(f"{made.said['packets']:,} packets, {made.said['flows']:,} flows")
        tables, result = {}, {"packets": made.said["packets"], "bound": BOUND}
        meter(capture, folder / "warm.parquet")
        for name, bound in (("roomy", settings.section(MeterSettings).max_open_flows), ("bounded", BOUND)):
            out = folder / f"{name}.parquet"
            os.environ[f"{PREFIX}METER__MAX_OPEN_FLOWS"] = str(bound)
            try:
                run_ = meter(capture, out, "--labels", str(truth))
            finally:
                del os.environ[f"{PREFIX}METER__MAX_OPEN_FLOWS"]
            tables[name] = pq.read_table(out)
            evicted = run_.said["end_reasons"].get("evicted", 0)
            result[name] = {**run_.as_dict(), "flows": run_.said["flows"], "evicted": evicted}
            say(f"{name}: {run_.peak_mb} MB, {evicted:,} evicted")
        return {**result, **_ordinary(tables["roomy"], tables["bounded"]), "machine": facts}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ordinary(roomy: pa.Table, bounded: pa.Table) -> dict[str, int]:
    """Flows that are no part of the flood: all, those whose record the bound did not change, those that it evicted."""
    keep = [name for name in roomy.column_names if name != "Label"]
    mine = roomy.filter(pc.not_equal(roomy["Label"], "SYN_FLOOD")).select(keep)
    other = bounded.filter(pc.is_in(bounded["flow_id"], mine["flow_id"])).select(keep)
    mine, other = mine.sort_by("flow_id"), other.sort_by("flow_id")
    rows = dict(zip(other["flow_id"].to_pylist(), other.to_pylist(), strict=True))
    same = sum(rows.get(row["flow_id"]) == row for row in mine.to_pylist())
    evicted = pc.sum(pc.equal(other["end_reason"], "evicted")).as_py() or 0
    return {"ordinary_flows": mine.num_rows, "ordinary_unharmed": same, "ordinary_evicted": evicted}
