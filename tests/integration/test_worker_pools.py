"""Functions of different pools run in different Python workers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from jobs.runtime.workers import pool


def processes(spark: Any) -> set[int]:
    """Of the workers that some tasks run in."""

    def told(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_arrays([pa.array([os.getpid()] * len(batch), pa.int64())], names=["process"])

    return {row.process for row in spark.range(0, 8, 1, 4).mapInArrow(told, "process long").collect()}


def test_a_worker_belongs_to_one_pool(spark: Any) -> None:
    usual = processes(spark)
    with pool(spark, "one"):
        one = processes(spark)
        with pool(spark, "other"):
            other = processes(spark)
        assert processes(spark) & one, "idle workers of the pool are used again"
    assert not one & usual
    assert not other & (one | usual)
    assert processes(spark) & usual
