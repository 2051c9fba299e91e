"""Stages of the batch meter side by side: reading, metering and writing each in a thread.

The compiled kernels and Arrow release the interpreter's lock, so the stages do run at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from typing import Any, TypeVar

from infra.console.signals import taken

T = TypeVar("T")

#: Items that may wait between two stages: enough that neither waits for the other's hiccups, little memory.
_DEPTH = 4
#: How often a thread that waits looks whether it is still wanted, seconds.
_LOOK_S = 0.1


@contextmanager
def ahead(items: Iterable[T], depth: int = _DEPTH) -> Iterator[Iterator[T]]:
    """Take ``items`` from their source in a thread of their own, at most ``depth`` in advance; order is kept.

    What the source raises is raised here, at the item where it happened. When the block is left early, the thread ends at its next item.
    """
    queue: Queue[tuple[str, Any]] = Queue(depth)
    unwanted = threading.Event()

    def hand_over(message: tuple[str, Any]) -> None:
        while not unwanted.is_set():
            try:
                return queue.put(message, timeout=_LOOK_S)
            except Full:
                continue

    def take() -> None:
        try:
            for item in items:
                hand_over(("item", item))
                if unwanted.is_set():
                    return
            hand_over(("end", None))
        except BaseException as e:  # raised again by the reader
            hand_over(("error", e))

    def give() -> Iterator[T]:
        while True:
            kind, value = taken(queue)
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    thread = threading.Thread(target=take, name="ahead", daemon=True)
    thread.start()
    try:
        yield give()
    finally:
        unwanted.set()
        while thread.is_alive():
            try:
                queue.get(timeout=_LOOK_S)
            except Empty:
                continue
        thread.join()
