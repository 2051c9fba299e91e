"""Databases of the tests of migrations: what every released version made, with a row in it.

The DDL below is what was released: it is written out, for what makes it today may change.
"""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import Any

from infra.sections import PostgresSettings
from jobs.sinks import migrations, postgres
from jobs.sinks.migrations import Component, Status
from schemas import alerts
from schemas.migrations import Migrations
from schemas.network_flows import NETWORK_FLOWS

VERSIONS = """
CREATE TABLE flowlake_schema (component text PRIMARY KEY, version integer NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
HOT_1 = """
CREATE TABLE network_flows (
  timestamp timestamptz NOT NULL,
  flow_id uuid NOT NULL,
  src_ip inet NOT NULL,
  dst_ip inet NOT NULL,
  src_port integer NOT NULL,
  dst_port integer NOT NULL,
  protocol smallint NOT NULL,
  flow_duration bigint NOT NULL,
  total_fwd_packets bigint NOT NULL,
  total_backward_packets bigint NOT NULL,
  total_length_fwd_packets bigint NOT NULL,
  total_length_bwd_packets bigint NOT NULL,
  flow_bytes_per_sec double precision NOT NULL,
  flow_packets_per_sec double precision NOT NULL,
  flow_iat_mean double precision NOT NULL,
  fwd_iat_total bigint NOT NULL,
  bwd_iat_total bigint NOT NULL,
  fwd_psh_flags bigint NOT NULL,
  fwd_header_length bigint NOT NULL,
  fwd_packets_per_sec double precision NOT NULL,
  min_packet_length bigint NOT NULL,
  max_packet_length bigint NOT NULL,
  packet_length_mean double precision NOT NULL,
  packet_length_std double precision NOT NULL,
  packet_length_variance double precision NOT NULL,
  ack_flag_count bigint NOT NULL,
  average_packet_size double precision NOT NULL,
  predicted_label integer NOT NULL CHECK (predicted_label IN (0, 1)),
  confidence_score real NOT NULL CHECK (confidence_score >= 0 AND confidence_score <= 1),
  model_version text NOT NULL,
  attack_type text NOT NULL,
  community_id text NOT NULL,
  end_reason text,
  tcp_state text NOT NULL,
  sensor_id text NOT NULL,
  PRIMARY KEY (timestamp, flow_id)
);
CREATE INDEX network_flows_src_time ON network_flows (src_ip, timestamp DESC);
CREATE INDEX network_flows_dst_time ON network_flows (dst_ip, timestamp DESC);
CREATE INDEX network_flows_attacks ON network_flows (timestamp DESC) WHERE predicted_label = 1;
CREATE TABLE hot_batches (query text NOT NULL, batch_id bigint NOT NULL, task integer NOT NULL, offsets text NOT NULL,
  rows bigint NOT NULL, inserted bigint NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (query,
  batch_id, task));
"""
#: Before an alert said at which severity the topic was last told of it.
ALERTS_1_FIRST = """
CREATE TABLE alerts (
  id uuid,
  timestamp timestamptz NOT NULL,
  src_ip inet,
  dst_ip inet,
  attack_type text NOT NULL,
  severity integer NOT NULL CHECK (severity BETWEEN 1 AND 5),
  confidence real NOT NULL,
  details jsonb NOT NULL DEFAULT '{}',
  kind text NOT NULL,
  domain text NOT NULL,
  sensor_id text NOT NULL,
  model_version text NOT NULL,
  first_seen timestamptz NOT NULL,
  last_seen timestamptz NOT NULL,
  flow_count bigint NOT NULL,
  action_taken text NOT NULL DEFAULT 'none', resolved_at timestamptz, resolved_by text, incident_id uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(), updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (id)
);
CREATE INDEX alerts_time ON alerts (timestamp DESC);
CREATE INDEX alerts_src ON alerts (src_ip, timestamp DESC);
CREATE INDEX alerts_dst ON alerts (dst_ip, timestamp DESC);
CREATE INDEX alerts_open ON alerts (timestamp DESC) WHERE resolved_at IS NULL;
CREATE TABLE alert_state (alert_id uuid PRIMARY KEY REFERENCES alerts ON DELETE CASCADE, version bigint NOT NULL,
  base_count bigint NOT NULL, sources bytea NOT NULL, targets bytea NOT NULL, ports bytea NOT NULL, updated_at timestamptz NOT NULL
  DEFAULT clock_timestamp());
