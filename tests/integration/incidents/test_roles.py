"""What each role may, and above all may not, on a real PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr

from infra import config
from infra.config import Settings
from infra.errors import ConfigError, StoreError
from infra.sections import PostgresSettings
from jobs.incidents import people
from jobs.sinks import alerts, ask, hot, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import migrate, status
from ops.cli.main import main
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from schemas.roles import ADMIN, ANALYST, NOTIFIER, RESPONDER, ROLES, WRITER
from tests.integration.hotstore import empty_database
from tests.integration.incidents.test_grouping import INTRUSION, attack, give
from tests.integration.sinkbench import run
from tests.sinksdata import table

pytestmark = pytest.mark.integration


@contextmanager
def filled(where: Settings) -> Iterator[Settings]:
    """Tables of both stores in one database, filled by their owner; a login for each role."""
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    for role in ROLES:
        run(
            where.alerts,
            f"DO $$ BEGIN CREATE ROLE {login(role)} LOGIN PASSWORD 'x' IN ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )
    yield where
    for name in ("flowlake-alerts", "flowlake-hot"):
        postgres.discard(postgres.kept(where.alerts, name))


@pytest.fixture
def made(tables: dict[str, Any], settings: Callable[..., Settings]) -> Iterator[Settings]:
    """Filled tables of this test alone."""
    with filled(settings(hot=tables, alerts={**tables, "min_flows": 1})) as where:
        yield where


@pytest.fixture(scope="module")
def untouched(postgres_server: PostgresSettings, _migrated: str) -> Iterator[Settings]:
    """Filled tables for tests that undo what they do."""
    server = postgres_server.model_dump(include={"host", "port", "user", "password"})
    with (
        empty_database(server, _migrated) as name,
        filled(config.build(hot={**server, "database": name}, alerts={**server, "database": name, "min_flows": 1})) as where,
    ):
        yield where


def login(role: str) -> str:
    return f"test_{role}"


def as_role(where: Settings, role: str) -> Settings:
    user = {"user": login(role), "password": SecretStr("x")}
    return where.model_copy(update={"alerts": where.alerts.model_copy(update=user), "hot": where.hot.model_copy(update=user)})


def attempt(where: Settings, role: str, statement: str) -> str:
    """What the server says it has done; it is undone."""
    with closing(postgres.connect(as_role(where, role).alerts, "test")) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        connection.rollback()
        return str(cursor.statusmessage)


MAY = {
    WRITER: ["SELECT * FROM alerts", "UPDATE alerts SET severity = 1", "DELETE FROM network_flows", "INSERT INTO incidents (id, title, "
             "first_seen, last_seen) VALUES (gen_random_uuid(), '', now(), now())"],
    ANALYST: ["SELECT * FROM network_flows", "SELECT * FROM hourly_attack_stats", "SELECT * FROM alerts", "SELECT * FROM incidents"],
    RESPONDER: ["SELECT * FROM network_flows", "UPDATE alerts SET resolved_at = now()", "UPDATE incidents SET status = 'RESOLVED'",
                "INSERT INTO user_actions (action, target) VALUES ('block', '1.2.3.4')", "SELECT * FROM user_actions"],
    ADMIN: ["DELETE FROM network_flows", "UPDATE alerts SET resolved_at = now()", "SELECT * FROM user_actions"],
}  # fmt: skip
MAY_NOT = {
    WRITER: ["SELECT * FROM user_actions", "INSERT INTO user_actions (action, target) VALUES ('x', 'y')", "DELETE FROM alerts",
             "SELECT note FROM incident_notes", "UPDATE user_actions_head SET id = 0", "DROP TABLE alerts", "TRUNCATE network_flows"],
    ANALYST: ["UPDATE alerts SET severity = 1", "DELETE FROM network_flows", "INSERT INTO network_flows DEFAULT VALUES",
              "SELECT * FROM user_actions", "SELECT * FROM incident_notes", "UPDATE incidents SET status = 'RESOLVED'",
              "SELECT * FROM alert_state", "CREATE TABLE mine (x int)"],
    RESPONDER: ["DELETE FROM alerts", "UPDATE alerts SET severity = 1", "UPDATE alerts SET details = '{}'", "DELETE FROM network_flows",
                "UPDATE user_actions SET user_id = 'x'", "DELETE FROM user_actions", "TRUNCATE user_actions",
                "INSERT INTO user_actions (id, action, target, hash) VALUES (1, 'x', 'y', '')", "UPDATE user_actions_head SET id = 0",
                "DELETE FROM incident_notes", "UPDATE incident_notes SET note = 'x'", "ALTER TABLE alerts DISABLE TRIGGER ALL"],
    ADMIN: ["UPDATE user_actions SET user_id = 'x'", "DELETE FROM user_actions", "TRUNCATE user_actions", "DELETE FROM alerts",
            "ALTER TABLE user_actions DISABLE TRIGGER ALL", "DROP FUNCTION flowlake_audit_keep CASCADE",
            "UPDATE user_actions_head SET id = 0"],
}  # fmt: skip


@pytest.mark.parametrize(("role", "statement"), [(role, one) for role, of in MAY.items() for one in of])
def test_what_a_role_may(untouched: Settings, role: str, statement: str) -> None:
    assert attempt(untouched, role, statement).split()[0] == statement.split()[0]


@pytest.mark.parametrize(("role", "statement"), [(role, one) for role, of in MAY_NOT.items() for one in of])
def test_what_a_role_may_not(untouched: Settings, role: str, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        attempt(untouched, role, statement)


def test_roles_have_neither_login_nor_password_nor_more(made: Settings) -> None:
    rows = run(
        made.alerts,
        "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolpassword IS NULL FROM pg_authid "
        "WHERE rolname = ANY(%s)", (list(ROLES),),
    )  # fmt: skip
    assert sorted(rows) == sorted((role, False, False, False, False, False, True) for role in ROLES)


def test_each_does_its_work_by_its_role_alone(made: Settings) -> None:
    """The stream writes, a responder closes; the audit says who, and one chain holds it all."""
    stream, oncall = as_role(made, WRITER), as_role(made, RESPONDER)
    assert status(alerts.component(stream)).missing == ()
    migrate(alerts.component(stream))
    done = give(AlertStore(stream.alerts, FLOWS), [attack("BOTNET_BEACON", f"10.0.1.{i}", "9.9.9.9", i) for i in range(3)])
    assert (len(done.raised), done.incidents) == (3, 1)
    connection = postgres.connect(stream.hot, "test")
    assert hot.insert(connection, hot.hot_rows(table(INTRUSION), FLOWS), NETWORK_FLOWS, ("q", 0, 0, "x")) == len(INTRUSION)
    connection.close()
    with people.acting(oncall.alerts, "anna") as cursor:
        for row in people.listed(cursor)[0]:
            people.note(cursor, row["id"], "anna", "seen")
            people.close(cursor, row["id"], "anna", "RESOLVED")
    assert run(made.alerts, "SELECT DISTINCT status FROM incidents") == [("RESOLVED",)]
    by = run(made.alerts, "SELECT DISTINCT user_id, db_user FROM user_actions WHERE action = 'incident.update' AND details ? 'status'")
    assert by == [("anna", login(RESPONDER))]
    postgres.discard(postgres.kept(stream.alerts, "flowlake-alerts"))


def test_who_lacks_the_role_is_told_which_to_ask_for(made: Settings) -> None:
    analyst = as_role(made, ANALYST)
    with people.acting(analyst.alerts, "eve") as cursor:
        ((row,), _) = people.listed(cursor)
    with pytest.raises(StoreError, match="permission denied") as refused, people.acting(analyst.alerts, "eve") as cursor:
        people.close(cursor, row["id"], "eve", "RESOLVED")
    assert refused.value.hint == f"ask for the role: GRANT flowlake_responder TO {login(ANALYST)}"


#: Who asks for what, and the role that may.
REFUSED = [
    (ANALYST, ("audit", "list"), RESPONDER), (ANALYST, ("audit", "verify"), RESPONDER), (WRITER, ("audit", "list"), RESPONDER),
    (NOTIFIER, ("whitelist", "list"), ANALYST), (NOTIFIER, ("blocks", "list"), ANALYST), (NOTIFIER, ("assets", "list"), ANALYST),
    (ANALYST, ("whitelist", "add", "10.9.9.9", "--why", "x"), RESPONDER), (ANALYST, ("notify", "status"), RESPONDER),
]  # fmt: skip


def test_lists_name_the_role_that_may_read_them(
    made: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for role, words, wanted in REFUSED:
        for store in ("HOT", "ALERTS"):
            where = {"HOST": made.alerts.host, "PORT": made.alerts.port, "DATABASE": made.alerts.database}
            for name, value in {**where, "USER": login(role), "PASSWORD": "x"}.items():
                monkeypatch.setenv(f"FLOWLAKE_{store}__{name}", str(value))
        with pytest.raises(SystemExit) as end:
            main(list(words))
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (5, "")
        assert "permission denied for table" in err
        assert err.splitlines()[1:] == [f"  ask for the role: GRANT {wanted} TO {login(role)}"]


def test_tables_of_another_version_say_how_to_change_them(made: Settings) -> None:
    run(made.alerts, "ALTER TABLE incidents RENAME COLUMN title TO heading")
    with pytest.raises(StoreError, match="does not exist") as refused, people.acting(made.alerts, "eve") as cursor:
        people.listed(cursor)
    assert "flowlake db migrate" in refused.value.hint
    run(made.alerts, "UPDATE flowlake_schema SET version = 1 WHERE component = 'alerts'")
    with pytest.raises(StoreError, match="are of version 1, this flowlake's of") as refused, people.acting(made.alerts, "eve") as cursor:
        people.listed(cursor)
    assert refused.value.hint == "flowlake db migrate brings them up to date"
    run(made.alerts, "UPDATE flowlake_schema SET version = 999 WHERE component = 'alerts'")
    with pytest.raises(StoreError, match="newer than this flowlake") as refused:
        ask.query(made.alerts, "SELECT nothing_known FROM alerts")
    assert "update flowlake" in refused.value.hint


def end_session(where: Settings, cursor: Any) -> None:
    run(where.alerts, f"SELECT pg_terminate_backend({cursor.connection.get_backend_pid()}, 5000)")


def cut(where: Settings, then: Callable[[Any], object]) -> StoreError:
    """The failure of an act whose session the server ends in its midst."""

    def act() -> None:
        with people.acting(where.alerts, "anna") as cursor:
            (row,), _ = people.listed(cursor)
            people.note(cursor, row["id"], "anna", "lost")
            end_session(where, cursor)
            then(cursor)

    with pytest.raises(StoreError) as refused:
        act()
    assert run(where.alerts, "SELECT count(*) FROM incident_notes") == [(0,)]
    return refused.value


def test_a_connection_that_is_cut_says_what_was_not_done(made: Settings) -> None:
    def refuse(_: Any) -> None:
        raise ConfigError("of ours, whose rollback finds nobody")

    told = cut(made, people.listed)
    assert re.search(r"closed the connection( \(terminating connection .*\))?: nothing was changed$", str(told))
    assert "do it again" in told.hint
    assert "closed the connection: nothing was changed" in str(cut(made, refuse))
    assert str(cut(made, lambda _: None)).endswith("at the very end: whether the change was made is not known")


def test_rights_taken_away_by_hand_are_given_back(made: Settings) -> None:
    run(made.alerts, f"REVOKE SELECT ON alerts FROM {ANALYST}")
    assert status(alerts.component(made)).missing == (f"rights of {ANALYST} on alerts",)
    migrate(alerts.component(made))
    assert status(alerts.component(made)).missing == ()


@pytest.mark.parametrize(
    ("role", "statement", "rows"),
    [
        (RESPONDER, "UPDATE incidents SET title = 'x', description = '', metadata = '{}'", 1),
        (RESPONDER, "UPDATE alerts SET notified_severity = 1", 3),
        (WRITER, "UPDATE alerts SET flow_count = flow_count + 1", 0),
    ],
)
def test_only_who_may_write_evidence_is_believed_that_it_is(made: Settings, role: str, statement: str, rows: int) -> None:
    (before,) = run(made.alerts, "SELECT count(*) FROM user_actions")[0]
    with closing(postgres.connect(as_role(made, role).alerts, "test")) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET flowlake.evidence = 'on'")
        cursor.execute(statement)
    assert run(made.alerts, "SELECT count(*) FROM user_actions") == [(before + rows,)]
