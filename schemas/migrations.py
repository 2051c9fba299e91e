"""What the tables of a database are made of: versions of statements, and the ledger of the versions that are there.

A part that has tables of its own declares them beside its columns, as ``MIGRATIONS: dict[int, tuple[Statement, ...]]``: version 1, 2, ...
without a gap. :mod:`jobs.sinks.migrations` applies them. What holds for each statement:

- A version that has been released is never edited; a change is a new version.
- It may be run again and leaves rows as they are: ``IF NOT EXISTS``, ``IF EXISTS``, ``OR REPLACE``.
- It runs in a transaction, and on empty tables too, where it is found out how the tables should be: nothing ``CONCURRENTLY``.
- Names are not qualified: the first schema of the user's ``search_path`` is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: One row a component: the version of its tables.
LEDGER = "flowlake_schema"


@dataclass(frozen=True)
class InBatches:
    """A statement for millions of rows: run again, each time in a transaction of its own, until it changes no row.

    It takes a bounded number of rows at a time and says by itself which are still to do, so that what was broken off goes on where it
    was: ``WITH moved AS (DELETE FROM old WHERE ctid = ANY(ARRAY(SELECT ctid FROM old LIMIT 50000)) RETURNING *) INSERT INTO new
    SELECT * FROM moved``. The statements before it in its version have been committed by then, and are run again when the rest of the
    version is: they only add.

    Parameters
    ----------
    statement
        The ``INSERT``, ``UPDATE`` or ``DELETE``.
    remaining
        A query for the number of rows still to do (one ``bigint``), asked once at the beginning; empty: progress is told without it.
    """

    statement: str
    remaining: str = ""


Statement = str | InBatches
Migrations = Mapping[int, tuple[Statement, ...]]


def ledger_ddl() -> str:
    """Statement that creates the ledger, which the stores of one database share."""
    return (
        f"CREATE TABLE IF NOT EXISTS {LEDGER} ("
        "component text PRIMARY KEY, version integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
