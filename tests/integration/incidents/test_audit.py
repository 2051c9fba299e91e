"""The audit on a real PostgreSQL: every change leaves a row, whoever makes it; no row is changed or removed without being found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest

from infra.config import Settings
from jobs.incidents import audit
from jobs.sinks import alerts, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import migrate, status
from schemas.packets import FLOWS
from tests.integration.incidents.test_grouping import INTRUSION, attack, give, where
from tests.integration.sinkbench import run

__all__ = ["where"]
pytestmark = pytest.mark.integration


@contextmanager
def session(where: Settings) -> Iterator[Any]:
    with closing(postgres.connect(where.alerts, "test")) as connection:
        connection.autocommit = True
        yield connection.cursor()


def actions(where: Settings) -> list[tuple[Any, ...]]:
    return run(where.alerts, "SELECT action, user_id, details FROM user_actions ORDER BY id")


def verified(where: Settings, noted: str = "") -> audit.Verified:
    with closing(postgres.connect(where.alerts, "test")) as connection:
        return audit.verify(connection, noted)


def test_each_alert_and_incident_once_and_growing_evidence_never(where: Settings) -> None:
    store = AlertStore(where.alerts, FLOWS)
    give(store, INTRUSION)
    first = [action for action, *_ in actions(where)]
    assert sorted(first) == sorted(["alert.insert", "alert.update"] * 3 + ["incident.insert", "incident.update"])
    give(store, [attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", 9, 50)])
    assert len(actions(where)) == len(first)
    assert verified(where).faults == ()
    # the same by somebody who is not the stream
    run(where.alerts, "UPDATE alerts SET flow_count = 1, last_seen = last_seen WHERE attack_type = 'SSH_BRUTE_FORCE'")
    assert actions(where)[-1] == ("alert.update", where.alerts.user, {"flow_count": [21, 1]})


def test_evidence_that_gets_less_leaves_a_row_whoever_says_that_it_is_evidence(where: Settings) -> None:
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    before = len(actions(where))
    flows = "UPDATE alerts SET flow_count = flow_count {} WHERE attack_type = 'SSH_BRUTE_FORCE'"
    with session(where) as cursor:
        cursor.execute("SET flowlake.evidence = 'on'")
        cursor.execute(flows.format("+ 100"))
        assert len(actions(where)) == before
        cursor.execute(flows.format("- 101"))
    assert [details for _, _, details in actions(where)[before:]] == [{"flow_count": [120, 19]}]


@pytest.mark.parametrize(
    ("statement", "action", "changed"),
    [
        ("UPDATE alerts SET severity = 1 WHERE attack_type = 'SYN_SCAN'", "alert.update", {"severity": [2, 1]}),
        ("UPDATE alerts SET incident_id = NULL WHERE attack_type = 'SYN_SCAN'", "alert.update", None),
        ("DELETE FROM alerts WHERE attack_type = 'SYN_SCAN'", "alert.delete", None),
        ("UPDATE incidents SET status = 'RESOLVED'", "incident.update", {"status": ["OPEN", "RESOLVED"]}),
        ("UPDATE incidents SET title = 'x'", "incident.update", None),
        ("DELETE FROM incidents", "incident.delete", None),
        ("INSERT INTO incident_notes (incident_id, author, note) SELECT id, 'anna', 'x' FROM incidents", "note.insert", None),
        ("TRUNCATE alerts CASCADE", "alert.truncate", None),
    ],
)
def test_a_change_by_whatever_way_leaves_a_row(where: Settings, statement: str, action: str, changed: dict[str, Any] | None) -> None:
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    before = len(actions(where))
    with session(where) as cursor:
        cursor.execute("SET flowlake.actor = 'anna'")
        cursor.execute("SET session_replication_role = replica")  # ordinary triggers do not fire then
        cursor.execute(statement)
    left = [(name, user, details) for name, user, details in actions(where)[before:] if name == action]
    assert [(name, user) for name, user, _ in left] == [(action, "anna")]
    assert changed is None or left[0][2] == changed
    assert run(where.alerts, "SELECT DISTINCT db_user FROM user_actions") == [(where.alerts.user,)]


@pytest.mark.parametrize("statement", ["UPDATE user_actions SET user_id = 'x'", "DELETE FROM user_actions", "TRUNCATE user_actions"])
def test_the_owner_too_can_only_add(where: Settings, statement: str) -> None:
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    with session(where) as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("statement", "row", "what"),
    [
        ("UPDATE user_actions SET user_id = 'x' WHERE id = 3", 3, "content was changed"),
        ("UPDATE user_actions SET details = '{}' WHERE id = 3", 3, "content was changed"),
        ("UPDATE user_actions SET timestamp = timestamp + interval '1 us' WHERE id = 3", 3, "content was changed"),
        ("UPDATE user_actions SET hash = previous WHERE id = 3", 3, "content was changed"),
        ("DELETE FROM user_actions WHERE id = 3", 3, "1 row is missing before row 4"),
        ("DELETE FROM user_actions WHERE id > 6", 7, "2 rows are missing at the end"),
        ("UPDATE user_actions SET id = id + 1 WHERE id > 7", 8, "missing before row 9"),
        ("DELETE FROM user_actions_head", 0, "is empty"),
        (
            "INSERT INTO user_actions SELECT 9, timestamp, user_id, action, target, details, db_user, hash, previous "
            "FROM user_actions WHERE id = 8", 9, "content was changed",
        ),
    ],
)  # fmt: skip
def test_who_gets_round_the_triggers_is_found(where: Settings, statement: str, row: int, what: str) -> None:
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    assert verified(where).rows == 8
    with session(where) as cursor:
        cursor.execute("ALTER TABLE user_actions DISABLE TRIGGER ALL")
        cursor.execute(statement)
        cursor.execute("ALTER TABLE user_actions ENABLE TRIGGER ALL")
    assert (row, True) in [(fault.row, what in fault.what) for fault in verified(where).faults]


def test_a_chain_written_anew_is_found_by_who_noted_a_head(where: Settings) -> None:
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    noted = verified(where).head
    assert verified(where, noted).faults == ()
    with session(where) as cursor:
        cursor.execute("ALTER TABLE user_actions DISABLE TRIGGER flowlake_keep; ALTER TABLE user_actions DISABLE TRIGGER flowlake_keep_all")
        cursor.execute("TRUNCATE user_actions; UPDATE user_actions_head SET id = 0, hash = ''")
        cursor.execute("INSERT INTO user_actions (action, target) SELECT 'x', 'y' FROM generate_series(1, 8)")
    assert verified(where).faults == ()
    assert [fault.what for fault in verified(where, noted).faults] == [
        "its hash is another than the one that was noted: the audit was written anew"
    ]
    assert "is not there" in verified(where, "99:00").faults[0].what


def test_what_was_dropped_by_hand_is_put_back(where: Settings) -> None:
    with session(where) as cursor:
        cursor.execute("DROP TRIGGER flowlake_audit ON alerts")
        cursor.execute("ALTER TABLE user_actions DISABLE TRIGGER flowlake_keep")
        cursor.execute("CREATE OR REPLACE FUNCTION flowlake_audit_chain() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    component = alerts.component(where)
    assert status(component).missing == (
        "function flowlake_audit_chain", "trigger flowlake_keep of user_actions", "trigger flowlake_audit of alerts",
    )  # fmt: skip
    migrate(component)
    assert status(component).missing == ()
    with session(where) as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
        cursor.execute("TRUNCATE user_actions")


def test_many_at_once_make_one_chain(where: Settings) -> None:
    with closing(postgres.connect(where.alerts, "a")) as a, session(where) as b:
        mine = a.cursor()
        mine.execute("INSERT INTO user_actions (action, target, details) VALUES ('x', 'é\nü', '{\"a\": 1.50}')")
        b.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            b.execute("INSERT INTO user_actions (action, target) VALUES ('y', 'z')")
        a.commit()
        b.execute("INSERT INTO user_actions (id, timestamp, action, target, db_user, previous, hash) "
                  "VALUES (77, '2001-01-01', 'y', 'z', 'nobody', '', '')")  # fmt: skip
    assert verified(where).faults == ()
    assert run(where.alerts, "SELECT id, db_user FROM user_actions ORDER BY id") == [(1, where.alerts.user), (2, where.alerts.user)]
