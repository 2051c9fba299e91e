"""Scores become probabilities, and keep their order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from jobs.training.calibrating import FEWEST, calibrate


def drawn(slope: float, base: float, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and attacks whose log-odds are linear in those of the score."""
    rng = np.random.default_rng(3)
    odds = rng.normal(0, 3, n)
    return expit(odds), rng.random(n) < expit(slope * odds + base)


@pytest.mark.parametrize(("slope", "base"), [(1.0, -2.0), (0.5, 1.0), (1.4, 0.0)])
def test_the_curve_is_found_again(slope: float, base: float) -> None:
    score, attack = drawn(slope, base)
    curve = calibrate(score, attack)
    assert curve is not None
    for odds in (-4.0, -1.0, 0.0, 2.0, 5.0):
        assert np.interp(expit(odds), curve.raw, curve.true) == pytest.approx(expit(slope * odds + base), abs=0.02)


def test_records_keep_their_order_even_far_out() -> None:
    score, attack = drawn(3.0, 0.0)
    curve = calibrate(score, attack)
    assert curve is not None
    fine = np.unique(np.concatenate([np.linspace(0, 1, 5001), 1 - np.logspace(-12, -3, 200), np.logspace(-12, -3, 200)]))
    assert (np.diff(np.interp(fine, curve.raw, curve.true)) > 0).all()


def test_no_curve_where_there_is_nothing_to_fit_one_to() -> None:
    score, attack = drawn(1.0, 0.0, 2 * FEWEST)
    assert calibrate(score[:FEWEST], np.ones(FEWEST, bool)) is None
    assert calibrate(1 - score, attack) is None, "more attacks among low scores"
