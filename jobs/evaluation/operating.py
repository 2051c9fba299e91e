"""What a model costs where it works: precision at the true share of attacks, false alarms an hour, cost of errors, by threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.sections import EvaluationSettings
from jobs.evaluation.intervals import Interval

Values = npt.NDArray[np.float64]


def precision_at(recall: float, false_positive_rate: float, attack_share: float) -> float:
    """Share of attacks among the records taken for one, where ``attack_share`` of all records are attacks (Bayes' rule)."""
    found = attack_share * recall
    taken = found + (1 - attack_share) * false_positive_rate
    return found / taken if taken else float("nan")


def false_alarms_per_hour(false_positive_rate: float, site: EvaluationSettings) -> float:
    """Benign records an hour that are taken for an attack, at the configured traffic."""
    return false_positive_rate * (1 - site.attack_share) * site.flows_per_s * 3600


def precision_span(recall: Interval, false_positive_rate: Interval, attack_share: float) -> Interval:
    """From the worst to the best :func:`precision_at` of two rates that are known by their intervals."""
    low = precision_at(recall.low, false_positive_rate.high, attack_share)
    return Interval(low, precision_at(recall.high, false_positive_rate.low, attack_share))


def alarms_span(false_positive_rate: Interval, site: EvaluationSettings) -> Interval:
    """From the fewest to the most :func:`false_alarms_per_hour` of a rate that is known by its interval."""
    return Interval(*(false_alarms_per_hour(rate, site) for rate in false_positive_rate))


def cost_per_hour(recall: Values | float, false_positive_rate: Values | float, site: EvaluationSettings) -> Values:
    """Expected cost of an hour's misses and false alarms at the configured traffic, in the unit of the configured costs."""
    missed = site.attack_share * (1 - np.asarray(recall, dtype=np.float64)) * site.miss_cost
    alarms = (1 - site.attack_share) * np.asarray(false_positive_rate, dtype=np.float64) * site.false_alarm_cost
    return np.asarray((missed + alarms) * site.flows_per_s * 3600)


@dataclass(frozen=True)
class Curve:
    """Rates at every threshold that tells records apart, k of them, rising.

    Attributes
    ----------
    threshold, recall, false_positive_rate, precision : float64[k]
        A record is taken for an attack from the threshold on. ``precision`` is that of the sample.
    """

    threshold: Values
    recall: Values
    false_positive_rate: Values
    precision: Values

    def at(self, threshold: float) -> int:
        """Index of the point that decides as ``threshold`` does: the first one not below it, the last where there is none."""
        return min(int(np.searchsorted(self.threshold, threshold, side="left")), len(self.threshold) - 1)


def curve(attack: npt.NDArray[np.bool_], score: Values) -> Curve | None:
    """Rates of n records by threshold.

    Parameters
    ----------
    attack
        bool[n].
    score
        float64[n]; records that are taken for an attack at every threshold have infinity.

    Returns
    -------
    None where attacks or benign records are missing. The last point, infinity, is a model whose classifier never says attack.
    """
    attacks, benign = int(attack.sum()), int((~attack).sum())
    if not attacks or not benign:
        return None
    threshold = np.unique(np.append(score, np.inf))
    hits, alarms = (len(of) - np.searchsorted(np.sort(of), threshold, side="left") for of in (score[attack], score[~attack]))
    taken = hits + alarms
    with np.errstate(invalid="ignore"):
        precision = np.where(taken > 0, hits / taken, np.nan)
    return Curve(threshold, hits / attacks, alarms / benign, precision)


@dataclass(frozen=True)
class Operating:
    """Where a model works on a site: rates at a threshold and what follows of them there."""

    threshold: float
    recall: float
    false_positive_rate: float
    precision: float  # at the site's share of attacks
    false_alarms_per_hour: float
    cost_per_hour: float


def operating(threshold: float, recall: float, false_positive_rate: float, site: EvaluationSettings) -> Operating:
    """A threshold's rates on a site."""
    return Operating(
        threshold,
        recall,
        false_positive_rate,
        precision_at(recall, false_positive_rate, site.attack_share),
        false_alarms_per_hour(false_positive_rate, site),
        float(cost_per_hour(recall, false_positive_rate, site)),
    )


def cheapest(rates: Curve, site: EvaluationSettings) -> Operating:
    """The threshold of the least expected cost, of equals the highest: it alarms least."""
    cost = cost_per_hour(rates.recall, rates.false_positive_rate, site)
    best = int(np.flatnonzero(cost <= cost.min() * (1 + 1e-12))[-1])
    return operating(float(rates.threshold[best]), float(rates.recall[best]), float(rates.false_positive_rate[best]), site)
