"""Distances of histograms: what they are, and that their limits hold where nothing has changed, whatever the size of the hour."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from jobs.watching import measures, statistics
from jobs.watching.statistics import Spread


def parts(rng: np.random.Generator, number: int, rows: int, rho: float) -> np.ndarray:
    """Hours of ten bins, Dirichlet-multinomial."""
    shares = rng.dirichlet(np.full(10, 0.1 * (1 / rho - 1)), size=number)
    return np.array([rng.multinomial(rows, share) for share in shares])


def beside(some: np.ndarray) -> np.ndarray:
    return some.sum(axis=0) - some


def test_psi_is_that_of_the_formula_and_no_histogram_is_infinitely_far() -> None:
    a, b = np.array([400, 600]), np.array([600, 400])
    assert statistics.psi(a, b) == pytest.approx(0.2 * np.log(1.5) * 2, rel=0.01)
    assert statistics.psi(a, a) == 0.0
    assert 0 < statistics.psi(np.array([1000, 0]), np.array([0, 1000])) < 20
    assert np.isfinite(statistics.psi(np.array([0, 0]), np.array([5, 0])))


def test_ks_is_that_of_scipy_at_the_edges() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=4000), rng.normal(0.3, size=3000)
    edges = measures.edges({"x": a})
    one, other = (measures.count({"x": some}, edges)["feature:x"] for some in (a, b))
    assert statistics.ks(one, other) == pytest.approx(ks_2samp(a, b).statistic, abs=0.02)


def test_bins_of_psi_hold_enough_and_keep_the_tails() -> None:
    fine = np.array([10, *[20] * 49, 10])
    starts = statistics.bins(fine)
    joined = np.add.reduceat(fine, starts)
    assert (joined[0], joined[-1]) == (10, 10)
    assert (joined[1:-2] >= 0.08 * fine.sum()).all()
    assert joined.sum() == fine.sum()
    assert statistics.bins(np.array([7])).tolist() == [0]
    assert statistics.bins(np.array([3, 4])).tolist() == [0, 1]


@pytest.mark.parametrize("rows", [60, 400, 20_000])
@pytest.mark.parametrize("rho", [0.0006, 0.02])
def test_without_a_change_the_limit_is_rarely_exceeded_whatever_the_size_of_the_hour(rows: int, rho: float) -> None:
    rng = np.random.default_rng(rows)
    reference = parts(rng, 168, 500, rho)
    varies = statistics.spread(reference, beside(reference))
    pooled = reference.sum(axis=0)
    away = [statistics.distance(pooled, hour, varies, 0.001) for hour in parts(rng, 1500, rows, rho)]
    assert np.mean([one.psi > one.limit for one in away]) <= 0.004
    assert np.mean([one.ks > one.ks_limit for one in away]) <= 0.02


def test_a_change_is_beyond_the_limit_in_a_large_hour_and_not_in_a_tiny_one() -> None:
    rng = np.random.default_rng(3)
    reference = parts(rng, 168, 500, 0.001)
    varies, pooled = statistics.spread(reference, beside(reference)), reference.sum(axis=0)
    moved = np.array([0.02, 0.02, 0.06, *[0.1] * 4, 0.15, 0.15, 0.2])
    large = statistics.distance(pooled, rng.multinomial(2000, moved), varies, 1e-5)
    tiny = statistics.distance(pooled, rng.multinomial(12, moved), varies, 1e-5)
    assert large.psi > large.limit
    assert large.ks > large.ks_limit
    assert tiny.psi < tiny.limit


def test_what_cannot_be_estimated_is_assumed_to_vary_much() -> None:
    few = np.array([[5, 5], [6, 4], [0, 0], [0, 0]])
    assert statistics.spread(few, beside(few)) == Spread(0.01, 1.0, 0.01, 0, 0.0)
    restless = parts(np.random.default_rng(4), 100, 1000, 0.05)
    assert statistics.spread(restless, beside(restless)).rho == pytest.approx(0.05, rel=0.4)
