"""Stores of every earlier version, and stores from which somebody dropped something, are brought to the present state; rows stay.

The DDL below is what was released: it is written out, for what makes it today may change.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from infra.config import PostgresSettings
from infra.errors import StoreError
from jobs.sinks import postgres
from schemas import alerts, hot

pytestmark = pytest.mark.integration

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
MIGRATIONS: dict[str, Mapping[int, tuple[str, ...]]] = {"hot": hot.MIGRATIONS, "alerts": alerts.MIGRATIONS}
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


#: Columns, constraints and indexes of a database, by component.
Present = dict[str, set[tuple[Any, ...]]]


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

    def migrate(self, component: str, migrations: Mapping[int, tuple[str, ...]] | None = None) -> int:
        return postgres.migrate(self.settings, component, migrations or MIGRATIONS[component])

    def at(self, released: str) -> str:
        """Lay out a released version with a row in it; returns its component."""
        component, version, ddl = RELEASED[released]
        self.run(f"{VERSIONS} {ddl} INSERT INTO flowlake_schema VALUES ('{component}', {version}); {ROWS[component]}")
        return component


@pytest.fixture(scope="module")
def make(postgres_server: PostgresSettings) -> Callable[[], Database]:
    def build() -> Database:
        name = f"m{uuid.uuid4().hex[:12]}"
        with closing(postgres.connect(postgres_server, "test")) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return Database(postgres_server.model_copy(update={"database": name}))

    return build


@pytest.fixture
def database(make: Callable[[], Database]) -> Database:
    return make()


@pytest.fixture(scope="module")
def present(make: Callable[[], Database]) -> Present:
    """The state of a database that was empty, by component."""
    states = {}
    for component in MIGRATIONS:
        fresh = make()
        fresh.migrate(component)
        states[component] = fresh.state()
    return states


@pytest.mark.parametrize("released", RELEASED)
def test_each_released_version_becomes_the_present_one(present: Present, database: Database, released: str) -> None:
    component = database.at(released)
    for _ in range(2):
        assert database.migrate(component) == max(MIGRATIONS[component])
        assert database.state() == present[component]
    assert database.run(f"SELECT count(*) FROM {TABLE[component]}") == [(1,)]
    assert database.run("SELECT component, version FROM flowlake_schema") == [(component, max(MIGRATIONS[component]))]


DROPS = {
    "hot 1": [
        "DROP TABLE hot_batches",
        "DROP TABLE flowlake_schema",
        "DROP INDEX network_flows_dst_time",
        "ALTER TABLE network_flows DROP COLUMN end_reason",
        "ALTER TABLE network_flows DROP CONSTRAINT network_flows_pkey",
        "ALTER TABLE network_flows DROP CONSTRAINT network_flows_predicted_label_check",
        "DROP TABLE network_flows; DROP TABLE hot_batches",
        # what was renamed keeps the names of its indexes
        "ALTER TABLE network_flows RENAME TO network_flows_old",
    ],
    "alerts 1": [
        "DROP TABLE alert_outbox",
        "DROP TABLE alert_state, alert_flows",
        "DROP TABLE alerts CASCADE",
        "DROP TABLE flowlake_schema; DROP TABLE alert_outbox",
        "ALTER TABLE alerts DROP COLUMN resolved_at",  # an index goes with it
        "ALTER TABLE alerts DROP COLUMN created_at, DROP COLUMN notified_severity",
        "DROP INDEX alerts_open; DROP INDEX alerts_time",
        "ALTER TABLE alert_outbox DROP COLUMN seq",
    ],
    "alerts 2": ["DROP TABLE alert_candidates", "DROP TABLE alert_outbox", "DROP TABLE alert_flows"],
}


@pytest.mark.parametrize(("released", "drop"), [(released, drop) for released, drops in DROPS.items() for drop in drops])
def test_what_was_dropped_is_put_back(present: Present, database: Database, released: str, drop: str) -> None:
    component = database.at(released)
    database.run(drop)
    database.migrate(component)
    assert {found for found in database.state() if not found[0].endswith("_old")} == present[component]
    kept = 0 if "TABLE network_flows;" in drop or "RENAME" in drop or "TABLE alerts CASCADE" in drop else 1
    assert database.run(f"SELECT count(*) FROM {TABLE[component]}") == [(kept,)]


@pytest.mark.parametrize(
    ("released", "change", "message", "hint"),
    [
        ("hot 1", "ALTER TABLE network_flows DROP COLUMN src_port", "lacks column src_port", "RENAME TO network_flows_old"),
        ("hot 1", "ALTER TABLE network_flows ALTER COLUMN src_port TYPE text", "src_port of table network_flows is text", "TYPE integer"),
        (
            "alerts 1",
            "ALTER TABLE alerts ADD team text NOT NULL DEFAULT ''; ALTER TABLE alerts ALTER team DROP DEFAULT",
            "team",
            "DROP NOT NULL",
        ),
        (
            "hot 1",
            "ALTER TABLE network_flows DROP CONSTRAINT network_flows_pkey; INSERT INTO network_flows SELECT * FROM network_flows",
            "lacks constraint PRIMARY KEY",
            "mend the rows",
        ),
        ("alerts 1", "DROP TABLE alert_flows; CREATE VIEW alert_flows AS SELECT 1 AS x", "alert_flows", "RENAME TO alert_flows_old"),
    ],
)
def test_what_a_person_must_decide_is_refused_and_nothing_is_changed(
    database: Database, released: str, change: str, message: str, hint: str
) -> None:
    component = database.at(released)
    database.run(change)
    before = database.state()
    with pytest.raises(StoreError, match=message) as refused:
        database.migrate(component)
    assert hint in refused.value.hint
    assert "\n" not in str(refused.value)
    assert database.state() == before


#: A component of the test's own, for what the real ones have not had yet: several versions to go, changed tables.
STEPS: dict[int, tuple[str, ...]] = {
    1: ("CREATE TABLE IF NOT EXISTS a (x integer PRIMARY KEY)", "CREATE TABLE IF NOT EXISTS b (y text)"),
    2: ("ALTER TABLE a ADD COLUMN IF NOT EXISTS z integer NOT NULL DEFAULT 7", "CREATE INDEX IF NOT EXISTS a_z ON a (z)"),
    3: ("ALTER TABLE b ADD COLUMN IF NOT EXISTS w bigint", "CREATE UNIQUE INDEX IF NOT EXISTS b_y ON b (y) WHERE w > 0"),
    4: ("CREATE TABLE IF NOT EXISTS c (v integer REFERENCES a)",),
}


@pytest.mark.parametrize("version", STEPS)
@pytest.mark.parametrize("drop", ["", "DROP TABLE a CASCADE", "DROP TABLE b", "DROP TABLE a, b CASCADE"])
def test_from_any_version_with_any_table_missing(make: Callable[[], Database], database: Database, version: int, drop: str) -> None:
    whole = make()
    whole.migrate("steps", STEPS)
    database.migrate("steps", {number: STEPS[number] for number in STEPS if number <= version})
    database.run("INSERT INTO a (x) VALUES (1); INSERT INTO b (y) VALUES ('kept')")
    if drop:
        database.run(drop)
    assert database.migrate("steps", STEPS) == 4
    assert database.state() == whole.state()
    assert database.run("SELECT count(*) FROM a, b") == [(0 if drop else 1,)]


def test_starters_at_the_same_time_do_not_collide(make: Callable[[], Database], database: Database) -> None:
    database.at("alerts 1")
    database.run("DROP TABLE alert_outbox")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(database.migrate, ["alerts", "hot"] * 8))
    assert found == [max(alerts.MIGRATIONS), max(hot.MIGRATIONS)] * 8
    both = make()
    both.migrate("alerts")
    both.migrate("hot")
    assert database.state() == both.state()


@pytest.mark.parametrize("released", [name for name in RELEASED if name.startswith("alerts")])
def test_kinds_of_alerts_get_their_present_names(database: Database, released: str) -> None:
    database.at(released)
    database.run(f"{ROWS['alerts']}".replace("0001'", "0002'").replace("'SYN_SCAN'", "'SSH_BRUTE_FORCE'").replace("'scan'", "'guessing'"))
    before = database.run("SELECT id, attack_type, flow_count, updated_at FROM alerts ORDER BY id")
    for _ in range(2):
        database.migrate("alerts")
        assert database.run("SELECT attack_type, kind FROM alerts ORDER BY id") == [
            ("SYN_SCAN", "scan"),
            ("SSH_BRUTE_FORCE", "brute-force"),
        ]
        assert database.run("SELECT id, attack_type, flow_count, updated_at FROM alerts ORDER BY id") == before
