"""The compiled forest against scikit-learn, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from jobs.scoring.forest import Forest

RNG = np.random.default_rng(11)
X = np.concatenate([RNG.lognormal(3, 4, (1500, 6)), RNG.integers(0, 4, (1500, 6))]).astype(np.float32)
Y = np.array(["a", "b", "c", "d"])[(X[:, 0] > 5).astype(int) + (X[:, 3] > 1) + (RNG.random(3000) > 0.8)]


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(25, random_state=0),
        RandomForestClassifier(9, max_depth=3, random_state=1, class_weight="balanced"),
        RandomForestClassifier(7, max_leaf_nodes=17, random_state=2),  # nodes are numbered best first
        ExtraTreesClassifier(12, random_state=3),
        DecisionTreeClassifier(random_state=4),
        RandomForestClassifier(3, min_samples_leaf=5000, random_state=5),  # every tree is one leaf
    ],
    ids=lambda e: f"{type(e).__name__}-{e.random_state}",
)
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 1000])
def test_probabilities_equal_scikit_learns(estimator: object, rows: int) -> None:
    estimator.fit(X, Y)  # type: ignore[attr-defined]
    x = RNG.permutation(X)[:rows]
    assert np.array_equal(Forest.from_sklearn(estimator).predict_proba(x), estimator.predict_proba(x))  # type: ignore[union-attr, attr-defined]


def test_values_on_a_threshold_go_left_as_in_scikit_learn() -> None:
    estimator = DecisionTreeClassifier().fit(X, Y)
    inner = estimator.tree_.children_left >= 0
    x = np.repeat(X[:1], inner.sum(), axis=0)
    x[np.arange(len(x)), estimator.tree_.feature[inner]] = estimator.tree_.threshold[inner].astype(np.float32)
    assert np.array_equal(Forest.from_sklearn(estimator).predict_proba(x), estimator.predict_proba(x))


def test_other_estimators_are_not_flattened() -> None:
    assert Forest.from_sklearn(LogisticRegression()) is None


def test_a_matrix_of_another_width_is_refused() -> None:
    forest = Forest.from_sklearn(DecisionTreeClassifier().fit(X, Y))
    with pytest.raises(ValueError, match=r"float32\[n, 6\]"):
        forest.predict_proba(X[:, :5])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("children_left", 10**6),
        ("children_left", 0),  # a circle
        ("children_right", 10**6),
        ("children_right", 0),
        ("children_right", -7),
        ("feature", 10**6),
        ("feature", -7),
    ],
)
def test_node_indices_out_of_range_are_refused(name: str, value: int) -> None:
    """What a damaged or malicious file may hold; scikit-learn itself would read out of bounds, or walk in a circle."""
    estimator = DecisionTreeClassifier(random_state=0).fit(X, Y)
    getattr(estimator.tree_, name)[0] = value
    with pytest.raises(ValueError, match="out of range"):
        Forest.from_sklearn(estimator)
