"""The hot table of flows: ``network_flows``.

Column names and the primary key are the users' contract. :data:`COLUMNS` is the only place that says which column of a record
(:data:`schemas.flows.PREDICTION_SCHEMA`) goes into which column of the table; DDL and writer are made from it.
"""

from __future__ import annotations

from schemas.hot import first_migration
from schemas.migrations import Statement
from schemas.records import Aggregate, HotColumn, HotTable, Life, Rollup

TABLE = "network_flows"
_KEY = ("timestamp", "flow_id")


def _same(sql: str, *names: str) -> tuple[HotColumn, ...]:
    return tuple(HotColumn(name, sql, name) for name in names)


COLUMNS: tuple[HotColumn, ...] = (
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


#: What holds for them: :mod:`schemas.migrations`.
MIGRATIONS: dict[int, tuple[Statement, ...]] = {
    1: first_migration(
        TABLE,
        COLUMNS,
        _KEY,
        # The primary key serves ranges of time; these serve "what did this address do lately".
        f"CREATE INDEX IF NOT EXISTS {TABLE}_src_time ON {TABLE} (src_ip, timestamp DESC)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_dst_time ON {TABLE} (dst_ip, timestamp DESC)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_attacks ON {TABLE} (timestamp DESC) WHERE predicted_label = 1",
    ),
    2: (
        # "what was the model sure of, and what not"
        f"CREATE INDEX IF NOT EXISTS {TABLE}_confidence ON {TABLE} (confidence_score, timestamp DESC)",
        # The index of attacks answers "who attacked" alone, without looking at the rows.
        f"DROP INDEX IF EXISTS {TABLE}_attacks",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_attackers ON {TABLE} (timestamp DESC) INCLUDE (src_ip, confidence_score) "
        "WHERE predicted_label = 1",
    ),
    3: (
        # Scans and sweeps, seen or not by the model: one row in fifteen or so.
        f"CREATE INDEX IF NOT EXISTS {TABLE}_failed ON {TABLE} (timestamp DESC) INCLUDE (src_ip, dst_ip, dst_port) "
        "WHERE tcp_state IN ('S0', 'REJ')",
        # Tunnels and exfiltration: what sends much, one row in thirty.
        f"CREATE INDEX IF NOT EXISTS {TABLE}_large ON {TABLE} (timestamp DESC) INCLUDE (src_ip, dst_ip, protocol, dst_port, "
        "total_length_fwd_packets, total_length_bwd_packets) WHERE total_length_fwd_packets > 5000",
    ),
}

#: How often an address attacked, by the hour.
HOURLY_ATTACKS = Rollup(
    "hourly_attack_stats",
    bucket="hour",
    group_by=("src_ip",),
    aggregates=(
        Aggregate("attacks", "count(*) FILTER (WHERE predicted_label = 1)"),
        Aggregate("total_flows", "count(*)"),
        Aggregate("avg_confidence", "avg(confidence_score) FILTER (WHERE predicted_label = 1)"),
    ),
    # "who attacked most this week": most addresses of an hour did not
    indexes=("(hour DESC) INCLUDE (src_ip, attacks) WHERE attacks > 0",),
)

#: How much of what there was, by the hour: some dozens of rows each, for questions about days and weeks.
HOURLY_FLOWS = Rollup(
    "hourly_flow_stats",
    bucket="hour",
    group_by=("sensor_id", "attack_type", "model_version"),
    aggregates=(
        Aggregate("attacks", "count(*) FILTER (WHERE predicted_label = 1)"),
        Aggregate("total_flows", "count(*)"),
        Aggregate("total_bytes", "sum(total_length_fwd_packets + total_length_bwd_packets)::bigint"),
        Aggregate("mean_confidence", "avg(confidence_score)"),
        Aggregate("first_flow", "min(timestamp)"),
        Aggregate("last_flow", "max(timestamp)"),
    ),
)

#: Two segments a chunk: with one for each address compressed rows take more room than plain ones, and a replay takes minutes
#: (docs/reference/benchmarks.md, Compression).
_SEGMENT_BY = "predicted_label"

NETWORK_FLOWS = HotTable(TABLE, "hot", COLUMNS, _KEY, MIGRATIONS, Life(segment_by=_SEGMENT_BY), (HOURLY_ATTACKS, HOURLY_FLOWS))
