"""What a model makes of labelled records, of one model or of several that each judge what they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.scoring.model import ScoringModel
from jobs.training.labelled import LabelledFlows, concat
from schemas.labels import BENIGN


@dataclass(frozen=True)
class Decisions:
    """Decisions on n labelled records.

    Attributes
    ----------
    flows
        The records.
    p_attack : float64[n]
        P(attack).
    taken : str[n]
        The class that each was taken for, ``BENIGN`` for no attack, ``UNKNOWN`` for what the novelty detector alone has found.
    novel : bool[n]
        True for what the novelty detector alone has found.
    rank : float64[n]
        Orders the records, attacks first; across models, which have thresholds of their own.
    """

    flows: LabelledFlows
    p_attack: npt.NDArray[np.float64]
    taken: npt.NDArray[np.str_]
    novel: npt.NDArray[np.bool_]
    rank: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.taken)

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """bool[n], True where taken for an attack."""
        return np.asarray(self.taken != BENIGN)

    def where(self, mask: npt.NDArray[np.bool_]) -> Decisions:
        """Those of some records."""
        return Decisions(self.flows.where(mask), self.p_attack[mask], self.taken[mask], self.novel[mask], self.rank[mask])


def decide(model: ScoringModel, flows: LabelledFlows) -> Decisions:
    """Let a model decide on records, which have at least its columns."""
    p_attack, label, kind, _ = model.decide_by(flows.matrix)
    unknown = kind == len(model.classes)  # by its place: records may be labelled so too
    return Decisions(flows, p_attack, np.array(model.verdicts, dtype=str)[kind], unknown, label + p_attack)


def together(parts: Sequence[Decisions]) -> Decisions:
    """Decisions of several models, one after the other."""
    return Decisions(
        concat([p.flows for p in parts]),
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("p_attack", "taken", "novel", "rank")),
    )
