"""Confidence intervals: of a rate, and of what is computed from a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Share of intervals that hold the true value.
LEVEL = 0.95
#: Resamples of a bootstrap: the ends of its interval then wander by a hundredth of its width.
RESAMPLES = 1000


class Interval(NamedTuple):
    """From ``low`` to ``high``; both NaN where there is nothing to say."""

    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan)


def wilson(hits: int, n: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a rate ``hits`` / ``n``: within [0, 1], and right for few records and for rates near 0 and 1.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927). Undefined for n = 0.
    """
    from scipy.special import ndtri

    if n == 0:
        return UNDEFINED
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    rate = hits / n
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # at the ends the formula gives 0 and 1 but for rounding
    return Interval(0.0 if hits == 0 else max(0.0, middle - half), 1.0 if hits == n else min(1.0, middle + half))


def bootstrap(
    counts: npt.NDArray[np.int64],
    statistic: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    *,
    seed: int,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[Interval, ...]:
    """Percentile interval of each of k statistics of a confusion matrix, its records drawn anew group by group. Deterministic.

    Records of one host or day are alike: drawn one by one, they would make an interval that is too narrow.

    Parameters
    ----------
    counts
        Confusion matrix of every group, int[groups, labels, labels].
    statistic
        Statistics float64[m, k] of m confusion matrices float64[m, labels, labels]; NaN where undefined.
    seed
        Of the drawing.
    level
        Share of resamples within the interval.
    resamples
        How often all groups are drawn, with replacement.

    Returns
    -------
    k intervals; undefined where more than a tenth of the resamples are.
    """
    groups, labels = len(counts), counts.shape[1]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float64)
    return _percentiles(statistic((drawn @ counts.reshape(groups, -1)).reshape(resamples, labels, labels)), level)


def bootstrap_rows(
    counts: npt.NDArray[np.int64],
    statistic: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    *,
    seed: int,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[Interval, ...]:
    """:func:`bootstrap` where every record is a group of its own: ``counts`` is the confusion matrix of all, int[labels, labels]."""
    n = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=resamples).astype(np.float64)
    return _percentiles(statistic(drawn.reshape(resamples, *counts.shape)), level)


def _percentiles(values: npt.NDArray[np.float64], level: float) -> tuple[Interval, ...]:
    found = []
    for column in values.T:
        known = column[~np.isnan(column)]
        if len(known) < 0.9 * len(column):
            found.append(UNDEFINED)
            continue
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        found.append(Interval(float(low), float(high)))
    return tuple(found)
