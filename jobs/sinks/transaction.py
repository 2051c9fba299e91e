"""One transaction of a command, and what its failure means to the person who called it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import psycopg2.extras

from infra.console.looks import NO_TABLE
from infra.errors import StoreError, one_line
from infra.sections import PostgresSettings
from jobs.sinks import postgres
from jobs.sinks.stores import StoreUnavailable
from schemas import alerts, roles
from schemas.migrations import LEDGER

#: What the ledger calls the tables of the alerts.
_ALERTS = "alerts"
_CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE)\b")
_DENIED = re.compile(r"permission denied for (?:table|view|materialized view|sequence) (\S+)")
#: Errors of tables that are missing, or are others than this version knows.
_OTHER_TABLES = (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn, psycopg2.errors.UndefinedFunction)


@contextmanager
def transaction(settings: PostgresSettings) -> Iterator[Any]:
    """A cursor, whose rows are mappings, in a transaction on a connection of its own.

    Raises
    ------
    StoreError
        The database is away or refuses: nothing was changed, unless it says otherwise.
    """
    try:
        connection = postgres.connect(settings, "flowlake-cli")
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    with closing(connection):
        commits, first = False, None
        try:
            with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                try:
                    yield cursor
                except psycopg2.Error as e:
                    first = e  # to roll back on a connection that is gone is an error too, and says less
                    raise
                commits = True
        except psycopg2.Error as e:
            raise told(first or e, connection, settings, commits=commits) from e


def told(error: psycopg2.Error, connection: Any, settings: PostgresSettings, *, commits: bool = False) -> StoreError:
    """What an error of a transaction means; ``commits``: it came when all had been done but the commit."""
    where = postgres.where(settings)
    if connection.closed:
        return _cut(error, where, commits)
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return StoreError(f"{where}: {one_line(error)}", f"ask for the role: GRANT {_role(error)} TO {settings.user}")
    if isinstance(error, _OTHER_TABLES):
        return _of_another_version(error, connection, where)
    return StoreError(f"{where}: {one_line(error)}")


def _cut(error: psycopg2.Error, where: str, commits: bool) -> StoreError:
    """The server is gone, or has ended the session, and may have said why before."""
    said = str(error).partition("\n")[0]
    why = f" ({one_line(said)})" if said.startswith("terminating connection") else ""
    if commits:
        return StoreError(
            f"{where} closed the connection{why} at the very end: whether the change was made is not known",
            "look whether it was made before you do it again",
        )
    return StoreError(f"{where} closed the connection{why}: nothing was changed", "do it again; flowlake status shows whether it is there")


def _role(error: psycopg2.Error) -> str:
    """The role of the fewest rights that may do what was refused."""
    query = (error.cursor.query if error.cursor is not None else None) or b""
    change = _CHANGES.search(query.decode(errors="replace"))
    table = _DENIED.search(str(error))
    return roles.least(table[1].strip('"') if table else "", change[1] if change else "SELECT")


def _of_another_version(error: psycopg2.Error, connection: Any, where: str) -> StoreError:
    version, ours = _version(connection), max(alerts.MIGRATIONS)
    if version is not None and version < ours:
        said = one_line(error.diag.message_primary or error)
        return StoreError(
            f"{where}: the tables of the alerts are of version {version}, this flowlake's of {ours}: {said}",
            "flowlake db migrate brings them up to date",
        )
    if version is not None and version > ours:
        return StoreError(
            f"{where}: the tables of the alerts are of version {version}, newer than this flowlake's ({ours})",
            "update flowlake on this machine",
        )
    if isinstance(error, psycopg2.errors.UndefinedTable):
        hint = NO_TABLE if version is None else "flowlake db migrate puts back what is missing"
        return StoreError(f"{where} holds no such table yet", hint)
    return StoreError(f"{where}: {one_line(error)}", "flowlake db migrate puts back what is missing")


def _version(connection: Any) -> int | None:
    """Of the tables of the alerts; None: there are none, or it may not be read."""
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT version FROM {LEDGER} WHERE component = %s", (_ALERTS,))
            row = cursor.fetchone()
    except psycopg2.Error:
        return None
    return int(row[0]) if row else None
