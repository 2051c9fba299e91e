"""Ways to find attacks that were not shown, each fitted to labelled records; what :mod:`ops.bench.novelty` compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.scoring.novelty import Tails
from jobs.training.families import FOREST
from jobs.training.fit import Choices, choose_features, class_weights
from jobs.training.labelled import LabelledFlows
from jobs.training.unseen import seats_of
from schemas.labels import BENIGN

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
#: Fits to records, and gives the score of a matrix of their columns; more is more suspicious.
Rival = Callable[[LabelledFlows, int], Callable[[Matrix], Scores]]

_QUANTILES = 200
_BACKGROUND = 5  # synthetic records for each benign one


def tails(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """How far out the values lie, column by column."""
    return Tails.fit(flows.x[~flows.attack]).score


def isolation(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """An isolation forest on the values as they are."""
    return _isolation(flows.x[~flows.attack], seed)


def isolation_of_quantiles(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """An isolation forest on normal quantiles."""
    benign = flows.x[~flows.attack]
    placed = _quantiles(benign, seed)
    score = _isolation(placed(benign), seed)
    return lambda x: score(placed(x))


def reconstruction(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """What twenty principal components of normal quantiles leave unexplained."""
    from sklearn.decomposition import PCA

    benign = flows.x[~flows.attack]
    placed = _quantiles(benign, seed)
    z = placed(benign)
    kept = PCA(min(20, *z.shape), random_state=seed).fit(z)

    def score(x: Matrix) -> Scores:
        z = placed(x)
        return np.asarray(((z - kept.inverse_transform(kept.transform(z))) ** 2).sum(axis=1))

    return score


def mahalanobis(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """Distance to the mean of normal quantiles, by their covariance."""
    benign = flows.x[~flows.attack]
    placed = _quantiles(benign, seed)
    z = placed(benign)
    inverse = np.linalg.inv(np.cov(z.T) + 0.01 * np.eye(z.shape[1]))
    middle = z.mean(axis=0)

    def score(x: Matrix) -> Scores:
        step = placed(x) - middle
        return np.asarray(np.einsum("ij,jk,ik->i", step, inverse, step))

    return score


def neighbour(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """Distance to the nearest benign record of all, in normal quantiles."""
    from sklearn.neighbors import NearestNeighbors

    benign = flows.x[~flows.attack]
    placed = _quantiles(benign, seed)
    near = NearestNeighbors(n_neighbors=1).fit(placed(benign))
    return lambda x: np.asarray(near.kneighbors(placed(x))[0][:, 0])


def against_background(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """Trees that tell benign records from such whose columns were mixed, each by itself."""
    from sklearn.ensemble import ExtraTreesClassifier

    benign = flows.x[~flows.attack]
    rng, n = np.random.default_rng(seed), len(benign)
    mixed = np.column_stack([column[rng.integers(0, n, n * _BACKGROUND)] for column in benign.T])
    real = np.repeat([1, 0], [n, len(mixed)])
    weight = np.where(real, float(_BACKGROUND), 1.0)
    trees = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed, n_jobs=-1).fit(
        np.vstack([benign, mixed]), real, sample_weight=weight
    )
    return lambda x: np.asarray(trees.predict_proba(x)[:, 0])


def forest(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """The former classifier of ``flowlake train``: a forest on the twenty columns that tell known kinds best."""
    from sklearn.ensemble import RandomForestClassifier

    columns = [flows.columns.index(name) for name in choose_features(flows, Choices(features=20, seed=seed))]
    return _classifier(RandomForestClassifier(**FOREST, random_state=seed, n_jobs=-1), flows, columns)


def boosted(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """Boosted trees on all columns, attack or not."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return _classifier(HistGradientBoostingClassifier(max_iter=60, random_state=seed), flows)


def scattered(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """Extra trees on all columns, attack or not."""
    from sklearn.ensemble import ExtraTreesClassifier

    return _classifier(ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed, n_jobs=-1), flows)


def scattered_by_kind(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
    """Extra trees on all columns that name the kind of attack."""
    from sklearn.ensemble import ExtraTreesClassifier

    return _classifier(ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed, n_jobs=-1), flows, named=True)


def member(name: str) -> Rival:
    """A member of the panel alone."""

    def fit(flows: LabelledFlows, seed: int) -> Callable[[Matrix], Scores]:
        seats = seats_of(flows, seed, only=(name,))
        return seats[name].score if name in seats else lambda x: np.full(len(x), -np.inf)

    return fit


#: By the name in the table.
RIVALS: dict[str, Rival] = {
    "tails": tails,
    "isolation forest": isolation,
    "isolation forest of quantiles": isolation_of_quantiles,
    "PCA reconstruction": reconstruction,
    "Mahalanobis distance": mahalanobis,
    "nearest benign record": neighbour,
    "trees against a background": against_background,
    "forest of 20 columns": forest,
    "boosted trees": boosted,
    "extra trees by kind": scattered_by_kind,
    "extra trees": scattered,
    "member near others": member("near others"),
    "member near TCP": member("near TCP"),
    "member exposed": member("exposed"),
}


def _isolation(benign: Any, seed: int) -> Callable[[Any], Scores]:
    from sklearn.ensemble import IsolationForest

    fitted = IsolationForest(n_estimators=200, random_state=seed, n_jobs=1).fit(benign)
    return lambda x: np.asarray(-fitted.score_samples(x))


def _quantiles(benign: Matrix, seed: int) -> Callable[[Matrix], npt.NDArray[np.float64]]:
    from sklearn.preprocessing import QuantileTransformer

    quantiles = min(_QUANTILES, len(benign))
    return QuantileTransformer(n_quantiles=quantiles, output_distribution="normal", random_state=seed).fit(benign).transform


def _classifier(
    estimator: Any, flows: LabelledFlows, columns: list[int] | None = None, *, named: bool = False
) -> Callable[[Matrix], Scores]:
    """1 - P(benign); 0 where there is no attack to learn from."""
    at = list(range(len(flows.columns))) if columns is None else columns
    if not flows.attack.any():
        return lambda x: np.zeros(len(x))
    y = flows.y if named else np.where(flows.attack, "ATTACK", BENIGN)
    fitted = estimator.fit(flows.x[:, at], y, sample_weight=class_weights(flows.y))
    benign = list(fitted.classes_).index(BENIGN)
    return lambda x: np.asarray(1 - fitted.predict_proba(x[:, at])[:, benign])
