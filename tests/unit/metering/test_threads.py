"""Items taken in a thread of their own."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from infra.console.signals import handled
from jobs.metering.threads import ahead


def test_order_is_kept_and_the_end_is_the_end() -> None:
    with ahead(range(1000)) as items:
        assert list(items) == list(range(1000))


def test_an_error_is_raised_where_it_happened() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    with ahead(source()) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(KeyError, match="three"):
            next(items)


def test_it_runs_ahead_but_not_far() -> None:
    taken: list[int] = []
    third = threading.Event()

    def source() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            if i == 3:
                third.set()
            yield i

    with ahead(source(), depth=2) as items:
        assert next(items) == 0
        assert third.wait(10)  # one handed over, two waiting, one in hand
        assert max(taken) <= 4


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with ahead(source()) as items:
        next(items)
    assert threading.active_count() == before
    assert closed.wait(10)


def test_a_signal_that_does_not_wake_the_waiting_thread_is_handled() -> None:
    """As one that comes just before the waiting begins: Python's handlers run in the main thread alone."""
    told = threading.Event()

    def source() -> Iterator[bool]:
        time.sleep(0.3)  # the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        yield told.wait(20)

    with handled(told.set, [signal.SIGUSR1]), ahead(source()) as items:
        assert next(items)
