"""Maintenance of the hot tables: what TimescaleDB's policies do by themselves, and what they leave.

Without TimescaleDB: days made ahead, strays moved out of the default partition, touched hours rolled up, days dropped by age, statistics
of the planner. With it: what was touched behind its policies' window is rolled up, and archived days are dropped where they must be
archived before. Each step is short, or goes on where it was; run again, it finds nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import psycopg2

from infra.errors import StoreError, one_line
from infra.log import get
from infra.sections import HotSettings
from jobs.hotstore import hyperlife, partitions, placing, retention, rollups, strays
from jobs.hotstore import shape as shapes
from jobs.hotstore.layout import LOCK_TIMEOUT
from jobs.hotstore.retention import DeletedRows
from jobs.hotstore.shape import Shape, TableKind
from jobs.sinks import postgres
from jobs.sinks.migrations import Say
from jobs.sinks.stores import StoreUnavailable
from schemas import hot
from schemas.records import HotTable

T = TypeVar("T")
_APPLICATION = "flowlake-maintain"
#: Times that a lock is asked for, and seconds between.
_TRIES, _PAUSE_S = 5, 0.5
#: Statistics of a partitioned table, which no autovacuum gathers, are due when they are as old.
_ANALYZE_AFTER = "1 day"
_MIGRATE = "flowlake db migrate"
_ANALYZE_DUE = f"""
SELECT coalesce(greatest(last_analyze, last_autoanalyze), '-infinity') < now() - interval '{_ANALYZE_AFTER}'
FROM pg_stat_all_tables WHERE relid = to_regclass(quote_ident(%s))
"""


@dataclass
class Maintained:
    """What was done for a table (by a dry run: what would be), and what could not be.

    Attributes
    ----------
    table, kind : of the hot table.
    made, dropped : names of partitions or chunks.
    moved : rows moved out of the default partition.
    deleted : rows that were too old, where no partition could be dropped.
    deletions : where these lay, and of which times they were.
    refreshed : hours rolled up; continuous aggregates of TimescaleDB refreshed.
    left : rows that stay in the default partition: their time is in the future.
    analyzed : whether statistics were gathered.
    problems : pairs of what is wrong and the way out.
    """

    table: str
    kind: str
    made: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    moved: int = 0
    deleted: int = 0
    deletions: list[DeletedRows] = field(default_factory=list)
    refreshed: int = 0
    left: int = 0
    analyzed: bool = False
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything was done (or would be)."""
        return bool(self.made or self.dropped or self.moved or self.deleted or self.refreshed)


def maintain(
    settings: HotSettings,
    tables: Sequence[HotTable],
    say: Say | None = None,
    *,
    dry_run: bool = False,
    jobs: bool = False,
    rebuild: bool = False,
) -> list[Maintained] | None:
    """Maintain hot tables, one after the other.

    Parameters
    ----------
    settings
        The database, and how long rows live.
    tables
        Of one database.
    say
        Told what is done, a line each; by default the log is.
    dry_run
        Only look.
    jobs
        TimescaleDB: run the jobs of its policies now, too.
    rebuild
        Compute the rollups of all rows there are anew, touched or not.

    Returns
    -------
    list of Maintained, or None
        One a table; None when another process is maintaining at this moment.

    Raises
    ------
    StoreError, StoreUnavailable
        The database refuses, or cannot be reached.
    """
    with closing(postgres.connect(settings, _APPLICATION)) as connection:
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", (postgres.LOCK_MAINTAIN,))
                if not cursor.fetchone()[0]:
                    return None
            done = [Work(connection, settings, table, say or get("hot").info, dry_run).run(jobs, rebuild) for table in tables]
            # The server hears of a closed connection when it comes to it: the next one need not be told that somebody is at work.
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (postgres.LOCK_MAINTAIN,))
            return done
        except psycopg2.Error as e:
            raise postgres.classify(e, settings) from e


