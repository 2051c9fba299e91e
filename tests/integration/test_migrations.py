"""Stores of every earlier version, and stores from which somebody dropped something, are brought to the present state; rows stay."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra.config import PostgresSettings
from infra.errors import StoreError
from schemas.migrations import Migrations
from tests.integration.released import MIGRATIONS, RELEASED, TABLE, Database, create

pytestmark = pytest.mark.integration

#: Columns, constraints and indexes of a database, by component.
Present = dict[str, set[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def make(postgres_server: PostgresSettings) -> Callable[[], Database]:
    return lambda: create(postgres_server)


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
STEPS: Migrations = {
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
    assert found == [2, 1] * 8
    both = make()
    both.migrate("alerts")
    both.migrate("hot")
    assert database.state() == both.state()
