"""How good the labels are, flow by flow, against ground truth. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.training.truth import join_labels
from schemas.labels import BENIGN, NAMES


@dataclass(frozen=True)
class KindQuality:
    """One true label: closed flows, those labelled attack, those labelled as this very kind."""

    label: str
    flows: int
    flagged: int
    right: int


@dataclass(frozen=True)
class Detection:
    """Detection on closed flows. A ratio without a denominator is None."""

    precision: float | None = None
    recall: float | None = None
    false_positive_rate: float | None = None
    flows: int = 0
    unmatched: int = 0  # flows that the truth knows nothing of
    kinds: list[KindQuality] = field(default_factory=list)
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)  # true label -> predicted -> flows

    def ratios(self) -> dict[str, float | None]:
        """The three numbers of the report."""
        return {"precision": self.precision, "recall": self.recall, "false_positive_rate": self.false_positive_rate}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(records: pa.Table, truth: pa.Table | None) -> Detection:
    """Compare closed records (flow key, times, ``predicted_label``, ``attack_type``) with a truth table."""
    if truth is None or not records.num_rows:
        return Detection()
    labels = join_labels(records, truth)
    known = labels.is_valid().to_numpy(zero_copy_only=False)
    actual = np.array(labels.to_pylist(), dtype=object)[known].astype(str)
    flagged = (records.column("predicted_label").to_numpy() == 1)[known]
    taken = np.array(records.column("attack_type").to_pylist(), dtype=object)[known].astype(str)
    attack = actual != BENIGN
    hits = int((attack & flagged).sum())
    order = [name for name in NAMES if name in set(actual)] + sorted(set(actual) - set(NAMES))
    kinds, confusion = [], {}
    for label in order:
        mine = actual == label
        kinds.append(KindQuality(label, int(mine.sum()), int((mine & flagged).sum()), int((mine & (taken == label)).sum())))
        names, counts = np.unique(taken[mine], return_counts=True)
        confusion[label] = {str(n): int(c) for n, c in zip(names, counts, strict=True)}
    return Detection(
        precision=_ratio(hits, int(flagged.sum())),
        recall=_ratio(hits, int(attack.sum())),
        false_positive_rate=_ratio(int((~attack & flagged).sum()), int((~attack).sum())),
        flows=len(actual),
        unmatched=int((~known).sum()),
        kinds=kinds,
        confusion=confusion,
    )


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
