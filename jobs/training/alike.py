"""Attacks that one flow does not show: benign flows of the same traffic are like them in all but their times.

A refused connection is the same packets whether a scan or a mistyped port asked for it. No model can tell such flows apart for certain;
what does is the company they come in (:mod:`jobs.sinks.alertbook` counts by source).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobs.training.labelled import LabelledFlows
from schemas.features import ALL_FEATURES

#: Features that are times, or follow from them: rates, and what is cut at pauses (subflows, bulks).
TIMES: frozenset[str] = frozenset(
    f.name for f in ALL_FEATURES if f.unit == "us" or f.unit.endswith("/s") or f.name.startswith("subflow_") or "_bulk_" in f.name
)


def cells(flows: LabelledFlows) -> npt.NDArray[np.int64]:
    """int64[n], equal for rows that have the same values in every column but those of ``TIMES``."""
    columns = [i for i, name in enumerate(flows.columns) if name not in TIMES]
    values = np.ascontiguousarray(flows.x[:, columns]) + np.float32(0)  # -0 is 0
    rows = values.view(np.dtype((np.void, values.dtype.itemsize * values.shape[1]))).ravel() if columns else np.zeros(len(flows))
    return np.unique(rows, return_inverse=True)[1].reshape(-1)


def alike(flows: LabelledFlows) -> npt.NDArray[np.bool_]:
    """bool[n]: attacks that share their cell (:func:`cells`) with a benign flow."""
    cell = cells(flows)
    return flows.attack & np.isin(cell, cell[~flows.attack])


def ceiling(flows: LabelledFlows, max_fpr: float) -> float:
    """Largest share of the attacks that a rule can find which sees all but the times, at a false-positive rate.

    The rule knows the answer for every cell and takes those with the most attacks a benign flow first (Neyman and Pearson's lemma),
    as long as they keep ``max_fpr``; so it is an upper bound, on these very flows. NaN without attacks.
    """
    cell = cells(flows)
    n = int(cell.max(initial=-1)) + 1
    benign = np.bincount(cell[~flows.attack], minlength=n)
    attacks = np.bincount(cell[flows.attack], minlength=n)
    if not attacks.sum():
        return float("nan")
    budget = int(max_fpr * benign.sum())
    found = int(attacks[benign == 0].sum())
    shared = np.flatnonzero((benign > 0) & (attacks > 0))
    for i in shared[np.argsort(-attacks[shared] / benign[shared], kind="stable")]:
        if benign[i] <= budget:
            budget -= int(benign[i])
            found += int(attacks[i])
    return found / int(attacks.sum())
