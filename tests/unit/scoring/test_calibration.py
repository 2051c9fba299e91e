"""Calibrated probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.scoring.calibration import Calibration

CURVE = Calibration(np.array([0.0, 0.5, 1.0]), np.array([0.1, 0.2, 1.0]))


def test_attacks_keep_their_proportions_and_rows_sum_to_one() -> None:
    proba = np.array([[0.3, 0.5, 0.2], [0.0, 0.75, 0.25], [0.25, 0.25, 0.5]])  # benign in the middle
    out = CURVE(proba, 1)
    assert np.allclose(1 - out[:, 1], [0.2, 0.15, 0.6])
    assert np.allclose(out.sum(axis=1), 1)
    assert np.allclose(out[:, 0] / out[:, 2], [1.5, 0, 0.5])


def test_a_record_without_any_sign_gets_what_the_curve_says() -> None:
    out = CURVE(np.array([[0.0, 1.0, 0.0]]), 1)
    assert np.allclose(out, [[0.05, 0.9, 0.05]])


def test_arrays_give_it_back() -> None:
    again = Calibration.of(CURVE.arrays())
    assert np.array_equal(again.raw, CURVE.raw)
    assert np.array_equal(again.true, CURVE.true)


@pytest.mark.parametrize(
    ("raw", "true"),
    [([0, 1], [0, 0.5, 1]), ([0.5], [0.5]), ([0, 1], [1, 0]), ([1, 0], [0, 1]), ([0, 1], [0, np.nan]), ([0, 2], [0, 1]), ([0, 1], [-1, 1])],
)
def test_what_is_no_curve_is_refused(raw: list[float], true: list[float]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration(np.array(raw, float), np.array(true, float))
