"""One archive run at a time: a lock in the database, held by the connection that does the work."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2

from infra.config import Settings
from infra.errors import StoreError, one_line
from infra.sections import PostgresSettings
from jobs.sinks import postgres
from jobs.sinks.postgres import RefusedData
from jobs.sinks.stores import StoreUnavailable

_HOLDER = (
    "SELECT a.application_name, coalesce(host(a.client_addr), 'a socket of the server'), "
    "to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ') "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (l.classid::bigint << 32 | l.objid::bigint) = %s AND l.objsubid = 1"
)
#: What a failure leaves is told with it.
ON_AGAIN = "nothing is lost: run the same command again, it goes on where it was"


@contextmanager
def session(settings: Settings, what: str, *, alone: bool = True) -> Iterator[Any]:
    """A connection to the hot store, and what its failures mean.

    Parameters
    ----------
    settings
        Section ``hot``.
    what
        What is being done, for whoever looks who holds the lock.
    alone
        Hold the lock meanwhile. Should the connection break, the lock is free - and the work, which goes over the same one, ends.

    Raises
    ------
    StoreError
        The store is away or refuses; or another run is at work: names it, and since when.
    """
    try:
        connection = postgres.connect(settings.hot, f"flowlake-archive {what}, process {os.getpid()} on {socket.gethostname()}"[:63])
        with closing(connection):
            if alone:
                _alone(connection, settings.hot)
            yield connection
            if alone:
                # The server hears of a closed connection when it comes to it: the next run need not wait for that.
                with connection, connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s)", (postgres.LOCK_ARCHIVE,))
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    except psycopg2.Error as e:
        raise failure(e, settings.hot) from e


def failure(error: psycopg2.Error, settings: PostgresSettings) -> StoreError:
    """What a failure of the database means to a person who waits for a command."""
    found = postgres.classify(error, settings)
    if isinstance(found, StoreError):
        return StoreError(str(found), found.hint or ON_AGAIN)
    text = f"{postgres.where(settings)}: {found}" if isinstance(found, RefusedData) else str(found)
    return StoreError(one_line(text), ON_AGAIN)


def _alone(connection: Any, settings: PostgresSettings) -> None:
    try:
        with connection, connection.cursor() as cursor:
            # A run that was killed just now is still known to the server.
            cursor.execute("SET LOCAL lock_timeout = '2s'")
            cursor.execute("SELECT pg_advisory_lock(%s)", (postgres.LOCK_ARCHIVE,))
        return
    except psycopg2.errors.LockNotAvailable:
        pass
    with connection, connection.cursor() as cursor:
        cursor.execute(_HOLDER, (postgres.LOCK_ARCHIVE,))
        name, address, since = cursor.fetchone() or ("it has just ended", "", "")
    who = f"{name} from {address}, since {since}" if address else name
    raise StoreError(f"{postgres.where(settings)}: another archive run is at work ({who})", "let it end, then run the same command again")
