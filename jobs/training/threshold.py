"""Where an attack begins: the lowest score that keeps a false-positive rate on records to come, not only on those at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.scoring.typed import ASKED
from jobs.training.labelled import LabelledFlows


def choose_threshold(p_attack: npt.NDArray[np.float64], flows: LabelledFlows, max_fpr: float) -> float:
    """The threshold of most recall whose false-positive rate is expected to be at most ``max_fpr``, closed and interim records each.

    Of n benign records k lie above it. A new one does so with probability (k + 1) / (n + 1), on average over samples: the expectation of
    an order statistic (David and Nagaraja, "Order Statistics", 2003, section 2.5). So k is the most for which that is at most
    ``max_fpr``; of too few records none may lie above. The threshold is halfway from the highest score that must lie below to the next
    attack's.

    Parameters
    ----------
    p_attack
        float64[n] in [0, 1], of records that the model was not fitted to.
    flows
        These records.
    max_fpr
        In [0, 1].

    Returns
    -------
    float in (0, 1]; 1 where benign records score no less.
    """
    parts = [part for part in (flows.closed, ~flows.closed) if (part & ~flows.attack).any()]
    below = max([0.0, *_highest_below([p_attack[part & ~flows.attack] for part in parts], max_fpr)])
    return between(below, p_attack[flows.attack])


def between(below: float, attacks: npt.NDArray[np.float64]) -> float:
    """The threshold in (0, 1] halfway from a score that must lie below it to the lowest score of an attack above that; float64[n]."""
    above = attacks[attacks > below]
    middle = (below + float(above.min())) / 2 if len(above) else (below + 1.0) / 2
    return float(min(max(middle, np.nextafter(below, 1.0), ASKED), 1.0))


def _highest_below(benign: Sequence[npt.NDArray[np.float64]], max_fpr: float) -> list[float]:
    """Of each part, the highest score that must lie below the threshold."""
    found = []
    for scores in benign:
        allowed = max(int(max_fpr * (len(scores) + 1)) - 1, 0)
        if allowed < len(scores):
            found.append(float(np.partition(scores, len(scores) - 1 - allowed)[len(scores) - 1 - allowed]))
    return found


def lowest_threshold(scores: npt.NDArray[np.float64], closed: npt.NDArray[np.bool_], max_fpr: float) -> float:
    """The lowest that at most ``max_fpr`` of closed benign records reach, and of the others; scores float64[n], closed bool[n]."""
    lowest = 0.0
    for part in (closed, ~closed):
        some = np.sort(scores[part])[::-1]
        if len(some):
            lowest = max(lowest, float(np.nextafter(some[min(int(max_fpr * len(some)), len(some) - 1)], np.inf)))
    return lowest
