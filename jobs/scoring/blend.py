"""The mean of several classifiers made of trees, compiled: scikit-learn's ``VotingClassifier`` with soft votes of equal weight.

Boosted trees and extremely randomised ones may err on different records; then, far out, where thresholds lie, the mean orders records
better than either. So it is on the corrected CIC-IDS2017, and not on generated traffic: ``flowlake train --family auto`` tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.scoring.boosted import Boosted
from jobs.scoring.forest import Forest


@dataclass(frozen=True)
class Blend:
    """Classifiers for the same columns and classes.

    Attributes
    ----------
    parts
        At least one.

    Raises
    ------
    ValueError
        They differ in columns or classes, or there is none.
    """

    parts: tuple[Forest | Boosted, ...]

    def __post_init__(self) -> None:
        if len({(part.columns, part.width) for part in self.parts}) != 1:
            raise ValueError("the classifiers of a blend differ in columns or classes")

    @property
    def columns(self) -> int:
        """Number of columns of a matrix."""
        return self.parts[0].columns

    @property
    def width(self) -> int:
        """Number of classes."""
        return self.parts[0].width

    def predict_proba(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Class probabilities, float64[n, classes], of a finite float32[n, columns] matrix."""
        return np.asarray(np.average([part.predict_proba(x) for part in self.parts], axis=0))
