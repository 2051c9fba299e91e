"""What a model says of labelled records, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.errors import ModelError
from jobs.evaluation.intervals import wilson
from jobs.scoring.model import ScoringModel
from jobs.training.labelled import LabelledFlows

#: Normal deviate of an interval that holds the true value 95 times in 100.
_Z = 1.959964
#: Records of one measured call: as many as a small batch of the stream has.
_CALL = 1000
_CALLS = 9


@dataclass(frozen=True)
class Decided:
    """What a model says of n records: P(attack) float64[n], whether it is an attack bool[n], what it is taken for str[n]."""

    p_attack: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_]
    taken: npt.NDArray[np.str_]


def decided(model: ScoringModel, flows: LabelledFlows) -> Decided:
    """Let a model decide about records.

    Raises
    ------
    ModelError
        It reads columns that they lack, or says NaN.
    """
    if missing := sorted(set(model.reads) - set(flows.columns)):
        raise ModelError(
            f"model version {model.version} reads columns that these records lack: {', '.join(missing[:8])}", "name others with --records"
        )
    p_attack, label, kind, _ = model.decide_by(flows.matrix)
    if not np.isfinite(p_attack).all():
        raise ModelError(f"model version {model.version}: P(attack) of {int((~np.isfinite(p_attack)).sum()):,} records is NaN")
    return Decided(p_attack, label == 1, np.array(model.verdicts)[kind])


def difference(lost: int, gained: int, n: int) -> tuple[float, float]:
    """Interval (95 %) of the difference of two rates on the same ``n`` records, of which ``lost`` and ``gained`` are decided differently.

    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24 (2005):
    half a record is added to each of the four cells. Of no record: from -1 to 1.
    """
    if n == 0:
        return -1.0, 1.0
    m, b, c = n + 2, gained + 0.5, lost + 0.5
    middle = (b - c) / m
    half = _Z * float(np.sqrt(b + c - (b - c) ** 2 / m)) / m
    return max(-1.0, middle - half), min(1.0, middle + half)


def rate(hits: int, n: int) -> tuple[float, float]:
    """Interval (95 %) of a rate (:func:`jobs.evaluation.intervals.wilson`); of no record: from 0 to 1."""
    return wilson(hits, n) if n else (0.0, 1.0)


def ms_per_1000(model: ScoringModel, x: npt.NDArray[np.float32], novel: npt.NDArray[np.float32] | None = None) -> float:
    """Milliseconds of CPU for 1,000 records, on one core: the quickest of some calls.

    Not by the clock on the wall: on a machine that does more than it can, every model would be too slow to be promoted.

    ``x`` float32[n, columns] are records by the model's columns, ``novel`` the same by its detector's; n may be any but 0.
    """

    def batch(of: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(np.resize(of, (_CALL, of.shape[1])))

    rows, others = batch(x), None if novel is None else batch(novel)
    took = []
    for _ in range(_CALLS + 1):
        begin = time.thread_time()
        score = model.novelty.score(others) if model.novelty is not None and others is not None else None
        model.decide(model.predict(rows), score)
        took.append(time.thread_time() - begin)
    return min(took[1:]) * 1000


def latency(model: ScoringModel, flows: LabelledFlows | None) -> float:
    """:func:`ms_per_1000` on records, or, without any that have its columns, on random ones: trees take about as long for any."""
    if flows is None or not len(flows) or not set(model.reads) <= set(flows.columns):
        flows = _random(model.reads)
    novel = None if model.novelty is None else flows.select(model.novelty.columns).x
    return ms_per_1000(model, flows.select(model.columns).x, novel)


def _random(columns: Sequence[str]) -> LabelledFlows:
    names = tuple(dict.fromkeys(columns))
    x = np.random.default_rng(1).lognormal(5, 4, (_CALL, len(names))).astype(np.float32)
    return LabelledFlows(x, names, np.full(_CALL, ""), np.full(_CALL, ""), np.ones(_CALL, dtype=bool))
