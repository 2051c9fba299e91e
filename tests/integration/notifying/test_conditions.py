"""Conditions of the platform, from a run of the watching to the messages of each channel, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.config import Settings
from infra.errors import StoreError
from jobs.notifying.run import Notifier
from jobs.watching import telling
from jobs.watching.drift import Watched
from schemas.roles import ANALYST, NOTIFIER, WRITER
from tests.integration.notifying.test_least_rights import by_role, web  # noqa: F401 - fixtures
from tests.integration.notifying.test_planning import HOOK, make, outbox, plan, told  # noqa: F401 - fixtures
from tests.integration.sinkbench import run
from tests.unit.watching.test_telling import watched

pytestmark = pytest.mark.integration


def tell(where: Settings, *found: Watched) -> tuple[int, int]:
    return telling.tell(where, ["flows"], found)


def test_drift_is_told_when_it_begins_and_when_it_is_over(make: Callable[..., Settings]) -> None:  # noqa: F811
    where = make(ops={}, intruders={"kinds": ["scan", "flood"]}, pager={"min_priority": "CRITICAL"})
    assert tell(where, watched(alarms=[9]), watched("s2")) == (1, 0)
    assert tell(where, watched(alarms=[8, 9]), watched("s2")) == (0, 0), "it goes on: no news"
    plan(where)
    title = "Model 3 drifts: flows of s1 are no longer what it knows"
    assert told(where) == [("new", "MEDIUM", title)]
    assert told(where, "intruders") == told(where, "pager") == []
    assert telling.tell(where, ["readings"], []) == (0, 0), "what was not looked at stays"
    assert tell(where) == (0, 0), "nothing was scored at all"
    assert tell(where, watched(hours=0)) == (0, 0), "of what nothing is known yet, too"
    assert tell(where, watched(alarms=[2])) == (0, 1), "six hours without"
    plan(where)
    assert tell(where, watched(alarms=[9])) == (1, 0), "again"
    plan(where)
    assert [news for news, _, _ in told(where)] == ["new", "resolved", "reopened"]
    (body,) = run(where.alerts, "SELECT body FROM notification_messages WHERE news = 'reopened'")[0]
    assert (body["subject"], body["kinds"]) == ("condition", ["MODEL_DRIFT"])
    assert "sources" not in body, "a sensor is no attacker"
    assert "feature:flow_duration: PSI 2.00, limit 0.50" in body["description"]
    assert outbox(where) == 0


def test_a_model_that_is_replaced_drifts_no_more(make: Callable[..., Settings]) -> None:  # noqa: F811
    where = make(ops={})
    tell(where, watched(alarms=[9]))
    plan(where)
    after = replace(watched(), model_version="4")
    assert tell(where, watched(alarms=[2], hours=3), after) == (0, 1), "it served for some hours, long ago"
    assert tell(where, watched(alarms=[9])) == (1, 0)
    assert tell(where, after) == (0, 1), "it has not served at all"
    plan(where)
    assert [news for news, _, _ in told(where)] == ["new", "resolved"]


def test_one_that_was_held_back_is_told_later(make: Callable[..., Settings]) -> None:  # noqa: F811
    busy = make(ops={"per_minute": 1})
    tell(busy, watched(alarms=[9]), watched("s2", alarms=[9]))
    plan(busy)
    assert len([news for news, _, _ in told(busy) if news == "new"]) == 1
    assert tell(busy, watched(alarms=[9]), watched("s2", alarms=[9])) == (0, 0)
    assert outbox(busy) == 1, "no channel knows of it"
    calm = make(ops={"per_minute": 100})
    plan(calm)
    assert len([news for news, _, _ in told(calm) if news == "new"]) == 2


def test_one_that_becomes_more_urgent_is_told_again(make: Callable[..., Settings], settings: Callable[..., Settings]) -> None:  # noqa: F811
    where = make(ops={})
    urgent = settings(alerts=where.alerts, notify={"channels": {"ops": HOOK}}, drift={"priority": "CRITICAL"})
    tell(where, watched(alarms=[9]))
    plan(where)
    assert tell(urgent, watched(alarms=[9])) == (1, 0)
    plan(where)
    assert [(news, degree) for news, degree, _ in told(where)] == [("new", "MEDIUM"), ("raised", "CRITICAL")]


def test_the_writer_says_it_the_notifier_tells_it_and_an_analyst_may_not(by_role: Callable[[str], Settings], web: Any) -> None:  # noqa: F811
    assert tell(by_role(WRITER), watched(alarms=[9])) == (1, 0)
    assert Notifier(by_role(NOTIFIER)).once()["sent"] == 1
    with pytest.raises(StoreError, match="permission denied") as refused:
        tell(by_role(ANALYST), watched(alarms=[9]))
    assert f"GRANT {WRITER} TO" in str(refused.value.hint)
