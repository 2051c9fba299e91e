"""Stores of every earlier version, and stores from which somebody dropped something, are brought to the present state; rows stay."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from typing import Any

import pytest

from infra.errors import StoreError
from infra.sections import PostgresSettings
from jobs.sinks import migrations, postgres
from jobs.sinks.migrations import Component
from schemas.migrations import InBatches, Migrations
from tests.integration.released import MIGRATIONS, RELEASED, ROWS, TABLE, Database, create

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
        "ALTER TABLE network_flows ALTER COLUMN src_port DROP NOT NULL",
        "ALTER TABLE flowlake_schema DROP CONSTRAINT flowlake_schema_pkey; ALTER TABLE hot_batches ALTER written_at DROP DEFAULT",
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
        "ALTER TABLE alert_outbox ALTER COLUMN seq DROP IDENTITY",
        "ALTER TABLE alerts ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN created_at DROP NOT NULL",
        "ALTER TABLE flowlake_schema DROP COLUMN applied_at",
        # the ledger does not know, and no version is whole
        "DROP TABLE flowlake_schema; ALTER TABLE alerts DROP COLUMN resolved_at",
        "DELETE FROM flowlake_schema; DROP INDEX alerts_src",
    ],
    "alerts 2": [
        "DROP TABLE alert_candidates",
        "DROP TABLE alert_outbox",
        "DROP TABLE alert_flows",
        "DROP TABLE flowlake_schema; DROP TABLE alert_candidates",
        "DROP TABLE flowlake_schema; ALTER TABLE alert_flows DROP COLUMN segment",
    ],
}


@pytest.mark.parametrize(("released", "drop"), [(released, drop) for released, drops in DROPS.items() for drop in drops])
def test_what_was_dropped_is_put_back(present: Present, database: Database, released: str, drop: str) -> None:
    component = database.at(released)
    database.run(drop)
    before = database.state()
    found = database.status(component)
    assert not found.current
    assert found.missing
    assert database.state() == before  # looking changes nothing
    database.migrate(component)
    assert database.status(component).current
    assert {found for found in database.state() if not found[0].endswith("_old")} == present[component]
    kept = 0 if "TABLE network_flows;" in drop or "RENAME" in drop or "TABLE alerts CASCADE" in drop else 1
    assert database.run(f"SELECT count(*) FROM {TABLE[component]}") == [(kept,)]


@pytest.mark.parametrize(
    ("released", "drop"), [*((name, "") for name in RELEASED), *((name, drop) for name, drops in DROPS.items() for drop in drops[::2])]
)
def test_the_script_of_a_dry_run_does_what_migrating_does(present: Present, database: Database, released: str, drop: str) -> None:
    component = database.at(released)
    if drop:
        database.run(drop)
    before = database.state()
    script = database.script(component)
    assert database.state() == before
    if script:
        database.run(script)
    assert {found for found in database.state() if not found[0].endswith("_old")} == present[component]
    assert database.status(component).current
    assert database.script(component) == ""


def test_an_identity_put_back_goes_on_behind_its_numbers(database: Database) -> None:
    database.at("alerts 2")
    out = "INSERT INTO alert_outbox (alert_id, key, message) SELECT gen_random_uuid(), 'k', 'm' FROM generate_series(1, 5) RETURNING seq"
    database.run(out)
    database.run("ALTER TABLE alert_outbox ALTER COLUMN seq DROP IDENTITY")
    database.migrate("alerts")
    assert database.run(out) == [(n,) for n in range(6, 11)]


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
        (
            "alerts 1",
            "ALTER TABLE flowlake_schema DROP COLUMN version",
            "flowlake_schema lacks column version",
            "RENAME TO flowlake_schema_old",
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


@pytest.mark.parametrize("statement", ["INSERT INTO a SELECT y::int FROM b", "SELECT nonsense FROM b", "CREATE TABLE x (y intger)"])
def test_a_statement_that_fails_is_named_and_leaves_everything_as_it_was(database: Database, statement: str) -> None:
    database.migrate("steps", {1: STEPS[1]})
    database.run("INSERT INTO b (y) VALUES ('kept')")
    before = database.state()
    broken = {**STEPS, 3: ("ALTER TABLE b ADD COLUMN IF NOT EXISTS w bigint", "UPDATE b SET w = length(y)", statement)}
    with pytest.raises(StoreError, match=r"version 3 of 'steps' failed at statement 3 " + re.escape(f"({statement})")) as refused:
        database.migrate("steps", broken)
    assert "as they were" in refused.value.hint
    assert "\n" not in str(refused.value)
    assert database.state() == before
    assert database.run("SELECT version FROM flowlake_schema") == [(1,)]
    assert database.run("SELECT y FROM b") == [("kept",)]


def test_tables_newer_than_the_program_are_left_alone(database: Database) -> None:
    database.migrate("steps", STEPS)
    database.run("DROP TABLE c; DROP INDEX a_z")
    before = database.state()
    older = {number: STEPS[number] for number in (1, 2, 3)}
    found = database.status("steps", older)
    assert (found.current, found.version, found.newest, found.missing) == (False, 4, 3, ())
    assert "tables of 'steps' are of version 4, this program knows 3" in found.problem
    for refused in (database.migrate, database.script):
        with pytest.raises(StoreError, match="version 4"):
            refused("steps", older)
    assert database.state() == before


@pytest.mark.parametrize("schema", ["flows", "My Flows", "select", 'a"b'])
def test_a_schema_of_any_name(database: Database, schema: str) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    database.run(f"CREATE SCHEMA {quoted}; ALTER DATABASE {database.settings.database} SET search_path TO {quoted}, public")
    database.migrate("alerts")
    assert database.status("alerts").current
    database.run("DROP TABLE alert_outbox; DROP INDEX alerts_src")
    assert set(database.status("alerts").missing) == {"index alerts_src of alerts", "table alert_outbox"}
    database.migrate("alerts")
    assert database.status("alerts").current
    assert database.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


#: Names that must be quoted, and all that a source's tables may be made of.
ODD: Migrations = {
    1: (
        'CREATE TABLE IF NOT EXISTS "Order" ("Key" bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, '
        "\"user\" text NOT NULL DEFAULT '%s')",
        'CREATE TABLE IF NOT EXISTS "select" (a integer, b integer GENERATED ALWAYS AS (a * 2) STORED, '
        'k bigint REFERENCES "Order", UNIQUE (a))',
    ),
    2: (
        'CREATE UNIQUE INDEX IF NOT EXISTS "Order By" ON "Order" (lower("user"))',
        'CREATE OR REPLACE VIEW "both" AS SELECT "Key", a FROM "Order" JOIN "select" ON k = "Key"',
        'ALTER TABLE "Order" ADD COLUMN IF NOT EXISTS gone text NOT NULL',
        'CREATE INDEX IF NOT EXISTS order_gone ON "Order" (gone)',
    ),
    3: ('ALTER TABLE "Order" DROP COLUMN IF EXISTS gone',),
}


@pytest.mark.parametrize(
    "drop",
    [
        'DROP TABLE "Order" CASCADE',
        'DROP TABLE "select" CASCADE',
        'DROP TABLE "Order", "select" CASCADE',
        'DROP INDEX "Order By"; DROP VIEW "both"',
        'ALTER TABLE "Order" DROP COLUMN "Key" CASCADE, DROP COLUMN "user"',
        'ALTER TABLE "Order" ALTER "Key" DROP IDENTITY, ALTER "user" DROP DEFAULT',
        'ALTER TABLE "select" DROP COLUMN b',
        "DROP TABLE flowlake_schema",
        'DROP TABLE flowlake_schema; ALTER TABLE "select" DROP COLUMN b',
    ],
)
def test_names_that_must_be_quoted(make: Callable[[], Database], database: Database, drop: str) -> None:
    whole = make()
    for each in (whole, database):
        each.migrate("odd", ODD)
    database.run(drop)
    assert database.migrate("odd", ODD) == 3
    assert database.state() == whole.state()
    assert database.status("odd", ODD).current


def test_components_may_share_a_table(database: Database) -> None:
    shared = "CREATE TABLE IF NOT EXISTS shared (x integer PRIMARY KEY)"
    one: Migrations = {1: ("CREATE TABLE IF NOT EXISTS one (x integer)", shared)}
    two: Migrations = {1: ("CREATE TABLE IF NOT EXISTS two (x integer)", shared), 2: ("CREATE INDEX IF NOT EXISTS two_x ON two (x)",)}
    database.migrate("one", one)
    database.run("INSERT INTO shared VALUES (1)")
    assert (database.status("two", two).version, database.status("two", two).missing) == (0, ())
    database.migrate("two", two)
    assert database.run("SELECT component, version FROM flowlake_schema ORDER BY 1") == [("one", 1), ("two", 2)]
    database.run("DROP TABLE shared, two")
    assert database.status("one", one).missing == ("table shared",)
    assert database.status("two", two).missing == ("tables two, shared",)
    database.migrate("one", one)
    database.migrate("two", two)
    assert database.status("one", one).current
    assert database.status("two", two).current


def test_looking_does_not_wait_for_who_is_migrating(database: Database) -> None:
    database.at("alerts 1")
    with closing(postgres.connect(database.settings, "test")) as other:
        other.cursor().execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_MIGRATE,))
        assert database.status("alerts").busy
    assert not database.status("alerts").busy


@pytest.mark.parametrize("versions", [(), (2,), (1, 3), (0, 1)])
def test_versions_without_a_gap(postgres_server: PostgresSettings, versions: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="without a gap"):
        Component("x", postgres_server, dict.fromkeys(versions, ("SELECT 1",)))


def test_processes_at_the_same_time_do_not_collide(make: Callable[[], Database], database: Database) -> None:
    database.at("alerts 1")
    database.run("DROP TABLE alert_outbox")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = list(pool.map(database.migrate, ["alerts", "alerts", "hot", "hot"]))
    assert found == [max(MIGRATIONS["alerts"])] * 2 + [max(MIGRATIONS["hot"])] * 2
    both = make()
    both.migrate("alerts")
    both.migrate("hot")
    assert database.state() == both.state()


def test_starters_at_the_same_time_do_not_collide(make: Callable[[], Database], database: Database) -> None:
    database.at("alerts 1")
    database.run("DROP TABLE alert_outbox")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(database.migrate, ["alerts", "hot"] * 8))
    assert found == [max(MIGRATIONS["alerts"]), max(MIGRATIONS["hot"])] * 8
    both = make()
    both.migrate("alerts")
    both.migrate("hot")
    assert database.state() == both.state()


#: Rows go from one table into another, ten at a time.
MOVING: Migrations = {
    1: ("CREATE TABLE IF NOT EXISTS old (x integer)",),
    2: (
        "CREATE TABLE IF NOT EXISTS new (x integer NOT NULL)",
        InBatches(
            "WITH moved AS (DELETE FROM old WHERE ctid = ANY(ARRAY(SELECT ctid FROM old LIMIT 10)) RETURNING x) "
            "INSERT INTO new SELECT x FROM moved",
            remaining="SELECT count(*) FROM old",
        ),
        "CREATE INDEX IF NOT EXISTS new_x ON new (x)",
    ),
    3: ("ALTER TABLE new ADD COLUMN IF NOT EXISTS y integer NOT NULL DEFAULT 0",),
}


@pytest.fixture
def filled(database: Database) -> Database:
    database.migrate("moving", {1: MOVING[1]})
    database.run("INSERT INTO old SELECT generate_series(1, 35)")
    return database


def test_a_long_migration_goes_on_where_it_was_broken_off(filled: Database) -> None:
    class Killed(Exception):
        pass

    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 3:
            raise Killed

    component = filled.component("moving", MOVING)
    with pytest.raises(Killed):
        migrations.migrate(component, say)
    assert filled.run("SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM new)") == [(15, 20)]
    assert filled.status("moving", MOVING).version == 1
    migrations.migrate(component, said.append)
    assert said == [
        "moving: to version 2 of 3",
        "moving: version 2: 10 of 35 rows",
        "moving: version 2: 20 of 35 rows",
        "moving: to version 2 of 3",
        "moving: version 2: 10 of 15 rows",
        "moving: version 2: 15 of 15 rows",
        "moving: to version 2 of 3",
        "moving: to version 3 of 3",
    ]
    assert filled.run("SELECT count(*), sum(x), (SELECT count(*) FROM old) FROM new") == [(35, 35 * 36 // 2, 0)]
    assert filled.status("moving", MOVING).current


def test_a_long_migration_from_several_sides(make: Callable[[], Database], filled: Database) -> None:
    whole = make()
    whole.migrate("moving", MOVING)
    filled.run("INSERT INTO old SELECT generate_series(36, 500)")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: filled.migrate("moving", MOVING), range(4))) == [3] * 4
    assert filled.run("SELECT count(*), count(DISTINCT x) FROM new") == [(500, 500)]
    assert filled.state() == whole.state()


def test_a_batch_that_fails_leaves_the_version_before(filled: Database) -> None:
    filled.run("INSERT INTO old VALUES (NULL)")
    with pytest.raises(StoreError, match=r"version 2 of 'moving' failed at statement 2 \(WITH moved AS.*null value"):
        filled.migrate("moving", MOVING)
    assert filled.run("SELECT version FROM flowlake_schema") == [(1,)]
    filled.run("DELETE FROM old WHERE x IS NULL")
    filled.migrate("moving", MOVING)
    assert filled.run("SELECT count(*) FROM new") == [(35,)]


class Extra:
    """A layout of the test's own."""

    def __init__(self, *statements: str) -> None:
        self._statements = statements

    def missing(self, cursor: Any) -> list[str]:
        cursor.execute("SELECT to_regclass('extra') IS NULL")
        return ["the extra table"] if cursor.fetchone()[0] else []

    def script(self, cursor: Any) -> list[str]:
        return [f"{statement};" for statement in self._statements] if self.missing(cursor) else []

    def apply(self, connection: Any, say: Callable[[str], None]) -> None:
        with connection, connection.cursor() as cursor:
            for statement in self._statements if self.missing(cursor) else ():
                say(f"extra: {statement}")
                cursor.execute(statement)


def test_a_layout_is_brought_about_behind_the_migrations(database: Database) -> None:
    component = Component("steps", database.settings, STEPS, Extra("CREATE TABLE extra (x integer)"))
    assert migrations.sql(component)[-1] == "CREATE TABLE extra (x integer);"
    database.migrate("steps", STEPS)
    assert migrations.status(component).missing == ("the extra table",)
    said: list[str] = []
    for _ in range(2):
        migrations.migrate(component, said.append)
    assert said == ["extra: CREATE TABLE extra (x integer)"]
    assert migrations.status(component).current
    assert migrations.sql(component) == []


def test_a_layout_that_fails_leaves_the_tables_to_serve_without(database: Database) -> None:
    broken = Component("steps", database.settings, STEPS, Extra("CREATE TABLE never (x integer)", "SELECT nonsense"))
    assert migrations.migrate(broken) == 4
    assert database.run("SELECT to_regclass('never'), to_regclass('c') IS NULL") == [(None, False)]


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
