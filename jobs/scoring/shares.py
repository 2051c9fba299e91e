"""What each feature adds to P(attack), for the compiled classifiers: numbers that sum, with a base, to what the classifier gives.

Of forests they are exact Shapley values (:mod:`jobs.scoring.contributions`). Boosted trees add up log-odds: their Shapley values are of
these, and are brought to P(attack) by one factor a record, so that they sum to its distance from the base. Signs, order and proportions
are those of the log-odds. Of a blend they are the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from jobs.scoring.blend import Blend
from jobs.scoring.boosted import Boosted
from jobs.scoring.contributions import TreeContributions
from jobs.scoring.forest import Forest

#: Log-odds nearer to the base than this have the slope of the curve there.
_NEAR = 1e-9


class Shares(Protocol):
    """Contributions of the features to P(attack)."""

    @property
    def base(self) -> float:
        """P(attack) where no feature is known."""
        ...

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """float64[n, columns] of a finite float32[n, columns] matrix; a row and :attr:`base` sum to P(attack)."""
        ...


@dataclass(frozen=True)
class _OfForest:
    found: TreeContributions

    @property
    def base(self) -> float:
        return 1.0 + self.found.base

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return self.found(x)


@dataclass(frozen=True)
class _OfBoosted:
    found: TreeContributions
    trees: int
    log_odds: float  # where no feature is known

    @property
    def base(self) -> float:
        return float(expit(self.log_odds))

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        each = self.found(x) * self.trees
        away = each.sum(axis=1)
        p, near = expit(self.log_odds + away), np.abs(away) < _NEAR
        slope = np.where(near, self.base * (1 - self.base), (p - self.base) / np.where(near, 1.0, away))
        return each * slope[:, None]


@dataclass(frozen=True)
class _OfBlend:
    parts: tuple[Shares, ...]

    @property
    def base(self) -> float:
        return float(np.mean([part.base for part in self.parts]))

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.asarray(np.mean([part(x) for part in self.parts], axis=0))


def shares(predictor: Forest | Boosted | Blend, benign: int) -> Shares | None:
    """Contributions to 1 - P(class ``benign``); None for boosted trees of more than two classes.

    Raises
    ------
    ValueError
        A node lacks what they are made of: a damaged file.
    """
    if isinstance(predictor, Forest):
        return _OfForest(TreeContributions.of(predictor.trees, -predictor.leaf_proba[:, benign]))
    if isinstance(predictor, Blend):
        parts = [shares(part, benign) for part in predictor.parts]
        known = tuple(part for part in parts if part is not None)
        return _OfBlend(known) if len(known) == len(parts) else None
    if len(predictor.baseline) != 1:
        return None
    sign = 1.0 if benign == 0 else -1.0  # the sums are log-odds of the second class
    found = TreeContributions.of(predictor.trees, sign * predictor.trees.values[:, 0])
    trees = len(predictor.trees.roots)
    return _OfBoosted(found, trees, sign * float(predictor.baseline[0]) + trees * found.base)