class Work:
    """One maintenance of one table."""

    def __init__(self, connection: Any, settings: HotSettings, table: HotTable, say: Say, dry_run: bool) -> None:
        self._connection = connection
        self._settings = settings
        self._table = table
        self._say = say
        self._dry = dry_run
        self._now = datetime.now(UTC)
        self._shape = self._look()
        self.report = Maintained(table.name, self._shape.kind.value)

    def run(self, jobs: bool, rebuild: bool) -> Maintained:
        """Do what is to do; each step by itself, so that one that fails leaves the others theirs."""
        kind = self._shape.kind
        if kind is TableKind.MISSING:
            self._problem(StoreError(f"there is no table {self._table.name}", _MIGRATE))
        elif kind is TableKind.HYPERTABLE:
            self._attempt(lambda: hyperlife.refresh(self._connection, self._settings, self._table, self.report, self._dry, rebuild))
            self._attempt(lambda: hyperlife.drop(self._connection, self._settings, self._table, self.report, self._dry))
            if jobs and not self._dry:
                self._attempt(lambda: hyperlife.run_jobs(self._connection, self._table, self._say))
        elif kind is TableKind.HEAP:
            self._problem(_slow(self._table))
            self._attempt(self._delete)
        else:
            for step in (
                self._default,
                self._ahead,
                self._strays,
                partial(self._rollups, rebuild),
                self._drop,
                self._delete,
                self._analyze,
            ):
                self._attempt(step)
        return self.report

    # -- steps -------------------------------------------------------------------------------------------------------------------------

    def _ahead(self) -> None:
        for problem in partitions.misshapen(self._shape, self._table.name):
            self._problem(problem)
        for day in partitions.ahead(self._shape, self._now.date(), self._settings.partitions_ahead_days):
            if self._dry:
                self.report.made.append(hot.partition(self._table.name, day))
                continue
            try:
                self.report.made.append(self._patiently(partial(partitions.make, table=self._table, day=day)))
            except psycopg2.errors.CheckViolation:
                continue  # rows of it lie in the default partition, and are moved now
            except StoreError as e:
                self._problem(e)
        self._shape = self._look()

    def _default(self) -> None:
        """Somebody has dropped the default partition: until it is back, a row of a day that has no partition is refused."""
        if self._shape.default:
            return
        try:
            if not self._dry:
                self._patiently(partial(partitions.make_default, table=self._table))
            self.report.made.append(hot.default_partition(self._table.name))
        except StoreError as e:
            self._problem(e)

    def _strays(self) -> None:
        first, last = placing.bounds(self._settings, self._table)
        with self._connection, self._connection.cursor() as cursor:
            found = strays.look(cursor, self._table, self._shape, first, last)
        self.report.left = found.later
        for day, rows in found.days.items():
            name = hot.partition(self._table.name, day)
            if self._dry:
                self.report.moved += rows
                self.report.made += [] if name in self.report.made else [name]
                continue
            try:
                self._patiently(partial(strays.copy, table=self._table, default=self._shape.default, day=day))
                moved = self._patiently(partial(strays.attach, table=self._table, default=self._shape.default, day=day))
            except StoreError as e:
                self._problem(e)
                continue
            self.report.moved += moved
            self.report.made.append(name)
            self._say(f"{self._table.name}: {moved:,} rows moved from {self._shape.default} to {name}")
        self._shape = self._look()

    def _rollups(self, rebuild: bool) -> None:
        if rebuild and self._table.rollups and not self._dry:
            self._asked(lambda cursor: cursor.execute(rollups.all_touched(self._table)))
        if self._dry or not self._table.rollups:
            self.report.refreshed += self._asked(lambda cursor: rollups.due(cursor, self._table, self._now)) if self._table.rollups else 0
            return
        while done := self._asked(lambda cursor: rollups.refresh(cursor, self._table, self._now)):
            self.report.refreshed += done
            self._say(f"{self._table.name}: {self.report.refreshed:,} hours rolled up")

    def _drop(self) -> None:
        for span in retention.old(self._shape, retention.cutoff(self._settings, self._table, self._now)):
            if not self._asked(partial(retention.may_go, settings=self._settings, table=self._table, span=span)):
                continue
            if not self._dry:
                if not self._patiently(partial(retention.drop, settings=self._settings, table=self._table, span=span)):
                    continue  # a row has come meanwhile that no archive holds
                self._say(f"{self._table.name}: {span.name} dropped")
            self.report.dropped.append(span.name)

    def _delete(self) -> None:
        before = retention.cutoff(self._settings, self._table, self._now)
        for place in retention.places(self._table, self._shape, before):
            self._delete_from(place, before)

    def _delete_from(self, place: str, before: datetime) -> None:
        spans = self._asked(lambda cursor: list(retention.to_delete(cursor, self._settings, self._table, place, before)))
        for condition, values in spans:
            gone = self._asked(partial(retention.extent, table=self._table, place=place, condition=condition, values=values))
            if not gone.rows:
                continue
            self.report.deletions.append(gone)
            if self._dry:
                self.report.deleted += gone.rows
                continue
            expected, gone.rows = gone.rows, 0
            while rows := self._asked(partial(self._delete_some, place=place, condition=condition, values=values, before=before)):
                gone.rows += rows
                self.report.deleted += rows
                self._say(f"{self._table.name}: {gone.rows:,} of {expected:,} rows that are too old deleted from {place}")

    def _delete_some(self, cursor: Any, place: str, condition: str, values: tuple[datetime, ...], before: datetime) -> int:
        if self._settings.keep_until_archived:
            rows = retention.delete_archived(cursor, self._table, place, condition, values)
        else:
            rows = retention.delete(cursor, place, condition, values)
        if rows and self._shape.kind is TableKind.PARTITIONED:
            retention.remember(cursor, self._table, before)
        return rows

    def _analyze(self) -> None:
        if self._asked(self._due):
            if not self._dry:
                self._asked(lambda cursor: cursor.execute(f"ANALYZE {self._table.name}"))
            self.report.analyzed = True

    def _due(self, cursor: Any) -> bool:
        cursor.execute(_ANALYZE_DUE, (self._table.name,))
        found = cursor.fetchone()
        return bool(found and found[0])

    # -- how -------------------------------------------------------------------------------------------------------------------------------

    def _look(self) -> Shape:
        return self._asked(lambda cursor: shapes.read(cursor, self._table.name))

    def _asked(self, work: Callable[[Any], T]) -> T:
        with self._connection, self._connection.cursor() as cursor:
            return work(cursor)

    def _patiently(self, work: Callable[[Any], T]) -> T:
        """In a transaction that waits for its locks only shortly, so that nobody waits long behind it; again, some times."""
        for attempt in range(1, _TRIES + 1):
            try:
                with self._connection, self._connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_PARTITIONS,))
                    return work(cursor)
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
                if attempt == _TRIES:
                    raise
                time.sleep(_PAUSE_S * attempt)
        raise AssertionError("unreachable")

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except psycopg2.Error as e:
            known = postgres.classify(e, self._settings)
            if self._connection.closed or (isinstance(known, StoreUnavailable) and e.pgcode not in ("55P03", "40P01")):
                raise
            hint = "another holds a lock on the table for long: look into pg_stat_activity" if e.pgcode == "55P03" else ""
            self._problem(StoreError(one_line(e), getattr(known, "hint", "") or hint))

    def _problem(self, error: StoreError) -> None:
        self.report.problems.append((str(error), error.hint))


def _slow(table: HotTable) -> StoreError:
    return StoreError(f"table {table.name} is not laid out in days: rows that are too old are deleted, which is slow", _MIGRATE)
