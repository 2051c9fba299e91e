"""Several streaming queries in one driver: each fails, waits and starts again by itself; all stop together when told to."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from infra import log
from infra.errors import BrokerError, CaptureError, CheckpointError, ConfigError, FlowlakeError, ModelError, StackError, StoreError
from jobs.runtime import causes, listener

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

LOG = log.get("jobs.runtime.runner")

#: Causes that time does not mend: the query is not started again.
PERMANENT = (ConfigError, CaptureError, ModelError, StackError, CheckpointError)
#: Causes that pass once a query has run: a store or the broker is away, or refuses until somebody mends it. Tried again for as long as it
#: takes. At the very first start they are somebody's mistake more often than not, and told at once.
TRANSIENT = (StoreError, BrokerError)
_SHUT_DOWN = "SparkContext was shut down"

#: New objects between two collections. A batch of alerts makes some 10,000 and keeps most: looking after each 700 finds nothing.
_YOUNG = 20_000

#: Exit code of a driver that was told twice to stop (128 + SIGINT, as a shell has it).
INTERRUPTED = 130


@dataclass(frozen=True)
class StartedQuery:
    """One query of a driver.

    Parameters
    ----------
    name : str
        Shown in logs and metrics; the same as its ``queryName``.
    start : callable
        Builds the query and starts it; called again after a failure.
    essential : bool
        When it ends for good, the others are stopped too.
    fault : callable
        Asked while it runs: why it must not go on, or None.
    """

    name: str
    start: Callable[[], StreamingQuery]
    essential: bool = False
    fault: Callable[[], FlowlakeError | None] = lambda: None


@dataclass(frozen=True)
class Restart:
    """How a failed query is started again. Times in seconds.

    The wait doubles from ``first_s`` to ``most_s`` (half of it random, so that queries do not knock at a store together) and begins anew
    after a batch went through. An unknown error that comes ``attempts`` times in a row without a batch in between is taken for permanent;
    one whose cause passes by itself (:data:`TRANSIENT`) never is.
    """

    first_s: float = 1.0
    most_s: float = 30.0
    attempts: int = 5

    def wait(self, failures: int) -> float:
        """Seconds before the next start, after so many failures in a row (1 or more)."""
        longest = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return longest * (0.5 + 0.5 * random.random())


@dataclass
class _Running:
    """What the runner knows of one query."""

    query: StartedQuery
    handle: StreamingQuery | None = None
    failures: int = 0
    due: float = 0.0
    dead: BaseException | None = None
    ended: bool = False
    begun: bool = False  # it was started once: what it needs was there

    @property
    def stops_all(self) -> bool:
        """Whether its end is the end of the driver: the others live on it, or the driver was set up wrongly."""
        return self.dead is not None and (self.query.essential or not self.begun)


def run(
    spark: SparkSession,
    queries: Sequence[StartedQuery],
    *,
    restart: Restart | None = None,
    stop: threading.Event | None = None,
    observer: listener.Observer | None = None,
    poll_s: float = 1.0,
) -> int:
    """Start the queries and stay until they are stopped or have ended.

    SIGTERM and SIGINT stop all of them after their current batch, a second one in the midst of it, a third ends the process. A query that
    ends by itself (``trigger(availableNow=True)``) is done. One that cannot even be started for a cause we know (no broker, a database that
    refuses, no model) ends all of them: the driver does not begin half. Once it has run, it is started again, however often its store goes
    away.

    Parameters
    ----------
    spark : SparkSession
        Their session; metrics are attached to it.
    queries : sequence of StartedQuery
        At least one; names are unique.
    restart : Restart, optional
        Waiting times.
    stop : threading.Event, optional
        Set it to stop, as a signal would.
    observer : callable, optional
        Called with the progress report of every batch (Spark's JSON).
    poll_s : float
        Seconds between two looks at the queries.

    Returns
    -------
    int
        0, the exit code of the first query that ended for good, or :data:`INTERRUPTED` after a second signal.
    """
    restart = restart or Restart()
    stop = stop or threading.Event()
    states = [_Running(q) for q in queries]
    frozen = False
    hurry = threading.Event()
    watching = listener.attach(spark, observer)
    with _signals(stop, hurry):
        try:
            while not stop.is_set():
                for state in states:
                    _look(state, restart)
                    if state.stops_all:
                        break  # nothing further is begun
                if any(s.stops_all for s in states) or all(s.dead or s.ended for s in states):
                    break
                if not frozen:
                    # What was imported to come here lives as long as the driver: collections need not walk it, a fifth of its CPU.
                    gc.collect()
                    gc.freeze()
                    gc.set_threshold(_YOUNG, 20, 10)
                    frozen = True
                stop.wait(poll_s)
            _stop(states, hurry)
        finally:
            spark.streams.removeListener(watching)
    if hurry.is_set():
        LOG.warning("interrupted: batches that were running are done again at the next start")
    ends = sorted((s for s in states if s.dead), key=lambda s: not s.stops_all)
    return report(ends[0].dead) if ends and ends[0].dead else INTERRUPTED if hurry.is_set() else 0


def shut_down(spark: SparkSession) -> None:
    """Stop the session. A signal does not break into that; a second one ends the process."""
    with _signals(threading.Event()):
        spark.stop()


def exit_code(error: BaseException) -> int:
    """Exit code of a failure: that of its FlowlakeError class, else 1."""
    return (causes.kind(error) or FlowlakeError).exit_code


def report(error: BaseException) -> int:
    """Tell a failure on standard error, one line and the way out; the stack trace only with ``FLOWLAKE_DEBUG``. Returns the exit code."""
    print(f"error: {causes.summary(error)}", file=sys.stderr)
    if hint := getattr(error, "hint", ""):
        print(f"  {hint}", file=sys.stderr)
    if os.environ.get("FLOWLAKE_DEBUG"):
        traceback.print_exception(error)
    return exit_code(error)


def _look(state: _Running, restart: Restart) -> None:
    """One look at one query: start it when due, take note when it ended."""
    if state.dead or state.ended:
        return
    if state.handle is None:
        if monotonic() < state.due:
            return
        try:
            state.handle = state.query.start()
            state.begun = True
        except Exception as e:
            _failed(state, e, restart)
        return
    if state.failures and _progressed(state.handle):
        LOG.info("query goes on", query=state.query.name, failures=state.failures)
        state.failures = 0
    if (fault := state.query.fault()) is not None:
        _halt(state.query.name, state.handle)
        state.handle = None
        _failed(state, fault, restart)
        return
    if not state.handle.isActive:
        error = state.handle.exception()
        state.handle = None
        if error is None:
            state.ended = True
            LOG.info("query stopped", query=state.query.name)
        else:
            _failed(state, error, restart)


def _progressed(handle: StreamingQuery) -> bool:
    """Whether this run of the query has committed a batch (a failing one reports no progress)."""
    return handle.lastProgress is not None


def _failed(state: _Running, error: BaseException, restart: Restart) -> None:
    state.failures += 1
    cause = causes.kind(error) or type(None)
    why = causes.summary(error)
    hint = getattr(error, "hint", "")
    if _SHUT_DOWN in why:
        # SIGTERM to spark-submit ends the JVM, which is the parent there, under the query: a stop, not a failure.
        LOG.info("Spark was shut down", query=state.query.name)
        state.ended = True
        return
    never_ran = not state.begun and issubclass(cause, FlowlakeError)
    if never_ran or issubclass(cause, PERMANENT) or (not issubclass(cause, TRANSIENT) and state.failures >= restart.attempts):
        state.dead = error
        LOG.error("query ended for good", query=state.query.name, cause=why, failures=state.failures, **({"hint": hint} if hint else {}))
    else:
        wait = restart.wait(state.failures)
        state.due = monotonic() + wait
        LOG.warning("query failed, starts again", query=state.query.name, cause=why, failures=state.failures, wait_s=round(wait, 1))
    if os.environ.get("FLOWLAKE_DEBUG"):
        traceback.print_exception(error)


def _halt(name: str, handle: StreamingQuery) -> None:
    """Stop a query at once, in the midst of its batch."""
    try:
        handle.stop()
        # Told here, not by the listener: Spark hands it the event some time after, when the driver may listen no more.
        LOG.info("query stopped", query=name)
    except Exception as e:
        LOG.warning("query did not stop cleanly", query=name, cause=causes.summary(e))


def _stop(states: Sequence[_Running], hurry: threading.Event, patience_s: float = 30.0) -> None:
    """Stop what runs, all at once, each after its current batch, or in the midst of it when ``hurry`` is set.

    ``StreamingQuery.stop`` alone cancels a running batch. So each is first given up to ``patience_s`` to come between two batches, or
    to end the one that was running: the next, just begun, is then cancelled, and done again after a restart.
    """
    if any(s.handle is not None for s in states):
        LOG.info("stopping, each query after its current batch; a second signal interrupts them")

    def one(name: str, handle: StreamingQuery) -> None:
        try:
            before = _batch(handle)
            until = monotonic() + patience_s
            while handle.isActive and handle.status["isTriggerActive"] and _batch(handle) == before and monotonic() < until:
                if hurry.wait(0.02):
                    break
        except Exception as e:
            LOG.warning("query did not end its batch", query=name, cause=causes.summary(e))
        _halt(name, handle)

    threads = [
        threading.Thread(target=one, args=(s.query.name, s.handle), name=f"stop-{s.query.name}") for s in states if s.handle is not None
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _batch(handle: StreamingQuery) -> int:
    """Number of the last batch that ended; -1 before the first."""
    progress = handle.lastProgress
    return -1 if progress is None else int(progress["batchId"])


@contextmanager
def _signals(*steps: threading.Event) -> Iterator[None]:
    """Each SIGTERM or SIGINT while inside sets the next of the events; one too many ends the process at once.

    None of them raises: an exception within a call to the JVM would leave that call half done, and py4j prints its stack trace.
    Left alone outside the main thread, where Python allows no handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(_number: int, _frame: Any) -> None:
        step = next((step for step in steps if not step.is_set()), None)
        if step is None:
            os.write(2, b"interrupted\n")
            os._exit(INTERRUPTED)
        step.set()

    old = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)
