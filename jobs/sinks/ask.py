"""Questions to PostgreSQL, of commands that show rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.extras

from infra.console.looks import NO_TABLE
from infra.errors import StoreError, one_line
from infra.sections import PostgresSettings
from jobs.sinks import postgres
from jobs.sinks.stores import StoreUnavailable


def query(settings: PostgresSettings, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Rows of one statement, in a transaction of its own.

    Raises
    ------
    StoreError
        The database is away or refuses, or its tables are not there yet.
    """
    try:
        connection = postgres.connect(settings, "flowlake-cli")
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    with closing(connection):
        try:
            with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(sql, values)
                return [dict(row) for row in cursor.fetchall()] if cursor.description else []
        except psycopg2.errors.UndefinedTable as e:
            raise StoreError(f"{postgres.where(settings)} holds no such table yet", NO_TABLE) from e
        except psycopg2.errors.UndefinedColumn as e:
            hint = "tables of an older version get what they lack by: flowlake db migrate"
            raise StoreError(f"{postgres.where(settings)}: {one_line(e)}", hint) from e
        except psycopg2.Error as e:
            raise StoreError(f"{postgres.where(settings)}: {one_line(e)}") from e
