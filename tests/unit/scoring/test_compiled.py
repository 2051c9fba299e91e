"""Compiled trees and folded scalers against scikit-learn, over fits drawn at random."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler

from jobs.scoring.boosted import Boosted
from jobs.scoring.compiled import compiled, folded
from jobs.scoring.forest import Forest
from jobs.scoring.isolation import Isolation

pytestmark = pytest.mark.slow  # many fits

FLOAT32 = np.finfo(np.float32)


def drawn(seed: int, n: int = 400, columns: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """float32[n, columns] of values over many magnitudes, with ties, and a number that depends on them."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.lognormal(3, 4, (n, columns - 2)) * rng.choice([-1, 1], (n, columns - 2)), rng.integers(0, 4, (n, 2))], axis=1)
    x = x.astype(np.float32)
    return x, (np.log1p(np.abs(x[:, 0])) + x[:, -1] + rng.normal(size=n)).astype(int)


def odd_rows(x: np.ndarray, seed: int) -> np.ndarray:
    """Rows of a training, and rows far beyond it."""
    rng = np.random.default_rng(seed)
    edges = np.array([0, -0.0, FLOAT32.max, -FLOAT32.max, FLOAT32.tiny, -FLOAT32.tiny, 1], np.float32)
    return np.concatenate([x, rng.choice(edges, x.shape), x * np.float32(1e3), np.nextafter(x, np.float32(np.inf))]).astype(np.float32)


fits = st.fixed_dictionaries(
    {
        "max_iter": st.integers(1, 8),
        "max_leaf_nodes": st.sampled_from([2, 7, 31, None]),
        "max_depth": st.sampled_from([None, 1, 4]),
        "learning_rate": st.sampled_from([0.05, 0.3, 1.0]),
        "min_samples_leaf": st.sampled_from([1, 20]),
        "l2_regularization": st.sampled_from([0.0, 1.0]),
    }
)


@settings(max_examples=25, deadline=None)
@given(fits, st.integers(0, 2**31), st.integers(2, 5), st.booleans())
def test_boosted_trees_say_what_scikit_learn_says(how: dict[str, Any], seed: int, classes: int, gaps: bool) -> None:
    x, y = drawn(seed)
    y = np.array(["BENIGN", "A", "B", "C", "D"])[y % classes]
    if gaps:
        x[np.random.default_rng(seed).random(x.shape) < 0.1] = np.nan
    estimator = HistGradientBoostingClassifier(random_state=0, early_stopping=False, **how).fit(x, y)
    rows = odd_rows(x, seed)
    found = compiled(estimator)
    assert isinstance(found, Boosted)
    proba = found.predict_proba(rows)
    np.testing.assert_allclose(proba, estimator.predict_proba(rows), rtol=0, atol=1e-12)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(
        [StandardScaler(), MinMaxScaler(), MinMaxScaler(clip=True), MaxAbsScaler(), RobustScaler(), StandardScaler(with_mean=False)]
    ),
    st.sampled_from(["forest", "extra", "boosted"]),
    st.integers(0, 2**31),
)
def test_a_folded_scaler_sends_every_record_the_same_way(scaler: Any, kind: str, seed: int) -> None:
    x, y = drawn(seed)
    last: Any = {
        "forest": RandomForestClassifier(4, random_state=1),
        "extra": ExtraTreesClassifier(4, random_state=1),
        "boosted": HistGradientBoostingClassifier(max_iter=4, random_state=1),
    }[kind]
    pipeline = make_pipeline(scaler, "passthrough", last).fit(x, y % 3)
    rows = odd_rows(x, seed)
    with np.errstate(over="ignore"):
        rows = rows[np.isfinite(pipeline[:-1].transform(rows)).all(axis=1)]  # scikit-learn's forests take no infinity
    assert len(rows) > 1000
    found = compiled(pipeline)
    assert found is not None
    np.testing.assert_allclose(found.predict_proba(rows), pipeline.predict_proba(rows), rtol=0, atol=1e-12)


def test_two_scalers_one_after_the_other() -> None:
    x, y = drawn(3)
    pipeline = make_pipeline(RobustScaler(), MinMaxScaler((-1, 2)), RandomForestClassifier(5, random_state=0)).fit(x, y % 3)
    found = compiled(pipeline)
    assert isinstance(found, Forest)
    assert np.array_equal(found.predict_proba(x), pipeline.predict_proba(x))


