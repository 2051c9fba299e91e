"""Rates by threshold and what they cost, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from infra.sections import EvaluationSettings
from jobs.evaluation.intervals import UNDEFINED, Interval
from jobs.evaluation.operating import (
    alarms_span,
    cheapest,
    cost_per_hour,
    curve,
    false_alarms_per_hour,
    operating,
    precision_at,
    precision_span,
)

SITE = EvaluationSettings(attack_share=0.2, flows_per_s=10, miss_cost=5, false_alarm_cost=1)


def test_precision_where_attacks_are_rare() -> None:
    assert precision_at(0.9, 0.01, 0.5) == pytest.approx(0.45 / 0.455)
    assert precision_at(0.9, 0.01, 0.001) == pytest.approx(0.0009 / (0.0009 + 0.00999))
    assert np.isnan(precision_at(0.0, 0.0, 0.1))


def test_no_false_alarm_seen_promises_no_certainty() -> None:
    recall, fpr = Interval(0.75, 0.84), Interval(0.0, 0.0056)
    assert precision_span(recall, fpr, 0.01) == pytest.approx((0.0075 / (0.0075 + 0.99 * 0.0056), 1.0))
    assert alarms_span(fpr, EvaluationSettings()) == pytest.approx((0, 0.0056 * 0.99 * 100 * 3600))
    assert np.isnan(precision_span(UNDEFINED, UNDEFINED, 0.01)).all()
    assert np.isnan(alarms_span(UNDEFINED, EvaluationSettings())).all()


def test_an_hour_by_hand() -> None:
    # 36,000 records: 7,200 of attacks, 28,800 benign
    assert false_alarms_per_hour(0.01, SITE) == pytest.approx(288)
    assert float(cost_per_hour(0.75, 0.01, SITE)) == pytest.approx(1800 * 5 + 288)
    at = operating(0.4, 0.75, 0.01, SITE)
    assert (at.precision, at.cost_per_hour) == pytest.approx((5400 / 5688, 9288))


def test_curve_by_hand() -> None:
    attack = np.array([True, True, True, False, False])
    found = curve(attack, np.array([0.9, 0.4, np.inf, 0.4, 0.1]))
    assert found is not None
    assert found.threshold.tolist() == [0.1, 0.4, 0.9, np.inf]
    assert found.recall == pytest.approx([1, 1, 2 / 3, 1 / 3])  # what novelty has found stays found at every threshold
    assert found.false_positive_rate.tolist() == [1, 0.5, 0, 0]
    assert found.precision == pytest.approx([0.6, 0.75, 1, 1])


def test_no_curve_without_both() -> None:
    assert curve(np.array([True, True]), np.array([0.1, 0.2])) is None
    assert curve(np.array([False]), np.array([0.1])) is None


def test_the_cheapest_threshold_follows_the_costs() -> None:
    found = curve(np.array([True, True, False, False]), np.array([0.9, 0.5, 0.6, 0.1]))
    assert found is not None
    even = SITE.model_copy(update={"attack_share": 0.5})
    assert cheapest(found, even.model_copy(update={"miss_cost": 10})).threshold == 0.5  # a false alarm for the last attack
    assert cheapest(found, even.model_copy(update={"miss_cost": 0.1})).threshold == 0.9
    # finding nothing costs as much as any other: of equals the one that alarms least
    assert cheapest(found, even.model_copy(update={"miss_cost": 0})).threshold == np.inf


@pytest.mark.parametrize("wrong", [{"attack_share": 0}, {"attack_share": 1}, {"flows_per_s": 0}, {"miss_cost": -1}])
def test_a_site_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EvaluationSettings(**wrong)
