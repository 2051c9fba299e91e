"""Alarms of windows, on windows that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.training.alarms import GAP_S, Alarms, alarms_of, allowed, must_lie_below

ONE, OTHER = ("1", "a", "SLOW_SCAN"), ("1", "b", "SLOW_SCAN")


def test_windows_of_one_source_that_follow_each_other_are_one_alarm() -> None:
    alarms = Alarms(30)
    counts = []
    for who, begin in ((ONE, 0), (ONE, 30), (OTHER, 30), (ONE, 1000), (ONE, 500), (ONE, 180), (ONE, 750)):
        alarms.add(who, begin)
        counts.append(alarms.count)
    assert counts == [1, 1, 2, 3, 4, 3, 2], "what lies between two alarms makes one of them"


@given(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.integers(0, 60).map(lambda n: n * 180)), max_size=40, unique=True))
def test_any_order_gives_as_many(windows: list[tuple[tuple[str, ...], int]]) -> None:
    alarms = Alarms(180)
    for who, begin in windows:
        alarms.add(who, begin)
    assert alarms.count == alarms_of((who, begin, begin + 180) for who, begin in windows)


def test_windows_of_several_sizes_make_one_alarm() -> None:
    assert alarms_of([(ONE, 0, 180), (ONE, 150, 155), (ONE, 180, 210)]) == 1
    assert alarms_of([(ONE, 0, 180), (ONE, 181 + GAP_S, 400 + GAP_S)]) == 2
    assert alarms_of([(ONE, 0, 900), (ONE, 5, 10), (ONE, 1190, 1195)]) == 1, "the longest of them counts"
    assert alarms_of([]) == 0


@pytest.mark.parametrize(("per_day", "days", "most"), [(1 / 3, 1.0, 0), (1 / 3, 6.5, 1), (1.0, 1.0, 0), (1.0, 7.0, 6), (0.0, 9.0, 0)])
def test_of_few_days_no_alarm_is_allowed(per_day: float, days: float, most: int) -> None:
    assert allowed(per_day, days) == most


def test_so_many_alarms_lie_above_and_no_more() -> None:
    p = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    who, begin = [ONE, ONE, OTHER, ONE, ONE], np.array([0, 30, 0, 5000, 60])
    assert [must_lie_below(p, who, begin, 30, most) for most in range(4)] == [0.9, 0.7, 0.6, 0.0]
    assert must_lie_below(np.zeros(0), [], np.zeros(0, np.int64), 30, 0) == 0.0
