"""From ``flowlake drift`` on a Delta table to a receiver: one message of an alarm however often it is looked at, one of its end."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.watching import drift, telling
from ops.cli import main
from tests import watchingdata
from tests.integration.notifying.servers import Hook
from tests.integration.notifying.test_notify_cli import Place, once, place, web  # noqa: F401 - fixtures
from tests.integration.watching.test_drift import add, registered
from tests.watchingdata import T0

pytestmark = pytest.mark.integration


def test_an_alarm_of_drift_is_told_once_and_so_is_its_end(
    spark: SparkSession,
    place: Place,  # noqa: F811
    web: Hook,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place.declare(ops={"kind": "webhook", "url": web.url})
    model = registered(place.where, profile=True)
    rng = np.random.default_rng(8)

    def hours(first: int, last: int, sensor: str, **how: object) -> None:
        add(place.where, model, watchingdata.table(rng, range(first, last), sensor, **how))  # type: ignore[arg-type]

    def looked(hour: int) -> int:
        """Exit code of the command when an hour has ended and is settled; then the notifications go out."""
        monkeypatch.setattr(drift, "utc_now", lambda: T0 + timedelta(hours=hour, minutes=55))
        code = main.run(["drift"])
        assert once(capsys)[1]["failed"] == 0
        return code

    hours(10, 13, "s1")
    hours(10, 12, "s2")
    assert looked(12) == 0
    assert web.posted == []
    hours(12, 13, "s2", shift="new", share=0.8)
    assert looked(13) == 10
    assert looked(13) == 10, "run again"
    hours(13, 14, "s1")
    hours(13, 14, "s2", shift="new", share=0.8)
    assert looked(14) == 10, "it goes on"
    (told,) = [posted.json for posted in web.posted]
    assert (told["news"], told["subject"], told["kinds"]) == ("new", "condition", [telling.KIND])
    assert told["title"] == "Model 1 drifts: flows of s2 are no longer what it knows"
    end = 14 + telling.LAST_HOURS
    hours(14, end, "s1")
    hours(14, end, "s2")
    for _ in range(2):
        looked(end)
    assert [posted.json["news"] for posted in web.posted] == ["new", "resolved"]
    assert len({posted.headers["Idempotency-Key"] for posted in web.posted}) == 2
