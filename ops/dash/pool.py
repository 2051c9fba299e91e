"""Read-only questions to one database, some at a time: a thread each, and each thread its own connection.

Read-only three times over: sessions in which the server refuses to write, a time limit on each statement, and - where the settings name
one - a role that may only read.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import psycopg2

from infra.console.looks import NO_TABLE
from infra.errors import StoreError, one_line
from infra.sections import PostgresSettings
from jobs.sinks import postgres
from jobs.sinks.stores import StoreUnavailable
from schemas.exportedflows import HOURLY
from schemas.exportedflows import TABLE as EXPORTED
from schemas.interfacecounters import TABLE as COUNTERS
from schemas.windowrecords import TABLE as WINDOWS

T = TypeVar("T")
#: Connections to a database.
CONNECTIONS = 4
#: Seconds for which nobody else tries a database that has just not answered.
_REST_S = 2.0
_APPLICATION = "flowlake-dash"


#: How tables come to be that a stream does not make: beginning of the name -> what to do.
_MADE_BY = {
    "archive": "flowlake archive run makes it",
    WINDOWS: "windows are off: docs/how-to/look-at-sources.md turns them on",
    **dict.fromkeys((EXPORTED, HOURLY.name, COUNTERS), "exported flows are off: docs/how-to/receive-flow-exports.md turns them on"),
}


class NotThereError(StoreError):
    """What is asked for has not been made yet: no fault of the store."""


class ReadPool:
    """Connections to one database.

    Parameters
    ----------
    settings
        Where it is.
    timeout_s
        Of one statement.
    """

    def __init__(self, settings: PostgresSettings, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_ms = int(timeout_s * 1000)
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="dash")
        self._own = threading.local()
        self._lock = threading.Lock()
        self._open: list[Any] = []
        self._away: tuple[float, StoreError] | None = None

    def submit(self, ask: Callable[[Any], T]) -> Future[T]:
        """Have ``ask`` called with a cursor (its rows are tuples) in a thread of the pool.

        The future raises StoreError where the database is away, refuses or takes too long.
        """
        return self._threads.submit(self._asked, ask)

    def run(self, ask: Callable[[Any], T]) -> T:
        """As :meth:`submit`, and wait.

        Raises
        ------
        StoreError
            See there.
        """
        return self.submit(ask).result()

    def close(self) -> None:
        """Close all connections; a question that is being answered is given up, also where the database is not heard of any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            left, self._open = self._open, []
        for connection in left:
            _hang_up(connection)
        self._threads.shutdown(wait=True)
        for connection in left:
            with suppress(psycopg2.Error):
                connection.close()

    def _asked(self, ask: Callable[[Any], T]) -> T:
        # A kept connection may have been closed by the server's restart: the question is asked again on a new one, once.
        kept = getattr(self._own, "connection", None)
        if kept is not None:
            try:
                return self._on(kept, ask)
            except StoreUnavailable:
                self._drop(kept)
        try:
            return self._on(self._connect(), ask)
        except StoreUnavailable as e:
            raise StoreError(str(e), "start it: flowlake up; this page goes on by itself") from e

    def _on(self, connection: Any, ask: Callable[[Any], T]) -> T:
        try:
            with connection.cursor() as cursor:
                return ask(cursor)
        except psycopg2.errors.UndefinedTable as e:
            said = (e.diag.message_primary or "").removeprefix("relation ").removesuffix(" does not exist").strip('"')
            hint = next((how for beginning, how in _MADE_BY.items() if said.startswith(beginning)), NO_TABLE)
            raise NotThereError(f"there is no table {said} yet", hint) from e
        except psycopg2.errors.QueryCanceled as e:
            limit = f"{self._timeout_ms / 1000:g} s"
            raise StoreError(f"no answer within {limit}", "take a shorter range, or raise FLOWLAKE_DASH__TIMEOUT_S") from e
        except psycopg2.errors.InsufficientPrivilege as e:
            hint = f"ask for the role: GRANT flowlake_analyst TO {self._settings.user}"
            raise StoreError(f"{postgres.where(self._settings)}: {one_line(e)}", hint) from e
        except psycopg2.Error as e:
            raise postgres.classify(e, self._settings) from e

    def _connect(self) -> Any:
        away = self._away
        if away is not None and time.monotonic() < away[0]:
            raise away[1]
        try:
            connection = postgres.connect(self._settings, _APPLICATION)
        except StoreUnavailable as e:
            error = StoreError(str(e), "start it: flowlake up; this page goes on by itself")
            self._away = (time.monotonic() + _REST_S, error)
            raise error from e
        connection.set_session(readonly=True, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", (str(self._timeout_ms),))
        self._away = None
        self._own.connection = connection
        with self._lock:
            self._open.append(connection)
        return connection

    def _drop(self, connection: Any) -> None:
        self._own.connection = None
        with self._lock:
            if connection in self._open:
                self._open.remove(connection)
        with suppress(psycopg2.Error):
            connection.close()


def _hang_up(connection: Any) -> None:
    """End a connection that a thread may be reading from; asking the server to stop could wait for ever."""
    with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


class Pools:
    """The pools of the hot store and of the alerts; one where both are one database."""

    def __init__(self, hot: PostgresSettings, alerts: PostgresSettings, timeout_s: float) -> None:
        self.hot = ReadPool(hot, timeout_s)
        self.alerts = self.hot if _place(hot) == _place(alerts) else ReadPool(alerts, timeout_s)

    def close(self) -> None:
        """Close both."""
        self.hot.close()
        if self.alerts is not self.hot:
            self.alerts.close()


def _place(settings: PostgresSettings) -> tuple[object, ...]:
    return settings.host, settings.port, settings.database, settings.user, settings.password.get_secret_value()
