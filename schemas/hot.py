"""The hot store: what its tables have in common (PostgreSQL, and TimescaleDB where the server has it).

Each table is declared by the record type that it is of (:class:`schemas.records.HotTable`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from schemas.records import HotColumn

LEDGER = "hot_batches"

#: Which batch wrote which messages; one for all tables of a database.
LEDGER_DDL = (
    f"CREATE TABLE IF NOT EXISTS {LEDGER} ("
    "query text NOT NULL, batch_id bigint NOT NULL, task integer NOT NULL, offsets text NOT NULL, "
    "rows bigint NOT NULL, inserted bigint NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
    "PRIMARY KEY (query, batch_id, task))"
)

#: Hours of a table that rows were written for since its rollups were refreshed (without TimescaleDB, which keeps such a log itself).
#: Lines are only added by writers and never shared, so that no writer waits for another; a line appears with the rows it speaks of.
TOUCHED = "hot_touched_hours"
TOUCHED_DDL = (
    f"CREATE TABLE IF NOT EXISTS {TOUCHED} (table_name text NOT NULL, hour timestamptz NOT NULL, "
    "noted_at timestamptz NOT NULL DEFAULT clock_timestamp())"
)
#: Before which time the rows of a table have been dropped: rollups of what is older are not computed again.
DROPPED = "hot_dropped"
DROPPED_DDL = f"CREATE TABLE IF NOT EXISTS {DROPPED} (table_name text PRIMARY KEY, before timestamptz NOT NULL)"


def partition(table: str, day: date) -> str:
    """Name of the partition of a day."""
    return f"{table}_p{day:%Y%m%d}"


def default_partition(table: str) -> str:
    """Name of the partition of rows whose day has none: a clock that is wrong, or a role that may make none."""
    return f"{table}_default"


def legacy_partition(table: str) -> str:
    """Name of the partition that a table without partitions became."""
    return f"{table}_legacy"


def first_migration(table: str, columns: Sequence[HotColumn], key: Sequence[str], *indexes: str) -> tuple[str, ...]:
    """Statements that create a hot table, its indexes and the ledger of batches; each may be run again.

    Parameters
    ----------
    table
        Its name.
    columns
        In their order.
    key
        Primary key.
    indexes
        ``CREATE INDEX IF NOT EXISTS ...``
    """
    listed = ",\n  ".join(f"{column.name} {column.sql}" for column in columns)
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (\n  {listed},\n  PRIMARY KEY ({', '.join(key)})\n)",
        *indexes,
        LEDGER_DDL,
    )
