"""Bins of boosted trees: found at once, and the same as those that scikit-learn finds one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.ensemble._hist_gradient_boosting import binning
from sklearn.utils.stats import _weighted_percentile

from jobs.training.families import BOOSTED
from jobs.training.percentiles import OncePerColumn, install


def columns(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.lognormal(size=n), rng.integers(0, 900, n), rng.integers(0, 4, n), np.round(rng.normal(size=n), 1)])
    return x.astype(np.float32), rng.choice([0.01, 0.7, 30.0], n)


def test_the_same_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = columns(5000)
    y = np.where(x[:, 0] * x[:, 1] > 300, "SYN_SCAN", "BENIGN")
    made = []
    for function in (_weighted_percentile, OncePerColumn(_weighted_percentile)):
        monkeypatch.setattr(binning, "_weighted_percentile", function)
        made.append(HistGradientBoostingClassifier(random_state=3, **{**BOOSTED, "max_iter": 20}).fit(x, y, sample_weight=weight))
    for a, b in zip(*(one._bin_mapper.bin_thresholds_ for one in made), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(*(one.predict_proba(x) for one in made))


def test_a_column_is_looked_at_once() -> None:
    asked: list[int] = []

    def usual(array: np.ndarray, weight: np.ndarray, rank: object = 50, **more: bool) -> object:
        asked.append(np.size(rank))
        return _weighted_percentile(array, weight, rank, **more)

    once = OncePerColumn(usual)
    x, weight = columns(3000)
    for column in (np.ascontiguousarray(x[:, 0]), np.ascontiguousarray(x[:, 1])):
        for rank in np.linspace(0, 100, 256)[1:-1]:
            assert once(column, weight, rank, average=True) == _weighted_percentile(column, weight, rank, average=True)
    assert asked == [254, 254]
    assert once(x[:, 0], weight, 12.34) == _weighted_percentile(x[:, 0], weight, 12.34), "any other rank too"
    assert once(x, weight, 50).tolist() == _weighted_percentile(x, weight, 50).tolist()


def test_it_is_there_once_it_was_asked_for() -> None:
    install()
    first = binning._weighted_percentile
    install()
    assert isinstance(first, OncePerColumn)
    assert binning._weighted_percentile is first