def test_what_is_not_compiled_keeps_its_own_method() -> None:
    x, y = drawn(1)
    y = y % 2
    categories = HistGradientBoostingClassifier(max_iter=2, categorical_features=[4]).fit(x, y)
    for estimator in (
        LogisticRegression(),
        categories,
        make_pipeline(PowerTransformer(), RandomForestClassifier(2)).fit(x, y),
        make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y),
    ):
        assert compiled(estimator) is None


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1.0, 0.5]), st.sampled_from([2, 64, "auto"]))
def test_an_isolation_forest_says_what_scikit_learn_says(seed: int, share: float, samples: Any) -> None:
    x, _ = drawn(seed)
    forest = IsolationForest(n_estimators=20, max_samples=samples, max_features=share, random_state=seed % 1000).fit(x)
    found = Isolation.from_sklearn(forest)
    assert found is not None
    rows = odd_rows(x, seed)
    np.testing.assert_allclose(found.score(rows), -forest.score_samples(rows), rtol=0, atol=1e-12)
    assert ((found.path_length(rows) > 0) & (found.path_length(rows) < 64)).all()
    assert Isolation.from_sklearn(LogisticRegression()) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left", 10**6),
        ("left", 0),
        ("right", 10**6),
        ("right", 0),
        ("feature_idx", 10**6),
        ("feature_idx", -7),
        ("value", np.nan),
        ("num_threshold", np.nan),
    ],
)
def test_damaged_boosted_trees_are_refused(field: str, value: float) -> None:
    x, y = drawn(0)
    estimator = HistGradientBoostingClassifier(max_iter=2, random_state=0).fit(x, y % 2)
    nodes = estimator._predictors[0][0].nodes
    nodes[field][0 if field != "value" else int(np.flatnonzero(nodes["is_leaf"])[0])] = value
    with pytest.raises(ValueError, match=r"out of range|no number"):
        compiled(estimator)


def test_damaged_trees_are_refused_in_what_is_not_compiled_too() -> None:
    x, y = drawn(0)
    y = y % 2
    deep = make_pipeline(PowerTransformer(), RandomForestClassifier(2, random_state=0)).fit(x, y)
    deep[-1].estimators_[1].tree_.feature[0] = 10**6
    categories = HistGradientBoostingClassifier(max_iter=2, categorical_features=[4]).fit(x, y)
    categories._predictors[1][0].nodes["left"][0] = 10**6
    old = GradientBoostingClassifier(n_estimators=2).fit(x, y)
    old.estimators_[1, 0].tree_.children_left[0] = 10**6
    for estimator in (deep, categories, old):
        with pytest.raises(ValueError, match="out of range"):
            compiled(estimator)


@pytest.mark.parametrize("damage", [{"scale_": np.nan}, {"scale_": 0.0}, {"scale_": -1.0}, {"mean_": np.inf}])
def test_a_damaged_scaler_is_refused(damage: dict[str, float]) -> None:
    x, y = drawn(0)
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(2, random_state=0)).fit(x, y)
    for name, value in damage.items():
        getattr(pipeline[0], name)[1] = value
    with pytest.raises(ValueError, match="out of range"):
        compiled(pipeline)


def test_a_scaler_of_another_width_is_refused() -> None:
    x, y = drawn(0)
    forest = compiled(RandomForestClassifier(2, random_state=0).fit(x, y))
    assert forest is not None
    with pytest.raises(ValueError, match="5 columns"):
        folded(forest.trees, StandardScaler().fit(x[:, :3]))


def test_trees_that_write_beside_their_sums_are_refused() -> None:
    x, y = drawn(0)
    found = compiled(HistGradientBoostingClassifier(max_iter=2, random_state=0).fit(x, y % 3))
    assert isinstance(found, Boosted)
    with pytest.raises(ValueError, match="more than 2 sums"):
        replace(found, baseline=found.baseline[:2]).predict_proba(x)


@pytest.mark.parametrize("classes", [2, 4])
def test_boosted_trees_come_back_from_a_file_that_runs_no_code(classes: int) -> None:
    """MLflow's skops format; trusted are types of scikit-learn alone."""
    import mlflow.sklearn

    from jobs.scoring.trusted import TRUSTED

    x, y = drawn(0)
    estimator: Pipeline = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=4, random_state=0)).fit(x, y % classes)
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp, "model")
        mlflow.sklearn.save_model(
            estimator, str(folder), serialization_format="skops", skops_trusted_types=list(TRUSTED), pip_requirements=["scikit-learn"]
        )
        loaded = mlflow.sklearn.load_model(str(folder))
    found = compiled(loaded)
    assert found is not None
    np.testing.assert_allclose(found.predict_proba(x), estimator.predict_proba(x), rtol=0, atol=1e-12)
