"""What is news for a channel, and when a message is tried again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.channels import WebhookChannel
from jobs.notifying.decide import Thread, news
from jobs.notifying.facts import Facts
from jobs.notifying.sender import Attempt, backoff, pause_s

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CLASSES = {"SYN_SCAN": "scan", "SYN_FLOOD": "flood"}


def channel(**given: Any) -> WebhookChannel:
    return WebhookChannel(kind="webhook", **given)


def standing(
    level: int = 2, status: str = "OPEN", *, severity: int = 4, kinds: tuple[str, ...] = ("SYN_SCAN",), quiet: bool = False
) -> Facts:
    return Facts("incident", "1", level, severity, status, "t", "", kinds, NOW, NOW, quiet=quiet)


def told(level: int = 2, *, done: bool = False) -> Thread:
    return Thread("k", "1", level, done)


@pytest.mark.parametrize(
    ("now", "before", "given", "expected"),
    [
        (standing(), None, {}, "new"),
        (standing(), told(), {}, None),
        (standing(3), told(2), {}, "raised"),
        (standing(1), told(2), {}, None),
        (standing(status="INVESTIGATING"), told(), {}, None),
        (standing(status="RESOLVED"), told(), {}, "resolved"),
        (standing(status="FALSE_POSITIVE"), told(), {}, "resolved"),
        (standing(status="RESOLVED"), told(done=True), {}, None),
        (standing(status="RESOLVED"), None, {}, None),
        (standing(), told(done=True), {}, "reopened"),
        (None, told(), {}, "resolved"),
        (None, told(done=True), {}, None),
        (None, None, {}, None),
        (standing(quiet=True), None, {}, None),
        (standing(3, quiet=True), told(2), {}, None),
        (standing(status="RESOLVED", quiet=True), told(), {}, "resolved"),
        (standing(1), None, {"min_priority": "HIGH"}, None),
        (standing(2), None, {"min_priority": "HIGH"}, "new"),
        (standing(1, status="RESOLVED"), told(2), {"min_priority": "HIGH"}, "resolved"),
        (standing(severity=3), None, {"min_severity": 4}, None),
        (standing(severity=0), None, {"min_severity": 4}, "new"),  # it has no alerts: somebody made it by hand
        (standing(), None, {"kinds": ["flood"]}, None),
        (standing(kinds=("SYN_SCAN", "SYN_FLOOD")), None, {"kinds": ["flood"]}, "new"),
        (standing(), None, {"kinds": ["syn_*"]}, "new"),
        (standing(kinds=()), None, {"kinds": ["*"]}, None),
    ],
)
def test_news_is_what_differs_from_what_was_told(
    now: Facts | None, before: Thread | None, given: dict[str, Any], expected: str | None
) -> None:
    assert news(now, before, channel(**given), CLASSES) == expected


def test_attempts_are_doubly_far_apart_and_jittered() -> None:
    one = channel(retry_s=5, retry_most_s=600)
    for attempts, most in ((1, 5), (2, 10), (3, 20), (8, 600), (1000, 600)):
        waits = {backoff(one, attempts) for _ in range(50)}
        assert most / 2 <= min(waits) <= max(waits) <= most
        assert len(waits) > 40


def test_a_receiver_is_left_alone_as_long_as_it_asks_for_and_else_not_long() -> None:
    one = channel(retry_s=5)
    assert pause_s(one, Attempt("retried", True, 900.0), 1) == 900.0
    assert pause_s(one, Attempt("retried", True), 1) <= 5
    assert pause_s(one, Attempt("retried", True), 30) <= 60
