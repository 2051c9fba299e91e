"""Where an attack begins, on scores that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.training.labelled import LabelledFlows
from jobs.training.threshold import choose_threshold


def flows(y: list[str], closed: list[bool] | None = None) -> LabelledFlows:
    n = len(y)
    return LabelledFlows(np.zeros((n, 1), np.float32), ("flow_duration",), np.array(y), np.full(n, "1"), np.array(closed or [True] * n))


def test_so_many_benign_records_lie_above_that_a_new_one_does_so_seldom_enough() -> None:
    """Of 999 with distinct scores, 9 may lie above at 1 %: (9 + 1) / (999 + 1)."""
    data = flows(["BENIGN"] * 999 + ["SYN_SCAN"] * 999)
    p = np.append(np.linspace(0, 0.999, 999), np.linspace(0, 0.999, 999) + 1e-4)
    found = choose_threshold(p, data, 0.01)
    assert (p[:999] >= found).sum() == 9
    assert (p[:999] >= choose_threshold(p, data, 0.001)).sum() == 0
    assert (p[:99] >= choose_threshold(p[:99], flows(["BENIGN"] * 99), 0.001)).sum() == 0, "too few to allow any"


def test_closed_and_interim_records_keep_the_rate_each() -> None:
    y = ["BENIGN"] * 200 + ["SYN_SCAN"] * 100
    closed = [True] * 100 + [False] * 100 + [True] * 100
    p = np.concatenate([np.full(100, 0.05), np.full(98, 0.05), [0.6, 0.7], np.linspace(0.3, 1, 100)])
    assert 0.7 < choose_threshold(p, flows(y, closed), 0.01) < 0.72
    assert 0.6 < choose_threshold(p, flows(y), 0.01) < 0.62, "together one of them may lie above"


def test_it_lies_halfway_to_the_next_attack() -> None:
    data = flows(["BENIGN"] * 10 + ["SYN_SCAN"] * 10)
    assert choose_threshold(np.repeat([0.1, 0.9], 10), data, 0.005) == pytest.approx(0.5)
    assert choose_threshold(np.repeat([0.7, 0.9], 10), data, 0.005) == pytest.approx(0.8)
    assert choose_threshold(np.repeat([0.8, 0.2], 10), data, 0.005) == pytest.approx(0.9), "no attack above"
    assert choose_threshold(np.full(20, 1.0), data, 0.005) == 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 400), st.floats(0, 0.3), st.booleans())
def test_the_rate_is_kept_on_the_records_at_hand(seed: int, n: int, most: float, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    p = rng.random(2 * n)
    p = np.round(p, 1) if ties else p
    data = flows(["BENIGN"] * n + ["SYN_SCAN"] * n)
    found = choose_threshold(p, data, most)
    assert 0 < found <= 1
    assert (p[:n] >= found).mean() <= most or found == 1.0