CREATE TABLE alert_flows (alert_id uuid NOT NULL REFERENCES alerts ON DELETE CASCADE, segment bigint NOT NULL, flows bytea
  NOT NULL, PRIMARY KEY (alert_id, segment));
CREATE TABLE alert_outbox (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, alert_id uuid NOT NULL, key text NOT NULL,
  message text NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
ALERTS_1 = ALERTS_1_FIRST.replace(
    "flow_count bigint NOT NULL,", "flow_count bigint NOT NULL, notified_severity integer NOT NULL DEFAULT 0,"
)
ALERTS_2 = (
    ALERTS_1 + "CREATE TABLE alert_candidates (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, evidence bytea NOT NULL, "
    "written_at timestamptz NOT NULL DEFAULT clock_timestamp());"
)
RELEASED = {
    "hot 1": ("hot", 1, HOT_1),
    "alerts 1, first": ("alerts", 1, ALERTS_1_FIRST),
    "alerts 1": ("alerts", 1, ALERTS_1),
    "alerts 2": ("alerts", 2, ALERTS_2),
}
MIGRATIONS: dict[str, Migrations] = {"hot": NETWORK_FLOWS.migrations, "alerts": alerts.MIGRATIONS}
#: A row of each of the two tables that people read.
ROWS = {
    "hot": "INSERT INTO network_flows SELECT '2026-03-01', '00000000-0000-0000-0000-000000000001', '10.0.0.1', '10.0.0.2', 1, 2, 6, "
    + ", ".join(["0"] * 20)
    + ", 1, 0.5, 'm', 'SYN_SCAN', 'c', NULL, 'SF', 's'",
    "alerts": "INSERT INTO alerts (id, timestamp, attack_type, severity, confidence, kind, domain, sensor_id, model_version, first_seen, "
    "last_seen, flow_count) VALUES ('00000000-0000-0000-0000-000000000001', now(), 'SYN_SCAN', 3, 0.5, 'scan', 'd', 's', 'm', now(), "
    "now(), 9)",
}
TABLE = {"hot": "network_flows", "alerts": "alerts"}


class Database:
    """A database of one test."""

    def __init__(self, settings: PostgresSettings) -> None:
        self.settings = settings

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(postgres.connect(self.settings, "test")) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def state(self) -> set[tuple[Any, ...]]:
        """Columns, constraints and indexes, as PostgreSQL's own views tell them; the order of columns does not matter."""
        return {
            *self.run(
                "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity "
                "FROM information_schema.columns WHERE table_schema = 'public'"
            ),
            *self.run(
                "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            ),
            *self.run("SELECT tablename, split_part(indexdef, ' USING ', 2) FROM pg_indexes WHERE schemaname = 'public'"),
        }

    def component(self, name: str, steps: Migrations | None = None) -> Component:
        return Component(name, self.settings, steps or MIGRATIONS[name])

    def status(self, component: str, steps: Migrations | None = None) -> Status:
        return migrations.status(self.component(component, steps))

    def script(self, component: str, steps: Migrations | None = None) -> str:
        return "\n".join(migrations.sql(self.component(component, steps)))

    def migrate(self, component: str, steps: Migrations | None = None) -> int:
        return migrations.migrate(self.component(component, steps))

    def at(self, released: str) -> str:
        """Lay out a released version with a row in it; returns its component."""
        component, version, ddl = RELEASED[released]
        self.run(f"{VERSIONS} {ddl} INSERT INTO flowlake_schema VALUES ('{component}', {version}); {ROWS[component]}")
        return component


def create(server: PostgresSettings) -> Database:
    """An empty database."""
    name = f"m{uuid.uuid4().hex[:12]}"
    with closing(postgres.connect(server, "test")) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    return Database(server.model_copy(update={"database": name}))
