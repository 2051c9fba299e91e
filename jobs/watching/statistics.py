"""How far two histograms are apart, and how far they may be before it means something.

Two measures: the population stability index, PSI = sum (q - p) ln(q / p) over the bins, and the Kolmogorov-Smirnov statistic, the largest
distance of the two distribution functions, taken at the edges of the bins.

Under no change PSI is about (B - 1)(1/n + 1/m) for B bins, n and m rows (Yurdakul & Naranjo, "Statistical properties of the population
stability index", Journal of Risk Model Validation 14, 2020): in a small hour it is large without any meaning. And rows of an hour are not
independent: a download is thousands of flows. So the rows of an hour are taken as Dirichlet-multinomial: their shares vary from hour to
hour with the variance ``rho`` p (1 - p) beside that of the sampling (Brier, "Analysis of contingency tables under cluster sampling",
Biometrika 67, 1980). ``rho`` is estimated from parts of the reference, each beside the others; PSI / ((B - 1)(1/n + 1/m + rho)) then is
about F-distributed, with the degrees of freedom that its variance over these parts gives (Satterthwaite's way, as Rao & Scott, "On simple
adjustments to chi-square tests", Annals of Statistics 15, 1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

#: Added to each bin, so that an empty one is no infinite distance (Jeffreys' prior).
_PRIOR = 0.5
#: Share of the rows that a bin of PSI has at least, but for the first and the last, which are the tails.
_LEAST_SHARE = 0.08
#: No hour is just like another: ``rho`` is no less, and this where there are too few parts to estimate it.
_LEAST_RHO, _UNKNOWN_RHO = 0.0005, 0.01
_LEAST_PARTS = 4
#: Mean of the square of Kolmogorov's distribution.
_KOLMOGOROV_SQUARE = np.pi**2 / 12


@dataclass(frozen=True)
class Spread:
    """How parts of a reference vary among each other, for one measure.

    Attributes
    ----------
    rho
        Variance of an hour's shares beyond that of sampling, as a part of p (1 - p), in [0, 1]; of the bins of PSI.
    freedom
        Degrees of freedom of PSI, 1 to B - 1.
    rho_ks
        The same as ``rho``, of the distribution function.
    parts
        How many it was estimated from; 0: none, it is assumed.
    most
        PSI of the part that is farthest from the others, as a multiple of what is to be expected.
    """

    rho: float
    freedom: float
    rho_ks: float
    parts: int
    most: float


@dataclass(frozen=True)
class Distance:
    """How far n rows are from a reference, and from where on that is too far.

    Attributes
    ----------
    psi, ks
        The two measures.
    bias
        PSI to be expected of two samples of these sizes without any change.
    limit, ks_limit
        What they exceed without any change with the probability that was asked for.
    """

    psi: float
    ks: float
    bias: float
    limit: float
    ks_limit: float


def bins(pooled: Counts) -> npt.NDArray[np.int64]:
    """First fine bins of the bins of PSI: neighbours joined until each holds 8 % of the rows; the tails stay alone.

    Parameters
    ----------
    pooled
        int64[k], rows of the reference by fine bin.

    Returns
    -------
    int64[B], ascending, the first 0; made for ``np.add.reduceat``.
    """
    starts, total, held = [0], max(int(pooled.sum()), 1), 0
    for at in range(1, len(pooled) - 1):
        if at == 1 or held / total >= _LEAST_SHARE:
            starts.append(at)
            held = 0
        held += int(pooled[at])
    if len(pooled) > 1:
        starts.append(len(pooled) - 1)
    return np.array(starts, dtype=np.int64)


def psi(reference: Counts, now: Counts) -> float:
    """Population stability index of two histograms of the same bins; 0 where they are alike."""
    p, q = ((counts + _PRIOR) / (counts.sum() + _PRIOR * len(counts)) for counts in (reference, now))
    return float(np.sum((q - p) * np.log(q / p)))


def ks(reference: Counts, now: Counts) -> float:
    """Largest distance of the distribution functions at the edges of the bins, in [0, 1]."""
    p, q = (np.cumsum(counts) / max(int(counts.sum()), 1) for counts in (reference, now))
    return float(np.max(np.abs(p - q)))


def spread(parts: Counts, others: Counts) -> Spread:
    """How parts of a reference vary.

    Parameters
    ----------
    parts
        int64[g, k], rows of each part by fine bin.
    others
        int64[g, k], rows of what each is compared with, itself left out.
    """
    n, m = parts.sum(axis=1).astype(float), others.sum(axis=1).astype(float)
    there = (n > 0) & (m > 0)
    starts = bins(parts.sum(axis=0))
    free = max(len(starts) - 1, 1)
    if int(there.sum()) < _LEAST_PARTS:
        return Spread(_UNKNOWN_RHO, 1.0, _UNKNOWN_RHO, 0, 0.0)
    parts, others, sampling = parts[there], others[there], 1 / n[there] + 1 / m[there]
    joined = [np.add.reduceat(some, starts, axis=1) for some in (others, parts)]
    index = np.array([psi(a, b) for a, b in zip(*joined, strict=True)])
    rho = max(_LEAST_RHO, float(np.mean(index / free - sampling)))
    ratio = index / (free * (sampling + rho))
    freedom = float(np.clip(2.0 / max(float(np.var(ratio)), 1e-9), 1.0, free))
    steps = np.array([ks(a, b) for a, b in zip(others, parts, strict=True)])
    rho_ks = max(_LEAST_RHO, float(np.mean(steps**2 / _KOLMOGOROV_SQUARE - sampling)))
    return Spread(rho, freedom, rho_ks, len(parts), float(np.max(ratio)))


def distance(reference: Counts, now: Counts, varies: Spread, chance: float, *, seen: bool = False) -> Distance:
    """How far a histogram is from that of a reference.

    Parameters
    ----------
    reference, now
        int64[k], rows by fine bin.
    varies
        How parts of the reference vary.
    chance
        Probability with which the limits are exceeded without any change.
    seen
        Whether the limit of PSI is also no less than what the farthest part of the reference came to.
    """
    from scipy.stats import f, kstwobign

    n, m = max(int(now.sum()), 1), max(int(reference.sum()), 1)
    starts = bins(reference)
    free = max(len(starts) - 1, 1)
    sampling = 1 / n + 1 / m
    tail = float(f.isf(chance, varies.freedom, varies.freedom * max(varies.parts, _LEAST_PARTS)))
    return Distance(
        psi=psi(np.add.reduceat(reference, starts), np.add.reduceat(now, starts)),
        ks=ks(reference, now),
        bias=free * sampling,
        limit=(max(tail, varies.most) if seen else tail) * free * (sampling + varies.rho),
        ks_limit=min(1.0, float(kstwobign.isf(chance)) * float(np.sqrt(sampling + varies.rho_ks))),
    )
