"""Conditions of the platform, from a run of the watching to the messages of each channel, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.config import Settings
from infra.errors import StoreError
from jobs.notifying.run import Notifier
from jobs.watching import telling
from schemas.roles import ANALYST, NOTIFIER, WRITER
from tests.integration.notifying.test_least_rights import by_role, web  # noqa: F401 - fixtures
from tests.integration.notifying.test_planning import HOOK, make, outbox, plan, told  # noqa: F401 - fixtures
from tests.integration.sinkbench import run
from tests.unit.watching.test_telling import watched

pytestmark = pytest.mark.integration


def test_drift_is_told_when_it_begins_and_when_it_is_over(make: Callable[..., Settings]) -> None:  # noqa: F811
    where = make(ops={}, intruders={"kinds": ["scan", "flood"]}, pager={"min_priority": "CRITICAL"})
    assert telling.tell(where, [watched(alarms=[9]), watched("s2")]) == (1, 0)
    assert telling.tell(where, [watched(alarms=[8, 9])]) == (0, 0), "it goes on: no news"
    plan(where)
    title = "Model 3 drifts: flows of s1 are no longer what it knows"
    assert told(where) == [("new", "MEDIUM", title)]
    assert told(where, "intruders") == told(where, "pager") == []
    assert telling.tell(where, [watched("s2")]) == (0, 0), "what was not looked at stays"
    assert telling.tell(where, [watched(alarms=[2])]) == (0, 1), "six hours without"
    plan(where)
    assert telling.tell(where, [watched(alarms=[9])]) == (1, 0), "again"
    plan(where)
    assert [news for news, _, _ in told(where)] == ["new", "resolved", "reopened"]
    (body,) = run(where.alerts, "SELECT body FROM notification_messages WHERE news = 'reopened'")[0]
    assert (body["subject"], body["kinds"], body["sources"]) == ("condition", ["MODEL_DRIFT"], ["s1"])
    assert "feature:flow_duration: PSI 2.00, limit 0.50" in body["description"]
    assert outbox(where) == 0


def test_one_that_becomes_more_urgent_is_told_again(make: Callable[..., Settings], settings: Callable[..., Settings]) -> None:  # noqa: F811
    where = make(ops={})
    urgent = settings(alerts=where.alerts, notify={"channels": {"ops": HOOK}}, drift={"priority": "CRITICAL"})
    telling.tell(where, [watched(alarms=[9])])
    plan(where)
    assert telling.tell(urgent, [watched(alarms=[9])]) == (1, 0)
    plan(where)
    assert [(news, degree) for news, degree, _ in told(where)] == [("new", "MEDIUM"), ("raised", "CRITICAL")]


def test_the_writer_says_it_the_notifier_tells_it_and_an_analyst_may_not(by_role: Callable[[str], Settings], web: Any) -> None:  # noqa: F811
    assert telling.tell(by_role(WRITER), [watched(alarms=[9])]) == (1, 0)
    assert Notifier(by_role(NOTIFIER)).once()["sent"] == 1
    with pytest.raises(StoreError, match="permission denied") as refused:
        telling.tell(by_role(ANALYST), [watched(alarms=[9])])
    assert f"GRANT {WRITER} TO" in str(refused.value.hint)
