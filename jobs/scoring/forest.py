"""A fitted scikit-learn forest, compiled.

``RandomForestClassifier.predict_proba`` costs milliseconds before the first row (a Python call and validation per tree), which a
stream pays for every small batch. The same arrays (``tree_.children_left``, ``threshold``, ...) walked by Numba
(:mod:`jobs.scoring.trees`) give the same bits: the fractions of a leaf are summed in the order of the trees, then divided once. (With
``n_jobs`` > 1 scikit-learn itself sums in the order its threads finish, and its own last bits vary.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.scoring.trees import Nodes, Trees


@dataclass(frozen=True)
class Forest:
    """A forest, or a single tree.

    Attributes
    ----------
    trees
        Their leaves hold class fractions.
    """

    trees: Trees

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Forest | None:
        """Flatten a fitted forest or decision tree classifier; None for an estimator of another kind (use its own method then).

        Raises
        ------
        ValueError
            Node or column indices of a tree are out of range: a damaged or malicious file, which scikit-learn would follow out of bounds.
        """
        from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
        from sklearn.tree import DecisionTreeClassifier

        if type(estimator) in (RandomForestClassifier, ExtraTreesClassifier):
            trees = [e.tree_ for e in estimator.estimators_]
        elif type(estimator) is DecisionTreeClassifier:
            trees = [estimator.tree_]
        else:
            return None
        if estimator.n_outputs_ != 1:
            return None
        return cls(Trees.of([nodes_of(tree) for tree in trees], int(estimator.n_features_in_)))

    @property
    def columns(self) -> int:
        """Number of columns of a matrix."""
        return self.trees.columns

    @property
    def width(self) -> int:
        """Number of classes."""
        return int(self.trees.values.shape[1])

    @property
    def leaf_proba(self) -> npt.NDArray[np.float64]:
        """Class fractions, float64[leaves, classes]."""
        return self.trees.values

    def predict_proba(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Class probabilities, float64[n, classes], of a finite float32[n, columns] matrix."""
        return self.trees.sums(x, self.width) / len(self.trees.roots)


def nodes_of(tree: Any) -> Nodes:
    """The arrays of scikit-learn's ``Tree``."""
    return Nodes(
        left=tree.children_left,
        right=tree.children_right,
        leaf=tree.children_left < 0,
        feature=tree.feature,
        threshold=tree.threshold,
        cover=tree.weighted_n_node_samples,
        value=tree.value[:, 0, :],
        gaps_left=tree.missing_go_to_left.astype(bool),
    )
