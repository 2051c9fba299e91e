"""Calibration by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.evaluation.intervals import wilson
from jobs.evaluation.reliability import reliability


def test_figures_by_hand() -> None:
    attack = np.array([False, False, True, True])
    found = reliability(attack, np.array([0.05, 0.25, 0.25, 1.0]))
    assert found is not None
    assert [(b.records, b.predicted, b.observed) for b in found.bins] == [(1, 0.05, 0.0), (2, 0.25, 0.5), (1, 1.0, 1.0)]
    assert found.bins[1].interval == wilson(1, 2)
    assert found.bins[2].low == 0.9  # 1.0 lies in the last bin
    assert found.brier == pytest.approx((0.0025 + 0.0625 + 0.5625 + 0) / 4)
    assert found.expected_calibration_error == pytest.approx((0.05 + 2 * 0.25 + 0) / 4)


def test_as_if_attacks_were_rare() -> None:
    found = reliability(np.array([False, True]), np.array([0.5, 0.5]), 0.1)
    assert found is not None
    assert found.bins[0].observed == pytest.approx(0.1)
    assert found.expected_calibration_error == pytest.approx(0.4)
    assert found.attack_share == 0.1


def test_a_perfect_model_has_no_error() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(200_000)
    found = reliability(rng.random(200_000) < p, p)
    assert found is not None
    assert found.expected_calibration_error < 0.005
    assert found.brier == pytest.approx(1 / 6, abs=0.005)  # mean of p (1 - p)


def test_nothing_to_say() -> None:
    assert reliability(np.zeros(0, bool), np.zeros(0)) is None
    assert reliability(np.ones(3, bool), np.ones(3), 0.1) is None
