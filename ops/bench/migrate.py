"""How fast ``flowlake migrate csv`` moves rows into the hot store and the lake, and how much memory it takes: files of two sizes.

The rows are like those of the reference: a time, its 20 features, label and confidence; some 270 bytes each. The command runs as a program
of its own against a PostgreSQL of its own, and its peak memory is what the kernel says of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from infra.config import ROOT, Settings
from infra.errors import StackError, one_line
from infra.stack.postgres import Postgres
from ops.bench.place import machine, stack
from schemas.cicflowcsv import CSV
from schemas.features import ALL_FEATURES

_CHUNK = 200_000
#: 2026-03-01 12:00 in microseconds; rows are a millisecond apart on the average.
_START_US, _STEP_US = 1_772_366_400_000_000, 2000


def run(settings: Settings, *, rows: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure with ``rows`` rows, and with a quarter of them.

    Raises
    ------
    StackError
        The command failed.
    """
    facts, results = machine(), []
    for count in (rows // 4, rows):
        with stack(settings) as (own, place):
            file = place.base.parent / "flows.csv"
            write(file, count)
            server = Postgres(place.base.parent / "postgres", own.hot.port)
            server.start()
            try:
                server.create_database(own.hot.database)
                for into in ("hot", "lake"):
                    say(f"{count:,} rows, {file.stat().st_size >> 20:,} MiB, into {into}")
                    results.append(
                        {"rows": count, "mib": file.stat().st_size >> 20, "into": into, **_moved(own, place.base.parent, file, into)}
                    )
            finally:
                server.stop()
    brief = {f"{r['into']}_{r['rows']}": {name: r[name] for name in ("rows_per_second", "cpu_seconds", "peak_mib")} for r in results}
    return {**brief, "runs": results, "machine": facts}


def _moved(own: Settings, folder: Path, file: Path, into: str) -> dict[str, Any]:
    """Run the command; rows a second as it reports them, and its peak memory."""
    env = {
        **os.environ,
        "FLOWLAKE_HOT__HOST": own.hot.host,
        "FLOWLAKE_HOT__PORT": str(own.hot.port),
        "FLOWLAKE_HOT__DATABASE": own.hot.database,
        "FLOWLAKE_HOT__RETENTION_DAYS": "36500",
        "FLOWLAKE_LAKE__PATH": str(folder / "lake" / "flows"),
        "FLOWLAKE_PATHS__VAR": str(folder / "var"),
        "PYTHONPATH": str(ROOT),
    }
    out = folder / "report.json"
    arguments = [sys.executable, "-m", "ops.cli.main", "migrate", "csv", str(file), "--into", into, "--json"]
    with out.open("wb") as report, (folder / "said").open("wb") as said:
        pid = os.posix_spawn(
            sys.executable,
            arguments,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, report.fileno(), 1), (os.POSIX_SPAWN_DUP2, said.fileno(), 2)],
        )
        _, status, usage = os.wait4(pid, 0)
    if status:
        raise StackError(f"flowlake migrate csv failed: {one_line((folder / 'said').read_text(errors='replace'))}")
    (told,) = json.loads(out.read_text())["files"]
    seconds = usage.ru_utime + usage.ru_stime
    return {
        "rows_per_second": told["rows_per_second"],
        "seconds": told["seconds"],
        "cpu_seconds": round(seconds, 1),
        "peak_mib": usage.ru_maxrss >> 10,
        "closes": told["closes"],
    }


def write(file: Path, rows: int, seed: int = 0) -> None:
    """A CSV file of so many rows, in the reference's columns."""
    rng = np.random.default_rng(seed)
    cic = {feature.name: feature for feature in ALL_FEATURES}
    _, *features, _, _ = CSV.layouts["reference"]
    at = _START_US
    with file.open("wb") as out:
        for start in range(0, rows, _CHUNK):
            count = min(_CHUNK, rows - start)
            times = at + np.cumsum(rng.integers(1, _STEP_US, count))
            at = int(times[-1])
            columns: dict[str, Any] = {"Timestamp": pa.array(times).cast(pa.timestamp("us")).cast(pa.string())}
            for name in features:
                values = np.round(rng.lognormal(5, 2, count), 0 if cic[name].kind == "int" else 6)
                columns[cic[name].cic] = pa.array([f"{value:.1f}" for value in values] if cic[name].kind == "int" else values)
            columns["Predicted_Label"] = (rng.random(count) < 0.1).astype(np.int8)
            columns["Confidence_Score"] = np.round(rng.random(count), 6)
            options = arrow_csv.WriteOptions(include_header=start == 0, quoting_style="none")
            arrow_csv.write_csv(pa.table(columns), out, options)
