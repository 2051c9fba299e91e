"""The stores that rows of a file are written to, each once, and how far each has got with a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psycopg2
import pyarrow as pa

from infra.config import Settings
from infra.errors import StoreError
from jobs.hotstore import placing
from jobs.hotstore.conversion import BOUND
from jobs.moving.csvfile import Position
from jobs.sinks import hot, postgres
from jobs.sinks.migrations import migrate
from jobs.sinks.postgres import RefusedData
from jobs.sinks.stores import FIRST_WAIT_S, LONGEST_WAIT_S, StoreUnavailable
from schemas.hot import LEDGER
from schemas.records import RecordType

T = TypeVar("T")
Say = Callable[[str], None]
_APPLICATION = "flowlake-migrate"


@dataclass(frozen=True)
class Job:
    """One file on its way: where it lies, and how it is read. Rows of another reading would be other rows."""

    record: RecordType
    path: Path
    reading: str  # time zone, order of day and month
    span: str = ""  # the part of it that is taken, where it is not all

    @property
    def key(self) -> str:
        """Name of the file for the ledger."""
        place = f"{os.path.realpath(self.path)}|{self.span}".encode(errors="surrogateescape")
        return f"migrate/{self.record.name}/{sha1(place, usedforsecurity=False).hexdigest()}"

    def noted(self, position: Position) -> str:
        """A position as the ledger keeps it."""
        return f"{position.offset}/{position.tail}/{self.reading}"

    def position(self, noted: str, store: str) -> Position | None:
        """What :meth:`noted` has kept.

        Raises
        ------
        StoreError
            The file was read in another way then.
        """
        offset, _, rest = noted.partition("/")
        tail, _, reading = rest.partition("/")
        if not offset.isdigit():
            return None
        if reading != self.reading:
            raise StoreError(
                f"{self.path} was migrated into {store} before with {reading}, and now it is {self.reading}: its rows would be there twice",
                "say it as it was; or remove those rows (sensor_id 'migrated:FILE'), and use --again",
            )
        return Position(int(offset), tail)


class Target(Protocol):
    """A store that rows are written to."""

    name: str

    def prepare(self, say: Say) -> None:
        """Make its place. StoreUnavailable, StoreError: it cannot be used."""
        ...

    def begin(self, job: Job) -> Position | None:
        """Take a file on, alone; how far it is. StoreError: another process has it."""
        ...

    def write(self, rows: pa.Table, position: Position) -> tuple[int, list[int]]:
        """Rows (of the published schema), and how far the file is read then: all of it or nothing.

        Rows that were new, and places of those that the store refuses.
        """
        ...

    def end(self) -> None:
        """Let the file go."""
        ...


class HotTarget:
    """The hot table of a record type."""

    def __init__(self, settings: Settings, record: RecordType, *, again: bool = False) -> None:
        self.name = "hot"
        self._settings = settings
        self._record = record
        self._table = hot.table_of(record)
        self._again = again
        self._job: Job | None = None
        self._connection: Any = None

    @property
    def where(self) -> str:
        """The table as a person names it."""
        return f"{self._table.name} in {postgres.where(self._settings.hot)}"

    def prepare(self, say: Say) -> None:
        migrate(hot.component(self._settings, self._table), say)

    def begin(self, job: Job) -> Position | None:
        self._job = job
        return self._asked(self._begin)

    def _begin(self, connection: Any) -> Position | None:
        assert self._job is not None
        with connection, connection.cursor() as cursor:
            if self._again:
                cursor.execute(f"DELETE FROM {LEDGER} WHERE query = %s", (self._job.key,))
                return None
            cursor.execute(f"SELECT offsets FROM {LEDGER} WHERE query = %s AND batch_id = 0 AND task = 0", (self._job.key,))
            found = cursor.fetchone()
        return self._job.position(found[0], self.where) if found else None

    def write(self, rows: pa.Table, position: Position) -> tuple[int, list[int]]:
        assert self._job is not None
        table, ledger = hot.hot_rows(rows, self._record), (self._job.key, 0, 0, self._job.noted(position))
        try:
            return self._insert(table, ledger), []
        except RefusedData:
            refused: list[int] = []
            written = self._bisected(table, 0, position, refused)
            self._insert(table.slice(0, 0), ledger)
            return written, refused

    def _bisected(self, rows: pa.Table, first: int, position: Position, refused: list[int]) -> int:
        """Write rows by halves, until those that the database will not have are found; each half has a line of its own in the ledger."""
        assert self._job is not None
        try:
            return self._insert(rows, (self._job.key, 1, first, f"{position.offset}/{first}/{rows.num_rows}"))
        except RefusedData:
            if rows.num_rows == 1:
                refused.append(first)
                return 0
        half = rows.num_rows // 2
        written = self._bisected(rows.slice(0, half), first, position, refused)
        return written + self._bisected(rows.slice(half), first + half, position, refused)

    def _insert(self, rows: pa.Table, ledger: tuple[str, int, int, str]) -> int:
        def work(connection: Any) -> int:
            placing.ready(connection, self._settings.hot, self._table, rows[self._table.time])
            return hot.insert(connection, rows, self._table, ledger)

        return self._asked(work)

    def _asked(self, question: Callable[[Any], T]) -> T:
        connection = self._connected()
        try:
            return question(connection)
        except psycopg2.Error as e:
            with suppress(psycopg2.Error):
                connection.rollback()
            if connection.closed:
                self._connection = None
            failure: Exception = postgres.classify(e, self._settings.hot)
            if isinstance(e, psycopg2.errors.CheckViolation) and e.diag.constraint_name == BOUND:
                failure = StoreUnavailable(f"{self.where} is being partitioned, and has no place for such times yet")
            if isinstance(failure, StoreUnavailable):
                self.end()  # a server that comes back knows nothing of our lock
            raise failure from e

    def _connected(self) -> Any:
        """A connection that holds the lock of the file."""
        if self._connection is not None:
            return self._connection
        connection = postgres.connect(self._settings.hot, _APPLICATION)
        try:
            if self._job is not None:
                with connection, connection.cursor() as cursor:
                    cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (postgres.LOCK_MOVING, self._job.key))
                    if not cursor.fetchone()[0]:
                        raise StoreError(
                            f"{self._job.path} is being migrated into {self.where} by another process",
                            "wait until it has ended; both at once would do the same work",
                        )
        except BaseException as e:
            connection.close()
            if isinstance(e, psycopg2.Error):
                raise postgres.classify(e, self._settings.hot) from e
            raise
        self._connection = connection
        return connection

    def end(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None


def patiently(operation: Callable[[], T], *, patience_s: float, say: Say) -> T:
    """Run an operation until its store takes it, for so long at most.

    Parameters
    ----------
    operation
        Safe to repeat.
    patience_s
        Seconds without success after which this ends.
    say
        Told before each wait.

    Raises
    ------
    StoreError
        The store refuses, or has been away for too long.
    """
    wait, since = FIRST_WAIT_S, time.monotonic()
    while True:
        try:
            return operation()
        except StoreUnavailable as e:
            away = time.monotonic() - since
            if away >= patience_s:
                raise StoreError(str(e), "start it (flowlake up), then run the same command again: it goes on where it was") from e
            say(f"waiting for the store ({away:.0f} s): {e}")
            time.sleep(min(wait, max(0.05, patience_s - away)))
            wait = min(wait * 2, LONGEST_WAIT_S)
