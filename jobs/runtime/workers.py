"""Python workers of Spark: what makes a task cheap."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")

#: Tasks of a process after which nothing new is imported any more.
_WARM_TASKS = 3
#: Environment variable of a worker: its pool.
POOL = "FLOWLAKE_WORKERS"
_tasks = 0


def settle() -> None:
    """To be called at the end of a task: keeps what the worker has imported out of garbage collection.

    PySpark's daemon runs ``gc.collect()`` after every task. With pandas, Arrow and Numba loaded that walks some 400,000 objects,
    100 ms of CPU, more than most tasks of a micro-batch need. Frozen objects are not walked.
    """
    global _tasks
    if _tasks < _WARM_TASKS:
        _tasks += 1
        gc.collect()
        gc.freeze()


def settled(task: Callable[[Iterable[T]], Iterator[T]]) -> Callable[[Iterable[T]], Iterator[T]]:
    """A function for ``mapInArrow`` that settles its worker when it is done."""

    def run(batches: Iterable[T]) -> Iterator[T]:
        yield from task(batches)
        settle()

    return run


@contextmanager
def pool(spark: SparkSession, name: str) -> Iterator[None]:
    """Functions that are handed to Spark meanwhile run in workers of their own.

    Spark keeps idle workers by the environment that they were started with, and gives a task the one that has been idle for longest. What
    a stateful step has cached in its worker is found again only where few others take turns: beside a second query the meter's buckets
    changed their worker with every batch, and to read the open flows again took longer than to meter.
    """
    environment = spark.sparkContext.environment
    before = environment.get(POOL)
    environment[POOL] = name
    try:
        yield
    finally:
        if before is None:
            del environment[POOL]
        else:
            environment[POOL] = before


@contextmanager
def shuffled(spark: SparkSession, partitions: int) -> Iterator[None]:
    """Queries that are started meanwhile shuffle into so many partitions, each of which is a Python worker in every batch."""
    before = str(spark.conf.get("spark.sql.shuffle.partitions"))
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    try:
        yield
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
