"""Python workers of Spark: what makes a task cheap."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from infra import log

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from infra.config import Settings

T = TypeVar("T")

#: Tasks of a process after which nothing new is imported any more.
_WARM_TASKS = 3
#: Environment variable of a worker: its pool.
POOL = "FLOWLAKE_WORKERS"
#: And of the parent of the workers: where the sources are, and behind a semicolon for which of them it makes ready
#: (:mod:`jobs.runtime.daemon`).
WARM = "FLOWLAKE_WARM"
LOG = log.get("jobs.runtime.workers")
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


def made_ready(settings: Settings, sources: Iterable[str]) -> str:
    """Value of :data:`WARM`: workers that are ready for these sources."""
    return f"{','.join(settings.catalogue.packages)};{','.join(sources)}"


@contextmanager
def pool(spark: SparkSession, name: str, ready: str = "") -> Iterator[None]:
    """Functions that are handed to Spark meanwhile run in workers of their own, whose parent begins now.

    Spark keeps idle workers by the environment that they were started with, and gives a task the one that has been idle for longest. What
    a stateful step has cached in its worker is found again only where few others take turns: beside a second query the meter's buckets
    changed their worker with every batch, and to read the open flows again took longer than to meter.

    Parameters
    ----------
    spark
        Session.
    name
        Of the pool.
    ready
        For which sources the workers are made ready, as of :func:`made_ready`; empty: for all that run.
    """
    environment = spark.sparkContext.environment
    before = {key: environment.get(key) for key in (POOL, WARM)}
    environment.update({POOL: name, **({WARM: ready} if ready else {})})
    try:
        # Else the first batch waits until everything is imported and the kernels are loaded.
        some = spark.range(0, 1, 1, 1).mapInArrow(lambda batches: batches, "id long")
        threading.Thread(target=_begin, args=(some, name), name=f"workers of {name}", daemon=True).start()
        yield
    finally:
        for key, value in before.items():
            if value is None:
                environment.pop(key, None)
            else:
                environment[key] = value


def _begin(some: DataFrame, name: str) -> None:
    """Have a worker of the pool: the first starts the process from which all are forked."""
    try:
        some.collect()
    except Exception as e:  # the session may have been stopped; and where workers cannot start, the query says so
        LOG.debug("workers are not started beforehand", pool=name, why=str(e))


@contextmanager
def shuffled(spark: SparkSession, partitions: int) -> Iterator[None]:
    """Queries that are started meanwhile shuffle into so many partitions, each of which is a Python worker in every batch."""
    before = str(spark.conf.get("spark.sql.shuffle.partitions"))
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    try:
        yield
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
