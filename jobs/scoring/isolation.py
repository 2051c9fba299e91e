"""A fitted isolation forest of scikit-learn, compiled: how few questions set a record apart (Liu, Ting, Zhou, "Isolation Forest", 2008)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.scoring.forest import nodes_of
from jobs.scoring.trees import Trees

_EULER = float(np.euler_gamma)


@dataclass(frozen=True)
class Isolation:
    """Isolation trees.

    Attributes
    ----------
    trees
        Their leaves hold the steps to them, and those that the records in them would take on average.
    usual
        Steps that a record of the training takes on average: what a path is measured by.
    """

    trees: Trees
    usual: float

    @classmethod
    def from_sklearn(cls, forest: Any) -> Isolation | None:
        """Flatten a fitted ``IsolationForest``; None for an estimator of another kind.

        Raises
        ------
        ValueError
            Node or column indices of a tree are out of range: a damaged file.
        """
        from sklearn.ensemble import IsolationForest

        if type(forest) is not IsolationForest:
            return None
        columns = int(forest.n_features_in_)
        each = []
        for tree, features in zip(forest.estimators_, forest.estimators_features_, strict=True):
            nodes = nodes_of(tree.tree_)
            names = np.asarray(features)
            inner = nodes.feature[~nodes.leaf]
            if (inner < 0).any() or (inner >= len(names)).any():
                raise ValueError("node indices of a tree are out of range")
            # a tree sees some of the columns, and numbers those
            each.append(nodes._replace(feature=np.where(nodes.leaf, 0, names[np.where(nodes.leaf, 0, nodes.feature)])))
        laid = Trees.of(each, columns)
        values = np.zeros_like(laid.values)
        leaf = laid.leaf_row >= 0
        values[laid.leaf_row[leaf], 0] = (_steps(laid) + average_path_length(_samples(forest)))[leaf] - 1.0
        usual = float(average_path_length(np.array([float(forest._max_samples)]))[0])
        return cls(replace(laid, values=values, gaps_left=None), usual)

    @property
    def columns(self) -> int:
        """Number of columns of a matrix."""
        return self.trees.columns

    def path_length(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Mean number of steps, float64[n], of a finite float32[n, columns] matrix."""
        return self.trees.sums(x, 1)[:, 0] / len(self.trees.roots)

    def score(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """How easily records are set apart, float64[n] in (0, 1]; what ``-score_samples`` of scikit-learn gives."""
        steps = self.path_length(x)
        return np.asarray(2.0 ** -(steps / self.usual if self.usual else np.ones(len(steps))))


def _samples(forest: Any) -> npt.NDArray[np.float64]:
    return np.concatenate([tree.tree_.n_node_samples for tree in forest.estimators_]).astype(np.float64)


def _steps(trees: Trees) -> npt.NDArray[np.float64]:
    """Nodes on the way to each node, itself counted, float64[nodes]. A child is numbered after its parent."""
    steps = np.ones(len(trees.children))
    for node in np.flatnonzero(trees.leaf_row < 0):
        steps[trees.children[node]] = steps[node] + 1
    return steps


def average_path_length(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Steps of an unsuccessful search in a binary tree of so many records, float64[n]; formula 1 of Liu et al."""
    found = np.zeros(len(samples))
    found[samples == 2] = 1.0
    many = samples > 2
    less = samples[many] - 1.0
    found[many] = 2.0 * (np.log(less) + _EULER) - 2.0 * less / samples[many]
    return found
