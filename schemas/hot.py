"""The hot store: what its tables have in common (PostgreSQL, and TimescaleDB where the server has it).

Each table is declared by the record type that it is of (:class:`schemas.records.HotTable`).
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import HotColumn, HotTable

LEDGER = "hot_batches"

#: Which batch wrote which messages; one for all tables of a database.
LEDGER_DDL = (
    f"CREATE TABLE IF NOT EXISTS {LEDGER} ("
    "query text NOT NULL, batch_id bigint NOT NULL, task integer NOT NULL, offsets text NOT NULL, "
    "rows bigint NOT NULL, inserted bigint NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
    "PRIMARY KEY (query, batch_id, task))"
)


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


def timescale_statements(table: HotTable) -> tuple[str, ...]:
    """Statements for a database with the TimescaleDB extension; each may be run again.

    Uses the calling convention that all 2.x versions know. Existing rows are moved into chunks (``migrate_data``).
    """
    name, time, rules = table.name, table.key[0], table.timescale
    segment = f"timescaledb.compress_segmentby = '{rules.segment_by}', " if rules.segment_by else ""
    order = ", ".join([f"{time} DESC", *table.key[1:]])
    return (
        "CREATE EXTENSION IF NOT EXISTS timescaledb",
        f"SELECT create_hypertable('{name}', '{time}', chunk_time_interval => INTERVAL '{rules.chunk_hours} hours', "
        "if_not_exists => TRUE, migrate_data => TRUE)",
        f"ALTER TABLE {name} SET (timescaledb.compress, {segment}timescaledb.compress_orderby = '{order}')",
        f"SELECT add_compression_policy('{name}', INTERVAL '{rules.compress_after_days} days', if_not_exists => TRUE)",
        f"SELECT add_retention_policy('{name}', INTERVAL '{rules.retention_days} days', if_not_exists => TRUE)",
    )
