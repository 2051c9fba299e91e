"""Signals while a command runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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
