"""A scikit-learn classifier in the form that scores fastest: compiled trees where it is made of trees, with its scaler folded into them.

A tree asks only whether a value is at most a threshold. A scaler keeps the order of the values of a column, so the question can be put to
the record's own value: behind each threshold stands the largest float32 whose scaled value is still at most the threshold. It is found
by halving, with the scaler itself, so that every record takes the same way, rounding errors included; and scaling costs nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from jobs.scoring.blend import Blend
from jobs.scoring.boosted import Boosted
from jobs.scoring.forest import Forest
from jobs.scoring.trees import Trees
from jobs.scoring.trusted import check_trees

#: What scores by compiled trees.
Compiled: TypeAlias = Forest | Boosted | Blend

#: Attributes of a scaler that must be numbers, and one by which it multiplies or divides: positive, or the order would turn.
_NUMBERS = ("mean_", "center_", "min_", "scale_")
_FACTOR = "scale_"


def compiled(estimator: Any) -> Compiled | None:
    """The compiled form of a fitted classifier; None where it has none (use its own method then).

    Forests, single trees and boosted trees have one, alone or behind scalers that treat each column by itself and keep its order
    (``StandardScaler``, ``MinMaxScaler``, ``MaxAbsScaler``, ``RobustScaler``); and soft votes of equal weight of such.

    Raises
    ------
    ValueError
        Numbers of a tree or of a scaler are out of range: a damaged file. The trees of an estimator that is not compiled are looked at too.
    """
    check_trees(estimator)
    return _compiled(estimator)


def _compiled(estimator: Any) -> Compiled | None:
    from sklearn.ensemble import VotingClassifier
    from sklearn.pipeline import Pipeline

    if type(estimator) is VotingClassifier:
        return _voting(estimator)
    if type(estimator) is not Pipeline:
        return Forest.from_sklearn(estimator) or Boosted.from_sklearn(estimator)
    *before, (_, last) = estimator.steps
    scalers = [step for _, step in before if step is not None and step != "passthrough"]
    if not all(_keeps_order(scaler) for scaler in scalers):
        return None
    found = _compiled(last)
    if found is None:
        return None
    for scaler in reversed(scalers):
        found = _behind(found, scaler)
    return found


def _voting(estimator: Any) -> Blend | None:
    if estimator.voting != "soft" or estimator.weights is not None:
        return None
    parts = [_compiled(part) for part in estimator.estimators_]
    known = [part for part in parts if isinstance(part, Forest | Boosted)]
    if not parts or len(known) < len(parts):
        return None
    found = Blend(tuple(known))
    if found.width != len(estimator.classes_):
        raise ValueError(f"a vote on {len(estimator.classes_)} classes is of classifiers of {found.width}")
    return found


def _behind(found: Compiled, scaler: Any) -> Compiled:
    """What gives for a record what ``found`` gives for the scaled one."""
    if isinstance(found, Blend):
        return Blend(tuple(replace(part, trees=folded(part.trees, scaler)) for part in found.parts))
    return replace(found, trees=folded(found.trees, scaler))


def _keeps_order(scaler: Any) -> bool:
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

    return type(scaler) in (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)


def folded(trees: Trees, scaler: Any) -> Trees:
    """Trees that give for a record what ``trees`` give for the scaled one.

    Raises
    ------
    ValueError
        The scaler is of another width, or one of its numbers is none, or not positive where it must be.
    """
    numbers = {name: np.asarray(found) for name in _NUMBERS if (found := getattr(scaler, name, None)) is not None}
    if int(getattr(scaler, "n_features_in_", trees.columns)) != trees.columns or any(n.shape != (trees.columns,) for n in numbers.values()):
        raise ValueError(f"the scaler has not the {trees.columns} columns of the trees behind it")
    if not all(np.isfinite(n).all() for n in numbers.values()) or (numbers.get(_FACTOR, np.ones(1)) <= 0).any():
        raise ValueError("a scaler's number is out of range")
    inner = np.flatnonzero(trees.leaf_row < 0)
    # One column of questions for each feature, filled up to the longest: the scaler takes whole rows.
    order = inner[np.argsort(trees.feature[inner], kind="stable")]
    counts = np.bincount(trees.feature[order], minlength=trees.columns)
    row = np.concatenate([np.arange(count) for count in counts]).astype(np.int64)
    at = (row, trees.feature[order])
    asked = np.full((int(counts.max(initial=0)), trees.columns), np.inf)
    asked[at] = trees.threshold[order]
    threshold = trees.threshold.copy()
    if len(asked):
        threshold[order] = _largest(scaler, asked)[at]
    return replace(trees, threshold=threshold)


def _largest(scaler: Any, thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """By cell, the largest float32 whose scaled value is at most the threshold; -inf where there is none."""
    top = _rank(np.full(1, np.finfo(np.float32).max, np.float32))[0]
    low, high = np.full(thresholds.shape, -top), np.full(thresholds.shape, top)
    with np.errstate(over="ignore"):
        none = ~(scaler.transform(_value(low)) <= thresholds)
        while (low < high).any():
            middle = low + (high - low + 1) // 2
            fits = scaler.transform(_value(middle)) <= thresholds
            low, high = np.where(fits, middle, low), np.where(fits, high, np.maximum(middle - 1, low))
    return np.where(none, -np.inf, _value(low).astype(np.float64))


def _rank(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The place of a float32 among all: their bits are in order, but for the sign (IEEE 754)."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))


def _value(ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The inverse of :func:`_rank`."""
    bits = np.where(ranks >= 0, ranks, -ranks | 0x80000000).astype(np.uint32)
    return bits.view(np.float32)
