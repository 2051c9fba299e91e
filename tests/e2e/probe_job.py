"""A job for the tests of submitting: says where driver and workers found the project, and uses what a real job uses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pyarrow as pa


def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Runs in the workers: one row that says where modules were found there."""
    rows = sum(batch.num_rows for batch in batches)
    yield pa.RecordBatch.from_pydict({"found": [json.dumps({**where(), "rows": rows})]})


def where() -> dict[str, object]:
    """Where this process finds the project, and whether it would find it without what was shipped."""
    import importlib.machinery
    import os
    import sys

    import schemas.flows
    import sensors.packets.decode

    others = [p for p in sys.path if ".zip" not in p]
    return {
        "files": [sensors.packets.decode.__file__, schemas.flows.__file__],
        "otherwise": [name for name in ("jobs", "schemas", "infra") if importlib.machinery.PathFinder.find_spec(name, others)],
        "finders": [str(f) for f in sys.meta_path if "editable" in str(f)],
        "python": sys.executable,
        "cwd": os.getcwd(),
        "pid": os.getpid(),
    }


def main() -> None:
    from infra import config
    from jobs.runtime import session

    settings = config.load()
    spark = session.build(settings, "probe")
    workers = [json.loads(row.found) for row in spark.range(0, 1000, 1, 4).mapInArrow(look, "found string").collect()]
    table = sys.argv[1]
    spark.range(0, 100, 1, 2).write.format("delta").mode("overwrite").save(table)
    result = {
        "driver": where(),
        "workers": workers,
        "delta_rows": spark.read.format("delta").load(table).count(),
        "prefix": settings.kafka.topic_prefix,
        "master": spark.sparkContext.master,
        "partitions": spark.conf.get("spark.sql.shuffle.partitions"),
        "executor_memory": spark.sparkContext.getConf().get("spark.executor.memory", ""),
        "arguments": sys.argv[1:],
    }
    spark.stop()
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
