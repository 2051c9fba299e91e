"""How fast rows go into the hot table through the stream's own writer (:func:`jobs.sinks.hot.insert`), late and replayed ones included."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import StoreError
from ops.bench import hotrows, hotstore
from ops.bench.hotrows import HotRows
from ops.bench.place import machine
from ops.bench.writers import WINDOW_ROWS, Share, Writers, Wrote
from schemas.network_flows import NETWORK_FLOWS
from schemas.records import HotTable

#: Rows a second that the hot store is to take.
GOAL = 100_000
#: Of the mixed phase: the share of its rows that are of earlier days, and of its batches that have been written before.
LATE, REPLAYED = 0.05, 0.10
#: A batch comes again after so many others.
_BEFORE = 6
#: Late rows are of the days before, up to so many.
_DAYS = 30
_TABLE = NETWORK_FLOWS


@dataclass(frozen=True)
class Phase:
    """One measurement: its batches, and how many of its rows are new to the table."""

    name: str
    batches: Callable[[], Iterator[pa.Table]]
    fresh: int


def run(
    settings: Settings,
    *,
    rows: int,
    batch: int,
    dsn: str = "",
    writers: int = 2,
    seed: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write rows of the last minutes, then late ones, then some again, then all of these mixed.

    Parameters
    ----------
    settings
        Of meter and sensor; the hot store is one of the benchmark's own.
    rows
        Of the phases ``new`` and ``mixed``; ``late`` and ``replayed`` have a fifth.
    batch
        Rows of one transaction.
    dsn
        A server to measure instead of the embedded one.
    writers
        Processes with a connection each.
    seed
        Of the rows.
    say
        Told the progress.

    Returns
    -------
    dict
        By phase rows, rows that were new, seconds, rows/s, us of CPU a row (writer, and the server's processes
        where it is on this machine), seconds of the slowest transaction; ``goal`` and whether ``mixed`` meets it;
        server and machine.

    Raises
    ------
    StoreError
        At the end a row is missing, or there twice.
    """
    facts = machine()
    pool = hotrows.generated(settings, seed, rows)
    made = hotrows.told(say, pool)
    with hotstore.store(settings, dsn) as own:
        hotstore.prepare(own, _TABLE)
        phases = hotstore.interruptible(own, partial(_measured, own, Plan(pool, rows, batch, seed), writers, say))
        server = hotstore.facts(own)
    rate = phases["mixed"]["rows_per_s"]
    return {
        "phases": phases,
        "goal_rows_per_s": GOAL,
        "met": rate >= GOAL,
        "rows_of_a_batch": batch,
        "writers": writers,
        **made,
        "server": server,
        "machine": facts,
    }


