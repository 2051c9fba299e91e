"""What a failing store means: wait and go on, or stop with one line.

A store that is away, restarting, full or busy is **waited for**, without end: the query keeps its place, nothing is lost, and a log line
says so at every attempt. A refusal that waiting cannot mend (password, missing database or permission) stops the query.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from infra.errors import StoreError

T = TypeVar("T")

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 15.0


class StoreUnavailable(Exception):
    """The store cannot be used now; trying again later is right."""


class QueryStopped(Exception):
    """The query was stopped while its store was away. The batch was not applied and will be repeated at the next start."""


class QueryHandle:
    """Link from a running batch to its query: whether somebody has stopped it, and what to name it in logs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.query: Any = None
        self._stop = threading.Event()

    def stop(self) -> None:
        """End any waiting of this query's batches."""
        self._stop.set()

    def active(self) -> bool:
        """False once the query is being stopped (Spark marks it before it waits for the batch to end)."""
        if self._stop.is_set():
            return False
        try:
            return self.query is None or bool(self.query.isActive)
        except Exception:  # the JVM is going away
            return False

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond a stop.

        Raises
        ------
        QueryStopped
            The query is being stopped.
        """
        end = time.monotonic() + seconds
        while True:
            if not self.active():
                raise QueryStopped(f"query {self.name} stopped while its store was away")
            left = end - time.monotonic()
            if left <= 0:
                return
            self._stop.wait(min(left, 0.2))


def until_done(operation: Callable[[], T], handle: QueryHandle, *, store: str, on_wait: Callable[[str], None] = lambda _: None) -> T:
    """Run ``operation`` until the store takes it.

    Parameters
    ----------
    operation
        Must be safe to repeat: a failed attempt may have been applied in part, or wholly without our hearing of it.
    handle
        The query on whose behalf this runs.
    store
        What is waited for, as a person would say it (``PostgreSQL at 127.0.0.1:15432/flowlake``).
    on_wait
        Called with the cause before each wait, for a counter.

    Raises
    ------
    StoreError
        The store refuses for good (passed on from ``operation``).
    QueryStopped
        The query was stopped meanwhile.
    """
    from infra.log import get

    log = get(f"sink.{handle.name}")
    wait, since = FIRST_WAIT_S, None
    while True:
        try:
            result = operation()
        except StoreUnavailable as e:
            since = since or time.monotonic()
            on_wait(str(e))
            log.warning("store away, waiting", store=store, cause=str(e), waited_s=round(time.monotonic() - since, 1), next_try_s=wait)
            handle.wait(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)
            continue
        if since is not None:
            log.info("store back, going on", store=store, away_s=round(time.monotonic() - since, 1))
        return result


__all__ = ["QueryHandle", "QueryStopped", "StoreError", "StoreUnavailable", "until_done"]
