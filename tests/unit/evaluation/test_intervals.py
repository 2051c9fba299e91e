"""Intervals: against published values and SciPy, and whether they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from jobs.evaluation.intervals import bootstrap, bootstrap_rows, wilson
from jobs.training.evaluate import summary


def test_wilson_by_hand_and_as_scipy_has_it() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)  # z2 / (n + z2)
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert wilson(10, 10)[1] == 1.0
    for hits, n in ((1, 3), (17, 1000), (999, 1000), (50_000, 100_000)):
        assert wilson(hits, n) == pytest.approx(tuple(binomtest(hits, n).proportion_ci(method="wilson")), abs=1e-12)
    assert all(math.isnan(end) for end in wilson(0, 0))


@pytest.mark.parametrize(("rate", "n"), [(0.5, 40), (0.05, 200), (0.001, 3000)])
def test_wilson_covers(rate: float, n: int) -> None:
    hits = np.random.default_rng(1).binomial(n, rate, 2000).tolist()
    spans = [wilson(k, n) for k in hits]
    assert 0.92 <= np.mean([low <= rate <= high for low, high in spans]) <= 0.985


def test_bootstrap_of_records_covers() -> None:
    true = np.array([[900.0, 10.0], [20.0, 70.0]]) / 1000
    f1 = 2 * 70 / (2 * 70 + 10 + 20)
    rng = np.random.default_rng(2)
    spans = [bootstrap_rows(rng.multinomial(1000, true.ravel()).reshape(2, 2), summary, seed=i, resamples=300)[0] for i in range(200)]
    assert 0.89 <= np.mean([low <= f1 <= high for low, high in spans]) <= 0.99


def test_bootstrap_of_hosts_covers_where_that_of_records_is_too_narrow() -> None:
    """A host's attack is found or missed as a whole: 40 hosts are 40 observations, however many records each has."""
    rng = np.random.default_rng(4)
    by_host, by_record = [], []
    for i in range(200):
        found = rng.random(40) < 0.8
        counts = np.array([[[50, 0], [0, 20]] if hit else [[50, 0], [20, 0]] for hit in found])
        by_host.append(bootstrap(counts, summary, seed=i, resamples=300)[0])
        by_record.append(bootstrap_rows(counts.sum(axis=0), summary, seed=i, resamples=300)[0])
    f1 = 2 * 0.8 / (2 * 0.8 + 0.2)
    assert np.mean([low <= f1 <= high for low, high in by_host]) >= 0.88
    assert np.mean([low <= f1 <= high for low, high in by_record]) <= 0.6


def test_the_same_seed_gives_the_same_interval() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (12, 3, 3))
    assert bootstrap(counts, summary, seed=5) == bootstrap(counts, summary, seed=5)
    assert bootstrap(counts, summary, seed=5) != bootstrap(counts, summary, seed=6)


def test_undefined_where_the_figure_is() -> None:
    f1, macro = bootstrap_rows(np.array([[10, 0], [0, 0]]), summary, seed=1)
    assert math.isnan(f1.low)
    assert macro == (1.0, 1.0)
