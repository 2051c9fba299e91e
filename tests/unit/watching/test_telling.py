"""What is told of a model's last hours."""

from __future__ import annotations

from collections.abc import Collection

from infra import config
from jobs.watching import judging, telling
from jobs.watching.drift import Watched
from jobs.watching.judging import Deviation, JudgedHour
from jobs.watching.statistics import Distance

SETTINGS = config.build()


def watched(sensor: str = "s1", *, alarms: Collection[int] = (), hours: int = 10) -> Watched:
    """Model 3 on a sensor; hours 0 to 9, some of them with an alarm."""
    found = [JudgedHour(n, 500, 500.0) for n in range(hours)]
    for n in alarms:
        away = Distance(psi=2.0, limit=0.5, bias=0.0, ks=0.4, ks_limit=0.1)
        found[n].findings = [Deviation(n, 500, "feature:flow_duration", away, judging.ALARM, judging.SUDDEN)] * 7
    return Watched("flows", "3", sensor, 5000, "training", found)


def test_an_alarm_of_the_last_six_hours_is_told_with_what_is_far() -> None:
    found = telling.condition(SETTINGS, watched(alarms=[4, 7]), 9)
    assert found is not None
    assert (found.kind, found.name, found.source, found.level) == ("MODEL_DRIFT", "flows|3|s1", "s1", 1)
    assert (found.first.hour, found.last.hour) == (4, 7)
    lines = found.description.splitlines()
    assert lines[0].endswith("07:00 UTC against its training (sudden):")
    assert lines[1:6] == ["feature:flow_duration: PSI 2.00, limit 0.50"] * 5
    assert lines[6:] == ["and 2 measures more", "Look: flowlake drift"]


def test_older_alarms_and_hours_that_nobody_judged_are_not() -> None:
    assert telling.condition(SETTINGS, watched(alarms=[3]), 9) is None
    assert telling.condition(SETTINGS, watched(hours=0), 9) is None


def test_a_sensor_with_an_odd_name_spoils_no_message() -> None:
    found = telling.condition(SETTINGS, watched("a\x1b[2J\nb\x00\udc80", alarms=[9]), 9)
    assert found is not None
    for text in (found.title, found.name, found.source):
        assert text.isprintable()
