"""The hot store: table ``network_flows`` in PostgreSQL, and its TimescaleDB parts.

Column names and the primary key are the users' contract. :data:`HOT_COLUMNS` is the only place that says which column of a record
(:data:`schemas.flows.PREDICTION_SCHEMA`) goes into which column of the table; DDL and writer are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLE = "network_flows"
LEDGER = "hot_batches"

#: TimescaleDB only: chunks older than this are dropped.
RETENTION_DAYS = 90
#: TimescaleDB only: chunks older than this are compressed.
COMPRESS_AFTER_DAYS = 7
CHUNK_HOURS = 24


@dataclass(frozen=True)
class HotColumn:
    """One column: its name and SQL type in the table, and the record column it is filled from."""

    name: str
    sql: str
    source: str


def _same(sql: str, *names: str) -> tuple[HotColumn, ...]:
    return tuple(HotColumn(name, sql, name) for name in names)


HOT_COLUMNS: tuple[HotColumn, ...] = (
    HotColumn("timestamp", "timestamptz NOT NULL", "start_time"),
    *_same("uuid NOT NULL", "flow_id"),
    *_same("inet NOT NULL", "src_ip", "dst_ip"),
    *_same("integer NOT NULL", "src_port", "dst_port"),
    *_same("smallint NOT NULL", "protocol"),
    *_same("bigint NOT NULL", "flow_duration"),
    *_same("bigint NOT NULL", "total_fwd_packets", "total_backward_packets", "total_length_fwd_packets", "total_length_bwd_packets"),
    *_same("double precision NOT NULL", "flow_bytes_per_sec", "flow_packets_per_sec", "flow_iat_mean"),
    *_same("bigint NOT NULL", "fwd_iat_total", "bwd_iat_total", "fwd_psh_flags", "fwd_header_length"),
    *_same("double precision NOT NULL", "fwd_packets_per_sec"),
    *_same("bigint NOT NULL", "min_packet_length", "max_packet_length"),
    *_same("double precision NOT NULL", "packet_length_mean", "packet_length_std", "packet_length_variance"),
    *_same("bigint NOT NULL", "ack_flag_count"),
    *_same("double precision NOT NULL", "average_packet_size"),
    *_same("integer NOT NULL CHECK (predicted_label IN (0, 1))", "predicted_label"),
    *_same("real NOT NULL CHECK (confidence_score >= 0 AND confidence_score <= 1)", "confidence_score"),
    *_same("text NOT NULL", "model_version"),
    # what the platform adds
    *_same("text NOT NULL", "attack_type", "community_id"),
    *_same("text", "end_reason"),
    *_same("text NOT NULL", "tcp_state", "sensor_id"),
)

COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in HOT_COLUMNS)
#: SQL type by column, without constraints.
COLUMN_TYPES: dict[str, str] = {column.name: column.sql.split(" NOT NULL")[0] for column in HOT_COLUMNS}
SOURCE_NAMES: tuple[str, ...] = tuple(column.source for column in HOT_COLUMNS)


def table_ddl() -> str:
    """``CREATE TABLE`` of ``network_flows``."""
    columns = ",\n  ".join(f"{column.name} {column.sql}" for column in HOT_COLUMNS)
    return f"CREATE TABLE IF NOT EXISTS {TABLE} (\n  {columns},\n  PRIMARY KEY (timestamp, flow_id)\n)"


#: What holds for them: :mod:`schemas.migrations`.
MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        table_ddl(),
        # The primary key serves ranges of time; these serve "what did this address do lately".
        f"CREATE INDEX IF NOT EXISTS {TABLE}_src_time ON {TABLE} (src_ip, timestamp DESC)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_dst_time ON {TABLE} (dst_ip, timestamp DESC)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_attacks ON {TABLE} (timestamp DESC) WHERE predicted_label = 1",
        f"CREATE TABLE IF NOT EXISTS {LEDGER} ("
        "query text NOT NULL, batch_id bigint NOT NULL, task integer NOT NULL, offsets text NOT NULL, "
        "rows bigint NOT NULL, inserted bigint NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
        "PRIMARY KEY (query, batch_id, task))",
    ),
}


def timescale_statements() -> tuple[str, ...]:
    """Statements for a database with the TimescaleDB extension; each may be run again.

    Uses the calling convention that all 2.x versions know. Existing rows are moved into chunks (``migrate_data``).
    """
    return (
        "CREATE EXTENSION IF NOT EXISTS timescaledb",
        f"SELECT create_hypertable('{TABLE}', 'timestamp', chunk_time_interval => INTERVAL '{CHUNK_HOURS} hours', "
        "if_not_exists => TRUE, migrate_data => TRUE)",
        f"ALTER TABLE {TABLE} SET (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id', "
        "timescaledb.compress_orderby = 'timestamp DESC, flow_id')",
        f"SELECT add_compression_policy('{TABLE}', INTERVAL '{COMPRESS_AFTER_DAYS} days', if_not_exists => TRUE)",
        f"SELECT add_retention_policy('{TABLE}', INTERVAL '{RETENTION_DAYS} days', if_not_exists => TRUE)",
    )