def _measured(settings: Settings, plan: Plan, writers: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """All phases, and whether every row is there."""
    with Writers(settings.hot, _TABLE, writers) as workers:
        phases = {phase.name: _measure(workers, phase, number, say) for number, phase in enumerate(plan.phases())}
    check(settings, _TABLE, plan)
    return phases


class Plan:
    """Which rows each phase writes. Rows of the table are ``current``, in the order of time, and ``late``, of the days before."""

    def __init__(self, pool: pa.Table, rows: int, batch: int, seed: int) -> None:
        # As many rows as the goal is of each second, up to now.
        until = datetime.now(UTC).replace(microsecond=0)
        begin = until - timedelta(seconds=2 * rows / GOAL)
        self._rows, self._batch, self._seed = rows, batch, seed
        self._again = round(rows * REPLAYED)
        self._late_in_mixed = round(rows * LATE)
        self.current = HotRows(pool, begin, until, 2 * rows - self._again - self._late_in_mixed, seed, even=True)
        self.late = HotRows(pool, begin - timedelta(days=_DAYS), begin, rows // 5 + self._late_in_mixed, seed + 1)

    @property
    def total(self) -> int:
        """Rows that are in the table at the end."""
        return len(self.current) + len(self.late)

    def phases(self) -> list[Phase]:
        """In their order; batches are made when they are wanted."""
        fifth = self._rows // 5
        return [
            Phase("new", partial(self._cut, self.current, 0, self._rows), self._rows),
            Phase("late", partial(self._shuffled, 0, fifth), fifth),
            Phase("replayed", partial(self._cut, self.current, self._rows - fifth, self._rows), 0),
            Phase("mixed", self._mixed, self._rows - self._again),
        ]

    def _cut(self, rows: HotRows, begin: int, end: int) -> Iterator[pa.Table]:
        """Rows ``begin`` to ``end`` in batches."""
        for at in range(begin, end, self._batch):
            yield _slice(rows, at, min(at + self._batch, end))

    def _shuffled(self, begin: int, end: int) -> Iterator[pa.Table]:
        """Late rows come in no order: a batch has rows of all the days."""
        late = _slice(self.late, begin, end)
        order = np.random.default_rng([self._seed, begin]).permutation(end - begin)
        for at in range(0, end - begin, self._batch):
            yield late.take(pa.array(order[at : at + self._batch]))

    def _mixed(self) -> Iterator[pa.Table]:
        """Batches of new rows with some late ones in each; every tenth row comes in a batch that has been written before."""
        fresh = len(self.current) - self._rows
        size = max(1, round(self._batch * (1 - LATE)))
        late = self._shuffled_stream()
        written: deque[pa.Table] = deque()
        owed = 0.0
        for at in range(self._rows, self._rows + fresh, size):
            current = _slice(self.current, at, min(at + size, self._rows + fresh))
            late_rows = round(self._late_in_mixed * (at - self._rows + current.num_rows) / fresh) - late.given
            batch = pa.concat_tables([current, late.take(late_rows)])
            yield batch
            owed += batch.num_rows * self._again / (self._rows - self._again)
            if len(written) == _BEFORE and owed >= written[0].num_rows:
                yield written[0]
                owed -= written[0].num_rows
            written.append(batch)
            if len(written) > _BEFORE:
                written.popleft()

    def _shuffled_stream(self) -> LateRows:
        fifth = self._rows // 5
        rows = _slice(self.late, fifth, fifth + self._late_in_mixed)
        return LateRows(rows.take(pa.array(np.random.default_rng([self._seed, 1]).permutation(rows.num_rows))))


class LateRows:
    """Late rows, of which each batch takes a few."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self.given = 0

    def take(self, count: int) -> pa.Table:
        """The next of them."""
        found = self._rows.slice(self.given, count)
        self.given += found.num_rows
        return found


def _slice(rows: HotRows, begin: int, end: int) -> pa.Table:
    first, last = begin // hotrows.BLOCK, max(begin, end - 1) // hotrows.BLOCK
    blocks = pa.concat_tables([_block(rows, number) for number in range(first, last + 1)])
    return blocks.slice(begin - first * hotrows.BLOCK, end - begin)


@lru_cache(maxsize=2)
def _block(rows: HotRows, number: int) -> pa.Table:
    """Neighbouring batches are of one block."""
    return rows.block(number)


def _measure(workers: Writers, phase: Phase, number: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Write a phase window by window: its rows are made before the clock starts."""
    done: list[Wrote] = []
    seconds, sent = 0.0, 0
    for window in _windows(phase.batches(), workers.count):
        shares = [Share(window[i :: workers.count], number * 1_000_000 + sent, i) for i in range(workers.count)]
        sent += len(window)
        wrote = workers.write(shares)
        seconds += max(one.ended for one in wrote) - min(one.began for one in wrote)
        done += wrote
        say(f"{phase.name}: {sum(one.rows for one in done):,} rows, {sum(one.rows for one in done) / seconds:,.0f} rows/s")
    rows, inserted = sum(one.rows for one in done), sum(one.inserted for one in done)
    if inserted != phase.fresh:
        raise StoreError(f"phase {phase.name}: {inserted:,} rows were new to the table, expected {phase.fresh:,}")
    return {
        "rows": rows,
        "new_rows": inserted,
        "seconds": round(seconds, 2),
        "rows_per_s": round(rows / seconds),
        # Says what two idle cores would do, also where others are busy beside.
        "us_per_row": {
            "writer": round(sum(one.cpu_s for one in done) / rows * 1e6, 2),
            "server": round(sum(one.server_cpu_s for one in done) / rows * 1e6, 2),
        },
        "slowest_batch_s": round(max(one.slowest_s for one in done), 3),
    }


def _windows(batches: Iterator[pa.Table], writers: int) -> Iterator[list[pa.Table]]:
    window: list[pa.Table] = []
    for batch in batches:
        window.append(batch)
        if sum(b.num_rows for b in window) >= WINDOW_ROWS * writers:
            yield window
            window = []
    if window:
        yield window


def check(settings: Settings, table: HotTable, plan: Plan) -> None:
    """Every row is there once: their number, the number of their identities, and the sum of these."""
    wanted = [plan.total, plan.total, _sum(plan.current) + _sum(plan.late)]
    with hotstore.asking(settings) as cursor:
        key = table.key[-1]
        cursor.execute(
            f"SELECT count(*), count(DISTINCT {key}), sum(('x' || left({key}::text, 8))::bit(32)::bigint)::bigint FROM {table.name}"
        )
        found = list(cursor.fetchone())
    if found != wanted:
        raise StoreError(f"rows, identities and their sum are {found}, expected {wanted}: rows are missing or there twice")


def _sum(rows: HotRows) -> int:
    """Of the first 32 bits of the identities."""
    return sum(int(head, 16) for number in rows.blocks() for head in _heads(rows.block(number)))


def _heads(block: pa.Table) -> list[str]:

    found: list[str] = pc.utf8_slice_codeunits(block["flow_id"], 0, 8).to_pylist()
    return found
