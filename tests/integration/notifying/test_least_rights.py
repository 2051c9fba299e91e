"""What the notifier's role may and may not, and that it suffices; on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr

from infra.config import Settings
from jobs.incidents import people
from jobs.notifying.run import Notifier
from jobs.sinks import postgres
from jobs.sinks.alertstore import AlertStore
from schemas.packets import FLOWS
from schemas.roles import ANALYST, NOTIFIER, RESPONDER, WRITER
from tests.integration.incidents.test_grouping import INTRUSION, give
from tests.integration.notifying.servers import Hook, hook
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration


@pytest.fixture
def web() -> Iterator[Hook]:
    with hook() as server:
        yield server


@pytest.fixture
def by_role(database: dict[str, Any], settings: Callable[..., Settings], web: Hook) -> Callable[[str], Settings]:
    """Settings of a login that has one role."""

    def of(role: str) -> Settings:
        owner = settings(alerts=database)
        login = f"test_{role}"
        run(
            owner.alerts,
            f"DO $$ BEGIN CREATE ROLE {login} LOGIN PASSWORD 'x' IN ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )
        return settings(
            alerts={**database, "user": login, "password": SecretStr("x"), "min_flows": 1},
            notify={"channels": {"ops": {"kind": "webhook", "url": web.url}}},
        )

    return of


def test_each_does_its_part_by_its_role_alone(by_role: Callable[[str], Settings], web: Hook) -> None:
    """The stream writes, the notifier tells, a responder closes, the notifier tells that too."""
    stream, notifier, oncall = by_role(WRITER), by_role(NOTIFIER), by_role(RESPONDER)
    give(AlertStore(stream.alerts, FLOWS), INTRUSION)
    assert Notifier(notifier).once()["sent"] == 1
    with people.acting(oncall.alerts, "anna") as cursor:
        ((row,), _) = people.listed(cursor)
        people.close(cursor, row["id"], "anna", "RESOLVED", "cleaned")
    assert Notifier(notifier).once()["sent"] == 1
    assert [(posted.json["news"], posted.json.get("note")) for posted in web.posted] == [("new", None), ("resolved", "cleaned")]
    postgres.discard(postgres.kept(stream.alerts, "flowlake-alerts"))


MAY_NOT = {
    NOTIFIER: ["UPDATE alerts SET severity = 1", "UPDATE incidents SET status = 'RESOLVED'", "DELETE FROM incident_notes",
               "SELECT * FROM user_actions", "INSERT INTO user_actions (action, target) VALUES ('x', 'y')", "SELECT * FROM alert_state"],
    WRITER: ["SELECT * FROM notification_messages", "DELETE FROM notifications", "SELECT * FROM notification_held"],
    ANALYST: ["SELECT * FROM notification_messages", "SELECT * FROM notifications"],
    RESPONDER: ["UPDATE notification_messages SET body = '{}'", "DELETE FROM notification_messages", "DELETE FROM notifications",
                "INSERT INTO notification_messages (channel) VALUES ('x')"],
}  # fmt: skip


@pytest.mark.parametrize("role", MAY_NOT)
def test_no_role_may_more_than_its_part(by_role: Callable[[str], Settings], role: str) -> None:
    assert MAY_NOT[role]
    with closing(postgres.connect(by_role(role).alerts, "test")) as connection, connection.cursor() as cursor:
        for statement in MAY_NOT[role]:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
            connection.rollback()
