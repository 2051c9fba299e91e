"""Families of classifiers that a training chooses from, and what they cost when they score.

All answer one question, attack or benign; the kind of an attack is told by a forest of its own (:mod:`jobs.scoring.typed`). All are
scikit-learn's, are compiled when they serve, and give the same trees for the same records and seed, on any number of cores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.errors import ConfigError
from jobs.scoring.blend import Blend
from jobs.scoring.compiled import Compiled, compiled
from jobs.scoring.trees import Trees
from jobs.training import percentiles

#: Rows each tree of a forest is given at most, drawn with replacement: on 200,000 records a third of the time for the same quality.
TREE_ROWS = 60_000
#: What every forest is. Deeper trees gain nothing on traffic of other seeds, and cost time in every batch of the stream.
FOREST: dict[str, Any] = {"n_estimators": 50, "max_depth": 14, "min_samples_leaf": 2}
#: Without early stopping: which records it stops by would be left to chance. A third of the columns for each split: better than all, and
#: faster. Records weigh very unequally (:func:`jobs.training.fit.class_weights`): without shrinking of leaves single ones run away.
BOOSTED: dict[str, Any] = {
    "max_iter": 200,
    "learning_rate": 0.15,
    "max_leaf_nodes": 31,
    "max_features": 0.3,
    "l2_regularization": 1.0,
    "early_stopping": False,
}
#: What is smaller of those in a blend: they are there for the records that extra trees err on, and must not be surer than these.
BLENDED: dict[str, Any] = {**BOOSTED, "learning_rate": 0.1, "max_leaf_nodes": 15}
#: Extra trees split at random, so they need more leaves for the same.
EXTRA: dict[str, Any] = {"n_estimators": 60, "max_features": 0.3}

Family = Callable[[int, int], Any]


def boosted(seed: int, rows: int) -> Any:
    """Histogram gradient boosting."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, **BOOSTED)


def forest(seed: int, rows: int) -> Any:
    """A random forest."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed, n_jobs=-1, max_samples=_drawn(rows), **FOREST)


def extra_trees(seed: int, rows: int) -> Any:
    """Extremely randomised trees."""
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(random_state=seed, n_jobs=-1, bootstrap=_drawn(rows) is not None, max_samples=_drawn(rows), **EXTRA)


def blend(seed: int, rows: int) -> Any:
    """The mean of boosted and extra trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier

    small = HistGradientBoostingClassifier(random_state=seed, **BLENDED)
    return VotingClassifier([("boosted", small), ("extra", extra_trees(seed, rows))], voting="soft")


def scaled_forest(seed: int, rows: int) -> Any:
    """The reference's pipeline: a scaler, then a random forest."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), forest(seed, rows))


#: By name, makers of an estimator that is to be fitted: they are given a seed and the number of records.
FAMILIES: dict[str, Family] = {
    "blend": blend,
    "boosted": boosted,
    "forest": forest,
    "extra-trees": extra_trees,
    "scaled-forest": scaled_forest,
}
#: The choice by measured quality and cost (:func:`jobs.training.fit.fit`).
AUTO = "auto"


def family(name: str) -> Family:
    """The maker of a family.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    if name not in FAMILIES:
        raise ConfigError(f"--family {name!r}", f"one of: {AUTO}, {', '.join(FAMILIES)}")
    return FAMILIES[name]


def fitted(name: str, seed: int, x: npt.NDArray[np.float32], y: npt.NDArray[np.str_], weight: npt.NDArray[np.float64]) -> Any:
    """An estimator of a family, fitted to records of these weights; it works on one core from now on."""
    percentiles.install()
    estimator = family(name)(seed, len(x))
    last = estimator.steps[-1][0] if hasattr(estimator, "steps") else ""
    estimator.fit(x, y, **{f"{last}__sample_weight" if last else "sample_weight": weight})
    for part in (estimator, *_parts(estimator)):
        if hasattr(part, "n_jobs"):
            part.set_params(n_jobs=1)
    return estimator


def _parts(estimator: Any) -> list[Any]:
    """Steps of a pipeline, classifiers of a vote."""
    return [
        *(step for _, step in getattr(estimator, "steps", ())),
        *(getattr(estimator, "estimators_", ()) if hasattr(estimator, "voting") else ()),
    ]


@dataclass(frozen=True)
class Cost:
    """What scoring a record costs: ``steps``, questions that trees ask on the way of an average record of the training."""

    trees: int
    steps: float


def cost(estimator: Any) -> Cost:
    """What a fitted estimator costs, counted and not timed: the same on every machine."""
    found = compact(estimator)
    trees = [part.trees for part in found.parts] if isinstance(found, Blend) else [found.trees]
    return Cost(sum(len(some.roots) for some in trees), float(sum(_average_depth(some).sum() for some in trees)))


def compact(estimator: Any) -> Compiled:
    """The compiled form of a fitted estimator of a family."""
    found = compiled(estimator)
    assert found is not None, "every family is made of trees"
    return found


def _drawn(rows: int) -> float | None:
    share = TREE_ROWS / rows
    return share if share < 1 else None


def _average_depth(trees: Trees) -> npt.NDArray[np.float64]:
    """Steps to the leaf that a record of the training takes on average, float64[trees]: the share of records that come to each question."""
    inner = np.flatnonzero(trees.leaf_row < 0)
    tree = np.searchsorted(trees.roots, inner, side="right") - 1
    share = trees.cover[inner] / trees.cover[trees.roots[tree]]
    return np.bincount(tree, weights=share, minlength=len(trees.roots)).astype(np.float64)
