"""Processes that write into the hot table side by side, as the tasks of a stream do: a connection each."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from threading import BrokenBarrierError
from typing import Any

import psutil
import pyarrow as pa

from infra.sections import HotSettings
from infra.stack.local import LOOPBACK
from jobs.hotstore import placing
from jobs.sinks import hot, pgcopy, postgres
from ops.bench.hotrows import HotRows
from schemas.records import HotTable

#: Rows that each writer holds ready before the clock starts.
WINDOW_ROWS = 250_000
#: Seconds within which the slowest writer has its rows ready.
_READY_S = 600.0
_QUERY = "bench"


@dataclass(frozen=True)
class Share:
    """What one writer does in a phase: chunks of so many rows, the first of them ``first`` in the ledger."""

    chunks: Sequence[pa.Table]
    first: int
    task: int


@dataclass(frozen=True)
class Wrote:
    """When one writer began and ended, by the machine's monotonic clock, and what became of its rows.

    ``cpu_s`` is what the writer took, ``server_cpu_s`` what its backend did where that runs on this machine.
    """

    began: float
    ended: float
    rows: int
    inserted: int
    slowest_s: float
    cpu_s: float
    server_cpu_s: float


# -- in the writing process ----------------------------------------------------------------------------------------------------------------

_own: dict[str, Any] = {}


def _begin(settings: HotSettings, table: HotTable, barrier: threading.Barrier) -> None:
    _own.update(settings=settings, table=table, barrier=barrier)


def _write(share: Share) -> Wrote:
    """Wait for the other writers, then write each chunk as a task of the stream does: :func:`jobs.sinks.hot.insert`."""
    connection = postgres.kept(_own["settings"], "flowlake-bench")
    # What a process pays once, a task of a stream paid long ago.
    for chunk in share.chunks[:1]:
        pgcopy.encode(chunk, _own["table"].types)
    try:
        _own["barrier"].wait(_READY_S)
    except BrokenBarrierError as e:
        raise RuntimeError("another writer has failed") from e
    began = last = time.monotonic()
    cpu, server = time.process_time(), _backend_cpu(connection)
    slowest, rows, inserted = 0.0, 0, 0
    for number, chunk in enumerate(share.chunks):
        inserted += _insert(connection, chunk, (_QUERY, share.first + number, share.task, f"bench/{share.first + number}"))
        rows += chunk.num_rows
        now = time.monotonic()
        slowest, last = max(slowest, now - last), now
    return Wrote(began, last, rows, inserted, slowest, time.process_time() - cpu, _backend_cpu(connection) - server)


def _backend_cpu(connection: Any) -> float:
    """Seconds of CPU that the server's process of a connection has taken; 0 of one that is not on this machine."""
    if _own["settings"].host not in LOOPBACK:
        return 0.0
    try:
        times = psutil.Process(connection.info.backend_pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _insert(connection: Any, rows: pa.Table, ledger: tuple[str, int, int, str]) -> int:
    """What :class:`jobs.sinks.hot.Writer` does with rows."""
    table: HotTable = _own["table"]
    placing.ready(connection, _own["settings"], table, rows[table.time])
    return hot.insert(connection, rows, table, ledger)


def _load(rows: HotRows, numbers: Sequence[int]) -> int:
    """Write whole blocks."""
    connection = postgres.kept(_own["settings"], "flowlake-bench")
    return sum(_insert(connection, rows.block(number), (f"{_QUERY}-load-{rows.seed}", number, 0, str(number))) for number in numbers)


# -- in the benchmark's ------------------------------------------------------------------------------------------------------------------


class Writers:
    """So many processes with a connection each; a context manager."""

    def __init__(self, settings: HotSettings, table: HotTable, count: int) -> None:
        # Started afresh, not forked: Arrow's and the client's threads and connections do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.count = count
        self._barrier = context.Barrier(count)
        self._pool = ProcessPoolExecutor(count, context, _begin, (settings, table, self._barrier))

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._barrier.abort()
        self._pool.shutdown(cancel_futures=True)

    def write(self, shares: Sequence[Share]) -> list[Wrote]:
        """Write at once, one share a writer; they begin together.

        Raises
        ------
        psycopg2.Error, RuntimeError
            A writer failed.
        """
        if len(shares) != self.count:
            raise ValueError(f"{len(shares)} shares for {self.count} writers")
        waiting: list[Future[Wrote]] = [self._pool.submit(_write, share) for share in shares]
        for one in as_completed(waiting):
            if one.exception() is not None:
                self._barrier.abort()
        return [one.result() for one in waiting]

    def load(self, rows: HotRows, blocks: int = 4) -> Iterator[int]:
        """Write all rows, a few blocks a task; yields how many are there so far."""
        numbers = rows.blocks()
        waiting = [self._pool.submit(_load, rows, numbers[i : i + blocks]) for i in range(0, len(numbers), blocks)]
        done = 0
        for one in as_completed(waiting):
            done += one.result()
            yield done
