"""A hot store of a benchmark's own: on a database server of its own, or in a database of its own on a server that a DSN names."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import make_dsn, parse_dsn
from pydantic import SecretStr

from infra.config import Settings
from infra.errors import ConfigError, StoreError, one_line
from infra.process import free_port
from infra.sections import PostgresSettings
from infra.stack.postgres import Postgres, create_database
from jobs.hotstore.maintain import maintain
from jobs.sinks import alerts, hot, postgres
from jobs.sinks.migrations import migrate
from jobs.sinks.stores import StoreUnavailable
from ops.bench.hotrows import HotRows
from ops.bench.writers import Writers
from schemas.records import HotTable

Say = Callable[[str], None]
T = TypeVar("T")
_DATABASE = "flowlake_bench"


@contextmanager
def store(settings: Settings, dsn: str = "") -> Iterator[Settings]:
    """Settings whose hot store is an empty database that is gone afterwards.

    Parameters
    ----------
    settings
        What else holds.
    dsn
        A server, such as one with TimescaleDB; empty: the embedded one, started in a temporary folder.

    Raises
    ------
    ConfigError
        The DSN is none.
    StoreError
        The server cannot be reached, or will not have a database made.
    """
    with _elsewhere(dsn) if dsn else _embedded() as where:
        own = where.model_dump(exclude={"trigger_ms"})
        yield settings.model_copy(update={name: getattr(settings, name).model_copy(update=own) for name in ("hot", "alerts")})


@contextmanager
def _embedded() -> Iterator[PostgresSettings]:
    folder = Path(tempfile.mkdtemp(prefix="flowlake-bench-"))
    server = Postgres(folder, free_port())
    try:
        server.start()
        server.create_database(_DATABASE)
        yield server.settings(_DATABASE)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _elsewhere(dsn: str) -> Iterator[PostgresSettings]:
    try:
        parts = parse_dsn(dsn)
    except psycopg2.ProgrammingError as e:
        raise ConfigError(f"--dsn: {one_line(e)}", "postgresql://user@host:port/database; the password in PGPASSWORD") from e
    named = PostgresSettings(
        host=parts.get("host", "127.0.0.1"),
        port=int(parts.get("port", 5432)),
        user=parts.get("user", "postgres"),
        password=SecretStr(parts.get("password", os.environ.get("PGPASSWORD", ""))),
        database=parts.get("dbname", "postgres"),
    )
    own = f"{_DATABASE}_{os.getpid()}_{time.monotonic_ns() % 1_000_000}"
    try:
        admin = psycopg2.connect(make_dsn(dsn), connect_timeout=named.connect_timeout_s)
    except psycopg2.OperationalError as e:
        raise StoreError(f"--dsn: {postgres.where(named)}: {one_line(e)}", "name a server that runs, or leave --dsn out") from e
    admin.autocommit = True
    with closing(admin):
        try:
            create_database(admin, own)
        except psycopg2.Error as e:
            raise StoreError(f"--dsn: {postgres.where(named)}: {one_line(e)}", "name a role that may create databases") from e
        try:
            yield named.model_copy(update={"database": own})
        finally:
            with suppress(psycopg2.OperationalError), admin.cursor() as cursor:
                cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(own)))


def prepare(settings: Settings, table: HotTable) -> None:
    """Make the table, and those of alerts beside it, as a stream would."""
    migrate(hot.component(settings, table))
    migrate(alerts.component(settings))


def interruptible(settings: Settings, work: Callable[[], T]) -> T:
    """Do something with the store so that Ctrl-C ends it at once, at the server too: a client that waits for a statement sees no signal.

    Parameters
    ----------
    settings
        A store of the benchmark's own (:func:`store`): every session in its database is ended.
    work
        Runs in a thread of its own.
    """
    with ThreadPoolExecutor(1, "bench") as pool:
        working = pool.submit(work)
        try:
            return working.result()
        except BaseException:
            # Again and again: work that goes on with a new connection is not done with.
            while not working.done():
                _end_sessions(settings)
                wait([working], timeout=0.2)
            raise


def _end_sessions(settings: Settings) -> None:
    with suppress(psycopg2.Error, StoreUnavailable, StoreError), asking(settings) as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@contextmanager
def asking(settings: Settings) -> Iterator[Any]:
    """A cursor of a connection of its own, each statement a transaction."""
    connection = postgres.connect(settings.hot, "flowlake-bench")
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def facts(settings: Settings) -> dict[str, Any]:
    """What server it is."""
    with asking(settings) as cursor:
        cursor.execute("SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')")
        version, timescale = cursor.fetchone()
    return {"postgresql": version, "timescaledb": timescale or ""}


def load(settings: Settings, table: HotTable, rows: HotRows, say: Say, *, writers: int = 2) -> float:
    """Write all rows into the table as a stream does, by several connections; seconds that it took."""
    began = time.perf_counter()
    with Writers(settings.hot, table, writers) as workers:
        for done in workers.load(rows):
            say(f"{done:,} of {len(rows):,} rows loaded")
    return time.perf_counter() - began


def settle(settings: Settings, table: HotTable, say: Say) -> None:
    """What maintenance, TimescaleDB's policies and autovacuum do within the hours after such a load.

    Raises
    ------
    StoreError
        Maintenance found a fault.
    """
    for done in maintain(settings.hot, [table], say, jobs=True) or ():
        if done.problems:
            raise StoreError(f"maintenance: {done.problems[0][0]}", done.problems[0][1])
    with asking(settings) as cursor:
        for name in (table.name, *(rollup.name for rollup in table.rollups)):
            say(f"{name}: vacuum and statistics")
            cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(name)))
