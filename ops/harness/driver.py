"""The demo's stream, as a process of its own: Spark is started and warmed while Kafka and PostgreSQL still start, the queries on a sign.

``python -m ops.harness.driver FOLDER [QUERY...]``: writes its state to ``FOLDER/driver.json`` and one line a batch to
``FOLDER/batches.jsonl``. Waits for ``FOLDER/model.json`` to say ready (compiled code is loaded then, not made), and for ``FOLDER/go``.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import config, log
from infra.errors import FlowlakeError
from ops.harness import link

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STATE, MODEL, GO, BATCHES = "driver.json", "model.json", "go", "batches.jsonl"


class BatchLog:
    """One JSON line for every batch of every query: when, how many rows, how long by phase (ms)."""

    def __init__(self, file: Path) -> None:
        self._out = file.open("a", encoding="utf-8")

    def __call__(self, progress: Mapping[str, Any]) -> None:
        """Note one progress report."""
        line = {
            "at": time.time(),
            "query": progress.get("name"),
            "batch": progress.get("batchId"),
            "rows": progress.get("numInputRows"),
            "ms": progress.get("durationMs"),
        }
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()


def warm(spark: SparkSession) -> None:
    """Start the process from which Python workers are forked: seconds that the first packets would wait otherwise."""
    spark.range(0, 1, 1, 1).mapInArrow(lambda batches: batches, "id long").collect()


def _import_registry() -> None:
    import mlflow  # noqa: F401
    import sklearn.ensemble  # noqa: F401


def main(folder: Path, names: Sequence[str] = ()) -> int:
    """Run the stream (the named queries of any source; none: all of the packets') until told to stop; exit code of the runner."""
    stop = threading.Event()
    link.end_with_parent(stop.set)
    settings = config.load()
    log.setup(settings.log)
    link.write(folder / STATE, {"state": "starting"})
    # MLflow takes seconds to import: beside the JVM's start they cost less.
    model = threading.Thread(target=_import_registry, name="registry", daemon=True)
    model.start()
    from jobs.runtime import runner, session

    spark = session.build(settings, "flowlake-demo")
    try:
        while link.read(folder / MODEL).get("state") != "ready":
            if stop.wait(0.05):
                return 0
        warm(spark)
        model.join()
        link.write(folder / STATE, {"state": "warm"})
        while not (folder / GO).exists():
            if stop.wait(0.05):
                return 0
        link.write(folder / STATE, {"state": "running"})
        queries = [
            runner.StartedQuery(query.name, functools.partial(query.start, spark, settings), query.essential)
            for query in (settings.catalogue.select(names) if names else settings.catalogue.source("packets").queries)
        ]
        return runner.run(spark, queries, stop=stop, observer=BatchLog(folder / BATCHES))
    finally:
        spark.stop()


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
    except FlowlakeError as e:
        link.write(Path(sys.argv[1]) / STATE, {"state": "failed", "error": str(e), "hint": e.hint, "code": e.exit_code})
        print(f"error: {e}\n  {e.hint}", file=sys.stderr)
        if os.environ.get("FLOWLAKE_DEBUG", "") not in ("", "0"):
            raise
        sys.exit(e.exit_code)
