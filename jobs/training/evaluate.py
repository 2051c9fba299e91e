"""How good a model is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.scoring.model import ScoringModel
from jobs.training.labelled import LabelledFlows
from schemas.labels import BENIGN


@dataclass(frozen=True)
class Quality:
    """Detection quality on n records.

    ``precision`` holds for the sample's own share of attacks; ``precision_at_1_percent`` is what the same recall and
    false-positive rate give where one flow in a hundred is an attack (Bayes' rule). ``pr_auc`` is average precision.
    ``macro_f1`` is the mean F1 of the labels that occur, ``BENIGN`` among them: rare ones count as much as frequent ones. A value
    that the sample leaves undefined (no attack, no benign record) is NaN.
    """

    records: int
    attacks: int
    precision: float
    recall: float
    false_positive_rate: float
    f1: float
    pr_auc: float
    precision_at_1_percent: float
    type_accuracy: float  # of the attacks detected, the share whose type is right
    macro_f1: float

    def metrics(self, prefix: str) -> dict[str, float]:
        """The defined values by name."""
        return {f"{prefix}_{k}": float(v) for k, v in vars(self).items() if v == v}


@dataclass(frozen=True)
class ClassQuality:
    """One label: how many records, how many of them were labelled attack, how many got this very type."""

    label: str
    records: int
    flagged: int
    typed: int


@dataclass(frozen=True)
class Confusion:
    """counts[i, j]: records of ``labels[i]`` taken for ``labels[j]``; ``BENIGN`` is the first label."""

    labels: tuple[str, ...]
    counts: npt.NDArray[np.int64]


def summary(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """F1 of attack against benign, and macro-F1: float64[m, 2] of m confusion matrices float64[m, labels, labels]; NaN where undefined."""
    said, true = counts.sum(axis=1), counts.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        hits, alarms, missed = counts[:, 1:, 1:].sum(axis=(1, 2)), counts[:, 0, 1:].sum(axis=1), counts[:, 1:, 0].sum(axis=1)
        f1 = np.where(hits + missed > 0, 2 * hits / (2 * hits + alarms + missed), np.nan)
        by_label = 2 * np.diagonal(counts, axis1=1, axis2=2) / (said + true)
        occurs = true > 0
        macro = np.where(occurs, by_label, 0.0).sum(axis=1) / occurs.sum(axis=1)
    return np.column_stack([f1, macro])


def detection(attack: npt.NDArray[np.bool_], flagged: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Precision, recall and false-positive rate; NaN where undefined."""
    hits = int((attack & flagged).sum())
    return (
        _ratio(hits, int(flagged.sum())),
        _ratio(hits, int(attack.sum())),
        _ratio(int((~attack & flagged).sum()), int((~attack).sum())),
    )


def evaluate(model: ScoringModel, flows: LabelledFlows) -> tuple[Quality, list[ClassQuality], Confusion]:
    """Judge a model on labelled flows, which have at least its columns."""
    p_attack, _, kind, _ = model.decide_by(flows.matrix)
    return judge(flows, p_attack, np.array(model.verdicts)[kind])


def judge(
    data: LabelledFlows, p_attack: npt.NDArray[np.float64], taken: npt.NDArray[np.str_]
) -> tuple[Quality, list[ClassQuality], Confusion]:
    """Judge decisions: ``p_attack`` float64[n] orders the flows, ``taken`` str[n] is the type of each, ``BENIGN`` for no attack."""
    from sklearn.metrics import average_precision_score

    flagged = np.asarray(taken != BENIGN)
    attack = data.attack
    precision, recall, fpr = detection(attack, flagged)
    hits = attack & flagged
    names = (BENIGN, *sorted((set(data.y.tolist()) | set(taken.tolist())) - {BENIGN}))
    index = {n: i for i, n in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, ([index[v] for v in data.y.tolist()], [index[v] for v in taken.tolist()]), 1)
    f1, macro_f1 = summary(counts[None].astype(np.float64))[0]
    quality = Quality(
        records=len(data),
        attacks=int(attack.sum()),
        precision=precision,
        recall=recall,
        false_positive_rate=fpr,
        f1=float(f1),
        pr_auc=float(average_precision_score(attack, p_attack)) if attack.any() else float("nan"),
        precision_at_1_percent=_ratio(0.01 * recall, 0.01 * recall + 0.99 * fpr),
        type_accuracy=_ratio(int((taken[hits] == data.y[hits]).sum()), int(hits.sum())),
        macro_f1=float(macro_f1),
    )
    classes = [
        ClassQuality(n, int((data.y == n).sum()), int(flagged[data.y == n].sum()), int(counts[i, i]))
        for i, n in enumerate(names)
        if (data.y == n).any()
    ]
    return quality, classes, Confusion(names, counts)


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")
