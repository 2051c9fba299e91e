"""What is remembered of questions, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing

import pytest

from infra.config import Settings
from infra.errors import StoreError
from ops.dash import answers
from ops.dash.answers import Answers


def test_a_failure_is_remembered_for_a_second_an_answer_as_long_as_is_wanted(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(answers.time, "monotonic", lambda: now[0])
    asked: list[Future[int]] = []

    def ask() -> Future[int]:
        asked.append(Future())
        return asked[-1]

    with closing(Answers(settings())) as made:
        first = made.kept("sensors", 15.0, ask)
        now[0] += 2
        assert made.kept("sensors", 15.0, ask) is first  # it has not ended yet
        first.set_exception(StoreError("away"))
        now[0] += answers.KEEP_S
        second = made.kept("sensors", 15.0, ask)
        assert second is not first
        second.set_result(1)
        now[0] += 14
        assert made.kept("sensors", 15.0, ask) is second
        now[0] += 2
        assert made.kept("sensors", 15.0, ask) is not second
