"""Fitted boosted trees of scikit-learn (``HistGradientBoostingClassifier``), compiled.

A leaf adds to the log-odds of one class; the sums begin at a baseline, and become probabilities by the logistic function (two classes)
or softmax (more). scikit-learn walks tree by tree with a Python call, an array and a validation each; here it is the walk of
:mod:`jobs.scoring.trees`, in the same order, so that only the last bit of an exponential may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.scoring.trees import Nodes, Trees


@dataclass(frozen=True)
class Boosted:
    """Boosted trees for two classes or more.

    Attributes
    ----------
    trees
        Their leaves hold log-odds.
    baseline : float64[k]
        Where the sums begin: one number for two classes, else one a class.
    """

    trees: Trees
    baseline: npt.NDArray[np.float64]

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Boosted | None:
        """Flatten a fitted classifier; None for another kind, and for one with categories for values (use its own method then).

        Raises
        ------
        ValueError
            Node or column indices are out of range, or a number is none: a damaged file.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        if type(estimator) is not HistGradientBoostingClassifier or estimator._preprocessor is not None:
            return None
        rounds = estimator._predictors
        each = [predictor.nodes for predictors in rounds for predictor in predictors]
        if any(nodes["is_categorical"].any() for nodes in each):
            return None
        baseline = np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)
        classes = len(estimator.classes_)
        sums = 1 if classes == 2 else classes
        if len(baseline) != sums or any(len(predictors) != sums for predictors in rounds):
            raise ValueError(f"boosted trees of {classes} classes have {len(baseline)} baselines")
        trees = Trees.of(
            [nodes_of_predictor(nodes) for nodes in each], int(estimator.n_features_in_), [k for _ in rounds for k in range(sums)]
        )
        if not (np.isfinite(baseline).all() and np.isfinite(trees.values).all()):
            raise ValueError("a leaf of boosted trees holds no number")
        return cls(trees, baseline)

    @property
    def columns(self) -> int:
        """Number of columns of a matrix."""
        return self.trees.columns

    @property
    def width(self) -> int:
        """Number of classes."""
        return max(2, len(self.baseline))

    def log_odds(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The sums, float64[n, k], of a float32[n, columns] matrix."""
        return self.trees.sums(x, len(self.baseline), self.baseline)

    def predict_proba(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Class probabilities, float64[n, classes], of a float32[n, columns] matrix; NaN is a missing value."""
        sums = self.log_odds(x)
        if len(self.baseline) == 1:
            from scipy.special import expit

            second = expit(sums[:, 0])
            return np.column_stack([1 - second, second])
        sums -= sums.max(axis=1, keepdims=True)
        odds = np.exp(sums)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def nodes_of_predictor(nodes: npt.NDArray[Any]) -> Nodes:
    """The nodes of scikit-learn's ``TreePredictor``, a record array. Questions about categories have no threshold."""
    return Nodes(
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        leaf=nodes["is_leaf"].astype(bool),
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        cover=nodes["count"].astype(np.float64),
        value=nodes["value"][:, None],
        gaps_left=nodes["missing_go_to_left"].astype(bool),
    )
