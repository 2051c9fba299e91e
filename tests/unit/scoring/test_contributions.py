"""Shapley values of forests: by their definition, by the package shap, and that they sum to what the forest gives."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from jobs.scoring.contributions import TreeContributions
from jobs.scoring.forest import Forest

RNG = np.random.default_rng(3)
X = np.concatenate([RNG.lognormal(3, 4, (1500, 6)), RNG.integers(0, 4, (1500, 6))]).astype(np.float32)
Y = np.array(["a", "b", "c", "d"])[(X[:, 0] > 5).astype(int) + (X[:, 3] > 1) + (RNG.random(3000) > 0.8)]
WEIGHTS = RNG.lognormal(0, 2, 3000)

ESTIMATORS = [
    RandomForestClassifier(25, random_state=0),
    RandomForestClassifier(9, max_depth=3, random_state=1, class_weight="balanced", max_samples=0.4),
    RandomForestClassifier(7, max_leaf_nodes=17, random_state=2),  # nodes are numbered best first
    ExtraTreesClassifier(12, random_state=3),
    DecisionTreeClassifier(random_state=4),
    RandomForestClassifier(3, min_samples_leaf=5000, random_state=5),  # every tree is one leaf
]


def contributions(forest: Forest, label: int = 1) -> TreeContributions:
    return TreeContributions.of(forest.trees, forest.leaf_proba[:, label])


def flat(estimator: Any) -> Forest:
    forest = Forest.from_sklearn(estimator)
    assert forest is not None
    return forest


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: f"{type(e).__name__}-{e.random_state}")
def test_they_sum_to_what_the_forest_gives(estimator: Any) -> None:
    estimator.fit(X, Y, sample_weight=WEIGHTS)
    forest = flat(estimator)
    x = np.concatenate([RNG.permutation(X)[:200], np.diag(np.float32([0, -3e38, 3e38, 1, 1, 1]))])
    for label in range(4):
        found = contributions(forest, label)
        assert np.abs(found(x).sum(axis=1) + found.base - estimator.predict_proba(x)[:, label]).max() < 1e-12


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: f"{type(e).__name__}-{e.random_state}")
def test_they_equal_those_of_shap(estimator: Any) -> None:
    shap = pytest.importorskip("shap", reason="pip install shap")
    estimator.fit(X, Y, sample_weight=WEIGHTS)
    found = contributions(flat(estimator))
    explainer = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
    x = RNG.permutation(X)[:30]
    assert np.abs(found(x) - explainer.shap_values(x, check_additivity=False)[:, :, 1]).max() < 1e-9
    assert found.base == pytest.approx(explainer.expected_value[1], abs=1e-9)


def known(tree: Any, x: npt.NDArray[np.float32], features: frozenset[int], node: int = 0) -> float:
    """What a tree gives on average when only some features of a record are known."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left < 0:
        return float(tree.value[node, 0, 1])
    if tree.feature[node] in features:
        return known(tree, x, features, left if x[tree.feature[node]] <= tree.threshold[node] else right)
    cover = tree.weighted_n_node_samples
    return float((cover[left] * known(tree, x, features, left) + cover[right] * known(tree, x, features, right)) / cover[node])


def shapley(tree: Any, x: npt.NDArray[np.float32]) -> list[float]:
    """By definition: the mean of what a feature adds over all orders in which the features may become known."""
    n = len(x)
    out = []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        out.append(
            sum(
                (known(tree, x, frozenset({*s, i})) - known(tree, x, frozenset(s))) / (n * comb(n - 1, size))
                for size in range(n)
                for s in combinations(others, size)
            )
        )
    return out


@pytest.mark.parametrize("depth", [2, 5, 9])
def test_they_are_shapley_values_by_definition(depth: int) -> None:
    """Deeper than there are features: a path splits on one several times, and the record may leave it at any of them."""
    estimator = ExtraTreesClassifier(2, max_depth=depth, random_state=depth).fit(X, Y)
    found = contributions(flat(estimator))
    for x in RNG.permutation(X)[:5]:
        want = np.mean([shapley(tree.tree_, x) for tree in estimator.estimators_], axis=0)
        assert found(x[None])[0] == pytest.approx(want, abs=1e-12)


def test_deep_paths_over_many_features_lose_no_digits() -> None:
    x = np.tril(np.ones((61, 60), np.float32), -1)  # row i is known by its first i features: a chain of 60 splits
    y = np.arange(61) % 2
    estimator = DecisionTreeClassifier(random_state=0).fit(x, y)
    assert estimator.get_depth() > 30
    found = contributions(flat(estimator))
    assert np.abs(found(x).sum(axis=1) + found.base - y).max() < 1e-12


def test_a_feature_that_no_tree_asks_for_contributes_nothing() -> None:
    x = X.copy()
    x[:, 2] = 7
    found = contributions(flat(RandomForestClassifier(5, random_state=0).fit(x, Y)))
    assert not found(x[:50])[:, 2].any()
    assert found(x[:50])[:, 0].any()


@pytest.mark.parametrize("cover", [0.0, -1.0, np.nan, np.inf])
def test_a_damaged_cover_is_refused(cover: float) -> None:
    forest = flat(DecisionTreeClassifier(random_state=0).fit(X, Y))
    forest.trees.cover[3] = cover
    with pytest.raises(ValueError, match="weight of training records"):
        contributions(forest)


def test_a_matrix_of_another_width_or_type_is_refused() -> None:
    found = contributions(flat(DecisionTreeClassifier(random_state=0).fit(X, Y)))
    for x in (X[:, :5], X.astype(np.float64)):
        with pytest.raises(ValueError, match=r"float32\[n, 6\]"):
            found(x)
