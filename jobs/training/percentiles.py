"""Bins of boosted trees in one pass over a column.

Where records have weights, scikit-learn (1.9) sorts a column and sums its weights anew for each of the 254 borders between bins: two
thirds of the time of a fit. Its own function finds all of them at once when it is asked for all; so it is, and the borders are the same.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

_NAME = "_weighted_percentile"
_BINS = 255


class OncePerColumn(threading.local):
    """In the place of scikit-learn's function in the module that finds bins: remembers the newest column's percentiles, by thread."""

    def __init__(self, usual: Any) -> None:
        self._usual = usual
        self._of: tuple[Any, Any, bool] | None = None
        self._found: dict[float, Any] = {}
        self._ranks = np.linspace(0, 100, num=_BINS + 1)[1:-1]  # those that it asks for, one by one

    def __call__(
        self, array: npt.NDArray[Any], sample_weight: npt.NDArray[Any], percentile_rank: Any = 50, average: bool = False, **others: Any
    ) -> Any:
        """As :func:`sklearn.utils.stats._weighted_percentile`."""
        if np.ndim(array) != 1 or np.ndim(percentile_rank) or others:
            return self._usual(array, sample_weight, percentile_rank, average=average, **others)
        if self._of is None or self._of[0] is not array or self._of[1] is not sample_weight or self._of[2] != average:
            values = self._usual(array, sample_weight, self._ranks, average=average)
            self._found = dict(zip(self._ranks.tolist(), values, strict=True))
            self._of = array, sample_weight, average
        rank = float(percentile_rank)
        value = self._found.get(rank)
        if rank == self._ranks[-1]:
            self._of, self._found = None, {}  # the last one: the column is not held on to
        return self._usual(array, sample_weight, percentile_rank, average=average) if value is None else value


def install() -> None:
    """Let boosted trees that are fitted in this process from now on find their bins quickly; where scikit-learn is another, do nothing."""
    from sklearn.ensemble._hist_gradient_boosting import binning

    usual = getattr(binning, _NAME, None)
    if usual is not None and not isinstance(usual, OncePerColumn):
        setattr(binning, _NAME, OncePerColumn(usual))
