"""Why a record got its score: the share of each feature in P(attack), for the trees that flowlake trains.

P(attack) is a base, what trees give where no feature is known, plus a contribution of each feature (:mod:`jobs.scoring.shares`). Other
classifiers have no such numbers, or only approximate ones, and are not explained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.scoring.compiled import Compiled, compiled
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel, Usual
from jobs.scoring.names import features_of
from jobs.scoring.shares import shares
from jobs.scoring.typed import Typed
from schemas.labels import BENIGN

_Scaled: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

#: Preparations of scikit-learn that treat each column by itself: what is said of the scaled column holds of the record's.
COLUMN_WISE = frozenset({"MaxAbsScaler", "MinMaxScaler", "PowerTransformer", "QuantileTransformer", "RobustScaler", "StandardScaler"})


class NotExplainedError(Exception):
    """A model of a kind that has no exact contributions, or one whose files lack what they are made of."""


@dataclass(frozen=True)
class Explanation:
    """Why one record got its score.

    Attributes
    ----------
    score
        P(attack) that the model gives.
    raw
        The same before its calibration: what its classifier gives.
    base
        P(attack) of the classifier where no feature is known: of a forest, its average over the training records.
    contributions : float64[columns]
        Of the model's columns; with ``base`` they sum to ``raw``.
    """

    score: float
    raw: float
    base: float
    contributions: npt.NDArray[np.float64]


class Explainer:
    """Explains what a model says.

    Raises
    ------
    NotExplainedError
        The model is of a kind that has no exact contributions.
    """

    def __init__(self, champion: ScoringModel) -> None:
        self.champion = champion
        whole, benign = champion.predictor, champion.classes.index(BENIGN)
        if isinstance(whole, Typed):  # the kind of an attack is not what is explained
            benign = 1 - whole.attack
            trees, self._scaled = _trees(whole.detector)
        else:
            trees, self._scaled = _trees(whole)
        try:
            found = shares(trees, benign)
        except ValueError as e:
            raise NotExplainedError(str(e)) from e
        if found is None:
            raise NotExplainedError("HistGradientBoostingClassifier of several classes is a kind of model without exact contributions")
        self._shares = found
        names = features_of(champion.record).names
        self._at = [names.index(column) for column in champion.columns]

    def contributions(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Those of records, float64[n, columns], by the model's own finite matrix of them."""
        return self._shares(self._scaled(x))

    def explain(self, features: npt.NDArray[np.float64]) -> list[Explanation]:
        """Explain records.

        Parameters
        ----------
        features
            float64[n, k]: the record type's features (:attr:`schemas.records.Features.names`), as the records have them; what is no
            finite number is taken as the scorer takes it.
        """
        columns = self.champion.columns
        rows = pa.table({name: features[:, at] for name, at in zip(columns, self._at, strict=True)})
        x = feature_matrix(rows, columns)
        raw, _, _ = self.champion.decide(self.champion.uncalibrated(x))
        score, _, _ = self.champion.decide(self.champion.predict(x)) if self.champion.calibration is not None else (raw, None, None)
        base = self._shares.base
        return [Explanation(float(p), float(r), base, share) for p, r, share in zip(score, raw, self.contributions(x), strict=True)]


def usual_values(benign: npt.NDArray[np.float32], columns: Sequence[str]) -> dict[str, Usual]:
    """Where benign records lie, for :attr:`jobs.scoring.model.ScoringModel.usual`.

    Parameters
    ----------
    benign
        float32[n, columns], the benign records of a training.
    columns
        Their names.

    Returns
    -------
    dict
        By column, the 1st, the 50th and the 99th percentile: values that occur, to six digits. Empty without records.
    """
    if not len(benign):
        return {}
    found = np.percentile(benign, (1, 50, 99), axis=0, method="inverted_cdf").T.tolist()
    return {name: Usual(*(float(f"{value:.6g}") for value in values)) for name, values in zip(columns, found, strict=True)}


def _trees(predictor: Any) -> tuple[Compiled, _Scaled]:
    """The trees in a model, and what is done to a matrix before it gets there."""
    if isinstance(predictor, Compiled):
        return predictor, lambda x: x
    from sklearn.pipeline import Pipeline

    if not isinstance(predictor, Pipeline):
        raise NotExplainedError(f"{type(predictor).__name__} is a kind of model without exact contributions")
    *before, (_, last) = predictor.steps
    if mixing := [type(step).__name__ for _, step in before if step != "passthrough" and type(step).__name__ not in COLUMN_WISE]:
        raise NotExplainedError(f"{mixing[0]} makes new columns of the record's")
    found = compiled(last)
    if found is None:
        raise NotExplainedError(f"{type(last).__name__} is a kind of model without exact contributions")
    return found, lambda x: np.asarray(predictor[:-1].transform(x) if before else x, np.float32)
