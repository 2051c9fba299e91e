"""Questions to PostgreSQL, of commands that show rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.sections import PostgresSettings
from jobs.sinks.transaction import transaction


def query(settings: PostgresSettings, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Rows of one statement, in a transaction of its own.

    Raises
    ------
    StoreError
        The database is away or refuses, or its tables are not there yet.
    """
    with transaction(settings) as cursor:
        cursor.execute(sql, values)
        return [dict(row) for row in cursor.fetchall()] if cursor.description else []
