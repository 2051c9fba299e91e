"""Signals while a command runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, Queue
from typing import TypeVar

T = TypeVar("T")

#: Seconds after which a thread that waits looks whether there was a signal.
_LOOK_S = 0.1

ENDING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def handled(handler: Callable[[], None], numbers: Sequence[signal.Signals] = ENDING, *, once: bool = False) -> Iterator[None]:
    """Call ``handler`` at these signals while inside; with ``once`` at the first of them only, the next does what it did before."""

    def restore() -> None:
        for number, was in before.items():
            signal.signal(number, was)

    def called(*_: object) -> None:
        handler()
        if once:
            restore()

    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, called)
    try:
        yield
    finally:
        restore()


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end what runs inside as Ctrl-C does: what it started is stopped."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with handled(interrupted, (signal.SIGTERM, signal.SIGHUP)):
        yield


def taken(queue: Queue[T]) -> T:
    """The next item of ``queue``, however long it takes; handlers of signals are called meanwhile.

    ``queue.get()`` may leave out the last: Python calls a handler in the main thread alone, and a signal that comes just before that
    thread begins to wait, or to another thread, does not end the waiting.
    """
    while True:
        try:
            return queue.get(timeout=_LOOK_S)
        except Empty:
            continue
