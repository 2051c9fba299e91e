"""Fitting: which features, which forest, which threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from infra.errors import ModelError
from jobs.scoring.explain import usual_values
from jobs.scoring.model import ScoringModel
from jobs.training import unseen
from jobs.training.evaluate import choose_threshold
from jobs.training.labelled import LabelledFlows
from schemas.features import FEATURE_NAMES, FEATURE_VERSION, REDUNDANT_FEATURES
from schemas.labels import BENIGN
from schemas.packets import FLOWS

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

#: Features a model may choose from. Ports, addresses and times are no features of the table; duplicates are left out.
CANDIDATES: tuple[str, ...] = tuple(n for n in FEATURE_NAMES if n not in REDUNDANT_FEATURES)

#: The forest. Deeper trees and more columns gain nothing on traffic of other seeds, and cost time in every batch of the stream.
FOREST = {"n_estimators": 50, "max_depth": 14, "min_samples_leaf": 2}

#: Rows each tree is given at most, drawn with replacement: on 200,000 records a third of the time for the same quality.
TREE_ROWS = 60_000


@dataclass(frozen=True)
class Choices:
    """What a training may vary.

    Attributes
    ----------
    features
        Number of columns the model gets.
    max_correlation
        Two columns whose rank correlation exceeds it (either sign) count as one.
    max_fpr
        False-positive rate that the threshold keeps on the validation flows.
    novelty_fpr
        False-positive rate that the detector of unknown attacks may add (:mod:`jobs.training.unseen`); 0: none is fitted.
    seed
        Seed of every random choice.
    """

    features: int = 20
    max_correlation: float = 0.98
    max_fpr: float = 0.005
    novelty_fpr: float = 0.0002
    seed: int = 7


@dataclass(frozen=True)
class Fitted:
    """A fitted forest, ready to be judged and registered.

    ``importance`` are the forest's impurity importances, in the order of ``model.columns``.
    """

    estimator: RandomForestClassifier
    model: ScoringModel
    importance: tuple[float, ...]


def fit(train: LabelledFlows, validation: LabelledFlows, choices: Choices) -> Fitted:
    """Choose features on ``train``, fit the forest to it, choose the threshold on ``validation``. Deterministic.

    Raises
    ------
    ModelError
        ``train`` lacks benign flows or attacks, or every column is constant.
    """
    if not train.attack.any() or train.attack.all():
        have = ", ".join(np.unique(train.y).tolist()) or "nothing"
        raise ModelError(f"training needs {BENIGN} flows and at least one attack; found {have}")
    columns = choose_features(train, choices)
    data = train.select(columns)
    share = TREE_ROWS / len(data)
    estimator = _forest(choices.seed, **FOREST, max_samples=share if share < 1 else None).fit(
        data.x, data.y, sample_weight=class_weights(data.y)
    )
    estimator.set_params(n_jobs=1)
    provisional = ScoringModel.from_estimator(
        estimator, FLOWS, columns=columns, threshold=0.5, feature_version=FEATURE_VERSION, version="new"
    )
    p_attack, _, _ = provisional.decide(provisional.predict(validation.select(columns).x))
    threshold = choose_threshold(p_attack, validation, choices.max_fpr)
    novelty = unseen.fit(train, validation, choices)
    model = replace(provisional, threshold=threshold, usual=usual_values(data.x[~data.attack], columns), novelty=novelty)
    return Fitted(estimator, model, tuple(float(v) for v in estimator.feature_importances_))


def class_weights(y: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    """Weight of every row, float64[n], mean 1.

    Benign flows and attacks weigh the same in sum, whatever the sample's mixture; among attacks a label's weight grows with the
    square root of its number, so that floods, a flow a packet, do not drown the rare kinds and these do not outweigh them either.
    """
    labels, index, counts = np.unique(y, return_inverse=True, return_counts=True)
    weight = np.sqrt(counts.astype(np.float64))
    attacks = labels != BENIGN
    weight[attacks] *= 0.5 / weight[attacks].sum()
    weight[~attacks] = 0.5
    return (weight / counts)[index] * len(y)


def choose_features(train: LabelledFlows, choices: Choices) -> tuple[str, ...]:
    """The most important columns, no two of which say the same.

    Seven of the usual twenty importances are duplicates or functions of others; they share the importance of one piece of
    information. So columns are taken in the order of their importance, leaving out any whose rank correlation with one already
    taken exceeds ``choices.max_correlation``.
    """
    flows = train.capped(3000, choices.seed)  # importances need no more
    varying = np.flatnonzero(flows.x.min(axis=0) < flows.x.max(axis=0))
    if not len(varying):
        raise ModelError("every feature of the training flows is constant", "train on more, and more varied, traffic")
    x = flows.x[:, varying]
    importance = _forest(choices.seed, n_estimators=30, max_depth=14, min_samples_leaf=2).fit(x, flows.y).feature_importances_
    correlation = np.abs(_rank_correlation(x))
    taken: list[int] = []
    for j in np.argsort(-importance, kind="stable"):
        if len(taken) == choices.features:
            break
        if importance[j] > 0 and not (correlation[j, taken] > choices.max_correlation).any():
            taken.append(int(j))
    return tuple(train.columns[varying[j]] for j in taken)


def _rank_correlation(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Spearman's rank correlation of the columns, float64[k, k]."""
    from scipy.stats import rankdata

    return np.atleast_2d(np.corrcoef(rankdata(x, axis=0), rowvar=False))


def _forest(seed: int, **parameters: object) -> RandomForestClassifier:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed, n_jobs=-1, **parameters)
