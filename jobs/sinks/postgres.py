"""PostgreSQL: connections that are kept, errors told apart, COPY of Arrow tables."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg2
import pyarrow as pa

from infra import config
from infra.errors import StoreError, one_line
from infra.sections import PostgresSettings
from jobs.runtime import meanings
from jobs.runtime.meanings import About, Remedy
from jobs.sinks import pgcopy
from jobs.sinks.stores import StoreUnavailable

#: Connections of this process. Keyed by process too: Spark forks its Python workers.
_connections: dict[tuple[Any, ...], Any] = {}

_NO_DATABASE = re.compile(r'database ".*" does not exist')

#: Advisory locks (arbitrary, ours): one at a time who migrates, who writes alerts, who maintains, who makes a partition.
LOCK_MIGRATE = 0x666C6F77_0001
LOCK_ALERTS = 0x666C6F77_0002
LOCK_MAINTAIN = 0x666C6F77_0003
LOCK_PARTITIONS = 0x666C6F77_0004
LOCK_NOTIFY = 0x666C6F77_0005
LOCK_ARCHIVE = 0x666C6F77_0101
#: One at a time who writes down a block, and who applies the rules.
LOCK_BLOCKS = 0x666C6F77_0201
LOCK_RULES = 0x666C6F77_0202
#: Of two keys: this, and what a responder does one after the other.
LOCK_RESPONDER = 0x666C6F72
#: Of two keys: this, and what tells the file that is moved in.
LOCK_MOVING = 0x666C6F77
#: Of two keys: this, and the hash of a collector's name.
LOCK_COLLECTOR = 0x666C6F73


class RefusedData(Exception):
    """The database will not take these values (SQLSTATE class 22 or 23)."""


def where(settings: PostgresSettings) -> str:
    """The database as a person names it; never the password."""
    return f"PostgreSQL at {settings.host}:{settings.port}/{settings.database}"


def connect(settings: PostgresSettings, application: str) -> Any:
    """A new connection; UTC, keepalive, named ``application``.

    Raises
    ------
    StoreUnavailable
        Nobody answers, or the server is starting, stopping or full.
    StoreError
        The server answers and refuses: user, password, database.
    """
    try:
        connection = psycopg2.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.database,
            user=settings.user,
            password=settings.password.get_secret_value() or None,
            connect_timeout=settings.connect_timeout_s,
            application_name=application,
            options="-c TimeZone=UTC",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg2.OperationalError as e:
        raise _connect_error(e, settings) from e
    if os.environ.get("PGTZ"):  # libpq sends it after the options, so that it would win
        with connection, connection.cursor() as cursor:
            cursor.execute("SET TimeZone = 'UTC'")
    return connection


def _connect_error(error: psycopg2.OperationalError, settings: PostgresSettings) -> Exception:
    # libpq gives no SQLSTATE to a failed connection, only the server's words.
    text = one_line(error, 1000)
    said = _last_words(text)
    if found := meanings.find(text, About.LOGIN):
        hint = _no_database(settings) if _NO_DATABASE.search(text) else found.hint
        return StoreError(found.message(text, where=where(settings), user=settings.user, said=said), hint)
    return StoreUnavailable(f"{where(settings)}: {said}")


def _no_database(settings: PostgresSettings) -> str:
    """Where the database may be instead: a demo has one of its own, and says so in its settings."""
    demo = config.demo(other_than=settings.database)
    elsewhere = f"; what the demo wrote: --conf-file {demo}" if demo else ""
    return f"create it (on this machine: flowlake up), or name another in the configuration (hot.database, alerts.database){elsewhere}"


def _last_words(text: str) -> str:
    return one_line(text.rsplit("FATAL: ", 1)[-1])


def classify(error: psycopg2.Error, settings: PostgresSettings) -> Exception:
    """The exception that says what to do about ``error``: :class:`StoreUnavailable`, :class:`RefusedData` or ``StoreError``."""
    state, said = error.pgcode or "", one_line(error)
    text = f"{where(settings)}: {said}"
    if not state:
        # A value that the client itself will not send; else the connection broke: no answer, no code.
        return RefusedData(said) if isinstance(error, psycopg2.DataError) else StoreUnavailable(text)
    found = meanings.find(state, About.SQLSTATE)
    if found is not None and found.remedy is Remedy.WAIT:
        return StoreUnavailable(text)
    if found is not None and found.remedy is Remedy.REFUSE:
        return RefusedData(said)
    return StoreError(text, found.hint if found else "")


def kept(settings: PostgresSettings, application: str) -> Any:
    """The connection of this process for these settings: made once, replaced when it is broken."""
    key = (os.getpid(), settings.host, settings.port, settings.database, settings.user, application)
    connection = _connections.get(key)
    if connection is not None and connection.closed == 0:
        return connection
    connection = connect(settings, application)
    _connections[key] = connection
    return connection


def discard(connection: Any) -> None:
    """Roll back; close and forget the connection when even that fails (or it was broken)."""
    try:
        if connection.closed == 0:
            connection.rollback()
            return
    except psycopg2.Error:
        pass
    for key, known in list(_connections.items()):
        if known is connection:
            del _connections[key]
    with suppress(psycopg2.Error):
        connection.close()


def copy_table(cursor: Any, table: str, types: Mapping[str, str], rows: pa.Table) -> None:
    """COPY an Arrow table into ``table``; ``types``: SQL types of its columns, in their order (:func:`jobs.sinks.pgcopy.encode`).

    Raises
    ------
    RefusedData
        A value is none of its type: nothing was sent.
    psycopg2.Error
        The server refuses, or went away.
    """
    try:
        stream = pgcopy.encode(rows, types)
    except ValueError as e:
        raise RefusedData(one_line(e)) from e
    cursor.copy_expert(f"COPY {table} ({', '.join(types)}) FROM STDIN WITH (FORMAT binary)", io.BytesIO(stream), size=1 << 18)
