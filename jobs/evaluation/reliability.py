"""Whether P(attack) is a probability: of the records that a model gives 0.8, eight of ten should be attacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.evaluation.intervals import Interval, wilson

#: Bins of equal width in [0, 1].
BINS = 10


@dataclass(frozen=True)
class Bin:
    """Records with P(attack) from ``low`` up to ``high``: how many, their mean P(attack), the share of attacks among them."""

    low: float
    high: float
    records: int
    predicted: float
    observed: float
    interval: Interval


@dataclass(frozen=True)
class Reliability:
    """Bins that hold records, and two figures, both 0 at best.

    ``brier`` is the mean squared difference of P(attack) and what was (G. W. Brier, 1950); ``expected_calibration_error`` the mean
    difference of predicted and observed share over the bins, by their weight (Naeini et al., AAAI 2015). ``attack_share`` is the share
    of attacks they hold for.
    """

    attack_share: float
    bins: tuple[Bin, ...]
    brier: float
    expected_calibration_error: float


def reliability(attack: npt.NDArray[np.bool_], p_attack: npt.NDArray[np.float64], attack_share: float | None = None) -> Reliability | None:
    """Compare P(attack) of n records with what they were.

    Parameters
    ----------
    attack
        bool[n].
    p_attack
        float64[n] in [0, 1].
    attack_share
        Weigh the records as if this share of them were attacks; None: as they are. The bins' intervals are those of the records
        as they are, so they are undefined with it.

    Returns
    -------
    None without a record, or where ``attack_share`` is asked of records that lack attacks or benign ones.
    """
    n, own = len(attack), float(attack.mean()) if len(attack) else 0.0
    if n == 0 or (attack_share is not None and own in (0.0, 1.0)):
        return None
    weight = np.ones(n)
    if attack_share is not None:
        weight = np.where(attack, attack_share / own, (1 - attack_share) / (1 - own))
    index = np.minimum((p_attack * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(index, minlength=BINS)
    mass, p_sum, a_sum = (np.bincount(index, weight * values, BINS) for values in (1.0, p_attack, attack.astype(np.float64)))
    bins = []
    for i in np.flatnonzero(counts).tolist():
        span = wilson(int(attack[index == i].sum()), int(counts[i])) if attack_share is None else Interval(float("nan"), float("nan"))
        bins.append(Bin(i / BINS, (i + 1) / BINS, int(counts[i]), float(p_sum[i] / mass[i]), float(a_sum[i] / mass[i]), span))
    return Reliability(
        attack_share=own if attack_share is None else attack_share,
        bins=tuple(bins),
        brier=float(np.average((p_attack - attack) ** 2, weights=weight)),
        expected_calibration_error=float(np.abs(p_sum - a_sum).sum() / mass.sum()),
    )
