"""Python workers of Spark: what makes a task cheap."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Tasks of a process after which nothing new is imported any more.
_WARM_TASKS = 3
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
